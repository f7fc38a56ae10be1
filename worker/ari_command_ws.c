/*
 * REST over a WebSocket (Asterisk 22): one text message for each request,
 * answered by one with the same request_id. Framing is wslay's; this file
 * moves bytes and sees whether the other end is there. What a request means,
 * and how long it may take, is not known here.
 *
 * An older Asterisk reads what it is sent and throws it away. But every one
 * works a connection's messages off one by one, and answers pings: so a ping
 * goes out behind the first request, and if it is answered before that, then
 * nobody takes requests here.
 *
 * An app name of its own: with that of the event link, Asterisk would take
 * the events away from there.
 */
#include "ari_transport.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/util.h>
#include <wslay/wslay.h>

#include "ari_connect.h"
#include "event_socket.h"
#include "shared/crash_point.h"

#define REPLY_MAX (32U << 20)   /* a list of very many channels */
#define OUT_MAX (8U << 20)      /* bytes that may wait to leave */
#define BODY_MAX 65536          /* of one request */
#define READ_BUDGET (256 << 10) /* bytes read in one turn */
#define PINGS_UNANSWERED 2
#define IOVECS 16
#define ANYBODY "requests?" /* the ping behind the first request */

/* Its number is nobody's: whatever comes is a sign of life, and no more. */
static const char life_request[] = "{\"type\":\"RESTRequest\","
    "\"request_id\":\"0\",\"method\":\"GET\",\"uri\":\"asterisk/ping\"}";

enum ws_state { WS_DOWN, WS_CONNECTING, WS_UP };

struct ws_transport {
	struct event_base *base;
	const struct config *config;
	const struct ari_transport_ops *ops;
	void *link;
	struct ari_address address;
	char app[ARI_APP_SIZE];
	enum ws_state state;
	struct ari_connect *connect; /* in CONNECTING */
	struct event *on_ping;       /* in UP */
	struct event *on_flush;      /* the end of a turn that queued bytes */

	/* in UP */
	int fd;
	wslay_event_context_ptr wslay;
	struct event *on_readable;
	struct event *on_writable;
	struct evbuffer *out;
	uint64_t queued;  /* bytes put into `out` on this connection */
	uint64_t written; /* …and taken by the kernel */
	size_t budget;
	bool asked;    /* a request was sent, and ANYBODY behind it */
	bool answered; /* a reply came */
	bool deaf;     /* none will: ANYBODY was answered before */
	bool heard;
	unsigned unanswered;
	char doom[160]; /* why the connection ends with this turn */
};

static void
wait_for_ping(struct ws_transport *ws)
{
	const int64_t ms = ws->config->asterisk.ping_interval_ms;
	const struct timeval after = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)evtimer_add(ws->on_ping, &after);
}

/* ---- down ---- */

/* Never from inside wslay, which would be freed under itself. */
/*
 * Part in good order, where the connection is; nobody waits for the answer.
 * A frame that has left in part can't be interrupted by another.
 */
static void
say_goodbye(const struct ws_transport *ws)
{
	static const uint8_t normal_closure[2] = { 1000 >> 8, 1000 & 0xff };
	int rc;

	if (ws->state != WS_UP || evbuffer_get_length(ws->out) > 0)
		return;
	rc = event_socket_send_control(ws->fd, ARI_WS_CLOSE, normal_closure,
	    sizeof(normal_closure));
	(void)rc; /* a connection that broke needs none */
}

static uint64_t
ws_drop(void *transport)
{
	struct ws_transport *ws = transport;
	const uint64_t written = ws->written;

	say_goodbye(ws);
	ari_connect_cancel(&ws->connect);
	if (ws->wslay != NULL)
		wslay_event_context_free(ws->wslay);
	ws->wslay = NULL;
	if (ws->on_readable != NULL)
		event_free(ws->on_readable);
	if (ws->on_writable != NULL)
		event_free(ws->on_writable);
	ws->on_readable = NULL;
	ws->on_writable = NULL;
	if (ws->out != NULL)
		evbuffer_free(ws->out);
	ws->out = NULL;
	if (ws->fd >= 0)
		(void)close(ws->fd);
	ws->fd = -1;
	(void)event_del(ws->on_flush);
	(void)evtimer_del(ws->on_ping);
	ws->state = WS_DOWN;
	ws->doom[0] = '\0';
	ws->queued = 0;
	ws->written = 0;
	return written;
}

