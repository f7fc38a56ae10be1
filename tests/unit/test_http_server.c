/*
 * The server over real sockets: what every answer carries, routes, bodies,
 * listeners, running out of descriptors, leaving.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/resource.h>
#include <sys/wait.h>

#include "http_fixture.h"
#include "shared/stats.h"

#define HOST "Host: a\r\n"

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

/* Ask once on a connection of its own; the answer is in peer->data. */
static void
ask(struct http_fixture *f, struct http_peer *peer, const char *request)
{
	peer_connect(peer, f);
	peer_send(peer, request);
	/* whatever it is, the server's goodbye ends it */
	assert_int_equal(shutdown(peer->fd, SHUT_WR), 0);
	RUN_UNTIL(f->base, peer_is_done(peer));
	assert_true(peer->closed);
}

static void
test_every_answer(void **state)
{
	static const struct {
		const char *request;
		const char *status;
		const char *body; /* NULL: none */
	} rows[] = {
		{ "GET /busy HTTP/1.1\r\n" HOST "\r\n", "503",
		    "{\"success\":false,\"error\":\"Going away\","
		    "\"code\":\"DRAINING\"}" },
		{ "GET /nowhere HTTP/1.1\r\n" HOST "\r\n", "404",
		    "{\"success\":false,\"error\":\"Not found\","
		    "\"code\":\"NOT_FOUND\"}" },
		{ "HEAD /nowhere HTTP/1.1\r\n" HOST "\r\n", "404", NULL },
		{ "OPTIONS /nowhere HTTP/1.1\r\n" HOST "\r\n", "404",
		    "{\"success\":false,\"error\":\"Not found\","
		    "\"code\":\"NOT_FOUND\"}" },
		{ "DELETE /json HTTP/1.1\r\n" HOST "\r\n", "405",
		    "{\"success\":false,\"error\":\"Method not allowed\","
		    "\"code\":\"METHOD_NOT_ALLOWED\"}" },
		{ "POST /json HTTP/1.1\r\n" HOST "\r\n", "200", "{}" },
		{ "POST /json HTTP/1.0\r\n\r\n", "200", "{}" },
		{ "HEAD /busy HTTP/1.1\r\n" HOST "\r\n", "503", NULL },
	};
	struct http_fixture *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_peer peer;
		const char *body;

		ask(f, &peer, rows[i].request);
		assert_memory_equal(peer.data + 9, rows[i].status, 3);
		assert_non_null(strstr(peer.data,
		    "\r\nServer: kaphila\r\n"));
		assert_non_null(strstr(peer.data, "\r\nX-Request-Id: "));
		assert_non_null(strstr(peer.data, "\r\nContent-Length: "));
		assert_non_null(strstr(peer.data, "\r\nContent-Type: "
		    "application/json; charset=utf-8\r\n"));
		body = strstr(peer.data, "\r\n\r\n") + 4;
		assert_string_equal(body,
		    rows[i].body != NULL ? rows[i].body : "");
		peer_close(&peer);
	}
}

/* Have /late asked, and left without its answer. */
static struct http_request *
ask_late(struct http_fixture *f, struct http_peer *peer)
{
	peer_connect(peer, f);
	peer_send(peer, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	f->late = NULL;
	RUN_UNTIL(f->base, f->late != NULL);
	return f->late;
}

/* One that has shut its sending side is not there for sure, and not gone. */
static void
test_who_is_there(void **state)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	struct http_fixture *f = *state;
	struct http_peer peer;
	struct http_request *req = ask_late(f, &peer);

	assert_true(http_request_has_client(req));
	assert_false(http_request_is_gone(req));
	assert_int_equal(shutdown(peer.fd, SHUT_WR), 0);
	assert_false(http_request_has_client(req));
	assert_false(http_request_is_gone(req));
	http_reply_error(req, 503, "DRAINING", "late");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 503);
	peer_close(&peer);

	req = ask_late(f, &peer);
	assert_int_equal(setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &linger,
	    sizeof(linger)), 0);
	peer_close(&peer);
	for (unsigned i = 0; i < 2; i++) {
		assert_false(http_request_has_client(req));
		assert_true(http_request_is_gone(req));
	}
	http_reply_error(req, 503, "DRAINING", "late");
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

