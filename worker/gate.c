/*
 * A connection's life before evhttp, and the hand-over of its requests.
 *
 *     NEW ─▶ READY ─▶ BUSY ─▶ READY …
 *              │       │
 *              ▼       │
 *          REFUSING    │
 *              ▼       ▼
 *             DEAD (also from everywhere else)
 *
 * evhttp's read callback never fires by itself, for the low watermark is out
 * of reach: the gate validates what has come, and triggers evhttp when one
 * whole request stands in the input and nothing else. Everything is done in
 * the gate's own event, never inside a callback of libevent's buffers. A
 * connection that evhttp frees is only marked; its event frees the rest.
 */
#include "gate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/util.h>
#include <openssl/err.h>

#include "gate_conn.h"
#include "shared/clock.h"
#include "shared/log.h"

/* An answer up to this size has answer_ms, a larger one more. */
#define SMALL_ANSWER_BYTES 65536
#define SLOWEST_BYTES_PER_MS 16

#define BIT(phase) (1U << (phase))

static const struct {
	const char *name;
	unsigned next; /* phases that may follow */
} phases[GATE_PHASE_COUNT] = {
	[GATE_NEW] = { "new", BIT(GATE_READY) | BIT(GATE_DEAD) },
	[GATE_READY] = { "ready",
	    BIT(GATE_BUSY) | BIT(GATE_REFUSING) | BIT(GATE_DEAD) },
	[GATE_BUSY] = { "busy", BIT(GATE_READY) | BIT(GATE_DEAD) },
	[GATE_REFUSING] = { "refusing", BIT(GATE_DEAD) },
	[GATE_DEAD] = { "dead", 0 },
};

void
gate_conn_move(struct gate_conn *conn, enum gate_phase phase)
{
	if ((phases[conn->phase].next & BIT(phase)) == 0)
		fatal("gate: connection moved from %s to %s",
		    phases[conn->phase].name, phases[phase].name);
	conn->phase = phase;
}

void
gate_conn_wake(struct gate_conn *conn)
{
	event_active(conn->wake, 0, 0);
}

void
gate_conn_set_deadline(struct gate_conn *conn, const struct timeval *in)
{
	if (in == NULL)
		(void)event_del(conn->deadline);
	else
		(void)event_add(conn->deadline, in);
}

void
gate_conn_set_window(struct gate_conn *conn, size_t bytes)
{
	bufferevent_setwatermark(conn->bev, EV_READ, (size_t)SSIZE_MAX,
	    bytes);
}

int
gate_conn_take_large_body(struct gate_conn *conn)
{
	if (conn->large_body)
		return 0;
	if (conn->server->large_bodies >= GATE_LARGE_BODIES_MAX)
		return -KAP_FULL;
	conn->large_body = true;
	conn->server->large_bodies++;
	return 0;
}

static void
drop_large_body(struct gate_conn *conn)
{
	if (conn->large_body)
		conn->server->large_bodies--;
	conn->large_body = false;
}

void
gate_drop(struct gate_conn *conn)
{
	if (conn->phase == GATE_DEAD || conn->evcon == NULL)
		return;
	evhttp_connection_free(conn->evcon);
}

/*
 * The request's Connection is the one evhttp obeys, in the answer too. It
 * reads only one option standing alone, so that is what it gets.
 */
static void
make_last(struct evhttp_request *req)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(req);

	while (evhttp_remove_header(headers, "Connection") == 0)
		;
	(void)evhttp_add_header(headers, "Connection", "close");
}

static void
start_answer_deadline(struct gate_conn *conn, size_t len)
{
	const struct gate_server *server = conn->server;
	size_t ms = (size_t)server->config.answer_ms;
	struct timeval in;

	if (len <= SMALL_ANSWER_BYTES) {
		gate_conn_set_deadline(conn, server->answer_time);
		return;
	}
	ms += len / SLOWEST_BYTES_PER_MS;
	in.tv_sec = (time_t)(ms / 1000);
	in.tv_usec = (suseconds_t)(ms % 1000 * 1000);
	gate_conn_set_deadline(conn, &in);
}

