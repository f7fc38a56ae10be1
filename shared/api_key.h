/*
 * API keys: their text, their hash, and the record that is cached in the
 * store under that hash. The truth is PostgreSQL's table api_keys.
 *
 * A key reads "ak_" and 40 characters of [0-9a-z]. Only HMAC-SHA256(pepper,
 * key) is kept, and the first 10 characters for display.
 */
#ifndef KAP_API_KEY_H
#define KAP_API_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "key_policy.h"
#include "store.h"
#include "webhook_secret.h"

#define API_KEY_VERSION 4
#define API_KEY_HASH_SIZE 32
#define API_KEY_TEXT_MAX 128 /* a longer one is not a key */
#define API_KEY_TRUNKS_MAX 8
#define API_KEY_RATE_DEFAULT 100

enum api_key_verdict {
	API_KEY_UNKNOWN, /* PostgreSQL knows no such key, or it is disabled or
	                    expired */
	API_KEY_VALID
};

struct api_key_trunk {
	uint32_t id;
	char name[64];
	char dial_template[96]; /* "PJSIP/00{number}@{trunk}" */
};

/* How a trunk is chosen. All zero, as an older program wrote it: defaults. */
struct api_key_trunk_limits {
	int32_t priority;   /* the lowest are taken first */
	uint32_t weight;    /* 1..100 among those of a priority; 0 means 1 */
	uint32_t max_calls; /* at a time, of all keys on this node; 0: no
	                       limit */
	uint32_t max_cps;   /* begun in a second, likewise */
};

/* As cached; fixed, grows at its tail only. */
struct api_key {
	uint16_t version;
	uint8_t verdict;        /* enum api_key_verdict */
	uint8_t trunk_count;
	uint32_t id;
	int64_t fetched_ms;     /* wall clock: when PostgreSQL was asked */
	int64_t balance;
	uint64_t charges_posted; /* this node's watermarks, read with balance */
	uint64_t calls_posted;
	int64_t total_calls;     /* as posted in PostgreSQL */
	int64_t successful_calls;
	uint32_t rate_limit;     /* requests an hour; 0: no limit */
	uint32_t pad;
	int64_t created_ms;
	int64_t last_used_ms;    /* 0: never */
	int64_t expires_ms;      /* 0: never */
	char key_id[32];         /* "key_98aa10cd11" */
	char name[128];
	char default_caller_id[16];
	struct api_key_trunk trunks[API_KEY_TRUNKS_MAX];

	/* since version 2 */
	struct api_key_trunk_limits limits[API_KEY_TRUNKS_MAX]; /* of each */

	/* since version 3 */
	struct key_policy policy;

	/* since version 4: what its events are signed with; empty: none */
	char webhook_secret[WEBHOOK_SECRET_TEXT_SIZE];
	char webhook_secret_before[WEBHOOK_SECRET_TEXT_SIZE]; /* valid, too */
};

/*
 * HMAC-SHA256 of a key's text under the pepper. Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int api_key_hash(const char *pepper, const char *text,
    size_t len, uint8_t hash_out[API_KEY_HASH_SIZE]);

/* Make a new key's text (NUL-terminated) from the system's random source. */
#define API_KEY_TEXT_SIZE 44
KAP_MUST_USE int api_key_generate(char text_out[API_KEY_TEXT_SIZE]);

/*
 * Read and write the cache. Get returns 0, -KAP_NOENT, -KAP_IO. What is zero
 * at a record's end is not written.
 */
KAP_MUST_USE int api_key_get(struct store_txn *txn,
    const uint8_t hash[API_KEY_HASH_SIZE], struct api_key *key_out);
KAP_MUST_USE int api_key_put(struct store_txn *txn,
    const uint8_t hash[API_KEY_HASH_SIZE], const struct api_key *key);

/*
 * Expand a trunk's dial template for a number ({number}, {trunk}).
 *
 * number  7..15 digits, nothing else: nothing else ever reaches a dial string
 *
 * Returns 0; -KAP_INVAL (number not digits, no {number} in the template),
 * -KAP_TOOBIG.
 */
KAP_MUST_USE int api_key_expand_dial(const struct api_key_trunk *trunk,
    const char *number, char *out, size_t size);

#endif
