/*
 * The table of calls over a real store: what a step writes, and that nothing
 * is left when a call is over. The last test lets thousands of random calls
 * live and checks the sums.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/account.h"
#include "shared/call_play.h"
#include "shared/call_table.h"
#include "shared/call_timers.h"
#include "shared/ledger_queue.h"
#include "shared/outbox.h"
#include "shared/recording_queue.h"
#include "shared/webhook_queue.h"
#include "store_fixture.h"

#define KEY_ID 12
#define WALL_MS 1720012345000LL
#define BOOT_MS 5000000LL
#define TRUNK_MS 4000

static const struct outbox_taker taker = { .slot = 3, .generation = 1,
	.now_ms = BOOT_MS };

static const struct call_now now = { .wall_ms = WALL_MS,
	.boot_ms = BOOT_MS, .originate_timeout_ms = 5000 };
static const struct call_cold cold = {
	.webhook_url = "https://example.com/hook",
	.metadata = "{\"a\":1}",
	.voice = "en-US-Neural2-A",
	.trunk_count = 2,
	.trunk_names = { "one", "two" },
	.endpoints = { "PJSIP/00x@one", "PJSIP/00x@two" },
};

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
	store_fixture_close(*state);
	free(*state);
	return 0;
}

static void
create(struct store_txn *txn, uint32_t flags, struct call_step *step)
{
	struct call call = {
		.key_id = KEY_ID,
		.slot = 3,
		.trunk_count = 2,
		.ring_timeout_s = 30,
		.max_duration_s = 60,
		.flags = flags,
		.number = "14155550100",
	};

	assert_int_equal(call_table_create(txn, &call, &cold, 1, &now, step),
	    0);
}

static int
step_call(struct store_txn *txn, const char *id, enum call_input_kind kind,
    unsigned cause, struct call_step *step)
{
	const struct call_input input = {
		.kind = kind,
		.cause = cause,
		.timer = (enum call_timer)cause,
		.at_ms = WALL_MS + 1000,
	};

	return call_table_step(txn, id, &input, &now, step);
}

static uint64_t
count(struct store_txn *txn, enum store_table table)
{
	uint64_t n;

	assert_int_equal(store_count(txn, table, &n), 0);
	return n;
}

static struct account
get_account(struct store_txn *txn)
{
	struct account account;

	assert_int_equal(account_get(txn, KEY_ID, &account), 0);
	return account;
}

static void
settle_head(struct store_txn *txn, const char *id, int expected_kind)
{
	struct outbox_item item;

	assert_int_equal(outbox_take(txn, id, &taker, &item), 0);
	assert_int_equal(item.command.kind, expected_kind);
	assert_int_equal(outbox_settle(txn, id, item.command.seq), 0);
}

/* Deliver all events: drops their references. */
static unsigned
deliver_all(struct store_txn *txn)
{
	struct webhook_event event;
	unsigned delivered = 0;

	while (webhook_queue_peek_new(txn, 0, &event, 1) == 1) {
		assert_int_equal(webhook_queue_remove(txn, &event, 0), 0);
		assert_in_range(++delivered, 1, 1000000);
	}
	return delivered;
}

/* All but one call's are held. */
static bool
is_held(void *ctx, const struct call_due *due)
{
	return strcmp(due->call_id, ctx) != 0;
}

/*
 * A trunk's timer is nobody's but the slot's own; and one that is held is in
 * nobody's way.
 */
