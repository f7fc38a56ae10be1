/*
 * Turns entries of the ledger queue into one SQL statement. Sends nothing.
 *
 * The statement is a transaction by itself: it inserts what isn't there yet,
 * changes balances and counters by what it inserted, and moves the node's
 * watermarks. So it may be repeated, in whole or in part, by anybody, at any
 * time.
 */
#ifndef KAP_LEDGER_BATCH_H
#define KAP_LEDGER_BATCH_H

#include <stdbool.h>

#include "shared/errors.h"
#include "shared/ledger_queue.h"
#include "shared/pg.h"

struct ledger_batch;

/* node  1..999. NULL when out of memory. */
struct ledger_batch *ledger_batch_new(int64_t node);
void ledger_batch_free(struct ledger_batch **batch);

/* Whether an entry is of a kind that this binary can post. */
bool ledger_batch_knows(const struct ledger_entry *entry);

/*
 * Make the statement that posts entries, all of known kinds.
 *
 * statement_out  borrowed from the batch until its next call
 *
 * Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int ledger_batch_post(struct ledger_batch *batch,
    const struct ledger_entry *entries, unsigned count,
    struct pg_statement *statement_out);

/*
 * Make the statement that only moves the watermark past an entry that is not
 * posted; a key that isn't there has none. statement_out as above.
 */
void ledger_batch_skip(struct ledger_batch *batch,
    const struct ledger_entry *entry, struct pg_statement *statement_out);

#endif
