/*
 * ari_command over a WebSocket, against a server in the same loop: every
 * request ends once, with its own reply or with why there is none. With
 * KAPHILA_TEST_ARI_URL (and _USER, _PASSWORD) against a real Asterisk too.
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
#include "worker/ari_command.h"
#include "worker/ari_url.h"

#define REQUESTS_MAX 8192

enum behaviour {
	ANSWER,         /* each request at once */
	ANSWER_IN_PIECES,
	ONLY_INFO,      /* the first question, and no more */
	NOTHING,
	REFUSE_INFO
};

struct bench {
	struct event_base *base;
	struct config config;
	struct server server;
	struct ari_command_link *link;
	enum behaviour behaviour;
	unsigned ups;
	unsigned downs;
	char reason[160];
	struct ari_server asterisk;

	/* what the server saw last, and how many in all */
	unsigned requests;
	char id[32];
	char method[16];
	char uri[512];
	char body[512];
	char content_type[64];

	/* how requests ended */
	unsigned ended;
	int status[REQUESTS_MAX];
	char reply[256];
	unsigned resend; /* send one more from inside a callback */
};

/* ---- the server ---- */

static void
copy_member(char *out, size_t size, const cJSON *json, const char *name)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, name));

	(void)snprintf(out, size, "%s", text != NULL ? text : "(none)");
}

static void
reply(struct bench *bench, const char *id, int status, const char *body)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	(void)cJSON_AddStringToObject(json, "type", "RESTResponse");
	(void)cJSON_AddStringToObject(json, "transaction_id", "");
	(void)cJSON_AddStringToObject(json, "request_id", id);
	(void)cJSON_AddNumberToObject(json, "status_code", status);
	if (body != NULL)
		(void)cJSON_AddStringToObject(json, "message_body", body);
	text = cJSON_PrintUnformatted(json);
	if (bench->behaviour == ANSWER_IN_PIECES) {
		struct frames frames = { 0 };
		const size_t len = strlen(text);

		frames_frame(&frames, false, ARI_WS_TEXT, text, 5);
		frames_frame(&frames, true, ARI_WS_PING, "x", 1);
		frames_frame(&frames, true, ARI_WS_CONTINUATION, text + 5,
		    len - 5);
		server_send(&bench->server, &frames);
		frames_free(&frames);
	} else {
		server_send_text(&bench->server, text);
	}
	free(text);
	cJSON_Delete(json);
}

static void
on_text(struct server *server, const char *text, void *arg)
{
	struct bench *bench = arg;
	cJSON *json = cJSON_Parse(text);
	bool is_info;

	(void)server;
	assert_non_null(json);
	copy_member(bench->id, sizeof(bench->id), json, "request_id");
	copy_member(bench->method, sizeof(bench->method), json, "method");
	copy_member(bench->uri, sizeof(bench->uri), json, "uri");
	copy_member(bench->body, sizeof(bench->body), json, "message_body");
	copy_member(bench->content_type, sizeof(bench->content_type), json,
	    "content_type");
	cJSON_Delete(json);
	is_info = strncmp(bench->uri, "asterisk/info", 13) == 0;
	bench->requests++;
	if (bench->behaviour == NOTHING)
		return;
	if (is_info && bench->behaviour == REFUSE_INFO)
		reply(bench, bench->id, 403, "{\"message\":\"no\"}");
	else if (is_info)
		reply(bench, bench->id, 200, "{\"system\":{\"version\":"
		    "\"22.10.1\",\"entity_id\":\"02:fc\"},\"status\":{"
		    "\"startup_time\":\"2026-02-17T10:00:00.000+0000\"}}");
	else if (bench->behaviour != ONLY_INFO)
		reply(bench, bench->id, 200, bench->uri);
}

/* ---- the owner ---- */

static void
on_up(void *ctx, const struct ari_server *server)
{
	struct bench *bench = ctx;

	bench->ups++;
	bench->asterisk = *server;
}

static void
on_down(void *ctx, const char *reason)
{
	struct bench *bench = ctx;

	bench->downs++;
	(void)snprintf(bench->reason, sizeof(bench->reason), "%s", reason);
}

static const struct ari_command_ops ops = { .up = on_up, .down = on_down };

static void on_end(void *arg, int status, const char *body, size_t body_len);

static int
ask(struct bench *bench, const char *path, int64_t timeout_ms)
{
	return ari_command_send(bench->link, "GET", path, NULL, NULL,
	    timeout_ms, on_end, bench);
}

