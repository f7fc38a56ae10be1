/*
 * What an event looks like on the wire, field by field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/webhook_fixture.h"

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "shared/amd_words.h"
#include "webhookd/payload.h"

#define COMMON_1                                                              \
	"{\"eventId\":\"evt_1720012345.88_3\",\"sequence\":3,"                \
	"\"callId\":\"1720012345.88\","                                       \
	"\"timestamp\":\"2026-02-17T10:22:11.233Z\","
#define COMMON_WITH(amd)                                                      \
	"\"number\":\"14155550100\",\"to\":\"14155550100\","                  \
	"\"callerId\":\"19172452367\",\"from\":\"19172452367\","              \
	"\"amd\":{\"status\":\"" amd "\",\"cause\":\"\",\"confidence\":0,"    \
	"\"detail\":\"\",\"decidedAt\":null},\"metadata\":{}"
#define COMMON_2 COMMON_WITH("NOAMD")
#define ANSWERED ",\"answeredAt\":\"2026-02-17T10:21:29.133Z\""
#define NAME "call-1720012345.88-1739781234567"
#define PLAY "play-1720012345.88-1771323731000"
#define SPEECH "tts-1720012345.88-1771323731000"
#define PROMPT "gather-1720012345.88-1771323731000"
#define PLAY_MS 1771323731000LL
#define LIVE(kind)                                                            \
	COMMON_1 "\"event\":\"" kind "\",\"status\":\"answered\","           \
	COMMON_2 ANSWERED

static void
change_initiated(struct webhook_event *event)
{
	event->call.state = CALL_DIALING;
	event->call.status = CALL_STATUS_RINGING;
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
	event->call.state = CALL_ANSWERED;
	event->call.status = CALL_STATUS_ANSWERED;
}

/* The first that was heard of it was its answer. */
static void
change_answered_at_once(struct webhook_event *event)
{
	change_answered(event);
	event->call.flags = CALL_F_USE_AMD | CALL_F_WAS_ANSWERED;
	event->call.amd_status = CALL_AMD_PENDING;
}

/* …was that its trunk had failed: it is on the third by now. */
static void
change_on_the_third(struct webhook_event *event)
{
	event->call.state = CALL_QUEUED;
	event->call.status = CALL_STATUS_RINGING;
	event->call.answered_ms = 0;
	event->call.flags = 0;
	event->call.trunk_count = 3;
	event->call.attempt = 3;
	event->call.trunks_tried = 1U << 1 | 1U << 2;
}

static void
change_busy(struct webhook_event *event)
{
	event->call.status = CALL_STATUS_BUSY;
	event->call.end_reason = CALL_END_BUSY;
	event->call.hangup_cause = 17;
	event->call.sip_code = 486;
	event->call.answered_ms = 0;
	event->call.flags = 0;
}

