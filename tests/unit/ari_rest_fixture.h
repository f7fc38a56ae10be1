/*
 * REST over the WebSocket of ari_server_fixture.h, as Asterisk 22 has it: a
 * request taken apart, its reply, and a lane that comes up and must stay so.
 */
#ifndef KAP_ARI_REST_FIXTURE_H
#define KAP_ARI_REST_FIXTURE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ari_server_fixture.h"
#include "worker/ari_command.h"

/* The body of the reply to asterisk/info. */
#define REST_INFO \
	"{\"system\":{\"version\":\"22\",\"entity_id\":\"x\"}," \
	"\"status\":{\"startup_time\":\"y\"}}"

/* Texts are the tree's. */
struct rest_request {
	cJSON *json;
	const char *id;
	const char *method;
	const char *uri;
};

static inline void
rest_request_read(struct rest_request *request, const char *text)
{
	cJSON *json = cJSON_Parse(text);

	request->json = json;
	request->id = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "request_id"));
	request->method = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "method"));
	request->uri = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "uri"));
	if (request->id == NULL || request->method == NULL ||
	    request->uri == NULL)
		abort();
}

static inline void
rest_request_free(struct rest_request *request)
{
	cJSON_Delete(request->json);
}

static inline bool
rest_request_is_info(const struct rest_request *request)
{
	return strncmp(request->uri, "asterisk/info", 13) == 0;
}

static inline void
rest_reply(struct server *server, const char *id, int status,
    const char *body)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	(void)cJSON_AddStringToObject(json, "type", "RESTResponse");
	(void)cJSON_AddStringToObject(json, "request_id", id);
	(void)cJSON_AddNumberToObject(json, "status_code", status);
	(void)cJSON_AddStringToObject(json, "message_body", body);
	text = cJSON_PrintUnformatted(json);
	server_send_text(server, text);
	free(text);
	cJSON_Delete(json);
}

/* A lane; its link is the caller's to close. */
struct rest_lane {
	struct ari_command_link *link;
	bool up;
	bool asked_last; /* the question behind all others is answered */
};

static inline void
rest_lane_on_up(void *ctx, const struct ari_server *server)
{
	struct rest_lane *lane = ctx;

	(void)server;
	lane->up = true;
}

static inline void
rest_lane_on_down(void *ctx, const char *reason)
{
	(void)ctx;
	(void)fprintf(stderr, "the link went down: %s\n", reason);
	abort();
}

static const struct ari_command_ops rest_lane_ops = { rest_lane_on_up,
	rest_lane_on_down };

/* Open it, and wait until it is up. */
static inline void
rest_lane_open(struct rest_lane *lane, struct event_base *base,
    const struct config *config, int slot)
{
	struct kap_errmsg msg;

	lane->up = false;
	lane->asked_last = false;
	if (ari_command_open(&lane->link, base, config, slot, "control",
	        &rest_lane_ops, lane, &msg) != 0)
		abort();
	RUN_UNTIL(base, lane->up);
}

static inline void
rest_lane_on_last(void *arg, int status, const char *body, size_t len)
{
	struct rest_lane *lane = arg;

	(void)body;
	(void)len;
	lane->asked_last = status == 200;
}

/* Whatever was asked before has come to the server when this returns. */
static inline void
rest_lane_ask_last(struct rest_lane *lane, struct event_base *base)
{
	lane->asked_last = false;
	if (ari_command_send(lane->link, "GET", "last", NULL, NULL, 20000,
	        rest_lane_on_last, lane) != 0)
		abort();
	RUN_UNTIL(base, lane->asked_last);
}

#endif
