/*
 * In rounds: for each name that is waited for Asterisk is asked once, one
 * question at a time; whoever still waits is asked for in the next round.
 *
 *     somebody waits ──▶ a name is asked for ──▶ the next name … ──┐
 *                          ▲                                       │
 *                          └─ next round: 20 ms later, 40 … 640 ms ┘
 */
#include "command_fence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "shared/log.h"

#define ROUND_MS 20      /* …and twice as long each time, */
#define ROUND_MAX_MS 640 /* up to this */
#define LIMIT_MS 15000   /* then it counts as one that never goes */

TAILQ_HEAD(fence_waits, fence_wait);

struct command_fence {
	const struct config *config;
	struct ari_command_link *const *control;
	struct fence_waits waits;
	struct fence_waits ending; /* …are over, and are to be told so */
	unsigned count;            /* of both */
	struct event *timer;       /* the next question is due */
	int round_ms;
	char app[ARI_APP_SIZE]; /* what is asked for; "": nothing */
};

static void
go_on_in_ms(struct command_fence *fence, int ms)
{
	const struct timeval after = { ms / 1000, (ms % 1000) * 1000L };

	(void)evtimer_add(fence->timer, &after);
}

/* ---- the end of a wait ---- */

static void
begin_end(struct fence_wait *wait, enum fence_end end)
{
	struct command_fence *fence = wait->fence;

	TAILQ_REMOVE(&fence->waits, wait, entry);
	TAILQ_INSERT_TAIL(&fence->ending, wait, entry);
	wait->is_ending = true;
	wait->end = end;
}

static void
tell(struct fence_wait *wait)
{
	command_fence_cancel(wait);
	wait->ended(wait->arg, wait->end);
}

/* Whoever is told may begin to wait again, or have others wait no more. */
static void
tell_ending(struct command_fence *fence)
{
	struct fence_wait *wait;

	while ((wait = TAILQ_FIRST(&fence->ending)) != NULL) {
		if (wait->end != FENCE_NO_REPLY &&
		    ari_command_in_flight(*fence->control) >=
		    ARI_COMMANDS_FULL) {
			go_on_in_ms(fence, ROUND_MS);
			return;
		}
		tell(wait);
	}
}

/* Those who were still to be told of something else can't go on with it. */
static void
begin_end_of_all(struct command_fence *fence)
{
	struct fence_wait *wait;

	TAILQ_FOREACH(wait, &fence->ending, entry)
		wait->end = FENCE_NO_REPLY;
	while ((wait = TAILQ_FIRST(&fence->waits)) != NULL)
		begin_end(wait, FENCE_NO_REPLY);
}

/* ---- a question ---- */

/* To all who wait for that app, since when ever: what is gone stays so. */
static void
take_answer(struct command_fence *fence, bool is_gone)
{
	const int64_t now_ms = clock_boot_ms();
	struct fence_wait *wait = TAILQ_FIRST(&fence->waits);
	bool stands = false;

	while (wait != NULL) {
		struct fence_wait *next = TAILQ_NEXT(wait, entry);

		if (strcmp(wait->app, fence->app) == 0) {
			if (is_gone) {
				begin_end(wait, FENCE_PASSED);
			} else if (now_ms - wait->since_ms >= LIMIT_MS) {
				begin_end(wait, FENCE_STANDS);
				stands = true;
			}
		}
		wait = next;
	}
	if (stands)
		log_warn("asterisk still has a connection's app: what was said "
		    "there is not said again", LOG_S("app", fence->app));
}

/* Any answer but 404 leaves it open, and so does none while there is a link. */
static void
on_answer(void *arg, int status, const char *body KAP_UNUSED,
    size_t body_len KAP_UNUSED)
{
	struct command_fence *fence = arg;

	if (status == -KAP_GONE || status == -KAP_AGAIN)
		begin_end_of_all(fence);
	else if (status > 0)
		take_answer(fence, status == 404);
	fence->app[0] = '\0';
	go_on_in_ms(fence, 0);
	tell_ending(fence);
}

static int
ask(struct command_fence *fence, const char *app)
{
	struct ari_uri uri;

	ari_uri_init(&uri);
	ari_uri_segment(&uri, "applications");
	ari_uri_segment(&uri, app);
	return ari_command_send(*fence->control, "GET", uri.text, NULL, NULL,
	    fence->config->asterisk.command_timeout_ms, on_answer, fence);
}