void
gate_answer(struct gate_conn *conn, int status, const char *reason,
    struct evbuffer *body)
{
	const bool leaving = conn->server->draining || conn->too_large;

	conn->user = NULL;
	conn->answered = true;
	if (leaving || conn->head.wants_close) {
		make_last(conn->req);
		/* what the client sends on would reset the connection, and
		 * take the answer with it */
		conn->must_linger = leaving ||
		    evbuffer_get_length(conn->held) > 0;
	}
	start_answer_deadline(conn, evbuffer_get_length(body));
	evhttp_send_reply(conn->req, status, reason, body);
	/* evhttp wants to read while it writes, to learn of a close; but one
	 * who has only shut his sending side still waits for the answer */
	(void)bufferevent_disable(conn->bev, EV_READ);
}

void
gate_set_sent(struct gate_conn *conn, void (*fn)(void *arg, bool sent),
    void *arg)
{
	conn->on_sent = fn;
	conn->on_sent_arg = arg;
}

/* What has become of the answer, if somebody wants to know. */
static void
tell_sent(struct gate_conn *conn, bool sent)
{
	void (*on_sent)(void *, bool) = conn->on_sent;

	conn->on_sent = NULL;
	if (on_sent != NULL)
		on_sent(conn->on_sent_arg, sent);
}

void
gate_set_user(struct gate_conn *conn, void *user)
{
	conn->user = user;
}

const char *
gate_request_method(const struct gate_conn *conn)
{
	return gate_method_name(conn->head.method);
}

const char *
gate_request_id(struct gate_conn *conn)
{
	struct gate_server *server = conn->server;
	char *id = conn->head.request_id;

	if (id[0] == '\0')
		(void)snprintf(id, sizeof(conn->head.request_id),
		    "%016llx-%llx", (unsigned long long)server->id_prefix,
		    (unsigned long long)++server->id_count);
	return id;
}

bool
gate_body_is_too_large(const struct gate_conn *conn)
{
	return conn->too_large;
}

/*
 * A goodbye of TLS's own, or the client can't tell our end from an attack.
 * It must go out before evhttp shuts the socket.
 */
static void
say_goodbye(struct gate_conn *conn)
{
	SSL *ssl;

	ssl = bufferevent_openssl_get_ssl(conn->bev);
	if (ssl == NULL)
		return; /* a plain one, whatever the next one will be */
	if (SSL_is_init_finished(ssl))
		(void)SSL_shutdown(ssl);
	ERR_clear_error();
}

/* evhttp is freeing the connection: from now on evcon may not be used. */
static void
on_evhttp_closed(struct evhttp_connection *evcon KAP_UNUSED, void *arg)
{
	struct gate_conn *conn = arg;
	const struct gate_config *config = &conn->server->config;

	if (conn->phase == GATE_DEAD)
		return;
	gate_conn_move(conn, GATE_DEAD);
	conn->evcon = NULL;
	if (conn->died != NULL)
		*conn->died = true;
	(void)evbuffer_remove_cb_entry(conn->in, conn->in_cb);
	gate_conn_set_deadline(conn, NULL);
	say_goodbye(conn);
	if (conn->req != NULL && conn->answered)
		conn->server->stats.lost++;
	tell_sent(conn, false);
	if (conn->req != NULL && conn->user != NULL) {
		/* evhttp leaves an owned request alone: it is theirs now */
		conn->req = NULL;
		config->on_gone(conn->user, config->ctx);
	}
	gate_conn_wake(conn);
}

/*
 * In evhttp_send_done, before evhttp looks at the input by itself: whatever
 * stands there is taken out of its sight.
 */
static void
on_evhttp_complete(struct evhttp_request *req KAP_UNUSED, void *arg)
{
	struct gate_conn *conn = arg;

	conn->req = NULL; /* evhttp frees it now, owned or not */
	tell_sent(conn, true);
	drop_large_body(conn);
	if (conn->phase != GATE_BUSY)
		return;
	if (evbuffer_get_length(conn->in) > 0)
		(void)evbuffer_add_buffer(conn->held, conn->in);
	gate_conn_wake(conn);
}

