/*
 * One transaction counts the request, looks its Idempotency-Key up, checks the
 * account, holds a credit, creates the call and takes its originate. The
 * answer waits for Asterisk's first sign of the call, or for its refusal
 * (makecall_wait.c).
 */
#include "makecall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_fields.h"
#include "forward_leg.h"
#include "http_server.h"
#include "json_digest.h"
#include "makecall_internal.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "trunk_choice.h"

static_assert(JSON_DIGEST_SIZE == IDEMPOTENCY_HASH_SIZE,
    "a record has room for the digest of a body");

/* --- answers ------------------------------------------------------------- */

void
makecall_tell(struct makecall *makecall, struct api_answer *answer)
{
	makecall->done(makecall->arg, answer,
	    makecall->counted ? &makecall->rate : NULL);
}

static void
tell_error(struct makecall *makecall, enum api_code code, cJSON *tree)
{
	struct api_answer answer;

	api_answer_error(&answer, code, tree);
	makecall_tell(makecall, &answer);
}

static void
tell_verdict(struct makecall *makecall)
{
	cJSON *tree = cJSON_CreateObject();
	struct api_answer answer;

	if (makecall->verdict == makecall->body_error.code) {
		if (makecall->body_error.text[0] != '\0')
			(void)cJSON_AddStringToObject(tree, "error",
			    makecall->body_error.text);
	} else if (makecall->verdict == API_INSUFFICIENT_CREDITS) {
		(void)cJSON_AddNumberToObject(tree, "credits",
		    (double)makecall->credits);
		(void)cJSON_AddNumberToObject(tree, "available",
		    (double)makecall->available);
	}
	api_answer_error(&answer, makecall->verdict, tree);
	if (makecall->verdict == API_TRUNKS_BUSY)
		answer.retry_after_s = (int)makecall->dial.wait_s;
	makecall_tell(makecall, &answer);
}

/* --- the transaction ------------------------------------------------------ */

/* Why no call can be made now, whoever asks; API_OK if it can. */
static enum api_code
judge_process(const struct api *api)
{
	if (api->draining || atomic_load(&stats_node()->paused) != 0)
		return API_DRAINING;
	if (api->overloaded)
		return API_OVERLOADED;
	return api->links_up ? API_OK : API_TELEPHONY_UNAVAILABLE;
}

/* What its Idempotency-Key stands for by now: nothing, or the answer. */
static int
judge_retry(struct makecall *makecall, struct store_txn *txn)
{
	struct idempotency record;
	int rc;

	if (!makecall->has_idempotency)
		return 0;
	rc = idempotency_find(txn, &makecall->idempotency,
	    clock_deadline_ms(), &record);
	if (rc != 0)
		return rc == -KAP_NOENT ? 0 : rc;
	if (memcmp(record.body_hash, makecall->body_hash,
	        sizeof(record.body_hash)) != 0) {
		makecall->verdict = API_IDEMPOTENCY_KEY_REUSED;
	} else if (record.state == IDEMPOTENCY_UNDER_WAY) {
		makecall->verdict = API_IDEMPOTENCY_IN_PROGRESS;
	} else {
		makecall->answer = record;
		makecall->replayed = true;
	}
	return 0;
}

/* What the key may not do, whatever there is. */
static enum api_code
judge_policy(const struct makecall *makecall)
{
	const struct api_key *key = &makecall->key;
	const char *caller_id = makecall->request.caller_id;

	/* its own is the default's, which needs no leave */
	if (caller_id[0] != '\0' &&
	    strcmp(caller_id, key->default_caller_id) != 0 &&
	    !key_policy_allows_caller_id(&key->policy, caller_id))
		return API_CALLER_ID_NOT_ALLOWED;
	if (!key_policy_allows_number(&key->policy, makecall->request.number))
		return API_DESTINATION_NOT_ALLOWED;
	return key_policy_allows_call(&key->policy, makecall->live) ? API_OK :
	    API_TOO_MANY_CALLS;
}

/* Whether there is what a new call needs. */
static enum api_code
judge_means(const struct makecall *makecall)
{
	enum api_code code;

	if (makecall->available <= 0)
		return API_INSUFFICIENT_CREDITS;
	if (makecall->key.trunk_count == 0)
		return API_NO_TRUNKS_ASSIGNED;
	code = judge_process(makecall->api);
	if (code == API_OK && makecall->request.use_amd &&
	    !makecall->api->has_amd)
		return API_AMD_UNAVAILABLE;
	return code;
}

/*
 * Whether there is a call that a second leg can be dialled for; then what the
 * request leaves to it is filled in, for its caller id is judged, too.
 */
