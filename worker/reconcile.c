/*
 * Steps of a run, each begun by the reply to the one before:
 *
 *     IDLE ──start──▶ CHANNELS ──▶ SUBSCRIPTIONS ──▶ BRIDGES ──1 s──▶
 *                        ▲             │                  applied ──▶ DONE
 *                        └─── some ────┘
 *
 * What happened to a call before somebody is told of it shows in a list that
 * is made afterwards: so that is asked for again.
 * The second of waiting is for events that were on their way when Asterisk
 * made its lists: an event tells how a call ended, a list only that it did.
 */
#include "reconcile.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/event.h>

#include "ari_say.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "subscriptions.h"

#define SETTLE_MS 1000
#define RETRY_MS 2000
#define SUBSCRIBING_MAX 3 /* times in a run */
#define SCAN_BATCH 64
#define NAME_SIZE CALL_NAME_SIZE

enum reconcile_phase {
	RECONCILE_IDLE,
	RECONCILE_CHANNELS,
	RECONCILE_SUBSCRIPTIONS,
	RECONCILE_BRIDGES,
	RECONCILE_SETTLING,
	RECONCILE_RETRY,
	RECONCILE_DONE
};

/* A channel of Asterisk's list that has the form of ours. */
struct seen_channel {
	char name[NAME_SIZE];
	char call_id[CALL_ID_SIZE];
	unsigned attempt;
	enum call_input_kind shows; /* what its state says */
};

struct reconcile {
	struct reconcile_options options;
	struct event *timer;
	enum reconcile_phase phase;
	unsigned run; /* replies to an older run are void */
	bool restarted;
	struct subscriptions *subscriptions;
	unsigned subscribings; /* in this run */
	/*
	 * Calls that had a channel when the lists were asked for. No other
	 * may be found missing: a younger one's channel came too late for them.
	 */
	char (*owed)[CALL_ID_SIZE]; /* sorted */
	size_t owed_count;
	size_t owed_room;
	struct seen_channel *channels; /* sorted by name */
	size_t channel_count;
	char (*bridges)[CALL_ID_SIZE]; /* calls of our bridges */
	size_t bridge_count;
};

/* The reply to one request of one run. */
struct ask {
	struct reconcile *reconcile;
	unsigned run;
	char name[NAME_SIZE]; /* of the channel or bridge it is about */
};

static void ask_channels(struct reconcile *reconcile);
static void ask_bridges(struct reconcile *reconcile);

static int
compare_channels(const void *a, const void *b)
{
	const struct seen_channel *left = a;
	const struct seen_channel *right = b;

	return strcmp(left->name, right->name);
}

static const struct seen_channel *
find_channel(const struct reconcile *reconcile, const struct call *call)
{
	struct seen_channel wanted;

	call_channel_name(call, wanted.name);
	if (reconcile->channel_count == 0)
		return NULL;
	return bsearch(&wanted, reconcile->channels, reconcile->channel_count,
	    sizeof(wanted), compare_channels);
}

static void
forget_lists(struct reconcile *reconcile)
{
	free(reconcile->channels);
	free(reconcile->bridges);
	free(reconcile->owed);
	subscriptions_free(&reconcile->subscriptions);
	reconcile->owed = NULL;
	reconcile->owed_count = 0;
	reconcile->owed_room = 0;
	reconcile->channels = NULL;
	reconcile->bridges = NULL;
	reconcile->channel_count = 0;
	reconcile->bridge_count = 0;
}

static void
wait_ms(struct reconcile *reconcile, enum reconcile_phase phase, int ms)
{
	const struct timeval after = { ms / 1000, (ms % 1000) * 1000L };

	reconcile->phase = phase;
	(void)event_add(reconcile->timer, &after);
}

static void
retry(struct reconcile *reconcile)
{
	wait_ms(reconcile, RECONCILE_RETRY, RETRY_MS);
}

/* --- reading Asterisk's lists ------------------------------------------ */

static const char *
text_of(const cJSON *object, const char *name)
{
	const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(field) ? field->valuestring : "";
}

static enum call_input_kind
read_state(const cJSON *channel)
{
	const cJSON *dialplan = cJSON_GetObjectItemCaseSensitive(channel,
	    "dialplan");
	const char *state = text_of(channel, "state");

	if (strcmp(state, "Ringing") == 0)
		return CALL_IN_RINGING;
	if (strcmp(state, "Up") != 0)
		return CALL_IN_SEEN;
	return strcmp(text_of(dialplan, "app_name"), "Stasis") == 0
	    ? CALL_IN_STASIS_START : CALL_IN_UP;
}

