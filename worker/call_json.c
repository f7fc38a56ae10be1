/*
 * Renders records; decides nothing.
 */
#include "call_json.h"

#include <stdio.h>
#include <string.h>

#include "shared/clock.h"

/* What a recording is called outside: the name and its ending. */
#define FILENAME_SIZE (CALL_RECORDING_SIZE + 8)

static void
add_time(cJSON *tree, const char *name, int64_t ms)
{
	char text[CLOCK_ISO_SIZE];

	if (ms == 0)
		return;
	clock_format_iso(ms, text);
	(void)cJSON_AddStringToObject(tree, name, text);
}

static void
add_amd(cJSON *tree, const struct call *call)
{
	cJSON *amd = cJSON_AddObjectToObject(tree, "amd");

	(void)cJSON_AddStringToObject(amd, "status",
	    call_amd_name((enum call_amd)call->amd_status));
	(void)cJSON_AddStringToObject(amd, "cause", "");
	(void)cJSON_AddNumberToObject(amd, "confidence", 0);
}

static void
add_recording(cJSON *tree, const struct call *call)
{
	char name[CALL_RECORDING_SIZE];
	char filename[FILENAME_SIZE];
	cJSON *recording;

	if ((call->flags & CALL_F_RECORDED) == 0) {
		(void)cJSON_AddNullToObject(tree, "recording");
		return;
	}
	call_recording_name(call, name);
	(void)snprintf(filename, sizeof(filename), "%s.wav", name);
	recording = cJSON_AddObjectToObject(tree, "recording");
	(void)cJSON_AddBoolToObject(recording, "active",
	    (call->flags & CALL_F_RECORDING) != 0);
	(void)cJSON_AddStringToObject(recording, "filename", filename);
	(void)cJSON_AddStringToObject(recording, "recordingId", name);
	(void)cJSON_AddStringToObject(recording, "method", "bridge");
}

/* What both forms have. */
static void
add_common(cJSON *tree, const struct call *call, const char *voice)
{
	(void)cJSON_AddStringToObject(tree, "callId", call->id);
	(void)cJSON_AddStringToObject(tree, "status",
	    call_status_name((enum call_status)call->status));
	(void)cJSON_AddStringToObject(tree, "number", call->number);
	(void)cJSON_AddStringToObject(tree, "callerId", call->caller_id);
	add_amd(tree, call);
	(void)cJSON_AddNullToObject(tree, "gather");
	add_recording(tree, call);
	(void)cJSON_AddStringToObject(tree, "voiceName", voice);
	(void)cJSON_AddBoolToObject(tree, "hasBridge",
	    (call->flags & CALL_F_BRIDGED) != 0);
	add_time(tree, "createdAt", call->created_ms);
	add_time(tree, "answeredAt", call->answered_ms);
}

cJSON *
call_json_list_item(const struct call *call, const char *voice)
{
	cJSON *tree = cJSON_CreateObject();

	add_common(tree, call, voice);
	return tree;
}

cJSON *
call_json_detail(const struct call *call, const char *voice)
{
	cJSON *tree = call_json_success();

	add_common(tree, call, voice);
	(void)cJSON_AddBoolToObject(tree, "hasSnoop", 0);
	return tree;
}

cJSON *
call_json_success(void)
{
	cJSON *tree = cJSON_CreateObject();

	(void)cJSON_AddBoolToObject(tree, "success", 1);
	return tree;
}

void
call_json_add_timestamp(cJSON *tree)
{
	add_time(tree, "timestamp", clock_wall_ms());
}
