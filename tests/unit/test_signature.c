/*
 * Signatures of webhooks: the specification's example, and two secrets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "webhookd/signature.h"

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define ID "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIME_S 1614265330
#define BODY "{\"test\": 2432232314}"
#define SIGNED "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

static int
make(const char *secrets, char out[SIGNATURE_SIZE])
{
	return signature_make(secrets, ID, TIME_S, BODY, strlen(BODY), out);
}

static void
test_the_specifications_example(void **state)
{
	char out[SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(make(SECRET, out), 0);
	assert_string_equal(out, SIGNED);
}

/* Whatever differs makes another one; of the body each byte counts. */
static void
test_all_is_signed(void **state)
{
	static const struct {
		const char *id;
		int64_t time_s;
		const char *body;
		size_t len;
	} table[] = {
		{ "msg_p5jXN8AQM9LWM0D4loKWxJel", TIME_S, BODY,
		    sizeof(BODY) - 1 },
		{ ID, TIME_S + 1, BODY, sizeof(BODY) - 1 },
		{ ID, TIME_S, BODY, sizeof(BODY) - 2 },
		{ ID, TIME_S, BODY, sizeof(BODY) },
	};
	char out[SIGNATURE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		assert_int_equal(signature_make(SECRET, table[i].id,
		    table[i].time_s, table[i].body, table[i].len, out), 0);
		assert_int_equal(strlen(out), SIGNATURE_ONE_LEN);
		assert_string_not_equal(out, SIGNED);
	}
}

static void
test_two_secrets(void **state)
{
	char secret[WEBHOOK_SECRET_TEXT_SIZE];
	char both[WEBHOOK_SECRETS_TEXT_SIZE];
	char alone[SIGNATURE_SIZE];
	char out[SIGNATURE_SIZE];

	(void)state;
	assert_int_equal(webhook_secret_generate(secret), 0);
	assert_int_equal(make(secret, alone), 0);
	webhook_secret_join(secret, SECRET, both);
	assert_int_equal(make(both, out), 0);
	assert_int_equal(strlen(out), 2 * SIGNATURE_ONE_LEN + 1);
	assert_memory_equal(out, alone, SIGNATURE_ONE_LEN);
	assert_string_equal(out + SIGNATURE_ONE_LEN, " " SIGNED);
}

static void
test_no_secrets(void **state)
{
	static const char *const table[] = { "", " ", "whsec_", "x",
		SECRET " ", SECRET "  " SECRET, SECRET " x",
		SECRET " " SECRET " " SECRET };
	char out[SIGNATURE_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(make(table[i], out), -KAP_INVAL);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_specifications_example),
		cmocka_unit_test(test_all_is_signed),
		cmocka_unit_test(test_two_secrets),
		cmocka_unit_test(test_no_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
