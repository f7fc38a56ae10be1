/*
 * Steps of a run, each begun by the end of the one before:
 *
 *     IDLE ──start──▶ OWING ──▶ CHANNELS ──▶ CHOOSING ──▶ SUBSCRIPTIONS
 *                       ▲                                   │      │
 *                       └───────────────── some ────────────┘     none
 *                                                                  ▼
 *     DONE ◀── COMPARING ◀── 1 s ── SETTLING ◀─────────────── BRIDGES
 *
 * What happened to a call before somebody is told of it shows in a list that
 * is made afterwards: so that is asked for again.
 * The second of waiting is for events that were on their way when Asterisk
 * made its lists: an event tells how a call ended, a list only that it did.
 *
 * Here is what follows on what; the calls are walked through in
 * reconcile_calls.c, and what no call has is removed in reconcile_strays.c.
 */
#include "reconcile.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/event.h>

#include "ari_url.h"
#include "reconcile_calls.h"
#include "reconcile_lists.h"
#include "reconcile_strays.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "subscriptions.h"

#define SETTLE_MS 1000
#define READ_WAIT_MS 20 /* for what was told by then to be read */
#define RETRY_MS 2000
#define SUBSCRIBING_MAX 3 /* times in a run */
#define PAGE 256          /* of the list of channels */
#define PAGE_WAIT_MS 1

enum reconcile_phase {
	RECONCILE_IDLE,
	RECONCILE_OWING,
	RECONCILE_CHANNELS,
	RECONCILE_CHOOSING,
	RECONCILE_SUBSCRIPTIONS,
	RECONCILE_BRIDGES,
	RECONCILE_SETTLING,
	RECONCILE_COMPARING,
	RECONCILE_RETRY,
	RECONCILE_DONE
};

struct reconcile {
	struct reconcile_options options;
	struct event *timer;
	enum reconcile_phase phase;
	unsigned run; /* replies to an older run are void */
	bool restarted;
	struct reconcile_calls *calls;
	struct reconcile_lists lists;
	struct subscriptions *subscriptions;
	size_t chosen; /* channels before were offered to them */
	unsigned subscribings; /* in this run */
	struct reconcile_strays *strays; /* of the run that is done */
	struct ari_mark marks[CHILD_MAX_WORKERS];
};

/* The reply to one request of one run. */
struct ask {
	struct reconcile *reconcile;
	unsigned run;
};

static void ask_bridges(struct reconcile *reconcile);
static void on_owed(void *ctx, int rc);

/* What this run has found out so far, and what the one before left to do. */
static void
forget_all(struct reconcile *reconcile)
{
	(void)event_del(reconcile->timer);
	reconcile_calls_stop(reconcile->calls);
	reconcile_lists_clear(&reconcile->lists);
	subscriptions_free(&reconcile->subscriptions);
	reconcile_strays_free(&reconcile->strays);
	memset(reconcile->marks, 0, sizeof(reconcile->marks));
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

/* --- asking for a list ----------------------------------------------------- */

static void
ask_list(struct reconcile *reconcile, const char *what,
    ari_command_cb callback)
{
	const struct reconcile_options *options = &reconcile->options;
	struct ask *ask = calloc(1, sizeof(*ask));
	struct ari_uri uri;

	ari_uri_init(&uri);
	ari_uri_segment(&uri, what);
	if (ask != NULL) {
		ask->reconcile = reconcile;
		ask->run = reconcile->run;
		if (ari_command_send(*options->control, "GET", uri.text, NULL,
		        NULL, options->config->asterisk.command_timeout_ms,
		        callback, ask) == 0)
			return;
	}
	free(ask);
	retry(reconcile);
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
    int (*read)(struct reconcile_lists *lists, const cJSON *list,
    int64_t node), void (*next)(struct reconcile *reconcile))
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
	if (read(&reconcile->lists, list,
	        reconcile->options.config->node.id) == 0)
		next(reconcile);
	else
		retry(reconcile);
	cJSON_Delete(list);
}

/* --- whether their events are told ----------------------------------------- */

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
choose_page(struct reconcile *reconcile)
{
	const size_t count = reconcile->lists.channel_count;
	struct store_txn *txn;
	int rc = store_begin_read(reconcile->options.store, &txn);

	if (rc != 0)
		return rc;
	for (unsigned i = 0; i < PAGE && reconcile->chosen < count && rc == 0;
	    i++)
		rc = add_subscription(reconcile, txn,
		    &reconcile->lists.channels[reconcile->chosen++]);
	store_end_read(&txn);
	return rc;
}

static void
choose(struct reconcile *reconcile)
{
	if (choose_page(reconcile) != 0) {
		retry(reconcile);
	} else if (reconcile->chosen < reconcile->lists.channel_count) {
		wait_ms(reconcile, RECONCILE_CHOOSING, PAGE_WAIT_MS);
	} else {
		reconcile->phase = RECONCILE_SUBSCRIPTIONS;
		subscriptions_begin(reconcile->subscriptions);
	}
}

