/*
 * A small Asterisk in the test's own event loop: takes connections, does the
 * WebSocket handshake (or one of its faults), reads a client's frames, and
 * sends what the test says.
 */
#ifndef KAP_ARI_SERVER_FIXTURE_H
#define KAP_ARI_SERVER_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "ari_frames_fixture.h"
#include "shared/config.h"

enum server_mode {
	SERVER_UPGRADE,
	SERVER_UPGRADE_SLOWLY, /* the head in pieces, a frame behind it */
	SERVER_REFUSE,         /* 401 */
	SERVER_WRONG_KEY,
	SERVER_NO_ACCEPT,
	SERVER_NO_HTTP,
	SERVER_LONG_HEAD,
	SERVER_HANG_UP,
	SERVER_SILENT
};

struct server {
	struct event_base *base;
	struct evconnlistener *listener;
	uint16_t port;
	enum server_mode mode;
	bool no_pongs;
	const struct frames *greeting; /* sent with the 101; may be NULL */
	/* a client's text message, NUL-terminated; may be NULL */
	void (*on_text)(struct server *server, const char *text, void *arg);
	void *arg;

	unsigned accepted;
	unsigned upgraded;
	unsigned pings;
	unsigned goodbyes; /* Close frames with code 1000 */
	struct bufferevent *peer; /* the last one, or NULL */
	bool is_upgraded;
	struct frames rest; /* of the handshake's answer */
	char head[4096];
};

static inline void
server_send(struct server *server, const struct frames *frames)
{
	if (server->peer == NULL)
		abort();
	(void)bufferevent_write(server->peer, frames->data, frames->len);
}

static inline void
server_send_text(struct server *server, const char *text)
{
	struct frames frames = { 0 };

	frames_frame(&frames, true, ARI_WS_TEXT, text, strlen(text));
	server_send(server, &frames);
	frames_free(&frames);
}

static inline void
server_hang_up(struct server *server)
{
	if (server->peer != NULL)
		bufferevent_free(server->peer);
	server->peer = NULL;
	server->is_upgraded = false;
}

static inline void
server_accept_key(const char *head, char out[64])
{
	static const char name[] = "Sec-WebSocket-Key: ";
	const char *key = strstr(head, name);
	unsigned char digest[SHA_DIGEST_LENGTH];
	char text[128];

	if (key == NULL)
		abort();
	key += strlen(name);
	(void)snprintf(text, sizeof(text),
	    "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
	    (int)strcspn(key, "\r"), key);
	(void)SHA1((const unsigned char *)text, strlen(text), digest);
	(void)EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}

static inline void
server_on_rest(evutil_socket_t fd, short what, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)what;
	if (server->peer != NULL)
		server_send(server, &server->rest);
	frames_free(&server->rest);
}

/* Slowly: a piece of the head, after a while the rest with the greeting. */
static inline void
server_upgrade(struct server *server)
{
	const struct timeval after = { .tv_usec = 20000 };
	const size_t piece = 16;
	char key[64];
	char answer[512];

	server_accept_key(server->head, key);
	if (server->mode == SERVER_WRONG_KEY)
		key[3] = key[3] == 'A' ? 'B' : 'A';
	(void)snprintf(answer, sizeof(answer),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\n%s%s%sSec-WebSocket-Protocol: ari\r\n\r\n",
	    server->mode == SERVER_NO_ACCEPT ? "" : "sec-websocket-accept:",
	    server->mode == SERVER_NO_ACCEPT ? "" : key,
	    server->mode == SERVER_NO_ACCEPT ? "" : " \r\n");
	server->is_upgraded = true;
	server->upgraded++;
	frames_add(&server->rest, answer, strlen(answer));
	if (server->greeting != NULL)
		frames_add(&server->rest, server->greeting->data,
		    server->greeting->len);
	if (server->mode != SERVER_UPGRADE_SLOWLY) {
		server_on_rest(-1, 0, server);
		return;
	}
	send_all(bufferevent_getfd(server->peer), server->rest.data, piece);
	server->rest.len -= piece;
	memmove(server->rest.data, server->rest.data + piece,
	    server->rest.len);
	(void)event_base_once(server->base, -1, EV_TIMEOUT, server_on_rest,
	    server, &after);
}

static inline void
server_answer_head(struct server *server)
{
	static const char refusal[] = "HTTP/1.1 401 Unauthorized\r\n"
	    "Content-Length: 0\r\n\r\n";
	static const char banner[] = "SSH-2.0-OpenSSH_9.2\r\n\r\n";
	char filling[16384];

	switch (server->mode) {
	case SERVER_UPGRADE:
	case SERVER_WRONG_KEY:
	case SERVER_NO_ACCEPT:
	case SERVER_UPGRADE_SLOWLY:
		server_upgrade(server);
		break;
	case SERVER_REFUSE:
		(void)bufferevent_write(server->peer, refusal,
		    strlen(refusal));
		break;
	case SERVER_NO_HTTP:
		(void)bufferevent_write(server->peer, banner, strlen(banner));
		break;
	case SERVER_LONG_HEAD:
		memset(filling, 'x', sizeof(filling));
		(void)bufferevent_write(server->peer, filling,
		    sizeof(filling));
		break;
	case SERVER_HANG_UP:
		server_hang_up(server);
		break;
	case SERVER_SILENT:
		break;
	}
}

