/*
 * Text, hash, cache record and dial strings of API keys. Asks no database:
 * worker/key_lookup.c does.
 */
#include "api_key.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define KEY_PREFIX "ak_"
#define KEY_RANDOM_CHARS 40
#define NUMBER_MIN 7
#define NUMBER_MAX 15

static_assert(sizeof(KEY_PREFIX) + KEY_RANDOM_CHARS == API_KEY_TEXT_SIZE,
    "a key's text is its prefix, its characters and a NUL");
static_assert(offsetof(struct api_key, policy) <= 2000,
    "values over 2 KB take whole pages of the store");

int
api_key_hash(const char *pepper, const char *text, size_t len,
    uint8_t hash_out[API_KEY_HASH_SIZE])
{
	unsigned size = 0;

	if (HMAC(EVP_sha256(), pepper, (int)strlen(pepper),
	        (const unsigned char *)text, len, hash_out, &size) == NULL ||
	    size != API_KEY_HASH_SIZE)
		return -KAP_NOMEM;
	return 0;
}

int
api_key_generate(char text_out[API_KEY_TEXT_SIZE])
{
	static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	const unsigned base = sizeof(alphabet) - 1;
	size_t used = sizeof(KEY_PREFIX) - 1;

	memcpy(text_out, KEY_PREFIX, used);
	/* one byte in 64 is thrown away, so a few rounds always do */
	for (int round = 0; round < 64; round++) {
		uint8_t bytes[KEY_RANDOM_CHARS];

		if (getrandom(bytes, sizeof(bytes), 0) !=
		    (ssize_t)sizeof(bytes))
			break;
		for (size_t i = 0; i < sizeof(bytes); i++) {
			/* the rest above would make some letters likelier */
			if (bytes[i] < 256U / base * base &&
			    used < API_KEY_TEXT_SIZE - 1)
				text_out[used++] = alphabet[bytes[i] % base];
		}
		if (used == API_KEY_TEXT_SIZE - 1) {
			text_out[used] = '\0';
			return 0;
		}
	}
	text_out[0] = '\0';
	return -KAP_IO;
}

int
api_key_get(struct store_txn *txn, const uint8_t hash[API_KEY_HASH_SIZE],
    struct api_key *key_out)
{
	const int rc = store_copy(txn, STORE_KEYS, hash, API_KEY_HASH_SIZE,
	    key_out, sizeof(*key_out));

	if (rc != 0)
		return rc;
	if (key_out->trunk_count > API_KEY_TRUNKS_MAX)
		key_out->trunk_count = API_KEY_TRUNKS_MAX;
	return 0;
}

/* Most keys have no limits: only those that do take pages of their own. */
static size_t
stored_size(const struct api_key *key)
{
	const char *bytes = (const char *)key;
	size_t size = sizeof(*key);

	while (size > offsetof(struct api_key, policy) &&
	    bytes[size - 1] == 0)
		size--;
	return size;
}

int
api_key_put(struct store_txn *txn, const uint8_t hash[API_KEY_HASH_SIZE],
    const struct api_key *key)
{
	return store_put(txn, STORE_KEYS, hash, API_KEY_HASH_SIZE, key,
	    stored_size(key));
}

static bool
is_dial_number(const char *number)
{
	const size_t len = strspn(number, "0123456789");

	return number[len] == '\0' && len >= NUMBER_MIN && len <= NUMBER_MAX;
}

/* What stands at `at` in a template: how long it is, and what it becomes. */
static size_t
expand_one(const char *at, const struct api_key_trunk *trunk,
    const char *number, const char **text_out, size_t *len_out)
{
	static const char for_number[] = "{number}";
	static const char for_trunk[] = "{trunk}";

	if (strncmp(at, for_number, sizeof(for_number) - 1) == 0) {
		*text_out = number;
		*len_out = strlen(number);
		return sizeof(for_number) - 1;
	}
	if (strncmp(at, for_trunk, sizeof(for_trunk) - 1) == 0) {
		*text_out = trunk->name;
		*len_out = strlen(trunk->name);
		return sizeof(for_trunk) - 1;
	}
	*text_out = at;
	*len_out = 1;
	return 1;
}

int
api_key_expand_dial(const struct api_key_trunk *trunk, const char *number,
    char *out, size_t size)
{
	size_t used = 0;

	if (!is_dial_number(number) ||
	    strstr(trunk->dial_template, "{number}") == NULL)
		return -KAP_INVAL;
	for (const char *at = trunk->dial_template; *at != '\0';) {
		const char *text;
		size_t len;

		at += expand_one(at, trunk, number, &text, &len);
		if (used + len >= size)
			return -KAP_TOOBIG;
		memcpy(out + used, text, len);
		used += len;
	}
	out[used] = '\0';
	return 0;
}
