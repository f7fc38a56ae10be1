/*
 * What an event looks like on the wire, field by field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/webhook_fixture.h"

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "webhookd/payload.h"

#define COMMON_1                                                              \
	"{\"eventId\":\"evt_1720012345.88_3\",\"sequence\":3,"                \
	"\"callId\":\"1720012345.88\","                                       \
	"\"timestamp\":\"2026-02-17T10:22:11.233Z\","
#define COMMON_2                                                              \
	"\"number\":\"14155550100\",\"to\":\"14155550100\","                  \
	"\"callerId\":\"19172452367\",\"from\":\"19172452367\","              \
	"\"amd\":{\"status\":\"NOAMD\",\"cause\":\"\",\"confidence\":0},"     \
	"\"metadata\":{}"
#define ANSWERED ",\"answeredAt\":\"2026-02-17T10:21:29.133Z\""
#define NAME "call-1720012345.88-1739781234567"

static void
change_initiated(struct webhook_event *event)
{
	event->call.status = CALL_STATUS_QUEUED;
	event->call.answered_ms = 0;
	event->call.flags = CALL_F_USE_AMD;
	event->call.attempt = 2;
}

static void
change_ringing(struct webhook_event *event)
{
	event->call.status = CALL_STATUS_RINGING;
	event->call.answered_ms = 0;
}

static void
change_answered(struct webhook_event *event)
{
	event->call.status = CALL_STATUS_ANSWERED;
}

static void
change_busy(struct webhook_event *event)
{
	event->call.status = CALL_STATUS_BUSY;
	event->call.end_reason = CALL_END_BUSY;
	event->call.hangup_cause = 17;
	event->call.answered_ms = 0;
	event->call.flags = 0;
}

static void
change_recording(struct webhook_event *event)
{
	event->recording_duration_s = 43;
	event->recording_size_bytes = 5000000044ULL;
}

static void
change_nothing(struct webhook_event *event)
{
	(void)event;
}

static const struct {
	const char *name;
	enum call_event_kind kind;
	void (*change)(struct webhook_event *event);
	const char *expect;
} cases[] = {
	{ "initiated", CALL_EV_INITIATED, change_initiated,
	    COMMON_1 "\"event\":\"call.initiated\",\"status\":\"queued\","
	    COMMON_2 ",\"trunk\":\"second\",\"trunkAttempts\":2,"
	    "\"totalTrunks\":2,\"ringTimeoutSeconds\":30,\"useAmd\":true}" },
	{ "ringing", CALL_EV_RINGING, change_ringing,
	    COMMON_1 "\"event\":\"call.ringing\",\"status\":\"ringing\","
	    COMMON_2 "}" },
	{ "answered", CALL_EV_ANSWERED, change_answered,
	    COMMON_1 "\"event\":\"call.answered\",\"status\":\"answered\","
	    COMMON_2 ANSWERED "}" },
	{ "recording started", CALL_EV_RECORDING_STARTED, change_answered,
	    COMMON_1 "\"event\":\"recording.started\","
	    "\"status\":\"answered\"," COMMON_2 ANSWERED
	    ",\"filename\":\"" NAME ".wav\",\"recordingId\":\"" NAME "\","
	    "\"method\":\"bridge\"}" },
	{ "ended", CALL_EV_ENDED, change_nothing,
	    COMMON_1 "\"event\":\"call.ended\",\"status\":\"completed\","
	    COMMON_2 ANSWERED ",\"endReason\":\"normal_hangup\","
	    "\"hangupCause\":\"16\",\"wasAnswered\":true,"
	    "\"recording\":{\"filename\":\"" NAME ".wav\","
	    "\"recordingId\":\"" NAME "\",\"active\":false},"
	    "\"callDuration\":43,\"duration\":43}" },
	{ "ended busy", CALL_EV_ENDED, change_busy,
	    COMMON_1 "\"event\":\"call.ended\",\"status\":\"busy\","
	    COMMON_2 ",\"endReason\":\"busy\",\"hangupCause\":\"17\","
	    "\"wasAnswered\":false,\"recording\":null,"
	    "\"callDuration\":0,\"duration\":0}" },
	{ "recording completed", CALL_EV_RECORDING_COMPLETED,
	    change_recording,
	    COMMON_1 "\"event\":\"recording.completed\","
	    "\"status\":\"completed\"," COMMON_2 ANSWERED
	    ",\"filename\":\"" NAME ".wav\",\"recordingId\":\"" NAME "\","
	    "\"method\":\"bridge\",\"duration\":43,\"size\":5000000044,"
	    "\"recordingUrl\":\"/recordings/file/" NAME ".wav/download\"}" },
};

static struct webhook_event
make_event(enum call_event_kind kind)
{
	struct webhook_event event = {
		.kind = (uint8_t)kind,
		.at_ms = WEBHOOK_FIXTURE_AT_MS,
		.call = webhook_fixture_call(88),
	};

	event.call.sequence = 3;
	return event;
}

static void
test_kinds(void **state)
{
	const struct call_cold cold = webhook_fixture_cold("https://x/");
	unsigned seen = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct webhook_event event = make_event(cases[i].kind);
		char body[PAYLOAD_MAX];
		size_t len;

		cases[i].change(&event);
		assert_int_equal(payload_render(&event, &cold, body, &len), 0);
		if (strcmp(body, cases[i].expect) != 0)
			fail_msg("%s:\n%s\nnot\n%s", cases[i].name, body,
			    cases[i].expect);
		assert_int_equal(len, strlen(body));
		seen |= 1U << cases[i].kind;
	}
	/* none is forgotten */
	assert_int_equal(seen, (1U << CALL_EV_COUNT) - 1);
}