static void
on_end(void *arg, int status, const char *body, size_t body_len)
{
	struct bench *bench = arg;

	assert_int_equal(strlen(body), body_len);
	assert_true(bench->ended < REQUESTS_MAX);
	bench->status[bench->ended++] = status;
	(void)snprintf(bench->reply, sizeof(bench->reply), "%s", body);
	if (bench->resend > 0) {
		bench->resend--;
		assert_int_equal(ask(bench, "again", 5000), 0);
	}
}

static void
open_link(struct bench *bench)
{
	struct kap_errmsg msg;

	assert_int_equal(ari_command_open(&bench->link, bench->base,
	    &bench->config, 2, "control", &ops, bench, &msg), 0);
}

static int
bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	assert_non_null(bench);
	bench->base = event_base_new();
	server_open(&bench->server, bench->base);
	bench->server.on_text = on_text;
	bench->server.arg = bench;
	server_config(&bench->server, &bench->config);
	open_link(bench);
	*state = bench;
	return 0;
}

static int
bench_teardown(void **state)
{
	struct bench *bench = *state;

	ari_command_close(&bench->link);
	server_close(&bench->server);
	event_base_free(bench->base);
	free(bench);
	return 0;
}

static void
come_up(struct bench *bench)
{
	RUN_UNTIL(bench->base, bench->ups == 1);
	assert_true(ari_command_is_up(bench->link));
}

static void
test_first_question(void **state)
{
	struct bench *bench = *state;

	assert_false(ari_command_is_up(bench->link));
	assert_int_equal(ask(bench, "early", 1000), -KAP_AGAIN);
	come_up(bench);
	assert_non_null(strstr(bench->server.head,
	    "GET /ari/events?app=kaphila-1-2-control-"));
	assert_non_null(strstr(bench->server.head, "&subscribeAll=false "));
	assert_string_equal(bench->asterisk.version, "22.10.1");
	assert_string_equal(bench->asterisk.transport, "WebSocket");
	assert_string_equal(bench->asterisk.entity_id, "02:fc");
	assert_string_equal(bench->asterisk.started,
	    "2026-02-17T10:00:00.000+0000");
	assert_int_equal(bench->ended, 0);
}

static void
test_what_is_sent(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	assert_int_equal(ari_command_send(bench->link, "POST", "channels/a.1",
	    "app=x%20y&timeout=30", "{\"variables\":{\"A\":\"\\\"\"}}", 5000,
	    on_end, bench), 0);
	assert_int_equal(ari_command_in_flight(bench->link), 1);
	RUN_UNTIL(bench->base, bench->ended == 1);
	assert_int_equal(ari_command_in_flight(bench->link), 0);
	assert_int_equal(bench->status[0], 200);
	assert_string_equal(bench->method, "POST");
	assert_string_equal(bench->uri, "channels/a.1?app=x%20y&timeout=30");
	assert_string_equal(bench->body, "{\"variables\":{\"A\":\"\\\"\"}}");
	assert_string_equal(bench->content_type, "application/json");
	assert_int_equal(ask(bench, "channels", 5000), 0);
	RUN_UNTIL(bench->base, bench->ended == 2);
	assert_string_equal(bench->body, "(none)");
	assert_string_equal(bench->content_type, "(none)");
}

/* As many as may be under way, each with its own reply, in order. */
static void
test_many_at_once(void **state)
{
	struct bench *bench = *state;
	char path[32];

	come_up(bench);
	for (unsigned i = 0; i < ARI_COMMANDS_MAX; i++) {
		(void)snprintf(path, sizeof(path), "n/%u", i);
		assert_int_equal(ask(bench, path, 60000), 0);
	}
	assert_int_equal(ask(bench, "one/too/many", 60000), -KAP_FULL);
	RUN_UNTIL(bench->base, bench->ended == ARI_COMMANDS_MAX);
	assert_string_equal(bench->reply, path);
	for (unsigned i = 0; i < ARI_COMMANDS_MAX; i++)
		assert_int_equal(bench->status[i], 200);
	assert_int_equal(ask(bench, "more", 60000), 0);
	RUN_UNTIL(bench->base, bench->ended == ARI_COMMANDS_MAX + 1);
}

