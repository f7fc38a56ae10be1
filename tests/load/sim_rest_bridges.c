/*
 * /bridges and /recordings.
 */
#include "sim_rest.h"

#include <stdio.h>
#include <string.h>

#include "sim_bridge.h"
#include "sim_call.h"
#include "sim_list.h"
#include "sim_record.h"

static struct sim_bridge *
find(const struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_bridge *bridge = sim_bridge_find(sim,
	    request->segments[1]);

	if (bridge == NULL)
		sim_rest_refuse(reply, 404, "Not found", "Bridge not found");
	return bridge;
}

static void
show(struct sim_reply *reply, const struct sim_bridge *bridge)
{
	sim_bridge_render(bridge, sim_rest_ok(reply));
}

static void
render(const struct sim *sim, const void *value, struct sim_text *out)
{
	(void)sim;
	sim_bridge_render(value, out);
}

void
sim_rest_list_bridges(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	(void)request;
	sim_list_add(sim, &sim->bridges, render, sim_rest_ok(reply));
}

void
sim_rest_get_bridge(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_bridge *bridge = find(sim, request, reply);

	if (bridge != NULL)
		show(reply, bridge);
}

/*
 * The second try of a create is a 409 in Asterisk 22, if the id was in the
 * address. Asterisk 16 takes it for a change of the bridge, and refuses that
 * by a 500.
 */
static void
refuse_second(const struct sim *sim, const char *id, bool in_address,
    struct sim_reply *reply)
{
	char message[SIM_ID_SIZE + 64];

	if (!in_address) {
		(void)snprintf(message, sizeof(message), "Unable to create "
		    "bridge. Possible duplicate bridge id '%s'", id);
		sim_rest_refuse(reply, 500, "Internal Error", message);
		return;
	}
	if (!sim_is_newer(sim)) {
		sim_rest_refuse(reply, 500, "Internal Error", "Supplying a "
		    "bridge type when updating a bridge is not allowed.");
		return;
	}
	(void)snprintf(message, sizeof(message),
	    "Bridge with id '%s' already exists", id);
	sim_rest_refuse(reply, 409, "Conflict", message);
}

void
sim_rest_create_bridge(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const char *id = request->segment_count > 1 ? request->segments[1] :
	    sim_rest_text(request, "bridgeId");
	const char *name = sim_rest_text(request, "name");
	struct sim_bridge *bridge;
	char made_up[32];
	int rc;

	if (id == NULL) {
		(void)snprintf(made_up, sizeof(made_up), "sim-%08x",
		    sim->next_channel++);
		id = made_up;
	}
	if (strlen(id) >= SIM_ID_SIZE) {
		sim_rest_refuse(reply, 500, "Internal Error",
		    "Unable to create bridge");
		return;
	}
	rc = sim_bridge_create(sim, id, name != NULL ? name : "", &bridge);
	if (rc == -KAP_EXISTS)
		refuse_second(sim, id, request->segment_count > 1, reply);
	else if (rc != 0)
		sim_rest_refuse(reply, 500, "Internal Error",
		    "Unable to create bridge");
	else
		show(reply, bridge);
}

void
sim_rest_destroy_bridge(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_bridge *bridge = find(sim, request, reply);

	if (bridge == NULL)
		return;
	sim_bridge_destroy(sim, bridge);
	sim_rest_no_content(reply);
}

/* The channel that the request names; NULL: the reply says why not. */
static struct sim_call *
named_channel(const struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const char *id = sim_rest_text(request, "channel");
	struct sim_call *call = id != NULL ? sim_call_find(sim, id) : NULL;

	if (call == NULL)
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Channel not found");
	return call;
}

void
sim_rest_add_channel(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_bridge *bridge = find(sim, request, reply);
	struct sim_call *call;

	if (bridge == NULL)
		return;
	call = named_channel(sim, request, reply);
	if (call == NULL)
		return;
	if (!call->in_stasis) {
		sim_rest_refuse(reply, 422, "Unprocessable Entity",
		    "Channel not in Stasis application");
		return;
	}
	sim_bridge_add(sim, bridge, call);
	sim_rest_no_content(reply);
}

void
sim_rest_remove_channel(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_bridge *bridge = find(sim, request, reply);
	struct sim_call *call;

	if (bridge == NULL)
		return;
	call = named_channel(sim, request, reply);
	if (call == NULL)
		return;
	if (call->bridge != bridge) {
		sim_rest_refuse(reply, 422, "Unprocessable Entity",
		    "Channel not in this bridge");
		return;
	}
	sim_bridge_leave(sim, call, true);
	sim_rest_no_content(reply);
}

static void
refuse_recording(const char *name, int rc, struct sim_reply *reply)
{
	char message[SIM_ID_SIZE + 64];

	if (rc == -KAP_EXISTS) {
		(void)snprintf(message, sizeof(message), "Recording '%s' "
		    "already exists and can not be overwritten", name);
		sim_rest_refuse(reply, 409, "Conflict", message);
	} else if (rc == -KAP_INVAL) {
		sim_rest_refuse(reply, 500, "Internal Server Error",
		    "Error parsing request");
	} else {
		sim_rest_refuse(reply, 500, "Internal Server Error",
		    "Failed to start recording");
	}
}

void
sim_rest_record(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_bridge *bridge = find(sim, request, reply);
	const char *name = sim_rest_text(request, "name");
	const char *format = sim_rest_text(request, "format");
	const char *if_exists = sim_rest_text(request, "ifExists");
	int rc;

	if (bridge == NULL)
		return;
	if (name == NULL)
		name = "";
	if (format == NULL || strcmp(format, "wav") != 0) {
		sim_rest_refuse(reply, 422, "Unprocessable Entity",
		    "specified format is unknown on this system");
		return;
	}
	rc = sim_recording_begin(sim, bridge, name, if_exists != NULL &&
	    strcmp(if_exists, "overwrite") == 0);
	if (rc != 0) {
		refuse_recording(name, rc, reply);
		return;
	}
	reply->status = 201;
	reply->reason = "Created";
	(void)snprintf(reply->location, sizeof(reply->location),
	    "/ari/recordings/live/%s", name);
	sim_recording_render(sim_recording_find(sim, name), "queued",
	    &reply->body);
}

void
sim_rest_get_recording(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_recording *recording = sim_recording_find(sim,
	    request->segments[2]);

	if (recording == NULL) {
		sim_rest_refuse(reply, 404, "Not Found",
		    "Recording not found");
		return;
	}
	sim_recording_render(recording, "recording", sim_rest_ok(reply));
}

void
sim_rest_stop_recording(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	if (sim_recording_stop(sim, request->segments[2]))
		sim_rest_no_content(reply);
	else
		sim_rest_refuse(reply, 404, "Not Found",
		    "Recording not found");
}
