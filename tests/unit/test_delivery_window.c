/*
 * The window by itself: order, shares and limits, without a store or a
 * socket. And the back-off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "webhookd/window.h"

#define A "https://a.example/hook"
#define B "https://b.example/hook"

static uint64_t next_number;

static struct window *
open_window(unsigned concurrency, unsigned per_host)
{
	const struct window_limits limits = { concurrency, per_host };
	struct window *window = window_new(&limits);

	assert_non_null(window);
	next_number = 1;
	return window;
}

static struct delivery *
add(struct window *window, const char *url, const char *call, int64_t due_ms)
{
	struct webhook_event event = { .number = next_number++ };
	struct delivery *delivery;

	(void)snprintf(event.call.id, sizeof(event.call.id), "%s", call);
	delivery = delivery_new(&event, due_ms, url, "", "", 0);
	assert_non_null(delivery);
	window_add(window, window_target(window, url), delivery);
	assert_true(window_holds(window, event.number));
	return delivery;
}

static void
finish(struct window *window, struct delivery *delivery, bool silent)
{
	const uint64_t number = delivery->event.number;

	window_finish(window, delivery, silent);
	assert_true(window_holds(window, number));
	window_drop(window, &delivery);
	assert_null(delivery);
	assert_false(window_holds(window, number));
}

static void
test_order_in_a_call(void **state)
{
	struct window *window = open_window(10, 10);
	struct delivery *first = add(window, A, "1.1", 0);
	struct delivery *second = add(window, A, "1.1", 0);
	struct delivery *other = add(window, A, "1.2", 0);
	struct delivery *third = add(window, A, "1.1", 0);

	(void)state;
	assert_ptr_equal(window_next(window), first);
	assert_ptr_equal(window_next(window), other);
	assert_null(window_next(window));
	finish(window, other, false);
	assert_null(window_next(window));
	/* a timeout is an end, too */
	finish(window, first, true);
	assert_ptr_equal(window_next(window), second);
	assert_null(window_next(window));
	finish(window, second, false);
	assert_ptr_equal(window_next(window), third);
	finish(window, third, false);
	/* the chain is forgotten: a later one waits for nobody */
	first = add(window, A, "1.1", 0);
	assert_ptr_equal(window_next(window), first);
	window_free(&window);
	assert_null(window);
}

static void
test_retries_wait_for_nobody(void **state)
{
	struct window *window = open_window(10, 10);
	struct delivery *first = add(window, A, "1.1", 0);
	struct delivery *second = add(window, A, "1.1", 0);
	struct delivery *retry = add(window, A, "1.1", 5000);

	(void)state;
	assert_ptr_equal(window_next(window), first);
	assert_ptr_equal(window_next(window), retry);
	assert_null(window_next(window));
	finish(window, first, false);
	assert_ptr_equal(window_next(window), second);
	window_free(&window);
}

static unsigned
start_all(struct window *window, struct delivery **started, unsigned max)
{
	unsigned count = 0;

	while (count < max &&
	    (started[count] = window_next(window)) != NULL)
		count++;
	return count;
}

static void
fill(struct window *window, const char *url, unsigned count, int64_t due_ms)
{
	for (unsigned i = 0; i < count; i++) {
		char call[32];

		(void)snprintf(call, sizeof(call), "9.%u",
		    (unsigned)next_number);
		(void)add(window, url, call, due_ms);
	}
}

static void
test_per_host(void **state)
{
	struct window *window = open_window(10, 4);
	struct delivery *started[20];

	(void)state;
	fill(window, A, 8, 0);
	assert_int_equal(start_all(window, started, 20), 4);
	fill(window, B, 8, 0);
	assert_int_equal(start_all(window, started, 20), 4);
	assert_string_equal(started[0]->target->name, "https://b.example");
	assert_int_equal(window_under_way(window), 8);
	finish(window, started[0], false);
	assert_int_equal(start_all(window, started, 20), 1);
	window_free(&window);
}

static void
test_concurrency(void **state)
{
	struct window *window = open_window(5, 4);
	struct delivery *started[20];

	(void)state;
	fill(window, A, 4, 0);
	fill(window, B, 4, 0);
	assert_int_equal(start_all(window, started, 20), 5);
	/* in turns */
	assert_string_equal(started[0]->target->name, "https://a.example");
	assert_string_equal(started[1]->target->name, "https://b.example");
	assert_string_equal(started[2]->target->name, "https://a.example");
	window_free(&window);
}

