/*
 * The client against real servers on loopback: HTTP, TLS, and some that
 * misbehave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/http_sink.h"

#include <cmocka.h>
#include <event2/bufferevent_ssl.h>
#include <event2/listener.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "shared/http_client.h"

#define TIMEOUT_MS 20000
#define SHORT_MS 150
#define RESULTS_MAX 64

struct result {
	bool done;
	int rc;
	unsigned status;
	char error[256];
	char body[64]; /* cut */
	size_t body_len;
};

struct state {
	struct event_base *base;
	struct http_sink sink;
	struct http_client *client;
	struct result results[RESULTS_MAX];
	unsigned pending; /* results to come */
};

/* What finish() gets as its argument. */
struct slot {
	struct state *state;
	unsigned index;
};

static struct slot slots[RESULTS_MAX];

static void
on_finish(void *arg, const struct http_result *result)
{
	const struct slot *slot = arg;
	struct result *to = &slot->state->results[slot->index];

	assert_false(to->done);
	to->done = true;
	to->rc = result->rc;
	to->status = result->status;
	to->body_len = result->body_len;
	(void)snprintf(to->error, sizeof(to->error), "%s", result->error);
	(void)snprintf(to->body, sizeof(to->body), "%s", result->body);
	assert_int_equal(result->rc == 0, result->error[0] == '\0');
	if (--slot->state->pending == 0)
		(void)event_base_loopbreak(slot->state->base);
}

static void
on_too_late(evutil_socket_t fd, short what, void *arg)
{
	struct event_base *base = arg;

	(void)fd;
	(void)what;
	(void)event_base_loopbreak(base);
}

/* Until every result is there, or the test has surely failed. */
static void
run(struct state *state)
{
	const struct timeval limit = { .tv_sec = 30 };
	struct event *guard = event_new(state->base, -1, 0, on_too_late,
	    state->base);

	(void)event_add(guard, &limit);
	(void)event_base_dispatch(state->base);
	event_free(guard);
	assert_int_equal(state->pending, 0);
}

static struct http_request
request_to(struct state *state, unsigned index, const char *url)
{
	slots[index] = (struct slot){ state, index };
	memset(&state->results[index], 0, sizeof(state->results[index]));
	return (struct http_request){ .url = url, .timeout_ms = TIMEOUT_MS,
		.finish = on_finish, .arg = &slots[index] };
}

static void
send_request(struct state *state, const struct http_request *request)
{
	assert_int_equal(http_client_send(state->client, request, NULL), 0);
	state->pending++;
}

static void
make_url(const struct state *state, const char *path, char out[128])
{
	(void)snprintf(out, 128, "http://127.0.0.1:%u%s", state->sink.port,
	    path);
}

static void
open_client(struct state *state, const struct http_client_options *options)
{
	http_client_free(&state->client);
	state->client = http_client_new(state->base, options);
	assert_non_null(state->client);
}

static int
set_up(void **arg)
{
	const struct http_client_options options = { .concurrency = 8,
		.per_host = 4, .user_agent = "tester/1.0" };
	struct state *state = calloc(1, sizeof(*state));

	state->base = event_base_new();
	http_sink_open(&state->sink, state->base);
	open_client(state, &options);
	*arg = state;
	return 0;
}

static int
tear_down(void **arg)
{
	struct state *state = *arg;

	http_client_free(&state->client);
	http_sink_close(&state->sink);
	event_base_free(state->base);
	free(state);
	return 0;
}

static void
test_post(void **arg)
{
	static const char *const headers[] = {
		"Content-Type: application/json", "webhook-id: evt_1.2_3" };
	struct state *state = *arg;
	const struct http_sink_note *note = &state->sink.notes[0];
	struct http_request request;
	char url[128];

	make_url(state, "/hook?a=1", url);
	state->sink.answer = "fine";
	state->sink.answer_len = 4;
	request = request_to(state, 0, url);
	request.headers = headers;
	request.header_count = 2;
	request.body = "{\"a\":1}";
	request.body_len = 7;
	request.body_max_bytes = 100;
	send_request(state, &request);
	assert_int_equal(http_client_active(state->client), 1);
	run(state);
	assert_int_equal(http_client_active(state->client), 0);
	assert_int_equal(state->results[0].rc, 0);
	assert_int_equal(state->results[0].status, 200);
	assert_string_equal(state->results[0].body, "fine");
	assert_int_equal(state->results[0].body_len, 4);
	assert_int_equal(state->sink.count, 1);
	assert_string_equal(note->path, "/hook?a=1");
	assert_string_equal(note->body, "{\"a\":1}");
	assert_string_equal(note->id, "evt_1.2_3");
	assert_string_equal(note->content_type, "application/json");
	assert_string_equal(note->user_agent, "tester/1.0");
}

