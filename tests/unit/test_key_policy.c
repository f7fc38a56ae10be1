/*
 * What a key may do: lists as they are written, and what they allow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/key_policy.h"

/* Room for more entries than a list may have. */
#define LONG_SIZE 2048

static void
test_lists(void **state)
{
	static const struct {
		enum key_policy_list kind;
		const char *text;
		int rc;
		const char *expect; /* the list again, or a part of the words */
	} cases[] = {
		{ KEY_POLICY_PREFIXES, "", 0, "" },
		{ KEY_POLICY_PREFIXES, "  ", 0, "" },
		{ KEY_POLICY_PREFIXES, "49", 0, "49" },
		{ KEY_POLICY_PREFIXES, "+49, 4930 ,0049 ", 0, "49,4930,0049" },
		{ KEY_POLICY_PREFIXES, "0,00,000", 0, "0,00,000" },
		{ KEY_POLICY_PREFIXES, "49,1,49,+1", 0, "49,1" },
		{ KEY_POLICY_PREFIXES, "123456789012345", 0,
		    "123456789012345" },
		{ KEY_POLICY_PREFIXES, "999999999999999", 0,
		    "999999999999999" },
		{ KEY_POLICY_PREFIXES, "1234567890123456", -KAP_INVAL,
		    "'1234567890123456' is not 1 to 15 digits" },
		{ KEY_POLICY_PREFIXES, "49,", -KAP_INVAL, "'' is not" },
		{ KEY_POLICY_PREFIXES, ",49", -KAP_INVAL, "'' is not" },
		{ KEY_POLICY_PREFIXES, "49,,1", -KAP_INVAL, "'' is not" },
		{ KEY_POLICY_PREFIXES, ",", -KAP_INVAL, "'' is not" },
		{ KEY_POLICY_PREFIXES, "+", -KAP_INVAL, "'+' is not" },
		{ KEY_POLICY_PREFIXES, "++49", -KAP_INVAL, "'++49' is not" },
		{ KEY_POLICY_PREFIXES, "49 30", -KAP_INVAL, "'49 30' is not" },
		{ KEY_POLICY_PREFIXES, "49;30", -KAP_INVAL, "'49;30' is not" },
		{ KEY_POLICY_PREFIXES, "49x", -KAP_INVAL, "'49x' is not" },
		{ KEY_POLICY_PREFIXES, "-49", -KAP_INVAL, "'-49' is not" },
		{ KEY_POLICY_PREFIXES, "49\n", -KAP_INVAL, "is not" },
		{ KEY_POLICY_PREFIXES, "none", -KAP_INVAL, "'none' is not" },
		{ KEY_POLICY_CALLER_IDS, "1234567,+123456789012345", 0,
		    "1234567,123456789012345" },
		{ KEY_POLICY_CALLER_IDS, "0123456", 0, "0123456" },
		{ KEY_POLICY_CALLER_IDS, "1234567,123456", -KAP_INVAL,
		    "'123456' is not 7 to 15 digits" },
		{ KEY_POLICY_CALLER_IDS, "1234567890123456", -KAP_INVAL,
		    "is not 7 to 15 digits" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t list[KEY_POLICY_PREFIXES_MAX];
		char text[KEY_POLICY_TEXT_SIZE] = "";
		struct kap_errmsg why = { .text = "" };
		const int rc = key_policy_parse(cases[i].kind, cases[i].text,
		    list, &why);

		if (rc == 0)
			key_policy_format(cases[i].kind, list, text);
		if (rc != cases[i].rc ||
		    (rc == 0 ? strcmp(text, cases[i].expect) != 0 :
		    strstr(why.text, cases[i].expect) == NULL))
			fail_msg("'%s' gave %d '%s' \"%s\"", cases[i].text, rc,
			    text, why.text);
	}
}

/* `count` entries of 15 digits. */
static void
make_list(unsigned count, char out[LONG_SIZE])
{
	size_t used = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < count; i++)
		used += (size_t)snprintf(out + used, LONG_SIZE - used,
		    "%s999999999999%03u", i > 0 ? "," : "", i);
}

