/*
 * The HTTP front of a worker: evhttp behind the gate, its listeners, the
 * routes, and what a handler reads from a request and answers it with. One
 * server for the API, one for the admin listener.
 *
 * A handler is called once for each request. It answers with exactly one
 * http_reply_* call, now or later; until then the request stays valid, also
 * when its client is gone.
 *
 * The process must ignore SIGPIPE.
 */
#ifndef KAP_HTTP_SERVER_H
#define KAP_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <openssl/ssl.h>

#include "http_router.h"
#include "shared/errors.h"

#define HTTP_JSON_DEPTH_MAX 16

struct event_base;
struct http_request;
struct http_server;

struct http_server_config {
	struct event_base *base;
	struct http_routes routes; /* the table is borrowed */
	void *ctx;                 /* for the handlers */
	SSL_CTX *tls;              /* borrowed; NULL: plain (http_tls.h) */
	size_t max_connections;
	size_t max_head_bytes;
	unsigned max_header_fields;
	size_t max_body_bytes; /* where the route says nothing */
	int head_timeout_ms;
	int body_timeout_ms;
	int idle_timeout_ms;
	int answer_timeout_ms; /* for 64 KiB; larger ones get more */
	int linger_timeout_ms;
};

struct http_server_stats {
	uint64_t connections; /* taken so far */
	size_t live;          /* connections now */
	uint64_t requests;    /* handed to a handler or answered by us */
	uint64_t refused;     /* by the gate */
	uint64_t timeouts;
	uint64_t gone;        /* answers dropped, as far as TCP lets us know */
	uint64_t desyncs;     /* must stay 0 */
	unsigned long accept_failures;
};

/* Limits and times at values fit for production; the rest is zero. */
void http_server_config_init(struct http_server_config *config);

/*
 * Make a server without listeners. Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int http_server_new(struct http_server **server_out,
    const struct http_server_config *config);

/*
 * Take over max_connections, max_body_bytes, the timeouts of head, body and
 * idle connections, and tls, at once; what is under way ends as it began. The
 * rest of `config` is ignored. The tls context that was used before may be
 * freed: each connection has a reference of its own.
 */
void http_server_reconfigure(struct http_server *server,
    const struct http_server_config *config);

/*
 * Close everything at once; not from inside a handler. Requests that are not
 * answered yet stay valid, and must still be answered. Descriptors close
 * when the loop runs next, or with event_base_free. Sets *server NULL.
 */
void http_server_free(struct http_server **server);

/*
 * Accept from a listening socket.
 *
 * slot  whose it is, to drop it by; -1 is fine for one that never is
 * fd    taken over, also on error
 *
 * Returns 0; -KAP_EXISTS when the slot has one here; -KAP_STATE while
 * draining; -KAP_INVAL, -KAP_NOMEM.
 */
KAP_MUST_USE int http_server_add_listener(struct http_server *server,
    int slot, int fd);

/* Give up a listener; its connections stay. One that isn't there is fine. */
void http_server_drop_listener(struct http_server *server, int slot);

/*
 * Leave: give up all listeners, close idle connections, answer the others
 * with `Connection: close`.
 *
 * on_drained  called once from the loop when the last connection is gone;
 *             may free the server. NULL: nobody is told
 */
void http_server_drain(struct http_server *server,
    void (*on_drained)(void *arg), void *arg);

/*
 * The same while somebody else serves on the listeners: a client that uses
 * its connection is not cut off between two requests (gate_server_drain).
 *
 * patience_ms  1.. : for the connections that are idle
 */
void http_server_drain_patiently(struct http_server *server,
    int64_t patience_ms, void (*on_drained)(void *arg), void *arg);

void http_server_get_stats(const struct http_server *server,
    struct http_server_stats *out);

/* ---- what a handler reads; all strings live as long as the request ---- */

const char *http_request_method(const struct http_request *req);
const char *http_request_path(const struct http_request *req); /* encoded */
const char *http_request_query(const struct http_request *req); /* "": none */
const char *http_request_id(const struct http_request *req);
const char *http_request_client(const struct http_request *req); /* address */
const struct http_route *http_request_route(const struct http_request *req);

/* A ":name" of the route's pattern, decoded; NULL if it has none such. */
const char *http_request_param(const struct http_request *req,
    const char *name);

/* A header's value, the first if there are several; NULL: not there. */
const char *http_request_header(const struct http_request *req,
    const char *name);

/*
 * Whether the client is there for sure. One that has closed its connection
 * can't be told from one that has shut its sending side alone, and would still
 * read: neither counts.
 */
bool http_request_has_client(const struct http_request *req);

/*
 * Whether nobody can be answered any more: the connection is closed on both
 * sides, or broken. One whose client is not there for sure isn't gone yet.
 */
bool http_request_is_gone(const struct http_request *req);

/* How many fields of that name there are. */
unsigned http_request_header_count(const struct http_request *req,
    const char *name);

/* The body, not NUL-terminated; *len_out 0 for none, or one too large. */
const char *http_request_body(struct http_request *req, size_t *len_out);

/* The body was over its limit: answer 413, as http_request_json says. */
bool http_request_body_is_too_large(const struct http_request *req);

/* What is wrong with a request, for http_reply_fault. */
struct http_fault {
	int status;
	const char *code; /* static */
	char text[200];
};

/*
 * The body as a JSON object; an empty one counts as {}.
 *
 * json_out  the caller's; use the case-sensitive look-ups
 *
 * Returns 0, or -KAP_INVAL with *fault_out: 413, 415, 400, or 500 when out of
 * memory.
 */
KAP_MUST_USE int http_request_json(struct http_request *req,
    cJSON **json_out, struct http_fault *fault_out);

/* Something of the handler's; freed with the request, or when replaced. */
void http_request_set_user(struct http_request *req, void *user,
    void (*user_free)(void *user));
void *http_request_user(const struct http_request *req);

/* ---- what it answers; each http_reply_* but add_header ends it ---- */

/* One with a control character in it is left out. */
void http_reply_add_header(struct http_request *req, const char *name,
    const char *value);

/*
 * Have `fn` called once, when the answer's way is over: with true when all of
 * it has left for the client and is the kernel's, with false when it never
 * will. For one function only, and before http_reply_*, from inside of which
 * it may be called. A request that is not answered yet calls none.
 */
typedef void http_sent_fn(void *arg, bool sent);
void http_reply_on_sent(struct http_request *req, http_sent_fn *fn,
    void *arg);

/* Takes ownership of `json`; NULL (out of memory) is a 500. */
void http_reply_json(struct http_request *req, int status, cJSON *json);

/*
 * The envelope of all errors. A 503 gets Retry-After, if it has none yet.
 */
void http_reply_error(struct http_request *req, int status,
    const char *code, const char *text);
void http_reply_fault(struct http_request *req,
    const struct http_fault *fault);

/* Any text; copied. */
void http_reply_text(struct http_request *req, int status,
    const char *content_type, const char *data, size_t len);

/* A status without a body, 204. */
void http_reply_empty(struct http_request *req, int status);

#endif
