/*
 * The drainer's stages, one thing at a time:
 *
 *     idle ─ entries ─▶ leasing ─▶ posting ─ done ─▶ removing ─▶ the rest
 *                                     │ refused for good
 *                                     ├─ of several: the first half alone
 *                                     └─ of one: skipping ─▶ setting aside
 *
 * Whatever else fails ends in idle, and the next look begins from the queue.
 */
#include "worker/ledger_drain.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/ledger_queue.h"
#include "shared/log.h"
#include "shared/pg.h"
#include "shared/stats.h"
#include "worker/ledger_batch.h"

#define BATCH_MAX 500
#define POST_TIMEOUT_MS 15000
#define TICK_MS 250
#define KICK_MS 50 /* what comes together goes together */
#define LEASE_MS 6000
#define DENIED_WAIT_MS 1000
#define WAIT_MIN_MS 500
#define WAIT_MAX_MS 5000

enum stage {
	STAGE_IDLE,
	STAGE_LEASING,
	STAGE_POSTING,
	STAGE_REMOVING,
	STAGE_SKIPPING,
	STAGE_SETTING_ASIDE
};

struct ledger_drain {
	struct turn_job job; /* of the stage that has one */
	struct store *store;
	struct turn *turn;
	struct pg *pg;
	struct event *tick;
	struct event *kick;
	unsigned slot;
	enum stage stage;
	bool held; /* begins no batch */
	int64_t lease_until_ms; /* boot clock; as this worker knows */
	int64_t asked_ms;       /* boot clock: when the lease was asked for */
	int lease_rc;           /* what became of that */
	int64_t idle_until_ms;  /* boot clock: no look before */
	int64_t wait_ms;        /* the next wait after a refusal */
	char refused_state[6];  /* SQLSTATE that the log was told of */
	/* why the entry that is being set aside was refused */
	char aside_state[6];
	struct kap_errmsg aside_why;
	struct ledger_batch *batch;
	unsigned count; /* entries read */
	unsigned from;  /* those before are done */
	unsigned len;   /* entries being posted */
	struct ledger_entry entries[BATCH_MAX];
};

static void post(struct ledger_drain *drain);

static struct ledger_drain *
drain_of(struct turn_job *job)
{
	return (struct ledger_drain *)(void *)job;
}

static void
submit(struct ledger_drain *drain, enum stage stage,
    int (*apply)(struct turn_job *, struct store_txn *),
    void (*done)(struct turn_job *, int))
{
	drain->stage = stage;
	drain->job = (struct turn_job){ .apply = apply, .done = done };
	turn_submit_lazily(drain->turn, &drain->job);
}

static void
look_in(struct ledger_drain *drain, int64_t ms)
{
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	(void)event_add(drain->kick, &tv);
}

static void
go_idle(struct ledger_drain *drain, int64_t wait_ms)
{
	drain->stage = STAGE_IDLE;
	drain->idle_until_ms = clock_boot_ms() + wait_ms;
}

/* Entries before `from` are done: post what is left of the batch. */
static void
go_on(struct ledger_drain *drain)
{
	if (drain->from < drain->count) {
		drain->len = drain->count - drain->from;
		post(drain);
		return;
	}
	go_idle(drain, 0);
	look_in(drain, drain->count == BATCH_MAX ? 0 : KICK_MS);
}

static int
apply_remove(struct turn_job *job, struct store_txn *txn)
{
	struct ledger_drain *drain = drain_of(job);
	int rc = 0;

	for (unsigned i = 0; i < drain->len && rc == 0; i++)
		rc = ledger_queue_remove(txn,
		    drain->entries[drain->from + i].number);
	return rc;
}

static void
done_remove(struct turn_job *job, int rc)
{
	struct ledger_drain *drain = drain_of(job);

	if (rc != 0) {
		/* they are posted, and will be once more: that is harmless */
		go_idle(drain, WAIT_MIN_MS);
		return;
	}
	CRASH_POINT(ledger_removed);
	stats_add(STATS_ledger_posted, drain->len);
	drain->from += drain->len;
	go_on(drain);
}

static int
apply_set_aside(struct turn_job *job, struct store_txn *txn)
{
	struct ledger_drain *drain = drain_of(job);

	return ledger_queue_set_aside(txn,
	    drain->entries[drain->from].number);
}

static void
done_set_aside(struct turn_job *job, int rc)
{
	struct ledger_drain *drain = drain_of(job);
	const struct ledger_entry *entry = &drain->entries[drain->from];

	if (rc != 0) {
		go_idle(drain, WAIT_MIN_MS);
		return;
	}
	stats_add(STATS_ledger_set_aside, 1);
	log_error("ledger entry set aside", LOG_S("call", entry->call.id),
	    LOG_I("kind", entry->kind), LOG_I("key", entry->key_id),
	    LOG_I("number", (int64_t)entry->number),
	    LOG_S("sqlstate", drain->aside_state),
	    LOG_S("why", drain->aside_why.text));
	drain->from++;
	go_on(drain);
}

