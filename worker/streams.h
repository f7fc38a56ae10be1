/*
 * The event streams that this worker reads: its own slot's, and those of
 * slots that are no more. The master says which (child.h); one that nobody
 * reads though calls need it is adopted (adoption.h).
 *
 * Keeps struct stream_states true, and tells the master of every change.
 */
#ifndef KAP_STREAMS_H
#define KAP_STREAMS_H

#include <stdbool.h>

#include "change.h"
#include "dispatch.h"
#include "shared/child_runtime.h"
#include "shared/turn.h"
#include "stream_state.h"

struct streams;

struct streams_options {
	struct child_runtime *runtime;
	struct store *store;
	struct turn *turn;
	const struct change_maker *maker;
	struct dispatch *dispatch;
	struct ari_command_link **control; /* where Asterisk is asked */
	struct stream_states *states;      /* written here alone */
	/*
	 * A stream's events are read from now on, or not any more.
	 *
	 * resumed  nothing was missed
	 */
	void (*changed)(void *ctx, unsigned slot, bool up, bool resumed);
	void *ctx;
};

/* Everything in `options` is borrowed. NULL when out of memory. */
struct streams *streams_new(const struct streams_options *options);

/*
 * Stop all, leaving the connections to the master and to whoever is next.
 * Not from inside `changed`. Sets *streams NULL.
 */
void streams_free(struct streams **streams);

/*
 * Read a slot's stream from now on. One that is read already goes on as it
 * is.
 *
 * fd  the socket that the master has kept, now ours; -1: none, connect
 *
 * Returns 0; -KAP_NOMEM; -KAP_INVAL (asterisk.url, or no such slot). The
 * descriptor is gone either way. First callback from the loop.
 */
KAP_MUST_USE int streams_read(struct streams *streams, int slot, int fd);

/*
 * Leave a slot's stream to another process, and tell the master that it may
 * read (CHILD_MSG_UNREAD): what was committed here is consumed, all else is
 * the other's. Says so for one that isn't read here, too. Not from inside
 * `changed`.
 */
void streams_leave(struct streams *streams, int slot);

/* Close a stream that nobody needs any more. Not from inside `changed`. */
void streams_end(struct streams *streams, int slot);

/* Whether the stream is this worker's to read, up or not. */
bool streams_has(const struct streams *streams, unsigned slot);

/* Tell the master what it could not be told before; for the tick. */
void streams_look(struct streams *streams);

#endif
