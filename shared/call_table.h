/*
 * The table of calls. Every change of a call goes through call_table_step():
 * inside the caller's write transaction it reads the call, asks the machine,
 * and writes the new record together with all that follows from it: the
 * commands, events, timers, ledger entries and recorder's jobs. A call's
 * record and its consequences can't disagree.
 */
#ifndef KAP_CALL_TABLE_H
#define KAP_CALL_TABLE_H

#include "call.h"
#include "call_cold.h"
#include "call_machine.h"
#include "store.h"

/* What a step asks the process to do once it is committed. */
enum call_ring {
	CALL_RING_WEBHOOKD = 1, /* an event was queued */
	CALL_RING_RECORDER = 2, /* a recording was queued */
	CALL_RING_OWNER = 4,    /* a timer was set or cleared */
	CALL_RING_OUTBOX = 8,   /* commands may be waiting (outbox.h) */
	CALL_RING_LEDGER = 16,  /* a ledger entry was queued */
	CALL_RING_REROUTED = 32 /* for the statistics: on another trunk */
};

/*
 * The step that the other leg of a call took in the same transaction, for it
 * was told of the call's own.
 */
struct call_other {
	bool told; /* and it meant something to it; else nothing is set */
	enum call_input_kind input; /* what it was told */
	enum call_state state_before;
	struct call call; /* after the step */
	unsigned rings;   /* its own, not in those of the call */
};

struct call_step {
	enum call_state state_before;
	struct call call; /* after the step */
	unsigned rings;   /* enum call_ring */
	struct call_other other;
	char rested[CALL_TRUNK_NAME_MAX + 1]; /* the trunk that rests from now
	                                         on; empty: none */
};

/*
 * Create a call. The request's fields, key_id, slot and trunks are filled in
 * by the caller; `call->id` is made here. Takes the hold of one credit: the
 * caller has checked that there is one. With CALL_F_SECOND_LEG and other_id it
 * is the second leg of that call, which is told.
 *
 * Returns 0; -KAP_STATE for a second leg whose first takes none; -KAP_FULL,
 * -KAP_IO, -KAP_TOOBIG (a string of the cold record). The transaction is to
 * be given up then.
 */
KAP_MUST_USE int call_table_create(struct store_txn *txn, struct call *call,
    const struct call_cold *cold, unsigned node, const struct call_now *now,
    struct call_step *step_out);

/*
 * Let something happen to a call, and to its other leg what follows from it.
 *
 * Returns 0; -KAP_NOENT for a call that isn't there; -KAP_STATE where it
 * means nothing in the call's state (nothing is written); -KAP_FULL, -KAP_IO,
 * -KAP_CORRUPT.
 */
KAP_MUST_USE int call_table_step(struct store_txn *txn, const char *call_id,
    const struct call_input *input, const struct call_now *now,
    struct call_step *step_out);

/* Copy one call. Returns 0, -KAP_NOENT, -KAP_IO. */
KAP_MUST_USE int call_table_get(struct store_txn *txn, const char *call_id,
    struct call *call_out);

/*
 * Copy live calls of a key, in the order of their ids, from behind
 * `after_id` ("" : the first). Returns how many, or -KAP_IO.
 */
KAP_MUST_USE int call_table_list(struct store_txn *txn, uint32_t key_id,
    const char *after_id, struct call *calls, unsigned max);

/*
 * Copy the calls of a slot (of all slots: -1) from behind `after_id`,
 * whatever their state. Pages through the whole table: for start-up and
 * reconcile. Returns how many, or -KAP_IO; *last_id_out is where to go on,
 * "" at the end.
 */
KAP_MUST_USE int call_table_scan(struct store_txn *txn, int slot,
    const char *after_id, struct call *calls, unsigned max,
    char last_id_out[CALL_ID_SIZE]);

/* Live calls of all keys. */
KAP_MUST_USE int call_table_live_count(struct store_txn *txn,
    uint64_t *count_out);

/*
 * Drop one reference on an ended call; the last one deletes its records.
 * Returns 0 (also for a call that is gone), -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int call_table_unref(struct store_txn *txn, const char *call_id);

#endif