static void
test_extra_headers(void **state)
{
	static const struct {
		const char *request;
		const char *header;
	} rows[] = {
		{ "GET /busy HTTP/1.1\r\n" HOST "\r\n", "Retry-After: 1" },
		{ "DELETE /json HTTP/1.1\r\n" HOST "\r\n",
		    "Allow: POST, OPTIONS" },
		{ "OPTIONS /json HTTP/1.1\r\n" HOST "\r\n",
		    "Allow: POST, OPTIONS" },
		{ "OPTIONS /echo HTTP/1.1\r\n" HOST "\r\n",
		    "Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS" },
		{ "POST /json HTTP/1.1\r\n" HOST "X-Request-Id: mine-1\r\n"
		    "\r\n", "X-Request-Id: mine-1" },
		{ "nonsense\r\n" HOST "X-Request-Id: mine-1\r\n\r\n",
		    "X-Request-Id: 0" /* its line is never reached */ },
		{ "GET /json HTTP/1.1\r\nX-Request-Id: mine-2\r\n\r\n",
		    "X-Request-Id: mine-2" /* refused, but read so far */ },
	};
	struct http_fixture *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_peer peer;
		char line[128];

		ask(f, &peer, rows[i].request);
		(void)snprintf(line, sizeof(line), "\r\n%s\r\n",
		    rows[i].header);
		if (strcmp(rows[i].header, "X-Request-Id: 0") == 0)
			assert_null(strstr(peer.data, "mine-1"));
		else if (strstr(peer.data, line) == NULL)
			fail_msg("%s: %s", rows[i].request, peer.data);
		peer_close(&peer);
	}
}

static void
test_options_has_no_body(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "OPTIONS /json HTTP/1.1\r\n" HOST "\r\n"
	    "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 1) != 0);
	assert_int_equal(peer_status(&peer, 0), 204);
	assert_true(strstr(peer.data, "Content-Length") >
	    strstr(peer.data, "\r\n\r\n"));
	assert_int_equal(peer_status(&peer, 1), 200);
	peer_close(&peer);
}

