/*
 * Who reads the event stream of each slot, as this process knows it: written
 * by streams.c, asked by whoever may only act while events are read.
 */
#ifndef KAP_STREAM_STATE_H
#define KAP_STREAM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/child.h"

enum stream_reader {
	STREAM_UNREAD,   /* nobody, or nobody that is known of here */
	STREAM_READ,     /* this process */
	STREAM_ELSEWHERE /* left to another one, which reads or will at once:
	                    until then the kernel keeps what comes */
};

struct stream_state {
	enum stream_reader reader;
	/*
	 * STREAM_READ: since when without a gap, over whatever restarts. An
	 * originate that was sent before is never repeated. Deadline clock.
	 */
	int64_t began_ms;
	int fd; /* STREAM_READ: the socket; 0: none to be asked */
};

struct stream_states {
	struct stream_state slots[CHILD_MAX_WORKERS];
};

/* A place in a stream; zeroed: none yet. */
struct stream_mark {
	bool is_set;
	int64_t began_ms; /* of the stream it is in */
	uint64_t bytes;
};

/*
 * Whether all that had come in on a stream when this mark was first asked for
 * is committed by now. Who concludes from what Asterisk no longer has must
 * have read what it had told before: the kernel may hold seconds of it, and
 * the other end what didn't fit there.
 *
 * True where the stream isn't read here, or is another one by now: what can
 * be concluded then is for the caller to know. Ask again after a while.
 */
bool stream_mark_is_read(struct stream_mark *mark,
    const struct stream_state *state);

#endif
