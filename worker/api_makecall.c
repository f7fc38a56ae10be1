/*
 * POST /makecall: one transaction counts the request, checks the account,
 * holds a credit, creates the call and takes its originate. The answer waits
 * for Asterisk's first sign of the call, or for its refusal.
 */
#include "api.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "call_json.h"
#include "call_request.h"
#include "http_server.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"

#define REVIEW_MAX 64

struct makecall {
	struct turn_job job;
	struct api *api;
	struct http_request *req;
	struct api_key key;
	struct call_request request;
	struct api_error body_error; /* API_OK: there is none */
	struct account_rate rate;
	enum api_code verdict;
	int64_t credits;
	int64_t available;
	struct call_request_dial dial;
	struct change change;
};

/* By call id; a tsearch tree of struct makecall. */
struct waiters {
	void *tree;
	unsigned count;
};

struct waiters *
waiters_new(void)
{
	return calloc(1, sizeof(struct waiters));
}

unsigned
waiters_count(const struct waiters *waiters)
{
	return waiters->count;
}

static int
compare_waiters(const void *a, const void *b)
{
	const struct makecall *left = a;
	const struct makecall *right = b;

	return strcmp(left->change.step.call.id, right->change.step.call.id);
}

static void
waiters_remove(struct waiters *waiters, struct makecall *makecall)
{
	if (tdelete(makecall, &waiters->tree, compare_waiters) != NULL)
		waiters->count--;
}

/* Nobody can tell yet what becomes of the call; its id tells which it is. */
static void
answer_timeout(struct makecall *makecall)
{
	cJSON *tree = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(tree, "callId",
	    makecall->change.step.call.id);
	api_reply_error_tree(makecall->req, API_TELEPHONY_TIMEOUT, tree);
}

void
waiters_free(struct waiters **waiters)
{
	if (*waiters == NULL)
		return;
	while ((*waiters)->tree != NULL) {
		struct makecall *makecall =
		    *(struct makecall **)(*waiters)->tree;

		waiters_remove(*waiters, makecall);
		answer_timeout(makecall);
		free(makecall);
	}
	free(*waiters);
	*waiters = NULL;
}

/* --- answers ------------------------------------------------------------- */

static const char *
trunk_name(const struct makecall *makecall, unsigned attempt)
{
	if (attempt == 0 || attempt > makecall->dial.count)
		return "";
	return makecall->dial.trunks[attempt - 1].name;
}

static void
answer_call(struct makecall *makecall, const struct call *call)
{
	cJSON *tree = call_json_success();

	(void)cJSON_AddStringToObject(tree, "callId", call->id);
	(void)cJSON_AddStringToObject(tree, "status", "ringing");
	(void)cJSON_AddBoolToObject(tree, "amdEnabled",
	    makecall->request.use_amd);
	(void)cJSON_AddStringToObject(tree, "voiceName",
	    makecall->request.voice);
	(void)cJSON_AddNumberToObject(tree, "credits",
	    (double)makecall->credits);
	(void)cJSON_AddNumberToObject(tree, "ringTimeoutSeconds",
	    call->ring_timeout_s);
	(void)cJSON_AddStringToObject(tree, "trunk",
	    trunk_name(makecall, call->attempt));
	(void)cJSON_AddNumberToObject(tree, "trunkAttempts", call->attempt);
	(void)cJSON_AddNumberToObject(tree, "totalTrunks",
	    makecall->dial.count);
	call_json_add_timestamp(tree);
	http_reply_json(makecall->req, 200, tree);
}

static void
answer_refused(struct makecall *makecall, const struct call *call)
{
	cJSON *tree = cJSON_CreateObject();
	cJSON *tried = cJSON_AddArrayToObject(tree, "attemptedTrunks");

	for (unsigned i = 1; i <= call->attempt; i++)
		(void)cJSON_AddItemToArray(tried,
		    cJSON_CreateString(trunk_name(makecall, i)));
	(void)cJSON_AddNumberToObject(tree, "totalTrunks",
	    makecall->dial.count);
	api_reply_error_tree(makecall->req, API_ORIGINATION_FAILED, tree);
}

