/*
 * Changes of a call as a worker makes them, on a real store.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_table.h"
#include "shared/outbox.h"
#include "store_fixture.h"
#include "worker/change.h"

#define KEY_ID 7

static const struct change_maker maker = { .slot = 0, .generation = 1,
	.node = 1, .originate_timeout_ms = 5000 };

static int
setup(void **state)
{
	struct store_fixture *fixture = calloc(1, sizeof(*fixture));

	store_fixture_open(fixture);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct store_fixture *fixture = *state;

	store_fixture_close(fixture);
	free(fixture);
	return 0;
}

static struct store_txn *
begin(void **state)
{
	struct store_fixture *fixture = *state;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	return txn;
}

/* A call whose originate is on its way. */
static void
create(struct store_txn *txn, struct change *change)
{
	const struct call_cold cold = { .webhook_url = "", .voice = "",
		.trunk_count = 1, .trunk_names = { "one" },
		.endpoints = { "PJSIP/00x@one" } };
	struct call call = { .key_id = KEY_ID, .trunk_count = 1,
		.ring_timeout_s = 30, .max_duration_s = 60,
		.number = "14155550100" };

	assert_int_equal(change_create(txn, &maker, &call, &cold, change), 0);
	assert_true(change->has_item);
	assert_int_equal(change->item.command.kind, CALL_CMD_ORIGINATE);
}

static void
tell(struct store_txn *txn, const char *id, enum call_input_kind kind,
    struct change *change)
{
	const struct call_input input = { .kind = kind, .attempt = 1,
		.cause = 16, .at_ms = 1000 };

	assert_int_equal(change_step(txn, &maker, id, &input, change), 0);
}

