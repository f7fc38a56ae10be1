/*
 * The walk reads the table a page at a time, each in a transaction of its own,
 * and goes on when the page's jobs are committed:
 *
 *     ──▶ a page ──none submitted──▶ 1 ms ──▶ the next
 *            └──────▶ its commit ──────▶ 1 ms ──┘
 *
 * A call that is made behind the walk is not owed, and one that has ended, or
 * has gone on to another trunk, since it was noted is not ended as lost: each
 * is looked at as it is when its page is read, and a job that comes too late
 * means nothing to the call (call_machine.h).
 */
#include "reconcile_calls.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "shared/log.h"

#define SCAN_BATCH 64
#define BATCHES_A_PAGE 4
#define PAGE_WAIT_MS 1

/* A call, and its channel that must be in the lists. */
struct owed {
	char call_id[CALL_ID_SIZE];
	unsigned attempt;
	bool snoop; /* its snoop channel too */
};

/* A job behind those of a page. */
struct page_end {
	struct turn_job job;
	struct reconcile_calls *calls; /* NULL: the walk was ended */
};

struct reconcile_calls {
	const struct reconcile_options *options;
	struct event *timer;
	void (*see)(struct reconcile_calls *calls, const struct call *call);
	reconcile_walked_fn *walked; /* NULL: no walk is under way */
	void *ctx;
	char after[CALL_ID_SIZE]; /* it has come to here */
	bool at_end;              /* the page was the last one */
	bool submitted;           /* something of this page */
	struct page_end *page_end; /* not committed yet; or NULL */
	const struct reconcile_lists *lists;
	bool restarted;
	/*
	 * No other call may be found missing: a younger one's channel came
	 * too late for the lists.
	 */
	struct owed *owed; /* sorted */
	size_t owed_count;
	size_t owed_room;
};

/* --- what a call owes ----------------------------------------------------- */

static int
compare_owed(const void *call_id, const void *owed)
{
	return strcmp(call_id, ((const struct owed *)owed)->call_id);
}

static const struct owed *
find_owed(const struct reconcile_calls *calls, const struct call *call)
{
	const struct owed *found;

	if (calls->owed_count == 0)
		return NULL;
	found = bsearch(call->id, calls->owed, calls->owed_count,
	    sizeof(*found), compare_owed);
	return found != NULL && found->attempt == call->attempt ?
	    found : NULL;
}

static bool
is_analysed(const struct call *call)
{
	return call->amd_status == CALL_AMD_PENDING &&
	    (call->flags & CALL_F_SNOOPED) != 0;
}

static void
forget_owed(struct reconcile_calls *calls)
{
	free(calls->owed);
	calls->owed = NULL;
	calls->owed_count = 0;
	calls->owed_room = 0;
}

static int
make_room(struct reconcile_calls *calls)
{
	const size_t room = calls->owed_room * 2 + SCAN_BATCH;
	struct owed *bigger;

	if (calls->owed_count < calls->owed_room)
		return 0;
	bigger = reallocarray(calls->owed, room, sizeof(*bigger));
	if (bigger == NULL)
		return -KAP_NOMEM;
	calls->owed = bigger;
	calls->owed_room = room;
	return 0;
}

static void
owe_call(struct reconcile_calls *calls, const struct call *call)
{
	struct owed *owed;

	/* a queued call is settled by way of its originate (dispatch.c) */
	if (!call_is_live(call) || call->state == CALL_QUEUED)
		return;
	if (make_room(calls) != 0)
		return; /* it is compared at the next run */
	/* the table is walked in the order of ids: the list is sorted */
	owed = &calls->owed[calls->owed_count++];
	memcpy(owed->call_id, call->id, sizeof(owed->call_id));
	owed->attempt = call->attempt;
	/* it is asked for before the bridge is, and not again (call_amd.c) */
	owed->snoop = is_analysed(call) &&
	    (call->flags & CALL_F_BRIDGED) != 0;
}

/* --- what the lists mean for it -------------------------------------------- */

