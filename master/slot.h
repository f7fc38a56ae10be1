/*
 * A slot: the place in which one child of a kind runs at a time, with all
 * that outlives the child: its listeners, its event socket, its doorbell, and
 * what is remembered of the last one. A state is changed by slot_move alone.
 */
#ifndef KAP_SLOT_H
#define KAP_SLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/child.h"
#include "shared/errors.h"

struct children;
struct event;

enum slot_state {
	SLOT_DEAD,     /* no process; the next start is being prepared */
	SLOT_STARTING, /* a process that hasn't said it is ready */
	SLOT_READY,
	SLOT_DRAINING, /* told, or decided, to finish and leave */
	SLOT_BACKOFF,  /* no process; the next start has to wait */
	SLOT_STATE_COUNT
};

struct slot {
	struct children *children; /* whose slot this is */
	enum child_role role;
	int number;    /* 0.. of its role */
	unsigned bell; /* own doorbell and statistics row */
	unsigned drain_turn; /* 0 drains first */

	enum slot_state state;
	int64_t since_ms; /* boot clock, when it entered the state */

	pid_t pid;            /* 0: no process */
	uint32_t generation;  /* of the process, or of the last one */
	int64_t started_ms;   /* boot clock */
	bool was_ready;       /* this generation has been ready */
	unsigned failures;    /* starts in a row that never got ready */
	uint64_t starts;      /* since this master began */
	int control_fd;       /* the master's end; -1 without a process */
	struct event *on_control;
	struct event *on_spawn_due;

	int listen_fd; /* a worker's API listener, else -1 */
	int admin_fd;  /* a worker's admin listener, else -1 */
	int events_fd; /* the ARI event socket that outlives its reader, or -1;
	                  never read here */

	bool drain_sent;       /* CHILD_MSG_DRAIN went out */
	int64_t excused_ms;    /* boot clock, last seen waiting for another's
	                          lock; or 0 */
	int64_t aborted_ms;    /* boot clock; 0: SIGABRT wasn't sent */
	bool killed;           /* SIGKILL was sent */
	char verdict[160];     /* why the master ended it; or empty */
	char stopping[116];    /* why it leaves, in its own words; or empty */
	char last_exit[240];   /* in words; empty before the first exit */
	int64_t last_exit_ms;  /* wall clock */

	bool waits_check;  /* respawned after the readers are cleared */
	bool in_check;     /* the run under way began after its death */

	int64_t unserved_since_ms; /* boot clock: no ready worker since; 0 */
	struct slot *lent_to;      /* who has its API listener, or NULL */
	uint32_t lent_generation;  /* of that one */
};

/* "starting", "ready", … */
const char *slot_state_name(enum slot_state state);

/* Whether the table of transitions has this one. */
bool slot_may_move(enum slot_state from, enum slot_state to);

/*
 * Move a slot to another state: the only way to change it. A transition that
 * the table doesn't have is a broken invariant, and fatal.
 */
void slot_move(struct slot *slot, enum slot_state to);

/* True while it has a process. */
bool slot_is_alive(const struct slot *slot);

#endif
