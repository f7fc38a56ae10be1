/*
 * Words, names and judgements about calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call.h"

struct judge_row {
	bool answered;
	uint32_t flags;
	unsigned cause;
	const char *status;
	const char *reason;
};

static const struct judge_row judgements[] = {
	{ true, 0, 16, "completed", "normal_hangup" },
	{ true, CALL_F_API_HANGUP, 16, "completed", "api_hangup" },
	{ true, CALL_F_MAX_DURATION, 16, "completed", "max_duration" },
	{ true, CALL_F_OTHER_ENDED, 16, "completed", "normal_hangup" },
	{ true, CALL_F_OTHER_ENDED, 0, "completed", "normal_hangup" },
	{ true, CALL_F_OTHER_ENDED | CALL_F_MAX_DURATION, 16, "completed",
	    "max_duration" },
	{ false, CALL_F_OTHER_ENDED, 16, "canceled", "canceled" },
	{ false, CALL_F_OTHER_ENDED, 0, "canceled", "canceled" },
	{ false, CALL_F_OTHER_ENDED | CALL_F_API_HANGUP, 0, "canceled",
	    "api_hangup" },
	{ true, 0, 17, "completed", "busy" },
	{ true, 0, 38, "completed", "congestion" },
	{ true, 0, 0, "completed", "network" },
	{ false, 0, 16, "canceled", "canceled" },
	{ false, CALL_F_API_HANGUP, 16, "canceled", "api_hangup" },
	{ false, CALL_F_API_HANGUP, 17, "canceled", "api_hangup" },
	{ false, 0, 17, "busy", "busy" },
	{ false, 0, 18, "no-answer", "no_answer" },
	{ false, 0, 19, "no-answer", "no_answer" },
	{ false, 0, 20, "no-answer", "no_answer" },
	{ false, CALL_F_RING_TIMEOUT, 0, "no-answer", "no_answer" },
	{ false, 0, 0, "failed", "network" },
	{ false, 0, 21, "failed", "rejected" },
	{ false, 0, 1, "failed", "invalid_number" },
	{ false, 0, 3, "failed", "invalid_number" },
	{ false, 0, 22, "failed", "invalid_number" },
	{ false, 0, 28, "failed", "invalid_number" },
	{ false, 0, 27, "failed", "congestion" },
	{ false, 0, 34, "failed", "congestion" },
	{ false, 0, 38, "failed", "congestion" },
	{ false, 0, 41, "failed", "congestion" },
	{ false, 0, 42, "failed", "congestion" },
	{ false, 0, 44, "failed", "congestion" },
	{ false, 0, 102, "failed", "congestion" },
	{ false, 0, 58, "failed", "incompatible" },
	{ false, 0, 88, "failed", "incompatible" },
	{ false, 0, 127, "failed", "network" },
};

static void
test_judgements(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(judgements) / sizeof(judgements[0]);
	    i++) {
		const struct judge_row *row = &judgements[i];
		enum call_status status;
		enum call_end_reason reason;

		call_judge_end(row->answered, row->flags, row->cause, &status,
		    &reason);
		if (strcmp(call_status_name(status), row->status) != 0 ||
		    strcmp(call_end_reason_name(reason), row->reason) != 0)
			fail_msg("row %zu: %s/%s, expected %s/%s", i,
			    call_status_name(status),
			    call_end_reason_name(reason), row->status,
			    row->reason);
	}
}

static void
test_durations(void **state)
{
	static const struct { int64_t ms; uint32_t seconds; } rows[] = {
		{ -5, 1 }, { 0, 1 }, { 1, 1 }, { 1000, 1 }, { 1001, 2 },
		{ 42000, 42 }, { 42001, 43 },
	};
	struct call call = { .flags = CALL_F_WAS_ANSWERED,
		.answered_ms = 1000000 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(call_duration_s(&call,
		    1000000 + rows[i].ms), rows[i].seconds);
	call.flags = 0;
	assert_int_equal(call_duration_s(&call, 2000000), 0);
}

static void
test_ids(void **state)
{
	static const struct { const char *id; bool valid; } rows[] = {
		{ "1720012345.88", true }, { "1720012345.88001", true },
		{ "172001234.88", false }, { "1720012345", false },
		{ "1720012345.", false }, { "1720012345.88x", false },
		{ "1720012345.88/..", false }, { "", false },
		{ "1720012345.88-2", false }, { ".88", false },
		{ "1720012345.12345678901234567890", false },
		{ "172001234567.1234567890123456789", false },
	};
	char id[CALL_ID_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (call_id_is_valid(rows[i].id) != rows[i].valid)
			fail_msg("%s", rows[i].id);
	}
	call_id_make(id, 1720012345999LL, 88, 7);
	assert_string_equal(id, "1720012345.88007");
	assert_true(call_id_is_valid(id));
	assert_int_equal(call_id_node(id), 7);
	assert_int_equal(call_id_node("1720012345.88"), 0);
	call_id_make(id, INT64_MAX, UINT64_MAX, 999);
	assert_true(strlen(id) < CALL_ID_SIZE);
}

static void
test_names(void **state)
{
	struct call call = { .id = "1720012345.88001", .attempt = 1,
		.recording_ms = 1739781234567LL };
	char name[CALL_NAME_SIZE];
	char recording[CALL_RECORDING_SIZE];
	char id[CALL_ID_SIZE];
	unsigned attempt;
	int64_t stamp;

	(void)state;
	call_channel_name(&call, name);
	assert_string_equal(name, "1720012345.88001");
	assert_int_equal(call_parse_channel(name, id, &attempt), 0);
	assert_string_equal(id, call.id);
	assert_int_equal(attempt, 1);
	call.attempt = 3;
	call_channel_name(&call, name);
	assert_string_equal(name, "1720012345.88001-3");
	assert_int_equal(call_parse_channel(name, id, &attempt), 0);
	assert_string_equal(id, call.id);
	assert_int_equal(attempt, 3);
	call_bridge_name(call.id, name);
	assert_string_equal(name, "bridge-1720012345.88001");
	assert_int_equal(call_parse_bridge(name, id), 0);
	assert_string_equal(id, call.id);
	call_recording_name(&call, recording);
	assert_string_equal(recording,
	    "call-1720012345.88001-1739781234567");
	assert_int_equal(call_parse_recording(recording, id, &stamp), 0);
	assert_string_equal(id, call.id);
	assert_int_equal(stamp, 1739781234567LL);
}

static void
test_foreign_names(void **state)
{
	static const char *const channels[] = { "", "x", "1720012345.88-",
		"1720012345.88-x", "1720012345.88-1", "1720012345.88-0002",
		"bridge-1720012345.88", "1720012345.88;2", "PJSIP/x-1" };
	static const char *const recordings[] = { "", "call-", "call-1.2-3",
		"call-1720012345.88", "call-1720012345.88-",
		"call-1720012345.88-12x", "call-1720012345.88-1234567890123456",
		"x-call-1720012345.88-1" };
	char id[CALL_ID_SIZE];
	unsigned attempt;
	int64_t stamp;

	(void)state;
	for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++) {
		if (call_parse_channel(channels[i], id, &attempt) == 0)
			fail_msg("%s", channels[i]);
	}
	for (size_t i = 0; i < sizeof(recordings) / sizeof(recordings[0]);
	    i++) {
		if (call_parse_recording(recordings[i], id, &stamp) == 0)
			fail_msg("%s", recordings[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judgements),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_foreign_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
