/*
 * Reads, makes and joins secrets; signs nothing.
 */
#include "webhook_secret.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#define PREFIX "whsec_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define NEW_BYTES 32
#define BASE64 \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#define BASE64_MAX ((WEBHOOK_SECRET_BYTES_MAX + 2) / 3 * 4)

static_assert(PREFIX_LEN + BASE64_MAX < WEBHOOK_SECRET_TEXT_SIZE,
    "the longest secret has room");

/* How many '=' end a base64 text; -1 where it is none. */
static int
padding_of(const char *base64, size_t len)
{
	size_t letters = 0;

	while (letters < len && base64[letters] != '\0' &&
	    strchr(BASE64, base64[letters]) != NULL)
		letters++;
	if (len % 4 != 0 || len - letters > 2)
		return -1;
	for (size_t i = letters; i < len; i++) {
		if (base64[i] != '=')
			return -1;
	}
	return (int)(len - letters);
}

int
webhook_secret_parse(const char *text, size_t len,
    uint8_t bytes_out[WEBHOOK_SECRET_BYTES_MAX], size_t *len_out)
{
	uint8_t decoded[BASE64_MAX / 4 * 3];
	size_t bytes;
	int padding;

	if (len < PREFIX_LEN || len > PREFIX_LEN + BASE64_MAX ||
	    memcmp(text, PREFIX, PREFIX_LEN) != 0)
		return -KAP_INVAL;
	text += PREFIX_LEN;
	len -= PREFIX_LEN;
	padding = padding_of(text, len);
	if (padding < 0)
		return -KAP_INVAL;
	bytes = len / 4 * 3 - (size_t)padding;
	if (bytes < WEBHOOK_SECRET_BYTES_MIN ||
	    bytes > WEBHOOK_SECRET_BYTES_MAX ||
	    EVP_DecodeBlock(decoded, (const unsigned char *)text,
	        (int)len) < 0)
		return -KAP_INVAL;
	memcpy(bytes_out, decoded, bytes);
	*len_out = bytes;
	return 0;
}

int
webhook_secret_generate(char text_out[WEBHOOK_SECRET_TEXT_SIZE])
{
	uint8_t bytes[NEW_BYTES];

	text_out[0] = '\0';
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -KAP_IO;
	memcpy(text_out, PREFIX, PREFIX_LEN);
	(void)EVP_EncodeBlock((unsigned char *)text_out + PREFIX_LEN, bytes,
	    sizeof(bytes));
	return 0;
}

void
webhook_secret_join(const char *secret, const char *before,
    char out[WEBHOOK_SECRETS_TEXT_SIZE])
{
	(void)snprintf(out, WEBHOOK_SECRETS_TEXT_SIZE, "%s%s%s", secret,
	    *secret != '\0' && *before != '\0' ? " " : "", before);
}