static unsigned last_method;

static struct http_sink_plan
say_no_content(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)sink;
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = 204 };
}

static void
on_method(struct evhttp_request *request, void *arg)
{
	last_method = (unsigned)evhttp_request_get_command(request);
	http_sink_on_request(request, arg);
}

/* The same easy handle serves all of them, one after the other. */
static void
test_methods(void **arg)
{
	static const struct {
		const char *method;
		const char *body;
		unsigned seen;
	} cases[] = {
		{ NULL, NULL, EVHTTP_REQ_GET },
		{ NULL, "x", EVHTTP_REQ_POST },
		{ "GET", NULL, EVHTTP_REQ_GET },
		{ "DELETE", NULL, EVHTTP_REQ_DELETE },
		{ "POST", NULL, EVHTTP_REQ_POST },
		{ "PUT", "abc", EVHTTP_REQ_PUT },
		{ "POST", "abc", EVHTTP_REQ_POST },
		{ "GET", NULL, EVHTTP_REQ_GET },
	};
	struct state *state = *arg;
	char url[128];

	make_url(state, "/", url);
	state->sink.decide = say_no_content;
	evhttp_set_gencb(state->sink.http, on_method, &state->sink);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_request request = request_to(state, 0, url);
		const char *body = cases[i].body;

		request.method = cases[i].method;
		request.body = body;
		request.body_len = body != NULL ? strlen(body) : 0;
		send_request(state, &request);
		run(state);
		assert_int_equal(state->results[0].status, 204);
		assert_int_equal(last_method, cases[i].seen);
		assert_string_equal(state->sink.notes[i].body,
		    body != NULL ? body : "");
	}
	/* and one connection did */
	assert_int_equal(state->sink.connections, 1);
}

static struct http_sink_plan
say_status(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)sink;
	(void)note;
	return (struct http_sink_plan){ .status = *(unsigned *)arg };
}

static void
test_statuses(void **arg)
{
	static unsigned statuses[] = { 200, 201, 302, 307, 400, 404, 410, 500,
		503 };
	struct state *state = *arg;
	char url[128];

	make_url(state, "/first", url);
	state->sink.decide = say_status;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		struct http_request request = request_to(state, 0, url);

		state->sink.arg = &statuses[i];
		request.body = "x";
		request.body_len = 1;
		send_request(state, &request);
		run(state);
		assert_int_equal(state->results[0].rc, 0);
		assert_int_equal(state->results[0].status, statuses[i]);
		/* no redirect was followed */
		assert_int_equal(state->sink.count, i + 1);
		assert_string_equal(state->sink.notes[i].path, "/first");
	}
}

static struct http_sink_plan
say_later(struct http_sink *sink, const struct http_sink_note *note, void *arg)
{
	(void)sink;
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = 200, .wait_ms = 30 };
}

static void
test_limits(void **arg)
{
	struct state *state = *arg;
	struct http_request request;
	char url[128];

	make_url(state, "/", url);
	state->sink.decide = say_later;
	for (unsigned i = 0; i < 8; i++) {
		request = request_to(state, i, url);
		send_request(state, &request);
	}
	request = request_to(state, 8, url);
	assert_int_equal(http_client_send(state->client, &request, NULL),
	    -KAP_AGAIN);
	run(state);
	assert_int_equal(state->sink.count, 8);
	/* never more than per_host at once */
	assert_int_equal(state->sink.open_max, 4);
	assert_int_equal(state->sink.connections, 4);
	send_request(state, &request);
	run(state);
	assert_int_equal(state->results[8].status, 200);
	assert_int_equal(state->sink.connections, 4);
}

