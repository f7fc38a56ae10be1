/*
 * The bodies of /voice, /play and /gather: every field, its types and its
 * limits, and texts as they are to be spoken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/control_body.h"

#define ID "\"callId\":\"1720012345.88\""

struct body_row {
	control_body_read_fn *read;
	const char *body;
	enum api_code code;
	const char *text; /* part of the error's text; NULL: any */
};

static const struct body_row bodies[] = {
	/* what all have */
	{ control_body_read_voice, "{}", API_MISSING_PARAMETER, "callId" },
	{ control_body_read_play, "{}", API_MISSING_PARAMETER, "callId" },
	{ control_body_read_gather, "{}", API_MISSING_PARAMETER, "callId" },
	{ control_body_read_voice, "{\"callId\":7,\"text\":\"x\"}",
	    API_INVALID_PARAMETER, "callId" },
	{ control_body_read_voice, "{\"callId\":\"../x\",\"text\":\"x\"}",
	    API_OK, NULL },
	{ control_body_read_voice, "{\"callId\":\"../x\"}",
	    API_MISSING_PARAMETER, "text" },
	{ control_body_read_voice, "{" ID ",\"text\":\"x\","
	    "\"playTo\":\"bridge\"}", API_OK, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":\"x\",\"playTo\":null}",
	    API_OK, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":\"x\","
	    "\"playTo\":\"both\"}", API_INVALID_PARAMETER, "playTo" },
	{ control_body_read_voice, "{" ID ",\"text\":\"x\",\"playTo\":\"\"}",
	    API_INVALID_PARAMETER, "playTo" },
	{ control_body_read_play, "{" ID ",\"file\":\"a\",\"playTo\":1}",
	    API_INVALID_PARAMETER, "playTo" },
	{ control_body_read_gather, "{" ID ",\"text\":\"x\","
	    "\"playTo\":\"Bridge\"}", API_INVALID_PARAMETER, "playTo" },
	{ control_body_read_voice, "{" ID ",\"text\":\"x\","
	    "\"interrupt\":\"yes\"}", API_INVALID_PARAMETER, "interrupt" },

	/* texts */
	{ control_body_read_voice, "{" ID "}", API_MISSING_PARAMETER,
	    "Missing required parameter: text" },
	{ control_body_read_voice, "{" ID ",\"text\":\"\"}",
	    API_MISSING_PARAMETER, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":\" \\n\\t\\u00a0\"}",
	    API_MISSING_PARAMETER, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":\"\\u3000\\u200b\"}",
	    API_MISSING_PARAMETER, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":5}",
	    API_INVALID_PARAMETER, "text" },
	{ control_body_read_voice, "{" ID ",\"text\":[\"x\"]}",
	    API_INVALID_PARAMETER, "text" },
	{ control_body_read_voice, "{" ID ",\"text\":\"<speak><b>x\"}",
	    API_OK, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":\"你好\"}", API_OK, NULL },
	{ control_body_read_voice, "{" ID ",\"text\":\"مرحبا\"}", API_OK,
	    NULL },

	/* sounds */
	{ control_body_read_play, "{" ID "}", API_MISSING_PARAMETER,
	    "Missing required parameter: file" },
	{ control_body_read_play, "{" ID ",\"file\":\"\"}",
	    API_MISSING_PARAMETER, NULL },
	{ control_body_read_play, "{" ID ",\"file\":\"custom/welcome_1-a\"}",
	    API_OK, NULL },
	{ control_body_read_play, "{" ID ",\"file\":\"/etc/passwd\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"../../etc/passwd\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a/../b\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"hello.wav\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"http://a/b\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"recording:x\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a b\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a,b\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a&b\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a\\n\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a//b\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"a/\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":\"你好\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_play, "{" ID ",\"file\":3}",
	    API_INVALID_PARAMETER, "file" },

	/* gathers */
	{ control_body_read_gather, "{" ID "}", API_MISSING_PARAMETER,
	    "Missing required parameter: text" },
	{ control_body_read_gather, "{" ID ",\"file\":\"a/b\"}", API_OK,
	    NULL },
	{ control_body_read_gather, "{" ID ",\"file\":\"/a\"}",
	    API_INVALID_PARAMETER, "file" },
	{ control_body_read_gather, "{" ID ",\"file\":\"a\",\"text\":\"x\"}",
	    API_INVALID_PARAMETER, "file" },
};

#define GATHER(rest) "{" ID ",\"text\":\"x\"," rest "}"