/*
 * Whether an error is of the data, so that it would come again for ever. All
 * others may pass: a server that stops, a full disk, a deadlock, a schema
 * that is not migrated yet.
 */
static bool
is_for_good(const char *sqlstate)
{
	static const char *const classes[] = {
		"22", /* data exception */
		"23", /* integrity constraint violation */
		"54", /* program limit exceeded */
		"P0", /* raised by a trigger of the database's owner */
	};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	}
	return false;
}

/* PostgreSQL can't take it now: say so once, and try again later. */
static void
wait_for_better(struct ledger_drain *drain, const PGresult *result)
{
	const char *sqlstate = pg_sqlstate(result);

	if (strcmp(drain->refused_state, sqlstate) != 0) {
		struct kap_errmsg why;

		pg_error_text(result, &why);
		log_warn("ledger waits for postgresql",
		    LOG_S("sqlstate", sqlstate), LOG_S("why", why.text));
		(void)snprintf(drain->refused_state,
		    sizeof(drain->refused_state), "%s", sqlstate);
	}
	go_idle(drain, drain->wait_ms);
	drain->wait_ms *= 2;
	if (drain->wait_ms > WAIT_MAX_MS)
		drain->wait_ms = WAIT_MAX_MS;
}

static void
on_skipped(void *arg, int rc, const PGresult *result)
{
	struct ledger_drain *drain = arg;

	if (rc == 0 || (rc == -KAP_PROTO && is_for_good(pg_sqlstate(result))))
		submit(drain, STAGE_SETTING_ASIDE, apply_set_aside,
		    done_set_aside);
	else if (rc == -KAP_PROTO)
		wait_for_better(drain, result);
	else
		go_idle(drain, 0);
}

/*
 * The one entry is refused for good. Its charge or call is lost to the
 * balance, so the watermark has to pass it: else this node would count it as
 * not posted for ever.
 */
static void
skip(struct ledger_drain *drain)
{
	struct pg_statement statement;

	drain->stage = STAGE_SKIPPING;
	ledger_batch_skip(drain->batch, &drain->entries[drain->from],
	    &statement);
	statement.timeout_ms = POST_TIMEOUT_MS;
	if (pg_query(drain->pg, &statement, on_skipped, drain) != 0)
		go_idle(drain, 0);
}

static void
on_posted(void *arg, int rc, const PGresult *result)
{
	struct ledger_drain *drain = arg;

	if (rc == 0) {
		CRASH_POINT(ledger_posted);
		drain->wait_ms = WAIT_MIN_MS;
		drain->refused_state[0] = '\0';
		submit(drain, STAGE_REMOVING, apply_remove, done_remove);
	} else if (rc != -KAP_PROTO) {
		go_idle(drain, 0); /* the link; it comes back by itself */
	} else if (!is_for_good(pg_sqlstate(result))) {
		wait_for_better(drain, result);
	} else if (drain->len > 1) {
		/* in order: the second half not before the first is done */
		drain->len /= 2;
		post(drain);
	} else {
		(void)snprintf(drain->aside_state, sizeof(drain->aside_state),
		    "%s", pg_sqlstate(result));
		pg_error_text(result, &drain->aside_why);
		skip(drain);
	}
}

/* Leave out what this binary doesn't know, and all behind it. */
static void
limit_to_known(struct ledger_drain *drain)
{
	unsigned known = 0;

	while (known < drain->len &&
	    ledger_batch_knows(&drain->entries[drain->from + known]))
		known++;
	drain->len = known;
}

static void
post(struct ledger_drain *drain)
{
	struct pg_statement statement;

	if (drain->pg == NULL) {
		go_idle(drain, 0); /* ledger_drain_free is at work */
		return;
	}
	drain->stage = STAGE_POSTING;
	limit_to_known(drain);
	if (drain->len == 0) {
		drain->len = 1;
		drain->aside_state[0] = '\0';
		kap_errmsg_set(&drain->aside_why, "of an unknown kind");
		submit(drain, STAGE_SETTING_ASIDE, apply_set_aside,
		    done_set_aside);
		return;
	}
	if (ledger_batch_post(drain->batch, &drain->entries[drain->from],
	        drain->len, &statement) != 0) {
		go_idle(drain, WAIT_MIN_MS);
		return;
	}
	statement.timeout_ms = POST_TIMEOUT_MS;
	CRASH_POINT(ledger_before_post);
	if (pg_query(drain->pg, &statement, on_posted, drain) != 0)
		go_idle(drain, 0);
	CRASH_POINT(ledger_post_sent);
}

