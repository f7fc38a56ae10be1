/*
 * Peek, decode, commit, consume. The one rule of this file: a byte leaves the
 * kernel only when a transaction that holds its offset, and all that it
 * meant, is committed. Neither connects nor closes the socket.
 */
#include "event_reader.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "ari_ws_stream.h"
#include "event_socket.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/stats.h"

#define RECORD_VERSION 1
#define RETRY_US 100000   /* after a transaction that failed */
#define PROMISES_BROKEN 2 /* marks that should have come, and no event: deaf */
#define MARK_EVERY_MS 20  /* at the most; for all who want one by then */
#define MARK_RETRY_MS 100 /* where Asterisk can't be asked */

/*
 * The record of a slot's stream: key <slot>. Only ever grows at its tail. The
 * payload of a message that was begun lies under the key <slot> 't'.
 */
struct event_stream_record {
	uint16_t version;
	uint8_t pad[6];
	uint64_t cookie; /* of the socket, the kernel's */
	uint64_t offset; /* bytes of the connection that are committed */
	uint64_t events; /* committed from this connection */
	struct ari_ws_state state;
	int64_t began_ms; /* deadline clock: nothing was missed since */
};

static_assert(sizeof(struct event_stream_record) == 200, "a stored record");

/* What was peeked at once. Heap; its job belongs to the turn meanwhile. */
struct batch {
	struct turn_job job;          /* first */
	struct event_reader *reader;  /* NULL: given up, do nothing */
	bool fresh;                   /* begins a stream; nothing was peeked */
	size_t peeked;                /* bytes to consume */
	uint64_t marked;              /* the last mark in it; 0: none */
	size_t count;
	size_t capacity;
	struct ari_event *events;
};

struct event_reader {
	struct turn *turn;
	struct store *store;
	const struct event_reader_ops *ops;
	void *ctx;
	const int64_t *ping_interval_ms;
	struct event *on_look;
	struct event *on_mark; /* one is wanted, and its time has come */
	struct event *on_retry;
	struct event *on_readable; /* NULL: stopped */
	struct event_base *base;
	uint8_t *buffer; /* EVENT_READER_PEEK bytes */
	int fd;
	uint8_t slot;

	struct ari_ws_stream stream;
	struct event_stream_record record; /* as of the batch under way */
	bool tail_stored; /* a tail record may lie in the store */
	struct batch *batch;  /* under way, or NULL */
	char fault[160];      /* why reading ends with the batch under way */
	bool replaced;        /* …because another took the app over */
	bool pong_due;
	uint8_t pong[ARI_WS_CONTROL_PAYLOAD];
	size_t pong_len;
	bool waiting;         /* there is something to gather */
	uint64_t events_then; /* record.events at the last look */
	bool was_promised;    /* since then Asterisk said that a mark comes */
	unsigned promises;    /* looks in a row with that, and no event */
	int64_t promised_ms;  /* the first time; boot clock */
	struct ari_mark asked; /* the last mark */
	int64_t asked_ms;     /* boot clock */
	uint64_t passed;      /* the last one that is committed */
};

static void
end_reading(struct event_reader *reader, const char *reason)
{
	char copy[sizeof(reader->fault)];

	/* the reason may lie in what stopping clears */
	(void)snprintf(copy, sizeof(copy), "%s", reason);
	event_reader_stop(reader);
	reader->ops->ended(reader->ctx, copy);
}

/* ---- marks ---- */

static void
ask_in_ms(struct event_reader *reader, int64_t ms)
{
	const struct timeval after = { .tv_usec = ms * 1000 };

	(void)evtimer_add(reader->on_mark, &after);
}

/* The next one; for whoever wants one from now on. */
static void
want_mark(struct event_reader *reader, struct ari_mark *mark_out)
{
	const int64_t since_ms = clock_boot_ms() - reader->asked_ms;

	*mark_out = reader->asked;
	mark_out->number++;
	if (!evtimer_pending(reader->on_mark, NULL))
		ask_in_ms(reader, since_ms < MARK_EVERY_MS ?
		    MARK_EVERY_MS - since_ms : 0);
}

static void
on_mark_due(evutil_socket_t fd, short what, void *arg)
{
	struct event_reader *reader = arg;
	struct ari_mark mark = reader->asked;

	(void)fd;
	(void)what;
	mark.number++;
	if (reader->ops->ask(reader->ctx, &mark) != 0) {
		ask_in_ms(reader, MARK_RETRY_MS);
		return;
	}
	reader->asked = mark;
	reader->asked_ms = clock_boot_ms();
}