static int
judge_second(struct makecall *makecall, struct store_txn *txn)
{
	const int rc = forward_leg_judge(txn, &makecall->key,
	    makecall->first_id, &makecall->verdict);

	return rc != 0 || makecall->verdict != API_OK ? rc :
	    forward_leg_inherit(txn, makecall->first_id, &makecall->request);
}

/* In the order that the API promises; from the start at each try. */
static int
judge(struct makecall *makecall, struct store_txn *txn)
{
	int rc;

	makecall->replayed = false;
	makecall->verdict = makecall->rate.allowed ?
	    makecall->body_error.code : API_RATE_LIMIT_EXCEEDED;
	if (makecall->verdict != API_OK)
		return 0;
	rc = judge_retry(makecall, txn);
	if (rc != 0 || makecall->verdict != API_OK || makecall->replayed)
		return rc;
	if (makecall->is_second)
		rc = judge_second(makecall, txn);
	if (rc == 0 && makecall->verdict == API_OK)
		makecall->verdict = judge_policy(makecall);
	if (rc == 0 && makecall->verdict == API_OK)
		makecall->verdict = judge_means(makecall);
	return rc;
}

/* All of the answer that is known when the call is made. */
static void
prepare_answer(struct makecall *makecall)
{
	const struct call_request_dial *dial = &makecall->dial;
	struct idempotency *record = &makecall->answer;

	memset(record, 0, sizeof(*record));
	record->use_amd = makecall->request.use_amd;
	record->ring_timeout_s = makecall->request.ring_timeout_s;
	record->credits = makecall->credits;
	memcpy(record->call_id, makecall->change.step.call.id,
	    sizeof(record->call_id));
	memcpy(record->body_hash, makecall->body_hash,
	    sizeof(record->body_hash));
	memcpy(record->voice, makecall->request.voice,
	    sizeof(record->voice));
	record->trunk_count = (uint8_t)dial->count;
	for (unsigned i = 0; i < dial->count; i++)
		strncpy(record->trunks[i], dial->trunks[i].name,
		    sizeof(record->trunks[i]) - 1);
}

static void
fill_call(const struct makecall *makecall, struct call *call)
{
	call_request_fill_call(&makecall->request, &makecall->key, call);
	if (makecall->is_second)
		forward_leg_mark(call, makecall->first_id);
}

static int
create_call(struct makecall *makecall, struct store_txn *txn)
{
	const struct call_request_dial *dial = &makecall->dial;
	struct call_cold cold = {
		.webhook_url = makecall->request.webhook_url,
		.metadata = makecall->request.metadata,
		.voice = makecall->request.voice,
		.amd = makecall->request.amd,
		.trunk_count = dial->count,
	};
	char hash[IDEMPOTENCY_HEX_SIZE];
	char secrets[WEBHOOK_SECRETS_TEXT_SIZE];
	struct call call;

	webhook_secret_join(makecall->key.webhook_secret,
	    makecall->key.webhook_secret_before, secrets);
	cold.webhook_secrets = secrets;
	for (unsigned i = 0; i < dial->count; i++) {
		cold.trunk_names[i] = dial->trunks[i].name;
		cold.endpoints[i] = dial->endpoints[i];
	}
	fill_call(makecall, &call);
	call.trunk_count = (uint8_t)dial->count;
	if (makecall->has_idempotency) {
		call.flags |= CALL_F_IDEMPOTENT;
		idempotency_format_hash(makecall->idempotency.hash, hash);
		cold.idempotency = hash;
	}
	return change_create(txn, makecall->api->maker, &call, &cold,
	    &makecall->change);
}

/* The call, and what its Idempotency-Key stands for from now on. */
static int
create(struct makecall *makecall, struct store_txn *txn)
{
	const int64_t keep_ms =
	    makecall->api->config->idempotency.keep_s * 1000;
	const int64_t now_ms = clock_deadline_ms();
	int rc = create_call(makecall, txn);

	if (rc != 0)
		return rc;
	prepare_answer(makecall);
	if (!makecall->has_idempotency)
		return 0;
	return idempotency_create(txn, &makecall->idempotency,
	    &makecall->answer, keep_ms, now_ms,
	    makecall->api->is_tight ? now_ms + keep_ms : now_ms);
}

static int
apply_makecall(struct turn_job *job, struct store_txn *txn)
{
	struct makecall *makecall = (struct makecall *)job;
	struct account account;
	int rc = api_count_request(txn, &makecall->key, &account,
	    &makecall->rate);

	if (rc != 0)
		return rc;
	makecall->credits = account_credits(&account, &makecall->key);
	makecall->available = account_available(&account, &makecall->key);
	makecall->live = account.live;
	rc = judge(makecall, txn);
	if (rc != 0 || makecall->verdict != API_OK || makecall->replayed)
		return rc;
	rc = trunk_choice_dial(txn, &makecall->request, &makecall->key,
	    &account, &makecall->dial);
	if (rc == -KAP_AGAIN || rc == -KAP_INVAL) {
		makecall->verdict = rc == -KAP_AGAIN ? API_TRUNKS_BUSY :
		    API_INTERNAL_ERROR;
		return 0;
	}
	if (rc != 0)
		return rc;
	rc = account_put(txn, makecall->key.id, &account);
	return rc != 0 ? rc : create(makecall, txn);
}

