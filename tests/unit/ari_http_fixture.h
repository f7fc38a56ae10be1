/*
 * An Asterisk in the test's own event loop with both of its faces: the
 * WebSocket at /ari/events, which takes requests (22) or throws them away
 * (16), and HTTP. Any number of connections; the test says how requests over
 * HTTP are answered, and when.
 */
#ifndef KAP_ARI_HTTP_FIXTURE_H
#define KAP_ARI_HTTP_FIXTURE_H

#include <sys/queue.h>

#include "ari_server_fixture.h"

/* How requests over HTTP are answered; the first question always is. */
enum asterisk_manner {
	ASTERISK_ANSWERS,      /* 200, with the path for a body */
	ASTERISK_ANSWERS_CLOSING, /* the same, and says that it closes */
	ASTERISK_CLOSES_AFTER, /* the same, and closes without a word */
	ASTERISK_HOLDS,        /* the test answers, asterisk_reply */
	ASTERISK_BREAKS,       /* closes the connection */
	ASTERISK_SAYS          /* sends `says`, and closes */
};

struct asterisk_peer {
	LIST_ENTRY(asterisk_peer) entry;
	struct asterisk *asterisk;
	struct bufferevent *bev;
	bool is_websocket;
	bool ends; /* when its output has left */
};

/* A request that waits for its answer. */
struct asterisk_held {
	STAILQ_ENTRY(asterisk_held) entry;
	struct asterisk_peer *peer; /* NULL: it hung up meanwhile */
	char path[512];
};

struct asterisk {
	struct event_base *base;
	struct evconnlistener *listener;
	uint16_t port;
	bool has_rest; /* over the WebSocket, as 22 */
	bool no_pongs;
	int info_status; /* of the first question over HTTP; 0: silence */
	enum asterisk_manner manner;
	const char *says;
	size_t says_len;

	LIST_HEAD(, asterisk_peer) peers;
	STAILQ_HEAD(, asterisk_held) held;
	unsigned held_count;
	unsigned websockets;  /* ever made */
	unsigned connections; /* of HTTP, ever made */
	unsigned gone;        /* of HTTP, that the client closed */
	unsigned infos;
	unsigned requests;    /* all but the first questions */

	/* of the last one */
	char head[4096];
	char method[16];
	char path[512];
	char body[512];
	char websocket_head[4096];
};

/* A header's value in a head, or "(none)". */
static inline const char *
asterisk_header(const char *head, const char *name)
{
	static char value[512];
	char wanted[64];
	const char *at;

	(void)snprintf(wanted, sizeof(wanted), "\r\n%s: ", name);
	at = strstr(head, wanted);
	if (at == NULL)
		return "(none)";
	at += strlen(wanted);
	(void)snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"),
	    at);
	return value;
}

static inline void
asterisk_peer_free(struct asterisk_peer *peer)
{
	struct asterisk_held *held;

	STAILQ_FOREACH(held, &peer->asterisk->held, entry) {
		if (held->peer == peer)
			held->peer = NULL;
	}
	LIST_REMOVE(peer, entry);
	bufferevent_free(peer->bev);
	free(peer);
}

static inline void
asterisk_send_reply(struct asterisk_peer *peer, int status, const char *body)
{
	char head[256];

	(void)snprintf(head, sizeof(head), "HTTP/1.1 %d Words\r\n"
	    "Server: Asterisk/16.28.0\r\nCache-Control: no-cache, no-store\r\n"
	    "%sContent-Length: %zu\r\n\r\n", status,
	    peer->asterisk->manner == ASTERISK_ANSWERS_CLOSING ?
	        "Connection: close\r\n" : "", strlen(body));
	(void)bufferevent_write(peer->bev, head, strlen(head));
	(void)bufferevent_write(peer->bev, body, strlen(body));
}

/* Answer the request that has waited longest; false if there is none. */
static inline bool
asterisk_reply(struct asterisk *asterisk, int status, const char *body)
{
	struct asterisk_held *held = STAILQ_FIRST(&asterisk->held);

	if (held == NULL)
		return false;
	STAILQ_REMOVE_HEAD(&asterisk->held, entry);
	asterisk->held_count--;
	if (held->peer != NULL)
		asterisk_send_reply(held->peer, status,
		    body != NULL ? body : held->path);
	free(held);
	return true;
}

static inline void
asterisk_hold(struct asterisk_peer *peer)
{
	struct asterisk_held *held = calloc(1, sizeof(*held));

	if (held == NULL)
		abort();
	held->peer = peer;
	(void)snprintf(held->path, sizeof(held->path), "%s",
	    peer->asterisk->path);
	STAILQ_INSERT_TAIL(&peer->asterisk->held, held, entry);
	peer->asterisk->held_count++;
}

