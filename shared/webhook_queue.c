/*
 * The two tables of the webhook queue: new events by number, those whose
 * delivery failed by the time of their next try. Works inside its caller's
 * transaction; sends nothing and decides nothing.
 */
#include "webhook_queue.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "call_table.h"
#include "clock.h"

#define NEW_KEY_LEN 8    /* be64 number */
#define RETRY_KEY_LEN 16 /* be64 deadline, be64 number */

/* Over 2 KB a record would take whole pages. */
static_assert(sizeof(struct webhook_event) <= 512, "a queued event grew");

/* Where an event lies now. */
struct place {
	enum store_table table;
	size_t key_len;
	uint8_t key[RETRY_KEY_LEN];
};

static struct place
place_of(uint64_t number, int64_t due_boot_ms)
{
	struct place place = { .table = STORE_WEBHOOKS,
		.key_len = NEW_KEY_LEN };

	if (due_boot_ms == 0) {
		store_put_be64(place.key, number);
		return place;
	}
	place.table = STORE_WEBHOOK_RETRY;
	place.key_len = RETRY_KEY_LEN;
	store_put_be64(place.key, (uint64_t)due_boot_ms);
	store_put_be64(place.key + 8, number);
	return place;
}

const char *
webhook_event_name(enum call_event_kind kind)
{
	static const char *const names[CALL_EV_COUNT] = {
		[CALL_EV_INITIATED] = "call.initiated",
		[CALL_EV_RINGING] = "call.ringing",
		[CALL_EV_ANSWERED] = "call.answered",
		[CALL_EV_ENDED] = "call.ended",
		[CALL_EV_RECORDING_STARTED] = "recording.started",
		[CALL_EV_RECORDING_COMPLETED] = "recording.completed",
		[CALL_EV_REROUTED] = "call.rerouted",
		[CALL_EV_AMD_RESULT] = "amd.result",
		[CALL_EV_DTMF] = "dtmf.received",
		[CALL_EV_GATHER_STARTED] = "gather.started",
		[CALL_EV_GATHER_PROGRESS] = "gather.progress",
		[CALL_EV_GATHER_COMPLETE] = "gather.complete",
		[CALL_EV_GATHER_TIMEOUT] = "gather.timeout",
		[CALL_EV_TTS_PLAYED] = "tts.played",
		[CALL_EV_PLAYBACK_FINISHED] = "playback.finished",
		[CALL_EV_PLAYBACK_FAILED] = "playback.failed",
		[CALL_EV_TRANSFERRED] = "call.transferred",
		[CALL_EV_TRANSFER_FAILED] = "call.transfer_failed",
		[CALL_EV_RECORDING_STOPPED] = "recording.stopped",
	};

	return (unsigned)kind < CALL_EV_COUNT ? names[kind] : "unknown";
}

void
webhook_event_id(const struct webhook_event *event,
    char out[WEBHOOK_EVENT_ID_SIZE])
{
	(void)snprintf(out, WEBHOOK_EVENT_ID_SIZE, "evt_%s_%u",
	    event->call.id, event->call.sequence);
}

static int
put_detail(struct store_txn *txn, uint64_t number,
    const struct call_event_detail *detail)
{
	uint8_t key[NEW_KEY_LEN];

	store_put_be64(key, number);
	return store_put_text(txn, STORE_WEBHOOK_DETAILS, key, sizeof(key),
	    detail, offsetof(struct call_event_detail, text));
}

int
webhook_queue_get_detail(struct store_txn *txn, uint64_t number,
    struct call_event_detail *detail_out)
{
	uint8_t key[NEW_KEY_LEN];
	int rc;

	store_put_be64(key, number);
	rc = store_copy_text(txn, STORE_WEBHOOK_DETAILS, key, sizeof(key),
	    detail_out, sizeof(*detail_out),
	    offsetof(struct call_event_detail, text),
	    sizeof(detail_out->text));
	/* one that is damaged must not hold its event up */
	return rc == -KAP_NOENT || rc == -KAP_CORRUPT ? 0 : rc;
}

