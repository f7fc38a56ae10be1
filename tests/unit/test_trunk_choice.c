/*
 * The trunks of a new call: those that are free first, none that is not, and
 * how long to wait when there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/clock.h"
#include "shared/trunk_state.h"
#include "store_fixture.h"
#include "worker/trunk_choice.h"

static const struct call_request request = { .number = "14155550100" };

static int
setup(void **state)
{
	struct store_fixture *fixture = calloc(1, sizeof(*fixture));

	store_fixture_open(fixture);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	store_fixture_close(*state);
	free(*state);
	return 0;
}

/* Trunks "a", "b", "c", of one priority, the last of another. */
static struct api_key
make_key(void)
{
	struct api_key key = { .id = 12, .trunk_count = 3 };

	for (unsigned i = 0; i < 3; i++) {
		key.trunks[i].id = i + 1;
		key.trunks[i].name[0] = (char)('a' + i);
		snprintf(key.trunks[i].dial_template,
		    sizeof(key.trunks[i].dial_template),
		    "PJSIP/{number}@{trunk}");
		key.limits[i].weight = 1;
		key.limits[i].priority = i == 2 ? 5 : 0;
	}
	return key;
}

struct row {
	const char *name;
	struct trunk_state states[3];
	struct api_key_trunk_limits limits[3];
	const char *order; /* at position 0; NULL: none is free */
	unsigned wait_s;
};

static void
check_row(struct store_txn *txn, const struct row *row)
{
	struct account account = { .round_robin = 0 };
	struct call_request_dial dial;
	struct api_key key = make_key();
	int rc;

	for (unsigned i = 0; i < 3; i++) {
		struct trunk_state state = row->states[i];

		state.version = TRUNK_STATE_VERSION;
		if (state.rest_until_ms != 0)
			state.rest_until_ms += clock_deadline_ms();
		key.limits[i].max_calls = row->limits[i].max_calls;
		key.limits[i].max_cps = row->limits[i].max_cps;
		assert_int_equal(trunk_state_put(txn, key.trunks[i].name,
		    &state), 0);
	}
	rc = trunk_choice_dial(txn, &request, &key, &account, &dial);
	if (rc != (row->order != NULL ? 0 : -KAP_AGAIN))
		fail_msg("%s: %d", row->name, rc);
	assert_int_equal(account.round_robin, rc == 0 ? 1 : 0);
	if (rc != 0) {
		assert_int_equal(dial.wait_s, row->wait_s);
		return;
	}
	assert_int_equal(dial.count, 3);
	for (unsigned i = 0; i < 3; i++) {
		char endpoint[32];

		if (dial.trunks[i].name[0] != row->order[i])
			fail_msg("%s: %c at %u", row->name,
			    dial.trunks[i].name[0], i);
		snprintf(endpoint, sizeof(endpoint), "PJSIP/14155550100@%c",
		    row->order[i]);
		assert_string_equal(dial.endpoints[i], endpoint);
	}
}

static void
test_choice(void **state)
{
#define RESTS(ms) { .circuit = TRUNK_RESTING, .rest_until_ms = (ms) }
#define FULL { .live = 7 }
#define SEVEN { .max_calls = 7 }
	static const struct row rows[] = {
		{ "all are free", { { 0 } }, { { 0 } }, "abc", 0 },
		{ "the first rests", { RESTS(60000) }, { { 0 } }, "bca", 0 },
		{ "its rest is over", { RESTS(-1) }, { { 0 } }, "abc", 0 },
		{ "its probe is under way", { { .circuit = TRUNK_PROBING } },
		    { { 0 } }, "bca", 0 },
		{ "the second is full", { { 0 }, FULL }, { { 0 }, SEVEN },
		    "acb", 0 },
		{ "one less is not", { { 0 }, { .live = 6 } },
		    { { 0 }, SEVEN }, "abc", 0 },
		{ "only the last priority", { FULL, RESTS(60000) },
		    { SEVEN }, "cab", 0 },
		{ "none: the rest that ends first", { RESTS(60000),
		    RESTS(33000), RESTS(40000) }, { { 0 } }, NULL, 33 },
		{ "none: full ones", { FULL, FULL, RESTS(40000) },
		    { SEVEN, SEVEN }, NULL, 5 },
		{ "none: a full one and a short rest", { FULL, FULL,
		    RESTS(2900) }, { SEVEN, SEVEN }, NULL, 3 },
	};
	struct store_fixture *fixture = *state;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(txn, &rows[i]);
	store_abort(&txn);
}

/* Limits are written down for those who have no key at hand. */
static void
test_limits_are_kept(void **state)
{
	struct store_fixture *fixture = *state;
	struct account account = { .round_robin = 3 };
	struct api_key key = make_key();
	struct call_request_dial dial;
	struct trunk_state found;
	struct store_txn *txn;

	key.limits[2].max_calls = 9;
	key.limits[2].max_cps = 4;
	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	assert_int_equal(trunk_choice_dial(txn, &request, &key, &account,
	    &dial), 0);
	assert_int_equal(account.round_robin, 4);
	assert_string_equal(dial.trunks[0].name, "b");
	assert_int_equal(trunk_state_get(txn, "c", &found), 0);
	assert_int_equal(found.id, 3);
	assert_int_equal(found.max_calls, 9);
	assert_int_equal(found.max_cps, 4);
	key.limits[2].max_calls = 0;
	assert_int_equal(trunk_choice_dial(txn, &request, &key, &account,
	    &dial), 0);
	assert_int_equal(trunk_state_get(txn, "c", &found), 0);
	assert_int_equal(found.max_calls, 0);
	store_abort(&txn);
}

/* A trunk that rests leaves its turns to all of the others. */
static void
test_turns_of_one_that_rests(void **state)
{
	const struct trunk_state resting = { .version = TRUNK_STATE_VERSION,
		.circuit = TRUNK_RESTING,
		.rest_until_ms = clock_deadline_ms() + 60000 };
	struct store_fixture *fixture = *state;
	struct account account = { .round_robin = 0 };
	struct api_key key = make_key();
	struct call_request_dial dial;
	struct store_txn *txn;
	char first[7] = "";

	key.limits[2].priority = 0;
	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	assert_int_equal(trunk_state_put(txn, "a", &resting), 0);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(trunk_choice_dial(txn, &request, &key,
		    &account, &dial), 0);
		first[i] = dial.trunks[0].name[0];
		assert_string_equal(dial.trunks[2].name, "a");
	}
	assert_string_equal(first, "bcbcbc");
	store_abort(&txn);
}

static void
test_none_is_usable(void **state)
{
	struct store_fixture *fixture = *state;
	struct account account = { .round_robin = 3 };
	struct api_key key = make_key();
	struct call_request_dial dial;
	struct store_txn *txn;

	for (int i = 0; i < 3; i++)
		key.trunks[i].dial_template[0] = '\0';
	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	assert_int_equal(trunk_choice_dial(txn, &request, &key, &account,
	    &dial), -KAP_INVAL);
	assert_int_equal(account.round_robin, 3);
	store_abort(&txn);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_choice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_are_kept, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_turns_of_one_that_rests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_none_is_usable, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