bool
event_reader_is_past(struct event_reader *reader, struct ari_mark *mark)
{
	if (reader->fd < 0)
		return false;
	if (mark->number == 0 || mark->reader != reader->asked.reader)
		want_mark(reader, mark);
	return reader->passed >= mark->number;
}

/* ---- life ---- */

/*
 * That the connection lives, a ping would tell. That Asterisk still sends the
 * app's events over it, only an event does: of connections that register an
 * app in the same moment, one may lose it again and not be told.
 */
static void
arm_look(struct event_reader *reader)
{
	const int64_t ms = *reader->ping_interval_ms;
	const struct timeval after = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)evtimer_add(reader->on_look, &after);
}

/*
 * Whether there is any sign of life since the last look: events read, bytes
 * waiting, or a batch of ours because of which nobody reads.
 */
static bool
is_alive(const struct event_reader *reader)
{
	return reader->record.events != reader->events_then ||
	    reader->batch != NULL || event_socket_has_bytes(reader->fd);
}

static bool
is_deaf(const struct event_reader *reader)
{
	return reader->promises >= PROMISES_BROKEN &&
	    clock_boot_ms() - reader->promised_ms >=
	    *reader->ping_interval_ms * 3 / 2;
}

static void
on_look_due(evutil_socket_t fd, short what, void *arg)
{
	struct event_reader *reader = arg;
	const bool alive = is_alive(reader);
	struct ari_mark mark;

	(void)fd;
	(void)what;
	if (alive)
		reader->promises = 0;
	reader->was_promised = false;
	reader->events_then = reader->record.events;
	if (is_deaf(reader)) {
		end_reading(reader, "Asterisk sends the app's events elsewhere");
		return;
	}
	arm_look(reader);
	/* one that was asked for may be lost, and others wait for it */
	if (!alive || reader->passed < reader->asked.number)
		want_mark(reader, &mark);
}

/* One that has come before Asterisk's reply is none. */
static void
note_promise(struct event_reader *reader)
{
	if (reader->was_promised || reader->passed >= reader->asked.number)
		return;
	reader->was_promised = true;
	if (reader->promises++ == 0)
		reader->promised_ms = clock_boot_ms();
}

void
event_reader_asked(struct event_reader *reader, enum ari_mark_reply reply)
{
	if (reader->on_readable == NULL)
		return;
	switch (reply) {
	case ARI_MARK_COMES:
		note_promise(reader);
		break;
	case ARI_MARK_NO_APP:
		/* what has come already is read first; it is asked again */
		if (reader->batch == NULL &&
		    !event_socket_has_bytes(reader->fd))
			end_reading(reader, "Asterisk has no such Stasis app");
		else
			ask_in_ms(reader, MARK_RETRY_MS);
		break;
	case ARI_MARK_UNKNOWN:
		ask_in_ms(reader, MARK_RETRY_MS);
		break;
	case ARI_MARK_REFUSED:
		break; /* the next look asks again */
	}
}

/* ---- decoding what was peeked ---- */

static int
batch_add(struct batch *batch, const struct ari_event *event)
{
	if (batch->count == batch->capacity) {
		const size_t capacity = batch->capacity == 0 ? 32 :
		    batch->capacity * 2;
		struct ari_event *grown = realloc(batch->events,
		    capacity * sizeof(*grown));

		if (grown == NULL)
			return -KAP_NOMEM;
		batch->events = grown;
		batch->capacity = capacity;
	}
	batch->events[batch->count++] = *event;
	return 0;
}

/* Over HTTP Asterisk may take up a later question first. */
static uint64_t
larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void
note_mark(const struct event_reader *reader, const struct ari_mark *mark)
{
	if (mark->reader == reader->asked.reader &&
	    mark->number <= reader->asked.number)
		reader->batch->marked = larger(reader->batch->marked,
		    mark->number);
}

static int
on_message(void *ctx, const uint8_t *data, size_t len)
{
	struct event_reader *reader = ctx;
	struct ari_event event;

	reader->record.events++;
	switch (ari_decode((const char *)data, len, clock_wall_ms(), &event)) {
	case ARI_EVENT_CALL:
		return batch_add(reader->batch, &event);
	case ARI_EVENT_MARK:
		note_mark(reader, &event.mark);
		break;
	case ARI_EVENT_REPLACED:
		reader->replaced = true;
		(void)snprintf(reader->fault, sizeof(reader->fault),
		    "another connection took the Stasis app over");
		break;
	case ARI_EVENT_IRRELEVANT:
		break;
	}
	return 0;
}

