/*
 * The listener of ARI and its connections: bytes in, bytes out at the end of
 * a turn. What they mean is sim_http.c's and, after an upgrade, sim_ws.c's.
 */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "shared/errors.h"
#include "sim.h"

struct evbuffer;
struct sim_ws;

struct sim_conn {
	struct sim *sim;
	struct sim_conn *previous;
	struct sim_conn *next;
	struct sim_conn *next_dirty;
	bool is_dirty;
	bool doomed;   /* closes with this turn; no longer read */
	bool closing;  /* closes when all is written */
	bool silent;   /* takes and sends nothing, but stays */
	bool is_left;  /* the peer has closed, …but a reply is delayed */
	bool waiting;  /* for a reply that is delayed: nothing else is read */
	int fd;
	struct event *on_readable;
	struct event *on_writable;
	struct event on_wait;   /* the end of `waiting` */
	struct event on_speak;  /* the end of `silent` */
	struct evbuffer *in;
	struct evbuffer *out;
	struct evbuffer *delayed; /* the reply waited for */
	struct sim_ws *ws;      /* NULL: HTTP */
	char app[SIM_APP_SIZE]; /* of a WebSocket */
	uint64_t commands;      /* REST requests that came over it */
	uint64_t events;
};

/* Listen. Returns 0, -KAP_IO (errno tells) or -KAP_NOMEM. */
KAP_MUST_USE int sim_server_open(struct sim *sim);

/* Close all. Sets sim->server NULL. */
void sim_server_close(struct sim *sim);

/* Connects are refused for so long; connections stay. */
void sim_server_refuse(struct sim *sim, int64_t ms);

/* Close every connection, without another byte. */
void sim_server_drop_all(struct sim *sim);

/* Read and accept nothing (sim->frozen is set), or again. */
void sim_server_freeze(struct sim *sim);
void sim_server_thaw(struct sim *sim);

/* The first connection; go on by ->next. */
struct sim_conn *sim_server_first(const struct sim *sim);

/* Queue bytes; they leave at the end of the turn. */
void sim_conn_send(struct sim_conn *conn, const void *bytes, size_t len);

/*
 * Queue a reply, now or after a while. Until then no further request of the
 * connection is taken, as Asterisk works them off one by one.
 */
void sim_conn_reply(struct sim_conn *conn, struct evbuffer *reply,
    int64_t delay_ms);

/* No reply will come, and none to a later request either. */
void sim_conn_stop_taking(struct sim_conn *conn);

/* Close it at the end of the turn, after what is queued has left if it can. */
void sim_conn_doom(struct sim_conn *conn);

/* …without another byte. */
void sim_conn_cut(struct sim_conn *conn);

/* Nothing in or out for so long; 0: until its other end goes. */
void sim_conn_silence(struct sim_conn *conn, int64_t ms);

#endif
