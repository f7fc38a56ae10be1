/*
 * A change of one call as a worker makes it: the step in the table, and the
 * next command out of the outbox, in one transaction. What follows after the
 * commit (rings, sending, answering) is dispatch.h's.
 */
#ifndef KAP_CHANGE_H
#define KAP_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/call_table.h"
#include "shared/outbox.h"
#include "shared/store.h"

/* Who makes the change. */
struct change_maker {
	unsigned slot;
	uint32_t generation;
	uint32_t originate_connection; /* the links' (ari_command_connection) */
	uint32_t control_connection;
	unsigned node;
	int64_t originate_timeout_ms;
	int64_t trunk_timeout_ms;  /* these four are trunk_state.h's */
	uint32_t circuit_failures;
	int64_t circuit_rest_ms;
	int64_t circuit_rest_max_ms;
	int64_t amd_timeout_ms; /* struct call_now's */
};

/*
 * Whether a slot's calls are this worker's to look after: its own, and those
 * of a slot that is no more (stats_slot_owner).
 */
bool change_owns_slot(const struct change_maker *maker, unsigned slot);

struct change {
	int rc; /* of the step: 0, -KAP_NOENT or -KAP_STATE */
	enum call_input_kind input;   /* what it was; CALL_INPUT_COUNT: none */
	struct call_play_id play_id;  /* of that input */
	int reply_status; /* HTTP's, where it was Asterisk's reply; else 0 */
	struct call_step step; /* set when rc is 0 */
	bool has_item;
	struct outbox_item item; /* taken from the outbox: to be sent */
	bool other_has_item;
	struct outbox_item other_item; /* of step.other, likewise */
};

/*
 * Let something happen to a call, and take its next command if there is one
 * to be said now; and the other leg's, where that was told of it. A call that
 * isn't there, or an input that means nothing to it, is no failure: it stands
 * in change_out->rc.
 *
 * input  NULL: nothing happens, only the outbox is looked at
 *
 * Returns 0, or the store's error. Inside a turn's apply().
 */
KAP_MUST_USE int change_step(struct store_txn *txn,
    const struct change_maker *maker, const char *call_id,
    const struct call_input *input, struct change *change_out);

/*
 * Asterisk has answered a command: the step that its answer means (NULL for
 * none), the command leaves the outbox, the next one is taken. A command that
 * is gone already changes nothing: change_out->rc is -KAP_NOENT.
 */
KAP_MUST_USE int change_settle(struct store_txn *txn,
    const struct change_maker *maker, const char *call_id, uint32_t seq,
    const struct call_input *input, struct change *change_out);

/*
 * A taken command waits again, and is taken again at once if it may be. One
 * that somebody else has taken meanwhile is left to him: change_out->rc is
 * -KAP_STATE.
 *
 * tries  of the command, as it was when it was seen last
 */
KAP_MUST_USE int change_retake(struct store_txn *txn,
    const struct change_maker *maker, const char *call_id, uint32_t seq,
    unsigned tries, struct change *change_out);

/*
 * What became of the other leg of a call, as a change by itself.
 *
 * Returns whether anything did; else other_out is not set.
 */
bool change_split_other(const struct change *change,
    struct change *other_out);

/*
 * Create a call (call_table.h, with its errors) and take its originate.
 */
KAP_MUST_USE int change_create(struct store_txn *txn,
    const struct change_maker *maker, struct call *call,
    const struct call_cold *cold, struct change *change_out);

#endif
