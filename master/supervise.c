/*
 * Verdicts, waits and words. Everything here is a pure function of its
 * arguments: no process is looked at and no signal sent.
 */
#include "master/supervise.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define BACKOFF_FIRST_MS 2000
#define BACKOFF_LAST_MS 60000
#define EXIT_NOT_RUN 127 /* spawn.c: exec failed */
#define LONG_LIFE_MS 10000
#define QUICK_FAULT_MS 3000 /* the first tick of a child included */
#define QUICK_KILL_MS 2000
#define LOOP_WINDOW_MS 30000
#define LOOP_FIRST_MS 100
#define LOOP_LAST_MS 10000
#define LOOP_LAST_KILLED_MS 1000

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Milliseconds since `from`, as far as the watchdog has seen them pass. */
static int64_t
seen_for(const struct supervise_sight *sight, int64_t from_ms)
{
	return sight->now_ms - later(from_ms, sight->watching_since_ms);
}

bool
supervise_is_excused(enum stats_lock lock, bool other_holds_lock)
{
	return lock == STATS_LOCK_WAITING && other_holds_lock;
}

/* The last sign that the child's loop turned, or that it couldn't. */
static int64_t
last_sign(const struct supervise_sight *sight)
{
	const int64_t sign = sight->heartbeat_ms != 0 ? sight->heartbeat_ms :
	    sight->state_since_ms;

	return later(later(sign, sight->lock_since_ms), sight->excused_ms);
}

static enum supervise_verdict
judge_heartbeat(const struct supervise_sight *sight,
    const struct supervise_limits *limits, struct kap_errmsg *why)
{
	const int64_t age = seen_for(sight, last_sign(sight));

	if (age <= limits->heartbeat_ms ||
	    supervise_is_excused(sight->lock, sight->other_holds_lock))
		return SUPERVISE_FINE;
	kap_errmsg_set(why, "no heartbeat for %" PRId64 " s%s", age / 1000,
	    sight->lock == STATS_LOCK_HELD ? ", holding the store's lock" :
	    "");
	return SUPERVISE_ABORT;
}

/* Nobody reads the stream until it has stopped, so it may not take long. */
static enum supervise_verdict
judge_reading(const struct supervise_sight *sight, struct kap_errmsg *why)
{
	const int64_t from = later(later(sight->stop_reading_ms,
	    sight->lock_since_ms), sight->excused_ms);

	if (sight->stop_reading_ms == 0 ||
	    seen_for(sight, from) <= SUPERVISE_UNREAD_MS ||
	    supervise_is_excused(sight->lock, sight->other_holds_lock))
		return SUPERVISE_FINE;
	kap_errmsg_set(why, "did not stop reading its events within %d s",
	    SUPERVISE_UNREAD_MS / 1000);
	return SUPERVISE_ABORT;
}

/*
 * It may be busy for all of its time, so it isn't judged by its heartbeat;
 * unless it holds the lock, and all others up.
 */
static enum supervise_verdict
judge_start(const struct supervise_sight *sight,
    const struct supervise_limits *limits, struct kap_errmsg *why)
{
	const int64_t from = later(sight->state_since_ms, sight->excused_ms);

	if (seen_for(sight, from) > limits->ready_ms) {
		kap_errmsg_set(why, "not ready within %" PRId64 " s",
		    limits->ready_ms / 1000);
		return SUPERVISE_ABORT;
	}
	return sight->lock == STATS_LOCK_HELD ?
	    judge_heartbeat(sight, limits, why) : SUPERVISE_FINE;
}

enum supervise_verdict
supervise_judge(const struct supervise_sight *sight,
    const struct supervise_limits *limits, struct kap_errmsg *why)
{
	enum supervise_verdict verdict;

	if (sight->stopped) {
		kap_errmsg_set(why, "it was stopped by a signal");
		return SUPERVISE_KILL;
	}
	if (sight->aborted_ms != 0) {
		if (sight->now_ms - sight->aborted_ms < SUPERVISE_ABORT_MS)
			return SUPERVISE_FINE;
		kap_errmsg_set(why, "it outlived its SIGABRT");
		return SUPERVISE_KILL;
	}
	if (sight->state == PROCESS_STARTING)
		return judge_start(sight, limits, why);
	if (sight->state == PROCESS_DRAINING &&
	    seen_for(sight, sight->state_since_ms) > limits->drain_ms) {
		kap_errmsg_set(why, "not drained within %" PRId64 " s",
		    limits->drain_ms / 1000);
		return SUPERVISE_KILL;
	}
	verdict = judge_reading(sight, why);
	return verdict != SUPERVISE_FINE ? verdict :
	    judge_heartbeat(sight, limits, why);
}

/* first × 2^times, at most `most`. */
static int64_t
doubled(int64_t first_ms, unsigned times, int64_t most_ms)
{
	int64_t wait_ms = first_ms;

	for (unsigned i = 0; i < times && wait_ms < most_ms; i++)
		wait_ms *= 2;
	return wait_ms < most_ms ? wait_ms : most_ms;
}

int64_t
supervise_backoff_ms(unsigned failures)
{
	return failures == 0 ? 0 :
	    doubled(BACKOFF_FIRST_MS, failures - 1, BACKOFF_LAST_MS);
}

static bool
is_crash(int signal_number)
{
	switch (signal_number) {
	case SIGSEGV:
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
	case SIGABRT:
	case SIGSYS:
		return true;
	default:
		return false;
	}
}

enum supervise_end
supervise_classify(int wait_status, const char *verdict, bool stopped)
{
	if (!WIFSIGNALED(wait_status))
		return WEXITSTATUS(wait_status) == 0 ? SUPERVISE_LEFT :
		    SUPERVISE_FAILED;
	if (*verdict != '\0')
		return stopped ? SUPERVISE_KILLED : SUPERVISE_HUNG;
	return is_crash(WTERMSIG(wait_status)) ? SUPERVISE_CRASHED :
	    SUPERVISE_KILLED;
}

