/*
 * master/supervise.c and master/process.c: verdicts, waits, crash loops, words
 * and the table of a process's states. Pure functions, so no process is
 * started here.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "master/slot.h"
#include "master/supervise.h"

#define NOW 1000000
#define AGO(ms) (NOW - (ms))

static const struct supervise_limits limits = { .ready_ms = 15000,
	.drain_ms = 30000, .heartbeat_ms = 8000 };

struct judge_case {
	const char *name;
	struct supervise_sight sight; /* now_ms is filled in */
	enum supervise_verdict verdict;
	const char *why;
};

static void
run_cases(const struct judge_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct supervise_sight sight = cases[i].sight;
		struct kap_errmsg why = { .text = "" };
		enum supervise_verdict verdict;

		sight.now_ms = NOW;
		verdict = supervise_judge(&sight, &limits, &why);
		if (verdict != cases[i].verdict ||
		    strcmp(why.text, cases[i].why) != 0)
			fail_msg("%s: %d '%s'", cases[i].name, (int)verdict,
			    why.text);
	}
}

#define RUN(cases) run_cases(cases, sizeof(cases) / sizeof((cases)[0]))

static void
test_heartbeats(void **state KAP_UNUSED)
{
	static const struct judge_case cases[] = {
		{ "fresh", { .state = PROCESS_READY, .heartbeat_ms = AGO(500) },
		    SUPERVISE_FINE, "" },
		{ "just in time",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(8000) },
		    SUPERVISE_FINE, "" },
		{ "hung", { .state = PROCESS_READY, .heartbeat_ms = AGO(9001) },
		    SUPERVISE_ABORT, "no heartbeat for 9 s" },
		{ "hung while it drains",
		    { .state = PROCESS_DRAINING, .state_since_ms = AGO(9000),
		    .heartbeat_ms = AGO(9001) },
		    SUPERVISE_ABORT, "no heartbeat for 9 s" },
		{ "none yet, ready since 3 s",
		    { .state = PROCESS_READY, .state_since_ms = AGO(3000) },
		    SUPERVISE_FINE, "" },
		{ "none yet, ready since 9 s",
		    { .state = PROCESS_READY, .state_since_ms = AGO(9000) },
		    SUPERVISE_ABORT, "no heartbeat for 9 s" },
		{ "old heartbeat, but the watchdog slept",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(90000),
		    .watching_since_ms = AGO(1000) }, SUPERVISE_FINE, "" },
		{ "hung since the watchdog woke",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(90000),
		    .watching_since_ms = AGO(8500) },
		    SUPERVISE_ABORT, "no heartbeat for 8 s" },
	};

	RUN(cases);
}

static void
test_locks(void **state KAP_UNUSED)
{
	static const struct judge_case cases[] = {
		{ "waits while another holds it",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(60000),
		    .lock = STATS_LOCK_WAITING, .lock_since_ms = AGO(60000),
		    .other_holds_lock = true }, SUPERVISE_FINE, "" },
		{ "waits, and nobody holds it",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(60000),
		    .lock = STATS_LOCK_WAITING, .lock_since_ms = AGO(60000) },
		    SUPERVISE_ABORT, "no heartbeat for 60 s" },
		{ "holds it, hung",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(9000),
		    .lock = STATS_LOCK_HELD, .lock_since_ms = AGO(8900) },
		    SUPERVISE_ABORT,
		    "no heartbeat for 8 s, holding the store's lock" },
		{ "got it at last",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(60000),
		    .lock = STATS_LOCK_HELD, .lock_since_ms = AGO(10) },
		    SUPERVISE_FINE, "" },
		{ "gave it back after a long wait",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(60000),
		    .excused_ms = AGO(250) }, SUPERVISE_FINE, "" },
		{ "hung long after its wait",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(60000),
		    .excused_ms = AGO(9000) }, SUPERVISE_ABORT,
		    "no heartbeat for 9 s" },
		{ "is hung, while another holds it",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(9000),
		    .other_holds_lock = true }, SUPERVISE_ABORT,
		    "no heartbeat for 9 s" },
		{ "stopped, though it waits",
		    { .state = PROCESS_READY, .heartbeat_ms = AGO(10),
		    .lock = STATS_LOCK_WAITING, .other_holds_lock = true,
		    .stopped = true }, SUPERVISE_KILL,
		    "it was stopped by a signal" },
	};

	RUN(cases);
	assert_true(supervise_is_excused(STATS_LOCK_WAITING, true));
	assert_false(supervise_is_excused(STATS_LOCK_WAITING, false));
	assert_false(supervise_is_excused(STATS_LOCK_HELD, true));
	assert_false(supervise_is_excused(STATS_LOCK_NONE, true));
}

