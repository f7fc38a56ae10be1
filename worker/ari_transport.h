/*
 * Between a command link (ari_command.c), which knows requests and their
 * replies, and a transport, which carries them: REST over a WebSocket today
 * (ari_command_ws.c), HTTP for an older Asterisk some day. A transport keeps
 * itself connected; it knows no timeouts but its connection's, and no
 * callbacks but these.
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
	uint64_t id; /* from 1, growing by 1 */
	const char *method;
	const char *path;
	const char *query;     /* NULL: none */
	const char *body_json; /* NULL: none */
};

/* From the transport to its link; `link` is what open was given. */
struct ari_transport_ops {
	/* Requests can be sent. */
	void (*connected)(void *link);
	/* body is NUL-terminated and borrowed */
	void (*reply)(void *link, uint64_t id, int status, const char *body,
	    size_t body_len);
	/*
	 * The connection is gone, or could not be made; it is tried again.
	 *
	 * written  requests whose mark is at or below this have left whole,
	 *          the others have not
	 */
	void (*lost)(void *link, uint64_t written, const char *reason);
};

struct ari_transport {
	const char *name;
	/* NULL when out of memory. Copies `address` and `app`. */
	void *(*open)(struct event_base *base, const struct config *config,
	    const struct ari_address *address, const char *app,
	    const struct ari_transport_ops *ops, void *link);
	/* No more callbacks. */
	void (*close)(void *transport);
	/*
	 * Queue one request, only while connected; its bytes leave at the end
	 * of the turn. *mark_out grows with each request.
	 *
	 * Returns 0, -KAP_NOMEM, -KAP_TOOBIG, -KAP_FULL (too much waits to
	 * leave), -KAP_AGAIN (it is closing). Nothing is sent on error.
	 */
	int (*send)(void *transport, const struct ari_request *request,
	    uint64_t *mark_out);
	/* How far the marks have left; see `lost`. */
	uint64_t (*written)(const void *transport);
	/* Give the connection up at the end of the turn; `lost` follows. */
	void (*reset)(void *transport, const char *reason);
};

/* REST over a WebSocket, which Asterisk 22 has. */
extern const struct ari_transport ari_transport_ws;

#endif
