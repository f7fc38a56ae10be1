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
		cmocka_unit_test_setup_teardown(test_slots_are_apart, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
