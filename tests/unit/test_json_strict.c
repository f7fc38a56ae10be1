/* What JSON is, and what only looks like it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/json_strict.h"

/* Parse from memory of exactly the text's size. */
static int
parse(const char *text, size_t len, cJSON **json, struct kap_errmsg *msg)
{
	char *copy = malloc(len > 0 ? len : 1);
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, len);
	*json = NULL;
	rc = json_strict_parse(copy, len, 16, json, msg);
	free(copy);
	return rc;
}

static const struct {
	const char *name;
	const char *text;
	size_t len;
	int rc;
	const char *why; /* the message, in full */
} cases[] = {
#define GOOD(name, text) { name, text, sizeof(text) - 1, 0, "" }
#define BAD(name, text, why) \
	{ name, text, sizeof(text) - 1, -KAP_INVAL, why }
#define BIG(name, text, why) \
	{ name, text, sizeof(text) - 1, -KAP_TOOBIG, why }
	GOOD("empty object", "{}"),
	GOOD("empty array", " [ ] "),
	GOOD("null", "null"),
	GOOD("words", "[true,false,null]"),
	GOOD("number", "-0.5e+10"),
	GOOD("zero", "0"),
	GOOD("minus zero", "-0"),
	GOOD("string", "\"a\""),
	GOOD("white space", "\t\r\n { \"a\" : [ 1 , 2 ] } \n"),
	GOOD("escapes", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\""),
	GOOD("pair", "\"\\ud83d\\ude00\""),
	GOOD("UTF-8", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""),
	GOOD("last code point", "\"\xf4\x8f\xbf\xbf\""),
	GOOD("DEL", "\"\x7f\""),
	GOOD("same key in two objects", "[{\"a\":1},{\"a\":1}]"),
	GOOD("same key inside", "{\"a\":{\"a\":{\"a\":1}}}"),
	GOOD("keys that differ in case", "{\"a\":1,\"A\":2}"),
	GOOD("keys, one a part of the other", "{\"a\":1,\"aa\":2}"),
	GOOD("empty key", "{\"\":1}"),
	GOOD("depth 16", "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),
	GOOD("depth 16, objects",
	    "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
	    "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{"
	    "}}}}}}}}}}}}}}}}"),
	GOOD("huge but finite", "1e308"),
	GOOD("tiny", "1e-400"),

	BAD("nothing", "", "unexpected end at byte 0"),
	BAD("white space alone", " \n", "unexpected end at byte 2"),
	BAD("two values", "1 2", "text behind the value at byte 2"),
	BAD("NUL behind", "{}\0", "text behind the value at byte 2"),
	BAD("byte order mark", "\xef\xbb\xbf{}",
	    "unexpected character at byte 0"),
	BAD("comma at the end", "[1,]", "unexpected character at byte 3"),
	BAD("comma at the end of an object", "{\"a\":1,}",
	    "unexpected character at byte 7"),
	BAD("comma first", "[,1]", "unexpected character at byte 1"),
	BAD("no comma", "[1 2]", "unexpected character at byte 3"),
	BAD("no colon", "{\"a\" 1}", "unexpected character at byte 5"),
	BAD("no value", "{\"a\":}", "unexpected character at byte 5"),
	BAD("key without quotes", "{a:1}", "unexpected character at byte 1"),
	BAD("single quotes", "{'a':1}", "unexpected character at byte 1"),
	BAD("wrong end", "[1}", "unexpected character at byte 2"),
	BAD("unfinished", "[1", "unexpected end at byte 2"),
	BAD("unfinished object", "{\"a\":1", "unexpected end at byte 6"),
	BAD("unfinished key", "{\"a", "unexpected end at byte 3"),
	BAD("comment", "[/**/]", "unexpected character at byte 1"),
	BAD("word", "True", "unexpected character at byte 0"),
	BAD("half a word", "tru", "unexpected character at byte 0"),
	BAD("NaN", "NaN", "unexpected character at byte 0"),
	BAD("Infinity", "-Infinity", "malformed number at byte 1"),

	BAD("01", "[01]", "unexpected character at byte 2"),
	BAD("-01", "-01", "text behind the value at byte 2"),
	BAD("+1", "+1", "unexpected character at byte 0"),
	BAD(".5", ".5", "unexpected character at byte 0"),
	BAD("1.", "[1.]", "malformed number at byte 3"),
	BAD("1e", "[1e]", "malformed number at byte 3"),
	BAD("1e+", "1e+", "unexpected end at byte 3"),
	BAD("0x1", "0x1", "text behind the value at byte 1"),
	BAD("minus", "-", "unexpected end at byte 1"),
	BIG("out of range", "[1e999]", "number out of range at byte 1"),
	BIG("out of range below", "-1e999", "number out of range at byte 0"),
	BIG("64 digits",
	    "1234567890123456789012345678901234567890123456789012345678901234",
	    "number too long at byte 0"),

	BAD("line feed", "\"a\nb\"", "control character in a string at byte "
	    "2"),
	BAD("tab", "\"\t\"", "control character in a string at byte 1"),
	BAD("raw NUL", "\"\0\"", "control character in a string at byte 1"),
	BAD("escaped NUL", "\"a\\u0000\"", "NUL in a string at byte 2"),
	BAD("NUL in a key", "{\"a\\u0000\":1}", "NUL in a string at byte 3"),
	BAD("unknown escape", "\"\\x41\"", "malformed escape at byte 2"),
	BAD("escaped quote", "\"\\'\"", "malformed escape at byte 2"),
	BAD("short escape", "\"\\u12\"", "malformed escape at byte 1"),
	BAD("bad escape", "\"\\u12g4\"", "malformed escape at byte 1"),
	BAD("escape at the end", "\"\\", "unexpected end at byte 2"),
	BAD("unicode escape at the end", "\"\\u",
	    "malformed escape at byte 1"),
	BAD("lone high", "\"\\ud800\"", "lone surrogate at byte 1"),
	BAD("lone high, then text", "\"\\ud800abcdefg\"",
	    "lone surrogate at byte 1"),
	BAD("lone low", "\"\\udc00\"", "lone surrogate at byte 1"),
	BAD("two highs", "\"\\ud800\\ud800\"", "lone surrogate at byte 1"),
	BAD("pair turned round", "\"\\udc00\\ud800\"",
	    "lone surrogate at byte 1"),
	BAD("lone byte", "\"\x80\"", "invalid UTF-8 at byte 1"),
	BAD("Latin-1", "\"\xe4\"", "invalid UTF-8 at byte 1"),
	BAD("overlong in 2", "\"\xc0\xaf\"", "invalid UTF-8 at byte 1"),
	BAD("overlong in 3", "\"\xe0\x80\xaf\"", "invalid UTF-8 at byte 1"),
	BAD("overlong in 4", "\"\xf0\x80\x80\xaf\"",
	    "invalid UTF-8 at byte 1"),
	BAD("raw surrogate", "\"\xed\xa0\x80\"", "invalid UTF-8 at byte 1"),
	BAD("beyond the last", "\"\xf4\x90\x80\x80\"",
	    "invalid UTF-8 at byte 1"),
	BAD("0xff", "\"\xff\"", "invalid UTF-8 at byte 1"),
	BAD("cut short", "\"\xe2\x82\"", "invalid UTF-8 at byte 1"),
	BAD("cut at the end", "\"\xf0\x9f\x98", "invalid UTF-8 at byte 1"),

	BAD("duplicate key", "{\"a\":1,\"a\":2}", "duplicate key at byte 7"),
	BAD("duplicate, far apart",
	    "{\"a\":1,\"b\":{\"a\":1},\"c\":[{\"a\":2}],\"a\":2}",
	    "duplicate key at byte 33"),
	BAD("duplicate inside", "[{\"b\":{\"x\":1,\"x\":2}}]",
	    "duplicate key at byte 13"),
	BAD("duplicate by escape", "{\"a\":1,\"\\u0061\":2}",
	    "duplicate key at byte 7"),
	BAD("duplicate by another escape", "{\"/\":1,\"\\/\":2}",
	    "duplicate key at byte 7"),
	BAD("duplicate by pair",
	    "{\"\xf0\x9f\x98\x80\":1,\"\\uD83D\\ude00\":2}",
	    "duplicate key at byte 10"),
	BAD("duplicate line feed", "{\"\\n\":1,\"\\u000a\":2}",
	    "duplicate key at byte 8"),
	BAD("duplicate empty key", "{\"\":1,\"\":2}",
	    "duplicate key at byte 6"),
	BIG("depth 17", "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]",
	    "nested too deeply at byte 16"),
};

static void
test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kap_errmsg msg = { .text = "" };
		cJSON *json;
		const int rc = parse(cases[i].text, cases[i].len, &json,
		    &msg);

		if (rc != cases[i].rc || strcmp(msg.text, cases[i].why) != 0)
			fail_msg("%s: %d '%s'", cases[i].name, rc, msg.text);
		if (rc == 0)
			assert_non_null(json);
		else
			assert_null(json);
		cJSON_Delete(json);
	}
}