static void
test_trunk_timers(void **state)
{
	struct store_fixture *fixture = *state;
	const struct call_input taken = { .kind = CALL_IN_ORIGINATE_OK };
	const struct call_now then = { .wall_ms = WALL_MS, .boot_ms = BOOT_MS,
		.trunk_timeout_ms = TRUNK_MS };
	struct call_timers_holder holder = { .is_held = is_held };
	struct call_step first;
	struct call_step second;
	struct call_due due[4];
	struct store_txn *txn;
	int64_t next;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	create(txn, 0, &first);
	assert_int_equal(call_table_step(txn, first.call.id, &taken,
	    &then, &first), 0);
	create(txn, 0, &second);
	assert_int_equal(call_table_step(txn, second.call.id, &taken,
	    &then, &second), 0);
	assert_int_equal(first.call.timers[CALL_TIMER_TRUNK],
	    BOOT_MS + TRUNK_MS);
	assert_int_equal(call_timers_due(txn, 2, BOOT_MS + 20000, NULL, due,
	    4, &next), 0);
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS + TRUNK_MS - 1, NULL,
	    due, 4, &next), 0);
	assert_int_equal(next, BOOT_MS + TRUNK_MS);
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS + TRUNK_MS, NULL,
	    due, 4, &next), 2);
	assert_int_equal(due[0].timer, CALL_TIMER_TRUNK);
	assert_int_equal(due[0].slot, 3);
	holder.ctx = second.call.id;
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS + TRUNK_MS, &holder,
	    due, 1, &next), 1);
	assert_string_equal(due[0].call_id, second.call.id);
	holder.ctx = (char[]){ "" };
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS + TRUNK_MS, &holder,
	    due, 4, &next), 0);
	/* the rings' guards stand behind them */
	assert_int_equal(next, first.call.timers[CALL_TIMER_GUARD]);
	store_abort(&txn);
}

