/*
 * Finds the route of a request: pure look-ups in a const table, in its
 * order. A pattern is a path whose segments are literal, or ":name" for any
 * segment that isn't empty.
 */
#ifndef KAP_HTTP_ROUTER_H
#define KAP_HTTP_ROUTER_H

#include <stddef.h>

#include "shared/errors.h"

#define HTTP_PARAMS_MAX 4
#define HTTP_ALLOW_SIZE 64

struct http_request;

struct http_route {
	const char *method;  /* "GET" answers HEAD too */
	const char *pattern; /* "/calls/:callId" */
	void (*handler)(struct http_request *req, void *ctx);
	unsigned flags;        /* the handlers' business, not the router's */
	size_t max_body_bytes; /* 0: the server's default */
};

struct http_routes {
	const struct http_route *table;
	size_t count;
};

/* A path parameter as it stands in the path, still percent-encoded. */
struct http_param {
	const char *name; /* in the pattern, not NUL-terminated */
	size_t name_len;
	const char *value; /* in the path, not NUL-terminated */
	size_t value_len;
};

struct http_match {
	const struct http_route *route;
	/* one with this path, also when it is for other methods; or NULL */
	const struct http_route *path_route;
	struct http_param params[HTTP_PARAMS_MAX];
	unsigned param_count;
};

/*
 * Find a route.
 *
 * path  path_len bytes, percent-encoded, without the query
 *
 * Returns 0; -KAP_NOENT when no route has such a path; -KAP_STATE when one
 * has, but not for this method.
 */
KAP_MUST_USE int http_router_match(const struct http_routes *routes,
    const char *method, const char *path, size_t path_len,
    struct http_match *match_out);

/*
 * The methods a path can be asked with, for Allow: "GET, HEAD, OPTIONS".
 * Returns 0; -KAP_NOENT when no route has such a path.
 */
KAP_MUST_USE int http_router_allow(const struct http_routes *routes,
    const char *path, size_t path_len, char out[HTTP_ALLOW_SIZE]);

/*
 * Decode a percent-encoded path segment that the gate has let through.
 *
 * out  len + 1 bytes will do; NUL-terminated
 */
void http_router_decode(const char *text, size_t len, char *out);

#endif
