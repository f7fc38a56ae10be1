/*
 * The PostgreSQL client against a real server: order, errors, time limits,
 * and what becomes of it when the server dies and comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>

#include "shared/pg.h"
#include "loop_fixture.h"
#include "pg_fixture.h"

#define ANSWERS_MAX 1024

static struct pg_fixture server;

struct answer {
	int rc;
	char value[64];
	char sqlstate[6];
};

struct loop {
	struct event_base *base;
	struct pg *pg;
	enum pg_state last;
	unsigned downs;
	char why[200];
	unsigned answer_count;
	struct answer answers[ANSWERS_MAX];
	unsigned listenings;
	unsigned notifies;
	char payload[64];
};

static void
on_state(void *arg, enum pg_state state, const char *why)
{
	struct loop *loop = arg;

	loop->last = state;
	if (state == PG_DOWN) {
		loop->downs++;
		(void)snprintf(loop->why, sizeof(loop->why), "%s", why);
	}
}

static void
on_answer(void *arg, int rc, const PGresult *result)
{
	struct loop *loop = arg;
	struct answer *answer = &loop->answers[loop->answer_count++];

	answer->rc = rc;
	(void)snprintf(answer->sqlstate, sizeof(answer->sqlstate), "%s",
	    pg_sqlstate(result));
	answer->value[0] = '\0';
	if (rc == 0 && PQntuples(result) > 0)
		pg_get_text(result, 0, 0, answer->value,
		    sizeof(answer->value));
}

static void
on_notify(void *arg, const char *payload)
{
	struct loop *loop = arg;

	if (payload == NULL) {
		loop->listenings++;
		return;
	}
	loop->notifies++;
	(void)snprintf(loop->payload, sizeof(loop->payload), "%s", payload);
}

static void
open_loop_at(struct loop *loop, const char *dsn)
{
	const struct pg_options options = { .dsn = dsn, .application = "test",
		.on_state = on_state, .arg = loop };
	struct kap_errmsg msg;

	memset(loop, 0, sizeof(*loop));
	loop->base = event_base_new();
	assert_non_null(loop->base);
	assert_int_equal(pg_new(&loop->pg, loop->base, &options, &msg), 0);
}

static void
close_loop(struct loop *loop)
{
	pg_free(&loop->pg);
	assert_null(loop->pg);
	event_base_free(loop->base);
}

static void
open_loop(struct loop *loop)
{
	open_loop_at(loop, server.dsn);
	RUN_UNTIL(loop->base, loop->last == PG_UP);
}

static int
ask(struct loop *loop, const char *sql, int64_t timeout_ms)
{
	const struct pg_statement statement = { .sql = sql,
		.timeout_ms = timeout_ms };

	return pg_query(loop->pg, &statement, on_answer, loop);
}

static void
test_results_come_in_order(void **state)
{
	struct loop loop;

	(void)state;
	open_loop(&loop);
	for (int i = 0; i < 100; i++) {
		char number[16];
		const char *const values[] = { number };
		const struct pg_statement statement = {
			.sql = "SELECT $1::int * 2", .param_count = 1,
			.values = values, .timeout_ms = 10000 };

		(void)snprintf(number, sizeof(number), "%d", i);
		assert_int_equal(pg_query(loop.pg, &statement, on_answer,
		    &loop), 0);
	}
	assert_int_equal(loop.answer_count, 0);
	RUN_UNTIL(loop.base, loop.answer_count == 100);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(loop.answers[i].rc, 0);
		assert_int_equal(strtoll(loop.answers[i].value, NULL,
		    10), i * 2);
	}
	close_loop(&loop);
}

static void
test_an_error_is_its_own(void **state)
{
	static const struct {
		const char *sql;
		int rc;
		const char *sqlstate;
	} cases[] = {
		{ "SELECT 1", 0, "" },
		{ "SELECT 1/0", -KAP_PROTO, "22012" },
		{ "SELECT 2", 0, "" },
		{ "SELECT * FROM nowhere", -KAP_PROTO, "42P01" },
		{ "this is no SQL", -KAP_PROTO, "42601" },
		{ "SELECT 1; SELECT 2", -KAP_PROTO, "42601" },
		{ "SELECT 3", 0, "" },
	};
	const unsigned count = sizeof(cases) / sizeof(cases[0]);
	struct loop loop;

	(void)state;
	open_loop(&loop);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(ask(&loop, cases[i].sql, 10000), 0);
	RUN_UNTIL(loop.base, loop.answer_count == count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(loop.answers[i].rc, cases[i].rc);
		assert_string_equal(loop.answers[i].sqlstate,
		    cases[i].sqlstate);
	}
	assert_int_equal(loop.downs, 0);
	close_loop(&loop);
}

/* The result of such a statement is there before its commit fails. */
static void
test_a_failed_commit_is_an_error(void **state)
{
	struct loop loop;

	(void)state;
	fixture_exec(&server, "CREATE TABLE twice (n int UNIQUE "
	    "DEFERRABLE INITIALLY DEFERRED); INSERT INTO twice VALUES (1)");
	open_loop(&loop);
	assert_int_equal(ask(&loop, "INSERT INTO twice VALUES (1)", 10000), 0);
	assert_int_equal(ask(&loop, "SELECT count(*) FROM twice", 10000), 0);
	RUN_UNTIL(loop.base, loop.answer_count == 2);
	assert_int_equal(loop.answers[0].rc, -KAP_PROTO);
	assert_string_equal(loop.answers[0].sqlstate, "23505");
	assert_string_equal(loop.answers[1].value, "1");
	close_loop(&loop);
}

