/*
 * Goes through the lists, channels first, then snoop channels, then bridges, a
 * page a turn. Whether a call has one is looked up right before it is asked
 * for:
 *
 *     a channel ───────no call──▶ GET its mark ──ours──▶ DELETE ──▶ done with
 *     a snoop channel ─no call──▶ DELETE ─────────────────────────▶ done with
 *     a bridge ────────no call──▶ DELETE ─────────────────────────▶ done with
 *
 * What can't be removed now is in the next run's lists again.
 */
#include "reconcile_strays.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/event.h>

#include "ari_say.h"
#include "shared/log.h"

#define UNDER_WAY_MAX 200
#define PAGE 256
#define PAGE_WAIT_MS 1
#define FULL_WAIT_MS 100 /* the lane, or the store's readers */

struct reconcile_strays {
	const struct reconcile_options *options;
	struct event *timer;
	struct reconcile_lists lists;
	size_t at; /* of the channels, then of all that follow */
	unsigned under_way;
	bool dropped; /* …and the last reply frees all this */
};

/* One that is being asked for, or removed. */
struct stray {
	struct reconcile_strays *strays;
	char name[CALL_NAME_SIZE];
};

static void
wait_ms(struct reconcile_strays *strays, int ms)
{
	const struct timeval after = { ms / 1000, (ms % 1000) * 1000L };

	if (!event_pending(strays->timer, EV_TIMEOUT, NULL))
		(void)event_add(strays->timer, &after);
}

static bool
is_at_end(const struct reconcile_strays *strays)
{
	const struct reconcile_lists *lists = &strays->lists;

	return strays->at >= lists->channel_count + lists->snoop_count +
	    lists->bridge_count;
}

/* The rest is left alone. */
static void
give_up(struct reconcile_strays *strays)
{
	reconcile_lists_clear(&strays->lists);
	(void)event_del(strays->timer);
}

static void
destroy(struct reconcile_strays *strays)
{
	reconcile_lists_clear(&strays->lists);
	event_free(strays->timer);
	free(strays);
}

/* --- requests -------------------------------------------------------------- */

static int
say(struct stray *stray, const char *method, const struct ari_uri *uri,
    ari_command_cb callback)
{
	const struct reconcile_options *options = stray->strays->options;

	return ari_command_send(*options->control, method, uri->text, NULL,
	    NULL, options->config->asterisk.command_timeout_ms, callback,
	    stray);
}

/* Done with one; status: of the last reply, or why there is none. */
static void
finish(struct stray *stray, int status)
{
	struct reconcile_strays *strays = stray->strays;

	free(stray);
	strays->under_way--;
	if (strays->dropped) {
		if (strays->under_way == 0)
			destroy(strays);
	} else if (status < 0 && status != -KAP_TIMEOUT) {
		give_up(strays); /* the link is lost */
	} else if (!is_at_end(strays)) {
		wait_ms(strays, PAGE_WAIT_MS);
	}
}

static void
on_hung_up(void *arg, int status, const char *body KAP_UNUSED,
    size_t body_len KAP_UNUSED)
{
	finish(arg, status);
}

static int
say_hangup(struct stray *stray)
{
	struct ari_uri uri;

	char call_id[CALL_ID_SIZE];

	/* a snoop channel's call may only have had its verdict meanwhile */
	if (call_parse_snoop(stray->name, call_id) == 0)
		log_info("hanging up a snoop channel that nobody waits for",
		    LOG_S("channel", stray->name));
	else
		log_warn("hanging up a channel that no call has",
		    LOG_S("channel", stray->name));
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "channels");
	ari_uri_segment(&uri, stray->name);
	return say(stray, "DELETE", &uri, on_hung_up);
}

static void
hang_up(struct stray *stray)
{
	const int rc = say_hangup(stray);

	if (rc == 0)
		return;
	log_warn("could not hang it up now", LOG_S("channel", stray->name));
	finish(stray, rc == -KAP_AGAIN ? rc : 0);
}

static bool
is_our_mark(const struct config *config, const char *body, size_t body_len)
{
	cJSON *reply = cJSON_ParseWithLength(body, body_len);
	const char *value = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(reply, "value"));
	const bool ours = value != NULL &&
	    strtol(value, NULL, 10) == config->node.id;

	cJSON_Delete(reply);
	return ours;
}

static void
on_mark(void *arg, int status, const char *body, size_t body_len)
{
	struct stray *stray = arg;
	const struct reconcile_strays *strays = stray->strays;

	if (!strays->dropped && status == 200 &&
	    is_our_mark(strays->options->config, body, body_len))
		hang_up(stray);
	else
		finish(stray, status);
}

static void
on_bridge_gone(void *arg, int status, const char *body KAP_UNUSED,
    size_t body_len KAP_UNUSED)
{
	struct stray *stray = arg;

	/* most have gone by themselves since the list was made */
	if (status >= 200 && status < 300)
		log_warn("removed a bridge that no call had",
		    LOG_S("bridge", stray->name));
	finish(stray, status);
}

static int
ask_mark(struct stray *stray, const struct seen_channel *seen)
{
	struct ari_uri uri;

	memcpy(stray->name, seen->name, sizeof(stray->name));
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "channels");
	ari_uri_segment(&uri, seen->name);
	ari_uri_segment(&uri, "variable");
	ari_uri_query(&uri, "variable", ARI_NODE_VARIABLE);
	return say(stray, "GET", &uri, on_mark);
}