static void
change_busy_amd(struct webhook_event *event)
{
	change_busy(event);
	event->call.sip_code = 0;
	event->call.flags = CALL_F_USE_AMD;
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

/* On its next trunk already, which has given no sign yet. */
static void
change_rerouted(struct webhook_event *event)
{
	change_initiated(event);
	event->call.state = CALL_QUEUED;
	event->call.flags = 0;
}

static const struct {
	const char *name;
	enum call_event_kind kind;
	void (*change)(struct webhook_event *event);
	const char *expect;
	struct call_event_detail detail;
} cases[] = {
	{ "initiated", CALL_EV_INITIATED, change_initiated,
	    COMMON_1 "\"event\":\"call.initiated\",\"status\":\"ringing\","
	    COMMON_WITH("PENDING") ",\"trunk\":\"second\","
	    "\"trunkAttempts\":2,\"totalTrunks\":2,"
	    "\"ringTimeoutSeconds\":30,\"useAmd\":true}", { 0 } },
	{ "initiated by its answer", CALL_EV_INITIATED,
	    change_answered_at_once,
	    COMMON_1 "\"event\":\"call.initiated\",\"status\":\"ringing\","
	    COMMON_WITH("PENDING") ",\"trunk\":\"carrier\","
	    "\"trunkAttempts\":1,\"totalTrunks\":2,"
	    "\"ringTimeoutSeconds\":30,\"useAmd\":true}", { 0 } },
	{ "initiated by its end", CALL_EV_INITIATED, change_busy,
	    COMMON_1 "\"event\":\"call.initiated\",\"status\":\"ringing\","
	    COMMON_2 ",\"trunk\":\"carrier\",\"trunkAttempts\":1,"
	    "\"totalTrunks\":2,\"ringTimeoutSeconds\":30,"
	    "\"useAmd\":false}", { 0 } },
	{ "initiated by its trunk's failure", CALL_EV_INITIATED,
	    change_on_the_third,
	    COMMON_1 "\"event\":\"call.initiated\",\"status\":\"ringing\","
	    COMMON_2 ",\"trunk\":\"second\",\"trunkAttempts\":1,"
	    "\"totalTrunks\":3,\"ringTimeoutSeconds\":30,"
	    "\"useAmd\":false}", { 0 } },
	{ "ringing", CALL_EV_RINGING, change_ringing,
	    COMMON_1 "\"event\":\"call.ringing\",\"status\":\"ringing\","
	    COMMON_2 "}", { 0 } },
	{ "answered", CALL_EV_ANSWERED, change_answered,
	    COMMON_1 "\"event\":\"call.answered\",\"status\":\"answered\","
	    COMMON_2 ANSWERED "}", { 0 } },
	{ "answered, and over already", CALL_EV_ANSWERED, change_nothing,
	    COMMON_1 "\"event\":\"call.answered\",\"status\":\"answered\","
	    COMMON_2 ANSWERED "}", { 0 } },
	{ "recording started", CALL_EV_RECORDING_STARTED, change_answered,
	    COMMON_1 "\"event\":\"recording.started\","
	    "\"status\":\"answered\"," COMMON_2 ANSWERED
	    ",\"filename\":\"" NAME ".wav\",\"recordingId\":\"" NAME "\","
	    "\"method\":\"bridge\"}", { 0 } },
	{ "recording stopped", CALL_EV_RECORDING_STOPPED, change_answered,
	    LIVE("recording.stopped")
	    ",\"filename\":\"" NAME ".wav\",\"recordingId\":\"" NAME "\","
	    "\"method\":\"bridge\"}", { 0 } },
	{ "ended", CALL_EV_ENDED, change_nothing,
	    COMMON_1 "\"event\":\"call.ended\",\"status\":\"completed\","
	    COMMON_2 ANSWERED ",\"endReason\":\"normal_hangup\","
	    "\"hangupCause\":\"16\",\"wasAnswered\":true,"
	    "\"recording\":{\"filename\":\"" NAME ".wav\","
	    "\"recordingId\":\"" NAME "\",\"active\":false},"
	    "\"callDuration\":43,\"duration\":43}", { 0 } },
	{ "ended busy", CALL_EV_ENDED, change_busy,
	    COMMON_1 "\"event\":\"call.ended\",\"status\":\"busy\","
	    COMMON_2 ",\"endReason\":\"busy\",\"hangupCause\":\"17\","
	    "\"sipCode\":486,\"wasAnswered\":false,\"recording\":null,"
	    "\"callDuration\":0,\"duration\":0}", { 0 } },
	{ "ended without a verdict", CALL_EV_ENDED, change_busy_amd,
	    COMMON_1 "\"event\":\"call.ended\",\"status\":\"busy\","
	    COMMON_WITH("UNKNOWN") ",\"endReason\":\"busy\","
	    "\"hangupCause\":\"17\",\"wasAnswered\":false,"
	    "\"recording\":null,\"callDuration\":0,\"duration\":0}",
	    { 0 } },
	{ "recording completed", CALL_EV_RECORDING_COMPLETED,
	    change_recording,
	    COMMON_1 "\"event\":\"recording.completed\","
	    "\"status\":\"completed\"," COMMON_2 ANSWERED
	    ",\"filename\":\"" NAME ".wav\",\"recordingId\":\"" NAME "\","
	    "\"method\":\"bridge\",\"duration\":43,\"size\":5000000044,"
	    "\"recordingUrl\":\"/recordings/file/" NAME ".wav/download\"}",
	    { 0 } },
	{ "rerouted", CALL_EV_REROUTED, change_rerouted,
	    COMMON_1 "\"event\":\"call.rerouted\",\"status\":\"ringing\","
	    COMMON_2 ",\"trunk\":\"carrier\",\"nextTrunk\":\"second\","
	    "\"hangupCause\":\"34\",\"sipCode\":503,\"trunkAttempts\":2,"
	    "\"totalTrunks\":2}",
	    { .cause = 34, .sip_code = 503, .attempt = 1 } },
	{ "amd result", CALL_EV_AMD_RESULT, change_answered,
	    LIVE("amd.result") "}", { 0 } },
	{ "digit", CALL_EV_DTMF, change_answered,
	    LIVE("dtmf.received") ",\"digit\":\"#\",\"durationMs\":120}",
	    { .digit = '#', .digit_ms = 120 } },
	{ "gather started", CALL_EV_GATHER_STARTED, change_answered,
	    LIVE("gather.started") ",\"prompt\":\"say \\\"1\\\"\","
	    "\"expectedDigits\":4,\"timeoutMs\":12000,"
	    "\"playbackId\":\"" PROMPT "\"}",
	    { .expected = 4, .timeout_ms = 12000, .text = "say \"1\"",
	        .play = { .kind = CALL_PLAY_PROMPT, .ms = PLAY_MS } } },
	{ "gather progress", CALL_EV_GATHER_PROGRESS, change_answered,
	    LIVE("gather.progress") ",\"digit\":\"2\",\"collected\":\"12\","
	    "\"remaining\":2}",
	    { .digit = '2', .expected = 4, .digits = "12" } },
	{ "gather complete", CALL_EV_GATHER_COMPLETE, change_answered,
	    LIVE("gather.complete") ",\"digits\":\"1234\","
	    "\"method\":\"digits_complete\"}",
	    { .expected = 4, .digits = "1234",
	        .gather_end = CALL_GATHER_DIGITS_COMPLETE } },
	{ "gather finished", CALL_EV_GATHER_COMPLETE, change_answered,
	    LIVE("gather.complete") ",\"digits\":\"\","
	    "\"method\":\"finish_key\"}",
	    { .expected = 4, .gather_end = CALL_GATHER_FINISH_KEY } },
	{ "gather timeout", CALL_EV_GATHER_TIMEOUT, change_answered,
	    LIVE("gather.timeout") ",\"digits\":\"12\",\"expected\":4,"
	    "\"reason\":\"timeout\"}",
	    { .expected = 4, .digits = "12",
	        .gather_end = CALL_GATHER_TIMED_OUT } },
	{ "gather replaced", CALL_EV_GATHER_TIMEOUT, change_answered,
	    LIVE("gather.timeout") ",\"digits\":\"\",\"expected\":1,"
	    "\"reason\":\"replaced\"}",
	    { .expected = 1, .gather_end = CALL_GATHER_REPLACED } },
	{ "gather at the end", CALL_EV_GATHER_TIMEOUT, change_answered,
	    LIVE("gather.timeout") ",\"digits\":\"\",\"expected\":1,"
	    "\"reason\":\"call_ended\"}",
	    { .expected = 1, .gather_end = CALL_GATHER_CALL_ENDED } },
	{ "speech", CALL_EV_TTS_PLAYED, change_answered,
	    LIVE("tts.played") ",\"text\":\"Gr\xc3\xbc\xc3\x9f Gott\","
	    "\"method\":\"bridge\",\"playbackId\":\"" SPEECH "\"}",
	    { .text = "Gr\xc3\xbc\xc3\x9f Gott",
	        .play_target = CALL_PLAY_BRIDGE,
	        .play = { .kind = CALL_PLAY_SPEECH, .ms = PLAY_MS } } },
	{ "playback finished", CALL_EV_PLAYBACK_FINISHED, change_answered,
	    LIVE("playback.finished") ",\"stopped\":true,"
	    "\"file\":\"custom/welcome\",\"method\":\"channel\","
	    "\"playbackId\":\"" PLAY "\"}",
	    { .stopped = 1, .text = "custom/welcome", .is_sound = 1,
	        .play_target = CALL_PLAY_CHANNEL,
	        .play = { .kind = CALL_PLAY_SOUND, .ms = PLAY_MS } } },
	{ "playback failed", CALL_EV_PLAYBACK_FAILED, change_answered,
	    LIVE("playback.failed") ",\"method\":\"bridge\","
	    "\"playbackId\":\"" PROMPT "\"}",
	    { .play = { .kind = CALL_PLAY_PROMPT, .ms = PLAY_MS } } },
	{ "prompt failed", CALL_EV_PLAYBACK_FAILED, change_answered,
	    LIVE("playback.failed") ",\"file\":\"custom/menu\","
	    "\"method\":\"bridge\",\"playbackId\":\"" PROMPT "\"}",
	    { .text = "custom/menu", .is_sound = 1,
	        .play = { .kind = CALL_PLAY_PROMPT, .ms = PLAY_MS } } },
	{ "transferred", CALL_EV_TRANSFERRED, change_answered,
	    LIVE("call.transferred")
	    ",\"forwardedCallId\":\"1720012399.90\","
	    "\"forwardNumber\":\"14155550199\"}",
	    { .other_id = "1720012399.90", .text = "14155550199" } },
	{ "transfer failed", CALL_EV_TRANSFER_FAILED, change_answered,
	    COMMON_1 "\"event\":\"call.transfer_failed\","
	    "\"status\":\"busy\"," COMMON_2 ANSWERED
	    ",\"forwardedCallId\":\"1720012399.90\","
	    "\"forwardNumber\":\"14155550199\",\"hangupCause\":\"17\"}",
	    { .other_id = "1720012399.90", .text = "14155550199",
	        .other_status = CALL_STATUS_BUSY, .cause = 17 } },
};

static const struct call_event_detail nothing;

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
		assert_int_equal(payload_render(&event, &cases[i].detail,
		    &cold, body, &len), 0);
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
	const struct webhook_event event = make_event(CALL_EV_ANSWERED);

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct call_cold cold = webhook_fixture_cold("https://x/");
		char body[PAYLOAD_MAX];
		char expect[200];
		size_t len;
		cJSON *tree;

		cold.metadata = table[i].metadata;
		assert_int_equal(payload_render(&event, &nothing, &cold, body,
		    &len), 0);
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
	assert_int_equal(payload_render(&event, &nothing, &cold, body, &len),
	    0);
	tree = cJSON_Parse(body);
	assert_non_null(tree);
	assert_string_equal(cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, "trunk")), trunk);
	cJSON_Delete(tree);
}

