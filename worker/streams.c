/*
 * One struct for each stream, with its link and the events of its batches;
 * what an event does to a call is call_events.c's.
 */
#include "streams.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "call_events.h"
#include "event_ask.h"
#include "event_link.h"
#include "shared/log.h"

#define REFUSED_PER_LOG 100

struct stream {
	LIST_ENTRY(stream) entry;
	struct streams *streams;
	unsigned slot;
	struct event_link *link;
	struct event_ask *ask;
	struct call_events *events;
	bool up;
	unsigned refused_batches; /* in a row; tried ten times a second */
};

struct streams {
	struct streams_options options;
	LIST_HEAD(, stream) list;
	/* the text of an UNREAD that could not be sent yet; NULL: none */
	const char *unsaid[CHILD_MAX_WORKERS];
};

static struct stream *
find(const struct streams *streams, int slot)
{
	struct stream *stream;

	LIST_FOREACH(stream, &streams->list, entry) {
		if ((int)stream->slot == slot)
			return stream;
	}
	return NULL;
}

static void
set_state(struct stream *stream, enum stream_reader reader)
{
	struct stream_state *state =
	    &stream->streams->options.states->slots[stream->slot];

	state->reader = reader;
	state->began_ms = reader == STREAM_READ ?
	    event_link_began_ms(stream->link) : 0;
	state->link = reader == STREAM_READ ? stream->link : NULL;
}

/* --- what the link tells ---------------------------------------------- */

static void
on_up(void *ctx, bool resumed)
{
	struct stream *stream = ctx;
	const struct streams_options *options = &stream->streams->options;

	stream->up = true;
	set_state(stream, STREAM_READ);
	log_info("event link up", LOG_S("how", resumed ? "resumed" : "new"),
	    LOG_I("slot", stream->slot));
	options->changed(options->ctx, stream->slot, true, resumed);
}

static void
on_down(void *ctx, const char *reason)
{
	struct stream *stream = ctx;
	const struct streams_options *options = &stream->streams->options;

	log_warn(stream->up ? "event link lost" : "no event link",
	    LOG_S("reason", reason), LOG_I("slot", stream->slot));
	stream->up = false;
	event_ask_forget(stream->ask);
	set_state(stream, STREAM_UNREAD);
	options->changed(options->ctx, stream->slot, false, false);
}

static int
on_ask(void *ctx, const struct ari_mark *mark)
{
	const struct stream *stream = ctx;

	return event_ask_send(stream->ask, mark);
}

static void
on_told(void *ctx, enum ari_mark_reply reply)
{
	const struct stream *stream = ctx;

	event_link_asked(stream->link, reply);
}

static void
on_begin(void *ctx)
{
	const struct stream *stream = ctx;

	call_events_begin(stream->events);
}

static int
on_event(void *ctx, struct store_txn *txn, const struct ari_event *event)
{
	const struct stream *stream = ctx;

	return call_events_apply(stream->events, txn, event);
}

static void
on_committed(void *ctx, int rc)
{
	struct stream *stream = ctx;

	if (rc == 0)
		stream->refused_batches = 0;
	else if (stream->refused_batches++ % REFUSED_PER_LOG == 0)
		log_error("events can't be stored now; trying again",
		    LOG_S("error", kap_strerror(rc)));
	call_events_committed(stream->events, rc);
}

static void
on_lost(void *ctx, uint64_t bytes)
{
	const struct stream *stream = ctx;

	log_error("events were lost unread: reconciling",
	    LOG_I("bytes", bytes), LOG_I("slot", stream->slot));
}

static int
on_hand_over(void *ctx, int fd)
{
	const struct stream *stream = ctx;

	return child_runtime_send_about(stream->streams->options.runtime,
	    CHILD_MSG_EVENTS_FD, (int)stream->slot, NULL, fd);
}

static void
on_gone(void *ctx)
{
	const struct stream *stream = ctx;

	if (child_runtime_send_about(stream->streams->options.runtime,
	        CHILD_MSG_EVENTS_GONE, (int)stream->slot, NULL, -1) != 0)
		log_warn("could not tell the master of a dead event socket",
		    LOG_I("slot", stream->slot));
}

