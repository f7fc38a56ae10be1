/*
 * Google Cloud Text-to-Speech, REST v1: text:synthesize with samples as they
 * are stored, so mostly nothing has to be converted. One request takes 5,000
 * bytes of text, so a long one goes in pieces, one after the other.
 */
#include "worker/speech_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/buffer.h>

#include "shared/speech_cache.h"
#include "worker/speech_audio.h"
#include "worker/speech_google_token.h"
#include "worker/speech_text.h"

#define PIECE_BYTES 4800
#define PATH "/v1/text:synthesize"
#define URL_SIZE (CONFIG_TEXT_MAX + sizeof(PATH))
#define HEADER_COUNT 2

struct speech_run {
	const struct speech_tools *tools;
	struct speech_order order;
	const char *next; /* the text that isn't spoken yet */
	struct evbuffer *pcm;
	struct google_token_wait *wait;
	struct http_transfer *transfer;
	struct subprocess *process;
	char *body;
	char auth[GOOGLE_TOKEN_MAX + 32];
	const char *headers[HEADER_COUNT];
	bool asking; /* within the ask for a token */
	int rc;      /* what that came to */
};

static bool
google_usable(const struct config *config)
{
	return config->speech.google_url[0] != '\0' &&
	    (config->speech.google_key[0] != '\0' ||
	    config->speech.google_token_file[0] != '\0');
}

static void
google_voice(const struct speech_voice *voice, char out[SPEECH_VOICE_SIZE])
{
	memcpy(out, voice->name, sizeof(voice->name));
}

static void
free_run(struct speech_run *run)
{
	if (run->pcm != NULL)
		evbuffer_free(run->pcm);
	cJSON_free(run->body);
	free(run);
}

static void
finish(struct speech_run *run, int rc, const char *error)
{
	const struct speech_order order = run->order;
	struct evbuffer *pcm = rc == 0 ? run->pcm : NULL;

	if (rc == 0)
		run->pcm = NULL;
	free_run(run);
	order.done(order.arg, rc, pcm, error);
	if (pcm != NULL)
		evbuffer_free(pcm);
}

/* The body for the piece at run->next, which moves behind it; or NULL. */
static char *
make_body(struct speech_run *run)
{
	const struct speech_voice *voice = run->order.voice;
	const char *piece = run->next;
	const size_t len = speech_text_piece(piece, PIECE_BYTES, PIECE_BYTES,
	    &run->next);
	char text[PIECE_BYTES + 1];
	cJSON *tree = cJSON_CreateObject();
	cJSON *part;
	char *body;

	(void)snprintf(text, sizeof(text), "%.*s", (int)len,
	    piece + strspn(piece, " \n"));
	part = cJSON_AddObjectToObject(tree, "input");
	(void)cJSON_AddStringToObject(part, "text", text);
	part = cJSON_AddObjectToObject(tree, "voice");
	(void)cJSON_AddStringToObject(part, "languageCode", voice->tag);
	if (strcmp(voice->name, voice->tag) != 0)
		(void)cJSON_AddStringToObject(part, "name", voice->name);
	part = cJSON_AddObjectToObject(tree, "audioConfig");
	(void)cJSON_AddStringToObject(part, "audioEncoding", "LINEAR16");
	(void)cJSON_AddNumberToObject(part, "sampleRateHertz",
	    SPEECH_RATE_HZ);
	body = cJSON_PrintUnformatted(tree);
	cJSON_Delete(tree);
	return body;
}

static void on_converted(void *arg, const struct subprocess_result *result);

/*
 * The sound of one answer, appended to what there is. Returns 0 also where
 * run->process will append it.
 */
static int
take_sound(struct speech_run *run, const char *body, size_t body_len)
{
	cJSON *tree = cJSON_ParseWithLength(body, body_len);
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, "audioContent"));
	struct evbuffer *wav = evbuffer_new();
	int rc = wav == NULL ? -KAP_NOMEM : -KAP_PROTO;

	if (text != NULL && wav != NULL)
		rc = speech_audio_base64(text, strlen(text), wav);
	cJSON_Delete(tree);
	if (rc == 0)
		rc = speech_audio_wav(wav, run->pcm);
	if (rc == -KAP_STATE)
		rc = speech_audio_convert(run->tools, "wav", wav,
		    on_converted, run, &run->process);
	if (wav != NULL)
		evbuffer_free(wav);
	return rc;
}

static const char *
string_of(const cJSON *tree, const char *name)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(tree, name));

	return text != NULL ? text : "";
}

/* google.rpc.ErrorInfo among the details, or the words of older answers. */
static bool
blames_key(const cJSON *error)
{
	const cJSON *detail;

	cJSON_ArrayForEach(detail,
	    cJSON_GetObjectItemCaseSensitive(error, "details"))
	{
		if (strncmp(string_of(detail, "reason"), "API_KEY_", 8) == 0)
			return true;
	}
	return strstr(string_of(error, "message"), "API key") != NULL;
}

/*
 * Put "status 400: Voice 'en-US-X' does not exist." into `out`. Of all that
 * is refused only this is the text's or the voice's fault.
 */
