/*
 * The master's children: how each is started, what its messages and its exit
 * lead to, how one makes way for its successor, and how all are drained. No
 * function here waits for a child.
 */
#ifndef KAP_CHILDREN_H
#define KAP_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>

#include "master/operation.h"
#include "master/reader_check.h"
#include "master/slot.h"
#include "master/slots.h"
#include "master/streams.h"
#include "shared/child.h"
#include "shared/config.h"
#include "shared/errors.h"
#include "shared/stats.h"

struct event;
struct event_base;

/* What the children are made from; all borrowed for their whole life. */
struct children_setup {
	struct event_base *base;
	const struct config *config; /* until children_set_config */
	const char *bin_dir;      /* where the programs are */
	int lock_fd;              /* the run directory's children.lock */
	int stats_fd;
	struct stats_file *stats;
	void (*on_gone)(void *ctx); /* after children_drain: none is left */
	void *ctx;
};

struct children {
	struct children_setup setup;
	struct slot *slots; /* SLOTS_COUNT, in the order of draining */
	unsigned workers;   /* slots 0..workers - 1 serve */
	unsigned workers_to_be; /* the same, but while that changes */
	struct streams streams;
	struct operations operations;
	int bells[CHILD_BELL_COUNT];
	struct reader_check check;
	bool check_due; /* a child died since the last reader check began */
	int64_t check_again_ms; /* boot clock: the last one failed; or 0 */
	struct event *on_exit;
	bool draining;
	bool gone; /* on_gone was called */
};

/*
 * Make the slots, their doorbells and their listeners. Starts nothing.
 *
 * Returns 0; -KAP_EXISTS, -KAP_DENIED, -KAP_INVAL (a listener's address),
 * -KAP_NOENT (a program is missing), -KAP_NOMEM, -KAP_IO.
 */
KAP_MUST_USE int children_init(struct children *children,
    const struct children_setup *setup, struct kap_errmsg *msg);

/* Close what the slots hold. Kills what still runs. */
void children_deinit(struct children *children);

/* Start a child in every active slot. */
void children_start(struct children *children);

/*
 * Have all children finish and leave: workers first, then recorder and
 * webhookd. No slot is started again. setup.on_gone follows, after
 * twice supervision.drain_timeout_s at the latest.
 */
void children_drain(struct children *children);

/* No new calls (kaphilactl drain), or calls again. Until the master ends. */
void children_set_paused(struct children *children, bool paused);

/*
 * Take another configuration: later starts get it, and every living child is
 * sent it (CHILD_MSG_CONFIG), which takes over what is reloadable.
 *
 * config  checked; borrowed until the next one, or children_deinit
 */
void children_set_config(struct children *children,
    const struct config *config);

/* ---- for the master's own modules ---- */

/*
 * Send what is due and go on with what can go on: streams, operations, a
 * drain. Called at the end of every event, and by the watchdog's look.
 */
void children_turn(struct children *children);

/* Have a process finish and leave, also while its channel is full. */
void children_drain_process(struct process *process);

/* The same for all that a slot has. */
void children_drain_slot(struct slot *slot);

/* A child says in its row that it drains by itself: count it as such. */
void children_note_draining(struct process *process);

/* Say how many workers there are, to all; streams follow by children_turn. */
void children_set_workers(struct children *children, unsigned workers);

/*
 * True if the slot's current process is ready, and, of a worker, reads all
 * streams it is to read: it accepts from its listener.
 */
bool children_serves(const struct slot *slot);

/* The statistics row of a process; NULL if the row isn't its own. */
const struct stats_row *children_row(const struct children *children,
    const struct process *process);

#endif
