/*
 * The sender: takes events out of the webhook queue, posts each to its call's
 * URL and stores what became of it. An event stays in the queue until its
 * target has taken it (any 2xx), and is tried again for as long as it takes.
 *
 * Within a call first attempts go in the order of the sequence, each when the
 * one before has had its answer or its time; a failed one is tried again on
 * its own schedule and holds up nothing. Calls don't wait for one another.
 *
 * All that it knows lies in the queue: it may be killed at any instruction,
 * and the next one goes on. What was under way then is sent again, with the
 * same event id.
 */
#ifndef KAP_SENDER_H
#define KAP_SENDER_H

#include <stdint.h>

#include "shared/config.h"
#include "shared/errors.h"

struct event_base;
struct sender;
struct store;
struct turn;

/*
 * base, store, turn  borrowed, outlive the sender
 * config             the webhook section is copied
 *
 * Returns NULL when out of memory. webhookd only.
 */
struct sender *sender_new(struct event_base *base, struct store *store,
    struct turn *turn, const struct config *config);

/*
 * Copy the webhook section anew, for deliveries that begin from now on; wake
 * the sender then, for there may be room. From the loop, not from a callback
 * of this sender's.
 *
 * Returns 0; -KAP_NOMEM, -KAP_IO: all is as it was.
 */
KAP_MUST_USE int sender_reconfigure(struct sender *sender,
    const struct config *config);

/*
 * Breaks off what is under way. Flush the turn first. Sets *sender NULL.
 */
void sender_free(struct sender **sender);

/* Something may be new in the queue: look, soon. Never blocks. */
void sender_wake(struct sender *sender);

/*
 * Take nothing new, end what is under way (within the time limit of a
 * delivery), store it, then call back once from the loop.
 */
void sender_drain(struct sender *sender, void (*drained)(void *arg),
    void *arg);

/*
 * Events in the queue, those put off included. Reads the store; no lock.
 * Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int sender_queue_length(struct sender *sender,
    uint64_t *length_out);

#endif
