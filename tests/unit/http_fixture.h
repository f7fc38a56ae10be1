/*
 * A real server on loopback with short deadlines, and clients of it that live
 * in the same event loop, so that a test can say byte by byte what happens.
 */
#ifndef KAP_HTTP_FIXTURE_H
#define KAP_HTTP_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "loop_fixture.h"
#include "worker/http_server.h"

#define FIXTURE_LONG_BYTES (8U * 1024 * 1024)
#define FIXTURE_MEDIUM_BYTES 60000U

struct http_fixture {
	struct event_base *base;
	struct http_server *server;
	uint16_t port;
	unsigned handled;          /* requests that reached a handler */
	struct http_request *late; /* left unanswered by /late */
	char last_body[256];
	size_t last_body_len;
};

/* A client. */
struct http_peer {
	struct event *readable;
	int fd;
	char *data; /* what came, NUL-terminated */
	size_t len;
	bool closed; /* the server closed in good order */
	bool reset;  /* …or not */
};

static inline void
fixture_note(struct http_request *req, struct http_fixture *f)
{
	const char *body = http_request_body(req, &f->last_body_len);

	f->handled++;
	(void)snprintf(f->last_body, sizeof(f->last_body), "%.*s",
	    (int)(f->last_body_len < 250 ? f->last_body_len : 250), body);
}

/* Answers what was asked. */
static inline void
fixture_on_echo(struct http_request *req, void *ctx)
{
	struct http_fixture *f = ctx;
	const char *name = http_request_param(req, "name");
	cJSON *json = cJSON_CreateObject();

	fixture_note(req, f);
	(void)cJSON_AddStringToObject(json, "method",
	    http_request_method(req));
	(void)cJSON_AddStringToObject(json, "path", http_request_path(req));
	(void)cJSON_AddStringToObject(json, "query",
	    http_request_query(req));
	(void)cJSON_AddStringToObject(json, "client",
	    http_request_client(req));
	(void)cJSON_AddStringToObject(json, "body", f->last_body);
	(void)cJSON_AddNumberToObject(json, "length",
	    (double)f->last_body_len);
	if (name != NULL)
		(void)cJSON_AddStringToObject(json, "name", name);
	http_reply_json(req, 200, json);
}

static inline void
fixture_on_json(struct http_request *req, void *ctx)
{
	struct http_fault fault;
	cJSON *json;

	fixture_note(req, ctx);
	if (http_request_json(req, &json, &fault) != 0)
		http_reply_fault(req, &fault);
	else
		http_reply_json(req, 200, json);
}

/* As with a key: who may not ask learns nothing about the body. */
static inline void
fixture_on_denied(struct http_request *req, void *ctx)
{
	fixture_note(req, ctx);
	http_reply_error(req, 401, "UNAUTHORIZED", "Invalid API key");
}

static inline void
fixture_on_busy(struct http_request *req, void *ctx)
{
	fixture_note(req, ctx);
	http_reply_error(req, 503, "DRAINING", "Going away");
}

static inline void
fixture_on_late(struct http_request *req, void *ctx)
{
	struct http_fixture *f = ctx;

	fixture_note(req, f);
	f->late = req;
}

static inline void
fixture_reply_sized(struct http_request *req, size_t len)
{
	char *text = malloc(len);

	if (text == NULL)
		abort();
	memset(text, 'x', len);
	http_reply_text(req, 200, "text/plain", text, len);
	free(text);
}

static inline void
fixture_on_long(struct http_request *req, void *ctx)
{
	fixture_note(req, ctx);
	fixture_reply_sized(req, FIXTURE_LONG_BYTES);
}

static inline void
fixture_on_medium(struct http_request *req, void *ctx)
{
	fixture_note(req, ctx);
	fixture_reply_sized(req, FIXTURE_MEDIUM_BYTES);
}

static const struct http_route fixture_routes[] = {
	{ "GET", "/echo", fixture_on_echo, 0, 0 },
	{ "POST", "/echo", fixture_on_echo, 0, 0 },
	{ "PUT", "/echo", fixture_on_echo, 0, 0 },
	{ "DELETE", "/echo", fixture_on_echo, 0, 0 },
	{ "PATCH", "/echo", fixture_on_echo, 0, 0 },
	{ "GET", "/echo/:name", fixture_on_echo, 0, 0 },
	{ "POST", "/json", fixture_on_json, 7, 0 },
	{ "POST", "/large", fixture_on_echo, 0, 300000 },
	{ "POST", "/denied", fixture_on_denied, 0, 0 },
	{ "GET", "/busy", fixture_on_busy, 0, 0 },
	{ "GET", "/late", fixture_on_late, 0, 0 },
	{ "POST", "/late", fixture_on_late, 0, 0 },
	{ "GET", "/long", fixture_on_long, 0, 0 },
	{ "GET", "/medium", fixture_on_medium, 0, 0 },
};

