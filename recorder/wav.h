/*
 * Whether a file is a finished recording: a WAV file as Asterisk writes it,
 * whole, 16-bit PCM.
 */
#ifndef KAP_RECORDER_WAV_H
#define KAP_RECORDER_WAV_H

#include <stdint.h>

#include "shared/errors.h"

struct wav_info {
	uint32_t duration_s; /* rounded to the nearest */
	uint32_t rate_hz;
	uint32_t channels;
	uint64_t frames;
};

/*
 * Check a file. Asterisk writes lengths of zero first and the right ones
 * when it closes the file, so a header whose lengths don't agree with the
 * file is that of a file still being written (or cut short for good: the
 * caller's patience decides).
 *
 * fd    a regular file, open for reading; stays the caller's, and where it
 *       stands is left alone
 * size  its length in bytes
 * msg   why not, for a person
 *
 * Returns 0; -KAP_AGAIN where the lengths don't agree; -KAP_CORRUPT where it
 * is no WAV file or not 16-bit PCM; -KAP_IO. *info_out is unset on error.
 * Reads the head of the file and of its chunks, and blocks on the disk.
 * The form: "Multimedia Programming Interface and Data Specifications 1.0",
 * RIFF and WAVE; the lengths: Asterisk's formats/format_wav.c.
 */
KAP_MUST_USE int wav_check(int fd, uint64_t size, struct wav_info *info_out,
    struct kap_errmsg *msg);

#endif
