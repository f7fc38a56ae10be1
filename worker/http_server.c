/*
 * Puts gate, evhttp, listeners and routes together, and keeps the counts.
 * What a request may do is its handler's business.
 */
#include "http_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/http.h>

#include "http_internal.h"
#include "http_listener.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"

/* Connections taken in one turn of the loop, so that it stays short. */
#define ACCEPTS_A_TURN 64

struct listener_entry {
	LIST_ENTRY(listener_entry) entry;
	struct http_listener *listener;
	int slot;
};

struct http_server {
	struct http_server_config config;
	unsigned *stats_routes; /* of each route of the table (stats.h) */
	struct evhttp *http;
	struct gate_server *gate;
	LIST_HEAD(, listener_entry) listeners;
	LIST_HEAD(, http_request) requests; /* not answered yet */
	struct event *settle; /* what must not be done inside a callback */
	unsigned accepted;    /* in this turn */
	uint64_t handled;
	uint64_t gone;
	unsigned long accept_failures; /* of listeners given up */
	bool draining;
	bool freeing;
	void (*on_drained)(void *arg);
	void *on_drained_arg;
};

void
http_server_config_init(struct http_server_config *config)
{
	memset(config, 0, sizeof(*config));
	config->max_connections = 8192;
	config->max_head_bytes = 16384;
	config->max_header_fields = 64;
	config->max_body_bytes = 65536;
	config->head_timeout_ms = 10000;
	config->body_timeout_ms = 20000;
	config->idle_timeout_ms = 75000;
	config->answer_timeout_ms = 30000;
	config->linger_timeout_ms = 2000;
}

static void
pause_listeners(struct http_server *server, enum http_pause reason)
{
	struct listener_entry *l;

	LIST_FOREACH(l, &server->listeners, entry)
		http_listener_pause(l->listener, reason);
}

static void
resume_listeners(struct http_server *server, enum http_pause reason)
{
	struct listener_entry *l;

	LIST_FOREACH(l, &server->listeners, entry)
		http_listener_resume(l->listener, reason);
}

static size_t
live(const struct http_server *server)
{
	return gate_server_stats(server->gate)->live;
}

/* The settling of a turn; runs from the loop, behind what asked for it. */
static void
on_settle(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct http_server *server = arg;
	void (*on_drained)(void *) = server->on_drained;

	server->accepted = 0;
	resume_listeners(server, HTTP_PAUSE_TURN);
	/* a connection may have given its descriptor back */
	resume_listeners(server, HTTP_PAUSE_DESCRIPTORS);
	if (live(server) < server->config.max_connections)
		resume_listeners(server, HTTP_PAUSE_FULL);
	if (server->draining && live(server) == 0 && on_drained != NULL) {
		server->on_drained = NULL;
		on_drained(server->on_drained_arg);
	}
}

static void
on_conn_opened(void *ctx)
{
	struct http_server *server = ctx;

	stats_add(STATS_http_connections, 1);
	if (live(server) >= server->config.max_connections)
		pause_listeners(server, HTTP_PAUSE_FULL);
	if (++server->accepted == ACCEPTS_A_TURN)
		pause_listeners(server, HTTP_PAUSE_TURN);
	event_active(server->settle, 0, 0);
}

static void
on_conn_closed(void *ctx)
{
	struct http_server *server = ctx;

	if (!server->freeing)
		event_active(server->settle, 0, 0);
}

static void
on_conn_refused(const struct gate_refusal *refusal, const char *request_id,
    void *ctx KAP_UNUSED)
{
	stats_add(STATS_http_refused, 1);
	log_debug("request refused", LOG_S("req", request_id),
	    LOG_I("status", refusal->status), LOG_S("why", refusal->text));
}

static void
on_client_gone(void *user, void *ctx KAP_UNUSED)
{
	struct http_request *req = user;

	req->conn = NULL;
}

static size_t
find_body_limit(const char *method, const char *path, size_t path_len,
    void *ctx)
{
	const struct http_server *server = ctx;
	struct http_match match;

	if (http_router_match(&server->config.routes, method, path, path_len,
	        &match) == 0 && match.route->max_body_bytes > 0)
		return match.route->max_body_bytes;
	return server->config.max_body_bytes;
}

