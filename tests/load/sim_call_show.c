/*
 * What a channel shows of itself: Asterisk's words and JSON. Changes nothing.
 */
#include "sim_call.h"

#include <stdio.h>
#include <string.h>

static const char *const state_names[] = { "Down", "Ringing", "Up" };

const char *
sim_call_state_name(enum sim_call_state state)
{
	return state_names[state];
}

static const struct {
	int cause;
	const char *text;
} cause_texts[] = {
	{ 0, "Unknown" },
	{ 1, "Unallocated (unassigned) number" },
	{ 16, "Normal Clearing" },
	{ 17, "User busy" },
	{ 18, "No user responding" },
	{ 19, "User alerting, no answer" },
	{ 21, "Call Rejected" },
	{ 34, "Circuit/channel congestion" },
	{ 127, "Interworking, unspecified" },
};

const char *
sim_call_cause_text(int cause)
{
	for (size_t i = 0;
	    i < sizeof(cause_texts) / sizeof(cause_texts[0]); i++) {
		if (cause_texts[i].cause == cause)
			return cause_texts[i].text;
	}
	return "Unknown";
}

const char *
sim_call_variable(const struct sim_call *call, const char *name)
{
	for (const struct sim_variable *variable = call->variables;
	    variable != NULL; variable = variable->next) {
		if (strcmp(variable->name, name) == 0)
			return variable->value;
	}
	return NULL;
}

static void
render_dialplan(const struct sim_call *call, bool in_stasis,
    struct sim_text *out)
{
	char data[SIM_APP_SIZE + sizeof(call->args)];

	sim_text_add(out, "\"dialplan\":{\"context\":\"from-trunk\","
	    "\"exten\":\"s\",\"priority\":1,\"app_name\":");
	if (!in_stasis) {
		sim_text_add(out, "\"AppDial2\",\"app_data\":"
		    "\"(Outgoing Line)\"}");
		return;
	}
	(void)snprintf(data, sizeof(data), "%s%s%s", call->app,
	    call->args[0] != '\0' ? "," : "", call->args);
	sim_text_add(out, "\"Stasis\",\"app_data\":");
	sim_text_add_quoted(out, data);
	sim_text_add(out, "}");
}

void
sim_call_render(const struct sim_call *call, enum sim_call_state state,
    bool in_stasis, struct sim_text *out)
{
	sim_text_add(out, "{\"id\":");
	sim_text_add_quoted(out, call->id);
	sim_text_add(out, ",\"name\":");
	sim_text_add_quoted(out, call->name);
	sim_text_add(out, ",\"state\":\"");
	sim_text_add(out, state_names[state]);
	sim_text_printf(out,
	    "\",\"protocol_id\":\"00000000-0000-4000-8000-%012x\","
	    "\"caller\":{\"name\":\"\",\"number\":", call->number_in_order);
	sim_text_add_quoted(out, call->caller);
	sim_text_add(out, "},\"connected\":{\"name\":\"\",\"number\":");
	sim_text_add_quoted(out, call->caller);
	sim_text_add(out, "},\"accountcode\":\"\",");
	render_dialplan(call, in_stasis, out);
	sim_text_add(out, ",\"creationtime\":");
	sim_text_add_time(out, call->created_ms);
	sim_text_add(out, ",\"language\":\"en\"}");
}
