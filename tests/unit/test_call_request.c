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

#include "worker/call_request.h"
#include "worker/phone_number.h"

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
	struct call_request_dial dial;

	(void)state;
	assert_int_equal(call_request_dial(&request, &key, 4, &dial), 0);
	assert_int_equal(dial.count, 3);
	assert_string_equal(dial.trunks[0].name, "b");
	assert_string_equal(dial.endpoints[0], "PJSIP/14155550100@b-x");
	assert_string_equal(dial.endpoints[1], "PJSIP/0014155550100@c");
	assert_string_equal(dial.endpoints[2], "PJSIP/0014155550100@a");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_ring_timeout_is_clamped),
		cmocka_unit_test(test_metadata_is_bounded),
		cmocka_unit_test(test_trunks_take_turns),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