/* No handler for it: 404, 405, or what OPTIONS wants to know. */
static void
answer_unrouted(const struct http_server *server, struct http_request *req)
{
	char allow[HTTP_ALLOW_SIZE];

	if (http_router_allow(&server->config.routes, req->path,
	        strlen(req->path), allow) != 0) {
		http_reply_error(req, 404, "NOT_FOUND", "Not found");
		return;
	}
	http_reply_add_header(req, "Allow", allow);
	if (strcmp(req->method, "OPTIONS") == 0)
		http_reply_empty(req, 204);
	else
		http_reply_error(req, 405, "METHOD_NOT_ALLOWED",
		    "Method not allowed");
}

/* What a request counts under. */
static unsigned
stats_route_of(const struct http_server *server,
    const struct http_match *match)
{
	if (match->path_route == NULL)
		return STATS_ROUTES_MAX;
	return server->stats_routes[match->path_route -
	    server->config.routes.table];
}

static void
on_request(struct gate_conn *conn, struct evhttp_request *ev, void *ctx)
{
	struct http_server *server = ctx;
	struct http_request *req;
	int rc;

	if (http_request_new(&req, conn, ev) != 0) {
		gate_drop(conn);
		return;
	}
	req->server = server;
	LIST_INSERT_HEAD(&server->requests, req, entry);
	gate_set_user(conn, req);
	server->handled++;
	rc = http_router_match(&server->config.routes, req->method, req->path,
	    strlen(req->path), &req->match);
	req->stats_route = stats_route_of(server, &req->match);
	if (rc != 0)
		answer_unrouted(server, req);
	else if (http_request_take_params(req) != 0)
		http_reply_error(req, 500, "INTERNAL_ERROR",
		    "Out of memory");
	else
		req->match.route->handler(req, server->config.ctx);
}

void
http_server_note_reply(const struct http_request *req, int status)
{
	const int64_t us = clock_mono_us() - req->began_us;

	stats_request(req->stats_route, req->method, (unsigned)status, us);
	if (req->conn == NULL && req->server != NULL)
		req->server->gone++;
	log_debug(req->conn != NULL ? "request answered" :
	    "request answered, client gone", LOG_S("req", req->id),
	    LOG_S("method", req->method), LOG_S("path", req->path),
	    LOG_I("status", status),
	    LOG_I("us", us));
}

static struct gate_config
gate_config_of(struct http_server *server)
{
	const struct http_server_config *config = &server->config;

	return (struct gate_config){
		.base = config->base,
		.http = server->http,
		.tls = config->tls,
		.limits = { .head_bytes = config->max_head_bytes,
		    .fields = config->max_header_fields },
		.head_ms = config->head_timeout_ms,
		.body_ms = config->body_timeout_ms,
		.idle_ms = config->idle_timeout_ms,
		.answer_ms = config->answer_timeout_ms,
		.linger_ms = config->linger_timeout_ms,
		.small_body_bytes = config->max_body_bytes,
		.ctx = server,
		.body_limit = find_body_limit,
		.on_request = on_request,
		.on_gone = on_client_gone,
		.on_refused = on_conn_refused,
		.on_opened = on_conn_opened,
		.on_closed = on_conn_closed,
	};
}

static int
start_gate(struct http_server *server)
{
	const struct gate_config gate = gate_config_of(server);

	return gate_server_new(&server->gate, &gate);
}

/* Names for the routes of the table; 0 or -KAP_NOMEM. */
static int
name_routes(struct http_server *server)
{
	const struct http_routes *routes = &server->config.routes;

	server->stats_routes = calloc(routes->count + 1,
	    sizeof(*server->stats_routes));
	if (server->stats_routes == NULL)
		return -KAP_NOMEM;
	for (size_t i = 0; i < routes->count; i++)
		server->stats_routes[i] =
		    stats_route(routes->table[i].pattern);
	return 0;
}

int
http_server_new(struct http_server **server_out,
    const struct http_server_config *config)
{
	struct http_server *server = calloc(1, sizeof(*server));

	if (server == NULL)
		return -KAP_NOMEM;
	server->config = *config;
	LIST_INIT(&server->listeners);
	LIST_INIT(&server->requests);
	server->http = evhttp_new(config->base);
	server->settle = event_new(config->base, -1, 0, on_settle, server);
	if (server->http == NULL || server->settle == NULL ||
	    name_routes(server) != 0 || start_gate(server) != 0) {
		http_server_free(&server);
		return -KAP_NOMEM;
	}
	*server_out = server;
	return 0;
}