/* The reply is lost: what waits behind the originate goes on all the same. */
static void
test_an_event_stands_for_the_reply(void **state)
{
	static const struct {
		enum call_input_kind event;
		enum call_command_kind next; /* 0: none */
	} rows[] = {
		{ CALL_IN_SEEN, 0 },
		{ CALL_IN_RINGING, 0 },
		{ CALL_IN_UP, CALL_CMD_BRIDGE_CREATE },
		{ CALL_IN_STASIS_START, CALL_CMD_BRIDGE_CREATE },
		{ CALL_IN_DESTROYED, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store_txn *txn = begin(state);
		struct change made;
		struct change change;
		const char *id = made.step.call.id;

		create(txn, &made);
		tell(txn, id, rows[i].event, &change);
		assert_int_equal(outbox_find(txn, id,
		    made.item.command.seq), -KAP_NOENT);
		assert_int_equal(change.has_item, rows[i].next != 0);
		if (rows[i].next != 0)
			assert_int_equal(change.item.command.kind,
			    rows[i].next);
		/* the reply, late: it changes nothing */
		assert_int_equal(change_settle(txn, &maker, id,
		    made.item.command.seq, NULL, &change), 0);
		assert_int_equal(change.rc, -KAP_NOENT);
		store_abort(&txn);
	}
}

static void
test_a_hangup_does_not_wait_for_a_lost_reply(void **state)
{
	struct store_txn *txn = begin(state);
	struct change made;
	struct change change;
	const struct call_input hangup = { .kind = CALL_IN_HANGUP };

	create(txn, &made);
	assert_int_equal(change_step(txn, &maker, made.step.call.id, &hangup,
	    &change), 0);
	assert_false(change.has_item); /* behind the originate */
	tell(txn, made.step.call.id, CALL_IN_RINGING, &change);
	assert_true(change.has_item);
	assert_int_equal(change.item.command.kind, CALL_CMD_HANGUP);
	store_abort(&txn);
}

/* What is no event of its channel proves nothing. */
static void
test_other_inputs_leave_the_originate(void **state)
{
	struct store_txn *txn = begin(state);
	struct change made;
	struct change change;
	const struct call_input timeout = { .kind = CALL_IN_TIMER,
		.timer = CALL_TIMER_ORIGINATE };

	create(txn, &made);
	assert_int_equal(change_step(txn, &maker, made.step.call.id, &timeout,
	    &change), 0);
	assert_int_equal(outbox_find(txn, made.step.call.id,
	    made.item.command.seq), 0);
	tell(txn, made.step.call.id, CALL_IN_SEEN, &change);
	assert_true(change.has_item);
	assert_int_equal(change.item.command.kind, CALL_CMD_HANGUP);
	store_abort(&txn);
}

/* --- two legs ------------------------------------------------------------ */

/* An answered call with nothing in its outbox. */
static void
create_answered(struct store_txn *txn, struct change *change)
{
	struct change next;
	const char *id = change->step.call.id;
	int left = 8;

	create(txn, change);
	tell(txn, id, CALL_IN_STASIS_START, &next);
	while (next.has_item && left-- > 0)
		assert_int_equal(change_settle(txn, &maker, id,
		    next.item.command.seq, NULL, &next), 0);
	assert_int_not_equal(left, 0);
}

/* A second leg; its originate is on its way, or (`said` false) waits. */
static void
create_second(struct store_txn *txn, const char *first_id, bool said,
    struct change *change)
{
	const struct call_cold cold = { .webhook_url = "", .voice = "",
		.trunk_count = 1, .trunk_names = { "one" },
		.endpoints = { "PJSIP/00x@one" } };
	struct call call = { .key_id = KEY_ID, .trunk_count = 1,
		.ring_timeout_s = 30, .max_duration_s = 60,
		.flags = CALL_F_SECOND_LEG, .number = "14155550107" };

	memcpy(call.other_id, first_id, CALL_ID_SIZE);
	assert_int_equal(change_create(txn, &maker, &call, &cold, change), 0);
	if (!said)
		assert_int_equal(outbox_release(txn, change->step.call.id,
		    change->item.command.seq), 0);
}

static void
test_the_first_leg_is_told_of_the_second(void **state)
{
	struct store_txn *txn = begin(state);
	struct change first;
	struct change second;
	struct change other;

	create_answered(txn, &first);
	assert_false(change_split_other(&first, &other));
	create_second(txn, first.step.call.id, true, &second);
	assert_true(second.has_item);
	assert_true(change_split_other(&second, &other));
	assert_int_equal(other.input, CALL_IN_OTHER_CREATED);
	assert_string_equal(other.step.call.id, first.step.call.id);
	assert_string_equal(other.step.call.other_id, second.step.call.id);
	assert_false(other.has_item);
	store_abort(&txn);
}

/* What the other leg is to say is taken with the same change. */
static void
test_the_end_of_a_leg_hangs_up_the_other(void **state)
{
	static const struct call_input joined = {
		.kind = CALL_IN_BRIDGE_ADD_OK };

	for (int by_second = 0; by_second < 2; by_second++) {
		struct store_txn *txn = begin(state);
		struct change first;
		struct change second;
		struct change change;
		struct change other;
		const char *ends;
		const char *hung_up;

		create_answered(txn, &first);
		create_second(txn, first.step.call.id, true, &second);
		tell(txn, second.step.call.id, CALL_IN_STASIS_START, &change);
		assert_true(change.has_item);
		assert_int_equal(change.item.command.kind,
		    CALL_CMD_BRIDGE_JOIN);
		assert_string_equal(change.item.call.other_id,
		    first.step.call.id);
		assert_false(change_split_other(&change, &other));
		assert_int_equal(change_settle(txn, &maker,
		    second.step.call.id, change.item.command.seq, &joined,
		    &change), 0);
		assert_true(change_split_other(&change, &other));
		assert_int_equal(other.input, CALL_IN_OTHER_ANSWERED);
		ends = by_second ? second.step.call.id : first.step.call.id;
		hung_up = by_second ? first.step.call.id :
		    second.step.call.id;
		tell(txn, ends, CALL_IN_DESTROYED, &change);
		assert_int_equal(change.rc, 0);
		assert_true(change_split_other(&change, &other));
		assert_int_equal(other.input, CALL_IN_OTHER_ENDED);
		assert_string_equal(other.step.call.id, hung_up);
		assert_true(other.has_item);
		assert_int_equal(other.item.command.kind, CALL_CMD_HANGUP);
		assert_string_equal(other.item.call.id, hung_up);
		store_abort(&txn);
	}
}

/* Nobody is there to be joined: its phone must not ring at all. */
static void
test_a_second_leg_that_was_not_dialled_is_not_dialled(void **state)
{
	struct store_txn *txn = begin(state);
	struct change first;
	struct change second;
	struct change change;
	struct change other;

	create_answered(txn, &first);
	create_second(txn, first.step.call.id, false, &second);
	tell(txn, first.step.call.id, CALL_IN_DESTROYED, &change);
	assert_true(change_split_other(&change, &other));
	assert_string_equal(other.step.call.id, second.step.call.id);
	assert_int_equal(other.step.state_before, CALL_QUEUED);
	assert_int_equal(other.step.call.state, CALL_ENDED);
	assert_int_equal(other.step.call.status, CALL_STATUS_CANCELED);
	assert_int_equal(call_outcome(&other.step.call), CALL_OUTCOME_MADE);
	/* the hangup that waited behind it; harmless */
	if (other.has_item)
		assert_int_equal(other.item.command.kind, CALL_CMD_HANGUP);
	store_abort(&txn);
}

/* --- playbacks ----------------------------------------------------------- */

/* Have one made; what is to be said for it, if anything, is in the change. */
static void
play(struct store_txn *txn, const char *id, int64_t ms, struct change *change)
{
	const struct call_play made = { .version = CALL_PLAY_VERSION,
		.id = { .kind = CALL_PLAY_SOUND, .ms = ms },
		.media = "sound:x", .text = "x" };
	const struct call_input input = { .kind = CALL_IN_PLAY, .play = &made,
		.at_ms = 1000 };

	assert_int_equal(change_step(txn, &maker, id, &input, change), 0);
	assert_int_equal(change->rc, 0);
}

static void
tell_play(struct store_txn *txn, const char *id, enum call_input_kind kind,
    int64_t ms, struct change *change)
{
	const struct call_input input = { .kind = kind,
		.play_id = { .ms = ms }, .at_ms = 1000 };

	assert_int_equal(change_step(txn, &maker, id, &input, change), 0);
	assert_int_equal(change->input, kind);
	assert_int_equal(change->play_id.ms, ms);
}

static void
check_says_play(const struct change *change, int64_t ms)
{
	assert_true(change->has_item);
	assert_int_equal(change->item.command.kind, CALL_CMD_PLAY);
	assert_int_equal(change->item.command.play.ms, ms);
}

/*
 * What an event tells of a playback shows that it was taken: said again it
 * would be heard twice. What waits behind it goes on.
 */
static void
test_an_event_stands_for_a_playbacks_reply(void **state)
{
	static const enum call_input_kind events[] = { CALL_IN_PLAY_STARTED,
		CALL_IN_PLAY_FINISHED, CALL_IN_PLAY_FAILED };

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		struct store_txn *txn = begin(state);
		struct change made;
		struct change first;
		struct change change;
		const char *id = made.step.call.id;

		create_answered(txn, &made);
		play(txn, id, 7, &first);
		check_says_play(&first, 7);
		play(txn, id, 8, &change);
		assert_false(change.has_item);
		tell_play(txn, id, events[i], 9, &change);
		assert_int_equal(change.rc, -KAP_STATE);
		tell_play(txn, id, events[i], 7, &change);
		assert_int_equal(change.rc, 0);
		check_says_play(&change, 8);
		/* the reply, and a second try, late: they change nothing */
		assert_int_equal(change_settle(txn, &maker, id,
		    first.item.command.seq, NULL, &change), 0);
		assert_int_equal(change.rc, -KAP_NOENT);
		assert_int_equal(change_retake(txn, &maker, id,
		    first.item.command.seq, first.item.command.tries,
		    &change), 0);
		assert_int_equal(change.rc, -KAP_NOENT);
		assert_false(change.has_item);
		store_abort(&txn);
	}
}

