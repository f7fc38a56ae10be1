/*
 * A request that has something played to a call: from its body to its answer.
 * What /voice, /play and /gather have in common:
 *
 *     key ─▶ body ─▶ [1st transaction: counted, the call looked at]
 *        ─▶ speech, if there is a text ─▶ [2nd: looked at again, and played]
 *        ─▶ Asterisk takes it ─▶ answer
 *
 * Without a text the first transaction is the second, too. Whose connection
 * broke while its speech was made gets nothing played.
 */
#ifndef KAP_CONTROL_REQUEST_H
#define KAP_CONTROL_REQUEST_H

#include "api.h"
#include "control_body.h"

/* What is known when a request has been carried out. All is borrowed. */
struct control_done {
	const struct control_body *body;
	const char *playback_id;
	const char *method; /* where it is played: what was really used */
};

/* One path. */
struct control_kind {
	control_body_read_fn *read;
	enum call_input_kind input; /* CALL_IN_PLAY or CALL_IN_GATHER */
	enum call_play_kind play;
	/* Fill the answer, {"success":true}. */
	void (*fill)(const struct control_done *done, cJSON *tree);
};

/* Carry a request out, and answer it. `key` is copied. */
void control_request_begin(struct api *api, struct http_request *req,
    const struct api_key *key, const struct control_kind *kind);

/*
 * Find a call of a key, answered and not being hung up, inside a transaction.
 * *verdict_out: API_OK, API_CALL_NOT_FOUND or API_CALL_NOT_ANSWERED.
 *
 * call_id  "" : no call has it
 *
 * Returns 0 or the store's error.
 */
KAP_MUST_USE int control_find_call(struct store_txn *txn, const char *call_id,
    const struct api_key *key, struct call *call_out,
    enum api_code *verdict_out);

#endif
