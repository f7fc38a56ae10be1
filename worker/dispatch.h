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
#include "stream_state.h"

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
	const struct stream_states *streams; /* whose events are read */
	dispatch_watch_fn *watch;
	/*
	 * Asterisk has answered a call's originate, or a playback of it, and
	 * its events had told of that before: maybe to another process.
	 */
	void (*originate_known)(void *ctx, const char *call_id);
	/* A timer, or a command, of a call that is ours to look after. */
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
 * Look through the outboxes of the calls that are this worker's to look
 * after: send what waits, and settle what was sent by a process that is gone,
 * or over a link that was lost. Reads the whole table of commands, a page a
 * turn, and no faster than the command links take them; while it does, another
 * call has it read once more behind that. Call it when a link comes up, when
 * the own doorbell rings, and now and then.
 */
void dispatch_resume(struct dispatch *dispatch);

/*
 * Whether all links are up, the own event link too. While they are not,
 * nothing is taken up again and nothing is originated.
 */
void dispatch_set_ready(struct dispatch *dispatch, bool ready);

/*
 * Whether the slot's calls are now another process's to go on with. What this
 * one has under way it ends; it takes up nothing else.
 */
void dispatch_relieve(struct dispatch *dispatch, bool relieved);

/*
 * The process will leave: what Asterisk wouldn't do now goes back into the
 * outbox, and is not waited for.
 */
void dispatch_drain(struct dispatch *dispatch);

/* Commands of this process without their reply. */
unsigned dispatch_under_way(const struct dispatch *dispatch);

/* Hang up a channel that no call of ours has, by its name. */
void dispatch_hang_up_stray(struct dispatch *dispatch, const char *channel);

#endif
