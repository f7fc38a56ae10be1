/*
 * The public endpoint that gTTS (2.2 and later) uses: an MP3 in an RPC's
 * answer for each piece of at most 100 characters. A few pieces are fetched
 * at once; when all are there, ffmpeg makes samples of them in their order.
 */
#include "worker/speech_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <event2/buffer.h>
#include <event2/event.h>

#include "worker/speech_audio.h"
#include "worker/speech_gtts_text.h"

#define PATH "/_/TranslateWebserverUi/data/batchexecute"
#define RPC "jQ1olc"
#define URL_SIZE (CONFIG_TEXT_MAX + sizeof(PATH))
#define AT_ONCE 6 /* a long text's 60 pieces take as long as 10 */
#define ANSWER_MAX (1U << 20) /* a piece speaks for 10 s: 40 KB, in base64 */
#define ERROR_SIZE 160
#define MP3_HEAD_BYTES 3

/* A piece of the text; `text` lies in the run's pieces. */
struct piece {
	struct speech_run *run;
	const char *text;
	char *body;
	struct http_transfer *transfer; /* NULL: it isn't under way */
	struct evbuffer *sound;
};

struct speech_run {
	const struct speech_tools *tools;
	struct speech_order order;
	char language[SPEECH_VOICE_SIZE];
	char url[URL_SIZE];
	struct speech_gtts_pieces split;
	struct piece *pieces;
	unsigned begun;
	unsigned fetched;
	struct subprocess *process;
	/* what goes wrong is told from the loop, when others can be cancelled */
	struct event *failed;
	int rc;
	char error[ERROR_SIZE];
};

static bool
gtts_usable(const struct config *config)
{
	return config->speech.gtts_url[0] != '\0' &&
	    config->speech.ffmpeg_program[0] != '\0';
}

/* Not from within a finish() of a transfer, while others are under way. */
static void
free_run(struct speech_run *run)
{
	for (unsigned i = 0; run->pieces != NULL && i < run->split.count;
	     i++) {
		struct piece *piece = &run->pieces[i];

		http_client_cancel(&piece->transfer);
		cJSON_free(piece->body);
		if (piece->sound != NULL)
			evbuffer_free(piece->sound);
	}
	if (run->failed != NULL)
		event_free(run->failed);
	free(run->pieces);
	free(run->split.text);
	free(run);
}

static void
finish(struct speech_run *run, int rc, struct evbuffer *pcm,
    const char *error)
{
	const struct speech_order order = run->order;
	char text[SUBPROCESS_ERRORS_MAX + 40];

	(void)snprintf(text, sizeof(text), "%s", error);
	free_run(run);
	order.done(order.arg, rc, pcm, text);
}

static void
fail(struct speech_run *run, int rc, const char *error)
{
	if (run->rc != 0)
		return;
	run->rc = rc;
	(void)snprintf(run->error, sizeof(run->error), "%s", error);
	event_active(run->failed, EV_TIMEOUT, 0);
}

static void
on_failed(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct speech_run *run = arg;

	finish(run, run->rc, NULL, run->error);
}

static void
on_converted(void *arg, const struct subprocess_result *result)
{
	char error[SUBPROCESS_ERRORS_MAX + 40] = "";

	if (result->rc != 0)
		(void)snprintf(error, sizeof(error), "ffmpeg: %s",
		    result->errors[0] != '\0' ? result->errors :
		    kap_strerror(result->rc));
	finish(arg, result->rc, result->rc == 0 ? result->output : NULL,
	    error);
}

/* All pieces are there. */
static void
convert(struct speech_run *run)
{
	struct evbuffer *sound = run->pieces[0].sound;
	int rc = 0;

	for (unsigned i = 1; rc == 0 && i < run->split.count; i++) {
		if (evbuffer_add_buffer(sound, run->pieces[i].sound) != 0)
			rc = -KAP_NOMEM;
		else if (evbuffer_get_length(sound) > SPEECH_SOUND_MAX)
			rc = -KAP_TOOBIG;
	}
	if (rc == 0)
		rc = speech_audio_convert(run->tools, "mp3", sound,
		    on_converted, run, &run->process);
	if (rc != 0)
		fail(run, rc, kap_strerror(rc));
}

