/*
 * ari_decode: each type of event to its input, and everything else to
 * nothing. The texts are what Asterisk 22 sends, shortened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/clock.h"
#include "worker/ari_decode.h"

#define STAMP "2026-02-17T10:20:30.123+0000"
#define STAMP_MS 1771323630123LL
#define NOW_MS (STAMP_MS + 40)

#define AT "\"timestamp\":\"" STAMP "\","
#define CHANNEL(id, state) \
	"\"channel\":{\"id\":\"" id "\",\"name\":\"PJSIP/carrier-00000001\"," \
	"\"state\":\"" state "\",\"caller\":{\"name\":\"\",\"number\":\"1\"}}"
#define PLAYBACK(id, state) \
	"\"playback\":{\"id\":\"" id "\",\"media_uri\":\"sound:x\"," \
	"\"target_uri\":\"bridge:bridge-" ID "\",\"language\":\"en\"," \
	"\"state\":\"" state "\"}"
#define PEER(id) "\"peer\":{\"id\":\"" id "\",\"state\":\"Down\"}"
#define ID "1771323600.17"

struct decode_case {
	const char *name;
	const char *input;
	enum ari_event_kind kind;
	enum call_input_kind expect;
	unsigned attempt;
	unsigned cause;
	uint32_t duration_s;
};

#define CALL(kind_, ...) ARI_EVENT_CALL, CALL_IN_##kind_, __VA_ARGS__
#define NOTHING ARI_EVENT_IRRELEVANT, 0, 0, 0, 0

static const struct decode_case cases[] = {
	{ "dial begins", "{\"type\":\"Dial\"," AT "\"dialstatus\":\"\"," PEER(ID)
	    "}", CALL(SEEN, 1, 0, 0) },
	{ "dial rings", "{\"type\":\"Dial\"," AT "\"dialstatus\":\"RINGING\","
	    PEER(ID) "}", CALL(RINGING, 1, 0, 0) },
	{ "dial progress is no ringing", "{\"type\":\"Dial\"," AT
	    "\"dialstatus\":\"PROGRESS\"," PEER(ID) "}",
	    CALL(PROGRESS, 1, 0, 0) },
	{ "dial proceeding", "{\"type\":\"Dial\"," AT
	    "\"dialstatus\":\"PROCEEDING\"," PEER(ID) "}",
	    CALL(PROGRESS, 1, 0, 0) },
	{ "dial answered", "{\"type\":\"Dial\"," AT "\"dialstatus\":\"ANSWER\","
	    PEER(ID) "}", CALL(UP, 1, 0, 0) },
	{ "dial busy", "{\"type\":\"Dial\"," AT "\"dialstatus\":\"BUSY\","
	    PEER(ID) "}", CALL(SEEN, 1, 0, 0) },
	{ "dial without peer", "{\"type\":\"Dial\"," AT
	    "\"dialstatus\":\"ANSWER\"," CHANNEL(ID, "Up") "}", NOTHING },
	{ "created", "{\"type\":\"ChannelCreated\"," AT CHANNEL(ID, "Down")
	    "}", CALL(SEEN, 1, 0, 0) },
	{ "state ringing", "{\"type\":\"ChannelStateChange\"," AT
	    CHANNEL(ID, "Ringing") "}", CALL(RINGING, 1, 0, 0) },
	{ "state ring is no ringing", "{\"type\":\"ChannelStateChange\"," AT
	    CHANNEL(ID, "Ring") "}", CALL(SEEN, 1, 0, 0) },
	{ "state up", "{\"type\":\"ChannelStateChange\"," AT CHANNEL(ID, "Up")
	    "}", CALL(UP, 1, 0, 0) },
	{ "third attempt", "{\"type\":\"StasisStart\"," AT "\"args\":[],"
	    CHANNEL(ID "-3", "Up") "}", CALL(STASIS_START, 3, 0, 0) },
	{ "stasis end", "{\"type\":\"StasisEnd\"," AT CHANNEL(ID, "Up") "}",
	    CALL(STASIS_END, 1, 0, 0) },
	{ "destroyed", "{\"type\":\"ChannelDestroyed\"," AT "\"cause\":17,"
	    "\"cause_txt\":\"User busy\"," CHANNEL(ID, "Down") "}",
	    CALL(DESTROYED, 1, 17, 0) },
	{ "cause of the wrong type", "{\"type\":\"ChannelDestroyed\"," AT
	    "\"cause\":\"17\"," CHANNEL(ID, "Down") "}",
	    CALL(DESTROYED, 1, 0, 0) },
	{ "cause out of range", "{\"type\":\"ChannelDestroyed\"," AT
	    "\"cause\":1e300," CHANNEL(ID, "Down") "}",
	    CALL(DESTROYED, 1, 0, 0) },
	{ "negative cause", "{\"type\":\"ChannelDestroyed\"," AT "\"cause\":-1,"
	    CHANNEL(ID, "Down") "}", CALL(DESTROYED, 1, 0, 0) },
	{ "recording started", "{\"type\":\"RecordingStarted\"," AT
	    "\"recording\":{\"name\":\"call-" ID "-1771323611111\"}}",
	    CALL(RECORDING_STARTED, 0, 0, 0) },
	{ "recording finished", "{\"type\":\"RecordingFinished\"," AT
	    "\"recording\":{\"name\":\"call-" ID "-1771323611111\","
	    "\"duration\":61}}", CALL(RECORDING_FINISHED, 0, 0, 61) },
	{ "recording failed", "{\"type\":\"RecordingFailed\"," AT
	    "\"recording\":{\"name\":\"call-" ID "-1771323611111\","
	    "\"cause\":\"x\"}}", CALL(RECORDING_ERROR, 0, 0, 0) },
	{ "recording of another", "{\"type\":\"RecordingFinished\"," AT
	    "\"recording\":{\"name\":\"voicemail\"}}", NOTHING },
	{ "a mark", "{\"type\":\"ChannelUserevent\"," AT "\"eventname\":"
	    "\"kaphila-mark-00000000deadbeef-000000000000002a\"}",
	    ARI_EVENT_MARK, 0, 0, 0, 0 },
	{ "a mark of another form", "{\"type\":\"ChannelUserevent\"," AT
	    "\"eventname\":\"kaphila-mark-deadbeef-2a\"}", NOTHING },
	{ "behind a mark", "{\"type\":\"ChannelUserevent\"," AT
	    "\"eventname\":\"kaphila-mark-00000000deadbeef-000000000000002a"
	    "x\"}", NOTHING },
	{ "a negative mark", "{\"type\":\"ChannelUserevent\"," AT
	    "\"eventname\":\"kaphila-mark--000000deadbeef-000000000000002a"
	    "\"}", NOTHING },
	{ "somebody's event", "{\"type\":\"ChannelUserevent\"," AT
	    "\"eventname\":\"hello\",\"userevent\":{}}", NOTHING },
	{ "an event without a name", "{\"type\":\"ChannelUserevent\"," AT
	    "\"eventname\":17}", NOTHING },
	{ "replaced", "{\"type\":\"ApplicationReplaced\"," AT
	    "\"application\":\"kaphila-1-0\"}", ARI_EVENT_REPLACED, 0, 0, 0,
	    0 },
	{ "playback of another", "{\"type\":\"PlaybackFinished\"," AT
	    PLAYBACK("5c1d6a7e-0000-4f6e-8c1d-77f0a1b2c3d4", "done") "}",
	    NOTHING },
	{ "playback is no object", "{\"type\":\"PlaybackFinished\"," AT
	    "\"playback\":\"play-" ID "-7\"}", NOTHING },
	{ "playback goes on: of no interest", "{\"type\":"
	    "\"PlaybackContinuing\"," AT PLAYBACK("play-" ID "-7",
	    "continuing") "}", NOTHING },
	{ "no digit", "{\"type\":\"ChannelDtmfReceived\"," AT
	    "\"digit\":\"\"," CHANNEL(ID, "Up") "}", NOTHING },
	{ "two digits", "{\"type\":\"ChannelDtmfReceived\"," AT
	    "\"digit\":\"12\"," CHANNEL(ID, "Up") "}", NOTHING },
	{ "digit is a number", "{\"type\":\"ChannelDtmfReceived\"," AT
	    "\"digit\":1," CHANNEL(ID, "Up") "}", NOTHING },
	{ "digit of another", "{\"type\":\"ChannelDtmfReceived\"," AT
	    "\"digit\":\"1\"," CHANNEL("other", "Up") "}", NOTHING },
	{ "told to end", "{\"type\":\"ChannelHangupRequest\"," AT
	    "\"cause\":16," CHANNEL(ID, "Up") "}", CALL(LEAVING, 1, 0, 0) },
	{ "snoop channel", "{\"type\":\"StasisStart\"," AT
	    CHANNEL("snoop-" ID, "Up") "}", NOTHING },
	{ "snoop channel begins", "{\"type\":\"StasisStart\"," AT
	    "\"args\":[]," CHANNEL("amd-" ID, "Up") "}",
	    CALL(SNOOP_START, 0, 0, 0) },
	{ "snoop channel begins without arguments", "{\"type\":"
	    "\"StasisStart\"," AT CHANNEL("amd-" ID, "Up") "}",
	    CALL(SNOOP_START, 0, 0, 0) },
	{ "snoop channel leaves for the dialplan", "{\"type\":\"StasisEnd\","
	    AT CHANNEL("amd-" ID, "Up") "}", NOTHING },
	{ "snoop channel is gone", "{\"type\":\"ChannelDestroyed\"," AT
	    "\"cause\":0," CHANNEL("amd-" ID, "Up") "}",
	    CALL(SNOOP_GONE, 0, 0, 0) },
	{ "snoop channel of an attempt there isn't", "{\"type\":"
	    "\"StasisStart\"," AT CHANNEL("amd-" ID "-2", "Up") "}",
	    NOTHING },
	{ "channel without id", "{\"type\":\"StasisStart\"," AT
	    "\"channel\":{}}", NOTHING },
	{ "channel is no object", "{\"type\":\"StasisStart\"," AT
	    "\"channel\":\"" ID "\"}", NOTHING },
	{ "id is a number", "{\"type\":\"StasisStart\"," AT
	    "\"channel\":{\"id\":" ID "}}", NOTHING },
	{ "of no interest", "{\"type\":\"ChannelConnectedLine\"," AT
	    CHANNEL(ID, "Up") "}", NOTHING },
	{ "type behind other members", "{\"cause\":16,\"soft\":true,"
	    "\"list\":[{\"type\":\"x\"},\"}\"],\"type\":\"StasisEnd\"," AT
	    CHANNEL(ID, "Up") "}", CALL(STASIS_END, 1, 0, 0) },
	{ "type in a nested object", "{\"channel\":{\"id\":\"" ID "\",\"type\":"
	    "\"StasisStart\"},\"type\":\"ChannelVarset\"," AT "\"x\":1}",
	    NOTHING },
	{ "type in a value", "{\"value\":\"\\\",\\\"type\\\":\\\"StasisStart"
	    "\\\",\\\"x\\\":\\\"\",\"variable\":\"X\",\"type\":"
	    "\"ChannelVarset\"," AT CHANNEL(ID, "Up") "}", NOTHING },
	{ "the value ends in a backslash", "{\"value\":\"\\\\\",\"type\":"
	    "\"StasisEnd\"," AT CHANNEL(ID, "Up") "}",
	    CALL(STASIS_END, 1, 0, 0) },
	{ "type is a value, not a key", "{\"x\":\"type\",\"y\":\"StasisEnd\","
	    AT CHANNEL(ID, "Up") "}", NOTHING },
	{ "key with an escape", "{\"ty\\u0070e\":\"StasisEnd\"," AT
	    CHANNEL(ID, "Up") "}", CALL(STASIS_END, 1, 0, 0) },
	{ "type with an escape", "{\"type\":\"Stasis\\u0045nd\"," AT
	    CHANNEL(ID, "Up") "}", CALL(STASIS_END, 1, 0, 0) },
	{ "the first type counts", "{\"type\":\"StasisEnd\",\"type\":"
	    "\"StasisStart\"," AT CHANNEL(ID, "Up") "}",
	    CALL(STASIS_END, 1, 0, 0) },
	{ "case matters", "{\"Type\":\"StasisEnd\"," AT CHANNEL(ID, "Up") "}",
	    NOTHING },
	{ "type is a number", "{\"type\":5," AT CHANNEL(ID, "Up") "}",
	    NOTHING },
	{ "spaces", " { \"a\" : [ 1 , 2 ] ,\r\n\t\"type\" : \"StasisEnd\" , " AT
	    CHANNEL(ID, "Up") " } ", CALL(STASIS_END, 1, 0, 0) },
	{ "something behind it", "{\"type\":\"StasisEnd\"," AT
	    CHANNEL(ID, "Up") "}x", NOTHING },
	{ "cut short", "{\"type\":\"StasisEnd\"," AT CHANNEL(ID, "Up"),
	    NOTHING },
	{ "an array", "[{\"type\":\"StasisEnd\"}]", NOTHING },
	{ "a word", "null", NOTHING },
	{ "empty", "", NOTHING },
	{ "an empty object", "{}", NOTHING },
	{ "a lone brace", "{", NOTHING },
	{ "a lone backslash", "{\"\\", NOTHING },
};

/* A heap copy of exactly its size, so that ASan sees each byte too many. */
static enum ari_event_kind
decode(const char *text, size_t len, int64_t now_ms, struct ari_event *out)
{
	char *copy = malloc(len > 0 ? len : 1);
	enum ari_event_kind kind;

	assert_non_null(copy);
	memcpy(copy, text, len);
	kind = ari_decode(copy, len, now_ms, out);
	free(copy);
	return kind;
}

