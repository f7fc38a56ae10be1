/*
 * Whatever ends a connection only dooms it: it is freed when the turn ends,
 * so that nobody who has it in hand loses it. A doomed one has no app any
 * more.
 */
#include "sim_server.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/listener.h>

#include "sim_app.h"
#include "sim_http.h"
#include "sim_ws.h"

#define READ_BYTES 65536
#define OUT_MAX (256U << 20) /* bytes that may wait for one reader */
#define BACKLOG 1024

struct sim_server {
	struct sim *sim;
	struct evconnlistener *listener; /* NULL: connects are refused */
	struct event *on_flush;
	struct event *on_listen; /* the end of refusing */
	struct sim_conn *conns;
	struct sim_conn *dirty;
};

static struct timeval
as_timeval(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };
}

/* ---- one connection ---- */

static void
mark_dirty(struct sim_conn *conn)
{
	struct sim_server *server = conn->sim->server;

	if (conn->is_dirty)
		return;
	conn->is_dirty = true;
	conn->next_dirty = server->dirty;
	server->dirty = conn;
	event_active(server->on_flush, 0, 0);
}

static void
unlink_conn(struct sim_conn *conn)
{
	struct sim_server *server = conn->sim->server;

	if (conn->previous != NULL)
		conn->previous->next = conn->next;
	else
		server->conns = conn->next;
	if (conn->next != NULL)
		conn->next->previous = conn->previous;
}

/* Out of the list already, and of no list of dirty ones. */
static void
conn_free(struct sim_conn *conn)
{
	sim_ws_end(conn);
	(void)event_del(&conn->on_wait);
	(void)event_del(&conn->on_speak);
	if (conn->on_readable != NULL)
		event_free(conn->on_readable);
	if (conn->on_writable != NULL)
		event_free(conn->on_writable);
	if (conn->in != NULL)
		evbuffer_free(conn->in);
	if (conn->out != NULL)
		evbuffer_free(conn->out);
	if (conn->delayed != NULL)
		evbuffer_free(conn->delayed);
	(void)close(conn->fd);
	free(conn);
}

void
sim_conn_doom(struct sim_conn *conn)
{
	if (conn->doomed)
		return;
	conn->doomed = true;
	(void)event_del(conn->on_readable);
	if (conn->app[0] != '\0')
		sim_app_disconnect(conn->sim, conn);
	mark_dirty(conn);
}

void
sim_conn_cut(struct sim_conn *conn)
{
	(void)evbuffer_drain(conn->out, evbuffer_get_length(conn->out));
	sim_conn_doom(conn);
}

void
sim_conn_send(struct sim_conn *conn, const void *bytes, size_t len)
{
	if (conn->doomed)
		return;
	if (evbuffer_get_length(conn->out) > OUT_MAX ||
	    evbuffer_add(conn->out, bytes, len) != 0)
		sim_conn_cut(conn);
	else
		mark_dirty(conn);
}

static void
process(struct sim_conn *conn)
{
	if (conn->doomed || conn->silent || conn->waiting ||
	    conn->sim->frozen || conn->sim->dying)
		return;
	if (conn->ws != NULL)
		sim_ws_input(conn);
	else
		sim_http_input(conn);
}

/* What its peer has left: nothing, or the thaw and the timer come back to it. */
static void
end_if_done(struct sim_conn *conn)
{
	if (!conn->sim->frozen && !evtimer_pending(&conn->on_wait, NULL))
		sim_conn_doom(conn);
}

/* ---- replies that wait ---- */

static void
on_wait_over(evutil_socket_t fd, short what, void *arg)
{
	struct sim_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->waiting = false;
	if (conn->delayed != NULL && !conn->doomed) {
		(void)evbuffer_add_buffer(conn->out, conn->delayed);
		mark_dirty(conn);
	}
	process(conn);
	if (conn->is_left)
		end_if_done(conn);
}

void
sim_conn_reply(struct sim_conn *conn, struct evbuffer *reply,
    int64_t delay_ms)
{
	const struct timeval after = as_timeval(delay_ms);

	if (delay_ms <= 0) {
		(void)evbuffer_add_buffer(conn->out, reply);
		mark_dirty(conn);
		return;
	}
	if (conn->delayed == NULL)
		conn->delayed = evbuffer_new();
	if (conn->delayed == NULL ||
	    evbuffer_add_buffer(conn->delayed, reply) != 0) {
		sim_conn_cut(conn);
		return;
	}
	conn->waiting = true;
	(void)event_add(&conn->on_wait, &after);
}

