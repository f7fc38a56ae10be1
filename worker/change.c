/*
 * Runs inside write transactions only: no I/O, no logging.
 */
#include "change.h"

#include <string.h>

#include "shared/clock.h"
#include "shared/stats.h"

bool
change_owns_slot(const struct change_maker *maker, unsigned slot)
{
	return stats_slot_owner(slot) == maker->slot;
}

static struct call_now
read_clocks(const struct change_maker *maker)
{
	const struct call_now now = {
		.wall_ms = clock_wall_ms(),
		.boot_ms = clock_deadline_ms(),
		.originate_timeout_ms = maker->originate_timeout_ms,
		.trunk_timeout_ms = maker->trunk_timeout_ms,
		.circuit_failures = maker->circuit_failures,
		.circuit_rest_ms = maker->circuit_rest_ms,
		.circuit_rest_max_ms = maker->circuit_rest_max_ms,
		.amd_timeout_ms = maker->amd_timeout_ms,
	};

	return now;
}

static void
reset(struct change *change)
{
	change->rc = 0;
	change->input = CALL_INPUT_COUNT;
	memset(&change->play_id, 0, sizeof(change->play_id));
	change->reply_status = 0;
	change->has_item = false;
	change->other_has_item = false;
	memset(&change->step, 0, sizeof(change->step));
}

static int
step(struct store_txn *txn, const struct change_maker *maker,
    const char *call_id, const struct call_input *input,
    struct change *change)
{
	const struct call_now now = read_clocks(maker);
	const unsigned rings = change->step.rings;
	const struct call_other other = change->step.other;
	const int rc = call_table_step(txn, call_id, input, &now,
	    &change->step);

	change->input = input->kind;
	change->play_id = input->play_id;
	change->step.rings |= rings;
	if (!change->step.other.told)
		change->step.other = other;
	if (rc == -KAP_NOENT || rc == -KAP_STATE) {
		change->rc = rc;
		return 0;
	}
	return rc;
}

/*
 * An originate of a call that nobody wants any more, and that was certainly
 * not said: as if Asterisk had refused it.
 */
static int
refuse_unwanted(struct store_txn *txn, const struct change_maker *maker,
    struct change *change)
{
	const struct call_input refused = {
		.kind = CALL_IN_ORIGINATE_REFUSED,
		.attempt = change->item.command.attempt,
		.at_ms = clock_wall_ms(),
	};

	return step(txn, maker, change->item.call.id, &refused, change);
}

static bool
is_unwanted_originate(const struct outbox_item *item)
{
	return item->command.kind == CALL_CMD_ORIGINATE &&
	    (item->call.state == CALL_ENDED ||
	    (item->call.flags & (CALL_F_ABANDONED | CALL_F_API_HANGUP |
	        CALL_F_OTHER_ENDED)) != 0);
}

/* What sets a conversation up is not said to a call that is over. */
static bool
is_too_late(const struct outbox_item *item)
{
	return item->call.state == CALL_ENDED &&
	    (item->command.kind == CALL_CMD_BRIDGE_CREATE ||
	    item->command.kind == CALL_CMD_BRIDGE_ADD ||
	    item->command.kind == CALL_CMD_BRIDGE_JOIN ||
	    item->command.kind == CALL_CMD_RECORD ||
	    item->command.kind == CALL_CMD_SNOOP ||
	    item->command.kind == CALL_CMD_SNOOP_SET ||
	    item->command.kind == CALL_CMD_SNOOP_CONTINUE ||
	    item->command.kind == CALL_CMD_RECORD_STOP ||
	    item->command.kind == CALL_CMD_PLAY);
}

/* Its record went with what an event told: it was said, and is over. */
static bool
is_play_over(const struct outbox_item *item)
{
	return item->command.kind == CALL_CMD_PLAY &&
	    item->play.media[0] == '\0';
}

/* Asterisk would record an empty bridge. */
static bool
is_unwanted_record(const struct outbox_item *item)
{
	return item->command.kind == CALL_CMD_RECORD &&
	    (item->call.flags & CALL_F_RECORD) == 0;
}

static bool
is_void(const struct outbox_item *item)
{
	return is_too_late(item) || is_play_over(item) ||
	    is_unwanted_record(item);
}

/* Take what is to be said next; what is not to be said makes way for it. */
static int
take(struct store_txn *txn, const struct change_maker *maker,
    const char *call_id, struct change *change)
{
	const struct outbox_taker taker = {
		.slot = maker->slot,
		.generation = maker->generation,
		.originate_connection = maker->originate_connection,
		.control_connection = maker->control_connection,
		.now_ms = clock_deadline_ms(),
	};
	int rc;

	while ((rc = outbox_take(txn, call_id, &taker, &change->item)) == 0) {
		if (is_unwanted_originate(&change->item))
			rc = refuse_unwanted(txn, maker, change);
		else if (!is_void(&change->item))
			break;
		if (rc == 0)
			rc = outbox_settle(txn, call_id,
			    change->item.command.seq);
		if (rc != 0)
			return rc;
	}
	change->has_item = rc == 0;
	return rc == -KAP_NOENT || rc == -KAP_AGAIN ? 0 : rc;
}

