/*
 * A slot: the place in which one child of a kind runs, and at times two: the
 * current one and one that comes or leaves. Here is what outlives the child:
 * listeners, doorbell, what is remembered of the last one. What belongs to
 * one process is process.h's.
 */
#ifndef KAP_SLOT_H
#define KAP_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "master/process.h"
#include "master/supervise.h"
#include "shared/child.h"

struct children;
struct event;

struct slot {
	struct children *children; /* whose slot this is */
	enum child_role role;
	int number;    /* 0.. of its role */
	unsigned bell; /* own doorbell; its statistics rows follow from it */
	unsigned drain_turn; /* 0 drains first */
	bool active;   /* a child belongs here; else it is, or gets, empty */
	bool joining;  /* not yet among the node's workers */

	/* By the parity of the generation, as the statistics rows are. */
	struct process process[2];
	struct process *current; /* serves, or is about to; NULL: none */
	struct process *next;    /* will be the current one when it is ready */
	struct process *leaving; /* was the current one */
	uint32_t generation;     /* the last one that was started */

	struct event *on_spawn_due;
	int64_t next_start_ms; /* boot clock; 0: no start waits */
	unsigned failures;     /* starts in a row that never got ready */
	struct supervise_loop loop; /* deaths soon after being ready */
	uint64_t starts;       /* since this master began */
	uint64_t planned;      /* of them, successors that took over */

	int listen_fd; /* a worker's API listener, else -1 */
	int admin_fd;  /* a worker's admin listener, else -1 */

	char last_exit[240];  /* in words; empty before the first exit */
	char last_reason[32]; /* the same in a word: "SIGSEGV" */
	int64_t last_exit_ms; /* wall clock */

	const struct process *died; /* the current one that is replaced */
	bool waits_check; /* that waits until the readers are cleared */
	bool in_check;    /* the run under way began after its death */

	bool not_lent; /* nobody is to have its listener but itself */
	int64_t unserved_since_ms; /* boot clock: nobody accepts since; or 0 */
	struct slot *lent_to;      /* who has its API listener, or NULL */
	uint32_t lent_generation;  /* of that one */
};

/* True while it has a process of any kind. */
bool slot_has_process(const struct slot *slot);

/* The process of a generation, if it lives, else NULL. */
struct process *slot_find_process(struct slot *slot, uint32_t generation);

/* "worker 2", "recorder": for people. Cut at `size`. */
void slot_name(const struct slot *slot, char *out, size_t size);

/* The state to show: the current process's, or why there is none. */
const char *slot_state_name(const struct slot *slot);

#endif
