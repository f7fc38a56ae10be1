/*
 * The drainer with a real store and a real PostgreSQL: what is posted, that it
 * is posted once whatever happens, and that nothing holds it up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>

#include "shared/account.h"
#include "shared/clock.h"
#include "shared/ledger_queue.h"
#include "shared/pg.h"
#include "shared/stats.h"
#include "worker/ledger_drain.h"
#include "loop_fixture.h"
#include "pg_fixture.h"
#include "store_fixture.h"

#define NODE 3
#define AT 1760000000000LL /* 2025-10-09T08:53:20Z */

static struct pg_fixture server;

struct bench {
	struct store_fixture store;
	struct config config;
	struct event_base *base;
	struct turn *turn;
	struct ledger_drain *drain;
	struct ledger_drain *second;
	uint64_t charges; /* made so far */
	uint64_t calls;
};

static void
start_drain(struct bench *bench, struct ledger_drain **drain, unsigned slot)
{
	struct kap_errmsg msg = { "" };

	if (ledger_drain_new(drain, bench->base, bench->store.store,
	        bench->turn, &bench->config, slot, &msg) != 0)
		fail_msg("%s", msg.text);
}

static void
open_bench(struct bench *bench)
{
	memset(bench, 0, sizeof(*bench));
	store_fixture_open(&bench->store);
	config_init(&bench->config);
	bench->config.node.id = NODE;
	(void)snprintf(bench->config.postgres.dsn,
	    sizeof(bench->config.postgres.dsn), "%s", server.dsn);
	bench->base = event_base_new();
	assert_non_null(bench->base);
	assert_int_equal(event_base_priority_init(bench->base, 2), 0);
	bench->turn = turn_new(bench->base, bench->store.store);
	assert_non_null(bench->turn);
}

static void
close_bench(struct bench *bench)
{
	ledger_drain_free(&bench->drain);
	ledger_drain_free(&bench->second);
	turn_free(&bench->turn);
	event_base_free(bench->base);
	store_fixture_close(&bench->store);
}

static struct ledger_entry
entry_of(enum ledger_kind kind, uint32_t key_id, uint64_t number)
{
	struct ledger_entry entry = {
		.kind = (uint8_t)kind,
		.key_id = key_id,
		.key_number = number,
		.at_ms = AT + 5000,
		.trunk = "carrier",
		.call = {
			.state = CALL_ENDED,
			.status = CALL_STATUS_COMPLETED,
			.end_reason = CALL_END_NORMAL_HANGUP,
			.flags = CALL_F_WAS_ANSWERED | CALL_F_RECORDED,
			.key_id = key_id,
			.hangup_cause = 16,
			.created_ms = AT,
			.answered_ms = AT + 5000,
			.ended_ms = AT + 50001,
			.recording_ms = AT + 5100,
			.number = "14155550100",
			.caller_id = "14155550199",
		},
	};

	(void)snprintf(entry.call.id, sizeof(entry.call.id),
	    "1760000000.%u%06llu", key_id, (unsigned long long)number);
	return entry;
}

static void
append(struct bench *bench, const struct ledger_entry *entry)
{
	struct ledger_entry copy = *entry;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(ledger_queue_append(txn, &copy), 0);
	assert_int_equal(store_commit(&txn), 0);
}

/* `count` answered calls of a key: a charge and a log row each. */
static void
append_calls(struct bench *bench, uint32_t key_id, unsigned count)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	for (unsigned i = 0; i < count; i++) {
		struct ledger_entry charge = entry_of(LEDGER_CHARGE, key_id,
		    ++bench->charges);
		struct ledger_entry call = entry_of(LEDGER_CALL, key_id,
		    ++bench->calls);

		assert_int_equal(ledger_queue_append(txn, &charge), 0);
		assert_int_equal(ledger_queue_append(txn, &call), 0);
	}
	assert_int_equal(store_commit(&txn), 0);
}

