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

#include "master/process.h"
#include "shared/errors.h"
#include "shared/stats.h"

/* A child that was sent SIGABRT has this long until SIGKILL. */
#define SUPERVISE_ABORT_MS 2000

/* One that was told to stop reading a stream has this long to say it did. */
#define SUPERVISE_UNREAD_MS 5000

enum supervise_verdict {
	SUPERVISE_FINE,
	SUPERVISE_ABORT, /* SIGABRT: it leaves a backtrace */
	SUPERVISE_KILL   /* SIGKILL: it can't run a handler, or didn't */
};

/* What the watchdog sees of one child. Times are of the boot clock, in ms. */
struct supervise_sight {
	enum process_state state; /* one with a process */
	int64_t now_ms;
	int64_t state_since_ms;
	int64_t watching_since_ms; /* the watchdog saw without a gap since */
	int64_t heartbeat_ms;      /* 0: none of this generation yet */
	int64_t lock_since_ms;     /* when it began to wait, or got it; or 0 */
	int64_t excused_ms; /* when it was last seen waiting for a lock that
	                       another held; or 0 */
	int64_t aborted_ms;        /* when SIGABRT was sent; 0: it wasn't */
	int64_t stop_reading_ms;   /* when it was told to stop reading, and
	                              hasn't; 0: it has */
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
 * from there, that to get ready too. One that isn't ready is hung only if it
 * holds the lock. A stopped one can't run a handler and may hold the lock, so
 * it is killed at once. After a gap of the watchdog's own (the machine slept,
 * the master was stopped) every limit counts anew.
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

/* How a process ended. */
enum supervise_end {
	SUPERVISE_LEFT,    /* by itself, with status 0 */
	SUPERVISE_FAILED,  /* …with another */
	SUPERVISE_CRASHED, /* by a signal of its own making */
	SUPERVISE_KILLED,  /* by a signal from outside, or stopped by one */
	SUPERVISE_HUNG     /* by the watchdog */
};

/*
 * wait_status  of waitpid
 * verdict      why the master killed it; empty where it didn't
 * stopped      a signal had stopped it, so the master had to kill it
 */
enum supervise_end supervise_classify(int wait_status, const char *verdict,
    bool stopped);

/* The same in a word for people: "SIGSEGV", "status 3", "hung". */
void supervise_reason(int wait_status, const char *verdict, bool stopped,
    char *out, size_t size);

/* So many deaths within 30 s are a loop. */
#define SUPERVISE_LOOP_DEATHS 5

/*
 * Deaths of a slot's processes that had been ready, but didn't live for long:
 * crashes, failures and hangs within 10 s; kills from outside, and leaving
 * unasked, within 2 s. A life of 10 s ends the row.
 */
struct supervise_loop {
	unsigned deaths;  /* in a row */
	unsigned quick;   /* of them at once; fewer after each that wasn't */
	int64_t first_ms; /* boot clock, of the first of them */
	int64_t last_ms[SUPERVISE_LOOP_DEATHS]; /* a ring of the last ones */
	enum supervise_end last_end;
	bool is_loop;
};

/*
 * Count a death.
 *
 * lived_ms  since it was ready
 * now_ms    boot clock
 *
 * Returns for how long the next start waits: after the n-th death at once
 * (within 3 s; 2 s by a kill from outside) 100 ms × 2^n, up to 10 s (1 s);
 * else 0.
 */
int64_t supervise_loop_count(struct supervise_loop *loop,
    enum supervise_end end, int64_t lived_ms, int64_t now_ms);

/* A process lives: true if that ends a loop. */
bool supervise_loop_review(struct supervise_loop *loop, int64_t lived_ms);

/* True for a loop that is the program's own fault, by its last death. */
bool supervise_loop_is_fault(const struct supervise_loop *loop);

/*
 * A loop in words: "worker 1 crashed 6 times in 20 s (SIGSEGV); next start in
 * 3 s".
 *
 * reason         supervise_reason of the last one
 * next_start_ms  boot clock; 0 or past: nothing is said of it
 */
void supervise_loop_words(const struct supervise_loop *loop,
    const char *name, const char *reason, int64_t now_ms,
    int64_t next_start_ms, char *out, size_t size);

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
