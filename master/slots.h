/*
 * The slots themselves, from the table of kinds: places for all that may ever
 * be, made at start, with the doorbells; and the listeners of those in use,
 * which outlive every child.
 */
#ifndef KAP_SLOTS_H
#define KAP_SLOTS_H

#include <stddef.h>

#include "master/slot.h"
#include "shared/child.h"
#include "shared/config.h"
#include "shared/errors.h"

/* Workers first, by their numbers, then recorder and webhookd. */
#define SLOTS_COUNT (CHILD_MAX_WORKERS + 2)

/*
 * Make the places of all slots, those of the configuration active, and open
 * their listeners.
 *
 * slots_out  SLOTS_COUNT of them; slots_free frees them
 *
 * Returns 0; -KAP_NOMEM; else listener_open's errors. Nothing is left open
 * on error.
 */
KAP_MUST_USE int slots_make(const struct config *config,
    struct slot **slots_out, struct kap_errmsg *msg);

/* Close what they hold and free them; events are gone before. */
void slots_free(struct slot **slots);

/*
 * Open what a slot listens on; what is open already stays.
 *
 * Returns 0, or listener_open's errors.
 */
KAP_MUST_USE int slots_open_listeners(struct slot *slot,
    const struct config *config, struct kap_errmsg *msg);

/*
 * Close a slot's listeners, for every process that has a copy too. What waits
 * in their queues is reset.
 */
void slots_close_listeners(struct slot *slot);

/* The same for the admin listener alone, which can't be lent. */
void slots_close_admin(struct slot *slot);

/* The doorbells of all slots that may ever be. Returns 0 or -KAP_IO. */
KAP_MUST_USE int slots_make_bells(int bells[CHILD_BELL_COUNT]);
void slots_close_bells(int bells[CHILD_BELL_COUNT]);

#endif
