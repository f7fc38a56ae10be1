/*
 * POST /voice, /play and /gather: what each reads, and what it answers. All
 * else is control_request.h's.
 */
#include "api.h"

#include <stdio.h>

#include "control_request.h"

/* --- /voice -------------------------------------------------------------- */

static void
fill_voice(const struct control_done *done, cJSON *tree)
{
	char text[CONTROL_EXCERPT_SIZE];

	control_excerpt(done->body->text, text);
	(void)cJSON_AddStringToObject(tree, "message",
	    "TTS played successfully");
	(void)cJSON_AddStringToObject(tree, "text", text);
	(void)cJSON_AddStringToObject(tree, "playbackId", done->playback_id);
	(void)cJSON_AddStringToObject(tree, "method", done->method);
}

static const struct control_kind voice = { control_body_read_voice,
	CALL_IN_PLAY, CALL_PLAY_SPEECH, fill_voice };

static void
on_voice_key(struct api *api, struct http_request *req,
    const struct api_key *key)
{
	control_request_begin(api, req, key, &voice);
}

void
api_voice(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_voice_key);
}

/* --- /play --------------------------------------------------------------- */

static void
fill_play(const struct control_done *done, cJSON *tree)
{
	char message[SOUNDS_NAME_MAX + 32];

	(void)snprintf(message, sizeof(message), "Audio file played: %s",
	    done->body->sound);
	(void)cJSON_AddStringToObject(tree, "message", message);
	(void)cJSON_AddStringToObject(tree, "file", done->body->sound);
	(void)cJSON_AddStringToObject(tree, "playbackId", done->playback_id);
	(void)cJSON_AddStringToObject(tree, "method", done->method);
}

static const struct control_kind sound = { control_body_read_play,
	CALL_IN_PLAY, CALL_PLAY_SOUND, fill_play };

static void
on_play_key(struct api *api, struct http_request *req,
    const struct api_key *key)
{
	control_request_begin(api, req, key, &sound);
}

void
api_play(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_play_key);
}

/* --- /gather ------------------------------------------------------------- */

static void
fill_gather(const struct control_done *done, cJSON *tree)
{
	const struct call_gather *gather = &done->body->gather;
	char message[80];

	(void)snprintf(message, sizeof(message),
	    "Gathering %u digits with %ums timeout",
	    (unsigned)gather->expected, (unsigned)gather->timeout_ms);
	(void)cJSON_AddStringToObject(tree, "message", message);
	(void)cJSON_AddStringToObject(tree, "callId", done->body->call_id);
	(void)cJSON_AddNumberToObject(tree, "expectedDigits",
	    gather->expected);
	(void)cJSON_AddNumberToObject(tree, "timeoutMs", gather->timeout_ms);
	(void)cJSON_AddStringToObject(tree, "playbackId", done->playback_id);
	(void)cJSON_AddStringToObject(tree, "method", done->method);
}

static const struct control_kind gather = { control_body_read_gather,
	CALL_IN_GATHER, CALL_PLAY_PROMPT, fill_gather };

static void
on_gather_key(struct api *api, struct http_request *req,
    const struct api_key *key)
{
	control_request_begin(api, req, key, &gather);
}

void
api_gather(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_gather_key);
}