/* A detail as long as there can be one, of characters that are escaped. */
static void
test_longest_detail(void **state)
{
	struct webhook_event event = make_event(CALL_EV_TTS_PLAYED);
	struct call_cold cold = webhook_fixture_cold("https://x/");
	struct call_event_detail detail = { .play = { .ms = INT64_MAX } };
	char metadata[CALL_METADATA_MAX + 1];
	char body[PAYLOAD_MAX];
	size_t len;

	(void)state;
	(void)snprintf(metadata, sizeof(metadata), "{\"k\":\"%0*d\"}",
	    CALL_METADATA_MAX - 8, 0);
	cold.metadata = metadata;
	memset(detail.text, 0x01, sizeof(detail.text) - 1);
	memset(detail.digits, 0x01, sizeof(detail.digits) - 1);
	memset(event.call.amd_cause, 0x01, sizeof(event.call.amd_cause) - 1);
	for (unsigned kind = 0; kind < CALL_EV_COUNT; kind++) {
		event.kind = (uint8_t)kind;
		assert_int_equal(payload_render(&event, &detail, &cold, body,
		    &len), 0);
	}
}

/* What was found out about who answered, in every event from then on. */
static void
test_amd(void **state)
{
	static const struct {
		const char *name;
		enum call_amd status;
		const char *cause;
		int64_t decided_ms;
		const char *before; /* …the confidence, */
		const char *after;
	} table[] = {
		{ "pending", CALL_AMD_PENDING, "", 0,
		    "{\"status\":\"PENDING\",\"cause\":\"\","
		    "\"confidence\":",
		    ",\"detail\":\"\",\"decidedAt\":null}" },
		{ "machine", CALL_AMD_MACHINE, "LONGGREETING-1500-1500",
		    WEBHOOK_FIXTURE_AT_MS,
		    "{\"status\":\"MACHINE\",\"cause\":\"LONGGREETING\","
		    "\"confidence\":",
		    ",\"detail\":\"LONGGREETING-1500-1500\","
		    "\"decidedAt\":\"2026-02-17T10:22:11.233Z\"}" },
		{ "no verdict", CALL_AMD_UNKNOWN, "", WEBHOOK_FIXTURE_AT_MS,
		    "{\"status\":\"UNKNOWN\",\"cause\":\"\","
		    "\"confidence\":",
		    ",\"detail\":\"\","
		    "\"decidedAt\":\"2026-02-17T10:22:11.233Z\"}" },
	};
	const struct call_cold cold = webhook_fixture_cold("https://x/");

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct webhook_event event = make_event(CALL_EV_AMD_RESULT);
		char expect[256];
		char body[PAYLOAD_MAX];
		size_t len;

		event.call.amd_status = (uint8_t)table[i].status;
		event.call.amd_decided_ms = table[i].decided_ms;
		(void)snprintf(event.call.amd_cause,
		    sizeof(event.call.amd_cause), "%s", table[i].cause);
		(void)snprintf(expect, sizeof(expect), "%s%.15g%s",
		    table[i].before,
		    amd_confidence(table[i].status, table[i].cause),
		    table[i].after);
		assert_int_equal(payload_render(&event, &nothing, &cold, body,
		    &len), 0);
		if (strstr(body, expect) == NULL)
			fail_msg("%s: no %s in %s", table[i].name, expect,
			    body);
	}
}

