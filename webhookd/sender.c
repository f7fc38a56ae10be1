/*
 * The sender's loop: intake (queue → window), start (window → HTTP client),
 * answer (HTTP client → settler), stored (settler → gone). Reads the store in
 * bounded pieces, each in a transaction that ends with its turn, and writes
 * through the settler alone.
 */
#include "sender.h"

#include <stdlib.h>

#include <event2/event.h>
#include <event2/util.h>

#include "payload.h"
#include "settler.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "shared/store.h"
#include "window.h"

#define USER_AGENT "Kaphila-API-API/2.0"
#define PAGE 32           /* events copied at a time */
#define INTAKE_BUDGET 256 /* events looked at in one turn */
#define RETRY_TIMER_MIN_MS 10
#define DEFER_STEP_MS 50 /* between two that are put off for want of room */
#define WARN_EVERY_MS 60000
#define FAILED_WAIT_MS 1000

/* How one reading of the queue goes on. */
enum intake {
	INTAKE_TAKEN, /* on to the next event */
	INTAKE_LEFT,  /* not this one, on to the next */
	INTAKE_STOP   /* no further now: no room, or sender->failed */
};

struct sender {
	struct event_base *base;
	struct store *store;
	struct http_client *client;
	struct window *window;
	struct settler *settler;
	struct event *intake;      /* activated: look into the queue */
	struct event *retry_timer; /* when the next one is due */
	int64_t retry_at_ms;       /* deadline clock; 0: not armed */
	uint64_t cursor;    /* new events up to here were seen */
	bool more_new;      /* behind the cursor, in the store */
	bool look_due;      /* retries may be due */
	bool more_due;      /* some are that found no room */
	bool failed;        /* this look into the queue: no memory, no store */
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
	struct {
		int64_t timeout_ms;
		int64_t retry_min_ms;
		int64_t retry_max_ms;
	} config;
	unsigned due_max; /* room in the two arrays below */
	struct webhook_event *due_events;
	int64_t *due_ms;
};

static void
arm_retry_timer(struct sender *sender, int64_t at_ms)
{
	int64_t wait_ms = at_ms - clock_deadline_ms();
	struct timeval wait;

	if (at_ms == 0 || (sender->retry_at_ms != 0 &&
	    sender->retry_at_ms <= at_ms))
		return;
	sender->retry_at_ms = at_ms;
	if (wait_ms < RETRY_TIMER_MIN_MS)
		wait_ms = RETRY_TIMER_MIN_MS;
	wait.tv_sec = wait_ms / 1000;
	wait.tv_usec = wait_ms % 1000 * 1000;
	(void)event_add(sender->retry_timer, &wait);
}

static int64_t
backoff_until(const struct sender *sender, uint32_t failures)
{
	uint32_t chance;

	evutil_secure_rng_get_bytes(&chance, sizeof(chance));
	return clock_deadline_ms() + delivery_backoff_ms(failures,
	    sender->config.retry_min_ms, sender->config.retry_max_ms, chance);
}

/* Leaving is allowed once nothing is under way or unwritten. */
static void
check_drained(struct sender *sender)
{
	void (*drained)(void *arg) = sender->drained;

	if (drained == NULL || window_under_way(sender->window) > 0 ||
	    settler_pending(sender->settler) > 0)
		return;
	sender->drained = NULL;
	drained(sender->drained_arg);
}

/* Look into the queue again, if there is something to find room for. */
static void
want_intake(struct sender *sender)
{
	const struct window *window = sender->window;
	const bool more = sender->more_new ||
	    window_refill_next(window) != NULL;

	if (sender->draining)
		return;
	if ((more && window_wants_more(window, DELIVERY_FIRST)) ||
	    (sender->look_due && window_wants_more(window, DELIVERY_RETRY)))
		event_active(sender->intake, 0, 0);
}

/* One delivery less is open, or held. */
static void
use_room(struct sender *sender)
{
	sender->look_due = sender->look_due || sender->more_due;
	want_intake(sender);
}

