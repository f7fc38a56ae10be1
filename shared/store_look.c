/*
 * A look is a walk over the tables that can't tell by themselves, a page a
 * turn, and then what LMDB knows without a walk:
 *
 *     idle ── the newest look is old ──▶ calls ▶ retries ▶ commands ▶ publish
 *      ▲                                                                 │
 *      └─────────────────────────────────────────────────────────────────┘
 *
 * Decides nothing; a store that can't be read only means that no look is
 * published.
 */
#include "store_look.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "clock.h"
#include "ledger_queue.h"
#include "outbox.h"
#include "recording_queue.h"
#include "stats.h"
#include "store.h"
#include "webhook_queue.h"

#define PERIOD_MS 4000 /* between two looks of any processes */
#define WAIT_MS 1000   /* …which is looked for this often */
#define PAGE_WAIT_MS 5
#define PAGE 500
#define KEY_MAX 128

struct store_look {
	struct store *store;
	struct event *timer;
	bool walking;
	unsigned step; /* of the walk: an index of walks[] */
	uint8_t key[KEY_MAX]; /* the next record's is at or behind it */
	size_t key_len;
	/* what the walk has found so far */
	uint64_t states[STATS_CALL_STATES_MAX];
	int64_t oldest_ms[STATS_QUEUES_MAX];
};

/* A queue: its table, and where a record says when it was queued. */
static const struct {
	enum store_table table;
	size_t since; /* offset of an int64_t, wall clock */
	bool in_order; /* the first is the oldest */
} queues[STATS_QUEUE_COUNT] = {
	[STATS_QUEUE_WEBHOOKS] = { STORE_WEBHOOKS,
	    offsetof(struct webhook_event, queued_ms), true },
	[STATS_QUEUE_WEBHOOK_RETRIES] = { STORE_WEBHOOK_RETRY,
	    offsetof(struct webhook_event, queued_ms), false },
	[STATS_QUEUE_RECORDINGS] = { STORE_RECORDINGS,
	    offsetof(struct recording_job, queued_ms), true },
	[STATS_QUEUE_LEDGER] = { STORE_LEDGER,
	    offsetof(struct ledger_entry, at_ms), true },
	[STATS_QUEUE_LEDGER_ASIDE] = { STORE_LEDGER_ASIDE,
	    offsetof(struct ledger_entry, at_ms), true },
	[STATS_QUEUE_COMMANDS] = { STORE_COMMANDS,
	    offsetof(struct command, queued_ms), false },
};

static void
see_call(struct store_look *look, const struct store_value *value)
{
	uint8_t state;

	if (value->len <= offsetof(struct call, state))
		return;
	memcpy(&state, (const char *)value->data +
	    offsetof(struct call, state), sizeof(state));
	if (state < STATS_CALL_STATES_MAX)
		look->states[state]++;
}

static void
see_entry(struct store_look *look, enum stats_queue queue,
    const struct store_value *value)
{
	const size_t at = queues[queue].since;
	int64_t *oldest_ms = &look->oldest_ms[queue];
	int64_t since_ms;

	if (value->len < at + sizeof(since_ms))
		return; /* an older program's record doesn't tell */
	memcpy(&since_ms, (const char *)value->data + at, sizeof(since_ms));
	if (since_ms > 0 && (*oldest_ms == 0 || since_ms < *oldest_ms))
		*oldest_ms = since_ms;
}

static void
see_retry(struct store_look *look, const struct store_value *value)
{
	see_entry(look, STATS_QUEUE_WEBHOOK_RETRIES, value);
}

static void
see_command(struct store_look *look, const struct store_value *value)
{
	see_entry(look, STATS_QUEUE_COMMANDS, value);
}

static const struct {
	enum store_table table;
	void (*see)(struct store_look *look, const struct store_value *value);
} walks[] = {
	{ STORE_CALLS, see_call },
	{ STORE_WEBHOOK_RETRY, see_retry },
	{ STORE_COMMANDS, see_command },
};
#define WALK_COUNT (sizeof(walks) / sizeof(walks[0]))

/* Go on right behind a key. */
static void
keep_place(struct store_look *look, const struct store_value *key)
{
	const size_t len = key->len < KEY_MAX ? key->len : KEY_MAX - 1;

	memcpy(look->key, key->data, len);
	look->key[len] = 0;
	look->key_len = len + 1;
}

/*
 * See up to `most` records of the walk's table; 0 with records left,
 * -KAP_NOENT at its end.
 */
static int
walk_page(struct store_look *look, struct store_txn *txn, unsigned *most)
{
	struct store_cursor *cursor;
	struct store_value key = { NULL, 0 };
	struct store_value value;
	int rc = store_walk(txn, walks[look->step].table, look->key,
	    look->key_len, &cursor);

	if (rc != 0)
		return rc;
	while (*most > 0 &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0) {
		walks[look->step].see(look, &value);
		(*most)--;
	}
	if (rc == 0 && key.data != NULL)
		keep_place(look, &key);
	store_walk_end(&cursor);
	return rc;
}