static uint64_t
count_in(struct bench *bench, enum store_table table)
{
	struct store_txn *txn;
	uint64_t count;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	assert_int_equal(store_count(txn, table, &count), 0);
	store_end_read(&txn);
	return count;
}

static void
drain_all(struct bench *bench)
{
	RUN_UNTIL(bench->base, count_in(bench, STORE_LEDGER) == 0);
}

static void
add_keys(int count)
{
	char sql[300];

	(void)snprintf(sql, sizeof(sql), "INSERT INTO api_keys (key_id, name,"
	    " key_hash, key_prefix, credits) SELECT 'key_' || n, 'k' || n,"
	    " sha256(n::text::bytea), 'ak_', 100000"
	    " FROM generate_series(1, %d) n", count);
	fixture_exec(&server, sql);
}

static void
check_text(const char *sql, const char *expect)
{
	char text[600];

	fixture_text(&server, text, sizeof(text), sql);
	assert_string_equal(text, expect);
}

/* Balance, counters, rows and watermarks after n answered calls of a key. */
static void
check_key(uint32_t key_id, uint64_t calls, uint64_t watermark)
{
	char sql[700];
	char expect[200];

	(void)snprintf(sql, sizeof(sql), "SELECT format('%%s %%s %%s %%s %%s"
	    " %%s %%s', 100000 - k.credits, k.total_calls, k.successful_calls,"
	    " (SELECT count(*) FROM credit_ledger WHERE api_key_id = k.id),"
	    " (SELECT count(*) FROM call_logs WHERE api_key_id = k.id),"
	    " n.charges_posted, n.calls_posted) FROM api_keys k"
	    " LEFT JOIN key_nodes n ON n.api_key_id = k.id AND n.node = %d"
	    " WHERE k.id = %u", NODE, key_id);
	(void)snprintf(expect, sizeof(expect),
	    "%llu %llu %llu %llu %llu %llu %llu", (unsigned long long)calls,
	    (unsigned long long)calls, (unsigned long long)calls,
	    (unsigned long long)calls, (unsigned long long)calls,
	    (unsigned long long)watermark, (unsigned long long)watermark);
	check_text(sql, expect);
}

