/*
 * POST /events/user/…, and the status of its reply. A question may outlive who
 * asked: the command link owes it a callback.
 */
#include "event_ask.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "ari_url.h"
#include "shared/log.h"

/* Heap; the command link's until its callback. */
struct question {
	LIST_ENTRY(question) entry;
	struct event_ask *ask; /* NULL: forgotten, and in no list */
};

struct event_ask {
	struct event_ask_options options;
	LIST_HEAD(, question) open;
	bool is_refused; /* the last one that had a reply was */
};

static enum ari_mark_reply
reply_of(int status)
{
	if (status >= 200 && status <= 299)
		return ARI_MARK_COMES;
	if (status == 404)
		return ARI_MARK_NO_APP;
	return status > 0 ? ARI_MARK_REFUSED : ARI_MARK_UNKNOWN;
}

/* It can't be worked without: said once, until Asterisk takes one again. */
static void
note_refusal(struct event_ask *ask, int status, const char *body)
{
	const bool is_refused = reply_of(status) == ARI_MARK_REFUSED;

	if (is_refused && !ask->is_refused)
		log_error("asterisk refuses to send events when asked: is "
		    "asterisk.user read-only, or ast_multi_user_event_type "
		    "declined in stasis.conf?",
		    LOG_I("slot", ask->options.slot), LOG_I("status", status),
		    LOG_S("reply", body));
	ask->is_refused = is_refused;
}

static void
on_reply(void *arg, int status, const char *body, size_t body_len)
{
	struct question *question = arg;
	struct event_ask *ask = question->ask;

	(void)body_len;
	if (ask != NULL)
		LIST_REMOVE(question, entry);
	free(question);
	if (ask == NULL)
		return;
	if (status > 0)
		note_refusal(ask, status, body);
	ask->options.told(ask->options.ctx, reply_of(status));
}

static int
say(const struct event_ask *ask, const struct ari_mark *mark,
    struct question *question)
{
	const struct config *config = ask->options.config;
	char name[ARI_MARK_NAME_SIZE];
	char app[ARI_APP_SIZE];
	struct ari_uri uri;

	ari_url_app_name(app, config->node.id, (int)ask->options.slot);
	ari_mark_name(name, mark);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "events");
	ari_uri_segment(&uri, "user");
	ari_uri_segment(&uri, name);
	ari_uri_query(&uri, "application", app);
	return ari_command_send(*ask->options.control, "POST", uri.text, NULL,
	    NULL, config->asterisk.command_timeout_ms, on_reply, question);
}

int
event_ask_send(struct event_ask *ask, const struct ari_mark *mark)
{
	struct question *question;
	int rc;

	if (*ask->options.control == NULL)
		return -KAP_AGAIN;
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		return -KAP_NOMEM;
	rc = say(ask, mark, question);
	if (rc != 0) {
		free(question);
		return rc;
	}
	question->ask = ask;
	LIST_INSERT_HEAD(&ask->open, question, entry);
	return 0;
}

void
event_ask_forget(struct event_ask *ask)
{
	struct question *question;

	while ((question = LIST_FIRST(&ask->open)) != NULL) {
		LIST_REMOVE(question, entry);
		question->ask = NULL;
	}
}

struct event_ask *
event_ask_new(const struct event_ask_options *options)
{
	struct event_ask *ask = calloc(1, sizeof(*ask));

	if (ask == NULL)
		return NULL;
	ask->options = *options;
	LIST_INIT(&ask->open);
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
