/*
 * Deadlines lie in the store, so a successor fires what its predecessor set.
 * Each due one is a step of its call in the next transaction.
 */
#include "timer_run.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/call_timers.h"
#include "shared/clock.h"
#include "shared/log.h"

#define BATCH 64
#define RETRY_MS 1000 /* after a transaction that failed */

struct timer_run {
	struct turn *turn;
	struct store *store;
	const struct change_maker *maker;
	struct dispatch *dispatch;
	struct event *timer;
	int64_t armed_ms; /* deadline clock; 0: not armed */
	bool held;
};

struct fire_job {
	struct turn_job job;
	struct timer_run *run;
	struct call_due due;
	struct change change;
};

static int
apply_fire(struct turn_job *job, struct store_txn *txn)
{
	struct fire_job *fire = (struct fire_job *)job;
	const struct call_input input = {
		.kind = CALL_IN_TIMER,
		.timer = fire->due.timer,
		.at_ms = clock_wall_ms(),
	};
	struct call call;
	const int rc = call_table_get(txn, fire->due.call_id, &call);

	memset(&fire->change, 0, sizeof(fire->change));
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (rc == -KAP_NOENT ||
	    call.timers[fire->due.timer] != fire->due.deadline_ms)
		return call_timers_forget(txn, &fire->due);
	return change_step(txn, fire->run->maker, fire->due.call_id, &input,
	    &fire->change);
}

static void
arm(struct timer_run *run, int64_t deadline_ms)
{
	int64_t after_ms = deadline_ms - clock_deadline_ms();
	struct timeval tv;

	if (run->held)
		return;
	if (after_ms < 0)
		after_ms = 0;
	tv.tv_sec = (time_t)(after_ms / 1000);
	tv.tv_usec = (suseconds_t)(after_ms % 1000) * 1000;
	run->armed_ms = deadline_ms;
	(void)event_add(run->timer, &tv);
}

static void
done_fire(struct turn_job *job, int rc)
{
	struct fire_job *fire = (struct fire_job *)job;
	struct timer_run *run = fire->run;

	if (rc == 0) {
		dispatch_follow(run->dispatch, &fire->change);
		timer_run_look(run);
	} else {
		log_error("a call's timer could not be fired",
		    LOG_S("call", fire->due.call_id),
		    LOG_S("error", kap_strerror(rc)));
		arm(run, clock_deadline_ms() + RETRY_MS);
	}
	free(fire);
}

static void
submit_due(struct timer_run *run, const struct call_due *due)
{
	struct fire_job *fire = calloc(1, sizeof(*fire));

	if (fire == NULL)
		return; /* found again at the next look */
	fire->run = run;
	fire->due = *due;
	fire->job.apply = apply_fire;
	fire->job.done = done_fire;
	turn_submit_lazily(run->turn, &fire->job);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer_run *run = arg;
	struct call_due due[BATCH];
	struct store_txn *txn;
	int64_t next_ms = 0;
	int count;

	(void)fd;
	(void)what;
	run->armed_ms = 0;
	if (store_begin_read(run->store, &txn) != 0)
		return; /* looked at again with the next tick */
	count = call_timers_due(txn, run->maker->slot, clock_deadline_ms(),
	    due, BATCH, &next_ms);
	store_end_read(&txn);
	for (int i = 0; i < count; i++)
		submit_due(run, &due[i]);
	/* with something fired, done_fire looks again behind the commit */
	if (count <= 0 && next_ms != 0)
		arm(run, next_ms);
}

void
timer_run_look(struct timer_run *run)
{
	const int64_t now_ms = clock_deadline_ms();

	if (run->held)
		return;
	if (run->armed_ms == 0 || run->armed_ms > now_ms)
		arm(run, now_ms);
}

void
timer_run_hold(struct timer_run *run, bool hold)
{
	run->held = hold;
	if (hold) {
		(void)event_del(run->timer);
		run->armed_ms = 0;
	} else {
		timer_run_look(run);
	}
}

struct timer_run *
timer_run_new(struct event_base *base, struct turn *turn,
    struct store *store, const struct change_maker *maker,
    struct dispatch *dispatch)
{
	struct timer_run *run = calloc(1, sizeof(*run));

	if (run == NULL)
		return NULL;
	run->turn = turn;
	run->store = store;
	run->maker = maker;
	run->dispatch = dispatch;
	run->timer = evtimer_new(base, on_timer, run);
	if (run->timer == NULL) {
		free(run);
		return NULL;
	}
	return run;
}

void
timer_run_free(struct timer_run **run)
{
	if (*run == NULL)
		return;
	event_free((*run)->timer);
	free(*run);
	*run = NULL;
}
