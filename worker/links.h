/*
 * A worker's links to Asterisk as one: two command links (originates; all
 * else), and the event stream of its own slot. Says when calls can be made:
 * once an event that Asterisk was asked for over the one has come over the
 * other, if it is read here. Sees that after every gap the table and Asterisk
 * are brought in line.
 */
#ifndef KAP_LINKS_H
#define KAP_LINKS_H

#include <stdbool.h>

#include "dispatch.h"
#include "reconcile.h"
#include "shared/child_runtime.h"
#include "shared/turn.h"
#include "stream_state.h"

struct links;

struct links_options {
	struct child_runtime *runtime;
	struct turn *turn;
	struct dispatch *dispatch;
	struct reconcile *reconcile;
	const struct stream_states *states;
	/* Where dispatch and reconcile look for the links: filled in here. */
	struct ari_command_link **originate;
	struct ari_command_link **control;
	struct change_maker *maker; /* its connections: likewise */
	/* All is up, or not all any more. */
	void (*changed)(void *ctx, bool up);
	void *ctx;
};

/*
 * Open the command links. Everything in `options` is borrowed.
 *
 * Returns 0; -KAP_INVAL (asterisk.url, in msg); -KAP_NOMEM.
 */
KAP_MUST_USE int links_open(struct links **links_out,
    const struct links_options *options, struct kap_errmsg *msg);

/* As streams_options tells it. */
void links_stream_changed(struct links *links, unsigned slot, bool up,
    bool resumed);

/*
 * The events of the slot are left to another process, or are this one's again
 * (and not read yet). While they are, its own requests can be carried out as
 * before, and nothing else is taken up.
 */
void links_relieve(struct links *links, bool relieved);

/* Whether commands can be sent, whoever reads the events. */
bool links_can_command(const struct links *links);

/* Close the command links. Sets *links NULL. */
void links_close(struct links **links);

#endif