static void
test_a_whole_life(void **state)
{
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct store_txn *txn;
	struct recording_job job;
	struct ledger_entry entries[4];
	struct call_due due[4];
	int64_t next;
	char id[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	create(txn, CALL_F_WEBHOOK | CALL_F_RECORD, &step);
	memcpy(id, step.call.id, sizeof(id));
	assert_string_equal(id, "1720012345.1001");
	assert_int_equal(step.rings, CALL_RING_OUTBOX | CALL_RING_OWNER);
	assert_int_equal(get_account(txn).holds, 1);
	assert_int_equal(get_account(txn).live, 1);
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS + 4999, NULL, due, 4,
	    &next), 0);
	assert_int_equal(next, BOOT_MS + 5000);
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS + 5000, NULL, due, 4,
	    &next), 1);
	assert_string_equal(due[0].call_id, id);
	assert_int_equal(call_timers_due(txn, 2, BOOT_MS + 6999, NULL, due, 4,
	    &next), 0);
	assert_int_equal(call_timers_due(txn, 2, BOOT_MS + 7000, NULL, due, 4,
	    &next), 1);
	settle_head(txn, id, CALL_CMD_ORIGINATE);

	assert_int_equal(step_call(txn, id, CALL_IN_ORIGINATE_OK, 0, &step),
	    0);
	assert_int_equal(step.call.sequence, 1);
	assert_true((step.rings & CALL_RING_WEBHOOKD) != 0);
	assert_int_equal(step_call(txn, id, CALL_IN_UP, 0, &step), 0);
	assert_int_equal(get_account(txn).holds, 0);
	assert_int_equal(get_account(txn).charges, 1);
	settle_head(txn, id, CALL_CMD_BRIDGE_CREATE);
	{
		struct outbox_item item;

		/* the channel isn't in Stasis yet */
		assert_int_equal(outbox_take(txn, id, &taker, &item),
		    -KAP_AGAIN);
	}
	assert_int_equal(step_call(txn, id, CALL_IN_STASIS_START, 0, &step),
	    0);
	assert_true((step.rings & CALL_RING_OUTBOX) != 0);
	settle_head(txn, id, CALL_CMD_BRIDGE_ADD);
	settle_head(txn, id, CALL_CMD_RECORD);
	assert_int_equal(step_call(txn, id, CALL_IN_RECORD_OK, 0, &step), 0);
	assert_int_equal(step_call(txn, id, CALL_IN_RECORDING_STARTED, 0,
	    &step), 0);
	assert_int_equal(step_call(txn, id, CALL_IN_DESTROYED, 16, &step), 0);
	assert_int_equal(get_account(txn).live, 0);
	assert_int_equal(get_account(txn).calls, 1);
	assert_int_equal(count(txn, STORE_CALLS_BY_KEY), 0);
	assert_int_equal(step_call(txn, id, CALL_IN_RECORDING_FINISHED, 0,
	    &step), 0);
	settle_head(txn, id, CALL_CMD_BRIDGE_DESTROY);
	assert_int_equal(recording_queue_peek(txn, 0, &job, 1), 1);
	assert_string_equal(job.call_id, id);
	assert_int_equal(step_call(txn, id, CALL_IN_RECORDING_STORED, 0,
	    &step), 0);
	assert_int_equal(recording_queue_remove(txn, job.number), 0);
	assert_int_equal(ledger_queue_peek(txn, entries, 4), 3);
	assert_int_equal(entries[0].kind, LEDGER_CHARGE);
	assert_int_equal(entries[1].kind, LEDGER_CALL);
	assert_string_equal(entries[1].trunk, "one");
	assert_int_equal(entries[2].kind, LEDGER_RECORDING);
	assert_int_equal(count(txn, STORE_CALLS), 1);
	assert_int_equal(deliver_all(txn), 5);
	assert_int_equal(count(txn, STORE_CALLS), 0);
	assert_int_equal(count(txn, STORE_CALL_COLD), 0);
	assert_int_equal(count(txn, STORE_TIMERS), 0);
	assert_int_equal(count(txn, STORE_COMMANDS), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
test_nothing_is_written_without_a_meaning(void **state)
{
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct store_txn *txn;
	struct call before;
	struct call after;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	create(txn, 0, &step);
	assert_int_equal(call_table_get(txn, step.call.id, &before), 0);
	assert_int_equal(step_call(txn, before.id, CALL_IN_RECORD_OK, 0,
	    &step), -KAP_STATE);
	assert_int_equal(call_table_get(txn, before.id, &after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(step_call(txn, "1720012345.99001", CALL_IN_UP, 0,
	    &step), -KAP_NOENT);
	store_abort(&txn);
}

/* Timers of a newer program, and rows that no call has any more. */
static void
test_odd_timers(void **state)
{
	struct store_fixture *fixture = *state;
	const uint8_t slot = 3;
	uint8_t key[9 + 16] = { 0 };
	struct call_due due[4];
	struct store_txn *txn;
	int64_t next;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	store_put_be64(key, 1000);
	memcpy(key + 9, "1720012345.99001", 16);
	key[8] = 200;
	assert_int_equal(store_put(txn, STORE_TIMERS, key, sizeof(key), &slot,
	    1), 0);
	key[8] = CALL_TIMER_GUARD;
	assert_int_equal(store_put(txn, STORE_TIMERS, key, sizeof(key), &slot,
	    1), 0);
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS, NULL, due, 4, &next), 1);
	assert_int_equal(due[0].timer, CALL_TIMER_GUARD);
	assert_int_equal(call_timers_forget(txn, &due[0]), 0);
	assert_int_equal(call_timers_due(txn, 3, BOOT_MS, NULL, due, 4, &next), 0);
	store_abort(&txn);
}

static void
test_lists(void **state)
{
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct store_txn *txn;
	struct call calls[3];
	char last[CALL_ID_SIZE];
	uint64_t live;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	for (int i = 0; i < 5; i++)
		create(txn, 0, &step);
	assert_int_equal(call_table_live_count(txn, &live), 0);
	assert_int_equal(live, 5);
	assert_int_equal(call_table_list(txn, KEY_ID, "", calls, 3), 3);
	assert_int_equal(call_table_list(txn, KEY_ID, calls[2].id, calls, 3),
	    2);
	assert_string_equal(calls[1].id, step.call.id);
	assert_int_equal(call_table_list(txn, KEY_ID + 1, "", calls, 3), 0);
	assert_int_equal(call_table_list(txn, KEY_ID - 1, "", calls, 3), 0);
	assert_int_equal(call_table_scan(txn, 3, "", calls, 3, last), 3);
	assert_int_equal(call_table_scan(txn, 3, last, calls, 3, last), 2);
	assert_int_equal(call_table_scan(txn, 4, "", calls, 3, last), 0);
	assert_int_equal(call_table_scan(txn, -1, "", calls, 3, last), 3);
	store_abort(&txn);
}

static void
test_a_hangup_jumps_the_queue(void **state)
{
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct outbox_item item;
	struct outbox_head heads[4];
	struct store_txn *txn;
	char id[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	create(txn, CALL_F_RECORD, &step);
	memcpy(id, step.call.id, sizeof(id));
	assert_int_equal(outbox_take(txn, id, &taker, &item), 0);
	assert_string_equal(item.endpoint, "PJSIP/00x@one");
	assert_int_equal(step_call(txn, id, CALL_IN_UP, 0, &step), 0);
	/* first the originate's reply, whatever waits behind it */
	assert_int_equal(outbox_take(txn, id, &taker, &item), -KAP_AGAIN);
	assert_int_equal(outbox_scan(txn, "", heads, 4), 1);
	assert_int_equal(heads[0].command.state, COMMAND_SENT);
	assert_int_equal(step_call(txn, id, CALL_IN_HANGUP, 0, &step), 0);
	assert_int_equal(outbox_settle(txn, id, heads[0].command.seq), 0);
	assert_int_equal(outbox_settle(txn, id, heads[0].command.seq),
	    -KAP_NOENT);
	assert_int_equal(outbox_take(txn, id, &taker, &item), 0);
	assert_int_equal(item.command.kind, CALL_CMD_HANGUP);
	assert_int_equal(outbox_release(txn, id, item.command.seq), 0);
	assert_int_equal(outbox_take(txn, id, &taker, &item), 0);
	assert_int_equal(item.command.tries, 2);
	store_abort(&txn);
}

/* ---- playbacks ---- */

/* An answered call, all that set it up is done. */
static void
answer(struct store_txn *txn, char id[CALL_ID_SIZE])
{
	struct call_step step;

	create(txn, CALL_F_WEBHOOK, &step);
	memcpy(id, step.call.id, CALL_ID_SIZE);
	settle_head(txn, id, CALL_CMD_ORIGINATE);
	assert_int_equal(step_call(txn, id, CALL_IN_STASIS_START, 0, &step),
	    0);
	settle_head(txn, id, CALL_CMD_BRIDGE_CREATE);
	settle_head(txn, id, CALL_CMD_BRIDGE_ADD);
	(void)deliver_all(txn);
}

/* Have one made; its media tells them apart. */
static void
play(struct store_txn *txn, const char *id, enum call_play_kind kind,
    int64_t ms)
{
	struct call_play made = { .version = CALL_PLAY_VERSION,
		.target = CALL_PLAY_CHANNEL,
		.id = { .kind = (uint8_t)kind, .ms = ms }, .text = "Hello" };
	const struct call_input input = { .kind = CALL_IN_PLAY, .play = &made,
		.at_ms = WALL_MS };
	struct call_step step;

	(void)snprintf(made.media, sizeof(made.media), "sound:%d", (int)ms);
	assert_int_equal(call_table_step(txn, id, &input, &now, &step), 0);
	assert_true((step.rings & CALL_RING_OUTBOX) != 0);
	assert_int_equal(step.call.play_ms, ms);
}

static int
tell_play(struct store_txn *txn, const char *id, enum call_input_kind kind,
    int64_t ms)
{
	const struct call_input input = { .kind = kind,
		.play_id = { .ms = ms }, .at_ms = WALL_MS };
	struct call_step step;

	return call_table_step(txn, id, &input, &now, &step);
}

static void
check_play_state(struct store_txn *txn, const char *id, int64_t ms,
    int expected)
{
	const struct call_play_id play_id = { .ms = ms };
	struct call_play got;

	if (expected < 0) {
		assert_int_equal(call_play_get(txn, id, &play_id, &got),
		    -KAP_NOENT);
		return;
	}
	assert_int_equal(call_play_get(txn, id, &play_id, &got), 0);
	assert_int_equal(got.state, expected);
}

/* Take a call's next command: of that playback. */
static uint32_t
take_play(struct store_txn *txn, const char *id, enum call_command_kind kind,
    int64_t ms, const char *media)
{
	struct outbox_item item;

	assert_int_equal(outbox_take(txn, id, &taker, &item), 0);
	assert_int_equal(item.command.kind, kind);
	assert_int_equal(item.command.play.ms, ms);
	assert_string_equal(item.play.media, media);
	return item.command.seq;
}

/* The one event that waits, with what it tells of a playback. */
static void
check_play_event(struct store_txn *txn, enum call_event_kind kind,
    enum call_play_kind play_kind, int64_t ms)
{
	struct call_event_detail detail;
	struct webhook_event event;

	assert_int_equal(webhook_queue_peek_new(txn, 0, &event, 1), 1);
	assert_int_equal(event.kind, kind);
	assert_int_equal(webhook_queue_get_detail(txn, event.number, &detail),
	    0);
	assert_int_equal(detail.play.kind, play_kind);
	assert_int_equal(detail.play.ms, ms);
	assert_int_equal(detail.play_target, CALL_PLAY_CHANNEL);
	assert_string_equal(detail.text, "Hello");
	assert_int_equal(deliver_all(txn), 1);
}

static void
test_a_playback(void **state)
{
	struct store_fixture *fixture = *state;
	struct store_txn *txn;
	char id[CALL_ID_SIZE];
	uint32_t seq;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	answer(txn, id);
	play(txn, id, CALL_PLAY_SPEECH, 7);
	check_play_state(txn, id, 7, CALL_PLAY_ASKED);
	seq = take_play(txn, id, CALL_CMD_PLAY, 7, "sound:7");
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_OK, 7), 0);
	assert_int_equal(outbox_settle(txn, id, seq), 0);
	check_play_state(txn, id, 7, CALL_PLAY_TAKEN);
	check_play_event(txn, CALL_EV_TTS_PLAYED, CALL_PLAY_SPEECH, 7);
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_STARTED, 7),
	    -KAP_STATE);
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_FINISHED, 8),
	    -KAP_STATE);
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_FINISHED, 7), 0);
	check_play_state(txn, id, 7, -1);
	check_play_event(txn, CALL_EV_PLAYBACK_FINISHED, CALL_PLAY_SPEECH, 7);
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_FINISHED, 7),
	    -KAP_STATE);
	assert_int_equal(count(txn, STORE_PLAYS), 0);
	assert_int_equal(count(txn, STORE_COMMANDS), 0);
	store_abort(&txn);
}

