/*
 * When a slot that lost its process gets the next one: after the readers that
 * the dead one left in the store are cleared, and later where starts fail or
 * processes die again and again.
 */
#ifndef KAP_RESPAWN_H
#define KAP_RESPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "master/children.h"
#include "shared/errors.h"

/* The timer of a slot. Returns 0 or -KAP_NOMEM. */
KAP_MUST_USE int respawn_init(struct slot *slot);
void respawn_deinit(struct slot *slot);

/* A start failed: the next one waits longer each time. */
void respawn_back_off(struct slot *slot);

/* No start waits any more. */
void respawn_cancel(struct slot *slot);

/*
 * A process is dead: clear the readers, then start the slot anew if that is
 * wanted.
 *
 * current  the dead one, if it was the slot's current one and has to be
 *          replaced; else NULL
 */
void respawn_after_death(struct slot *slot, const struct process *current);

/* Run a reader check again that failed. Called by the watchdog's look. */
void respawn_look(struct children *children, int64_t now_ms);

/* Hand it a reaped process. True if that was the reader check's. */
bool respawn_reaped(struct children *children, pid_t pid, int wait_status);

/*
 * Count the death of a process that had been ready; tells of a loop, once.
 *
 * ended  how, of supervise.h; its words are in the slot
 */
void respawn_count_death(struct slot *slot, const struct process *process,
    enum supervise_end end);

/* Look whether a loop is over: its process lives for long enough. */
void respawn_review(struct slot *slot, int64_t now_ms);

/* The slot's loop in words, empty if there is none. */
void respawn_loop_words(const struct slot *slot, int64_t now_ms, char *out,
    size_t size);

#endif
