/*
 * Asterisk's REST interface as kaphila uses it:
 * https://docs.asterisk.org/Latest_API/API_Documentation/Asterisk_REST_Interface/
 */
#include "ari_say.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "shared/amd_words.h"

/* Over our own limits, so that Asterisk ends what we failed to end. */
#define ABSOLUTE_TIMEOUT_GRACE_S 30
#define RECORDING_GRACE_S 30
#define STOP_TRIES_MAX 3

typedef int say(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request);

/* Take the tree's text as the body; the tree is gone either way. */
static int
set_body(struct ari_request *request, cJSON *tree)
{
	request->body = cJSON_PrintUnformatted(tree);
	cJSON_Delete(tree);
	return request->body != NULL ? 0 : -KAP_NOMEM;
}

static void
set_path(struct ari_request *request, const char *method, const char *first,
    const char *second, const char *third)
{
	request->method = method;
	ari_uri_segment(&request->uri, first);
	ari_uri_segment(&request->uri, second);
	if (third != NULL)
		ari_uri_segment(&request->uri, third);
}

/* The bridge in which the call's channel is, or is to be. */
static void
name_bridge(const struct call *call, char out[CALL_NAME_SIZE])
{
	call_bridge_name((call->flags & CALL_F_SECOND_LEG) != 0 ?
	    call->other_id : call->id, out);
}

void
ari_bridge_label(char out[ARI_BRIDGE_NAME_SIZE], int64_t node)
{
	(void)snprintf(out, ARI_BRIDGE_NAME_SIZE, "kaphila-%d",
	    (int)(node % 1000));
}

static void
add_variables(cJSON *tree, const struct call *call,
    const struct config *config)
{
	cJSON *variables = cJSON_AddObjectToObject(tree, "variables");
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, config->node.id);
	(void)cJSON_AddStringToObject(variables, ARI_NODE_VARIABLE, text);
	(void)snprintf(text, sizeof(text), "%u", call->ring_timeout_s +
	    call->max_duration_s + ABSOLUTE_TIMEOUT_GRACE_S);
	(void)cJSON_AddStringToObject(variables, "TIMEOUT(absolute)", text);
}

static int
say_originate(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	const struct call *call = &item->call;
	cJSON *tree = cJSON_CreateObject();
	char channel[CALL_NAME_SIZE];

	call_channel_name(call, channel);
	request->method = "POST";
	ari_uri_segment(&request->uri, "channels");
	(void)cJSON_AddStringToObject(tree, "endpoint", item->endpoint);
	(void)cJSON_AddStringToObject(tree, "app", app);
	(void)cJSON_AddStringToObject(tree, "appArgs", "dialed");
	(void)cJSON_AddStringToObject(tree, "channelId", channel);
	(void)cJSON_AddNumberToObject(tree, "timeout", call->ring_timeout_s);
	if (call->caller_id[0] != '\0')
		(void)cJSON_AddStringToObject(tree, "callerId",
		    call->caller_id);
	add_variables(tree, call, config);
	return set_body(request, tree);
}

