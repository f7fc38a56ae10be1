/*
 * What a child says on its control channel, and what follows from it.
 */
#ifndef KAP_CHILD_MESSAGES_H
#define KAP_CHILD_MESSAGES_H

#include <event2/util.h>

#include "master/process.h"

/* The callback of a process's control channel, which is `arg`. */
void child_messages_on_readable(evutil_socket_t fd, short what, void *arg);

/* Take all that a dead process said last. */
void child_messages_take_last(struct process *process);

#endif