static void
test_replies_out_of_order(void **state)
{
	struct bench *bench = *state;
	char first[32];

	bench->behaviour = ONLY_INFO;
	come_up(bench);
	assert_int_equal(ask(bench, "a", 60000), 0);
	RUN_UNTIL(bench->base, strcmp(bench->uri, "a") == 0);
	(void)snprintf(first, sizeof(first), "%s", bench->id);
	assert_int_equal(ask(bench, "b", 60000), 0);
	RUN_UNTIL(bench->base, strcmp(bench->uri, "b") == 0);
	reply(bench, bench->id, 404, "{\"message\":\"b\"}");
	RUN_UNTIL(bench->base, bench->ended == 1);
	assert_int_equal(bench->status[0], 404);
	assert_string_equal(bench->reply, "{\"message\":\"b\"}");
	reply(bench, first, 204, NULL);
	RUN_UNTIL(bench->base, bench->ended == 2);
	assert_int_equal(bench->status[1], 204);
	assert_string_equal(bench->reply, "");
}

static void
test_fragments_and_pings(void **state)
{
	struct bench *bench = *state;

	bench->behaviour = ANSWER_IN_PIECES;
	come_up(bench);
	bench->resend = 20;
	assert_int_equal(ask(bench, "a", 5000), 0);
	RUN_UNTIL(bench->base, bench->ended == 21);
	assert_int_equal(bench->downs, 0);
}

/* A late reply, a repeated one, and ones to nothing are dropped. */
static void
test_timeout(void **state)
{
	struct bench *bench = *state;
	char late[32];

	bench->behaviour = ONLY_INFO;
	come_up(bench);
	assert_int_equal(ask(bench, "a", 20), 0);
	RUN_UNTIL(bench->base, bench->ended == 1);
	assert_int_equal(bench->status[0], -KAP_TIMEOUT);
	assert_int_equal(ari_command_in_flight(bench->link), 0);
	(void)snprintf(late, sizeof(late), "%s", bench->id);
	reply(bench, late, 200, "{}");
	reply(bench, "0", 200, "{}");
	reply(bench, "999999", 200, "{}");
	reply(bench, "x", 200, "{}");
	reply(bench, late, 7, "{}");
	server_send_text(&bench->server, "no json");
	server_send_text(&bench->server, "{\"type\":\"RESTResponse\"}");
	server_send_text(&bench->server, "{\"type\":5}");
	server_send_text(&bench->server, "[]");
	bench->behaviour = ANSWER;
	assert_int_equal(ask(bench, "b", 5000), 0);
	RUN_UNTIL(bench->base, bench->ended == 2);
	assert_int_equal(bench->status[1], 200);
	assert_string_equal(bench->reply, "b");
	assert_int_equal(bench->downs, 0);
}

/* Sent: unknown. Not sent: certainly not. */
static void
test_link_lost(void **state)
{
	struct bench *bench = *state;

	bench->behaviour = ONLY_INFO;
	come_up(bench);
	assert_int_equal(ask(bench, "a", 60000), 0);
	RUN_UNTIL(bench->base, strcmp(bench->uri, "a") == 0);
	server_hang_up(&bench->server);
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_int_equal(bench->ended, 1);
	assert_int_equal(bench->status[0], -KAP_GONE);
	assert_false(ari_command_is_up(bench->link));
	RUN_UNTIL(bench->base, bench->ups == 2);
	bench->behaviour = ANSWER;
	assert_int_equal(ask(bench, "b", 60000), 0);
	RUN_UNTIL(bench->base, bench->ended == 2);
	assert_int_equal(bench->status[1], 200);
}

static void
test_closed_before_it_left(void **state)
{
	struct bench *bench = *state;

	bench->behaviour = ONLY_INFO;
	come_up(bench);
	assert_int_equal(ask(bench, "a", 60000), 0);
	RUN_UNTIL(bench->base, strcmp(bench->uri, "a") == 0);
	assert_int_equal(ask(bench, "b", 60000), 0);
	ari_command_close(&bench->link);
	assert_null(bench->link);
	assert_int_equal(bench->ended, 2);
	assert_int_equal(bench->status[0], -KAP_GONE);
	assert_int_equal(bench->status[1], -KAP_AGAIN);
}

