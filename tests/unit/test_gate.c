/*
 * The gate over real sockets: what evhttp alone would let through, how
 * requests may be cut into packets, deadlines, and clients that go away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_fixture.h"
#include "worker/gate.h"

#define HOST "Host: a\r\n"
#define GET "GET /echo HTTP/1.1\r\n" HOST "\r\n"
#define POST "POST /echo HTTP/1.1\r\n" HOST

static int
setup(void **state)
{
	struct http_fixture *f = malloc(sizeof(*f));

	fixture_start(f, NULL);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct http_fixture *f = *state;
	const bool in_step = f->server == NULL || fixture_is_in_step(f);

	fixture_stop(f);
	free(f);
	return in_step ? 0 : -1;
}

static int
start(void **state, int head_ms, int body_ms, int idle_ms)
{
	struct http_fixture *f = malloc(sizeof(*f));
	struct http_server_config config;

	fixture_config(&config);
	config.head_timeout_ms = head_ms;
	config.body_timeout_ms = body_ms;
	config.idle_timeout_ms = idle_ms;
	config.linger_timeout_ms = 50;
	fixture_start(f, &config);
	*state = f;
	return 0;
}

#define LONG_MS 100000

static int
setup_hasty_heads(void **state)
{
	return start(state, 100, LONG_MS, LONG_MS);
}

static int
setup_hasty_bodies(void **state)
{
	return start(state, LONG_MS, 100, LONG_MS);
}

static int
setup_hasty_idlers(void **state)
{
	return start(state, LONG_MS, LONG_MS, 100);
}

static int
setup_hasty_all(void **state)
{
	return start(state, 100, 100, 100);
}

#define REFUSED(name, text, status) { name, text, sizeof(text) - 1, status }

static const struct {
	const char *name;
	const char *text;
	size_t len;
	int status;
} refused[] = {
	REFUSED("HEAD with a body", "HEAD /echo HTTP/1.1\r\n" HOST
	    "Content-Length: 40\r\n\r\n" GET, 400),
	REFUSED("GET with a body", "GET /echo HTTP/1.1\r\n" HOST
	    "Content-Length: 3\r\n\r\nabc", 400),
	REFUSED("two lengths", POST "Content-Length: 3\r\n"
	    "Content-Length: 4\r\n\r\nabcd", 400),
	REFUSED("space before the colon", POST "Content-Length : 3\r\n\r\n"
	    "abc", 400),
	REFUSED("xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n"
	    "0\r\n\r\n", 400),
	REFUSED("length and chunked", POST "Content-Length: 5\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
	REFUSED("chunk size 0x3", POST "Transfer-Encoding: chunked\r\n\r\n"
	    "0x3\r\nabc\r\n0\r\n\r\n", 400),
	REFUSED("chunk size +3", POST "Transfer-Encoding: chunked\r\n\r\n"
	    "+3\r\nabc\r\n0\r\n\r\n", 400),
	REFUSED("chunk extension", POST "Transfer-Encoding: chunked\r\n\r\n"
	    "3;a\r\nabc\r\n0\r\n\r\n", 400),
	REFUSED("chunk without an end", POST
	    "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", 400),
	REFUSED("NUL", "GET /echo HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n", 400),
	REFUSED("obs-fold", "GET /echo HTTP/1.1\r\n" HOST
	    "X: a\r\n b\r\n\r\n", 400),
	REFUSED("bare LF", "GET /echo HTTP/1.1\nHost: a\n\n", 400),
	REFUSED("two Hosts", "GET /echo HTTP/1.1\r\n" HOST HOST "\r\n", 400),
	REFUSED("no Host", "GET /echo HTTP/1.1\r\n\r\n", 400),
	REFUSED("no colon", "GET /echo HTTP/1.1\r\n" HOST "nonsense\r\n\r\n",
	    400),
	REFUSED("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
	REFUSED("unknown method", "BREW /echo HTTP/1.1\r\n" HOST "\r\n", 405),
	REFUSED("expectation", POST "Expect: wonders\r\n\r\n", 417),
	REFUSED("dot segments", "GET /a/../echo HTTP/1.1\r\n" HOST "\r\n",
	    400),
	REFUSED("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	    400),
};

/* The answer is ours, whole, and the last; no handler has seen a thing. */
static void
assert_refused(const struct http_peer *peer, const char *name, int status)
{
	const char *code = status == 405 ? "\"code\":\"METHOD_NOT_ALLOWED\"" :
	    "\"code\":\"INVALID_PARAMETER\"";

	if (strtol(peer->data + 9, NULL, 10) != status || !peer->closed ||
	    peer_answer(peer, 1) != NULL ||
	    strstr(peer->data, "Connection: close\r\n") == NULL ||
	    strstr(peer->data, "X-Request-Id: ") == NULL ||
	    strstr(peer->data, "Server: kaphila\r\n") == NULL)
		fail_msg("%s: '%s'", name, peer->data);
	if (strncmp(name, "HEAD", 4) == 0) {
		assert_string_equal(strstr(peer->data, "\r\n\r\n"),
		    "\r\n\r\n"); /* no body in an answer to HEAD */
		return;
	}
	if (strstr(peer->data, "{\"success\":false,\"error\":\"") == NULL ||
	    strstr(peer->data, code) == NULL ||
	    (status == 405 && strstr(peer->data, "Allow: GET,") == NULL))
		fail_msg("%s: '%s'", name, peer->data);
}