bool
change_split_other(const struct change *change, struct change *other_out)
{
	const struct call_other *other = &change->step.other;

	if (!other->told)
		return false;
	reset(other_out);
	other_out->input = other->input;
	other_out->step.state_before = other->state_before;
	other_out->step.call = other->call;
	other_out->step.rings = other->rings;
	other_out->has_item = change->other_has_item;
	if (change->other_has_item)
		other_out->item = change->other_item;
	return true;
}

/* What the other leg says next. */
static int
take_as_other(struct store_txn *txn, const struct change_maker *maker,
    struct change *change)
{
	struct change other = { .has_item = false };
	int rc;

	if (!change_split_other(change, &other))
		return 0;
	rc = take(txn, maker, other.step.call.id, &other);
	change->step.other.call = other.step.call;
	change->step.other.rings = other.step.rings;
	change->other_has_item = other.has_item;
	if (other.has_item)
		change->other_item = other.item;
	return rc;
}

/* …if there is one, and it may have something to say. */
static int
take_other(struct store_txn *txn, const struct change_maker *maker,
    struct change *change)
{
	const struct call_other *other = &change->step.other;

	return other->told && (other->rings & CALL_RING_OUTBOX) != 0 ?
	    take_as_other(txn, maker, change) : 0;
}

/* Of both legs. */
static int
take_all(struct store_txn *txn, const struct change_maker *maker,
    const char *call_id, struct change *change)
{
	const int rc = take(txn, maker, call_id, change);

	return rc != 0 ? rc : take_other(txn, maker, change);
}

/* Has an event of its channel shown, before any reply, that it was dialled? */
static bool
is_first_sign(const struct change *change, const struct call_input *input)
{
	/* it may be queued again, for its next trunk */
	return change->step.state_before == CALL_QUEUED &&
	    input->attempt != 0 && call_input_is_event(input->kind);
}

/*
 * An event may stand for the reply to the command that it shows done. Returns
 * 0; -KAP_NOENT where none is.
 */
static int
settle_by_event(struct store_txn *txn, const char *call_id,
    const struct call_input *input, const struct change *change)
{
	if (is_first_sign(change, input))
		return outbox_settle_originate(txn, call_id, input->attempt);
	if (input->kind == CALL_IN_PLAY_STARTED ||
	    input->kind == CALL_IN_PLAY_FINISHED ||
	    input->kind == CALL_IN_PLAY_FAILED)
		return outbox_settle_play(txn, call_id, &input->play_id);
	return -KAP_NOENT;
}

int
change_step(struct store_txn *txn, const struct change_maker *maker,
    const char *call_id, const struct call_input *input,
    struct change *change_out)
{
	int rc;

	reset(change_out);
	if (input != NULL) {
		rc = step(txn, maker, call_id, input, change_out);
		if (rc != 0 || change_out->rc != 0)
			return rc;
		rc = settle_by_event(txn, call_id, input, change_out);
		if (rc != 0 && rc != -KAP_NOENT)
			return rc;
		if (rc != 0 &&
		    (change_out->step.rings & CALL_RING_OUTBOX) == 0)
			return take_other(txn, maker, change_out);
	}
	return take_all(txn, maker, call_id, change_out);
}

int
change_settle(struct store_txn *txn, const struct change_maker *maker,
    const char *call_id, uint32_t seq, const struct call_input *input,
    struct change *change_out)
{
	int rc;

	reset(change_out);
	rc = outbox_find(txn, call_id, seq);
	if (rc == -KAP_NOENT) {
		change_out->rc = rc;
		return 0;
	}
	if (rc == 0 && input != NULL)
		rc = step(txn, maker, call_id, input, change_out);
	if (rc == 0)
		rc = outbox_settle(txn, call_id, seq);
	return rc != 0 ? rc : take_all(txn, maker, call_id, change_out);
}

int
change_retake(struct store_txn *txn, const struct change_maker *maker,
    const char *call_id, uint32_t seq, unsigned tries,
    struct change *change_out)
{
	struct command command;
	int rc;

	reset(change_out);
	rc = outbox_get(txn, call_id, seq, &command);
	if (rc == -KAP_NOENT || (rc == 0 && command.tries != tries)) {
		change_out->rc = rc != 0 ? rc : -KAP_STATE;
		return 0;
	}
	if (rc == 0)
		rc = outbox_release(txn, call_id, seq);
	return rc != 0 ? rc : take_all(txn, maker, call_id, change_out);
}

int
change_create(struct store_txn *txn, const struct change_maker *maker,
    struct call *call, const struct call_cold *cold,
    struct change *change_out)
{
	const struct call_now now = read_clocks(maker);
	int rc;

	reset(change_out);
	call->slot = (uint8_t)maker->slot;
	rc = call_table_create(txn, call, cold, maker->node, &now,
	    &change_out->step);
	return rc != 0 ? rc : take_all(txn, maker, call->id, change_out);
}
