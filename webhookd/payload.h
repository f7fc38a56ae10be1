/*
 * The JSON body of a webhook, out of a queued event, its detail and its call's
 * cold record. Pure: reads what it is given, sends nothing.
 */
#ifndef KAP_PAYLOAD_H
#define KAP_PAYLOAD_H

#include <stddef.h>

#include "shared/call_cold.h"
#include "shared/webhook_queue.h"

/* Longest body: metadata, and every string made of escapes, fit. */
#define PAYLOAD_MAX 8192

/*
 * Render an event ("Webhook events" in the API's decisions). The same event
 * gives the same bytes at every try.
 *
 * detail   what it tells beyond the call (webhook_queue_get_detail); zeroes
 *          where there is nothing
 * out      PAYLOAD_MAX bytes, NUL-terminated on success
 * len_out  without the NUL
 *
 * Returns 0, -KAP_NOMEM; -KAP_TOOBIG for what can't fit. Never blocks.
 */
KAP_MUST_USE int payload_render(const struct webhook_event *event,
    const struct call_event_detail *detail, const struct call_cold *cold,
    char out[PAYLOAD_MAX], size_t *len_out);

#endif