/* The customer's own object comes back as it was sent. */
static void
test_metadata(void **state)
{
	static const struct {
		const char *metadata;
		const char *expect;
	} table[] = {
		{ "", "{}" },
		{ "{}", "{}" },
		{ "{\"id\":12345678901234567890}",
		    "{\"id\":12345678901234567890}" },
		{ "{\"a\":1.10,\"b\":[1e3,null,true]}",
		    "{\"a\":1.10,\"b\":[1e3,null,true]}" },
		{ "{\"h\xc3\xa4k\":\"\\u00e4\\\"\"}",
		    "{\"h\xc3\xa4k\":\"\\u00e4\\\"\"}" },
		{ "[1]", "{}" }, /* never stored; never breaks the body */
	};
	const struct webhook_event event = make_event(CALL_EV_RINGING);

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct call_cold cold = webhook_fixture_cold("https://x/");
		char body[PAYLOAD_MAX];
		char expect[200];
		size_t len;
		cJSON *tree;

		cold.metadata = table[i].metadata;
		assert_int_equal(payload_render(&event, &cold, body, &len), 0);
		(void)snprintf(expect, sizeof(expect), "\"metadata\":%s,",
		    table[i].expect);
		assert_non_null(strstr(body, expect));
		tree = cJSON_Parse(body);
		assert_non_null(tree);
		cJSON_Delete(tree);
	}
}

/* The longest of everything, of characters that must be escaped. */
static void
test_longest(void **state)
{
	struct webhook_event event = make_event(CALL_EV_INITIATED);
	struct call_cold cold = webhook_fixture_cold("https://x/");
	char metadata[CALL_METADATA_MAX + 1];
	char trunk[CALL_TRUNK_NAME_MAX + 1];
	char body[PAYLOAD_MAX];
	size_t len;
	cJSON *tree;

	(void)state;
	(void)snprintf(metadata, sizeof(metadata), "{\"k\":\"%0*d\"}",
	    CALL_METADATA_MAX - 8, 0);
	assert_int_equal(strlen(metadata), CALL_METADATA_MAX);
	memset(trunk, 0x01, CALL_TRUNK_NAME_MAX);
	trunk[CALL_TRUNK_NAME_MAX] = '\0';
	cold.metadata = metadata;
	cold.trunk_names[0] = trunk;
	assert_int_equal(payload_render(&event, &cold, body, &len), 0);
	tree = cJSON_Parse(body);
	assert_non_null(tree);
	assert_string_equal(cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, "trunk")), trunk);
	cJSON_Delete(tree);
}

/* A record of a later version, or a damaged one, is rendered all the same. */
static void
test_odd_records(void **state)
{
	struct webhook_event event = make_event(CALL_EV_INITIATED);
	const struct call_cold cold = webhook_fixture_cold("https://x/");
	char body[PAYLOAD_MAX];
	size_t len;
	cJSON *tree;

	(void)state;
	event.kind = 200;
	event.call.status = 200;
	event.call.amd_status = 200;
	event.call.attempt = 200;
	event.call.caller_id[0] = '\0';
	assert_int_equal(payload_render(&event, &cold, body, &len), 0);
	tree = cJSON_Parse(body);
	assert_non_null(tree);
	assert_string_equal(cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, "callerId")), "");
	cJSON_Delete(tree);
	event.kind = CALL_EV_INITIATED;
	assert_int_equal(payload_render(&event, &cold, body, &len), 0);
	assert_non_null(strstr(body, "\"trunk\":\"\""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_odd_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
