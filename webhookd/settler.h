/*
 * Writes what became of deliveries into the store, many in one transaction:
 * for each, the queue's entry is removed or put off. Until that is committed
 * a crash only means that a webhook is sent again.
 */
#ifndef KAP_SETTLER_H
#define KAP_SETTLER_H

#include "delivery.h"

struct event_base;
struct settler;
struct turn;

/* This one is in the store: the callee has it back. */
typedef void settler_stored_fn(void *arg, struct delivery *delivery);

/*
 * base, turn  borrowed, outlive the settler
 *
 * Returns NULL when out of memory.
 */
struct settler *settler_new(struct event_base *base, struct turn *turn,
    settler_stored_fn *stored, void *arg);

/*
 * The turn was flushed before. Deliveries that are not stored yet are not
 * freed. Sets *settler NULL.
 */
void settler_free(struct settler **settler);

/*
 * Store a delivery's outcome, within a few ms, and again and again where the
 * store refuses. Borrowed until stored() has it. Never blocks.
 */
void settler_add(struct settler *settler, struct delivery *delivery);

/* Don't wait for more: what there is goes with this turn. */
void settler_flush(struct settler *settler);

/* From now on, never wait for more. */
void settler_hurry(struct settler *settler);

/* Deliveries that are not stored yet. */
unsigned settler_pending(const struct settler *settler);

#endif
