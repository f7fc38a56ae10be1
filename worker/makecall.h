/*
 * One call that a client asks for: from its body to what it is answered. Used
 * by whoever makes calls for a client; whether the answer is a request's own
 * or one of many is not known here.
 */
#ifndef KAP_MAKECALL_H
#define KAP_MAKECALL_H

#include <cjson/cJSON.h>

#include "api.h"

struct call_request;
struct makecall;

/*
 * What is to be answered; called once for each makecall, from the loop, or
 * from waiters_free. The tree in `answer` is the callee's from then on, and
 * its `given_up`.
 *
 * rate  the window that the request was counted in; NULL where it was not,
 *       for the store failed. Borrowed for the call
 */
typedef void makecall_done_fn(void *arg, struct api_answer *answer,
    const struct account_rate *rate);

/*
 * Begin with one.
 *
 * req  stays valid until `done` was called
 * key  copied
 *
 * NULL when out of memory: `done` is not called then.
 */
struct makecall *makecall_new(struct api *api, struct http_request *req,
    const struct api_key *key, makecall_done_fn *done, void *arg);

/* Answer a request with what its one call is answered: a makecall_done_fn's. */
void makecall_reply(struct http_request *req, struct api_answer *answer,
    const struct account_rate *rate);

/* Where a fault of the body is noted; with one no call is made. */
struct api_error *makecall_fault(struct makecall *makecall);

/*
 * Read what the call is to be. What is wrong with it is noted, and answered
 * in its turn.
 *
 * idempotency_key  NULL: none
 */
void makecall_read(struct makecall *makecall, const cJSON *body,
    const char *idempotency_key);

/*
 * The same for a second leg (forward_leg.h), where the caller has read the
 * body himself.
 *
 * request  copied
 */
void makecall_read_second(struct makecall *makecall, const char *first_id,
    const struct call_request *request, const cJSON *body,
    const char *idempotency_key);

/*
 * Count it, judge it and make the call, in the next transaction. Takes
 * ownership.
 */
void makecall_submit(struct makecall *makecall);

#endif
