/*
 * Webhook secrets: what is one, what a new one is, and two together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shared/webhook_secret.h"

#define A8 "AAAAAAAA"
#define A32 A8 A8 A8 A8
#define A64 A32 A32

static void
test_parse(void **state)
{
	static const struct {
		const char *text;
		size_t len; /* of its bytes; 0: it is none */
	} table[] = {
		{ "whsec_" A32, 24 },
		{ "whsec_" A32 "AA==", 25 },
		{ "whsec_" A32 "AAA=", 26 },
		{ "whsec_" A64 A8 A8 "AAAAAA==", 64 },
		{ "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 24 },
		{ "whsec_" A64 A8 A8 "AAAAAAA=", 0 }, /* 65 */
		{ "whsec_" A64 A8 A8 A8 "AAAA", 0 },
		{ "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0 }, /* 23 */
		{ "whsec_" A32 "A", 0 }, { "whsec_" A32 "AA", 0 },
		{ "whsec_" A32 "A===", 0 }, { "whsec_" A32 "=", 0 },
		{ "whsec_" A32 "====", 0 }, { "whsec_" A32 "AA=A", 0 },
		{ "whsec_" A32 "AA-_", 0 }, { "whsec_" A32 "AA \n", 0 },
		{ "whsec_ " A32, 0 }, { "WHSEC_" A32, 0 }, { A32, 0 },
		{ "whsec_", 0 }, { "whsec", 0 }, { "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint8_t bytes[WEBHOOK_SECRET_BYTES_MAX];
		size_t len = 0;
		const int rc = webhook_secret_parse(table[i].text,
		    strlen(table[i].text), bytes, &len);

		if (rc != (table[i].len > 0 ? 0 : -KAP_INVAL) ||
		    len != table[i].len)
			fail_msg("'%s': %d, %zu", table[i].text, rc, len);
	}
}

/* The bytes are those of the base64; a NUL inside is no letter of it. */
static void
test_bytes(void **state)
{
	static const char text[] = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";
	static const char cut[] = "whsec_" A32 "AA\0=";
	uint8_t bytes[WEBHOOK_SECRET_BYTES_MAX];
	size_t len;

	(void)state;
	assert_int_equal(webhook_secret_parse(text, sizeof(text) - 1, bytes,
	    &len), 0);
	assert_int_equal(len, 26);
	assert_memory_equal(bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 26);
	assert_int_equal(webhook_secret_parse(cut, sizeof(cut) - 1, bytes,
	    &len), -KAP_INVAL);
}

static void
test_generate(void **state)
{
	char one[WEBHOOK_SECRET_TEXT_SIZE];
	char two[WEBHOOK_SECRET_TEXT_SIZE];
	uint8_t bytes[WEBHOOK_SECRET_BYTES_MAX];
	size_t len;

	(void)state;
	assert_int_equal(webhook_secret_generate(one), 0);
	assert_int_equal(webhook_secret_generate(two), 0);
	assert_int_equal(webhook_secret_parse(one, strlen(one), bytes, &len),
	    0);
	assert_int_equal(len, 32);
	assert_string_not_equal(one, two);
}

static void
test_join(void **state)
{
	char out[WEBHOOK_SECRETS_TEXT_SIZE];

	(void)state;
	webhook_secret_join("a", "b", out);
	assert_string_equal(out, "a b");
	webhook_secret_join("a", "", out);
	assert_string_equal(out, "a");
	webhook_secret_join("", "b", out);
	assert_string_equal(out, "b");
	webhook_secret_join("", "", out);
	assert_string_equal(out, "");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_generate),
		cmocka_unit_test(test_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
