/*
 * Has Asterisk send an event to a slot's Stasis app, for the app's event link
 * to see that it still gets them. Asked over the command link, so that the two
 * ways together are one round: Asterisk takes commands, and tells.
 */
#ifndef KAP_EVENT_ASK_H
#define KAP_EVENT_ASK_H

#include <stdbool.h>

#include "ari_command.h"
#include "shared/config.h"

struct event_ask;

struct event_ask_options {
	struct ari_command_link **control; /* as it is when asked */
	const struct config *config;
	unsigned slot; /* whose app */
	/*
	 * Asterisk has the app and says that it sends the event, or has it
	 * not. Not called where it said neither. From the loop; may call
	 * event_ask_forget, and must not free.
	 */
	void (*told)(void *ctx, bool is_there);
	void *ctx;
};

/* Everything in `options` is borrowed. NULL when out of memory. */
struct event_ask *event_ask_new(const struct event_ask_options *options);

/* Forget and free. Sets *ask NULL; NULL is allowed. */
void event_ask_free(struct event_ask **ask);

/*
 * Ask. Nothing happens while a question has no reply yet, or the command link
 * is down. Never blocks, never calls back at once.
 */
void event_ask_send(struct event_ask *ask);

/* The reply to what was asked before is not told: it means another link. */
void event_ask_forget(struct event_ask *ask);

#endif
