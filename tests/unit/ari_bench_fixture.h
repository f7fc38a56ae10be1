/*
 * A scratch store that can be closed and opened again (in another process,
 * too), and a loop that runs until something is true. The guard is no
 * measurement: it only ends a test that would hang.
 */
#ifndef KAP_ARI_BENCH_FIXTURE_H
#define KAP_ARI_BENCH_FIXTURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "shared/store.h"

#define BENCH_GUARD_S 60

struct scratch {
	char dir[64];
	struct store *store;
};

static inline void
scratch_reopen(struct scratch *scratch)
{
	struct kap_errmsg msg = { "" };

	if (store_open(&scratch->store, scratch->dir, 64, DURABILITY_RELAXED,
	        &msg) != 0) {
		(void)fprintf(stderr, "scratch store: %s\n", msg.text);
		abort();
	}
}

static inline void
scratch_open(struct scratch *scratch)
{
	(void)snprintf(scratch->dir, sizeof(scratch->dir),
	    "/tmp/kaphila-scratch-XXXXXX");
	if (mkdtemp(scratch->dir) == NULL)
		abort();
	scratch_reopen(scratch);
}

static inline void
scratch_remove(struct scratch *scratch)
{
	pid_t pid;

	if (scratch->store != NULL)
		store_close(&scratch->store);
	pid = fork();
	if (pid == 0) {
		(void)execl("/bin/rm", "rm", "-rf", "--", scratch->dir,
		    (char *)NULL);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

static inline void
bench_on_guard(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)fprintf(stderr, "nothing happened for %d s: waited for %s\n",
	    BENCH_GUARD_S, *(const char *const *)arg);
	abort();
}

#define RUN_UNTIL(base, condition)                                          \
	do {                                                                \
		const struct timeval after_ = { .tv_sec = BENCH_GUARD_S };  \
		const char *what_ = #condition;                             \
		struct event *guard_ = evtimer_new((base), bench_on_guard,  \
		    &what_);                                                \
                                                                            \
		(void)event_add(guard_, &after_);                           \
		while (!(condition))                                        \
			(void)event_base_loop((base), EVLOOP_ONCE);         \
		event_free(guard_);                                         \
	} while (0)

#endif