/* A request that is started from within the finish() of the last one. */
static void
on_finish_then_next(void *arg, const struct http_result *result)
{
	const struct slot *slot = arg;
	struct state *state = slot->state;
	char url[128];
	struct http_request request;

	assert_int_equal(result->rc, 0);
	assert_int_equal(http_client_active(state->client), 0);
	make_url(state, "/second", url);
	request = request_to(state, 1, url);
	send_request(state, &request);
	state->pending--;
	/* the result is still whole */
	assert_string_equal(result->body, "fine");
}

static void
test_next_from_finish(void **arg)
{
	const struct http_client_options one = { .concurrency = 1,
		.per_host = 1 };
	struct state *state = *arg;
	struct http_request request;
	char url[128];

	open_client(state, &one);
	state->sink.answer = "fine";
	state->sink.answer_len = 4;
	make_url(state, "/first", url);
	request = request_to(state, 0, url);
	request.body_max_bytes = 100;
	request.finish = on_finish_then_next;
	send_request(state, &request);
	run(state);
	assert_int_equal(state->sink.count, 2);
	assert_string_equal(state->sink.notes[1].path, "/second");
	/* no limit was set for this one's body: it was thrown away */
	assert_string_equal(state->results[1].body, "");
}

static void
test_body_limits(void **arg)
{
	static char big[HTTP_CLIENT_DISCARD_MAX * 4];
	static const struct {
		size_t len;
		size_t max;
		int rc;
		size_t kept;
	} cases[] = {
		{ 0, 10, 0, 0 },
		{ 10, 10, 0, 10 },
		{ 11, 10, -KAP_TOOBIG, 0 },
		{ 10000, 10000, 0, 10000 },
		{ sizeof(big), sizeof(big), 0, sizeof(big) },
		{ sizeof(big), sizeof(big) - 1, -KAP_TOOBIG, 0 },
		{ HTTP_CLIENT_DISCARD_MAX, 0, 0, 0 },
		{ sizeof(big), 0, 0, 0 }, /* broken off, and an answer */
	};
	struct state *state = *arg;
	char url[128];

	memset(big, 'b', sizeof(big));
	make_url(state, "/", url);
	state->sink.answer = big;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_request request = request_to(state, 0, url);

		state->sink.answer_len = cases[i].len;
		request.body_max_bytes = cases[i].max;
		send_request(state, &request);
		run(state);
		assert_int_equal(state->results[0].rc, cases[i].rc);
		assert_int_equal(state->results[0].status, 200);
		if (cases[i].rc == 0)
			assert_int_equal(state->results[0].body_len,
			    cases[i].kept);
	}
}

/* The environment's proxy is a port that refuses. */
static void
test_no_proxy(void **arg)
{
	struct state *state = *arg;
	struct http_request request;
	uint16_t port;
	const int fd = http_sink_dead_port(0, &port);
	char proxy[64];
	char url[128];

	(void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", port);
	(void)setenv("http_proxy", proxy, 1);
	(void)setenv("ALL_PROXY", proxy, 1);
	make_url(state, "/", url);
	request = request_to(state, 0, url);
	send_request(state, &request);
	run(state);
	(void)unsetenv("http_proxy");
	(void)unsetenv("ALL_PROXY");
	(void)close(fd);
	assert_int_equal(state->results[0].rc, 0);
	assert_int_equal(state->sink.count, 1);
}

static void
test_guard(void **arg)
{
	static const char *const hosts[] = { "127.0.0.1", "localhost",
		"[::1]", "[::ffff:127.0.0.1]", "2130706433" };
	const struct http_client_options options = { .concurrency = 8,
		.per_host = 8, .guarded = true,
		.guard = { .allow_http = true, .allow_private = true } };
	struct state *state = *arg;

	open_client(state, &options);
	for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct http_request request;
		char url[128];

		(void)snprintf(url, sizeof(url), "http://%s:%u/", hosts[i],
		    state->sink.port);
		request = request_to(state, i, url);
		send_request(state, &request);
	}
	run(state);
	for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		assert_int_equal(state->results[i].rc, -KAP_DENIED);
		assert_int_equal(state->results[i].status, 0);
	}
	assert_int_equal(state->sink.connections, 0);
}

