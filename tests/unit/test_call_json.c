/*
 * A call as GET /calls shows it: what goes on in it just now.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shared/amd_words.h"
#include "worker/call_json.h"

static struct call
make_call(void)
{
	return (struct call){
		.version = CALL_VERSION,
		.state = CALL_ANSWERED,
		.status = CALL_STATUS_ANSWERED,
		.flags = CALL_F_WAS_ANSWERED | CALL_F_BRIDGED,
		.id = "1720012345.88",
		.number = "14155550100",
	};
}

static void
check(const struct call *call, const char *name, const char *expect)
{
	cJSON *trees[] = { call_json_detail(call, "en-US-Neural2-A"),
		call_json_list_item(call, "en-US-Neural2-A") };

	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		const cJSON *item = cJSON_GetObjectItemCaseSensitive(trees[i],
		    name);
		char *text = item != NULL ? cJSON_PrintUnformatted(item) :
		    NULL;

		assert_string_equal(text != NULL ? text : "none", expect);
		cJSON_free(text);
		cJSON_Delete(trees[i]);
	}
}

static void
test_gather(void **state)
{
	struct call call = make_call();

	(void)state;
	check(&call, "gather", "null");
	call.gather_state = CALL_GATHER_PROMPT;
	call.gather_expected = 4;
	call.gather_timeout_ms = 12000;
	check(&call, "gather", "{\"state\":\"prompt\",\"expectedDigits\":4,"
	    "\"collected\":\"\",\"timeoutMs\":12000,\"bargeIn\":true,"
	    "\"finishOnKey\":\"\"}");
	call.gather_state = CALL_GATHER_DIGITS;
	call.gather_flags = CALL_GATHER_NO_BARGE_IN;
	call.gather_finish = '#';
	(void)snprintf(call.gather_digits, sizeof(call.gather_digits), "12*");
	check(&call, "gather", "{\"state\":\"digits\",\"expectedDigits\":4,"
	    "\"collected\":\"12*\",\"timeoutMs\":12000,\"bargeIn\":false,"
	    "\"finishOnKey\":\"#\"}");
}

static void
test_amd(void **state)
{
	struct call call = make_call();
	char expect[256];

	(void)state;
	check(&call, "amd", "{\"status\":\"NOAMD\",\"cause\":\"\","
	    "\"confidence\":0,\"detail\":\"\",\"decidedAt\":null}");
	call.state = CALL_RINGING;
	call.flags = CALL_F_USE_AMD;
	check(&call, "amd", "{\"status\":\"PENDING\",\"cause\":\"\","
	    "\"confidence\":0,\"detail\":\"\",\"decidedAt\":null}");
	call.amd_status = CALL_AMD_HUMAN;
	call.amd_decided_ms = 1771323731233LL;
	(void)snprintf(call.amd_cause, sizeof(call.amd_cause),
	    "HUMAN-800-800");
	(void)snprintf(expect, sizeof(expect), "{\"status\":\"HUMAN\","
	    "\"cause\":\"HUMAN\",\"confidence\":%.15g,"
	    "\"detail\":\"HUMAN-800-800\","
	    "\"decidedAt\":\"2026-02-17T10:22:11.233Z\"}",
	    amd_confidence(CALL_AMD_HUMAN, "HUMAN"));
	check(&call, "amd", expect);
}

/* Only the detailed form tells of the snoop channel. */
static void
test_snoop(void **state)
{
	struct call call = make_call();

	(void)state;
	for (int snooped = 0; snooped < 2; snooped++) {
		cJSON *detail = call_json_detail(&call, "");
		cJSON *item = call_json_list_item(&call, "");

		assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(
		    detail, "hasSnoop")), snooped);
		assert_null(cJSON_GetObjectItemCaseSensitive(item,
		    "hasSnoop"));
		cJSON_Delete(detail);
		cJSON_Delete(item);
		call.flags |= CALL_F_SNOOPED;
	}
}

/* Each leg names the other. */
static void
test_legs(void **state)
{
	struct call call = make_call();

	(void)state;
	check(&call, "forwardedCallId", "none");
	check(&call, "forwardedFrom", "none");
	(void)snprintf(call.other_id, sizeof(call.other_id), "1720012399.90");
	check(&call, "forwardedCallId", "\"1720012399.90\"");
	check(&call, "forwardedFrom", "none");
	call.flags |= CALL_F_SECOND_LEG;
	check(&call, "forwardedCallId", "none");
	check(&call, "forwardedFrom", "\"1720012399.90\"");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_amd),
		cmocka_unit_test(test_snoop),
		cmocka_unit_test(test_legs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