void
supervise_reason(int wait_status, const char *verdict, bool stopped,
    char *out, size_t size)
{
	const char *name;

	if (!WIFSIGNALED(wait_status)) {
		(void)snprintf(out, size, "status %d",
		    WEXITSTATUS(wait_status));
		return;
	}
	name = sigabbrev_np(WTERMSIG(wait_status));
	if (*verdict != '\0')
		(void)snprintf(out, size, stopped ? "stopped" : "hung");
	else if (name != NULL)
		(void)snprintf(out, size, "SIG%s", name);
	else
		(void)snprintf(out, size, "signal %d", WTERMSIG(wait_status));
}

static bool
is_fault(enum supervise_end end)
{
	return end != SUPERVISE_LEFT && end != SUPERVISE_KILLED;
}

/* The last deaths that a loop takes, this one included, are close together. */
static bool
is_loop_now(const struct supervise_loop *loop, int64_t now_ms)
{
	/* the ring's next place has the oldest of them */
	return loop->deaths >= SUPERVISE_LOOP_DEATHS && now_ms -
	    loop->last_ms[loop->deaths % SUPERVISE_LOOP_DEATHS] <=
	    LOOP_WINDOW_MS;
}

static void
count_death(struct supervise_loop *loop, enum supervise_end end,
    int64_t now_ms)
{
	if (loop->deaths == 0)
		loop->first_ms = now_ms;
	loop->last_ms[loop->deaths % SUPERVISE_LOOP_DEATHS] = now_ms;
	loop->deaths++;
	loop->last_end = end;
	loop->is_loop = loop->is_loop || is_loop_now(loop, now_ms);
}

int64_t
supervise_loop_count(struct supervise_loop *loop, enum supervise_end end,
    int64_t lived_ms, int64_t now_ms)
{
	const int64_t quick_ms = is_fault(end) ? QUICK_FAULT_MS :
	    QUICK_KILL_MS;
	const int64_t counts_ms = is_fault(end) ? LONG_LIFE_MS :
	    QUICK_KILL_MS;

	(void)supervise_loop_review(loop, lived_ms);
	if (lived_ms < counts_ms)
		count_death(loop, end, now_ms);
	if (lived_ms >= quick_ms) {
		loop->quick /= 2;
		return 0;
	}
	loop->quick++;
	return doubled(LOOP_FIRST_MS, loop->quick,
	    is_fault(end) ? LOOP_LAST_MS : LOOP_LAST_KILLED_MS);
}

bool
supervise_loop_review(struct supervise_loop *loop, int64_t lived_ms)
{
	const bool was_loop = loop->is_loop;

	if (lived_ms < LONG_LIFE_MS)
		return false;
	*loop = (struct supervise_loop){ .deaths = 0 };
	return was_loop;
}

bool
supervise_loop_is_fault(const struct supervise_loop *loop)
{
	return is_fault(loop->last_end);
}

void
supervise_loop_words(const struct supervise_loop *loop, const char *name,
    const char *reason, int64_t now_ms, int64_t next_start_ms, char *out,
    size_t size)
{
	static const char *const verbs[] = {
		[SUPERVISE_LEFT] = "left",
		[SUPERVISE_FAILED] = "failed",
		[SUPERVISE_CRASHED] = "crashed",
		[SUPERVISE_KILLED] = "was killed",
		[SUPERVISE_HUNG] = "hung",
	};
	const int64_t span_ms = now_ms - loop->first_ms;
	char next[48] = "";

	/* rounded up: "in 0 s" helps nobody */
	if (next_start_ms > now_ms)
		(void)snprintf(next, sizeof(next),
		    "; next start in %" PRId64 " s",
		    (next_start_ms - now_ms + 999) / 1000);
	(void)snprintf(out, size, "%s %s %u times in %" PRId64 " s (%s)%s",
	    name, verbs[loop->last_end], loop->deaths, (span_ms + 999) / 1000,
	    reason, next);
}

static void
signal_words(int signal_number, const char *verdict, char *out, size_t size)
{
	const char *name = sigabbrev_np(signal_number);
	const char *text = sigdescr_np(signal_number);

	if (*verdict != '\0')
		(void)snprintf(out, size, "killed by the watchdog: %s",
		    verdict);
	else if (name == NULL || text == NULL)
		(void)snprintf(out, size, "killed by signal %d",
		    signal_number);
	else
		(void)snprintf(out, size, "%s by SIG%s (%s)",
		    is_crash(signal_number) ? "crashed" : "killed", name,
		    text);
}

void
supervise_exit_words(int wait_status, bool was_ready, const char *verdict,
    const char *stopping, char *out, size_t size)
{
	int code;

	if (WIFSIGNALED(wait_status)) {
		signal_words(WTERMSIG(wait_status), verdict, out, size);
		return;
	}
	code = WEXITSTATUS(wait_status);
	if (code == 0)
		(void)snprintf(out, size, "left: %s", *stopping != '\0' ?
		    stopping : "it didn't say why");
	else if (code == EXIT_NOT_RUN)
		(void)snprintf(out, size, "its program could not be run");
	else if (*stopping != '\0')
		(void)snprintf(out, size, "left with status %d: %s", code,
		    stopping);
	else
		(void)snprintf(out, size, "%s with status %d; its log tells "
		    "why", was_ready ? "ended" : "did not start: ended", code);
}

char
supervise_proc_state(const char *stat_line)
{
	const char *close = strrchr(stat_line, ')');

	if (close == NULL || close[1] != ' ' || close[2] == '\0')
		return '?';
	return close[2];
}
