/*
 * Trunks over a real store, by the steps of real calls: what occupies them,
 * when they rest, and that nothing is left counted when the calls are over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_table.h"
#include "shared/trunk_state.h"
#include "store_fixture.h"

#define WALL_MS 1720012345000LL
#define BOOT_MS 5000000LL
#define FAILURES 3
#define REST_MS 30000
#define REST_MAX_MS 100000

struct bed {
	struct store_fixture store;
	struct store_txn *txn;
	struct call_now now;
	struct call_step step; /* the last one's */
};

static int
setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));

	store_fixture_open(&bed->store);
	assert_int_equal(store_begin_write(bed->store.store, &bed->txn), 0);
	bed->now = (struct call_now){ .wall_ms = WALL_MS,
		.boot_ms = BOOT_MS, .originate_timeout_ms = 5000,
		.trunk_timeout_ms = 4000, .circuit_failures = FAILURES,
		.circuit_rest_ms = REST_MS,
		.circuit_rest_max_ms = REST_MAX_MS };
	*state = bed;
	return 0;
}

static int
teardown(void **state)
{
	struct bed *bed = *state;

	store_abort(&bed->txn);
	store_fixture_close(&bed->store);
	free(bed);
	return 0;
}

static void
pass(struct bed *bed, int64_t ms)
{
	bed->now.wall_ms += ms;
	bed->now.boot_ms += ms;
}

static struct trunk_state
state_of(struct bed *bed, const char *name)
{
	struct trunk_state state;

	assert_int_equal(trunk_state_get(bed->txn, name, &state), 0);
	return state;
}

/* A call with trunks "one", "two", "three"; its id is copied. */
static void
create(struct bed *bed, char id[CALL_ID_SIZE])
{
	static const struct call_cold cold = {
		.webhook_url = "",
		.metadata = "",
		.voice = "en-US-Neural2-A",
		.trunk_count = 3,
		.trunk_names = { "one", "two", "three" },
		.endpoints = { "PJSIP/1@one", "PJSIP/1@two",
		    "PJSIP/1@three" },
	};
	struct call call = { .key_id = 12, .trunk_count = 3,
		.ring_timeout_s = 30, .max_duration_s = 60,
		.number = "14155550100" };

	assert_int_equal(call_table_create(bed->txn, &call, &cold, 1,
	    &bed->now, &bed->step), 0);
	memcpy(id, bed->step.call.id, CALL_ID_SIZE);
}

static void
happen(struct bed *bed, const char *id, enum call_input_kind kind,
    unsigned what)
{
	const struct call_input input = { .kind = kind, .cause = what,
		.timer = (enum call_timer)what, .at_ms = bed->now.wall_ms };

	assert_int_equal(call_table_step(bed->txn, id, &input, &bed->now,
	    &bed->step), 0);
}

/* Trunks with so many calls each. */
static void
expect_live(struct bed *bed, unsigned one, unsigned two, unsigned three)
{
	assert_int_equal(state_of(bed, "one").live, one);
	assert_int_equal(state_of(bed, "two").live, two);
	assert_int_equal(state_of(bed, "three").live, three);
}

/* A call whose carrier refuses it: it goes on, and is hung up there. */
static void
fail_once(struct bed *bed)
{
	char id[CALL_ID_SIZE];

	create(bed, id);
	happen(bed, id, CALL_IN_SEEN, 0);
	happen(bed, id, CALL_IN_DESTROYED, 34);
	if (bed->step.call.state != CALL_ENDED) {
		happen(bed, id, CALL_IN_HANGUP, 0);
		happen(bed, id, CALL_IN_ORIGINATE_REFUSED, 0);
	}
	assert_int_equal(bed->step.call.state, CALL_ENDED);
}

static void
test_a_call_occupies_one_trunk(void **state)
{
	struct bed *bed = *state;
	char id[CALL_ID_SIZE];

	create(bed, id);
	expect_live(bed, 1, 0, 0);
	happen(bed, id, CALL_IN_SEEN, 0);
	happen(bed, id, CALL_IN_DESTROYED, 34);
	assert_int_equal(bed->step.rings & CALL_RING_REROUTED,
	    CALL_RING_REROUTED);
	expect_live(bed, 0, 1, 0);
	happen(bed, id, CALL_IN_SEEN, 0);
	assert_int_equal(bed->step.rings & CALL_RING_REROUTED, 0);
	happen(bed, id, CALL_IN_TIMER, CALL_TIMER_TRUNK);
	expect_live(bed, 0, 0, 1);
	happen(bed, id, CALL_IN_UP, 0);
	expect_live(bed, 0, 0, 1);
	happen(bed, id, CALL_IN_DESTROYED, 16);
	expect_live(bed, 0, 0, 0);
	assert_int_equal(state_of(bed, "one").failed, 1);
	assert_int_equal(state_of(bed, "two").failed, 1);
	assert_int_equal(state_of(bed, "three").failed, 0);
	assert_int_equal(state_of(bed, "one").dialled, 1);
	assert_int_equal(state_of(bed, "three").dialled, 1);
}

