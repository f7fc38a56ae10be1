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
#include "ari_server_fixture.h"
#include "worker/subscriptions.h"

#define INFO \
	"{\"system\":{\"version\":\"22\",\"entity_id\":\"x\"}," \
	"\"status\":{\"startup_time\":\"y\"}}"

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
	struct ari_command_link *link;
	bool up;
	bool asked_last;
	char asks[512];
	unsigned done;
	bool changed;
};

static void
reply(struct server *server, const cJSON *request, int status,
    const char *body)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	(void)cJSON_AddStringToObject(json, "type", "RESTResponse");
	(void)cJSON_AddStringToObject(json, "request_id", cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(request, "request_id")));
	(void)cJSON_AddNumberToObject(json, "status_code", status);
	(void)cJSON_AddStringToObject(json, "message_body", body);
	text = cJSON_PrintUnformatted(json);
	server_send_text(server, text);
	free(text);
	cJSON_Delete(json);
}

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
	cJSON *json = cJSON_Parse(text);
	const char *uri = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "uri"));
	const char *method = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "method"));
	char app[200];

	if (strncmp(uri, "applications/", 13) != 0) {
		reply(server, json, 200, INFO);
		cJSON_Delete(json);
		return;
	}
	note(bench, method, uri);
	(void)snprintf(app, sizeof(app), "{\"channel_ids\":%s}",
	    bench->round->told);
	reply(server, json, strcmp(method, "GET") == 0 ?
	    bench->round->app_status : bench->round->post_status, app);
	cJSON_Delete(json);
}

static void
on_lane_up(void *ctx, const struct ari_server *server)
{
	struct bench *bench = ctx;

	(void)server;
	bench->up = true;
}

static void
on_lane_down(void *ctx, const char *reason)
{
	(void)ctx;
	fail_msg("the link went down: %s", reason);
}

static const struct ari_command_ops lane_ops = { on_lane_up, on_lane_down };

static void
on_done(void *ctx, bool changed)
{
	struct bench *bench = ctx;

	bench->done++;
	bench->changed = changed;
}

static void
on_last(void *arg, int status, const char *body, size_t len)
{
	struct bench *bench = arg;

	(void)body;
	(void)len;
	assert_int_equal(status, 200);
	bench->asked_last = true;
}

static void
bench_open(struct bench *bench, const struct round *round)
{
	struct kap_errmsg msg;

	memset(bench, 0, sizeof(*bench));
	bench->round = round;
	bench->base = event_base_new();
	server_open(&bench->server, bench->base);
	bench->server.on_text = on_text;
	bench->server.arg = bench;
	server_config(&bench->server, &bench->config);
	assert_int_equal(ari_command_open(&bench->link, bench->base,
	    &bench->config, 0, "control", &lane_ops, bench, &msg), 0);
	RUN_UNTIL(bench->base, bench->up);
}

static void
bench_close(struct bench *bench)
{
	ari_command_close(&bench->link);
	RUN_UNTIL(bench->base, bench->server.peer == NULL);
	server_close(&bench->server);
	event_base_free(bench->base);
}

/* a and b are slot 0's, c is slot 1's. */
static struct subscriptions *
begin(struct bench *bench)
{
	struct subscriptions *subscriptions = subscriptions_new(&bench->link,
	    &bench->config, on_done, bench);

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
	assert_int_equal(ari_command_send(bench.link, "GET", "last", NULL,
	    NULL, 20000, on_last, &bench), 0);
	RUN_UNTIL(bench.base, bench.asked_last);
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
