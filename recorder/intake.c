/*
 * Goes through the queue, hands jobs to threads and settles them in one
 * transaction each:
 *
 *     queue → slot → take (thread) → settle (transaction) → rings, log
 *                                  → left in the queue, tried again later
 *
 * Touches no file: take.c does, and decides nothing about calls: they are the
 * call table's.
 */
#include "recorder/intake.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "recorder/pool.h"
#include "recorder/take.h"
#include "shared/call_table.h"
#include "shared/child.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "shared/recording_queue.h"
#include "shared/recording_store.h"
#include "shared/stats.h"
#include "shared/turn.h"

#define SLOT_COUNT 4
#define COMPLAIN_MS 60000 /* between two lines of the same trouble */

/* One recording under way. */
struct slot {
	struct turn_job settle; /* stands first: turn.c hands it back */
	struct pool_task task;
	struct intake *intake;
	bool busy;
	struct recording_job job;
	struct take_request request;
	struct take_outcome outcome;
	/* for the transaction */
	struct call_input input;
	struct call_now now;
	/* what it found */
	struct call_step step;
	bool settled_before; /* the job was gone already */
	bool call_unknown;   /* …or its call, or past all this */
};

struct intake {
	struct store *store;
	const struct config *config;
	struct turn *turn;
	struct pool *pool;
	struct event *retry; /* timer: the next round is due */
	char store_dir[RECORDING_DIR_SIZE];

	uint64_t fresh;       /* number of the newest job ever begun */
	bool in_round;        /* those left are being tried again: */
	uint64_t round_at;    /* …the number tried last */
	uint64_t round_until; /* …and the last of this round */
	bool some_left;       /* jobs were left since the last round began */

	struct slot slots[SLOT_COUNT];
	int64_t told_ms[TAKE_RESULT_COUNT]; /* boot clock; 0: never */
	int64_t told_store_ms;

	bool draining;
	void (*on_drained)(void *ctx);
	void *drained_ctx;
};

static void look(struct intake *intake);

static bool
is_under_way(const struct intake *intake, uint64_t number)
{
	for (int i = 0; i < SLOT_COUNT; i++) {
		const struct slot *slot = &intake->slots[i];

		if (slot->busy && slot->job.number == number)
			return true;
	}
	return false;
}

/* Whether a minute has passed since the last line about a trouble. */
static bool
may_complain(int64_t *told_ms)
{
	const int64_t now_ms = clock_boot_ms();

	if (*told_ms != 0 && now_ms - *told_ms < COMPLAIN_MS)
		return false;
	*told_ms = now_ms;
	return true;
}

static void
complain_of_store(struct intake *intake, int rc)
{
	if (may_complain(&intake->told_store_ms))
		log_error("recordings wait: the call table can't be used",
		    LOG_S("error", kap_strerror(rc)));
}

static void
complain_of_files(struct intake *intake, const struct slot *slot)
{
	const enum take_result result = slot->outcome.result;

	if (may_complain(&intake->told_ms[result]))
		log_error("recordings wait",
		    LOG_S("trouble", take_result_name(result)),
		    LOG_S("error", slot->outcome.msg.text),
		    LOG_S("call", slot->job.call_id),
		    LOG_I("queue", atomic_load_explicit(&stats_row()->live,
		        memory_order_relaxed)));
}

/* The next job behind *at that isn't under way: 1, 0 or an error. */
static int
pick_behind(const struct intake *intake, struct store_txn *txn, uint64_t *at,
    struct recording_job *job_out)
{
	for (int i = 0; i <= SLOT_COUNT; i++) {
		const int rc = recording_queue_peek(txn, *at, job_out, 1);

		if (rc <= 0)
			return rc;
		*at = job_out->number;
		if (!is_under_way(intake, job_out->number))
			return 1;
	}
	return 0;
}

/* New jobs first, then those of the round, if one is on. */
static int
pick(struct intake *intake, struct store_txn *txn,
    struct recording_job *job_out)
{
	int rc = pick_behind(intake, txn, &intake->fresh, job_out);

	if (rc != 0 || !intake->in_round)
		return rc;
	rc = pick_behind(intake, txn, &intake->round_at, job_out);
	if (rc > 0 && intake->round_at <= intake->round_until)
		return rc;
	if (rc >= 0)
		intake->in_round = false;
	return rc < 0 ? rc : 0;
}

static void
begin(struct slot *slot)
{
	const struct intake *intake = slot->intake;
	const int64_t patience_ms = intake->config->recorder.give_up_s * 1000;

	slot->busy = true;
	slot->request = (struct take_request){
		.spool_dir = intake->config->asterisk.recording_dir,
		.store_dir = intake->store_dir,
		.name = slot->job.name,
		.last_try =
		    clock_wall_ms() - slot->job.queued_ms >= patience_ms,
	};
	pool_submit(intake->pool, &slot->task);
}