static void
test_refused_forms(void **state)
{
	struct http_fixture *f = *state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct http_peer peer;

		peer_connect(&peer, f);
		peer_send_bytes(&peer, refused[i].text, refused[i].len);
		if (strchr(refused[i].text, '\n') == NULL)
			peer_send(&peer, "\n"); /* the TLS hello */
		RUN_UNTIL(f->base, peer_is_done(&peer));
		assert_refused(&peer, refused[i].name, refused[i].status);
		peer_close(&peer);
	}
	assert_int_equal(f->handled, 0);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

/* The same a byte at a time, each in a turn of the loop of its own. */
static void
test_refused_forms_byte_by_byte(void **state)
{
	struct http_fixture *f = *state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct http_peer peer;

		peer_connect(&peer, f);
		for (size_t at = 0; at < refused[i].len &&
		    !peer_is_done(&peer); at++) {
			if (send(peer.fd, refused[i].text + at, 1,
			        MSG_NOSIGNAL) != 1)
				break;
			loop_run_once(f->base);
		}
		if (strchr(refused[i].text, '\n') == NULL)
			peer_send(&peer, "\n");
		RUN_UNTIL(f->base, peer_is_done(&peer));
		assert_refused(&peer, refused[i].name, refused[i].status);
		peer_close(&peer);
	}
	assert_int_equal(f->handled, 0);
}

static void
test_head_too_large(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	char text[8192];

	memset(text, 'a', sizeof(text));
	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\nX: ");
	peer_send_bytes(&peer, text, sizeof(text));
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_refused(&peer, "large head", 431);
	peer_close(&peer);
}

static void
test_too_many_headers(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST);
	for (int i = 0; i < 32; i++)
		peer_send(&peer, "X: a\r\n");
	peer_send(&peer, "\r\n");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_refused(&peer, "33 headers", 431);
	peer_close(&peer);
}

static void
test_keep_alive_and_close(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	for (unsigned i = 0; i < 5; i++) {
		peer_send(&peer, GET);
		RUN_UNTIL(f->base, peer_status(&peer, i) != 0);
		assert_int_equal(peer_status(&peer, i), 200);
	}
	assert_false(peer_is_done(&peer));
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST
	    "Connection: TE,\tclose\r\n\r\n");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 5), 200);
	assert_non_null(strstr(peer_answer(&peer, 5),
	    "Connection: close\r\n"));
	assert_true(peer.closed);
	peer_close(&peer);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

static void
test_http10(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.0\r\n"
	    "Connection: keep-alive\r\n\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	assert_non_null(strstr(peer.data, "Connection: keep-alive\r\n"));
	peer_send(&peer, "GET /echo HTTP/1.0\r\n\r\n");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 1), 200);
	assert_true(peer.closed);
	peer_close(&peer);
}

