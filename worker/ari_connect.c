/*
 * TCP and the WebSocket handshake towards Asterisk. Sends one request, reads
 * one head, and hands the socket on; knows no frame and no event.
 *
 *     CONNECT ──▶ SEND ──▶ HEAD ──▶ callback
 */
#include "ari_connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/util.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#define HEAD_MAX 8192      /* of Asterisk's answer */
#define REQUEST_MAX 4096
#define CREDENTIALS_MAX (2 * CONFIG_TEXT_MAX)
#define KEY_SIZE 25        /* 16 bytes in base64, NUL included */
#define ACCEPT_SIZE 29     /* a SHA-1 in base64, NUL included */

enum connect_step { STEP_CONNECT, STEP_SEND, STEP_HEAD };

struct ari_connect {
	struct event_base *base;
	struct event *event;   /* the socket's, of the step we are in */
	struct event *timeout;
	ari_connect_cb callback;
	void *arg;
	int fd;
	enum connect_step step;
	char key[KEY_SIZE];
	char request[REQUEST_MAX];
	size_t request_len;
	size_t sent;
	size_t seen; /* bytes of the head at the last look */
	int error;   /* of connect() itself, told from the loop */
};

static void
release(struct ari_connect *connect)
{
	if (connect->event != NULL)
		event_free(connect->event);
	if (connect->timeout != NULL)
		event_free(connect->timeout);
	if (connect->fd >= 0)
		(void)close(connect->fd);
	explicit_bzero(connect->request, sizeof(connect->request));
	free(connect);
}

void
ari_connect_cancel(struct ari_connect **connect)
{
	if (*connect != NULL)
		release(*connect);
	*connect = NULL;
}

/* The end, either way: the callback, and no more of us. */
static void
finish(struct ari_connect *connect, int fd, const char *reason)
{
	const ari_connect_cb callback = connect->callback;
	void *arg = connect->arg;
	char copy[160];

	(void)snprintf(copy, sizeof(copy), "%s", reason);
	if (fd >= 0)
		connect->fd = -1; /* the callee's now */
	release(connect);
	callback(arg, fd, copy);
}

static void
finish_errno(struct ari_connect *connect, const char *what, int error)
{
	char reason[128];

	(void)snprintf(reason, sizeof(reason), "%s: %s", what,
	    strerror(error));
	finish(connect, -KAP_GONE, reason);
}

/* ---- the answer ---- */