static void
test_types(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct decode_case *c = &cases[i];
		struct ari_event event;

		memset(&event, 0xa5, sizeof(event));
		if (decode(c->input, strlen(c->input), NOW_MS, &event) !=
		    c->kind || event.kind != c->kind)
			fail_msg("%s: kind %d", c->name, (int)event.kind);
		if (c->kind != ARI_EVENT_CALL)
			continue;
		if (event.input.kind != c->expect ||
		    event.input.attempt != c->attempt ||
		    event.input.cause != c->cause ||
		    event.input.duration_s != c->duration_s)
			fail_msg("%s: %s attempt %u cause %u duration %u",
			    c->name, call_input_name(event.input.kind),
			    event.input.attempt, event.input.cause,
			    event.input.duration_s);
		assert_string_equal(event.call_id, ID);
		assert_int_equal(event.input.at_ms, STAMP_MS);
	}
}

/* The carrier's answer, where Asterisk tells a sane one. */
static void
test_sip_codes(void **state)
{
	static const struct {
		const char *member;
		unsigned code;
	} table[] = { { "", 0 }, { "\"tech_cause\":486,", 486 },
		{ "\"tech_cause\":503,", 503 }, { "\"tech_cause\":699,", 699 },
		{ "\"tech_cause\":0,", 0 }, { "\"tech_cause\":200,", 0 },
		{ "\"tech_cause\":700,", 0 }, { "\"tech_cause\":-486,", 0 },
		{ "\"tech_cause\":\"486\",", 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct ari_event event;
		char text[512];

		(void)snprintf(text, sizeof(text),
		    "{\"type\":\"ChannelDestroyed\"," AT "\"cause\":17,%s"
		    CHANNEL(ID, "Down") "}", table[i].member);
		assert_int_equal(decode(text, strlen(text), NOW_MS, &event),
		    ARI_EVENT_CALL);
		assert_int_equal(event.input.sip_code, table[i].code);
	}
}

struct verdict_case {
	const char *args;
	enum call_amd amd;
	const char *cause;
};

static const struct verdict_case verdicts[] = {
	{ "\"amd\",\"HUMAN\",\"HUMAN-800-800\"", CALL_AMD_HUMAN,
	    "HUMAN-800-800" },
	{ "\"amd\",\"MACHINE\",\"LONGGREETING-1500-1500\"",
	    CALL_AMD_MACHINE, "LONGGREETING-1500-1500" },
	{ "\"amd\",\"NOTSURE\",\"TOOLONG-4901\"", CALL_AMD_UNKNOWN,
	    "TOOLONG-4901" },
	{ "\"amd\",\"HANGUP\",\"\"", CALL_AMD_UNKNOWN, "" },
	{ "\"amd\"", CALL_AMD_UNKNOWN, "" },
	{ "\"amd\",7,{}", CALL_AMD_UNKNOWN, "" },
	{ "\"amd\",\"human\",\"<b>\"", CALL_AMD_UNKNOWN, "" },
	{ "\"amd\",\"HUMAN\",\"HUMANHUMANHUMANHUMANHUMANHUMANHUM\"",
	    CALL_AMD_HUMAN, "" },
};

static void
test_verdicts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		const struct verdict_case *c = &verdicts[i];
		struct ari_event event;
		char text[512];

		(void)snprintf(text, sizeof(text), "{\"type\":\"StasisStart\","
		    AT "\"args\":[%s]," CHANNEL("amd-" ID, "Up") "}", c->args);
		assert_int_equal(ari_decode(text, strlen(text), NOW_MS,
		    &event), ARI_EVENT_CALL);
		assert_int_equal(event.input.kind, CALL_IN_AMD);
		assert_int_equal(event.input.amd, c->amd);
		assert_string_equal(event.input.amd_cause, c->cause);
		assert_string_equal(event.call_id, ID);
	}
}