/* Only the last ping of a batch is answered, as the RFC allows. */
static void
on_stream_ping(void *ctx, const uint8_t *payload, size_t len)
{
	struct event_reader *reader = ctx;

	reader->pong_due = true;
	reader->pong_len = len;
	memcpy(reader->pong, payload, len);
}

static void
on_dropped(void *ctx, uint64_t len)
{
	const struct event_reader *reader = ctx;

	reader->ops->dropped(reader->ctx, len);
}

static const struct ari_ws_stream_ops stream_ops = {
	.message = on_message,
	.ping = on_stream_ping,
	.dropped = on_dropped,
};

/* Decode the piece; a fault ends reading when what came before is safe. */
static int
decode_piece(struct event_reader *reader, size_t len)
{
	const int rc = ari_ws_stream_feed(&reader->stream, reader->buffer, len,
	    &stream_ops, reader);

	if (reader->pong_due && rc == 0 &&
	    event_socket_send_control(reader->fd, ARI_WS_PONG, reader->pong,
	        reader->pong_len) == -KAP_GONE)
		(void)snprintf(reader->fault, sizeof(reader->fault),
		    "a pong can't be sent");
	reader->pong_due = false;
	if (rc == -KAP_GONE)
		(void)snprintf(reader->fault, sizeof(reader->fault),
		    "Asterisk closed the link (code %u)",
		    (unsigned)reader->stream.close_code);
	else if (rc == -KAP_PROTO)
		(void)snprintf(reader->fault, sizeof(reader->fault),
		    "Asterisk sent a broken WebSocket frame");
	return rc == -KAP_NOMEM ? rc : 0;
}

/* ---- the transaction ---- */

static void
batch_free(struct batch *batch)
{
	free(batch->events);
	free(batch);
}

static int
store_record(struct event_reader *reader, const struct batch *batch,
    struct store_txn *txn)
{
	const uint8_t key[2] = { reader->slot, 't' };
	const size_t len = (size_t)reader->record.state.message_len;
	int rc = store_put(txn, STORE_STREAMS, key, 1, &reader->record,
	    sizeof(reader->record));

	if (rc != 0)
		return rc;
	if (len > 0)
		return store_put(txn, STORE_STREAMS, key, sizeof(key),
		    reader->stream.message, len);
	if (batch->fresh || reader->tail_stored)
		return store_del(txn, STORE_STREAMS, key, sizeof(key));
	return 0;
}

static int
apply_batch(struct turn_job *job, struct store_txn *txn)
{
	const struct batch *batch = (const struct batch *)job;
	struct event_reader *reader = batch->reader;

	if (reader == NULL)
		return 0;
	reader->ops->begin(reader->ctx);
	for (size_t i = 0; i < batch->count; i++) {
		const int rc = reader->ops->event(reader->ctx, txn,
		    &batch->events[i]);

		if (rc != 0)
			return rc;
	}
	return store_record(reader, batch, txn);
}

static void
finish_batch(struct event_reader *reader, struct batch *batch)
{
	const bool fresh = batch->fresh;
	const size_t peeked = batch->peeked;

	if (batch->marked > 0) {
		reader->passed = larger(reader->passed, batch->marked);
		reader->promises = 0;
	}
	reader->batch = NULL;
	reader->tail_stored = reader->record.state.message_len > 0;
	batch_free(batch);
	CRASH_POINT(events_committed);
	if (event_socket_consume(reader->fd, peeked) != 0 &&
	    reader->fault[0] == '\0')
		(void)snprintf(reader->fault, sizeof(reader->fault),
		    "the socket can't be read");
	CRASH_POINT(events_consumed);
	if (fresh)
		reader->ops->started(reader->ctx);
	else
		reader->ops->committed(reader->ctx, 0);
	if (reader->on_readable == NULL)
		return; /* stopped by the callback */
	if (reader->fault[0] != '\0')
		end_reading(reader, reader->fault);
	else
		(void)event_add(reader->on_readable, NULL);
}

