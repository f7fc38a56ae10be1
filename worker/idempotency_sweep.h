/*
 * Empties the table of idempotency keys of answers that are too old, also
 * when no new ones come.
 */
#ifndef KAP_IDEMPOTENCY_SWEEP_H
#define KAP_IDEMPOTENCY_SWEEP_H

#include "shared/store.h"
#include "shared/turn.h"

/*
 * Delete some, if any are due; for the tick. Any worker may do it: what one
 * has deleted, another doesn't find. Never blocks but for a look into the
 * store.
 *
 * early_ms  how long before its time an answer is too old: 0.. , more than 0
 *           where the store has little room left
 */
void idempotency_sweep(struct turn *turn, struct store *store,
    int64_t early_ms);

#endif