/* The last first, behind what waits; another call's are left alone. */
static void
test_playbacks_stop(void **state)
{
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct store_txn *txn;
	char id[CALL_ID_SIZE];
	char other[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	answer(txn, id);
	answer(txn, other);
	play(txn, other, CALL_PLAY_SOUND, 8);
	play(txn, id, CALL_PLAY_SOUND, 7);
	play(txn, id, CALL_PLAY_SOUND, 300);
	play(txn, id, CALL_PLAY_SOUND, 70000);
	settle_head(txn, id, CALL_CMD_PLAY);
	settle_head(txn, id, CALL_CMD_PLAY);
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_OK, 7), 0);
	assert_int_equal(step_call(txn, id, CALL_IN_STOP_PLAYS, 0, &step), 0);
	check_play_state(txn, id, 7, CALL_PLAY_STOPPED);
	check_play_state(txn, id, 300, CALL_PLAY_STOPPED);
	check_play_state(txn, id, 70000, CALL_PLAY_STOPPED);
	check_play_state(txn, other, 8, CALL_PLAY_ASKED);
	assert_int_equal(outbox_settle(txn, id, take_play(txn, id,
	    CALL_CMD_PLAY, 70000, "sound:70000")), 0);
	assert_int_equal(outbox_settle(txn, id, take_play(txn, id,
	    CALL_CMD_PLAY_STOP, 70000, "")), 0);
	assert_int_equal(outbox_settle(txn, id, take_play(txn, id,
	    CALL_CMD_PLAY_STOP, 300, "")), 0);
	assert_int_equal(outbox_settle(txn, id, take_play(txn, id,
	    CALL_CMD_PLAY_STOP, 7, "")), 0);
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_FINISHED, 7), 0);
	assert_int_equal(count(txn, STORE_PLAYS), 3);
	store_abort(&txn);
}

