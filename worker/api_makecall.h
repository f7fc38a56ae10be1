/*
 * What /batchcall has of /makecall: the same answer to the same body; and
 * /forwardcall.
 */
#ifndef KAP_API_MAKECALL_H
#define KAP_API_MAKECALL_H

#include <cjson/cJSON.h>

#include "api.h"

/*
 * Make the one call that a request asks for, and answer it.
 *
 * body   borrowed for the call; NULL where it can't be read
 * fault  why, then; API_OK is never one
 */
void api_makecall_one(struct api *api, struct http_request *req,
    const struct api_key *key, const cJSON *body,
    const struct api_error *fault);

/*
 * Read the request's Idempotency-Key. *text_out is borrowed from the request,
 * NULL for none. Returns 0, or -KAP_INVAL with the error filled in.
 */
KAP_MUST_USE int api_makecall_read_key(struct http_request *req,
    const char **text_out, struct api_error *error);

#endif