static void
log_failure(const struct delivery *delivery, struct target *target,
    const struct http_result *result)
{
	const int64_t now_ms = clock_boot_ms();

	log_debug("webhook not taken", LOG_S("call", delivery->event.call.id),
	    LOG_S("target", target->name), LOG_I("status", result->status),
	    LOG_S("error", result->error),
	    LOG_I("tries", delivery->event.tries + 1));
	target->failures++;
	if (target->warned_ms != 0 &&
	    now_ms - target->warned_ms < WARN_EVERY_MS)
		return;
	log_warn("webhook target fails", LOG_S("target", target->name),
	    LOG_S("call", delivery->event.call.id),
	    LOG_I("status", result->status), LOG_S("error", result->error),
	    LOG_I("failures", target->failures));
	target->warned_ms = now_ms;
	target->failures = 0;
}

static enum stats_delivery_result
delivery_result(const struct http_result *result)
{
	switch (-result->rc) {
	case 0:
		break;
	case KAP_TIMEOUT:
		return STATS_DELIVERY_TIMEOUT;
	case KAP_GONE:
		return STATS_DELIVERY_CONNECT;
	case KAP_NOENT:
		return STATS_DELIVERY_RESOLVE;
	case KAP_DENIED:
		return STATS_DELIVERY_GUARD;
	case KAP_PROTO:
		return STATS_DELIVERY_PROTOCOL;
	default:
		return STATS_DELIVERY_OTHER;
	}
	if (result->status >= 200 && result->status <= 299)
		return STATS_DELIVERY_2XX;
	if (result->status >= 300 && result->status <= 399)
		return STATS_DELIVERY_3XX;
	return result->status <= 499 ? STATS_DELIVERY_4XX :
	    STATS_DELIVERY_5XX;
}

static void
count_try(const struct webhook_event *event, enum stats_delivery_result how)
{
	stats_count(STATS_deliveries, how, 0, 1);
	if (how == STATS_DELIVERY_2XX && event->kind == CALL_EV_ANSWERED)
		stats_observe(STATS_answer_to_webhook,
		    (clock_wall_ms() - event->at_ms) * 1000);
}

/* Start what may be started; see on_answer for the rest. */
static void start_ready(struct sender *sender);

static void
end_try(struct sender *sender, struct delivery *delivery,
    const struct http_result *result)
{
	const enum stats_delivery_result how = delivery_result(result);

	count_try(&delivery->event, how);
	if (how == STATS_DELIVERY_2XX) {
		CRASH_POINT(delivery_taken);
		delivery->target->failures = 0;
		delivery->outcome = DELIVERY_REMOVE;
	} else {
		log_failure(delivery, delivery->target, result);
		delivery->outcome = DELIVERY_POSTPONE;
		delivery->next_ms = backoff_until(sender,
		    delivery->event.tries);
	}
	window_finish(sender->window, delivery, result->rc == -KAP_TIMEOUT);
	settler_add(sender->settler, delivery);
	/* those that wait to be stored must not keep others out */
	if (!window_has_room(sender->window))
		settler_flush(sender->settler);
}

static void
on_answer(void *arg, const struct http_result *result)
{
	struct delivery *delivery = arg;
	struct sender *sender = delivery->owner;

	end_try(sender, delivery, result);
	start_ready(sender);
	use_room(sender);
}

static void
start_ready(struct sender *sender)
{
	const int64_t now_ms = clock_wall_ms();
	struct delivery *delivery;

	if (sender->draining)
		return;
	while ((delivery = window_next(sender->window)) != NULL) {
		struct http_request request = { .finish = on_answer,
			.arg = delivery,
			.timeout_ms = sender->config.timeout_ms };
		int rc;

		delivery->owner = sender;
		rc = delivery_make_request(delivery, now_ms, &request);
		CRASH_POINT(delivery_before_send);
		if (rc == 0)
			rc = http_client_send(sender->client, &request, NULL);
		CRASH_POINT(delivery_sent);
		if (rc != 0) {
			const struct http_result result = { .rc = rc,
				.error = kap_strerror(rc), .body = "" };

			end_try(sender, delivery, &result);
		}
	}
}

static void
on_stored(void *arg, struct delivery *delivery)
{
	struct sender *sender = arg;

	CRASH_POINT(delivery_settled);
	if (delivery->outcome != DELIVERY_REMOVE)
		arm_retry_timer(sender, delivery->next_ms);
	window_drop(sender->window, &delivery);
	use_room(sender);
	check_drained(sender);
}

/* A look into the queue that can't go on; the next one is another try. */
static enum intake
fail_intake(struct sender *sender, int rc)
{
	if (!sender->failed)
		log_error("webhook queue can't be read",
		    LOG_S("error", kap_strerror(rc)));
	sender->failed = true;
	return INTAKE_STOP;
}

