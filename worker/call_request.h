/*
 * The body of /makecall: read, checked, and brought into the form that a call
 * is made of.
 */
#ifndef KAP_CALL_REQUEST_H
#define KAP_CALL_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "api_error.h"
#include "shared/api_key.h"
#include "shared/call_cold.h"
#include "shared/config.h"

#define CALL_REQUEST_VOICE "en-US-Neural2-A"

struct call_request {
	char number[CALL_NUMBER_SIZE];
	char caller_id[CALL_NUMBER_SIZE]; /* empty: none sent */
	char webhook_url[CALL_WEBHOOK_URL_MAX + 1];
	char metadata[CALL_METADATA_MAX + 1];
	char voice[CALL_VOICE_MAX + 1];
	uint16_t ring_timeout_s;
	uint32_t max_duration_s;
	bool use_amd;
	bool async_amd;
	char amd[CALL_AMD_ARGS_MAX + 1]; /* AMD()'s arguments; empty: none */
	uint8_t amd_total; /* struct call's */
	bool record;
};

/*
 * Read a body. Returns 0, or -KAP_INVAL with the error filled in. Pure.
 */
KAP_MUST_USE int call_request_read(const cJSON *body,
    const struct config *config, struct call_request *request_out,
    struct api_error *error);

/*
 * Where a request says nothing of it, events go to the key's URL, if it has
 * one. That is checked as one that was sent, for the configuration may have
 * changed since it was set. Returns 0, or -KAP_INVAL with the error filled
 * in. Pure.
 */
KAP_MUST_USE int call_request_take_webhook(const struct api_key *key,
    const struct config *config, struct call_request *request,
    struct api_error *error);

/*
 * The call that a request makes with a key: number, caller id, limits and
 * flags. Slot, id and state are not its business.
 */
void call_request_fill_call(const struct call_request *request,
    const struct api_key *key, struct call *call_out);

/* Room for the dial strings of one call. */
struct call_request_dial {
	struct api_key_trunk trunks[CALL_TRUNKS_MAX];
	struct api_key_trunk_limits limits[CALL_TRUNKS_MAX];
	char endpoints[CALL_TRUNKS_MAX][CALL_ENDPOINT_MAX + 1];
	unsigned count;
	unsigned wait_s; /* trunk_choice.h's */
};

/*
 * Add trunks of the key in the order in which they are to be tried: those of
 * the lowest priority first, and among those of one priority in turn, each as
 * often as its weight says.
 *
 * wanted  bit n: the key's n-th trunk, from 0, is one of them
 * first   the round-robin position, any number: it alone says whose turn it is
 * out     what is there already stays; begins as all zero
 *
 * Trunks whose template can't be expanded are left out.
 */
void call_request_dial(const struct call_request *request,
    const struct api_key *key, uint32_t wanted, uint32_t first,
    struct call_request_dial *out);

#endif
