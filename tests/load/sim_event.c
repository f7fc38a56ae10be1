/*
 * Each event is made of a head that depends on its type, the channel or the
 * bridge as it is then, and a tail that all have. The order of the members is
 * Asterisk's, in which "type" isn't always the first.
 */
#include "sim_event.h"

#include <stdio.h>
#include <string.h>

#include "shared/clock.h"
#include "sim_app.h"
#include "sim_bridge.h"
#include "sim_call.h"
#include "sim_play.h"
#include "sim_record.h"
#include "sim_server.h"
#include "sim_ws.h"

static const char *const names[SIM_EVENT_COUNT] = {
	[SIM_EVENT_DIAL] = "Dial",
	[SIM_EVENT_RINGING] = "ChannelStateChange",
	[SIM_EVENT_ANSWER] = "ChannelStateChange",
	[SIM_EVENT_VARSET] = "ChannelVarset",
	[SIM_EVENT_STASIS_START] = "StasisStart",
	[SIM_EVENT_ENTERED] = "ChannelEnteredBridge",
	[SIM_EVENT_RECORDING_STARTED] = "RecordingStarted",
	[SIM_EVENT_DTMF] = "ChannelDtmfReceived",
	[SIM_EVENT_HANGUP_REQUEST] = "ChannelHangupRequest",
	[SIM_EVENT_LEFT] = "ChannelLeftBridge",
	[SIM_EVENT_RECORDING_FINISHED] = "RecordingFinished",
	[SIM_EVENT_STASIS_END] = "StasisEnd",
	[SIM_EVENT_DESTROYED] = "ChannelDestroyed",
	[SIM_EVENT_BRIDGE_DESTROYED] = "BridgeDestroyed",
	[SIM_EVENT_PLAY_STARTED] = "PlaybackStarted",
	[SIM_EVENT_PLAY_FINISHED] = "PlaybackFinished",
};

/* An event in the making. */
struct emission {
	struct sim *sim;
	struct sim_app *app;
	struct sim_text *text;
	enum sim_fate fate;
};

const char *
sim_event_name(enum sim_event_type type)
{
	return names[type];
}

static bool
is_wanted(const struct sim_app *app, enum sim_event_type type)
{
	return app != NULL && app->conn != NULL &&
	    (app->disallowed & (1U << type)) == 0;
}

/*
 * The moment of an event: faults have their say, and unless somebody is to
 * get it, that was all (false). A fault may have cut the connection, and with
 * it ended the app: so it is looked up again.
 */
static bool
begin(struct emission *emission, struct sim *sim, enum sim_event_type type,
    const struct sim_subject *subject)
{
	emission->sim = sim;
	emission->text = &sim->scratch;
	emission->app = sim_app_find(sim, subject->app);
	emission->fate = sim_fault_at_event(sim, type, subject,
	    is_wanted(emission->app, type));
	emission->app = sim_app_find(sim, subject->app);
	if (sim->dying || emission->fate == SIM_FATE_LOSE ||
	    emission->fate == SIM_FATE_LATE)
		return false;
	if (emission->app == NULL || emission->app->conn == NULL) {
		sim->totals.lost_events++;
		return false;
	}
	sim_text_clear(emission->text);
	return is_wanted(emission->app, type);
}

static struct sim_subject
about(const struct sim_call *call)
{
	return (struct sim_subject){
		.app = call->is_followed || call->in_stasis ? call->app : "",
		.channel = call->id,
		.number = call->number,
	};
}

static void
add_type(const struct emission *emission, enum sim_event_type type)
{
	sim_text_add(emission->text, "\"type\":\"");
	sim_text_add(emission->text, names[type]);
	sim_text_add(emission->text, "\",\"timestamp\":");
	sim_text_add_time(emission->text, clock_wall_ms());
	sim_text_add(emission->text, ",");
}

static void
add_channel(const struct emission *emission, const char *role,
    const struct sim_call *call, enum sim_call_state state, bool in_stasis)
{
	sim_text_add_quoted(emission->text, role);
	sim_text_add(emission->text, ":");
	sim_call_render(call, state, in_stasis, emission->text);
	sim_text_add(emission->text, ",");
}

/* The tail, and off it goes. */
static enum sim_fate
finish(struct emission *emission)
{
	struct sim *sim = emission->sim;

	sim_text_add(emission->text, "\"asterisk_id\":");
	sim_text_add_quoted(emission->text, sim->entity);
	sim_text_add(emission->text, ",\"application\":");
	sim_text_add_quoted(emission->text, emission->app->name);
	sim_text_add(emission->text, "}");
	if (emission->text->failed)
		return emission->fate;
	sim->totals.events++;
	emission->app->events++;
	sim_ws_send_event(emission->app->conn, emission->text->data,
	    emission->text->len, emission->fate);
	return emission->fate;
}

