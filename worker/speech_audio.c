/*
 * Decoders between engines and the cache. What comes in is never trusted: it
 * is bounded, and either exactly of the form that is stored or not taken.
 */
#include "worker/speech_audio.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <openssl/evp.h>
#include <sndfile.h>

#include "shared/speech_cache.h"

#define FRAMES_STEP 4096

/* Decode into `out`. Returns how many bytes, or -1. */
static int
decode_base64(const char *text, size_t len, unsigned char *out)
{
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	int used = 0;
	int rest = 0;
	int rc = -1;

	if (ctx == NULL)
		return -1;
	EVP_DecodeInit(ctx);
	if (EVP_DecodeUpdate(ctx, out, &used, (const unsigned char *)text,
	        (int)len) >= 0 &&
	    EVP_DecodeFinal(ctx, out + used, &rest) == 1)
		rc = used + rest;
	EVP_ENCODE_CTX_free(ctx);
	return rc;
}

int
speech_audio_base64(const char *text, size_t len, struct evbuffer *out)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789+/=";
	unsigned char *data;
	int decoded;
	int rc = 0;

	/* OpenSSL stops at some signs and skips others: they are ruled out */
	if (len == 0 || len % 4 != 0 || len > INT_MAX / 2 ||
	    strspn(text, alphabet) != len)
		return -KAP_PROTO;
	data = malloc(len / 4 * 3 + 3);
	if (data == NULL)
		return -KAP_NOMEM;
	decoded = decode_base64(text, len, data);
	if (decoded <= 0)
		rc = -KAP_PROTO;
	else if (evbuffer_add(out, data, (size_t)decoded) != 0)
		rc = -KAP_NOMEM;
	free(data);
	return rc;
}

/* A file in memory, for libsndfile. */
struct memory_file {
	const char *data;
	sf_count_t len;
	sf_count_t at;
};

static sf_count_t
memory_len(void *arg)
{
	const struct memory_file *file = arg;

	return file->len;
}

static sf_count_t
memory_seek(sf_count_t offset, int whence, void *arg)
{
	struct memory_file *file = arg;
	const sf_count_t from = whence == SEEK_CUR ? file->at :
	    whence == SEEK_END ? file->len : 0;

	if (offset >= -from && offset <= file->len - from)
		file->at = from + offset;
	return file->at;
}

static sf_count_t
memory_read(void *to, sf_count_t count, void *arg)
{
	struct memory_file *file = arg;

	if (count > file->len - file->at)
		count = file->len - file->at;
	if (count <= 0)
		return 0;
	memcpy(to, file->data + file->at, (size_t)count);
	file->at += count;
	return count;
}

static sf_count_t
memory_tell(void *arg)
{
	const struct memory_file *file = arg;

	return file->at;
}

/* libsndfile gives samples in this machine's order; they are stored as LE. */
static int
add_samples(const short *samples, size_t count, struct evbuffer *pcm)
{
	unsigned char bytes[2 * FRAMES_STEP];

	for (size_t i = 0; i < count; i++) {
		const uint16_t sample = (uint16_t)samples[i];

		bytes[2 * i] = (unsigned char)(sample & 0xff);
		bytes[2 * i + 1] = (unsigned char)(sample >> 8);
	}
	return evbuffer_add(pcm, bytes, 2 * count) == 0 ? 0 : -KAP_NOMEM;
}

static int
read_samples(SNDFILE *file, struct evbuffer *pcm)
{
	short samples[FRAMES_STEP];
	sf_count_t got;
	int rc = 0;

	while (rc == 0 &&
	    (got = sf_read_short(file, samples, FRAMES_STEP)) > 0) {
		rc = add_samples(samples, (size_t)got, pcm);
		if (evbuffer_get_length(pcm) > SPEECH_PCM_MAX)
			rc = -KAP_TOOBIG;
	}
	return rc;
}

int
speech_audio_wav(struct evbuffer *wav, struct evbuffer *pcm)
{
	static SF_VIRTUAL_IO io = { .get_filelen = memory_len,
		.seek = memory_seek, .read = memory_read,
		.tell = memory_tell };
	struct memory_file memory = {
		.len = (sf_count_t)evbuffer_get_length(wav),
	};
	SF_INFO info = { .format = 0 };
	SNDFILE *file;
	int rc = -KAP_PROTO;

	memory.data = (const char *)evbuffer_pullup(wav, -1);
	if (memory.data == NULL)
		return memory.len == 0 ? -KAP_PROTO : -KAP_NOMEM;
	file = sf_open_virtual(&io, SFM_READ, &info, &memory);
	if (file == NULL)
		return -KAP_PROTO;
	if ((info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_WAV)
		rc = (info.format & SF_FORMAT_SUBMASK) == SF_FORMAT_PCM_16 &&
		    info.channels == 1 && info.samplerate == SPEECH_RATE_HZ ?
		    read_samples(file, pcm) : -KAP_STATE;
	(void)sf_close(file);
	return rc;
}

int
speech_audio_convert(const struct speech_tools *tools, const char *format,
    struct evbuffer *sound, subprocess_finish_fn *finish, void *arg,
    struct subprocess **process_out)
{
	/* only from stdin: no file or address in the data is ever opened */
	const char *const argv[] = { tools->config->speech.ffmpeg_program,
		"-nostdin", "-hide_banner", "-loglevel", "error",
		"-threads", "1", "-protocol_whitelist", "pipe", "-f", format,
		"-i", "pipe:0", "-map", "0:a:0", "-ac", "1", "-ar", "8000",
		"-c:a", "pcm_s16le", "-f", "s16le", "pipe:1", NULL };
	const struct subprocess_request request = {
		.argv = argv,
		.input = sound,
		.output_max_bytes = SPEECH_PCM_MAX,
		.timeout_ms = tools->config->speech.timeout_ms,
		.finish = finish,
		.arg = arg,
	};

	return subprocess_start(tools->programs, &request, process_out);
}
