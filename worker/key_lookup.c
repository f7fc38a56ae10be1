/*
 * The cache's rules, and the questions to PostgreSQL under way, one for each
 * key however many requests wait for it.
 *
 *     find ─ fresh ──────────────────────────────▶ answer
 *          ─ stale or not cached ─▶ ask ─ result ─▶ turn job ─▶ answer
 *                                       ─ failed ─▶ the stale one, or "again"
 *
 * Keys that PostgreSQL doesn't know are remembered in this process alone:
 * whoever tries keys at random must not fill the store.
 */
#include "worker/key_lookup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "shared/account.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/pg.h"
#include "shared/stats.h"
#include "worker/key_query.h"

#define FIRST_CONNECT_MS 1500 /* what a request at start-up waits at most */
#define SLOW_MS 5000 /* after a timeout, cached keys don't wait for so long */
#define QUESTIONS_MAX 512
#define BUCKETS 64
#define UNKNOWN_SLOTS 1024

struct waiter {
	STAILQ_ENTRY(waiter) link;
	key_lookup_fn *fn;
	void *arg;
};

/* One key that PostgreSQL is asked for. */
struct question {
	struct turn_job job; /* writes the answer into the store */
	LIST_ENTRY(question) link;
	struct key_lookup *lookup;
	STAILQ_HEAD(, waiter) waiters;
	uint8_t hash[API_KEY_HASH_SIZE];
	bool asked;      /* else it waits for the first connect */
	bool was_cached;
	struct api_key cached; /* as it was; only if was_cached */
	struct api_key key;    /* the answer; fetched_ms is set when asked */
};

LIST_HEAD(bucket, question);

struct unknown {
	uint8_t hash[API_KEY_HASH_SIZE];
	int64_t at_ms; /* wall clock; 0: free */
};

struct key_lookup {
	struct store *store;
	struct turn *turn;
	struct pg *pg;
	struct event *first_connect;
	const struct config *config;
	bool settled;  /* the first connect has had its chance */
	bool away;     /* said so in the log */
	bool refused;  /* PostgreSQL refuses the query itself; said so */
	/*
	 * Wall clock: what was asked for up to then may be out of date. Set by
	 * NOTIFY, and by whatever may have hidden one.
	 */
	int64_t notified_ms;
	int64_t slow_until_ms; /* boot clock */
	unsigned question_count;
	struct bucket buckets[BUCKETS];
	struct unknown unknowns[UNKNOWN_SLOTS];
};

/* Whether a key of any verdict was fetched less than `limit_s` ago. */
static bool
is_younger(const struct api_key *key, int64_t limit_s, int64_t now_ms)
{
	const int64_t age_ms = now_ms - key->fetched_ms;

	/* one from the future was fetched before the clock was set back */
	return age_ms >= 0 && age_ms < limit_s * 1000;
}

static bool
is_valid(const struct api_key *key, int64_t now_ms)
{
	return key->verdict == API_KEY_VALID &&
	    (key->expires_ms == 0 || key->expires_ms > now_ms);
}

/* Good enough while PostgreSQL can't be asked. */
static bool
is_usable(const struct key_lookup *lookup, const struct api_key *key,
    int64_t now_ms)
{
	return is_valid(key, now_ms) &&
	    is_younger(key, lookup->config->auth.cache_stale_s, now_ms);
}

/* Good enough without asking. */
static bool
is_fresh(const struct key_lookup *lookup, const struct api_key *key,
    int64_t now_ms)
{
	const int64_t limit_s = key->verdict == API_KEY_VALID
	    ? lookup->config->auth.cache_fresh_s
	    : lookup->config->auth.cache_unknown_s;

	/* what an older program wrote may lack a limit that the key has */
	return key->version >= API_KEY_VERSION &&
	    key->fetched_ms > lookup->notified_ms &&
	    is_younger(key, limit_s, now_ms);
}

static struct unknown *
unknown_slot(struct key_lookup *lookup, const uint8_t *hash)
{
	return &lookup->unknowns[(hash[0] | (unsigned)hash[1] << 8) %
	    UNKNOWN_SLOTS];
}

static bool
is_known_unknown(struct key_lookup *lookup, const uint8_t *hash,
    int64_t now_ms)
{
	const struct unknown *slot = unknown_slot(lookup, hash);
	const int64_t age_ms = now_ms - slot->at_ms;

	return slot->at_ms > lookup->notified_ms && age_ms >= 0 &&
	    age_ms < lookup->config->auth.cache_unknown_s * 1000 &&
	    memcmp(slot->hash, hash, API_KEY_HASH_SIZE) == 0;
}