/* The same length as GET would have, and not a byte of body. */
static void
test_head_has_the_length_of_get(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	ask(f, &peer, "HEAD /long HTTP/1.1\r\n" HOST "\r\n"
	    "HEAD /medium HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(peer.data, "Content-Length: 8388608\r\n"));
	assert_non_null(strstr(peer.data, "Content-Length: 60000\r\n"));
	assert_null(strstr(peer.data, "xxx"));
	assert_int_equal(f->handled, 2);
	peer_close(&peer);
}

static void
test_request_ids_differ(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	const char *first, *second;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n"
	    "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 1) != 0);
	first = strstr(peer_answer(&peer, 0), "X-Request-Id: ");
	second = strstr(peer_answer(&peer, 1), "X-Request-Id: ");
	assert_memory_not_equal(first, second, 14 + 18);
	peer_close(&peer);
}

static void
test_what_a_handler_reads(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	ask(f, &peer, "GET /echo/a%20b?c=%2Fd HTTP/1.1\r\n" HOST "\r\n");
	assert_non_null(strstr(peer.data, "{\"method\":\"GET\","
	    "\"path\":\"/echo/a%20b\",\"query\":\"c=%2Fd\","
	    "\"client\":\"127.0.0.1\",\"body\":\"\",\"length\":0,"
	    "\"name\":\"a b\"}"));
	peer_close(&peer);
}

static void
test_json_bodies(void **state)
{
	static const struct {
		const char *type; /* NULL: none */
		const char *body;
		const char *status;
		const char *answer; /* begins so */
	} rows[] = {
		{ "application/json", "{\"a\":1}", "200", "{\"a\":1}" },
		{ "application/json", "", "200", "{}" },
		{ "text/plain", "", "200", "{}" },
		{ NULL, "{\"a\":1}", "200", "{\"a\":1}" },
		{ "application/json; charset=utf-8", "{}", "200", "{}" },
		{ "Application/JSON;x=y", "{}", "200", "{}" },
		{ "application/json ;x=y", "{}", "200", "{}" },
		{ "application/jsonx", "{}", "415", "{\"success\":false,"
		    "\"error\":\"Content-Type must be application/json\","
		    "\"code\":\"UNSUPPORTED_MEDIA_TYPE\"}" },
		{ "application/x-www-form-urlencoded", "a=1", "415", "{" },
		{ "application/vnd.api+json", "{}", "415", "{" },
		{ "text/json", "{}", "415", "{" },
		{ "application/json", "{\"a\":1,\"a\":2}", "400",
		    "{\"success\":false,\"error\":\"Invalid JSON: duplicate "
		    "key at byte 7\",\"code\":\"INVALID_JSON\"}" },
		{ "application/json", "[]", "400", "{\"success\":false,"
		    "\"error\":\"Invalid JSON: the body must be an object\","
		    "\"code\":\"INVALID_JSON\"}" },
		{ "application/json", "null", "400", "{" },
		{ "application/json", "hello", "400", "{" },
		{ "application/json", " ", "400", "{" },
		{ "application/json", "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]",
		    "400", "{\"success\":false,\"error\":\"Invalid JSON: "
		    "nested too deeply at byte 16\"" },
	};
	struct http_fixture *f = *state;
	char request[512];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_peer peer;
		const char *body;

		(void)snprintf(request, sizeof(request),
		    "POST /json HTTP/1.1\r\n" HOST "%s%s%s"
		    "Content-Length: %zu\r\n\r\n%s",
		    rows[i].type != NULL ? "Content-Type: " : "",
		    rows[i].type != NULL ? rows[i].type : "",
		    rows[i].type != NULL ? "\r\n" : "",
		    strlen(rows[i].body), rows[i].body);
		ask(f, &peer, request);
		body = strstr(peer.data, "\r\n\r\n") + 4;
		if (memcmp(peer.data + 9, rows[i].status, 3) != 0 ||
		    strncmp(body, rows[i].answer,
		        strlen(rows[i].answer)) != 0)
			fail_msg("%s: %s", rows[i].body, peer.data);
		peer_close(&peer);
	}
}

static unsigned frees;

static void
count_free(void *user)
{
	assert_string_equal(user, "mine");
	frees++;
}

static void
test_user_is_freed_once(void **state)
{
	struct http_fixture *f = *state;
	static char mine[] = "mine";
	struct http_peer peer;

	frees = 0;
	peer_connect(&peer, f);
	peer_send(&peer, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, f->late != NULL);
	http_request_set_user(f->late, mine, count_free);
	assert_ptr_equal(http_request_user(f->late), mine);
	http_request_set_user(f->late, mine, count_free);
	assert_int_equal(frees, 1);
	http_reply_empty(f->late, 204);
	assert_int_equal(frees, 2);
	peer_close(&peer);
}

/* Nothing that a handler was given can break out of a header. */
static void
test_headers_are_clean(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, f->late != NULL);
	http_reply_add_header(f->late, "A", "b\r\nEvil: 1");
	http_reply_add_header(f->late, "A", "b\r\n Evil: 2");
	http_reply_add_header(f->late, "A\r\nEvil", "3");
	http_reply_add_header(f->late, "Good", "b");
	http_reply_text(f->late, 200, "text/plain", "x", 1);
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	assert_null(strstr(peer.data, "Evil"));
	assert_non_null(strstr(peer.data, "\r\nGood: b\r\n"));
	peer_close(&peer);
}

static uint64_t
counted(enum stats_counter counter)
{
	return atomic_load(&stats_row()->counters[counter]);
}

/* Requests for a route that were answered with a status; 0: any. */
static uint64_t
requests_of(unsigned route, unsigned status)
{
	const struct stats_http *http = &stats_row()->http;
	uint64_t found = 0;

	for (unsigned i = 0; i < STATS_HTTP_CELLS; i++) {
		const uint32_t key = atomic_load(&http->keys[i]);

		if (key != 0 && stats_http_key_route(key) == route &&
		    (status == 0 || stats_http_key_status(key) == status))
			found += atomic_load(&http->counts[i]);
	}
	return found;
}

