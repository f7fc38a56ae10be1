/*
 * How a connection ends: the gate's own answer to what it refuses, and the
 * time of grace in which what the client still sends is thrown away, for
 * closing over unread bytes makes the kernel reset the connection, and the
 * client may lose the answer it was sent.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>

#include "gate_conn.h"

/* A client that sends on for longer is cut off. */
#define LINGER_BYTES_MAX (16UL * 1024 * 1024)
#define LINGER_TURN_BYTES (256UL * 1024)
#define RETRY_AFTER_S "2" /* of a 503: most bodies are there at once */

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 204, "No Content" },
	{ 206, "Partial Content" },
	{ 304, "Not Modified" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 402, "Payment Required" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 415, "Unsupported Media Type" },
	{ 416, "Range Not Satisfiable" },
	{ 417, "Expectation Failed" },
	{ 422, "Unprocessable Content" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
};

const char *
gate_reason(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "Unknown";
}

static void
on_refusal_written(struct bufferevent *bev KAP_UNUSED, void *arg)
{
	struct gate_conn *conn = arg;

	if (conn->phase == GATE_REFUSING)
		gate_drop(conn);
}

static void
on_refusal_event(struct bufferevent *bev KAP_UNUSED, short what, void *arg)
{
	/* reading is off; what is left are errors of writing */
	if ((what & (BEV_EVENT_ERROR | BEV_EVENT_EOF)) != 0)
		gate_drop(arg);
}

static const char *
code_of(int status)
{
	if (status == 405)
		return "METHOD_NOT_ALLOWED";
	return status == 503 ? "OVERLOADED" : "INVALID_PARAMETER";
}

/* The header that a status wants beside it. */
static const char *
header_of(int status)
{
	if (status == 405)
		return "Allow: " GATE_ALLOWED_METHODS "\r\n";
	return status == 503 ? "Retry-After: " RETRY_AFTER_S "\r\n" : "";
}

static int
write_refusal(struct gate_conn *conn, const struct gate_refusal *refusal)
{
	char body[256];
	const int len = snprintf(body, sizeof(body),
	    "{\"success\":false,\"error\":\"%s\",\"code\":\"%s\"}",
	    refusal->text, code_of(refusal->status));

	return evbuffer_add_printf(bufferevent_get_output(conn->bev),
	    "HTTP/1.1 %d %s\r\n"
	    "Content-Type: application/json; charset=utf-8\r\n"
	    "Content-Length: %d\r\n"
	    "X-Request-Id: %s\r\n"
	    "Server: kaphila\r\n"
	    "%s"
	    "Connection: close\r\n\r\n%s",
	    refusal->status, gate_reason(refusal->status), len,
	    gate_request_id(conn), header_of(refusal->status),
	    conn->head.method == GATE_METHOD_HEAD ? "" : body);
}

void
gate_conn_refuse(struct gate_conn *conn, const struct gate_refusal *refusal)
{
	const struct gate_config *config = &conn->server->config;

	conn->server->stats.refused++;
	gate_conn_move(conn, GATE_REFUSING);
	conn->must_linger = true;
	/* evhttp hears no more of this connection, but of its end */
	(void)bufferevent_disable(conn->bev, EV_READ);
	bufferevent_setcb(conn->bev, NULL, on_refusal_written,
	    on_refusal_event, conn);
	gate_conn_set_deadline(conn, conn->server->linger_time);
	if (write_refusal(conn, refusal) < 0) {
		gate_drop(conn);
		return;
	}
	(void)bufferevent_enable(conn->bev, EV_WRITE);
	config->on_refused(refusal, gate_request_id(conn), config->ctx);
}

/* Discard a bounded piece. True when there is nothing more to wait for. */
static bool
discard(struct gate_conn *conn, evutil_socket_t fd)
{
	size_t turn = 0;

	while (turn < LINGER_TURN_BYTES) {
		/* no buffer: TCP drops the bytes without copying them */
		const ssize_t n = recv(fd, NULL, LINGER_TURN_BYTES,
		    MSG_TRUNC | MSG_DONTWAIT);

		if (n == 0)
			return true;
		if (n < 0)
			return errno != EAGAIN && errno != EINTR;
		turn += (size_t)n;
		conn->lingered_bytes += (size_t)n;
	}
	return conn->lingered_bytes > LINGER_BYTES_MAX;
}

static void
on_linger(evutil_socket_t fd, short what KAP_UNUSED, void *arg)
{
	struct gate_conn *conn = arg;

	if (discard(conn, fd))
		gate_conn_free(conn);
}

void
gate_conn_linger(struct gate_conn *conn)
{
	const evutil_socket_t fd = bufferevent_getfd(conn->bev);

	if (conn->linger != NULL)
		return;
	/* evhttp has shut the sending side, so the client knows */
	(void)bufferevent_disable(conn->bev, EV_READ | EV_WRITE);
	if (!conn->must_linger || fd < 0) {
		gate_conn_free(conn);
		return;
	}
	conn->linger = event_new(conn->server->config.base, fd,
	    EV_READ | EV_PERSIST, on_linger, conn);
	if (conn->linger == NULL || event_add(conn->linger, NULL) != 0) {
		gate_conn_free(conn);
		return;
	}
	/* in all, whatever trickles in */
	gate_conn_set_deadline(conn, conn->server->linger_time);
}
