/*
 * The outbox: commands to Asterisk, first in first out for each call. A
 * command leaves only with Asterisk's reply, and the next of a call is sent
 * only after that. Whoever finds the head waiting takes it, marks it as sent
 * by itself in the same transaction, and sends it after the commit; so after
 * any crash it is known what may have been said, and by whom.
 *
 *     WAITING ──take──▶ SENT ──settle──▶ gone
 *        ▲                │
 *        └────release─────┘   (certainly not said, or harmless to say again)
 *
 * A command holds a reference on its call.
 */
#ifndef KAP_OUTBOX_H
#define KAP_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "call.h"
#include "call_cold.h"
#include "call_machine.h"
#include "store.h"

#define COMMAND_VERSION 1

enum command_state { COMMAND_WAITING, COMMAND_SENT };

struct command {
	uint16_t version;
	uint8_t kind;    /* enum call_command_kind */
	uint8_t state;   /* enum command_state */
	uint8_t attempt; /* of the call, when it was put here */
	uint8_t slot;    /* SENT: the worker that took it */
	uint16_t tries;  /* times taken */
	uint32_t seq;    /* within the call */
	uint32_t generation; /* SENT: of that worker; 0: none that lives */
	int64_t taken_ms; /* SENT: deadline clock */
	int64_t queued_ms; /* wall clock; 0: by an older program */
	struct call_play_id play; /* PLAY, PLAY_STOP */
	/*
	 * SENT: the number of the connection it goes by. 0: one without, or
	 * there was none, or an older program took it; or all that it brought
	 * is through (outbox_disown).
	 */
	uint32_t connection;
	uint32_t reserved;
};

/* A command that was taken, with all that it takes to say it. */
struct outbox_item {
	struct command command;
	struct call call;
	char endpoint[CALL_ENDPOINT_MAX + 1]; /* originate only */
	char trunk[CALL_TRUNK_NAME_MAX + 1];  /* likewise */
	struct call_play play; /* PLAY alone; its media is empty if the record
	                          is gone: nothing is to be said then */
	char amd[CALL_AMD_ARGS_MAX + 1]; /* SNOOP_SET alone; "" : the
	                                    configuration's */
};

/* A command to be appended. */
struct outbox_order {
	enum call_command_kind kind;
	unsigned attempt; /* whose channel it is about; 0: the call's last */
	struct call_play_id play; /* PLAY, PLAY_STOP */
};

/*
 * Append a command. `call` is the caller's copy of the record, which it
 * writes itself: command_seq and refs are counted up there.
 * Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int outbox_append(struct store_txn *txn, struct call *call,
    const struct outbox_order *order);

/*
 * Delete what still waits for a call, but not an originate (its place in the
 * order tells whether the call was ever dialled). Counts `call->refs` down.
 */
KAP_MUST_USE int outbox_drop_waiting(struct store_txn *txn,
    struct call *call);

/* Who takes a command, and by which connections he would say it. */
struct outbox_taker {
	unsigned slot;
	uint32_t generation;
	uint32_t originate_connection;
	uint32_t control_connection; /* for all but originates */
	int64_t now_ms; /* deadline clock */
};

/*
 * Take the head of a call's outbox, if it waits and may be said now (a
 * channel goes into its bridge only once it is in Stasis; what an ended call
 * has left is taken whatever it is).
 *
 * Returns 0; -KAP_NOENT when the outbox is empty; -KAP_AGAIN when the head
 * is under way or not ready; -KAP_FULL, -KAP_IO, -KAP_CORRUPT.
 */
KAP_MUST_USE int outbox_take(struct store_txn *txn, const char *call_id,
    const struct outbox_taker *taker, struct outbox_item *item_out);

/*
 * Remove a command that Asterisk has answered, with its reference. One that
 * is gone already: -KAP_NOENT, and the reply is to be ignored.
 */
KAP_MUST_USE int outbox_settle(struct store_txn *txn, const char *call_id,
    uint32_t seq);

/*
 * An event has shown that a call's originate was carried out: remove it as if
 * Asterisk had answered it, for its reply may be lost and the hangup waits
 * behind it. Returns 0; -KAP_NOENT where it is gone already; -KAP_FULL,
 * -KAP_IO, -KAP_CORRUPT.
 */
KAP_MUST_USE int outbox_settle_originate(struct store_txn *txn,
    const char *call_id, unsigned attempt);

/*
 * An event has shown that a playback was begun: remove its command as if
 * Asterisk had answered it, for said again behind its end it would be heard
 * twice. Returns 0; -KAP_NOENT where it is not the head any more; -KAP_FULL,
 * -KAP_IO.
 */
KAP_MUST_USE int outbox_settle_play(struct store_txn *txn,
    const char *call_id, const struct call_play_id *play);

/* Is a command there? Returns 0, -KAP_NOENT, -KAP_IO. */
KAP_MUST_USE int outbox_find(struct store_txn *txn, const char *call_id,
    uint32_t seq);

/* Copy a command. Returns 0, -KAP_NOENT, -KAP_IO. */
KAP_MUST_USE int outbox_get(struct store_txn *txn, const char *call_id,
    uint32_t seq, struct command *command_out);

/* Make a taken command wait again. -KAP_NOENT when it is gone. */
KAP_MUST_USE int outbox_release(struct store_txn *txn, const char *call_id,
    uint32_t seq);

/*
 * A taken command is nobody's any more: still SENT, for it may have been
 * said, it is for whoever looks after the call. One that somebody else has
 * taken meanwhile is left to him.
 *
 * tries       of the command, as it was when it was seen last
 * is_through  Asterisk has worked off all that came over its connection, so
 *             nobody need ask after that
 *
 * Returns 0; -KAP_NOENT when it is gone; -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int outbox_disown(struct store_txn *txn, const char *call_id,
    uint32_t seq, unsigned tries, bool is_through);

/* One head of a call's outbox, for going on after a crash or an outage. */
struct outbox_head {
	char call_id[CALL_ID_SIZE];
	struct command command;
};

/*
 * Copy the heads of all outboxes from behind `after_id` ("" : the first).
 * Returns how many, or -KAP_IO.
 */
KAP_MUST_USE int outbox_scan(struct store_txn *txn, const char *after_id,
    struct outbox_head *heads, unsigned max);

#endif