/* Every event of a second leg tells whose it is; no other does. */
static void
test_second_leg(void **state)
{
	const struct call_cold cold = webhook_fixture_cold("https://x/");

	(void)state;
	for (unsigned kind = 0; kind < CALL_EV_COUNT; kind++) {
		struct webhook_event event = make_event(
		    (enum call_event_kind)kind);
		char body[PAYLOAD_MAX];
		size_t len;

		(void)snprintf(event.call.other_id,
		    sizeof(event.call.other_id), "1720012345.87");
		assert_int_equal(payload_render(&event, &nothing, &cold, body,
		    &len), 0);
		assert_null(strstr(body, "forwardedFrom"));
		event.call.flags |= CALL_F_SECOND_LEG;
		assert_int_equal(payload_render(&event, &nothing, &cold, body,
		    &len), 0);
		assert_non_null(strstr(body,
		    ",\"forwardedFrom\":\"1720012345.87\""));
	}
}

/* A record of a later version, or a damaged one, is rendered all the same. */
static void
test_odd_records(void **state)
{
	struct webhook_event event = make_event(CALL_EV_INITIATED);
	const struct call_cold cold = webhook_fixture_cold("https://x/");
	struct call_event_detail detail;
	char body[PAYLOAD_MAX];
	size_t len;
	cJSON *tree;

	(void)state;
	event.kind = 200;
	event.call.status = 200;
	event.call.amd_status = 200;
	event.call.attempt = 200;
	event.call.caller_id[0] = '\0';
	assert_int_equal(payload_render(&event, &nothing, &cold, body, &len),
	    0);
	tree = cJSON_Parse(body);
	assert_non_null(tree);
	assert_string_equal(cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, "callerId")), "");
	cJSON_Delete(tree);
	/* details of no kind that is known here */
	memset(&detail, 0xc8, sizeof(detail));
	memset(detail.text, 0, sizeof(detail.text));
	memset(detail.digits, 0, sizeof(detail.digits));
	memset(detail.other_id, 0, sizeof(detail.other_id));
	for (unsigned kind = 0; kind < CALL_EV_COUNT; kind++) {
		event.kind = (uint8_t)kind;
		assert_int_equal(payload_render(&event, &detail, &cold, body,
		    &len), 0);
	}
	event.kind = CALL_EV_INITIATED;
	assert_int_equal(payload_render(&event, &nothing, &cold, body, &len),
	    0);
	assert_non_null(strstr(body, "\"trunk\":\"\""));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_longest_detail),
		cmocka_unit_test(test_amd),
		cmocka_unit_test(test_second_leg),
		cmocka_unit_test(test_odd_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