static const struct body_row gathers[] = {
	{ NULL, GATHER("\"numDigits\":1"), API_OK, NULL },
	{ NULL, GATHER("\"numDigits\":32"), API_OK, NULL },
	{ NULL, GATHER("\"numDigits\":\"4\""), API_OK, NULL },
	{ NULL, GATHER("\"numDigits\":0"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":-1"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":33"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":1e9"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":1e300"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":2.5"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":\"four\""), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":\"\""), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"numDigits\":true"), API_INVALID_PARAMETER,
	    "numDigits" },
	{ NULL, GATHER("\"timeout\":1000"), API_OK, NULL },
	{ NULL, GATHER("\"timeout\":120000"), API_OK, NULL },
	{ NULL, GATHER("\"timeout\":\"12000\""), API_OK, NULL },
	{ NULL, GATHER("\"timeout\":999"), API_INVALID_PARAMETER,
	    "timeout" },
	{ NULL, GATHER("\"timeout\":0"), API_INVALID_PARAMETER, "timeout" },
	{ NULL, GATHER("\"timeout\":-5000"), API_INVALID_PARAMETER,
	    "timeout" },
	{ NULL, GATHER("\"timeout\":120001"), API_INVALID_PARAMETER,
	    "timeout" },
	{ NULL, GATHER("\"timeout\":1e9"), API_INVALID_PARAMETER,
	    "timeout" },
	{ NULL, GATHER("\"finishOnKey\":\"#\""), API_OK, NULL },
	{ NULL, GATHER("\"finishOnKey\":\"d\""), API_OK, NULL },
	{ NULL, GATHER("\"finishOnKey\":\"\""), API_OK, NULL },
	{ NULL, GATHER("\"finishOnKey\":\"E\""), API_INVALID_PARAMETER,
	    "finishOnKey" },
	{ NULL, GATHER("\"finishOnKey\":\"##\""), API_INVALID_PARAMETER,
	    "finishOnKey" },
	{ NULL, GATHER("\"finishOnKey\":5"), API_INVALID_PARAMETER,
	    "finishOnKey" },
	{ NULL, GATHER("\"bargeIn\":false"), API_OK, NULL },
	{ NULL, GATHER("\"bargeIn\":0"), API_INVALID_PARAMETER, "bargeIn" },
};

static void
check_row(const struct body_row *row, control_body_read_fn *read)
{
	struct api_error error = { .code = API_OK };
	cJSON *tree = cJSON_Parse(row->body);
	struct control_body body;

	assert_non_null(tree);
	if (read(tree, &body, &error) == 0)
		error.code = API_OK;
	if (error.code != row->code || (row->text != NULL &&
	    strstr(error.text, row->text) == NULL))
		fail_msg("%s: code %d '%s'", row->body, (int)error.code,
		    error.text);
	control_body_clear(&body);
	cJSON_Delete(tree);
}

static void
test_bodies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		check_row(&bodies[i], bodies[i].read);
	for (size_t i = 0; i < sizeof(gathers) / sizeof(gathers[0]); i++)
		check_row(&gathers[i], control_body_read_gather);
}

/* What is taken of a body that is right, and what where a field is left out. */
static void
test_values(void **state)
{
	static const char all[] = GATHER("\"numDigits\":\"4\","
	    "\"timeout\":12000,\"finishOnKey\":\"b\",\"bargeIn\":false,"
	    "\"playTo\":\"channel\"");
	struct api_error error;
	struct control_body body;
	cJSON *tree = cJSON_Parse(all);

	(void)state;
	assert_int_equal(control_body_read_gather(tree, &body, &error), 0);
	assert_string_equal(body.call_id, "1720012345.88");
	assert_string_equal(body.text, "x");
	assert_string_equal(body.sound, "");
	assert_int_equal(body.target, CALL_PLAY_CHANNEL);
	assert_int_equal(body.gather.expected, 4);
	assert_int_equal(body.gather.timeout_ms, 12000);
	assert_int_equal(body.gather.finish, 'B');
	assert_int_equal(body.gather.flags, CALL_GATHER_NO_BARGE_IN);
	control_body_clear(&body);
	cJSON_Delete(tree);

	tree = cJSON_Parse("{" ID ",\"file\":\"a/b\"}");
	assert_int_equal(control_body_read_gather(tree, &body, &error), 0);
	assert_null(body.text);
	assert_string_equal(body.sound, "a/b");
	assert_int_equal(body.target, CALL_PLAY_BRIDGE);
	assert_int_equal(body.gather.expected, 1);
	assert_int_equal(body.gather.timeout_ms, 10000);
	assert_int_equal(body.gather.finish, '\0');
	assert_int_equal(body.gather.flags, 0);
	control_body_clear(&body);
	cJSON_Delete(tree);

	tree = cJSON_Parse("{\"callId\":\"nonsense\",\"file\":\"a\","
	    "\"interrupt\":true}");
	assert_int_equal(control_body_read_play(tree, &body, &error), 0);
	assert_string_equal(body.call_id, "");
	assert_true(body.interrupt);
	control_body_clear(&body);
	cJSON_Delete(tree);
}

