/*
 * Whether a command that was said over a connection which is gone can still be
 * carried out. Asterisk works off what came over a WebSocket one by one, also
 * when its other end is dead, until it can't write a reply, and gives the
 * connection's app up behind the last of it (res/ari/ari_websockets.c;
 * tests/integration/test_simulator.py asks a real one). Each connection has an
 * app of its own (ari_url_connection_name): so once Asterisk has none of that
 * name, nothing more comes of what was said there, and what it knows of a
 * channel or a playback is the last word.
 */
#ifndef KAP_COMMAND_FENCE_H
#define KAP_COMMAND_FENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "ari_command.h"
#include "ari_url.h"
#include "shared/config.h"

struct event_base;
struct command_fence;

enum fence_end {
	FENCE_PASSED,  /* nothing more comes of what was said there */
	FENCE_STANDS,  /* for 15 s: Asterisk may never give it up */
	FENCE_NO_REPLY /* there is no Asterisk to be asked, or no time */
};

typedef void fence_ended_fn(void *arg, enum fence_end end);

/* Who waits. The caller's memory, zeroed before the first use. */
struct fence_wait {
	TAILQ_ENTRY(fence_wait) entry;
	struct command_fence *fence; /* NULL: doesn't wait */
	fence_ended_fn *ended;
	void *arg;
	char app[ARI_APP_SIZE];
	int64_t since_ms;
	bool asked; /* in this round */
	bool is_ending;
	enum fence_end end;
};

/*
 * control  where the link stands that is asked over, opened later; borrowed,
 *          like the others
 *
 * Returns NULL when out of memory. Workers.
 */
struct command_fence *command_fence_new(struct event_base *base,
    const struct config *config, struct ari_command_link *const *control);

/* The link is closed, and nobody waits any more. Sets *fence NULL. */
void command_fence_free(struct command_fence **fence);

/*
 * Wait until Asterisk has no such app.
 *
 * app    copied
 * ended  called once, from the loop, never from inside this call: as soon as
 *        it is gone; when it was still there 15 s later; when nobody can tell.
 *        Where many wait, no faster than the link takes what they say then.
 *        May begin and cancel waits.
 */
void command_fence_wait(struct command_fence *fence, struct fence_wait *wait,
    const char *app, fence_ended_fn *ended, void *arg);

/* No more `ended`; nothing, if it doesn't wait. */
void command_fence_cancel(struct fence_wait *wait);

/* End all waits with FENCE_NO_REPLY, from inside this call. */
void command_fence_give_up(struct command_fence *fence);

/* How many wait. */
unsigned command_fence_waiting(const struct command_fence *fence);

#endif