static int
hang_up_snoop(struct stray *stray, const char *call_id)
{
	call_snoop_name(call_id, stray->name);
	return say_hangup(stray);
}

static int
destroy_bridge(struct stray *stray, const char *call_id)
{
	struct ari_uri uri;

	call_bridge_name(call_id, stray->name);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "bridges");
	ari_uri_segment(&uri, stray->name);
	return say(stray, "DELETE", &uri, on_bridge_gone);
}

/* --- the lists ------------------------------------------------------------- */

/* Does a call of the table, of whatever slot, have this channel? */
static bool
has_channel(struct store_txn *txn, const struct seen_channel *seen)
{
	struct call call;
	const int rc = call_table_get(txn, seen->call_id, &call);

	if (rc != 0)
		return rc != -KAP_NOENT; /* when in doubt, leave it alone */
	return call_is_live(&call) && seen->attempt >= call.attempt;
}

static bool
has_snoop(struct store_txn *txn, const char *call_id)
{
	struct call call;
	const int rc = call_table_get(txn, call_id, &call);

	if (rc != 0)
		return rc != -KAP_NOENT;
	return call_is_live(&call) && (call.flags & CALL_F_SNOOPED) != 0;
}

/* A bridge stays until its recording is done. */
static bool
has_bridge(struct store_txn *txn, const char *call_id)
{
	struct call call;
	const int rc = call_table_get(txn, call_id, &call);

	if (rc != 0)
		return rc != -KAP_NOENT;
	return (call.flags & CALL_F_BRIDGE) != 0;
}

/* What the lists have at a place: one of these is set. */
struct listed {
	const struct seen_channel *channel;
	const char *snoop;
	const char *bridge;
};

static struct listed
listed_at(const struct reconcile_lists *lists, size_t at)
{
	struct listed listed = { .channel = NULL };

	if (at < lists->channel_count)
		listed.channel = &lists->channels[at];
	else if (at - lists->channel_count < lists->snoop_count)
		listed.snoop = lists->snoops[at - lists->channel_count];
	else
		listed.bridge = lists->bridges[at - lists->channel_count -
		    lists->snoop_count];
	return listed;
}

static bool
is_had(struct store_txn *txn, const struct listed *listed)
{
	if (listed->channel != NULL)
		return has_channel(txn, listed->channel);
	return listed->snoop != NULL ? has_snoop(txn, listed->snoop) :
	    has_bridge(txn, listed->bridge);
}

static int
begin_removal(struct stray *stray, const struct listed *listed)
{
	if (listed->channel != NULL)
		return ask_mark(stray, listed->channel);
	return listed->snoop != NULL ? hang_up_snoop(stray, listed->snoop) :
	    destroy_bridge(stray, listed->bridge);
}

/* See to the next of the lists; why its request could not leave, or 0. */
static int
look_at_next(struct reconcile_strays *strays, struct store_txn *txn)
{
	const struct listed listed = listed_at(&strays->lists, strays->at);
	struct stray *stray;
	int rc;

	if (is_had(txn, &listed))
		return 0;
	stray = calloc(1, sizeof(*stray));
	if (stray == NULL)
		return -KAP_NOMEM;
	stray->strays = strays;
	rc = begin_removal(stray, &listed);
	if (rc == 0)
		strays->under_way++;
	else
		free(stray);
	return rc;
}

/* Returns 0, or -KAP_FULL or -KAP_AGAIN of the link. */
static int
look_at_page(struct reconcile_strays *strays, struct store_txn *txn)
{
	for (int i = 0; i < PAGE && strays->under_way < UNDER_WAY_MAX &&
	    !is_at_end(strays); i++) {
		const int rc = look_at_next(strays, txn);

		if (rc == -KAP_FULL || rc == -KAP_AGAIN)
			return rc;
		strays->at++;
	}
	return 0;
}

static void
go_on(struct reconcile_strays *strays)
{
	struct store_txn *txn;
	int rc;

	if (store_begin_read(strays->options->store, &txn) != 0) {
		wait_ms(strays, FULL_WAIT_MS);
		return;
	}
	rc = look_at_page(strays, txn);
	store_end_read(&txn);
	if (rc == -KAP_AGAIN || is_at_end(strays))
		give_up(strays);
	else if (rc == -KAP_FULL)
		wait_ms(strays, FULL_WAIT_MS);
	else if (strays->under_way < UNDER_WAY_MAX)
		wait_ms(strays, PAGE_WAIT_MS);
	/* else with a reply */
}

static void
on_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	go_on(arg);
}

struct reconcile_strays *
reconcile_strays_new(const struct reconcile_options *options,
    struct reconcile_lists *lists)
{
	static const struct reconcile_lists none = { 0 };
	struct reconcile_strays *strays = calloc(1, sizeof(*strays));

	if (strays != NULL)
		strays->timer = evtimer_new(options->base, on_timer, strays);
	if (strays == NULL || strays->timer == NULL) {
		reconcile_lists_clear(lists);
		free(strays);
		return NULL;
	}
	strays->options = options;
	strays->lists = *lists;
	*lists = none;
	wait_ms(strays, 0);
	return strays;
}

void
reconcile_strays_free(struct reconcile_strays **strays)
{
	struct reconcile_strays *old = *strays;

	*strays = NULL;
	if (old == NULL)
		return;
	give_up(old);
	old->dropped = true;
	if (old->under_way == 0)
		destroy(old);
}
