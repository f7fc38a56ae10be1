/*
 * The arithmetic of accounts: windows, credits, watermarks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "shared/account.h"
#include "store_fixture.h"

#define START 1700000000000LL

static void
test_rate_window(void **state)
{
	static const struct {
		const char *name;
		int64_t start_ms;
		uint32_t before;
		uint32_t limit;
		uint32_t count;
		int64_t now_ms;
		bool allowed;
		uint32_t remaining;
		int64_t reset_ms;
	} cases[] = {
		{ "first of all", 0, 0, 100, 1, START, true, 99,
		    START + 3600000 },
		{ "within", START, 5, 100, 1, START + 1000, true, 94,
		    START + 3600000 },
		{ "the last one", START, 99, 100, 1, START + 1000, true, 0,
		    START + 3600000 },
		{ "one too many", START, 100, 100, 1, START + 1000, false, 0,
		    START + 3600000 },
		{ "far too many", START, 5000, 100, 1, START + 1000, false, 0,
		    START + 3600000 },
		{ "last moment of the window", START, 100, 100, 1,
		    START + 3599999, false, 0, START + 3600000 },
		{ "a new window", START, 100, 100, 1, START + 3600000, true,
		    99, START + 7200000 },
		{ "several", START, 95, 100, 5, START, true, 0,
		    START + 3600000 },
		{ "several, over", START, 95, 100, 6, START, false, 0,
		    START + 3600000 },
		{ "no limit", START, 0, 0, 1, START, true, 0,
		    START + 3600000 },
		{ "clock set back", START, 100, 100, 1, START - 7200000, true,
		    99, START - 3600000 },
		{ "no overflow", START, UINT32_MAX - 1, 100, 5, START, false,
		    0, START + 3600000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct account account = {
			.window_start_ms = cases[i].start_ms,
			.window_count = cases[i].before,
		};
		struct account_rate rate;

		account_count(&account, cases[i].limit, cases[i].count,
		    cases[i].now_ms, &rate);
		if (rate.allowed != cases[i].allowed ||
		    rate.remaining != cases[i].remaining ||
		    rate.reset_ms != cases[i].reset_ms ||
		    rate.limit != cases[i].limit)
			fail_msg("%s: %d %u %lld", cases[i].name,
			    rate.allowed, rate.remaining,
			    (long long)rate.reset_ms);
	}
}

static void
test_credits(void **state)
{
	static const struct {
		const char *name;
		int64_t balance;
		uint64_t posted;
		uint64_t charges;
		uint32_t holds;
		int64_t credits;
		int64_t available;
	} cases[] = {
		{ "untouched", 50, 0, 0, 0, 50, 50 },
		{ "held", 50, 0, 0, 3, 50, 47 },
		{ "charged, not posted", 50, 0, 4, 0, 46, 46 },
		{ "charged, all posted", 46, 4, 4, 0, 46, 46 },
		{ "charged, some posted", 48, 2, 4, 1, 46, 45 },
		{ "used up", 2, 10, 12, 0, 0, 0 },
		{ "all held", 2, 0, 0, 2, 2, 0 },
		{ "negative", -3, 10, 12, 1, -5, -6 },
		{ "watermark ahead of a lost account", 5, 10, 3, 0, 5, 5 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct account account = { .charges = cases[i].charges,
			.holds = cases[i].holds };
		const struct api_key key = { .balance = cases[i].balance,
			.charges_posted = cases[i].posted };

		if (account_credits(&account, &key) != cases[i].credits ||
		    account_available(&account, &key) != cases[i].available)
			fail_msg("%s", cases[i].name);
	}
}

static void
test_record_and_sync(void **state)
{
	static const struct {
		uint64_t charges, calls, charges_posted, calls_posted;
		uint64_t charges_after, calls_after;
	} cases[] = {
		{ 0, 0, 0, 0, 0, 0 },
		{ 9, 12, 7, 10, 9, 12 }, /* not posted yet: never back */
		{ 0, 0, 7, 10, 7, 10 },  /* the store was lost */
		{ 9, 0, 7, 10, 9, 10 },
		{ 0, 12, 7, 10, 7, 12 },
	};
	struct store_fixture fixture;

	(void)state;
	store_fixture_open(&fixture);
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct api_key key = { .id = i,
			.charges_posted = cases[i].charges_posted,
			.calls_posted = cases[i].calls_posted };
		struct account account = { .version = ACCOUNT_VERSION,
			.holds = 3, .charges = cases[i].charges,
			.calls = cases[i].calls };
		struct account got;
		struct store_txn *txn;

		assert_int_equal(store_begin_write(fixture.store, &txn), 0);
		assert_int_equal(account_get(txn, i, &got), 0);
		assert_int_equal(got.charges, 0);
		assert_int_equal(got.version, ACCOUNT_VERSION);
		assert_int_equal(account_put(txn, i, &account), 0);
		assert_int_equal(account_sync(txn, &key), 0);
		assert_int_equal(store_commit(&txn), 0);
		assert_int_equal(store_begin_read(fixture.store, &txn), 0);
		assert_int_equal(account_get(txn, i, &got), 0);
		store_end_read(&txn);
		assert_int_equal(got.charges, cases[i].charges_after);
		assert_int_equal(got.calls, cases[i].calls_after);
		assert_int_equal(got.holds, 3);
	}
	store_fixture_close(&fixture);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate_window),
		cmocka_unit_test(test_credits),
		cmocka_unit_test(test_record_and_sync),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