static void
test_what_is_written(void **state)
{
	struct ledger_entry recording = entry_of(LEDGER_RECORDING, 1, 1);
	struct ledger_entry busy = entry_of(LEDGER_CALL, 1, 2);
	struct bench bench;

	(void)state;
	add_keys(2);
	open_bench(&bench);
	append_calls(&bench, 1, 1);
	recording.duration_s = 45;
	recording.size_bytes = 5000000000;
	append(&bench, &recording);
	busy.call.flags = 0;
	busy.call.status = CALL_STATUS_BUSY;
	busy.call.end_reason = CALL_END_BUSY;
	busy.call.hangup_cause = 0;
	busy.call.answered_ms = 0;
	busy.call.caller_id[0] = '\0';
	busy.call.amd_status = CALL_AMD_MACHINE;
	/* cut within a character */
	(void)snprintf(busy.call.amd_cause, sizeof(busy.call.amd_cause), "%s",
	    "LONGGREETING-1500-1500\xc3");
	(void)snprintf(busy.trunk, sizeof(busy.trunk), "%s",
	    "a \"b\" \\c, {NULL}");
	append(&bench, &busy);
	start_drain(&bench, &bench.drain, 0);
	drain_all(&bench);
	fixture_exec(&server, "ALTER DATABASE postgres SET timezone TO 'UTC'");
	check_text("SELECT concat_ws('|', call_id, kind, api_key_id, amount,"
	    " node, key_number, at) FROM credit_ledger",
	    "1760000000.1000001|charge|1|-1|3|1|2025-10-09 08:53:25+00");
	check_text("SELECT concat_ws('|', call_id, api_key_id, node, number,"
	    " caller_id, trunk, status, end_reason, hangup_cause,"
	    " was_answered, amd_status, coalesce(amd_cause, '-'), duration_s,"
	    " recording, created_at, answered_at, ended_at)"
	    " FROM call_logs WHERE was_answered",
	    "1760000000.1000001|1|3|14155550100|14155550199|carrier|completed"
	    "|normal_hangup|16|t|NOAMD|-|46"
	    "|call-1760000000.1000001-1760000005100|2025-10-09 08:53:20+00"
	    "|2025-10-09 08:53:25+00|2025-10-09 08:54:10.001+00");
	check_text("SELECT concat_ws('|', call_id, coalesce(caller_id, '-'),"
	    " trunk, status, end_reason, coalesce(hangup_cause, -1),"
	    " amd_status, amd_cause, duration_s, coalesce(recording, '-'),"
	    " coalesce(answered_at::text, '-'))"
	    " FROM call_logs WHERE NOT was_answered",
	    "1760000000.1000002|-|a \"b\" \\c, {NULL}|busy|busy|-1|MACHINE"
	    "|LONGGREETING-1500-1500|0|-|-");
	check_text("SELECT concat_ws('|', recording_id, call_id, api_key_id,"
	    " filename, duration_s, size_bytes) FROM recordings",
	    "call-1760000000.1000001-1760000005100|1760000000.1000001|1"
	    "|call-1760000000.1000001-1760000005100.wav|45|5000000000");
	check_text("SELECT concat_ws(' ', credits, total_calls,"
	    " successful_calls) FROM api_keys WHERE id = 1", "99999 2 1");
	check_text("SELECT concat_ws(' ', credits, total_calls,"
	    " successful_calls) FROM api_keys WHERE id = 2", "100000 0 0");
	check_text("SELECT concat_ws(' ', api_key_id, node, charges_posted,"
	    " calls_posted) FROM key_nodes", "1 3 1 2");
	close_bench(&bench);
}

static void
test_batches_of_many_keys(void **state)
{
	const uint64_t before = atomic_load(
	    &stats_row()->counters[STATS_ledger_posted]);
	struct bench bench;

	(void)state;
	add_keys(5);
	open_bench(&bench);
	for (uint32_t key = 1; key <= 5; key++) {
		bench.charges = 0;
		bench.calls = 0;
		append_calls(&bench, key, 400);
	}
	start_drain(&bench, &bench.drain, 0);
	drain_all(&bench);
	for (uint32_t key = 1; key <= 5; key++)
		check_key(key, 400, 400);
	assert_int_equal(atomic_load(
	    &stats_row()->counters[STATS_ledger_posted]) - before, 4000);
	close_bench(&bench);
}

/* What was queued while the drainer runs is posted with and without a kick. */
static void
test_what_comes_later(void **state)
{
	struct bench bench;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	start_drain(&bench, &bench.drain, 0);
	append_calls(&bench, 1, 1);
	drain_all(&bench);
	append_calls(&bench, 1, 1);
	ledger_drain_kick(bench.drain);
	drain_all(&bench);
	append_calls(&bench, 1, 1);
	drain_all(&bench);
	check_key(1, 3, 3);
	close_bench(&bench);
}

/* As after a crash between PostgreSQL's commit and the removal. */
static void
test_posted_twice_counts_once(void **state)
{
	struct bench bench;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	start_drain(&bench, &bench.drain, 0);
	append_calls(&bench, 1, 300);
	drain_all(&bench);
	for (int again = 0; again < 3; again++) {
		bench.charges = 100;
		bench.calls = 100;
		append_calls(&bench, 1, 250); /* 200 old ones, 50 new */
		drain_all(&bench);
		check_key(1, 350, 350);
	}
	/* an old one alone takes no watermark back */
	bench.charges = 0;
	bench.calls = 0;
	append_calls(&bench, 1, 1);
	drain_all(&bench);
	check_key(1, 350, 350);
	close_bench(&bench);
}

/*
 * Two drainers post the same entries at the same time. They are of two
 * stores, so that no lease keeps them apart.
 */
