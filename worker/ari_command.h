/*
 * Commands to Asterisk: one request, one callback. A link keeps itself
 * connected, numbers its requests, matches the replies, and sees that every
 * request ends: with Asterisk's status, or with why there is none. How the
 * bytes travel is chosen at each connect, by asking: REST over a WebSocket
 * where Asterisk can (22), else HTTP (16 to 20); see ari_transport.h.
 *
 * What a command says, whether it may be repeated, and what its reply means
 * is not known here.
 */
#ifndef KAP_ARI_COMMAND_H
#define KAP_ARI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/config.h"
#include "shared/errors.h"

struct event_base;
struct ari_command_link;

/* Requests of one link that may wait for their replies at once. */
#define ARI_COMMANDS_MAX 4096
/* What is taken up again adds nothing beyond: calls that live need the rest. */
#define ARI_COMMANDS_FULL (ARI_COMMANDS_MAX / 2)

/* The Asterisk at the other end. */
struct ari_server {
	char version[96];   /* "22.10.1" */
	char entity_id[64]; /* the same after a restart */
	char started[48];   /* its start time: another one, another process */
	const char *transport; /* "WebSocket" or "HTTP": how commands travel */
};

/* Called from the loop. They may send commands, but not close the link. */
struct ari_command_ops {
	/* Commands are taken from now on. `server` is borrowed for the call. */
	void (*up)(void *ctx, const struct ari_server *server);
	/*
	 * The link is gone, or a connect failed; it goes on trying. Every
	 * request under way has had its callback. `reason` is in words, and
	 * borrowed for the call.
	 */
	void (*down)(void *ctx, const char *reason);
};

/*
 * How a request ended.
 *
 * status  100..599  Asterisk's HTTP status
 *         -KAP_GONE     sent, and the link was lost: the outcome is unknown
 *         -KAP_AGAIN    never sent: Asterisk can't have seen it
 *         -KAP_TIMEOUT  no reply in time: unknown; a late one is dropped
 * body    the reply's JSON text, NUL-terminated, borrowed for the call; ""
 *         where there is none
 *
 * May send other commands; must not close the link.
 */
typedef void (*ari_command_cb)(void *arg, int status, const char *body,
    size_t body_len);

/*
 * Open a link that connects, and connects again, by itself.
 *
 * base    borrowed until ari_command_close
 * config  borrowed likewise; its `asterisk` part is read anew at each use
 * slot    the worker's; with node, lane and a number drawn for each connection
 *         it makes that one's app name
 * lane    ARI_LANE_ORIGINATE or ARI_LANE_CONTROL (ari_url.h); borrowed likewise
 * ops     borrowed likewise; first called from the loop
 * msg     why asterisk.url can't be used
 *
 * Returns 0, -KAP_INVAL, -KAP_NOMEM. Never blocks. Workers.
 */
KAP_MUST_USE int ari_command_open(struct ari_command_link **link_out,
    struct event_base *base, const struct config *config, int slot,
    const char *lane, const struct ari_command_ops *ops, void *ctx,
    struct kap_errmsg *msg);

/*
 * Close and free; what is under way ends with -KAP_GONE or -KAP_AGAIN from
 * inside this call. Not from a callback of the link. Sets *link NULL.
 */
void ari_command_close(struct ari_command_link **link);

/* Whether commands are taken now. */
bool ari_command_is_up(const struct ari_command_link *link);

/*
 * The number of the connection by which commands go now. Asterisk works off
 * what comes over it one by one, so a reply also tells that all that was sent
 * before is through; and its app (ari_url_connection_name) goes behind the
 * last. 0 while the link is down, and over HTTP, where nothing of this holds.
 */
uint32_t ari_command_connection(const struct ari_command_link *link);

/* Requests whose replies have not come yet. */
unsigned ari_command_in_flight(const struct ari_command_link *link);

/*
 * Send one request. Requests leave in the order of these calls; Asterisk works
 * them off in that order, one by one, over a WebSocket, but some at a time over
 * HTTP. So what has to follow on another is sent after its reply.
 *
 * method      "GET", "POST", "PUT", "DELETE"
 * path        below /ari, encoded: "channels/1720012345.1" (ari_url.h); may
 *             hold the query too
 * query       encoded, without '?'; NULL: none
 * body_json   JSON text; NULL: none
 * timeout_ms  1.. : until -KAP_TIMEOUT
 * callback    called once, from the loop, never from inside this call; not
 *             at all when this returns an error
 *
 * All texts are copied. Returns 0; -KAP_AGAIN (the link is down: not sent);
 * -KAP_FULL (ARI_COMMANDS_MAX under way: not sent); -KAP_TOOBIG; -KAP_NOMEM.
 * Never blocks.
 */
KAP_MUST_USE int ari_command_send(struct ari_command_link *link,
    const char *method, const char *path, const char *query,
    const char *body_json, int64_t timeout_ms, ari_command_cb callback,
    void *arg);

#endif
