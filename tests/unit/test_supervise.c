/*
 * master/supervise.c and master/slot.c: verdicts, waits, words and the table
 * of a slot's states. Pure functions, so no process is started here.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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
		{ "fresh", { .state = SLOT_READY, .heartbeat_ms = AGO(500) },
		    SUPERVISE_FINE, "" },
		{ "just in time",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(8000) },
		    SUPERVISE_FINE, "" },
		{ "hung", { .state = SLOT_READY, .heartbeat_ms = AGO(9001) },
		    SUPERVISE_ABORT, "no heartbeat for 9 s" },
		{ "hung while it drains",
		    { .state = SLOT_DRAINING, .state_since_ms = AGO(9000),
		    .heartbeat_ms = AGO(9001) },
		    SUPERVISE_ABORT, "no heartbeat for 9 s" },
		{ "none yet, ready since 3 s",
		    { .state = SLOT_READY, .state_since_ms = AGO(3000) },
		    SUPERVISE_FINE, "" },
		{ "none yet, ready since 9 s",
		    { .state = SLOT_READY, .state_since_ms = AGO(9000) },
		    SUPERVISE_ABORT, "no heartbeat for 9 s" },
		{ "old heartbeat, but the watchdog slept",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(90000),
		    .watching_since_ms = AGO(1000) }, SUPERVISE_FINE, "" },
		{ "hung since the watchdog woke",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(90000),
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
		    { .state = SLOT_READY, .heartbeat_ms = AGO(60000),
		    .lock = STATS_LOCK_WAITING, .lock_since_ms = AGO(60000),
		    .other_holds_lock = true }, SUPERVISE_FINE, "" },
		{ "waits, and nobody holds it",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(60000),
		    .lock = STATS_LOCK_WAITING, .lock_since_ms = AGO(60000) },
		    SUPERVISE_ABORT, "no heartbeat for 60 s" },
		{ "holds it, hung",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(9000),
		    .lock = STATS_LOCK_HELD, .lock_since_ms = AGO(8900) },
		    SUPERVISE_ABORT,
		    "no heartbeat for 8 s, holding the store's lock" },
		{ "got it at last",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(60000),
		    .lock = STATS_LOCK_HELD, .lock_since_ms = AGO(10) },
		    SUPERVISE_FINE, "" },
		{ "gave it back after a long wait",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(60000),
		    .excused_ms = AGO(250) }, SUPERVISE_FINE, "" },
		{ "hung long after its wait",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(60000),
		    .excused_ms = AGO(9000) }, SUPERVISE_ABORT,
		    "no heartbeat for 9 s" },
		{ "is hung, while another holds it",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(9000),
		    .other_holds_lock = true }, SUPERVISE_ABORT,
		    "no heartbeat for 9 s" },
		{ "stopped, though it waits",
		    { .state = SLOT_READY, .heartbeat_ms = AGO(10),
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
		{ "starting", { .state = SLOT_STARTING,
		    .state_since_ms = AGO(14000) }, SUPERVISE_FINE, "" },
		{ "starting with an old heartbeat",
		    { .state = SLOT_STARTING, .state_since_ms = AGO(14000),
		    .heartbeat_ms = AGO(13000) }, SUPERVISE_FINE, "" },
		{ "never ready", { .state = SLOT_STARTING,
		    .state_since_ms = AGO(15001) }, SUPERVISE_ABORT,
		    "not ready within 15 s" },
		{ "starting, but the watchdog slept",
		    { .state = SLOT_STARTING, .state_since_ms = AGO(90000),
		    .watching_since_ms = AGO(100) }, SUPERVISE_FINE, "" },
		{ "draining", { .state = SLOT_DRAINING,
		    .state_since_ms = AGO(29000), .heartbeat_ms = AGO(100) },
		    SUPERVISE_FINE, "" },
		{ "drains too long", { .state = SLOT_DRAINING,
		    .state_since_ms = AGO(30001), .heartbeat_ms = AGO(100) },
		    SUPERVISE_KILL, "not drained within 30 s" },
		{ "stopped while starting", { .state = SLOT_STARTING,
		    .state_since_ms = AGO(10), .stopped = true },
		    SUPERVISE_KILL, "it was stopped by a signal" },
		{ "writes its backtrace", { .state = SLOT_READY,
		    .heartbeat_ms = AGO(10000), .aborted_ms = AGO(1999) },
		    SUPERVISE_FINE, "" },
		{ "outlives SIGABRT", { .state = SLOT_READY,
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
test_slot_table(void **state KAP_UNUSED)
{
	/* from each state (row) to each: '+' may, '-' may not */
	static const char *const rows[SLOT_STATE_COUNT] = {
		/*                  DEAD STARTING READY DRAINING BACKOFF */
		[SLOT_DEAD] = "-+--+",
		[SLOT_STARTING] = "+-++-",
		[SLOT_READY] = "+--+-",
		[SLOT_DRAINING] = "+----",
		[SLOT_BACKOFF] = "++---",
	};

	for (int from = 0; from < SLOT_STATE_COUNT; from++) {
		for (int to = 0; to < SLOT_STATE_COUNT; to++)
			assert_int_equal(slot_may_move((enum slot_state)from,
			    (enum slot_state)to), rows[from][to] == '+');
	}
}

static void
test_slot_move(void **state KAP_UNUSED)
{
	struct slot slot = { .role = CHILD_WORKER, .state = SLOT_DEAD };

	slot_move(&slot, SLOT_STARTING);
	assert_int_equal(slot.state, SLOT_STARTING);
	assert_true(slot.since_ms > 0);
	assert_string_equal(slot_state_name(slot.state), "starting");
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
		cmocka_unit_test(test_slot_table),
		cmocka_unit_test(test_slot_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