static void
test_two_drainers_at_once(void **state)
{
	struct bench benches[2];

	(void)state;
	add_keys(1);
	for (int i = 0; i < 2; i++) {
		open_bench(&benches[i]);
		append_calls(&benches[i], 1, 2000);
		start_drain(&benches[i], &benches[i].drain, 0);
	}
	while (count_in(&benches[0], STORE_LEDGER) > 0 ||
	    count_in(&benches[1], STORE_LEDGER) > 0) {
		loop_run_once(benches[0].base);
		loop_run_once(benches[1].base);
	}
	check_key(1, 2000, 2000);
	for (int i = 0; i < 2; i++)
		close_bench(&benches[i]);
}

/* Of two on one store, one has the lease; when it is gone the other goes on. */
static void
test_the_lease_passes_on(void **state)
{
	struct bench bench;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	start_drain(&bench, &bench.drain, 0);
	start_drain(&bench, &bench.second, 1);
	append_calls(&bench, 1, 700);
	drain_all(&bench);
	check_key(1, 700, 700);
	ledger_drain_free(&bench.drain);
	append_calls(&bench, 1, 700);
	drain_all(&bench);
	check_key(1, 1400, 1400);
	close_bench(&bench);
}

/* The server dies again and again while it drains. */
static void
test_server_killed_in_the_middle(void **state)
{
	static const int signals[] = { SIGKILL, SIGQUIT, SIGINT };
	struct bench bench;
	uint64_t left;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	append_calls(&bench, 1, 6000);
	start_drain(&bench, &bench.drain, 0);
	for (size_t i = 0; i < 6; i++) {
		left = count_in(&bench, STORE_LEDGER);
		RUN_UNTIL(bench.base,
		    count_in(&bench, STORE_LEDGER) < left || left == 0);
		/* with a batch under way, or between two */
		for (size_t turn = 0; turn < i; turn++)
			loop_run_once(bench.base);
		fixture_stop(&server, signals[i % 3]);
		loop_run_once(bench.base);
		fixture_start(&server);
	}
	drain_all(&bench);
	check_key(1, 6000, 6000);
	close_bench(&bench);
}

/* The drainer is stopped and started at any moment, as a crash would. */
static void
test_drainer_killed_in_the_middle(void **state)
{
	struct bench bench;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	append_calls(&bench, 1, 3000);
	for (int i = 0; i < 30; i++) {
		start_drain(&bench, &bench.drain, 0);
		for (int turn = 0; turn < 4 + i * 3; turn++) {
			loop_run_once(bench.base);
			(void)usleep(500);
		}
		ledger_drain_free(&bench.drain);
	}
	start_drain(&bench, &bench.drain, 0);
	drain_all(&bench);
	check_key(1, 3000, 3000);
	close_bench(&bench);
}

static void
test_server_away_at_start(void **state)
{
	struct bench bench;

	(void)state;
	add_keys(1);
	fixture_stop(&server, SIGINT);
	open_bench(&bench);
	append_calls(&bench, 1, 10);
	start_drain(&bench, &bench.drain, 0);
	for (int i = 0; i < 20; i++) {
		loop_run_once(bench.base);
		(void)usleep(20000);
	}
	assert_int_equal(count_in(&bench, STORE_LEDGER), 20);
	fixture_start(&server);
	drain_all(&bench);
	check_key(1, 10, 10);
	close_bench(&bench);
}

