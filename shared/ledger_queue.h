/*
 * The queue of what is to be written to PostgreSQL: charges, call logs and
 * recordings. Filled in the transaction that changes the call, drained in
 * batches by the one worker that has the lease (worker/ledger_drain.c).
 */
#ifndef KAP_LEDGER_QUEUE_H
#define KAP_LEDGER_QUEUE_H

#include "call.h"
#include "store.h"

#define LEDGER_ENTRY_VERSION 1
#define LEDGER_TRUNK_SIZE 64

enum ledger_kind { LEDGER_CHARGE = 1, LEDGER_CALL = 2, LEDGER_RECORDING = 3 };

struct ledger_entry {
	uint16_t version;
	uint8_t kind; /* enum ledger_kind */
	uint8_t pad;
	uint32_t key_id;
	uint64_t number; /* in the queue */
	uint64_t key_number; /* LEDGER_CHARGE: account.charges after it;
	                        LEDGER_CALL: account.calls after it */
	int64_t at_ms; /* wall clock */
	uint32_t duration_s; /* LEDGER_RECORDING */
	uint32_t pad2;
	uint64_t size_bytes; /* LEDGER_RECORDING */
	char trunk[LEDGER_TRUNK_SIZE]; /* of the last attempt */
	struct call call; /* as it was */
};

/* Append; fills in number and version. Returns 0, -KAP_FULL, -KAP_IO. */
KAP_MUST_USE int ledger_queue_append(struct store_txn *txn,
    struct ledger_entry *entry);

/* Copy the oldest entries. Returns how many, or -KAP_IO. Reads only. */
KAP_MUST_USE int ledger_queue_peek(struct store_txn *txn,
    struct ledger_entry *entries, unsigned max);

/* Remove an entry that is posted. */
KAP_MUST_USE int ledger_queue_remove(struct store_txn *txn, uint64_t number);

/* Move an entry that PostgreSQL refused for good out of the way. */
KAP_MUST_USE int ledger_queue_set_aside(struct store_txn *txn,
    uint64_t number);

/*
 * Take or renew the lease of the ledger's one drainer. It is a courtesy, not
 * a lock: posting twice is harmless (the ledger is insert-only), only waste.
 *
 * Returns 0 when the slot has it for the next `ttl_ms`; -KAP_DENIED while
 * another has it; -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int ledger_lease_take(struct store_txn *txn, unsigned slot,
    int64_t now_boot_ms, int64_t ttl_ms);

#endif