struct talk_case {
	const char *name;
	const char *input;
	enum call_input_kind expect;
	unsigned attempt;
	struct call_play_id play_id;
	char digit;
	uint32_t digit_ms;
};

#define STAMP_OF(kind_, ms_) { .kind = CALL_PLAY_##kind_, .ms = (ms_) }
#define NO_PLAY { .ms = 0 }

static const struct talk_case talks[] = {
	{ "playback started", "{\"type\":\"PlaybackStarted\"," AT
	    PLAYBACK("play-" ID "-1771323611111", "playing") "}",
	    CALL_IN_PLAY_STARTED, 0, STAMP_OF(SOUND, 1771323611111), '\0',
	    0 },
	{ "playback done", "{\"type\":\"PlaybackFinished\"," AT
	    PLAYBACK("tts-" ID "-1771323611111", "done") "}",
	    CALL_IN_PLAY_FINISHED, 0, STAMP_OF(SPEECH, 1771323611111), '\0',
	    0 },
	{ "playback failed", "{\"type\":\"PlaybackFinished\"," AT
	    PLAYBACK("gather-" ID "-1771323611111", "failed") "}",
	    CALL_IN_PLAY_FAILED, 0, STAMP_OF(PROMPT, 1771323611111), '\0',
	    0 },
	{ "playback over, nobody knows how", "{\"type\":\"PlaybackFinished\","
	    AT "\"playback\":{\"id\":\"play-" ID "-7\"}}",
	    CALL_IN_PLAY_FINISHED, 0, STAMP_OF(SOUND, 7), '\0', 0 },
	{ "digit", "{\"type\":\"ChannelDtmfReceived\"," AT
	    "\"digit\":\"#\",\"duration_ms\":160," CHANNEL(ID, "Up") "}",
	    CALL_IN_DTMF, 1, NO_PLAY, '#', 160 },
	{ "digit of the second attempt", "{\"type\":\"ChannelDtmfReceived\","
	    AT "\"digit\":\"5\",\"duration_ms\":-1," CHANNEL(ID "-2", "Up")
	    "}", CALL_IN_DTMF, 2, NO_PLAY, '5', 0 },
};