/* Entries that can never be posted, at the ends and in the middle. */
static void
test_poisoned_entries(void **state)
{
	const uint64_t before = atomic_load(
	    &stats_row()->counters[STATS_ledger_set_aside]);
	struct ledger_entry poison[4];
	struct bench bench;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	poison[0] = entry_of(LEDGER_CHARGE, 77, 1); /* no such key */
	poison[1] = entry_of(LEDGER_CALL, 1, 101);  /* no such time */
	poison[1].call.created_ms = INT64_MAX;
	poison[2] = entry_of(LEDGER_CALL, 1, 202);  /* not UTF-8 */
	(void)snprintf(poison[2].trunk, sizeof(poison[2].trunk), "\xff\xfe");
	poison[3] = entry_of(LEDGER_CALL, 1, 203);
	poison[3].kind = 99; /* of a binary to come */
	append(&bench, &poison[0]);
	append_calls(&bench, 1, 100);
	append(&bench, &poison[1]);
	bench.calls++;
	bench.charges++;
	append_calls(&bench, 1, 100);
	append(&bench, &poison[2]);
	append(&bench, &poison[3]);
	start_drain(&bench, &bench.drain, 0);
	drain_all(&bench);
	assert_int_equal(count_in(&bench, STORE_LEDGER_ASIDE), 4);
	assert_int_equal(atomic_load(
	    &stats_row()->counters[STATS_ledger_set_aside]) - before, 4);
	check_text("SELECT concat_ws(' ', credits, total_calls,"
	    " successful_calls) FROM api_keys WHERE id = 1",
	    "99800 200 200");
	/* passed by the watermark, though not posted */
	check_text("SELECT concat_ws(' ', charges_posted, calls_posted)"
	    " FROM key_nodes WHERE api_key_id = 1", "201 202");
	assert_int_equal(fixture_int(&server, "SELECT count(*) FROM key_nodes"
	    " WHERE api_key_id = 77"), 0);
	/* and it holds up nothing of what follows */
	bench.calls = bench.charges = 300;
	append_calls(&bench, 1, 1);
	drain_all(&bench);
	assert_int_equal(fixture_int(&server,
	    "SELECT credits FROM api_keys WHERE id = 1"), 99799);
	close_bench(&bench);
}

/*
 * Have the server take its settings anew: it is only asked to. When it has come
 * to us that all transactions are read only, or aren't, it is on its way to all
 * others, who look before their next statement.
 */
static void
reload_server(bool read_only)
{
	fixture_exec(&server, "SELECT pg_reload_conf()");
	while (fixture_int(&server, "SELECT (current_setting("
	    "'default_transaction_read_only') = 'on')::int") != read_only)
		(void)usleep(1000);
}

/* What may pass is waited for, and nothing is set aside. */
static void
test_errors_that_may_pass(void **state)
{
	static const struct {
		const char *name;
		const char *breaks;
		const char *mends;
		bool read_only;
	} cases[] = {
		{ "no schema", "ALTER TABLE call_logs RENAME TO gone",
		    "ALTER TABLE gone RENAME TO call_logs", false },
		{ "read only", "ALTER SYSTEM SET default_transaction_read_only"
		    " = on", "ALTER SYSTEM RESET"
		    " default_transaction_read_only", true },
		{ "out of resources", "CREATE FUNCTION fail() RETURNS trigger"
		    " LANGUAGE plpgsql AS $$ BEGIN RAISE 'full' USING ERRCODE"
		    " = '53100'; END $$; CREATE TRIGGER fail BEFORE INSERT ON"
		    " credit_ledger EXECUTE FUNCTION fail()",
		    "DROP FUNCTION fail CASCADE", false },
	};
	struct bench bench;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	start_drain(&bench, &bench.drain, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fixture_exec(&server, cases[i].breaks);
		reload_server(cases[i].read_only);
		append_calls(&bench, 1, 10);
		for (int turn = 0; turn < 40; turn++) {
			loop_run_once(bench.base);
			(void)usleep(20000);
		}
		if (count_in(&bench, STORE_LEDGER) != 20)
			fail_msg("%s: it did not wait", cases[i].name);
		fixture_exec(&server, cases[i].mends);
		reload_server(false);
		drain_all(&bench);
	}
	assert_int_equal(count_in(&bench, STORE_LEDGER_ASIDE), 0);
	check_key(1, 30, 30);
	close_bench(&bench);
}