static void
test_retries_share(void **state)
{
	struct window *window = open_window(8, 6);
	struct delivery *started[20];

	(void)state;
	fill(window, A, 4, 1000);
	/* half of what a target may have at once, */
	assert_int_equal(start_all(window, started, 20), 3);
	fill(window, B, 4, 1000);
	/* and of what all may */
	assert_int_equal(start_all(window, started, 20), 1);
	fill(window, A, 4, 0);
	/* the rest is for the first attempts */
	assert_int_equal(start_all(window, started, 20), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(started[i]->due_ms, 0);
	window_free(&window);
}

/* While first attempts never end, retries have their turn. */
static void
test_retries_do_not_starve(void **state)
{
	struct window *window = open_window(1, 1);
	unsigned retries = 0;

	(void)state;
	fill(window, A, 2, 0);
	fill(window, B, 1, 1000);
	for (unsigned i = 0; i < 8 && retries == 0; i++) {
		struct delivery *delivery = window_next(window);

		assert_non_null(delivery);
		retries += delivery->due_ms != 0;
		finish(window, delivery, false);
		fill(window, A, 1, 0);
	}
	assert_int_equal(retries, 1);
	window_free(&window);
}

static void
test_silent_target(void **state)
{
	static const unsigned limits[] = { 8, 4, 2, 2, 2 };
	struct window *window = open_window(100, 16);
	const struct target *target = window_target(window, A);
	struct delivery *started[100];
	unsigned count;

	(void)state;
	assert_int_equal(target->limit, 16);
	for (unsigned i = 0; i < 5; i++) {
		fill(window, A, 1, 0);
		finish(window, window_next(window), true);
		assert_int_equal(target->limit, limits[i]);
	}
	fill(window, A, 4, 0);
	assert_false(window_target_has_room(target, DELIVERY_FIRST));
	assert_int_equal(start_all(window, started, 100), 2);
	/* each answer opens it by one */
	for (unsigned i = 0; i < 20; i++) {
		finish(window, started[0], false);
		started[0] = started[1];
		fill(window, A, 1, 0);
		assert_true(start_all(window, started + 1, 1) == 1);
	}
	assert_int_equal(target->limit, 16);
	count = start_all(window, started, 100);
	assert_true(count <= 14);
	window_free(&window);
}

static void
test_room(void **state)
{
	struct window *window = open_window(4, 4);
	const struct target *target = window_target(window, A);

	(void)state;
	/* twice a target's limit, three times everybody's */
	fill(window, A, 7, 0);
	assert_true(window_target_has_room(target, DELIVERY_FIRST));
	fill(window, A, 1, 0);
	assert_false(window_target_has_room(target, DELIVERY_FIRST));
	assert_true(window_target_has_room(target, DELIVERY_RETRY));
	assert_true(window_has_room_for(window, DELIVERY_FIRST));
	assert_true(window_wants_more(window, DELIVERY_FIRST));
	fill(window, B, 4, 0);
	assert_false(window_has_room_for(window, DELIVERY_FIRST));
	assert_false(window_wants_more(window, DELIVERY_FIRST));
	assert_true(window_has_room_for(window, DELIVERY_RETRY));
	fill(window, B, 4, 1000);
	assert_false(window_has_room_for(window, DELIVERY_RETRY));
	assert_false(window_has_room(window));
	assert_int_equal(window_held(window), 16);
	assert_int_equal(window_open(window, DELIVERY_FIRST), 12);
	/* finished, but not stored yet: still held */
	window_finish(window, window_next(window), false);
	assert_int_equal(window_open(window, DELIVERY_FIRST), 11);
	assert_false(window_has_room(window));
	window_free(&window);
}

static void
test_refill(void **state)
{
	struct window *window = open_window(16, 4);
	struct target *a = window_target(window, A);
	struct delivery *started[8];

	(void)state;
	fill(window, A, 8, 0);
	window_leave(window, a, 100);
	window_leave(window, a, 200);
	assert_int_equal(a->left_at, 100);
	assert_null(window_refill_next(window));
	for (unsigned i = 0; i < 4; i++) {
		assert_null(window_refill_next(window));
		started[0] = window_next(window);
		finish(window, started[0], false);
	}
	/* half empty: worth a reading */
	assert_ptr_equal(window_refill_next(window), a);
	window_refilled(window, a, 150);
	assert_int_equal(a->left_at, 150);
	assert_ptr_equal(window_refill_next(window), a);
	window_refilled(window, a, 0);
	assert_null(window_refill_next(window));
	window_free(&window);
}

static void
test_target_names(void **state)
{
	static const struct {
		const char *url;
		const char *name;
	} cases[] = {
		{ "https://a.example/x", "https://a.example" },
		{ "https://a.example", "https://a.example" },
		{ "HTTPS://A.Example?x=/", "https://a.example" },
		{ "https://a.example:8443#x", "https://a.example:8443" },
		{ "http://[::1]:80/x", "http://[::1]:80" },
		{ "nonsense", "nonsense" },
		{ "", "" },
	};
	struct window *window = open_window(4, 4);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct target *target = window_target(window,
		    cases[i].url);

		assert_string_equal(target->name, cases[i].name);
		assert_ptr_equal(window_target(window, cases[i].url), target);
	}
	window_free(&window);
}