static void
begin_run(struct reconcile *reconcile)
{
	forget_all(reconcile);
	reconcile->phase = RECONCILE_OWING;
	reconcile_calls_owe(reconcile->calls, on_owed, reconcile);
}

static void
on_subscribed(void *ctx, bool changed)
{
	struct reconcile *reconcile = ctx;

	reconcile->subscribings++;
	if (changed)
		begin_run(reconcile);
	else
		ask_bridges(reconcile);
}

static void
ask_subscriptions(struct reconcile *reconcile)
{
	if (reconcile->subscribings >= SUBSCRIBING_MAX) {
		ask_bridges(reconcile);
		return;
	}
	reconcile->phase = RECONCILE_CHOOSING;
	reconcile->chosen = 0;
	reconcile->subscriptions = subscriptions_new(
	    reconcile->options.control, reconcile->options.config,
	    on_subscribed, reconcile);
	if (reconcile->subscriptions == NULL)
		retry(reconcile);
	else
		choose(reconcile);
}

/* --- the run ---------------------------------------------------------------- */

static void
on_channels(void *arg, int status, const char *body, size_t body_len)
{
	take_list(arg, status, body, body_len, reconcile_lists_read_channels,
	    ask_subscriptions);
}

static void
on_owed(void *ctx, int rc)
{
	struct reconcile *reconcile = ctx;

	if (rc != 0) {
		retry(reconcile);
		return;
	}
	reconcile->phase = RECONCILE_CHANNELS;
	ask_list(reconcile, "channels", on_channels);
}

static void
settle(struct reconcile *reconcile)
{
	wait_ms(reconcile, RECONCILE_SETTLING, SETTLE_MS);
}

static void
on_bridges(void *arg, int status, const char *body, size_t body_len)
{
	take_list(arg, status, body, body_len, reconcile_lists_read_bridges,
	    settle);
}

static void
ask_bridges(struct reconcile *reconcile)
{
	reconcile->phase = RECONCILE_BRIDGES;
	ask_list(reconcile, "bridges", on_bridges);
}

static void
on_compared(void *ctx, int rc)
{
	struct reconcile *reconcile = ctx;
	const struct reconcile_lists *lists = &reconcile->lists;

	if (rc != 0) {
		retry(reconcile);
		return;
	}
	reconcile->phase = RECONCILE_DONE;
	log_info("reconciled with asterisk",
	    LOG_I("channels", lists->channel_count),
	    LOG_I("bridges", lists->bridge_count));
	reconcile_calls_stop(reconcile->calls);
	/* without memory for it, strays are left to the next run */
	reconcile->strays = reconcile_strays_new(&reconcile->options,
	    &reconcile->lists);
	reconcile->options.done(reconcile->options.ctx);
}

/* Whether all that was told until the lists had settled is read. */
static bool
are_events_read(struct reconcile *reconcile)
{
	const struct stream_states *streams = reconcile->options.streams;
	bool all = true;

	/* each of them, so that all are asked now */
	for (unsigned slot = 0; slot < CHILD_MAX_WORKERS; slot++)
		all = stream_is_past(&streams->slots[slot],
		    &reconcile->marks[slot]) && all;
	return all;
}

static void
compare(struct reconcile *reconcile)
{
	if (!are_events_read(reconcile)) {
		wait_ms(reconcile, RECONCILE_SETTLING, READ_WAIT_MS);
		return;
	}
	CRASH_POINT(reconcile_listed);
	reconcile->phase = RECONCILE_COMPARING;
	reconcile_calls_compare(reconcile->calls, &reconcile->lists,
	    reconcile->restarted, on_compared, reconcile);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct reconcile *reconcile = arg;

	(void)fd;
	(void)what;
	if (reconcile->phase == RECONCILE_SETTLING)
		compare(reconcile);
	else if (reconcile->phase == RECONCILE_CHOOSING)
		choose(reconcile);
	else if (reconcile->phase == RECONCILE_RETRY)
		begin_run(reconcile);
}

void
reconcile_start(struct reconcile *reconcile, bool restarted)
{
	reconcile->run++;
	reconcile->subscribings = 0;
	reconcile->restarted = restarted ||
	    (reconcile->restarted && reconcile->phase != RECONCILE_DONE);
	begin_run(reconcile);
}

void
reconcile_stop(struct reconcile *reconcile)
{
	reconcile->run++;
	forget_all(reconcile);
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
	reconcile->calls = reconcile_calls_new(&reconcile->options);
	reconcile->timer = evtimer_new(options->base, on_timer, reconcile);
	if (reconcile->calls == NULL || reconcile->timer == NULL)
		reconcile_free(&reconcile);
	return reconcile;
}

void
reconcile_free(struct reconcile **reconcile)
{
	struct reconcile *old = *reconcile;

	*reconcile = NULL;
	if (old == NULL)
		return;
	if (old->calls != NULL && old->timer != NULL)
		forget_all(old);
	reconcile_calls_free(&old->calls);
	if (old->timer != NULL)
		event_free(old->timer);
	free(old);
}