/* No text that is cut short passes, and none makes us read beyond it. */
static void
test_every_prefix(void **state)
{
	static const char text[] =
	    "{\"a\\ud83d\\ude00\":[1.5e3,true,{\"\xc3\xa4\":null}],"
	    "\"b\":\"\\n\"}";

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++) {
		cJSON *json;
		const int rc = parse(text, len, &json, NULL);

		assert_int_equal(rc, len == sizeof(text) - 1 ? 0 :
		    -KAP_INVAL);
		cJSON_Delete(json);
	}
}

static void
test_tree(void **state)
{
	static const char text[] = "{\"n\":42,\"s\":\"\\u00e4\"}";
	cJSON *json;

	(void)state;
	assert_int_equal(parse(text, sizeof(text) - 1, &json, NULL), 0);
	assert_int_equal(
	    cJSON_GetObjectItemCaseSensitive(json, "n")->valueint, 42);
	assert_string_equal(
	    cJSON_GetObjectItemCaseSensitive(json, "s")->valuestring,
	    "\xc3\xa4");
	cJSON_Delete(json);
}

#define HOSTILE_BYTES (4U * 1024 * 1024)

/* Texts of 4 MiB that a quadratic search or a recursion would not survive. */
static void
test_hostile_keys(void **state)
{
	char *text = malloc(HOSTILE_BYTES + 64);
	size_t len = 1;
	unsigned n = 0;
	cJSON *json;

	(void)state;
	assert_non_null(text);
	text[0] = '{';
	while (len < HOSTILE_BYTES && n < 150000)
		len += (size_t)snprintf(text + len, 64, "%s\"%u\":1",
		    n > 0 ? "," : "", n), n++;
	text[len] = '}';
	assert_int_equal(parse(text, len + 1, &json, NULL), 0);
	cJSON_Delete(json);

	len += (size_t)snprintf(text + len, 64, ",\"77777\":1}");
	assert_int_equal(parse(text, len, &json, NULL), -KAP_INVAL);
	free(text);
}

