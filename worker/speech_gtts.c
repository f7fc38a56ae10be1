/*
 * The public endpoint that gTTS uses: an MP3 for each piece of at most 100
 * characters, fetched one after the other over one connection, then made into
 * samples by ffmpeg all together.
 */
#include "worker/speech_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <event2/buffer.h>

#include "worker/speech_audio.h"
#include "worker/speech_text.h"

#define PIECE_CHARS 100
#define PIECE_BYTES (4 * PIECE_CHARS)
#define PIECE_SOUND_MAX (1U << 20) /* a piece speaks for 10 s: 40 KB */
#define URL_SIZE (CONFIG_TEXT_MAX + 3 * PIECE_BYTES + 200)

struct speech_run {
	const struct speech_tools *tools;
	struct speech_order order;
	char language[SPEECH_VOICE_SIZE];
	const char *next; /* the text that isn't fetched yet */
	unsigned piece;   /* the number of the one that is being fetched */
	unsigned pieces;
	struct evbuffer *sound;
	struct http_transfer *transfer;
	struct subprocess *process;
};

static void fetch_next(struct speech_run *run);

static bool
gtts_usable(const struct config *config)
{
	return config->speech.gtts_url[0] != '\0' &&
	    config->speech.ffmpeg_program[0] != '\0';
}

static void
free_run(struct speech_run *run)
{
	if (run->sound != NULL)
		evbuffer_free(run->sound);
	free(run);
}

static void
finish(struct speech_run *run, int rc, struct evbuffer *pcm,
    const char *error)
{
	const struct speech_order order = run->order;

	free_run(run);
	order.done(order.arg, rc, pcm, error);
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

/* 400 and 404 are about the text or the language, not about the service. */
static int
judge(const struct http_result *result, char *error, size_t size)
{
	if (result->rc != 0) {
		(void)snprintf(error, size, "%s", result->error);
		return result->rc;
	}
	if (result->status == 200 && result->body_len > 0)
		return 0;
	(void)snprintf(error, size, "status %u with %zu bytes",
	    result->status, result->body_len);
	return result->status == 400 || result->status == 404 ? -KAP_INVAL :
	    -KAP_PROTO;
}

static void
on_piece(void *arg, const struct http_result *result)
{
	struct speech_run *run = arg;
	char error[160];
	int rc = judge(result, error, sizeof(error));

	run->transfer = NULL;
	if (rc == 0 && (evbuffer_add(run->sound, result->body,
	        result->body_len) != 0 ||
	    evbuffer_get_length(run->sound) > SPEECH_SOUND_MAX)) {
		rc = -KAP_TOOBIG;
		(void)snprintf(error, sizeof(error), "too much sound");
	}
	if (rc != 0) {
		finish(run, rc, NULL, error);
		return;
	}
	fetch_next(run);
}

/* The same fields in the same order as gTTS sends. */
static int
make_url(const struct speech_run *run, const char *piece, size_t len,
    size_t chars, char url[URL_SIZE])
{
	char *escaped = curl_easy_escape(NULL, piece, (int)len);
	int written;

	if (escaped == NULL)
		return -KAP_NOMEM;
	written = snprintf(url, URL_SIZE, "%s/translate_tts?ie=UTF-8&q=%s"
	    "&tl=%s&ttsspeed=1&total=%u&idx=%u&client=tw-ob&textlen=%zu",
	    run->tools->config->speech.gtts_url, escaped, run->language,
	    run->pieces, run->piece, chars);
	curl_free(escaped);
	return written > 0 && written < URL_SIZE ? 0 : -KAP_TOOBIG;
}

static size_t
count_chars(const char *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += ((unsigned char)text[i] & 0xc0) != 0x80;
	return count;
}

/* The piece begins at run->next, behind what blanks there may be. */
static int
fetch(struct speech_run *run, size_t len, const char *next)
{
	static const char *const headers[] = {
		"Referer: https://translate.google.com/",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
	};
	char url[URL_SIZE];
	const char *piece = run->next + strspn(run->next, " ");
	const struct http_request request = {
		.url = url,
		.headers = headers,
		.header_count = sizeof(headers) / sizeof(headers[0]),
		.timeout_ms = run->tools->config->speech.timeout_ms,
		.body_max_bytes = PIECE_SOUND_MAX,
		.finish = on_piece,
		.arg = run,
	};
	const int rc = make_url(run, piece, len, count_chars(piece, len),
	    url);

	run->next = next;
	run->piece++;
	return rc != 0 ? rc : http_client_send(run->tools->http, &request,
	    &run->transfer);
}

/* The next piece; behind the last one ffmpeg. */
static void
fetch_next(struct speech_run *run)
{
	const char *next;
	const size_t len = speech_text_piece(run->next, PIECE_CHARS,
	    PIECE_BYTES, &next);
	const int rc = len > 0 ? fetch(run, len, next) :
	    speech_audio_convert(run->tools, "mp3", run->sound, on_converted,
	        run, &run->process);

	if (rc != 0)
		finish(run, rc, NULL, kap_strerror(rc));
}

static unsigned
count_pieces(const char *text)
{
	unsigned count = 0;

	while (speech_text_piece(text, PIECE_CHARS, PIECE_BYTES, &text) > 0)
		count++;
	return count;
}

static int
gtts_start(const struct speech_tools *tools,
    const struct speech_order *order, struct speech_run **run_out)
{
	struct speech_run *run = calloc(1, sizeof(*run));
	const char *next;
	size_t len;
	int rc = -KAP_NOMEM;

	if (run == NULL)
		return rc;
	run->tools = tools;
	run->order = *order;
	run->next = order->text;
	run->pieces = count_pieces(order->text);
	run->sound = evbuffer_new();
	speech_voice_gtts(order->voice, run->language);
	if (run->sound != NULL) {
		len = speech_text_piece(run->next, PIECE_CHARS, PIECE_BYTES,
		    &next);
		rc = fetch(run, len, next);
	}
	if (rc != 0) {
		free_run(run);
		return rc;
	}
	*run_out = run;
	return 0;
}

static void
gtts_cancel(struct speech_run *run)
{
	if (run->transfer != NULL)
		http_client_cancel(&run->transfer);
	subprocess_cancel(&run->process);
	free_run(run);
}

const struct speech_engine speech_gtts = {
	.name = "gtts",
	.usable = gtts_usable,
	.voice = speech_voice_gtts,
	.start = gtts_start,
	.cancel = gtts_cancel,
};