/* Also one that was told to stop before anything was heard of it. */
static void
test_an_event_of_a_stopped_playback(void **state)
{
	const struct call_input stop = { .kind = CALL_IN_STOP_PLAYS };
	struct store_txn *txn = begin(state);
	struct change made;
	struct change change;
	const char *id = made.step.call.id;

	create_answered(txn, &made);
	play(txn, id, 7, &change);
	assert_int_equal(change_step(txn, &maker, id, &stop, &change), 0);
	assert_false(change.has_item); /* behind what is to be stopped */
	tell_play(txn, id, CALL_IN_PLAY_STARTED, 7, &change);
	assert_int_equal(change.rc, 0);
	assert_true(change.has_item);
	assert_int_equal(change.item.command.kind, CALL_CMD_PLAY_STOP);
	assert_int_equal(change.item.command.play.ms, 7);
	store_abort(&txn);
}

/* Its record went with its end: nothing is said, what waits goes on. */
static void
test_a_playback_without_a_record_makes_way(void **state)
{
	const struct call_play_id gone = { .ms = 7 };
	struct store_txn *txn = begin(state);
	struct change made;
	struct change first;
	struct change change;
	const char *id = made.step.call.id;

	create_answered(txn, &made);
	play(txn, id, 7, &first);
	play(txn, id, 8, &change);
	assert_int_equal(call_play_del(txn, id, &gone), 0);
	assert_int_equal(change_retake(txn, &maker, id,
	    first.item.command.seq, first.item.command.tries, &change), 0);
	check_says_play(&change, 8);
	assert_int_equal(outbox_find(txn, id, first.item.command.seq),
	    -KAP_NOENT);
	store_abort(&txn);
}