static int
fill_slots(struct intake *intake, struct store_txn *txn)
{
	uint64_t waiting;
	int rc = 1;

	for (int i = 0; i < SLOT_COUNT && rc > 0; i++) {
		struct slot *slot = &intake->slots[i];

		if (slot->busy)
			continue;
		rc = pick(intake, txn, &slot->job);
		if (rc > 0)
			begin(slot);
	}
	if (rc >= 0)
		rc = store_count(txn, STORE_RECORDINGS, &waiting);
	if (rc == 0)
		atomic_store_explicit(&stats_row()->live, (int64_t)waiting,
		    memory_order_relaxed);
	return rc;
}

/* What was left is tried again, a while after the round before has ended. */
static void
plan_round(struct intake *intake)
{
	const int64_t wait_ms = intake->config->recorder.retry_ms;
	const struct timeval wait = { .tv_sec = wait_ms / 1000,
		.tv_usec = wait_ms % 1000 * 1000 };

	if (intake->draining || intake->in_round || !intake->some_left ||
	    evtimer_pending(intake->retry, NULL))
		return;
	(void)evtimer_add(intake->retry, &wait);
}

static void
look(struct intake *intake)
{
	struct store_txn *txn;
	int rc;

	if (intake->draining)
		return;
	rc = store_begin_read(intake->store, &txn);
	if (rc == 0) {
		rc = fill_slots(intake, txn);
		store_end_read(&txn);
	}
	if (rc != 0)
		complain_of_store(intake, rc); /* the next tick looks again */
	plan_round(intake);
}

static void
on_retry_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct intake *intake = arg;

	intake->some_left = false;
	intake->in_round = true;
	intake->round_at = 0;
	intake->round_until = intake->fresh;
	look(intake);
}

/* The slot is free: on with the next job, or the end of the drain. */
static void
leave_slot(struct slot *slot)
{
	struct intake *intake = slot->intake;

	slot->busy = false;
	if (!intake->draining) {
		look(intake);
		return;
	}
	for (int i = 0; i < SLOT_COUNT; i++) {
		if (intake->slots[i].busy)
			return;
	}
	if (intake->on_drained != NULL)
		intake->on_drained(intake->drained_ctx);
}

/*
 * The call's step and the end of the job, together. Another recorder may have
 * been faster (an old one that still drains): the job is in the queue for one
 * of the two only, so the recording is announced once.
 */
static int
apply_settle(struct turn_job *settle, struct store_txn *txn)
{
	struct slot *slot = (struct slot *)(void *)settle;
	struct recording_job queued;
	struct call call;
	int rc = recording_queue_peek(txn, slot->job.number - 1, &queued, 1);

	slot->settled_before = false;
	slot->call_unknown = false;
	if (rc < 0)
		return rc;
	if (rc == 0 || queued.number != slot->job.number) {
		slot->settled_before = true;
		return 0;
	}
	/* asked first, for a step may lack something else, and that is an
	 * error */
	rc = call_table_get(txn, slot->job.call_id, &call);
	if (rc == 0) {
		rc = call_table_step(txn, slot->job.call_id, &slot->input,
		    &slot->now, &slot->step);
		slot->call_unknown = rc == -KAP_STATE;
	} else {
		slot->call_unknown = rc == -KAP_NOENT;
	}
	if (rc != 0 && !slot->call_unknown)
		return rc;
	return recording_queue_remove(txn, slot->job.number);
}

static void
ring(const struct call_step *step)
{
	const unsigned owner =
	    CALL_RING_OWNER | CALL_RING_OUTBOX | CALL_RING_LEDGER;

	if ((step->rings & CALL_RING_WEBHOOKD) != 0)
		child_bell_ring(CHILD_BELL_WEBHOOKD);
	if ((step->rings & owner) != 0)
		child_bell_ring(CHILD_BELL_WORKER +
		    stats_slot_owner(step->call.slot));
}

static void
report(const struct slot *slot)
{
	const bool stored = slot->input.kind == CALL_IN_RECORDING_STORED;

	stats_add(stored ? STATS_recordings_stored : STATS_recordings_failed,
	    1);
	if (slot->call_unknown)
		log_warn("recording without its call",
		    LOG_S("call", slot->job.call_id),
		    LOG_S("recording", slot->job.name));
	if (stored)
		log_info("recording stored", LOG_S("call", slot->job.call_id),
		    LOG_S("recording", slot->job.name),
		    LOG_I("duration_s", slot->outcome.duration_s),
		    LOG_I("size_bytes", slot->outcome.size_bytes));
	else
		log_error("recording given up",
		    LOG_S("call", slot->job.call_id),
		    LOG_S("recording", slot->job.name),
		    LOG_S("result", take_result_name(slot->outcome.result)),
		    LOG_S("reason", slot->outcome.msg.text));
}