/* Who waits for that name is asked for with it. */
static void
ask_for(struct command_fence *fence, const char *app)
{
	struct fence_wait *wait;
	const int rc = ask(fence, app);

	if (rc == -KAP_FULL || rc == -KAP_NOMEM) {
		go_on_in_ms(fence, ROUND_MS);
		return;
	}
	if (rc != 0) {
		begin_end_of_all(fence);
		tell_ending(fence);
		return;
	}
	memcpy(fence->app, app, sizeof(fence->app));
	TAILQ_FOREACH(wait, &fence->waits, entry) {
		if (strcmp(wait->app, fence->app) == 0)
			wait->asked = true;
	}
}

/* ---- rounds ---- */

static struct fence_wait *
first_not_asked(const struct command_fence *fence)
{
	struct fence_wait *wait;

	TAILQ_FOREACH(wait, &fence->waits, entry) {
		if (!wait->asked)
			return wait;
	}
	return NULL;
}

static void
end_round(struct command_fence *fence)
{
	struct fence_wait *wait;

	TAILQ_FOREACH(wait, &fence->waits, entry)
		wait->asked = false;
	go_on_in_ms(fence, TAILQ_EMPTY(&fence->ending) ? fence->round_ms :
	    ROUND_MS);
	if (fence->round_ms < ROUND_MAX_MS)
		fence->round_ms *= 2;
}

static void
on_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct command_fence *fence = arg;
	const struct fence_wait *wait;

	tell_ending(fence);
	if (fence->app[0] != '\0' || TAILQ_EMPTY(&fence->waits))
		return;
	wait = first_not_asked(fence);
	if (wait != NULL)
		ask_for(fence, wait->app);
	else
		end_round(fence);
}

/* ---- who waits ---- */

static struct fence_wait *
first_for(const struct command_fence *fence, const char *app)
{
	struct fence_wait *wait;

	TAILQ_FOREACH(wait, &fence->waits, entry) {
		if (strcmp(wait->app, app) == 0)
			return wait;
	}
	return NULL;
}

/* A name that nobody waited for is asked for at once. */
void
command_fence_wait(struct command_fence *fence, struct fence_wait *wait,
    const char *app, fence_ended_fn *ended, void *arg)
{
	const struct fence_wait *other = first_for(fence, app);

	memset(wait, 0, sizeof(*wait));
	wait->fence = fence;
	wait->ended = ended;
	wait->arg = arg;
	wait->since_ms = clock_boot_ms();
	(void)snprintf(wait->app, sizeof(wait->app), "%s", app);
	wait->asked = other != NULL && other->asked;
	TAILQ_INSERT_TAIL(&fence->waits, wait, entry);
	fence->count++;
	if (other == NULL) {
		fence->round_ms = ROUND_MS;
		go_on_in_ms(fence, 0);
	}
}

void
command_fence_cancel(struct fence_wait *wait)
{
	struct command_fence *fence = wait->fence;

	if (fence == NULL)
		return;
	TAILQ_REMOVE(wait->is_ending ? &fence->ending : &fence->waits, wait,
	    entry);
	fence->count--;
	wait->fence = NULL;
}

void
command_fence_give_up(struct command_fence *fence)
{
	begin_end_of_all(fence);
	tell_ending(fence);
}

unsigned
command_fence_waiting(const struct command_fence *fence)
{
	return fence->count;
}

/* ---- lifecycle ---- */

struct command_fence *
command_fence_new(struct event_base *base, const struct config *config,
    struct ari_command_link *const *control)
{
	struct command_fence *fence = calloc(1, sizeof(*fence));

	if (fence == NULL)
		return NULL;
	fence->config = config;
	fence->control = control;
	TAILQ_INIT(&fence->waits);
	TAILQ_INIT(&fence->ending);
	fence->timer = evtimer_new(base, on_due, fence);
	if (fence->timer == NULL) {
		free(fence);
		return NULL;
	}
	return fence;
}

void
command_fence_free(struct command_fence **fence)
{
	if (*fence == NULL)
		return;
	event_free((*fence)->timer);
	free(*fence);
	*fence = NULL;
}
