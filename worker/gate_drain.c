/*
 * How a server is left: what becomes of connections that wait for their next
 * request. Those that have sent one get its answer, which is gate.c's.
 */
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "gate_conn.h"
#include "shared/clock.h"

/*
 * A drain with patience: what was idle for the first of these is not in use,
 * and has the second from the drain's beginning.
 */
#define IN_USE_MS 10000
#define NOT_IN_USE_GRACE_MS 2000

static bool
has_bytes_in_socket(const struct gate_conn *conn)
{
	char byte;

	return recv(bufferevent_getfd(conn->bev), &byte, 1,
	    MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* No byte of a request has come that would have to be answered. */
static bool
is_idle(const struct gate_conn *conn)
{
	return conn->phase == GATE_READY && !conn->began &&
	    evbuffer_get_length(conn->in) == 0 && !has_bytes_in_socket(conn);
}

static void
close_idle(struct gate_conn *conn)
{
	conn->must_linger = true;
	gate_drop(conn);
}

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/*
 * A drain with patience. Closed between two requests, a connection can lose
 * the one that is on its way just then, and a client must not repeat a POST.
 * So one that is in use is left open until its next request, whose answer
 * says that it was the last.
 */
static void
wait_for_last_request(struct gate_conn *conn)
{
	const struct gate_server *server = conn->server;
	const int64_t now_ms = clock_boot_ms();
	int64_t until_ms = later(conn->idle_since_ms + IN_USE_MS,
	    now_ms + NOT_IN_USE_GRACE_MS);
	struct timeval in;

	if (until_ms > server->patience_end_ms)
		until_ms = later(server->patience_end_ms, now_ms);
	in.tv_sec = (time_t)((until_ms - now_ms) / 1000);
	in.tv_usec = (suseconds_t)((until_ms - now_ms) % 1000 * 1000);
	gate_conn_set_deadline(conn, &in);
}

void
gate_conn_leave_if_idle(struct gate_conn *conn)
{
	if (!conn->server->draining || !is_idle(conn))
		return;
	if (conn->server->patience_end_ms != 0)
		wait_for_last_request(conn);
	else if (conn->served)
		close_idle(conn);
	else
		gate_conn_set_deadline(conn, conn->server->linger_time);
}

void
gate_conn_end_patience(struct gate_conn *conn)
{
	/* a head that begins to come sets its own deadline */
	if (is_idle(conn))
		close_idle(conn);
	else
		gate_conn_set_deadline(conn, conn->server->linger_time);
}

void
gate_server_drain(struct gate_server *server, int64_t patience_ms)
{
	struct gate_conn *conn;

	server->draining = true;
	server->patience_end_ms = patience_ms > 0 ?
	    clock_boot_ms() + patience_ms : 0;
	/* one that is closed leaves the list in its own event */
	LIST_FOREACH(conn, &server->conns, entry)
		gate_conn_leave_if_idle(conn);
}
