/*
 * The slot's calls, walked through for a reconcile, a page a turn: once before
 * Asterisk makes its lists, once to compare with them. Calls come, go on and
 * end between two pages; no call is ended that isn't owed.
 */
#ifndef KAP_RECONCILE_CALLS_H
#define KAP_RECONCILE_CALLS_H

#include <stdbool.h>

#include "reconcile.h"
#include "reconcile_lists.h"

struct reconcile_calls;

/*
 * A walk is over: 0, or why it couldn't go on (-KAP_IO, -KAP_FULL: no reader
 * is free). The last of it; may begin another walk, but not free this.
 */
typedef void reconcile_walked_fn(void *ctx, int rc);

/* Everything in `options` is borrowed. NULL when out of memory. */
struct reconcile_calls *reconcile_calls_new(
    const struct reconcile_options *options);

/* Sets *calls NULL; what was submitted to the turn goes its way. */
void reconcile_calls_free(struct reconcile_calls **calls);

/*
 * Note the calls that have a channel now, each with the attempt it is at:
 * Asterisk owes us that channel in a list that is asked for after `walked`.
 * May call it from inside.
 */
void reconcile_calls_owe(struct reconcile_calls *calls,
    reconcile_walked_fn *walked, void *ctx);

/*
 * Make up for what the lists show and the calls lack, and end what was owed
 * and isn't in the lists. `walked` comes after the last commit of it.
 *
 * lists      borrowed until then
 * restarted  they are lost with their Asterisk
 */
void reconcile_calls_compare(struct reconcile_calls *calls,
    const struct reconcile_lists *lists, bool restarted,
    reconcile_walked_fn *walked, void *ctx);

/* End a walk without its `walked`; nothing is owed any more. */
void reconcile_calls_stop(struct reconcile_calls *calls);

#endif
