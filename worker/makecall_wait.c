/*
 * Calls that were made, and whose request waits for Asterisk's first sign of
 * them, or for its refusal: who waits, and what is answered when it is known.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "http_server.h"
#include "makecall_answer.h"
#include "makecall_internal.h"
#include "makecall_key.h"
#include "shared/clock.h"

#define REVIEW_MAX 64 /* looked at in one transaction */

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
	struct api_answer answer;

	makecall_answer_unknown(makecall->change.step.call.id, &answer);
	makecall_tell(makecall, &answer);
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

int
makecall_wait(struct makecall *makecall)
{
	struct waiters *waiters = makecall->api->waiters;

	if (tsearch(makecall, &waiters->tree, compare_waiters) == NULL)
		return -KAP_NOMEM;
	waiters->count++;
	return 0;
}

/* --- answers ------------------------------------------------------------- */

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

void
makecall_reply(struct http_request *req, struct api_answer *answer,
    const struct account_rate *rate)
{
	if (rate != NULL)
		api_add_rate_headers(req, rate);
	makecall_keys_release(&answer->given_up, req);
	api_reply(req, answer);
}

/* What the record says. */
static void
tell_record(struct makecall *makecall)
{
	struct api_answer answer;

	makecall_answer(&makecall->answer, &answer);
	answer.replayed = makecall->replayed;
	if (makecall->has_idempotency &&
	    makecall->answer.state == IDEMPOTENCY_GIVEN_UP)
		answer.given_up = makecall_keys_new(makecall->api,
		    &makecall->idempotency, makecall->answer.call_id);
	makecall_tell(makecall, &answer);
}

void
makecall_answer_stored(struct makecall *makecall)
{
	tell_record(makecall);
	free(makecall);
}

/* Answer and free a request that waited; call NULL: its record is gone. */
static void
answer(struct makecall *makecall, const struct call *call)
{
	const enum call_outcome outcome = call != NULL ? call_outcome(call) :
	    CALL_OUTCOME_LOST;

	waiters_remove(makecall->api->waiters, makecall);
	if (read_answer(makecall)) {
		makecall_answer_stored(makecall);
		return;
	}
	if (outcome == CALL_OUTCOME_GIVEN_UP ||
	    outcome == CALL_OUTCOME_LOST) {
		answer_unknown(makecall);
	} else {
		makecall->answer.state = outcome == CALL_OUTCOME_REFUSED ?
		    IDEMPOTENCY_REFUSED : IDEMPOTENCY_MADE;
		makecall->answer.attempt = call->attempt;
		makecall->answer.tried = call->trunks_tried;
		makecall->answer.answered_ms = clock_wall_ms();
		tell_record(makecall);
	}
	free(makecall);
}

void
waiters_call_changed(struct api *api, const struct change *change)
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

/* The next waiters that a review looks at, in the order of the tree. */
struct review {
	char after[CALL_ID_SIZE]; /* only behind this one */
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
	    review->count < REVIEW_MAX &&
	    strcmp(makecall->change.step.call.id, review->after) > 0)
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

/* Look at the next; whether there may be more. */
static bool
review_next(struct api *api, struct review *review)
{
	struct call calls[REVIEW_MAX];

	review->count = 0;
	twalk_r(api->waiters->tree, pick_old, review);
	if (review->count == 0 || read_calls(api, review, calls) != 0)
		return false;
	/* who is answered now is gone */
	memcpy(review->after,
	    review->list[review->count - 1]->change.step.call.id,
	    sizeof(review->after));
	for (unsigned i = 0; i < review->count; i++) {
		struct makecall *makecall = review->list[i];

		if (calls[i].state == CALL_NONE)
			answer(makecall, NULL);
		else if (call_outcome(&calls[i]) != CALL_OUTCOME_OPEN)
			answer(makecall, &calls[i]);
	}
	return review->count == REVIEW_MAX;
}

void
waiters_review(struct api *api)
{
	struct review review = {
		.before_ms = clock_wall_ms() -
		    api->maker->originate_timeout_ms,
	};

	while (review_next(api, &review))
		;
}
