/*
 * One connection to Asterisk's WebSocket: TCP, then the handshake of RFC
 * 6455, without blocking. The head of Asterisk's answer is peeked and
 * consumed up to its end only, so that the first frames stay in the kernel
 * for whoever reads the socket next. And the wait before the next try.
 */
#ifndef KAP_ARI_CONNECT_H
#define KAP_ARI_CONNECT_H

#include <stdint.h>

#include "ari_url.h"
#include "shared/config.h"
#include "shared/errors.h"

struct event_base;
struct ari_connect;

/*
 * Called once, from the loop.
 *
 * fd      connected, non-blocking, close-on-exec, and now the callee's; or
 *         negative: -KAP_GONE (no connection), -KAP_TIMEOUT, -KAP_DENIED
 *         (Asterisk refused), -KAP_PROTO (no WebSocket there), -KAP_NOMEM
 * reason  why not, in words; borrowed for the call
 *
 * Must not free the ari_connect: that is done when it returns.
 */
typedef void (*ari_connect_cb)(void *arg, int fd, const char *reason);

/*
 * Begin to connect.
 *
 * address    where to
 * config     user and password; copied
 * app        Stasis app of the connection; copied
 * rcvbuf     bytes for SO_RCVBUF; 0: the kernel's choice
 * timeout_ms until -KAP_TIMEOUT, for all of it
 *
 * Returns NULL when out of memory. It frees itself after the callback; until
 * then ari_connect_cancel gives it up. Never blocks, never calls back at
 * once. Workers.
 */
struct ari_connect *ari_connect_begin(struct event_base *base,
    const struct ari_address *address, const struct config *config,
    const char *app, int rcvbuf, int64_t timeout_ms, ari_connect_cb callback,
    void *arg);

/* Give it up; there is no callback. Sets *connect NULL; NULL is allowed. */
void ari_connect_cancel(struct ari_connect **connect);

/* The wait before the next connect: doubles, up to a limit, with jitter. */
struct ari_backoff {
	int64_t next_ms; /* 0: begin with the least */
};

/*
 * The wait before the next try: half to all of a span that begins with
 * reconnect_min_ms and doubles up to reconnect_max_ms. Set next_ms to 0 to
 * begin anew, once a connection has proved good.
 */
int64_t ari_backoff_next_ms(struct ari_backoff *backoff,
    const struct config *config);

#endif