/* Many requests in one packet: each answered once, in order. */
static void
test_pipelining(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	char text[128];

	peer_connect(&peer, f);
	for (int i = 0; i < 200; i++) {
		(void)snprintf(text, sizeof(text),
		    "GET /echo/%d HTTP/1.1\r\n" HOST "\r\n", i);
		peer_send(&peer, text);
		peer_send(&peer, POST "Content-Length: 3\r\n\r\nabc");
		peer_send(&peer, POST "Transfer-Encoding: chunked\r\n\r\n"
		    "2\r\nde\r\n0\r\n\r\n");
	}
	RUN_UNTIL(f->base, peer_status(&peer, 599) != 0);
	assert_int_equal(f->handled, 600);
	for (unsigned i = 0; i < 200; i += 37) {
		(void)snprintf(text, sizeof(text), "\"name\":\"%u\"}", i);
		assert_non_null(strstr(peer_answer(&peer, i * 3), text));
		assert_memory_equal(strstr(peer_answer(&peer, i * 3 + 1),
		    "\"body\":"), "\"body\":\"abc\"", 12);
		assert_memory_equal(strstr(peer_answer(&peer, i * 3 + 2),
		    "\"body\":"), "\"body\":\"de\"", 11);
	}
	peer_close(&peer);
}

/* A good request, then a bad one: the first has its answer all the same. */
static void
test_good_then_bad(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, GET "nonsense\r\n\r\n" GET);
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 200);
	assert_int_equal(peer_status(&peer, 1), 400);
	assert_null(peer_answer(&peer, 2));
	assert_true(peer.closed);
	assert_int_equal(f->handled, 1);
	peer_close(&peer);
}

/* What is told of a refused request is not the one's before. */
static void
test_refusal_forgets_the_request_before(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	const char *refusal;

	peer_connect(&peer, f);
	peer_send(&peer, "HEAD /echo/x HTTP/1.1\r\n" HOST
	    "X-Request-Id: first\r\n\r\n");
	RUN_UNTIL(f->base, peer.len > 0);
	peer_send(&peer, "GET /echo HTTP/1.1\nHost: a\n\n");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	refusal = strstr(peer.data, "HTTP/1.1 400 ");
	assert_non_null(refusal);
	assert_null(strstr(refusal, "first"));
	assert_non_null(strstr(refusal, "\"code\":\"INVALID_PARAMETER\"}"));
	peer_close(&peer);
}

/*
 * Whoever sends ahead without end is read no further than he is answered:
 * our socket stays full of what we don't want yet.
 */
static void
test_read_ahead_is_bounded(void **state)
{
	struct http_fixture *f = *state;
	static char flood[64 * 1024];
	struct http_peer peer;
	size_t sent = 0;
	int idle = 0;

	for (size_t i = 0; i + 38 < sizeof(flood); i += 38)
		memcpy(flood + i, "GET /late HTTP/1.1\r\n" HOST "X: abcd\r\n"
		    "\r\n", 38);
	peer_connect(&peer, f);
	peer_send(&peer, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, f->late != NULL);
	while (idle < 100) {
		const ssize_t n = send(peer.fd, flood, sizeof(flood),
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		loop_run_once(f->base);
		if (n > 0)
			sent += (size_t)n;
		else
			idle++;
		/* more than any socket buffers of this machine hold */
		assert_true(sent < 256U * 1024 * 1024);
	}
	assert_int_equal(f->handled, 1);
	http_reply_error(f->late, 500, "INTERNAL_ERROR", "enough");
	peer_close(&peer);
	f->late = NULL;
	RUN_UNTIL(f->base, fixture_live(f) == 0 || f->late != NULL);
	while (f->late != NULL) {
		struct http_request *req = f->late;

		f->late = NULL;
		http_reply_error(req, 500, "INTERNAL_ERROR", "enough");
		RUN_UNTIL(f->base, fixture_live(f) == 0 || f->late != NULL);
	}
}

static void
test_bodies_in_pieces(void **state)
{
	static const char *const texts[] = {
		POST "Content-Length: 11\r\n\r\nhello world",
		POST "Transfer-Encoding: chunked\r\n\r\n"
		    "5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n",
		"PUT /echo HTTP/1.1\r\n" HOST "Content-Length:\t11\r\n\r\n"
		    "hello world",
		"DELETE /echo HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n"
		    "hello world",
		"PATCH /echo HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n"
		    "hello world",
	};
	struct http_fixture *f = *state;

	for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
		for (size_t piece = 1; piece < 90; piece += 7) {
			const size_t len = strlen(texts[t]);
			struct http_peer peer;

			peer_connect(&peer, f);
			for (size_t at = 0; at < len; at += piece) {
				peer_send_bytes(&peer, texts[t] + at,
				    len - at < piece ? len - at : piece);
				loop_run_once(f->base);
			}
			RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
			assert_int_equal(peer_status(&peer, 0), 200);
			assert_string_equal(f->last_body, "hello world");
			peer_close(&peer);
		}
	}
}