struct reconcile_job {
	struct turn_job job;
	struct dispatch *dispatch;
	const struct change_maker *maker;
	char call_id[CALL_ID_SIZE];
	struct call_input input;
	struct change change;
};

static int
apply_input(struct turn_job *job, struct store_txn *txn)
{
	struct reconcile_job *work = (struct reconcile_job *)job;

	return change_step(txn, work->maker, work->call_id, &work->input,
	    &work->change);
}

static void
done_input(struct turn_job *job, int rc)
{
	struct reconcile_job *work = (struct reconcile_job *)job;

	if (rc == 0 && work->change.rc == 0) {
		log_info("reconciled a call", LOG_S("call", work->call_id),
		    LOG_S("input", call_input_name(work->input.kind)));
		dispatch_follow(work->dispatch, &work->change);
	} else if (rc != 0) {
		log_error("a call could not be reconciled",
		    LOG_S("call", work->call_id),
		    LOG_S("error", kap_strerror(rc)));
	}
	free(work);
}

static void
submit_input(struct reconcile_calls *calls, const struct call *call,
    enum call_input_kind kind)
{
	struct reconcile_job *work = calloc(1, sizeof(*work));

	if (work == NULL)
		return; /* it is compared at the next run */
	work->dispatch = calls->options->dispatch;
	work->maker = calls->options->maker;
	memcpy(work->call_id, call->id, sizeof(work->call_id));
	work->input.kind = kind;
	work->input.attempt = call->attempt;
	work->input.at_ms = clock_wall_ms();
	work->job.apply = apply_input;
	work->job.done = done_input;
	turn_submit_lazily(calls->options->turn, &work->job);
	calls->submitted = true;
}

/* Has the call got behind what its channel shows? */
static bool
is_behind(const struct call *call, enum call_input_kind shows)
{
	switch (shows) {
	case CALL_IN_RINGING:
		return call->state < CALL_RINGING;
	case CALL_IN_UP:
		return call->state < CALL_ANSWERED;
	case CALL_IN_STASIS_START:
		return call->state < CALL_ANSWERED ||
		    (call->flags & CALL_F_IN_STASIS) == 0;
	default:
		return false;
	}
}

static void
compare_call(struct reconcile_calls *calls, const struct call *call)
{
	const struct seen_channel *seen;
	const struct owed *owed;

	if (!call_is_live(call))
		return;
	seen = reconcile_lists_find(calls->lists, call);
	owed = find_owed(calls, call);
	if (seen == NULL) {
		if (owed != NULL)
			submit_input(calls, call, calls->restarted ?
			    CALL_IN_MEDIA_SERVER_LOST : CALL_IN_LOST);
		return;
	}
	if (is_behind(call, seen->shows))
		submit_input(calls, call, seen->shows);
	if (owed != NULL && owed->snoop && is_analysed(call) &&
	    !reconcile_lists_has_snoop(calls->lists, call))
		submit_input(calls, call, CALL_IN_SNOOP_GONE);
}

/* --- the walk -------------------------------------------------------------- */

static void
wait_for_next(struct reconcile_calls *calls)
{
	const struct timeval after = { .tv_usec = PAGE_WAIT_MS * 1000L };

	(void)event_add(calls->timer, &after);
}

/* Whatever is under way is nobody's any more. */
static void
leave_walk(struct reconcile_calls *calls)
{
	(void)event_del(calls->timer);
	if (calls->page_end != NULL)
		calls->page_end->calls = NULL;
	calls->page_end = NULL;
	calls->walked = NULL;
	calls->lists = NULL;
}

static void
end_walk(struct reconcile_calls *calls, int rc)
{
	reconcile_walked_fn *walked = calls->walked;

	leave_walk(calls);
	walked(calls->ctx, rc);
}

/* Nothing of the page is left to commit. */
static void
end_page(struct reconcile_calls *calls)
{
	if (calls->at_end)
		end_walk(calls, 0);
	else
		wait_for_next(calls);
}