static void
answer_verdict(struct makecall *makecall)
{
	cJSON *tree;

	if (makecall->verdict == makecall->body_error.code) {
		api_reply_error(makecall->req, &makecall->body_error);
		return;
	}
	tree = cJSON_CreateObject();
	if (makecall->verdict == API_INSUFFICIENT_CREDITS) {
		(void)cJSON_AddNumberToObject(tree, "credits",
		    (double)makecall->credits);
		(void)cJSON_AddNumberToObject(tree, "available",
		    (double)makecall->available);
	}
	api_reply_error_tree(makecall->req, makecall->verdict, tree);
}

/* Is it known by now what the answer is? */
static bool
is_decided(const struct call *call)
{
	return call->state != CALL_QUEUED ||
	    (call->flags & CALL_F_ABANDONED) != 0;
}

/* Answer and free a request that waited. */
static void
answer(struct waiters *waiters, struct makecall *makecall,
    const struct call *call)
{
	const uint32_t known = CALL_F_INITIATED | CALL_F_API_HANGUP;

	waiters_remove(waiters, makecall);
	if ((call->flags & CALL_F_REFUSED) != 0)
		answer_refused(makecall, call);
	else if ((call->flags & known) == 0)
		answer_timeout(makecall);
	else
		answer_call(makecall, call);
	free(makecall);
}

void
api_call_changed(struct api *api, const struct change *change)
{
	const struct call *call = &change->step.call;
	struct makecall wanted;
	void *found;

	if (change->step.state_before > CALL_QUEUED || !is_decided(call))
		return;
	memcpy(wanted.change.step.call.id, call->id, sizeof(call->id));
	found = tfind(&wanted, &api->waiters->tree, compare_waiters);
	if (found != NULL)
		answer(api->waiters, *(struct makecall **)found, call);
}

/* Waiters that a review looks at; the rest has its turn at the next. */
struct review {
	struct makecall *list[REVIEW_MAX];
	unsigned count;
	int64_t before_ms;
};

static void
pick_old(const void *node, VISIT visit, void *arg)
{
	struct makecall *makecall = *(struct makecall *const *)node;
	struct review *review = arg;

	if ((visit == postorder || visit == leaf) &&
	    makecall->change.step.call.created_ms < review->before_ms &&
	    review->count < REVIEW_MAX)
		review->list[review->count++] = makecall;
}

/* The calls as they are now; one that is gone has no state. */
static int
read_calls(struct api *api, const struct review *review, struct call *calls)
{
	struct store_txn *txn;
	int rc = store_begin_read(api->store, &txn);

	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < review->count && rc == 0; i++) {
		rc = call_table_get(txn,
		    review->list[i]->change.step.call.id, &calls[i]);
		if (rc == -KAP_NOENT) {
			calls[i].state = CALL_NONE;
			rc = 0;
		}
	}
	store_end_read(&txn);
	return rc;
}

void
waiters_review(struct api *api)
{
	struct review review = {
		.before_ms = clock_wall_ms() -
		    api->maker->originate_timeout_ms,
	};
	struct call calls[REVIEW_MAX];

	twalk_r(api->waiters->tree, pick_old, &review);
	if (review.count == 0 || read_calls(api, &review, calls) != 0)
		return;
	for (unsigned i = 0; i < review.count; i++) {
		struct makecall *makecall = review.list[i];

		if (calls[i].state == CALL_NONE) {
			waiters_remove(api->waiters, makecall);
			answer_timeout(makecall);
			free(makecall);
		} else if (is_decided(&calls[i])) {
			answer(api->waiters, makecall, &calls[i]);
		}
	}
}

/* --- the transaction ------------------------------------------------------ */