static int
read_channels(struct reconcile *reconcile, const cJSON *list)
{
	const unsigned node = reconcile->options.maker->node;
	const cJSON *item;
	size_t room = (size_t)cJSON_GetArraySize(list);

	reconcile->channels = calloc(room + 1, sizeof(struct seen_channel));
	if (reconcile->channels == NULL)
		return -KAP_NOMEM;
	cJSON_ArrayForEach(item, list)
	{
		struct seen_channel *seen =
		    &reconcile->channels[reconcile->channel_count];
		const char *name = text_of(item, "id");

		if (strlen(name) >= sizeof(seen->name) ||
		    call_parse_channel(name, seen->call_id,
		        &seen->attempt) != 0 ||
		    call_id_node(seen->call_id) != node)
			continue;
		memcpy(seen->name, name, strlen(name) + 1);
		seen->shows = read_state(item);
		reconcile->channel_count++;
	}
	qsort(reconcile->channels, reconcile->channel_count,
	    sizeof(struct seen_channel), compare_channels);
	return 0;
}

static int
read_bridges(struct reconcile *reconcile, const cJSON *list)
{
	char label[ARI_BRIDGE_NAME_SIZE];
	const cJSON *item;
	const size_t room = (size_t)cJSON_GetArraySize(list);

	ari_bridge_label(label, reconcile->options.config->node.id);
	reconcile->bridges = calloc(room + 1, CALL_ID_SIZE);
	if (reconcile->bridges == NULL)
		return -KAP_NOMEM;
	cJSON_ArrayForEach(item, list)
	{
		char *id = reconcile->bridges[reconcile->bridge_count];

		if (strcmp(text_of(item, "name"), label) == 0 &&
		    call_parse_bridge(text_of(item, "id"), id) == 0)
			reconcile->bridge_count++;
	}
	return 0;
}

/* --- what the lists mean for the slot's calls --------------------------- */

struct reconcile_job {
	struct turn_job job;
	struct dispatch *dispatch;
	const struct change_maker *maker;
	char call_id[CALL_ID_SIZE];
	struct call_input input;
	struct change change;
};

static int
apply_input(struct turn_job *job, struct store_txn *txn)
{
	struct reconcile_job *work = (struct reconcile_job *)job;

	return change_step(txn, work->maker, work->call_id, &work->input,
	    &work->change);
}

static void
done_input(struct turn_job *job, int rc)
{
	struct reconcile_job *work = (struct reconcile_job *)job;

	if (rc == 0 && work->change.rc == 0) {
		log_info("reconciled a call", LOG_S("call", work->call_id),
		    LOG_S("input", call_input_name(work->input.kind)));
		dispatch_follow(work->dispatch, &work->change);
	} else if (rc != 0) {
		log_error("a call could not be reconciled",
		    LOG_S("call", work->call_id),
		    LOG_S("error", kap_strerror(rc)));
	}
	free(work);
}

static void
submit_input(struct reconcile *reconcile, const struct call *call,
    enum call_input_kind kind)
{
	struct reconcile_job *work = calloc(1, sizeof(*work));

	if (work == NULL)
		return;
	work->dispatch = reconcile->options.dispatch;
	work->maker = reconcile->options.maker;
	memcpy(work->call_id, call->id, sizeof(work->call_id));
	work->input.kind = kind;
	work->input.attempt = call->attempt;
	work->input.at_ms = clock_wall_ms();
	work->job.apply = apply_input;
	work->job.done = done_input;
	turn_submit_lazily(reconcile->options.turn, &work->job);
}

