/*
 * What is remembered of the Asterisk that has a slot's calls, in a real store:
 * a restart is told until its calls are settled, whoever asks meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <event2/event.h>

#include "shared/trunk_state.h"
#include "store_fixture.h"
#include "worker/media_server.h"

struct bench {
	struct store_fixture store;
	struct event_base *base;
	struct turn *turn;
	int told; /* -1: nothing */
};

static int
setup(void **state)
{
	static struct bench bench;

	store_fixture_open(&bench.store);
	bench.base = event_base_new();
	bench.turn = turn_new(bench.base, bench.store.store);
	assert_non_null(bench.turn);
	*state = &bench;
	return 0;
}

static int
teardown(void **state)
{
	struct bench *bench = *state;

	turn_free(&bench->turn);
	event_base_free(bench->base);
	store_fixture_close(&bench->store);
	return 0;
}

static void
on_noted(void *ctx, bool restarted)
{
	struct bench *bench = ctx;

	bench->told = restarted;
}

static bool
note(struct bench *bench, unsigned slot, const char *started)
{
	struct ari_server server = { .entity_id = "00:11:22:33:44:55" };

	(void)snprintf(server.started, sizeof(server.started), "%s",
	    started);
	bench->told = -1;
	assert_int_equal(media_server_note(bench->turn, slot, &server,
	    on_noted, bench), 0);
	turn_flush(bench->turn);
	assert_int_not_equal(bench->told, -1);
	return bench->told == 1;
}

static void
test_life(void **state)
{
	struct bench *bench = *state;
	static const struct {
		const char *started;
		bool settle_first;
		bool restarted;
	} steps[] = {
		{ "monday", false, false },  /* never seen one */
		{ "monday", false, false },
		{ "tuesday", false, true },
		{ "tuesday", false, true },  /* …whose calls are not ended */
		{ "tuesday", true, false },
		{ "tuesday", false, false },
		{ "wednesday", false, true },
		{ "thursday", false, true }, /* twice before it was settled */
		{ "thursday", true, false },
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].settle_first)
			media_server_settled(bench->turn, 7);
		if (note(bench, 7, steps[i].started) != steps[i].restarted)
			fail_msg("step %zu (%s)", i, steps[i].started);
	}
}

static void
put_trunk(struct bench *bench, const char *name, enum trunk_circuit circuit)
{
	const struct trunk_state state = { .version = TRUNK_STATE_VERSION,
		.circuit = (uint8_t)circuit, .rests = 3, .failures = 5,
		.rest_until_ms = INT64_MAX / 2, .live = 2 };
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(trunk_state_put(txn, name, &state), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static struct trunk_state
get_trunk(struct bench *bench, const char *name)
{
	struct trunk_state state;
	struct store_txn *txn;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	assert_int_equal(trunk_state_get(txn, name, &state), 0);
	store_end_read(&txn);
	return state;
}

/* What an Asterisk that is no more refused keeps no trunk from being tried. */
static void
test_rests_end(void **state)
{
	struct bench *bench = *state;

	assert_false(note(bench, 1, "monday"));
	for (int i = 0; i < 40; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "trunk%02d", i);
		put_trunk(bench, name, TRUNK_RESTING);
	}
	put_trunk(bench, "closed", TRUNK_CLOSED);
	put_trunk(bench, "probed", TRUNK_PROBING);
	assert_false(note(bench, 1, "monday"));
	assert_int_equal(get_trunk(bench, "trunk39").rests, 3);
	assert_true(note(bench, 1, "tuesday"));
	for (int i = 0; i < 40; i++) {
		struct trunk_state trunk;
		char name[16];

		(void)snprintf(name, sizeof(name), "trunk%02d", i);
		trunk = get_trunk(bench, name);
		assert_int_equal(trunk_state_busy(&trunk, 1), TRUNK_FREE);
		assert_int_equal(trunk.circuit, TRUNK_RESTING);
		assert_int_equal(trunk.rests, 0);
		assert_int_equal(trunk.live, 2);
	}
	assert_int_equal(get_trunk(bench, "closed").rests, 3);
	assert_int_equal(get_trunk(bench, "probed").circuit, TRUNK_PROBING);
}

/* Each slot finds out for itself, and settles its own calls. */
static void
test_slots_are_apart(void **state)
{
	struct bench *bench = *state;

	assert_false(note(bench, 1, "monday"));
	assert_false(note(bench, 11, "monday"));
	assert_true(note(bench, 1, "tuesday"));
	media_server_settled(bench->turn, 11);
	assert_true(note(bench, 11, "tuesday"));
	assert_true(note(bench, 1, "tuesday"));
	media_server_settled(bench->turn, 1);
	assert_false(note(bench, 1, "tuesday"));
	assert_true(note(bench, 11, "tuesday"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rests_end, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_slots_are_apart, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
