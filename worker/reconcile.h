/*
 * Brings the table and Asterisk in line after a gap: the slot's calls whose
 * channels are gone are ended, what was missed of the others is made up, and
 * channels and bridges of ours that no call has are removed. Others' calls on
 * the same Asterisk are never touched: a channel must have the form of our
 * names and bear this node's mark.
 */
#ifndef KAP_RECONCILE_H
#define KAP_RECONCILE_H

#include <stdbool.h>

#include "ari_command.h"
#include "change.h"
#include "dispatch.h"
#include "shared/config.h"
#include "shared/turn.h"

struct event_base;
struct reconcile;

struct reconcile_options {
	struct event_base *base;
	struct turn *turn;
	struct store *store;
	const struct config *config;
	const struct change_maker *maker;
	struct dispatch *dispatch;
	const struct stream_states *streams; /* whose events are read */
	struct ari_command_link *const *control; /* opened later */
	/*
	 * A run is done: its changes are committed. What no call has is being
	 * removed still.
	 */
	void (*done)(void *ctx);
	void *ctx;
};

/* Everything in `options` is borrowed. NULL when out of memory. */
struct reconcile *reconcile_new(const struct reconcile_options *options);

/* The links are closed already. Sets *reconcile NULL. */
void reconcile_free(struct reconcile **reconcile);

/*
 * Begin, or begin anew: the event link and the control link are both up.
 *
 * restarted  this is another Asterisk process than the one that had the
 *            calls: they are all lost with it
 */
void reconcile_start(struct reconcile *reconcile, bool restarted);

/* A link went down: what is under way is void. */
void reconcile_stop(struct reconcile *reconcile);

bool reconcile_is_done(const struct reconcile *reconcile);

#endif
