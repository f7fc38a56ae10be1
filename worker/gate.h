/*
 * The gate before evhttp (libevent 2.1.12). evhttp keeps the output, the gate
 * owns the input: evhttp is shown nothing but one whole request at a time,
 * strictly valid, never chunked, and only when it waits for one. Deadlines
 * for head, body, idle connections and slow readers are the gate's.
 *
 * The gate knows nothing of routes and answers; those are http_server's. The
 * process must ignore SIGPIPE.
 */
#ifndef KAP_GATE_H
#define KAP_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "gate_head.h"
#include "shared/errors.h"

struct evbuffer;
struct event_base;
struct evhttp;
struct evhttp_request;
struct gate_conn;
struct gate_server;

/*
 * Requests with a body over small_body_bytes that are let in at a time, each
 * until it is answered; one more is refused with 503. So what clients without
 * a key can make the process hold is bounded, for a key is looked up only when
 * all of a body is there.
 */
#define GATE_LARGE_BODIES_MAX 64

struct gate_config {
	struct event_base *base;
	struct evhttp *http; /* no evhttp_set_cb, no timeout on it */
	SSL_CTX *tls;        /* NULL: plain */
	struct gate_limits limits;
	int head_ms;   /* from the first byte (or accept) to the head's end */
	int body_ms;   /* from there to the body's end */
	int idle_ms;   /* between two requests */
	int answer_ms; /* for a client to take an answer of up to 64 KiB */
	int linger_ms; /* for a client to close, after we have */
	size_t small_body_bytes; /* what any connection may send as a body */

	void *ctx; /* for the functions below */
	/* Largest body of a request, bytes. path is not NUL-terminated. */
	size_t (*body_limit)(const char *method, const char *path,
	    size_t path_len, void *ctx);
	/*
	 * A request is there. It is now whoever is told here who must either
	 * call gate_answer once, or, after on_gone, evhttp_request_free.
	 */
	void (*on_request)(struct gate_conn *conn,
	    struct evhttp_request *req, void *ctx);
	/* The connection ended unanswered; `user` is gate_set_user's. */
	void (*on_gone)(void *user, void *ctx);
	void (*on_refused)(const struct gate_refusal *refusal,
	    const char *request_id, void *ctx);
	void (*on_opened)(void *ctx); /* a connection came */
	void (*on_closed)(void *ctx); /* its descriptor is about to close */
};

struct gate_stats {
	uint64_t opened;
	uint64_t passed;   /* requests handed to evhttp */
	uint64_t refused;  /* answered by the gate itself */
	uint64_t timeouts;
	uint64_t lost;     /* answers cut off before they were written */
	uint64_t desyncs;  /* evhttp framed it otherwise; must stay 0 */
	size_t live;
};

/*
 * Stand before an evhttp: its bufferevents, its general callback and its
 * limits are the gate's from now on.
 *
 * config  copied; what it points to is borrowed and outlives the gate
 *
 * Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int gate_server_new(struct gate_server **server_out,
    const struct gate_config *config);

/*
 * Free it after evhttp_free(), not from inside a callback. The descriptors
 * close when the loop runs next, or with event_base_free. Sets *server NULL.
 */
void gate_server_free(struct gate_server **server);

/*
 * Take over head_ms, body_ms, idle_ms, small_body_bytes and tls of a
 * configuration: for waits, bodies and connections that begin from now on.
 * The rest is ignored.
 */
void gate_server_reconfigure(struct gate_server *server,
    const struct gate_config *config);

/*
 * Begin to leave: idle connections are closed, the others after the answer
 * they wait for, which says so.
 *
 * patience_ms  0: idle connections are closed at once, for nobody serves from
 *              now on. Else somebody does: one that is in use gets an answer
 *              to its next request before it is closed; one that is not, or
 *              sends none in this time, is closed idle
 */
void gate_server_drain(struct gate_server *server, int64_t patience_ms);

const struct gate_stats *gate_server_stats(const struct gate_server *server);

/*
 * Answer the request under way. Takes the contents of `body`; the output
 * headers are set already. `conn` may not be used by the caller again.
 *
 * reason  of the status line; see gate_reason
 */
void gate_answer(struct gate_conn *conn, int status, const char *reason,
    struct evbuffer *body);

/*
 * Have `fn` called once: with true when the answer that comes next has left
 * for the client in full, with false when it was cut off. NULL: nobody is
 * told.
 */
void gate_set_sent(struct gate_conn *conn, void (*fn)(void *arg, bool sent),
    void *arg);

/* Close the connection now; on_gone is called if a user is set. */
void gate_drop(struct gate_conn *conn);

/* For on_gone; NULL: nobody is told, and the gate frees the request. */
void gate_set_user(struct gate_conn *conn, void *user);

/* The request's method as it was sent, "GET" …; static. */
const char *gate_request_method(const struct gate_conn *conn);

/* The client's X-Request-Id, if sane, else one of ours; until the next. */
const char *gate_request_id(struct gate_conn *conn);

/* Its body was over the limit and was left out; the connection will close. */
bool gate_body_is_too_large(const struct gate_conn *conn);

/* "Not Found" for 404; "Unknown" for a status we don't use. Static. */
const char *gate_reason(int status);

#endif
