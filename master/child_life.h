/*
 * The beginning and the end of one child process: started in a slot, beside
 * another or not, and reaped. When a slot is started anew is respawn.h's.
 */
#ifndef KAP_CHILD_LIFE_H
#define KAP_CHILD_LIFE_H

#include <sys/types.h>

#include "master/children.h"
#include "shared/errors.h"

/*
 * Start an ordinary child in a slot that has none to serve. Its stream it gets
 * by children_turn. A start that fails backs off.
 *
 * Returns 0, or why there is no process.
 */
KAP_MUST_USE int child_life_start(struct slot *slot);

/*
 * Begin a planned restart of a slot: a successor beside its process. From then
 * on it goes by itself; the successor becomes slot->current when it is ready.
 * A slot that has no process is started at once.
 *
 * generation_out  the successor's
 *
 * Returns 0; -KAP_AGAIN while there is another one still leaving, or not yet
 * ready; else why there is no process.
 */
KAP_MUST_USE int child_life_begin_restart(struct slot *slot,
    uint32_t *generation_out);

/* Reap whoever has ended. Never blocks. */
void child_life_reap(struct children *children);

#endif
