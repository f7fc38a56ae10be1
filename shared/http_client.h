/*
 * An HTTP client for one event loop, on libcurl's multi interface: webhooks,
 * speech engines, ARI over HTTP. It keeps connections and easy handles, obeys
 * limits, and never blocks (names are resolved in libcurl's own threads).
 *
 * No redirect is followed, no proxy of the environment is used, certificates
 * are verified, and a guard may rule out addresses at each connect.
 */
#ifndef KAP_HTTP_CLIENT_H
#define KAP_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "net_guard.h"

#define HTTP_CLIENT_HEADERS_MAX 16
/* An answer nobody wants the body of is read up to here. */
#define HTTP_CLIENT_DISCARD_MAX 65536

struct event_base;
struct http_client;
struct http_transfer;

struct http_client_options {
	unsigned concurrency; /* requests under way at once, 1.. */
	unsigned per_host;    /* connections to one host, 1.. */
	unsigned idle_s;      /* idle connections are kept so long; 0: 60 */
	const char *user_agent; /* copied; NULL: none is sent */
	const char *ca_file;  /* PEM, copied; NULL: the system's */
	bool guarded;         /* judge addresses by `guard` */
	struct net_guard_policy guard;
};

/* How a request ended. Borrowed for the call of finish(). */
struct http_result {
	/*
	 * 0 for any answer; -KAP_TIMEOUT; -KAP_DENIED (the guard ruled out
	 * every address); -KAP_NOENT (the name doesn't resolve); -KAP_GONE
	 * (no connection, or it ended early); -KAP_TOOBIG (body_max_bytes);
	 * -KAP_PROTO (TLS, or not HTTP); -KAP_NOMEM; -KAP_IO.
	 */
	int rc;
	unsigned status;   /* 200 …; 0 when none was read */
	const char *error; /* words for the log; "" when rc is 0 */
	const char *body;  /* NUL-terminated; "" where none was kept */
	size_t body_len;
};

typedef void http_finish_fn(void *arg, const struct http_result *result);

struct http_request {
	const char *method; /* "POST" …; NULL: POST with a body, else GET */
	const char *url;    /* copied */
	/* All below are borrowed until finish() or the cancelling. */
	const char *const *headers; /* "Name: value" */
	unsigned header_count;      /* 0..HTTP_CLIENT_HEADERS_MAX */
	const void *body;           /* NULL: none */
	size_t body_len;
	int64_t timeout_ms;    /* for all of it, resolving included; 0: none */
	size_t body_max_bytes; /* of the answer's body; 0: it is thrown away */
	/*
	 * Called when there is a connection and the request is about to leave
	 * over it; before that, it surely has not. May be NULL. With it the
	 * request leaves once at most; without, libcurl repeats one that a kept
	 * connection broke under. Must not start or cancel any.
	 */
	void (*leaving)(void *arg);
	http_finish_fn *finish;
	void *arg;
};

/*
 * base     borrowed, outlives the client
 * options  copied
 *
 * Returns NULL when out of memory. Call it once there are no more forks.
 */
struct http_client *http_client_new(struct event_base *base,
    const struct http_client_options *options);

/*
 * Take over concurrency, per_host and guard of other options, for requests
 * that are sent from now on; the guard also for connections that were kept.
 * The rest is ignored. Not from within a finish().
 *
 * Returns 0 or -KAP_IO (libcurl refused; nothing is changed then).
 */
KAP_MUST_USE int http_client_reconfigure(struct http_client *client,
    const struct http_client_options *options);

/* Ends what is under way without a finish(). Sets *client NULL. */
void http_client_free(struct http_client **client);

/*
 * Start a request. finish() is called once, from the event loop, never from
 * within this call; it may start the next request, and must not free the
 * client. At that time this request no longer counts as under way.
 *
 * transfer_out  for http_client_cancel, valid until finish(); may be NULL
 *
 * Returns 0; -KAP_AGAIN with `concurrency` requests under way; -KAP_INVAL
 * (too many headers, an unusable URL); -KAP_NOMEM. Never blocks.
 */
KAP_MUST_USE int http_client_send(struct http_client *client,
    const struct http_request *request, struct http_transfer **transfer_out);

/* Give a request up: no finish() comes. Not from within a finish(). */
void http_client_cancel(struct http_transfer **transfer);

/* Requests under way. */
unsigned http_client_active(const struct http_client *client);

#endif