static int
apply_page_end(struct turn_job *job KAP_UNUSED,
    struct store_txn *txn KAP_UNUSED)
{
	return 0;
}

static void
done_page_end(struct turn_job *job, int rc KAP_UNUSED)
{
	struct page_end *page_end = (struct page_end *)job;
	struct reconcile_calls *calls = page_end->calls;

	free(page_end);
	if (calls == NULL)
		return;
	calls->page_end = NULL;
	end_page(calls);
}

/* Go on when all that the page has submitted is committed. */
static int
await_commit(struct reconcile_calls *calls)
{
	struct page_end *page_end = calloc(1, sizeof(*page_end));

	if (page_end == NULL)
		return -KAP_NOMEM;
	page_end->calls = calls;
	page_end->job.apply = apply_page_end;
	page_end->job.done = done_page_end;
	calls->page_end = page_end;
	turn_submit_lazily(calls->options->turn, &page_end->job);
	return 0;
}

/* The next calls; how many there were, or -KAP_IO. */
static int
see_batch(struct reconcile_calls *calls, struct store_txn *txn)
{
	struct call batch[SCAN_BATCH];
	char last[CALL_ID_SIZE];
	const int count = call_table_scan(txn, -1, calls->after, batch,
	    SCAN_BATCH, last);

	for (int i = 0; i < count; i++) {
		if (change_owns_slot(calls->options->maker, batch[i].slot))
			calls->see(calls, &batch[i]);
	}
	memcpy(calls->after, last, sizeof(last));
	return count;
}

static void
walk_page(struct reconcile_calls *calls)
{
	struct store_txn *txn;
	int count = SCAN_BATCH;
	int rc = store_begin_read(calls->options->store, &txn);

	if (rc != 0) {
		end_walk(calls, rc);
		return;
	}
	calls->submitted = false;
	for (int i = 0; i < BATCHES_A_PAGE && count == SCAN_BATCH; i++)
		count = see_batch(calls, txn);
	store_end_read(&txn);
	calls->at_end = count < SCAN_BATCH;
	if (calls->submitted)
		rc = await_commit(calls);
	if (count < 0 || rc != 0)
		end_walk(calls, rc != 0 ? rc : count);
	else if (!calls->submitted)
		end_page(calls);
}

static void
on_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	walk_page(arg);
}

static void
begin_walk(struct reconcile_calls *calls,
    void (*see)(struct reconcile_calls *calls, const struct call *call),
    reconcile_walked_fn *walked, void *ctx)
{
	calls->see = see;
	calls->walked = walked;
	calls->ctx = ctx;
	calls->after[0] = '\0';
	walk_page(calls);
}

void
reconcile_calls_owe(struct reconcile_calls *calls,
    reconcile_walked_fn *walked, void *ctx)
{
	leave_walk(calls);
	forget_owed(calls);
	begin_walk(calls, owe_call, walked, ctx);
}

void
reconcile_calls_compare(struct reconcile_calls *calls,
    const struct reconcile_lists *lists, bool restarted,
    reconcile_walked_fn *walked, void *ctx)
{
	leave_walk(calls);
	calls->lists = lists;
	calls->restarted = restarted;
	begin_walk(calls, compare_call, walked, ctx);
}

void
reconcile_calls_stop(struct reconcile_calls *calls)
{
	leave_walk(calls);
	forget_owed(calls);
}

struct reconcile_calls *
reconcile_calls_new(const struct reconcile_options *options)
{
	struct reconcile_calls *calls = calloc(1, sizeof(*calls));

	if (calls == NULL)
		return NULL;
	calls->options = options;
	calls->timer = evtimer_new(options->base, on_timer, calls);
	if (calls->timer == NULL) {
		free(calls);
		return NULL;
	}
	return calls;
}

void
reconcile_calls_free(struct reconcile_calls **calls)
{
	struct reconcile_calls *old = *calls;

	*calls = NULL;
	if (old == NULL)
		return;
	reconcile_calls_stop(old);
	event_free(old->timer);
	free(old);
}
