/*
 * Which Asterisk process had the slot's calls: remembered in the store, so
 * that a restart of Asterisk is told from a mere loss of the link, also by a
 * worker that was started in between.
 */
#ifndef KAP_MEDIA_SERVER_H
#define KAP_MEDIA_SERVER_H

#include <stdbool.h>

#include "ari_command.h"
#include "shared/turn.h"

/*
 * Remember the server that a slot is connected to now.
 *
 * fn  called after the commit: restarted is true when this is another
 *     process than the one remembered before, and until that is settled
 *
 * Returns 0 or -KAP_NOMEM (fn is not called then).
 */
KAP_MUST_USE int media_server_note(struct turn *turn, unsigned slot,
    const struct ari_server *server,
    void (*fn)(void *ctx, bool restarted), void *ctx);

/*
 * The calls of the server before are ended, by jobs submitted earlier: what
 * restarted said is settled. Never fails; said in vain, it is said again.
 */
void media_server_settled(struct turn *turn, unsigned slot);

#endif