/* How a call ends, and what it means to its trunk. */
static void
test_signs(void **state)
{
	static const struct {
		const char *name;
		unsigned cause;
		int64_t after_ms;
		enum call_input_kind first; /* CALL_IN_CREATE: none */
		unsigned failures; /* in a row, from one before */
	} rows[] = {
		{ "busy", 17, 100, CALL_IN_CREATE, 0 },
		{ "no such number", 1, 100, CALL_IN_CREATE, 0 },
		{ "declined", 21, 100, CALL_IN_CREATE, 0 },
		{ "absent at once", 19, 100, CALL_IN_CREATE, 0 },
		{ "silent until the end", 19, 30000, CALL_IN_CREATE, 2 },
		{ "silent, Asterisk 16", 0, 30000, CALL_IN_CREATE, 2 },
		{ "an INVITE without answer", 18, 32000, CALL_IN_CREATE, 2 },
		{ "rang to the end", 19, 30000, CALL_IN_RINGING, 0 },
		{ "congestion", 34, 100, CALL_IN_CREATE, 2 },
		{ "congestion behind progress", 34, 100, CALL_IN_PROGRESS,
		    1 },
		{ "no cause at once", 0, 100, CALL_IN_CREATE, 1 },
		{ "hung up by the client", 16, 100, CALL_IN_HANGUP, 1 },
		{ "refused while it is hung up", 34, 100, CALL_IN_HANGUP, 1 },
	};
	struct bed *bed = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct trunk_state one = state_of(bed, "one");
		struct trunk_state two = state_of(bed, "two");
		char id[CALL_ID_SIZE];

		one.failures = 1;
		one.circuit = TRUNK_CLOSED;
		two.max_calls = 1; /* nowhere to go on */
		two.live = 1;
		assert_int_equal(trunk_state_put(bed->txn, "one", &one), 0);
		assert_int_equal(trunk_state_put(bed->txn, "two", &two), 0);
		assert_int_equal(trunk_state_put(bed->txn, "three", &two), 0);
		create(bed, id);
		happen(bed, id, CALL_IN_SEEN, 0);
		if (rows[i].first != CALL_IN_CREATE)
			happen(bed, id, rows[i].first, 0);
		pass(bed, rows[i].after_ms);
		happen(bed, id, CALL_IN_DESTROYED, rows[i].cause);
		one = state_of(bed, "one");
		if (rows[i].first == CALL_IN_PROGRESS)
			assert_int_equal(one.failures, 1); /* it began anew */
		if (one.failures != rows[i].failures || one.live != 0)
			fail_msg("%s: %u failures, %u live", rows[i].name,
			    one.failures, one.live);
	}
}

static void
test_refused_by_asterisk(void **state)
{
	struct bed *bed = *state;
	char id[CALL_ID_SIZE];

	create(bed, id);
	happen(bed, id, CALL_IN_ORIGINATE_REFUSED, 0);
	happen(bed, id, CALL_IN_ORIGINATE_REFUSED, 0);
	expect_live(bed, 0, 0, 1);
	happen(bed, id, CALL_IN_ORIGINATE_REFUSED, 0);
	expect_live(bed, 0, 0, 0);
	assert_int_equal(state_of(bed, "one").failures, 1);
	assert_int_equal(state_of(bed, "two").failures, 1);
	assert_int_equal(state_of(bed, "three").failures, 1);
}

static void
expect_rest(struct bed *bed, int64_t ms)
{
	const struct trunk_state one = state_of(bed, "one");

	assert_int_equal(one.circuit, TRUNK_RESTING);
	assert_int_equal(one.rest_until_ms, bed->now.boot_ms + ms);
	assert_int_equal(trunk_state_busy(&one, bed->now.boot_ms),
	    TRUNK_RESTS);
	assert_int_equal(trunk_state_wait_ms(&one, bed->now.boot_ms), ms);
	assert_int_equal(trunk_state_busy(&one, one.rest_until_ms - 1),
	    TRUNK_RESTS);
	assert_int_equal(trunk_state_busy(&one, one.rest_until_ms),
	    TRUNK_FREE);
}

