/*
 * What the parts of the gate (gate.c, gate_drain.c, gate_input.c,
 * gate_refuse.c) know of a connection. Nobody else includes this.
 */
#ifndef KAP_GATE_CONN_H
#define KAP_GATE_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/time.h>

#include "gate.h"
#include "gate_chunk.h"
#include "gate_head.h"

struct bufferevent;
struct evbuffer_cb_entry;
struct event;
struct evhttp_connection;

enum gate_phase {
	GATE_NEW,      /* accepted; evhttp's connection not yet known */
	GATE_READY,    /* evhttp waits for a request */
	GATE_BUSY,     /* evhttp has one */
	GATE_REFUSING, /* our own answer is being written */
	GATE_DEAD,     /* evhttp's connection is gone; lingers, then freed */
	GATE_PHASE_COUNT
};

enum gate_part { GATE_HEAD, GATE_BODY, GATE_CHUNKS };

struct gate_server {
	struct gate_config config;
	struct gate_stats stats;
	LIST_HEAD(, gate_conn) conns;
	struct gate_conn *current; /* whose request evhttp reads right now */
	const struct timeval *head_time; /* common timeouts */
	const struct timeval *body_time;
	const struct timeval *idle_time;
	const struct timeval *answer_time;
	const struct timeval *linger_time;
	struct timeval own_times[3]; /* where there is no common one left */
	uint64_t id_prefix; /* of request ids made here */
	uint64_t id_count;
	unsigned large_bodies; /* connections that hold one, or may */
	bool draining;
	int64_t patience_end_ms; /* boot clock; 0: drains without patience */
};

struct gate_conn {
	LIST_ENTRY(gate_conn) entry;
	struct gate_server *server;
	struct bufferevent *bev;     /* a reference of our own */
	struct evbuffer *in;         /* the bufferevent's */
	struct evbuffer *held;       /* what came behind the request */
	struct evbuffer *body;       /* decoded chunks, NULL: none */
	struct evbuffer *cut_head;   /* their head, rewritten */
	struct evbuffer_cb_entry *in_cb;
	struct evhttp_connection *evcon; /* NULL in GATE_NEW and GATE_DEAD */
	struct evhttp_request *req;  /* until answered in full */
	struct event *wake;
	struct event *deadline;
	struct event *linger;        /* NULL until it lingers */
	void *user;
	void (*on_sent)(void *arg, bool sent); /* of the answer; or NULL */
	void *on_sent_arg;
	bool *died; /* set when evhttp frees the connection under our feet */

	enum gate_phase phase;
	enum gate_part part;
	struct gate_head head;
	struct gate_chunk chunk;
	size_t scanned_bytes;  /* of the head */
	size_t head_bytes;
	uint64_t body_limit;
	uint64_t lingered_bytes;
	int64_t idle_since_ms; /* boot clock: accepted, or last answered */
	bool began;            /* a byte of the next request is there */
	bool served;           /* had a request before */
	bool taken;            /* evhttp showed us the request just passed */
	bool answered;         /* gate_answer was called for req */
	bool continued;        /* the 100 of Expect was sent */
	bool too_large;
	bool large_body; /* counts among the server's */
	bool must_linger;
};

/* gate.c */
void gate_conn_move(struct gate_conn *conn, enum gate_phase phase);
void gate_conn_wake(struct gate_conn *conn);
void gate_conn_set_deadline(struct gate_conn *conn, const struct timeval *in);
/* Show evhttp the first len bytes of the input, which are one request. */
void gate_conn_pass(struct gate_conn *conn, size_t len);
/* Let the socket be read until the input holds `bytes`. */
void gate_conn_set_window(struct gate_conn *conn, size_t bytes);
/*
 * Let a body over small_body_bytes in, until it is answered. Returns 0, or
 * -KAP_FULL when enough others are in.
 */
KAP_MUST_USE int gate_conn_take_large_body(struct gate_conn *conn);
void gate_conn_free(struct gate_conn *conn);

/* gate_input.c: look at the input; evhttp waits for a request. */
void gate_conn_look(struct gate_conn *conn);
/* Forget the request that was read. */
void gate_conn_reset_input(struct gate_conn *conn);
/* Bytes a connection may send ahead while no head is known. */
size_t gate_conn_base_window(const struct gate_conn *conn);

/* gate_drain.c */

/*
 * While draining: be done with a connection that waits for its next request.
 * One that has just sent it, or has never sent one, gets its answer.
 */
void gate_conn_leave_if_idle(struct gate_conn *conn);
/* The time of one that was waited for is over. */
void gate_conn_end_patience(struct gate_conn *conn);

/* gate_refuse.c */
void gate_conn_refuse(struct gate_conn *conn,
    const struct gate_refusal *refusal);
/* Discard what the client still sends, then free; the connection is dead. */
void gate_conn_linger(struct gate_conn *conn);

#endif
