/*
 * The event link's life. Moves between its states, wires the connection to
 * the reader and the reader to the owner. Decides nothing about calls.
 *
 *              start, no socket            start, with the predecessor's
 *     STOPPED ───────▶ DOWN ◀───────────────────┐  STOPPED
 *                      │  ▲ ▲                   │     │
 *             wait over│  │ │ refused, timeout  │lost │resume
 *                      ▼  │ │                   │     ▼
 *               CONNECTING─┘ └── OPENING ──────▶ UP ◀──┘
 *                      │            ▲    committed
 *                      └────────────┘
 *                       handshake done
 *
 * From any state: stop ──▶ STOPPED.
 */
#include "event_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "ari_connect.h"
#include "ari_url.h"
#include "event_reader.h"
#include "event_socket.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "shared/stats.h"

/* Room for what a busy worker, or none, doesn't read; bytes. */
#define RECEIVE_BUFFER (4 << 20)

/*
 * The wait before the app is taken back from whoever took it over: doubles,
 * so that two nodes of one number don't fight many times a second.
 */
#define TAKE_BACK_MIN_MS 1000
#define TAKE_BACK_MAX_MS 60000

struct event_link {
	struct event_base *base;
	const struct config *config;
	const struct event_link_ops *ops;
	void *ctx;
	int slot;
	enum event_link_state state;
	struct ari_address address;
	struct ari_backoff backoff;
	struct ari_connect *connect; /* in CONNECTING */
	struct event_reader *reader; /* has `fd` in OPENING and UP */
	struct event *on_due;        /* the wait of DOWN; the first step */
	struct event *on_hand_over;  /* in UP, until the master has the fd */
	int fd;                      /* -1: none */
	bool handed_over;
	int64_t up_since_ms;         /* boot clock */
	int64_t take_back_ms;        /* the last such wait; 0: none yet */
	int64_t gave_up_ms;          /* on a handshake; boot clock, 0: never */
};

#define TO(state) (1U << EVENT_LINK_##state)

static const struct {
	const char *name;
	unsigned next; /* states it may move to */
} states[EVENT_LINK_STATE_COUNT] = {
	[EVENT_LINK_STOPPED] = { "stopped", TO(STOPPED) | TO(DOWN) | TO(UP) },
	[EVENT_LINK_DOWN] = { "down",
	    TO(DOWN) | TO(CONNECTING) | TO(STOPPED) },
	[EVENT_LINK_CONNECTING] = { "connecting",
	    TO(OPENING) | TO(DOWN) | TO(STOPPED) },
	[EVENT_LINK_OPENING] = { "opening", TO(UP) | TO(DOWN) | TO(STOPPED) },
	[EVENT_LINK_UP] = { "up", TO(DOWN) | TO(STOPPED) },
};

const char *
event_link_state_name(enum event_link_state state)
{
	return states[state].name;
}

enum event_link_state
event_link_state(const struct event_link *link)
{
	return link->state;
}

/* The only place where the state changes. */
static void
move(struct event_link *link, enum event_link_state next)
{
	if ((states[link->state].next & (1U << next)) == 0)
		fatal("event link: %s can't become %s",
		    states[link->state].name, states[next].name);
	log_debug("event link", LOG_S("from", states[link->state].name),
	    LOG_S("to", states[next].name));
	link->state = next;
}

static struct timeval
as_timeval(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };
}

/* ---- down ---- */

/*
 * Let go of a socket that is dead for good: shut down first, for the master
 * still holds it, and Asterisk must see its end.
 */
static void
drop_socket(struct event_link *link)
{
	if (link->fd < 0)
		return;
	event_reader_stop(link->reader);
	(void)shutdown(link->fd, SHUT_RDWR);
	if (link->handed_over)
		link->ops->gone(link->ctx);
	(void)close(link->fd);
	link->fd = -1;
	link->handed_over = false;
}

