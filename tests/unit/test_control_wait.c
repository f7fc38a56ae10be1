/*
 * Who waits for a playback to be taken: told by what happens to the call, and
 * by what the store has, however many wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/call_play.h"
#include "shared/clock.h"
#include "wait_fixture.h"
#include "worker/control_wait.h"

#define LATER_MS 3600000

struct waiting {
	struct control_wait wait;
	unsigned told;
	enum control_outcome outcome;
};

static void
on_over(struct control_wait *wait, enum control_outcome outcome)
{
	struct waiting *waiting = (struct waiting *)(void *)wait;

	waiting->told++;
	waiting->outcome = outcome;
}

/* The n-th call's only playback is waited for. */
static void
wait_for(struct wait_fixture *fixture, struct waiting *waiting, unsigned n,
    int64_t until_ms)
{
	memset(waiting, 0, sizeof(*waiting));
	waiting->wait.over = on_over;
	waiting->wait.until_ms = until_ms;
	wait_fixture_id(n, waiting->wait.call_id);
	waiting->wait.play.ms = 7;
	assert_int_equal(control_wait_add(fixture->api.controls,
	    &waiting->wait), 0);
}

/* It was asked for, and nothing more is known. */
static void
put_plays(struct wait_fixture *fixture, unsigned count)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store.store, &txn), 0);
	for (unsigned n = 0; n < count; n++) {
		const struct call_play play = { .version = CALL_PLAY_VERSION,
			.state = CALL_PLAY_ASKED, .id = { .ms = 7 } };
		char id[CALL_ID_SIZE];

		wait_fixture_id(n, id);
		assert_int_equal(call_play_put(txn, id, &play), 0);
	}
	assert_int_equal(store_commit(&txn), 0);
}

static unsigned
count_told(const struct waiting *list, unsigned from, unsigned to,
    enum control_outcome outcome)
{
	unsigned count = 0;

	for (unsigned n = from; n < to; n++)
		count += list[n].told == 1 && list[n].outcome == outcome;
	return count;
}

/*
 * One review looks at all of them: behind hundreds of which nothing is known
 * there are those that are taken, those whose call is gone, and those whose
 * time is over.
 */
static void
test_review_of_many(void **state)
{
	static struct waiting list[WAIT_CALLS];
	struct wait_fixture fixture;
	int64_t later_ms;

	(void)state;
	wait_fixture_open(&fixture);
	later_ms = clock_deadline_ms() + LATER_MS; /* the store sets it */
	fixture.api.controls = control_waiters_new();
	assert_non_null(fixture.api.controls);
	wait_fixture_put(&fixture, 0, 400, CALL_ANSWERED);
	put_plays(&fixture, 300);
	for (unsigned n = 0; n < WAIT_CALLS; n++)
		wait_for(&fixture, &list[n], n, n < 200 ? later_ms : 1);
	control_review(&fixture.api);
	assert_int_equal(count_told(list, 200, 300, CONTROL_UNKNOWN), 100);
	assert_int_equal(count_told(list, 300, 400, CONTROL_TAKEN), 100);
	assert_int_equal(count_told(list, 400, 500, CONTROL_ENDED), 100);
	assert_int_equal(control_waiters_count(fixture.api.controls), 200);
	control_waiters_free(&fixture.api.controls);
	assert_int_equal(count_told(list, 0, 300, CONTROL_UNKNOWN), 300);
	wait_fixture_close(&fixture);
}

/* What Asterisk replied, or an event that stands for its reply. */
static void
test_replies(void **state)
{
	static const struct {
		enum call_input_kind input;
		int status;
		enum control_outcome outcome;
	} rows[] = {
		{ CALL_IN_PLAY_OK, 201, CONTROL_TAKEN },
		{ CALL_IN_PLAY_STARTED, 0, CONTROL_TAKEN },
		{ CALL_IN_PLAY_REFUSED, 404, CONTROL_GONE },
		{ CALL_IN_PLAY_REFUSED, 409, CONTROL_GONE },
		{ CALL_IN_PLAY_REFUSED, 500, CONTROL_REFUSED },
	};
	struct wait_fixture fixture;

	(void)state;
	wait_fixture_open(&fixture);
	fixture.api.controls = control_waiters_new();
	assert_non_null(fixture.api.controls);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct change change = { .input = rows[i].input,
			.play_id = { .ms = 7 },
			.reply_status = rows[i].status,
			.step.call.state = CALL_ANSWERED };
		struct waiting waiting;

		wait_for(&fixture, &waiting, i, 1);
		wait_fixture_id(i, change.step.call.id);
		control_call_changed(&fixture.api, &change);
		if (waiting.told != 1 || waiting.outcome != rows[i].outcome)
			fail_msg("row %u: %u, %d", i, waiting.told,
			    (int)waiting.outcome);
	}
	control_waiters_free(&fixture.api.controls);
	wait_fixture_close(&fixture);
}

/* A look at one call leaves the others alone. */
static void
test_look_at_one(void **state)
{
	static struct waiting list[3];
	struct wait_fixture fixture;

	(void)state;
	wait_fixture_open(&fixture);
	fixture.api.controls = control_waiters_new();
	assert_non_null(fixture.api.controls);
	for (unsigned n = 0; n < 3; n++)
		wait_for(&fixture, &list[n], n, 1);
	control_look_at(&fixture.api, list[1].wait.call_id);
	assert_int_equal(count_told(list, 1, 2, CONTROL_ENDED), 1);
	assert_int_equal(control_waiters_count(fixture.api.controls), 2);
	control_waiters_free(&fixture.api.controls);
	wait_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_review_of_many),
		cmocka_unit_test(test_look_at_one),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