/* Long keys that differ at their end alone, so comparing them costs most. */
static void
test_hostile_prefixes(void **state)
{
	char *text = malloc(HOSTILE_BYTES + 4096);
	size_t len = 1;
	cJSON *json;

	(void)state;
	assert_non_null(text);
	text[0] = '{';
	for (unsigned n = 0; len < HOSTILE_BYTES; n++) {
		text[len++] = '"';
		memset(text + len, 'k', 2000);
		len += 2000;
		len += (size_t)snprintf(text + len, 64, "%u\":1,", n);
	}
	text[len - 1] = '}';
	assert_int_equal(parse(text, len, &json, NULL), 0);
	cJSON_Delete(json);
	free(text);
}

static void
test_hostile_depth_and_count(void **state)
{
	char *text = malloc(HOSTILE_BYTES);
	struct kap_errmsg msg;
	cJSON *json;

	(void)state;
	assert_non_null(text);
	memset(text, '[', HOSTILE_BYTES);
	assert_int_equal(parse(text, HOSTILE_BYTES, &json, &msg),
	    -KAP_TOOBIG);
	for (size_t i = 1; i < HOSTILE_BYTES; i += 2)
		memcpy(text + i, i + 2 < HOSTILE_BYTES ? "1," : "1",
		    i + 2 < HOSTILE_BYTES ? 2 : 1);
	assert_int_equal(parse(text, HOSTILE_BYTES, &json, &msg),
	    -KAP_TOOBIG);
	assert_non_null(strstr(msg.text, "too many values"));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_hostile_keys),
		cmocka_unit_test(test_hostile_prefixes),
		cmocka_unit_test(test_hostile_depth_and_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