static int64_t
longer(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/*
 * Another connection has the app. One of our own, if Asterisk came only now to
 * a handshake that had been given up: that one is closed, so take the app
 * back. Else another program's: leave it there for a while.
 */
static int64_t
take_back_wait_ms(struct event_link *link)
{
	const int64_t now_ms = clock_boot_ms();
	const int64_t held_ms = now_ms - link->up_since_ms;
	const bool is_own = link->gave_up_ms != 0 &&
	    now_ms - link->gave_up_ms < TAKE_BACK_MAX_MS;
	int64_t wait_ms = TAKE_BACK_MIN_MS;

	link->gave_up_ms = 0; /* of several, only the last can have it */
	if (is_own)
		return 0;
	if (link->take_back_ms != 0 && held_ms < TAKE_BACK_MAX_MS)
		wait_ms = link->take_back_ms < TAKE_BACK_MAX_MS / 2 ?
		    link->take_back_ms * 2 : TAKE_BACK_MAX_MS;
	link->take_back_ms = wait_ms;
	log_error("another program has taken the Stasis app over: is there a "
	    "second node of this number?", LOG_I("node",
	    link->config->node.id), LOG_I("slot", link->slot),
	    LOG_I("taken_back_in_ms", wait_ms));
	return wait_ms;
}

/* at_least_ms: before the next connect; usually it is soon enough, 0 */
static void
go_down(struct event_link *link, const char *reason, int64_t at_least_ms)
{
	struct timeval after;

	/* a link that held for a while has proved good: begin anew */
	if (link->state == EVENT_LINK_UP && clock_boot_ms() -
	    link->up_since_ms >= link->config->asterisk.reconnect_max_ms)
		link->backoff.next_ms = 0;
	drop_socket(link);
	(void)evtimer_del(link->on_hand_over);
	move(link, EVENT_LINK_DOWN);
	after = as_timeval(longer(at_least_ms,
	    ari_backoff_next_ms(&link->backoff, link->config)));
	(void)evtimer_add(link->on_due, &after);
	link->ops->down(link->ctx, reason);
}

/* ---- up ---- */

static void
hand_over(struct event_link *link)
{
	const struct timeval after =
	    as_timeval(link->config->asterisk.ping_interval_ms);

	CRASH_POINT(events_before_hand_over);
	link->handed_over = link->ops->hand_over(link->ctx, link->fd) == 0;
	CRASH_POINT(events_handed_over);
	if (!link->handed_over)
		(void)evtimer_add(link->on_hand_over, &after);
}

static void
on_hand_over_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	hand_over(arg);
}

static void
go_up(struct event_link *link, bool resumed)
{
	move(link, EVENT_LINK_UP);
	link->up_since_ms = clock_boot_ms();
	if (resumed) {
		link->handed_over = true; /* the master had it all along */
	} else {
		stats_add(STATS_ari_connects, 1);
		hand_over(link);
	}
	link->ops->up(link->ctx, resumed);
}

static void
on_reader_started(void *ctx)
{
	go_up(ctx, false);
}

static void
on_reader_begin(void *ctx)
{
	const struct event_link *link = ctx;

	link->ops->begin(link->ctx);
}

static int
on_reader_event(void *ctx, struct store_txn *txn,
    const struct ari_event *event)
{
	const struct event_link *link = ctx;

	return link->ops->event(link->ctx, txn, event);
}

static void
on_reader_committed(void *ctx, int rc)
{
	const struct event_link *link = ctx;

	link->ops->committed(link->ctx, rc);
}

static void
on_reader_dropped(void *ctx, uint64_t bytes)
{
	(void)ctx;
	log_warn("event message too long, thrown away",
	    LOG_I("bytes", bytes));
}

static int
on_reader_ask(void *ctx, const struct ari_mark *mark)
{
	const struct event_link *link = ctx;

	return link->ops->ask(link->ctx, mark);
}

static void
on_reader_ended(void *ctx, const char *reason)
{
	struct event_link *link = ctx;

	go_down(link, reason, event_reader_was_replaced(link->reader) ?
	    take_back_wait_ms(link) : 0);
}

static const struct event_reader_ops reader_ops = {
	.started = on_reader_started,
	.begin = on_reader_begin,
	.event = on_reader_event,
	.committed = on_reader_committed,
	.dropped = on_reader_dropped,
	.ask = on_reader_ask,
	.ended = on_reader_ended,
};

/* ---- connecting ---- */

static void
on_connected(void *arg, int fd, const char *reason)
{
	struct event_link *link = arg;
	int rc;

	link->connect = NULL;
	if (fd < 0) {
		if (fd == -KAP_TIMEOUT)
			link->gave_up_ms = clock_boot_ms();
		go_down(link, reason, 0);
		return;
	}
	link->fd = fd;
	move(link, EVENT_LINK_OPENING);
	rc = event_reader_start(link->reader, fd);
	if (rc != 0)
		go_down(link, rc == -KAP_GONE ?
		    "the connection closed at once" :
		    "the socket can't be examined", 0);
}

static void
begin_connect(struct event_link *link)
{
	char app[ARI_APP_SIZE];

	ari_url_app_name(app, link->config->node.id, link->slot);
	move(link, EVENT_LINK_CONNECTING);
	link->connect = ari_connect_begin(link->base, &link->address,
	    link->config, app, RECEIVE_BUFFER,
	    link->config->asterisk.command_timeout_ms, on_connected, link);
	if (link->connect == NULL)
		go_down(link, "out of memory", 0);
}

