/*
 * A few threads for work that blocks on the disk, so that the event loop
 * never does: an fsync takes as long as the disk likes, and a loop that waits
 * for it looks hung to the watchdog. Work runs on a thread and touches its
 * own task only; done() runs on the loop.
 */
#ifndef KAP_RECORDER_POOL_H
#define KAP_RECORDER_POOL_H

#include "shared/errors.h"

struct event_base;
struct pool;

/*
 * One piece of work. It belongs to the pool from pool_submit until done() is
 * called.
 */
struct pool_task {
	void (*work)(void *arg); /* on a thread; may block */
	void (*done)(void *arg); /* on the loop; may submit again */
	void *arg;
	struct pool_task *next;  /* the pool's */
};

/*
 * Start the threads; they take no signals.
 *
 * base     borrowed, outlives the pool
 * threads  1..POOL_THREADS_MAX
 *
 * Returns NULL where the system gives no threads or no memory.
 */
#define POOL_THREADS_MAX 16
struct pool *pool_new(struct event_base *base, unsigned threads);

/*
 * Wait for what the threads have in hand, and free. Tasks not begun are
 * dropped; no done() is called. Blocks on the disk. Sets *pool NULL.
 */
void pool_free(struct pool **pool);

/* Never fails, never calls back at once. From the loop's thread only. */
void pool_submit(struct pool *pool, struct pool_task *task);

#endif
