/*
 * Sound on its way from an engine to the samples that are stored: base64,
 * WAV by libsndfile, anything else by ffmpeg.
 */
#ifndef KAP_WORKER_SPEECH_AUDIO_H
#define KAP_WORKER_SPEECH_AUDIO_H

#include <stddef.h>

#include "shared/errors.h"
#include "shared/subprocess.h"
#include "worker/speech_engine.h"

/*
 * Of what an engine may answer or write for one text: 25 minutes of espeak-ng's
 * samples, and the longest text there may be is of some 15.
 */
#define SPEECH_SOUND_MAX (64U << 20)

struct evbuffer;

/*
 * Decode base64 strictly: nothing but it, with its padding.
 *
 * Returns 0; -KAP_PROTO; -KAP_NOMEM. On error nothing is added to `out`.
 */
KAP_MUST_USE int speech_audio_base64(const char *text, size_t len,
    struct evbuffer *out);

/*
 * Append the samples of a WAV that is in memory.
 *
 * Returns 0; -KAP_STATE for one that isn't 8 kHz, mono, 16-bit: it has to be
 * converted; -KAP_PROTO for anything else; -KAP_NOMEM; -KAP_TOOBIG.
 */
KAP_MUST_USE int speech_audio_wav(struct evbuffer *wav, struct evbuffer *pcm);

/*
 * Have ffmpeg make samples of a sound.
 *
 * format  ffmpeg's name of what comes in: "wav", "mp3"
 * sound   drained during the call
 * finish  as in subprocess_request; its output is the samples
 *
 * Returns as subprocess_start() does.
 */
KAP_MUST_USE int speech_audio_convert(const struct speech_tools *tools,
    const char *format, struct evbuffer *sound, subprocess_finish_fn *finish,
    void *arg, struct subprocess **process_out);

#endif
