/*
 * The recorder's queue, in a real store.
 */
#include "tests/unit/recording_fixture.h"

#include "shared/recording_queue.h"

struct state {
	char dir[FIXTURE_PATH];
	struct store *store;
};

static int
open_store(struct state *state)
{
	struct kap_errmsg msg;

	return store_open(&state->store, state->dir, 16, DURABILITY_NORMAL,
	    &msg);
}

static int
set_up(void **arg)
{
	struct state *state = calloc(1, sizeof(*state));

	if (state == NULL || fixture_make_dir("/tmp", state->dir) == NULL)
		return -1;
	*arg = state;
	return open_store(state);
}

static int
tear_down(void **arg)
{
	struct state *state = *arg;

	store_close(&state->store);
	fixture_remove_dir(state->dir);
	free(state);
	return 0;
}

/* Append `count` jobs in one transaction; their names are "call-…-<n>". */
static void
append(struct state *state, unsigned from, unsigned count)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(state->store, &txn), 0);
	for (unsigned i = from; i < from + count; i++) {
		struct recording_job job = { .key_id = i, .duration_s = 7 };

		(void)snprintf(job.call_id, sizeof(job.call_id),
		    "1720012345.%u", i);
		(void)snprintf(job.name, sizeof(job.name),
		    "call-1720012345.%u-1739781234567", i);
		assert_int_equal(recording_queue_append(txn, &job), 0);
		assert_int_equal(job.version, RECORDING_JOB_VERSION);
		assert_int_equal(job.number, i);
		assert_true(job.queued_ms > 1600000000000);
	}
	assert_int_equal(store_commit(&txn), 0);
}

static int
peek(struct state *state, uint64_t after, struct recording_job *jobs,
    unsigned max)
{
	struct store_txn *txn;
	int count;

	assert_int_equal(store_begin_read(state->store, &txn), 0);
	count = recording_queue_peek(txn, after, jobs, max);
	store_end_read(&txn);
	return count;
}

static void
remove_job(struct state *state, uint64_t number)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(state->store, &txn), 0);
	assert_int_equal(recording_queue_remove(txn, number), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
jobs_come_out_in_order_with_all_fields(void **arg)
{
	struct state *state = *arg;
	struct recording_job jobs[8];

	assert_int_equal(peek(state, 0, jobs, 8), 0);
	append(state, 1, 5);
	assert_int_equal(peek(state, 0, jobs, 8), 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(jobs[i].number, i + 1);
		assert_int_equal(jobs[i].key_id, i + 1);
		assert_int_equal(jobs[i].duration_s, 7);
	}
	assert_string_equal(jobs[2].call_id, "1720012345.3");
	assert_string_equal(jobs[2].name, "call-1720012345.3-1739781234567");
}

static void
peek_begins_behind_a_number_and_ends_at_max(void **arg)
{
	static const struct {
		uint64_t after;
		unsigned max;
		int expect;
		uint64_t first;
	} cases[] = {
		{ 0, 0, 0, 0 },
		{ 0, 2, 2, 1 },
		{ 3, 8, 3, 4 },
		{ 5, 8, 1, 6 },
		{ 6, 8, 0, 0 },
		{ 1000, 8, 0, 0 },
		{ UINT64_MAX, 8, 0, 0 },
	};
	struct state *state = *arg;
	struct recording_job jobs[8];

	append(state, 1, 6);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(peek(state, cases[i].after, jobs,
		    cases[i].max), cases[i].expect);
		if (cases[i].expect > 0)
			assert_int_equal(jobs[0].number, cases[i].first);
	}
}

static void
removing_takes_one_and_may_be_repeated(void **arg)
{
	struct state *state = *arg;
	struct recording_job jobs[8];

	append(state, 1, 4);
	remove_job(state, 2);
	remove_job(state, 2);
	remove_job(state, 77);
	assert_int_equal(peek(state, 0, jobs, 8), 3);
	assert_int_equal(jobs[0].number, 1);
	assert_int_equal(jobs[1].number, 3);
	assert_int_equal(jobs[2].number, 4);
}

static void
numbers_go_on_after_removal_and_reopening(void **arg)
{
	struct state *state = *arg;
	struct recording_job job;

	append(state, 1, 2);
	remove_job(state, 1);
	remove_job(state, 2);
	store_close(&state->store);
	assert_int_equal(open_store(state), 0);
	append(state, 3, 1); /* asserts the number */
	assert_int_equal(peek(state, 0, &job, 1), 1);
	assert_int_equal(job.number, 3);
}

static void
a_transaction_given_up_leaves_no_job(void **arg)
{
	struct state *state = *arg;
	struct recording_job job = { .key_id = 9 };
	struct store_txn *txn;

	assert_int_equal(store_begin_write(state->store, &txn), 0);
	assert_int_equal(recording_queue_append(txn, &job), 0);
	store_abort(&txn);
	assert_int_equal(peek(state, 0, &job, 1), 0);
}

static void
a_shorter_and_a_longer_record_can_be_read(void **arg)
{
	struct state *state = *arg;
	struct recording_job jobs[2];
	uint8_t bytes[sizeof(struct recording_job) + 64];
	struct store_txn *txn;
	uint8_t key[8];

	/* of another binary; strings without an end in them */
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(store_begin_write(state->store, &txn), 0);
	store_put_be64(key, 1);
	assert_int_equal(store_put(txn, STORE_RECORDINGS, key, sizeof(key),
	    bytes, offsetof(struct recording_job, name)), 0);
	store_put_be64(key, 2);
	assert_int_equal(store_put(txn, STORE_RECORDINGS, key, sizeof(key),
	    bytes, sizeof(bytes)), 0);
	assert_int_equal(store_commit(&txn), 0);
	memset(jobs, 'y', sizeof(jobs));
	assert_int_equal(peek(state, 0, jobs, 2), 2);
	assert_string_equal(jobs[0].name, "");
	assert_int_equal(strnlen(jobs[0].call_id, CALL_ID_SIZE),
	    CALL_ID_SIZE - 1);
	assert_int_equal(strnlen(jobs[1].name, CALL_RECORDING_SIZE),
	    CALL_RECORDING_SIZE - 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(jobs_come_out_in_order_with_all_fields),
		TEST(peek_begins_behind_a_number_and_ends_at_max),
		TEST(removing_takes_one_and_may_be_repeated),
		TEST(numbers_go_on_after_removal_and_reopening),
		TEST(a_transaction_given_up_leaves_no_job),
		TEST(a_shorter_and_a_longer_record_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
