/*
 * The deadlines of calls, as call_table.c keeps them in STORE_TIMERS. Any
 * worker may fire what is overdue: firing is one more step of the call, and
 * the first one to take it clears the timer.
 */
#ifndef KAP_CALL_TIMERS_H
#define KAP_CALL_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "call.h"
#include "store.h"

/* How late another slot's timer must be before this worker fires it. */
#define CALL_TIMERS_OVERDUE_MS 2000

struct call_due {
	int64_t deadline_ms; /* as it stands in the table */
	enum call_timer timer;
	unsigned slot; /* whose call it is */
	char call_id[CALL_ID_SIZE];
};

/*
 * Says of a timer that is due whether it has to wait all the same, for what
 * nobody knows yet. Called inside the read transaction: no I/O.
 */
struct call_timers_holder {
	bool (*is_held)(void *ctx, const struct call_due *due);
	void *ctx;
};

/*
 * Copy timers that are due for this slot, the most overdue first. A trunk's
 * timer (CALL_TIMER_TRUNK) is its own slot's alone to fire: who doesn't read
 * the slot's events can't tell that a carrier has given no sign.
 *
 * slot      the worker's own; those that it looks after for slots that are
 *           no more (stats_slot_owner) count as its own
 * now_ms    deadline clock
 * holder    which of them wait; NULL: none. Those that do are passed over, and
 *           don't count for next_out.
 * next_out  when to look again: deadline clock, or 0 if nothing waits; may be
 *           early, never late for the own slot
 *
 * Returns how many, or -KAP_IO. Reads only.
 */
KAP_MUST_USE int call_timers_due(struct store_txn *txn, unsigned slot,
    int64_t now_ms, const struct call_timers_holder *holder,
    struct call_due *due, unsigned max, int64_t *next_out);

/*
 * Delete a row that no call has any more: its call is gone, or has another
 * deadline. Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int call_timers_forget(struct store_txn *txn,
    const struct call_due *due);

#endif