void
sim_conn_stop_taking(struct sim_conn *conn)
{
	conn->waiting = true;
}

/* ---- silence ---- */

static void
on_speak_again(evutil_socket_t fd, short what, void *arg)
{
	struct sim_conn *conn = arg;

	(void)fd;
	(void)what;
	conn->silent = false;
	mark_dirty(conn);
	process(conn);
}

void
sim_conn_silence(struct sim_conn *conn, int64_t ms)
{
	const struct timeval after = as_timeval(ms);

	conn->silent = true;
	(void)event_del(conn->on_writable);
	if (ms > 0)
		(void)event_add(&conn->on_speak, &after);
}

/* ---- bytes out ---- */

/* Write what the socket takes. False: the connection is of no more use. */
static bool
write_out(struct sim_conn *conn)
{
	const struct timeval limit =
	    as_timeval(conn->sim->options.write_timeout_ms);

	while (evbuffer_get_length(conn->out) > 0) {
		const int n = evbuffer_write(conn->out, conn->fd);

		if (n > 0) {
			conn->sim->totals.bytes_out += (uint64_t)n;
		} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			(void)event_add(conn->on_writable, &limit);
			return true;
		} else {
			return false;
		}
	}
	return !conn->closing || conn->waiting;
}

static void
flush_conn(struct sim_conn *conn)
{
	if (conn->silent && !conn->doomed)
		return;
	if (!write_out(conn) && !conn->doomed) {
		if (conn->is_left && evtimer_pending(&conn->on_wait, NULL))
			(void)evbuffer_drain(conn->out,
			    evbuffer_get_length(conn->out));
		else
			sim_conn_doom(conn); /* dirty: ends the next time */
	} else if (conn->doomed) {
		unlink_conn(conn);
		conn_free(conn);
	}
}

/* The end of a turn: what it queued leaves, whom it doomed goes. */
static void
on_flush_due(evutil_socket_t fd, short what, void *arg)
{
	struct sim_server *server = arg;
	const struct sim *sim = server->sim;

	(void)fd;
	(void)what;
	if (sim->frozen || sim->dying)
		return; /* the thaw, or the end, sees to them */
	while (server->dirty != NULL) {
		struct sim_conn *conn = server->dirty;

		server->dirty = conn->next_dirty;
		conn->is_dirty = false;
		flush_conn(conn);
	}
}

static void
on_conn_writable(evutil_socket_t fd, short what, void *arg)
{
	struct sim_conn *conn = arg;

	(void)fd;
	if (conn->sim->frozen || conn->silent)
		return;
	if ((what & EV_TIMEOUT) != 0)
		sim_conn_cut(conn); /* nobody reads there */
	mark_dirty(conn);
}

/* ---- bytes in ---- */

/* Nobody is there any more, but what was read is carried out in its turn. */
static void
leave(struct sim_conn *conn)
{
	conn->is_left = true;
	(void)event_del(conn->on_readable);
	end_if_done(conn);
}

static void
on_conn_readable(evutil_socket_t fd, short what, void *arg)
{
	struct sim_conn *conn = arg;
	const int n = evbuffer_read(conn->in, fd, READ_BYTES);

	(void)what;
	if (n > 0) {
		process(conn);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		process(conn);
		leave(conn);
	}
}

static struct sim_conn *
conn_new(struct sim *sim, int fd)
{
	struct sim_conn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL) {
		(void)close(fd);
		return NULL;
	}
	conn->sim = sim;
	conn->fd = fd;
	(void)evtimer_assign(&conn->on_wait, sim->base, on_wait_over, conn);
	(void)evtimer_assign(&conn->on_speak, sim->base, on_speak_again, conn);
	conn->in = evbuffer_new();
	conn->out = evbuffer_new();
	conn->on_readable = event_new(sim->base, fd, EV_READ | EV_PERSIST,
	    on_conn_readable, conn);
	conn->on_writable = event_new(sim->base, fd, EV_WRITE,
	    on_conn_writable, conn);
	if (conn->in == NULL || conn->out == NULL ||
	    conn->on_readable == NULL || conn->on_writable == NULL) {
		conn_free(conn);
		return NULL;
	}
	return conn;
}

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd,
    struct sockaddr *address, int address_len, void *arg)
{
	struct sim_server *server = arg;
	const int one = 1;
	struct sim_conn *conn = conn_new(server->sim, fd);

