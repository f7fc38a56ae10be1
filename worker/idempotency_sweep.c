/*
 * One look at each tick, and a transaction only if there is something to do:
 * idle workers write nothing.
 */
#include "idempotency_sweep.h"

#include <stdlib.h>

#include "shared/clock.h"
#include "shared/idempotency.h"
#include "shared/log.h"

struct sweep {
	struct turn_job job;
	int64_t old_ms;
	int pruned;
};

static int
apply_sweep(struct turn_job *job, struct store_txn *txn)
{
	struct sweep *sweep = (struct sweep *)job;

	sweep->pruned = idempotency_prune(txn, sweep->old_ms,
	    IDEMPOTENCY_PRUNE_MAX);
	return sweep->pruned < 0 ? sweep->pruned : 0;
}

static void
done_sweep(struct turn_job *job, int rc)
{
	struct sweep *sweep = (struct sweep *)job;

	if (rc != 0)
		log_warn("old idempotency keys could not be deleted",
		    LOG_S("error", kap_strerror(rc)));
	else
		log_debug("idempotency keys pruned",
		    LOG_I("count", sweep->pruned));
	free(sweep);
}

static bool
is_due(struct store *store, int64_t old_ms)
{
	struct store_txn *txn;
	int due;

	if (store_begin_read(store, &txn) != 0)
		return false;
	due = idempotency_is_due(txn, old_ms);
	store_end_read(&txn);
	return due > 0;
}

void
idempotency_sweep(struct turn *turn, struct store *store, int64_t early_ms)
{
	const int64_t old_ms = clock_deadline_ms() + early_ms;
	struct sweep *sweep;

	if (!is_due(store, old_ms))
		return;
	sweep = calloc(1, sizeof(*sweep));
	if (sweep == NULL)
		return; /* found again at the next tick */
	sweep->old_ms = old_ms;
	sweep->job.apply = apply_sweep;
	sweep->job.done = done_sweep;
	turn_submit_lazily(turn, &sweep->job);
}