static const struct event_link_ops link_ops = {
	.up = on_up,
	.down = on_down,
	.begin = on_begin,
	.event = on_event,
	.committed = on_committed,
	.lost = on_lost,
	.hand_over = on_hand_over,
	.ask = on_ask,
	.gone = on_gone,
};

/* --- beginning and ending ----------------------------------------------- */

static void
free_stream(struct stream *stream)
{
	if (stream->link != NULL)
		event_link_free(&stream->link);
	event_ask_free(&stream->ask);
	call_events_free(&stream->events);
	free(stream);
}

static int
make_stream(struct streams *streams, int slot, struct stream **stream_out)
{
	const struct streams_options *options = &streams->options;
	struct stream *stream = calloc(1, sizeof(*stream));
	const struct event_ask_options ask = {
		.control = options->control,
		.config = &options->runtime->config,
		.slot = (unsigned)slot,
		.told = on_told,
		.ctx = stream,
	};
	struct kap_errmsg msg;
	int rc = -KAP_NOMEM;

	if (stream == NULL)
		return rc;
	stream->streams = streams;
	stream->slot = (unsigned)slot;
	stream->ask = event_ask_new(&ask);
	stream->events = call_events_new(options->maker, options->dispatch,
	    &options->states->slots[slot]);
	if (stream->events != NULL && stream->ask != NULL)
		rc = event_link_new(&stream->link, options->runtime->base,
		    options->turn, options->store, &options->runtime->config,
		    slot, &link_ops, stream, &msg);
	if (rc != 0)
		free_stream(stream);
	else
		*stream_out = stream;
	return rc;
}

int
streams_read(struct streams *streams, int slot, int fd)
{
	struct stream *stream = NULL;
	int rc = slot >= 0 && slot < CHILD_MAX_WORKERS ? 0 : -KAP_INVAL;

	if (rc == 0 && find(streams, slot) == NULL)
		rc = make_stream(streams, slot, &stream);
	if (stream == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return rc;
	}
	streams->unsaid[slot] = NULL;
	LIST_INSERT_HEAD(&streams->list, stream, entry);
	event_link_start(stream->link, fd);
	return 0;
}

static void
say_unread(struct streams *streams, int slot, const char *text)
{
	const int rc = child_runtime_send_about(streams->options.runtime,
	    CHILD_MSG_UNREAD, slot, text, -1);

	streams->unsaid[slot] = rc == -KAP_AGAIN ? text : NULL;
}

void
streams_leave(struct streams *streams, int slot)
{
	struct stream *stream = find(streams, slot);

	if (slot < 0 || slot >= CHILD_MAX_WORKERS)
		return;
	streams->options.states->slots[slot] =
	    (struct stream_state){ .reader = STREAM_ELSEWHERE };
	if (stream != NULL) {
		LIST_REMOVE(stream, entry);
		free_stream(stream);
		log_info("event link left to another", LOG_I("slot", slot));
	}
	say_unread(streams, slot, "");
}

void
streams_end(struct streams *streams, int slot)
{
	struct stream *stream = find(streams, slot);

	if (stream == NULL)
		return;
	set_state(stream, STREAM_UNREAD);
	event_link_end(stream->link);
	LIST_REMOVE(stream, entry);
	free_stream(stream);
	log_info("event link closed: its calls are over",
	    LOG_I("slot", slot));
	say_unread(streams, slot, "idle");
}

bool
streams_has(const struct streams *streams, unsigned slot)
{
	return find(streams, (int)slot) != NULL;
}

void
streams_look(struct streams *streams)
{
	for (int slot = 0; slot < CHILD_MAX_WORKERS; slot++) {
		if (streams->unsaid[slot] != NULL)
			say_unread(streams, slot, streams->unsaid[slot]);
	}
}

struct streams *
streams_new(const struct streams_options *options)
{
	struct streams *streams = calloc(1, sizeof(*streams));

	if (streams == NULL)
		return NULL;
	streams->options = *options;
	LIST_INIT(&streams->list);
	return streams;
}

void
streams_free(struct streams **streams)
{
	struct streams *old = *streams;
	struct stream *stream;

	if (old == NULL)
		return;
	*streams = NULL;
	while ((stream = LIST_FIRST(&old->list)) != NULL) {
		LIST_REMOVE(stream, entry);
		set_state(stream, STREAM_UNREAD);
		free_stream(stream);
	}
	free(old);
}
