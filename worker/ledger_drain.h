/*
 * Posts the ledger queue to PostgreSQL, in batches and in order: charges, call
 * logs, recordings. Every worker has one; the one that holds the lease
 * drains. What is posted twice counts once, so a crash at any point costs
 * nothing but work.
 *
 * While PostgreSQL is away the queue waits. An entry that PostgreSQL refuses
 * for good is set aside, reported once, and holds up nothing.
 */
#ifndef KAP_LEDGER_DRAIN_H
#define KAP_LEDGER_DRAIN_H

#include <stdbool.h>

#include "shared/config.h"
#include "shared/errors.h"
#include "shared/store.h"
#include "shared/turn.h"

struct event_base;
struct ledger_drain;

/*
 * Begin to drain; with a PostgreSQL connection of its own, so that no request
 * waits behind a batch.
 *
 * slot  of this worker, for the lease
 * msg   why the configured connection can't be used
 *
 * Everything given is borrowed and outlives it. Returns 0; -KAP_INVAL (the
 * DSN); -KAP_NOMEM. Doesn't wait for the connection.
 */
KAP_MUST_USE int ledger_drain_new(struct ledger_drain **drain_out,
    struct event_base *base, struct store *store, struct turn *turn,
    const struct config *config, unsigned slot, struct kap_errmsg *msg);

/*
 * Flushes the turn and frees; what is under way in PostgreSQL may take
 * effect, and will be posted again by whoever drains next. Sets *drain NULL.
 */
void ledger_drain_free(struct ledger_drain **drain);

/*
 * Something was queued: look soon (entries of a few milliseconds go
 * together). It looks by itself too, so a lost kick is only a delay.
 */
void ledger_drain_kick(struct ledger_drain *drain);

/*
 * Begin no batch while held, for the slot's other process drains: two of one
 * slot share the lease. A batch under way is finished.
 */
void ledger_drain_hold(struct ledger_drain *drain, bool hold);

/* Nothing is under way. */
bool ledger_drain_is_idle(const struct ledger_drain *drain);

#endif
