/*
 * A table of paths on evhttp.
 */
#include "sim_control.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "sim_app.h"
#include "sim_bridge.h"
#include "sim_call.h"
#include "sim_fault.h"
#include "sim_list.h"
#include "sim_play.h"
#include "sim_record.h"
#include "sim_rung.h"
#include "sim_server.h"
#include "sim_world.h"

#define MARK_VARIABLE "KAPHILA_NODE"
#define BODY_MAX 65536

struct sim_control {
	struct sim *sim;
	struct evhttp *http;
};

static void
send_text(struct evhttp_request *request, int status,
    const struct sim_text *text)
{
	struct evbuffer *out = evhttp_request_get_output_buffer(request);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);

	(void)evhttp_add_header(headers, "Content-Type", "application/json");
	(void)evbuffer_add(out, sim_text_string(text), text->len);
	(void)evbuffer_add(out, "\n", 1);
	evhttp_send_reply(request, text->failed ? 500 : status, NULL, NULL);
}

/* ---- totals ---- */

static void
add_total(struct sim_text *out, const char *name, uint64_t number)
{
	sim_text_printf(out, "\"%s\":%llu,", name,
	    (unsigned long long)number);
}

static uint64_t
count_conns(const struct sim *sim)
{
	uint64_t count = 0;

	if (sim->server == NULL)
		return 0;
	for (const struct sim_conn *conn = sim_server_first(sim);
	    conn != NULL; conn = conn->next)
		count++;
	return count;
}

void
sim_control_render_totals(const struct sim *sim, struct sim_text *out)
{
	const struct sim_totals *totals = &sim->totals;

	sim_text_add(out, "{");
	add_total(out, "requests", totals->requests);
	add_total(out, "originates", totals->originates);
	add_total(out, "duplicates", totals->duplicates);
	add_total(out, "refused", totals->refused);
	add_total(out, "rung_twice", totals->rung_twice);
	add_total(out, "answered", totals->answered);
	add_total(out, "destroyed", totals->destroyed);
	add_total(out, "dropped_calls", totals->dropped_calls);
	add_total(out, "bridges", totals->bridges);
	add_total(out, "recordings", totals->recordings);
	add_total(out, "plays", totals->plays);
	add_total(out, "played_twice", totals->played_twice);
	add_total(out, "connects", totals->connects);
	add_total(out, "events", totals->events);
	add_total(out, "lost_events", totals->lost_events);
	add_total(out, "replaced_apps", totals->replaced_apps);
	add_total(out, "bytes_out", totals->bytes_out);
	add_total(out, "faults", totals->faults);
	add_total(out, "restarts", totals->restarts);
	add_total(out, "live_channels", sim->calls.count);
	add_total(out, "live_bridges", sim->bridges.count);
	add_total(out, "live_recordings", sim->recordings.count);
	add_total(out, "live_plays", sim->plays.count);
	sim_text_printf(out, "\"live_connections\":%llu}",
	    (unsigned long long)count_conns(sim));
}

/* ---- GET /state ---- */

static void
add_member(struct sim_text *out, const char *name, const char *value)
{
	sim_text_printf(out, "\"%s\":", name);
	sim_text_add_quoted(out, value);
	sim_text_add(out, ",");
}

static void
render_channel(const struct sim *sim, const void *value, struct sim_text *out)
{
	const struct sim_call *call = value;
	const char *mark = sim_call_variable(call, MARK_VARIABLE);

	(void)sim;
	sim_text_add(out, "{");
	add_member(out, "id", call->id);
	add_member(out, "name", call->name);
	add_member(out, "state", sim_call_state_name(call->state));
	add_member(out, "app", call->app);
	add_member(out, "number", call->number);
	add_member(out, "mark", mark != NULL ? mark : "");
	add_member(out, "bridge", call->bridge != NULL ? call->bridge->id :
	    "");
	sim_text_printf(out, "\"in_stasis\":%s}",
	    call->in_stasis ? "true" : "false");
}

static void
render_bridge(const struct sim *sim, const void *value, struct sim_text *out)
{
	(void)sim;
	sim_bridge_render(value, out);
}

static void
render_recording(const struct sim *sim, const void *value,
    struct sim_text *out)
{
	(void)sim;
	sim_recording_render(value, "recording", out);
}

static void
render_play(const struct sim *sim, const void *value, struct sim_text *out)
{
	const struct sim_playback *playback = value;

	(void)sim;
	sim_play_render(playback, playback->state == SIM_PLAY_PLAYING ?
	    "playing" : "queued", out);
}

static void
render_app(const struct sim *sim, const void *value, struct sim_text *out)
{
	const struct sim_app *app = value;

	(void)sim;
	sim_text_add(out, "{");
	add_member(out, "name", app->name);
	sim_text_printf(out, "\"connected\":%s,\"stranger\":%s,"
	    "\"channels\":%u,\"events\":%llu}",
	    app->conn != NULL ? "true" : "false",
	    app->has_stranger ? "true" : "false", app->calls,
	    (unsigned long long)app->events);
}

/* "name":[…], */
static void
add_list(const struct sim *sim, const char *name,
    const struct sim_table *table, sim_list_render *render,
    struct sim_text *out)
{
	sim_text_printf(out, "\"%s\":", name);
	sim_list_add(sim, table, render, out);
	sim_text_add(out, ",");
}

static void
add_connections(const struct sim *sim, struct sim_text *out)
{
	const char *comma = "";

	sim_text_add(out, "\"connections\":[");
	for (const struct sim_conn *conn = sim_server_first(sim);
	    conn != NULL; conn = conn->next) {
		sim_text_add(out, comma);
		sim_text_add(out, "{");
		add_member(out, "kind", conn->ws != NULL ? "websocket" :
		    "http");
		add_member(out, "app", conn->app);
		sim_text_printf(out, "\"commands\":%llu,\"events\":%llu,"
		    "\"silent\":%s}", (unsigned long long)conn->commands,
		    (unsigned long long)conn->events,
		    conn->silent ? "true" : "false");
		comma = ",";
	}
	sim_text_add(out, "],");
}