/* However many names there are, those that are idle go. */
static void
test_many_targets(void **state)
{
	struct window *window = open_window(4, 4);
	const struct target *busy;

	(void)state;
	fill(window, A, 1, 0);
	busy = window_target(window, A);
	for (unsigned i = 0; i < 5000; i++) {
		char url[64];

		(void)snprintf(url, sizeof(url), "https://h%u.example/", i);
		assert_non_null(window_target(window, url));
	}
	assert_ptr_equal(window_target(window, A), busy);
	finish(window, window_next(window), false);
	window_free(&window);
}

static void
test_backoff(void **state)
{
	static const struct {
		uint32_t failures;
		int64_t min_ms;
		int64_t max_ms;
		int64_t wait_ms; /* in the middle of the spread */
	} cases[] = {
		{ 0, 1000, 300000, 1000 },
		{ 1, 1000, 300000, 2000 },
		{ 2, 1000, 300000, 4000 },
		{ 8, 1000, 300000, 256000 },
		{ 9, 1000, 300000, 300000 },
		{ 10, 1000, 300000, 300000 },
		{ UINT32_MAX, 1000, 300000, 300000 },
		{ 0, 10, 10, 10 },
		{ 5, 5000, 1000, 1000 }, /* max below min */
		{ 40, 86400000, 86400000, 86400000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int64_t middle = cases[i].wait_ms;
		int64_t least = INT64_MAX;
		int64_t most = 0;

		for (uint32_t chance = 0; chance < 100000; chance++) {
			const int64_t wait_ms = delivery_backoff_ms(
			    cases[i].failures, cases[i].min_ms,
			    cases[i].max_ms, chance * 2654435761U);

			assert_in_range(wait_ms, middle - middle / 5,
			    middle + middle / 5);
			least = wait_ms < least ? wait_ms : least;
			most = wait_ms > most ? wait_ms : most;
		}
		/* and the spread is used */
		assert_true(least < middle - middle / 10);
		assert_true(most > middle + middle / 10);
	}
}

/* A reload: more at once, then fewer; what is held stays. */
static void
test_other_limits(void **state)
{
	const struct window_limits more = { 12, 8 };
	const struct window_limits fewer = { 3, 2 };
	struct window *window = open_window(4, 2);
	struct delivery *started[16];
	unsigned count;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		char call[16];

		(void)snprintf(call, sizeof(call), "1.%u", i);
		(void)add(window, i < 8 ? A : B, call, 0);
	}
	count = start_all(window, started, 16);
	assert_int_equal(count, 4); /* two of each */
	window_set_limits(window, &more);
	count += start_all(window, started + count, 12);
	assert_int_equal(count, 10);
	window_set_limits(window, &fewer);
	assert_int_equal(window_under_way(window), 10);
	(void)add(window, A, "2.1", 0);
	while (count > 2) {
		assert_null(window_next(window));
		finish(window, started[--count], false);
	}
	assert_int_equal(window_target(window, A)->limit, 2);
	assert_non_null(window_next(window));
	assert_null(window_next(window));
	window_free(&window);
}

/* One that was slow is not let off by a reload, nor over the new limit. */
static void
test_other_limits_of_a_slow_target(void **state)
{
	const struct window_limits limits[] = { { 64, 32 }, { 64, 4 } };
	struct window *window = open_window(64, 16);

	(void)state;
	(void)add(window, A, "1.1", 0);
	finish(window, window_next(window), true);
	assert_int_equal(window_target(window, A)->limit, 8);
	assert_int_equal(window_target(window, B)->limit, 16);
	window_set_limits(window, &limits[0]);
	assert_int_equal(window_target(window, A)->limit, 8);
	assert_int_equal(window_target(window, B)->limit, 32);
	window_set_limits(window, &limits[1]);
	assert_int_equal(window_target(window, A)->limit, 4);
	assert_int_equal(window_target(window, B)->limit, 4);
	window_free(&window);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_in_a_call),
		cmocka_unit_test(test_retries_wait_for_nobody),
		cmocka_unit_test(test_per_host),
		cmocka_unit_test(test_concurrency),
		cmocka_unit_test(test_retries_share),
		cmocka_unit_test(test_retries_do_not_starve),
		cmocka_unit_test(test_silent_target),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_refill),
		cmocka_unit_test(test_target_names),
		cmocka_unit_test(test_many_targets),
		cmocka_unit_test(test_other_limits),
		cmocka_unit_test(test_other_limits_of_a_slow_target),
		cmocka_unit_test(test_backoff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