void
http_server_reconfigure(struct http_server *server,
    const struct http_server_config *config)
{
	struct gate_config gate;

	server->config.max_connections = config->max_connections;
	server->config.max_body_bytes = config->max_body_bytes;
	server->config.head_timeout_ms = config->head_timeout_ms;
	server->config.body_timeout_ms = config->body_timeout_ms;
	server->config.idle_timeout_ms = config->idle_timeout_ms;
	server->config.tls = config->tls;
	gate = gate_config_of(server);
	gate_server_reconfigure(server->gate, &gate);
	/* there may be room now */
	event_active(server->settle, 0, 0);
}

static void
free_listener(struct http_server *server, struct listener_entry *l)
{
	server->accept_failures += http_listener_failures(l->listener);
	LIST_REMOVE(l, entry);
	http_listener_free(&l->listener);
	free(l);
}

static void
free_listeners(struct http_server *server)
{
	struct listener_entry *l, *next;

	for (l = LIST_FIRST(&server->listeners); l != NULL; l = next) {
		next = LIST_NEXT(l, entry);
		free_listener(server, l);
	}
}

void
http_server_free(struct http_server **server)
{
	struct http_server *s = *server;
	struct http_request *req;

	*server = NULL;
	if (s == NULL)
		return;
	s->freeing = true;
	free_listeners(s);
	if (s->http != NULL)
		evhttp_free(s->http); /* tells all requests on_client_gone */
	gate_server_free(&s->gate);
	while ((req = LIST_FIRST(&s->requests)) != NULL) {
		LIST_REMOVE(req, entry);
		req->server = NULL;
	}
	if (s->settle != NULL)
		event_free(s->settle);
	free(s->stats_routes);
	free(s);
}

static struct listener_entry *
find_listener(const struct http_server *server, int slot)
{
	struct listener_entry *l;

	LIST_FOREACH(l, &server->listeners, entry) {
		if (l->slot == slot)
			return l;
	}
	return NULL;
}

int
http_server_add_listener(struct http_server *server, int slot, int fd)
{
	struct listener_entry *l;
	int rc;

	if (server->draining || find_listener(server, slot) != NULL) {
		(void)close(fd);
		return server->draining ? -KAP_STATE : -KAP_EXISTS;
	}
	l = calloc(1, sizeof(*l));
	if (l == NULL) {
		(void)close(fd);
		return -KAP_NOMEM;
	}
	l->slot = slot;
	rc = http_listener_new(&l->listener, server->config.base,
	    server->http, fd);
	if (rc != 0) {
		free(l);
		return rc;
	}
	LIST_INSERT_HEAD(&server->listeners, l, entry);
	if (live(server) >= server->config.max_connections)
		http_listener_pause(l->listener, HTTP_PAUSE_FULL);
	return 0;
}

void
http_server_drop_listener(struct http_server *server, int slot)
{
	struct listener_entry *l = find_listener(server, slot);

	if (l != NULL)
		free_listener(server, l);
}

void
http_server_drain(struct http_server *server,
    void (*on_drained)(void *arg), void *arg)
{
	http_server_drain_patiently(server, 0, on_drained, arg);
}

void
http_server_drain_patiently(struct http_server *server, int64_t patience_ms,
    void (*on_drained)(void *arg), void *arg)
{
	server->draining = true;
	server->on_drained = on_drained;
	server->on_drained_arg = arg;
	free_listeners(server);
	gate_server_drain(server->gate, patience_ms);
	event_active(server->settle, 0, 0);
}

void
http_server_get_stats(const struct http_server *server,
    struct http_server_stats *out)
{
	const struct gate_stats *gate = gate_server_stats(server->gate);
	const struct listener_entry *l;

	*out = (struct http_server_stats){
		.connections = gate->opened,
		.live = gate->live,
		.requests = server->handled,
		.refused = gate->refused,
		.timeouts = gate->timeouts,
		.gone = server->gone + gate->lost,
		.desyncs = gate->desyncs,
		.accept_failures = server->accept_failures,
	};
	LIST_FOREACH(l, &server->listeners, entry)
		out->accept_failures += http_listener_failures(l->listener);
}