/* A listening socket on a port of the kernel's choice. */
static inline int
fixture_listen(uint16_t *port_out)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
	    listen(fd, 128) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		abort();
	*port_out = ntohs(address.sin_port);
	return fd;
}

static inline void
fixture_config(struct http_server_config *config)
{
	http_server_config_init(config);
	config->max_head_bytes = 4096;
	config->max_header_fields = 32;
	config->max_body_bytes = 8192;
}

/* config  NULL: fixture_config's */
static inline void
fixture_start(struct http_fixture *f, const struct http_server_config *config)
{
	struct http_server_config c;

	(void)signal(SIGPIPE, SIG_IGN);
	memset(f, 0, sizeof(*f));
	fixture_config(&c);
	if (config != NULL)
		c = *config;
	f->base = event_base_new();
	c.base = f->base;
	c.routes.table = fixture_routes;
	c.routes.count = sizeof(fixture_routes) / sizeof(fixture_routes[0]);
	c.ctx = f;
	if (f->base == NULL || http_server_new(&f->server, &c) != 0 ||
	    http_server_add_listener(f->server, 0,
	        fixture_listen(&f->port)) != 0)
		abort();
}

static inline void
fixture_stop(struct http_fixture *f)
{
	http_server_free(&f->server);
	event_base_free(f->base);
}

static inline void
peer_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct http_peer *peer = arg;
	ssize_t n;

	(void)what;
	peer->data = realloc(peer->data, peer->len + 65537);
	if (peer->data == NULL)
		abort();
	n = recv(fd, peer->data + peer->len, 65536, MSG_DONTWAIT);
	if (n > 0) {
		peer->len += (size_t)n;
	} else if (n == 0) {
		peer->closed = true;
		(void)event_del(peer->readable);
	} else if (errno != EAGAIN) {
		peer->reset = true;
		(void)event_del(peer->readable);
	}
	peer->data[peer->len] = '\0';
}

static inline void
peer_stop_reading(struct http_peer *peer)
{
	(void)event_del(peer->readable);
}

static inline void
peer_start_reading(struct http_peer *peer)
{
	(void)event_add(peer->readable, NULL);
}

static inline void
peer_connect_port(struct http_peer *peer, struct event_base *base,
    uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(port) };

	memset(peer, 0, sizeof(*peer));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	peer->fd = socket(AF_INET, SOCK_STREAM, 0);
	peer->data = calloc(1, 1);
	if (peer->fd < 0 || peer->data == NULL ||
	    connect(peer->fd, (struct sockaddr *)&address,
	        sizeof(address)) != 0)
		abort();
	peer->readable = event_new(base, peer->fd, EV_READ | EV_PERSIST,
	    peer_on_readable, peer);
	peer_start_reading(peer);
}

static inline void
peer_connect(struct http_peer *peer, struct http_fixture *f)
{
	peer_connect_port(peer, f->base, f->port);
}

static inline void
peer_close(struct http_peer *peer)
{
	event_free(peer->readable);
	(void)close(peer->fd);
	free(peer->data);
}

static inline void
peer_send_bytes(struct http_peer *peer, const char *bytes, size_t len)
{
	if (send(peer->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		abort();
}

static inline void
peer_send(struct http_peer *peer, const char *text)
{
	peer_send_bytes(peer, text, strlen(text));
}

/* Where the n-th answer (from 0) begins, if all of it is there. */
static inline const char *
peer_answer(const struct http_peer *peer, unsigned n)
{
	const char *at = peer->data;

	for (;;) {
		const char *end = strstr(at, "\r\n\r\n");
		const char *length = strstr(at, "Content-Length: ");
		size_t len = 0;

		if (end == NULL)
			return NULL;
		if (length != NULL && length < end)
			len = strtoul(length + 16, NULL, 10);
		if (strncmp(at, "HTTP/1.1 100 ", 13) == 0)
			len = 0;
		end += 4 + len;
		if (end > peer->data + peer->len)
			return NULL;
		if (n-- == 0)
			return at;
		at = end;
	}
}

/* The status of the n-th answer, 0 while it isn't there. */
static inline int
peer_status(const struct http_peer *peer, unsigned n)
{
	const char *at = peer_answer(peer, n);

	return at != NULL ? (int)strtol(at + 9, NULL, 10) : 0;
}

static inline bool
peer_is_done(const struct http_peer *peer)
{
	return peer->closed || peer->reset;
}

/* Connections the server has now. */
static inline size_t
fixture_live(const struct http_fixture *f)
{
	struct http_server_stats stats;

	http_server_get_stats(f->server, &stats);
	return stats.live;
}

/* Nothing may ever have got past the gate in another shape. */
static inline bool
fixture_is_in_step(const struct http_fixture *f)
{
	struct http_server_stats stats;

	http_server_get_stats(f->server, &stats);
	return stats.desyncs == 0;
}

#endif