/* --- after the commit ----------------------------------------------------- */

/* Its call is there: the answer waits for Asterisk. */
static void
follow_call(struct makecall *makecall)
{
	/* an answer may free it while the change is followed */
	const struct change change = makecall->change;
	struct api *api = makecall->api;

	stats_add(STATS_calls_created, 1);
	log_info("call accepted",
	    LOG_S("call", change.step.call.id),
	    LOG_S("req", http_request_id(makecall->req)),
	    LOG_S("key", makecall->key.key_id),
	    LOG_S("trunk", makecall->answer.trunks[0]));
	if (makecall_wait(makecall) != 0) {
		tell_error(makecall, API_INTERNAL_ERROR,
		    cJSON_CreateObject());
		free(makecall);
	}
	dispatch_follow(api->dispatch, &change);
}

static void
answer_replay(struct makecall *makecall)
{
	log_info("call answered again",
	    LOG_S("call", makecall->answer.call_id),
	    LOG_S("req", http_request_id(makecall->req)),
	    LOG_S("key", makecall->key.key_id));
	makecall_answer_stored(makecall);
}

static void
done_makecall(struct turn_job *job, int rc)
{
	struct makecall *makecall = (struct makecall *)job;

	makecall->counted = rc == 0;
	if (rc != 0) {
		makecall->body_error.code = API_OK;
		makecall->verdict = api_code_of_store(rc);
		log_error("a call could not be created",
		    LOG_S("req", http_request_id(makecall->req)),
		    LOG_S("error", kap_strerror(rc)));
	}
	if (makecall->verdict == API_OK && !makecall->replayed) {
		follow_call(makecall);
		return;
	}
	if (makecall->verdict == API_OK) {
		answer_replay(makecall);
		return;
	}
	tell_verdict(makecall);
	free(makecall);
}

/* --- the request ---------------------------------------------------------- */

/*
 * What tells whether the next one with the same key is a retry. The same body
 * is one that says the same: a client that writes its JSON anew for a retry,
 * with its members in another order, must not be refused just when it
 * matters. Compared is what was sent, not what it was understood as, for
 * defaults may change between two tries.
 */
static int
identify_request(struct makecall *makecall, const cJSON *body,
    const char *idempotency_key)
{
	int rc;

	if (idempotency_key == NULL)
		return 0;
	makecall->has_idempotency = true;
	makecall->idempotency.key_id = makecall->key.id;
	rc = idempotency_hash(idempotency_key, makecall->idempotency.hash);
	return rc != 0 ? rc : json_digest(body, makecall->body_hash);
}

void
makecall_read(struct makecall *makecall, const cJSON *body,
    const char *idempotency_key)
{
	struct api_error *error = &makecall->body_error;

	if (call_request_read(body, makecall->api->config,
	        &makecall->request, error) == 0 &&
	    call_request_take_webhook(&makecall->key, makecall->api->config,
	        &makecall->request, error) == 0)
		error->code = identify_request(makecall, body,
		    idempotency_key) == 0 ? API_OK : API_INTERNAL_ERROR;
}

void
makecall_read_second(struct makecall *makecall, const char *first_id,
    const struct call_request *request, const cJSON *body,
    const char *idempotency_key)
{
	makecall->is_second = true;
	makecall->request = *request;
	(void)snprintf(makecall->first_id, sizeof(makecall->first_id), "%s",
	    first_id);
	makecall->body_error.code = identify_request(makecall, body,
	    idempotency_key) == 0 ? API_OK : API_INTERNAL_ERROR;
}

struct makecall *
makecall_new(struct api *api, struct http_request *req,
    const struct api_key *key, makecall_done_fn *done, void *arg)
{
	struct makecall *makecall = calloc(1, sizeof(*makecall));

	if (makecall == NULL)
		return NULL;
	makecall->api = api;
	makecall->req = req;
	makecall->done = done;
	makecall->arg = arg;
	makecall->key = *key;
	makecall->job.apply = apply_makecall;
	makecall->job.done = done_makecall;
	return makecall;
}

struct api_error *
makecall_fault(struct makecall *makecall)
{
	return &makecall->body_error;
}

void
makecall_submit(struct makecall *makecall)
{
	turn_submit(makecall->api->turn, &makecall->job);
}