struct text_row {
	const char *text;
	const char *spoken;
};

static const struct text_row texts[] = {
	{ "hello", "hello" },
	{ "  hello world \n", "hello world" },
	{ "a\tb\r\nc", "a b  c" },
	{ "a\x7f" "b", "a b" },
	{ "a\xc2\x85" "b", "a b" },
	{ "\xe3\x80\x80你好\xe3\x80\x80", "你好" },
	{ "\xef\xbb\xbfمرحبا", "مرحبا" },
	{ "<speak>1 < 2 & 3</speak", "<speak>1 < 2 & 3</speak" },
	{ "😀 x", "😀 x" },
	{ "x 😀", "x 😀" },
};

static void
test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cJSON *tree = cJSON_CreateObject();
		struct api_error error;
		struct control_body body;

		(void)cJSON_AddStringToObject(tree, "callId",
		    "1720012345.88");
		(void)cJSON_AddStringToObject(tree, "text", texts[i].text);
		assert_int_equal(control_body_read_voice(tree, &body, &error),
		    0);
		assert_string_equal(body.text, texts[i].spoken);
		control_body_clear(&body);
		cJSON_Delete(tree);
	}
}

/* A text of so many times the same character, with `around` at both ends. */
static enum api_code
read_long(const char *character, size_t count, const char *around)
{
	const size_t len = strlen(character);
	char *text = calloc(1, count * len + 2 * strlen(around) + 1);
	cJSON *tree = cJSON_CreateObject();
	struct api_error error = { .code = API_OK };
	struct control_body body;
	char *at = text + strlen(around);

	assert_non_null(text);
	memcpy(text, around, strlen(around));
	for (size_t i = 0; i < count; i++, at += len)
		memcpy(at, character, len);
	memcpy(at, around, strlen(around));
	(void)cJSON_AddStringToObject(tree, "callId", "1720012345.88");
	(void)cJSON_AddStringToObject(tree, "text", text);
	if (control_body_read_voice(tree, &body, &error) == 0)
		error.code = API_OK;
	control_body_clear(&body);
	cJSON_Delete(tree);
	free(text);
	return error.code;
}

/* Characters count, not bytes, and not what is trimmed. */
static void
test_lengths(void **state)
{
	(void)state;
	assert_int_equal(read_long("a", 4096, ""), API_OK);
	assert_int_equal(read_long("a", 4096, "   "), API_OK);
	assert_int_equal(read_long("好", 4096, ""), API_OK);
	assert_int_equal(read_long("😀", 4096, " "), API_OK);
	assert_int_equal(read_long("a", 4097, ""), API_INVALID_PARAMETER);
	assert_int_equal(read_long("好", 4097, ""), API_INVALID_PARAMETER);
	assert_int_equal(read_long("a", 10000, ""), API_INVALID_PARAMETER);
}

static void
test_excerpts(void **state)
{
	static const char fifty[] =
	    "12345678901234567890123456789012345678901234567890";
	char text[4 * 60 + 1] = "";
	char out[CONTROL_EXCERPT_SIZE];

	(void)state;
	control_excerpt("Hello", out);
	assert_string_equal(out, "Hello");
	control_excerpt(fifty, out);
	assert_string_equal(out, fifty);
	(void)snprintf(text, sizeof(text), "%sx", fifty);
	control_excerpt(text, out);
	assert_int_equal(strlen(out), 53);
	assert_string_equal(out + 50, "...");
	for (unsigned i = 0; i < 51; i++)
		memcpy(text + 4 * (size_t)i, "😀", 5);
	control_excerpt(text, out);
	assert_int_equal(strlen(out), 203);
	assert_string_equal(out + 196, "😀...");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_excerpts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