static void
on_settled(struct turn_job *settle, int rc)
{
	struct slot *slot = (struct slot *)(void *)settle;

	if (rc != 0) {
		/* the file is in its place, so the next try is short */
		complain_of_store(slot->intake, rc);
		slot->intake->some_left = true;
	} else if (!slot->settled_before) {
		if (!slot->call_unknown)
			ring(&slot->step);
		report(slot);
	}
	leave_slot(slot);
}

static void
settle(struct slot *slot, enum call_input_kind kind)
{
	const int64_t now_ms = clock_wall_ms();

	slot->input = (struct call_input){
		.kind = kind,
		.duration_s = slot->outcome.duration_s,
		.size_bytes = slot->outcome.size_bytes,
		.at_ms = now_ms,
	};
	slot->now = (struct call_now){
		.wall_ms = now_ms,
		.boot_ms = clock_deadline_ms(),
		.originate_timeout_ms =
		    slot->intake->config->calls.originate_timeout_ms,
	};
	turn_submit_lazily(slot->intake->turn, &slot->settle);
}

static void
leave_for_later(struct slot *slot)
{
	slot->intake->some_left = true;
	leave_slot(slot);
}

static void
run_take(void *arg)
{
	struct slot *slot = arg;

	take_recording(&slot->request, &slot->outcome);
}

static void
on_taken(void *arg)
{
	struct slot *slot = arg;

	switch (slot->outcome.result) {
	case TAKE_STORED:
		CRASH_POINT(recording_taken);
		settle(slot, CALL_IN_RECORDING_STORED);
		return;
	case TAKE_DAMAGED:
	case TAKE_REFUSED:
		settle(slot, CALL_IN_RECORDING_GIVEN_UP);
		return;
	case TAKE_MISSING:
		if (slot->request.last_try)
			settle(slot, CALL_IN_RECORDING_GIVEN_UP);
		else
			leave_for_later(slot);
		return;
	case TAKE_UNFINISHED:
		leave_for_later(slot);
		return;
	case TAKE_NO_SPACE:
	case TAKE_DENIED:
	case TAKE_FAILED:
	case TAKE_RESULT_COUNT:
		complain_of_files(slot->intake, slot);
		leave_for_later(slot);
		return;
	}
}

static void
slot_init(struct slot *slot, struct intake *intake)
{
	slot->intake = intake;
	slot->settle.apply = apply_settle;
	slot->settle.done = on_settled;
	slot->task.work = run_take;
	slot->task.done = on_taken;
	slot->task.arg = slot;
}

struct intake *
intake_new(struct event_base *base, struct store *store,
    const struct config *config)
{
	struct intake *intake = calloc(1, sizeof(*intake));

	if (intake == NULL)
		return NULL;
	intake->store = store;
	intake->config = config;
	recording_store_dir(config, intake->store_dir);
	for (int i = 0; i < SLOT_COUNT; i++)
		slot_init(&intake->slots[i], intake);
	intake->turn = turn_new(base, store);
	intake->retry = evtimer_new(base, on_retry_due, intake);
	intake->pool = pool_new(base, SLOT_COUNT);
	if (intake->turn == NULL || intake->retry == NULL ||
	    intake->pool == NULL) {
		intake_free(&intake);
		return NULL;
	}
	turn_set_window(intake->turn, config->store.commit_window_ms);
	return intake;
}

void
intake_wake(struct intake *intake)
{
	look(intake);
}

void
intake_drain(struct intake *intake, void (*on_drained)(void *ctx), void *ctx)
{
	intake->draining = true;
	intake->on_drained = on_drained;
	intake->drained_ctx = ctx;
	(void)evtimer_del(intake->retry);
	for (int i = 0; i < SLOT_COUNT; i++) {
		if (intake->slots[i].busy)
			return;
	}
	on_drained(ctx);
}

void
intake_free(struct intake **intake)
{
	struct intake *old = *intake;

	if (old == NULL)
		return;
	/* what is committed on the way out begins nothing, calls nobody */
	old->draining = true;
	old->on_drained = NULL;
	pool_free(&old->pool);
	turn_free(&old->turn);
	if (old->retry != NULL)
		event_free(old->retry);
	free(old);
	*intake = NULL;
}
