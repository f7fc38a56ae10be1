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
	    "\"dialstatus\":\"PROGRESS\"," PEER(ID) "}", CALL(SEEN, 1, 0, 0) },
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
	{ "replaced", "{\"type\":\"ApplicationReplaced\"," AT
	    "\"application\":\"kaphila-1-0\"}", ARI_EVENT_REPLACED, 0, 0, 0,
	    0 },
	{ "snoop channel", "{\"type\":\"StasisStart\"," AT
	    CHANNEL("snoop-" ID, "Up") "}", NOTHING },
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_long_event),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
