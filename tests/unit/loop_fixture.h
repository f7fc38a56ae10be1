/*
 * Runs an event loop until something is true. The guard is no measurement: it
 * only ends a test that would hang.
 */
#ifndef KAP_LOOP_FIXTURE_H
#define KAP_LOOP_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>

#define LOOP_GUARD_S 60

static inline void
loop_on_guard(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)fprintf(stderr, "nothing happened for %d s: waited for %s\n",
	    LOOP_GUARD_S, (const char *)arg);
	abort();
}

static inline struct event *
loop_guard_new(struct event_base *base, const char *condition)
{
	const struct timeval guard = { .tv_sec = LOOP_GUARD_S };
	struct event *event = evtimer_new(base, loop_on_guard,
	    (void *)(uintptr_t)condition);

	if (event == NULL || event_add(event, &guard) != 0)
		abort();
	return event;
}

/* Look at what is there already, without waiting. */
static inline void
loop_run_once(struct event_base *base)
{
	(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

#define RUN_UNTIL(base, condition)                                     \
	do {                                                           \
		struct event *guard_ = loop_guard_new(base, #condition); \
                                                                       \
		while (!(condition))                                   \
			(void)event_base_loop(base, EVLOOP_ONCE);      \
		event_free(guard_);                                    \
	} while (0)

#endif
