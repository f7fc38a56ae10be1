/*
 * A round asks each app of what it is told, and subscribes it to what is
 * missing there; one request at a time, for nearly always none is missing.
 *
 *     next ──▶ an app not asked yet: GET ─────────▶ next
 *       │ ──▶ a channel not heard of: POST ───────▶ next
 *       └───▶ done
 */
#include "subscriptions.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ari_url.h"
#include "shared/call.h"
#include "shared/child.h"
#include "shared/log.h"

#define SOURCE "channel:"
#define NO_CHANNEL 422 /* the status for one that is not there any more */

struct wanted {
	char channel[CALL_NAME_SIZE];
	unsigned slot;
	bool heard; /* the app is told of it */
};

struct subscriptions {
	struct ari_command_link *const *control;
	const struct config *config;
	void (*done)(void *ctx, bool changed);
	void *ctx;
	struct wanted *list; /* sorted by channel */
	size_t count;
	size_t room;
	bool has[CHILD_MAX_WORKERS]; /* the slots with a channel */
	unsigned slot; /* apps of the slots before were asked */
	size_t at;     /* channels before are subscribed */
	bool changed;
	bool asked;   /* a reply is to come, */
	bool dropped; /* …and frees all this */
};

static void go_on(struct subscriptions *subscriptions);

static int
compare_channels(const void *name, const void *wanted)
{
	return strcmp(name, ((const struct wanted *)wanted)->channel);
}

/* Note what an app is told of. */
static void
read_app(struct subscriptions *subscriptions, const char *body,
    size_t body_len)
{
	cJSON *app = cJSON_ParseWithLength(body, body_len);
	const cJSON *item;

	cJSON_ArrayForEach(item,
	    cJSON_GetObjectItemCaseSensitive(app, "channel_ids"))
	{
		struct wanted *found = cJSON_IsString(item) ?
		    bsearch(item->valuestring, subscriptions->list,
		    subscriptions->count, sizeof(struct wanted),
		    compare_channels) : NULL;

		if (found != NULL && found->slot == subscriptions->slot)
			found->heard = true;
	}
	cJSON_Delete(app);
}

/* Whether the round goes on: false where the link or the round is gone. */
static bool
take_reply(struct subscriptions *subscriptions, int status)
{
	subscriptions->asked = false;
	if (subscriptions->dropped) {
		subscriptions_free(&subscriptions);
		return false;
	}
	return status > 0 || status == -KAP_TIMEOUT;
}

/* Without it all works, but such a call's end is told late. */
static void
give_up(struct subscriptions *subscriptions, int status)
{
	log_warn("asterisk did not take a subscription",
	    LOG_S("channel", subscriptions->list[subscriptions->at].channel),
	    LOG_I("status", status));
	subscriptions->done(subscriptions->ctx, subscriptions->changed);
}

static void
on_app(void *arg, int status, const char *body, size_t body_len)
{
	struct subscriptions *subscriptions = arg;

	if (!take_reply(subscriptions, status))
		return;
	if (status != 200) {
		give_up(subscriptions, status);
		return;
	}
	read_app(subscriptions, body, body_len);
	subscriptions->slot++;
	go_on(subscriptions);
}

static void
on_subscribed(void *arg, int status, const char *body KAP_UNUSED,
    size_t body_len KAP_UNUSED)
{
	struct subscriptions *subscriptions = arg;

	if (!take_reply(subscriptions, status))
		return;
	if ((status < 200 || status > 299) && status != NO_CHANNEL) {
		give_up(subscriptions, status);
		return;
	}
	log_info(status == NO_CHANNEL ?
	    "a call that nothing was told of is gone" :
	    "subscribed to a call that nothing was told of",
	    LOG_S("channel", subscriptions->list[subscriptions->at].channel));
	subscriptions->changed = true;
	subscriptions->at++;
	go_on(subscriptions);
}

