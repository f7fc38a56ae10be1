/*
 * What an Asterisk would send on its event WebSocket: frames as a server
 * writes them, events by number, and a TCP connection to send them over.
 */
#ifndef KAP_ARI_FRAMES_FIXTURE_H
#define KAP_ARI_FRAMES_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "worker/ari_ws_frame.h"

/* A growing buffer of stream bytes; a test that runs out of memory ends. */
struct frames {
	uint8_t *data;
	size_t len;
	size_t capacity;
};

static inline void
frames_add(struct frames *frames, const void *data, size_t len)
{
	if (frames->len + len > frames->capacity) {
		frames->capacity = (frames->len + len) * 2;
		frames->data = realloc(frames->data, frames->capacity);
		if (frames->data == NULL)
			abort();
	}
	if (len > 0)
		memcpy(frames->data + frames->len, data, len);
	frames->len += len;
}

static inline void
frames_free(struct frames *frames)
{
	free(frames->data);
	memset(frames, 0, sizeof(*frames));
}

static inline void
frames_head(struct frames *frames, bool fin, unsigned opcode, uint64_t len)
{
	uint8_t head[10] = { (uint8_t)((fin ? 0x80U : 0U) | opcode) };
	size_t size = 2;

	if (len < 126) {
		head[1] = (uint8_t)len;
	} else if (len < 65536) {
		head[1] = 126;
		size = 4;
	} else {
		head[1] = 127;
		size = 10;
	}
	for (size_t i = 2; i < size; i++)
		head[i] = (uint8_t)(len >> (8 * (size - 1 - i)));
	frames_add(frames, head, size);
}

static inline void
frames_frame(struct frames *frames, bool fin, unsigned opcode,
    const void *payload, size_t len)
{
	frames_head(frames, fin, opcode, len);
	frames_add(frames, payload, len);
}

/* The call id of the event with a number, and back. */
static inline void
event_call_id(char out[32], unsigned number)
{
	(void)snprintf(out, 32, "1771323600.%u", number);
}

static inline size_t
event_text(char out[256], unsigned number)
{
	return (size_t)snprintf(out, 256, "{\"type\":\"StasisStart\","
	    "\"timestamp\":\"2026-02-17T10:20:30.123+0000\",\"args\":[],"
	    "\"channel\":{\"id\":\"1771323600.%u\",\"state\":\"Up\"}}", number);
}

static inline void
frames_event(struct frames *frames, unsigned number)
{
	char text[256];
	const size_t len = event_text(text, number);

	frames_frame(frames, true, ARI_WS_TEXT, text, len);
}

/* The same in three fragments with a ping and a pong in between. */
static inline void
frames_event_in_pieces(struct frames *frames, unsigned number)
{
	char text[256];
	const size_t len = event_text(text, number);

	frames_frame(frames, false, ARI_WS_TEXT, text, 10);
	frames_frame(frames, true, ARI_WS_PING, "are you there", 13);
	frames_frame(frames, false, ARI_WS_CONTINUATION, text + 10, 0);
	frames_frame(frames, true, ARI_WS_PONG, "", 0);
	frames_frame(frames, true, ARI_WS_CONTINUATION, text + 10, len - 10);
}

/* A message of `len` bytes that is no event. */
static inline void
frames_filler(struct frames *frames, size_t len)
{
	uint8_t *filling = calloc(1, len);

	if (filling == NULL)
		abort();
	memset(filling, 'x', len);
	frames_frame(frames, true, ARI_WS_TEXT, filling, len);
	free(filling);
}

/* A connection over loopback; the client's end does not block. */
static inline void
tcp_pair(int *client_out, int *server_out)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int one = 1;

	*client_out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *client_out < 0 ||
	    bind(listener, (struct sockaddr *)&address, len) != 0 ||
	    listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &len) != 0 ||
	    connect(*client_out, (struct sockaddr *)&address, len) != 0)
		abort();
	*server_out = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*server_out < 0 || fcntl(*client_out, F_SETFL, O_NONBLOCK) != 0)
		abort();
	(void)setsockopt(*server_out, IPPROTO_TCP, TCP_NODELAY, &one,
	    sizeof(one));
	(void)close(listener);
}

static inline void
send_all(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		const ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			abort();
		at += n;
		len -= (size_t)n;
	}
}

#endif
