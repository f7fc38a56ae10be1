/*
 * The cold record of a call: what is long, rare and never changes. Packed
 * into one value (offsets, then NUL-terminated strings), written once with
 * the call, gone with it.
 */
#ifndef KAP_CALL_COLD_H
#define KAP_CALL_COLD_H

#include <stddef.h>
#include <stdint.h>

#include "call.h"
#include "store.h"
#include "webhook_secret.h"

#define CALL_WEBHOOK_URL_MAX 2048
#define CALL_METADATA_MAX 1024
#define CALL_VOICE_MAX 64
#define CALL_TRUNK_NAME_MAX 64
#define CALL_ENDPOINT_MAX 160
#define CALL_IDEMPOTENCY_MAX 64
#define CALL_AMD_ARGS_MAX 80
#define CALL_WEBHOOK_SECRETS_MAX (WEBHOOK_SECRETS_TEXT_SIZE - 1)

struct call_cold {
	const char *webhook_url; /* "" : no events are sent */
	const char *metadata;    /* JSON object text, "" : none */
	const char *voice;       /* as asked for or the default */
	unsigned trunk_count;    /* 1..CALL_TRUNKS_MAX, in the order of tries */
	const char *trunk_names[CALL_TRUNKS_MAX];
	const char *endpoints[CALL_TRUNKS_MAX]; /* "PJSIP/00…@trunk" */
	const char *idempotency; /* the Idempotency-Key's hash, in
	                            hexadecimal (idempotency.h); "" : none */
	const char *amd; /* what AMD() is called with, its arguments with
	                    commas between them; "" : the configuration's */
	const char *webhook_secrets; /* what its events are signed with, with
	                                a space between; "" : they are not.
	                                Nothing prints them */
};

/*
 * Write a call's cold record. Returns 0; -KAP_TOOBIG for a string over its
 * limit; -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int call_cold_put(struct store_txn *txn, const char *call_id,
    const struct call_cold *cold);

/*
 * Read it in place: the strings are borrowed until the transaction ends or
 * writes to STORE_CALL_COLD. Returns 0, -KAP_NOENT, -KAP_CORRUPT, -KAP_IO.
 */
KAP_MUST_USE int call_cold_get(struct store_txn *txn, const char *call_id,
    struct call_cold *cold_out);

KAP_MUST_USE int call_cold_del(struct store_txn *txn, const char *call_id);

#endif