/* What the server must answer to our key (RFC 6455, 4.2.2). */
static void
expected_accept(const char *key, char out[ACCEPT_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[SHA_DIGEST_LENGTH];
	char text[KEY_SIZE + sizeof(guid)];

	(void)snprintf(text, sizeof(text), "%s%s", key, guid);
	(void)SHA1((const unsigned char *)text, strlen(text), digest);
	(void)EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}

/* Find a header's value in a head; *len_out without the spaces around it. */
static const char *
find_header(const char *head, const char *name, size_t *len_out)
{
	const size_t name_len = strlen(name);
	const char *line = strstr(head, "\r\n");

	while (line != NULL && line[2] != '\r') {
		line += 2;
		if (strncasecmp(line, name, name_len) == 0 &&
		    line[name_len] == ':') {
			const char *value = line + name_len + 1;
			size_t len;

			value += strspn(value, " \t");
			len = strcspn(value, "\r\n");
			while (len > 0 && (value[len - 1] == ' ' ||
			    value[len - 1] == '\t'))
				len--;
			*len_out = len;
			return value;
		}
		line = strstr(line, "\r\n");
	}
	return NULL;
}

/* 0, or why this head is not what we asked for. */
static int
check_head(const struct ari_connect *connect, const char *head, char *reason,
    size_t reason_size)
{
	char accept_[ACCEPT_SIZE];
	const char *value;
	size_t len;

	if (strncmp(head, "HTTP/1.1 ", 9) != 0) {
		(void)snprintf(reason, reason_size, "no HTTP server answers");
		return -KAP_PROTO;
	}
	if (strncmp(head + 9, "101 ", 4) != 0) {
		(void)snprintf(reason, reason_size, "Asterisk refused: %.*s%s",
		    (int)strcspn(head + 9, "\r\n"), head + 9,
		    strncmp(head + 9, "401", 3) == 0 ?
		    " (asterisk.user, asterisk.password)" : "");
		return -KAP_DENIED;
	}
	expected_accept(connect->key, accept_);
	value = find_header(head, "Sec-WebSocket-Accept", &len);
	if (value == NULL || len != strlen(accept_) ||
	    memcmp(value, accept_, len) != 0) {
		(void)snprintf(reason, reason_size,
		    "the handshake's answer is not to our key");
		return -KAP_PROTO;
	}
	return 0;
}

/*
 * What was peeked stays readable, so the loop would spin while half a head
 * is there: the low-water mark makes it wait for more than was seen.
 */
static void
set_low_water(const struct ari_connect *connect, int bytes)
{
	(void)setsockopt(connect->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes,
	    sizeof(bytes));
}

static void
wait_for(struct ari_connect *connect, short what);

/* The head is whole when its empty line has come; only it is consumed. */
static void
look_at_head(struct ari_connect *connect, char *head, size_t len)
{
	char *end = memmem(head, len, "\r\n\r\n", 4);
	char reason[160] = "";
	size_t head_len;
	int rc;

	if (end == NULL) {
		if (len >= HEAD_MAX) {
			finish(connect, -KAP_PROTO, "the answer is too long");
			return;
		}
		connect->seen = len;
		set_low_water(connect, (int)len + 1);
		wait_for(connect, EV_READ);
		return;
	}
	head_len = (size_t)(end + 4 - head);
	end[2] = '\0';
	rc = memchr(head, '\0', head_len - 2) != NULL ? -KAP_PROTO :
	    check_head(connect, head, reason, sizeof(reason));
	set_low_water(connect, 1);
	if (rc == 0 && recv(connect->fd, NULL, head_len,
	        MSG_TRUNC | MSG_DONTWAIT) != (ssize_t)head_len)
		rc = -KAP_GONE;
	finish(connect, rc == 0 ? connect->fd : rc,
	    reason[0] != '\0' ? reason : "the handshake failed");
}

static void
read_head(struct ari_connect *connect)
{
	char head[HEAD_MAX + 1];
	const ssize_t n = recv(connect->fd, head, HEAD_MAX,
	    MSG_PEEK | MSG_DONTWAIT);

	if (n > 0 && (size_t)n > connect->seen) {
		look_at_head(connect, head, (size_t)n);
	} else if (n >= 0) {
		finish(connect, -KAP_GONE,
		    "Asterisk closed the connection in the handshake");
	} else if (errno == EAGAIN || errno == EINTR) {
		wait_for(connect, EV_READ);
	} else {
		finish_errno(connect, "the handshake broke", errno);
	}
}

/* ---- the request ---- */

static void
send_request(struct ari_connect *connect)
{
	const ssize_t n = send(connect->fd, connect->request + connect->sent,
	    connect->request_len - connect->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		finish_errno(connect, "can't send the handshake", errno);
		return;
	}
	if (n > 0)
		connect->sent += (size_t)n;
	if (connect->sent < connect->request_len) {
		wait_for(connect, EV_WRITE);
		return;
	}
	connect->step = STEP_HEAD;
	wait_for(connect, EV_READ);
}

static void
check_connected(struct ari_connect *connect)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(connect->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0) {
		finish_errno(connect, "can't connect", error);
		return;
	}
	connect->step = STEP_SEND;
	send_request(connect);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct ari_connect *connect = arg;

	(void)fd;
	(void)what;
	switch (connect->step) {
	case STEP_CONNECT:
		check_connected(connect);
		break;
	case STEP_SEND:
		send_request(connect);
		break;
	case STEP_HEAD:
		read_head(connect);
		break;
	}
}

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	static const char *const reasons[] = {
		[STEP_CONNECT] = "can't connect: timed out",
		[STEP_SEND] = "the handshake timed out",
		[STEP_HEAD] = "Asterisk doesn't answer the handshake",
	};
	struct ari_connect *connect = arg;

	(void)fd;
	(void)what;
	if (connect->error != 0)
		finish_errno(connect, "can't connect", connect->error);
	else
		finish(connect, -KAP_TIMEOUT, reasons[connect->step]);
}

static void
wait_for(struct ari_connect *connect, short what)
{
	if (connect->event != NULL)
		event_free(connect->event);
	connect->event = event_new(connect->base, connect->fd, what, on_socket,
	    connect);
	if (connect->event == NULL || event_add(connect->event, NULL) != 0)
		finish(connect, -KAP_NOMEM, "out of memory");
}

/* ---- the beginning ---- */

