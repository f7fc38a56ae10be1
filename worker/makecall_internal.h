/*
 * What makecall.c and makecall_wait.c know of a request for a call. Nobody
 * else includes this.
 */
#ifndef KAP_MAKECALL_INTERNAL_H
#define KAP_MAKECALL_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "api.h"
#include "call_request.h"
#include "makecall.h"
#include "shared/idempotency.h"

struct makecall {
	struct turn_job job;
	struct api *api;
	struct http_request *req; /* the batch's, for one out of a batch */
	makecall_done_fn *done;
	void *arg;
	struct api_key key;
	struct call_request request;
	bool is_second; /* …leg of a call that is there */
	char first_id[CALL_ID_SIZE]; /* which; "" : none of that id is */
	struct api_error body_error; /* API_OK: there is none */
	struct account_rate rate;
	bool counted; /* `rate` is set, and committed */
	enum api_code verdict;
	int64_t credits;
	int64_t available;
	uint32_t live; /* the key's calls */
	struct call_request_dial dial;
	bool has_idempotency; /* an Idempotency-Key came along */
	bool replayed;        /* …and its answer is there already */
	struct idempotency_id idempotency;
	uint8_t body_hash[IDEMPOTENCY_HASH_SIZE];
	struct idempotency answer; /* stored only with such a key */
	struct change change;
};

/* makecall.c: hand an answer over; `makecall` stays the caller's. */
void makecall_tell(struct makecall *makecall, struct api_answer *answer);

/* makecall_wait.c */

/*
 * Its call is there: it waits for Asterisk. Takes ownership of `makecall`.
 * Returns 0; -KAP_NOMEM with `makecall` still the caller's.
 */
KAP_MUST_USE int makecall_wait(struct makecall *makecall);

/* Give an answer that is in the store, and free the request. */
void makecall_answer_stored(struct makecall *makecall);

#endif
