/*
 * Which worker reads which event stream: the answer to streams.h's question,
 * from the slots' current processes and the number of workers.
 */
#ifndef KAP_READERS_H
#define KAP_READERS_H

#include <stdbool.h>

#include "master/children.h"
#include "master/streams.h"

/* For streams_init, with the children as ctx. */
extern const struct streams_ops readers_ops;

struct stream_reader readers_of(const struct process *process);

/* True while a stream that is to change hands still has its reader. */
bool readers_hold_on(const struct children *children);

#endif