static void
test_guard_allows(void **arg)
{
	const struct http_client_options options = { .concurrency = 8,
		.per_host = 8, .guarded = true,
		.guard = { .allow_http = true, .allow_loopback = true } };
	struct state *state = *arg;
	struct http_request request;
	char url[128];

	open_client(state, &options);
	make_url(state, "/", url);
	request = request_to(state, 0, url);
	send_request(state, &request);
	run(state);
	assert_int_equal(state->results[0].status, 200);
}

static void
send_one(struct state *state, int rc)
{
	struct http_request request;
	char url[128];

	make_url(state, "/", url);
	request = request_to(state, 0, url);
	send_request(state, &request);
	run(state);
	assert_int_equal(state->results[0].rc, rc);
}

/* What is ruled out later is so for a connection that was kept, too. */
static void
test_other_guard(void **arg)
{
	struct http_client_options options = { .concurrency = 8,
		.per_host = 8, .guarded = true,
		.guard = { .allow_http = true, .allow_loopback = true } };
	struct state *state = *arg;

	open_client(state, &options);
	send_one(state, 0);
	send_one(state, 0);
	assert_int_equal(state->sink.connections, 1);
	options.guard.allow_loopback = false;
	assert_int_equal(http_client_reconfigure(state->client, &options), 0);
	send_one(state, -KAP_DENIED);
	assert_int_equal(state->sink.count, 2);
	options.guard.allow_loopback = true;
	assert_int_equal(http_client_reconfigure(state->client, &options), 0);
	send_one(state, 0);
	options.guard.allow_http = false;
	assert_int_equal(http_client_reconfigure(state->client, &options), 0);
	send_one(state, -KAP_PROTO);
	assert_int_equal(state->sink.count, 3);
}

static void
test_other_concurrency(void **arg)
{
	struct http_client_options options = { .concurrency = 1,
		.per_host = 1 };
	struct state *state = *arg;
	struct http_request requests[3];
	char url[128];

	open_client(state, &options);
	make_url(state, "/", url);
	for (unsigned i = 0; i < 3; i++)
		requests[i] = request_to(state, i, url);
	send_request(state, &requests[0]);
	assert_int_equal(http_client_send(state->client, &requests[1], NULL),
	    -KAP_AGAIN);
	options.concurrency = 2;
	options.per_host = 2;
	assert_int_equal(http_client_reconfigure(state->client, &options), 0);
	send_request(state, &requests[1]);
	options.concurrency = 1;
	assert_int_equal(http_client_reconfigure(state->client, &options), 0);
	assert_int_equal(http_client_send(state->client, &requests[2], NULL),
	    -KAP_AGAIN);
	run(state);
	assert_int_equal(state->sink.count, 2);
}

static void
test_schemes(void **arg)
{
	const struct http_client_options options = { .concurrency = 8,
		.per_host = 8, .guarded = true,
		.guard = { .allow_loopback = true } };
	static const char *const urls[] = { "file:///etc/passwd",
		"ftp://127.0.0.1/x", "gopher://127.0.0.1/x", NULL };
	struct state *state = *arg;
	char plain[128];

	open_client(state, &options);
	make_url(state, "/", plain);
	for (unsigned i = 0; i < 4; i++) {
		struct http_request request = request_to(state, i,
		    urls[i] != NULL ? urls[i] : plain);

		send_request(state, &request);
	}
	run(state);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(state->results[i].rc, -KAP_PROTO);
	assert_int_equal(state->sink.connections, 0);
}

static struct http_sink_plan
say_nothing(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)sink;
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = HTTP_SINK_NEVER };
}