static void
batch_done(struct turn_job *job, int rc)
{
	const struct timeval after = { .tv_usec = RETRY_US };
	struct batch *batch = (struct batch *)job;
	struct event_reader *reader = batch->reader;

	if (reader == NULL) {
		batch_free(batch);
	} else if (rc == 0) {
		finish_batch(reader, batch);
	} else {
		/* nothing was consumed: the same once more, later */
		(void)evtimer_add(reader->on_retry, &after);
		reader->ops->committed(reader->ctx, rc);
	}
}

static void
on_retry_due(evutil_socket_t fd, short what, void *arg)
{
	const struct event_reader *reader = arg;

	(void)fd;
	(void)what;
	if (reader->batch != NULL)
		turn_submit(reader->turn, &reader->batch->job);
}

static struct batch *
batch_new(struct event_reader *reader)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return NULL;
	batch->job.apply = apply_batch;
	batch->job.done = batch_done;
	batch->reader = reader;
	return batch;
}

/* ---- reading ---- */

static void
take_piece(struct event_reader *reader, size_t len)
{
	reader->batch = batch_new(reader);
	if (reader->batch == NULL || decode_piece(reader, len) != 0) {
		if (reader->batch != NULL)
			batch_free(reader->batch); /* never submitted */
		reader->batch = NULL;
		end_reading(reader, "out of memory");
		return;
	}
	reader->batch->peeked = len;
	reader->record.offset += len;
	reader->record.state = reader->stream.state;
	CRASH_POINT(events_peeked);
	turn_submit(reader->turn, &reader->batch->job);
}

/*
 * A commit is about to be made: take all that has come. Asterisk tells most
 * things in bursts, so reading late makes one transaction of several.
 */
