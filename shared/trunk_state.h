/*
 * What this node knows of a trunk: its live calls, its limits, and whether it
 * rests for having failed. A record for each trunk that was ever dialled or
 * considered, in STORE_TRUNKS by its name. It changes in the transaction of
 * the call's step, by what the call's record was and is: so the live count is
 * exact whatever process dies, and nothing has to count anew at a start.
 *
 *               circuit_failures in a row
 *     CLOSED ─────────────────────────────▶ RESTING ◀──────────┐
 *       ▲                                      │ rest is over: │ it fails:
 *       │                                      ▼ one call      │ twice as long
 *       └───────── a sign of the carrier ── PROBING ───────────┘
 *
 * A sign of the carrier closes the circuit in any state: ringing, an answer,
 * or a refusal that is about the called party or the number.
 */
#ifndef KAP_TRUNK_STATE_H
#define KAP_TRUNK_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "call.h"
#include "call_cold.h"
#include "call_machine.h"
#include "errors.h"
#include "store.h"

#define TRUNK_STATE_VERSION 1
#define TRUNK_NAME_SIZE (CALL_TRUNK_NAME_MAX + 1)

enum trunk_circuit {
	TRUNK_CLOSED,  /* calls go out */
	TRUNK_RESTING, /* none, until rest_until_ms; then one */
	TRUNK_PROBING, /* that one is under way */
	TRUNK_CIRCUIT_COUNT
};

/* As stored; only ever grows at its tail. */
struct trunk_state {
	uint16_t version;
	uint8_t circuit;       /* enum trunk_circuit */
	uint8_t pad;
	uint32_t id;           /* PostgreSQL's; 0: not known */
	uint32_t live;         /* calls that occupy it */
	uint32_t failures;     /* in a row */
	uint32_t rests;        /* in a row; each is twice as long */
	uint32_t max_calls;    /* 0: no limit */
	uint32_t max_cps;      /* likewise */
	uint32_t second_count; /* calls dialled in `second` */
	int64_t second;        /* deadline clock, seconds */
	int64_t rest_until_ms; /* deadline clock; 0: never rested */
	uint64_t dialled;      /* ever */
	uint64_t failed;       /* of those, by the trunk's fault */
	int64_t last_used_ms;  /* wall clock; 0: never */
	char probe[CALL_ID_SIZE]; /* PROBING: the call */
};

/* Why a trunk can't be dialled now. */
enum trunk_busy {
	TRUNK_FREE,
	TRUNK_OVER_CPS,
	TRUNK_OVER_CALLS,
	TRUNK_RESTS
};

/* "closed", "resting", "probing". Never NULL. */
const char *trunk_circuit_name(enum trunk_circuit circuit);

/*
 * Copy a trunk's state; of one that has none, all is zero but the version.
 * Returns 0, -KAP_IO.
 */
KAP_MUST_USE int trunk_state_get(struct store_txn *txn, const char *name,
    struct trunk_state *state_out);

/* Returns 0, -KAP_FULL, -KAP_IO. */
KAP_MUST_USE int trunk_state_put(struct store_txn *txn, const char *name,
    const struct trunk_state *state);

/*
 * Copy the states of all trunks from behind the name `after` ("" : the first)
 * with their names. Returns how many, or -KAP_IO.
 */
struct trunk_row {
	char name[TRUNK_NAME_SIZE];
	struct trunk_state state;
};
KAP_MUST_USE int trunk_state_list(struct store_txn *txn, const char *after,
    struct trunk_row *rows, unsigned max);

/*
 * Whether it may be dialled now. Pure.
 *
 * now_ms  deadline clock
 */
enum trunk_busy trunk_state_busy(const struct trunk_state *state,
    int64_t now_ms);

/*
 * When a trunk that is not free may be: milliseconds from now, at least 1. Of
 * one with as many calls as it may have nobody knows; it is 5 s.
 */
int64_t trunk_state_wait_ms(const struct trunk_state *state, int64_t now_ms);

/* Calls dialled in the present second. */
uint32_t trunk_state_cps(const struct trunk_state *state, int64_t now_ms);

/*
 * Which of a call's trunks may be dialled now, from the attempt behind its
 * present one on: bit n is the n-th, from 0. For call_table.c.
 *
 * Returns 0; -KAP_CORRUPT (the cold record), -KAP_IO.
 */
KAP_MUST_USE int trunk_state_free_behind(struct store_txn *txn,
    const struct call *call, const struct call_now *now, uint32_t *free_out);

/*
 * Carry over to the trunks what a step has made of a call: an attempt that
 * begins occupies its trunk, one that is over frees it, and what became of it
 * is noted. For call_table.c, in the step's transaction, while the call's
 * cold record is there.
 *
 * rested_out  TRUNK_NAME_SIZE bytes: the trunk that rests from now on; left
 *             alone where none begins to. May be NULL
 *
 * Returns 0; -KAP_CORRUPT (the cold record); -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int trunk_state_follow(struct store_txn *txn,
    const struct call *before, const struct call *after,
    const struct call_now *now, char *rested_out);

/*
 * Let every trunk that rests be tried at once, by one call: Asterisk was
 * restarted, and what it refused before tells nothing any more.
 *
 * Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int trunk_state_end_rests(struct store_txn *txn);

#endif