/* False when that was the end of the peer. */
static inline bool
asterisk_answer(struct asterisk_peer *peer)
{
	struct asterisk *asterisk = peer->asterisk;

	switch (asterisk->manner) {
	case ASTERISK_ANSWERS:
		asterisk_send_reply(peer, 200, asterisk->path);
		break;
	case ASTERISK_ANSWERS_CLOSING:
	case ASTERISK_CLOSES_AFTER:
		asterisk_send_reply(peer, 200, asterisk->path);
		peer->ends = true;
		break;
	case ASTERISK_HOLDS:
		asterisk_hold(peer);
		break;
	case ASTERISK_BREAKS:
		asterisk_peer_free(peer);
		return false;
	case ASTERISK_SAYS:
		(void)bufferevent_write(peer->bev, asterisk->says,
		    asterisk->says_len);
		peer->ends = true;
		break;
	}
	return true;
}

#define ASTERISK_INFO "{\"system\":{\"version\":\"16.28.0\"," \
	"\"entity_id\":\"02:fc\"},\"status\":{\"startup_time\":" \
	"\"2026-02-17T10:00:00.000+0000\"}}"

static inline bool
asterisk_on_request(struct asterisk_peer *peer)
{
	struct asterisk *asterisk = peer->asterisk;

	if (strncmp(asterisk->path, "/ari/asterisk/info", 18) != 0) {
		asterisk->requests++;
		return asterisk_answer(peer);
	}
	asterisk->infos++;
	if (asterisk->info_status != 0)
		asterisk_send_reply(peer, asterisk->info_status,
		    ASTERISK_INFO);
	return true;
}

/* ---- the WebSocket ---- */

static inline void
asterisk_upgrade(struct asterisk_peer *peer)
{
	char key[64];
	char answer[512];

	(void)snprintf(peer->asterisk->websocket_head,
	    sizeof(peer->asterisk->websocket_head), "%s",
	    peer->asterisk->head);
	server_accept_key(peer->asterisk->head, key);
	(void)snprintf(answer, sizeof(answer),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
	    "Sec-WebSocket-Protocol: ari\r\n\r\n", key);
	(void)bufferevent_write(peer->bev, answer, strlen(answer));
	peer->is_websocket = true;
	peer->asterisk->websockets++;
}

/* The id of a RESTRequest is all that is looked at. */
static inline void
asterisk_on_text(struct asterisk_peer *peer, const char *text)
{
	static const char name[] = "\"request_id\":\"";
	const char *id = strstr(text, name);
	struct frames frames = { 0 };
	char answer[512];

	if (!peer->asterisk->has_rest || id == NULL)
		return;
	id += strlen(name);
	(void)snprintf(answer, sizeof(answer), "{\"type\":\"RESTResponse\","
	    "\"request_id\":\"%.*s\",\"status_code\":200,\"message_body\":"
	    "\"{\\\"system\\\":{\\\"version\\\":\\\"22.10.1\\\"}}\"}",
	    (int)strcspn(id, "\""), id);
	frames_frame(&frames, true, ARI_WS_TEXT, answer, strlen(answer));
	(void)bufferevent_write(peer->bev, frames.data, frames.len);
	frames_free(&frames);
}

static inline void
asterisk_on_frame(struct asterisk_peer *peer, unsigned opcode,
    const char *payload, size_t len)
{
	struct frames pong = { 0 };

	if (opcode == ARI_WS_TEXT)
		asterisk_on_text(peer, payload);
	if (opcode != ARI_WS_PING || peer->asterisk->no_pongs)
		return;
	frames_frame(&pong, true, ARI_WS_PONG, payload, len);
	(void)bufferevent_write(peer->bev, pong.data, pong.len);
	frames_free(&pong);
}

/* Take one masked frame from the input; false when there is none whole. */
static inline bool
asterisk_take_frame(struct asterisk_peer *peer)
{
	struct evbuffer *input = bufferevent_get_input(peer->bev);
	const size_t there = evbuffer_get_length(input);
	const uint8_t *data = evbuffer_pullup(input, -1);
	size_t at = 2;
	size_t len;
	char *payload;

	if (there < 4)
		return false;
	len = data[1] & 0x7f;
	if (len == 126) {
		len = (size_t)data[2] << 8 | data[3];
		at = 4;
	}
	if (there < at + 4 + len)
		return false;
	payload = calloc(1, len + 1);
	if (payload == NULL || (data[1] & 0x80) == 0 || len == 127)
		abort();
	for (size_t i = 0; i < len; i++)
		payload[i] = (char)(data[at + 4 + i] ^ data[at + (i & 3)]);
	asterisk_on_frame(peer, data[0] & 15U, payload, len);
	(void)evbuffer_drain(input, at + 4 + len);
	free(payload);
	return true;
}

/* ---- HTTP ---- */

