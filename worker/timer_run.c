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
#define FENCE_LOOK_MS 20 /* until the events may be read so far */
#define UNREAD_LOOK_MS 1000 /* …while nobody reads them */

/* How far a slot's events are read, for what may be concluded from them. */
struct fence {
	bool wanted;      /* a trunk's timer waits for it */
	int64_t asked_ms; /* deadline clock: when the mark was; 0: not yet */
	struct ari_mark mark;
	int64_t past_ms;  /* all that Asterisk had written by then is read */
};

struct timer_run {
	struct timer_run_options options;
	struct event *timer;
	int64_t armed_ms; /* deadline clock; 0: not armed */
	bool held;
	struct fence fences[CHILD_MAX_WORKERS];
};

struct fire_job {
	struct turn_job job;
	struct timer_run *run;
	struct call_due due;
	struct change change;
};

/* struct call_input's, of a slot whose events are read here; else 0. */
static int64_t
heard_since(const struct timer_run *run, unsigned slot)
{
	const struct stream_state *stream = slot < CHILD_MAX_WORKERS ?
	    &run->options.streams->slots[slot] : NULL;

	if (stream == NULL || stream->reader != STREAM_READ)
		return 0;
	return clock_wall_ms() - (clock_deadline_ms() - stream->began_ms);
}

static int
apply_fire(struct turn_job *job, struct store_txn *txn)
{
	struct fire_job *fire = (struct fire_job *)job;
	const struct call_input input = {
		.kind = CALL_IN_TIMER,
		.timer = fire->due.timer,
		.at_ms = clock_wall_ms(),
		.heard_since_ms = heard_since(fire->run, fire->due.slot),
	};
	struct call call;
	const int rc = call_table_get(txn, fire->due.call_id, &call);

	memset(&fire->change, 0, sizeof(fire->change));
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (rc == -KAP_NOENT ||
	    call.timers[fire->due.timer] != fire->due.deadline_ms)
		return call_timers_forget(txn, &fire->due);
	return change_step(txn, fire->run->options.maker, fire->due.call_id, &input,
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
		dispatch_follow(run->options.dispatch, &fire->change);
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
	turn_submit_lazily(run->options.turn, &fire->job);
}

/* --- trunks' timers wait for the events ----------------------------------- */

static void
look_at_fence(struct fence *fence, const struct stream_state *stream)
{
	if (stream->reader != STREAM_READ) {
		fence->asked_ms = 0;
		return;
	}
	if (fence->asked_ms == 0) {
		fence->asked_ms = clock_deadline_ms();
		memset(&fence->mark, 0, sizeof(fence->mark));
	}
	if (!stream_is_past(stream, &fence->mark))
		return;
	fence->past_ms = fence->asked_ms;
	fence->asked_ms = 0;
	fence->wanted = false;
}

/*
 * Asks for marks where timers wait for one. Returns in how many milliseconds
 * to look again; 0: at once, for some may fire now; -1: none waits.
 */
static int
look_at_fences(struct timer_run *run)
{
	int wait_ms = -1;

	for (unsigned slot = 0; slot < CHILD_MAX_WORKERS; slot++) {
		const struct stream_state *stream =
		    &run->options.streams->slots[slot];
		struct fence *fence = &run->fences[slot];
		int own_ms;

		if (!fence->wanted)
			continue;
		look_at_fence(fence, stream);
		own_ms = !fence->wanted ? 0 :
		    stream->reader == STREAM_READ ? FENCE_LOOK_MS :
		    UNREAD_LOOK_MS;
		if (wait_ms < 0 || own_ms < wait_ms)
			wait_ms = own_ms;
	}
	return wait_ms;
}

static bool
is_held(void *ctx, const struct call_due *due)
{
	struct timer_run *run = ctx;
	struct fence *fence;

	if (due->timer != CALL_TIMER_TRUNK ||
	    due->slot >= CHILD_MAX_WORKERS)
		return false;
	fence = &run->fences[due->slot];
	if (due->deadline_ms <= fence->past_ms)
		return false;
	fence->wanted = true;
	return true;
}

/* The sooner of a fence's next look and the next deadline. */
static void
arm_next(struct timer_run *run, int fence_ms, int64_t next_ms)
{
	const int64_t look_ms = clock_deadline_ms() + fence_ms;

	if (fence_ms >= 0 && (next_ms == 0 || look_ms < next_ms))
		arm(run, look_ms);
	else if (next_ms != 0)
		arm(run, next_ms);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer_run *run = arg;
	const struct call_timers_holder holder = { is_held, run };
	struct call_due due[BATCH];
	struct store_txn *txn;
	int64_t next_ms = 0;
	int count;

	(void)fd;
	(void)what;
	run->armed_ms = 0;
	(void)look_at_fences(run);
	if (store_begin_read(run->options.store, &txn) != 0)
		return; /* looked at again with the next tick */
	count = call_timers_due(txn, run->options.maker->slot,
	    clock_deadline_ms(), &holder, due, BATCH, &next_ms);
	store_end_read(&txn);
	for (int i = 0; i < count; i++)
		submit_due(run, &due[i]);
	/* with something fired, done_fire looks again behind the commit */
	if (count > 0)
		return;
	arm_next(run, look_at_fences(run), next_ms);
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
timer_run_new(const struct timer_run_options *options)
{
	struct timer_run *run = calloc(1, sizeof(*run));

	if (run == NULL)
		return NULL;
	run->options = *options;
	run->timer = evtimer_new(options->base, on_timer, run);
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
