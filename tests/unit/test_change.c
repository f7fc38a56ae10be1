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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
