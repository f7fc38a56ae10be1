/*
 * Who waits for what becomes of a call that was made, however many wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wait_fixture.h"
#include "worker/makecall_internal.h"

static unsigned told[1000]; /* by status, how often */

static void
on_done(void *arg, struct api_answer *answer, const struct account_rate *rate)
{
	(void)arg;
	assert_null(rate);
	assert_null(answer->given_up);
	told[answer->status]++;
	cJSON_Delete(answer->tree);
}

/* The n-th call was made long ago. */
static void
wait_for(struct wait_fixture *fixture, unsigned n)
{
	struct makecall *makecall = calloc(1, sizeof(*makecall));

	assert_non_null(makecall);
	makecall->api = &fixture->api;
	makecall->done = on_done;
	makecall->change.step.call.created_ms = 1;
	wait_fixture_id(n, makecall->change.step.call.id);
	memcpy(makecall->answer.call_id, makecall->change.step.call.id,
	    sizeof(makecall->answer.call_id));
	assert_int_equal(makecall_wait(makecall), 0);
}

/*
 * One review looks at all of them: behind hundreds of which nothing is known
 * there are those whose call is made by now, and those whose call is gone.
 */
static void
test_review_of_many(void **state)
{
	struct wait_fixture fixture;

	(void)state;
	wait_fixture_open(&fixture);
	fixture.api.waiters = waiters_new();
	assert_non_null(fixture.api.waiters);
	wait_fixture_put(&fixture, 0, 200, CALL_QUEUED);
	wait_fixture_put(&fixture, 200, 400, CALL_RINGING);
	for (unsigned n = 0; n < WAIT_CALLS; n++)
		wait_for(&fixture, n);
	waiters_review(&fixture.api);
	assert_int_equal(told[200], 200);
	assert_int_equal(told[503], 100);
	assert_int_equal(waiters_count(fixture.api.waiters), 200);
	waiters_free(&fixture.api.waiters);
	assert_int_equal(told[503], 300);
	wait_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_review_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
