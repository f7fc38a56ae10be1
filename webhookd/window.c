/*
 * The window's bookkeeping: lists and counts, nothing else. A target's place
 * in the lists follows from its counts, in one function (place_target).
 */
#include "window.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "shared/call_cold.h"

/* Room, in multiples of what may be under way at once. */
#define HELD_FACTOR 4
#define FIRST_FACTOR 3
#define TARGET_FACTOR 2 /* of a target's first attempts */

#define BUCKETS_MIN 4096 /* enough for every limit that may come later */
#define IDLE_TARGETS_MAX 1024
#define RETRY_TURN 4 /* each fourth pick looks at the retries first */

LIST_HEAD(delivery_bucket, delivery);
LIST_HEAD(target_bucket, target);
TAILQ_HEAD(target_list, target);

struct window {
	struct window_limits limits;
	unsigned held;
	unsigned open[DELIVERY_KIND_COUNT];
	unsigned under_way[DELIVERY_KIND_COUNT];
	unsigned picks;
	unsigned idle_count;
	size_t bucket_mask;
	struct delivery_bucket *by_number;
	struct delivery_bucket *by_call; /* open first attempts */
	struct target_bucket *by_name;
	/* Round robin: served from the head, put back at the tail. */
	struct target_list runnable_first;
	struct target_list runnable_retry;
	struct target_list refill;
	struct target_list idle; /* the longest idle first */
};

static unsigned
at_least_one(unsigned n)
{
	return n > 0 ? n : 1;
}

/* FNV-1a; neither numbers nor call ids are a stranger's choice. */
static size_t
hash_bytes(const void *data, size_t len)
{
	const unsigned char *bytes = data;
	uint64_t hash = 0xcbf29ce484222325U;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3U;
	return (size_t)(hash ^ hash >> 32);
}

static struct delivery_bucket *
number_bucket(const struct window *window, uint64_t number)
{
	return &window->by_number[hash_bytes(&number, sizeof(number)) &
	    window->bucket_mask];
}

static struct delivery_bucket *
call_bucket(const struct window *window, const char *call_id)
{
	return &window->by_call[hash_bytes(call_id, strlen(call_id)) &
	    window->bucket_mask];
}

static struct target_bucket *
name_bucket(const struct window *window, const char *name)
{
	return &window->by_name[hash_bytes(name, strlen(name)) &
	    window->bucket_mask];
}

struct window *
window_new(const struct window_limits *limits)
{
	struct window *window = calloc(1, sizeof(*window));
	size_t buckets = BUCKETS_MIN;

	if (window == NULL)
		return NULL;
	window->limits = *limits;
	while (buckets < (size_t)limits->concurrency * HELD_FACTOR)
		buckets *= 2;
	window->bucket_mask = buckets - 1;
	/* zeroed memory is an empty list */
	window->by_number = calloc(buckets, sizeof(*window->by_number));
	window->by_call = calloc(buckets, sizeof(*window->by_call));
	window->by_name = calloc(buckets, sizeof(*window->by_name));
	TAILQ_INIT(&window->runnable_first);
	TAILQ_INIT(&window->runnable_retry);
	TAILQ_INIT(&window->refill);
	TAILQ_INIT(&window->idle);
	if (window->by_number == NULL || window->by_call == NULL ||
	    window->by_name == NULL)
		window_free(&window);
	return window;
}

static void
free_bucket(struct window *window, size_t i)
{
	struct delivery *delivery;
	struct target *target;

	while (window->by_number != NULL &&
	    (delivery = LIST_FIRST(&window->by_number[i])) != NULL) {
		LIST_REMOVE(delivery, by_number);
		delivery_free(&delivery);
	}
	while (window->by_name != NULL &&
	    (target = LIST_FIRST(&window->by_name[i])) != NULL) {
		LIST_REMOVE(target, by_name);
		free(target);
	}
}

void
window_free(struct window **window_at)
{
	struct window *window = *window_at;

	if (window == NULL)
		return;
	for (size_t i = 0; i <= window->bucket_mask; i++)
		free_bucket(window, i);
	free(window->by_number);
	free(window->by_call);
	free(window->by_name);
	free(window);
	*window_at = NULL;
}

/* Retries never get more than half of what there is. */
static unsigned
retry_share(unsigned limit)
{
	return at_least_one(limit / 2);
}

static bool
is_runnable(const struct target *target, enum delivery_kind kind)
{
	const unsigned under_way = target->under_way[DELIVERY_FIRST] +
	    target->under_way[DELIVERY_RETRY];

	if (TAILQ_EMPTY(&target->ready[kind]) || under_way >= target->limit)
		return false;
	return kind == DELIVERY_FIRST ||
	    target->under_way[kind] < retry_share(target->limit);
}

static unsigned
target_share(const struct target *target, enum delivery_kind kind)
{
	return kind == DELIVERY_FIRST ? target->limit * TARGET_FACTOR :
	    target->limit;
}

bool
window_target_has_room(const struct target *target, enum delivery_kind kind)
{
	return target->open[kind] < target_share(target, kind);
}

