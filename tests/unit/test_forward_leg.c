/*
 * Which calls can be forwarded, and what is said of the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store_fixture.h"
#include "worker/api_error.h"
#include "worker/forward_leg.h"

#define FIRST "1720012345.88001"
#define KEY_ID 7

static const struct {
	const char *name;
	const char *id;
	struct call call;
	enum api_code code;
} rows[] = {
	{ "answered", FIRST, { .state = CALL_ANSWERED, .key_id = KEY_ID },
	    API_OK },
	{ "not answered yet", FIRST,
	    { .state = CALL_RINGING, .key_id = KEY_ID },
	    API_CALL_NOT_ANSWERED },
	{ "being hung up", FIRST, { .state = CALL_ANSWERED, .key_id = KEY_ID,
	    .flags = CALL_F_HANGUP_SENT }, API_CALL_NOT_FOUND },
	{ "over", FIRST, { .state = CALL_ENDED, .key_id = KEY_ID },
	    API_CALL_NOT_FOUND },
	{ "another key's", FIRST,
	    { .state = CALL_ANSWERED, .key_id = KEY_ID + 1 },
	    API_CALL_NOT_FOUND },
	{ "none of that id", "1720012345.88002",
	    { .state = CALL_ANSWERED, .key_id = KEY_ID },
	    API_CALL_NOT_FOUND },
	{ "none at all", "", { .state = CALL_ANSWERED, .key_id = KEY_ID },
	    API_CALL_NOT_FOUND },
	{ "forwarded already", FIRST, { .state = CALL_ANSWERED,
	    .key_id = KEY_ID, .other_id = "1720012345.88002" },
	    API_CALL_ALREADY_FORWARDED },
	{ "a second leg itself", FIRST, { .state = CALL_ANSWERED,
	    .key_id = KEY_ID, .flags = CALL_F_SECOND_LEG },
	    API_CALL_ALREADY_FORWARDED },
};

static void
test_judge(void **state)
{
	const struct api_key key = { .id = KEY_ID };
	struct store_fixture fixture;

	(void)state;
	store_fixture_open(&fixture);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct call call = rows[i].call;
		struct store_txn *txn;
		enum api_code code;

		call.version = CALL_VERSION;
		(void)snprintf(call.id, sizeof(call.id), "%s", FIRST);
		assert_int_equal(store_begin_write(fixture.store, &txn), 0);
		assert_int_equal(store_put(txn, STORE_CALLS, FIRST,
		    strlen(FIRST), &call, sizeof(call)), 0);
		assert_int_equal(forward_leg_judge(txn, &key, rows[i].id,
		    &code), 0);
		assert_int_equal(store_commit(&txn), 0);
		if (code != rows[i].code)
			fail_msg("%s: %s", rows[i].name,
			    api_code_row(code)->code);
	}
	store_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