/* evhttp's general callback. Nothing gets past the gate but what it passed. */
static void
on_evhttp_request(struct evhttp_request *req, void *arg)
{
	struct gate_server *server = arg;
	struct gate_conn *conn = server->current;
	struct evhttp_connection *evcon = evhttp_request_get_connection(req);

	server->current = NULL;
	if (conn == NULL || conn->evcon != evcon) {
		server->stats.desyncs++;
		evhttp_connection_free(evcon);
		return;
	}
	conn->taken = true;
	conn->answered = false;
	conn->req = req;
	evhttp_request_own(req);
	evhttp_request_set_on_complete_cb(req, on_evhttp_complete, conn);
	server->config.on_request(conn, req, server->config.ctx);
}

/* Leave exactly len bytes in the input, hold back the others. */
static int
split_input(struct gate_conn *conn, size_t len)
{
	struct evbuffer *first;
	int rc;

	if (evbuffer_get_length(conn->in) == len)
		return 0;
	first = evbuffer_new();
	if (first == NULL)
		return -KAP_NOMEM;
	rc = evbuffer_remove_buffer(conn->in, first, len) == (int)len &&
	    evbuffer_add_buffer(conn->held, conn->in) == 0 &&
	    evbuffer_prepend_buffer(conn->in, first) == 0 ? 0 : -KAP_NOMEM;
	evbuffer_free(first);
	return rc;
}

void
gate_conn_pass(struct gate_conn *conn, size_t len)
{
	struct gate_server *server = conn->server;
	bool died = false;

	if (split_input(conn, len) != 0) {
		gate_drop(conn);
		return;
	}
	gate_conn_set_deadline(conn, NULL);
	gate_conn_move(conn, GATE_BUSY);
	gate_conn_reset_input(conn);
	conn->served = true;
	conn->taken = false;
	conn->died = &died;
	server->stats.passed++;
	server->current = conn;
	bufferevent_trigger(conn->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS);
	server->current = NULL;
	if (died)
		return;
	conn->died = NULL;
	if (!conn->taken || evbuffer_get_length(conn->in) > 0) {
		/* evhttp framed it otherwise than we did: never go on */
		server->stats.desyncs++;
		evhttp_connection_free(conn->evcon);
	}
}

/*
 * Triggered while it writes, evhttp ends the process; it is ready only while
 * it reads and its read callback is set.
 */
static bool
evhttp_is_ready(const struct gate_conn *conn)
{
	bufferevent_data_cb read_cb;

	bufferevent_getcb(conn->bev, &read_cb, NULL, NULL, NULL);
	return read_cb != NULL &&
	    (bufferevent_get_enabled(conn->bev) & EV_READ) != 0;
}

/* The first turn after accept: only now evhttp's connection is known. */
static bool
learn_connection(struct gate_conn *conn)
{
	bufferevent_event_cb event_cb;
	void *arg;

	bufferevent_getcb(conn->bev, NULL, NULL, &event_cb, &arg);
	if (event_cb == NULL || arg == NULL)
		return false; /* evhttp has given it up already */
	conn->evcon = arg;
	evhttp_connection_set_closecb(conn->evcon, on_evhttp_closed, conn);
	gate_conn_move(conn, GATE_READY);
	gate_conn_leave_if_idle(conn);
	return true;
}

/* evhttp has answered: go on with what was held back, or wait. */
static void
become_ready(struct gate_conn *conn)
{
	gate_conn_move(conn, GATE_READY);
	conn->answered = false;
	if (evbuffer_get_length(conn->held) > 0 &&
	    evbuffer_prepend_buffer(conn->in, conn->held) != 0) {
		gate_drop(conn);
		return;
	}
	gate_conn_set_window(conn, gate_conn_base_window(conn));
	gate_conn_set_deadline(conn, conn->server->idle_time);
	conn->idle_since_ms = clock_boot_ms();
	gate_conn_leave_if_idle(conn);
}