static void
test_counters(void **state)
{
	struct http_fixture *f = *state;
	const unsigned echo = stats_route("/echo");
	const unsigned busy = stats_route("/busy");
	const uint64_t echoes = requests_of(echo, 200);
	const unsigned json = stats_route("/json");
	const uint64_t wrong = requests_of(json, 405);
	const uint64_t any = requests_of(json, 0);
	const uint64_t busies = requests_of(busy, 503);
	const uint64_t nowhere = requests_of(STATS_ROUTES_MAX, 404);
	const uint64_t refused = counted(STATS_http_refused);
	const uint64_t connections = counted(STATS_http_connections);
	struct http_peer peer;

	ask(f, &peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n"
	    "GET /nowhere HTTP/1.1\r\n" HOST "\r\n"
	    "GET /busy HTTP/1.1\r\n" HOST "\r\n"
	    "DELETE /json HTTP/1.1\r\n" HOST "\r\n"
	    "nonsense\r\n\r\n");
	assert_int_equal(requests_of(echo, 200), echoes + 1);
	assert_int_equal(requests_of(json, 405), wrong + 1);
	assert_int_equal(requests_of(json, 0), any + 1);
	assert_int_equal(requests_of(busy, 503), busies + 1);
	assert_int_equal(requests_of(STATS_ROUTES_MAX, 404), nowhere + 1);
	assert_int_equal(counted(STATS_http_refused), refused + 1);
	assert_int_equal(counted(STATS_http_connections), connections + 1);
	peer_close(&peer);
}

/* A client that went away while its handler worked. */
static void
test_answers_to_nobody_are_counted(void **state)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	struct http_fixture *f = *state;
	struct http_server_stats stats;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /late HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, f->late != NULL);
	assert_int_equal(setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &linger,
	    sizeof(linger)), 0);
	peer_close(&peer); /* with a reset */
	http_reply_error(f->late, 500, "INTERNAL_ERROR", "nobody hears");
	RUN_UNTIL(f->base, fixture_live(f) == 0);
	http_server_get_stats(f->server, &stats);
	assert_int_equal(stats.gone, 1);
	assert_int_equal(stats.requests, 1);
}

/* Told of an answer's way: -1 not yet, else whether it left in full. */
static void
on_sent(void *arg, bool sent)
{
	int *told = arg;

	assert_int_equal(*told, -1);
	*told = sent;
}

static void
test_sent_in_full(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	struct http_request *req = ask_late(f, &peer);
	int told = -1;

	peer_stop_reading(&peer);
	http_reply_on_sent(req, on_sent, &told);
	fixture_reply_sized(req, FIXTURE_LONG_BYTES);
	for (unsigned i = 0; i < 20; i++)
		(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(told, -1);
	peer_start_reading(&peer);
	RUN_UNTIL(f->base, told != -1);
	assert_int_equal(told, true);
	/* the next answer on the connection is nobody's */
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 1) == 200);
	peer_close(&peer);
}

static void
test_sent_to_nobody(void **state)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	struct http_fixture *f = *state;
	struct http_peer peer;
	struct http_request *req = ask_late(f, &peer);
	int told = -1;

	assert_int_equal(setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &linger,
	    sizeof(linger)), 0);
	peer_close(&peer); /* with a reset */
	http_reply_on_sent(req, on_sent, &told);
	http_reply_error(req, 503, "DRAINING", "late");
	RUN_UNTIL(f->base, told != -1);
	assert_int_equal(told, false);
}