static struct bucket *
bucket_of(struct key_lookup *lookup, const uint8_t *hash)
{
	return &lookup->buckets[hash[2] % BUCKETS];
}

/* Answer everybody who waits for it, and forget the question. */
static void
finish_question(struct question *question, int rc, const struct api_key *key)
{
	struct waiter *waiter;

	/* first: a callback may ask for the same key anew */
	LIST_REMOVE(question, link);
	question->lookup->question_count--;
	while ((waiter = STAILQ_FIRST(&question->waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&question->waiters, link);
		waiter->fn(waiter->arg, rc, key, question->hash);
		free(waiter);
	}
	free(question);
}

/* PostgreSQL can't tell: the cached one serves, if it is young enough. */
static void
fail_question(struct question *question)
{
	const bool usable = question->was_cached && is_usable(
	    question->lookup, &question->cached, clock_wall_ms());

	if (usable)
		finish_question(question, 0, &question->cached);
	else
		finish_question(question, -KAP_AGAIN, NULL);
}

static int
apply_answer(struct turn_job *job, struct store_txn *txn)
{
	struct question *question = (struct question *)job;
	struct api_key there;
	int rc = api_key_get(txn, question->hash, &there);

	/* another worker may have asked later and written first */
	if (rc == 0 && there.fetched_ms > question->key.fetched_ms &&
	    there.fetched_ms <= clock_wall_ms())
		return 0;
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	rc = api_key_put(txn, question->hash, &question->key);
	if (rc == 0 && question->key.verdict == API_KEY_VALID)
		rc = account_sync(txn, &question->key);
	return rc;
}

static void
answer_question(struct question *question)
{
	if (is_valid(&question->key, clock_wall_ms()))
		finish_question(question, 0, &question->key);
	else
		finish_question(question, -KAP_NOENT, NULL);
}

/* What was read is right, also where the store had no room for it. */
static void
done_answer(struct turn_job *job, int rc KAP_UNUSED)
{
	answer_question((struct question *)job);
}

static void
take_answer(struct question *question, const PGresult *result)
{
	struct key_lookup *lookup = question->lookup;

	if (key_query_read(result, &question->key)) {
		if (question->key.verdict == API_KEY_VALID)
			key_query_touch(lookup->pg, question->key.id);
	} else if (!question->was_cached) {
		struct unknown *slot = unknown_slot(lookup, question->hash);

		memcpy(slot->hash, question->hash, API_KEY_HASH_SIZE);
		slot->at_ms = question->key.fetched_ms;
		answer_question(question);
		return;
	}
	question->job = (struct turn_job){
		.apply = apply_answer,
		.done = done_answer,
	};
	turn_submit(lookup->turn, &question->job);
}

static void
on_answer(void *arg, int rc, const PGresult *result)
{
	struct question *question = arg;
	struct key_lookup *lookup = question->lookup;

	if (rc == 0) {
		lookup->slow_until_ms = 0;
		lookup->refused = false;
		take_answer(question, result);
		return;
	}
	if (rc == -KAP_TIMEOUT)
		lookup->slow_until_ms = clock_boot_ms() + SLOW_MS;
	if (rc == -KAP_PROTO && !lookup->refused) {
		struct kap_errmsg why;

		lookup->refused = true;
		pg_error_text(result, &why);
		log_error("postgresql refuses to look keys up",
		    LOG_S("sqlstate", pg_sqlstate(result)),
		    LOG_S("why", why.text));
	}
	fail_question(question);
}

static void
ask(struct question *question)
{
	struct key_lookup *lookup = question->lookup;

	question->asked = true;
	question->key = (struct api_key){
		.version = API_KEY_VERSION,
		.verdict = API_KEY_UNKNOWN,
		.fetched_ms = clock_wall_ms(),
	};
	if (key_query_send(lookup->pg, question->hash, lookup->config->node.id,
	        on_answer, question) != 0)
		fail_question(question);
}

static struct question *
find_question(struct key_lookup *lookup, const uint8_t *hash)
{
	struct question *question;

	LIST_FOREACH(question, bucket_of(lookup, hash), link) {
		if (memcmp(question->hash, hash, API_KEY_HASH_SIZE) == 0)
			return question;
	}
	return NULL;
}

/* cached is NULL where the store has none. Returns NULL when there are too
 * many already. */
static struct question *
new_question(struct key_lookup *lookup, const uint8_t *hash,
    const struct api_key *cached)
{
	struct question *question;

	if (lookup->question_count >= QUESTIONS_MAX)
		return NULL;
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		return NULL;
	question->lookup = lookup;
	STAILQ_INIT(&question->waiters);
	memcpy(question->hash, hash, API_KEY_HASH_SIZE);
	question->was_cached = cached != NULL;
	if (cached != NULL)
		question->cached = *cached;
	LIST_INSERT_HEAD(bucket_of(lookup, hash), question, link);
	lookup->question_count++;
	return question;
}

static struct waiter *
new_waiter(key_lookup_fn *fn, void *arg)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (waiter == NULL)
		return NULL;
	waiter->fn = fn;
	waiter->arg = arg;
	return waiter;
}