static void
on_wake(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct gate_conn *conn = arg;

	if (conn->phase == GATE_DEAD) {
		gate_conn_linger(conn);
		return;
	}
	if (conn->phase == GATE_NEW && !learn_connection(conn)) {
		gate_conn_free(conn);
		return;
	}
	if (conn->phase == GATE_BUSY && evhttp_is_ready(conn))
		become_ready(conn);
	if (conn->phase == GATE_READY)
		gate_conn_look(conn);
}

static void
on_input_added(struct evbuffer *in KAP_UNUSED,
    const struct evbuffer_cb_info *info, void *arg)
{
	struct gate_conn *conn = arg;

	if (info->n_added > 0 && conn->phase == GATE_READY)
		gate_conn_wake(conn);
}

static void
on_deadline(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	static const struct gate_refusal too_slow = { 408,
		"The request took too long" };
	struct gate_conn *conn = arg;

	if (conn->phase == GATE_DEAD) {
		gate_conn_free(conn); /* has lingered long enough */
		return;
	}
	if (conn->server->draining && conn->phase == GATE_READY &&
	    !conn->began) {
		gate_conn_end_patience(conn);
		return;
	}
	conn->server->stats.timeouts++;
	if (conn->phase == GATE_READY && conn->began)
		gate_conn_refuse(conn, &too_slow);
	else
		gate_drop(conn); /* idle, or slow to take its answer */
}

