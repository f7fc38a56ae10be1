/*
 * What an operator asks of the running node: restarts and scaling. Each is an
 * operation, which goes on by itself while the asker looks at its steps; the
 * last few are kept. What an operation does is rolling.h's and scaling.h's.
 */
#ifndef KAP_OPERATION_H
#define KAP_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "master/slots.h"
#include "shared/errors.h"

#define OPERATIONS_KEPT 8

struct children;

enum operation_kind { OPERATION_RESTART, OPERATION_SCALE };

struct operation_step {
	int64_t at_ms; /* wall clock */
	char text[160];
};

struct operation {
	uint64_t id; /* 0: no operation */
	enum operation_kind kind;
	char what[64];
	char error[320]; /* empty unless it failed */
	bool done;
	bool failed;
	struct operation_step *steps;
	size_t step_count;

	/* rolling.c's: the slots to restart, and the successor's generation
	 * of the one that is under way, or 0 */
	uint8_t plan[SLOTS_COUNT];
	size_t plan_count;
	size_t plan_at;
	uint32_t generation;
	bool told_wait;

	/* scaling.c's */
	int phase;
	unsigned from;
	unsigned to;
	bool steered;
	int64_t since_ms;   /* boot clock, of the phase */
	int64_t steered_ms; /* boot clock */
};

/* The last operations, each where its id says. */
struct operations {
	struct operation at[OPERATIONS_KEPT];
	uint64_t last_id;
};

/*
 * Restart children one after the other, workers first, then recorder and
 * webhookd: each gets a successor, and leaves when that is ready. It stops at
 * the first that fails; the old one goes on then.
 *
 * role    "worker", "webhookd", "recorder" or "all"
 * slot    0.., or -1 for all of the role
 * id_out  from 1; unset on error
 *
 * Returns 0; -KAP_INVAL (no such role), -KAP_NOENT (no such slot),
 * -KAP_EXISTS (another operation is about one of them), -KAP_STATE (the
 * master stops), -KAP_NOMEM; in words in msg. Never blocks.
 */
KAP_MUST_USE int operation_restart(struct children *children,
    const char *role, int slot, uint64_t *id_out, struct kap_errmsg *msg);

/*
 * Have another number of workers. Done when the new ones serve, or when those
 * that are too many are gone.
 *
 * workers  1..CHILD_MAX_WORKERS
 *
 * Returns 0; -KAP_INVAL (out of range), -KAP_EXISTS (another operation is
 * under way, or there are as many), -KAP_STATE (the master stops), -KAP_NOMEM,
 * or why there is no listener (listener_open); in words in msg. Nothing is
 * changed on error. Never blocks.
 */
KAP_MUST_USE int operation_scale(struct children *children, unsigned workers,
    uint64_t *id_out, struct kap_errmsg *msg);

/*
 * An operation as JSON, the caller's:
 *
 *     {"ok":true,"operation":7,"what":"restart worker 2","done":false,
 *      "failed":false,"error":"","steps":[{"at":"…","text":"…"},…]}
 *
 * `done` is true for one that failed, too. NULL for one that never was, or is
 * forgotten; also when out of memory.
 */
cJSON *operation_render(const struct children *children, uint64_t id);

/* ---- for those who carry an operation out ---- */

/* Go on with every operation. Called after whatever may have moved one. */
void operations_push(struct children *children, int64_t now_ms);

/* The master stops: every operation ends here, as a failed one. */
void operations_end(struct children *children);
void operations_deinit(struct children *children);

/* A step is done: say so, with the time. Cut at 159 bytes. */
void operation_note(struct operation *operation, const char *fmt, ...)
    KAP_PRINTF(2, 3);

/* It failed: keep the words, log them. The first failure counts. */
void operation_fail(struct operation *operation, const char *fmt, ...)
    KAP_PRINTF(2, 3);

/* Nothing more comes. */
void operation_finish(struct operation *operation);

#endif