static void
test_talk(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(talks) / sizeof(talks[0]); i++) {
		const struct talk_case *c = &talks[i];
		const struct call_input *got;
		struct ari_event event;

		memset(&event, 0xa5, sizeof(event));
		assert_int_equal(decode(c->input, strlen(c->input), NOW_MS,
		    &event), ARI_EVENT_CALL);
		got = &event.input;
		if (got->kind != c->expect || got->attempt != c->attempt ||
		    memcmp(&got->play_id, &c->play_id,
		        sizeof(c->play_id)) != 0 ||
		    got->digit != c->digit || got->digit_ms != c->digit_ms)
			fail_msg("%s: %s attempt %u play %u %lld digit '%c' "
			    "%u ms", c->name, call_input_name(got->kind),
			    got->attempt, got->play_id.kind,
			    (long long)got->play_id.ms, got->digit,
			    got->digit_ms);
		assert_string_equal(event.call_id, ID);
		assert_int_equal(got->at_ms, STAMP_MS);
	}
}

struct time_case {
	const char *name;
	const char *timestamp; /* NULL: none */
	int64_t now_ms;
	int64_t expect;
};

static const struct time_case times[] = {
	{ "as told", STAMP, NOW_MS, STAMP_MS },
	{ "of another zone", "2026-02-17T12:20:30.123+0200", NOW_MS, STAMP_MS },
	{ "in the future", STAMP, STAMP_MS - 5, STAMP_MS - 5 },
	{ "an hour ago", STAMP, STAMP_MS + 3600000, STAMP_MS },
	{ "older than that", STAMP, STAMP_MS + 3600001, STAMP_MS + 1 },
	{ "no time", "yesterday", NOW_MS, NOW_MS },
	{ "missing", NULL, NOW_MS, NOW_MS },
};