static int
say_hangup(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	char channel[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	/* not always the last attempt's: a carrier that gave no sign */
	call_attempt_name(item->call.id, item->command.attempt, channel);
	set_path(request, "DELETE", "channels", channel, NULL);
	return 0;
}

static int
say_bridge_create(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	cJSON *tree = cJSON_CreateObject();
	char bridge[CALL_NAME_SIZE];
	char label[ARI_BRIDGE_NAME_SIZE];

	(void)app;
	call_bridge_name(item->call.id, bridge);
	ari_bridge_label(label, config->node.id);
	set_path(request, "POST", "bridges", bridge, NULL);
	(void)cJSON_AddStringToObject(tree, "type", "mixing");
	(void)cJSON_AddStringToObject(tree, "name", label);
	return set_body(request, tree);
}

/* Into the call's own bridge, or into the other leg's. */
static int
say_bridge_add(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	cJSON *tree = cJSON_CreateObject();
	char bridge[CALL_NAME_SIZE];
	char channel[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	call_bridge_name(item->command.kind == CALL_CMD_BRIDGE_JOIN ?
	    item->call.other_id : item->call.id, bridge);
	call_channel_name(&item->call, channel);
	set_path(request, "POST", "bridges", bridge, "addChannel");
	(void)cJSON_AddStringToObject(tree, "channel", channel);
	return set_body(request, tree);
}

static int
say_record(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	cJSON *tree = cJSON_CreateObject();
	char bridge[CALL_NAME_SIZE];
	char name[CALL_RECORDING_SIZE];

	(void)config;
	(void)app;
	call_bridge_name(item->call.id, bridge);
	call_recording_name(&item->call, name);
	set_path(request, "POST", "bridges", bridge, "record");
	(void)cJSON_AddStringToObject(tree, "name", name);
	(void)cJSON_AddStringToObject(tree, "format", "wav");
	(void)cJSON_AddNumberToObject(tree, "maxSilenceSeconds", 0);
	(void)cJSON_AddNumberToObject(tree, "maxDurationSeconds",
	    item->call.max_duration_s + RECORDING_GRACE_S);
	(void)cJSON_AddStringToObject(tree, "ifExists", "fail");
	return set_body(request, tree);
}

static int
say_record_stop(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	char name[CALL_RECORDING_SIZE];

	(void)config;
	(void)app;
	call_recording_name(&item->call, name);
	set_path(request, "POST", "recordings", "live", name);
	ari_uri_segment(&request->uri, "stop");
	return 0;
}

static int
say_bridge_destroy(const struct outbox_item *item,
    const struct config *config, const char *app, struct ari_request *request)
{
	char bridge[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	call_bridge_name(item->call.id, bridge);
	set_path(request, "DELETE", "bridges", bridge, NULL);
	return 0;
}

/*
 * Asterisk looks at no id that is there already: said twice it is heard twice
 * (dispatch.c asks for it before it is said again).
 */
static int
say_play(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	const bool to_channel = item->play.target == CALL_PLAY_CHANNEL;
	cJSON *tree = cJSON_CreateObject();
	char target[CALL_NAME_SIZE];
	char name[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	if (to_channel)
		call_channel_name(&item->call, target);
	else
		name_bridge(&item->call, target);
	call_play_name(item->call.id, &item->command.play, name);
	set_path(request, "POST", to_channel ? "channels" : "bridges", target,
	    "play");
	ari_uri_segment(&request->uri, name);
	(void)cJSON_AddStringToObject(tree, "media", item->play.media);
	return set_body(request, tree);
}

static int
say_play_stop(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	char name[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	call_play_name(item->call.id, &item->command.play, name);
	set_path(request, "DELETE", "playbacks", name, NULL);
	return 0;
}

/* One listens to what the far end says; nothing is heard from it. */
static int
say_snoop(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	cJSON *tree = cJSON_CreateObject();
	char channel[CALL_NAME_SIZE];
	char snoop[CALL_NAME_SIZE];

	(void)config;
	call_channel_name(&item->call, channel);
	call_snoop_name(item->call.id, snoop);
	set_path(request, "POST", "channels", channel, "snoop");
	ari_uri_segment(&request->uri, snoop);
	(void)cJSON_AddStringToObject(tree, "spy", "in");
	(void)cJSON_AddStringToObject(tree, "app", app);
	return set_body(request, tree);
}

/* The app to come back to, and AMD's arguments: see the dialplan. */
static int
say_snoop_set(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	cJSON *tree = cJSON_CreateObject();
	char snoop[CALL_NAME_SIZE];
	char args[CALL_AMD_ARGS_MAX + 1];
	char value[ARI_APP_SIZE + 1 + CALL_AMD_ARGS_MAX];

	amd_args_format(&config->amd, args);
	(void)snprintf(value, sizeof(value), "%s|%s", app,
	    item->amd[0] != '\0' ? item->amd : args);
	call_snoop_name(item->call.id, snoop);
	set_path(request, "POST", "channels", snoop, "variable");
	(void)cJSON_AddStringToObject(tree, "variable", ARI_AMD_VARIABLE);
	(void)cJSON_AddStringToObject(tree, "value", value);
	return set_body(request, tree);
}

static int
say_snoop_continue(const struct outbox_item *item,
    const struct config *config, const char *app, struct ari_request *request)
{
	cJSON *tree = cJSON_CreateObject();
	char snoop[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	call_snoop_name(item->call.id, snoop);
	set_path(request, "POST", "channels", snoop, "continue");
	(void)cJSON_AddStringToObject(tree, "context", ARI_AMD_CONTEXT);
	(void)cJSON_AddStringToObject(tree, "extension", "s");
	(void)cJSON_AddNumberToObject(tree, "priority", 1);
	return set_body(request, tree);
}

static int
say_snoop_hangup(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request)
{
	char snoop[CALL_NAME_SIZE];

	(void)config;
	(void)app;
	call_snoop_name(item->call.id, snoop);
	set_path(request, "DELETE", "channels", snoop, NULL);
	return 0;
}

/* How a command is said, and what a yes and a no to it mean. */
struct command_row {
	say *say;
	enum call_input_kind yes;
	enum call_input_kind no;
	bool exists_is_yes; /* 409, said before: it was done then */
};

#define NOTHING CALL_INPUT_COUNT

static const struct command_row rows[CALL_CMD_COUNT] = {
	[CALL_CMD_ORIGINATE] = { say_originate, CALL_IN_ORIGINATE_OK,
	    CALL_IN_ORIGINATE_REFUSED, true },
	[CALL_CMD_HANGUP] = { say_hangup, CALL_IN_HANGUP_OK,
	    CALL_IN_HANGUP_GONE, false },
	[CALL_CMD_BRIDGE_CREATE] = { say_bridge_create, NOTHING,
	    CALL_IN_BRIDGE_FAILED, true },
	[CALL_CMD_BRIDGE_ADD] = { say_bridge_add, CALL_IN_BRIDGE_ADD_OK,
	    CALL_IN_BRIDGE_FAILED, false },
	[CALL_CMD_BRIDGE_JOIN] = { say_bridge_add, CALL_IN_BRIDGE_ADD_OK,
	    CALL_IN_BRIDGE_FAILED, false },
	[CALL_CMD_RECORD] = { say_record, CALL_IN_RECORD_OK,
	    CALL_IN_RECORD_FAILED, true },
	[CALL_CMD_RECORD_STOP] = { say_record_stop, CALL_IN_RECORD_STOP_OK,
	    CALL_IN_RECORD_STOP_OK, false },
	[CALL_CMD_BRIDGE_DESTROY] = { say_bridge_destroy, NOTHING, NOTHING,
	    false },
	[CALL_CMD_SNOOP] = { say_snoop, NOTHING, CALL_IN_SNOOP_FAILED, true },
	[CALL_CMD_SNOOP_SET] = { say_snoop_set, NOTHING,
	    CALL_IN_SNOOP_FAILED, false },
	/* 409: it has left our app for the dialplan */
	[CALL_CMD_SNOOP_CONTINUE] = { say_snoop_continue, NOTHING,
	    CALL_IN_SNOOP_FAILED, true },
	/* it has left our app, so no event tells of its end */
	[CALL_CMD_SNOOP_HANGUP] = { say_snoop_hangup, CALL_IN_SNOOP_GONE,
	    CALL_IN_SNOOP_GONE, false },
	[CALL_CMD_PLAY] = { say_play, CALL_IN_PLAY_OK, CALL_IN_PLAY_REFUSED,
	    false },
	[CALL_CMD_PLAY_STOP] = { say_play_stop, NOTHING, NOTHING, false },
};

int
ari_say(const struct outbox_item *item, const struct config *config,
    const char *app, struct ari_request *request_out)
{
	const unsigned kind = item->command.kind;
	int rc;

	if (kind >= CALL_CMD_COUNT || rows[kind].say == NULL)
		return -KAP_INVAL;
	memset(request_out, 0, sizeof(*request_out));
	ari_uri_init(&request_out->uri);
	rc = rows[kind].say(item, config, app, request_out);
	if (rc == 0)
		rc = ari_uri_check(&request_out->uri);
	if (rc != 0)
		ari_request_clear(request_out);
	return rc;
}

void
ari_request_clear(struct ari_request *request)
{
	cJSON_free(request->body);
	request->body = NULL;
}

enum ari_verdict
ari_reply_meaning(enum call_command_kind kind, unsigned tries, int status,
    enum call_input_kind *input_out)
{
	const struct command_row *row = &rows[kind];
	const bool again = tries > 1 && row->exists_is_yes;
	/*
	 * Asterisk 16 calls a bridge's second creation an update, and fails;
	 * a snoop channel's fails without a reason in every version.
	 */
	const bool exists = status == 409 || (status == 500 &&
	    (kind == CALL_CMD_BRIDGE_CREATE || kind == CALL_CMD_SNOOP));
	const bool yes = (status >= 200 && status < 300) || (again && exists);

	*input_out = yes ? row->yes : row->no;
	if (kind == CALL_CMD_HANGUP && !yes && status != 404)
		return ARI_TRY_AGAIN;
	/* for some microseconds at its beginning none can be stopped */
	if ((kind == CALL_CMD_PLAY_STOP || kind == CALL_CMD_RECORD_STOP) &&
	    status == 500 && tries < STOP_TRIES_MAX)
		return ARI_TRY_AGAIN;
	return ARI_SETTLED;
}