/* The first reason stays; the connection ends when the turn does. */
static void
doom(struct ws_transport *ws, const char *reason)
{
	if (ws->doom[0] == '\0')
		(void)snprintf(ws->doom, sizeof(ws->doom), "%s", reason);
	event_active(ws->on_flush, 0, 0);
}

/* ---- sending ---- */

/* wslay's bytes go into `out`, which leaves at the end of the turn. */
static ssize_t
on_wslay_send(wslay_event_context_ptr wslay, const uint8_t *data, size_t len,
    int flags, void *arg)
{
	struct ws_transport *ws = arg;

	(void)flags;
	if (evbuffer_add(ws->out, data, len) != 0) {
		wslay_event_set_error(wslay, WSLAY_ERR_CALLBACK_FAILURE);
		return -1;
	}
	ws->queued += len;
	return (ssize_t)len;
}

static int
on_wslay_mask(wslay_event_context_ptr wslay, uint8_t *out, size_t len,
    void *arg)
{
	(void)wslay;
	(void)arg;
	evutil_secure_rng_get_bytes(out, len);
	return 0;
}

/* Frame what wslay has queued, and see that it leaves. */
static int
frame_queued(struct ws_transport *ws)
{
	event_active(ws->on_flush, 0, 0);
	return wslay_event_send(ws->wslay) == 0 ? 0 : -KAP_NOMEM;
}

/* One write of what waits. Returns 0, or errno. */
static int
write_out(struct ws_transport *ws)
{
	struct evbuffer_iovec pieces[IOVECS];
	struct iovec iov[IOVECS];
	const int n = evbuffer_peek(ws->out, -1, NULL, pieces, IOVECS);
	struct msghdr message = { .msg_iov = iov };
	ssize_t sent;

	for (int i = 0; i < n && i < IOVECS; i++) {
		iov[i].iov_base = pieces[i].iov_base;
		iov[i].iov_len = pieces[i].iov_len;
		message.msg_iovlen++;
	}
	sent = sendmsg(ws->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return errno;
	ws->written += (uint64_t)sent;
	(void)evbuffer_drain(ws->out, (size_t)sent);
	return 0;
}

static void
flush(struct ws_transport *ws)
{
	char reason[128];
	int error = 0;

	while (error == 0 && evbuffer_get_length(ws->out) > 0)
		error = write_out(ws);
	if (error == 0)
		CRASH_POINT(command_bytes_left);
	if (error == EAGAIN || error == EINTR) {
		(void)event_add(ws->on_writable, NULL);
	} else if (error != 0) {
		(void)snprintf(reason, sizeof(reason),
		    "the connection broke: %s", strerror(error));
		ws->ops->lost(ws->link, reason);
	}
}

static void
on_flush_due(evutil_socket_t fd, short what, void *arg)
{
	struct ws_transport *ws = arg;

	(void)fd;
	(void)what;
	if (ws->doom[0] != '\0')
		ws->ops->lost(ws->link, ws->doom);
	else if (ws->state == WS_UP)
		flush(ws);
}

static char *
print_request(const struct ari_request *request)
{
	char id[24];
	char uri[ARI_URI_MAX];
	cJSON *json = cJSON_CreateObject();
	char *text = NULL;

	(void)snprintf(id, sizeof(id), "%" PRIu64, request->id);
	(void)snprintf(uri, sizeof(uri), "%s%s%s", request->path,
	    request->query != NULL ? "?" : "",
	    request->query != NULL ? request->query : "");
	if (cJSON_AddStringToObject(json, "type", "RESTRequest") != NULL &&
	    cJSON_AddStringToObject(json, "request_id", id) != NULL &&
	    cJSON_AddStringToObject(json, "method", request->method) != NULL &&
	    cJSON_AddStringToObject(json, "uri", uri) != NULL &&
	    (request->body_json == NULL ||
	        (cJSON_AddStringToObject(json, "content_type",
	             "application/json") != NULL &&
	            cJSON_AddStringToObject(json, "message_body",
	                request->body_json) != NULL)))
		text = cJSON_PrintUnformatted(json);
	cJSON_Delete(json);
	return text;
}

static int
frame_message(struct ws_transport *ws, uint8_t opcode, const char *text)
{
	const struct wslay_event_msg message = { .opcode = opcode,
		.msg = (const uint8_t *)text, .msg_length = strlen(text) };
	const int rc = wslay_event_queue_msg(ws->wslay, &message);

	if (rc != 0)
		return rc == WSLAY_ERR_NOMEM ? -KAP_NOMEM : -KAP_AGAIN;
	if (frame_queued(ws) != 0) {
		doom(ws, "out of memory"); /* a frame may be torn */
		return -KAP_NOMEM;
	}
	return 0;
}

static int
ws_send(void *transport, const struct ari_request *request, uint64_t *mark_out)
{
	struct ws_transport *ws = transport;
	char *text;
	int rc;

	if (strlen(request->path) + (request->query != NULL ?
	    strlen(request->query) + 1 : 0) >= ARI_URI_MAX ||
	    (request->body_json != NULL &&
	        strlen(request->body_json) > BODY_MAX))
		return -KAP_TOOBIG;
	if (evbuffer_get_length(ws->out) > OUT_MAX)
		return -KAP_FULL;
	text = print_request(request);
	if (text == NULL)
		return -KAP_NOMEM;
	rc = frame_message(ws, WSLAY_TEXT_FRAME, text);
	free(text);
	*mark_out = ws->queued;
	if (rc == 0 && !ws->asked) {
		ws->asked = true;
		if (frame_message(ws, WSLAY_PING, ANYBODY) != 0)
			doom(ws, "out of memory");
	}
	return rc;
}

/* ---- receiving ---- */

static ssize_t
on_wslay_recv(wslay_event_context_ptr wslay, uint8_t *out, size_t len,
    int flags, void *arg)
{
	struct ws_transport *ws = arg;
	ssize_t n = -1;

	(void)flags;
	errno = EAGAIN;
	if (ws->budget > 0)
		n = recv(ws->fd, out, len, MSG_DONTWAIT);
	if (n > 0) {
		ws->heard = true;
		ws->budget -= (size_t)n < ws->budget ? (size_t)n : ws->budget;
		return n;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	doom(ws, n == 0 ? "Asterisk closed the connection" :
	    strerror(errno));
	wslay_event_set_error(wslay, WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

static void
on_response(struct ws_transport *ws, const cJSON *json)
{
	const char *id = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "request_id"));
	const char *body = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "message_body"));
	const double status = cJSON_GetNumberValue(
	    cJSON_GetObjectItemCaseSensitive(json, "status_code"));

	ws->answered = true;
	if (id == NULL || !(status >= 100 && status <= 599))
		return;
	if (body == NULL)
		body = "";
	ws->ops->reply(ws->link, strtoull(id, NULL, 10), (int)status, body,
	    strlen(body));
}