/* Take an event that isn't sent (now): only its outcome is to be stored. */
static enum intake
settle_unsent(struct sender *sender, const struct webhook_event *event,
    int64_t due_ms, enum delivery_outcome outcome, int64_t next_ms)
{
	struct delivery *delivery = delivery_new(event, due_ms, "", "",
	    "", 0);

	if (delivery == NULL)
		return fail_intake(sender, -KAP_NOMEM);
	delivery->outcome = outcome;
	delivery->next_ms = next_ms;
	window_hold(sender->window, delivery);
	settler_add(sender->settler, delivery);
	return INTAKE_TAKEN;
}

/* The target's share is taken up: new ones stay, due ones are put off. */
static enum intake
leave_event(struct sender *sender, struct target *target,
    const struct webhook_event *event, int64_t due_ms)
{
	int64_t wait_ms;

	if (due_ms == 0) {
		window_leave(sender->window, target, event->number);
		return INTAKE_LEFT;
	}
	/* each a little later than the one before, so they don't come again
	 * all at once */
	wait_ms = sender->config.retry_min_ms +
	    DEFER_STEP_MS * (int64_t)target->deferred++;
	if (wait_ms > sender->config.retry_max_ms)
		wait_ms = sender->config.retry_max_ms;
	return settle_unsent(sender, event, due_ms, DELIVERY_DEFER,
	    clock_deadline_ms() + wait_ms);
}

static enum intake
schedule_event(struct sender *sender, struct target *target,
    const struct webhook_event *event,
    const struct call_event_detail *detail, const struct call_cold *cold,
    int64_t due_ms)
{
	char body[PAYLOAD_MAX];
	size_t body_len;
	struct delivery *delivery;
	const int rc = payload_render(event, detail, cold, body, &body_len);

	if (rc == -KAP_TOOBIG) {
		log_error("webhook dropped: it can't be rendered",
		    LOG_S("call", event->call.id),
		    LOG_I("sequence", event->call.sequence));
		return settle_unsent(sender, event, due_ms, DELIVERY_REMOVE,
		    0);
	}
	if (rc != 0)
		return fail_intake(sender, rc);
	delivery = delivery_new(event, due_ms, cold->webhook_url,
	    cold->webhook_secrets, body, body_len);
	if (delivery == NULL)
		return fail_intake(sender, -KAP_NOMEM);
	window_add(sender->window, target, delivery);
	return INTAKE_TAKEN;
}

/*
 * Decide about one event of the queue.
 *
 * due_ms  0 for a new one
 * only    take this target's events alone; NULL: everybody's, but those of
 *         targets that left some behind, which have a reading of their own
 */
static enum intake
take_event(struct sender *sender, struct store_txn *txn,
    const struct webhook_event *event, int64_t due_ms,
    const struct target *only)
{
	const enum delivery_kind kind = due_ms == 0 ? DELIVERY_FIRST :
	    DELIVERY_RETRY;
	struct call_event_detail detail;
	struct call_cold cold;
	struct target *target;
	int rc;

	if (window_holds(sender->window, event->number))
		return INTAKE_LEFT;
	if (!window_has_room_for(sender->window, kind))
		return INTAKE_STOP;
	rc = call_cold_get(txn, event->call.id, &cold);
	if (rc == -KAP_NOENT || rc == -KAP_CORRUPT ||
	    (rc == 0 && cold.webhook_url[0] == '\0'))
		return settle_unsent(sender, event, due_ms, DELIVERY_REMOVE,
		    0);
	if (rc != 0)
		return fail_intake(sender, rc);
	target = window_target(sender->window, cold.webhook_url);
	if (target == NULL)
		return fail_intake(sender, -KAP_NOMEM);
	if (only != NULL && target != only)
		return INTAKE_LEFT;
	if (only == NULL && kind == DELIVERY_FIRST && target->left_at != 0)
		return INTAKE_LEFT;
	if (!window_target_has_room(target, kind))
		return leave_event(sender, target, event, due_ms);
	if (target->open[DELIVERY_RETRY] <= target->limit / 2)
		target->deferred = 0;
	rc = webhook_queue_get_detail(txn, event->number, &detail);
	if (rc != 0)
		return fail_intake(sender, rc);
	return schedule_event(sender, target, event, &detail, &cold, due_ms);
}

/*
 * The reading of one target that left events behind, up to the cursor.
 * Returns what is left of the budget.
 */
