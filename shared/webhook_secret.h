/*
 * The secrets that webhooks are signed with, as text: "whsec_" and the base64
 * of 24 to 64 bytes (Standard Webhooks 1.0). No secret may stand in a log, an
 * error, an answer of the API or a metric.
 */
#ifndef KAP_WEBHOOK_SECRET_H
#define KAP_WEBHOOK_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define WEBHOOK_SECRET_BYTES_MIN 24
#define WEBHOOK_SECRET_BYTES_MAX 64
#define WEBHOOK_SECRET_TEXT_SIZE 96 /* the longest has 94 characters */
#define WEBHOOK_SECRETS_MAX 2       /* that are valid at a time */
#define WEBHOOK_SECRETS_TEXT_SIZE \
	(WEBHOOK_SECRETS_MAX * WEBHOOK_SECRET_TEXT_SIZE)

/*
 * Read a secret's bytes.
 *
 * len      of the text, which needs no NUL
 * len_out  WEBHOOK_SECRET_BYTES_MIN..WEBHOOK_SECRET_BYTES_MAX
 *
 * Returns 0; -KAP_INVAL for what is none. Pure.
 */
KAP_MUST_USE int webhook_secret_parse(const char *text, size_t len,
    uint8_t bytes_out[WEBHOOK_SECRET_BYTES_MAX], size_t *len_out);

/*
 * Make a new one of 32 bytes, NUL-terminated, from the system's random source.
 * Returns 0 or -KAP_IO.
 */
KAP_MUST_USE int webhook_secret_generate(
    char text_out[WEBHOOK_SECRET_TEXT_SIZE]);

/* Join two of them, each of which may be "", with a space between. */
void webhook_secret_join(const char *secret, const char *before,
    char out[WEBHOOK_SECRETS_TEXT_SIZE]);

#endif
