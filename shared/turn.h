/*
 * One write transaction for a turn of the event loop. Event handlers do not
 * write: they submit a job, and when the handlers of this turn have run, all
 * jobs are applied in one transaction, in the order of their submission. What
 * must only happen once that is safe (send, answer, ring, consume) stands in
 * the job's second half, run after the commit.
 *
 *     handler → turn_submit(job)
 *     …end of the turn: begin, job.apply …, commit, job.done …
 *
 * If one job fails, the transaction is given up and every job is applied anew
 * in a transaction of its own, so that only the one at fault fails. Therefore
 * apply() must be fit to run again: it writes its results into the job, from
 * the start each time.
 */
#ifndef KAP_TURN_H
#define KAP_TURN_H

#include <stdint.h>

#include "errors.h"
#include "store.h"

struct event_base;
struct turn;

/*
 * Put this at the head of a struct of your own. The job belongs to the turn
 * from turn_submit until done() is called; done() may free it.
 */
struct turn_job {
	/*
	 * Inside the write transaction: touches the store and the job, and
	 * nothing else. 0 or negative.
	 */
	int (*apply)(struct turn_job *job, struct store_txn *txn);
	/*
	 * After the commit; rc is 0, or why the job was not committed. May
	 * submit new jobs (they go into the next transaction).
	 */
	void (*done)(struct turn_job *job, int rc);
	struct turn_job *next; /* the turn's */
};

/*
 * base, store  borrowed; both outlive the turn
 *
 * Returns NULL when out of memory.
 */
struct turn *turn_new(struct event_base *base, struct store *store);

/* Applies what is still waiting, then frees. Sets *turn NULL. */
void turn_free(struct turn **turn);

/*
 * Have a job committed at the end of this turn, with all that waits. Never
 * fails, never blocks, never calls back at once.
 */
void turn_submit(struct turn *turn, struct turn_job *job);

/*
 * The same for a job that nobody waits for at the other end: it may wait for
 * others for as long as the window. A commit costs the disk and the processor
 * the same for one job as for twenty.
 */
void turn_submit_lazily(struct turn *turn, struct turn_job *job);

/*
 * Have `gather` called at the beginning of each commit, before its jobs are
 * collected: what it submits goes into the same transaction, before the rest.
 * For a source that is better read late and at once than early and in pieces:
 * when it has something, it calls turn_wake_lazily, and gathers when a commit
 * comes about, for whatever reason.
 *
 * Called in the order of their adding. Returns 0, or -KAP_FULL with
 * TURN_GATHERS_MAX there.
 */
#define TURN_GATHERS_MAX 72 /* an event stream each, and some */
KAP_MUST_USE int turn_add_gather(struct turn *turn, void (*gather)(void *arg),
    void *arg);

/* Take one back; one that isn't there is fine. */
void turn_remove_gather(struct turn *turn, void (*gather)(void *arg),
    void *arg);

/* Have a commit within the window, though there is no job yet. */
void turn_wake_lazily(struct turn *turn);

/* The window, 0..1000 ms; 0 (at first) makes no job wait. */
void turn_set_window(struct turn *turn, int64_t window_ms);

/* Apply now what is waiting (before leaving). */
void turn_flush(struct turn *turn);

#endif
