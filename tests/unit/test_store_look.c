/*
 * shared/store_look.c on a real store: what it counts, that it does so page
 * by page, and that of several processes one looks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loop_fixture.h"
#include "shared/clock.h"
#include "shared/ledger_queue.h"
#include "shared/outbox.h"
#include "shared/recording_queue.h"
#include "shared/stats.h"
#include "shared/store_look.h"
#include "shared/webhook_queue.h"
#include "store_fixture.h"

static struct stats_file file;

struct state {
	struct store_fixture scratch;
	struct event_base *base;
	struct store_look *look;
	struct store_txn *txn; /* while there is one to fill the store in */
};

static int
set_up(void **arg)
{
	struct state *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return -1;
	store_fixture_open(&state->scratch);
	state->base = event_base_new();
	if (state->base == NULL)
		return -1;
	memset(&file, 0, sizeof(file));
	file.node.workers = 2;
	stats_use_row(&file, stats_row_index(CHILD_BELL_WORKER, 1), 1);
	*arg = state;
	return 0;
}

static int
tear_down(void **arg)
{
	struct state *state = *arg;

	store_look_free(&state->look);
	event_base_free(state->base);
	store_fixture_close(&state->scratch);
	free(state);
	return 0;
}

static void
must(int rc)
{
	if (rc != 0)
		fail_msg("store: %s", kap_strerror(rc));
}

static void
begin(struct state *state)
{
	must(store_begin_write(state->scratch.store, &state->txn));
}

static void
add_call(struct state *state, unsigned number, enum call_state call_state)
{
	struct call call = { .version = CALL_VERSION,
		.state = (uint8_t)call_state };

	(void)snprintf(call.id, sizeof(call.id), "1800000000.%u", number);
	must(store_put(state->txn, STORE_CALLS, call.id, strlen(call.id),
	    &call, sizeof(call)));
}

static const struct stats_look *
seen(void)
{
	return &stats_row()->look;
}

static void
look_once(struct state *state)
{
	state->look = store_look_new(state->base, state->scratch.store);
	assert_non_null(state->look);
	RUN_UNTIL(state->base, seen()->at_ms != 0);
}

static void
test_empty(void **arg)
{
	struct state *state = *arg;
	const int64_t before = clock_boot_ms();

	look_once(state);
	assert_true(seen()->at_ms >= before);
	for (unsigned i = 0; i < STATS_QUEUE_COUNT; i++) {
		assert_int_equal(seen()->depth[i], 0);
		assert_int_equal(seen()->oldest_ms[i], 0);
	}
	assert_int_equal(seen()->pages, 64 * 1024 / 4);
	assert_true(seen()->pages_used > 0);
	assert_true(seen()->readers > 0);
}

/* More calls than a page, in every state. */
static void
test_calls(void **arg)
{
	static const unsigned wanted[CALL_STATE_COUNT] = {
		[CALL_QUEUED] = 1, [CALL_DIALING] = 0, [CALL_RINGING] = 700,
		[CALL_ANSWERED] = 1300, [CALL_ENDED] = 2,
	};
	struct state *state = *arg;
	unsigned number = 0;

	begin(state);
	for (unsigned i = 0; i < CALL_STATE_COUNT; i++) {
		for (unsigned n = 0; n < wanted[i]; n++)
			add_call(state, ++number, (enum call_state)i);
	}
	must(store_commit(&state->txn));
	look_once(state);
	for (unsigned i = 0; i < CALL_STATE_COUNT; i++)
		assert_int_equal(seen()->live[i], wanted[i]);
}

static void
add_command(struct state *state, unsigned number, int64_t queued_ms)
{
	const struct outbox_order order = { .kind = CALL_CMD_HANGUP };
	struct call call = { .version = CALL_VERSION };
	struct command command;
	char key[64];
	size_t len;

	(void)snprintf(call.id, sizeof(call.id), "1800000000.%u", number);
	must(outbox_append(state->txn, &call, &order));
	must(outbox_get(state->txn, call.id, call.command_seq, &command));
	/* it is of now, or it would be no age */
	assert_true(clock_wall_ms() - command.queued_ms < 60000);
	command.queued_ms = queued_ms;
	len = strlen(call.id) + 1;
	memcpy(key, call.id, len);
	store_put_be32((uint8_t *)key + len, call.command_seq);
	must(store_put(state->txn, STORE_COMMANDS, key, len + 4, &command,
	    sizeof(command)));
}

/* An event that was queued at a time of ours, and is tried again at another. */
static void
postpone(struct state *state, struct webhook_event *event, uint64_t number,
    int64_t queued_ms, int64_t due_ms)
{
	uint8_t key[8];

	store_put_be64(key, number);
	must(store_copy(state->txn, STORE_WEBHOOKS, key, sizeof(key), event,
	    sizeof(*event)));
	event->queued_ms = queued_ms;
	must(store_put(state->txn, STORE_WEBHOOKS, key, sizeof(key), event,
	    sizeof(*event)));
	must(webhook_queue_postpone(state->txn, event, 0, due_ms));
}

