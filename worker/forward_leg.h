/*
 * The body of /forwardcall, and what its call, a second leg, has from the
 * first one. All else is as with any other call (makecall.h).
 */
#ifndef KAP_FORWARD_LEG_H
#define KAP_FORWARD_LEG_H

#include <cjson/cJSON.h>

#include "api_error.h"
#include "call_request.h"
#include "shared/api_key.h"
#include "shared/call.h"
#include "shared/config.h"
#include "shared/store.h"

/*
 * Read a body. A callId that can't be one is no error here: it is "", and
 * forward_leg_judge finds no call.
 *
 * Returns 0, or -KAP_INVAL with the error filled in. Pure.
 */
KAP_MUST_USE int forward_leg_read(const cJSON *body,
    const struct config *config, char first_id_out[CALL_ID_SIZE],
    struct call_request *request_out, struct api_error *error);

/*
 * Whether a call can be forwarded now, inside a transaction.
 *
 * key       the client's: another's call is not found
 * code_out  API_OK if it can
 *
 * Returns 0 or the store's error.
 */
KAP_MUST_USE int forward_leg_judge(struct store_txn *txn,
    const struct api_key *key, const char *first_id,
    enum api_code *code_out);

/*
 * Fill in what the request leaves to the first leg: where its events go, its
 * metadata and voice, its caller id where none was sent, its longest
 * duration. Returns 0 or the store's error.
 */
KAP_MUST_USE int forward_leg_inherit(struct store_txn *txn,
    const char *first_id, struct call_request *request);

/* Make a call the second leg of another, before it is created. */
void forward_leg_mark(struct call *call, const char *first_id);

#endif
