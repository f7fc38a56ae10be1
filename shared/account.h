/*
 * An API key's account on this node: what must be shared by all workers and
 * outlive each of them. Credits held and charged, calls counted, the rate
 * window, the round-robin position. The balance itself is PostgreSQL's (a
 * copy lies in struct api_key); `charges` and PostgreSQL's watermark tell
 * which charges that balance already has.
 */
#ifndef KAP_ACCOUNT_H
#define KAP_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "api_key.h"
#include "errors.h"
#include "store.h"

#define ACCOUNT_VERSION 1
#define ACCOUNT_WINDOW_MS 3600000LL

struct account {
	uint16_t version;
	uint16_t pad;
	uint32_t holds;        /* calls not yet answered */
	uint64_t charges;      /* ever made on this node */
	uint64_t calls;        /* call log rows ever made on this node */
	uint32_t live;         /* live calls */
	uint32_t round_robin;  /* trunk to begin with, counts up */
	int64_t window_start_ms; /* wall clock; 0: none yet */
	uint32_t window_count;
	uint32_t pad2;
	int64_t last_used_ms;
};

/* Copy an account; one that isn't there is all zero. Returns 0 or -KAP_IO. */
KAP_MUST_USE int account_get(struct store_txn *txn, uint32_t key_id,
    struct account *account_out);

KAP_MUST_USE int account_put(struct store_txn *txn, uint32_t key_id,
    const struct account *account);

/*
 * Bring an account in line with a key just read from PostgreSQL: after the
 * loss of the store the counters go on from PostgreSQL's watermarks, never
 * from behind them. Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int account_sync(struct store_txn *txn,
    const struct api_key *key);

struct account_rate {
	uint32_t limit;     /* 0: there is none */
	uint32_t remaining; /* 0 without a limit */
	int64_t reset_ms;   /* wall clock: end of the window */
	bool allowed;
};

/*
 * Count requests in the key's window of one hour, which begins with its
 * first. `account` is changed, not written.
 *
 * limit  requests an hour; 0: no limit
 * count  how many to count; all of them count, allowed or not
 */
void account_count(struct account *account, uint32_t limit, uint32_t count,
    int64_t now_ms, struct account_rate *rate_out);

/* Balance less the charges PostgreSQL doesn't have yet. May be negative. */
int64_t account_credits(const struct account *account,
    const struct api_key *key);

/* Credits less holds: what a new call needs one of. */
int64_t account_available(const struct account *account,
    const struct api_key *key);

#endif