/* Of one that was answered in part, and of one whose answer comes later. */
static void
test_sent_by_a_server_that_ends(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peers[2];
	struct http_request *reqs[2];
	int told[2] = { -1, -1 };

	for (unsigned i = 0; i < 2; i++) {
		reqs[i] = ask_late(f, &peers[i]);
		peer_stop_reading(&peers[i]);
		http_reply_on_sent(reqs[i], on_sent, &told[i]);
	}
	fixture_reply_sized(reqs[0], FIXTURE_LONG_BYTES);
	(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	http_server_free(&f->server);
	assert_int_equal(told[0], false);
	assert_int_equal(told[1], -1);
	http_reply_error(reqs[1], 503, "DRAINING", "late");
	assert_int_equal(told[1], false);
	for (unsigned i = 0; i < 2; i++)
		peer_close(&peers[i]);
}

/* ---- listeners ---- */

static void
test_more_listeners(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	uint16_t port;
	const int kept = fixture_listen(&port);

	/* as the master does: it keeps its own descriptor of the socket */
	assert_int_equal(http_server_add_listener(f->server, 3, dup(kept)),
	    0);
	peer_connect_port(&peer, f->base, port);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);

	http_server_drop_listener(f->server, 3);
	http_server_drop_listener(f->server, 3); /* as good as once */
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 1) != 0);
	peer_close(&peer);

	/* dropped, it waits in the kernel for whoever listens next */
	peer_connect_port(&peer, f->base, port);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	for (int i = 0; i < 20; i++)
		loop_run_once(f->base);
	assert_int_equal(peer.len, 0);
	assert_int_equal(http_server_add_listener(f->server, 3, kept), 0);
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	peer_close(&peer);
}

static void
test_bad_listeners(void **state)
{
	struct http_fixture *f = *state;
	uint16_t port;
	int pipe_fds[2];

	assert_int_equal(http_server_add_listener(f->server, 0,
	    fixture_listen(&port)), -KAP_EXISTS);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(http_server_add_listener(f->server, 1, pipe_fds[0]),
	    -KAP_INVAL);
	assert_int_equal(write(pipe_fds[1], "x", 1), -1); /* it was closed */
	(void)close(pipe_fds[1]);
	http_server_drain(f->server, NULL, NULL);
	assert_int_equal(http_server_add_listener(f->server, 2,
	    fixture_listen(&port)), -KAP_STATE);
}

