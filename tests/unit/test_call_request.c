/*
 * The body of /makecall: every field, its types and its limits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/phone_number.h"
#include "worker/call_request.h"

#define ALL UINT32_MAX

static struct config config;

static int
setup(void **state)
{
	(void)state;
	config_init(&config);
	return 0;
}

static enum api_code
read_text(const char *text, struct call_request *request,
    struct api_error *error)
{
	cJSON *body = cJSON_Parse(text);
	int rc;

	assert_non_null(body);
	memset(error, 0, sizeof(*error));
	rc = call_request_read(body, &config, request, error);
	cJSON_Delete(body);
	return rc == 0 ? API_OK : error->code;
}

struct number_row {
	const char *text;
	const char *digits; /* NULL: refused */
};

static const struct number_row numbers[] = {
	{ "14155550100", "14155550100" },
	{ "+1 (415) 555-0100", "14155550100" },
	{ "+1.415.555.0100", "14155550100" },
	{ " 1234567", "1234567" },
	{ "123456789012345", "123456789012345" },
	{ "123456", NULL },
	{ "1234567890123456", NULL },
	{ "++14155550100", NULL },
	{ "1415555010+0", NULL },
	{ "14155550100@evil", NULL },
	{ "14155550100/n", NULL },
	{ "14155550100&SIP/x", NULL },
	{ "1415555O100", NULL },
	{ "14155550100\r\nX: y", NULL },
	{ "14155550100\t", NULL },
	{ "", NULL },
	{ "+", NULL },
	{ "١٤١٥٥٥٥٠١٠٠", NULL },
};

static void
test_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const struct number_row *row = &numbers[i];
		char out[CALL_NUMBER_SIZE];
		const int rc = phone_number_normalise(row->text, out);

		if ((rc == 0) != (row->digits != NULL) ||
		    strcmp(out, row->digits != NULL ? row->digits : "") != 0)
			fail_msg("'%s' gave %d '%s'", row->text, rc, out);
	}
}

struct body_row {
	const char *body;
	enum api_code code;
	const char *text; /* part of the error's text, or NULL */
};

#define N "\"number\":\"14155550100\""

static const struct body_row bodies[] = {
	{ "{" N "}", API_OK, NULL },
	{ "{\"number\":14155550100}", API_OK, NULL },
	{ "{\"number\":1.5}", API_INVALID_NUMBER, "number" },
	{ "{\"number\":1e30}", API_INVALID_NUMBER, "number" },
	{ "{\"number\":-14155550100}", API_INVALID_NUMBER, "number" },
	{ "{}", API_MISSING_PARAMETER, "Missing required parameter: number" },
	{ "{\"number\":null}", API_MISSING_PARAMETER, NULL },
	{ "{\"number\":\"\"}", API_MISSING_PARAMETER, NULL },
	{ "{\"Number\":\"14155550100\"}", API_MISSING_PARAMETER, NULL },
	{ "{\"number\":[]}", API_INVALID_PARAMETER, "number" },
	{ "{\"number\":true}", API_INVALID_PARAMETER, "number" },
	{ "{\"number\":\"12\"}", API_INVALID_NUMBER, NULL },
	{ "{" N ",\"callerId\":\"+19172452367\"}", API_OK, NULL },
	{ "{" N ",\"callerId\":\"a\\nb\"}", API_INVALID_NUMBER, "callerId" },
	{ "{" N ",\"callerId\":{}}", API_INVALID_PARAMETER, "callerId" },
	{ "{" N ",\"webhookUrl\":\"https://example.com/h\"}", API_OK, NULL },
	{ "{" N ",\"webhookUrl\":\"http://example.com/h\"}",
	    API_INVALID_WEBHOOK_URL, NULL },
	{ "{" N ",\"webhookUrl\":\"https://127.0.0.1/h\"}",
	    API_INVALID_WEBHOOK_URL, NULL },
	{ "{" N ",\"webhookUrl\":\"file:///etc/passwd\"}",
	    API_INVALID_WEBHOOK_URL, NULL },
	{ "{" N ",\"webhookUrl\":7}", API_INVALID_PARAMETER, "webhookUrl" },
	{ "{" N ",\"voiceName\":\"cmn-CN-Wavenet-A\"}", API_OK, NULL },
	{ "{" N ",\"voiceName\":\"../../x\"}", API_INVALID_PARAMETER,
	    "voiceName" },
	{ "{" N ",\"voiceName\":\"en-US-\"}", API_INVALID_PARAMETER, NULL },
	{ "{" N ",\"voiceName\":\"es-419-Standard-A\"}", API_OK, NULL },
	{ "{" N ",\"voiceName\":\"en-US\"}", API_INVALID_PARAMETER, NULL },
	/* regions that no engine could be asked for */
	{ "{" N ",\"voiceName\":\"en-USA-Name\"}", API_INVALID_PARAMETER,
	    "voiceName" },
	{ "{" N ",\"voiceName\":\"en-U5-Name\"}", API_INVALID_PARAMETER,
	    "voiceName" },
	{ "{" N ",\"ringTimeout\":\"20\"}", API_OK, NULL },
	{ "{" N ",\"ringTimeout\":\"20x\"}", API_INVALID_PARAMETER,
	    "ringTimeout" },
	{ "{" N ",\"ringTimeout\":\"inf\"}", API_INVALID_PARAMETER, NULL },
	{ "{" N ",\"ringTimeout\":false}", API_INVALID_PARAMETER, NULL },
	{ "{" N ",\"useAmd\":1}", API_INVALID_PARAMETER, "useAmd" },
	{ "{" N ",\"useAmd\":null}", API_OK, NULL },
	{ "{" N ",\"record\":\"no\"}", API_INVALID_PARAMETER, "record" },
	{ "{" N ",\"metadata\":{\"a\":[1,2]}}", API_OK, NULL },
	{ "{" N ",\"metadata\":[1]}", API_INVALID_PARAMETER, "metadata" },
	{ "{" N ",\"metadata\":{\"id\":999999999999999}}", API_OK, NULL },
	{ "{" N ",\"metadata\":{\"a\":[{\"id\":12345678901234567890}]}}",
	    API_INVALID_PARAMETER, "15 digits" },
	{ "{" N ",\"unknown\":{\"x\":1}}", API_OK, NULL },
};

