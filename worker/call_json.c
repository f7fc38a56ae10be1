/*
 * Renders records; decides nothing.
 */
#include "call_json.h"

#include <stdio.h>
#include <string.h>

#include "shared/amd_words.h"
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
	const enum call_amd status = amd_told(call);
	cJSON *amd = cJSON_AddObjectToObject(tree, "amd");
	char cause[CALL_AMD_CAUSE_SIZE];

	amd_cause_word(call->amd_cause, cause);
	(void)cJSON_AddStringToObject(amd, "status", call_amd_name(status));
	(void)cJSON_AddStringToObject(amd, "cause", cause);
	(void)cJSON_AddNumberToObject(amd, "confidence",
	    amd_confidence(status, cause));
	(void)cJSON_AddStringToObject(amd, "detail", call->amd_cause);
	if (call->amd_decided_ms == 0)
		(void)cJSON_AddNullToObject(amd, "decidedAt");
	add_time(amd, "decidedAt", call->amd_decided_ms);
}

/* What is collected just now; null where nothing is. */
static void
add_gather(cJSON *tree, const struct call *call)
{
	const char finish[] = { call->gather_finish, '\0' };
	cJSON *gather;

	if (call->gather_state == CALL_GATHER_NONE) {
		(void)cJSON_AddNullToObject(tree, "gather");
		return;
	}
	gather = cJSON_AddObjectToObject(tree, "gather");
	(void)cJSON_AddStringToObject(gather, "state",
	    call->gather_state == CALL_GATHER_PROMPT ? "prompt" : "digits");
	(void)cJSON_AddNumberToObject(gather, "expectedDigits",
	    call->gather_expected);
	(void)cJSON_AddStringToObject(gather, "collected",
	    call->gather_digits);
	(void)cJSON_AddNumberToObject(gather, "timeoutMs",
	    call->gather_timeout_ms);
	(void)cJSON_AddBoolToObject(gather, "bargeIn",
	    (call->gather_flags & CALL_GATHER_NO_BARGE_IN) == 0);
	(void)cJSON_AddStringToObject(gather, "finishOnKey", finish);
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
	add_gather(tree, call);
	add_recording(tree, call);
	(void)cJSON_AddStringToObject(tree, "voiceName", voice);
	(void)cJSON_AddBoolToObject(tree, "hasBridge",
	    (call->flags & CALL_F_BRIDGED) != 0);
	add_time(tree, "createdAt", call->created_ms);
	add_time(tree, "answeredAt", call->answered_ms);
	if (call->other_id[0] != '\0')
		(void)cJSON_AddStringToObject(tree,
		    (call->flags & CALL_F_SECOND_LEG) != 0 ?
		    "forwardedFrom" : "forwardedCallId", call->other_id);
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
	(void)cJSON_AddBoolToObject(tree, "hasSnoop",
	    (call->flags & CALL_F_SNOOPED) != 0);
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
