/*
 * Order, removal, setting aside and the lease of the ledger queue.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/ledger_queue.h"
#include "store_fixture.h"

static struct store_fixture fixture;

static struct store_txn *
begin(void)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	return txn;
}

static void
append(struct store_txn *txn, uint32_t key_id, uint64_t *number_out)
{
	struct ledger_entry entry = { .kind = LEDGER_CHARGE,
		.key_id = key_id, .trunk = "carrier" };

	assert_int_equal(ledger_queue_append(txn, &entry), 0);
	assert_int_equal(entry.version, LEDGER_ENTRY_VERSION);
	*number_out = entry.number;
}

static void
test_first_in_first_out(void **state)
{
	struct ledger_entry got[10];
	struct store_txn *txn = begin();
	uint64_t numbers[5];

	(void)state;
	assert_int_equal(ledger_queue_peek(txn, got, 10), 0);
	for (uint32_t i = 0; i < 5; i++)
		append(txn, 100 + i, &numbers[i]);
	assert_int_equal(store_commit(&txn), 0);

	txn = begin();
	assert_int_equal(ledger_queue_peek(txn, got, 3), 3);
	assert_int_equal(ledger_queue_peek(txn, got, 10), 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(got[i].key_id, 100 + i);
		assert_int_equal(got[i].number, numbers[i]);
		assert_string_equal(got[i].trunk, "carrier");
	}
	assert_int_equal(ledger_queue_remove(txn, numbers[0]), 0);
	assert_int_equal(ledger_queue_remove(txn, numbers[0]), 0);
	assert_int_equal(ledger_queue_remove(txn, numbers[2]), 0);
	assert_int_equal(ledger_queue_peek(txn, got, 10), 3);
	assert_int_equal(got[0].key_id, 101);
	assert_int_equal(got[1].key_id, 103);
	store_abort(&txn);
}

static void
test_set_aside(void **state)
{
	struct store_txn *txn = begin();
	struct ledger_entry got[2];
	uint64_t first;
	uint64_t second;
	uint64_t count;

	(void)state;
	append(txn, 1, &first);
	append(txn, 2, &second);
	assert_int_equal(ledger_queue_set_aside(txn, first), 0);
	assert_int_equal(ledger_queue_set_aside(txn, first), 0);
	assert_int_equal(ledger_queue_peek(txn, got, 2), 1);
	assert_int_equal(got[0].number, second);
	assert_int_equal(store_count(txn, STORE_LEDGER_ASIDE, &count), 0);
	assert_int_equal(count, 1);
	store_abort(&txn);
}

/* Records grow at their tail: an older one is shorter, a newer one longer. */
static void
test_records_of_other_binaries(void **state)
{
	static const struct {
		size_t len;
		const char *trunk;
	} cases[] = {
		{ offsetof(struct ledger_entry, trunk), "" },
		{ sizeof(struct ledger_entry) + 64, "carrier" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		union {
			struct ledger_entry entry;
			char raw[sizeof(struct ledger_entry) + 64];
		} record;
		struct ledger_entry got;
		struct store_txn *txn = begin();
		const uint8_t key[8] = { 0, 0, 0, 0, 0, 0, 0, 1 };

		memset(&record, 0x55, sizeof(record));
		record.entry.key_id = 42;
		(void)snprintf(record.entry.trunk,
		    sizeof(record.entry.trunk), "carrier");
		assert_int_equal(store_put(txn, STORE_LEDGER, key,
		    sizeof(key), &record, cases[i].len), 0);
		assert_int_equal(ledger_queue_peek(txn, &got, 1), 1);
		assert_int_equal(got.key_id, 42);
		assert_string_equal(got.trunk, cases[i].trunk);
		store_abort(&txn);
	}
}

static void
test_lease(void **state)
{
	static const struct {
		const char *name;
		unsigned slot;
		int64_t now_ms;
		int rc;
	} steps[] = {
		{ "free", 0, 1000, 0 },
		{ "taken", 1, 2000, -KAP_DENIED },
		{ "renewed", 0, 5000, 0 },
		{ "still taken", 1, 10999, -KAP_DENIED },
		{ "run out", 1, 11000, 0 },
		{ "the first is late", 0, 12000, -KAP_DENIED },
		{ "after a reboot", 0, 500, 0 },
		{ "and anew", 1, 600, -KAP_DENIED },
	};
	struct store_txn *txn = begin();

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const int rc = ledger_lease_take(txn, steps[i].slot,
		    steps[i].now_ms, 6000);

		if (rc != steps[i].rc)
			fail_msg("%s: %d", steps[i].name, rc);
	}
	store_abort(&txn);
}

static int
setup(void **state)
{
	(void)state;
	store_fixture_open(&fixture);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	store_fixture_close(&fixture);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_first_in_first_out, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_set_aside, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_records_of_other_binaries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lease, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
