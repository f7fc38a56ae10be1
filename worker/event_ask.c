/*
 * One request, POST /events/user/…, and the status of its reply. A question
 * may outlive who asked: the command link owes it a callback.
 */
#include "event_ask.h"

#include <stdlib.h>

#include "ari_url.h"
#include "shared/log.h"

/* The event's name; nobody reads it. */
#define EVENT_NAME "kaphila-is-there"

/* Heap; the command link's until its callback. */
struct question {
	struct event_ask *ask; /* NULL: forgotten */
};

struct event_ask {
	struct event_ask_options options;
	struct question *open; /* NULL: none */
};

static void
on_reply(void *arg, int status, const char *body, size_t body_len)
{
	struct question *question = arg;
	struct event_ask *ask = question->ask;

	(void)body_len;
	free(question);
	if (ask == NULL)
		return;
	ask->open = NULL;
	if ((status >= 200 && status <= 299) || status == 404)
		ask->options.told(ask->options.ctx, status != 404);
	else if (status > 0)
		log_warn("asterisk sends no events when asked",
		    LOG_I("slot", ask->options.slot), LOG_I("status", status),
		    LOG_S("reply", body));
}

static int
send_question(const struct event_ask *ask, struct question *question)
{
	const struct config *config = ask->options.config;
	char app[ARI_APP_SIZE];
	struct ari_uri uri;

	ari_url_app_name(app, config->node.id, (int)ask->options.slot);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "events");
	ari_uri_segment(&uri, "user");
	ari_uri_segment(&uri, EVENT_NAME);
	ari_uri_query(&uri, "application", app);
	return ari_command_send(*ask->options.control, "POST", uri.text, NULL,
	    NULL, config->asterisk.command_timeout_ms, on_reply, question);
}

void
event_ask_send(struct event_ask *ask)
{
	struct question *question;

	if (ask->open != NULL || *ask->options.control == NULL)
		return;
	question = malloc(sizeof(*question));
	if (question == NULL)
		return;
	question->ask = ask;
	if (send_question(ask, question) == 0)
		ask->open = question;
	else
		free(question);
}

void
event_ask_forget(struct event_ask *ask)
{
	if (ask->open != NULL)
		ask->open->ask = NULL;
	ask->open = NULL;
}

struct event_ask *
event_ask_new(const struct event_ask_options *options)
{
	struct event_ask *ask = calloc(1, sizeof(*ask));

	if (ask != NULL)
		ask->options = *options;
	return ask;
}

void
event_ask_free(struct event_ask **ask)
{
	struct event_ask *old = *ask;

	if (old == NULL)
		return;
	*ask = NULL;
	event_ask_forget(old);
	free(old);
}
