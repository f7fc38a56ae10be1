/*
 * The listening sockets: one of its own for every worker slot and address,
 * made and kept by the master, so that a connect finds a queue even while
 * the slot's worker restarts. The master never accepts.
 */
#ifndef KAP_LISTENERS_H
#define KAP_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>

#include "shared/errors.h"

/* What keeps others off one address; released by closing it. */
struct listen_lock {
	int fd; /* -1: not held */
};

/*
 * Claim an address for this master: with SO_REUSEPORT a second one would
 * bind it too, unnoticed, and take its share of the connects.
 *
 * listen  "address:port" or "[v6]:port", no names
 * msg     who has it, where that can be told
 *
 * Returns 0; -KAP_EXISTS (taken), -KAP_INVAL (no address), -KAP_DENIED
 * (rights), -KAP_IO. Doesn't block.
 */
KAP_MUST_USE int listen_lock_take(struct listen_lock *lock,
    const char *listen, struct kap_errmsg *msg);
void listen_lock_release(struct listen_lock *lock);

/*
 * Open a listening socket with SO_REUSEPORT, non-blocking and close-on-exec.
 *
 * Returns 0 and *fd_out; else as listen_lock_take.
 */
KAP_MUST_USE int listener_open(const char *listen, int *fd_out,
    struct kap_errmsg *msg);

/* True for an address that only this machine reaches. */
bool listener_is_loopback(const char *listen);

#endif
