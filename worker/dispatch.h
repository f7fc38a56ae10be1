/*
 * What follows from a committed change: doorbells are rung, commands are sent
 * to Asterisk, their replies become the next change, and whoever waits for a
 * call is told. Also takes commands up again that a dead predecessor, or a
 * link that went down, left behind.
 *
 * Keeps nothing that is not in the store but which commands this process has
 * under way.
 */
#ifndef KAP_DISPATCH_H
#define KAP_DISPATCH_H

#include "ari_command.h"
#include "change.h"
#include "shared/config.h"
#include "shared/turn.h"

struct event_base;
struct dispatch;

/*
 * A call has changed; called after the commit, from the loop. `change` is
 * borrowed for the call.
 */
typedef void dispatch_watch_fn(void *ctx, const struct change *change);

struct dispatch_options {
	struct event_base *base;
	struct turn *turn;
	struct store *store;
	const struct config *config;
	const struct change_maker *maker;
	struct ari_command_link *const *originate; /* where the links stand, */
	struct ari_command_link *const *control;   /* opened later */
	dispatch_watch_fn *watch;
	/* A timer of this slot was set or cleared. */
	void (*timers_changed)(void *ctx);
	/* A ledger entry was queued. */
	void (*ledger_grew)(void *ctx);
	void *ctx;
};

/* Everything in `options` is borrowed. NULL when out of memory. */
struct dispatch *dispatch_new(const struct dispatch_options *options);

/* The links are closed already. Sets *dispatch NULL. */
void dispatch_free(struct dispatch **dispatch);

/* After the commit of a change: do what follows. */
void dispatch_follow(struct dispatch *dispatch, const struct change *change);

/*
 * Look through the outboxes of this slot's calls: send what waits, and settle
 * what was sent by a predecessor or over a link that was lost. Reads the
 * whole table of commands; call it when a link comes up, when the own
 * doorbell rings, and now and then.
 */
void dispatch_resume(struct dispatch *dispatch);

/*
 * Whether all links are up, the event link too. While they are not, nothing
 * is taken up again and nothing is originated.
 */
void dispatch_set_ready(struct dispatch *dispatch, bool ready);

/*
 * Since when the events of this slot are read without a gap, over whatever
 * restarts of the worker: an originate that was sent before is never
 * repeated. Deadline clock.
 */
void dispatch_events_began(struct dispatch *dispatch, int64_t began_ms);

/* Commands of this process without their reply. */
unsigned dispatch_under_way(const struct dispatch *dispatch);

/* Hang up a channel that no call of ours has, by its name. */
void dispatch_hang_up_stray(struct dispatch *dispatch, const char *channel);

#endif
