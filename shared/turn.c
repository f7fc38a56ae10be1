/*
 * Collects the jobs of one turn of the event loop and commits them together.
 * Knows no record and no socket: jobs do.
 */
#include "turn.h"

#include <stdbool.h>
#include <stdlib.h>

#include <event2/event.h>

#include "crash_point.h"

struct turn {
	struct store *store;
	/*
	 * Activated by the first job. libevent puts it behind the handlers
	 * that are active already and runs it before it polls again: that is
	 * the end of the turn, and no flood of input can put it off. Lazy
	 * jobs set its timeout instead.
	 */
	struct event *commit;
	struct timeval window;
	struct gather {
		void (*fn)(void *arg); /* NULL: a free place */
		void *arg;
	} gathers[TURN_GATHERS_MAX];
	struct turn_job *first;
	struct turn_job **last;
};

/* Apply every job of a list in the order given; the first error ends it. */
static int
apply_all(struct turn_job *jobs, struct store_txn *txn)
{
	for (struct turn_job *job = jobs; job != NULL; job = job->next) {
		const int rc = job->apply(job, txn);

		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
commit_together(struct turn *turn, struct turn_job *jobs)
{
	struct store_txn *txn;
	int rc;

	CRASH_POINT(turn_before_begin);
	rc = store_begin_write(turn->store, &txn);
	if (rc != 0)
		return rc;
	CRASH_POINT(turn_begun);
	rc = apply_all(jobs, txn);
	if (rc != 0) {
		store_abort(&txn);
		return rc;
	}
	CRASH_POINT(turn_applied);
	rc = store_commit(&txn);
	CRASH_POINT(turn_committed);
	return rc;
}

static int
commit_alone(struct turn *turn, struct turn_job *job)
{
	job->next = NULL;
	return commit_together(turn, job);
}

/* Call back in order; a job may be freed by its own done(). */
static void
finish_all(struct turn_job *jobs)
{
	while (jobs != NULL) {
		struct turn_job *job = jobs;

		jobs = job->next;
		job->next = NULL;
		job->done(job, 0);
	}
}

static void
commit_each(struct turn *turn, struct turn_job *jobs)
{
	while (jobs != NULL) {
		struct turn_job *job = jobs;

		jobs = job->next;
		job->done(job, commit_alone(turn, job));
	}
}

/* What is gathered goes before what was submitted: it happened earlier. */
static void
gather_first(struct turn *turn)
{
	struct turn_job *waiting = turn->first;
	struct turn_job **last = turn->last;

	turn->first = NULL;
	turn->last = &turn->first;
	for (int i = 0; i < TURN_GATHERS_MAX; i++) {
		if (turn->gathers[i].fn != NULL)
			turn->gathers[i].fn(turn->gathers[i].arg);
	}
	if (waiting == NULL)
		return;
	*turn->last = waiting;
	turn->last = last;
}

static void
commit_turn(struct turn *turn)
{
	struct turn_job *jobs;

	gather_first(turn);
	jobs = turn->first;
	turn->first = NULL;
	turn->last = &turn->first;
	(void)event_del(turn->commit);
	if (jobs == NULL)
		return;
	if (jobs->next == NULL) {
		jobs->done(jobs, commit_alone(turn, jobs));
		return;
	}
	if (commit_together(turn, jobs) == 0)
		finish_all(jobs);
	else
		commit_each(turn, jobs);
}

static void
on_turn_end(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	commit_turn(arg);
}

struct turn *
turn_new(struct event_base *base, struct store *store)
{
	struct turn *turn = calloc(1, sizeof(*turn));

	if (turn == NULL)
		return NULL;
	turn->store = store;
	turn->last = &turn->first;
	turn->commit = event_new(base, -1, 0, on_turn_end, turn);
	if (turn->commit == NULL) {
		free(turn);
		return NULL;
	}
	return turn;
}

void
turn_free(struct turn **turn)
{
	if (*turn == NULL)
		return;
	turn_flush(*turn);
	event_free((*turn)->commit);
	free(*turn);
	*turn = NULL;
}

static void
append(struct turn *turn, struct turn_job *job)
{
	job->next = NULL;
	*turn->last = job;
	turn->last = &job->next;
}

void
turn_submit(struct turn *turn, struct turn_job *job)
{
	append(turn, job);
	event_active(turn->commit, 0, 0);
}

void
turn_wake_lazily(struct turn *turn)
{
	if (turn->window.tv_sec == 0 && turn->window.tv_usec == 0)
		event_active(turn->commit, 0, 0);
	else if (!event_pending(turn->commit, EV_TIMEOUT, NULL) &&
	    event_add(turn->commit, &turn->window) != 0)
		event_active(turn->commit, 0, 0);
}

void
turn_submit_lazily(struct turn *turn, struct turn_job *job)
{
	append(turn, job);
	turn_wake_lazily(turn);
}

int
turn_add_gather(struct turn *turn, void (*gather)(void *arg), void *arg)
{
	for (int i = 0; i < TURN_GATHERS_MAX; i++) {
		if (turn->gathers[i].fn == NULL) {
			turn->gathers[i] = (struct gather){ gather, arg };
			return 0;
		}
	}
	return -KAP_FULL;
}

void
turn_remove_gather(struct turn *turn, void (*gather)(void *arg), void *arg)
{
	for (int i = 0; i < TURN_GATHERS_MAX; i++) {
		if (turn->gathers[i].fn == gather &&
		    turn->gathers[i].arg == arg)
			turn->gathers[i].fn = NULL;
	}
}

void
turn_set_window(struct turn *turn, int64_t window_ms)
{
	turn->window.tv_sec = (time_t)(window_ms / 1000);
	turn->window.tv_usec = (suseconds_t)(window_ms % 1000) * 1000;
}

void
turn_flush(struct turn *turn)
{
	/* done() may submit again; bounded, for it can't go on for ever */
	for (int i = 0; i < 16 && turn->first != NULL; i++)
		commit_turn(turn);
}
