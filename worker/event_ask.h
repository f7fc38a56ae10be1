/*
 * Has Asterisk send a mark to a slot's Stasis app, for the app's event link to
 * see that it gets the app's events, and what came before. Asked over the
 * command link, so that both ways together make one round.
 */
#ifndef KAP_EVENT_ASK_H
#define KAP_EVENT_ASK_H

#include "ari_command.h"
#include "ari_mark.h"
#include "shared/config.h"
#include "shared/errors.h"

struct event_ask;

struct event_ask_options {
	struct ari_command_link **control; /* as it is when asked */
	const struct config *config;
	unsigned slot; /* whose app */
	/*
	 * What Asterisk said, once for each that was asked and not forgotten.
	 * From the loop; may call event_ask_forget, and must not free.
	 */
	void (*told)(void *ctx, enum ari_mark_reply reply);
	void *ctx;
};

/* Everything in `options` is borrowed. NULL when out of memory. */
struct event_ask *event_ask_new(const struct event_ask_options *options);

/* Forget and free. Sets *ask NULL; NULL is allowed. */
void event_ask_free(struct event_ask **ask);

/*
 * Ask. Returns 0; -KAP_AGAIN (the command link is down), -KAP_FULL,
 * -KAP_NOMEM. Never blocks, never calls back at once.
 */
KAP_MUST_USE int event_ask_send(struct event_ask *ask,
    const struct ari_mark *mark);

/* What was asked until now is not told any more: it means another link. */
void event_ask_forget(struct event_ask *ask);

#endif