static void
test_lists_are_bounded(void **state)
{
	static const struct {
		enum key_policy_list kind;
		unsigned max;
		const char *says;
	} kinds[] = {
		{ KEY_POLICY_CALLER_IDS, KEY_POLICY_CALLER_IDS_MAX,
		    "more than 32 caller ids" },
		{ KEY_POLICY_PREFIXES, KEY_POLICY_PREFIXES_MAX,
		    "more than 64 prefixes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint64_t list[KEY_POLICY_PREFIXES_MAX];
		char given[LONG_SIZE];
		char text[KEY_POLICY_TEXT_SIZE];
		struct kap_errmsg why;

		make_list(kinds[i].max, given);
		assert_int_equal(key_policy_parse(kinds[i].kind, given, list,
		    NULL), 0);
		key_policy_format(kinds[i].kind, list, text);
		assert_string_equal(text, given);
		/* what is there already takes no room */
		(void)snprintf(given + strlen(given), LONG_SIZE -
		    strlen(given), ",999999999999000");
		assert_int_equal(key_policy_parse(kinds[i].kind, given, list,
		    NULL), 0);
		make_list(kinds[i].max + 1, given);
		assert_int_equal(key_policy_parse(kinds[i].kind, given, list,
		    &why), -KAP_TOOBIG);
		assert_string_equal(why.text, kinds[i].says);
	}
}

static void
set_lists(struct key_policy *policy, const char *allow, const char *deny)
{
	memset(policy, 0, sizeof(*policy));
	assert_int_equal(key_policy_parse(KEY_POLICY_PREFIXES, allow,
	    policy->allow, NULL), 0);
	assert_int_equal(key_policy_parse(KEY_POLICY_PREFIXES, deny,
	    policy->deny, NULL), 0);
}

static void
test_destinations(void **state)
{
	static const struct {
		const char *allow;
		const char *deny;
		const char *number;
		bool allowed;
	} cases[] = {
		/* no list allows all */
		{ "", "", "14155550100", true },
		{ "", "", "0000000", true },
		/* an allow list alone */
		{ "49", "", "4930123456", true },
		{ "49", "", "4430123456", false },
		{ "49", "", "0049301234", false },
		{ "49,44", "", "4430123456", true },
		{ "493", "", "4940123456", false },
		{ "0049", "", "0049301234", true },
		{ "049", "", "0049301234", false },
		{ "0", "", "0049301234", true },
		/* a prefix as long as the number, and a longer one */
		{ "4930123", "", "4930123", true },
		{ "49301234", "", "4930123", false },
		{ "123456789012345", "", "123456789012345", true },
		{ "123456789012345", "", "123456789012346", false },
		{ "123456789012345", "", "12345678901234", false },
		/* a deny list alone */
		{ "", "49900", "4930123456", true },
		{ "", "49900", "4990012345", false },
		{ "", "4,5", "5012345678", false },
		{ "", "123456789012345", "123456789012345", false },
		{ "", "1234567890123", "123456789012", true },
		/* both: the longest decides */
		{ "49", "49900", "4990012345", false },
		{ "49", "49900", "4930123456", true },
		{ "49,499005", "49900", "4990051234", true },
		{ "49,499005", "49900", "4990061234", false },
		{ "4990", "49", "4990012345", true },
		{ "4990", "49", "4930123456", false },
		{ "1,1234567", "12,123456", "1234567", true },
		{ "1,12345", "12,123456", "1234567", false },
		/* at a tie the deny list */
		{ "49", "49", "4930123456", false },
		{ "4930123", "4930123", "4930123", false },
		{ "4,49,493", "49,493", "4930123456", false },
		/* what no allow prefix matches */
		{ "49", "44", "1415555010", false },
		/* a shorter entry behind a longer one, and the reverse */
		{ "4930,49", "49301", "4930212345", true },
		{ "49,4930", "49301", "4930112345", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct key_policy policy;

		set_lists(&policy, cases[i].allow, cases[i].deny);
		if (key_policy_allows_number(&policy, cases[i].number) !=
		    cases[i].allowed)
			fail_msg("allow '%s' deny '%s' number %s",
			    cases[i].allow, cases[i].deny, cases[i].number);
	}
}

/* The last of a full list counts as the first does. */
static void
test_full_lists(void **state)
{
	struct key_policy policy;
	char text[LONG_SIZE];

	(void)state;
	make_list(KEY_POLICY_PREFIXES_MAX, text);
	set_lists(&policy, text, "");
	assert_true(key_policy_allows_number(&policy, "999999999999063"));
	assert_false(key_policy_allows_number(&policy, "999999999999064"));
	set_lists(&policy, "9", text);
	assert_false(key_policy_allows_number(&policy, "999999999999063"));
	assert_true(key_policy_allows_number(&policy, "999999999999064"));
	make_list(KEY_POLICY_CALLER_IDS_MAX, text);
	assert_int_equal(key_policy_parse(KEY_POLICY_CALLER_IDS, text,
	    policy.caller_ids, NULL), 0);
	assert_true(key_policy_allows_caller_id(&policy, "999999999999031"));
	assert_false(key_policy_allows_caller_id(&policy, "999999999999032"));
}

static void
test_caller_ids(void **state)
{
	static const struct {
		const char *list;
		const char *caller_id;
		bool allowed;
	} cases[] = {
		{ "", "14155550100", true },
		{ "14155550100", "14155550100", true },
		{ "14155550100,19172452367", "19172452367", true },
		{ "14155550100", "14155550101", false },
		{ "14155550100", "1415555010", false },
		{ "14155550100", "014155550100", false },
		{ "0123456", "0123456", true },
		{ "0123456", "00123456", false },
		/* as they are written in requests */
		{ "+1-415-555-0100", "14155550100", true },
		{ " +1 (415) 555.01.00 , 49-30-1234567", "14155550100", true },
		{ "+1 (415) 555 0100,49-30-1234567", "49301234567", true },
		{ "+1-415-555-0100", "14155550101", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct key_policy policy = { .max_calls = 0 };

		assert_int_equal(key_policy_parse(KEY_POLICY_CALLER_IDS,
		    cases[i].list, policy.caller_ids, NULL), 0);
		if (key_policy_allows_caller_id(&policy, cases[i].caller_id) !=
		    cases[i].allowed)
			fail_msg("list '%s' caller id %s", cases[i].list,
			    cases[i].caller_id);
	}
}

static void
test_live_calls(void **state)
{
	static const struct {
		uint32_t max_calls;
		uint32_t live;
		bool allowed;
	} cases[] = {
		{ 0, 0, true },
		{ 0, UINT32_MAX, true },
		{ 1, 0, true },
		{ 1, 1, false },
		{ 3, 2, true },
		{ 3, 3, false },
		{ 3, 4, false }, /* it was lowered meanwhile */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct key_policy policy = {
			.max_calls = cases[i].max_calls };

		if (key_policy_allows_call(&policy, cases[i].live) !=
		    cases[i].allowed)
			fail_msg("%u of %u", cases[i].live,
			    cases[i].max_calls);
	}
}

static void
test_bar(void **state)
{
	struct key_policy policy;

	(void)state;
	set_lists(&policy, "1,49", "");
	key_policy_bar(&policy);
	assert_false(key_policy_allows_number(&policy, "14155550100"));
	assert_false(key_policy_allows_number(&policy, "4930123456"));
	assert_false(key_policy_allows_number(&policy, "0000000"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_lists_are_bounded),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_full_lists),
		cmocka_unit_test(test_caller_ids),
		cmocka_unit_test(test_live_calls),
		cmocka_unit_test(test_bar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