static void
test_no_answer(void **arg)
{
	struct state *state = *arg;
	uint16_t refusing;
	uint16_t deaf;
	const int refusing_fd = http_sink_dead_port(0, &refusing);
	const int deaf_fd = http_sink_dead_port(8, &deaf);
	struct http_request request;
	char urls[3][128];

	state->sink.decide = say_nothing;
	make_url(state, "/", urls[0]);
	(void)snprintf(urls[1], 128, "http://127.0.0.1:%u/", deaf);
	(void)snprintf(urls[2], 128, "http://127.0.0.1:%u/", refusing);
	for (unsigned i = 0; i < 3; i++) {
		request = request_to(state, i, urls[i]);
		/* the one that refuses does so at once */
		if (i < 2)
			request.timeout_ms = SHORT_MS;
		send_request(state, &request);
	}
	run(state);
	(void)close(refusing_fd);
	(void)close(deaf_fd);
	assert_int_equal(state->results[0].rc, -KAP_TIMEOUT);
	assert_int_equal(state->results[1].rc, -KAP_TIMEOUT);
	assert_int_equal(state->results[2].rc, -KAP_GONE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(state->results[i].status, 0);
}

/* A server that says `text` to whoever connects, and closes. */
struct blurter {
	struct evconnlistener *listener;
	const char *text;
	uint16_t port;
};

static void
on_blurted(struct bufferevent *bev, void *arg)
{
	(void)arg;
	bufferevent_free(bev);
}

static void
on_blurter_read(struct bufferevent *bev, void *arg)
{
	const struct blurter *blurter = arg;
	struct evbuffer *input = bufferevent_get_input(bev);

	(void)evbuffer_drain(input, evbuffer_get_length(input));
	if (*blurter->text == '\0') {
		bufferevent_free(bev);
		return;
	}
	bufferevent_setcb(bev, NULL, on_blurted, NULL, arg);
	(void)bufferevent_write(bev, blurter->text, strlen(blurter->text));
}

static void
on_blurter_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *address, int len, void *arg)
{
	struct bufferevent *bev = bufferevent_socket_new(
	    evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);

	(void)address;
	(void)len;
	bufferevent_setcb(bev, on_blurter_read, NULL, NULL, arg);
	(void)bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void
open_blurter(struct blurter *blurter, struct event_base *base)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	blurter->listener = evconnlistener_new_bind(base, on_blurter_accept,
	    blurter, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&in,
	    sizeof(in));
	assert_non_null(blurter->listener);
	assert_int_equal(getsockname(
	    evconnlistener_get_fd(blurter->listener),
	    (struct sockaddr *)&in, &len), 0);
	blurter->port = ntohs(in.sin_port);
}

static void
test_bad_answers(void **arg)
{
	static const struct {
		const char *text;
		int rc;
		unsigned status;
	} cases[] = {
		{ "", -KAP_GONE, 0 },
		{ "hello, world\r\n", -KAP_PROTO, 0 },
		{ "\x15\x03\x01", -KAP_PROTO, 0 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		    -KAP_GONE, 200 },
		{ "HTTP/1.1 200 OK\r\nContent-Len", -KAP_GONE, 200 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Ok\r\n",
		    -KAP_GONE, 202 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 0, 200 },
		{ "HTTP/1.0 200 OK\r\n\r\nabc", 0, 200 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Ok\r\n"
		  "Content-Length: 0\r\n\r\n", 0, 202 },
	};
	struct state *state = *arg;
	struct blurter blurter;
	char url[128];

	open_blurter(&blurter, state->base);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/",
	    blurter.port);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_request request = request_to(state, 0, url);

		blurter.text = cases[i].text;
		request.body = "x";
		request.body_len = 1;
		send_request(state, &request);
		run(state);
		if (state->results[0].rc != cases[i].rc ||
		    state->results[0].status != cases[i].status)
			fail_msg("case %zu: %d %u (%s)", i,
			    state->results[0].rc, state->results[0].status,
			    state->results[0].error);
	}
	evconnlistener_free(blurter.listener);
}

/* Answers so many requests over a kept connection, and breaks on the next. */
struct breaker {
	struct evconnlistener *listener;
	uint16_t port;
	unsigned answers;
	unsigned requests;
	unsigned open; /* connections */
};

static void
close_broken(struct breaker *breaker, struct bufferevent *bev)
{
	breaker->open--;
	bufferevent_free(bev);
}