/* --- the answer ----------------------------------------------------------- */

/*
 * The base64 in the answer: behind the RPC's name stands a string, which is
 * JSON itself, a list whose first entry it is. The whole is a list in lines
 * of which not each is JSON for itself, so no more of it is looked at.
 */
static cJSON *
parse_answer(const char *body)
{
	const char *at = strstr(body, "\"" RPC "\",");
	cJSON *text;
	cJSON *list;

	if (at == NULL)
		return NULL;
	text = cJSON_ParseWithOpts(at + sizeof("\"" RPC "\",") - 1, NULL, 0);
	list = cJSON_Parse(cJSON_IsString(text) ? text->valuestring : "");
	cJSON_Delete(text);
	/* not NULL: it was an answer, but one without sound */
	return list != NULL ? list : cJSON_CreateNull();
}

/* A frame of MPEG audio, or the tag that may stand before the first. */
static bool
is_mp3(struct evbuffer *sound)
{
	unsigned char head[MP3_HEAD_BYTES] = { 0 };

	return evbuffer_copyout(sound, head, sizeof(head)) ==
	    (ev_ssize_t)sizeof(head) &&
	    ((head[0] == 0xff && (head[1] & 0xe0) == 0xe0) ||
	    memcmp(head, "ID3", sizeof(head)) == 0);
}

static int
take_sound(struct evbuffer *sound, const char *body, char error[ERROR_SIZE])
{
	cJSON *list = parse_answer(body);
	const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(list, 0));
	int rc;

	if (list == NULL) {
		(void)snprintf(error, ERROR_SIZE, "no answer to the RPC");
		return -KAP_PROTO;
	}
	if (text == NULL || text[0] == '\0') {
		(void)snprintf(error, ERROR_SIZE, "an answer without sound: "
		    "no such language, or nothing to speak");
		cJSON_Delete(list);
		return -KAP_INVAL;
	}
	rc = speech_audio_base64(text, strlen(text), sound);
	cJSON_Delete(list);
	if (rc == 0 && !is_mp3(sound))
		rc = -KAP_PROTO;
	(void)snprintf(error, ERROR_SIZE, "%s", rc == -KAP_PROTO ?
	    "an answer with something else than MP3" : kap_strerror(rc));
	return rc;
}

static int
judge(struct piece *piece, const struct http_result *result,
    char error[ERROR_SIZE])
{
	if (result->rc != 0) {
		(void)snprintf(error, ERROR_SIZE, "%s", result->error);
		return result->rc;
	}
	if (result->status != 200) {
		(void)snprintf(error, ERROR_SIZE, "status %u",
		    result->status);
		return -KAP_PROTO;
	}
	return take_sound(piece->sound, result->body, error);
}

static void fetch_more(struct speech_run *run);

static void
on_piece(void *arg, const struct http_result *result)
{
	struct piece *piece = arg;
	struct speech_run *run = piece->run;
	char error[ERROR_SIZE];
	const int rc = judge(piece, result, error);

	piece->transfer = NULL;
	cJSON_free(piece->body);
	piece->body = NULL;
	if (rc != 0)
		fail(run, rc, error);
	if (run->rc != 0)
		return;
	run->fetched++;
	if (run->fetched == run->split.count)
		convert(run);
	else
		fetch_more(run);
}

/* --- the request ---------------------------------------------------------- */

/* A list as JSON. Takes the entries over; NULL: out of memory. */
static char *
print_list(cJSON *first, cJSON *second, cJSON *third, cJSON *fourth)
{
	cJSON *const entries[] = { first, second, third, fourth };
	cJSON *list = cJSON_CreateArray();
	char *text;

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		if (!cJSON_AddItemToArray(list, entries[i]))
			cJSON_Delete(entries[i]);
	}
	text = cJSON_PrintUnformatted(list);
	cJSON_Delete(list);
	return text;
}

/*
 * f.req=[[["jQ1olc","[TEXT,LANG,null,\"null\"]",null,"generic"]]]&, escaped.
 * The third of the inner list is the speed. NULL: out of memory.
 */
