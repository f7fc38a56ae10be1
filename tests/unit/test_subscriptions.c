/*
 * worker/subscriptions.c: what is asked of Asterisk, and what the round says
 * of it. A table of what a server knows, and how it answers; the link to it
 * is a real one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "ari_bench_fixture.h"
#include "ari_rest_fixture.h"
#include "worker/subscriptions.h"

struct round {
	const char *name;
	const char *told; /* channel_ids of the apps, as JSON */
	int app_status;
	int post_status;
	const char *asks; /* the requests; app 1 has the channel c */
	bool changed;
};

struct bench {
	const struct round *round;
	struct event_base *base;
	struct config config;
	struct server server;
	struct rest_lane lane;
	char asks[512];
	unsigned done;
	bool changed;
};

static void
note(struct bench *bench, const char *method, const char *uri)
{
	const size_t len = strlen(bench->asks);
	const char *rest = strncmp(uri, "applications/kaphila-", 21) == 0 ?
	    strchr(uri + 21, '-') + 1 : uri;

	(void)snprintf(bench->asks + len, sizeof(bench->asks) - len, "%s%s %s",
	    len > 0 ? ", " : "", method, rest);
}

static void
on_text(struct server *server, const char *text, void *arg)
{
	struct bench *bench = arg;
	struct rest_request request;
	char app[200];

	rest_request_read(&request, text);
	if (strncmp(request.uri, "applications/", 13) != 0) {
		rest_reply(server, request.id, 200, REST_INFO);
	} else {
		note(bench, request.method, request.uri);
		(void)snprintf(app, sizeof(app), "{\"channel_ids\":%s}",
		    bench->round->told);
		rest_reply(server, request.id,
		    strcmp(request.method, "GET") == 0 ?
		    bench->round->app_status : bench->round->post_status, app);
	}
	rest_request_free(&request);
}

static void
on_done(void *ctx, bool changed)
{
	struct bench *bench = ctx;

	bench->done++;
	bench->changed = changed;
}

static void
bench_open(struct bench *bench, const struct round *round)
{
	memset(bench, 0, sizeof(*bench));
	bench->round = round;
	bench->base = event_base_new();
	server_open(&bench->server, bench->base);
	bench->server.on_text = on_text;
	bench->server.arg = bench;
	server_config(&bench->server, &bench->config);
	rest_lane_open(&bench->lane, bench->base, &bench->config, 0);
}

static void
bench_close(struct bench *bench)
{
	ari_command_close(&bench->lane.link);
	RUN_UNTIL(bench->base, bench->server.peer == NULL);
	server_close(&bench->server);
	event_base_free(bench->base);
}

/* a and b are slot 0's, c is slot 1's. */
static struct subscriptions *
begin(struct bench *bench)
{
	struct subscriptions *subscriptions = subscriptions_new(
	    &bench->lane.link, &bench->config, on_done, bench);

	assert_non_null(subscriptions);
	assert_int_equal(subscriptions_add(subscriptions, 0, "a"), 0);
	assert_int_equal(subscriptions_add(subscriptions, 0, "b"), 0);
	assert_int_equal(subscriptions_add(subscriptions, 1, "c"), 0);
	subscriptions_begin(subscriptions);
	return subscriptions;
}

#define APPS "GET 0, GET 1"
#define POST(slot, channel) \
	", POST " slot "/subscription?eventSource=channel%3A" channel

static const struct round rounds[] = {
	{ "all are told of", "[\"c\",\"b\",\"x\",\"a\"]", 200, 200, APPS,
	    false },
	{ "one isn't", "[\"c\",\"a\"]", 200, 200, APPS POST("0", "b"), true },
	{ "none is", "[]", 200, 200,
	    APPS POST("0", "a") POST("0", "b") POST("1", "c"), true },
	{ "it is gone", "[\"a\",\"b\"]", 200, 422, APPS POST("1", "c"),
	    true },
	{ "no such request", "[]", 200, 404, APPS POST("0", "a"), false },
	{ "no such app", "[]", 404, 200, "GET 0", false },
	{ "no list", "{}", 200, 404, APPS POST("0", "a"), false },
};

static void
test_rounds(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
		struct subscriptions *subscriptions;
		struct bench bench;

		bench_open(&bench, &rounds[i]);
		subscriptions = begin(&bench);
		RUN_UNTIL(bench.base, bench.done > 0);
		if (strcmp(bench.asks, rounds[i].asks) != 0 ||
		    bench.changed != rounds[i].changed)
			fail_msg("%s: asked \"%s\", changed %d",
			    rounds[i].name, bench.asks, bench.changed);
		assert_int_equal(bench.done, 1);
		subscriptions_free(&subscriptions);
		bench_close(&bench);
	}
}

static void
test_freed_on_the_way(void **state)
{
	struct subscriptions *subscriptions;
	struct bench bench;

	(void)state;
	bench_open(&bench, &rounds[2]);
	subscriptions = begin(&bench);
	subscriptions_free(&subscriptions);
	assert_null(subscriptions);
	rest_lane_ask_last(&bench.lane, bench.base);
	assert_string_equal(bench.asks, "GET 0");
	assert_int_equal(bench.done, 0);
	bench_close(&bench);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rounds),
		cmocka_unit_test(test_freed_on_the_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
