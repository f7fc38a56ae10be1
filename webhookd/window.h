/*
 * Which of the events in memory is sent next. The window holds a bounded
 * part of the queue and knows, without sending or storing anything,
 *   - that first attempts of a call go one after the other, in order
 *   - that a retry waits for nobody, and never takes all the room
 *   - how much of everything one target may take up
 *
 *     store ──▶ window_add ──▶ waiting ──▶ ready ──▶ window_next ──▶ under way
 *                            (for its call)                             │
 *     store ◀── settler ◀────────────── window_finish ◀─────────────────┘
 *
 * A target is a scheme, host and port. Where one has taken up its share, its
 * further new events stay in the store (window_leave), and are fetched by a
 * reading of their own when it has room again (window_refill_next), while the
 * reading of everybody's events goes on past them.
 *
 * A target that lets tries run into the time limit gets half as many at once
 * for each, down to an eighth, and one more for each that it answers. So even
 * dozens of dead targets leave room for the living.
 */
#ifndef KAP_WINDOW_H
#define KAP_WINDOW_H

#include "delivery.h"

struct window;

struct window_limits {
	unsigned concurrency; /* under way at once, 1.. */
	unsigned per_host;    /* of them to one target, 1.. */
};

TAILQ_HEAD(ready_list, delivery);

/* Read by the sender; changed by the window alone, but for the last part. */
struct target {
	const char *name; /* "https://example.com:8443", lower case */
	unsigned limit;   /* under way at once, now */
	unsigned under_way[DELIVERY_KIND_COUNT];
	unsigned open[DELIVERY_KIND_COUNT]; /* waiting, ready, under way */
	uint64_t left_at; /* first new event left in the store; 0: none */

	/* the window's */
	struct ready_list ready[DELIVERY_KIND_COUNT];
	bool is_runnable[DELIVERY_KIND_COUNT];
	bool is_refilling;
	bool is_idle;
	TAILQ_ENTRY(target) runnable_first;
	TAILQ_ENTRY(target) runnable_retry;
	TAILQ_ENTRY(target) refill;
	TAILQ_ENTRY(target) idle;
	LIST_ENTRY(target) by_name;

	/* the sender's */
	uint64_t failures;  /* since a try was taken, or the last log line */
	int64_t warned_ms;  /* boot clock: when that was logged; 0: never */
	uint32_t deferred;  /* retries put off since there was room */
	char text[];
};

/* Returns NULL when out of memory. */
struct window *window_new(const struct window_limits *limits);

/*
 * Take other limits over at once: what is held stays, over a lower limit too.
 * A target that has been slow keeps its low one.
 */
void window_set_limits(struct window *window,
    const struct window_limits *limits);

/* Frees every delivery it holds, too. Sets *window NULL. */
void window_free(struct window **window);

/*
 * The target of a URL, made where it isn't known. Valid as long as it has
 * something open or left, or until the next call.
 * Returns NULL when out of memory.
 */
struct target *window_target(struct window *window, const char *url);

/* Whether this event is held, in whatever stage. */
bool window_holds(const struct window *window, uint64_t number);

/* Whether one more event can be held, whatever is to become of it. */
bool window_has_room(const struct window *window);

/* Whether one more of the kind can be scheduled, for any target. */
bool window_has_room_for(const struct window *window,
    enum delivery_kind kind);

/* Whether there is enough of that for another look into the queue. */
bool window_wants_more(const struct window *window, enum delivery_kind kind);

/* Whether the target's share of that has room. */
bool window_target_has_room(const struct target *target,
    enum delivery_kind kind);

/*
 * Take a delivery over without scheduling it: its outcome is known.
 * The number isn't held yet.
 */
void window_hold(struct window *window, struct delivery *delivery);

/* Take a delivery over and schedule it. First attempts in their order. */
void window_add(struct window *window, struct target *target,
    struct delivery *delivery);

/* The next one to send; it counts as under way from here. NULL: none now. */
struct delivery *window_next(struct window *window);

/*
 * Its try is over. What waited for it may go; it is held until window_drop.
 *
 * silent  the time was over before there was an answer
 */
void window_finish(struct window *window, struct delivery *delivery,
    bool silent);

/* It is settled in the store: forget and free it. Sets *delivery NULL. */
void window_drop(struct window *window, struct delivery **delivery);

/* A new event of this target, `number`, stays in the store for now. */
void window_leave(struct window *window, struct target *target,
    uint64_t number);

/* A target with room for some of what it left, or NULL. */
struct target *window_refill_next(const struct window *window);

/* How far its own reading came: left_at, or 0 when nothing is left. */
void window_refilled(struct window *window, struct target *target,
    uint64_t left_at);

unsigned window_under_way(const struct window *window);
unsigned window_open(const struct window *window, enum delivery_kind kind);
unsigned window_held(const struct window *window);

#endif
