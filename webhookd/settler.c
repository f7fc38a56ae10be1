/*
 * Gathers outcomes for a few milliseconds and submits them as one job of the
 * turn. What the store refuses is set aside, and tried again each second one
 * by one, so that a record that never can be written holds up no other.
 */
#include "settler.h"

#include <stdlib.h>

#include <event2/event.h>

#include "shared/log.h"
#include "shared/turn.h"

/*
 * A transaction costs far more than one of its changes, so some are waited
 * for; a crash in this time sends them again.
 */
#define GATHER_MS 50
#define AGAIN_MS 1000
#define BATCH_MAX 512
#define AGAIN_MAX 64 /* of those set aside, at a time */

/* Deliveries in the order of their coming. */
struct line {
	struct delivery_list list;
	unsigned count;
	struct event *timer;
};

struct settler {
	struct turn *turn;
	settler_stored_fn *stored;
	void *arg;
	bool hurry;
	bool refused;     /* since the last commit; so that one line tells */
	unsigned pending; /* in the lines, and submitted */
	struct line fresh;
	struct line aside; /* refused before */
};

struct batch {
	struct turn_job job; /* at the head */
	struct settler *settler;
	unsigned count;
	struct delivery_list list;
};

static void
arm(struct line *line, long wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000,
		.tv_usec = wait_ms % 1000 * 1000 };

	(void)event_add(line->timer, &wait);
}

static int
apply_batch(struct turn_job *job, struct store_txn *txn)
{
	const struct batch *batch = (const struct batch *)job;
	const struct delivery *delivery;
	int rc = 0;

	STAILQ_FOREACH(delivery, &batch->list, settle) {
		const struct webhook_event *event = &delivery->event;

		switch (delivery->outcome) {
		case DELIVERY_REMOVE:
			rc = webhook_queue_remove(txn, event,
			    delivery->due_ms);
			break;
		case DELIVERY_POSTPONE:
			rc = webhook_queue_postpone(txn, event,
			    delivery->due_ms, delivery->next_ms);
			break;
		case DELIVERY_DEFER:
			rc = webhook_queue_defer(txn, event, delivery->due_ms,
			    delivery->next_ms);
			break;
		case DELIVERY_OPEN:
			break;
		}
		if (rc != 0)
			return rc;
	}
	return 0;
}

static void
set_aside(struct settler *settler, struct batch *batch, int rc)
{
	if (!settler->refused)
		log_error("webhook results can't be stored, trying again",
		    LOG_S("error", kap_strerror(rc)),
		    LOG_I("count", batch->count));
	settler->refused = true;
	STAILQ_CONCAT(&settler->aside.list, &batch->list);
	settler->aside.count += batch->count;
	arm(&settler->aside, AGAIN_MS);
}

static void
on_batch_done(struct turn_job *job, int rc)
{
	struct batch *batch = (struct batch *)job;
	struct settler *settler = batch->settler;
	struct delivery *delivery;

	if (rc != 0) {
		set_aside(settler, batch, rc);
		free(batch);
		return;
	}
	settler->refused = false;
	settler->pending -= batch->count;
	while ((delivery = STAILQ_FIRST(&batch->list)) != NULL) {
		STAILQ_REMOVE_HEAD(&batch->list, settle);
		settler->stored(settler->arg, delivery);
	}
	free(batch);
}

/* Returns false when out of memory: all stays in the line. */
static bool
submit_batch(struct settler *settler, struct line *line, unsigned max)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return false;
	batch->job.apply = apply_batch;
	batch->job.done = on_batch_done;
	batch->settler = settler;
	STAILQ_INIT(&batch->list);
	while (batch->count < max && line->count > 0) {
		struct delivery *delivery = STAILQ_FIRST(&line->list);

		STAILQ_REMOVE_HEAD(&line->list, settle);
		STAILQ_INSERT_TAIL(&batch->list, delivery, settle);
		batch->count++;
		line->count--;
	}
	turn_submit(settler->turn, &batch->job);
	return true;
}

static void
on_fresh_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct settler *settler = arg;
	struct line *line = &settler->fresh;

	if (line->count > 0 && !submit_batch(settler, line, BATCH_MAX))
		arm(line, AGAIN_MS);
	else if (line->count > 0)
		arm(line, 0);
}

static void
on_again_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct settler *settler = arg;
	struct line *line = &settler->aside;

	for (int i = 0; i < AGAIN_MAX && line->count > 0; i++) {
		if (!submit_batch(settler, line, 1))
			break;
	}
	if (line->count > 0)
		arm(line, AGAIN_MS);
}

static bool
line_init(struct line *line, struct event_base *base,
    event_callback_fn callback, struct settler *settler)
{
	STAILQ_INIT(&line->list);
	line->timer = event_new(base, -1, 0, callback, settler);
	return line->timer != NULL;
}

struct settler *
settler_new(struct event_base *base, struct turn *turn,
    settler_stored_fn *stored, void *arg)
{
	struct settler *settler = calloc(1, sizeof(*settler));

	if (settler == NULL)
		return NULL;
	settler->turn = turn;
	settler->stored = stored;
	settler->arg = arg;
	if (!line_init(&settler->fresh, base, on_fresh_due, settler) ||
	    !line_init(&settler->aside, base, on_again_due, settler))
		settler_free(&settler);
	return settler;
}

void
settler_free(struct settler **settler)
{
	if (*settler == NULL)
		return;
	if ((*settler)->fresh.timer != NULL)
		event_free((*settler)->fresh.timer);
	if ((*settler)->aside.timer != NULL)
		event_free((*settler)->aside.timer);
	free(*settler);
	*settler = NULL;
}

void
settler_add(struct settler *settler, struct delivery *delivery)
{
	struct line *line = &settler->fresh;

	STAILQ_INSERT_TAIL(&line->list, delivery, settle);
	settler->pending++;
	line->count++;
	/* the first starts the wait, one too many ends it */
	if (line->count >= BATCH_MAX)
		arm(line, 0);
	else if (line->count == 1)
		arm(line, settler->hurry ? 0 : GATHER_MS);
}

void
settler_flush(struct settler *settler)
{
	if (settler->fresh.count > 0)
		arm(&settler->fresh, 0);
}

void
settler_hurry(struct settler *settler)
{
	settler->hurry = true;
	settler_flush(settler);
}

unsigned
settler_pending(const struct settler *settler)
{
	return settler->pending;
}