static int
read_left(struct sender *sender, struct store_txn *txn,
    struct target *target, int budget)
{
	struct webhook_event page[PAGE];
	uint64_t at = target->left_at; /* first one not yet decided about */
	int count = PAGE;
	int i = PAGE;

	for (; budget > 0 && i == PAGE; budget -= PAGE) {
		count = webhook_queue_peek_new(txn, at - 1, page, PAGE);
		if (count < 0) {
			(void)fail_intake(sender, count);
			break;
		}
		for (i = 0; i < count && page[i].number <= sender->cursor;
		     i++) {
			at = page[i].number;
			if (!window_target_has_room(target, DELIVERY_FIRST) ||
			    take_event(sender, txn, &page[i], 0, target) ==
			    INTAKE_STOP) {
				window_refilled(sender->window, target, at);
				return budget - i - 1;
			}
			at++;
		}
	}
	/* a page that wasn't full: caught up with everybody's reading */
	window_refilled(sender->window, target,
	    count >= 0 && i < PAGE ? 0 : at);
	return budget;
}

/* Everybody's reading, from the cursor on. */
static void
read_new(struct sender *sender, struct store_txn *txn, int budget)
{
	struct webhook_event page[PAGE];

	sender->more_new = true;
	for (; budget > 0; budget -= PAGE) {
		const int count = webhook_queue_peek_new(txn, sender->cursor,
		    page, PAGE);

		if (count < 0) {
			(void)fail_intake(sender, count);
			return;
		}
		for (int i = 0; i < count; i++) {
			if (take_event(sender, txn, &page[i], 0, NULL) ==
			    INTAKE_STOP)
				return;
			sender->cursor = page[i].number;
		}
		if (count < PAGE) {
			sender->more_new = false;
			return;
		}
	}
}

/*
 * The retries that are due, the most overdue first. Those that are held
 * already head the page, so it has room for all of them and some more.
 */
static void
read_due(struct sender *sender, struct store_txn *txn)
{
	const int64_t now_ms = clock_deadline_ms();
	int64_t next_ms = 0;
	int taken = 0;
	const int count = webhook_queue_peek_due(txn, now_ms,
	    sender->due_events, sender->due_ms, sender->due_max, &next_ms);

	sender->look_due = false;
	sender->more_due = false;
	if (count < 0) {
		(void)fail_intake(sender, count);
		arm_retry_timer(sender, now_ms + FAILED_WAIT_MS);
		return;
	}
	for (int i = 0; i < count && !sender->more_due; i++) {
		const enum intake intake = take_event(sender, txn,
		    &sender->due_events[i], sender->due_ms[i], NULL);

		sender->more_due = intake == INTAKE_STOP;
		taken += intake == INTAKE_TAKEN;
	}
	if (next_ms > now_ms)
		arm_retry_timer(sender, next_ms);
	else if (next_ms != 0)
		sender->more_due = true;
	/* else use_room comes back to it */
	sender->look_due = sender->more_due && taken > 0;
}

static void
on_intake(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct sender *sender = arg;
	int budget = INTAKE_BUDGET;
	struct store_txn *txn;
	struct target *target;
	int rc;

	if (sender->draining)
		return;
	sender->failed = false;
	rc = store_begin_read(sender->store, &txn);
	if (rc != 0) {
		(void)fail_intake(sender, rc);
		return;
	}
	while (budget > 0 && !sender->failed &&
	    window_has_room_for(sender->window, DELIVERY_FIRST) &&
	    (target = window_refill_next(sender->window)) != NULL)
		budget = read_left(sender, txn, target, budget);
	read_new(sender, txn, budget > PAGE ? budget : PAGE);
	if (sender->look_due)
		read_due(sender, txn);
	store_end_read(&txn);
	start_ready(sender);
	if (!sender->failed)
		want_intake(sender);
}

static void
on_retry_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct sender *sender = arg;

	sender->retry_at_ms = 0;
	sender->look_due = true;
	sender_wake(sender);
	check_drained(sender);
}

static struct window_limits
window_limits_of(const struct config *config)
{
	return (struct window_limits){
		.concurrency = (unsigned)config->webhook.concurrency,
		.per_host = (unsigned)config->webhook.per_host,
	};
}