/* More clients than allowed wait in the kernel's queue for their turn. */
static void
test_full_server_waits(void **state)
{
	struct http_fixture *f = *state;
	struct http_server_config config;
	struct http_peer peers[6];

	fixture_stop(f);
	fixture_config(&config);
	config.max_connections = 2;
	fixture_start(f, &config);
	for (size_t i = 0; i < 6; i++) {
		peer_connect(&peers[i], f);
		peer_send(&peers[i], "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	}
	for (size_t i = 0; i < 6; i += 2) {
		RUN_UNTIL(f->base, peer_status(&peers[i], 0) != 0 &&
		    peer_status(&peers[i + 1], 0) != 0);
		assert_int_equal(f->handled, i + 2);
		assert_int_equal(fixture_live(f), 2);
		peer_close(&peers[i]);
		peer_close(&peers[i + 1]);
	}
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

/* A reload: for connections and requests that begin from then on. */
static void
test_other_limits(void **state)
{
	struct http_fixture *f = *state;
	struct http_server_config config;
	struct http_peer peers[3];
	char request[200];

	fixture_stop(f);
	fixture_config(&config);
	config.max_connections = 1;
	config.idle_timeout_ms = 60000;
	fixture_start(f, &config);
	for (size_t i = 0; i < 2; i++) {
		peer_connect(&peers[i], f);
		peer_send(&peers[i], "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	}
	RUN_UNTIL(f->base, peer_status(&peers[0], 0) == 200);
	assert_int_equal(fixture_live(f), 1);
	config.max_connections = 3;
	config.max_body_bytes = 10;
	config.idle_timeout_ms = 20;
	http_server_reconfigure(f->server, &config);
	/* the one that waited is let in, and is idle for the new time */
	RUN_UNTIL(f->base, peer_status(&peers[1], 0) == 200);
	RUN_UNTIL(f->base, peer_is_done(&peers[1]));
	/* the first one's wait goes on as it began */
	assert_false(peer_is_done(&peers[0]));
	(void)snprintf(request, sizeof(request), "POST /json HTTP/1.1\r\n"
	    HOST "Content-Length: 11\r\n\r\n{\"a\":12345}");
	peer_send(&peers[0], request);
	RUN_UNTIL(f->base, peer_status(&peers[0], 1) != 0);
	assert_int_equal(peer_status(&peers[0], 1), 413);
	config.max_body_bytes = 11;
	http_server_reconfigure(f->server, &config);
	peer_connect(&peers[2], f);
	peer_send(&peers[2], request);
	RUN_UNTIL(f->base, peer_status(&peers[2], 0) != 0);
	assert_int_equal(peer_status(&peers[2], 0), 200);
	for (size_t i = 0; i < 3; i++)
		peer_close(&peers[i]);
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

/* libevent has room for 256 waits that many share; more must work, too. */
static void
test_other_times_again_and_again(void **state)
{
	struct http_fixture *f = *state;
	struct http_server_config config;
	struct http_peer peer;

	fixture_config(&config);
	for (int i = 0; i < 300; i++) {
		config.idle_timeout_ms = 100000 + i;
		http_server_reconfigure(f->server, &config);
	}
	config.idle_timeout_ms = 21;
	http_server_reconfigure(f->server, &config);
	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_is_done(&peer));
	assert_int_equal(peer_status(&peer, 0), 200);
	peer_close(&peer);
}

static void
test_flood_of_connects(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peers[120];

	for (size_t i = 0; i < 120; i++) {
		peer_connect(&peers[i], f);
		peer_send(&peers[i], "GET /echo HTTP/1.1\r\n" HOST
		    "Connection: close\r\n\r\n");
	}
	for (size_t i = 0; i < 120; i++) {
		RUN_UNTIL(f->base, peer_is_done(&peers[i]));
		assert_int_equal(peer_status(&peers[i], 0), 200);
		peer_close(&peers[i]);
	}
	RUN_UNTIL(f->base, fixture_live(f) == 0);
}

/* Take every descriptor that is left but `leave` of them. */
static void
use_up_descriptors(int *fds, size_t *count, size_t leave)
{
	int fd;

	while ((fd = dup(0)) >= 0)
		fds[(*count)++] = fd;
	while (leave-- > 0)
		(void)close(fds[--*count]);
}

/*
 * In a process of its own with 64 descriptors: out of them, accepting
 * pauses, what is connected goes on, and the others come in later. A server
 * that spins would turn the loop without end.
 */
static int
run_out_of_descriptors(void)
{
	const struct rlimit limit = { 64, 64 };
	const struct timeval second = { .tv_sec = 1 };
	struct http_server_stats stats;
	struct http_fixture f;
	struct http_peer in, out;
	int fds[64];
	size_t count = 0;

	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1;
	fixture_start(&f, NULL);
	peer_connect(&in, &f);
	peer_send(&in, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f.base, peer_status(&in, 0) != 0);
	use_up_descriptors(fds, &count, 1);
	peer_connect(&out, &f); /* takes the last one */
	peer_send(&out, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	(void)event_base_loopexit(f.base, &second);
	(void)event_base_dispatch(f.base);
	http_server_get_stats(f.server, &stats);
	if (stats.accept_failures == 0 || stats.accept_failures > 20 ||
	    peer_status(&out, 0) != 0)
		return 2;
	peer_send(&in, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f.base, peer_status(&in, 1) != 0);
	peer_close(&in); /* whose descriptor, ours and his, are free now */
	RUN_UNTIL(f.base, peer_status(&out, 0) != 0);
	peer_close(&out);
	while (count > 0)
		(void)close(fds[--count]);
	fixture_stop(&f);
	return 0;
}

static void
test_out_of_descriptors(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(run_out_of_descriptors());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- leaving ---- */

static void
count_drained(void *arg)
{
	unsigned *drained = arg;

	(*drained)++;
}

static void
test_drain_of_nothing(void **state)
{
	struct http_fixture *f = *state;
	unsigned drained = 0;

	http_server_drain(f->server, count_drained, &drained);
	assert_int_equal(drained, 0); /* never called back at once */
	RUN_UNTIL(f->base, drained > 0);
	assert_int_equal(drained, 1);
}

/* Idle ones are closed, the others answered, and nobody else let in. */
static void
test_drain(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer idle, late, half, sent;
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(f->port) };
	unsigned drained = 0;
	int fd;

	peer_connect(&idle, f);
	peer_send(&idle, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	peer_connect(&sent, f);
	peer_send(&sent, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	peer_connect(&half, f);
	peer_send(&half, "POST /echo HTTP/1.1\r\n" HOST
	    "Content-Length: 3\r\n\r\na");
	peer_connect(&late, f);
	peer_send(&late, "GET /late HTTP/1.0\r\n"
	    "Connection: keep-alive\r\n\r\n");
	RUN_UNTIL(f->base, f->late != NULL && peer_status(&idle, 0) != 0 &&
	    peer_status(&sent, 0) != 0);

	peer_send(&sent, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	http_server_drain(f->server, count_drained, &drained);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address,
	    sizeof(address)), -1);
	(void)close(fd);
	RUN_UNTIL(f->base, idle.closed && sent.closed);
	assert_null(peer_answer(&idle, 1));
	assert_non_null(strstr(peer_answer(&sent, 1),
	    "Connection: close\r\n"));
	assert_int_equal(drained, 0);

	peer_send(&half, "bc");
	RUN_UNTIL(f->base, half.closed);
	assert_int_equal(peer_status(&half, 0), 200);
	assert_non_null(strstr(half.data, "Connection: close\r\n"));
	http_reply_text(f->late, 200, "text/plain", "x", 1);
	RUN_UNTIL(f->base, late.closed);
	assert_int_equal(peer_status(&late, 0), 200);
	assert_null(strstr(late.data, "keep-alive"));
	peer_close(&idle);
	peer_close(&sent);
	peer_close(&half);
	peer_close(&late);
	RUN_UNTIL(f->base, drained > 0);
	assert_int_equal(fixture_live(f), 0);
}

/* One that has connected, but not yet spoken, has a moment to do so. */
static void
test_drain_hears_the_new_ones(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer speaks, silent;
	unsigned drained = 0;

	peer_connect(&speaks, f);
	peer_connect(&silent, f);
	RUN_UNTIL(f->base, fixture_live(f) == 2);
	http_server_drain(f->server, count_drained, &drained);
	loop_run_once(f->base);
	peer_send(&speaks, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, speaks.closed && silent.closed);
	assert_int_equal(peer_status(&speaks, 0), 200);
	assert_int_equal(silent.len, 0);
	peer_close(&speaks);
	peer_close(&silent);
	RUN_UNTIL(f->base, drained == 1);
}

static void
free_fixture_server(void *arg)
{
	struct http_fixture *f = arg;

	http_server_free(&f->server);
}

static void
test_drained_may_free_the_server(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;

	peer_connect(&peer, f);
	peer_send(&peer, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	http_server_drain(f->server, free_fixture_server, f);
	RUN_UNTIL(f->base, peer_is_done(&peer));
	peer_close(&peer);
	RUN_UNTIL(f->base, f->server == NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_every_answer),
		TEST(test_who_is_there),
		TEST(test_extra_headers),
		TEST(test_options_has_no_body),
		TEST(test_head_has_the_length_of_get),
		TEST(test_request_ids_differ),
		TEST(test_what_a_handler_reads),
		TEST(test_json_bodies),
		TEST(test_user_is_freed_once),
		TEST(test_headers_are_clean),
		TEST(test_counters),
		TEST(test_answers_to_nobody_are_counted),
		TEST(test_sent_in_full),
		TEST(test_sent_to_nobody),
		TEST(test_sent_by_a_server_that_ends),
		TEST(test_more_listeners),
		TEST(test_bad_listeners),
		TEST(test_full_server_waits),
		TEST(test_other_limits),
		TEST(test_other_times_again_and_again),
		TEST(test_flood_of_connects),
		cmocka_unit_test(test_out_of_descriptors),
		TEST(test_drain_of_nothing),
		TEST(test_drain),
		TEST(test_drain_hears_the_new_ones),
		TEST(test_drained_may_free_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
