/*
 * What http_server.c, http_request.c and http_reply.c know of each other.
 * Nobody else includes this.
 */
#ifndef KAP_HTTP_INTERNAL_H
#define KAP_HTTP_INTERNAL_H

#include <stdint.h>
#include <sys/queue.h>

#include "gate.h"
#include "http_server.h"

struct evhttp_request;

struct http_request {
	LIST_ENTRY(http_request) entry; /* the server's, until it is freed */
	struct http_server *server; /* NULL: freed meanwhile */
	struct gate_conn *conn;     /* NULL: the client is gone */
	struct evhttp_request *ev;
	const char *method;
	char *path;        /* ours, cut before the query */
	const char *query; /* in the same piece of memory */
	struct http_match match;
	char *params[HTTP_PARAMS_MAX]; /* decoded, ours */
	char id[GATE_REQUEST_ID_MAX + 1];
	char client[64];
	int64_t began_us;
	unsigned stats_route; /* stats.h */
	bool too_large;
	void *user;
	void (*user_free)(void *user);
	http_sent_fn *on_sent; /* NULL: nobody wants to know */
	void *on_sent_arg;
};

/* http_request.c */

/*
 * Make a request out of evhttp's; `ev` is then the request's.
 * Returns 0, or -KAP_NOMEM with `ev` still the caller's.
 */
KAP_MUST_USE int http_request_new(struct http_request **req_out,
    struct gate_conn *conn, struct evhttp_request *ev);

/* Copy the parameters of req->match out of the path. 0 or -KAP_NOMEM. */
KAP_MUST_USE int http_request_take_params(struct http_request *req);

/* Free it; evhttp's request too if its client is gone. */
void http_request_free(struct http_request *req);

/* http_server.c */

/* Count and log an answer. */
void http_server_note_reply(const struct http_request *req, int status);

#endif
