/*
 * The recorder's work: which recording is tried when, and what is made of the
 * outcome. New jobs go first; those that had to be left are tried again every
 * recorder.retry_ms, in the order of the queue, so one bad job holds up none.
 * A few are under way at once, on threads (pool.h); what is remembered about
 * the queue is two numbers, so a queue of any length costs no memory.
 */
#ifndef KAP_RECORDER_INTAKE_H
#define KAP_RECORDER_INTAKE_H

#include "shared/config.h"

struct event_base;
struct intake;
struct store;

/*
 * Nothing is begun before the first intake_wake.
 *
 * base    with priorities; borrowed, outlives the intake
 * store   borrowed, likewise
 * config  borrowed, likewise; what is reloadable is read at each use
 *
 * Returns NULL where the system gives no memory or no threads.
 */
struct intake *intake_new(struct event_base *base, struct store *store,
    const struct config *config);

/* Look at the queue: its doorbell rang, or it may have been missed. */
void intake_wake(struct intake *intake);

/*
 * Begin nothing more; call back when nothing is under way, which may be at
 * once. Called once at the most.
 */
void intake_drain(struct intake *intake, void (*on_drained)(void *ctx),
    void *ctx);

/* Waits for what the threads have in hand; it stays queued. Sets *intake
 * NULL. */
void intake_free(struct intake **intake);

#endif
