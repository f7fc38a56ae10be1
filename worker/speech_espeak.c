/*
 * espeak-ng: a program of this machine that speaks nearly every language. The
 * text goes in by its stdin, the sound comes out by its stdout, and ffmpeg
 * makes samples of it.
 */
#include "worker/speech_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "worker/speech_audio.h"

struct speech_run {
	const struct speech_tools *tools;
	struct speech_order order;
	struct subprocess *process; /* the one of the two that runs */
};

static bool
espeak_usable(const struct config *config)
{
	return config->speech.espeak_program[0] != '\0' &&
	    config->speech.ffmpeg_program[0] != '\0';
}

/* Takes `run` over. */
static void
finish(struct speech_run *run, int rc, struct evbuffer *pcm,
    const char *program, const char *error)
{
	const struct speech_order order = run->order;
	char text[SUBPROCESS_ERRORS_MAX + 40] = "";

	if (rc != 0)
		(void)snprintf(text, sizeof(text), "%s: %s", program,
		    error[0] != '\0' ? error : kap_strerror(rc));
	free(run);
	order.done(order.arg, rc, rc == 0 ? pcm : NULL, text);
}

static void
on_converted(void *arg, const struct subprocess_result *result)
{
	finish(arg, result->rc, result->output, "ffmpeg", result->errors);
}

static void
on_spoken(void *arg, const struct subprocess_result *result)
{
	struct speech_run *run = arg;
	int rc = result->rc;

	if (rc != 0) {
		/*
		 * A status of its own: mostly a language that it doesn't have.
		 * And too long a text is no fault of its own.
		 */
		if (rc == -KAP_TOOBIG ||
		    (rc == -KAP_STATE && result->status < 128))
			rc = -KAP_INVAL;
		finish(run, rc, NULL, "espeak-ng",
		    result->rc == -KAP_TOOBIG ? "too much sound" :
		    result->errors);
		return;
	}
	rc = speech_audio_convert(run->tools, "wav", result->output,
	    on_converted, run, &run->process);
	if (rc != 0)
		finish(run, rc, NULL, "ffmpeg", "");
}

/*
 * Two opening brackets would begin phonemes, even without an option for it:
 * a blank is put between them.
 */
static int
add_text(struct evbuffer *input, const char *text)
{
	int rc = 0;

	for (; rc == 0 && *text != '\0'; text++) {
		rc = evbuffer_add(input, text, 1);
		if (rc == 0 && text[0] == '[' && text[1] == '[')
			rc = evbuffer_add(input, " ", 1);
	}
	return rc == 0 ? evbuffer_add(input, "\n", 1) : rc;
}

static int
start_program(struct speech_run *run)
{
	char voice[SPEECH_VOICE_SIZE];
	const char *const argv[] = {
		run->tools->config->speech.espeak_program,
		"-v", voice, "-b", "1", "--stdin", "--stdout", NULL };
	struct subprocess_request request = {
		.argv = argv,
		.input = evbuffer_new(),
		.output_max_bytes = SPEECH_SOUND_MAX,
		.timeout_ms = run->tools->config->speech.timeout_ms,
		.finish = on_spoken,
		.arg = run,
	};
	int rc = -KAP_NOMEM;

	if (request.input == NULL)
		return rc;
	speech_voice_espeak(run->order.voice, voice);
	if (add_text(request.input, run->order.text) == 0)
		rc = subprocess_start(run->tools->programs, &request,
		    &run->process);
	evbuffer_free(request.input);
	return rc;
}

static int
espeak_start(const struct speech_tools *tools,
    const struct speech_order *order, struct speech_run **run_out)
{
	struct speech_run *run = calloc(1, sizeof(*run));
	int rc;

	if (run == NULL)
		return -KAP_NOMEM;
	run->tools = tools;
	run->order = *order;
	rc = start_program(run);
	if (rc != 0) {
		free(run);
		return rc;
	}
	*run_out = run;
	return 0;
}

static void
espeak_cancel(struct speech_run *run)
{
	subprocess_cancel(&run->process);
	free(run);
}

const struct speech_engine speech_espeak = {
	.name = "espeak",
	.label = "espeak-ng",
	.needs = "speech.espeak_program and speech.ffmpeg_program",
	.usable = espeak_usable,
	.voice = speech_voice_espeak,
	.start = espeak_start,
	.cancel = espeak_cancel,
};