/* Ask to send a large body, and be told to. */
static void
begin_large_body(struct http_fixture *f, struct http_peer *peer)
{
	peer_connect(peer, f);
	peer_send(peer, "POST /large HTTP/1.1\r\n" HOST
	    "Expect: 100-continue\r\nContent-Length: 10000\r\n\r\n");
	RUN_UNTIL(f->base, peer_status(peer, 0) == 100);
}

static void
assert_one_too_many(struct http_fixture *f, const char *request)
{
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, request);
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 503);
	assert_non_null(strstr(peer.data, "\r\nRetry-After: "));
	assert_non_null(strstr(peer.data, "\"code\":\"OVERLOADED\"}"));
	peer_close(&peer);
}

static void
assert_served(struct http_fixture *f, const char *request)
{
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, request);
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	assert_int_equal(peer_status(&peer, 0), 200);
	peer_close(&peer);
}

/*
 * Only so many connections may have a large body on its way or unanswered,
 * however they frame it; small ones are served all the same.
 */
static void
test_large_bodies_are_few(void **state)
{
	static const char chunked[] = "POST /large HTTP/1.1\r\n" HOST
	    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
	static char body[10001];
	struct http_fixture *f = *state;
	struct http_peer peers[GATE_LARGE_BODIES_MAX];

	memset(body, 'x', sizeof(body) - 1);
	for (unsigned i = 0; i < GATE_LARGE_BODIES_MAX; i++)
		begin_large_body(f, &peers[i]);
	assert_one_too_many(f, "POST /large HTTP/1.1\r\n" HOST
	    "Content-Length: 8193\r\n\r\n");
	assert_one_too_many(f, chunked);
	assert_served(f, "POST /large HTTP/1.1\r\n" HOST
	    "Content-Length: 3\r\n\r\nabc");
	assert_served(f, POST "Transfer-Encoding: chunked\r\n\r\n"
	    "3\r\nabc\r\n0\r\n\r\n");
	/* one is answered, and its connection stays */
	peer_send(&peers[0], body);
	RUN_UNTIL(f->base, peer_status(&peers[0], 1) != 0);
	assert_int_equal(peer_status(&peers[0], 1), 200);
	assert_served(f, chunked);
	peer_send(&peers[0], "POST /large HTTP/1.1\r\n" HOST
	    "Content-Length: 10000\r\n\r\n");
	peer_send(&peers[0], body);
	RUN_UNTIL(f->base, peer_status(&peers[0], 2) != 0);
	assert_int_equal(peer_status(&peers[0], 2), 200);
	/* those that are never sent count no longer than they are there */
	for (unsigned i = 0; i < GATE_LARGE_BODIES_MAX; i++)
		peer_close(&peers[i]);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
	for (unsigned i = 0; i < GATE_LARGE_BODIES_MAX; i++)
		begin_large_body(f, &peers[i]);
	assert_one_too_many(f, chunked);
	for (unsigned i = 0; i < GATE_LARGE_BODIES_MAX; i++)
		peer_close(&peers[i]);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

static void
test_expect_continue(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	for (unsigned i = 0; i < 3; i++) {
		peer_send(&peer, POST "Content-Length: 3\r\n"
		    "Expect:\t100-continue\r\n\r\n");
		RUN_UNTIL(f->base, peer_status(&peer, i * 4) != 0);
		assert_int_equal(peer_status(&peer, i * 4), 100);
		peer_send(&peer, "abc");
		RUN_UNTIL(f->base, peer_status(&peer, i * 4 + 1) != 0);
		assert_int_equal(peer_status(&peer, i * 4 + 1), 200);
		assert_string_equal(f->last_body, "abc");
		peer_send(&peer, POST "Transfer-Encoding: chunked\r\n"
		    "Expect: 100-continue\r\n\r\n");
		RUN_UNTIL(f->base, peer_status(&peer, i * 4 + 2) != 0);
		assert_int_equal(peer_status(&peer, i * 4 + 2), 100);
		peer_send(&peer, "2\r\nde\r\n0\r\n\r\n");
		RUN_UNTIL(f->base, peer_status(&peer, i * 4 + 3) != 0);
		assert_int_equal(peer_status(&peer, i * 4 + 3), 200);
		assert_string_equal(f->last_body, "de");
	}
	peer_close(&peer);
}

/* With the body there already, or none at all, there is nothing to say. */
static void
test_expect_without_need(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, POST "Content-Length: 3\r\n"
	    "Expect: 100-continue\r\n\r\na");
	RUN_UNTIL(f->base, fixture_live(f) == 1);
	loop_run_once(f->base);
	peer_send(&peer, "bc");
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST
	    "Expect: 100-continue\r\n\r\n");
	peer_send(&peer, "POST /echo HTTP/1.0\r\nContent-Length: 3\r\n"
	    "Expect: 100-continue\r\n\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 1) != 0);
	peer_send(&peer, "abc");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 200);
	assert_int_equal(peer_status(&peer, 1), 200);
	assert_int_equal(peer_status(&peer, 2), 200);
	assert_null(strstr(peer.data, " 100 "));
	peer_close(&peer);
}

