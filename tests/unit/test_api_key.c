/*
 * Hash, text, dial strings and cache record of API keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/api_key.h"
#include "store_fixture.h"

static void
test_hash_is_hmac_sha256(void **state)
{
	/* by `openssl dgst -sha256 -hmac …` */
	static const char hex[] = "06a321854cb15de0601e00adcfbf568bf124152d1c76e90a8bea94450670e27e";
	uint8_t hash[API_KEY_HASH_SIZE];
	char text[2 * API_KEY_HASH_SIZE + 1];

	(void)state;
	assert_int_equal(api_key_hash("0123456789abcdef0123456789abcdef",
	    "ak_live_123", 11, hash), 0);
	for (size_t i = 0; i < sizeof(hash); i++)
		(void)snprintf(text + 2 * i, 3, "%02x", hash[i]);
	assert_string_equal(text, hex);
}

static void
test_hash_depends_on_every_part(void **state)
{
	static const struct {
		const char *pepper;
		const char *text;
		size_t len;
	} others[] = {
		{ "pepper2", "ak_1", 4 },
		{ "pepper", "ak_2", 4 },
		{ "pepper", "ak_1", 3 },
		{ "pepper", "ak_1\0x", 6 },
	};
	uint8_t hash[API_KEY_HASH_SIZE];

	(void)state;
	assert_int_equal(api_key_hash("pepper", "ak_1", 4, hash), 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		uint8_t other[API_KEY_HASH_SIZE];

		assert_int_equal(api_key_hash(others[i].pepper,
		    others[i].text, others[i].len, other), 0);
		assert_memory_not_equal(hash, other, sizeof(hash));
	}
}

static void
test_generated_keys(void **state)
{
	char first[API_KEY_TEXT_SIZE];
	unsigned seen[256] = { 0 };

	(void)state;
	assert_int_equal(api_key_generate(first), 0);
	for (int i = 0; i < 1000; i++) {
		char text[API_KEY_TEXT_SIZE];

		assert_int_equal(api_key_generate(text), 0);
		assert_int_equal(strlen(text), 43);
		assert_memory_equal(text, "ak_", 3);
		assert_int_equal(strspn(text + 3,
		    "0123456789abcdefghijklmnopqrstuvwxyz"), 40);
		assert_string_not_equal(text, first);
		for (int j = 3; j < 43; j++)
			seen[(unsigned char)text[j]]++;
	}
	/* 40,000 letters, 1,111 each in the mean: none is rare */
	for (const char *c = "0189abyz"; *c != '\0'; c++)
		assert_in_range(seen[(unsigned char)*c], 800, 1500);
}