static void
test_times(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		const struct time_case *c = &times[i];
		struct ari_event event;
		char text[256];

		(void)snprintf(text, sizeof(text),
		    "{\"type\":\"StasisEnd\",%s%s%s%s}",
		    c->timestamp != NULL ? "\"timestamp\":\"" : "",
		    c->timestamp != NULL ? c->timestamp : "",
		    c->timestamp != NULL ? "\"," : "", CHANNEL(ID, "Up"));
		assert_int_equal(decode(text, strlen(text), c->now_ms, &event),
		    ARI_EVENT_CALL);
		if (event.input.at_ms != c->expect)
			fail_msg("%s: off by %lld ms", c->name,
			    (long long)(event.input.at_ms - c->expect));
	}
}

/* An event of more than the decoder's small buffer, with a caller's name. */
static void
test_long_event(void **state)
{
	static const char head[] = "{\"type\":\"StasisEnd\"," AT "\"name\":\"";
	static const char tail[] = "\"," CHANNEL(ID, "Up") "}";
	const size_t filling = 100000;
	const size_t len = strlen(head) + filling + strlen(tail);
	char *text = malloc(len);
	struct ari_event event;

	(void)state;
	assert_non_null(text);
	memcpy(text, head, strlen(head));
	memset(text + strlen(head), 'a', filling);
	memcpy(text + strlen(head) + filling, tail, strlen(tail));
	assert_int_equal(decode(text, len, NOW_MS, &event), ARI_EVENT_CALL);
	assert_int_equal(event.input.kind, CALL_IN_STASIS_END);
	free(text);
}