/* A body over its limit: routed and answered without it, then the end. */
static void
test_body_too_large(void **state)
{
	static const struct {
		const char *head;
		const char *status;
	} rows[] = {
		{ "POST /json HTTP/1.1\r\n" HOST
		    "Content-Length: 1000000\r\n\r\n", "413" },
		{ "POST /denied HTTP/1.1\r\n" HOST
		    "Content-Length: 1000000\r\n\r\n", "401" },
		{ "POST /nowhere HTTP/1.1\r\n" HOST
		    "Content-Length: 1000000\r\n\r\n", "404" },
		{ "POST /json HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n"
		    "Content-Length: 1000000\r\n\r\n", "413" },
		{ "POST /json HTTP/1.1\r\n" HOST
		    "Content-Length: 999999999999999999\r\n\r\n", "413" },
		{ "POST /json HTTP/1.1\r\n" HOST
		    "Transfer-Encoding: chunked\r\n\r\nf0000\r\n", "413" },
	};
	struct http_fixture *f = *state;
	static char body[100000];

	memset(body, 'x', sizeof(body));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_peer peer;

		peer_connect(&peer, f);
		peer_send(&peer, rows[i].head);
		/* all of it, before a look at the answer */
		for (int n = 0; n < 10; n++) {
			size_t at = 0;

			while (at < sizeof(body)) {
				const ssize_t k = send(peer.fd, body + at,
				    sizeof(body) - at,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

				loop_run_once(f->base);
				if (k > 0)
					at += (size_t)k;
				else
					assert_int_equal(errno, EAGAIN);
			}
		}
		RUN_UNTIL(f->base, peer_is_done(&peer));
		assert_true(peer.closed);
		assert_memory_equal(peer.data + 9, rows[i].status, 3);
		assert_non_null(strstr(peer.data, "Connection: close\r\n"));
		assert_null(peer_answer(&peer, 1));
		peer_close(&peer);
	}
}

/* A route's own limit holds for it, and for it alone. */
static void
test_body_limit_of_a_route(void **state)
{
	struct http_fixture *f = *state;
	static char body[300001];
	struct http_peer peer;
	char head[128];

	memset(body, 'x', sizeof(body));
	for (size_t len = 299999; len <= 300001; len++) {
		peer_connect(&peer, f);
		(void)snprintf(head, sizeof(head), "POST /large HTTP/1.1\r\n"
		    HOST "Content-Length: %zu\r\n\r\n", len);
		peer_send(&peer, head);
		for (size_t at = 0; at < len;) {
			const ssize_t k = send(peer.fd, body + at, len - at,
			    MSG_NOSIGNAL | MSG_DONTWAIT);

			loop_run_once(f->base);
			at += k > 0 ? (size_t)k : 0;
		}
		RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
		assert_int_equal(peer_status(&peer, 0), 200);
		assert_int_equal(f->last_body_len, len <= 300000 ? len : 0);
		peer_close(&peer);
	}
}

