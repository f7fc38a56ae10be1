/*
 * An app lives as long as somebody is connected for it, or a channel reports
 * to it, as in Asterisk: its filter goes with it.
 */
#include "sim_app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "sim_call.h"
#include "sim_event.h"
#include "sim_server.h"

struct sim_app *
sim_app_find(const struct sim *sim, const char *name)
{
	return sim_table_get(&sim->apps, name);
}

bool
sim_app_is_active(const struct sim_app *app)
{
	return app != NULL && (app->conn != NULL || app->has_stranger);
}

static void
app_free(struct sim_app *app)
{
	cJSON_Delete(app->filter);
	free(app);
}

static void
end_if_unused(struct sim *sim, struct sim_app *app)
{
	if (app->calls > 0 || sim_app_is_active(app))
		return;
	(void)sim_table_remove(&sim->apps, app->name);
	app_free(app);
}

static struct sim_app *
app_new(struct sim *sim, const char *name)
{
	struct sim_app *app = calloc(1, sizeof(*app));

	if (app == NULL)
		return NULL;
	(void)snprintf(app->name, sizeof(app->name), "%s", name);
	if (sim_table_add(&sim->apps, app->name, app) != 0) {
		free(app);
		return NULL;
	}
	return app;
}

int
sim_app_connect(struct sim *sim, const char *name, struct sim_conn *conn)
{
	struct sim_app *app = sim_app_find(sim, name);

	if (app == NULL)
		app = app_new(sim, name);
	if (app == NULL)
		return -KAP_NOMEM;
	if (sim_app_is_active(app))
		sim->totals.replaced_apps++;
	if (app->conn != NULL)
		sim_event_replaced(sim, app->conn, app->name);
	app->conn = conn;
	app->has_stranger = false;
	return 0;
}

void
sim_app_disconnect(struct sim *sim, const struct sim_conn *conn)
{
	struct sim_app *app = sim_app_find(sim, conn->app);

	/* one that was replaced has it no more */
	if (app == NULL || app->conn != conn)
		return;
	app->conn = NULL;
	end_if_unused(sim, app);
}

void
sim_app_replace(struct sim *sim, struct sim_app *app)
{
	sim->totals.replaced_apps++;
	if (app->conn != NULL)
		sim_event_replaced(sim, app->conn, app->name);
	app->conn = NULL;
	app->has_stranger = true;
}

void
sim_app_deafen(struct sim *sim, struct sim_app *app, bool has_stranger)
{
	app->conn = NULL;
	app->has_stranger = has_stranger;
	end_if_unused(sim, app);
}

void
sim_app_hold(struct sim_app *app)
{
	app->calls++;
}

void
sim_app_release(struct sim *sim, const char *name)
{
	struct sim_app *app = sim_app_find(sim, name);

	if (app == NULL || app->calls == 0)
		return;
	app->calls--;
	end_if_unused(sim, app);
}

/* ---- filters ---- */

/* A list of {"type":…}; anything else is refused. */
static bool
is_type_list(const cJSON *list)
{
	const cJSON *item;

	if (list == NULL)
		return true;
	if (!cJSON_IsArray(list))
		return false;
	cJSON_ArrayForEach(item, list)
	{
		if (!cJSON_IsString(cJSON_GetObjectItemCaseSensitive(item,
		        "type")))
			return false;
	}
	return true;
}

static uint32_t
types_in(const cJSON *list)
{
	const cJSON *item;
	uint32_t types = 0;

	cJSON_ArrayForEach(item, list)
	{
		const char *name = cJSON_GetStringValue(
		    cJSON_GetObjectItemCaseSensitive(item, "type"));

		for (int i = 0; i < SIM_EVENT_COUNT; i++) {
			if (strcmp(sim_event_name((enum sim_event_type)i),
			        name) == 0)
				types |= 1U << i;
		}
	}
	return types;
}

int
sim_app_set_filter(struct sim_app *app, const cJSON *filter)
{
	const cJSON *allowed = cJSON_GetObjectItemCaseSensitive(filter,
	    "allowed");
	const cJSON *disallowed = cJSON_GetObjectItemCaseSensitive(filter,
	    "disallowed");
	cJSON *copy;

	if (!is_type_list(allowed) || !is_type_list(disallowed))
		return -KAP_INVAL;
	copy = cJSON_Duplicate(filter, true);
	if (copy == NULL)
		return -KAP_NOMEM;
	cJSON_Delete(app->filter);
	app->filter = copy;
	app->disallowed = types_in(disallowed);
	return 0;
}

static void
render_list(const struct sim_app *app, const char *name, struct sim_text *out)
{
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(app->filter,
	    name);
	const cJSON *item;
	const char *comma = "";

	sim_text_add(out, "[");
	cJSON_ArrayForEach(item, list)
	{
		sim_text_add(out, comma);
		sim_text_add(out, "{\"type\":");
		sim_text_add_quoted(out, cJSON_GetStringValue(
		    cJSON_GetObjectItemCaseSensitive(item, "type")));
		sim_text_add(out, "}");
		comma = ",";
	}
	sim_text_add(out, "]");
}

static void
render_channels(const struct sim *sim, const struct sim_app *app,
    struct sim_text *out)
{
	const struct sim_call *call;
	const char *comma = "";
	size_t at = 0;

	sim_text_add(out, "[");
	while ((call = sim_table_next(&sim->calls, &at)) != NULL) {
		if (!call->subscribed || strcmp(call->app, app->name) != 0)
			continue;
		sim_text_add(out, comma);
		sim_text_add_quoted(out, call->id);
		comma = ",";
	}
	sim_text_add(out, "]");
}

void
sim_app_render(const struct sim *sim, const struct sim_app *app,
    struct sim_text *out)
{
	sim_text_add(out, "{\"name\":");
	sim_text_add_quoted(out, app->name);
	sim_text_add(out, ",\"channel_ids\":");
	render_channels(sim, app, out);
	sim_text_add(out, ",\"bridge_ids\":[],\"endpoint_ids\":[],"
	    "\"device_names\":[],\"events_allowed\":");
	render_list(app, "allowed", out);
	sim_text_add(out, ",\"events_disallowed\":");
	render_list(app, "disallowed", out);
	sim_text_add(out, "}");
}

void
sim_apps_clear(struct sim *sim)
{
	struct sim_app *app;
	size_t at = 0;

	while ((app = sim_table_next(&sim->apps, &at)) != NULL)
		app_free(app);
	sim_table_deinit(&sim->apps);
}