/* Go on with the predecessor's socket, or give it up and connect. */
static void
try_resume(struct event_link *link)
{
	uint64_t lost;
	const int rc = event_reader_resume(link->reader, link->fd, &lost);

	if (rc == 0) {
		go_up(link, true);
		return;
	}
	link->handed_over = true; /* the master has it, and must let go */
	drop_socket(link);
	move(link, EVENT_LINK_DOWN);
	if (lost > 0)
		link->ops->lost(link->ctx, lost);
	link->ops->down(link->ctx, rc == -KAP_NOENT ?
	    "the inherited socket is not of the stored stream" :
	    rc == -KAP_CORRUPT ? "the inherited stream has a gap" :
	    "the inherited socket can't be used");
	if (link->state == EVENT_LINK_DOWN)
		begin_connect(link);
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct event_link *link = arg;

	(void)fd;
	(void)what;
	if (link->state == EVENT_LINK_STOPPED && link->fd >= 0) {
		try_resume(link);
		return;
	}
	if (link->state == EVENT_LINK_STOPPED)
		move(link, EVENT_LINK_DOWN);
	begin_connect(link);
}

void
event_link_start(struct event_link *link, int inherited_fd)
{
	const struct timeval now = { 0 };

	link->fd = inherited_fd;
	(void)evtimer_add(link->on_due, &now);
}

/* ---- lifecycle ---- */

int
event_link_new(struct event_link **link_out, struct event_base *base,
    struct turn *turn, struct store *store, const struct config *config,
    int slot, const struct event_link_ops *ops, void *ctx,
    struct kap_errmsg *msg)
{
	struct event_link *link;
	struct ari_address address;

	*link_out = NULL;
	if (ari_url_parse(config->asterisk.url, &address, msg) != 0)
		return -KAP_INVAL;
	link = calloc(1, sizeof(*link));
	if (link == NULL)
		return -KAP_NOMEM;
	link->base = base;
	link->config = config;
	link->slot = slot;
	link->ops = ops;
	link->ctx = ctx;
	link->address = address;
	link->fd = -1;
	link->on_due = evtimer_new(base, on_due, link);
	link->on_hand_over = evtimer_new(base, on_hand_over_due, link);
	link->reader = event_reader_new(base, turn, store, slot,
	    &config->asterisk.ping_interval_ms, &reader_ops, link);
	if (link->on_due == NULL || link->on_hand_over == NULL ||
	    link->reader == NULL) {
		event_link_free(&link);
		return -KAP_NOMEM;
	}
	*link_out = link;
	return 0;
}

void
event_link_stop(struct event_link *link)
{
	/* the last chance: without its copy the stream would end here */
	if (link->state == EVENT_LINK_UP && !link->handed_over)
		hand_over(link);
	if (link->on_due != NULL)
		(void)evtimer_del(link->on_due);
	if (link->on_hand_over != NULL)
		(void)evtimer_del(link->on_hand_over);
	ari_connect_cancel(&link->connect);
	if (link->reader != NULL)
		event_reader_stop(link->reader);
	if (link->fd >= 0)
		(void)close(link->fd);
	link->fd = -1;
	link->handed_over = false;
	move(link, EVENT_LINK_STOPPED);
}

void
event_link_end(struct event_link *link)
{
	static const uint8_t normal_closure[2] = { 1000 >> 8, 1000 & 0xff };
	int rc = 0;

	if (link->fd >= 0) {
		event_reader_stop(link->reader);
		rc = event_socket_send_control(link->fd, ARI_WS_CLOSE,
		    normal_closure, sizeof(normal_closure));
		/* the master has a copy, and Asterisk must see the end */
		(void)shutdown(link->fd, SHUT_WR);
		link->handed_over = true;
	}
	(void)rc; /* where it can't be said any more, the end says it */
	event_link_stop(link);
}

void
event_link_free(struct event_link **link)
{
	struct event_link *old = *link;

	if (old == NULL)
		return;
	*link = NULL;
	event_link_stop(old);
	if (old->on_due != NULL)
		event_free(old->on_due);
	if (old->on_hand_over != NULL)
		event_free(old->on_hand_over);
	event_reader_free(&old->reader);
	free(old);
}

void
event_link_asked(struct event_link *link, enum ari_mark_reply reply)
{
	event_reader_asked(link->reader, reply);
}

bool
event_link_is_past(struct event_link *link, struct ari_mark *mark)
{
	return event_reader_is_past(link->reader, mark);
}

int64_t
event_link_began_ms(const struct event_link *link)
{
	return event_reader_began_ms(link->reader);
}