static void
test_starts_and_ends(void **state KAP_UNUSED)
{
	static const struct judge_case cases[] = {
		{ "starting", { .state = PROCESS_STARTING,
		    .state_since_ms = AGO(14000) }, SUPERVISE_FINE, "" },
		{ "starting with an old heartbeat",
		    { .state = PROCESS_STARTING, .state_since_ms = AGO(14000),
		    .heartbeat_ms = AGO(13000) }, SUPERVISE_FINE, "" },
		{ "never ready", { .state = PROCESS_STARTING,
		    .state_since_ms = AGO(15001) }, SUPERVISE_ABORT,
		    "not ready within 15 s" },
		{ "starting, but the watchdog slept",
		    { .state = PROCESS_STARTING, .state_since_ms = AGO(90000),
		    .watching_since_ms = AGO(100) }, SUPERVISE_FINE, "" },
		{ "draining", { .state = PROCESS_DRAINING,
		    .state_since_ms = AGO(29000), .heartbeat_ms = AGO(100) },
		    SUPERVISE_FINE, "" },
		{ "drains too long", { .state = PROCESS_DRAINING,
		    .state_since_ms = AGO(30001), .heartbeat_ms = AGO(100) },
		    SUPERVISE_KILL, "not drained within 30 s" },
		{ "draining, but the watchdog slept",
		    { .state = PROCESS_DRAINING, .state_since_ms = AGO(90000),
		    .heartbeat_ms = AGO(100),
		    .watching_since_ms = AGO(30000) }, SUPERVISE_FINE, "" },
		{ "starting, and holds up all others",
		    { .state = PROCESS_STARTING, .state_since_ms = AGO(9000),
		    .heartbeat_ms = AGO(9000), .lock = STATS_LOCK_HELD,
		    .lock_since_ms = AGO(8900) }, SUPERVISE_ABORT,
		    "no heartbeat for 8 s, holding the store's lock" },
		{ "starting, and got the lock at last",
		    { .state = PROCESS_STARTING, .state_since_ms = AGO(20000),
		    .heartbeat_ms = AGO(20000), .lock = STATS_LOCK_HELD,
		    .lock_since_ms = AGO(10), .excused_ms = AGO(20) },
		    SUPERVISE_FINE, "" },
		{ "starting, and waits for another's lock",
		    { .state = PROCESS_STARTING, .state_since_ms = AGO(20000),
		    .lock = STATS_LOCK_WAITING, .lock_since_ms = AGO(20000),
		    .excused_ms = AGO(0), .other_holds_lock = true },
		    SUPERVISE_FINE, "" },
		{ "never ready, after its wait too",
		    { .state = PROCESS_STARTING, .state_since_ms = AGO(40000),
		    .excused_ms = AGO(15001) }, SUPERVISE_ABORT,
		    "not ready within 15 s" },
		{ "stopped while starting", { .state = PROCESS_STARTING,
		    .state_since_ms = AGO(10), .stopped = true },
		    SUPERVISE_KILL, "it was stopped by a signal" },
		{ "writes its backtrace", { .state = PROCESS_READY,
		    .heartbeat_ms = AGO(10000), .aborted_ms = AGO(1999) },
		    SUPERVISE_FINE, "" },
		{ "outlives SIGABRT", { .state = PROCESS_READY,
		    .heartbeat_ms = AGO(10000), .aborted_ms = AGO(2000) },
		    SUPERVISE_KILL, "it outlived its SIGABRT" },
	};

	RUN(cases);
}