/*
 * Have PostgreSQL asked for a key, and `fn` called with what it says.
 *
 * fn  NULL: nobody waits for it
 */
static void
join_question(struct key_lookup *lookup, const uint8_t *hash,
    const struct api_key *cached, key_lookup_fn *fn, void *arg)
{
	struct question *question = find_question(lookup, hash);
	const bool is_new = question == NULL;
	struct waiter *waiter = fn != NULL ? new_waiter(fn, arg) : NULL;

	if (is_new && (fn == NULL || waiter != NULL))
		question = new_question(lookup, hash, cached);
	if (question == NULL || (fn != NULL && waiter == NULL)) {
		const bool usable = cached != NULL &&
		    is_usable(lookup, cached, clock_wall_ms());

		free(waiter);
		if (fn != NULL)
			fn(arg, usable ? 0 : -KAP_AGAIN,
			    usable ? cached : NULL, hash);
		return;
	}
	if (waiter != NULL)
		STAILQ_INSERT_TAIL(&question->waiters, waiter, link);
	if (is_new && pg_state(lookup->pg) == PG_UP)
		ask(question);
}

static int
read_cached(struct key_lookup *lookup, const uint8_t *hash,
    struct api_key *cached)
{
	struct store_txn *txn;
	int rc = store_begin_read(lookup->store, &txn);

	if (rc != 0)
		return rc;
	rc = api_key_get(txn, hash, cached);
	store_end_read(&txn);
	return rc;
}

static bool
is_up(const struct key_lookup *lookup)
{
	return lookup->pg != NULL && pg_state(lookup->pg) == PG_UP;
}

/*
 * Answer out of what is remembered, where that is fresh enough.
 *
 * cached  NULL where the store has none
 */
static bool
answer_fresh(struct key_lookup *lookup, const uint8_t *hash,
    const struct api_key *cached, key_lookup_fn *fn, void *arg)
{
	const int64_t now_ms = clock_wall_ms();

	if (lookup->notified_ms > now_ms)
		lookup->notified_ms = now_ms; /* the clock was set back */
	if (cached == NULL) {
		if (!is_known_unknown(lookup, hash, now_ms))
			return false;
		fn(arg, -KAP_NOENT, NULL, hash);
		return true;
	}
	if (!is_fresh(lookup, cached, now_ms))
		return false;
	if (is_valid(cached, now_ms))
		fn(arg, 0, cached, hash);
	else
		fn(arg, -KAP_NOENT, NULL, hash);
	return true;
}

/* Nothing fresh is there: ask, or make do with what there is. */
static void
answer_asking(struct key_lookup *lookup, const uint8_t *hash,
    const struct api_key *cached, key_lookup_fn *fn, void *arg)
{
	const bool usable = cached != NULL &&
	    is_usable(lookup, cached, clock_wall_ms());
	const bool slow = lookup->slow_until_ms > clock_boot_ms();

	if (usable && (slow || !is_up(lookup))) {
		/* the question, where it can be asked, goes on without us */
		if (is_up(lookup))
			join_question(lookup, hash, cached, NULL, NULL);
		fn(arg, 0, cached, hash);
	} else if (is_up(lookup) || !lookup->settled) {
		join_question(lookup, hash, cached, fn, arg);
	} else {
		fn(arg, -KAP_AGAIN, NULL, hash);
	}
}

void
key_lookup_find(struct key_lookup *lookup, const char *text, size_t len,
    key_lookup_fn *fn, void *arg)
{
	uint8_t hash[API_KEY_HASH_SIZE];
	struct api_key record;
	const struct api_key *cached;
	int rc;

	if (len == 0 || len > API_KEY_TEXT_MAX) {
		fn(arg, -KAP_NOENT, NULL, NULL);
		return;
	}
	rc = api_key_hash(lookup->config->auth.pepper, text, len, hash);
	if (rc == 0)
		rc = read_cached(lookup, hash, &record);
	if (rc != 0 && rc != -KAP_NOENT) {
		fn(arg, rc, NULL, hash);
		return;
	}
	cached = rc == 0 ? &record : NULL;
	if (!answer_fresh(lookup, hash, cached, fn, arg))
		answer_asking(lookup, hash, cached, fn, arg);
}

