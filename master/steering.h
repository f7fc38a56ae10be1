/*
 * Steering: which of the sockets that share an address (SO_REUSEPORT) get new
 * connections. By itself the kernel gives each its share; before one is
 * closed, or while one isn't served yet, its share goes to the others, for a
 * listener that is closed resets what waits in its queue.
 *
 * The sockets are numbered by the kernel in the order in which they began to
 * listen; closing the last one keeps the others' numbers, closing another one
 * doesn't.
 */
#ifndef KAP_STEERING_H
#define KAP_STEERING_H

#include "shared/errors.h"

/*
 * From now on only the first `count` sockets of the group get connections,
 * evenly; sockets that join it later get none.
 *
 * listen_fd  any of the group
 * count      1..; more than there are: as the kernel likes
 *
 * Returns 0, -KAP_IO. Needs no rights. Linux: SO_ATTACH_REUSEPORT_CBPF,
 * socket(7).
 */
KAP_MUST_USE int steering_begin(int listen_fd, unsigned count);

/* All of the group again. Nothing happens where none was begun. */
void steering_end(int listen_fd);

/*
 * Connections that wait to be accepted. Those whose handshake is under way
 * are not among them.
 *
 * Returns the number, or -KAP_IO.
 */
int steering_queue_length(int listen_fd);

#endif
