/*
 * Idempotency keys: the call that a client's Idempotency-Key stands for, and
 * all that the answer about it needs. A record is made in the transaction that
 * makes its call, and gets its outcome in the one that decides the call's
 * (call_table.c): so a retry finds what became of the first request, whatever
 * has crashed in between, also when the call's own record is gone.
 *
 *              create             settle
 *     (none) ─────────▶ UNDER_WAY ────────▶ MADE, REFUSED, GIVEN_UP
 *        ▲                                         │ expiry
 *        └─────────────────────────────────────────┘ GIVEN_UP: soon when told
 *
 * A call that was given up frees its key, but only once somebody was told so:
 * a client whose request broke off must not make a second phone call without
 * knowing of the first.
 *
 * A record under way does not expire: its call ends it, and until then there
 * must be no second one. This module knows no request and renders nothing.
 */
#ifndef KAP_IDEMPOTENCY_H
#define KAP_IDEMPOTENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "call_cold.h"
#include "errors.h"
#include "store.h"

#define IDEMPOTENCY_VERSION 1
#define IDEMPOTENCY_TEXT_MAX 255 /* of the header */
#define IDEMPOTENCY_HASH_SIZE 32 /* SHA-256 */
#define IDEMPOTENCY_PRUNE_MAX 64

enum idempotency_state {
	IDEMPOTENCY_UNDER_WAY,
	IDEMPOTENCY_MADE,
	IDEMPOTENCY_REFUSED, /* ORIGINATION_FAILED */
	IDEMPOTENCY_GIVEN_UP, /* TELEPHONY_TIMEOUT; told, it soon expires */
	IDEMPOTENCY_STATE_COUNT
};

/* Two API keys may use the same text: they never meet. */
struct idempotency_id {
	uint32_t key_id; /* the API key's */
	uint8_t hash[IDEMPOTENCY_HASH_SIZE]; /* of the header's text */
};

/* A record, unpacked; how it lies in the store is idempotency.c's. */
struct idempotency {
	enum idempotency_state state;
	bool use_amd;
	uint8_t attempt;      /* 1.. : the trunk it came to; 0: under way */
	uint8_t tried;        /* bit n: the n-th trunk, from 0, was dialled */
	uint8_t trunk_count;  /* 0..CALL_TRUNKS_MAX */
	uint16_t ring_timeout_s;
	int64_t answered_ms;  /* wall clock; 0: under way */
	int64_t expires_ms;   /* deadline clock */
	int64_t credits;      /* as the answer tells them */
	char call_id[CALL_ID_SIZE];
	uint8_t body_hash[IDEMPOTENCY_HASH_SIZE];
	char voice[CALL_VOICE_MAX + 1];
	char trunks[CALL_TRUNKS_MAX][CALL_TRUNK_NAME_MAX + 1];
};

/* Whether a header's value is of the form: 1..255 printable ASCII ones. */
bool idempotency_text_is_valid(const char *text);

/* SHA-256 of a header's value. Returns 0 or -KAP_NOMEM. */
KAP_MUST_USE int idempotency_hash(const char *text,
    uint8_t hash_out[IDEMPOTENCY_HASH_SIZE]);

/* A hash as the cold record of its call has it: 64 hexadecimal digits. */
#define IDEMPOTENCY_HEX_SIZE (2 * IDEMPOTENCY_HASH_SIZE + 1)
void idempotency_format_hash(const uint8_t hash[IDEMPOTENCY_HASH_SIZE],
    char out[IDEMPOTENCY_HEX_SIZE]);

/* And back. Returns 0 or -KAP_INVAL. */
KAP_MUST_USE int idempotency_parse_hash(const char *text,
    uint8_t hash_out[IDEMPOTENCY_HASH_SIZE]);

/*
 * Look a record up.
 *
 * now_ms  deadline clock: an answer that is too old is as none; 0: any will do
 *
 * Returns 0; -KAP_NOENT; -KAP_CORRUPT, -KAP_IO.
 */
KAP_MUST_USE int idempotency_find(struct store_txn *txn,
    const struct idempotency_id *id, int64_t now_ms,
    struct idempotency *record_out);

/*
 * Write the record of a call that was just created, over an expired one if
 * need be, and make room: a few of those that are too old go.
 *
 * record   call, body and all that the answer needs; becomes UNDER_WAY, and
 *          expires_ms is set
 * keep_ms  how long the answer is kept, counted from now
 * now_ms   deadline clock
 * old_ms   deadline clock: answers kept until then are too old; now_ms, or
 *          later where room is short
 *
 * Returns 0; -KAP_INVAL for a trunk_count over its limit; -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int idempotency_create(struct store_txn *txn,
    const struct idempotency_id *id, struct idempotency *record,
    int64_t keep_ms, int64_t now_ms, int64_t old_ms);

/*
 * Write down what became of a call, once.
 *
 * state        MADE, REFUSED or GIVEN_UP
 * answered_ms  wall clock: the answer's timestamp
 *
 * Returns 0; -KAP_NOENT where no record of this call is under way;
 * -KAP_CORRUPT, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int idempotency_settle(struct store_txn *txn,
    const struct idempotency_id *id, const struct call *call,
    enum idempotency_state state, int64_t answered_ms);

/*
 * Somebody was told that a call was given up: its key is free in a while, or
 * sooner if he was not the first. Where there is no such record of this call,
 * nothing is done.
 *
 * free_ms  deadline clock
 *
 * Returns 0, -KAP_CORRUPT, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int idempotency_told(struct store_txn *txn,
    const struct idempotency_id *id, const char *call_id, int64_t free_ms);

/*
 * Delete answers that are too old, the oldest first.
 *
 * now_ms  deadline clock
 * max     how many at most, 1..IDEMPOTENCY_PRUNE_MAX
 *
 * Returns how many were looked at (less than `max`: no more are due);
 * -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int idempotency_prune(struct store_txn *txn, int64_t now_ms,
    unsigned max);

/* Whether there is something to prune; reads only. 1, 0, or -KAP_IO. */
KAP_MUST_USE int idempotency_is_due(struct store_txn *txn, int64_t now_ms);

#endif
