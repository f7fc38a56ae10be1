/*
 * Reads the events of one connected socket so that each takes effect exactly
 * once, whenever the process dies: bytes are peeked, their events applied in
 * one transaction together with the stream's offset and what is unfinished,
 * and only then consumed. What a dead reader had not committed is still in
 * the kernel, for the master holds the socket too; what it had committed but
 * not consumed is told by the offset.
 *
 * One reader at a time: a successor begins after its predecessor is reaped.
 * Knows nothing of connecting, and of calls only ari_decode.h's events.
 */
#ifndef KAP_EVENT_READER_H
#define KAP_EVENT_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "ari_decode.h"
#include "shared/errors.h"
#include "shared/store.h"
#include "shared/turn.h"

struct event_base;
struct event_reader;

/* Most that is peeked, and so committed, at once. */
#define EVENT_READER_PEEK 262144

/* begin, event and committed are as in event_link.h. None may free. */
struct event_reader_ops {
	/* A new stream's record is committed; reading begins. */
	void (*started)(void *ctx);
	void (*begin)(void *ctx);
	int (*event)(void *ctx, struct store_txn *txn,
	    const struct ari_event *event);
	void (*committed)(void *ctx, int rc);
	/* A message over ARI_WS_MESSAGE_MAX was thrown away. */
	void (*dropped)(void *ctx, uint64_t bytes);
	/*
	 * Have Asterisk send a mark, and say by event_reader_asked() what it
	 * said to that, if anything. 0; or negative, and it is asked again
	 * soon: Asterisk can't be reached now.
	 */
	int (*ask)(void *ctx, const struct ari_mark *mark);
	/* The connection is of no more use; the reader has stopped. */
	void (*ended)(void *ctx, const char *reason);
};

/*
 * Make a reader; all arguments are borrowed until event_reader_free.
 *
 * slot              0..CHILD_MAX_WORKERS - 1: whose record in STORE_STREAMS
 * ping_interval_ms  how long no event may come before a mark is asked for;
 *                   read anew each time
 *
 * Returns NULL when out of memory.
 */
struct event_reader *event_reader_new(struct event_base *base,
    struct turn *turn, struct store *store, int slot,
    const int64_t *ping_interval_ms, const struct event_reader_ops *ops,
    void *ctx);

/*
 * Begin a new stream: the handshake's head is consumed, what follows it is
 * not. Writes the stream's record with the next turn, then calls `started`.
 *
 * fd  connected, non-blocking; stays the caller's, open until
 *     event_reader_stop
 *
 * Returns 0; -KAP_IO (the socket can't be examined), -KAP_GONE (it is closed
 * already), -KAP_NOMEM. The reader is stopped on error.
 */
KAP_MUST_USE int event_reader_start(struct event_reader *reader, int fd);

/*
 * Go on with the stream of a dead predecessor. Reads from the store; what
 * was committed already is discarded from the socket; reading begins.
 *
 * lost_out  bytes that are gone unread; only with -KAP_CORRUPT, else 0
 *
 * Returns 0; -KAP_NOENT (not the socket of the slot's record); -KAP_CORRUPT
 * (bytes are missing, or the record is damaged: frames can't be told any
 * more); -KAP_VERSION (a newer program's record); -KAP_GONE (reset by its
 * other end meanwhile); -KAP_IO, -KAP_NOMEM. The reader is stopped on error.
 */
KAP_MUST_USE int event_reader_resume(struct event_reader *reader, int fd,
    uint64_t *lost_out);

/*
 * Read no more. A batch that is not committed yet is given up: its bytes are
 * still in the kernel, and a successor's. Any time, also from `ended`.
 */
void event_reader_stop(struct event_reader *reader);

/* Stop and free. Sets *reader NULL. */
void event_reader_free(struct event_reader **reader);

/*
 * The reply to `ask`. Where Asterisk says again and again that a mark comes,
 * and no event does for one and a half intervals, it sends the app's events to
 * somebody else, or to nobody, and reading ends. Where there is no such app it
 * ends, too, once all that has come is read.
 *
 * May call `ended`. Nothing happens to a reader that is stopped.
 */
void event_reader_asked(struct event_reader *reader,
    enum ari_mark_reply reply);

/* Whether reading ended because another connection took the app over. */
bool event_reader_was_replaced(const struct event_reader *reader);

/*
 * Whether everything that Asterisk had for the app when this was first asked
 * for is committed by now. Has Asterisk asked for a mark behind it where there
 * is none yet, or one of a reader that is no more; the next one serves all who
 * come before it is asked for. Nothing is concluded while Asterisk can't be
 * asked, or sends the events elsewhere. Never blocks, calls nothing back.
 */
bool event_reader_is_past(struct event_reader *reader,
    struct ari_mark *mark);

/*
 * Since when the stream is read without a gap, over whatever restarts of the
 * worker. Deadline clock; for one that was started or resumed.
 */
int64_t event_reader_began_ms(const struct event_reader *reader);

#endif
