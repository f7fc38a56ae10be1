/*
 * From a method and an address to a handler. Faults have their say before a
 * command is carried out, and again before its reply is sent.
 */
#include "sim_rest.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <cjson/cJSON.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#define PATH_MAX_BYTES 1024

struct route {
	const char *method;
	const char *pattern; /* '*' is any one segment */
	sim_rest_handler *handler;
	enum sim_command command;
};

static const struct route routes[] = {
	{ "POST", "channels", sim_rest_originate, SIM_COMMAND_ORIGINATE },
	{ "POST", "channels/*", sim_rest_originate, SIM_COMMAND_ORIGINATE },
	{ "POST", "bridges/*/addChannel", sim_rest_add_channel,
	    SIM_COMMAND_BRIDGE_ADD },
	{ "POST", "bridges/*/record", sim_rest_record, SIM_COMMAND_RECORD },
	{ "POST", "bridges/*", sim_rest_create_bridge,
	    SIM_COMMAND_BRIDGE_CREATE },
	{ "DELETE", "bridges/*", sim_rest_destroy_bridge,
	    SIM_COMMAND_BRIDGE_DESTROY },
	{ "DELETE", "channels/*", sim_rest_hang_up, SIM_COMMAND_HANGUP },
	{ "GET", "channels", sim_rest_list_channels, SIM_COMMAND_LIST },
	{ "GET", "bridges", sim_rest_list_bridges, SIM_COMMAND_LIST },
	{ "GET", "channels/*", sim_rest_get_channel, SIM_COMMAND_LOOK },
	{ "GET", "channels/*/variable", sim_rest_get_variable,
	    SIM_COMMAND_VARIABLE },
	{ "POST", "channels/*/variable", sim_rest_set_variable,
	    SIM_COMMAND_OTHER },
	{ "POST", "bridges/*/play", sim_rest_play_to_bridge,
	    SIM_COMMAND_PLAY },
	{ "POST", "bridges/*/play/*", sim_rest_play_to_bridge,
	    SIM_COMMAND_PLAY },
	{ "POST", "channels/*/play", sim_rest_play_to_channel,
	    SIM_COMMAND_PLAY },
	{ "POST", "channels/*/play/*", sim_rest_play_to_channel,
	    SIM_COMMAND_PLAY },
	{ "GET", "playbacks/*", sim_rest_get_playback, SIM_COMMAND_OTHER },
	{ "DELETE", "playbacks/*", sim_rest_stop_playback,
	    SIM_COMMAND_PLAY_STOP },
	{ "POST", "channels/*/snoop", sim_rest_snoop, SIM_COMMAND_SNOOP },
	{ "POST", "channels/*/snoop/*", sim_rest_snoop, SIM_COMMAND_SNOOP },
	{ "POST", "channels/*/continue", sim_rest_continue,
	    SIM_COMMAND_CONTINUE },
	{ "GET", "asterisk/variable", sim_rest_get_global,
	    SIM_COMMAND_OTHER },
	{ "GET", "asterisk/modules/*", sim_rest_get_module,
	    SIM_COMMAND_OTHER },
	{ "GET", "asterisk/info", sim_rest_info, SIM_COMMAND_INFO },
	{ "GET", "asterisk/ping", sim_rest_ping, SIM_COMMAND_OTHER },
	{ "GET", "bridges/*", sim_rest_get_bridge, SIM_COMMAND_OTHER },
	{ "POST", "bridges", sim_rest_create_bridge,
	    SIM_COMMAND_BRIDGE_CREATE },
	{ "POST", "bridges/*/removeChannel", sim_rest_remove_channel,
	    SIM_COMMAND_OTHER },
	{ "GET", "recordings/live/*", sim_rest_get_recording,
	    SIM_COMMAND_OTHER },
	{ "POST", "recordings/live/*/stop", sim_rest_stop_recording,
	    SIM_COMMAND_RECORD_STOP },
	{ "GET", "applications", sim_rest_list_apps, SIM_COMMAND_OTHER },
	{ "GET", "applications/*", sim_rest_get_app, SIM_COMMAND_OTHER },
	{ "PUT", "applications/*/eventFilter", sim_rest_set_filter,
	    SIM_COMMAND_FILTER },
	{ "POST", "applications/*/subscription", sim_rest_subscribe,
	    SIM_COMMAND_OTHER },
	{ "POST", "events/user/*", sim_rest_send_event, SIM_COMMAND_OTHER },
};

#define ROUTE_COUNT (sizeof(routes) / sizeof(routes[0]))

/* ---- for handlers ---- */

const char *
sim_rest_text(const struct sim_request *request, const char *name)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(request->body, name));

	return text != NULL ? text : evhttp_find_header(request->query, name);
}

int64_t
sim_rest_number(const struct sim_request *request, const char *name,
    int64_t fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(request->body,
	    name);
	const char *text;

	if (cJSON_IsNumber(item))
		return (int64_t)item->valuedouble;
	text = sim_rest_text(request, name);
	return text != NULL ? strtoll(text, NULL, 10) : fallback;
}

static void
set_message(struct sim_reply *reply, int status, const char *reason,
    const char *name, const char *message)
{
	reply->status = status;
	reply->reason = reason;
	sim_text_clear(&reply->body);
	sim_text_printf(&reply->body, "{\"%s\":", name);
	sim_text_add_quoted(&reply->body, message);
	sim_text_add(&reply->body, "}");
}

void
sim_rest_refuse(struct sim_reply *reply, int status, const char *reason,
    const char *message)
{
	set_message(reply, status, reason, "message", message);
}

struct sim_text *
sim_rest_ok(struct sim_reply *reply)
{
	reply->status = 200;
	reply->reason = "OK";
	return &reply->body;
}

