/*
 * HMACs by OpenSSL. Keeps no secret beyond the call.
 */
#include "signature.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define VERSION "v1,"
#define VERSION_LEN (sizeof(VERSION) - 1)
#define HASH_SIZE 32
#define HEAD_SIZE 128 /* id and timestamp */

static_assert(VERSION_LEN + (HASH_SIZE + 2) / 3 * 4 == SIGNATURE_ONE_LEN,
    "a signature is its version and the base64 of its hash");

/* Append the signature of one secret, which is `len` long, to `out`. */
static int
sign_one(const char *secret, size_t len, const char *text, size_t text_len,
    char *out)
{
	uint8_t key[WEBHOOK_SECRET_BYTES_MAX];
	uint8_t hash[HASH_SIZE];
	unsigned hash_len = 0;
	size_t key_len;
	int rc = webhook_secret_parse(secret, len, key, &key_len);

	if (rc != 0)
		return rc;
	if (HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text,
	        text_len, hash, &hash_len) == NULL || hash_len != HASH_SIZE)
		rc = -KAP_NOMEM;
	OPENSSL_cleanse(key, sizeof(key));
	if (rc != 0)
		return rc;
	memcpy(out, VERSION, VERSION_LEN);
	(void)EVP_EncodeBlock((unsigned char *)out + VERSION_LEN, hash,
	    HASH_SIZE);
	return 0;
}

static int
sign_all(const char *secrets, const char *text, size_t text_len,
    char out[SIGNATURE_SIZE])
{
	size_t used = 0;

	for (int i = 0; i < WEBHOOK_SECRETS_MAX; i++) {
		const size_t len = strcspn(secrets, " ");
		const int rc = sign_one(secrets, len, text, text_len,
		    out + used);

		if (rc != 0)
			return rc;
		used += SIGNATURE_ONE_LEN;
		if (secrets[len] == '\0')
			return 0;
		out[used++] = ' ';
		secrets += len + 1;
	}
	return -KAP_INVAL;
}

int
signature_make(const char *secrets, const char *id, int64_t timestamp_s,
    const char *body, size_t body_len, char out[SIGNATURE_SIZE])
{
	char head[HEAD_SIZE];
	const int head_len = snprintf(head, sizeof(head), "%s.%" PRId64 ".",
	    id, timestamp_s);
	char *text;
	int rc;

	if (head_len < 0 || (size_t)head_len >= sizeof(head))
		return -KAP_INVAL;
	text = malloc((size_t)head_len + body_len);
	if (text == NULL)
		return -KAP_NOMEM;
	memcpy(text, head, (size_t)head_len);
	memcpy(text + head_len, body, body_len);
	rc = sign_all(secrets, text, (size_t)head_len + body_len, out);
	free(text);
	return rc;
}