/* Cut anywhere, no event is one; with a byte changed, nothing breaks. */
static void
test_damaged(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const size_t len = strlen(cases[i].input);
		struct ari_event event;
		char copy[512];

		assert_true(len < sizeof(copy));
		for (size_t cut = 0; cut + 2 < len; cut++) {
			assert_int_equal(decode(cases[i].input, cut, NOW_MS,
			    &event), ARI_EVENT_IRRELEVANT);
			for (unsigned bit = 1; bit < 256; bit <<= 1) {
				memcpy(copy, cases[i].input, len);
				copy[cut] = (char)(copy[cut] ^ (char)bit);
				(void)decode(copy, len, NOW_MS, &event);
			}
		}
	}
}

/* 3,000 levels: the library has a limit, and the scan no recursion. */
static void
test_deep(void **state)
{
	static const char head[] = "{\"type\":\"StasisEnd\",\"x\":";
	char text[4096];
	struct ari_event event;

	(void)state;
	memset(text, '[', sizeof(text));
	memcpy(text, head, strlen(head));
	assert_int_equal(decode(text, sizeof(text), NOW_MS, &event),
	    ARI_EVENT_IRRELEVANT);
	memset(text + 1, '{', sizeof(text) - 1);
	assert_int_equal(decode(text, sizeof(text), NOW_MS, &event),
	    ARI_EVENT_IRRELEVANT);
}

static void
test_mark(void **state)
{
	const struct ari_mark mark = { .reader = UINT64_MAX, .number = 7 };
	char name[ARI_MARK_NAME_SIZE];
	char text[160];
	struct ari_event event;

	(void)state;
	ari_mark_name(name, &mark);
	assert_string_equal(name,
	    "kaphila-mark-ffffffffffffffff-0000000000000007");
	(void)snprintf(text, sizeof(text), "{\"type\":\"ChannelUserevent\","
	    "\"eventname\":\"%s\"}", name);
	assert_int_equal(ari_decode(text, strlen(text), NOW_MS, &event),
	    ARI_EVENT_MARK);
	assert_memory_equal(&event.mark, &mark, sizeof(mark));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mark),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_sip_codes),
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_talk),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_long_event),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
