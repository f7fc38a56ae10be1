/*
 * A tree by call and playback: events and replies find who waits by both, the
 * end of a call finds all of it.
 */
#include "control_wait.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "shared/call_table.h"
#include "shared/clock.h"

#define REVIEW_MAX 64 /* looked at in one transaction */

struct control_waiters {
	void *tree;
	unsigned count;
};

struct control_waiters *
control_waiters_new(void)
{
	return calloc(1, sizeof(struct control_waiters));
}

unsigned
control_waiters_count(const struct control_waiters *waiters)
{
	return waiters->count;
}

/* A stamp of 0 stands for any playback of the call. */
static int
compare_waits(const void *a, const void *b)
{
	const struct control_wait *left = a;
	const struct control_wait *right = b;
	const int order = strcmp(left->call_id, right->call_id);

	if (order != 0 || left->play.ms == 0 || right->play.ms == 0)
		return order;
	if (left->play.ms != right->play.ms)
		return left->play.ms < right->play.ms ? -1 : 1;
	return (left->play.kind > right->play.kind) -
	    (left->play.kind < right->play.kind);
}

int
control_wait_add(struct control_waiters *waiters, struct control_wait *wait)
{
	if (tsearch(wait, &waiters->tree, compare_waits) == NULL)
		return -KAP_NOMEM;
	waiters->count++;
	return 0;
}

static void
end_wait(struct control_waiters *waiters, struct control_wait *wait,
    enum control_outcome outcome)
{
	if (tdelete(wait, &waiters->tree, compare_waits) != NULL)
		waiters->count--;
	wait->over(wait, outcome);
}

void
control_waiters_free(struct control_waiters **waiters)
{
	if (*waiters == NULL)
		return;
	while ((*waiters)->tree != NULL)
		end_wait(*waiters, *(struct control_wait **)(*waiters)->tree,
		    CONTROL_UNKNOWN);
	free(*waiters);
	*waiters = NULL;
}

/* Who waits for a playback, or for any of the call; NULL: nobody. */
static struct control_wait *
find_wait(const struct control_waiters *waiters, const char *call_id,
    const struct call_play_id *play)
{
	struct control_wait wanted = { .play.ms = 0 };
	void *found;

	memcpy(wanted.call_id, call_id, sizeof(wanted.call_id));
	if (play != NULL)
		wanted.play = *play;
	found = tfind(&wanted, &waiters->tree, compare_waits);
	return found != NULL ? *(struct control_wait **)found : NULL;
}

/* What Asterisk's reply to a playback tells. */
static enum control_outcome
outcome_of_reply(const struct change *change)
{
	if (change->input != CALL_IN_PLAY_REFUSED)
		return CONTROL_TAKEN;
	/* 409: the channel is there yet, and has left our app for its end */
	return change->reply_status == 404 || change->reply_status == 409 ?
	    CONTROL_GONE : CONTROL_REFUSED;
}

void
control_call_changed(struct api *api, const struct change *change)
{
	struct control_waiters *waiters = api->controls;
	const struct call *call = &change->step.call;
	struct control_wait *wait;

	/* NULL while the process closes */
	if (waiters == NULL || waiters->count == 0)
		return;
	if (call->state == CALL_ENDED) {
		while ((wait = find_wait(waiters, call->id, NULL)) != NULL)
			end_wait(waiters, wait, CONTROL_ENDED);
		return;
	}
	if (!call_input_is_of_play(change->input) || change->play_id.ms == 0)
		return;
	wait = find_wait(waiters, call->id, &change->play_id);
	if (wait != NULL)
		end_wait(waiters, wait, outcome_of_reply(change));
}

/* --- what the store tells ------------------------------------------------- */

/* The next of those that wait, in the order of the tree. */
struct review {
	const char *call_id; /* of this call alone; NULL: of any */
	struct control_wait after; /* only behind this one */
	struct control_wait *list[REVIEW_MAX];
	bool known[REVIEW_MAX];
	enum control_outcome outcomes[REVIEW_MAX];
	unsigned count;
};

static void
pick(const void *node, VISIT visit, void *arg)
{
	struct control_wait *wait = *(struct control_wait *const *)node;
	struct review *review = arg;

	if ((visit == postorder || visit == leaf) &&
	    review->count < REVIEW_MAX &&
	    compare_waits(&review->after, wait) < 0 &&
	    (review->call_id == NULL ||
	    strcmp(wait->call_id, review->call_id) == 0))
		review->list[review->count++] = wait;
}

/*
 * What has become of a playback. One without a record was taken, and is over;
 * one that was stopped need not be taken any more. Returns 0; -KAP_AGAIN where
 * it is not known yet; -KAP_IO.
 */
static int
judge(struct store_txn *txn, const struct control_wait *wait,
    enum control_outcome *outcome_out)
{
	struct call_play play;
	struct call call;
	int rc = call_table_get(txn, wait->call_id, &call);

	*outcome_out = CONTROL_ENDED;
	if (rc == -KAP_NOENT || (rc == 0 && call.state == CALL_ENDED))
		return 0;
	if (rc == 0)
		rc = call_play_get(txn, wait->call_id, &wait->play, &play);
	*outcome_out = CONTROL_TAKEN;
	if (rc == -KAP_NOENT || (rc == 0 && play.state != CALL_PLAY_ASKED))
		return 0;
	*outcome_out = CONTROL_UNKNOWN;
	if (rc == 0 && clock_deadline_ms() < wait->until_ms)
		return -KAP_AGAIN;
	return rc;
}

/* Look at the next; whether there may be more. */
static bool
look_at_next(struct api *api, struct review *review)
{
	struct store_txn *txn;

	review->count = 0;
	twalk_r(api->controls->tree, pick, review);
	if (review->count == 0 || store_begin_read(api->store, &txn) != 0)
		return false;
	for (unsigned i = 0; i < review->count; i++)
		review->known[i] = judge(txn, review->list[i],
		    &review->outcomes[i]) == 0;
	store_end_read(&txn);
	/* what is ended now may be gone */
	review->after = *review->list[review->count - 1];
	for (unsigned i = 0; i < review->count; i++) {
		if (review->known[i])
			end_wait(api->controls, review->list[i],
			    review->outcomes[i]);
	}
	return review->count == REVIEW_MAX;
}

static void
look(struct api *api, const char *call_id)
{
	struct review review = { .call_id = call_id };

	if (api->controls->count == 0)
		return;
	while (look_at_next(api, &review))
		;
}

void
control_look_at(struct api *api, const char *call_id)
{
	if (api->controls != NULL)
		look(api, call_id);
}

void
control_review(struct api *api)
{
	look(api, NULL);
}