static void
test_dial_strings(void **state)
{
	static const struct {
		const char *name;
		const char *template;
		const char *number;
		size_t size;
		int rc;
		const char *expect;
	} cases[] = {
		{ "default", "PJSIP/00{number}@{trunk}", "14155550100", 160, 0,
		    "PJSIP/0014155550100@carrier" },
		{ "no trunk", "Local/{number}@out", "1234567", 160, 0,
		    "Local/1234567@out" },
		{ "number twice", "A/{number}-{number}", "1234567", 160, 0,
		    "A/1234567-1234567" },
		{ "other braces stay", "A/{number}{x}", "1234567", 160, 0,
		    "A/1234567{x}" },
		{ "no number", "PJSIP/{trunk}", "14155550100", 160,
		    -KAP_INVAL, NULL },
		{ "too short", "{number}", "123456", 160, -KAP_INVAL, NULL },
		{ "too long", "{number}", "1234567890123456", 160, -KAP_INVAL,
		    NULL },
		{ "plus", "{number}", "+14155550100", 160, -KAP_INVAL, NULL },
		{ "injection", "{number}", "1415555&SIP/x", 160, -KAP_INVAL,
		    NULL },
		{ "line break", "{number}", "14155550100\n", 160, -KAP_INVAL,
		    NULL },
		{ "empty", "{number}", "", 160, -KAP_INVAL, NULL },
		{ "just fits", "{number}", "1234567", 8, 0, "1234567" },
		{ "no room", "{number}", "1234567", 7, -KAP_TOOBIG, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct api_key_trunk trunk = { .name = "carrier" };
		char out[160];
		int rc;

		(void)snprintf(trunk.dial_template,
		    sizeof(trunk.dial_template), "%s", cases[i].template);
		rc = api_key_expand_dial(&trunk, cases[i].number, out,
		    cases[i].size);
		if (rc != cases[i].rc)
			fail_msg("%s: %d", cases[i].name, rc);
		if (rc == 0)
			assert_string_equal(out, cases[i].expect);
	}
}

static void
test_cache_record(void **state)
{
	struct store_fixture fixture;
	struct store_txn *txn;
	const uint8_t hash[API_KEY_HASH_SIZE] = { 1, 2, 3 };
	const struct api_key key = { .version = API_KEY_VERSION, .id = 7,
		.verdict = API_KEY_VALID, .balance = -5, .trunk_count = 1,
		.trunks = { { .id = 3, .name = "carrier" } } };
	struct api_key got;

	(void)state;
	store_fixture_open(&fixture);
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(api_key_get(txn, hash, &got), -KAP_NOENT);
	assert_int_equal(api_key_put(txn, hash, &key), 0);
	assert_int_equal(api_key_get(txn, hash, &got), 0);
	assert_memory_equal(&got, &key, sizeof(key));
	/* a shorter record, of a binary before the last fields were added */
	assert_int_equal(store_put(txn, STORE_KEYS, hash, sizeof(hash), &key,
	    offsetof(struct api_key, trunks)), 0);
	memset(&got, 0xff, sizeof(got));
	assert_int_equal(api_key_get(txn, hash, &got), 0);
	assert_int_equal(got.id, 7);
	assert_int_equal(got.trunks[0].id, 0);
	store_abort(&txn);
	store_fixture_close(&fixture);
}

static size_t
stored_size(struct store_txn *txn, const uint8_t hash[API_KEY_HASH_SIZE],
    const struct api_key *key)
{
	struct store_value value;
	struct api_key got;

	assert_int_equal(api_key_put(txn, hash, key), 0);
	assert_int_equal(store_get(txn, STORE_KEYS, hash, API_KEY_HASH_SIZE,
	    &value), 0);
	assert_int_equal(api_key_get(txn, hash, &got), 0);
	assert_memory_equal(&got, key, sizeof(got));
	return value.len;
}

/* What a key has no limits of takes no room; all it has is there again. */
static void
test_policies_are_cached(void **state)
{
	const uint8_t hash[API_KEY_HASH_SIZE] = { 1, 2, 3 };
	const size_t least = offsetof(struct api_key, policy);
	struct api_key key = { .version = API_KEY_VERSION, .id = 7 };
	struct store_fixture fixture;
	struct store_txn *txn;

	(void)state;
	store_fixture_open(&fixture);
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(stored_size(txn, hash, &key), least);
	key.policy.max_calls = 1;
	assert_in_range(stored_size(txn, hash, &key), least + 1, least + 4);
	key.policy.max_calls = 0x01000000; /* its first bytes are zero */
	assert_int_equal(stored_size(txn, hash, &key), least + 4);
	memset(key.policy.caller_ids, 0xff, sizeof(key.policy.caller_ids));
	memset(key.policy.allow, 0xff, sizeof(key.policy.allow));
	memset(key.policy.deny, 0xff, sizeof(key.policy.deny));
	memset(key.policy.webhook_url, 'x', KEY_POLICY_URL_MAX);
	assert_int_equal(stored_size(txn, hash, &key), least +
	    offsetof(struct key_policy, webhook_url) + KEY_POLICY_URL_MAX);
	memset(key.webhook_secret, 'x', sizeof(key.webhook_secret) - 1);
	memset(key.webhook_secret_before, 'y',
	    sizeof(key.webhook_secret_before) - 1);
	assert_int_equal(stored_size(txn, hash, &key), sizeof(key) - 1);
	/* one of before there were secrets */
	assert_int_equal(store_put(txn, STORE_KEYS, hash, sizeof(hash), &key,
	    offsetof(struct api_key, webhook_secret)), 0);
	assert_int_equal(api_key_get(txn, hash, &key), 0);
	assert_int_equal(key.policy.max_calls, 0x01000000);
	assert_string_equal(key.webhook_secret, "");
	assert_string_equal(key.webhook_secret_before, "");
	/* one of before there were limits, in place of one that had some */
	key.version = 2;
	assert_int_equal(store_put(txn, STORE_KEYS, hash, sizeof(hash), &key,
	    least), 0);
	assert_int_equal(api_key_get(txn, hash, &key), 0);
	assert_int_equal(key.id, 7);
	assert_true(key_policy_allows_call(&key.policy, 1000000));
	assert_true(key_policy_allows_number(&key.policy, "14155550100"));
	assert_true(key_policy_allows_caller_id(&key.policy, "14155550100"));
	assert_string_equal(key.policy.webhook_url, "");
	store_abort(&txn);
	store_fixture_close(&fixture);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_is_hmac_sha256),
		cmocka_unit_test(test_hash_depends_on_every_part),
		cmocka_unit_test(test_generated_keys),
		cmocka_unit_test(test_dial_strings),
		cmocka_unit_test(test_cache_record),
		cmocka_unit_test(test_policies_are_cached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