/* Has the call got behind what its channel shows? */
static bool
is_behind(const struct call *call, enum call_input_kind shows)
{
	switch (shows) {
	case CALL_IN_RINGING:
		return call->state < CALL_RINGING;
	case CALL_IN_UP:
		return call->state < CALL_ANSWERED;
	case CALL_IN_STASIS_START:
		return call->state < CALL_ANSWERED ||
		    (call->flags & CALL_F_IN_STASIS) == 0;
	default:
		return false;
	}
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool
is_owed(const struct reconcile *reconcile, const struct call *call)
{
	return reconcile->owed_count > 0 && bsearch(call->id, reconcile->owed,
	    reconcile->owed_count, CALL_ID_SIZE, compare_ids) != NULL;
}

static void
compare_call(struct reconcile *reconcile, const struct call *call)
{
	const struct seen_channel *seen = find_channel(reconcile, call);

	if (seen != NULL) {
		if (call_is_live(call) && is_behind(call, seen->shows))
			submit_input(reconcile, call, seen->shows);
	} else if (call_is_live(call) && is_owed(reconcile, call)) {
		submit_input(reconcile, call, reconcile->restarted
		    ? CALL_IN_MEDIA_SERVER_LOST : CALL_IN_LOST);
	}
}

/* Remember a call whose channel must be in the lists. */
static void
owe_call(struct reconcile *reconcile, const struct call *call)
{
	void *bigger = reconcile->owed;

	/* a queued call is settled by way of its originate (dispatch.c) */
	if (!call_is_live(call) || call->state == CALL_QUEUED)
		return;
	if (reconcile->owed_count == reconcile->owed_room) {
		reconcile->owed_room = reconcile->owed_room * 2 + SCAN_BATCH;
		bigger = reallocarray(reconcile->owed, reconcile->owed_room,
		    CALL_ID_SIZE);
	}
	if (bigger == NULL) {
		reconcile->owed_room = reconcile->owed_count;
		return; /* it is compared at the next run */
	}
	reconcile->owed = bigger;
	/* the table is walked in the order of ids: the list is sorted */
	memcpy(reconcile->owed[reconcile->owed_count++], call->id,
	    CALL_ID_SIZE);
}

/* All calls that are this worker's to look after, in the order of ids. */
static void
each_call(struct reconcile *reconcile, struct store_txn *txn,
    void (*fn)(struct reconcile *reconcile, const struct call *call))
{
	struct call calls[SCAN_BATCH];
	char after[CALL_ID_SIZE] = "";
	int count;

	do {
		char last[CALL_ID_SIZE];

		count = call_table_scan(txn, -1, after, calls, SCAN_BATCH,
		    last);
		for (int i = 0; i < count; i++) {
			if (change_owns_slot(reconcile->options.maker,
			        calls[i].slot))
				fn(reconcile, &calls[i]);
		}
		memcpy(after, last, sizeof(after));
	} while (count == SCAN_BATCH);
}

/* --- what is in Asterisk and in no call -------------------------------- */

static void
on_mark(void *arg, int status, const char *body, size_t body_len)
{
	struct ask *ask = arg;
	struct reconcile *reconcile = ask->reconcile;
	cJSON *reply = status == 200
	    ? cJSON_ParseWithLength(body, body_len) : NULL;

	if (reply != NULL && ask->run == reconcile->run &&
	    strtol(text_of(reply, "value"), NULL, 10) ==
	    reconcile->options.config->node.id)
		dispatch_hang_up_stray(reconcile->options.dispatch, ask->name);
	cJSON_Delete(reply);
	free(ask);
}

static struct ask *
ask_new(struct reconcile *reconcile)
{
	struct ask *ask = calloc(1, sizeof(*ask));

	if (ask != NULL) {
		ask->reconcile = reconcile;
		ask->run = reconcile->run;
	}
	return ask;
}

static void
send_ask(struct reconcile *reconcile, const char *method,
    const struct ari_uri *uri, ari_command_cb callback, struct ask *ask)
{
	if (ask != NULL && ari_command_send(*reconcile->options.control,
	        method, uri->text, NULL, NULL,
	        reconcile->options.config->asterisk.command_timeout_ms,
	        callback, ask) == 0)
		return;
	free(ask);
	retry(reconcile);
}

static void
ask_mark(struct reconcile *reconcile, const struct seen_channel *seen)
{
	struct ask *ask = ask_new(reconcile);
	struct ari_uri uri;

	if (ask != NULL)
		memcpy(ask->name, seen->name, sizeof(ask->name));
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "channels");
	ari_uri_segment(&uri, seen->name);
	ari_uri_segment(&uri, "variable");
	ari_uri_query(&uri, "variable", ARI_NODE_VARIABLE);
	send_ask(reconcile, "GET", &uri, on_mark, ask);
}

static void
on_bridge_gone(void *arg, int status, const char *body, size_t body_len)
{
	struct ask *ask = arg;

	(void)body;
	(void)body_len;
	/* most have gone by themselves since the list was made */
	if (status >= 200 && status < 300)
		log_warn("removed a bridge that no call had",
		    LOG_S("bridge", ask->name));
	free(ask);
}

