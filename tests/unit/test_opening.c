/*
 * When a worker is ready and when it serves, for each way of starting. What
 * waits for seconds in life is not waited for here: only what comes at once,
 * and what must not come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loop_fixture.h"
#include "worker/opening.h"

struct bench {
	struct event_base *base;
	struct opening *opening;
	bool connected;
	bool complete;
	unsigned ready;
	unsigned serves;
};

static bool
is_connected(void *ctx)
{
	const struct bench *bench = ctx;

	return bench->connected;
}

static bool
is_complete(void *ctx)
{
	const struct bench *bench = ctx;

	return bench->complete;
}

static void
on_ready(void *ctx)
{
	struct bench *bench = ctx;

	bench->ready++;
}

static void
on_serve(void *ctx)
{
	struct bench *bench = ctx;

	assert_int_equal(bench->ready, 1);
	bench->serves++;
}

static void
begin(struct bench *bench, bool beside)
{
	struct opening_options options = { .beside = beside,
		.is_connected = is_connected, .is_complete = is_complete,
		.ready = on_ready, .serve = on_serve, .ctx = bench };

	*bench = (struct bench){ .base = event_base_new() };
	options.base = bench->base;
	bench->opening = opening_new(&options);
	assert_non_null(bench->opening);
	opening_look(bench->opening);
}

static void
end(struct bench *bench)
{
	opening_free(&bench->opening);
	opening_free(&bench->opening);
	event_base_free(bench->base);
}

/* Nobody else serves: it is ready with nothing there, for the master's sake,
 * and serves when all is. */
static void
test_alone(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false);
	assert_int_equal(bench.ready, 1);
	bench.complete = true;
	opening_look(bench.opening);
	assert_int_equal(bench.serves, 0); /* it wasn't told to read */
	bench.complete = false;
	opening_take_over(bench.opening);
	assert_int_equal(bench.serves, 0);
	bench.complete = true;
	RUN_UNTIL(bench.base, bench.serves == 1); /* by itself */
	opening_look(bench.opening);
	assert_int_equal(bench.ready, 1);
	assert_int_equal(bench.serves, 1);
	end(&bench);
}

/* Asterisk is away: it serves all the same, after a while. */
static void
test_incomplete(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false);
	opening_take_over(bench.opening);
	RUN_UNTIL(bench.base, bench.serves == 1);
	end(&bench);
}

static void
test_beside(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, true);
	assert_int_equal(bench.ready, 0);
	bench.connected = true;
	RUN_UNTIL(bench.base, bench.ready == 1);
	bench.complete = true; /* it can't be, but does no harm */
	opening_look(bench.opening);
	assert_int_equal(bench.serves, 0); /* the other one does */
	opening_take_over(bench.opening);
	assert_int_equal(bench.serves, 1);
	end(&bench);
}

/* The other one is lost before this one is connected: there is no time. */
static void
test_beside_one_that_dies(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, true);
	opening_take_over(bench.opening);
	assert_int_equal(bench.ready, 1);
	assert_int_equal(bench.serves, 0);
	bench.complete = true;
	opening_look(bench.opening);
	assert_int_equal(bench.serves, 1);
	end(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_incomplete),
		cmocka_unit_test(test_beside),
		cmocka_unit_test(test_beside_one_that_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