static void
test_slow_head_is_refused(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\nX: ");
	/* a byte now and then keeps nothing alive */
	while (!peer_is_done(&peer)) {
		if (send(peer.fd, "a", 1, MSG_NOSIGNAL) != 1)
			break;
		(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	RUN_UNTIL(f->base, peer_is_done(&peer));
	if (peer_status(&peer, 0) != 431) /* a fast machine gets that far */
		assert_refused(&peer, "slow head", 408);
	peer_close(&peer);

	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_refused(&peer, "stalled head", 408);
	peer_close(&peer);
}

static void
test_slow_head_of_a_second_request(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, GET "GET ");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 200);
	assert_int_equal(peer_status(&peer, 1), 408);
	peer_close(&peer);
}

static void
test_slow_bodies_are_refused(void **state)
{
	static const char *const texts[] = {
		POST "Content-Length: 5\r\n\r\nabc",
		POST "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
		POST "Transfer-Encoding: chunked\r\n\r\n",
	};
	struct http_fixture *f = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct http_peer peer;

		peer_connect(&peer, f);
		peer_send(&peer, texts[i]);
		RUN_UNTIL(f->base, peer_is_done(&peer));
		assert_refused(&peer, "slow body", 408);
		peer_close(&peer);
	}
	assert_int_equal(f->handled, 0);
}

static void
test_silent_connections_are_closed(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer.len, 0);
	assert_true(peer.closed);
	peer_close(&peer);
}

static void
test_idle_connections_are_closed(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, GET);
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 200);
	assert_null(peer_answer(&peer, 1));
	assert_true(peer.closed);
	peer_close(&peer);
}

/* A handler may take as long as it likes: no deadline is its client's. */
static void
test_late_answer_outlives_the_deadlines(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer, clock;

	peer_connect(&peer, f);
	peer_send(&peer, "POST /late HTTP/1.1\r\n" HOST
	    "Content-Length: 3\r\n\r\nabc");
	RUN_UNTIL(f->base, f->late != NULL);
	for (int i = 0; i < 3; i++) {
		peer_connect(&clock, f);
		RUN_UNTIL(f->base, peer_is_done(&clock)); /* 100 ms */
		peer_close(&clock);
	}
	assert_false(peer_is_done(&peer));
	http_reply_text(f->late, 200, "text/plain", "at last", 7);
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	assert_int_equal(peer_status(&peer, 0), 200);
	peer_close(&peer);
}

/* One who asks, and doesn't take what he asked for. */
static void
test_slow_reader_is_cut_off(void **state)
{
	struct http_fixture *f = *state;
	struct http_server_config config;
	struct http_server_stats stats;
	struct http_peer peer;

	fixture_stop(f);
	fixture_config(&config);
	config.answer_timeout_ms = 100;
	fixture_start(f, &config);
	peer_connect(&peer, f);
	peer_stop_reading(&peer);
	for (int i = 0; i < 200; i++) /* 12 MB of answers */
		peer_send(&peer, "GET /medium HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, f->handled > 0 && fixture_live(f) == 0);
	assert_true(f->handled < 200);
	http_server_get_stats(f->server, &stats);
	assert_int_equal(stats.timeouts, 1);
	peer_close(&peer);
}

static void
test_half_closed_client_gets_its_answers(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, GET POST "Content-Length: 3\r\n\r\nabc" GET);
	assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 200);
	assert_int_equal(peer_status(&peer, 1), 200);
	assert_int_equal(peer_status(&peer, 2), 200);
	peer_close(&peer);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

static void
close_with_reset(struct http_peer *peer)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger,
	    sizeof(linger)), 0);
	peer_close(peer);
}

