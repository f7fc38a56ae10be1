/*
 * The event link of one slot: the WebSocket that Asterisk sends the
 * events of the slot's Stasis app over. Takes over the connection of a dead
 * predecessor, or connects; keeps it alive, and connects again when it is
 * lost. Reading is event_reader.c's; what an event does to a call is the
 * owner's, and so are the words in the log but for dropped messages and an app
 * that a stranger took over.
 *
 * Nothing but control frames is ever sent on it; whether Asterisk still sends
 * the app's events, it is asked over another connection (`ask`).
 */
#ifndef KAP_EVENT_LINK_H
#define KAP_EVENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "ari_decode.h"
#include "event_reader.h"
#include "shared/config.h"
#include "shared/errors.h"
#include "shared/store.h"
#include "shared/turn.h"

struct event_base;
struct event_link;

enum event_link_state {
	EVENT_LINK_STOPPED,    /* not started, or stopped for good */
	EVENT_LINK_DOWN,       /* waits before the next connect */
	EVENT_LINK_CONNECTING, /* TCP and the WebSocket's handshake */
	EVENT_LINK_OPENING,    /* writes the new stream's record */
	EVENT_LINK_UP,         /* events are read */
	EVENT_LINK_STATE_COUNT
};

const char *event_link_state_name(enum event_link_state state);

/*
 * Called from the loop; begin and event from inside the turn's transaction.
 * None may free the link.
 */
struct event_link_ops {
	/*
	 * Events are read from now on.
	 *
	 * resumed  true: the predecessor's connection goes on, nothing was
	 *          missed. False: a new one; reconcile.
	 */
	void (*up)(void *ctx, bool resumed);
	/* It is lost, or a connect failed; it goes on trying. In words. */
	void (*down)(void *ctx, const char *reason);
	/*
	 * A batch is applied, maybe not for the first time: forget what an
	 * earlier try of the same batch left in memory.
	 */
	void (*begin)(void *ctx);
	/*
	 * One event of a call, in Asterisk's order. 0; or negative, and the
	 * whole batch is given up and tried again after 100 ms, without end:
	 * so only for faults of the store, never for what the event says.
	 */
	int (*event)(void *ctx, struct store_txn *txn,
	    const struct ari_event *event);
	/* The batch is safe (rc 0), or it will be tried again. */
	void (*committed)(void *ctx, int rc);
	/*
	 * Bytes of the stream are gone unread, though that can't be: the
	 * connection is given up, and `down` follows.
	 */
	void (*lost)(void *ctx, uint64_t bytes);
	/*
	 * Hand the socket to the master (CHILD_MSG_EVENTS_FD). 0, or negative
	 * to be asked again after ping_interval_ms. The descriptor stays ours.
	 */
	int (*hand_over)(void *ctx, int fd);
	/* As event_reader_ops has it; event_link_asked() takes the reply. */
	int (*ask)(void *ctx, const struct ari_mark *mark);
	/* That socket is dead (CHILD_MSG_EVENTS_GONE); already shut down. */
	void (*gone)(void *ctx);
};

/*
 * Make a link; nothing happens until event_link_start.
 *
 * base, turn, store, config, ops  borrowed until event_link_free
 * slot  the worker's, 0..CHILD_MAX_WORKERS - 1
 * msg   why asterisk.url can't be used
 *
 * Returns 0, -KAP_INVAL, -KAP_NOMEM. Never blocks. Workers.
 */
KAP_MUST_USE int event_link_new(struct event_link **link_out,
    struct event_base *base, struct turn *turn, struct store *store,
    const struct config *config, int slot, const struct event_link_ops *ops,
    void *ctx, struct kap_errmsg *msg);

/*
 * Start; the first callback comes from the loop.
 *
 * inherited_fd  the socket that the last reader left to the master
 *               (CHILD_MSG_READ), now the link's; -1: none
 */
void event_link_start(struct event_link *link, int inherited_fd);

/*
 * Read no more, so that a successor may; the connection stays open in the
 * master's copy of the socket, which it is offered once more if it has none.
 * What isn't committed yet is left to the successor. Not from inside begin or
 * event.
 */
void event_link_stop(struct event_link *link);

/*
 * Close the connection in good order and for good: nobody will read it. The
 * owner tells the master to close its copy. Not from inside begin or event.
 */
void event_link_end(struct event_link *link);

/*
 * Stop and free. The connection lives on in the master's copy of the socket.
 * Not from inside a callback of the link. Sets *link NULL.
 */
void event_link_free(struct event_link **link);

enum event_link_state event_link_state(const struct event_link *link);

/*
 * The reply to `ask` (event_reader_asked): not of a question that was asked
 * before the last `up`. May call `down`.
 */
void event_link_asked(struct event_link *link, enum ari_mark_reply reply);

/* Whether the stream has been read beyond a mark (event_reader_is_past). */
bool event_link_is_past(struct event_link *link, struct ari_mark *mark);

/* Since when events are read without a gap (event_reader_began_ms). */
int64_t event_link_began_ms(const struct event_link *link);

#endif
