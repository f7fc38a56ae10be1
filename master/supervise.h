/*
 * The judgements of supervision, as pure functions: is a child well, how long
 * does a slot wait after a failed start, what does an exit mean in words.
 * They know no process and no clock; watchdog.c and children.c see and act.
 */
#ifndef KAP_SUPERVISE_H
#define KAP_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "master/slot.h"
#include "shared/errors.h"
#include "shared/stats.h"

/* A child that was sent SIGABRT has this long until SIGKILL. */
#define SUPERVISE_ABORT_MS 2000

enum supervise_verdict {
	SUPERVISE_FINE,
	SUPERVISE_ABORT, /* SIGABRT: it leaves a backtrace */
	SUPERVISE_KILL   /* SIGKILL: it can't run a handler, or didn't */
};

/* What the watchdog sees of one child. Times are of the boot clock, in ms. */
struct supervise_sight {
	enum slot_state state;  /* one with a process */
	int64_t now_ms;
	int64_t state_since_ms;
	int64_t watching_since_ms; /* the watchdog saw without a gap since */
	int64_t heartbeat_ms;      /* 0: none of this generation yet */
	int64_t lock_since_ms;     /* when it began to wait, or got it; or 0 */
	int64_t excused_ms; /* when it was last seen waiting for a lock that
	                       another held; or 0 */
	int64_t aborted_ms;        /* when SIGABRT was sent; 0: it wasn't */
	enum stats_lock lock;
	bool other_holds_lock; /* another child holds the store's lock */
	bool stopped;          /* by a signal: state T */
};

struct supervise_limits {
	int64_t ready_ms;
	int64_t drain_ms;
	int64_t heartbeat_ms;
};

/*
 * Judge one child.
 *
 * why  the reason in words, set unless the verdict is SUPERVISE_FINE
 *
 * A child that waits for the store's lock while another holds it is never
 * hung: the holder is; and when it gets the lock at last, its time counts
 * from there. A stopped one can't run a handler and may hold the
 * lock, so it is killed at once. After a gap of the watchdog's own (the
 * machine slept, the master was stopped) every limit counts anew.
 */
enum supervise_verdict supervise_judge(const struct supervise_sight *sight,
    const struct supervise_limits *limits, struct kap_errmsg *why);

/* True for one that waits for the store's lock while another has it. */
bool supervise_is_excused(enum stats_lock lock, bool other_holds_lock);

/*
 * How long a slot waits before its next start.
 *
 * failures  starts in a row that never got ready, from 0
 *
 * 0 ms for 0 failures; else 2 s, doubling, up to 60 s.
 */
int64_t supervise_backoff_ms(unsigned failures);

/*
 * An exit in words: "crashed by SIGSEGV (Segmentation fault)", "left:
 * drained", "killed by the watchdog: no heartbeat for 9 s".
 *
 * wait_status  of waitpid
 * was_ready    the child had been ready
 * verdict      why the master killed it; empty where it didn't
 * stopping     the child's own words (CHILD_MSG_STOPPING), or empty
 * out          NUL-terminated, cut at `size`
 */
void supervise_exit_words(int wait_status, bool was_ready,
    const char *verdict, const char *stopping, char *out, size_t size);

/*
 * The state letter in a line of /proc/PID/stat ('R', 'S', 'T' …), '?' for
 * anything else. The program's name in it may hold any character.
 */
char supervise_proc_state(const char *stat_line);

#endif
