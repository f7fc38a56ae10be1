/*
 * POST /makecall: one transaction counts the request, looks its
 * Idempotency-Key up, checks the account, holds a credit, creates the call and
 * takes its originate. The answer waits for Asterisk's first sign of the call,
 * or for its refusal.
 */
#include "api.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "api_fields.h"
#include "call_request.h"
#include "http_server.h"
#include "json_digest.h"
#include "makecall_answer.h"
#include "shared/clock.h"
#include "shared/idempotency.h"
#include "shared/log.h"
#include "shared/stats.h"

#define REVIEW_MAX 64
#define KEY_HEADER "Idempotency-Key"

static_assert(JSON_DIGEST_SIZE == IDEMPOTENCY_HASH_SIZE,
    "a record has room for the digest of a body");

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
	bool has_idempotency; /* an Idempotency-Key came along */
	bool replayed;        /* …and its answer is there already */
	struct idempotency_id idempotency;
	uint8_t body_hash[IDEMPOTENCY_HASH_SIZE];
	struct idempotency answer; /* stored only with such a key */
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

static void
answer_unknown(struct makecall *makecall)
{
	makecall_answer_unknown(makecall->req,
	    makecall->change.step.call.id);
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
		answer_unknown(makecall);
		free(makecall);
	}
	free(*waiters);
	*waiters = NULL;
}

/* --- answers ------------------------------------------------------------- */

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

/*
 * The answer as it stands in the store, so that it is the one that a retry
 * gets. False where there is none for this call.
 */
static bool
read_answer(struct makecall *makecall)
{
	struct idempotency stored;
	struct store_txn *txn;
	int rc;

	if (!makecall->has_idempotency ||
	    store_begin_read(makecall->api->store, &txn) != 0)
		return false;
	rc = idempotency_find(txn, &makecall->idempotency, 0, &stored);
	store_end_read(&txn);
	if (rc != 0 || stored.state == IDEMPOTENCY_UNDER_WAY ||
	    strcmp(stored.call_id, makecall->answer.call_id) != 0)
		return false;
	makecall->answer = stored;
	return true;
}

static int
apply_forget(struct turn_job *job, struct store_txn *txn)
{
	struct makecall *makecall = (struct makecall *)job;

	return idempotency_forget(txn, &makecall->idempotency,
	    makecall->answer.call_id);
}

static void
done_forget(struct turn_job *job, int rc)
{
	if (rc != 0)
		log_warn("an Idempotency-Key could not be freed",
		    LOG_S("error", kap_strerror(rc)));
	free((struct makecall *)job);
}

/*
 * Give an answer that is in the store, and free the request. One that tells
 * that the call was given up frees the key, too, if somebody is there to hear
 * it: else the next try with this key must hear it first.
 */
static void
answer_stored(struct makecall *makecall)
{
	const bool frees_key =
	    makecall->answer.state == IDEMPOTENCY_GIVEN_UP &&
	    http_request_has_client(makecall->req);

	makecall_answer(makecall->req, &makecall->answer);
	if (!frees_key) {
		free(makecall);
		return;
	}
	makecall->job.apply = apply_forget;
	makecall->job.done = done_forget;
	turn_submit(makecall->api->turn, &makecall->job);
}

/* Answer and free a request that waited; call NULL: its record is gone. */
static void
answer(struct makecall *makecall, const struct call *call)
{
	const enum call_outcome outcome = call != NULL ? call_outcome(call) :
	    CALL_OUTCOME_LOST;

	waiters_remove(makecall->api->waiters, makecall);
	if (read_answer(makecall)) {
		answer_stored(makecall);
		return;
	}
	if (outcome == CALL_OUTCOME_GIVEN_UP ||
	    outcome == CALL_OUTCOME_LOST) {
		answer_unknown(makecall);
	} else {
		makecall->answer.state = outcome == CALL_OUTCOME_REFUSED ?
		    IDEMPOTENCY_REFUSED : IDEMPOTENCY_MADE;
		makecall->answer.attempt = call->attempt;
		makecall->answer.answered_ms = clock_wall_ms();
		makecall_answer(makecall->req, &makecall->answer);
	}
	free(makecall);
}

void
api_call_changed(struct api *api, const struct change *change)
{
	const struct call *call = &change->step.call;
	struct makecall wanted;
	void *found;

	if (change->step.state_before > CALL_QUEUED ||
	    call_outcome(call) == CALL_OUTCOME_OPEN)
		return;
	memcpy(wanted.change.step.call.id, call->id, sizeof(call->id));
	found = tfind(&wanted, &api->waiters->tree, compare_waiters);
	if (found != NULL)
		answer(*(struct makecall **)found, call);
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

		if (calls[i].state == CALL_NONE)
			answer(makecall, NULL);
		else if (call_outcome(&calls[i]) != CALL_OUTCOME_OPEN)
			answer(makecall, &calls[i]);
	}
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

