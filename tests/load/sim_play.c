/*
 * A playback is in its target's list until its end is told; the table knows
 * it by its id alone. The head of the list is the one that plays.
 */
#include "sim_play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "sim_bridge.h"
#include "sim_call.h"
#include "sim_event.h"
#include "sim_rung.h"

#define SCHEME "sound:"
#define MISSING "no-such" /* sounds whose name begins so are not there */
#define SILENCE "silence/"
#define FROZEN_WAIT_MS 20

static void begin(struct sim_playback *head);

static struct sim_playback **
list_of(const struct sim_playback *playback)
{
	return playback->bridge != NULL ? &playback->bridge->plays :
	    &playback->call->plays;
}

const char *
sim_play_app(const struct sim_playback *playback)
{
	if (playback->bridge != NULL)
		return playback->bridge->app;
	return playback->call->in_stasis || playback->call->is_followed ?
	    playback->call->app : "";
}

struct sim_playback *
sim_play_find(const struct sim *sim, const char *id)
{
	return sim_table_get(&sim->plays, id);
}

/* "silence/N" is N seconds long, others as long as the options say. */
static int64_t
length_of(struct sim *sim, const char *media)
{
	const char *name = media + strlen(SCHEME);

	if (strncmp(media, SCHEME, strlen(SCHEME)) != 0 ||
	    strncmp(name, MISSING, strlen(MISSING)) == 0)
		return -1;
	if (strncmp(name, SILENCE, strlen(SILENCE)) == 0)
		return strtol(name + strlen(SILENCE), NULL, 10) * 1000;
	return sim_random_range(&sim->random, sim->options.play_ms.least,
	    sim->options.play_ms.most);
}

static void
wait_ms(struct sim_playback *playback, int64_t ms)
{
	const struct timeval after = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)evtimer_add(&playback->timer, &after);
}

/* Out of the table, unless that has another one under the same id. */
static void
forget(struct sim *sim, struct sim_playback *playback)
{
	(void)evtimer_del(&playback->timer);
	if (sim_play_find(sim, playback->id) == playback)
		(void)sim_table_remove(&sim->plays, playback->id);
}

/* The head of its list is over, and the next one begins. */
static void
finish(struct sim_playback *playback, bool failed)
{
	struct sim *sim = playback->sim;
	struct sim_playback *next = playback->next;

	*list_of(playback) = next;
	forget(sim, playback);
	sim_event_playback(sim, playback, SIM_EVENT_PLAY_FINISHED, failed);
	free(playback);
	if (next != NULL)
		begin(next);
}

/* A sound that isn't there is told to begin, too: false. */
static bool
start(struct sim_playback *playback)
{
	playback->state = SIM_PLAY_PLAYING;
	sim_event_playback(playback->sim, playback, SIM_EVENT_PLAY_STARTED,
	    false);
	return playback->length_ms >= 0;
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct sim_playback *playback = arg;

	(void)fd;
	(void)what;
	if (playback->sim->timers_frozen)
		wait_ms(playback, FROZEN_WAIT_MS);
	else if (playback->state != SIM_PLAY_QUEUED)
		finish(playback, false);
	else if (start(playback))
		wait_ms(playback, playback->length_ms);
	else
		finish(playback, true);
}

/* At the end of the turn: the reply to its request goes out before. */
static void
begin(struct sim_playback *head)
{
	wait_ms(head, 0);
}

static struct sim_playback *
play_new(struct sim *sim, const struct sim_play_target *target,
    const char *id, const char *media)
{
	struct sim_playback *playback = calloc(1, sizeof(*playback));

	if (playback == NULL)
		return NULL;
	playback->sim = sim;
	playback->bridge = target->bridge;
	playback->call = target->call;
	if (id != NULL && id[0] != '\0')
		(void)snprintf(playback->id, sizeof(playback->id), "%s", id);
	else
		(void)snprintf(playback->id, sizeof(playback->id),
		    "sim-play-%08x", sim->next_channel++);
	(void)snprintf(playback->media, sizeof(playback->media), "%s", media);
	playback->length_ms = length_of(sim, media);
	(void)evtimer_assign(&playback->timer, sim->base, on_due, playback);
	return playback;
}

/* What a storm's reader looks up in the node's log. */
static void
note_twice(struct sim *sim, const struct sim_playback *playback)
{
	const int64_t now_ms = clock_wall_ms();

	sim->totals.played_twice++;
	(void)fprintf(stderr, "ari-sim: played again at %lld.%03d: %s %s\n",
	    (long long)(now_ms / 1000), (int)(now_ms % 1000), playback->id,
	    playback->media);
}

int
sim_play_begin(struct sim *sim, const struct sim_play_target *target,
    const char *id, const char *media, struct sim_playback **playback_out)
{
	struct sim_playback *playback;
	struct sim_playback **at;
	int rc;

	if ((id != NULL && strlen(id) >= SIM_ID_SIZE) ||
	    strlen(media) >= SIM_MEDIA_SIZE)
		return -KAP_INVAL;
	playback = play_new(sim, target, id, media);
	if (playback == NULL)
		return -KAP_NOMEM;
	rc = sim_table_add(&sim->plays, playback->id, playback);
	if (rc == -KAP_NOMEM) {
		free(playback);
		return rc;
	}
	sim->totals.plays++;
	if (sim_rung_count(sim->played, playback->id, "") > 1)
		note_twice(sim, playback);
	for (at = list_of(playback); *at != NULL; at = &(*at)->next)
		;
	*at = playback;
	if (at == list_of(playback))
		begin(playback);
	*playback_out = playback;
	return 0;
}

void
sim_play_stop(struct sim_playback *playback)
{
	if (playback->state == SIM_PLAY_PLAYING)
		finish(playback, false);
	else
		playback->state = SIM_PLAY_CANCELED;
}

/* The head of a list whose target is gone. */
static void
end_head(struct sim *sim, struct sim_playback **plays)
{
	struct sim_playback *head = *plays;

	*plays = head->next;
	if (head->state == SIM_PLAY_QUEUED)
		(void)start(head);
	sim_event_playback(sim, head, SIM_EVENT_PLAY_FINISHED,
	    head->state == SIM_PLAY_PLAYING);
	forget(sim, head);
	free(head);
}

void
sim_plays_end(struct sim *sim, struct sim_playback **plays, bool each)
{
	if (*plays != NULL && (each || (*plays)->state != SIM_PLAY_QUEUED))
		end_head(sim, plays);
	while (each && *plays != NULL)
		end_head(sim, plays);
	sim_plays_clear(sim, plays);
}

void
sim_plays_clear(struct sim *sim, struct sim_playback **plays)
{
	while (*plays != NULL) {
		struct sim_playback *playback = *plays;

		*plays = playback->next;
		forget(sim, playback);
		free(playback);
	}
}

void
sim_play_render(const struct sim_playback *playback, const char *state,
    struct sim_text *out)
{
	sim_text_add(out, "{\"id\":");
	sim_text_add_quoted(out, playback->id);
	sim_text_add(out, ",\"media_uri\":");
	sim_text_add_quoted(out, playback->media);
	sim_text_add(out, ",\"target_uri\":");
	sim_text_printf(out, "\"%s:%s\"",
	    playback->bridge != NULL ? "bridge" : "channel",
	    playback->bridge != NULL ? playback->bridge->id :
	    playback->call->id);
	sim_text_add(out, ",\"language\":\"en\",\"state\":\"");
	sim_text_add(out, state);
	sim_text_add(out, "\"}");
}
