/*
 * The queue of events for the customer's webhook. Whoever changes a call
 * appends to it in the same transaction; webhookd alone takes from it.
 *
 * A new event stands in STORE_WEBHOOKS under its number, in the order of
 * their making. One whose first delivery failed moves to STORE_WEBHOOK_RETRY,
 * under the time of its next try (clock_deadline_ms()). Each holds a reference
 * on its call, so the call's cold record (URL, metadata) is there until the
 * last one is gone.
 */
#ifndef KAP_WEBHOOK_QUEUE_H
#define KAP_WEBHOOK_QUEUE_H

#include "call.h"
#include "call_machine.h"
#include "store.h"

#define WEBHOOK_EVENT_VERSION 1
#define WEBHOOK_EVENT_ID_SIZE 64

/* One event: what was true of the call when it happened. */
struct webhook_event {
	uint16_t version;
	uint8_t kind;   /* enum call_event_kind */
	uint8_t pad;
	uint32_t tries; /* deliveries that failed so far */
	uint64_t number;  /* in the queue */
	int64_t at_ms;    /* wall clock: when it happened */
	int64_t queued_ms; /* wall clock: when it was put here */
	uint32_t recording_duration_s; /* recording.completed */
	uint32_t pad2;
	uint64_t recording_size_bytes; /* recording.completed */
	struct call call; /* after the change; call.sequence is the event's */
};


/* "call.answered" …  Never NULL. */
const char *webhook_event_name(enum call_event_kind kind);

/* "evt_<call id>_<sequence>": unique for ever, the same at every try. */
void webhook_event_id(const struct webhook_event *event,
    char out[WEBHOOK_EVENT_ID_SIZE]);

/*
 * Append an event of a call; fills in number, version and queued_ms. The
 * caller counts the reference (call_table.c does).
 *
 * detail  what it tells beyond the call, in a record of its own under the
 *         same number, so that both may grow; NULL: nothing
 *
 * Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int webhook_queue_append(struct store_txn *txn,
    struct webhook_event *event, const struct call_event_detail *detail);

/* What an event tells beyond the call; zeroes if nothing. 0 or -KAP_IO. */
KAP_MUST_USE int webhook_queue_get_detail(struct store_txn *txn,
    uint64_t number, struct call_event_detail *detail_out);

/*
 * Copy new events with a number over `after`, oldest first.
 *
 * events  room for `max` of them
 *
 * Returns how many, or -KAP_IO. Reads only.
 */
KAP_MUST_USE int webhook_queue_peek_new(struct store_txn *txn, uint64_t after,
    struct webhook_event *events, unsigned max);

/*
 * Copy events whose next try is due by `boot_ms`, the most overdue first.
 * *next_due_out is when the first of the others is due, 0 if there is none.
 * Returns how many, or -KAP_IO. Reads only.
 */
KAP_MUST_USE int webhook_queue_peek_due(struct store_txn *txn,
    int64_t boot_ms, struct webhook_event *events, int64_t *due_ms,
    unsigned max, int64_t *next_due_out);

/*
 * Remove an event that was taken, or is to be sent nowhere, and its
 * reference on the call (which may delete the call's last records).
 *
 * due_boot_ms  0 for one out of the new ones, else where it stood in the
 *              retry table (peek_due's due_ms)
 *
 * Returns 0 (also when it was gone already), -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int webhook_queue_remove(struct store_txn *txn,
    const struct webhook_event *event, int64_t due_boot_ms);

/*
 * Put an event off to `next_boot_ms`, with tries + 1. due_boot_ms as above.
 * Returns 0 (also when it was gone already), -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int webhook_queue_postpone(struct store_txn *txn,
    const struct webhook_event *event, int64_t due_boot_ms,
    int64_t next_boot_ms);

/*
 * The same for an event that was due and couldn't be tried: `tries` stays.
 * Returns 0 (also when it was gone already), -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int webhook_queue_defer(struct store_txn *txn,
    const struct webhook_event *event, int64_t due_boot_ms,
    int64_t next_boot_ms);

#endif
