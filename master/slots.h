/*
 * The slots themselves, from the table of kinds: made at start, with the
 * listeners and doorbells that outlive every child.
 */
#ifndef KAP_SLOTS_H
#define KAP_SLOTS_H

#include <stddef.h>

#include "master/slot.h"
#include "shared/child.h"
#include "shared/config.h"
#include "shared/errors.h"

/*
 * Make a slot for each child of the configuration, workers first, and open
 * the listeners.
 *
 * Returns 0; -KAP_NOMEM; else listener_open's errors. Nothing is left open
 * on error.
 */
KAP_MUST_USE int slots_make(const struct config *config,
    struct slot **slots_out, size_t *count_out, struct kap_errmsg *msg);

/* Close what they hold and free them; events are gone before. */
void slots_free(struct slot **slots, size_t *count);

/* The doorbells of all slots that may ever be. Returns 0 or -KAP_IO. */
KAP_MUST_USE int slots_make_bells(int bells[CHILD_BELL_COUNT]);
void slots_close_bells(int bells[CHILD_BELL_COUNT]);

#endif
