/*
 * /asterisk and /applications.
 */
#include "sim_rest.h"

#include <stdio.h>
#include <string.h>

#include "shared/clock.h"
#include "sim_app.h"
#include "sim_call.h"
#include "sim_event.h"
#include "sim_list.h"
#include "sim_snoop.h"
#include "sim_world.h"

#define AMD_MODULE "app_amd.so"

static void
add_system(const struct sim *sim, struct sim_text *out)
{
	sim_text_add(out, "\"system\":{\"version\":");
	sim_text_add_quoted(out, sim_world_version(sim));
	sim_text_add(out, ",\"entity_id\":");
	sim_text_add_quoted(out, sim->entity);
	sim_text_add(out, "}");
}

static void
add_status(const struct sim *sim, struct sim_text *out)
{
	sim_text_add(out, "\"status\":{\"startup_time\":");
	sim_text_add_time(out, sim->started_ms);
	sim_text_add(out, ",\"last_reload_time\":");
	sim_text_add_time(out, sim->started_ms);
	sim_text_add(out, "}");
}

/* ?only= a list; without it, all. */
void
sim_rest_info(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const char *only = sim_rest_text(request, "only");
	const bool system = only == NULL || strstr(only, "system") != NULL;
	const bool status = only == NULL || strstr(only, "status") != NULL;
	struct sim_text *out = sim_rest_ok(reply);

	sim_text_add(out, "{");
	if (system)
		add_system(sim, out);
	if (system && status)
		sim_text_add(out, ",");
	if (status)
		add_status(sim, out);
	sim_text_add(out, "}");
}

void
sim_rest_ping(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_text *out = sim_rest_ok(reply);

	(void)request;
	sim_text_add(out, "{\"ping\":\"pong\",\"timestamp\":");
	sim_text_add_time(out, clock_wall_ms());
	sim_text_add(out, ",\"asterisk_id\":");
	sim_text_add_quoted(out, sim->entity);
	sim_text_add(out, "}");
}

/* Of globals, only what tells that our dialplan is there. */
void
sim_rest_get_global(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const char *name = sim_rest_text(request, "variable");

	if (name == NULL) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Variable name is required");
		return;
	}
	sim_text_printf(sim_rest_ok(reply), "{\"value\":\"%s\"}",
	    !sim->options.has_no_amd &&
	    strcmp(name, SIM_AMD_VERSION_VARIABLE) == 0 ?
	    SIM_AMD_VERSION : "");
}

/* Of modules, AMD's alone. */
void
sim_rest_get_module(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	if (sim->options.has_no_amd ||
	    strcmp(request->segments[2], AMD_MODULE) != 0) {
		sim_rest_refuse(reply, 404, "Not Found",
		    "Module could not be found in running modules");
		return;
	}
	sim_text_add(sim_rest_ok(reply), "{\"name\":\"" AMD_MODULE "\","
	    "\"description\":\"Answering Machine Detection "
	    "Application\",\"use_count\":0,\"status\":\"Running\","
	    "\"support_level\":\"extended\"}");
}

static void
render(const struct sim *sim, const void *value, struct sim_text *out)
{
	sim_app_render(sim, value, out);
}

void
sim_rest_list_apps(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	(void)request;
	sim_list_add(sim, &sim->apps, render, sim_rest_ok(reply));
}

/* The app of the address; NULL: the reply says so. */
static struct sim_app *
find(const struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_app *app = sim_app_find(sim, request->segments[1]);

	if (app == NULL)
		sim_rest_refuse(reply, 404, "Not Found",
		    "Application not found");
	return app;
}

void
sim_rest_get_app(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_app *app = find(sim, request, reply);

	if (app != NULL)
		sim_app_render(sim, app, sim_rest_ok(reply));
}

void
sim_rest_set_filter(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	struct sim_app *app = find(sim, request, reply);

	if (app == NULL)
		return;
	if (request->body == NULL ||
	    sim_app_set_filter(app, request->body) != 0) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Invalid format definition");
		return;
	}
	sim_app_render(sim, app, sim_rest_ok(reply));
}

/* ---- events on demand ---- */

/* Of nothing but an app: sources are for channels, which it doesn't know. */
void
sim_rest_send_event(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const char *name = sim_rest_text(request, "application");
	const struct sim_app *app;

	if (name == NULL) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Missing parameter application");
		return;
	}
	app = sim_app_find(sim, name);
	if (app == NULL) {
		sim_rest_refuse(reply, 404, "Not Found",
		    "Application not found");
		return;
	}
	if (app->conn != NULL)
		sim_event_user(sim, app->conn, app->name,
		    request->segments[2]);
	sim_rest_no_content(reply);
}

/* ---- what an app is told of ---- */

#define CHANNEL_SCHEME "channel:"
#define SOURCES_SIZE 4096

/*
 * Returns Asterisk's status. Of its kinds of sources only channels are known
 * here, and each reports to its own app alone.
 */
static int
follow(const struct sim *sim, struct sim_app *app, const char *source)
{
	const size_t scheme_len = sizeof(CHANNEL_SCHEME) - 1;
	struct sim_call *call;

	if (strncmp(source, CHANNEL_SCHEME, scheme_len) != 0)
		return 400;
	call = sim_call_find(sim, source + scheme_len);
	if (call == NULL)
		return 422;
	return sim_call_follow(call, app) == 0 ? 200 : 500;
}

/* All of a list, up to the first that can't be. */
static int
follow_each(const struct sim *sim, struct sim_app *app, const char *sources)
{
	char copy[SOURCES_SIZE];
	char *rest = copy;
	char *source;
	int status = 200;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", sources) >=
	    sizeof(copy))
		return 500;
	while (status == 200 && (source = strsep(&rest, ",")) != NULL)
		status = follow(sim, app, source);
	return status;
}

void
sim_rest_subscribe(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const char *sources = sim_rest_text(request, "eventSource");
	struct sim_app *app;
	int status;

	if (sources == NULL) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Missing parameter eventSource");
		return;
	}
	app = find(sim, request, reply);
	if (app == NULL)
		return;
	status = follow_each(sim, app, sources);
	if (status == 400) {
		sim_rest_refuse(reply, 400, "Bad Request",
		    "Invalid event source URI scheme");
	} else if (status == 422) {
		sim_rest_refuse(reply, 422, "Unprocessable Entity",
		    "Event source does not exist");
	} else if (status != 200) {
		sim_rest_refuse(reply, 500, "Internal Server Error",
		    "Error processing request");
	} else {
		sim_app_render(sim, app, sim_rest_ok(reply));
	}
}
