/*
 * /asterisk and /applications.
 */
#include "sim_rest.h"

#include <stdio.h>
#include <string.h>

#include "shared/clock.h"
#include "sim_app.h"
#include "sim_call.h"
#include "sim_world.h"

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

	reply->status = 200;
	reply->reason = "OK";
	sim_text_add(&reply->body, "{");
	if (system)
		add_system(sim, &reply->body);
	if (system && status)
		sim_text_add(&reply->body, ",");
	if (status)
		add_status(sim, &reply->body);
	sim_text_add(&reply->body, "}");
}

void
sim_rest_ping(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	(void)request;
	reply->status = 200;
	reply->reason = "OK";
	sim_text_add(&reply->body, "{\"ping\":\"pong\",\"timestamp\":");
	sim_text_add_time(&reply->body, clock_wall_ms());
	sim_text_add(&reply->body, ",\"asterisk_id\":");
	sim_text_add_quoted(&reply->body, sim->entity);
	sim_text_add(&reply->body, "}");
}

void
sim_rest_list_apps(struct sim *sim, const struct sim_request *request,
    struct sim_reply *reply)
{
	const struct sim_app *app;
	const char *comma = "";
	size_t at = 0;

	(void)request;
	reply->status = 200;
	reply->reason = "OK";
	sim_text_add(&reply->body, "[");
	while ((app = sim_table_next(&sim->apps, &at)) != NULL) {
		sim_text_add(&reply->body, comma);
		sim_app_render(sim, app, &reply->body);
		comma = ",";
	}
	sim_text_add(&reply->body, "]");
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

	if (app == NULL)
		return;
	reply->status = 200;
	reply->reason = "OK";
	sim_app_render(sim, app, &reply->body);
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
	reply->status = 200;
	reply->reason = "OK";
	sim_app_render(sim, app, &reply->body);
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
		reply->status = 200;
		reply->reason = "OK";
		sim_app_render(sim, app, &reply->body);
	}
}
