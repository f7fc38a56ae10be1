/*
 * One child process, as against the slot it runs in: its pid and generation,
 * its control channel, what the master knows and decided about it. A state is
 * changed by process_move alone.
 */
#ifndef KAP_PROCESS_H
#define KAP_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/child.h"
#include "shared/errors.h"

struct event;
struct event_base;
struct slot;

enum process_state {
	PROCESS_NONE,     /* there is no such process */
	PROCESS_STARTING, /* it hasn't said that it is ready */
	PROCESS_READY,
	PROCESS_DRAINING, /* told, or decided, to finish and leave */
	PROCESS_STATE_COUNT
};

struct process {
	struct slot *slot; /* where it runs */
	enum process_state state;
	int64_t since_ms; /* boot clock, when it entered the state */

	pid_t pid;           /* 0: no process */
	uint32_t generation; /* of the process, or of the last one here */
	int64_t started_ms;  /* boot clock */
	int64_t ready_ms;    /* boot clock; 0: it never was */

	int control_fd; /* the master's end; -1 without a process */
	struct event *on_control;
	bool drain_sent; /* CHILD_MSG_DRAIN went out */
	bool config_due; /* CHILD_MSG_CONFIG has to go out */

	int64_t excused_ms; /* boot clock, last seen waiting for another's
	                       lock; or 0 */
	int64_t aborted_ms; /* boot clock; 0: SIGABRT wasn't sent */
	bool killed;        /* SIGKILL was sent */
	bool stopped;       /* …because a signal had stopped it */
	char verdict[160];  /* why the master ended it; or empty */
	char stopping[116]; /* why it leaves, in its own words; or empty */
};

/* "starting", "ready", … */
const char *process_state_name(enum process_state state);

/* Whether the table of transitions has this one. */
bool process_may_move(enum process_state from, enum process_state to);

/*
 * Move a process to another state: the only way to change it. A transition
 * that the table doesn't have is a broken invariant, and fatal.
 */
void process_move(struct process *process, enum process_state to);

/* True while there is one. `process` may be NULL. */
bool process_is_alive(const struct process *process);

/* True for one that said it is ready, and doesn't leave. May be NULL. */
bool process_is_ready(const struct process *process);

/*
 * Make the control channel of a process to come, and watch the master's end.
 *
 * on_readable  called as an event's callback, with `process`
 *
 * Returns the child's end, the caller's; -KAP_IO, -KAP_NOMEM.
 */
KAP_MUST_USE int process_open_control(struct process *process,
    struct event_base *base, void (*on_readable)(int, short, void *));
void process_close_control(struct process *process);

/*
 * Send a message; the process's generation is filled in.
 *
 * Returns 0, -KAP_AGAIN, -KAP_GONE, -KAP_IO. Never blocks.
 */
KAP_MUST_USE int process_send(const struct process *process,
    enum child_message_kind kind, int about_slot, int fd);

#endif