/* Whether there is what a new call needs. */
static enum api_code
judge_means(const struct makecall *makecall)
{
	if (makecall->available <= 0)
		return API_INSUFFICIENT_CREDITS;
	if (makecall->key.trunk_count == 0)
		return API_NO_TRUNKS_ASSIGNED;
	return judge_process(makecall->api);
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
	if (rc == 0 && makecall->verdict == API_OK && !makecall->replayed)
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
	char hash[IDEMPOTENCY_HEX_SIZE];
	struct call call;

	for (unsigned i = 0; i < dial->count; i++) {
		cold.trunk_names[i] = dial->trunks[i].name;
		cold.endpoints[i] = dial->endpoints[i];
	}
	call_request_fill_call(&makecall->request, &makecall->key, &call);
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
	rc = judge(makecall, txn);
	if (rc != 0 || makecall->verdict != API_OK || makecall->replayed)
		return rc;
	if (call_request_dial(&makecall->request, &makecall->key,
	        account.round_robin++, &makecall->dial) != 0) {
		makecall->verdict = API_INTERNAL_ERROR;
		return 0;
	}
	rc = account_put(txn, makecall->key.id, &account);
	return rc != 0 ? rc : create(makecall, txn);
}

/* --- after the commit ----------------------------------------------------- */

/* Its call is there: the answer waits for Asterisk. */
static void
follow_call(struct makecall *makecall)
{
	struct api *api = makecall->api;

	stats_add(STATS_calls_created, 1);
	log_info("call accepted",
	    LOG_S("call", makecall->change.step.call.id),
	    LOG_S("req", http_request_id(makecall->req)),
	    LOG_S("key", makecall->key.key_id),
	    LOG_S("trunk", makecall->answer.trunks[0]));
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
answer_replay(struct makecall *makecall)
{
	log_info("call answered again",
	    LOG_S("call", makecall->answer.call_id),
	    LOG_S("req", http_request_id(makecall->req)),
	    LOG_S("key", makecall->key.key_id));
	http_reply_add_header(makecall->req, "Idempotent-Replayed", "true");
	answer_stored(makecall);
}

static void
done_makecall(struct turn_job *job, int rc)
{
	struct makecall *makecall = (struct makecall *)job;

	if (rc != 0) {
		makecall->body_error.code = API_OK;
		makecall->verdict = api_code_of_store(rc);
		log_error("a call could not be created",
		    LOG_S("req", http_request_id(makecall->req)),
		    LOG_S("error", kap_strerror(rc)));
	} else {
		api_add_rate_headers(makecall->req, &makecall->rate);
	}
	if (makecall->verdict == API_OK && !makecall->replayed) {
		follow_call(makecall);
		return;
	}
	if (makecall->verdict == API_OK) {
		answer_replay(makecall);
		return;
	}
	answer_verdict(makecall);
	free(makecall);
}

/* --- the request ---------------------------------------------------------- */

static int
read_key_header(struct makecall *makecall)
{
	const char *text = http_request_header(makecall->req, KEY_HEADER);

	if (text == NULL)
		return 0;
	if (http_request_header_count(makecall->req, KEY_HEADER) > 1)
		return api_error_set(&makecall->body_error,
		    API_INVALID_PARAMETER,
		    "Invalid parameter: " KEY_HEADER " came more than once");
	if (!idempotency_text_is_valid(text))
		return api_error_set(&makecall->body_error,
		    API_INVALID_PARAMETER, "Invalid parameter: " KEY_HEADER
		    " must have 1 to %d printable characters",
		    IDEMPOTENCY_TEXT_MAX);
	makecall->has_idempotency = true;
	return 0;
}

/*
 * What tells whether the next one with the same key is a retry. The same body
 * is one that says the same: a client that writes its JSON anew for a retry,
 * with its members in another order, must not be refused just when it
 * matters. Compared is what was sent, not what it was understood as, for
 * defaults may change between two tries.
 */
static int
identify_request(struct makecall *makecall, const cJSON *body)
{
	int rc;

	if (!makecall->has_idempotency)
		return 0;
	makecall->idempotency.key_id = makecall->key.id;
	rc = idempotency_hash(
	    http_request_header(makecall->req, KEY_HEADER),
	    makecall->idempotency.hash);
	return rc != 0 ? rc : json_digest(body, makecall->body_hash);
}

static void
read_request(struct makecall *makecall)
{
	struct api_error *error = &makecall->body_error;
	cJSON *body;

	if (api_read_body(makecall->req, &body, error) != 0)
		return;
	if (call_request_read(body, makecall->api->config,
	        &makecall->request, error) == 0 &&
	    read_key_header(makecall) == 0)
		error->code = identify_request(makecall, body) == 0 ?
		    API_OK : API_INTERNAL_ERROR;
	cJSON_Delete(body);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	struct makecall *makecall = calloc(1, sizeof(*makecall));

	if (makecall == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	makecall->api = api;
	makecall->req = req;
	makecall->key = *key;
	read_request(makecall);
	makecall->job.apply = apply_makecall;
	makecall->job.done = done_makecall;
	turn_submit(api->turn, &makecall->job);
}

void
api_makecall(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
