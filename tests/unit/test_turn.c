/*
 * One transaction for a turn: order, the failing job that fails alone, what
 * done() may do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "shared/stats.h"
#include "shared/turn.h"
#include "store_fixture.h"

struct fixture {
	struct store_fixture store;
	struct event_base *base;
	struct turn *turn;
	char done[64]; /* names of the jobs in the order of their done() */
};

struct note {
	struct turn_job job;
	struct fixture *fixture;
	const char *name;
	int fail;
	int applied;
	int rc;
	struct note *then; /* submitted by done() */
};

static int
apply(struct turn_job *job, struct store_txn *txn)
{
	struct note *note = (struct note *)job;

	note->applied++;
	if (note->fail != 0)
		return note->fail;
	return store_put(txn, STORE_CALLS, note->name, strlen(note->name),
	    "", 0);
}

static void
done(struct turn_job *job, int rc)
{
	struct note *note = (struct note *)job;
	char *done = note->fixture->done;
	const size_t len = strlen(done);

	note->rc = rc;
	(void)snprintf(done + len, sizeof(note->fixture->done) - len, "%s",
	    note->name);
	if (note->then != NULL)
		turn_submit(note->fixture->turn, &note->then->job);
}

static struct note
make(struct fixture *fixture, const char *name, int fail)
{
	return (struct note){ { apply, done, NULL }, fixture, name, fail, 0,
		1, NULL };
}

static int
setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	store_fixture_open_sized(&fixture->store, 16);
	fixture->base = event_base_new();
	fixture->turn = turn_new(fixture->base, fixture->store.store);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	turn_free(&fixture->turn);
	event_base_free(fixture->base);
	store_fixture_close(&fixture->store);
	free(fixture);
	return 0;
}

static uint64_t
commits(void)
{
	return atomic_load(&stats_row()->counters[STATS_store_commits]);
}

static int
is_stored(struct fixture *fixture, const char *name)
{
	struct store_txn *txn;
	struct store_value value;
	int rc;

	assert_int_equal(store_begin_read(fixture->store.store, &txn), 0);
	rc = store_get(txn, STORE_CALLS, name, strlen(name), &value);
	store_end_read(&txn);
	return rc == 0;
}

static void
test_one_commit_for_all(void **state)
{
	struct fixture *fixture = *state;
	struct note a = make(fixture, "a", 0);
	struct note b = make(fixture, "b", 0);
	struct note c = make(fixture, "c", 0);
	const uint64_t before = commits();

	turn_submit(fixture->turn, &a.job);
	turn_submit(fixture->turn, &b.job);
	turn_submit(fixture->turn, &c.job);
	assert_int_equal(a.applied, 0);
	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	assert_string_equal(fixture->done, "abc");
	assert_int_equal(commits() - before, 1);
	assert_int_equal(a.rc, 0);
	assert_true(is_stored(fixture, "c"));
}

static void
test_only_the_faulty_one_fails(void **state)
{
	struct fixture *fixture = *state;
	struct note a = make(fixture, "a", 0);
	struct note b = make(fixture, "b", -KAP_FULL);
	struct note c = make(fixture, "c", 0);

	turn_submit(fixture->turn, &a.job);
	turn_submit(fixture->turn, &b.job);
	turn_submit(fixture->turn, &c.job);
	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	assert_string_equal(fixture->done, "abc");
	assert_int_equal(a.rc, 0);
	assert_int_equal(b.rc, -KAP_FULL);
	assert_int_equal(c.rc, 0);
	assert_int_equal(a.applied, 2);
	assert_true(is_stored(fixture, "a"));
	assert_false(is_stored(fixture, "b"));
	assert_true(is_stored(fixture, "c"));
}

static void
test_done_may_submit(void **state)
{
	struct fixture *fixture = *state;
	struct note a = make(fixture, "a", 0);
	struct note b = make(fixture, "b", 0);

	a.then = &b;
	turn_submit(fixture->turn, &a.job);
	turn_flush(fixture->turn);
	assert_string_equal(fixture->done, "ab");
	assert_true(is_stored(fixture, "b"));
}

static void
test_lazy_jobs_wait_for_others(void **state)
{
	struct fixture *fixture = *state;
	struct note a = make(fixture, "a", 0);
	struct note b = make(fixture, "b", 0);
	struct note c = make(fixture, "c", 0);
	const uint64_t before = commits();

	turn_set_window(fixture->turn, 1000);
	turn_submit_lazily(fixture->turn, &a.job);
	turn_submit_lazily(fixture->turn, &b.job);
	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	assert_string_equal(fixture->done, "");
	turn_submit(fixture->turn, &c.job);
	event_base_loop(fixture->base, EVLOOP_NONBLOCK);
	assert_string_equal(fixture->done, "abc");
	assert_int_equal(commits() - before, 1);
	/* nothing is left that would wake the loop */
	assert_int_equal(event_base_loop(fixture->base, EVLOOP_NONBLOCK), 1);
}

static void
test_a_lazy_job_is_not_forgotten(void **state)
{
	struct fixture *fixture = *state;
	struct note a = make(fixture, "a", 0);

	turn_set_window(fixture->turn, 2);
	turn_submit_lazily(fixture->turn, &a.job);
	event_base_loop(fixture->base, 0); /* until nothing is pending */
	assert_string_equal(fixture->done, "a");
	assert_true(is_stored(fixture, "a"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_commit_for_all,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_only_the_faulty_one_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_done_may_submit, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_lazy_jobs_wait_for_others, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_lazy_job_is_not_forgotten, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