enum sim_fate
sim_event_dial(struct sim *sim, const struct sim_call *call,
    const char *dialstatus)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_DIAL, &subject))
		return emission.fate;
	sim_text_add(emission.text, "{");
	add_type(&emission, SIM_EVENT_DIAL);
	sim_text_add(emission.text, "\"dialstatus\":\"");
	sim_text_add(emission.text, dialstatus);
	sim_text_add(emission.text, "\",\"forward\":\"\",\"dialstring\":");
	sim_text_add_quoted(emission.text, call->dialled);
	sim_text_add(emission.text, ",");
	add_channel(&emission, "peer", call, call->state, false);
	return finish(&emission);
}

enum sim_fate
sim_event_state(struct sim *sim, const struct sim_call *call,
    enum sim_event_type type)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, type, &subject))
		return emission.fate;
	sim_text_add(emission.text, "{");
	add_type(&emission, type);
	add_channel(&emission, "channel", call, type == SIM_EVENT_RINGING ?
	    SIM_CALL_RINGING : SIM_CALL_UP, call->in_stasis);
	return finish(&emission);
}

void
sim_event_varset(struct sim *sim, const struct sim_call *call,
    const char *name, const char *value)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_VARSET, &subject))
		return;
	sim_text_add(emission.text, "{\"variable\":");
	sim_text_add_quoted(emission.text, name);
	sim_text_add(emission.text, ",\"value\":");
	sim_text_add_quoted(emission.text, value);
	sim_text_add(emission.text, ",");
	add_type(&emission, SIM_EVENT_VARSET);
	add_channel(&emission, "channel", call, call->state, true);
	(void)finish(&emission);
}

/* Each between two commas is one. */
static void
add_args(struct sim_text *text, const char *args)
{
	char copy[sizeof(((struct sim_call *)NULL)->args)];
	char *rest = copy;
	const char *arg;

	if (args[0] == '\0')
		return;
	(void)snprintf(copy, sizeof(copy), "%s", args);
	while ((arg = strsep(&rest, ",")) != NULL) {
		sim_text_add_quoted(text, arg);
		if (rest != NULL)
			sim_text_add(text, ",");
	}
}

void
sim_event_stasis_start(struct sim *sim, const struct sim_call *call)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_STASIS_START, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, SIM_EVENT_STASIS_START);
	sim_text_add(emission.text, "\"args\":[");
	add_args(emission.text, call->args);
	sim_text_add(emission.text, "],");
	add_channel(&emission, "channel", call, call->state, true);
	(void)finish(&emission);
}

void
sim_event_stasis_end(struct sim *sim, const struct sim_call *call)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_STASIS_END, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, SIM_EVENT_STASIS_END);
	add_channel(&emission, "channel", call, call->state, true);
	(void)finish(&emission);
}

void
sim_event_dtmf(struct sim *sim, const struct sim_call *call, char digit)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_DTMF, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, SIM_EVENT_DTMF);
	sim_text_printf(emission.text,
	    "\"digit\":\"%c\",\"duration_ms\":100,", digit);
	add_channel(&emission, "channel", call, call->state, call->in_stasis);
	(void)finish(&emission);
}

void
sim_event_hangup_request(struct sim *sim, const struct sim_call *call,
    int cause, int sip, bool soft)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_HANGUP_REQUEST, &subject))
		return;
	sim_text_add(emission.text, "{");
	if (soft)
		sim_text_add(emission.text, "\"cause\":32,\"soft\":true,");
	else if (cause > 0 && sim_is_newer(sim))
		sim_text_printf(emission.text, "\"cause\":%d,", cause);
	if (sip > 0 && sim_is_newer(sim))
		sim_text_printf(emission.text, "\"tech_cause\":%d,", sip);
	add_type(&emission, SIM_EVENT_HANGUP_REQUEST);
	add_channel(&emission, "channel", call, call->state, call->in_stasis);
	(void)finish(&emission);
}

void
sim_event_destroyed(struct sim *sim, const struct sim_call *call, int cause,
    int sip)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, SIM_EVENT_DESTROYED, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, SIM_EVENT_DESTROYED);
	sim_text_printf(emission.text, "\"cause\":%d,\"cause_txt\":\"%s\",",
	    cause, sim_call_cause_text(cause));
	if (sip > 0 && sim_is_newer(sim))
		sim_text_printf(emission.text, "\"tech_cause\":%d,", sip);
	add_channel(&emission, "channel", call, call->state, false);
	(void)finish(&emission);
}

