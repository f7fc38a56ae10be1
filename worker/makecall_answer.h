/*
 * What /makecall answers when it is known what became of the call. Rendered
 * from the record that an Idempotency-Key keeps, also for a request without
 * one: so the first answer and each replay have the same body.
 */
#ifndef KAP_MAKECALL_ANSWER_H
#define KAP_MAKECALL_ANSWER_H

#include "shared/idempotency.h"

struct http_request;

/*
 * Answer 200, or 500 ORIGINATION_FAILED, and end the request.
 *
 * record  in state MADE or REFUSED
 */
void makecall_answer(struct http_request *req,
    const struct idempotency *record);

/*
 * Answer 503 TELEPHONY_TIMEOUT: nobody can tell yet what becomes of the call;
 * its id tells which it is.
 */
void makecall_answer_unknown(struct http_request *req, const char *call_id);

#endif