	(void)listener;
	(void)address;
	(void)address_len;
	if (conn == NULL)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	conn->next = server->conns;
	if (conn->next != NULL)
		conn->next->previous = conn;
	server->conns = conn;
	(void)event_add(conn->on_readable, NULL);
}

/* ---- the listener ---- */

static int
listen_now(struct sim_server *server)
{
	const struct sockaddr_in *address = &server->sim->options.listen;

	server->listener = evconnlistener_new_bind(server->sim->base,
	    on_accept, server, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE |
	    LEV_OPT_CLOSE_ON_EXEC, BACKLOG,
	    (const struct sockaddr *)address, (int)sizeof(*address));
	if (server->listener == NULL)
		return -KAP_IO;
	if (server->sim->frozen)
		(void)evconnlistener_disable(server->listener);
	return 0;
}

static void
on_listen_again(evutil_socket_t fd, short what, void *arg)
{
	struct sim_server *server = arg;
	const struct timeval after = as_timeval(100);

	(void)fd;
	(void)what;
	if (listen_now(server) != 0)
		(void)event_add(server->on_listen, &after);
}

void
sim_server_refuse(struct sim *sim, int64_t ms)
{
	struct sim_server *server = sim->server;
	const struct timeval after = as_timeval(ms);

	if (ms <= 0)
		return;
	if (server->listener != NULL)
		evconnlistener_free(server->listener);
	server->listener = NULL;
	(void)event_add(server->on_listen, &after);
}

void
sim_server_freeze(struct sim *sim)
{
	struct sim_server *server = sim->server;

	if (server->listener != NULL)
		(void)evconnlistener_disable(server->listener);
	for (struct sim_conn *conn = server->conns; conn != NULL;
	    conn = conn->next) {
		(void)event_del(conn->on_readable);
		(void)event_del(conn->on_writable);
	}
}

void
sim_server_thaw(struct sim *sim)
{
	struct sim_server *server = sim->server;

	if (server->listener != NULL)
		(void)evconnlistener_enable(server->listener);
	event_active(server->on_flush, 0, 0);
	for (struct sim_conn *conn = server->conns; conn != NULL;
	    conn = conn->next) {
		mark_dirty(conn);
		if (conn->doomed)
			continue;
		(void)event_add(conn->on_readable, NULL);
		process(conn);
	}
	/* what was done just now may have frozen it again */
	if (sim->frozen)
		sim_server_freeze(sim);
}

struct sim_conn *
sim_server_first(const struct sim *sim)
{
	return sim->server->conns;
}

void
sim_server_drop_all(struct sim *sim)
{
	struct sim_server *server = sim->server;
	struct sim_conn *conn = server->conns;

	server->dirty = NULL;
	server->conns = NULL;
	while (conn != NULL) {
		struct sim_conn *next = conn->next;

		conn_free(conn);
		conn = next;
	}
}

int
sim_server_open(struct sim *sim)
{
	struct sim_server *server = calloc(1, sizeof(*server));

	if (server == NULL)
		return -KAP_NOMEM;
	sim->server = server;
	server->sim = sim;
	server->on_flush = event_new(sim->base, -1, 0, on_flush_due, server);
	server->on_listen = evtimer_new(sim->base, on_listen_again, server);
	if (server->on_flush == NULL || server->on_listen == NULL)
		return -KAP_NOMEM;
	return listen_now(server);
}

void
sim_server_close(struct sim *sim)
{
	struct sim_server *server = sim->server;

	if (server == NULL)
		return;
	sim_server_drop_all(sim);
	if (server->listener != NULL)
		evconnlistener_free(server->listener);
	if (server->on_flush != NULL)
		event_free(server->on_flush);
	if (server->on_listen != NULL)
		event_free(server->on_listen);
	free(server);
	sim->server = NULL;
}