/* Go on with the walk; 0 with something left, -KAP_NOENT at its end. */
static int
walk(struct store_look *look, struct store_txn *txn)
{
	unsigned most = PAGE;

	while (look->step < WALK_COUNT) {
		const int rc = walk_page(look, txn, &most);

		if (rc != -KAP_NOENT)
			return rc;
		look->step++;
		look->key_len = 0;
	}
	return -KAP_NOENT;
}

/* The first of a queue that is in order is its oldest. */
static int
see_first(struct store_look *look, struct store_txn *txn,
    enum stats_queue queue)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	int rc = store_walk(txn, queues[queue].table, NULL, 0, &cursor);

	if (rc != 0)
		return rc;
	rc = store_walk_next(cursor, &key, &value);
	if (rc == 0)
		see_entry(look, queue, &value);
	store_walk_end(&cursor);
	return rc == -KAP_NOENT ? 0 : rc;
}

static int
see_queues(struct store_look *look, struct store_txn *txn,
    uint64_t depth[STATS_QUEUE_COUNT])
{
	int rc = 0;

	for (unsigned i = 0; i < STATS_QUEUE_COUNT && rc == 0; i++) {
		rc = store_count(txn, queues[i].table, &depth[i]);
		if (rc == 0 && queues[i].in_order)
			rc = see_first(look, txn, (enum stats_queue)i);
		/* the walk may have seen what is gone by now */
		if (rc == 0 && depth[i] == 0)
			look->oldest_ms[i] = 0;
	}
	return rc;
}

static void
set(_Atomic uint64_t *gauge, uint64_t value)
{
	atomic_store_explicit(gauge, value, memory_order_relaxed);
}

static void
publish(const struct store_look *look,
    const uint64_t depth[STATS_QUEUE_COUNT], const struct store_usage *usage)
{
	struct stats_look *out = &stats_row()->look;

	for (unsigned i = 0; i < STATS_CALL_STATES_MAX; i++)
		set(&out->live[i], look->states[i]);
	for (unsigned i = 0; i < STATS_QUEUE_COUNT; i++) {
		set(&out->depth[i], depth[i]);
		atomic_store_explicit(&out->oldest_ms[i], look->oldest_ms[i],
		    memory_order_relaxed);
	}
	set(&out->pages, usage->pages_total);
	set(&out->pages_used, usage->pages_used);
	set(&out->readers, usage->readers);
	atomic_store_explicit(&out->at_ms, clock_boot_ms(),
	    memory_order_release);
}

/* One turn of a look; true while it isn't over. */
static bool
go_on(struct store_look *look)
{
	uint64_t depth[STATS_QUEUE_COUNT] = { 0 };
	struct store_usage usage;
	struct store_txn *txn;
	int rc = store_begin_read(look->store, &txn);

	if (rc != 0)
		return false;
	rc = walk(look, txn);
	if (rc == -KAP_NOENT)
		rc = see_queues(look, txn, depth);
	else if (rc == 0)
		rc = -KAP_AGAIN;
	store_end_read(&txn);
	if (rc == 0 && store_usage(look->store, &usage) == 0)
		publish(look, depth, &usage);
	return rc == -KAP_AGAIN;
}

static int64_t
look_time(const struct stats_row *row)
{
	return atomic_load_explicit(&row->look.at_ms, memory_order_relaxed);
}

/* When anybody looked last, as far as rows of this node's slots tell. */
static int64_t
last_look_ms(void)
{
	const struct stats_file *file = stats_mapped();
	const unsigned bells = CHILD_BELL_WORKER + atomic_load_explicit(
	    &stats_node()->workers, memory_order_relaxed);
	int64_t newest_ms = look_time(stats_row());

	for (unsigned i = 0; file != NULL && i < 2 * bells &&
	     i < STATS_ROW_MASTER; i++) {
		if (look_time(&file->rows[i]) > newest_ms)
			newest_ms = look_time(&file->rows[i]);
	}
	return newest_ms;
}

static void
wait_ms(struct store_look *look, int ms)
{
	const struct timeval wait = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000L };

	(void)event_add(look->timer, &wait);
}

static void
on_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct store_look *look = arg;
	const int64_t now_ms = clock_boot_ms();
	const int64_t last_ms = last_look_ms();

	/* a time to come is of before the last boot */
	if (!look->walking && (last_ms == 0 || last_ms > now_ms ||
	    now_ms - last_ms >= PERIOD_MS)) {
		look->walking = true;
		look->step = 0;
		look->key_len = 0;
		memset(look->states, 0, sizeof(look->states));
		memset(look->oldest_ms, 0, sizeof(look->oldest_ms));
	}
	if (look->walking)
		look->walking = go_on(look);
	wait_ms(look, look->walking ? PAGE_WAIT_MS : WAIT_MS);
}

struct store_look *
store_look_new(struct event_base *base, struct store *store)
{
	struct store_look *look = calloc(1, sizeof(*look));

	if (look == NULL)
		return NULL;
	look->store = store;
	look->timer = event_new(base, -1, 0, on_timer, look);
	if (look->timer == NULL) {
		free(look);
		return NULL;
	}
	wait_ms(look, 0);
	return look;
}

void
store_look_free(struct store_look **look)
{
	if (*look == NULL)
		return;
	event_free((*look)->timer);
	free(*look);
	*look = NULL;
}