void
sim_rest_no_content(struct sim_reply *reply)
{
	reply->status = 204;
	reply->reason = "No Content";
	sim_text_clear(&reply->body);
}

/* ---- which handler ---- */

static bool
matches(const char *pattern, const struct sim_request *request)
{
	for (int i = 0; i < request->segment_count; i++) {
		const size_t len = strcspn(pattern, "/");

		if (len == 0)
			return false;
		if (*pattern != '*' &&
		    (strlen(request->segments[i]) != len ||
		        strncmp(pattern, request->segments[i], len) != 0))
			return false;
		pattern += len + (pattern[len] == '/' ? 1 : 0);
	}
	return *pattern == '\0';
}

/* NULL: the reply says why. */
static const struct route *
find_route(const struct sim_request *request, struct sim_reply *reply)
{
	bool is_known = false;

	for (size_t i = 0; i < ROUTE_COUNT; i++) {
		if (!matches(routes[i].pattern, request))
			continue;
		if (strcmp(routes[i].method, request->method) == 0)
			return &routes[i];
		is_known = true;
	}
	if (is_known) {
		sim_rest_refuse(reply, 405, "Method Not Allowed",
		    "Invalid method");
		reply->allow = "OPTIONS,GET,POST";
	} else {
		sim_rest_refuse(reply, 404, "Not Found", "Resource not found");
	}
	return NULL;
}

/* ---- taking a request apart ---- */

/* Decode %xx in place; what is none stays as it is. */
static void
decode(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++) {
		if (*from == '%' && isxdigit((unsigned char)from[1]) &&
		    isxdigit((unsigned char)from[2])) {
			const char digits[3] = { from[1], from[2], '\0' };

			*to++ = (char)strtoul(digits, NULL, 16);
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* `path` is a copy of our own, cut into pieces. */
static int
split(char *path, struct sim_request *request)
{
	char *rest = path;
	char *segment;

	while ((segment = strsep(&rest, "/")) != NULL) {
		if (*segment == '\0' ||
		    request->segment_count == SIM_REST_SEGMENTS)
			return -KAP_INVAL;
		decode(segment);
		request->segments[request->segment_count++] = segment;
	}
	return 0;
}

/* ---- carrying it out ---- */

/* What a fault can be told to wait for. */
static struct sim_subject
subject_of(const struct sim_rest_call *call, const struct sim_request *request,
    enum sim_command command)
{
	struct sim_subject subject = { .app = call->app,
		.channel = request->segment_count > 1 ?
		    request->segments[1] : NULL };

	if (command != SIM_COMMAND_ORIGINATE)
		return subject;
	if (subject.channel == NULL)
		subject.channel = sim_rest_text(request, "channelId");
	subject.number = sim_rest_text(request, "endpoint");
	if (subject.app[0] == '\0')
		subject.app = sim_rest_text(request, "app");
	return subject;
}

static enum sim_rest_outcome
carry_out(struct sim *sim, const struct route *route,
    const struct sim_rest_call *call, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_subject subject = subject_of(call, request,
	    route->command);
	struct sim_verdict verdict = { 0 };

	sim_fault_at_command(sim, route->command, false, &subject, &verdict);
	if (sim->frozen)
		return SIM_REST_LATER;
	if (sim->dying || verdict.drop_request)
		return SIM_REST_NO_REPLY;
	if (verdict.status != 0)
		set_message(reply, verdict.status, "Refused", "error",
		    "a fault");
	else
		route->handler(sim, request, reply);
	sim_fault_at_command(sim, route->command, true, &subject, &verdict);
	if (verdict.delay_ms > reply->delay_ms)
		reply->delay_ms = verdict.delay_ms;
	return sim->dying || verdict.drop_reply || verdict.drop_request ?
	    SIM_REST_NO_REPLY : SIM_REST_REPLY;
}

static enum sim_rest_outcome
run_parsed(struct sim *sim, const struct sim_rest_call *call,
    struct sim_request *request, struct sim_reply *reply)
{
	const struct route *route;
	enum sim_rest_outcome outcome;
	cJSON *body = NULL;

	route = find_route(request, reply);
	if (route == NULL)
		return SIM_REST_REPLY;
	if (call->body != NULL && call->body_len > 0) {
		body = cJSON_ParseWithLength(call->body, call->body_len);
		if (body == NULL) {
			sim_rest_refuse(reply, 400, "Bad Request",
			    "Error parsing request body");
			return SIM_REST_REPLY;
		}
	}
	request->body = body;
	outcome = carry_out(sim, route, call, request, reply);
	cJSON_Delete(body);
	return outcome;
}

enum sim_rest_outcome
sim_rest_run(struct sim *sim, const struct sim_rest_call *call,
    struct sim_reply *reply)
{
	const size_t path_len = strcspn(call->uri, "?");
	struct sim_request request = { .method = call->method };
	struct evkeyvalq query = { 0 };
	enum sim_rest_outcome outcome = SIM_REST_REPLY;
	char path[PATH_MAX_BYTES];

	sim->totals.requests++;
	TAILQ_INIT(&query);
	request.query = &query;
	if (path_len >= sizeof(path)) {
		sim_rest_refuse(reply, 404, "Not Found", "Resource not found");
		return SIM_REST_REPLY;
	}
	memcpy(path, call->uri, path_len);
	path[path_len] = '\0';
	if (split(path, &request) != 0 || (call->uri[path_len] == '?' &&
	        evhttp_parse_query_str(call->uri + path_len + 1, &query) != 0))
		sim_rest_refuse(reply, 404, "Not Found", "Resource not found");
	else
		outcome = run_parsed(sim, call, &request, reply);
	evhttp_clear_headers(&query);
	return outcome;
}
