/*
 * The ledger queue's records in the store. Posts nothing: the worker's
 * ledger_drain.c does.
 */
#include "ledger_queue.h"

#include <string.h>

#define LEASE_NAME "ledger-lease"
#define RECORD_MAX 2048 /* values over 2 KB take whole pages of the store */

struct ledger_lease {
	uint32_t slot;
	uint32_t pad;
	int64_t until_boot_ms;
};

int
ledger_queue_append(struct store_txn *txn, struct ledger_entry *entry)
{
	uint8_t key[8];
	int rc = store_next(txn, STORE_NEXT_LEDGER, &entry->number);

	if (rc != 0)
		return rc;
	entry->version = LEDGER_ENTRY_VERSION;
	store_put_be64(key, entry->number);
	return store_put(txn, STORE_LEDGER, key, sizeof(key), entry,
	    sizeof(*entry));
}

/* Records grow at their tail only: an older one is shorter. */
static void
copy_entry(const struct store_value *value, struct ledger_entry *entry)
{
	const size_t len = value->len < sizeof(*entry) ? value->len
	                                               : sizeof(*entry);

	memset(entry, 0, sizeof(*entry));
	memcpy(entry, value->data, len);
}

int
ledger_queue_peek(struct store_txn *txn, struct ledger_entry *entries,
    unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	unsigned count = 0;
	int rc = store_walk(txn, STORE_LEDGER, NULL, 0, &cursor);

	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0)
		copy_entry(&value, &entries[count++]);
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
ledger_queue_remove(struct store_txn *txn, uint64_t number)
{
	uint8_t key[8];

	store_put_be64(key, number);
	return store_del(txn, STORE_LEDGER, key, sizeof(key));
}

int
ledger_queue_set_aside(struct store_txn *txn, uint64_t number)
{
	/* a newer binary's record may be longer, and is kept whole */
	uint8_t record[RECORD_MAX];
	struct store_value value;
	size_t len;
	uint8_t key[8];
	int rc;

	store_put_be64(key, number);
	rc = store_get(txn, STORE_LEDGER, key, sizeof(key), &value);
	if (rc == -KAP_NOENT)
		return 0; /* another drainer was first */
	if (rc != 0)
		return rc;
	len = value.len < sizeof(record) ? value.len : sizeof(record);
	memcpy(record, value.data, len);
	rc = store_put(txn, STORE_LEDGER_ASIDE, key, sizeof(key), record, len);
	return rc != 0 ? rc : store_del(txn, STORE_LEDGER, key, sizeof(key));
}

int
ledger_lease_take(struct store_txn *txn, unsigned slot, int64_t now_boot_ms,
    int64_t ttl_ms)
{
	struct ledger_lease lease;
	int rc = store_copy(txn, STORE_META, LEASE_NAME,
	    sizeof(LEASE_NAME) - 1, &lease, sizeof(lease));

	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	/* one that ends beyond its time to live is of an earlier boot */
	if (rc == 0 && lease.slot != slot &&
	    lease.until_boot_ms > now_boot_ms &&
	    lease.until_boot_ms <= now_boot_ms + ttl_ms)
		return -KAP_DENIED;
	lease = (struct ledger_lease){
		.slot = slot,
		.until_boot_ms = now_boot_ms + ttl_ms,
	};
	return store_put(txn, STORE_META, LEASE_NAME, sizeof(LEASE_NAME) - 1,
	    &lease, sizeof(lease));
}
