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

enum supervise_verdict
supervise_judge(const struct supervise_sight *sight,
    const struct supervise_limits *limits, struct kap_errmsg *why)
{
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
	if (sight->state == SLOT_STARTING) {
		if (seen_for(sight, sight->state_since_ms) <= limits->ready_ms)
			return SUPERVISE_FINE;
		kap_errmsg_set(why, "not ready within %" PRId64 " s",
		    limits->ready_ms / 1000);
		return SUPERVISE_ABORT;
	}
	if (sight->state == SLOT_DRAINING &&
	    seen_for(sight, sight->state_since_ms) > limits->drain_ms) {
		kap_errmsg_set(why, "not drained within %" PRId64 " s",
		    limits->drain_ms / 1000);
		return SUPERVISE_KILL;
	}
	return judge_heartbeat(sight, limits, why);
}

int64_t
supervise_backoff_ms(unsigned failures)
{
	int64_t wait = BACKOFF_FIRST_MS;

	if (failures == 0)
		return 0;
	for (unsigned i = 1; i < failures && wait < BACKOFF_LAST_MS; i++)
		wait *= 2;
	return wait < BACKOFF_LAST_MS ? wait : BACKOFF_LAST_MS;
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
