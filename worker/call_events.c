/*
 * Collects what a batch of events changes, and has it followed up after the
 * commit. A batch may be applied more than once before it is committed.
 */
#include "call_events.h"

#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "shared/stats_words.h"

#define POISON_MAX 8 /* of one batch */

struct call_events {
	const struct change_maker *maker;
	struct dispatch *dispatch;
	const struct stream_state *stream;
	struct change *changes; /* grows to the largest batch */
	size_t change_count;
	size_t change_room;
	/* channels that show life though their call is over, or never was */
	char (*strays)[CALL_NAME_SIZE];
	size_t stray_count;
	size_t stray_room;
	uint64_t event_count;
	/* for the statistics: when the batch began, and its events */
	int64_t begun_ms; /* wall clock */
	int64_t heard_since_ms; /* wall clock: struct call_input's */
	unsigned types[STATS_EVENT_IRRELEVANT + 1];
	int64_t *lags_ms;
	size_t lag_count;
	size_t lag_room;
	/* events of this batch that damaged records make impossible to apply */
	uint64_t poison[POISON_MAX];
	unsigned poison_count;
	struct ari_event poison_call; /* the last of them, for the log */
};

struct call_events *
call_events_new(const struct change_maker *maker, struct dispatch *dispatch,
    const struct stream_state *stream)
{
	struct call_events *events = calloc(1, sizeof(*events));

	if (events == NULL)
		return NULL;
	events->maker = maker;
	events->dispatch = dispatch;
	events->stream = stream;
	return events;
}

void
call_events_free(struct call_events **events)
{
	if (*events == NULL)
		return;
	free((*events)->changes);
	free((*events)->strays);
	free((*events)->lags_ms);
	free(*events);
	*events = NULL;
}

void
call_events_begin(struct call_events *events)
{
	events->change_count = 0;
	events->stray_count = 0;
	events->event_count = 0;
	events->begun_ms = clock_wall_ms();
	events->heard_since_ms = events->begun_ms -
	    (clock_deadline_ms() - events->stream->began_ms);
	memset(events->types, 0, sizeof(events->types));
	events->lag_count = 0;
}

/* One more element in a growing array; NULL when out of memory. */
static void *
grow(void *array, size_t count, size_t *room, size_t size)
{
	const size_t more = *room == 0 ? 32 : *room * 2;
	void *bigger;

	if (count < *room)
		return array;
	bigger = reallocarray(array, more, size);
	if (bigger != NULL)
		*room = more;
	return bigger;
}

/* Does the event show a channel that is alive, and will go on being? */
static bool
shows_life(enum call_input_kind kind)
{
	return kind == CALL_IN_RINGING || kind == CALL_IN_UP ||
	    kind == CALL_IN_STASIS_START;
}

/*
 * A live channel of a call that is over, or of an attempt that was given up:
 * it turned up too late, and is hung up.
 */
static int
note_stray(struct call_events *events, const struct ari_event *event)
{
	struct call call = { .attempt = (uint8_t)event->input.attempt };
	void *bigger = grow(events->strays, events->stray_count,
	    &events->stray_room, sizeof(events->strays[0]));

	if (bigger == NULL)
		return -KAP_NOMEM;
	events->strays = bigger;
	memcpy(call.id, event->call_id, sizeof(call.id));
	call_channel_name(&call, events->strays[events->stray_count++]);
	return 0;
}

static bool
is_stray(const struct change *change, struct store_txn *txn,
    const struct ari_event *event, unsigned node)
{
	struct call call;

	if (!shows_life(event->input.kind) ||
	    call_id_node(event->call_id) != node)
		return false;
	if (change->rc == -KAP_NOENT)
		return true;
	if (change->rc != -KAP_STATE ||
	    call_table_get(txn, event->call_id, &call) != 0)
		return false;
	return call.state == CALL_ENDED ||
	    event->input.attempt < call.attempt;
}

static bool
is_poison(const struct call_events *events, uint64_t number)
{
	for (unsigned i = 0; i < events->poison_count; i++) {
		if (events->poison[i] == number)
			return true;
	}
	return false;
}

/*
 * A damaged record of one call must not stop the events of all: the batch
 * fails, nothing of it is written, and its next try leaves this event out.
 */
static void
note_poison(struct call_events *events, const struct ari_event *event)
{
	if (events->poison_count < POISON_MAX)
		events->poison[events->poison_count++] = events->event_count;
	events->poison_call = *event;
}

/* Out of memory, an event's lag is not told. */
static void
note_event(struct call_events *events, const struct ari_event *event)
{
	void *bigger;

	if (event->kind != ARI_EVENT_CALL) {
		events->types[STATS_EVENT_IRRELEVANT]++;
		return;
	}
	events->types[event->input.kind]++;
	bigger = grow(events->lags_ms, events->lag_count, &events->lag_room,
	    sizeof(events->lags_ms[0]));
	if (bigger == NULL)
		return;
	events->lags_ms = bigger;
	events->lags_ms[events->lag_count++] =
	    events->begun_ms - event->input.at_ms;
}

static void
count_events(const struct call_events *events)
{
	for (unsigned i = 0; i <= STATS_EVENT_IRRELEVANT; i++)
		stats_count(STATS_events, i, 0, events->types[i]);
	for (size_t i = 0; i < events->lag_count; i++)
		stats_observe(STATS_event_lag, events->lags_ms[i] * 1000);
}

int
call_events_apply(struct call_events *events, struct store_txn *txn,
    const struct ari_event *event)
{
	struct call_input input = event->input;
	struct change *change;
	void *bigger;
	int rc;

	input.heard_since_ms = events->heard_since_ms;
	events->event_count++;
	note_event(events, event);
	if (event->kind != ARI_EVENT_CALL ||
	    is_poison(events, events->event_count))
		return 0;
	bigger = grow(events->changes, events->change_count,
	    &events->change_room, sizeof(events->changes[0]));
	if (bigger == NULL)
		return -KAP_NOMEM;
	events->changes = bigger;
	change = &events->changes[events->change_count];
	rc = change_step(txn, events->maker, event->call_id, &input, change);
	if (rc == -KAP_CORRUPT)
		note_poison(events, event);
	if (rc != 0)
		return rc;
	if (change->rc == 0 || change->has_item)
		events->change_count++;
	else if (is_stray(change, txn, event, events->maker->node))
		return note_stray(events, event);
	return 0;
}

void
call_events_committed(struct call_events *events, int rc)
{
	if (rc == -KAP_CORRUPT)
		log_error("damaged records: an event is left out",
		    LOG_S("call", events->poison_call.call_id),
		    LOG_S("event",
		    call_input_name(events->poison_call.input.kind)));
	if (rc != 0)
		return; /* the link tries the batch again */
	events->poison_count = 0;
	count_events(events);
	for (size_t i = 0; i < events->change_count; i++)
		dispatch_follow(events->dispatch, &events->changes[i]);
	for (size_t i = 0; i < events->stray_count; i++)
		dispatch_hang_up_stray(events->dispatch, events->strays[i]);
}