static void
on_breaker_read(struct bufferevent *bev, void *arg)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\n"
	    "Content-Length: 0\r\n\r\n";
	struct breaker *breaker = arg;
	struct evbuffer *input = bufferevent_get_input(bev);

	(void)evbuffer_drain(input, evbuffer_get_length(input));
	breaker->requests++;
	if (breaker->answers == 0) {
		breaker->answers = 1;
		close_broken(breaker, bev);
		return;
	}
	breaker->answers--;
	(void)bufferevent_write(bev, answer, strlen(answer));
}

static void
on_breaker_event(struct bufferevent *bev, short what, void *arg)
{
	(void)what;
	close_broken(arg, bev);
}

static void
on_breaker_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *address, int len, void *arg)
{
	struct breaker *breaker = arg;
	struct bufferevent *bev = bufferevent_socket_new(
	    evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);

	(void)address;
	(void)len;
	breaker->open++;
	bufferevent_setcb(bev, on_breaker_read, NULL, on_breaker_event, arg);
	(void)bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void
open_breaker(struct breaker *breaker, struct event_base *base)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	breaker->listener = evconnlistener_new_bind(base, on_breaker_accept,
	    breaker, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&in,
	    sizeof(in));
	assert_non_null(breaker->listener);
	assert_int_equal(getsockname(
	    evconnlistener_get_fd(breaker->listener),
	    (struct sockaddr *)&in, &len), 0);
	breaker->port = ntohs(in.sin_port);
}

static unsigned left_count;

static void
on_leaving(void *arg)
{
	(void)arg;
	left_count++;
}

/* One request; what came of it. */
static int
ask_breaker(struct state *state, uint16_t port, bool once)
{
	struct http_request request;
	char url[128];

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	request = request_to(state, 0, url);
	request.body = "x";
	request.body_len = 1;
	request.leaving = once ? on_leaving : NULL;
	send_request(state, &request);
	run(state);
	return state->results[0].rc;
}

/* libcurl repeats what a kept connection broke under, but not if told so. */
static void
test_leaving(void **arg)
{
	struct state *state = *arg;
	struct breaker breaker = { .answers = 1 };
	uint16_t refusing;
	const int refusing_fd = http_sink_dead_port(0, &refusing);

	left_count = 0;
	open_breaker(&breaker, state->base);
	assert_int_equal(ask_breaker(state, breaker.port, false), 0);
	assert_int_equal(breaker.requests, 1);
	assert_int_equal(ask_breaker(state, breaker.port, false), 0);
	assert_int_equal(breaker.requests, 3);
	assert_int_equal(left_count, 0);

	breaker.answers = 1;
	assert_int_equal(ask_breaker(state, breaker.port, true), 0);
	assert_int_equal(left_count, 1);
	assert_int_equal(ask_breaker(state, breaker.port, true), -KAP_GONE);
	assert_int_equal(breaker.requests, 5);
	assert_int_equal(left_count, 2);
	assert_int_equal(ask_breaker(state, breaker.port, true), 0);
	assert_int_equal(left_count, 3);

	assert_int_equal(ask_breaker(state, refusing, true), -KAP_GONE);
	assert_int_equal(left_count, 3);
	(void)close(refusing_fd);
	http_client_free(&state->client);
	while (breaker.open > 0)
		(void)event_base_loop(state->base, EVLOOP_ONCE);
	evconnlistener_free(breaker.listener);
}

static void
test_cancel(void **arg)
{
	struct state *state = *arg;
	struct http_transfer *transfer = NULL;
	struct http_request request;
	char url[128];

	make_url(state, "/", url);
	state->sink.decide = say_later;
	request = request_to(state, 0, url);
	assert_int_equal(http_client_send(state->client, &request, &transfer),
	    0);
	(void)event_base_loop(state->base, EVLOOP_ONCE);
	http_client_cancel(&transfer);
	assert_null(transfer);
	assert_int_equal(http_client_active(state->client), 0);
	request = request_to(state, 1, url);
	send_request(state, &request);
	run(state);
	assert_false(state->results[0].done);
	assert_int_equal(state->results[1].status, 200);
}