static void
ask(struct subscriptions *subscriptions, const char *method,
    const struct ari_uri *uri, ari_command_cb callback)
{
	const int rc = ari_command_send(*subscriptions->control, method,
	    uri->text, NULL, NULL,
	    subscriptions->config->asterisk.command_timeout_ms, callback,
	    subscriptions);

	if (rc == 0)
		subscriptions->asked = true;
	else
		give_up(subscriptions, rc);
}

static void
begin_uri(const struct subscriptions *subscriptions, unsigned slot,
    struct ari_uri *uri)
{
	char app[ARI_APP_SIZE];

	ari_url_app_name(app, subscriptions->config->node.id, (int)slot);
	ari_uri_init(uri);
	ari_uri_segment(uri, "applications");
	ari_uri_segment(uri, app);
}

static void
ask_app(struct subscriptions *subscriptions)
{
	struct ari_uri uri;

	begin_uri(subscriptions, subscriptions->slot, &uri);
	ask(subscriptions, "GET", &uri, on_app);
}

static void
subscribe(struct subscriptions *subscriptions)
{
	const struct wanted *wanted = &subscriptions->list[subscriptions->at];
	char source[sizeof(SOURCE) + CALL_NAME_SIZE] = SOURCE;
	struct ari_uri uri;

	memcpy(source + sizeof(SOURCE) - 1, wanted->channel,
	    strlen(wanted->channel) + 1);
	begin_uri(subscriptions, wanted->slot, &uri);
	ari_uri_segment(&uri, "subscription");
	ari_uri_query(&uri, "eventSource", source);
	ask(subscriptions, "POST", &uri, on_subscribed);
}

static void
go_on(struct subscriptions *subscriptions)
{
	while (subscriptions->slot < CHILD_MAX_WORKERS &&
	    !subscriptions->has[subscriptions->slot])
		subscriptions->slot++;
	if (subscriptions->slot < CHILD_MAX_WORKERS) {
		ask_app(subscriptions);
		return;
	}
	while (subscriptions->at < subscriptions->count &&
	    subscriptions->list[subscriptions->at].heard)
		subscriptions->at++;
	if (subscriptions->at < subscriptions->count)
		subscribe(subscriptions);
	else
		subscriptions->done(subscriptions->ctx,
		    subscriptions->changed);
}

void
subscriptions_begin(struct subscriptions *subscriptions)
{
	go_on(subscriptions);
}

int
subscriptions_add(struct subscriptions *subscriptions, unsigned slot,
    const char *channel)
{
	struct wanted *wanted;

	if (slot >= CHILD_MAX_WORKERS)
		return -KAP_INVAL;
	if (subscriptions->count == subscriptions->room) {
		const size_t room = subscriptions->room * 2 + 64;
		struct wanted *bigger = reallocarray(subscriptions->list,
		    room, sizeof(*bigger));

		if (bigger == NULL)
			return -KAP_NOMEM;
		subscriptions->list = bigger;
		subscriptions->room = room;
	}
	wanted = &subscriptions->list[subscriptions->count++];
	memset(wanted, 0, sizeof(*wanted));
	strncpy(wanted->channel, channel, sizeof(wanted->channel) - 1);
	wanted->slot = slot;
	subscriptions->has[slot] = true;
	return 0;
}

struct subscriptions *
subscriptions_new(struct ari_command_link *const *control,
    const struct config *config, void (*done)(void *ctx, bool changed),
    void *ctx)
{
	struct subscriptions *subscriptions = calloc(1,
	    sizeof(*subscriptions));

	if (subscriptions == NULL)
		return NULL;
	subscriptions->control = control;
	subscriptions->config = config;
	subscriptions->done = done;
	subscriptions->ctx = ctx;
	return subscriptions;
}

void
subscriptions_free(struct subscriptions **subscriptions)
{
	struct subscriptions *old = *subscriptions;

	*subscriptions = NULL;
	if (old == NULL)
		return;
	if (old->asked) {
		old->dropped = true; /* its reply still comes */
		return;
	}
	free(old->list);
	free(old);
}
