/*
 * What every child's main() has in common: the checked configuration, log,
 * statistics row and heartbeat, event loop, signals, control channel and
 * doorbell. A child's main() reads
 *
 *     child_runtime_init(&runtime, argc, argv, CHILD_WORKER, &callbacks, ctx);
 *     … open what the role needs, on runtime.base …
 *     child_runtime_ready(&runtime);
 *     child_runtime_loop(&runtime);
 *     … close …
 *     child_runtime_deinit(&runtime);
 *
 * The end of the control channel, SIGTERM and CHILD_MSG_DRAIN all become the
 * one drain request; SIGHUP asks the master for a successor, and changes
 * nothing here; SIGINT is left to the master, which a terminal sends it to as
 * well. SIGABRT writes a backtrace first: it is what the watchdog sends to a
 * child that hangs.
 *
 * Two processes of a slot have one doorbell. A ring must not be eaten by the
 * one that does nothing about it: so a child that drains stops listening, and
 * one that was started beside another begins when that is gone, or when its
 * role says that the work is its own (child_runtime_heed_bell).
 */
#ifndef KAP_CHILD_RUNTIME_H
#define KAP_CHILD_RUNTIME_H

#include <stdbool.h>

#include "child.h"
#include "config.h"
#include "stats.h"

struct event;
struct event_base;

/* Of runtime.base. A new event gets the second by itself. */
enum child_priority {
	CHILD_PRIORITY_CONTROL, /* heartbeat, control channel, signals */
	CHILD_PRIORITY_NORMAL,
	CHILD_PRIORITY_COUNT
};

enum child_drain_reason {
	CHILD_DRAIN_ASKED,      /* the master says so */
	CHILD_DRAIN_SIGNAL,     /* a person does, by a signal */
	CHILD_DRAIN_MASTER_GONE /* the control channel ended */
};

/* Called from the loop. Any of them may be NULL. */
struct child_callbacks {
	/*
	 * Take no new work, finish what is held, then child_runtime_leave().
	 * Called once at the most. The loop ends by itself a second before
	 * supervision.drain_timeout_s is over: then the master would kill.
	 */
	void (*on_drain)(void *ctx, enum child_drain_reason reason);
	/* This child's doorbell rang, once or more; it is cleared already. */
	void (*on_bell)(void *ctx);
	/* Every 2 s: look for work whose ring was lost. */
	void (*on_tick)(void *ctx);
	/*
	 * Any other message of the master's. `message` is borrowed for the
	 * call; fd is -1 or now the callee's.
	 */
	void (*on_message)(void *ctx, const struct child_message *message,
	    int fd);
	/*
	 * The predecessor (args.beside) is gone, and what was left of its
	 * work is this child's. Once; not in a child that was started alone.
	 */
	void (*on_alone)(void *ctx);
	/*
	 * A reload changed runtime.config, where it lies: whoever copied one
	 * of its reloadable keys is to be told.
	 */
	void (*on_config)(void *ctx);
};

struct child_runtime {
	struct event_base *base;
	struct child_args args;
	struct config config;
	unsigned bell; /* own doorbell and statistics row */
	bool draining;
	bool alone; /* no predecessor runs beside it */

	/* the rest is child_runtime.c's */
	bool leaving;
	const struct child_callbacks *callbacks;
	void *ctx;
	struct event *on_term;
	struct event *on_hup;
	struct event *on_control;
	struct event *on_bell;
	struct event *on_heartbeat;
	struct event *on_tick;
	struct event *on_deadline;
	struct event *on_beside; /* looks whether the predecessor is gone */
};

/* The doorbell, and the statistics row, of a role's slot. */
unsigned child_bell_of(enum child_role role, int slot);

/*
 * Parse the arguments, read the configuration, start the log, map the
 * statistics and take the own row, make the event loop and watch all that is
 * watched. Call it first in main(). A start that can't go on is fatal: the
 * process ends with status 1 and the reason in the log.
 *
 * callbacks, ctx  borrowed until child_runtime_deinit
 */
void child_runtime_init(struct child_runtime *runtime, int argc, char **argv,
    enum child_role role, const struct child_callbacks *callbacks, void *ctx);

/* Tell the master that this child serves now. */
void child_runtime_ready(struct child_runtime *runtime);

/*
 * Listen to the doorbell, or leave its rings to the slot's other process. The
 * second call of a kind in a row does nothing; a child that drains doesn't
 * begin to listen.
 */
void child_runtime_heed_bell(struct child_runtime *runtime, bool heed);

/* Run until child_runtime_leave, or the deadline described above. */
void child_runtime_loop(struct child_runtime *runtime);

/*
 * End the loop when the callback that runs now returns, and tell the master
 * why. The second call of a process does nothing.
 *
 * why  words for the master's log, cut at 115 bytes: "drained"
 */
void child_runtime_leave(struct child_runtime *runtime, const char *why);

/*
 * Send a message of this child to the master; generation and slot are filled
 * in. The descriptor, if fd >= 0, stays the caller's.
 *
 * text  may be NULL; cut at 115 bytes
 *
 * Returns 0, -KAP_AGAIN (the master's queue is full), -KAP_GONE, -KAP_IO.
 * Never blocks.
 */
KAP_MUST_USE int child_runtime_send(const struct child_runtime *runtime,
    enum child_message_kind kind, const char *text, int fd);

/* The same about another slot: one whose event stream this worker reads. */
KAP_MUST_USE int child_runtime_send_about(const struct child_runtime *runtime,
    enum child_message_kind kind, int slot, const char *text, int fd);

/* Free the events and the loop; every other event on it is gone before. */
void child_runtime_deinit(struct child_runtime *runtime);

#endif