static int
write_request(struct ari_connect *connect, const struct ari_address *address,
    const struct config *config, const char *app)
{
	char plain[CREDENTIALS_MAX];
	char encoded[CREDENTIALS_MAX * 4 / 3 + 8];
	char app_encoded[3 * ARI_APP_SIZE];
	unsigned char nonce[16];
	int len;

	evutil_secure_rng_get_bytes(nonce, sizeof(nonce));
	(void)EVP_EncodeBlock((unsigned char *)connect->key, nonce,
	    sizeof(nonce));
	if (ari_url_encode(app, app_encoded, sizeof(app_encoded)) != 0)
		return -KAP_TOOBIG;
	(void)snprintf(plain, sizeof(plain), "%s:%s", config->asterisk.user,
	    config->asterisk.password);
	(void)EVP_EncodeBlock((unsigned char *)encoded,
	    (const unsigned char *)plain, (int)strlen(plain));
	len = snprintf(connect->request, sizeof(connect->request),
	    "GET /ari/events?app=%s&subscribeAll=false HTTP/1.1\r\n"
	    "Host: %s\r\n"
	    "Upgrade: websocket\r\n"
	    "Connection: Upgrade\r\n"
	    "Sec-WebSocket-Version: 13\r\n"
	    "Sec-WebSocket-Key: %s\r\n"
	    "Sec-WebSocket-Protocol: ari\r\n"
	    "Authorization: Basic %s\r\n\r\n",
	    app_encoded, address->host, connect->key, encoded);
	explicit_bzero(plain, sizeof(plain));
	explicit_bzero(encoded, sizeof(encoded));
	if (len < 0 || (size_t)len >= sizeof(connect->request))
		return -KAP_TOOBIG;
	connect->request_len = (size_t)len;
	return 0;
}

/*
 * A fixed buffer turns the kernel's own growing of it off, and without
 * CAP_NET_ADMIN rmem_max may cut it to less than that would reach. So it is
 * tried on a socket of its own first, and used only when granted whole.
 */
static void
set_receive_buffer(int fd, int bytes)
{
	const int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int granted = 0;
	socklen_t len = sizeof(granted);

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
	        sizeof(bytes)) == 0 || probe < 0) {
		if (probe >= 0)
			(void)close(probe);
		return;
	}
	if (setsockopt(probe, SOL_SOCKET, SO_RCVBUF, &bytes,
	        sizeof(bytes)) == 0 &&
	    getsockopt(probe, SOL_SOCKET, SO_RCVBUF, &granted, &len) == 0 &&
	    granted >= bytes)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes,
		    sizeof(bytes));
	(void)close(probe);
}

static int
connect_to(int fd, const struct ari_address *address)
{
	return connect(fd, (const struct sockaddr *)&address->address,
	    address->address_len);
}

/* An error of connect() is kept, to be told from the loop. */
static void
open_socket(struct ari_connect *connect, const struct ari_address *address,
    int rcvbuf)
{
	const int one = 1;

	connect->fd = socket(address->address.ss_family,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (connect->fd < 0) {
		connect->error = errno;
		return;
	}
	if (rcvbuf > 0)
		set_receive_buffer(connect->fd, rcvbuf);
	(void)setsockopt(connect->fd, IPPROTO_TCP, TCP_NODELAY, &one,
	    sizeof(one));
	if (connect_to(connect->fd, address) != 0 && errno != EINPROGRESS)
		connect->error = errno;
}

struct ari_connect *
ari_connect_begin(struct event_base *base, const struct ari_address *address,
    const struct config *config, const char *app, int rcvbuf,
    int64_t timeout_ms, ari_connect_cb callback, void *arg)
{
	struct ari_connect *connect = calloc(1, sizeof(*connect));
	struct timeval after = { .tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000 };

	if (connect == NULL)
		return NULL;
	connect->base = base;
	connect->callback = callback;
	connect->arg = arg;
	connect->fd = -1;
	if (write_request(connect, address, config, app) != 0)
		connect->error = EMSGSIZE;
	else
		open_socket(connect, address, rcvbuf);
	if (connect->error != 0)
		after = (struct timeval){ 0 };
	else
		connect->event = event_new(base, connect->fd, EV_WRITE,
		    on_socket, connect);
	connect->timeout = evtimer_new(base, on_timeout, connect);
	if ((connect->error == 0 && (connect->event == NULL ||
	        event_add(connect->event, NULL) != 0)) ||
	    connect->timeout == NULL ||
	    evtimer_add(connect->timeout, &after) != 0) {
		release(connect);
		return NULL;
	}
	return connect;
}

/* ---- the wait before the next try ---- */

int64_t
ari_backoff_next_ms(struct ari_backoff *backoff, const struct config *config)
{
	const int64_t least = config->asterisk.reconnect_min_ms;
	const int64_t most = config->asterisk.reconnect_max_ms > least ?
	    config->asterisk.reconnect_max_ms : least;
	int64_t span = backoff->next_ms;
	uint32_t random;

	if (span < least)
		span = least;
	if (span > most)
		span = most;
	backoff->next_ms = span * 2;
	evutil_secure_rng_get_bytes(&random, sizeof(random));
	return span / 2 + (int64_t)random % (span / 2 + 1);
}