static int
apply_lease(struct turn_job *job, struct store_txn *txn)
{
	struct ledger_drain *drain = drain_of(job);

	drain->asked_ms = clock_boot_ms();
	drain->lease_rc = ledger_lease_take(txn, drain->slot, drain->asked_ms,
	    LEASE_MS);
	/* that another has it is no reason to undo the turn's other jobs */
	return drain->lease_rc == -KAP_DENIED ? 0 : drain->lease_rc;
}

static void
done_lease(struct turn_job *job, int rc)
{
	struct ledger_drain *drain = drain_of(job);

	if (rc != 0 || drain->lease_rc != 0) {
		go_idle(drain, rc == 0 ? DENIED_WAIT_MS : WAIT_MIN_MS);
		return;
	}
	drain->lease_until_ms = drain->asked_ms + LEASE_MS;
	post(drain);
}

static int
read_queue(struct ledger_drain *drain)
{
	struct store_txn *txn;
	int rc = store_begin_read(drain->store, &txn);

	if (rc != 0)
		return rc;
	rc = ledger_queue_peek(txn, drain->entries, BATCH_MAX);
	store_end_read(&txn);
	return rc;
}

/* Begin a batch, if there is something to post and somebody to post it to. */
static void
look(struct ledger_drain *drain)
{
	const int64_t now_ms = clock_boot_ms();
	int count;

	if (drain->held || drain->stage != STAGE_IDLE ||
	    now_ms < drain->idle_until_ms || pg_state(drain->pg) != PG_UP)
		return;
	count = read_queue(drain);
	if (count <= 0)
		return; /* a store that can't be read is seen by all */
	drain->count = (unsigned)count;
	drain->from = 0;
	drain->len = drain->count;
	if (drain->lease_until_ms - now_ms > LEASE_MS / 2)
		post(drain);
	else
		submit(drain, STAGE_LEASING, apply_lease, done_lease);
}

static void
on_look(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	look(arg);
}

/* The link's comings and goings are in the log already (key_lookup.c). */
static void
on_pg_state(void *arg, enum pg_state state, const char *why KAP_UNUSED)
{
	struct ledger_drain *drain = arg;

	if (state == PG_UP)
		look_in(drain, 0);
}

static int
start(struct ledger_drain *drain, struct event_base *base,
    const struct config *config, struct kap_errmsg *msg)
{
	const struct timeval every = { .tv_usec = TICK_MS * 1000 };
	const struct pg_options options = {
		.dsn = config->postgres.dsn,
		.application = "kaphila-ledger",
		.on_state = on_pg_state,
		.arg = drain,
	};

	drain->batch = ledger_batch_new(config->node.id);
	drain->tick = event_new(base, -1, EV_PERSIST, on_look, drain);
	drain->kick = evtimer_new(base, on_look, drain);
	if (drain->batch == NULL || drain->tick == NULL ||
	    drain->kick == NULL || event_add(drain->tick, &every) != 0)
		return -KAP_NOMEM;
	return pg_new(&drain->pg, base, &options, msg);
}

int
ledger_drain_new(struct ledger_drain **drain_out, struct event_base *base,
    struct store *store, struct turn *turn, const struct config *config,
    unsigned slot, struct kap_errmsg *msg)
{
	struct ledger_drain *drain = calloc(1, sizeof(*drain));
	int rc;

	if (drain == NULL)
		return -KAP_NOMEM;
	drain->store = store;
	drain->turn = turn;
	drain->slot = slot;
	drain->wait_ms = WAIT_MIN_MS;
	rc = start(drain, base, config, msg);
	if (rc != 0) {
		ledger_drain_free(&drain);
		return rc;
	}
	*drain_out = drain;
	return 0;
}

void
ledger_drain_free(struct ledger_drain **drain)
{
	struct ledger_drain *old = *drain;

	if (old == NULL)
		return;
	/* first: then a batch under way fails, and no job follows from it */
	pg_free(&old->pg);
	turn_flush(old->turn);
	if (old->tick != NULL)
		event_free(old->tick);
	if (old->kick != NULL)
		event_free(old->kick);
	ledger_batch_free(&old->batch);
	free(old);
	*drain = NULL;
}

void
ledger_drain_kick(struct ledger_drain *drain)
{
	if (drain->stage == STAGE_IDLE &&
	    !evtimer_pending(drain->kick, NULL))
		look_in(drain, KICK_MS);
}

void
ledger_drain_hold(struct ledger_drain *drain, bool hold)
{
	drain->held = hold;
	if (!hold)
		ledger_drain_kick(drain);
}

bool
ledger_drain_is_idle(const struct ledger_drain *drain)
{
	return drain->stage == STAGE_IDLE;
}