static void
gather(void *arg)
{
	struct event_reader *reader = arg;
	char reason[sizeof(reader->fault)];
	ssize_t n;

	if (!reader->waiting)
		return;
	reader->waiting = false;
	n = recv(reader->fd, reader->buffer, EVENT_READER_PEEK,
	    MSG_PEEK | MSG_DONTWAIT);
	if (n > 0) {
		take_piece(reader, (size_t)n);
	} else if (n == 0) {
		end_reading(reader, "Asterisk closed the connection");
	} else if (errno == EAGAIN || errno == EINTR) {
		(void)event_add(reader->on_readable, NULL);
	} else {
		(void)snprintf(reason, sizeof(reason),
		    "the connection broke: %s", strerror(errno));
		end_reading(reader, reason);
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct event_reader *reader = arg;

	(void)fd;
	(void)what;
	reader->waiting = true;
	turn_wake_lazily(reader->turn);
}

/* Everything about a stream as at its beginning; `fd` is examined. */
static int
attach(struct event_reader *reader, int fd, uint64_t *position_out)
{
	int rc;

	event_reader_stop(reader);
	memset(&reader->record, 0, sizeof(reader->record));
	reader->record.version = RECORD_VERSION;
	rc = event_socket_cookie(fd, &reader->record.cookie);
	if (rc == 0)
		rc = event_socket_position(fd, position_out);
	if (rc != 0)
		return rc;
	reader->on_readable = event_new(reader->base, fd, EV_READ, on_readable,
	    reader);
	if (reader->on_readable == NULL)
		return -KAP_NOMEM;
	reader->fd = fd;
	reader->asked = (struct ari_mark){ .number = 0 };
	reader->asked_ms = 0;
	evutil_secure_rng_get_bytes(&reader->asked.reader,
	    sizeof(reader->asked.reader));
	reader->passed = 0;
	reader->replaced = false;
	reader->events_then = 0;
	reader->was_promised = false;
	reader->promises = 0;
	arm_look(reader);
	return 0;
}

int
event_reader_start(struct event_reader *reader, int fd)
{
	int rc = attach(reader, fd, &reader->record.offset);

	if (rc == 0) {
		reader->batch = batch_new(reader);
		rc = reader->batch != NULL ? 0 : -KAP_NOMEM;
	}
	if (rc != 0) {
		event_reader_stop(reader);
		return rc;
	}
	reader->batch->fresh = true;
	reader->record.began_ms = clock_deadline_ms();
	turn_submit(reader->turn, &reader->batch->job);
	return 0;
}

/* Read the slot's record and what is unfinished. */
static int
load_record(struct event_reader *reader, struct store_txn *txn)
{
	const uint8_t key[2] = { reader->slot, 't' };
	const uint64_t cookie = reader->record.cookie;
	struct store_value tail = { NULL, 0 };
	int rc = store_copy(txn, STORE_STREAMS, key, 1, &reader->record,
	    sizeof(reader->record));

	if (rc != 0)
		return rc;
	if (reader->record.cookie != cookie)
		return -KAP_NOENT;
	if (reader->record.version > RECORD_VERSION)
		return -KAP_VERSION;
	reader->record.version = RECORD_VERSION;
	rc = store_get(txn, STORE_STREAMS, key, sizeof(key), &tail);
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	reader->tail_stored = tail.len > 0;
	return ari_ws_stream_load(&reader->stream, &reader->record.state,
	    tail.data, tail.len);
}

static int
load_stream(struct event_reader *reader)
{
	struct store_txn *txn;
	int rc = store_begin_read(reader->store, &txn);

	if (rc != 0)
		return rc;
	rc = load_record(reader, txn);
	store_end_read(&txn);
	return rc;
}

/* Bring the kernel to where the store is. */
static int
catch_up(struct event_reader *reader, uint64_t position, uint64_t *lost_out)
{
	if (position > reader->record.offset) {
		*lost_out = position - reader->record.offset;
		stats_add(STATS_ari_bytes_lost, *lost_out);
		return -KAP_CORRUPT;
	}
	return event_socket_consume(reader->fd,
	    reader->record.offset - position);
}

bool
event_reader_was_replaced(const struct event_reader *reader)
{
	return reader->replaced;
}

int64_t
event_reader_began_ms(const struct event_reader *reader)
{
	return reader->record.began_ms;
}

int
event_reader_resume(struct event_reader *reader, int fd, uint64_t *lost_out)
{
	uint64_t position;
	int rc = attach(reader, fd, &position);

	*lost_out = 0;
	CRASH_POINT(events_before_resume);
	if (rc == 0)
		rc = load_stream(reader);
	if (rc == 0)
		rc = catch_up(reader, position, lost_out);
	CRASH_POINT(events_resumed);
	if (rc != 0) {
		event_reader_stop(reader);
		return rc;
	}
	reader->events_then = reader->record.events;
	(void)event_add(reader->on_readable, NULL);
	return 0;
}

struct event_reader *
event_reader_new(struct event_base *base, struct turn *turn,
    struct store *store, int slot, const int64_t *ping_interval_ms,
    const struct event_reader_ops *ops, void *ctx)
{
	struct event_reader *reader = calloc(1, sizeof(*reader));

	if (reader == NULL)
		return NULL;
	reader->base = base;
	reader->turn = turn;
	reader->store = store;
	reader->slot = (uint8_t)slot;
	reader->ping_interval_ms = ping_interval_ms;
	reader->ops = ops;
	reader->ctx = ctx;
	reader->fd = -1;
	reader->buffer = malloc(EVENT_READER_PEEK);
	reader->on_look = evtimer_new(base, on_look_due, reader);
	reader->on_mark = evtimer_new(base, on_mark_due, reader);
	reader->on_retry = evtimer_new(base, on_retry_due, reader);
	if (reader->buffer == NULL || reader->on_look == NULL ||
	    reader->on_mark == NULL || reader->on_retry == NULL ||
	    turn_add_gather(turn, gather, reader) != 0)
		event_reader_free(&reader);
	return reader;
}

void
event_reader_stop(struct event_reader *reader)
{
	if (reader->on_readable != NULL)
		event_free(reader->on_readable);
	reader->on_readable = NULL;
	reader->waiting = false;
	(void)evtimer_del(reader->on_look);
	(void)evtimer_del(reader->on_mark);
	if (reader->batch != NULL && evtimer_pending(reader->on_retry, NULL))
		batch_free(reader->batch); /* the turn doesn't have it */
	else if (reader->batch != NULL)
		reader->batch->reader = NULL;
	(void)evtimer_del(reader->on_retry);
	reader->batch = NULL;
	reader->fd = -1;
	reader->fault[0] = '\0';
	ari_ws_stream_deinit(&reader->stream);
}

void
event_reader_free(struct event_reader **reader)
{
	struct event_reader *old = *reader;

	if (old == NULL)
		return;
	*reader = NULL;
	turn_remove_gather(old->turn, gather, old);
	if (old->on_look != NULL && old->on_mark != NULL &&
	    old->on_retry != NULL)
		event_reader_stop(old);
	if (old->on_look != NULL)
		event_free(old->on_look);
	if (old->on_mark != NULL)
		event_free(old->on_mark);
	if (old->on_retry != NULL)
		event_free(old->on_retry);
	free(old->buffer);
	free(old);
}
