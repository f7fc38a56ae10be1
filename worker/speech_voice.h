/*
 * The name of a voice as clients give it ("en-US-Neural2-A"), and what each
 * engine calls the same. What comes out is made of letters, digits and
 * dashes alone, and begins with a letter.
 */
#ifndef KAP_WORKER_SPEECH_VOICE_H
#define KAP_WORKER_SPEECH_VOICE_H

#include "shared/errors.h"
#include "worker/speech.h"

#define SPEECH_VOICE_SIZE (SPEECH_NAME_MAX + 1)

struct speech_voice {
	char name[SPEECH_VOICE_SIZE];     /* "en-US-Neural2-A" */
	char tag[SPEECH_VOICE_SIZE];      /* "en-US" */
	char language[SPEECH_VOICE_SIZE]; /* "en" */
	char region[SPEECH_VOICE_SIZE];   /* "US", or "" */
};

/*
 * Take a name apart. The language's letters become small ones, the region's
 * capitals.
 *
 * Returns 0, or -KAP_INVAL for what isn't of the form language[-REGION[-…]].
 */
KAP_MUST_USE int speech_voice_parse(const char *name,
    struct speech_voice *voice_out);

/* What gTTS's endpoint calls the language: "en", "zh-CN", "iw". */
void speech_voice_gtts(const struct speech_voice *voice,
    char out[SPEECH_VOICE_SIZE]);

/* What espeak-ng calls it: "en-us", "cmn", "fr". */
void speech_voice_espeak(const struct speech_voice *voice,
    char out[SPEECH_VOICE_SIZE]);

#endif