/* No bridge: nothing is recorded, and each playback has its answer. */
static void
test_without_a_bridge(void **state)
{
	const struct call_input failed = { .kind = CALL_IN_BRIDGE_FAILED };
	const struct call_cold cold = { .webhook_url = "", .voice = "",
		.trunk_count = 1, .trunk_names = { "one" },
		.endpoints = { "PJSIP/00x@one" } };
	struct call call = { .key_id = KEY_ID, .trunk_count = 1,
		.ring_timeout_s = 30, .max_duration_s = 60,
		.flags = CALL_F_RECORD, .number = "14155550100" };
	struct store_txn *txn = begin(state);
	struct change made;
	struct change change;
	const char *id = made.step.call.id;

	assert_int_equal(change_create(txn, &maker, &call, &cold, &made), 0);
	tell(txn, id, CALL_IN_STASIS_START, &change);
	assert_int_equal(change.item.command.kind, CALL_CMD_BRIDGE_CREATE);
	made.item = change.item;
	play(txn, id, 7, &change);
	assert_false(change.has_item);
	assert_int_equal(change_settle(txn, &maker, id,
	    made.item.command.seq, &failed, &change), 0);
	assert_true(change.has_item);
	assert_int_equal(change.item.command.kind, CALL_CMD_BRIDGE_ADD);
	assert_int_equal(change_settle(txn, &maker, id,
	    change.item.command.seq, &failed, &change), 0);
	check_says_play(&change, 7);
	store_abort(&txn);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    test_an_event_stands_for_the_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_hangup_does_not_wait_for_a_lost_reply, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_other_inputs_leave_the_originate, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_the_first_leg_is_told_of_the_second, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_the_end_of_a_leg_hangs_up_the_other, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_second_leg_that_was_not_dialled_is_not_dialled,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_an_event_stands_for_a_playbacks_reply, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_an_event_of_a_stopped_playback, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_playback_without_a_record_makes_way, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_without_a_bridge, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