static char *
make_body(const char *text, const char *language)
{
	char *inner = print_list(cJSON_CreateString(text),
	    cJSON_CreateString(language), cJSON_CreateNull(),
	    cJSON_CreateString("null"));
	char *outer = inner == NULL ? NULL :
	    print_list(cJSON_CreateString(RPC), cJSON_CreateString(inner),
	        cJSON_CreateNull(), cJSON_CreateString("generic"));
	const size_t size = outer == NULL ? 0 :
	    sizeof("f.req=&") + 3 * (strlen(outer) + 4);
	char *body = NULL;
	char *list = size == 0 ? NULL : cJSON_malloc(size);
	char *escaped = NULL;

	if (list != NULL) {
		(void)snprintf(list, size, "[[%s]]", outer);
		escaped = curl_easy_escape(NULL, list, 0);
	}
	if (escaped != NULL) {
		body = list;
		list = NULL;
		(void)snprintf(body, size, "f.req=%s&", escaped);
	}
	curl_free(escaped);
	cJSON_free(list);
	cJSON_free(outer);
	cJSON_free(inner);
	return body;
}

/* What the library sends. */
static int
fetch(struct piece *piece)
{
	static const char *const headers[] = {
		"Content-Type: "
		"application/x-www-form-urlencoded;charset=utf-8",
		"Referer: http://translate.google.com/",
		"User-Agent: Mozilla/5.0 (Windows NT 10.0; WOW64) "
		"AppleWebKit/537.36 (KHTML, like Gecko) "
		"Chrome/47.0.2526.106 Safari/537.36",
	};
	struct speech_run *run = piece->run;
	struct http_request request = {
		.url = run->url,
		.headers = headers,
		.header_count = sizeof(headers) / sizeof(headers[0]),
		.timeout_ms = run->tools->config->speech.timeout_ms,
		.body_max_bytes = ANSWER_MAX,
		.finish = on_piece,
		.arg = piece,
	};

	piece->sound = evbuffer_new();
	piece->body = make_body(piece->text, run->language);
	if (piece->sound == NULL || piece->body == NULL)
		return -KAP_NOMEM;
	request.body = piece->body;
	request.body_len = strlen(piece->body);
	return http_client_send(run->tools->http, &request,
	    &piece->transfer);
}

static void
fetch_more(struct speech_run *run)
{
	int rc = 0;

	while (rc == 0 && run->begun < run->split.count &&
	    run->begun - run->fetched < AT_ONCE)
		rc = fetch(&run->pieces[run->begun++]);
	if (rc != 0)
		fail(run, rc, kap_strerror(rc));
}

static int
prepare(struct speech_run *run)
{
	const char *text;
	int rc = speech_gtts_split(run->order.text, &run->split);

	if (rc != 0)
		return rc;
	run->pieces = calloc(run->split.count, sizeof(*run->pieces));
	run->failed = evtimer_new(run->tools->base, on_failed, run);
	if (run->pieces == NULL || run->failed == NULL)
		return -KAP_NOMEM;
	text = run->split.text;
	for (unsigned i = 0; i < run->split.count; i++) {
		run->pieces[i].run = run;
		run->pieces[i].text = text;
		text += strlen(text) + 1;
	}
	speech_voice_gtts(run->order.voice, run->language);
	speech_engine_url(run->tools->config->speech.gtts_url, PATH,
	    run->url, sizeof(run->url));
	return 0;
}

static int
gtts_start(const struct speech_tools *tools,
    const struct speech_order *order, struct speech_run **run_out)
{
	struct speech_run *run = calloc(1, sizeof(*run));
	int rc;

	if (run == NULL)
		return -KAP_NOMEM;
	run->tools = tools;
	run->order = *order;
	rc = prepare(run);
	if (rc != 0) {
		free_run(run);
		return rc;
	}
	fetch_more(run);
	*run_out = run;
	return 0;
}

static void
gtts_cancel(struct speech_run *run)
{
	subprocess_cancel(&run->process);
	free_run(run);
}

const struct speech_engine speech_gtts = {
	.name = "gtts",
	.label = "gtts",
	.needs = "speech.gtts_url and speech.ffmpeg_program",
	.usable = gtts_usable,
	.voice = speech_voice_gtts,
	.start = gtts_start,
	.cancel = gtts_cancel,
};