/* The kernel takes some, then no more; what it didn't take was not sent. */
static void
test_lost_with_a_full_socket(void **state)
{
	struct bench *bench = *state;
	char *body = calloc(1, 60001);
	unsigned gone = 0;
	unsigned again = 0;
	unsigned sent = 0;

	assert_non_null(body);
	memset(body, 'x', 60000);
	bench->behaviour = ONLY_INFO;
	come_up(bench);
	(void)bufferevent_disable(bench->server.peer, EV_READ);
	/* over 8 MiB wait to leave: then no more is taken */
	while (sent < 1000 && ari_command_send(bench->link, "POST", "a", NULL,
	    body, 60000, on_end, bench) == 0) {
		sent++;
		(void)event_base_loop(bench->base, EVLOOP_NONBLOCK);
	}
	assert_true(sent > 100);
	assert_true(sent < 1000);
	server_hang_up(&bench->server);
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_int_equal(bench->ended, sent);
	while (gone < sent && bench->status[gone] == -KAP_GONE)
		gone++;
	while (gone + again < sent && bench->status[gone + again] ==
	    -KAP_AGAIN)
		again++;
	assert_int_equal(gone + again, sent);
	assert_true(gone > 0);
	assert_true(again > 100); /* 8 MiB of them, but for one in half */
	free(body);
}

struct fault {
	const char *name;
	const char *bytes;
	size_t len;
	const char *reason; /* contains this */
};

#define REPLACED "{\"type\":\"ApplicationReplaced\"}"

static const struct fault faults[] = {
	{ "close", "\x88\x02\x03\xe8", 4, "closed the link (code 1000)" },
	{ "masked", "\x81\x81" "abcdx", 7, "broken WebSocket frame" },
	{ "reserved bit", "\xc1\x01x", 3, "broken WebSocket frame" },
	{ "not UTF-8", "\x81\x02\xff\xff", 4, "broken WebSocket frame" },
	{ "far too long", "\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00x", 11,
	    "broken WebSocket frame" },
	{ "garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", 28, "broken" },
	{ "taken over", "\x81\x1e" REPLACED, 32, "took the Stasis app over" },
};

static void
test_faults(void **state)
{
	struct bench *bench = *state;

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct frames frames = { 0 };

		bench->behaviour = ANSWER;
		RUN_UNTIL(bench->base, bench->ups == i + 1);
		bench->behaviour = ONLY_INFO;
		assert_int_equal(ask(bench, "a", 60000), 0);
		RUN_UNTIL(bench->base, strcmp(bench->uri, "a") == 0);
		frames_add(&frames, faults[i].bytes, faults[i].len);
		server_send(&bench->server, &frames);
		RUN_UNTIL(bench->base, bench->downs == i + 1);
		if (strstr(bench->reason, faults[i].reason) == NULL)
			fail_msg("%s: %s", faults[i].name, bench->reason);
		assert_int_equal(bench->ended, i + 1);
		assert_int_equal(bench->status[i], -KAP_GONE);
		frames_free(&frames);
	}
}

/* What HTTP is for is tried in test_ari_command_http.c. */
static void
test_no_answer_there(void **state)
{
	struct bench *bench = *state;

	bench->config.asterisk.command_timeout_ms = 50;
	bench->behaviour = NOTHING;
	bench->server.no_pongs = true; /* else it would be asked over HTTP */
	RUN_UNTIL(bench->base, bench->downs == 2);
	assert_non_null(strstr(bench->reason,
	    "doesn't answer commands over WebSocket"));
	assert_int_equal(bench->ups, 0);
	bench->server.no_pongs = false;
	bench->config.asterisk.command_timeout_ms = 2000;
	bench->behaviour = REFUSE_INFO;
	RUN_UNTIL(bench->base, strstr(bench->reason, "answered 403") != NULL);
	bench->behaviour = ANSWER;
	RUN_UNTIL(bench->base, bench->ups == 1);
}

static void
test_refused(void **state)
{
	struct bench *bench = *state;

	bench->server.mode = SERVER_REFUSE;
	RUN_UNTIL(bench->base, bench->downs == 2);
	assert_non_null(strstr(bench->reason, "401"));
	bench->server.mode = SERVER_UPGRADE;
	RUN_UNTIL(bench->base, bench->ups == 1);
}

/*
 * Life is asked for by requests. A ping goes out behind the first question
 * alone: one that Asterisk can't answer would keep its thread for ever.
 */
static void
test_silence(void **state)
{
	struct bench *bench = *state;
	unsigned requests;

	bench->config.asterisk.ping_interval_ms = 20;
	bench->behaviour = ONLY_INFO;
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_int_equal(bench->ups, 1);
	assert_string_equal(bench->reason, "Asterisk answers no pings");
	assert_string_equal(bench->uri, "asterisk/ping");
	assert_int_equal(bench->server.pings, 1);
	bench->behaviour = ANSWER;
	RUN_UNTIL(bench->base, bench->ups == 2);
	requests = bench->requests;
	RUN_UNTIL(bench->base, bench->requests > requests + 12);
	assert_int_equal(bench->downs, 1);
	assert_int_equal(bench->server.pings, 2);
	assert_int_equal(bench->ended, 0);
}