/* Take one whole request; false when there is none, or no peer any more. */
static inline bool
asterisk_take_request(struct asterisk_peer *peer)
{
	struct asterisk *asterisk = peer->asterisk;
	struct evbuffer *input = bufferevent_get_input(peer->bev);
	const struct evbuffer_ptr end = evbuffer_search(input, "\r\n\r\n", 4,
	    NULL);
	char head[sizeof(asterisk->head)] = "";
	const char *length;
	size_t body_len = 0;
	size_t head_len;

	if (end.pos < 0)
		return false;
	head_len = (size_t)end.pos + 4;
	if (head_len >= sizeof(head))
		abort();
	(void)evbuffer_copyout(input, head, head_len);
	length = asterisk_header(head, "Content-Length");
	if (strcmp(length, "(none)") != 0)
		body_len = strtoul(length, NULL, 10);
	if (evbuffer_get_length(input) < head_len + body_len)
		return false;
	(void)evbuffer_drain(input, head_len);
	memcpy(asterisk->head, head, sizeof(head));
	memset(asterisk->body, 0, sizeof(asterisk->body));
	(void)evbuffer_copyout(input, asterisk->body,
	    body_len < sizeof(asterisk->body) ? body_len :
	    sizeof(asterisk->body) - 1);
	(void)evbuffer_drain(input, body_len);
	if (sscanf(head, "%15s %511s HTTP/1.1", asterisk->method,
	        asterisk->path) != 2)
		abort();
	if (strncmp(asterisk->path, "/ari/events?", 12) == 0) {
		asterisk_upgrade(peer);
		return true;
	}
	return asterisk_on_request(peer);
}

static inline void
asterisk_on_read(struct bufferevent *bev, void *arg)
{
	struct asterisk_peer *peer = arg;

	(void)bev;
	while (peer->is_websocket ? asterisk_take_frame(peer) :
	    asterisk_take_request(peer))
		continue;
}

static inline void
asterisk_on_written(struct bufferevent *bev, void *arg)
{
	struct asterisk_peer *peer = arg;

	(void)bev;
	if (peer->ends)
		asterisk_peer_free(peer);
}

static inline void
asterisk_on_end(struct bufferevent *bev, short what, void *arg)
{
	struct asterisk_peer *peer = arg;

	(void)bev;
	(void)what;
	if (!peer->is_websocket)
		peer->asterisk->gone++;
	asterisk_peer_free(peer);
}

static inline void
asterisk_on_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *address, int len, void *arg)
{
	struct asterisk *asterisk = arg;
	struct asterisk_peer *peer = calloc(1, sizeof(*peer));

	(void)listener;
	(void)address;
	(void)len;
	if (peer == NULL)
		abort();
	peer->asterisk = asterisk;
	peer->bev = bufferevent_socket_new(asterisk->base, fd,
	    BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(peer->bev, asterisk_on_read, asterisk_on_written,
	    asterisk_on_end, peer);
	LIST_INSERT_HEAD(&asterisk->peers, peer, entry);
	asterisk->connections++; /* less the WebSockets, which tell later */
	(void)bufferevent_enable(peer->bev, EV_READ | EV_WRITE);
}

/* Connections over HTTP ever made. */
static inline unsigned
asterisk_connections(const struct asterisk *asterisk)
{
	return asterisk->connections - asterisk->websockets;
}

/* Close all connections of one kind. */
static inline void
asterisk_hang_up(struct asterisk *asterisk, bool websockets)
{
	struct asterisk_peer *peer = LIST_FIRST(&asterisk->peers);

	while (peer != NULL) {
		struct asterisk_peer *next = LIST_NEXT(peer, entry);

		if (peer->is_websocket == websockets)
			asterisk_peer_free(peer);
		peer = next;
	}
}

static inline void
asterisk_listen(struct asterisk *asterisk)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(asterisk->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	asterisk->listener = evconnlistener_new_bind(asterisk->base,
	    asterisk_on_accept, asterisk, LEV_OPT_CLOSE_ON_FREE |
	    LEV_OPT_REUSEABLE, 128, (struct sockaddr *)&address,
	    sizeof(address));
	if (asterisk->listener == NULL ||
	    getsockname(evconnlistener_get_fd(asterisk->listener),
	        (struct sockaddr *)&address, &len) != 0)
		abort();
	asterisk->port = ntohs(address.sin_port);
}

/* No new connection any more, until asterisk_listen. */
static inline void
asterisk_stop_listening(struct asterisk *asterisk)
{
	evconnlistener_free(asterisk->listener);
	asterisk->listener = NULL;
}

static inline void
asterisk_open(struct asterisk *asterisk, struct event_base *base)
{
	memset(asterisk, 0, sizeof(*asterisk));
	asterisk->base = base;
	asterisk->info_status = 200;
	LIST_INIT(&asterisk->peers);
	STAILQ_INIT(&asterisk->held);
	asterisk_listen(asterisk);
}

static inline void
asterisk_close(struct asterisk *asterisk)
{
	asterisk_hang_up(asterisk, true);
	asterisk_hang_up(asterisk, false);
	while (asterisk_reply(asterisk, 0, ""))
		continue;
	if (asterisk->listener != NULL)
		asterisk_stop_listening(asterisk);
}

#endif