static int
judge_refusal(const struct http_result *result, char *out, size_t size)
{
	cJSON *tree = cJSON_ParseWithLength(result->body, result->body_len);
	const cJSON *error = cJSON_GetObjectItemCaseSensitive(tree, "error");
	const char *message = string_of(error, "message");
	const int rc = result->status == 400 && !blames_key(error) ?
	    -KAP_INVAL : -KAP_DENIED;

	(void)snprintf(out, size, "status %u%s%.120s", result->status,
	    message[0] != '\0' ? ": " : "", message);
	cJSON_Delete(tree);
	return rc;
}

static int
judge(struct speech_run *run, const struct http_result *result, char *error,
    size_t size)
{
	int rc = result->rc;

	if (rc != 0) {
		(void)snprintf(error, size, "%s", result->error);
		return rc;
	}
	if (result->status == 200) {
		rc = take_sound(run, result->body, result->body_len);
		if (rc != 0)
			(void)snprintf(error, size,
			    "an answer without its sound");
		return rc;
	}
	if (result->status == 401 && run->tools->token != NULL)
		speech_google_token_forget(run->tools->token);
	return judge_refusal(result, error, size);
}

static int send_piece(struct speech_run *run);

/* A piece is spoken: the next one, or the end. */
static void
go_on(struct speech_run *run)
{
	int rc = 0;

	if (*run->next != '\0') {
		rc = send_piece(run);
		if (rc == 0)
			return;
	}
	finish(run, rc, rc == 0 ? "" : kap_strerror(rc));
}

static void
on_converted(void *arg, const struct subprocess_result *result)
{
	struct speech_run *run = arg;
	int rc = result->rc;
	char error[SUBPROCESS_ERRORS_MAX + 40];

	run->process = NULL;
	if (rc == 0 && evbuffer_add_buffer(run->pcm, result->output) != 0)
		rc = -KAP_NOMEM;
	if (rc == 0) {
		go_on(run);
		return;
	}
	(void)snprintf(error, sizeof(error), "ffmpeg: %s",
	    result->errors[0] != '\0' ? result->errors : kap_strerror(rc));
	finish(run, rc, error);
}

static void
on_answer(void *arg, const struct http_result *result)
{
	struct speech_run *run = arg;
	char error[200] = "";
	const int rc = judge(run, result, error, sizeof(error));

	run->transfer = NULL;
	cJSON_free(run->body);
	run->body = NULL;
	if (rc != 0)
		finish(run, rc, error);
	else if (run->process == NULL)
		go_on(run);
}

static int
send_piece(struct speech_run *run)
{
	char url[URL_SIZE];
	struct http_request request = {
		.url = url,
		.headers = run->headers,
		.header_count = HEADER_COUNT,
		.timeout_ms = run->tools->config->speech.timeout_ms,
		.body_max_bytes = SPEECH_SOUND_MAX,
		.finish = on_answer,
		.arg = run,
	};

	run->body = make_body(run);
	if (run->body == NULL)
		return -KAP_NOMEM;
	request.body = run->body;
	request.body_len = strlen(run->body);
	speech_engine_url(run->tools->config->speech.google_url, PATH, url,
	    sizeof(url));
	return http_client_send(run->tools->http, &request, &run->transfer);
}

static void
on_token(void *arg, int rc, const char *token, const char *error)
{
	struct speech_run *run = arg;

	run->wait = NULL;
	if (rc == 0) {
		(void)snprintf(run->auth, sizeof(run->auth),
		    "Authorization: Bearer %s", token);
		rc = send_piece(run);
		error = kap_strerror(rc);
	}
	run->rc = rc;
	if (rc != 0 && !run->asking)
		finish(run, rc, error);
}

static int
begin(struct speech_run *run)
{
	const struct config *config = run->tools->config;
	int rc;

	run->headers[0] = "Content-Type: application/json";
	run->headers[1] = run->auth;
	if (config->speech.google_key[0] != '\0') {
		(void)snprintf(run->auth, sizeof(run->auth),
		    "x-goog-api-key: %s", config->speech.google_key);
		return send_piece(run);
	}
	run->asking = true;
	rc = speech_google_token_get(run->tools->token, on_token, run,
	    &run->wait);
	run->asking = false;
	return rc != 0 ? rc : run->rc;
}

static int
google_start(const struct speech_tools *tools,
    const struct speech_order *order, struct speech_run **run_out)
{
	struct speech_run *run = calloc(1, sizeof(*run));
	int rc = -KAP_NOMEM;

	if (run == NULL)
		return rc;
	run->tools = tools;
	run->order = *order;
	run->next = order->text;
	run->pcm = evbuffer_new();
	if (run->pcm != NULL)
		rc = begin(run);
	if (rc != 0) {
		free_run(run);
		return rc;
	}
	*run_out = run;
	return 0;
}

static void
google_cancel(struct speech_run *run)
{
	speech_google_token_cancel(&run->wait);
	http_client_cancel(&run->transfer);
	subprocess_cancel(&run->process);
	free_run(run);
}

const struct speech_engine speech_google = {
	.name = "google",
	.label = "google-cloud",
	.needs = "speech.google_url, and speech.google_key or "
	         "speech.google_token_file",
	.usable = google_usable,
	.voice = google_voice,
	.start = google_start,
	.cancel = google_cancel,
};