int
webhook_queue_append(struct store_txn *txn, struct webhook_event *event,
    const struct call_event_detail *detail)
{
	struct place place;
	int rc = store_next(txn, STORE_NEXT_WEBHOOK, &event->number);

	if (rc == 0 && detail != NULL)
		rc = put_detail(txn, event->number, detail);
	if (rc != 0)
		return rc;
	event->version = WEBHOOK_EVENT_VERSION;
	event->tries = 0;
	event->queued_ms = clock_wall_ms();
	place = place_of(event->number, 0);
	return store_put(txn, place.table, place.key, place.key_len, event,
	    sizeof(*event));
}

/* Records only grow at their tail: copy what is there, zero the rest. */
static void
copy_event(struct webhook_event *event, const struct store_value *value)
{
	const size_t len = value->len < sizeof(*event) ? value->len :
	    sizeof(*event);

	memset(event, 0, sizeof(*event));
	memcpy(event, value->data, len);
	event->call.id[sizeof(event->call.id) - 1] = '\0';
}

int
webhook_queue_peek_new(struct store_txn *txn, uint64_t after,
    struct webhook_event *events, unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[NEW_KEY_LEN];
	unsigned count = 0;
	int rc;

	store_put_be64(from, after + 1);
	rc = store_walk(txn, STORE_WEBHOOKS, from, sizeof(from), &cursor);
	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0)
		copy_event(&events[count++], &value);
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
webhook_queue_peek_due(struct store_txn *txn, int64_t boot_ms,
    struct webhook_event *events, int64_t *due_ms, unsigned max,
    int64_t *next_due_out)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	unsigned count = 0;
	int rc = store_walk(txn, STORE_WEBHOOK_RETRY, NULL, 0, &cursor);

	*next_due_out = 0;
	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0) {
		int64_t due;

		if (key.len != RETRY_KEY_LEN)
			continue; /* not of our making */
		due = (int64_t)store_get_be64(key.data);
		if (due > boot_ms || count == max) {
			*next_due_out = due;
			break;
		}
		due_ms[count] = due;
		copy_event(&events[count++], &value);
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
webhook_queue_remove(struct store_txn *txn, const struct webhook_event *event,
    int64_t due_boot_ms)
{
	const struct place place = place_of(event->number, due_boot_ms);
	struct store_value value;
	uint8_t key[NEW_KEY_LEN];
	int rc = store_get(txn, place.table, place.key, place.key_len, &value);

	if (rc != 0)
		return rc == -KAP_NOENT ? 0 : rc;
	rc = store_del(txn, place.table, place.key, place.key_len);
	if (rc == 0) {
		store_put_be64(key, event->number);
		rc = store_del(txn, STORE_WEBHOOK_DETAILS, key, sizeof(key));
	}
	return rc != 0 ? rc : call_table_unref(txn, event->call.id);
}

/* Move an event to the retry table, under its next time. */
static int
move_event(struct store_txn *txn, uint64_t number, int64_t due_boot_ms,
    int64_t next_boot_ms, uint32_t more_tries)
{
	const struct place from = place_of(number, due_boot_ms);
	struct webhook_event event;
	struct store_value value;
	struct place to;
	int rc = store_get(txn, from.table, from.key, from.key_len, &value);

	if (rc != 0)
		return rc == -KAP_NOENT ? 0 : rc;
	copy_event(&event, &value);
	event.tries += more_tries;
	/* 0 stands for the table of new ones */
	to = place_of(number, next_boot_ms > 0 ? next_boot_ms : 1);
	rc = store_del(txn, from.table, from.key, from.key_len);
	if (rc != 0)
		return rc;
	return store_put(txn, to.table, to.key, to.key_len, &event,
	    sizeof(event));
}

int
webhook_queue_postpone(struct store_txn *txn,
    const struct webhook_event *event, int64_t due_boot_ms,
    int64_t next_boot_ms)
{
	return move_event(txn, event->number, due_boot_ms, next_boot_ms, 1);
}

int
webhook_queue_defer(struct store_txn *txn, const struct webhook_event *event,
    int64_t due_boot_ms, int64_t next_boot_ms)
{
	return move_event(txn, event->number, due_boot_ms, next_boot_ms, 0);
}
