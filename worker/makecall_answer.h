/*
 * What /makecall answers when it is known what became of the call. Rendered
 * from the record that an Idempotency-Key keeps, also for a request without
 * one: so the first answer and each replay have the same body.
 */
#ifndef KAP_MAKECALL_ANSWER_H
#define KAP_MAKECALL_ANSWER_H

#include "api.h"
#include "shared/idempotency.h"

/*
 * 200, 500 ORIGINATION_FAILED, or 503 TELEPHONY_TIMEOUT.
 *
 * record  not UNDER_WAY
 */
void makecall_answer(const struct idempotency *record,
    struct api_answer *answer);

/*
 * 503 TELEPHONY_TIMEOUT: nobody can tell yet what becomes of the call;
 * its id tells which it is.
 */
void makecall_answer_unknown(const char *call_id, struct api_answer *answer);

#endif
