/*
 * ari_command over HTTP, against an Asterisk in the same loop that has no REST
 * over its WebSocket: the choice of the transport; every request ends once,
 * with its own reply or with why there is none; none leaves twice. With
 * KAPHILA_TEST_ARI16_URL (and _USER, _PASSWORD) against a real one too.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ari_bench_fixture.h"
#include "ari_http_fixture.h"
#include "worker/ari_command.h"

#define CONNECTIONS 32 /* of one lane, at most */
#define ASKS_MAX (ARI_COMMANDS_MAX + 8)

struct ask {
	struct bench *bench;
	bool ended;
	int status;
	char path[32];
	char reply[64]; /* its beginning */
	size_t reply_len;
};

struct bench {
	struct event_base *base;
	struct config config;
	struct asterisk asterisk;
	struct ari_command_link *link;
	unsigned ups;
	unsigned downs;
	char reason[160];
	struct ari_server server;
	struct ask asks[ASKS_MAX];
	unsigned asked;
	unsigned ended;
	unsigned resend; /* send one more from inside a callback */
};

/* ---- the owner ---- */

static void
on_up(void *ctx, const struct ari_server *server)
{
	struct bench *bench = ctx;

	bench->ups++;
	bench->server = *server;
}

static void
on_down(void *ctx, const char *reason)
{
	struct bench *bench = ctx;

	bench->downs++;
	(void)snprintf(bench->reason, sizeof(bench->reason), "%s", reason);
}

static const struct ari_command_ops ops = { .up = on_up, .down = on_down };

static int ask(struct bench *bench, int64_t timeout_ms);

static void
on_end(void *arg, int status, const char *body, size_t body_len)
{
	struct ask *one = arg;

	assert_false(one->ended);
	one->ended = true;
	one->status = status;
	one->reply_len = body_len;
	(void)snprintf(one->reply, sizeof(one->reply), "%s", body);
	one->bench->ended++;
	if (one->bench->resend > 0) {
		one->bench->resend--;
		assert_int_equal(ask(one->bench, 5000), 0);
	}
}

/* The n-th request is for "n/<n>". */
static int
send_one(struct bench *bench, const char *method, const char *query,
    const char *body, int64_t timeout_ms)
{
	struct ask *one = &bench->asks[bench->asked];
	int rc;

	assert_true(bench->asked < ASKS_MAX);
	memset(one, 0, sizeof(*one));
	one->bench = bench;
	(void)snprintf(one->path, sizeof(one->path), "n/%u", bench->asked);
	rc = ari_command_send(bench->link, method, one->path, query, body,
	    timeout_ms, on_end, one);
	bench->asked += rc == 0;
	return rc;
}

static int
ask(struct bench *bench, int64_t timeout_ms)
{
	return send_one(bench, "GET", NULL, NULL, timeout_ms);
}

static void
ask_all(struct bench *bench, unsigned count, int64_t timeout_ms)
{
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(ask(bench, timeout_ms), 0);
}

/* How many requests, from the first on, ended so. */
static unsigned
count_ended(const struct bench *bench, int status)
{
	unsigned count = 0;

	for (unsigned i = 0; i < bench->asked; i++)
		count += bench->asks[i].ended &&
		    bench->asks[i].status == status;
	return count;
}

/* That one's own answer, which is its path. */
static void
assert_answered(const struct ask *one)
{
	char expected[64];

	(void)snprintf(expected, sizeof(expected), "/ari/%s", one->path);
	assert_true(one->ended);
	assert_int_equal(one->status, 200);
	assert_string_equal(one->reply, expected);
}

static int
bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	const struct server at = { .port = 1 };
	struct kap_errmsg msg;

	assert_non_null(bench);
	bench->base = event_base_new();
	asterisk_open(&bench->asterisk, bench->base);
	server_config(&at, &bench->config);
	(void)snprintf(bench->config.asterisk.url,
	    sizeof(bench->config.asterisk.url), "http://localhost:%u",
	    (unsigned)bench->asterisk.port);
	assert_int_equal(ari_command_open(&bench->link, bench->base,
	    &bench->config, 2, "control", &ops, bench, &msg), 0);
	*state = bench;
	return 0;
}

