/*
 * Requests that have had something played, and wait for Asterisk to take it.
 * What a process has in memory here is of no use after its death: the
 * playback's own record tells the same.
 */
#ifndef KAP_CONTROL_WAIT_H
#define KAP_CONTROL_WAIT_H

#include <stdint.h>

#include "api.h"
#include "shared/call_play.h"

struct control_waiters;

enum control_outcome {
	CONTROL_TAKEN,   /* Asterisk has it */
	CONTROL_REFUSED, /* …would not have it */
	CONTROL_GONE,    /* …has nothing to play it to any more */
	CONTROL_ENDED,   /* the call is over */
	CONTROL_UNKNOWN  /* no reply in time */
};

/* One that waits; part of a request. All but the first two are its own. */
struct control_wait {
	void (*over)(struct control_wait *wait, enum control_outcome outcome);
	int64_t until_ms; /* deadline clock: for the reply */
	char call_id[CALL_ID_SIZE];
	struct call_play_id play;
};

struct control_waiters *control_waiters_new(void);

/* All that still wait are told UNKNOWN. Sets *waiters NULL. */
void control_waiters_free(struct control_waiters **waiters);

unsigned control_waiters_count(const struct control_waiters *waiters);

/*
 * Wait. `wait` is borrowed until over() is called, once, from the loop.
 * Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int control_wait_add(struct control_waiters *waiters,
    struct control_wait *wait);

/* A call has changed (dispatch_watch_fn). */
void control_call_changed(struct api *api, const struct change *change);

/*
 * Something about a call's playback was read by another process: look in the
 * store what it was.
 */
void control_look_at(struct api *api, const char *call_id);

/* The same for all that wait, with those whose time is over; for the tick. */
void control_review(struct api *api);

#endif
