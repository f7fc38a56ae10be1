/*
 * Who reads the event stream of each slot, as this process knows it: written
 * by streams.c, asked by whoever may only act while events are read.
 */
#ifndef KAP_STREAM_STATE_H
#define KAP_STREAM_STATE_H

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
};

struct stream_states {
	struct stream_state slots[CHILD_MAX_WORKERS];
};

#endif