/* Why no call can be made now, whoever asks; API_OK if it can. */
static enum api_code
judge_process(const struct api *api)
{
	if (api->draining)
		return API_DRAINING;
	if (api->overloaded)
		return API_OVERLOADED;
	return api->links_up ? API_OK : API_TELEPHONY_UNAVAILABLE;
}

/* In the order that the API promises. */
static enum api_code
judge(struct makecall *makecall)
{
	enum api_code process;

	if (!makecall->rate.allowed)
		return API_RATE_LIMIT_EXCEEDED;
	if (makecall->body_error.code != API_OK)
		return makecall->body_error.code;
	if (makecall->available <= 0)
		return API_INSUFFICIENT_CREDITS;
	if (makecall->key.trunk_count == 0)
		return API_NO_TRUNKS_ASSIGNED;
	process = judge_process(makecall->api);
	return process;
}

static int
create_call(struct makecall *makecall, struct store_txn *txn)
{
	const struct call_request_dial *dial = &makecall->dial;
	struct call_cold cold = {
		.webhook_url = makecall->request.webhook_url,
		.metadata = makecall->request.metadata,
		.voice = makecall->request.voice,
		.trunk_count = dial->count,
	};
	struct call call;

	for (unsigned i = 0; i < dial->count; i++) {
		cold.trunk_names[i] = dial->trunks[i].name;
		cold.endpoints[i] = dial->endpoints[i];
	}
	call_request_fill_call(&makecall->request, &makecall->key, &call);
	call.trunk_count = (uint8_t)dial->count;
	return change_create(txn, makecall->api->maker, &call, &cold,
	    &makecall->change);
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
	makecall->verdict = judge(makecall);
	if (makecall->verdict != API_OK)
		return 0;
	if (call_request_dial(&makecall->request, &makecall->key,
	        account.round_robin++, &makecall->dial) != 0) {
		makecall->verdict = API_INTERNAL_ERROR;
		return 0;
	}
	rc = account_put(txn, makecall->key.id, &account);
	return rc != 0 ? rc : create_call(makecall, txn);
}

static void
done_makecall(struct turn_job *job, int rc)
{
	struct makecall *makecall = (struct makecall *)job;
	struct api *api = makecall->api;
	const struct call *call = &makecall->change.step.call;

	if (rc != 0) {
		makecall->body_error.code = API_OK;
		makecall->verdict = api_code_of_store(rc);
		log_error("a call could not be created",
		    LOG_S("req", http_request_id(makecall->req)),
		    LOG_S("error", kap_strerror(rc)));
	} else {
		api_add_rate_headers(makecall->req, &makecall->rate);
	}
	if (makecall->verdict != API_OK) {
		answer_verdict(makecall);
		free(makecall);
		return;
	}
	stats_add(STATS_calls_created, 1);
	log_info("call accepted", LOG_S("call", call->id),
	    LOG_S("req", http_request_id(makecall->req)),
	    LOG_S("key", makecall->key.key_id),
	    LOG_S("trunk", trunk_name(makecall, 1)));
	if (tsearch(makecall, &api->waiters->tree, compare_waiters) == NULL) {
		api_reply_code(makecall->req, API_INTERNAL_ERROR);
		dispatch_follow(api->dispatch, &makecall->change);
		free(makecall);
		return;
	}
	api->waiters->count++;
	dispatch_follow(api->dispatch, &makecall->change);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	struct makecall *makecall = calloc(1, sizeof(*makecall));
	cJSON *body;

	if (makecall == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	makecall->api = api;
	makecall->req = req;
	makecall->key = *key;
	if (api_read_body(req, &body, &makecall->body_error) == 0) {
		if (call_request_read(body, api->config, &makecall->request,
		        &makecall->body_error) == 0)
			makecall->body_error.code = API_OK;
		cJSON_Delete(body);
	}
	makecall->job.apply = apply_makecall;
	makecall->job.done = done_makecall;
	turn_submit(api->turn, &makecall->job);
}

void
api_makecall(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