static int
bench_teardown(void **state)
{
	struct bench *bench = *state;

	ari_command_close(&bench->link);
	asterisk_close(&bench->asterisk);
	event_base_free(bench->base);
	free(bench);
	return 0;
}

static void
come_up(struct bench *bench)
{
	RUN_UNTIL(bench->base, bench->ups == 1);
	assert_true(ari_command_is_up(bench->link));
	assert_string_equal(bench->server.transport, "HTTP");
}

/* ---- the choice ---- */

static void
test_first_question(void **state)
{
	struct bench *bench = *state;
	const struct asterisk *asterisk = &bench->asterisk;

	assert_int_equal(ask(bench, 1000), -KAP_AGAIN);
	come_up(bench);
	assert_non_null(strstr(asterisk->websocket_head,
	    "GET /ari/events?app=kaphila-1-2-control-"));
	assert_string_equal(asterisk->path,
	    "/ari/asterisk/info?only=system,status");
	assert_string_equal(asterisk_header(asterisk->head, "Authorization"),
	    "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	assert_memory_equal(asterisk_header(asterisk->head, "User-Agent"),
	    "kaphila-1-2-control-", 20);
	assert_string_equal(bench->server.version, "16.28.0");
	assert_string_equal(bench->server.entity_id, "02:fc");
	assert_string_equal(bench->server.started,
	    "2026-02-17T10:00:00.000+0000");
	assert_int_equal(bench->downs, 0);
	assert_int_equal(asterisk->infos, 1);
	assert_int_equal(asterisk->websockets, 1);
}

/* An Asterisk is replaced by a newer one, and that by an older one. */
static void
test_chosen_at_each_connect(void **state)
{
	struct bench *bench = *state;
	static const char *const expected[] = { "HTTP", "WebSocket", "HTTP",
		"WebSocket" };

	for (unsigned i = 0; i < 4; i++) {
		bench->asterisk.has_rest = i % 2 == 1;
		RUN_UNTIL(bench->base, bench->ups == i + 1);
		assert_string_equal(bench->server.transport, expected[i]);
		assert_string_equal(bench->server.version, i % 2 == 1 ?
		    "22.10.1" : "16.28.0");
		assert_int_equal(ask(bench, 60000), 0);
		RUN_UNTIL(bench->base, bench->ended == i + 1);
		assert_int_equal(bench->asks[i].status, 200);
		asterisk_hang_up(&bench->asterisk, false);
		asterisk_hang_up(&bench->asterisk, true);
		RUN_UNTIL(bench->base, bench->downs == i + 1);
	}
	/* the newer ones were never asked over HTTP */
	assert_int_equal(bench->asterisk.infos, 2);
	assert_int_equal(bench->asterisk.requests, 2);
}

static void
test_first_question_refused(void **state)
{
	struct bench *bench = *state;

	bench->asterisk.info_status = 401;
	RUN_UNTIL(bench->base, bench->downs == 2);
	assert_non_null(strstr(bench->reason, "answered 401"));
	bench->config.asterisk.command_timeout_ms = 50;
	bench->asterisk.info_status = 0;
	RUN_UNTIL(bench->base,
	    strstr(bench->reason, "doesn't answer commands over HTTP") != NULL);
	assert_int_equal(bench->ups, 0);
	bench->config.asterisk.command_timeout_ms = 2000;
	bench->asterisk.info_status = 200;
	RUN_UNTIL(bench->base, bench->ups == 1);
}

/* ---- requests and replies ---- */

struct sent_case {
	const char *method;
	const char *query;
	const char *body;
	const char *content_type;
	const char *content_length;
};

static const struct sent_case sent_cases[] = {
	{ "GET", NULL, NULL, "(none)", "(none)" },
	{ "GET", "a=x%20y&b=%2F", NULL, "(none)", "(none)" },
	{ "POST", NULL, NULL, "(none)", "0" },
	{ "POST", "a=1", "{\"variables\":{\"A\":\"\\\"\"}}",
	    "application/json", "24" },
	{ "PUT", NULL, "{\"a\":1}", "application/json", "7" },
	{ "DELETE", NULL, NULL, "(none)", "(none)" },
	{ "DELETE", "reason_code=16", NULL, "(none)", "(none)" },
	{ "POST", NULL, "", "application/json", "0" },
};

