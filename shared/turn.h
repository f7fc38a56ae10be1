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

/* Never fails, never blocks, never calls back at once. */
void turn_submit(struct turn *turn, struct turn_job *job);

/* Apply now what is waiting (before leaving). */
void turn_flush(struct turn *turn);

#endif