void
sim_event_bridge_channel(struct sim *sim, const struct sim_call *call,
    const struct sim_bridge *bridge, enum sim_event_type type)
{
	const struct sim_subject subject = about(call);
	struct emission emission;

	if (!begin(&emission, sim, type, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, type);
	sim_text_add(emission.text, "\"bridge\":");
	sim_bridge_render(bridge, emission.text);
	sim_text_add(emission.text, ",");
	add_channel(&emission, "channel", call, call->state, true);
	(void)finish(&emission);
}

void
sim_event_bridge_destroyed(struct sim *sim, const struct sim_bridge *bridge)
{
	const struct sim_subject subject = { .app = bridge->app,
		.channel = bridge->id };
	struct emission emission;

	if (bridge->app[0] == '\0' ||
	    !begin(&emission, sim, SIM_EVENT_BRIDGE_DESTROYED, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, SIM_EVENT_BRIDGE_DESTROYED);
	sim_text_add(emission.text, "\"bridge\":");
	sim_bridge_render(bridge, emission.text);
	sim_text_add(emission.text, ",");
	(void)finish(&emission);
}

void
sim_event_recording(struct sim *sim, const struct sim_recording *recording,
    enum sim_event_type type)
{
	const struct sim_subject subject = { .app = recording->app,
		.channel = recording->name };
	struct emission emission;

	if (recording->app[0] == '\0' ||
	    !begin(&emission, sim, type, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, type);
	sim_text_add(emission.text, "\"recording\":");
	sim_recording_render(recording, type == SIM_EVENT_RECORDING_STARTED ?
	    "recording" : "done", emission.text);
	sim_text_add(emission.text, ",");
	(void)finish(&emission);
}

void
sim_event_playback(struct sim *sim, const struct sim_playback *playback,
    enum sim_event_type type, bool failed)
{
	const struct sim_subject subject = { .app = sim_play_app(playback),
		.channel = playback->id };
	struct emission emission;

	if (subject.app[0] == '\0' || !begin(&emission, sim, type, &subject))
		return;
	sim_text_add(emission.text, "{");
	add_type(&emission, type);
	sim_text_add(emission.text, "\"playback\":");
	sim_play_render(playback, type == SIM_EVENT_PLAY_STARTED ? "playing" :
	    failed ? "failed" : "done", emission.text);
	sim_text_add(emission.text, ",");
	(void)finish(&emission);
}

void
sim_event_replaced(struct sim *sim, struct sim_conn *conn, const char *app)
{
	struct sim_text *text = &sim->scratch;

	sim_text_clear(text);
	sim_text_add(text, "{\"type\":\"ApplicationReplaced\","
	    "\"timestamp\":");
	sim_text_add_time(text, clock_wall_ms());
	sim_text_add(text, ",\"application\":");
	sim_text_add_quoted(text, app);
	sim_text_add(text, ",\"asterisk_id\":");
	sim_text_add_quoted(text, sim->entity);
	sim_text_add(text, "}");
	if (!text->failed)
		sim_ws_send(conn, text->data, text->len);
}

void
sim_event_user(struct sim *sim, struct sim_conn *conn, const char *app,
    const char *name)
{
	struct sim_text *text = &sim->scratch;

	sim_text_clear(text);
	sim_text_add(text, "{\"type\":\"ChannelUserevent\",\"timestamp\":");
	sim_text_add_time(text, clock_wall_ms());
	sim_text_add(text, ",\"eventname\":");
	sim_text_add_quoted(text, name);
	sim_text_add(text, ",\"userevent\":{\"eventname\":");
	sim_text_add_quoted(text, name);
	sim_text_add(text, "},\"asterisk_id\":");
	sim_text_add_quoted(text, sim->entity);
	sim_text_add(text, ",\"application\":");
	sim_text_add_quoted(text, app);
	sim_text_add(text, "}");
	if (!text->failed)
		sim_ws_send(conn, text->data, text->len);
}

void
sim_event_unknown(struct sim *sim, struct sim_conn *conn, size_t bytes)
{
	static const char xs[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
	struct sim_text *text = &sim->scratch;

	sim_text_clear(text);
	sim_text_add(text, "{\"type\":\"NeverHeardOf\",\"timestamp\":");
	sim_text_add_time(text, clock_wall_ms());
	sim_text_add(text, ",\"application\":");
	sim_text_add_quoted(text, conn->app);
	sim_text_add(text, ",\"channel\":{\"id\":17,\"more\":[[]]},"
	    "\"padding\":\"");
	while (!text->failed && text->len + 2 < bytes) {
		const size_t left = bytes - text->len - 2;

		sim_text_add_bytes(text, xs, left < sizeof(xs) - 1 ? left :
		    sizeof(xs) - 1);
	}
	sim_text_add(text, "\"}");
	if (!text->failed)
		sim_ws_send(conn, text->data, text->len);
}