static void
test_too_long(void **state)
{
	struct bench *bench = *state;
	char *text = calloc(1, 70000);

	come_up(bench);
	assert_non_null(text);
	memset(text, 'a', 69999);
	assert_int_equal(ask(bench, text, 1000), -KAP_TOOBIG);
	assert_int_equal(ari_command_send(bench->link, "POST", "a", NULL, text,
	    1000, on_end, bench), -KAP_TOOBIG);
	text[4000] = '\0';
	assert_int_equal(ari_command_send(bench->link, "POST", text, text,
	    NULL, 1000, on_end, bench), -KAP_TOOBIG);
	assert_int_equal(ari_command_in_flight(bench->link), 0);
	free(text);
}

/* ---- a real Asterisk ---- */

struct real_case {
	const char *method;
	const char *path;
	const char *query;
	const char *body;
	int expect;
};

static const struct real_case real_cases[] = {
	{ "GET", "channels", NULL, NULL, 200 },
	{ "GET", "channels/1771323600.1", NULL, NULL, 404 },
	{ "DELETE", "channels/1771323600.1", NULL, NULL, 404 },
	{ "POST", "bridges/bridge-a%2Fb%20c", "type=mixing", NULL, 200 },
	{ "GET", "bridges/bridge-a%2Fb%20c", NULL, NULL, 200 },
	{ "DELETE", "bridges/bridge-a%2Fb%20c", NULL, NULL, 204 },
	{ "POST", "channels", "endpoint=Nothing%2F1&app=kaphila-1-2-control",
	    "{\"variables\":{\"A\":\"1\"}}", 500 },
	{ "PUT", "applications/kaphila-1-nobody/eventFilter", NULL,
	    "{\"allowed\":[{\"type\":\"Dial\"}]}", 404 },
	{ "POST", "channels", "endpoint=Nothing%2F1", "{", 400 },
	{ "BREW", "coffee", NULL, NULL, 400 },
};

static void
test_real_asterisk(void **state)
{
	struct bench *bench = *state;
	const char *url = getenv("KAPHILA_TEST_ARI_URL");
	const char *user = getenv("KAPHILA_TEST_ARI_USER");
	const char *password = getenv("KAPHILA_TEST_ARI_PASSWORD");

	if (url == NULL || user == NULL || password == NULL)
		skip();
	ari_command_close(&bench->link);
	(void)snprintf(bench->config.asterisk.url,
	    sizeof(bench->config.asterisk.url), "%s", url);
	(void)snprintf(bench->config.asterisk.user,
	    sizeof(bench->config.asterisk.user), "%s", user);
	(void)snprintf(bench->config.asterisk.password,
	    sizeof(bench->config.asterisk.password), "%s", password);
	bench->config.asterisk.ping_interval_ms = 200;
	open_link(bench);
	come_up(bench);
	print_message("Asterisk %s, started %s\n", bench->asterisk.version,
	    bench->asterisk.started);
	for (unsigned i = 0; i < sizeof(real_cases) / sizeof(real_cases[0]);
	    i++) {
		const struct real_case *c = &real_cases[i];

		assert_int_equal(ari_command_send(bench->link, c->method,
		    c->path, c->query, c->body, 5000, on_end, bench), 0);
		RUN_UNTIL(bench->base, bench->ended == i + 1);
		if (bench->status[i] != c->expect)
			fail_msg("%s %s: %d %s", c->method, c->path,
			    bench->status[i], bench->reply);
	}
	bench->ended = 0;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(ask(bench, "asterisk/ping", 20000), 0);
	RUN_UNTIL(bench->base, bench->ended == 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(bench->status[i], 200);
	assert_int_equal(bench->downs, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_first_question),
		TEST(test_what_is_sent),
		TEST(test_many_at_once),
		TEST(test_replies_out_of_order),
		TEST(test_fragments_and_pings),
		TEST(test_timeout),
		TEST(test_link_lost),
		TEST(test_closed_before_it_left),
		TEST(test_lost_with_a_full_socket),
		TEST(test_faults),
		TEST(test_no_answer_there),
		TEST(test_refused),
		TEST(test_silence),
		TEST(test_too_long),
		TEST(test_real_asterisk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