static bool
is_idle(const struct target *target)
{
	return target->open[DELIVERY_FIRST] == 0 &&
	    target->open[DELIVERY_RETRY] == 0 && target->left_at == 0;
}

/* Half empty, so that a reading of its own is worth while. */
static bool
wants_refill(const struct target *target)
{
	return target->left_at != 0 && target->open[DELIVERY_FIRST] <=
	    target_share(target, DELIVERY_FIRST) / 2;
}

/*
 * Put a target into the lists that its counts say, at their tails. Call it
 * after every change of them.
 */
static void
place_target(struct window *window, struct target *target)
{
	const bool first = is_runnable(target, DELIVERY_FIRST);
	const bool retry = is_runnable(target, DELIVERY_RETRY);
	const bool refill = wants_refill(target);
	const bool idle = is_idle(target);

#define PLACE(wanted, is_in, list, link)                                      \
	do {                                                                  \
		if ((wanted) && !target->is_in)                               \
			TAILQ_INSERT_TAIL(&window->list, target, link);       \
		else if (!(wanted) && target->is_in)                          \
			TAILQ_REMOVE(&window->list, target, link);            \
		target->is_in = (wanted);                                     \
	} while (0)
	if (idle && !target->is_idle)
		window->idle_count++;
	else if (!idle && target->is_idle)
		window->idle_count--;
	PLACE(first, is_runnable[DELIVERY_FIRST], runnable_first,
	    runnable_first);
	PLACE(retry, is_runnable[DELIVERY_RETRY], runnable_retry,
	    runnable_retry);
	PLACE(refill, is_refilling, refill, refill);
	PLACE(idle, is_idle, idle, idle);
#undef PLACE
}

static void
target_free(struct window *window, struct target *target)
{
	TAILQ_REMOVE(&window->idle, target, idle);
	window->idle_count--;
	LIST_REMOVE(target, by_name);
	free(target);
}

/* Scheme, host and port: what comes before the path, in lower case. */
static size_t
target_name_len(const char *url)
{
	const char *host = strstr(url, "://");

	if (host == NULL)
		return strlen(url);
	host += 3;
	return (size_t)(host - url) + strcspn(host, "/?#");
}

static struct target *
target_new(struct window *window, const char *name, size_t len)
{
	struct target *target = calloc(1, sizeof(*target) + len + 1);

	if (target == NULL)
		return NULL;
	memcpy(target->text, name, len);
	target->name = target->text;
	target->limit = window->limits.per_host;
	TAILQ_INIT(&target->ready[DELIVERY_FIRST]);
	TAILQ_INIT(&target->ready[DELIVERY_RETRY]);
	LIST_INSERT_HEAD(name_bucket(window, target->name), target, by_name);
	return target;
}

struct target *
window_target(struct window *window, const char *url)
{
	char name[CALL_WEBHOOK_URL_MAX + 1];
	const size_t url_len = target_name_len(url);
	const size_t len = url_len < sizeof(name) ? url_len : sizeof(name) - 1;
	struct target *target;

	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)url[i]);
	name[len] = '\0';
	LIST_FOREACH(target, name_bucket(window, name), by_name) {
		if (strcmp(target->name, name) == 0)
			return target;
	}
	if (window->idle_count >= IDLE_TARGETS_MAX)
		target_free(window, TAILQ_FIRST(&window->idle));
	target = target_new(window, name, len);
	if (target != NULL)
		place_target(window, target);
	return target;
}

bool
window_holds(const struct window *window, uint64_t number)
{
	const struct delivery *delivery;

	LIST_FOREACH(delivery, number_bucket(window, number), by_number) {
		if (delivery->event.number == number)
			return true;
	}
	return false;
}

bool
window_has_room(const struct window *window)
{
	return window->held < window->limits.concurrency * HELD_FACTOR;
}

static unsigned
share_of(const struct window *window, enum delivery_kind kind)
{
	return window->limits.concurrency * (kind == DELIVERY_FIRST ?
	    FIRST_FACTOR : HELD_FACTOR - FIRST_FACTOR);
}

bool
window_has_room_for(const struct window *window, enum delivery_kind kind)
{
	return window_has_room(window) &&
	    window->open[kind] < share_of(window, kind);
}

bool
window_wants_more(const struct window *window, enum delivery_kind kind)
{
	return window_has_room(window) &&
	    window->open[kind] <= share_of(window, kind) / 4 * 3;
}

void
window_hold(struct window *window, struct delivery *delivery)
{
	LIST_INSERT_HEAD(number_bucket(window, delivery->event.number),
	    delivery, by_number);
	window->held++;
}

/* The newest open first attempt of the same call, or NULL. */
static struct delivery *
find_last_of_call(const struct window *window, const char *call_id)
{
	struct delivery *delivery;

	LIST_FOREACH(delivery, call_bucket(window, call_id), by_call) {
		if (delivery->follower == NULL &&
		    strcmp(delivery->event.call.id, call_id) == 0)
			return delivery;
	}
	return NULL;
}

void
window_add(struct window *window, struct target *target,
    struct delivery *delivery)
{
	const enum delivery_kind kind = delivery_kind_of(delivery);
	struct delivery *before = NULL;

