/*
 * /playbacks, what is played to channels and bridges, snoop channels, and the
 * way to AMD.
 */
#include "sim_rest.h"

#include <stdio.h>
#include <string.h>

#include "sim_bridge.h"
#include "sim_call.h"
#include "sim_play.h"
#include "sim_snoop.h"

/* ---- playbacks ---- */

static void
play(struct sim *sim, const struct sim_request *request,
    const struct sim_play_target *target, struct sim_reply *reply)
{
	const char *media = sim_rest_text(request, "media");
	const char *id = request->segment_count > 3 ? request->segments[3] :
	    sim_rest_text(request, "playbackId");
	struct sim_playback *playback;

	if (media == NULL ||
	    sim_play_begin(sim, target, id, media, &playback) != 0) {
		sim_rest_refuse(reply, 500, "Internal Server Error",
		    "Failed to queue media for playback");
		return;
	}
	reply->status = 201;
	reply->reason = "Created";
	(void)snprintf(reply->location, sizeof(reply->location),
	    "/playbacks/%s", playback->id);
	sim_play_render(playback, "queued", &reply->body);
}

/* The channel of the address, in Stasis; NULL: the reply says why not. */
static struct sim_call *
controlled(const struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = sim_call_find(sim, request->segments[1]);

	if (call == NULL)
		sim_rest_refuse(reply, 404, "Not Found", "Channel not found");
	else if (!call->in_stasis)
		sim_rest_refuse(reply, 409, "Conflict",
		    "Channel not in Stasis application");
	return call != NULL && call->in_stasis ? call : NULL;
}

void
sim_rest_play_to_channel(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = controlled(sim, request, reply);

	if (call != NULL)
		play(sim, request, &(struct sim_play_target){ .call = call },
		    reply);
}

void
sim_rest_play_to_bridge(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_bridge *bridge = sim_bridge_find(sim,
	    request->segments[1]);

	if (bridge == NULL)
		sim_rest_refuse(reply, 404, "Not found", "Bridge not found");
	else
		play(sim, request,
		    &(struct sim_play_target){ .bridge = bridge }, reply);
}

static struct sim_playback *
find(const struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_playback *playback = sim_play_find(sim,
	    request->segments[1]);

	if (playback == NULL)
		sim_rest_refuse(reply, 404, "Not Found",
		    "Playback not found");
	return playback;
}

void
sim_rest_get_playback(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_playback *playback = find(sim, request, reply);

	if (playback != NULL)
		sim_play_render(playback,
		    playback->state == SIM_PLAY_PLAYING ? "playing" :
		    "queued", sim_rest_ok(reply));
}

void
sim_rest_stop_playback(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_playback *playback = find(sim, request, reply);

	if (playback == NULL)
		return;
	sim_play_stop(playback);
	sim_rest_no_content(reply);
}

/* ---- snoop channels ---- */

static bool
has_direction(const struct sim_request *request, const char *name)
{
	const char *direction = sim_rest_text(request, name);

	return direction != NULL && strcmp(direction, "none") != 0;
}

/* What is wrong with the request itself; NULL: nothing. */
static const char *
wrong_with_snoop(const struct sim_request *request)
{
	const char *app = sim_rest_text(request, "app");

	if (!has_direction(request, "spy") &&
	    !has_direction(request, "whisper"))
		return "Direction must be specified for at least spy or "
		       "whisper";
	if (app == NULL || strlen(app) >= SIM_APP_SIZE)
		return "Application name is required";
	return NULL;
}

void
sim_rest_snoop(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = sim_call_find(sim, request->segments[1]);
	const char *id = request->segment_count > 3 ? request->segments[3] :
	    sim_rest_text(request, "snoopId");
	const char *wrong = wrong_with_snoop(request);
	struct sim_call *snoop;
	int rc;

	if (wrong != NULL) {
		sim_rest_refuse(reply, 400, "Bad Request", wrong);
		return;
	}
	if (call == NULL) {
		sim_rest_refuse(reply, 404, "Channel Not Found",
		    "Provided channel was not found");
		return;
	}
	rc = sim_snoop_begin(call, id, sim_rest_text(request, "app"), &snoop);
	/* also where the id is taken: no 409, as with an originate */
	if (rc != 0)
		sim_rest_refuse(reply, 500, "Internal error",
		    "Snoop channel could not be created");
	else
		sim_call_render(snoop, snoop->state, true, sim_rest_ok(reply));
}

void
sim_rest_continue(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = controlled(sim, request, reply);
	const char *context = sim_rest_text(request, "context");

	if (call == NULL)
		return;
	sim_snoop_continue(call, context != NULL ? context : "");
	sim_rest_no_content(reply);
}