static void
on_state(struct sim *sim, struct evhttp_request *request)
{
	const char *query = evhttp_uri_get_query(
	    evhttp_request_get_evhttp_uri(request));
	struct sim_text text = { 0 };

	sim_text_add(&text, "{");
	add_member(&text, "version", sim_world_version(sim));
	add_member(&text, "entity", sim->entity);
	sim_text_printf(&text, "\"frozen\":%s,\"startup_time\":",
	    sim->frozen ? "true" : "false");
	sim_text_add_time(&text, sim->started_ms);
	sim_text_add(&text, ",");
	if (query == NULL || strstr(query, "brief=1") == NULL) {
		add_list(sim, "channels", &sim->calls, render_channel, &text);
		add_list(sim, "bridges", &sim->bridges, render_bridge, &text);
		add_list(sim, "recordings", &sim->recordings,
		    render_recording, &text);
		add_list(sim, "playbacks", &sim->plays, render_play, &text);
		sim_text_add(&text, "\"rung\":");
		sim_rung_render(sim->rung, &text);
		sim_text_add(&text, ",");
	}
	add_list(sim, "apps", &sim->apps, render_app, &text);
	add_connections(sim, &text);
	sim_text_add(&text, "\"totals\":");
	sim_control_render_totals(sim, &text);
	sim_text_add(&text, "}");
	send_text(request, 200, &text);
	sim_text_deinit(&text);
}

static void
on_rung(struct sim *sim, struct evhttp_request *request)
{
	struct sim_text text = { 0 };

	sim_rung_render(sim->rung, &text);
	send_text(request, 200, &text);
	sim_text_deinit(&text);
}

/* ---- faults ---- */

static void
on_faults(struct sim *sim, struct evhttp_request *request)
{
	struct sim_text text = { 0 };

	sim_faults_render(sim, &text);
	send_text(request, 200, &text);
	sim_text_deinit(&text);
}

static void
on_clear_faults(struct sim *sim, struct evhttp_request *request)
{
	sim_faults_clear(sim);
	on_faults(sim, request);
}

static void
on_fault(struct sim *sim, struct evhttp_request *request)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request);
	const size_t len = evbuffer_get_length(in);
	const char *body = (const char *)evbuffer_pullup(in, -1);
	cJSON *spec = body != NULL ? cJSON_ParseWithLength(body, len) : NULL;
	struct kap_errmsg msg = { "not a JSON object" };
	struct sim_text text = { 0 };
	unsigned id = 0;
	int rc = -KAP_INVAL;

	if (cJSON_IsObject(spec))
		rc = sim_fault_arm(sim, spec, &id, &msg);
	if (rc == 0) {
		sim_text_printf(&text, "{\"id\":%u}", id);
	} else {
		sim_text_add(&text, "{\"error\":");
		sim_text_add_quoted(&text, rc == -KAP_INVAL ? msg.text :
		    kap_strerror(rc));
		sim_text_add(&text, "}");
	}
	send_text(request, rc == 0 ? 200 : rc == -KAP_INVAL ? 400 : 500,
	    &text);
	sim_text_deinit(&text);
	cJSON_Delete(spec);
}

/* ---- paths ---- */

static const struct {
	const char *path;
	enum evhttp_cmd_type method;
	void (*handle)(struct sim *sim, struct evhttp_request *request);
} paths[] = {
	{ "/state", EVHTTP_REQ_GET, on_state },
	{ "/rung", EVHTTP_REQ_GET, on_rung },
	{ "/faults", EVHTTP_REQ_GET, on_faults },
	{ "/faults", EVHTTP_REQ_DELETE, on_clear_faults },
	{ "/fault", EVHTTP_REQ_POST, on_fault },
};

static void
on_request(struct evhttp_request *request, void *arg)
{
	const struct sim_control *control = arg;
	const char *path = evhttp_uri_get_path(
	    evhttp_request_get_evhttp_uri(request));
	struct sim_text text = { 0 };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (strcmp(paths[i].path, path) == 0 &&
		    paths[i].method == evhttp_request_get_command(request)) {
			paths[i].handle(control->sim, request);
			return;
		}
	}
	sim_text_add(&text, "{\"error\":\"GET /state, GET /rung, "
	    "GET /faults, DELETE /faults, POST /fault\"}");
	send_text(request, 404, &text);
	sim_text_deinit(&text);
}

int
sim_control_open(struct sim *sim)
{
	const struct sockaddr_in *address = &sim->options.control;
	struct sim_control *control = calloc(1, sizeof(*control));
	char host[INET_ADDRSTRLEN];

	if (control == NULL)
		return -KAP_NOMEM;
	sim->control = control;
	control->sim = sim;
	control->http = evhttp_new(sim->base);
	if (control->http == NULL)
		return -KAP_NOMEM;
	evhttp_set_allowed_methods(control->http, EVHTTP_REQ_GET |
	    EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
	evhttp_set_max_body_size(control->http, BODY_MAX);
	evhttp_set_gencb(control->http, on_request, control);
	(void)inet_ntop(AF_INET, &address->sin_addr, host, sizeof(host));
	return evhttp_bind_socket(control->http, host,
	    ntohs(address->sin_port)) == 0 ? 0 : -KAP_IO;
}

void
sim_control_close(struct sim *sim)
{
	if (sim->control == NULL)
		return;
	if (sim->control->http != NULL)
		evhttp_free(sim->control->http);
	free(sim->control);
	sim->control = NULL;
}