static void
test_backoff(void **state KAP_UNUSED)
{
	static const struct {
		unsigned failures;
		int64_t ms;
	} cases[] = {
		{ 0, 0 }, { 1, 2000 }, { 2, 4000 }, { 3, 8000 }, { 4, 16000 },
		{ 5, 32000 }, { 6, 60000 }, { 7, 60000 }, { 64, 60000 },
		{ 4000000000U, 60000 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(supervise_backoff_ms(cases[i].failures),
		    cases[i].ms);
}

/* As waitpid encodes them. */
#define EXITED(code) ((code) << 8)
#define SIGNALED(number) (number)

static void
test_exit_words(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		int wait_status;
		bool was_ready;
		const char *verdict;
		const char *stopping;
		const char *words;
	} cases[] = {
		{ "drained", EXITED(0), true, "", "drained",
		    "left: drained" },
		{ "silent", EXITED(0), true, "", "",
		    "left: it didn't say why" },
		{ "no program", EXITED(127), false, "", "",
		    "its program could not be run" },
		{ "bad start", EXITED(1), false, "", "",
		    "did not start: ended with status 1; its log tells why" },
		{ "later failure", EXITED(3), true, "", "",
		    "ended with status 3; its log tells why" },
		{ "failure with words", EXITED(1), true, "", "store is full",
		    "left with status 1: store is full" },
		{ "crash", SIGNALED(SIGSEGV), true, "", "",
		    "crashed by SIGSEGV (Segmentation fault)" },
		{ "core dumped", SIGNALED(SIGABRT) | 0x80, true, "", "",
		    "crashed by SIGABRT (Aborted)" },
		{ "killed", SIGNALED(SIGKILL), true, "", "",
		    "killed by SIGKILL (Killed)" },
		{ "killed after its words", SIGNALED(SIGTERM), true, "",
		    "drained", "killed by SIGTERM (Terminated)" },
		{ "watchdog", SIGNALED(SIGABRT), true,
		    "no heartbeat for 9 s", "",
		    "killed by the watchdog: no heartbeat for 9 s" },
		{ "real-time signal", SIGNALED(40), true, "", "",
		    "killed by signal 40" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char words[240];

		supervise_exit_words(cases[i].wait_status, cases[i].was_ready,
		    cases[i].verdict, cases[i].stopping, words,
		    sizeof(words));
		if (strcmp(words, cases[i].words) != 0)
			fail_msg("%s: '%s'", cases[i].name, words);
	}
}

static void
test_exit_words_are_cut(void **state KAP_UNUSED)
{
	char words[12];

	supervise_exit_words(EXITED(0), true, "", "a long story", words,
	    sizeof(words));
	assert_string_equal(words, "left: a lon");
}

static void
test_proc_state(void **state KAP_UNUSED)
{
	static const struct {
		const char *line;
		char state;
	} cases[] = {
		{ "12 (kaphila-worker) S 1 12 12 0 -1", 'S' },
		{ "12 (kaphila-worker) T 1 12 12 0 -1", 'T' },
		{ "12 (a) T b) R 1 12 12 0 -1", 'R' },
		{ "12 () t 1", 't' },
		{ "12 (kaphila-worker)", '?' },
		{ "12 (kaphila-worker) ", '?' },
		{ "12 (kaphila-w", '?' },
		{ "", '?' },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (supervise_proc_state(cases[i].line) != cases[i].state)
			fail_msg("'%s': %c", cases[i].line,
			    supervise_proc_state(cases[i].line));
	}
}

static void
test_stop_reading(void **state KAP_UNUSED)
{
	static const struct judge_case cases[] = {
		{ "stops just in time", { .state = PROCESS_DRAINING,
		    .state_since_ms = AGO(5000), .heartbeat_ms = AGO(100),
		    .stop_reading_ms = AGO(5000) }, SUPERVISE_FINE, "" },
		{ "doesn't stop", { .state = PROCESS_DRAINING,
		    .state_since_ms = AGO(5001), .heartbeat_ms = AGO(100),
		    .stop_reading_ms = AGO(5001) }, SUPERVISE_ABORT,
		    "did not stop reading its events within 5 s" },
		{ "one that serves on doesn't stop", { .state = PROCESS_READY,
		    .heartbeat_ms = AGO(100),
		    .stop_reading_ms = AGO(6000) }, SUPERVISE_ABORT,
		    "did not stop reading its events within 5 s" },
		{ "waits for the lock, to commit what it read",
		    { .state = PROCESS_DRAINING, .state_since_ms = AGO(9000),
		    .heartbeat_ms = AGO(100), .stop_reading_ms = AGO(9000),
		    .lock = STATS_LOCK_WAITING, .lock_since_ms = AGO(9000),
		    .other_holds_lock = true }, SUPERVISE_FINE, "" },
		{ "has the lock at last", { .state = PROCESS_DRAINING,
		    .state_since_ms = AGO(9000), .heartbeat_ms = AGO(100),
		    .stop_reading_ms = AGO(9000), .lock = STATS_LOCK_HELD,
		    .lock_since_ms = AGO(100) }, SUPERVISE_FINE, "" },
		{ "had the lock, and gave it back",
		    { .state = PROCESS_DRAINING, .state_since_ms = AGO(9000),
		    .heartbeat_ms = AGO(100), .stop_reading_ms = AGO(9000),
		    .excused_ms = AGO(100) }, SUPERVISE_FINE, "" },
		{ "the watchdog slept", { .state = PROCESS_DRAINING,
		    .state_since_ms = AGO(9000), .heartbeat_ms = AGO(100),
		    .stop_reading_ms = AGO(9000),
		    .watching_since_ms = AGO(1000) }, SUPERVISE_FINE, "" },
	};

	RUN(cases);
}

static void
test_ends(void **state KAP_UNUSED)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE,
		SIGABRT, SIGSYS };
	static const struct {
		int wait_status;
		const char *verdict;
		bool stopped;
		enum supervise_end end;
		const char *reason;
	} cases[] = {
		{ EXITED(0), "", false, SUPERVISE_LEFT, "status 0" },
		{ EXITED(0), "no heartbeat for 9 s", false, SUPERVISE_LEFT,
		    "status 0" },
		{ EXITED(3), "", false, SUPERVISE_FAILED, "status 3" },
		{ SIGNALED(SIGSEGV), "", false, SUPERVISE_CRASHED,
		    "SIGSEGV" },
		{ SIGNALED(SIGABRT) | 0x80, "", false, SUPERVISE_CRASHED,
		    "SIGABRT" },
		{ SIGNALED(SIGABRT), "no heartbeat for 9 s", false,
		    SUPERVISE_HUNG, "hung" },
		{ SIGNALED(SIGKILL), "it was stopped by a signal", true,
		    SUPERVISE_KILLED, "stopped" },
		{ SIGNALED(SIGKILL), "", false, SUPERVISE_KILLED, "SIGKILL" },
		{ SIGNALED(SIGTERM), "", false, SUPERVISE_KILLED, "SIGTERM" },
		{ SIGNALED(40), "", false, SUPERVISE_KILLED, "signal 40" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char reason[32];

		assert_int_equal(supervise_classify(cases[i].wait_status,
		    cases[i].verdict, cases[i].stopped), cases[i].end);
		supervise_reason(cases[i].wait_status, cases[i].verdict,
		    cases[i].stopped, reason, sizeof(reason));
		assert_string_equal(reason, cases[i].reason);
	}
	for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
		assert_int_equal(supervise_classify(SIGNALED(crashes[i]), "",
		    false), SUPERVISE_CRASHED);
}

/* Deaths one after the other: what each start after them waits. */
static void
test_waits_of_a_loop(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		enum supervise_end end;
		int64_t lived_ms;
		int64_t waits_ms[9];
	} cases[] = {
		{ "crashes at once", SUPERVISE_CRASHED, 10, { 200, 400, 800,
		    1600, 3200, 6400, 10000, 10000, 10000 } },
		{ "crashes at its first tick", SUPERVISE_CRASHED, 2999,
		    { 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000 } },
		{ "hangs at once", SUPERVISE_HUNG, 100, { 200, 400, 800, 1600,
		    3200, 6400, 10000, 10000, 10000 } },
		{ "crashes at its second tick", SUPERVISE_CRASHED, 4100,
		    { 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
		{ "fails", SUPERVISE_FAILED, 0, { 200, 400, 800, 1600, 3200,
		    6400, 10000, 10000, 10000 } },
		{ "crashes after ten seconds", SUPERVISE_CRASHED, 10000,
		    { 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
		{ "is killed at once", SUPERVISE_KILLED, 10, { 200, 400, 800,
		    1000, 1000, 1000, 1000, 1000, 1000 } },
		{ "leaves at once", SUPERVISE_LEFT, 1999, { 200, 400, 800,
		    1000, 1000, 1000, 1000, 1000, 1000 } },
		{ "is killed every two seconds", SUPERVISE_KILLED, 2000,
		    { 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct supervise_loop loop = { .deaths = 0 };

		for (size_t n = 0; n < 9; n++) {
			const int64_t wait = supervise_loop_count(&loop,
			    cases[i].end, cases[i].lived_ms,
			    NOW + (int64_t)n * 20000);

			if (wait != cases[i].waits_ms[n])
				fail_msg("%s: %zu. wait %d", cases[i].name,
				    n + 1, (int)wait);
		}
	}
}

/* Lives of several seconds between quick deaths: hardly a wait (a storm). */
static void
test_waits_of_a_storm(void **state KAP_UNUSED)
{
	static const struct {
		int64_t lived_ms;
		int64_t wait_ms;
	} deaths[] = {
		{ 100, 200 }, { 100, 400 }, { 4000, 0 }, { 100, 400 },
		{ 4000, 0 }, { 5000, 0 }, { 100, 200 }, { 9000, 0 },
		{ 100, 200 }, { 20000, 0 }, { 100, 200 },
	};
	struct supervise_loop loop = { .deaths = 0 };

	for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++)
		assert_int_equal(supervise_loop_count(&loop,
		    SUPERVISE_CRASHED, deaths[i].lived_ms, NOW),
		    deaths[i].wait_ms);
}

/* Which deaths, by time, make a loop, and what ends it. */
static void
test_loops(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		size_t count;
		struct {
			int64_t at_ms;
			int64_t lived_ms;
			enum supervise_end end;
		} deaths[8];
		bool is_loop;
		bool is_fault;
	} cases[] = {
		{ "four crashes", 4, { { 0, 0, SUPERVISE_CRASHED },
		    { 1, 0, SUPERVISE_CRASHED }, { 2, 0, SUPERVISE_CRASHED },
		    { 3, 0, SUPERVISE_CRASHED } }, false, true },
		{ "five crashes", 5, { { 0, 0, SUPERVISE_CRASHED },
		    { 1, 0, SUPERVISE_CRASHED }, { 2, 0, SUPERVISE_CRASHED },
		    { 3, 0, SUPERVISE_CRASHED },
		    { 30000, 9000, SUPERVISE_CRASHED } }, true, true },
		{ "five, but slowly", 5, { { 0, 0, SUPERVISE_CRASHED },
		    { 1, 0, SUPERVISE_CRASHED }, { 2, 0, SUPERVISE_CRASHED },
		    { 3, 0, SUPERVISE_CRASHED },
		    { 30001, 9000, SUPERVISE_CRASHED } }, false, true },
		{ "the last five of seven count", 7,
		    { { 0, 0, SUPERVISE_CRASHED },
		    { 30000, 0, SUPERVISE_CRASHED },
		    { 60000, 0, SUPERVISE_CRASHED },
		    { 61000, 0, SUPERVISE_CRASHED },
		    { 62000, 0, SUPERVISE_CRASHED },
		    { 63000, 0, SUPERVISE_CRASHED },
		    { 64000, 0, SUPERVISE_CRASHED } }, true, true },
		{ "a long life between them", 6,
		    { { 0, 0, SUPERVISE_CRASHED },
		    { 1, 0, SUPERVISE_CRASHED }, { 2, 0, SUPERVISE_CRASHED },
		    { 10003, 10000, SUPERVISE_CRASHED },
		    { 10004, 0, SUPERVISE_CRASHED },
		    { 10005, 0, SUPERVISE_CRASHED } }, false, true },
		{ "kills, and a life of three seconds between them", 6,
		    { { 0, 0, SUPERVISE_KILLED }, { 1, 0, SUPERVISE_KILLED },
		    { 3001, 3000, SUPERVISE_KILLED },
		    { 3002, 0, SUPERVISE_KILLED },
		    { 3003, 0, SUPERVISE_KILLED },
		    { 3004, 0, SUPERVISE_KILLED } }, true, false },
		{ "kills, and lives of two seconds", 5,
		    { { 0, 2000, SUPERVISE_KILLED },
		    { 2000, 2000, SUPERVISE_KILLED },
		    { 4000, 2000, SUPERVISE_KILLED },
		    { 6000, 2000, SUPERVISE_KILLED },
		    { 8000, 2000, SUPERVISE_KILLED } }, false, false },
		{ "it goes on until a long life", 6,
		    { { 0, 0, SUPERVISE_FAILED }, { 1, 0, SUPERVISE_FAILED },
		    { 2, 0, SUPERVISE_FAILED }, { 3, 0, SUPERVISE_FAILED },
		    { 4, 0, SUPERVISE_FAILED },
		    { 60000, 9000, SUPERVISE_FAILED } }, true, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct supervise_loop loop = { .deaths = 0 };

		for (size_t n = 0; n < cases[i].count; n++)
			(void)supervise_loop_count(&loop,
			    cases[i].deaths[n].end,
			    cases[i].deaths[n].lived_ms,
			    NOW + cases[i].deaths[n].at_ms);
		if (loop.is_loop != cases[i].is_loop ||
		    supervise_loop_is_fault(&loop) != cases[i].is_fault)
			fail_msg("%s", cases[i].name);
		assert_false(supervise_loop_review(&loop, 9999));
		assert_int_equal(loop.is_loop, cases[i].is_loop);
		assert_int_equal(supervise_loop_review(&loop, 10000),
		    cases[i].is_loop);
		assert_int_equal(loop.deaths, 0);
	}
}

static void
test_loop_words(void **state KAP_UNUSED)
{
	struct supervise_loop loop = { .deaths = 6, .first_ms = AGO(19500),
		.last_end = SUPERVISE_CRASHED, .is_loop = true };
	struct supervise_loop counted = { .deaths = 0 };
	char words[160];
	char cut[9];

	for (int i = 5; i >= 0; i--)
		(void)supervise_loop_count(&counted, SUPERVISE_FAILED, 0,
		    AGO(i * 2000));
	supervise_loop_words(&counted, "webhookd", "status 1", NOW, 0, words,
	    sizeof(words));
	assert_string_equal(words, "webhookd failed 6 times in 10 s "
	    "(status 1)");
	supervise_loop_words(&loop, "worker 1", "SIGSEGV", NOW, NOW + 2100,
	    words, sizeof(words));
	assert_string_equal(words, "worker 1 crashed 6 times in 20 s "
	    "(SIGSEGV); next start in 3 s");
	loop.last_end = SUPERVISE_KILLED;
	supervise_loop_words(&loop, "recorder", "SIGKILL", NOW, NOW, words,
	    sizeof(words));
	assert_string_equal(words, "recorder was killed 6 times in 20 s "
	    "(SIGKILL)");
	supervise_loop_words(&loop, "recorder", "SIGKILL", NOW, 0, cut,
	    sizeof(cut));
	assert_string_equal(cut, "recorder");
}

static void
test_process_table(void **state KAP_UNUSED)
{
	/* from each state (row) to each: '+' may, '-' may not */
	static const char *const rows[PROCESS_STATE_COUNT] = {
		/*                     NONE STARTING READY DRAINING */
		[PROCESS_NONE] = "-+--",
		[PROCESS_STARTING] = "+-++",
		[PROCESS_READY] = "+--+",
		[PROCESS_DRAINING] = "+---",
	};

	for (int from = 0; from < PROCESS_STATE_COUNT; from++) {
		for (int to = 0; to < PROCESS_STATE_COUNT; to++)
			assert_int_equal(process_may_move(
			    (enum process_state)from, (enum process_state)to),
			    rows[from][to] == '+');
	}
}

static void
test_process_move(void **state KAP_UNUSED)
{
	struct slot slot = { .role = CHILD_WORKER };
	struct process process = { .slot = &slot };

	process_move(&process, PROCESS_STARTING);
	assert_int_equal(process.state, PROCESS_STARTING);
	assert_true(process.since_ms > 0);
	assert_string_equal(process_state_name(process.state), "starting");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heartbeats),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_starts_and_ends),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_exit_words),
		cmocka_unit_test(test_exit_words_are_cut),
		cmocka_unit_test(test_proc_state),
		cmocka_unit_test(test_stop_reading),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_waits_of_a_loop),
		cmocka_unit_test(test_waits_of_a_storm),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_loop_words),
		cmocka_unit_test(test_process_table),
		cmocka_unit_test(test_process_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
