/*
 * The signature of a webhook (Standard Webhooks 1.0, "webhook-signature"):
 * "v1," and the base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>"), once
 * for each secret that is valid, with spaces between.
 */
#ifndef KAP_SIGNATURE_H
#define KAP_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"
#include "shared/webhook_secret.h"

#define SIGNATURE_ONE_LEN 47 /* "v1," and 44 characters */
#define SIGNATURE_SIZE (WEBHOOK_SECRETS_MAX * (SIGNATURE_ONE_LEN + 1))

/*
 * Sign one try.
 *
 * secrets      1..WEBHOOK_SECRETS_MAX of them, with a space between
 * id           what is sent as webhook-id
 * timestamp_s  what is sent as webhook-timestamp, seconds since the epoch
 * body         as it is sent, byte by byte
 *
 * Returns 0; -KAP_INVAL for secrets that are none; -KAP_NOMEM. Pure.
 */
KAP_MUST_USE int signature_make(const char *secrets, const char *id,
    int64_t timestamp_s, const char *body, size_t body_len,
    char out[SIGNATURE_SIZE]);

#endif
