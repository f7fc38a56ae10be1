/*
 * Sees to it that Asterisk tells a slot's Stasis app of channels that are
 * the slot's calls. Asterisk subscribes the app to what is originated for it,
 * but not while the app is not registered: then nothing of the channel is
 * told until it is answered, a busy never.
 */
#ifndef KAP_SUBSCRIPTIONS_H
#define KAP_SUBSCRIPTIONS_H

#include <stdbool.h>

#include "ari_command.h"
#include "shared/config.h"

struct subscriptions;

/*
 * One round: add channels, then begin.
 *
 * control  where the link stands
 * done     the last of a round, from inside begin where nothing can be asked;
 *          may free it. Not called where the link is lost.
 *          changed: an app was subscribed, or a channel was gone by then; so
 *          what is known of the channels may be of before
 *
 * All is borrowed. NULL when out of memory.
 */
struct subscriptions *subscriptions_new(
    struct ari_command_link *const *control, const struct config *config,
    void (*done)(void *ctx, bool changed), void *ctx);

/* Replies to come are void. Sets *subscriptions NULL. */
void subscriptions_free(struct subscriptions **subscriptions);

/*
 * slot     0..CHILD_MAX_WORKERS - 1
 * channel  copied; each behind the one before, as strcmp has it
 *
 * Returns 0; -KAP_INVAL (no such slot); -KAP_NOMEM.
 */
KAP_MUST_USE int subscriptions_add(struct subscriptions *subscriptions,
    unsigned slot, const char *channel);

void subscriptions_begin(struct subscriptions *subscriptions);

#endif
