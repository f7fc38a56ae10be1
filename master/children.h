/*
 * The master's children: their slots, from the table of kinds; how each is
 * started, what its messages and its exit lead to, and how all are drained.
 * No function here waits for a child.
 */
#ifndef KAP_CHILDREN_H
#define KAP_CHILDREN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "master/reader_check.h"
#include "master/slot.h"
#include "shared/child.h"
#include "shared/config.h"
#include "shared/errors.h"
#include "shared/stats.h"

struct event;
struct event_base;

/* What the children are made from; all borrowed for their whole life. */
struct children_setup {
	struct event_base *base;
	const struct config *config;
	const char *bin_dir;      /* where the programs are */
	int lock_fd;              /* the run directory's children.lock */
	int stats_fd;
	struct stats_file *stats;
	void (*on_gone)(void *ctx); /* after children_drain: none is left */
	void *ctx;
};

struct children {
	struct children_setup setup;
	struct slot *slots; /* workers first, in the order of draining */
	size_t count;
	int bells[CHILD_BELL_COUNT];
	struct reader_check check;
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

/* Start a child in every slot. */
void children_start(struct children *children);

/*
 * Have all children finish and leave: workers first, then recorder and
 * webhookd. No slot is started again. setup.on_gone follows, after
 * twice supervision.drain_timeout_s at the latest.
 */
void children_drain(struct children *children);

/* Send what a drain still has to send, and move on when it can. */
void children_push_drain(struct children *children);

/* A child says in its row that it drains by itself: count it as such. */
void children_note_draining(struct slot *slot);

/* The statistics row of a slot's child; NULL if the row isn't its own. */
const struct stats_row *children_row(const struct children *children,
    const struct slot *slot);

/*
 * Send a message to a slot's child; its generation is filled in.
 *
 * Returns 0, -KAP_AGAIN, -KAP_GONE, -KAP_IO. Never blocks.
 */
KAP_MUST_USE int children_send(const struct slot *slot,
    enum child_message_kind kind, int about_slot, int fd);

#endif
