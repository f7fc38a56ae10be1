/*
 * What speech.c knows of an engine, and what the engines share. An engine
 * makes samples out of a text; when, in which order and how long it may take
 * is decided in speech.c.
 */
#ifndef KAP_WORKER_SPEECH_ENGINE_H
#define KAP_WORKER_SPEECH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>

#include "shared/config.h"
#include "shared/errors.h"
#include "shared/http_client.h"
#include "shared/subprocess.h"
#include "worker/speech_voice.h"

struct evbuffer;
struct event_base;
struct speech_google_token;

/* What engines work with; borrowed, outlives all that they start. */
struct speech_tools {
	struct event_base *base;
	const struct config *config;
	struct http_client *http;
	struct subprocess_set *programs;
	struct speech_google_token *token;
};

/*
 * How an engine ended; called once, from the loop, never from within start().
 * The engine's run is over by then, and must not be cancelled.
 *
 * rc     0; -KAP_INVAL: it can't speak this text or voice, though it works;
 *        any other: it doesn't work now
 * pcm    with rc 0 the samples: 8 kHz, mono, 16 bit, little-endian; borrowed
 *        until the return, may be drained. Else NULL.
 * error  words for the log; "" with rc 0
 */
typedef void speech_engine_done_fn(void *arg, int rc, struct evbuffer *pcm,
    const char *error);

/* What is to be spoken; borrowed until done() or the cancelling. */
struct speech_order {
	const struct speech_voice *voice;
	const char *text; /* clean (speech_text.h) */
	speech_engine_done_fn *done;
	void *arg;
};

/* Of a run; each engine has its own behind it. */
struct speech_run;

struct speech_engine {
	const char *name;  /* in the configuration, and of its files */
	const char *label; /* what clients are told (/health) */
	const char *needs; /* its keys, for the log */
	/* Whether the configuration has all that it needs. */
	bool (*usable)(const struct config *config);
	/* What of the voice matters to it: voices of the same name are one. */
	void (*voice)(const struct speech_voice *voice,
	    char out[SPEECH_VOICE_SIZE]);
	/* Returns 0, and done() will come; or -KAP_*, and it never will. */
	int (*start)(const struct speech_tools *tools,
	    const struct speech_order *order, struct speech_run **run_out);
	/* No done() comes. Not from within a finish() of the tools. */
	void (*cancel)(struct speech_run *run);
};

extern const struct speech_engine speech_google;
extern const struct speech_engine speech_gtts;
extern const struct speech_engine speech_espeak;

/*
 * The configured engines that are usable, in their order.
 *
 * out  room for SPEECH_ENGINES_MAX
 *
 * Returns how many.
 */
#define SPEECH_ENGINES_MAX 3
unsigned speech_engines(const struct config *config,
    const struct speech_engine *out[SPEECH_ENGINES_MAX]);

/*
 * What an engine's name in speech.engines stands for; NULL: nothing.
 * `len` bytes at `name` count.
 */
const struct speech_engine *speech_engine_find(const char *name, size_t len);

/* The usable engines as /health tells them, "none" if there is none. */
#define SPEECH_LABELS_SIZE 64 /* "google-cloud-fallback-gtts" */
void speech_engines_describe(const struct config *config,
    char out[SPEECH_LABELS_SIZE]);

/* A configured address, with or without a '/' at its end, and a path. */
void speech_engine_url(const char *address, const char *path, char *out,
    size_t size);

/* Where an engine stands in the statistics, 0..SPEECH_ENGINES_MAX - 1. */
unsigned speech_engine_index(const struct speech_engine *engine);

#endif