static inline void
server_on_frame(struct server *server, unsigned opcode, char *payload,
    size_t len)
{
	if (opcode == ARI_WS_PING) {
		struct frames pong = { 0 };

		server->pings++;
		frames_frame(&pong, true, ARI_WS_PONG, payload, len);
		if (!server->no_pongs)
			server_send(server, &pong);
		frames_free(&pong);
	} else if (opcode == ARI_WS_CLOSE) {
		server->goodbyes += len == 2 && memcmp(payload, "\x03\xe8",
		    2) == 0;
	} else if (opcode == ARI_WS_TEXT && server->on_text != NULL) {
		server->on_text(server, payload, server->arg);
	}
}

/* Take one masked frame from the input; false when there is none whole. */
static inline bool
server_take_frame(struct server *server)
{
	struct evbuffer *input = bufferevent_get_input(server->peer);
	const size_t there = evbuffer_get_length(input);
	const uint8_t *data = evbuffer_pullup(input, -1);
	size_t at = 2;
	unsigned opcode;
	size_t len;
	char *payload;

	if (there < 2)
		return false;
	if ((data[1] & 0x80) == 0)
		abort(); /* a client must mask */
	opcode = data[0] & 15U;
	len = data[1] & 0x7f;
	if (len == 126) {
		if (there < 4)
			return false;
		len = (size_t)data[2] << 8 | data[3];
		at = 4;
	} else if (len == 127) {
		abort();
	}
	if (there < at + 4 + len)
		return false;
	payload = calloc(1, len + 1);
	if (payload == NULL)
		abort();
	for (size_t i = 0; i < len; i++)
		payload[i] = (char)(data[at + 4 + i] ^ data[at + (i & 3)]);
	(void)evbuffer_drain(input, at + 4 + len);
	server_on_frame(server, opcode, payload, len);
	free(payload);
	return true;
}

static inline void
server_on_read(struct bufferevent *bev, void *arg)
{
	struct server *server = arg;
	struct evbuffer *input = bufferevent_get_input(bev);

	if (bev != server->peer)
		return;
	if (!server->is_upgraded) {
		const struct evbuffer_ptr end = evbuffer_search(input,
		    "\r\n\r\n", 4, NULL);

		if (end.pos < 0)
			return;
		memset(server->head, 0, sizeof(server->head));
		(void)evbuffer_remove(input, server->head,
		    (size_t)end.pos + 4);
		server_answer_head(server);
	}
	while (server->peer == bev && server->is_upgraded &&
	    server_take_frame(server))
		continue;
}

static inline void
server_on_event(struct bufferevent *bev, short what, void *arg)
{
	struct server *server = arg;

	(void)what;
	if (bev == server->peer)
		server_hang_up(server);
	else
		bufferevent_free(bev);
}

static inline void
server_on_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *address, int len, void *arg)
{
	struct server *server = arg;

	(void)listener;
	(void)address;
	(void)len;
	server_hang_up(server);
	server->accepted++;
	server->peer = bufferevent_socket_new(server->base, fd,
	    BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(server->peer, server_on_read, NULL, server_on_event,
	    server);
	(void)bufferevent_enable(server->peer, EV_READ | EV_WRITE);
}

static inline void
server_open(struct server *server, struct event_base *base)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	memset(server, 0, sizeof(*server));
	server->base = base;
	server->listener = evconnlistener_new_bind(base, server_on_accept,
	    server, LEV_OPT_CLOSE_ON_FREE, 16, (struct sockaddr *)&address,
	    sizeof(address));
	if (server->listener == NULL ||
	    getsockname(evconnlistener_get_fd(server->listener),
	        (struct sockaddr *)&address, &len) != 0)
		abort();
	server->port = ntohs(address.sin_port);
}

static inline void
server_close(struct server *server)
{
	server_hang_up(server);
	frames_free(&server->rest);
	if (server->listener != NULL)
		evconnlistener_free(server->listener);
	server->listener = NULL;
}

/* A configuration that points at the server, with short times. */
static inline void
server_config(const struct server *server, struct config *config)
{
	config_init(config);
	(void)snprintf(config->asterisk.url, sizeof(config->asterisk.url),
	    "http://127.0.0.1:%u", (unsigned)server->port);
	(void)snprintf(config->asterisk.user, sizeof(config->asterisk.user),
	    "Aladdin");
	(void)snprintf(config->asterisk.password,
	    sizeof(config->asterisk.password), "open sesame");
	config->asterisk.command_timeout_ms = 2000;
	config->asterisk.ping_interval_ms = 100000;
	config->asterisk.reconnect_min_ms = 10;
	config->asterisk.reconnect_max_ms = 40;
}

#endif
