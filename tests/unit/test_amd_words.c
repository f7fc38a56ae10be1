/*
 * What AMD is called with, and what its verdicts are worth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/amd_words.h"

struct cause_row {
	const char *raw;
	const char *word;
};

static const struct cause_row causes[] = {
	{ "LONGGREETING-1500-1500", "LONGGREETING" },
	{ "TOOLONG-4901", "TOOLONG" },
	{ "HUMAN", "HUMAN" },
	{ "", "" },
	{ "-5", "" },
	{ "lower", "" },
	{ "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ",
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDE" },
};

static void
test_causes(void **state)
{
	char word[CALL_AMD_CAUSE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		amd_cause_word(causes[i].raw, word);
		assert_string_equal(word, causes[i].word);
	}
}

/* Of a verdict it is a share, better than none; of anything else nothing. */
static void
test_confidence(void **state)
{
	static const char *const machine[] = { "LONGGREETING-1500-1500",
		"MAXWORDS-5-5", "MAXWORDLENGTH-5000",
		"INITIALSILENCE-2500-2500", "NEWWORD-1", "" };

	(void)state;
	for (size_t i = 0; i < sizeof(machine) / sizeof(machine[0]); i++) {
		const double share = amd_confidence(CALL_AMD_MACHINE,
		    machine[i]);

		assert_true(share >= 0.5 && share <= 1);
		assert_true(amd_confidence(CALL_AMD_UNKNOWN, machine[i]) == 0);
		assert_true(amd_confidence(CALL_AMD_PENDING, machine[i]) == 0);
		assert_true(amd_confidence(CALL_AMD_NOAMD, machine[i]) == 0);
	}
	assert_true(amd_confidence(CALL_AMD_HUMAN, "HUMAN-760-750") ==
	    amd_confidence(CALL_AMD_HUMAN, "HUMAN"));
	assert_true(amd_confidence(CALL_AMD_HUMAN, "HUMAN-760-750") >
	    amd_confidence(CALL_AMD_HUMAN, "LONGGREETING-1-1"));
}

static void
test_arguments(void **state)
{
	const struct config_amd amd = { 2500, 1500, 750, 5000, 100, 50, 5, 300,
		5000 };
	const struct config_amd largest = { INT64_C(10000), 10000, 5000, 20000,
		2000, 2000, 100, 32767, 10000 };
	char args[CALL_AMD_ARGS_MAX + 1];

	(void)state;
	amd_args_format(&amd, args);
	assert_string_equal(args, "2500,1500,750,5000,100,50,5,300,5000");
	amd_args_format(&largest, args);
	assert_string_equal(args,
	    "10000,10000,5000,20000,2000,2000,100,32767,10000");
}

/* A call's own limit of analysis is kept in a byte of CALL_AMD_UNIT_MS. */
static void
test_range(void **state)
{
	int64_t min;
	int64_t max;

	(void)state;
	config_range("amd", "total_analysis_ms", &min, &max);
	assert_true(min > 0);
	assert_true(max <= INT64_C(255) * CALL_AMD_UNIT_MS);
}

/* As the record has it, but for a call that is to be analysed. */
static void
test_told(void **state)
{
	static const struct {
		uint32_t flags;
		enum call_state state;
		enum call_amd status;
		enum call_amd told;
	} table[] = {
		{ 0, CALL_RINGING, CALL_AMD_NOAMD, CALL_AMD_NOAMD },
		{ 0, CALL_ENDED, CALL_AMD_NOAMD, CALL_AMD_NOAMD },
		{ CALL_F_USE_AMD, CALL_QUEUED, CALL_AMD_NOAMD,
		    CALL_AMD_PENDING },
		{ CALL_F_USE_AMD, CALL_RINGING, CALL_AMD_NOAMD,
		    CALL_AMD_PENDING },
		{ CALL_F_USE_AMD, CALL_ENDED, CALL_AMD_NOAMD,
		    CALL_AMD_UNKNOWN },
		{ CALL_F_USE_AMD, CALL_ANSWERED, CALL_AMD_PENDING,
		    CALL_AMD_PENDING },
		{ CALL_F_USE_AMD, CALL_ENDED, CALL_AMD_MACHINE,
		    CALL_AMD_MACHINE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct call call = { .flags = table[i].flags,
			.state = (uint8_t)table[i].state,
			.amd_status = (uint8_t)table[i].status };

		if (amd_told(&call) != table[i].told)
			fail_msg("row %zu", i);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_confidence),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