static void
test_bodies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		const struct body_row *row = &bodies[i];
		struct call_request request;
		struct api_error error;
		const enum api_code code = read_text(row->body, &request,
		    &error);

		if (code != row->code ||
		    (row->text != NULL &&
		    strstr(error.text, row->text) == NULL))
			fail_msg("%s gave %s \"%s\"", row->body,
			    api_code_row(code)->code, error.text);
	}
}

/* The key's URL is used where none is sent, and checked as if it were. */
static void
test_default_webhook(void **state)
{
	static const struct {
		const char *body;
		const char *fallback;
		bool allow_http;
		enum api_code code;
		const char *expect;
	} rows[] = {
		{ "{" N "}", "", false, API_OK, "" },
		{ "{" N "}", "https://example.com/k", false, API_OK,
		    "https://example.com/k" },
		{ "{" N ",\"webhookUrl\":\"\"}", "https://example.com/k", false,
		    API_OK, "https://example.com/k" },
		{ "{" N ",\"webhookUrl\":null}", "https://example.com/k", false,
		    API_OK, "https://example.com/k" },
		{ "{" N ",\"webhookUrl\":\"https://example.com/r\"}",
		    "https://example.com/k", false, API_OK,
		    "https://example.com/r" },
		{ "{" N "}", "http://example.com/k", true, API_OK,
		    "http://example.com/k" },
		{ "{" N "}", "http://example.com/k", false,
		    API_INVALID_WEBHOOK_URL, NULL },
		{ "{" N "}", "https://10.0.0.1/k", false,
		    API_INVALID_WEBHOOK_URL, NULL },
		{ "{" N ",\"webhookUrl\":\"https://example.com/r\"}",
		    "nonsense", false, API_OK, "https://example.com/r" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct api_key key = { .version = API_KEY_VERSION };
		struct call_request request;
		struct api_error error;
		int rc;

		strncpy(key.policy.webhook_url, rows[i].fallback,
		    KEY_POLICY_URL_MAX);
		assert_int_equal(read_text(rows[i].body, &request, &error),
		    API_OK);
		config.webhook.allow_http = rows[i].allow_http;
		rc = call_request_take_webhook(&key, &config, &request,
		    &error);
		config.webhook.allow_http = false;
		assert_int_equal(error.code, rows[i].code);
		assert_int_equal(rc == 0, rows[i].code == API_OK);
		if (rc == 0)
			assert_string_equal(request.webhook_url,
			    rows[i].expect);
		else
			assert_non_null(strstr(error.text, "the key's"));
	}
}

struct clamp_row {
	const char *value;
	unsigned seconds;
};

static void
test_ring_timeout_is_clamped(void **state)
{
	static const struct clamp_row rows[] = { { "20", 20 }, { "1", 5 },
		{ "-3", 5 }, { "1e9", 120 }, { "20.9", 20 }, { "0", 5 },
		{ "1e400", 120 }, { "\"7\"", 7 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct call_request request;
		struct api_error error;
		char body[100];

		snprintf(body, sizeof(body), "{" N ",\"ringTimeout\":%s}",
		    rows[i].value);
		assert_int_equal(read_text(body, &request, &error), API_OK);
		if (request.ring_timeout_s != rows[i].seconds)
			fail_msg("%s gave %u", rows[i].value,
			    request.ring_timeout_s);
	}
}

struct amd_row {
	const char *body;
	enum api_code code;
	const char *args;
	unsigned total; /* in CALL_AMD_UNIT_MS */
};

static const struct amd_row amds[] = {
	{ "{\"number\":\"14155550100\",\"useAmd\":true}", API_OK, "", 0 },
	{ "{\"number\":\"14155550100\",\"useAmd\":true,\"amd\":null}",
	    API_OK, "", 0 },
	{ "{\"number\":\"14155550100\",\"useAmd\":true,\"amd\":{}}", API_OK,
	    "2500,1500,700,5000,100,50,5,300,5000", 50 },
	{ "{\"number\":\"14155550100\",\"useAmd\":true,\"amd\":{"
	    "\"initialSilence\":1,\"greeting\":\"2000\","
	    "\"afterGreetingSilence\":900,\"totalAnalysisTime\":4001,"
	    "\"minimumWordLength\":120,\"betweenWordsSilence\":60,"
	    "\"maximumNumberOfWords\":1000,\"silenceThreshold\":200,"
	    "\"maximumWordLength\":3000,\"unknown\":1}}", API_OK,
	    "100,2000,900,4001,120,60,100,200,3000", 41 },
	{ "{\"number\":\"14155550100\",\"useAmd\":true,\"amd\":{"
	    "\"totalAnalysisTime\":1e9}}", API_OK,
	    "2500,1500,700,20000,100,50,5,300,5000", 200 },
	{ "{\"number\":\"14155550100\",\"amd\":{\"greeting\":2000}}",
	    API_OK, "2500,2000,700,5000,100,50,5,300,5000", 0 },
	{ "{\"number\":\"14155550100\",\"amd\":true}",
	    API_INVALID_PARAMETER, NULL, 0 },
	{ "{\"number\":\"14155550100\",\"amd\":{\"greeting\":\"long\"}}",
	    API_INVALID_PARAMETER, NULL, 0 },
};

/* What isn't said is the configuration's; the rest is clamped. */
static void
test_amd(void **state)
{
	static const struct api_key key;

	(void)state;
	for (size_t i = 0; i < sizeof(amds) / sizeof(amds[0]); i++) {
		struct call_request request;
		struct api_error error;
		struct call call;

		assert_int_equal(read_text(amds[i].body, &request, &error),
		    amds[i].code);
		if (amds[i].code != API_OK) {
			assert_true(strstr(error.text, "amd") != NULL ||
			    strstr(error.text, "greeting") != NULL);
			continue;
		}
		assert_string_equal(request.amd, amds[i].args);
		call_request_fill_call(&request, &key, &call);
		assert_int_equal(call.amd_total, amds[i].total);
	}
}

static void
test_metadata_is_bounded(void **state)
{
	struct call_request request;
	struct api_error error;
	char body[1400];

	(void)state;
	snprintf(body, sizeof(body), "{" N ",\"metadata\":{\"a\":\"%01016d\"}}",
	    0);
	assert_int_equal(read_text(body, &request, &error), API_OK);
	assert_int_equal(strlen(request.metadata), CALL_METADATA_MAX);
	snprintf(body, sizeof(body), "{" N ",\"metadata\":{\"a\":\"%01017d\"}}",
	    0);
	assert_int_equal(read_text(body, &request, &error),
	    API_INVALID_PARAMETER);
}

static void
test_trunks_take_turns(void **state)
{
	const struct api_key key = {
		.trunk_count = 3,
		.trunks = { { 1, "a", "PJSIP/00{number}@{trunk}" },
		    { 2, "b", "PJSIP/{number}@{trunk}-x" },
		    { 3, "c", "PJSIP/00{number}@{trunk}" } },
	};
	struct call_request request = { .number = "14155550100" };
	struct call_request_dial dial = { .count = 0 };

	(void)state;
	call_request_dial(&request, &key, ALL, 4, &dial);
	assert_int_equal(dial.count, 3);
	assert_string_equal(dial.trunks[0].name, "b");
	assert_string_equal(dial.endpoints[0], "PJSIP/14155550100@b-x");
	assert_string_equal(dial.endpoints[1], "PJSIP/0014155550100@c");
	assert_string_equal(dial.endpoints[2], "PJSIP/0014155550100@a");
}

/* A key with trunks "a", "b", … of these priorities and weights. */
static struct api_key
key_of(unsigned count, const int32_t *priorities, const uint32_t *weights)
{
	struct api_key key = { .trunk_count = (uint8_t)count };

	for (unsigned i = 0; i < count; i++) {
		key.trunks[i].name[0] = (char)('a' + i);
		snprintf(key.trunks[i].dial_template,
		    sizeof(key.trunks[i].dial_template), "PJSIP/{number}@x");
		key.limits[i].priority = priorities[i];
		key.limits[i].weight = weights[i];
	}
	return key;
}

/* The order of trunks at a position: "cab". */
static void
order_at(const struct api_key *key, uint32_t first, char *out)
{
	const struct call_request request = { .number = "14155550100" };
	struct call_request_dial dial = { .count = 0 };

	call_request_dial(&request, key, ALL, first, &dial);
	for (unsigned i = 0; i < dial.count; i++) {
		out[i] = dial.trunks[i].name[0];
		/* what belongs to a trunk stays with it */
		assert_int_equal(dial.limits[i].priority,
		    key->limits[out[i] - 'a'].priority);
	}
	out[dial.count] = '\0';
}

static void
test_weights(void **state)
{
	static const struct {
		unsigned count;
		int32_t priorities[8];
		uint32_t weights[8];
		const char *turns; /* who is first, for a whole round */
		const char *order; /* of the first turn */
	} rows[] = {
		{ 3, { 0 }, { 1, 1, 1 }, "abc", "abc" },
		{ 3, { 0 }, { 0, 0, 0 }, "abc", "abc" },
		{ 3, { 0 }, { 5, 1, 1 }, "aabacaa", "abc" },
		{ 2, { 0 }, { 3, 1 }, "aaba", "ab" },
		{ 3, { 2, 1, 2 }, { 1, 9, 1 }, "bbbbbbbbb", "bac" },
		{ 4, { 5, 0, 5, 0 }, { 1, 2, 1, 1 }, "bdb", "bdac" },
		{ 1, { 7 }, { 100 }, "aaaa", "a" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct api_key key = key_of(rows[i].count,
		    rows[i].priorities, rows[i].weights);
		const size_t turns = strlen(rows[i].turns);
		char order[API_KEY_TRUNKS_MAX + 1];

		for (uint32_t n = 0; n < 3 * turns; n++) {
			order_at(&key, n, order);
			assert_int_equal(order[0], rows[i].turns[n % turns]);
			assert_int_equal(strlen(order), rows[i].count);
		}
		order_at(&key, 0, order);
		assert_string_equal(order, rows[i].order);
	}
}

/* Over a whole round each has exactly its share. */
static void
test_shares(void **state)
{
	static const int32_t priorities[8] = { 0 };
	static const uint32_t weights[8] = { 100, 37, 1, 99, 100, 3, 50, 10 };
	const struct api_key key = key_of(8, priorities, weights);
	unsigned counts[8] = { 0 };
	uint32_t all = 0;

	(void)state;
	for (int i = 0; i < 8; i++)
		all += weights[i];
	for (uint32_t n = 0; n < all; n++) {
		char order[API_KEY_TRUNKS_MAX + 1];

		order_at(&key, 4 * all + n, order);
		counts[order[0] - 'a']++;
		assert_int_equal(strlen(order), 8);
	}
	for (int i = 0; i < 8; i++)
		assert_int_equal(counts[i], weights[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_default_webhook),
		cmocka_unit_test(test_ring_timeout_is_clamped),
		cmocka_unit_test(test_amd),
		cmocka_unit_test(test_metadata_is_bounded),
		cmocka_unit_test(test_trunks_take_turns),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_shares),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