/* The first connect has succeeded or failed: go on with those who wait. */
static void
settle(struct key_lookup *lookup)
{
	const bool up = is_up(lookup);

	lookup->settled = true;
	(void)event_del(lookup->first_connect);
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct question *question = LIST_FIRST(&lookup->buckets[i]);

		while (question != NULL) {
			struct question *next = LIST_NEXT(question, link);

			if (!question->asked && up)
				ask(question);
			else if (!question->asked)
				fail_question(question);
			question = next;
		}
	}
}

static void
on_first_connect_over(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	settle(arg);
}

static void
on_pg_state(void *arg, enum pg_state state, const char *why)
{
	struct key_lookup *lookup = arg;

	atomic_store_explicit(&stats_row()->pg_link, (int32_t)state,
	    memory_order_relaxed);
	switch (state) {
	case PG_CONNECTING:
		return;
	case PG_UP:
		log_info("postgresql is connected");
		lookup->away = false;
		key_lookup_probe(lookup);
		break;
	case PG_DOWN:
		if (!lookup->away)
			log_warn("postgresql is away", LOG_S("why", why));
		else
			log_debug("postgresql is still away",
			    LOG_S("why", why));
		lookup->away = true;
		break;
	}
	if (!lookup->settled)
		settle(lookup);
}

/* What was asked for until now may be out of date, cached or not. */
static void
on_keys_changed(void *arg, const char *payload KAP_UNUSED)
{
	struct key_lookup *lookup = arg;

	lookup->notified_ms = clock_wall_ms();
}

static int
start(struct key_lookup *lookup, struct event_base *base,
    struct kap_errmsg *msg)
{
	const struct timeval first = { .tv_sec = FIRST_CONNECT_MS / 1000,
		.tv_usec = FIRST_CONNECT_MS % 1000 * 1000 };
	const struct pg_options options = {
		.dsn = lookup->config->postgres.dsn,
		.application = "kaphila-keys",
		.on_state = on_pg_state,
		.arg = lookup,
	};
	int rc;

	lookup->first_connect = evtimer_new(base, on_first_connect_over,
	    lookup);
	if (lookup->first_connect == NULL ||
	    event_add(lookup->first_connect, &first) != 0)
		return -KAP_NOMEM;
	rc = pg_new(&lookup->pg, base, &options, msg);
	return rc != 0 ? rc : pg_listen(lookup->pg, "kaphila_keys",
	                          on_keys_changed, lookup);
}

int
key_lookup_new(struct key_lookup **lookup_out, struct event_base *base,
    struct store *store, struct turn *turn, const struct config *config,
    struct kap_errmsg *msg)
{
	struct key_lookup *lookup = calloc(1, sizeof(*lookup));
	int rc;

	if (lookup == NULL)
		return -KAP_NOMEM;
	lookup->store = store;
	lookup->turn = turn;
	lookup->config = config;
	/* a NOTIFY may have come while no worker was there to hear it */
	lookup->notified_ms = clock_wall_ms();
	rc = start(lookup, base, msg);
	if (rc != 0) {
		key_lookup_free(&lookup);
		return rc;
	}
	*lookup_out = lookup;
	return 0;
}

void
key_lookup_free(struct key_lookup **lookup)
{
	struct key_lookup *old = *lookup;

	if (old == NULL)
		return;
	old->settled = true;   /* nobody waits for a connect any more */
	turn_flush(old->turn); /* answers that are being written */
	pg_free(&old->pg);     /* questions under way fail */
	for (unsigned i = 0; i < BUCKETS; i++) {
		while (!LIST_EMPTY(&old->buckets[i]))
			fail_question(LIST_FIRST(&old->buckets[i]));
	}
	if (old->first_connect != NULL)
		event_free(old->first_connect);
	free(old);
	*lookup = NULL;
}

bool
key_lookup_is_up(const struct key_lookup *lookup)
{
	return is_up(lookup) && !lookup->refused;
}

/* A question that nobody waits for, about a hash that no key has. */
void
key_lookup_probe(struct key_lookup *lookup)
{
	static const uint8_t no_key[API_KEY_HASH_SIZE];

	if (is_up(lookup))
		join_question(lookup, no_key, NULL, NULL, NULL);
}