static void
test_a_timeout_gives_the_connection_up(void **state)
{
	struct loop loop;

	(void)state;
	open_loop(&loop);
	assert_int_equal(ask(&loop, "SELECT pg_sleep(30)", 200), 0);
	assert_int_equal(ask(&loop, "SELECT 1", 30000), 0);
	RUN_UNTIL(loop.base, loop.answer_count == 2);
	assert_int_equal(loop.answers[0].rc, -KAP_TIMEOUT);
	assert_int_equal(loop.answers[1].rc, -KAP_GONE);
	assert_int_equal(ask(&loop, "SELECT 1", 1000), -KAP_GONE);
	RUN_UNTIL(loop.base, loop.last == PG_UP);
	assert_int_equal(ask(&loop, "SELECT 7", 10000), 0);
	RUN_UNTIL(loop.base, loop.answer_count == 3);
	assert_string_equal(loop.answers[2].value, "7");
	close_loop(&loop);
}

static void
test_server_killed_and_back(void **state)
{
	static const int signals[] = { SIGINT, SIGQUIT, SIGKILL };
	struct loop loop;

	(void)state;
	open_loop(&loop);
	for (size_t i = 0; i < 3; i++) {
		loop.answer_count = 0;
		assert_int_equal(ask(&loop, "SELECT pg_sleep(20)", 60000), 0);
		assert_int_equal(ask(&loop, "SELECT 1", 60000), 0);
		fixture_stop(&server, signals[i]);
		RUN_UNTIL(loop.base, loop.answer_count == 2);
		assert_int_equal(loop.answers[0].rc, -KAP_GONE);
		assert_int_equal(loop.answers[1].rc, -KAP_GONE);
		assert_int_equal(pg_state(loop.pg), PG_DOWN);
		fixture_start(&server);
		RUN_UNTIL(loop.base, loop.last == PG_UP);
		assert_int_equal(ask(&loop, "SELECT 5", 10000), 0);
		RUN_UNTIL(loop.base, loop.answer_count == 3);
		assert_string_equal(loop.answers[2].value, "5");
	}
	close_loop(&loop);
}

static void
test_server_away_at_start(void **state)
{
	struct loop loop;

	(void)state;
	fixture_stop(&server, SIGINT);
	open_loop_at(&loop, server.dsn);
	assert_int_equal(ask(&loop, "SELECT 1", 1000), -KAP_GONE);
	RUN_UNTIL(loop.base, loop.downs >= 2);
	assert_string_not_equal(loop.why, "");
	assert_null(strchr(loop.why, '\n'));
	fixture_start(&server);
	RUN_UNTIL(loop.base, loop.last == PG_UP);
	close_loop(&loop);
}