static struct http_client_options
client_options_of(const struct config *config)
{
	return (struct http_client_options){
		.concurrency = (unsigned)config->webhook.concurrency,
		.per_host = (unsigned)config->webhook.per_host,
		.user_agent = USER_AGENT,
		.guarded = true,
		.guard = {
			.allow_http = config->webhook.allow_http,
			.allow_private = config->webhook.allow_private,
			.allow_loopback = config->webhook.allow_loopback,
		},
	};
}

static void
copy_config(struct sender *sender, const struct config *config)
{
	sender->config.timeout_ms = config->webhook.timeout_ms;
	sender->config.retry_min_ms = config->webhook.retry_min_ms;
	sender->config.retry_max_ms = config->webhook.retry_max_ms;
}

/* Room for a page of due events; what was there before is replaced. */
static int
make_due_room(struct sender *sender, unsigned concurrency)
{
	const unsigned max = concurrency + PAGE;
	struct webhook_event *events = calloc(max, sizeof(*events));
	int64_t *due_ms = calloc(max, sizeof(*due_ms));

	if (events == NULL || due_ms == NULL) {
		free(events);
		free(due_ms);
		return -KAP_NOMEM;
	}
	free(sender->due_events);
	free(sender->due_ms);
	sender->due_events = events;
	sender->due_ms = due_ms;
	sender->due_max = max;
	return 0;
}

static bool
set_up(struct sender *sender, struct turn *turn, const struct config *config)
{
	const struct window_limits limits = window_limits_of(config);
	const struct http_client_options options = client_options_of(config);

	copy_config(sender, config);
	sender->client = http_client_new(sender->base, &options);
	sender->window = window_new(&limits);
	sender->settler = settler_new(sender->base, turn, on_stored, sender);
	sender->intake = event_new(sender->base, -1, 0, on_intake, sender);
	sender->retry_timer = event_new(sender->base, -1, 0, on_retry_due,
	    sender);
	return make_due_room(sender, limits.concurrency) == 0 &&
	    sender->client != NULL && sender->window != NULL &&
	    sender->settler != NULL && sender->intake != NULL &&
	    sender->retry_timer != NULL;
}

struct sender *
sender_new(struct event_base *base, struct store *store, struct turn *turn,
    const struct config *config)
{
	struct sender *sender = calloc(1, sizeof(*sender));

	if (sender == NULL)
		return NULL;
	sender->base = base;
	sender->store = store;
	sender->look_due = true;
	if (!set_up(sender, turn, config))
		sender_free(&sender);
	return sender;
}

int
sender_reconfigure(struct sender *sender, const struct config *config)
{
	const struct window_limits limits = window_limits_of(config);
	const struct http_client_options options = client_options_of(config);
	int rc = make_due_room(sender, limits.concurrency);

	if (rc == 0)
		rc = http_client_reconfigure(sender->client, &options);
	if (rc != 0)
		return rc;
	copy_config(sender, config);
	window_set_limits(sender->window, &limits);
	sender->look_due = true;
	return 0;
}

void
sender_free(struct sender **sender_at)
{
	struct sender *sender = *sender_at;

	if (sender == NULL)
		return;
	*sender_at = NULL;
	/* the requests refer to the deliveries, which the window owns */
	http_client_free(&sender->client);
	settler_free(&sender->settler);
	window_free(&sender->window);
	if (sender->intake != NULL)
		event_free(sender->intake);
	if (sender->retry_timer != NULL)
		event_free(sender->retry_timer);
	free(sender->due_events);
	free(sender->due_ms);
	free(sender);
}

void
sender_wake(struct sender *sender)
{
	if (!sender->draining)
		event_active(sender->intake, 0, 0);
}

void
sender_drain(struct sender *sender, void (*drained)(void *arg), void *arg)
{
	const struct timeval soon = { .tv_sec = 0 };

	sender->draining = true;
	sender->drained = drained;
	sender->drained_arg = arg;
	settler_hurry(sender->settler);
	/* from the loop, for nothing may be under way */
	(void)event_add(sender->retry_timer, &soon);
}

int
sender_queue_length(struct sender *sender, uint64_t *length_out)
{
	struct store_txn *txn;
	uint64_t fresh = 0;
	uint64_t retries = 0;
	int rc = store_begin_read(sender->store, &txn);

	if (rc != 0)
		return rc;
	rc = store_count(txn, STORE_WEBHOOKS, &fresh);
	if (rc == 0)
		rc = store_count(txn, STORE_WEBHOOK_RETRY, &retries);
	store_end_read(&txn);
	*length_out = fresh + retries;
	return rc;
}
