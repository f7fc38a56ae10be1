/*
 * The event streams: for each worker slot that may ever be, the kept event
 * socket and the one process that reads it. Moves a stream from reader to
 * reader as shared/child.h has it: STOP_READING, then UNREAD or the reader's
 * death, and only then the next one's READ. Who should read is the owner's to
 * say. Knows no process and no clock; never reads a socket that it keeps.
 */
#ifndef KAP_STREAMS_H
#define KAP_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/child.h"
#include "shared/errors.h"

/* A worker process. */
struct stream_reader {
	int slot;
	uint32_t generation; /* 0: nobody */
};

struct streams_ops {
	/*
	 * Who is to read the stream now.
	 *
	 * known  somebody has read it, and nobody said that it is idle
	 */
	struct stream_reader (*wanted)(void *ctx, int stream, bool known);
	/*
	 * Send READ, with the socket or -1, or STOP_READING. Negative: it is
	 * tried again by the next streams_settle.
	 */
	int (*send)(void *ctx, const struct stream_reader *to,
	    enum child_message_kind kind, int stream, int fd);
};

struct stream {
	int fd;                      /* the kept socket; -1: none */
	bool known;
	struct stream_reader reader; /* told to read, or reads by itself */
	bool stop_sent;
	int64_t stop_since_ms;  /* boot clock, it is to stop since; 0: isn't */
	int64_t rests_until_ms; /* boot clock; no READ before */
};

struct streams {
	const struct streams_ops *ops;
	void *ctx;
	struct stream at[CHILD_MAX_WORKERS];
};

/* ops, ctx  borrowed until streams_deinit, which closes the sockets. */
void streams_init(struct streams *streams, const struct streams_ops *ops,
    void *ctx);
void streams_deinit(struct streams *streams);

/*
 * Send what has to be sent so that each stream gets its wanted reader. To be
 * called after every change of who is wanted, and now and then.
 *
 * now_ms  boot clock, here and below
 */
void streams_settle(struct streams *streams, int64_t now_ms);

/*
 * CHILD_MSG_EVENTS_FD: the reader has this socket now. A worker may begin by
 * itself with a stream that nobody reads; one that does so while another reads
 * is told to stop.
 *
 * stream  as the worker says: any number
 * fd      ours from now on, whatever comes
 *
 * Returns 0; -KAP_INVAL for a number out of range; -KAP_STATE for a socket
 * that wasn't taken.
 */
KAP_MUST_USE int streams_take_socket(struct streams *streams, int stream,
    struct stream_reader from, int fd);

/* CHILD_MSG_EVENTS_GONE: close the copy, if it is the reader who says so. */
void streams_socket_gone(struct streams *streams, int stream,
    struct stream_reader from);

/*
 * CHILD_MSG_UNREAD: the reader reads no more. Void if it isn't the reader.
 *
 * idle  nobody needs the stream: it is closed and forgotten, unless it is
 *       the reader's own
 */
void streams_unread(struct streams *streams, int stream,
    struct stream_reader from, bool idle, int64_t now_ms);

/* That process is dead, and reaped. */
void streams_reader_gone(struct streams *streams,
    struct stream_reader reader);

/* Since when a process is to stop reading and hasn't; 0: nothing is due. */
int64_t streams_stop_since(const struct streams *streams,
    struct stream_reader reader);

/* True if the stream's reader is the wanted one, and isn't to stop. */
bool streams_is_settled(const struct streams *streams, int stream);

bool stream_reader_equals(struct stream_reader a, struct stream_reader b);

#endif