static void
test_the_queue_is_bounded(void **state)
{
	struct loop loop;

	(void)state;
	open_loop(&loop);
	for (int i = 0; i < PG_QUEUE_MAX; i++)
		assert_int_equal(ask(&loop, "SELECT 1", 10000), 0);
	assert_int_equal(ask(&loop, "SELECT 1", 10000), -KAP_AGAIN);
	RUN_UNTIL(loop.base, loop.answer_count == PG_QUEUE_MAX);
	assert_int_equal(ask(&loop, "SELECT 1", 10000), 0);
	RUN_UNTIL(loop.base, loop.answer_count == PG_QUEUE_MAX + 1);
	close_loop(&loop);
}

/* More than a socket holds: it goes out in pieces while the loop runs. */
static void
test_a_large_parameter(void **state)
{
	const size_t size = 8 * 1024 * 1024;
	char *text = malloc(size + 1);
	const char *const values[] = { text };
	const struct pg_statement statement = { .sql = "SELECT length($1)",
		.param_count = 1, .values = values, .timeout_ms = 30000 };
	struct loop loop;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', size);
	text[size] = '\0';
	open_loop(&loop);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pg_query(loop.pg, &statement, on_answer,
		    &loop), 0);
	free(text);
	RUN_UNTIL(loop.base, loop.answer_count == 4);
	for (unsigned i = 0; i < 4; i++)
		assert_string_equal(loop.answers[i].value, "8388608");
	close_loop(&loop);
}

static void
test_listening_goes_on_after_a_reconnect(void **state)
{
	struct loop loop;

	(void)state;
	open_loop(&loop);
	assert_int_equal(pg_listen(loop.pg, "Bad; name", on_notify, &loop),
	    -KAP_INVAL);
	assert_int_equal(pg_listen(loop.pg, "kaphila_test", on_notify, &loop),
	    0);
	RUN_UNTIL(loop.base, loop.listenings == 1);
	fixture_exec(&server, "NOTIFY kaphila_other; "
	    "NOTIFY kaphila_test, 'one'");
	RUN_UNTIL(loop.base, loop.notifies == 1);
	assert_string_equal(loop.payload, "one");
	fixture_stop(&server, SIGQUIT);
	RUN_UNTIL(loop.base, loop.last == PG_DOWN);
	fixture_start(&server);
	RUN_UNTIL(loop.base, loop.listenings == 2);
	fixture_exec(&server, "NOTIFY kaphila_test, 'two'");
	RUN_UNTIL(loop.base, loop.notifies == 2);
	assert_string_equal(loop.payload, "two");
	close_loop(&loop);
}

static void
test_free_ends_what_is_under_way(void **state)
{
	struct loop loop;

	(void)state;
	open_loop(&loop);
	assert_int_equal(ask(&loop, "SELECT pg_sleep(20)", 60000), 0);
	close_loop(&loop);
	assert_int_equal(loop.answer_count, 1);
	assert_int_equal(loop.answers[0].rc, -KAP_GONE);
	assert_int_equal(loop.downs, 0);
}

static int
group_setup(void **state)
{
	(void)state;
	fixture_init(&server);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	fixture_deinit(&server);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results_come_in_order),
		cmocka_unit_test(test_an_error_is_its_own),
		cmocka_unit_test(test_a_failed_commit_is_an_error),
		cmocka_unit_test(test_a_timeout_gives_the_connection_up),
		cmocka_unit_test(test_server_killed_and_back),
		cmocka_unit_test(test_server_away_at_start),
		cmocka_unit_test(test_the_queue_is_bounded),
		cmocka_unit_test(test_a_large_parameter),
		cmocka_unit_test(test_listening_goes_on_after_a_reconnect),
		cmocka_unit_test(test_free_ends_what_is_under_way),
	};

	if (!fixture_find_server(&server)) {
		(void)puts("skipped: no PostgreSQL server is installed");
		return 0;
	}
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