/* As many as a call may have: all of them are stopped. */
static void
test_most_playbacks_stop(void **state)
{
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct store_txn *txn;
	char id[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	answer(txn, id);
	for (int64_t ms = 1; ms <= CALL_PLAYS_ALL; ms++) {
		play(txn, id, CALL_PLAY_SOUND, ms);
		settle_head(txn, id, CALL_CMD_PLAY);
	}
	assert_int_equal(step_call(txn, id, CALL_IN_STOP_PLAYS, 0, &step), 0);
	for (int64_t ms = CALL_PLAYS_ALL; ms >= 1; ms--)
		assert_int_equal(outbox_settle(txn, id, take_play(txn, id,
		    CALL_CMD_PLAY_STOP, ms, "")), 0);
	assert_int_equal(count(txn, STORE_COMMANDS), 0);
	/* once: their ends are only waited for */
	assert_int_equal(step_call(txn, id, CALL_IN_STOP_PLAYS, 0, &step), 0);
	assert_int_equal(count(txn, STORE_COMMANDS), 0);
	store_abort(&txn);
}

/* Nothing of a call's playbacks is left behind its end. */
static void
test_playbacks_at_the_end(void **state)
{
	struct store_fixture *fixture = *state;
	struct outbox_item item;
	struct call_step step;
	struct store_txn *txn;
	char id[CALL_ID_SIZE];
	char other[CALL_ID_SIZE];
	uint32_t seq;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	answer(txn, id);
	answer(txn, other);
	play(txn, other, CALL_PLAY_SOUND, 7);
	play(txn, id, CALL_PLAY_SOUND, 7);
	play(txn, id, CALL_PLAY_SPEECH, 8);
	seq = take_play(txn, id, CALL_CMD_PLAY, 7, "sound:7");
	assert_int_equal(step_call(txn, id, CALL_IN_DESTROYED, 16, &step), 0);
	assert_int_equal(count(txn, STORE_PLAYS), 1);
	check_play_state(txn, other, 7, CALL_PLAY_ASKED);
	/* the reply comes late */
	assert_int_equal(tell_play(txn, id, CALL_IN_PLAY_OK, 7), -KAP_STATE);
	/* said again: there is nothing to be said */
	assert_int_equal(outbox_release(txn, id, seq), 0);
	assert_int_equal(take_play(txn, id, CALL_CMD_PLAY, 7, ""), seq);
	assert_int_equal(outbox_settle(txn, id, seq), 0);
	settle_head(txn, id, CALL_CMD_BRIDGE_DESTROY);
	assert_int_equal(outbox_take(txn, id, &taker, &item),
	    -KAP_NOENT);
	assert_int_equal(deliver_all(txn), 1);
	assert_int_equal(call_table_get(txn, id, &step.call), -KAP_NOENT);
	store_abort(&txn);
}

/* An event stands for the reply of the one at the head, and of no other. */
static void
test_settle_play(void **state)
{
	const struct call_play_id first = { .ms = 7 };
	const struct call_play_id second = { .ms = 8 };
	struct store_fixture *fixture = *state;
	struct call_step step;
	struct store_txn *txn;
	struct call before;
	struct call after;
	char id[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	answer(txn, id);
	assert_int_equal(outbox_settle_play(txn, id, &first), -KAP_NOENT);
	play(txn, id, CALL_PLAY_SOUND, 7);
	play(txn, id, CALL_PLAY_SOUND, 8);
	(void)take_play(txn, id, CALL_CMD_PLAY, 7, "sound:7");
	assert_int_equal(call_table_get(txn, id, &before), 0);
	assert_int_equal(outbox_settle_play(txn, id, &second), -KAP_NOENT);
	assert_int_equal(outbox_settle_play(txn, id, &first), 0);
	assert_int_equal(call_table_get(txn, id, &after), 0);
	assert_int_equal(after.refs, before.refs - 1);
	assert_int_equal(outbox_settle_play(txn, id, &first), -KAP_NOENT);
	(void)take_play(txn, id, CALL_CMD_PLAY, 8, "sound:8");
	assert_int_equal(outbox_settle_play(txn, id, &second), 0);
	/* one to stop it is not it */
	assert_int_equal(step_call(txn, id, CALL_IN_STOP_PLAYS, 0, &step), 0);
	(void)take_play(txn, id, CALL_CMD_PLAY_STOP, 8, "");
	assert_int_equal(outbox_settle_play(txn, id, &second), -KAP_NOENT);
	store_abort(&txn);
}

/* Whatever may happen with playbacks, whether the call takes it or not. */
static void
play_at_random(struct store_txn *txn, const char *id, int64_t ms)
{
	static const enum call_input_kind kinds[] = { CALL_IN_PLAY,
		CALL_IN_GATHER, CALL_IN_STOP_PLAYS, CALL_IN_PLAY_OK,
		CALL_IN_PLAY_STARTED, CALL_IN_PLAY_FINISHED,
		CALL_IN_PLAY_FAILED, CALL_IN_PLAY_REFUSED, CALL_IN_DTMF };
	struct call_play_id plays[CALL_PLAYS_MAX];
	const struct call_play made = { .version = CALL_PLAY_VERSION,
		.id = { .kind = (uint8_t)(random() % CALL_PLAY_KIND_COUNT),
		    .ms = ms }, .media = "sound:x", .text = "x" };
	const int listed = call_play_list(txn, id, plays, CALL_PLAYS_MAX);
	struct call_input input = {
		.kind = kinds[(size_t)random() %
		    (sizeof(kinds) / sizeof(kinds[0]))],
		.play = &made,
		.gather = { .timeout_ms = 1000, .expected = 2 },
		.digit = '1',
		.interrupt = random() % 2 == 0,
	};
	struct call_step step;
	int rc;

	assert_true(listed >= 0);
	if (listed > 0)
		input.play_id = plays[random() % listed];
	rc = call_table_step(txn, id, &input, &now, &step);
	assert_true(rc == 0 || rc == -KAP_STATE || rc == -KAP_NOENT);
}

/* A random life of many calls; in the end all must be gone and add up. */
static void
test_sums(void **state)
{
	enum { CALLS = 400 };
	struct store_fixture *fixture = *state;
	static char ids[CALLS][CALL_ID_SIZE];
	struct store_txn *txn;
	struct account account;
	uint64_t charged = 0;

	srandom(1);
	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	for (int i = 0; i < CALLS; i++) {
		struct call_step step;

		create(txn, random() % 2 ? CALL_F_WEBHOOK | CALL_F_RECORD : 0,
		    &step);
		memcpy(ids[i], step.call.id, CALL_ID_SIZE);
	}
	for (int n = 0; n < CALLS * 60; n++) {
		const char *id = ids[random() % CALLS];
		struct call_step step;
		struct outbox_item item;

		if (random() % 2 &&
		    outbox_take(txn, id, &taker, &item) == 0)
			assert_int_equal(outbox_settle(txn, id,
			    item.command.seq), 0);
		(void)!step_call(txn, id,
		    (enum call_input_kind)(random() % CALL_INPUT_COUNT),
		    (unsigned)random() % 4, &step);
		play_at_random(txn, id, n + 1);
		account = get_account(txn);
		assert_int_equal(account.live,
		    count(txn, STORE_CALLS_BY_KEY));
	}
	for (int i = 0; i < CALLS; i++) {
		struct call_step step;
		struct outbox_item item;
		int rc = step_call(txn, ids[i], CALL_IN_LOST, 0, &step);

		assert_true(rc == 0 || rc == -KAP_STATE || rc == -KAP_NOENT);
		/* whatever timer still waits */
		(void)!step_call(txn, ids[i], CALL_IN_TIMER,
		    CALL_TIMER_RECORDING, &step);
		while (outbox_take(txn, ids[i], &taker, &item) == 0)
			assert_int_equal(outbox_settle(txn, ids[i],
			    item.command.seq), 0);
		(void)!step_call(txn, ids[i], CALL_IN_RECORDING_STORED, 0,
		    &step);
	}
	(void)deliver_all(txn);
	for (;;) {
		struct ledger_entry entry;

		if (ledger_queue_peek(txn, &entry, 1) != 1)
			break;
		charged += entry.kind == LEDGER_CHARGE;
		assert_int_equal(ledger_queue_remove(txn, entry.number), 0);
	}
	account = get_account(txn);
	assert_int_equal(account.holds, 0);
	assert_int_equal(account.live, 0);
	assert_int_equal(account.calls, CALLS);
	assert_int_equal(account.charges, charged);
	assert_int_equal(count(txn, STORE_CALLS), 0);
	assert_int_equal(count(txn, STORE_CALL_COLD), 0);
	assert_int_equal(count(txn, STORE_COMMANDS), 0);
	assert_int_equal(count(txn, STORE_PLAYS), 0);
	assert_int_equal(count(txn, STORE_TIMERS), 0);
	assert_int_equal(store_commit(&txn), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_trunk_timers, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_a_whole_life, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_nothing_is_written_without_a_meaning, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_odd_timers, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_lists, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_hangup_jumps_the_queue,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_playback, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_playbacks_stop, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_most_playbacks_stop,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(test_playbacks_at_the_end,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(test_settle_play, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_sums, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
