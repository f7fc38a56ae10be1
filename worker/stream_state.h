/*
 * Who reads the event stream of each slot, as this process knows it: written
 * by streams.c, asked by whoever may only act while events are read.
 */
#ifndef KAP_STREAM_STATE_H
#define KAP_STREAM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "event_reader.h"
#include "shared/child.h"

struct event_link;

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
	struct event_link *link; /* STREAM_READ: over which; else NULL */
};

struct stream_states {
	struct stream_state slots[CHILD_MAX_WORKERS];
};

/*
 * Whether all that Asterisk had written to a stream when this was first asked
 * for is committed by now (event_reader_is_past). Who concludes from what
 * Asterisk no longer has must have read what it told before: after a crash
 * under load the kernel holds seconds of it, and Asterisk what didn't fit
 * there. While false, ask again after a while.
 *
 * True where the stream isn't read here: what can be concluded then is for
 * the caller to know.
 */
bool stream_is_past(const struct stream_state *state,
    struct ari_mark *mark);

#endif