	window_hold(window, delivery);
	delivery->target = target;
	delivery->open = true;
	target->open[kind]++;
	window->open[kind]++;
	if (kind == DELIVERY_FIRST) {
		before = find_last_of_call(window, delivery->event.call.id);
		LIST_INSERT_HEAD(call_bucket(window,
		    delivery->event.call.id), delivery, by_call);
	}
	if (before != NULL)
		before->follower = delivery;
	else
		TAILQ_INSERT_TAIL(&target->ready[kind], delivery, ready);
	place_target(window, target);
}

void
window_set_limits(struct window *window, const struct window_limits *limits)
{
	const unsigned before = window->limits.per_host;
	struct target *target;

	window->limits = *limits;
	for (size_t i = 0; i <= window->bucket_mask; i++) {
		LIST_FOREACH(target, &window->by_name[i], by_name) {
			if (target->limit >= before ||
			    target->limit > limits->per_host)
				target->limit = limits->per_host;
			place_target(window, target);
		}
	}
}

static struct target *
next_target(const struct window *window, enum delivery_kind kind)
{
	if (kind == DELIVERY_FIRST)
		return TAILQ_FIRST(&window->runnable_first);
	if (window->under_way[DELIVERY_RETRY] >=
	    retry_share(window->limits.concurrency))
		return NULL;
	return TAILQ_FIRST(&window->runnable_retry);
}

static struct delivery *
pick(struct window *window, enum delivery_kind kind)
{
	struct target *target = next_target(window, kind);
	struct delivery *delivery;

	if (target == NULL)
		return NULL;
	delivery = TAILQ_FIRST(&target->ready[kind]);
	TAILQ_REMOVE(&target->ready[kind], delivery, ready);
	target->under_way[kind]++;
	window->under_way[kind]++;
	/* out, so that it goes back in behind the others */
	if (kind == DELIVERY_FIRST)
		TAILQ_REMOVE(&window->runnable_first, target, runnable_first);
	else
		TAILQ_REMOVE(&window->runnable_retry, target, runnable_retry);
	target->is_runnable[kind] = false;
	place_target(window, target);
	return delivery;
}

struct delivery *
window_next(struct window *window)
{
	const bool retries_turn = window->picks % RETRY_TURN == RETRY_TURN - 1;
	const enum delivery_kind kind = retries_turn ? DELIVERY_RETRY :
	    DELIVERY_FIRST;
	const enum delivery_kind other = retries_turn ? DELIVERY_FIRST :
	    DELIVERY_RETRY;
	struct delivery *delivery;

	if (window_under_way(window) >= window->limits.concurrency)
		return NULL;
	delivery = pick(window, kind);
	if (delivery == NULL)
		delivery = pick(window, other);
	if (delivery != NULL)
		window->picks++;
	return delivery;
}

static void
adapt_limit(const struct window *window, struct target *target, bool silent)
{
	const unsigned floor = at_least_one(window->limits.per_host / 8);

	if (silent)
		target->limit = target->limit / 2 > floor ?
		    target->limit / 2 : floor;
	else if (target->limit < window->limits.per_host)
		target->limit++;
}

void
window_finish(struct window *window, struct delivery *delivery, bool silent)
{
	const enum delivery_kind kind = delivery_kind_of(delivery);
	struct target *target = delivery->target;
	struct delivery *follower = delivery->follower;

	target->under_way[kind]--;
	window->under_way[kind]--;
	target->open[kind]--;
	window->open[kind]--;
	delivery->open = false;
	delivery->target = NULL;
	delivery->follower = NULL;
	if (kind == DELIVERY_FIRST)
		LIST_REMOVE(delivery, by_call);
	if (follower != NULL)
		TAILQ_INSERT_TAIL(&follower->target->ready[DELIVERY_FIRST],
		    follower, ready);
	adapt_limit(window, target, silent);
	place_target(window, target);
	if (follower != NULL && follower->target != target)
		place_target(window, follower->target);
}

void
window_drop(struct window *window, struct delivery **delivery)
{
	LIST_REMOVE(*delivery, by_number);
	window->held--;
	delivery_free(delivery);
}

void
window_leave(struct window *window, struct target *target, uint64_t number)
{
	if (target->left_at == 0)
		target->left_at = number;
	place_target(window, target);
}

struct target *
window_refill_next(const struct window *window)
{
	return TAILQ_FIRST(&window->refill);
}

void
window_refilled(struct window *window, struct target *target,
    uint64_t left_at)
{
	target->left_at = left_at;
	/* out, so that one that still has room goes behind the others */
	if (target->is_refilling)
		TAILQ_REMOVE(&window->refill, target, refill);
	target->is_refilling = false;
	place_target(window, target);
}

unsigned
window_under_way(const struct window *window)
{
	return window->under_way[DELIVERY_FIRST] +
	    window->under_way[DELIVERY_RETRY];
}

unsigned
window_open(const struct window *window, enum delivery_kind kind)
{
	return window->open[kind];
}

unsigned
window_held(const struct window *window)
{
	return window->held;
}