static void
destroy_bridge(struct reconcile *reconcile, const char *call_id)
{
	struct ask *ask = ask_new(reconcile);
	char name[NAME_SIZE];
	struct ari_uri uri;

	call_bridge_name(call_id, name);
	if (ask != NULL)
		memcpy(ask->name, name, sizeof(ask->name));
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "bridges");
	ari_uri_segment(&uri, name);
	send_ask(reconcile, "DELETE", &uri, on_bridge_gone, ask);
}

/* Does a call of the table, of whatever slot, have this channel? */
static bool
has_call(struct store_txn *txn, const char *call_id, unsigned attempt)
{
	struct call call;
	const int rc = call_table_get(txn, call_id, &call);

	if (rc != 0)
		return rc != -KAP_NOENT; /* when in doubt, leave it alone */
	if (attempt == 0) /* a bridge stays until its recording is done */
		return (call.flags & CALL_F_BRIDGE) != 0;
	return call_is_live(&call) && attempt >= call.attempt;
}

/* Of the lists, leave only what no call has. */
static void
keep_strays(struct reconcile *reconcile, struct store_txn *txn)
{
	size_t channels = 0;
	size_t bridges = 0;

	for (size_t i = 0; i < reconcile->channel_count; i++) {
		const struct seen_channel *seen = &reconcile->channels[i];

		if (!has_call(txn, seen->call_id, seen->attempt))
			reconcile->channels[channels++] = *seen;
	}
	for (size_t i = 0; i < reconcile->bridge_count; i++) {
		if (has_call(txn, reconcile->bridges[i], 0))
			continue;
		if (bridges != i)
			memcpy(reconcile->bridges[bridges],
			    reconcile->bridges[i], CALL_ID_SIZE);
		bridges++;
	}
	reconcile->channel_count = channels;
	reconcile->bridge_count = bridges;
}

static void
remove_strays(struct reconcile *reconcile)
{
	for (size_t i = 0; i < reconcile->channel_count; i++)
		ask_mark(reconcile, &reconcile->channels[i]);
	for (size_t i = 0; i < reconcile->bridge_count; i++)
		destroy_bridge(reconcile, reconcile->bridges[i]);
}

/* --- whether their events are told --------------------------------------- */

static void
on_subscribed(void *ctx, bool changed)
{
	struct reconcile *reconcile = ctx;

	reconcile->subscribings++;
	if (changed)
		ask_channels(reconcile);
	else
		ask_bridges(reconcile);
}

/* Leave a call of ours that is in Asterisk's list to the subscriptions. */
static int
add_subscription(struct reconcile *reconcile, struct store_txn *txn,
    const struct seen_channel *seen)
{
	struct call call;
	const int rc = call_table_get(txn, seen->call_id, &call);

	if (rc != 0 || !call_is_live(&call) || call.attempt != seen->attempt ||
	    !change_owns_slot(reconcile->options.maker, call.slot))
		return 0;
	return subscriptions_add(reconcile->subscriptions, call.slot,
	    seen->name);
}

static int
add_subscriptions(struct reconcile *reconcile)
{
	struct store_txn *txn;
	int rc = store_begin_read(reconcile->options.store, &txn);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < reconcile->channel_count && rc == 0; i++)
		rc = add_subscription(reconcile, txn,
		    &reconcile->channels[i]);
	store_end_read(&txn);
	return rc;
}

static void
ask_subscriptions(struct reconcile *reconcile)
{
	if (reconcile->subscribings >= SUBSCRIBING_MAX) {
		ask_bridges(reconcile);
		return;
	}
	reconcile->phase = RECONCILE_SUBSCRIPTIONS;
	reconcile->subscriptions = subscriptions_new(
	    reconcile->options.control, reconcile->options.config,
	    on_subscribed, reconcile);
	if (reconcile->subscriptions == NULL ||
	    add_subscriptions(reconcile) != 0)
		retry(reconcile);
	else
		subscriptions_begin(reconcile->subscriptions);
}

/* --- the run ------------------------------------------------------------ */

static void
apply_lists(struct reconcile *reconcile)
{
	const size_t channels = reconcile->channel_count;
	const size_t bridges = reconcile->bridge_count;
	struct store_txn *txn;

	CRASH_POINT(reconcile_listed);
	if (store_begin_read(reconcile->options.store, &txn) != 0) {
		retry(reconcile);
		return;
	}
	reconcile->phase = RECONCILE_DONE;
	each_call(reconcile, txn, compare_call);
	keep_strays(reconcile, txn);
	store_end_read(&txn);
	log_info("reconciled with asterisk", LOG_I("channels", channels),
	    LOG_I("bridges", bridges));
	reconcile->options.done(reconcile->options.ctx);
	remove_strays(reconcile);
	forget_lists(reconcile);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct reconcile *reconcile = arg;

	(void)fd;
	(void)what;
	if (reconcile->phase == RECONCILE_SETTLING)
		apply_lists(reconcile);
	else if (reconcile->phase == RECONCILE_RETRY)
		ask_channels(reconcile);
}

