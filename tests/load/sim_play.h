/*
 * Playbacks: each target, a channel or a bridge, plays one at a time and keeps
 * the others in the order in which they came, as Asterisk does.
 */
#ifndef SIM_PLAY_H
#define SIM_PLAY_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event_struct.h>

#include "shared/errors.h"
#include "sim.h"

#define SIM_MEDIA_SIZE 256

struct sim_bridge;
struct sim_call;

enum sim_play_state { SIM_PLAY_QUEUED, SIM_PLAY_PLAYING, SIM_PLAY_CANCELED };

struct sim_playback {
	struct sim_playback *next; /* behind it, on the same target */
	struct sim *sim;
	char id[SIM_ID_SIZE];
	char media[SIM_MEDIA_SIZE];
	struct sim_bridge *bridge; /* either this… */
	struct sim_call *call;     /* …or that */
	enum sim_play_state state;
	int64_t length_ms;         /* -1: there is no such sound */
	struct event timer;
};

/* What a playback is played to: one of the two is set. */
struct sim_play_target {
	struct sim_bridge *bridge;
	struct sim_call *call;
};

/*
 * Queue one; it begins at the end of the turn if nothing plays there.
 *
 * id  NULL or "": one is made up
 *
 * Returns 0; -KAP_INVAL for an id or a media that is too long; -KAP_NOMEM. An
 * id that is there already is no error of Asterisk's: the second is queued
 * too, and found by nobody.
 */
KAP_MUST_USE int sim_play_begin(struct sim *sim,
    const struct sim_play_target *target, const char *id, const char *media,
    struct sim_playback **playback_out);

/* One that is queued or plays, or NULL. */
struct sim_playback *sim_play_find(const struct sim *sim, const char *id);

/*
 * Stop it. One that plays ends at once, one that is queued when its turn would
 * come: either way its end is told. It may be gone afterwards.
 */
void sim_play_stop(struct sim_playback *playback);

/* Its app: "" where nobody hears of it. */
const char *sim_play_app(const struct sim_playback *playback);

/*
 * A target ends: what plays there has failed. The list is left empty.
 *
 * each  what is queued begins and fails, as it does in a bridge; else it is
 *       simply gone, as with a channel
 */
void sim_plays_end(struct sim *sim, struct sim_playback **plays, bool each);

/* Free all of a target; nobody is told. */
void sim_plays_clear(struct sim *sim, struct sim_playback **plays);

/* As ARI shows one. state: "queued", "playing", "done", "failed" */
void sim_play_render(const struct sim_playback *playback, const char *state,
    struct sim_text *out);

#endif
