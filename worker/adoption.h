/*
 * Finds slots that are no more and whose calls this worker has to look after
 * (stats_slot_owner): has their event streams read while calls need them, and
 * closed when none does.
 *
 * Where the master knows of such a stream it says so itself (CHILD_MSG_READ),
 * and hands its socket over. What is found here has no reader and no socket:
 * the node was started anew, with fewer workers.
 */
#ifndef KAP_ADOPTION_H
#define KAP_ADOPTION_H

#include <stdbool.h>

#include "change.h"
#include "shared/store.h"
#include "streams.h"

struct adoption;
struct event_base;

/* All is borrowed. Held until adoption_hold says otherwise. NULL: no memory. */
struct adoption *adoption_new(struct event_base *base, struct store *store,
    const struct change_maker *maker, struct streams *streams);
void adoption_free(struct adoption **adoption);

/* While held it changes nothing: the slot's other process looks after it. */
void adoption_hold(struct adoption *adoption, bool hold);

#endif
