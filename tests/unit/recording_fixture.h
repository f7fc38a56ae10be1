/*
 * What the recorder's tests share: a folder of their own, WAV files made by
 * libsndfile or byte by byte, and a look at what lies where. Everything is
 * static: each test is a binary of its own.
 */
#ifndef KAP_TEST_RECORDING_FIXTURE_H
#define KAP_TEST_RECORDING_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sndfile.h>

#include "shared/errors.h"

#define FIXTURE_PATH 1024

/* A new folder below `base`; NULL where `base` can't hold one. */
KAP_UNUSED static const char *
fixture_make_dir(const char *base, char out[FIXTURE_PATH])
{
	(void)snprintf(out, FIXTURE_PATH, "%s/kaphila-test-XXXXXX", base);
	return mkdtemp(out);
}

static int
remove_entry(const char *path, const struct stat *st KAP_UNUSED,
    int kind KAP_UNUSED, struct FTW *ftw KAP_UNUSED)
{
	return remove(path);
}

KAP_UNUSED static void
fixture_remove_dir(const char *dir)
{
	(void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

KAP_UNUSED static void
fixture_make_folder(const char *dir, const char *name, char out[FIXTURE_PATH])
{
	assert_in_range(snprintf(out, FIXTURE_PATH, "%s/%s", dir, name), 1,
	    FIXTURE_PATH - 1);
	if (mkdir(out, 0755) != 0)
		fail_msg("mkdir %s", out);
}

KAP_UNUSED static void
fixture_write(const char *path, const void *bytes, size_t len)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
	    0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	assert_int_equal(close(fd), 0);
}

/* A tone by libsndfile, in any of its formats. */
KAP_UNUSED static void
fixture_write_audio(const char *path, int format, int rate_hz, int channels,
    uint32_t frames)
{
	SF_INFO info = { .samplerate = rate_hz, .channels = channels,
		.format = format };
	SNDFILE *file = sf_open(path, SFM_WRITE, &info);
	int16_t samples[1024];

	if (file == NULL)
		fail_msg("libsndfile can't make %s", path);
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		samples[i] = (int16_t)((int)(i * 997 % 16384) - 8192);
	while (frames > 0) {
		const uint32_t room =
		    (uint32_t)(sizeof(samples) / sizeof(samples[0])) /
		    (uint32_t)channels;
		const uint32_t now = frames < room ? frames : room;

		assert_int_equal(sf_writef_short(file, samples, now), now);
		frames -= now;
	}
	assert_int_equal(sf_close(file), 0);
}

/* What Asterisk writes: 8 kHz, one channel, 16 bits. */
KAP_UNUSED static void
fixture_write_wav(const char *path, uint32_t frames)
{
	fixture_write_audio(path, SF_FORMAT_WAV | SF_FORMAT_PCM_16, 8000, 1,
	    frames);
}

KAP_UNUSED static void
fixture_put_le32(uint8_t *to, uint32_t number)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(number >> (8 * i));
}

#define FIXTURE_HEAD_LEN 44

/* The head as Asterisk's format_wav writes it, with lengths of choice. */
KAP_UNUSED static void
fixture_put_head(uint8_t head[FIXTURE_HEAD_LEN], uint32_t riff_len,
    uint32_t data_len)
{
	static const uint8_t form[FIXTURE_HEAD_LEN] = "RIFF....WAVEfmt "
	    "\x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data";

	memcpy(head, form, FIXTURE_HEAD_LEN);
	fixture_put_le32(head + 4, riff_len);
	fixture_put_le32(head + 40, data_len);
}

KAP_UNUSED static int64_t
fixture_size(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static unsigned fixture_files_seen;

static int
count_file(const char *path KAP_UNUSED, const struct stat *st KAP_UNUSED,
    int kind, struct FTW *ftw KAP_UNUSED)
{
	if (kind != FTW_D && kind != FTW_DP)
		fixture_files_seen++;
	return 0;
}

/* Everything below a folder that is no folder. */
KAP_UNUSED static unsigned
fixture_count_files(const char *dir)
{
	fixture_files_seen = 0;
	(void)nftw(dir, count_file, 16, FTW_PHYS);
	return fixture_files_seen;
}

#endif
