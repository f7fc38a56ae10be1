/*
 * Removes what is in Asterisk's lists and in no call: channels that bear this
 * node's mark, and bridges of its name. Some hundred requests at a time, so
 * that commands for living calls have their place beside them.
 */
#ifndef KAP_RECONCILE_STRAYS_H
#define KAP_RECONCILE_STRAYS_H

#include "reconcile.h"
#include "reconcile_lists.h"

struct reconcile_strays;

/*
 * Begin; goes on by itself to the end, or until the link is lost.
 *
 * options  borrowed
 * lists    taken over: empty when this returns, also where it is NULL
 *
 * NULL when out of memory.
 */
struct reconcile_strays *reconcile_strays_new(
    const struct reconcile_options *options, struct reconcile_lists *lists);

/* Nothing more is removed. Sets *strays NULL. */
void reconcile_strays_free(struct reconcile_strays **strays);

#endif