static void
test_circuit(void **state)
{
	static const int64_t rests[] = { 30000, 60000, 100000, 100000 };
	struct bed *bed = *state;
	char id[CALL_ID_SIZE];

	fail_once(bed);
	fail_once(bed);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_CLOSED);
	assert_string_equal(bed->step.rested, "");
	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++) {
		create(bed, id);
		if (i > 0)
			assert_int_equal(state_of(bed, "one").circuit,
			    TRUNK_PROBING);
		happen(bed, id, CALL_IN_SEEN, 0);
		happen(bed, id, CALL_IN_DESTROYED, 34);
		assert_string_equal(bed->step.rested, "one");
		expect_rest(bed, rests[i]);
		happen(bed, id, CALL_IN_SEEN, 0);
		assert_string_equal(bed->step.rested, "");
		happen(bed, id, CALL_IN_DESTROYED, 17);
		pass(bed, rests[i]);
	}
	create(bed, id);
	happen(bed, id, CALL_IN_SEEN, 0);
	happen(bed, id, CALL_IN_RINGING, 0);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_CLOSED);
	assert_int_equal(state_of(bed, "one").failures, 0);
	assert_int_equal(state_of(bed, "one").rests, 0);
	happen(bed, id, CALL_IN_DESTROYED, 17);
	expect_live(bed, 0, 0, 0);
	/* and from the beginning */
	fail_once(bed);
	fail_once(bed);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_CLOSED);
	fail_once(bed);
	expect_rest(bed, 30000);
}

/* One at a time; one that tells nothing leaves it to the next. */
static void
test_probe(void **state)
{
	struct bed *bed = *state;
	char old[CALL_ID_SIZE];
	char id[CALL_ID_SIZE];
	struct trunk_state one;

	create(bed, old); /* of before the rest; it fails late */
	happen(bed, old, CALL_IN_SEEN, 0);
	for (int i = 0; i < FAILURES; i++)
		fail_once(bed);
	pass(bed, REST_MS);
	create(bed, id);
	one = state_of(bed, "one");
	assert_int_equal(one.circuit, TRUNK_PROBING);
	assert_string_equal(one.probe, id);
	assert_int_equal(trunk_state_busy(&one, bed->now.boot_ms),
	    TRUNK_RESTS);
	assert_int_equal(trunk_state_busy(&one, bed->now.boot_ms + 1000000),
	    TRUNK_RESTS);
	happen(bed, old, CALL_IN_DESTROYED, 34);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_PROBING);
	happen(bed, id, CALL_IN_SEEN, 0);
	happen(bed, id, CALL_IN_HANGUP, 0);
	happen(bed, id, CALL_IN_DESTROYED, 16);
	one = state_of(bed, "one");
	assert_int_equal(one.circuit, TRUNK_RESTING);
	assert_int_equal(trunk_state_busy(&one, bed->now.boot_ms),
	    TRUNK_FREE);
	create(bed, id);
	assert_string_equal(state_of(bed, "one").probe, id);
	pass(bed, 20000); /* nobody saw what the carrier did */
	happen(bed, id, CALL_IN_LOST, 0);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_RESTING);
	assert_int_equal(state_of(bed, "one").rests, 1);
	create(bed, id);
	happen(bed, id, CALL_IN_SEEN, 0);
	happen(bed, id, CALL_IN_DESTROYED, 17);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_CLOSED);
}

static void
test_circuit_is_off(void **state)
{
	struct bed *bed = *state;

	bed->now.circuit_failures = 0;
	for (int i = 0; i < 20; i++)
		fail_once(bed);
	assert_int_equal(state_of(bed, "one").circuit, TRUNK_CLOSED);
	assert_int_equal(state_of(bed, "one").failures, 20);
}

