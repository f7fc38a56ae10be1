/*
 * Between a command link (ari_command.c), which knows requests, their replies
 * and when to connect, and the transports, which carry them: REST over a
 * WebSocket (ari_command_ws.c), and HTTP (ari_command_http.c) for an Asterisk
 * that has no REST over a WebSocket. A transport connects when it is told to,
 * once; it knows no time limit but its connection's, and no callbacks but
 * these.
 */
#ifndef KAP_ARI_TRANSPORT_H
#define KAP_ARI_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#include "ari_url.h"
#include "shared/config.h"
#include "shared/errors.h"

struct event_base;

/* A request on its way; all texts are borrowed for the call. */
struct ari_request {
	uint64_t id; /* from 1, growing */
	const char *method;
	const char *path;
	const char *query;     /* NULL: none */
	const char *body_json; /* NULL: none */
};

/* From the transport to its link, from the loop; `link` is what open got. */
struct ari_transport_ops {
	/* Requests can be sent. */
	void (*connected)(void *link);
	/*
	 * status  Asterisk's; or, from inside drop, -KAP_AGAIN: has not left
	 * body    NUL-terminated and borrowed
	 */
	void (*reply)(void *link, uint64_t id, int status, const char *body,
	    size_t body_len);
	/*
	 * There is a connection, but nobody at the other end takes requests
	 * over it: none will be answered. It stays, and `lost` tells when it
	 * breaks. At most once a connection.
	 */
	void (*deaf)(void *link);
	/*
	 * The connection broke, or could not be made. The link drops it, from
	 * inside this call if it likes. `reason` is borrowed.
	 */
	void (*lost)(void *link, const char *reason);
};

struct ari_transport {
	const char *name; /* "WebSocket" */
	/* NULL when out of memory. Copies `address`. */
	void *(*open)(struct event_base *base, const struct config *config,
	    const struct ari_address *address,
	    const struct ari_transport_ops *ops, void *link);
	/* Drop and free. No more callbacks, but for those of drop. */
	void (*close)(void *transport);
	/*
	 * Begin to connect, once dropped; `connected` or `lost` follows.
	 * Copies `app`, the connection's name.
	 */
	void (*connect)(void *transport, const char *app);
	/*
	 * Give up the connection, if there is one, and all requests: a request
	 * that can't be told by its mark gets a `reply`. Not from inside
	 * `reply` or `deaf`.
	 *
	 * Returns how far requests may have left: those whose mark is above it
	 * have not.
	 */
	uint64_t (*drop)(void *transport);
	/*
	 * Queue one request, only while connected; its bytes leave at the end
	 * of the turn. *mark_out grows with each request.
	 *
	 * Returns 0, -KAP_NOMEM, -KAP_TOOBIG, -KAP_FULL (too much waits to
	 * leave), -KAP_AGAIN (it is breaking). Nothing is sent on error.
	 */
	int (*send)(void *transport, const struct ari_request *request,
	    uint64_t *mark_out);
	/*
	 * Nobody waits for this request's reply any more. What has not left
	 * may not leave after this. NULL where a request can't be called back.
	 * Not from inside `reply`.
	 */
	void (*forget)(void *transport, uint64_t id);
};

/* REST over a WebSocket: Asterisk 20.14, 21.9, 22.4 and later. */
extern const struct ari_transport ari_transport_ws;

/* Any Asterisk. Tells nothing of a connection that nobody uses. */
extern const struct ari_transport ari_transport_http;

#endif