static void
test_what_is_sent(void **state)
{
	struct bench *bench = *state;
	const struct asterisk *asterisk = &bench->asterisk;
	char path[64];

	come_up(bench);
	for (unsigned i = 0; i < sizeof(sent_cases) / sizeof(sent_cases[0]);
	    i++) {
		const struct sent_case *c = &sent_cases[i];

		assert_int_equal(send_one(bench, c->method, c->query, c->body,
		    5000), 0);
		assert_int_equal(ari_command_in_flight(bench->link), 1);
		RUN_UNTIL(bench->base, bench->ended == i + 1);
		assert_int_equal(ari_command_in_flight(bench->link), 0);
		(void)snprintf(path, sizeof(path), "/ari/n/%u%s%s", i,
		    c->query != NULL ? "?" : "",
		    c->query != NULL ? c->query : "");
		assert_string_equal(asterisk->method, c->method);
		assert_string_equal(asterisk->path, path);
		assert_string_equal(asterisk->body,
		    c->body != NULL ? c->body : "");
		assert_string_equal(asterisk_header(asterisk->head,
		    "Content-Type"), c->content_type);
		assert_string_equal(asterisk_header(asterisk->head,
		    "Content-Length"), c->content_length);
		assert_string_equal(asterisk_header(asterisk->head,
		    "Authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	}
	/* one after another: one connection will do */
	assert_int_equal(asterisk_connections(asterisk), 1);
}

struct said_case {
	const char *name;
	const char *says;
	int status;
	const char *reply;
};

static const struct said_case said_cases[] = {
	{ "no content", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	    204, "" },
	{ "not found", "HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\n\r\n"
	    "{\"message\":\"a\"}", 404, "{\"message\":\"a\"}" },
	{ "conflict", "HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}",
	    409, "{}" },
	{ "failed", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 29"
	    "\r\n\r\n{\"error\":\"Allocation failed\"}", 500,
	    "{\"error\":\"Allocation failed\"}" },
	{ "elsewhere, where we don't go", "HTTP/1.1 302 Found\r\nLocation: /"
	    "\r\nContent-Length: 0\r\n\r\n", 302, "" },
	{ "in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "2\r\n{\"\r\n5\r\na\":1}\r\n0\r\n\r\n", 200, "{\"a\":1}" },
	{ "until the end", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[]",
	    200, "[]" },
};

static void
test_what_is_answered(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	bench->asterisk.manner = ASTERISK_SAYS;
	for (unsigned i = 0; i < sizeof(said_cases) / sizeof(said_cases[0]);
	    i++) {
		const struct said_case *c = &said_cases[i];

		bench->asterisk.says = c->says;
		bench->asterisk.says_len = strlen(c->says);
		assert_int_equal(ask(bench, 60000), 0);
		RUN_UNTIL(bench->base, bench->ended == i + 1);
		if (bench->asks[i].status != c->status ||
		    strcmp(bench->asks[i].reply, c->reply) != 0 ||
		    bench->asks[i].reply_len != strlen(c->reply))
			fail_msg("%s: %d %s", c->name, bench->asks[i].status,
			    bench->asks[i].reply);
	}
	assert_int_equal(bench->downs, 0);
}

/* As many as may be under way, each with its own reply. */
static void
test_many_at_once(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	ask_all(bench, ARI_COMMANDS_MAX, 60000);
	assert_int_equal(ask(bench, 60000), -KAP_FULL);
	RUN_UNTIL(bench->base, bench->ended == ARI_COMMANDS_MAX);
	for (unsigned i = 0; i < ARI_COMMANDS_MAX; i++)
		assert_answered(&bench->asks[i]);
	assert_true(asterisk_connections(&bench->asterisk) <= CONNECTIONS);
	assert_int_equal(bench->downs, 0);
	assert_int_equal(ask(bench, 60000), 0);
	RUN_UNTIL(bench->base, bench->ended == ARI_COMMANDS_MAX + 1);
}

/* They begin in order, and a slow one holds up none behind it. */
static void
test_slow_replies(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;
	unsigned n = 0;

	come_up(bench);
	asterisk->manner = ASTERISK_HOLDS;
	ask_all(bench, CONNECTIONS + 5, 60000);
	RUN_UNTIL(bench->base, asterisk->held_count == CONNECTIONS);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		const struct asterisk_held *held;
		bool found = false;

		STAILQ_FOREACH(held, &asterisk->held, entry)
			found = found || strcmp(held->path + strlen("/ari/"),
			    bench->asks[i].path) == 0;
		assert_true(found);
	}
	for (n = 0; n < 5; n++) {
		assert_true(asterisk_reply(asterisk, 200, NULL));
		RUN_UNTIL(bench->base, bench->ended == n + 1 &&
		    asterisk->requests == CONNECTIONS + n + 1);
	}
	assert_int_equal(asterisk_connections(asterisk), CONNECTIONS);
	while (asterisk_reply(asterisk, 200, NULL))
		continue;
	RUN_UNTIL(bench->base, bench->ended == CONNECTIONS + 5);
	for (unsigned i = 0; i < bench->asked; i++)
		assert_answered(&bench->asks[i]);
}

static void
test_next_from_callback(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	bench->resend = 50;
	assert_int_equal(ask(bench, 5000), 0);
	RUN_UNTIL(bench->base, bench->ended == 51);
	for (unsigned i = 0; i < bench->asked; i++)
		assert_answered(&bench->asks[i]);
	assert_int_equal(asterisk_connections(&bench->asterisk), 1);
}

/* Asterisk closes what is idle for long, or after each reply (its choice). */
static void
test_closed_between_requests(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	for (unsigned i = 0; i < 20; i++) {
		bench->asterisk.manner = i % 2 == 0 ?
		    ASTERISK_ANSWERS_CLOSING : ASTERISK_CLOSES_AFTER;
		assert_int_equal(ask(bench, 5000), 0);
		RUN_UNTIL(bench->base, bench->ended == i + 1);
		/* until it has closed */
		RUN_UNTIL(bench->base, LIST_NEXT(LIST_FIRST(
		    &bench->asterisk.peers), entry) == NULL);
		assert_answered(&bench->asks[i]);
	}
	assert_int_equal(bench->downs, 0);
	assert_int_equal(asterisk_connections(&bench->asterisk), 20);
}

static void
test_too_long(void **state)
{
	struct bench *bench = *state;
	char *text = calloc(1, 70000);

	come_up(bench);
	assert_non_null(text);
	memset(text, 'a', 69999);
	assert_int_equal(ari_command_send(bench->link, "GET", text, NULL, NULL,
	    1000, on_end, bench), -KAP_TOOBIG);
	assert_int_equal(ari_command_send(bench->link, "POST", "a", NULL, text,
	    1000, on_end, bench), -KAP_TOOBIG);
	text[4000] = '\0';
	assert_int_equal(ari_command_send(bench->link, "POST", text, text,
	    NULL, 1000, on_end, bench), -KAP_TOOBIG);
	assert_int_equal(ari_command_send(bench->link, "PROPFIND", "a", NULL,
	    NULL, 1000, on_end, bench), -KAP_TOOBIG);
	assert_int_equal(ari_command_in_flight(bench->link), 0);
	free(text);
}

/* Over 8 MiB wait to leave: then no more is taken. */
static void
test_too_much_waits(void **state)
{
	struct bench *bench = *state;
	char *body = calloc(1, 60001);
	unsigned taken = 0;

	assert_non_null(body);
	memset(body, 'x', 60000);
	come_up(bench);
	while (taken < 1000 && send_one(bench, "POST", NULL, body, 60000) == 0)
		taken++;
	assert_int_equal(taken, (8U << 20) / 60008 + 1);
	RUN_UNTIL(bench->base, bench->ended == taken);
	assert_int_equal(count_ended(bench, 200), taken);
	assert_int_equal(send_one(bench, "POST", NULL, body, 60000), 0);
	RUN_UNTIL(bench->base, bench->ended == taken + 1);
	free(body);
}

/* ---- time limits ---- */

/* Its connection is given up too; the others are not. */
static void
test_timeout(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	come_up(bench);
	asterisk->manner = ASTERISK_HOLDS;
	assert_int_equal(ask(bench, 60000), 0);
	assert_int_equal(ask(bench, 20), 0);
	RUN_UNTIL(bench->base, bench->ended == 1 && asterisk->gone == 1);
	assert_int_equal(bench->asks[1].status, -KAP_TIMEOUT);
	assert_int_equal(ari_command_in_flight(bench->link), 1);
	while (asterisk_reply(asterisk, 200, NULL))
		continue;
	RUN_UNTIL(bench->base, bench->ended == 2);
	assert_answered(&bench->asks[0]);
	assert_int_equal(bench->downs, 0);
}

/* What nobody waits for any more does not leave any more. */
static void
test_timeout_before_it_left(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	come_up(bench);
	asterisk->manner = ASTERISK_HOLDS;
	ask_all(bench, CONNECTIONS, 60000);
	ask_all(bench, 3, 20);
	assert_int_equal(ask(bench, 60000), 0);
	RUN_UNTIL(bench->base, bench->ended == 3 &&
	    asterisk->held_count == CONNECTIONS);
	assert_int_equal(count_ended(bench, -KAP_TIMEOUT), 3);
	asterisk->manner = ASTERISK_ANSWERS;
	while (asterisk_reply(asterisk, 200, NULL))
		continue;
	RUN_UNTIL(bench->base, bench->ended == CONNECTIONS + 4);
	assert_answered(&bench->asks[CONNECTIONS + 3]);
	assert_int_equal(asterisk->requests, CONNECTIONS + 1);
	assert_int_equal(bench->downs, 0);
}

/* ---- losing it ---- */

/*
 * A kept connection breaks under a request. libcurl would say it again over
 * another one: a phone that rings twice.
 */
static void
test_broken_without_an_answer(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	for (unsigned i = 0; i < 3; i++) {
		asterisk->manner = ASTERISK_ANSWERS;
		RUN_UNTIL(bench->base, bench->ups == i + 1);
		asterisk->manner = ASTERISK_BREAKS;
		assert_int_equal(send_one(bench, i == 0 ? "POST" :
		    i == 1 ? "GET" : "DELETE", NULL, i == 0 ? "{}" : NULL,
		    60000), 0);
		RUN_UNTIL(bench->base, bench->downs == i + 1);
		assert_non_null(strstr(bench->reason, "over HTTP broke"));
		assert_int_equal(bench->ended, i + 1);
		assert_int_equal(bench->asks[i].status, -KAP_GONE);
		assert_false(ari_command_is_up(bench->link));
		assert_int_equal(asterisk->requests, i + 1);
	}
	asterisk->manner = ASTERISK_ANSWERS;
	RUN_UNTIL(bench->base, bench->ups == 4);
	assert_int_equal(asterisk->requests, 3);
}

struct fault {
	const char *name;
	const char *says;
};

static const struct fault faults[] = {
	{ "half a head", "HTTP/1.1 200 OK\r\nContent-Le" },
	{ "half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a" },
	{ "half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	    "\r\n10\r\n{\"a" },
	{ "a wrong chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
	    "\r\nxyz\r\n{}\r\n0\r\n\r\n" },
	{ "no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n" },
	{ "a line without an end", "HTTP/1.1 200" },
};

static void
test_faults(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		asterisk->manner = ASTERISK_ANSWERS;
		RUN_UNTIL(bench->base, bench->ups == i + 1);
		asterisk->manner = ASTERISK_SAYS;
		asterisk->says = faults[i].says;
		asterisk->says_len = strlen(faults[i].says);
		assert_int_equal(ask(bench, 60000), 0);
		RUN_UNTIL(bench->base, bench->downs == i + 1);
		if (bench->asks[i].status != -KAP_GONE ||
		    asterisk->requests != i + 1)
			fail_msg("%s: %d, %u requests", faults[i].name,
			    bench->asks[i].status, asterisk->requests);
	}
}

/* A reply has a limit, whatever its head says of its length. */
static void
test_endless_reply(void **state)
{
	static const char *const heads[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
	};
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;
	const size_t len = 33U << 20;
	char *says = malloc(len);

	assert_non_null(says);
	memset(says, ' ', len);
	for (unsigned i = 0; i < 2; i++) {
		asterisk->manner = ASTERISK_ANSWERS;
		RUN_UNTIL(bench->base, bench->ups == i + 1);
		memcpy(says, heads[i], strlen(heads[i]));
		asterisk->manner = ASTERISK_SAYS;
		asterisk->says = says;
		asterisk->says_len = len;
		assert_int_equal(ask(bench, 60000), 0);
		RUN_UNTIL(bench->base, bench->downs == i + 1);
		assert_int_equal(bench->asks[i].status, -KAP_GONE);
	}
	free(says);
}

/* Nothing listens any more: what needed a new connection has not left. */
static void
test_refused(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	come_up(bench);
	asterisk_stop_listening(asterisk);
	asterisk_hang_up(asterisk, false);
	assert_int_equal(ask(bench, 60000), 0);
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_non_null(strstr(bench->reason, "could not be sent"));
	assert_int_equal(bench->asks[0].status, -KAP_AGAIN);
	RUN_UNTIL(bench->base, bench->downs == 3);
	assert_int_equal(bench->ups, 1);
	assert_int_equal(asterisk->requests, 0);
	asterisk_listen(asterisk);
	RUN_UNTIL(bench->base, bench->ups == 2);
}

/* What has left is told from what has not, also behind it. */
static void
test_refused_beside_others(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	come_up(bench);
	asterisk->manner = ASTERISK_HOLDS;
	ask_all(bench, 3, 60000);
	RUN_UNTIL(bench->base, asterisk->held_count == 3);
	asterisk_stop_listening(asterisk);
	ask_all(bench, CONNECTIONS + 2, 60000);
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_int_equal(bench->ended, CONNECTIONS + 5);
	for (unsigned i = 0; i < bench->asked; i++)
		assert_int_equal(bench->asks[i].status, i < 3 ? -KAP_GONE :
		    -KAP_AGAIN);
	assert_int_equal(asterisk->requests, 3);
}

/* The WebSocket that nothing is asked over tells that Asterisk is gone. */
static void
test_websocket_lost(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	come_up(bench);
	asterisk->manner = ASTERISK_HOLDS;
	ask_all(bench, CONNECTIONS + 2, 60000);
	RUN_UNTIL(bench->base, asterisk->held_count == CONNECTIONS);
	asterisk_hang_up(asterisk, true);
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_string_equal(bench->reason, "Asterisk closed the connection");
	assert_int_equal(bench->ended, CONNECTIONS + 2);
	assert_int_equal(count_ended(bench, -KAP_GONE), CONNECTIONS);
	assert_int_equal(count_ended(bench, -KAP_AGAIN), 2);
	/* and no connection is left behind */
	RUN_UNTIL(bench->base, asterisk->gone == CONNECTIONS);
	asterisk->manner = ASTERISK_ANSWERS;
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_int_equal(ask(bench, 60000), 0);
	RUN_UNTIL(bench->base, bench->ended == CONNECTIONS + 3);
	assert_answered(&bench->asks[CONNECTIONS + 2]);
}

/* Also when nothing is under way, and between the two questions. */
static void
test_lost_while_idle(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	asterisk_hang_up(&bench->asterisk, true);
	RUN_UNTIL(bench->base, bench->downs == 1);
	bench->asterisk.info_status = 0;
	RUN_UNTIL(bench->base, bench->asterisk.infos == 2);
	asterisk_hang_up(&bench->asterisk, true);
	RUN_UNTIL(bench->base, bench->downs == 2);
	bench->asterisk.info_status = 200;
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_int_equal(ari_command_in_flight(bench->link), 0);
}

static void
test_silence(void **state)
{
	struct bench *bench = *state;

	bench->config.asterisk.ping_interval_ms = 20;
	come_up(bench);
	bench->asterisk.manner = ASTERISK_HOLDS;
	assert_int_equal(ask(bench, 60000), 0);
	RUN_UNTIL(bench->base, bench->asterisk.held_count == 1);
	bench->asterisk.no_pongs = true;
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_string_equal(bench->reason, "Asterisk answers no pings");
	assert_int_equal(bench->asks[0].status, -KAP_GONE);
	bench->asterisk.no_pongs = false;
	RUN_UNTIL(bench->base, bench->ups == 2);
}

static void
test_closed_under_way(void **state)
{
	struct bench *bench = *state;
	struct asterisk *asterisk = &bench->asterisk;

	come_up(bench);
	asterisk->manner = ASTERISK_HOLDS;
	ask_all(bench, CONNECTIONS, 60000);
	RUN_UNTIL(bench->base, asterisk->held_count == CONNECTIONS);
	ask_all(bench, 2, 60000);
	ari_command_close(&bench->link);
	assert_null(bench->link);
	assert_int_equal(bench->ended, CONNECTIONS + 2);
	assert_int_equal(count_ended(bench, -KAP_GONE), CONNECTIONS);
	assert_int_equal(bench->asks[CONNECTIONS].status, -KAP_AGAIN);
	assert_int_equal(bench->asks[CONNECTIONS + 1].status, -KAP_AGAIN);
	RUN_UNTIL(bench->base, asterisk->gone == CONNECTIONS);
	assert_int_equal(asterisk->requests, CONNECTIONS);
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
	{ "POST", "bridges/c", NULL, "{\"type\":\"mixing\"}", 200 },
	{ "DELETE", "bridges/c", NULL, NULL, 204 },
	{ "POST", "channels", "endpoint=Nothing%2F1&app=kaphila-1-2-control",
	    "{\"variables\":{\"A\":\"1\"}}", 500 },
	{ "PUT", "applications/kaphila-1-nobody/eventFilter", NULL,
	    "{\"allowed\":[{\"type\":\"Dial\"}]}", 404 },
	{ "POST", "channels", "endpoint=Nothing%2F1", "{", 400 },
};

static void
test_real_asterisk(void **state)
{
	struct bench *bench = *state;
	const char *url = getenv("KAPHILA_TEST_ARI16_URL");
	const char *user = getenv("KAPHILA_TEST_ARI16_USER");
	const char *password = getenv("KAPHILA_TEST_ARI16_PASSWORD");
	struct kap_errmsg msg;

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
	assert_int_equal(ari_command_open(&bench->link, bench->base,
	    &bench->config, 2, "control", &ops, bench, &msg), 0);
	come_up(bench);
	print_message("Asterisk %s over %s\n", bench->server.version,
	    bench->server.transport);
	for (unsigned i = 0; i < sizeof(real_cases) / sizeof(real_cases[0]);
	    i++) {
		const struct real_case *c = &real_cases[i];
		struct ask *one = &bench->asks[bench->asked++];

		one->bench = bench;
		assert_int_equal(ari_command_send(bench->link, c->method,
		    c->path, c->query, c->body, 5000, on_end, one), 0);
		RUN_UNTIL(bench->base, one->ended);
		if (one->status != c->expect)
			fail_msg("%s %s: %d %s", c->method, c->path,
			    one->status, one->reply);
	}
	bench->asked = 0;
	bench->ended = 0;
	for (unsigned i = 0; i < 1000; i++) {
		struct ask *one = &bench->asks[bench->asked++];

		memset(one, 0, sizeof(*one));
		one->bench = bench;
		assert_int_equal(ari_command_send(bench->link, "GET",
		    "asterisk/ping", NULL, NULL, 20000, on_end, one), 0);
	}
	RUN_UNTIL(bench->base, bench->ended == 1000);
	assert_int_equal(count_ended(bench, 200), 1000);
	assert_int_equal(bench->downs, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_first_question),
		TEST(test_chosen_at_each_connect),
		TEST(test_first_question_refused),
		TEST(test_what_is_sent),
		TEST(test_what_is_answered),
		TEST(test_many_at_once),
		TEST(test_slow_replies),
		TEST(test_next_from_callback),
		TEST(test_closed_between_requests),
		TEST(test_too_long),
		TEST(test_too_much_waits),
		TEST(test_timeout),
		TEST(test_timeout_before_it_left),
		TEST(test_broken_without_an_answer),
		TEST(test_faults),
		TEST(test_endless_reply),
		TEST(test_refused),
		TEST(test_refused_beside_others),
		TEST(test_websocket_lost),
		TEST(test_lost_while_idle),
		TEST(test_silence),
		TEST(test_closed_under_way),
		TEST(test_real_asterisk),
	};

	/* the server's own, when a client hangs up under an answer */
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
