/*
 * Tells Asterisk which events of a slot's Stasis app nobody reads, so that it
 * doesn't send them.
 */
#ifndef KAP_EVENT_FILTER_H
#define KAP_EVENT_FILTER_H

#include "ari_command.h"
#include "shared/config.h"

/*
 * Ask for the filter; the app is registered, for its event link is up. What
 * becomes of it stands in the log: without it all works, at a higher price.
 *
 * slot  whose app
 */
void event_filter_set(struct ari_command_link *control,
    const struct config *config, unsigned slot);

#endif