/* The list in a reply, or NULL: then the run is tried again. */
static cJSON *
read_list(struct reconcile *reconcile, int status, const char *body,
    size_t body_len)
{
	cJSON *list = status == 200
	    ? cJSON_ParseWithLength(body, body_len) : NULL;

	if (!cJSON_IsArray(list)) {
		cJSON_Delete(list);
		list = NULL;
		if (status > 0 || status == -KAP_TIMEOUT)
			retry(reconcile);
	}
	return list;
}

/*
 * A list has come: read it, and go on with `next`. One that can't be read, or
 * kept, begins the run anew.
 */
static void
take_list(struct ask *ask, int status, const char *body, size_t body_len,
    int (*read)(struct reconcile *reconcile, const cJSON *list),
    void (*next)(struct reconcile *reconcile))
{
	struct reconcile *reconcile = ask->reconcile;
	const bool is_current = ask->run == reconcile->run;
	cJSON *list;

	free(ask);
	if (!is_current)
		return;
	list = read_list(reconcile, status, body, body_len);
	if (list == NULL)
		return;
	if (read(reconcile, list) == 0)
		next(reconcile);
	else
		retry(reconcile);
	cJSON_Delete(list);
}

static void
settle(struct reconcile *reconcile)
{
	wait_ms(reconcile, RECONCILE_SETTLING, SETTLE_MS);
}

static void
on_channels(void *arg, int status, const char *body, size_t body_len)
{
	take_list(arg, status, body, body_len, read_channels,
	    ask_subscriptions);
}

static void
on_bridges(void *arg, int status, const char *body, size_t body_len)
{
	take_list(arg, status, body, body_len, read_bridges, settle);
}

static void
ask_list(struct reconcile *reconcile, const char *what,
    ari_command_cb callback)
{
	struct ari_uri uri;

	ari_uri_init(&uri);
	ari_uri_segment(&uri, what);
	send_ask(reconcile, "GET", &uri, callback, ask_new(reconcile));
}

static void
ask_channels(struct reconcile *reconcile)
{
	struct store_txn *txn;

	forget_lists(reconcile);
	reconcile->phase = RECONCILE_CHANNELS;
	if (store_begin_read(reconcile->options.store, &txn) != 0) {
		retry(reconcile);
		return;
	}
	each_call(reconcile, txn, owe_call);
	store_end_read(&txn);
	ask_list(reconcile, "channels", on_channels);
}

static void
ask_bridges(struct reconcile *reconcile)
{
	reconcile->phase = RECONCILE_BRIDGES;
	ask_list(reconcile, "bridges", on_bridges);
}

void
reconcile_start(struct reconcile *reconcile, bool restarted)
{
	reconcile->run++;
	reconcile->subscribings = 0;
	reconcile->restarted = restarted ||
	    (reconcile->restarted && reconcile->phase != RECONCILE_DONE);
	(void)event_del(reconcile->timer);
	ask_channels(reconcile);
}

void
reconcile_stop(struct reconcile *reconcile)
{
	reconcile->run++;
	(void)event_del(reconcile->timer);
	subscriptions_free(&reconcile->subscriptions);
	if (reconcile->phase != RECONCILE_DONE)
		reconcile->phase = RECONCILE_IDLE;
}

bool
reconcile_is_done(const struct reconcile *reconcile)
{
	return reconcile->phase == RECONCILE_DONE;
}

struct reconcile *
reconcile_new(const struct reconcile_options *options)
{
	struct reconcile *reconcile = calloc(1, sizeof(*reconcile));

	if (reconcile == NULL)
		return NULL;
	reconcile->options = *options;
	reconcile->timer = evtimer_new(options->base, on_timer, reconcile);
	if (reconcile->timer == NULL) {
		free(reconcile);
		return NULL;
	}
	return reconcile;
}

void
reconcile_free(struct reconcile **reconcile)
{
	if (*reconcile == NULL)
		return;
	forget_lists(*reconcile);
	event_free((*reconcile)->timer);
	free(*reconcile);
	*reconcile = NULL;
}