static void
test_limits(void **state)
{
	static const struct {
		struct trunk_state state;
		enum trunk_busy busy;
		int64_t wait_ms;
	} rows[] = {
		{ { .live = 1000 }, TRUNK_FREE, 1 },
		{ { .live = 9, .max_calls = 10 }, TRUNK_FREE, 1 },
		{ { .live = 10, .max_calls = 10 }, TRUNK_OVER_CALLS, 5000 },
		{ { .live = 11, .max_calls = 10 }, TRUNK_OVER_CALLS, 5000 },
		{ { .max_cps = 2, .second = 5000, .second_count = 1 },
		    TRUNK_FREE, 1 },
		{ { .max_cps = 2, .second = 5000, .second_count = 2 },
		    TRUNK_OVER_CPS, 750 },
		{ { .max_cps = 2, .second = 4999, .second_count = 2 },
		    TRUNK_FREE, 1 },
		{ { .circuit = TRUNK_PROBING }, TRUNK_RESTS, 5000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(trunk_state_busy(&rows[i].state,
		    BOOT_MS + 250), rows[i].busy);
		assert_int_equal(trunk_state_wait_ms(&rows[i].state,
		    BOOT_MS + 250), rows[i].wait_ms);
	}
}

static void
test_seconds(void **state)
{
	struct bed *bed = *state;
	char id[CALL_ID_SIZE];
	struct trunk_state one;

	create(bed, id);
	create(bed, id);
	one = state_of(bed, "one");
	assert_int_equal(trunk_state_cps(&one, bed->now.boot_ms), 2);
	assert_int_equal(trunk_state_cps(&one, bed->now.boot_ms + 999), 2);
	assert_int_equal(trunk_state_cps(&one, bed->now.boot_ms + 1000), 0);
	pass(bed, 1000);
	create(bed, id);
	one = state_of(bed, "one");
	assert_int_equal(trunk_state_cps(&one, bed->now.boot_ms), 1);
}

/* Which are free is judged when the call goes on, not when it was made. */
static void
test_full_ones_are_passed_over(void **state)
{
	struct bed *bed = *state;
	struct trunk_state two = state_of(bed, "two");
	char id[CALL_ID_SIZE];

	create(bed, id);
	happen(bed, id, CALL_IN_SEEN, 0);
	two.max_calls = 1;
	two.live = 1;
	assert_int_equal(trunk_state_put(bed->txn, "two", &two), 0);
	happen(bed, id, CALL_IN_DESTROYED, 34);
	assert_int_equal(bed->step.call.attempt, 3);
	assert_int_equal(call_trunks_tried(&bed->step.call), 2);
	expect_live(bed, 0, 1, 1);
}

/* A table that was lost counts from nothing, and never below it. */
static void
test_a_lost_table(void **state)
{
	struct bed *bed = *state;
	char id[CALL_ID_SIZE];

	create(bed, id);
	assert_int_equal(store_del(bed->txn, STORE_TRUNKS, "one", 3), 0);
	happen(bed, id, CALL_IN_SEEN, 0);
	happen(bed, id, CALL_IN_DESTROYED, 17);
	expect_live(bed, 0, 0, 0);
}

/* Nothing came of it for as long as a trunk may take, nor until it rang out. */
static void
ring_out(struct bed *bed, char id[CALL_ID_SIZE])
{
	create(bed, id);
	happen(bed, id, CALL_IN_SEEN, 0);
	pass(bed, 35000);
	happen(bed, id, CALL_IN_TIMER, CALL_TIMER_GUARD);
	assert_true((bed->step.call.flags & CALL_F_RING_TIMEOUT) != 0);
}

/* That a trunk was silent must have been heard: its end, at least, was. */
static void
test_a_missed_end_blames_no_trunk(void **state)
{
	struct bed *bed = *state;
	struct call_input heard_late = { .kind = CALL_IN_DESTROYED,
		.cause = 19 };
	char id[CALL_ID_SIZE];

	ring_out(bed, id);
	happen(bed, id, CALL_IN_LOST, 0);
	assert_int_equal(bed->step.call.status, CALL_STATUS_NO_ANSWER);
	assert_int_equal(state_of(bed, "one").failures, 0);
	/* the end was told, but what was before it may not have been */
	ring_out(bed, id);
	heard_late.at_ms = heard_late.heard_since_ms = bed->now.wall_ms;
	assert_int_equal(call_table_step(bed->txn, id, &heard_late, &bed->now,
	    &bed->step), 0);
	assert_int_equal(bed->step.call.state, CALL_ENDED);
	assert_int_equal(state_of(bed, "one").failures, 0);
	ring_out(bed, id);
	happen(bed, id, CALL_IN_DESTROYED, 0);
	assert_int_equal(bed->step.call.status, CALL_STATUS_NO_ANSWER);
	assert_int_equal(state_of(bed, "one").failures, 1);
}

/* A call that an older program made, and did not count. */
static void
test_an_older_call(void **state)
{
	struct bed *bed = *state;
	char counted[CALL_ID_SIZE];
	char old[CALL_ID_SIZE];
	struct call call;

	create(bed, counted);
	create(bed, old);
	assert_int_equal(call_table_get(bed->txn, old, &call), 0);
	call.trunks_tried = 0;
	call.flags &= ~(uint32_t)CALL_F_CLOSE_TRUNK;
	assert_int_equal(store_put(bed->txn, STORE_CALLS, old, strlen(old),
	    &call, sizeof(call)), 0);
	assert_int_equal(call_trunks_tried(&call), 1);
	happen(bed, old, CALL_IN_SEEN, 0);
	happen(bed, old, CALL_IN_DESTROYED, 17);
	expect_live(bed, 2, 0, 0); /* 1 by itself; the fixture counted both */
}

static void
test_list(void **state)
{
	struct bed *bed = *state;
	struct trunk_row rows[4];
	struct trunk_state some = { .version = TRUNK_STATE_VERSION };

	for (int i = 0; i < 6; i++) {
		const char name[] = { 'a', (char)('0' + i), '\0' };

		some.live = (uint32_t)i;
		assert_int_equal(trunk_state_put(bed->txn, name, &some), 0);
	}
	assert_int_equal(trunk_state_list(bed->txn, "", rows, 4), 4);
	assert_string_equal(rows[0].name, "a0");
	assert_int_equal(rows[3].state.live, 3);
	assert_int_equal(trunk_state_list(bed->txn, "a3", rows, 4), 2);
	assert_string_equal(rows[0].name, "a4");
	assert_int_equal(rows[1].state.live, 5);
	assert_int_equal(trunk_state_list(bed->txn, "a5", rows, 4), 0);
}

/* Whatever happens to calls, in whatever order, the counts come out. */
static void
test_random_calls(void **state)
{
	enum { CALLS = 40, STEPS = 6000 };
	static const unsigned causes[] = { 0, 16, 17, 19, 34, 38, 102 };
	static const enum call_input_kind kinds[] = { CALL_IN_SEEN,
		CALL_IN_RINGING, CALL_IN_UP, CALL_IN_DESTROYED,
		CALL_IN_DESTROYED, CALL_IN_ORIGINATE_REFUSED, CALL_IN_HANGUP,
		CALL_IN_TIMER, CALL_IN_LOST, CALL_IN_PROGRESS };
	struct bed *bed = *state;
	char ids[CALLS][CALL_ID_SIZE] = { "" };
	unsigned live[3];

	srand(20260101);
	for (int n = 0; n < STEPS; n++) {
		char *id = ids[rand() % CALLS];
		struct call_input input = {
			.kind = kinds[rand() % 10],
			.cause = causes[rand() % 7],
			.timer = (enum call_timer)(rand() %
			    CALL_TIMER_COUNT),
			.at_ms = bed->now.wall_ms };
		struct call call;
		int rc;

		pass(bed, rand() % 400);
		if (id[0] == '\0' ||
		    call_table_get(bed->txn, id, &call) == -KAP_NOENT ||
		    call.state == CALL_ENDED)
			create(bed, id);
		rc = call_table_step(bed->txn, id, &input, &bed->now,
		    &bed->step);
		assert_true(rc == 0 || rc == -KAP_STATE);
		memset(live, 0, sizeof(live));
		for (int i = 0; i < CALLS; i++) {
			if (ids[i][0] != '\0' && call_table_get(bed->txn,
			        ids[i], &call) == 0 && call_is_live(&call))
				live[call.attempt - 1]++;
		}
		expect_live(bed, live[0], live[1], live[2]);
	}
}

int
main(void)
{
#define WITH_BED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_BED(test_a_call_occupies_one_trunk),
		WITH_BED(test_signs),
		WITH_BED(test_refused_by_asterisk),
		WITH_BED(test_circuit),
		WITH_BED(test_probe),
		WITH_BED(test_circuit_is_off),
		WITH_BED(test_limits),
		WITH_BED(test_seconds),
		WITH_BED(test_full_ones_are_passed_over),
		WITH_BED(test_a_lost_table),
		WITH_BED(test_a_missed_end_blames_no_trunk),
		WITH_BED(test_an_older_call),
		WITH_BED(test_list),
		WITH_BED(test_random_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
