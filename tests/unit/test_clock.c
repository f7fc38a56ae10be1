/*
 * shared/clock.c: the text form of times, both ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shared/clock.h"

static void
test_format(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		int64_t ms;
		const char *text;
	} cases[] = {
		{ "epoch", 0, "1970-01-01T00:00:00.000Z" },
		{ "milliseconds", 1771323630123, "2026-02-17T10:20:30.123Z" },
		{ "leap day", 1709210096007, "2024-02-29T12:34:56.007Z" },
		{ "last second of a year", 1798761599999,
		    "2026-12-31T23:59:59.999Z" },
		{ "before the epoch", -1, "1970-01-01T00:00:00.000Z" },
		{ "last of four digits", 253402300799999,
		    "9999-12-31T23:59:59.999Z" },
		{ "beyond", INT64_MAX, "9999-12-31T23:59:59.999Z" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[CLOCK_ISO_SIZE];

		clock_format_iso(cases[i].ms, text);
		if (strcmp(text, cases[i].text) != 0)
			fail_msg("%s: %s", cases[i].name, text);
	}
}

static void
test_parse(void **state KAP_UNUSED)
{
	static const struct {
		const char *text;
		int rc;
		int64_t ms;
	} cases[] = {
		{ "2026-02-17T10:20:30.123+0000", 0, 1771323630123 },
		{ "2026-02-17T10:20:30.123Z", 0, 1771323630123 },
		{ "2026-02-17T12:20:30.123+0200", 0, 1771323630123 },
		{ "2026-02-17T04:50:30.123-05:30", 0, 1771323630123 },
		{ "2026-02-17T10:20:30Z", 0, 1771323630000 },
		{ "2024-02-29T12:34:56.007Z", 0, 1709210096007 },
		{ "2026-02-17T10:20:30.123", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20:30.12Z", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20:30.1234Z", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20:30.123z", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20:30.123+0200x", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20:30.123+1500", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20:30.123*0200", -KAP_INVAL, 0 },
		{ "2026-13-17T10:20:30.123Z", -KAP_INVAL, 0 },
		{ "2026-00-17T10:20:30.123Z", -KAP_INVAL, 0 },
		{ "2026-02-32T10:20:30.123Z", -KAP_INVAL, 0 },
		{ "2026-02-17T24:20:30.123Z", -KAP_INVAL, 0 },
		{ "2026-02-17 10:20:30.123Z", -KAP_INVAL, 0 },
		{ "2026-02-17T10:20", -KAP_INVAL, 0 },
		{ "yesterday", -KAP_INVAL, 0 },
		{ "", -KAP_INVAL, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t ms = -7;
		const int rc = clock_parse_iso(cases[i].text, &ms);

		if (rc != cases[i].rc || ms != (rc == 0 ? cases[i].ms : -7))
			fail_msg("'%s': %d, %lld", cases[i].text, rc,
			    (long long)ms);
	}
}

static void
test_round_trip(void **state KAP_UNUSED)
{
	/* a step that is prime to every unit, over more than a century */
	for (int64_t ms = 0; ms < 4102444800000; ms += 8640000007) {
		char text[CLOCK_ISO_SIZE];
		int64_t back;

		clock_format_iso(ms, text);
		assert_int_equal(clock_parse_iso(text, &back), 0);
		assert_int_equal(back, ms);
	}
}

static void
test_clocks_move_forward(void **state KAP_UNUSED)
{
	const int64_t boot = clock_boot_ms();
	const int64_t mono = clock_mono_us();

	assert_true(boot > 0);
	assert_true(clock_boot_ms() >= boot);
	assert_true(clock_mono_us() >= mono);
	assert_true(clock_wall_ms() > 1700000000000);
}

static void
test_boot_id(void **state KAP_UNUSED)
{
	char first[CLOCK_BOOT_ID_SIZE];
	char second[CLOCK_BOOT_ID_SIZE];

	assert_int_equal(clock_boot_id(first), 0);
	assert_int_equal(clock_boot_id(second), 0);
	assert_int_equal(strlen(first), CLOCK_BOOT_ID_SIZE - 1);
	assert_string_equal(first, second);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_clocks_move_forward),
		cmocka_unit_test(test_boot_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