/* In the middle of a request, at every byte of it. */
static void
test_client_goes_away_while_sending(void **state)
{
	static const char text[] = POST "Transfer-Encoding: chunked\r\n\r\n"
	    "5\r\nhello\r\n0\r\n\r\n";
	struct http_fixture *f = *state;

	for (size_t len = 0; len < sizeof(text); len++) {
		struct http_peer peer;

		peer_connect(&peer, f);
		peer_send_bytes(&peer, text, len);
		if (len % 2 == 0)
			loop_run_once(f->base);
		if (len % 3 == 0)
			close_with_reset(&peer);
		else
			peer_close(&peer);
	}
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

static void
test_client_goes_away_before_its_answer(void **state)
{
	struct http_fixture *f = *state;

	for (int i = 0; i < 4; i++) {
		struct http_server_stats stats;
		struct http_peer peer;
		size_t len;

		f->late = NULL;
		peer_connect(&peer, f);
		peer_send(&peer, "POST /late HTTP/1.1\r\n" HOST
		    "Content-Length: 3\r\n\r\nabc");
		RUN_UNTIL(f->base, f->late != NULL);
		if (i % 2 == 0)
			close_with_reset(&peer);
		else
			peer_close(&peer);
		loop_run_once(f->base);
		/* still there to read */
		assert_memory_equal(http_request_body(f->late, &len), "abc",
		    3);
		assert_string_equal(http_request_header(f->late, "host"),
		    "a");
		http_reply_text(f->late, 200, "text/plain", "x", 1);
		RUN_UNTIL(f->base, fixture_live(f) == 0);
		http_server_get_stats(f->server, &stats);
		assert_int_equal(stats.requests, i + 1);
	}
}

static void
test_client_goes_away_while_reading(void **state)
{
	struct http_fixture *f = *state;

	for (int i = 0; i < 4; i++) {
		struct http_peer peer;

		peer_connect(&peer, f);
		peer_send(&peer, "GET /long HTTP/1.1\r\n" HOST "\r\n");
		RUN_UNTIL(f->base, peer.len > 1000);
		if (i % 2 == 0)
			close_with_reset(&peer);
		else
			peer_close(&peer);
		RUN_UNTIL(f->base, fixture_live(f) == 0);
	}
}

static void
test_long_answer(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	const char *body;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /long HTTP/1.1\r\n" HOST "\r\n" GET);
	RUN_UNTIL(f->base, peer_status(&peer, 1) != 0);
	body = strstr(peer.data, "\r\n\r\n") + 4;
	assert_int_equal(strspn(body, "x"), FIXTURE_LONG_BYTES);
	assert_int_equal(peer_status(&peer, 1), 200);
	peer_close(&peer);
}

/* The server goes while requests are under way. */
static void
test_server_freed_under_way(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer late, half, fresh, refused_peer;
	size_t len;

	peer_connect(&late, f);
	peer_send(&late, "POST /late HTTP/1.1\r\n" HOST
	    "Content-Length: 3\r\n\r\nabc");
	peer_connect(&half, f);
	peer_send(&half, POST "Content-Length: 3\r\n\r\na");
	peer_connect(&refused_peer, f);
	peer_send(&refused_peer, "nonsense\r\n\r\n");
	RUN_UNTIL(f->base, f->late != NULL && peer_status(&refused_peer, 0));
	peer_connect(&fresh, f);
	loop_run_once(f->base);
	http_server_free(&f->server);
	assert_memory_equal(http_request_body(f->late, &len), "abc", 3);
	http_reply_text(f->late, 200, "text/plain", "x", 1);
	RUN_UNTIL(f->base, peer_is_done(&late) && peer_is_done(&half) &&
	    peer_is_done(&fresh) && peer_is_done(&refused_peer));
	assert_int_equal(late.len, 0);
	peer_close(&late);
	peer_close(&half);
	peer_close(&fresh);
	peer_close(&refused_peer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define HASTY(name, what) \
	cmocka_unit_test_setup_teardown(name, setup_hasty_##what, teardown)
		TEST(test_refused_forms),
		TEST(test_refused_forms_byte_by_byte),
		TEST(test_head_too_large),
		TEST(test_too_many_headers),
		TEST(test_keep_alive_and_close),
		TEST(test_http10),
		TEST(test_pipelining),
		TEST(test_good_then_bad),
		TEST(test_refusal_forgets_the_request_before),
		TEST(test_read_ahead_is_bounded),
		TEST(test_bodies_in_pieces),
		TEST(test_large_bodies_are_few),
		TEST(test_expect_continue),
		TEST(test_expect_without_need),
		TEST(test_body_too_large),
		TEST(test_body_limit_of_a_route),
		HASTY(test_slow_head_is_refused, heads),
		HASTY(test_slow_head_of_a_second_request, heads),
		HASTY(test_silent_connections_are_closed, heads),
		HASTY(test_slow_bodies_are_refused, bodies),
		HASTY(test_idle_connections_are_closed, idlers),
		HASTY(test_late_answer_outlives_the_deadlines, all),
		TEST(test_slow_reader_is_cut_off),
		TEST(test_half_closed_client_gets_its_answers),
		TEST(test_client_goes_away_while_sending),
		TEST(test_client_goes_away_before_its_answer),
		TEST(test_client_goes_away_while_reading),
		TEST(test_long_answer),
		TEST(test_server_freed_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
