/*
 * /channels.
 */
#include "sim_rest.h"

#include <string.h>

#include <cjson/cJSON.h>

#include "sim_call.h"
#include "sim_list.h"

#define DEFAULT_TIMEOUT_S 30
#define OVERTAKEN_MS 30 /* how late the reply is where events overtake it */

/* The channel of the address; NULL: the reply says so. */
static struct sim_call *
find(const struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = sim_call_find(sim, request->segments[1]);

	if (call == NULL)
		sim_rest_refuse(reply, 404, "Not Found", "Channel not found");
	return call;
}

static void
show(struct sim_reply *reply, const struct sim_call *call)
{
	sim_call_render(call, call->state, call->in_stasis,
	    sim_rest_ok(reply));
}

static void
render(const struct sim *sim, const void *value, struct sim_text *out)
{
	const struct sim_call *call = value;

	(void)sim;
	sim_call_render(call, call->state, call->in_stasis, out);
}

void
sim_rest_list_channels(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	(void)request;
	sim_list_add(sim, &sim->calls, render, sim_rest_ok(reply));
}

void
sim_rest_get_channel(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_call *call = find(sim, request, reply);

	if (call != NULL)
		show(reply, call);
}

static void
set_variables(struct sim_call *call, const struct sim_request *request)
{
	const cJSON *variables = cJSON_GetObjectItemCaseSensitive(
	    request->body, "variables");
	const cJSON *variable;

	cJSON_ArrayForEach(variable, variables)
	{
		if (variable->string != NULL && cJSON_IsString(variable) &&
		    sim_call_set_variable(call, variable->string,
		        variable->valuestring) != 0)
			return; /* out of memory */
	}
}

static void
refuse_originate(struct sim_reply *reply, int rc)
{
	if (rc == -KAP_EXISTS) {
		sim_rest_refuse(reply, 409, "Conflict",
		    "Channel with given unique ID already exists");
		return;
	}
	reply->status = 500;
	reply->reason = "Internal Server Error";
	sim_text_add(&reply->body, "{\"error\":\"Allocation failed\"}");
}

void
sim_rest_originate(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_call_order order = {
		.id = request->segment_count > 1 ? request->segments[1] :
		    sim_rest_text(request, "channelId"),
		.endpoint = sim_rest_text(request, "endpoint"),
		.app = sim_rest_text(request, "app"),
		.args = sim_rest_text(request, "appArgs"),
		.caller = sim_rest_text(request, "callerId"),
		.timeout_ms = sim_rest_number(request, "timeout",
		    DEFAULT_TIMEOUT_S) * 1000,
	};
	struct sim_call *call;
	int rc;

	if (order.endpoint == NULL) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Endpoint must be specified");
		return;
	}
	if (order.app == NULL) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Application or extension must be specified");
		return;
	}
	if ((order.id != NULL && strlen(order.id) >= SIM_ID_SIZE) ||
	    strlen(order.app) >= SIM_APP_SIZE) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Uniqueid length exceeds maximum");
		return;
	}
	rc = sim_call_originate(sim, &order, &call);
	if (rc != 0) {
		refuse_originate(reply, rc);
		return;
	}
	set_variables(call, request);
	show(reply, call);
	if (call->plan.overtakes)
		reply->delay_ms = OVERTAKEN_MS;
}

/* DELETE …?reason=: what the far end is told, and the channel's cause. */
static const struct {
	const char *reason;
	int cause;
} reasons[] = {
	{ "normal", 16 },
	{ "busy", 17 },
	{ "no_answer", 19 },
	{ "congestion", 34 },
};

void
sim_rest_hang_up(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = find(sim, request, reply);
	const char *reason = sim_rest_text(request, "reason");
	int cause = reasons[0].cause;

	if (call == NULL)
		return;
	for (size_t i = 0; reason != NULL &&
	    i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (strcmp(reasons[i].reason, reason) == 0)
			cause = reasons[i].cause;
	}
	sim_call_hang_up(call, cause);
	sim_rest_no_content(reply);
}

void
sim_rest_get_variable(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_call *call = sim_call_find(sim,
	    request->segments[1]);
	const char *name = sim_rest_text(request, "variable");
	const char *value;
	struct sim_text *out;

	if (name == NULL) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Variable name is required");
		return;
	}
	if (call == NULL) {
		sim_rest_refuse(reply, 404, "Channel Not Found",
		    "Provided channel was not found");
		return;
	}
	value = sim_call_variable(call, name);
	if (value == NULL) {
		sim_rest_refuse(reply, 404, "Variable Not Found",
		    "Provided variable was not found");
		return;
	}
	out = sim_rest_ok(reply);
	sim_text_add(out, "{\"value\":");
	sim_text_add_quoted(out, value);
	sim_text_add(out, "}");
}

void
sim_rest_set_variable(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_call *call = find(sim, request, reply);
	const char *name = sim_rest_text(request, "variable");
	const char *value = sim_rest_text(request, "value");

	if (call == NULL)
		return;
	if (name == NULL || sim_call_set_variable(call, name,
	        value != NULL ? value : "") != 0) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Variable name is required");
		return;
	}
	sim_rest_no_content(reply);
}
