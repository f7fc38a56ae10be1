/*
 * worker/amd_check.c: what is asked at a connect, and which answers mean that
 * machines can be told from humans. With a real link and a server that
 * answers what the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ari_bench_fixture.h"
#include "ari_rest_fixture.h"
#include "shared/log.h"
#include "worker/amd_check.h"

struct answer {
	int status;
	const char *body;
};

struct bench {
	struct event_base *base;
	struct config config;
	struct server server;
	struct rest_lane lane;
	struct amd_check *check;
	struct answer version;
	struct answer module;
	unsigned asked;
	unsigned changes;
};

static void
on_text(struct server *server, const char *text, void *arg)
{
	struct bench *bench = arg;
	struct rest_request request;
	const struct answer *answer;

	rest_request_read(&request, text);
	if (strcmp(request.uri,
	        "asterisk/variable?variable=KAPHILA_AMD_VERSION") == 0)
		answer = &bench->version;
	else if (strcmp(request.uri, "asterisk/modules/app_amd.so") == 0)
		answer = &bench->module;
	else
		answer = NULL;
	if (answer != NULL)
		bench->asked++;
	rest_reply(server, request.id, answer != NULL ? answer->status : 200,
	    answer != NULL ? answer->body : REST_INFO);
	rest_request_free(&request);
}

static void
on_changed(void *ctx)
{
	struct bench *bench = ctx;

	bench->changes++;
}

static void
bench_open(struct bench *bench)
{
	struct amd_check_options options = { .changed = on_changed };

	memset(bench, 0, sizeof(*bench));
	bench->base = event_base_new();
	server_open(&bench->server, bench->base);
	bench->server.on_text = on_text;
	bench->server.arg = bench;
	server_config(&bench->server, &bench->config);
	rest_lane_open(&bench->lane, bench->base, &bench->config, 0);
	options.base = bench->base;
	options.config = &bench->config;
	options.control = &bench->lane.link;
	options.ctx = bench;
	bench->check = amd_check_new(&options);
	assert_non_null(bench->check);
}

static void
bench_close(struct bench *bench)
{
	ari_command_close(&bench->lane.link);
	amd_check_free(&bench->check);
	RUN_UNTIL(bench->base, bench->server.peer == NULL);
	server_close(&bench->server);
	event_base_free(bench->base);
}

#define OF_VERSION(text) { 200, "{\"value\":\"" text "\"}" }
#define OF_MODULE(text) \
	{ 200, "{\"name\":\"app_amd.so\",\"status\":\"" text "\"}" }

struct row {
	const char *name;
	struct answer version;
	struct answer module;
	unsigned asked;
	bool is_there;
};

static const struct row rows[] = {
	{ "all there", OF_VERSION("1"), OF_MODULE("Running"), 2, true },
	{ "no dialplan", { 404, "{\"message\":\"no such variable\"}" },
	    OF_MODULE("Running"), 1, false },
	{ "empty variable", OF_VERSION(""), OF_MODULE("Running"), 1, false },
	{ "another version", OF_VERSION("2"), OF_MODULE("Running"), 1, false },
	{ "not running", OF_VERSION("1"), OF_MODULE("Not Running"), 2, false },
	{ "no module", OF_VERSION("1"), { 404, "{}" }, 2, false },
	{ "no sense", OF_VERSION("1"), { 200, "[1" }, 2, false },
};

static void
test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bench bench;

		bench_open(&bench);
		bench.version = rows[i].version;
		bench.module = rows[i].module;
		assert_false(amd_check_is_known(bench.check));
		assert_false(amd_check_is_there(bench.check));
		amd_check_set_link(bench.check, true);
		RUN_UNTIL(bench.base, amd_check_is_known(bench.check));
		assert_int_equal(bench.asked, rows[i].asked);
		assert_int_equal(amd_check_is_there(bench.check),
		    rows[i].is_there);
		assert_int_equal(bench.changes, 1);
		bench_close(&bench);
	}
}

/* Each connect asks anew, one that comes during the questions too. */
static void
test_asked_anew(void **state)
{
	static const struct answer missing = { 404, "{}" };
	static const struct answer there = OF_VERSION("1");
	static const struct answer runs = OF_MODULE("Running");
	struct bench bench;

	(void)state;
	bench_open(&bench);
	bench.version = missing;
	bench.module = runs;
	amd_check_set_link(bench.check, true);
	RUN_UNTIL(bench.base, bench.changes == 1);
	amd_check_set_link(bench.check, false);
	bench.version = there;
	amd_check_set_link(bench.check, true);
	assert_false(amd_check_is_there(bench.check));
	RUN_UNTIL(bench.base, bench.changes == 2);
	assert_true(amd_check_is_there(bench.check));
	/* told again of nothing new */
	amd_check_set_link(bench.check, true);
	amd_check_set_link(bench.check, true);
	RUN_UNTIL(bench.base, bench.asked == 7);
	rest_lane_ask_last(&bench.lane, bench.base);
	assert_int_equal(bench.changes, 2);
	assert_true(amd_check_is_there(bench.check));
	bench_close(&bench);
}

static int
be_quiet(void **state)
{
	(void)state;
	log_init("test", -1, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_asked_anew),
	};

	return cmocka_run_group_tests(tests, be_quiet, NULL);
}