/*
 * At any moment, what PostgreSQL has and what it hasn't yet make up the right
 * credits: balance and watermark never disagree. Another key's poisoned
 * entries stand in between, so that batches are halved.
 */
static void
test_credits_are_right_all_the_time(void **state)
{
	PGconn *reader = fixture_connect(&server);
	const struct account account = { .charges = 3000 };
	struct bench bench;
	const struct ledger_entry poison = entry_of(LEDGER_CHARGE, 77, 1);
	unsigned looks = 0;

	(void)state;
	add_keys(1);
	open_bench(&bench);
	for (int i = 0; i < 6; i++) {
		append_calls(&bench, 1, 500);
		append(&bench, &poison);
	}
	start_drain(&bench, &bench.drain, 0);
	while (count_in(&bench, STORE_LEDGER) > 0) {
		PGresult *result = PQexec(reader, "SELECT k.credits,"
		    " coalesce(n.charges_posted, 0) FROM api_keys k LEFT JOIN"
		    " key_nodes n ON n.api_key_id = k.id WHERE k.id = 1");
		const struct api_key key = {
			.balance = pg_get_int(result, 0, 0, 0),
			.charges_posted = (uint64_t)pg_get_int(result, 0, 1,
			    0),
		};

		PQclear(result);
		assert_int_equal(account_credits(&account, &key), 97000);
		looks++;
		loop_run_once(bench.base);
	}
	assert_true(looks > 10);
	PQfinish(reader);
	close_bench(&bench);
}

/* Printed for the person who runs it; nothing depends on it. */
static void
test_throughput(void **state)
{
	const unsigned calls = 10000;
	struct bench bench;
	int64_t start_us;
	int64_t took_us;

	(void)state;
	add_keys(4);
	open_bench(&bench);
	for (uint32_t key = 1; key <= 4; key++) {
		bench.charges = 0;
		bench.calls = 0;
		append_calls(&bench, key, calls / 4);
	}
	start_drain(&bench, &bench.drain, 0);
	start_us = clock_mono_us();
	drain_all(&bench);
	took_us = clock_mono_us() - start_us;
	print_message("%u entries in %lld ms: %lld a second\n", 2 * calls,
	    (long long)took_us / 1000,
	    2LL * calls * 1000000 / (long long)took_us);
	close_bench(&bench);
}

static int
setup(void **state)
{
	(void)state;
	fixture_exec(&server, "TRUNCATE api_keys, trunks, key_trunks,"
	    " key_nodes, credit_ledger, call_logs, recordings"
	    " RESTART IDENTITY CASCADE");
	return 0;
}

static int
group_setup(void **state)
{
	(void)state;
	server.full_sync = getenv("KAPHILA_TEST_FULL_SYNC") != NULL;
	fixture_init(&server);
	fixture_migrate(&server);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	fixture_deinit(&server);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_what_is_written, setup),
		cmocka_unit_test_setup(test_batches_of_many_keys, setup),
		cmocka_unit_test_setup(test_what_comes_later, setup),
		cmocka_unit_test_setup(test_posted_twice_counts_once, setup),
		cmocka_unit_test_setup(test_two_drainers_at_once, setup),
		cmocka_unit_test_setup(test_the_lease_passes_on, setup),
		cmocka_unit_test_setup(test_server_killed_in_the_middle,
		    setup),
		cmocka_unit_test_setup(test_drainer_killed_in_the_middle,
		    setup),
		cmocka_unit_test_setup(test_server_away_at_start, setup),
		cmocka_unit_test_setup(test_poisoned_entries, setup),
		cmocka_unit_test_setup(test_errors_that_may_pass, setup),
		cmocka_unit_test_setup(test_credits_are_right_all_the_time,
		    setup),
		cmocka_unit_test_setup(test_throughput, setup),
	};

	if (!fixture_find_server(&server)) {
		(void)puts("skipped: no PostgreSQL server is installed");
		return 0;
	}
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