static void
on_text(struct ws_transport *ws, const uint8_t *data, size_t len)
{
	char *copy = malloc(len + 1); /* cJSON wants a NUL behind it */
	cJSON *json = NULL;
	const char *type;

	if (copy != NULL) {
		memcpy(copy, data, len);
		copy[len] = '\0';
		json = cJSON_Parse(copy);
	}
	type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json,
	    "type"));
	if (type != NULL && strcmp(type, "RESTResponse") == 0)
		on_response(ws, json);
	else if (type != NULL && strcmp(type, "ApplicationReplaced") == 0)
		doom(ws, "another connection took the Stasis app over");
	cJSON_Delete(json);
	free(copy);
}

/* To all that was sent before it, there is a reply by now, or none comes. */
static void
on_pong(struct ws_transport *ws, const uint8_t *data, size_t len)
{
	if (len != strlen(ANYBODY) || memcmp(data, ANYBODY, len) != 0 ||
	    ws->answered)
		return;
	ws->deaf = true;
	ws->ops->deaf(ws->link);
}

static void
on_wslay_message(wslay_event_context_ptr wslay,
    const struct wslay_event_on_msg_recv_arg *message, void *arg)
{
	struct ws_transport *ws = arg;
	char reason[64];

	(void)wslay;
	if (message->opcode == WSLAY_TEXT_FRAME) {
		on_text(ws, message->msg, message->msg_length);
	} else if (message->opcode == WSLAY_PONG) {
		on_pong(ws, message->msg, message->msg_length);
	} else if (message->opcode == WSLAY_CONNECTION_CLOSE) {
		(void)snprintf(reason, sizeof(reason),
		    "Asterisk closed the link (code %u)",
		    (unsigned)message->status_code);
		doom(ws, reason);
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ws_transport *ws = arg;

	(void)fd;
	(void)what;
	ws->budget = READ_BUDGET;
	if (wslay_event_recv(ws->wslay) != 0 ||
	    !wslay_event_get_read_enabled(ws->wslay))
		doom(ws, "Asterisk sent a broken WebSocket frame");
	else if (wslay_event_want_write(ws->wslay) &&
	    frame_queued(ws) != 0) /* pongs */
		doom(ws, "out of memory");
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

/* ---- connecting, and staying alive ---- */

static int
set_up(struct ws_transport *ws, int fd)
{
	static const struct wslay_event_callbacks callbacks = {
		.recv_callback = on_wslay_recv,
		.send_callback = on_wslay_send,
		.genmask_callback = on_wslay_mask,
		.on_msg_recv_callback = on_wslay_message,
	};

	ws->fd = fd;
	ws->out = evbuffer_new();
	ws->on_readable = event_new(ws->base, fd, EV_READ | EV_PERSIST,
	    on_readable, ws);
	ws->on_writable = event_new(ws->base, fd, EV_WRITE, on_writable, ws);
	if (ws->out == NULL || ws->on_readable == NULL ||
	    ws->on_writable == NULL ||
	    wslay_event_context_client_init(&ws->wslay, &callbacks, ws) != 0 ||
	    event_add(ws->on_readable, NULL) != 0)
		return -KAP_NOMEM;
	wslay_event_config_set_max_recv_msg_length(ws->wslay, REPLY_MAX);
	return 0;
}

static void
on_connected(void *arg, int fd, const char *reason)
{
	struct ws_transport *ws = arg;

	ws->connect = NULL;
	if (fd < 0) {
		ws->ops->lost(ws->link, reason);
		return;
	}
	if (set_up(ws, fd) != 0) {
		ws->ops->lost(ws->link, "out of memory");
		return;
	}
	ws->state = WS_UP;
	ws->asked = false;
	ws->answered = false;
	ws->deaf = false;
	ws->heard = true;
	ws->unanswered = 0;
	wait_for_ping(ws);
	ws->ops->connected(ws->link);
}

static void
ws_connect(void *transport, const char *app)
{
	struct ws_transport *ws = transport;

	(void)snprintf(ws->app, sizeof(ws->app), "%s", app);
	ws->state = WS_CONNECTING;
	ws->connect = ari_connect_begin(ws->base, &ws->address, ws->config,
	    ws->app, 0, ws->config->asterisk.command_timeout_ms, on_connected,
	    ws);
	if (ws->connect == NULL)
		doom(ws, "out of memory");
}

/*
 * By a request, where there is somebody to answer it: a thread of Asterisk's
 * that can't answer a ping, for the connection broke, waits for ever and keeps
 * the connection's app (session_read in ari/ari_websockets.c; seen in 22.10
 * when one that had stood still went on).
 */
static int
ask_for_life(struct ws_transport *ws)
{
	if (ws->answered)
		return frame_message(ws, WSLAY_TEXT_FRAME, life_request);
	return ws->deaf ? frame_message(ws, WSLAY_PING, "") :
	    0; /* ANYBODY is on its way */
}

static void
on_ping_due(evutil_socket_t fd, short what, void *arg)
{
	struct ws_transport *ws = arg;

	(void)fd;
	(void)what;
	if (ws->heard)
		ws->unanswered = 0;
	ws->heard = false;
	if (ws->unanswered >= PINGS_UNANSWERED) {
		ws->ops->lost(ws->link, "Asterisk answers no pings");
		return;
	}
	ws->unanswered++;
	if (ask_for_life(ws) != 0)
		doom(ws, "out of memory");
	wait_for_ping(ws);
}

/* ---- lifecycle ---- */

static void
ws_close(void *transport)
{
	struct ws_transport *ws = transport;

	if (ws->on_flush != NULL && ws->on_ping != NULL)
		(void)ws_drop(ws);
	if (ws->on_flush != NULL)
		event_free(ws->on_flush);
	if (ws->on_ping != NULL)
		event_free(ws->on_ping);
	free(ws);
}

static void *
ws_open(struct event_base *base, const struct config *config,
    const struct ari_address *address, const struct ari_transport_ops *ops,
    void *link)
{
	struct ws_transport *ws = calloc(1, sizeof(*ws));

	if (ws == NULL)
		return NULL;
	ws->base = base;
	ws->config = config;
	ws->address = *address;
	ws->ops = ops;
	ws->link = link;
	ws->fd = -1;
	ws->on_ping = evtimer_new(base, on_ping_due, ws);
	ws->on_flush = event_new(base, -1, 0, on_flush_due, ws);
	if (ws->on_ping == NULL || ws->on_flush == NULL) {
		ws_close(ws);
		return NULL;
	}
	return ws;
}

const struct ari_transport ari_transport_ws = {
	.name = "WebSocket",
	.open = ws_open,
	.close = ws_close,
	.connect = ws_connect,
	.drop = ws_drop,
	.send = ws_send,
};