static struct bufferevent *
new_bufferevent(struct event_base *base, SSL_CTX *tls)
{
	struct bufferevent *bev;
	SSL *ssl;

	if (tls == NULL)
		return bufferevent_socket_new(base, -1,
		    BEV_OPT_CLOSE_ON_FREE);
	ssl = SSL_new(tls);
	if (ssl == NULL) {
		ERR_clear_error();
		return NULL;
	}
	/* frees ssl when it fails */
	bev = bufferevent_openssl_socket_new(base, -1, ssl,
	    BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (bev != NULL)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

static void
free_parts(struct gate_conn *conn)
{
	if (conn->wake != NULL)
		event_free(conn->wake);
	if (conn->deadline != NULL)
		event_free(conn->deadline);
	if (conn->linger != NULL)
		event_free(conn->linger);
	if (conn->held != NULL)
		evbuffer_free(conn->held);
	if (conn->body != NULL)
		evbuffer_free(conn->body);
	if (conn->cut_head != NULL)
		evbuffer_free(conn->cut_head);
	if (conn->req != NULL)
		evhttp_request_free(conn->req);
	free(conn);
}

void
gate_conn_free(struct gate_conn *conn)
{
	const struct gate_config *config = &conn->server->config;

	conn->server->stats.live--;
	drop_large_body(conn);
	LIST_REMOVE(conn, entry);
	if (conn->phase != GATE_DEAD)
		(void)evbuffer_remove_cb_entry(conn->in, conn->in_cb);
	(void)bufferevent_decref(conn->bev);
	free_parts(conn);
	config->on_closed(config->ctx);
}

static struct gate_conn *
new_conn(struct gate_server *server)
{
	struct event_base *base = server->config.base;
	struct gate_conn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->server = server;
	conn->held = evbuffer_new();
	conn->wake = event_new(base, -1, 0, on_wake, conn);
	conn->deadline = evtimer_new(base, on_deadline, conn);
	if (conn->held != NULL && conn->wake != NULL &&
	    conn->deadline != NULL)
		conn->bev = new_bufferevent(base, server->config.tls);
	if (conn->bev == NULL) {
		free_parts(conn);
		return NULL;
	}
	return conn;
}

/*
 * evhttp asks for the bufferevent of a connection it has accepted. Without
 * one it would take a plain one of its own: that is let live, but its
 * requests end in on_evhttp_request.
 */
static struct bufferevent *
on_evhttp_bufferevent(struct event_base *base KAP_UNUSED, void *arg)
{
	struct gate_server *server = arg;
	struct gate_conn *conn = new_conn(server);

	if (conn == NULL)
		return NULL;
	bufferevent_incref(conn->bev);
	conn->in = bufferevent_get_input(conn->bev);
	conn->in_cb = evbuffer_add_cb(conn->in, on_input_added, conn);
	gate_conn_set_window(conn, gate_conn_base_window(conn));
	LIST_INSERT_HEAD(&server->conns, conn, entry);
	conn->idle_since_ms = clock_boot_ms();
	server->stats.opened++;
	server->stats.live++;
	/* to the first whole head; a TLS handshake counts too */
	gate_conn_set_deadline(conn, server->head_time);
	gate_conn_wake(conn);
	server->config.on_opened(server->config.ctx);
	return conn->bev;
}

static const struct timeval *
common_timeout(struct event_base *base, int ms)
{
	const struct timeval in = { .tv_sec = ms / 1000,
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	return event_base_init_common_timeout(base, &in);
}

int
gate_server_new(struct gate_server **server_out,
    const struct gate_config *config)
{
	struct gate_server *server = calloc(1, sizeof(*server));

	if (server == NULL)
		return -KAP_NOMEM;
	server->config = *config;
	LIST_INIT(&server->conns);
	server->head_time = common_timeout(config->base, config->head_ms);
	server->body_time = common_timeout(config->base, config->body_ms);
	server->idle_time = common_timeout(config->base, config->idle_ms);
	server->answer_time = common_timeout(config->base, config->answer_ms);
	server->linger_time = common_timeout(config->base, config->linger_ms);
	if (server->head_time == NULL || server->body_time == NULL ||
	    server->idle_time == NULL || server->answer_time == NULL ||
	    server->linger_time == NULL) {
		free(server);
		return -KAP_NOMEM;
	}
	evutil_secure_rng_get_bytes(&server->id_prefix,
	    sizeof(server->id_prefix));
	evhttp_set_max_headers_size(config->http,
	    (ev_ssize_t)config->limits.head_bytes + 256);
	evhttp_set_allowed_methods(config->http, EVHTTP_REQ_GET |
	    EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
	    EVHTTP_REQ_DELETE | EVHTTP_REQ_PATCH | EVHTTP_REQ_OPTIONS);
	evhttp_set_default_content_type(config->http, NULL);
	evhttp_set_bevcb(config->http, on_evhttp_bufferevent, server);
	evhttp_set_gencb(config->http, on_evhttp_request, server);
	*server_out = server;
	return 0;
}

/*
 * libevent has 256 common timeouts and never frees one; whoever has reloaded
 * more different ones than that pays with a slower queue, no more.
 */
static const struct timeval *
new_time(struct gate_server *server, int ms, struct timeval *own)
{
	const struct timeval *common = common_timeout(server->config.base,
	    ms);

	*own = (struct timeval){ .tv_sec = ms / 1000,
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };
	return common != NULL ? common : own;
}

void
gate_server_reconfigure(struct gate_server *server,
    const struct gate_config *config)
{
	server->config.head_ms = config->head_ms;
	server->config.body_ms = config->body_ms;
	server->config.idle_ms = config->idle_ms;
	server->config.small_body_bytes = config->small_body_bytes;
	server->config.tls = config->tls;
	server->head_time = new_time(server, config->head_ms,
	    &server->own_times[0]);
	server->body_time = new_time(server, config->body_ms,
	    &server->own_times[1]);
	server->idle_time = new_time(server, config->idle_ms,
	    &server->own_times[2]);
}

void
gate_server_free(struct gate_server **server)
{
	struct gate_server *s = *server;
	struct gate_conn *conn, *next;

	*server = NULL;
	if (s == NULL)
		return;
	for (conn = LIST_FIRST(&s->conns); conn != NULL; conn = next) {
		next = LIST_NEXT(conn, entry);
		gate_conn_free(conn);
	}
	free(s);
}

const struct gate_stats *
gate_server_stats(const struct gate_server *server)
{
	return &server->stats;
}