/* The oldest of each queue, wherever it stands in it. */
static void
test_queues(void **arg)
{
	struct state *state = *arg;
	struct webhook_event event = { .kind = CALL_EV_ENDED };
	struct ledger_entry entry = { .kind = LEDGER_CALL };
	struct recording_job job = { .key_id = 1 };

	begin(state);
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(event.call.id, sizeof(event.call.id),
		    "1800000000.%u", i);
		must(webhook_queue_append(state->txn, &event, NULL));
		entry.at_ms = 1700000000000 + i;
		must(ledger_queue_append(state->txn, &entry));
		must(recording_queue_append(state->txn, &job));
	}
	must(ledger_queue_set_aside(state->txn, 1));
	/* the oldest event is due last */
	postpone(state, &event, 1, 1600000000000, 9000000);
	postpone(state, &event, 2, 1600000005000, 8000000);
	for (unsigned i = 0; i < 1200; i++)
		add_command(state, i, i == 777 ? 1650000000000 :
		    1650000000001 + i);
	must(store_commit(&state->txn));
	look_once(state);
	assert_int_equal(seen()->depth[STATS_QUEUE_WEBHOOKS], 1);
	assert_int_equal(seen()->depth[STATS_QUEUE_WEBHOOK_RETRIES], 2);
	assert_int_equal(seen()->depth[STATS_QUEUE_RECORDINGS], 3);
	assert_int_equal(seen()->depth[STATS_QUEUE_LEDGER], 2);
	assert_int_equal(seen()->depth[STATS_QUEUE_LEDGER_ASIDE], 1);
	assert_int_equal(seen()->depth[STATS_QUEUE_COMMANDS], 1200);
	assert_int_equal(seen()->oldest_ms[STATS_QUEUE_WEBHOOK_RETRIES],
	    1600000000000);
	assert_int_equal(seen()->oldest_ms[STATS_QUEUE_LEDGER],
	    1700000000001);
	assert_int_equal(seen()->oldest_ms[STATS_QUEUE_LEDGER_ASIDE],
	    1700000000000);
	assert_int_equal(seen()->oldest_ms[STATS_QUEUE_COMMANDS],
	    1650000000000);
	assert_true(clock_wall_ms() -
	    seen()->oldest_ms[STATS_QUEUE_WEBHOOKS] < 60000);
	assert_true(clock_wall_ms() -
	    seen()->oldest_ms[STATS_QUEUE_RECORDINGS] < 60000);
}

/* Records of an older program are shorter, and tell less. */
static void
test_short_records(void **arg)
{
	struct state *state = *arg;
	const uint8_t bytes[2] = { 1, 0 };

	begin(state);
	must(store_put(state->txn, STORE_CALLS, "1800000000.1", 12, bytes,
	    sizeof(bytes)));
	must(store_put(state->txn, STORE_COMMANDS, "x", 1, bytes,
	    sizeof(bytes)));
	must(store_put(state->txn, STORE_LEDGER, "y", 1, bytes,
	    sizeof(bytes)));
	must(store_commit(&state->txn));
	look_once(state);
	assert_int_equal(seen()->depth[STATS_QUEUE_COMMANDS], 1);
	assert_int_equal(seen()->oldest_ms[STATS_QUEUE_COMMANDS], 0);
	assert_int_equal(seen()->oldest_ms[STATS_QUEUE_LEDGER], 0);
	for (unsigned i = 0; i < STATS_CALL_STATES_MAX; i++)
		assert_int_equal(seen()->live[i], 0);
}

/* While another has just looked there is no need to. */
static void
test_one_looks(void **arg)
{
	struct state *state = *arg;
	struct stats_row *other = &file.rows[
	    stats_row_index(CHILD_BELL_WEBHOOKD, 4)];

	other->look.at_ms = clock_boot_ms();
	state->look = store_look_new(state->base, state->scratch.store);
	assert_non_null(state->look);
	for (int i = 0; i < 20; i++)
		loop_run_once(state->base);
	assert_int_equal(seen()->at_ms, 0);
	store_look_free(&state->look);

	/* one that comes yet is of before the machine's last boot */
	other->look.at_ms = clock_boot_ms() + 1000000;
	look_once(state);
	store_look_free(&state->look);

	/* …and an old one is too old */
	stats_row()->look.at_ms = 0;
	other->look.at_ms = clock_boot_ms() - 5000;
	look_once(state);
}

#define WITH_STORE(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(test_empty),
		WITH_STORE(test_calls),
		WITH_STORE(test_queues),
		WITH_STORE(test_short_records),
		WITH_STORE(test_one_looks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