/* Left to the sanitizer: what is under way is freed with the client. */
static void
test_free_under_way(void **arg)
{
	struct state *state = *arg;
	struct http_request request;
	char url[128];

	make_url(state, "/", url);
	state->sink.decide = say_nothing;
	for (unsigned i = 0; i < 3; i++) {
		request = request_to(state, i, url);
		send_request(state, &request);
	}
	(void)event_base_loop(state->base, EVLOOP_ONCE);
	(void)event_base_loop(state->base, EVLOOP_ONCE);
	http_client_free(&state->client);
	assert_null(state->client);
	assert_false(state->results[0].done);
}

static void
test_too_many_headers(void **arg)
{
	static const char *const headers[HTTP_CLIENT_HEADERS_MAX + 1] = {
		"A: b" };
	struct state *state = *arg;
	struct http_request request = request_to(state, 0, "http://x/");

	request.headers = headers;
	request.header_count = HTTP_CLIENT_HEADERS_MAX + 1;
	assert_int_equal(http_client_send(state->client, &request, NULL),
	    -KAP_INVAL);
	assert_int_equal(http_client_active(state->client), 0);
}

/* A key and a certificate for 127.0.0.1 that signs itself. */
static SSL_CTX *
make_tls(const char *ca_path)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL,
	    NID_subject_alt_name, "IP:127.0.0.1");
	FILE *file = fopen(ca_path, "we");

	assert_non_null(file);
	assert_non_null(san);
	(void)X509_set_version(cert, 2);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	(void)X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	(void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	(void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	    (const unsigned char *)"test", -1, -1, 0);
	(void)X509_set_issuer_name(cert, name);
	(void)X509_set_pubkey(cert, key);
	(void)X509_add_ext(cert, san, -1);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(file, cert), 1);
	(void)fclose(file);
	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_EXTENSION_free(san);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

static struct bufferevent *
on_tls_connection(struct event_base *base, void *arg)
{
	return bufferevent_openssl_socket_new(base, -1, SSL_new(arg),
	    BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
}

static void
test_tls(void **arg)
{
	char ca_path[] = "/tmp/kaphila-ca-XXXXXX";
	struct http_client_options options = { .concurrency = 2,
		.per_host = 2 };
	struct state *state = *arg;
	const int fd = mkstemp(ca_path);
	SSL_CTX *ctx = make_tls(ca_path);
	struct http_request request;
	char url[128];

	assert_true(fd >= 0);
	(void)close(fd);
	evhttp_set_bevcb(state->sink.http, on_tls_connection, ctx);
	(void)snprintf(url, sizeof(url), "https://127.0.0.1:%u/",
	    state->sink.port);
	/* a certificate that nobody we know vouches for */
	request = request_to(state, 0, url);
	send_request(state, &request);
	run(state);
	assert_int_equal(state->results[0].rc, -KAP_PROTO);
	/* one that is vouched for */
	options.ca_file = ca_path;
	open_client(state, &options);
	request = request_to(state, 1, url);
	send_request(state, &request);
	run(state);
	assert_int_equal(state->results[1].rc, 0);
	assert_int_equal(state->results[1].status, 200);
	/* …for another name */
	(void)snprintf(url, sizeof(url), "https://localhost:%u/",
	    state->sink.port);
	request = request_to(state, 2, url);
	send_request(state, &request);
	run(state);
	assert_int_equal(state->results[2].rc, -KAP_PROTO);
	assert_int_equal(state->sink.count, 1);
	(void)unlink(ca_path);
	http_client_free(&state->client);
	SSL_CTX_free(ctx);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_post),
		TEST(test_methods),
		TEST(test_statuses),
		TEST(test_limits),
		TEST(test_next_from_finish),
		TEST(test_body_limits),
		TEST(test_no_proxy),
		TEST(test_guard),
		TEST(test_guard_allows),
		TEST(test_other_guard),
		TEST(test_other_concurrency),
		TEST(test_schemes),
		TEST(test_no_answer),
		TEST(test_bad_answers),
		TEST(test_leaving),
		TEST(test_cancel),
		TEST(test_free_under_way),
		TEST(test_too_many_headers),
		TEST(test_tls),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
