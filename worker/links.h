/*
 * A worker's three links to Asterisk as one: the event link and two command
 * links (originates; all else). Says when calls can be made, and sees that
 * after every gap the table and Asterisk are brought in line.
 */
#ifndef KAP_LINKS_H
#define KAP_LINKS_H

#include <stdbool.h>

#include "call_events.h"
#include "dispatch.h"
#include "reconcile.h"
#include "shared/child_runtime.h"
#include "shared/turn.h"

struct links;

struct links_options {
	struct child_runtime *runtime;
	struct store *store;
	struct turn *turn;
	struct dispatch *dispatch;
	struct call_events *events;
	struct reconcile *reconcile;
	/* Where dispatch and reconcile look for the links: filled in here. */
	struct ari_command_link **originate;
	struct ari_command_link **control;
	/* All three are up, or not all any more. */
	void (*changed)(void *ctx, bool up);
	void *ctx;
};

/*
 * Open the links. Events are read from links_read_events on. Everything in
 * `options` is borrowed.
 *
 * Returns 0; -KAP_INVAL (asterisk.url, in msg); -KAP_NOMEM.
 */
KAP_MUST_USE int links_open(struct links **links_out,
    const struct links_options *options, struct kap_errmsg *msg);

/*
 * Read the slot's events from now on (CHILD_MSG_READ).
 *
 * fd  the event socket that the master has kept, now the links'; -1: none
 */
void links_read_events(struct links *links, int fd);

/* Read no more events; the socket stays with the master. */
void links_stop_events(struct links *links);

/* Close all. Sets *links NULL. */
void links_close(struct links **links);

#endif
