/*
 * Asterisk's events, applied to calls: the worker's side of event_link.h. A
 * batch is applied inside the link's own transaction; what follows from it is
 * done once that is committed.
 */
#ifndef KAP_CALL_EVENTS_H
#define KAP_CALL_EVENTS_H

#include "ari_decode.h"
#include "change.h"
#include "dispatch.h"
#include "stream_state.h"

struct call_events;

/* All is borrowed; `stream`: of the slot. NULL when out of memory. */
struct call_events *call_events_new(const struct change_maker *maker,
    struct dispatch *dispatch, const struct stream_state *stream);
void call_events_free(struct call_events **events);

/* event_link_ops: begin, event, committed. */
void call_events_begin(struct call_events *events);
KAP_MUST_USE int call_events_apply(struct call_events *events,
    struct store_txn *txn, const struct ari_event *event);
void call_events_committed(struct call_events *events, int rc);

#endif
