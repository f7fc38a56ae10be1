/*
 * The check of recordings: files by libsndfile and sox, files as Asterisk
 * leaves them at each moment of their life, and files that are none.
 */
#include "tests/unit/recording_fixture.h"

#include <spawn.h>
#include <sys/wait.h>

#include "recorder/wav.h"

extern char **environ;

static char dir[FIXTURE_PATH];

static int
make_dir(void **arg KAP_UNUSED)
{
	return fixture_make_dir("/tmp", dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **arg KAP_UNUSED)
{
	fixture_remove_dir(dir);
	return 0;
}

static const char *
path_of(const char *name)
{
	static char path[FIXTURE_PATH + 64];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int
check(const char *path, struct wav_info *info)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct kap_errmsg msg = { .text = "" };
	int rc;

	assert_true(fd >= 0);
	memset(info, 0, sizeof(*info));
	rc = wav_check(fd, (uint64_t)fixture_size(path), info, &msg);
	if (rc != 0)
		assert_true(msg.text[0] != '\0');
	assert_int_equal(close(fd), 0); /* it stayed ours */
	return rc;
}

static void
audio_of_any_rate_is_taken_and_measured(void **arg KAP_UNUSED)
{
	static const struct {
		const char *name;
		int container;
		int rate_hz;
		int channels;
		uint32_t frames;
		uint32_t duration_s;
	} cases[] = {
		{ "as Asterisk", SF_FORMAT_WAV, 8000, 1, 344000, 43 },
		{ "wideband", SF_FORMAT_WAV, 16000, 1, 160000, 10 },
		{ "two channels", SF_FORMAT_WAV, 48000, 2, 96000, 2 },
		{ "extensible", SF_FORMAT_WAVEX, 8000, 1, 8000, 1 },
		{ "no frame", SF_FORMAT_WAV, 8000, 1, 0, 0 },
		{ "one frame", SF_FORMAT_WAV, 8000, 1, 1, 0 },
		{ "under half", SF_FORMAT_WAV, 8000, 1, 3999, 0 },
		{ "half", SF_FORMAT_WAV, 8000, 1, 4000, 1 },
		{ "under one and a half", SF_FORMAT_WAV, 8000, 1, 11999, 1 },
		{ "one and a half", SF_FORMAT_WAV, 8000, 1, 12000, 2 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = path_of("audio.wav");
		struct wav_info info;

		fixture_write_audio(path, cases[i].container |
		    SF_FORMAT_PCM_16, cases[i].rate_hz, cases[i].channels,
		    cases[i].frames);
		if (check(path, &info) != 0)
			fail_msg("%s: refused", cases[i].name);
		assert_int_equal(info.frames, cases[i].frames);
		assert_int_equal(info.rate_hz, cases[i].rate_hz);
		assert_int_equal(info.channels, cases[i].channels);
		assert_int_equal(info.duration_s, cases[i].duration_s);
	}
}

static void
other_audio_is_refused(void **arg KAP_UNUSED)
{
	static const struct {
		const char *name;
		int format;
	} cases[] = {
		{ "8 bits", SF_FORMAT_WAV | SF_FORMAT_PCM_U8 },
		{ "24 bits", SF_FORMAT_WAV | SF_FORMAT_PCM_24 },
		{ "float", SF_FORMAT_WAV | SF_FORMAT_FLOAT },
		{ "u-law", SF_FORMAT_WAV | SF_FORMAT_ULAW },
		{ "GSM", SF_FORMAT_WAV | SF_FORMAT_GSM610 },
		{ "AIFF", SF_FORMAT_AIFF | SF_FORMAT_PCM_16 },
		{ "AU", SF_FORMAT_AU | SF_FORMAT_PCM_16 },
		{ "RF64", SF_FORMAT_RF64 | SF_FORMAT_PCM_16 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = path_of("other.wav");
		struct wav_info info;

		fixture_write_audio(path, cases[i].format, 8000, 1, 1600);
		if (check(path, &info) != -KAP_CORRUPT)
			fail_msg("%s: not refused", cases[i].name);
	}
}

/* A head, and so many bytes of samples behind it. */
struct shape {
	const char *name;
	uint32_t riff_len;
	uint32_t data_len;
	size_t file_len; /* the head included; less cuts it */
	int expect;
	uint32_t frames;
};

static void
lengths_tell_the_finished_from_the_unfinished(void **arg KAP_UNUSED)
{
	static const struct shape cases[] = {
		{ "finished", 36 + 1600, 1600, 44 + 1600, 0, 800 },
		{ "finished without a sample", 36, 0, 44, 0, 0 },
		{ "nothing flushed yet", 0, 0, 0, -KAP_AGAIN, 0 },
		{ "a few bytes", 0, 0, 7, -KAP_AGAIN, 0 },
		{ "half a head", 0, 0, 30, -KAP_AGAIN, 0 },
		{ "head alone, open", 0, 0, 44, -KAP_AGAIN, 0 },
		{ "being written", 0, 0, 44 + 4096, -KAP_AGAIN, 0 },
		{ "first length put right", 36 + 1600, 0, 44 + 1600,
		    -KAP_AGAIN, 0 },
		{ "copied half by mv", 36 + 1600, 1600, 44 + 800,
		    -KAP_AGAIN, 0 },
		{ "cut short by a byte", 36 + 1600, 1600, 44 + 1599,
		    -KAP_AGAIN, 0 },
		{ "grown behind its lengths", 36 + 1600, 1600, 44 + 3200,
		    -KAP_AGAIN, 0 },
		{ "samples longer than the file", 36 + 1600, 3200,
		    44 + 1600, -KAP_AGAIN, 0 },
		{ "lengths without end", UINT32_MAX, UINT32_MAX, 44 + 1600,
		    -KAP_AGAIN, 0 },
		{ "head cut, length of it right", 12, 0, 20, -KAP_AGAIN,
		    0 },
		{ "samples shorter than the file, silence behind",
		    36 + 1600, 800, 44 + 1600, -KAP_CORRUPT, 0 },
	};
	static uint8_t bytes[8192];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = path_of("shape.wav");
		struct wav_info info;
		int rc;

		memset(bytes, 0, sizeof(bytes));
		fixture_put_head(bytes, cases[i].riff_len, cases[i].data_len);
		fixture_write(path, bytes, cases[i].file_len);
		rc = check(path, &info);
		if (rc != cases[i].expect)
			fail_msg("%s: %d", cases[i].name, rc);
		if (rc == 0)
			assert_int_equal(info.frames, cases[i].frames);
	}
}

static void
garbage_is_refused(void **arg KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "text", "this is no recording at all", 27 },
		{ "zeros", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16 },
		{ "RIFF of another kind", "RIFF\x04\0\0\0AVI ", 12 },
		{ "big-endian", "RIFX\0\0\0\x04WAVE", 12 },
		{ "nothing behind the head", "RIFF\x04\0\0\0WAVE", 12 },
		{ "samples without a format",
		    "RIFF\x0e\0\0\0WAVEdata\x02\0\0\0ab", 22 },
		{ "format without samples", "RIFF\x1c\0\0\0WAVEfmt \x10\0\0\0"
		    "\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0", 36 },
		{ "no channel", "RIFF\x26\0\0\0WAVEfmt \x10\0\0\0"
		    "\x01\0\0\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0"
		    "data\x02\0\0\0ab", 46 },
		{ "no rate", "RIFF\x26\0\0\0WAVEfmt \x10\0\0\0"
		    "\x01\0\x01\0\0\0\0\0\x80\x3e\0\0\x02\0\x10\0"
		    "data\x02\0\0\0ab", 46 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = path_of("garbage.wav");
		struct wav_info info;
		int rc;

		fixture_write(path, cases[i].bytes, cases[i].len);
		rc = check(path, &info);
		if (rc != -KAP_CORRUPT)
			fail_msg("%s: %d", cases[i].name, rc);
	}
}

static size_t
put_chunk(uint8_t *to, const char *name, uint32_t len)
{
	memcpy(to, name, 4);
	fixture_put_le32(to + 4, len);
	memset(to + 8, 0, len + (len & 1));
	return 8 + len + (len & 1);
}

static void
chunks_beside_the_samples_are_passed_over(void **arg KAP_UNUSED)
{
	static const struct {
		const char *name;
		unsigned before;
		uint32_t len; /* of each, odd ones are padded */
		unsigned data;
		unsigned after;
		int expect;
	} cases[] = {
		{ "one behind", 0, 10, 1, 1, 0 },
		{ "odd ones on both sides", 2, 7, 1, 2, 0 },
		{ "samples twice", 0, 4, 2, 0, -KAP_CORRUPT },
		{ "no samples", 1, 4, 0, 1, -KAP_CORRUPT },
		{ "too many", 80, 4, 1, 0, -KAP_CORRUPT },
	};
	static uint8_t bytes[8192];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = path_of("chunks.wav");
		struct wav_info info;
		size_t len = 36;
		int rc;

		fixture_put_head(bytes, 0, 0);
		for (unsigned n = 0; n < cases[i].before; n++)
			len += put_chunk(bytes + len, "junk", cases[i].len);
		for (unsigned n = 0; n < cases[i].data; n++)
			len += put_chunk(bytes + len, "data", 160);
		for (unsigned n = 0; n < cases[i].after; n++)
			len += put_chunk(bytes + len, "junk", cases[i].len);
		fixture_put_le32(bytes + 4, (uint32_t)len - 8);
		fixture_write(path, bytes, len);
		rc = check(path, &info);
		if (rc != cases[i].expect)
			fail_msg("%s: %d", cases[i].name, rc);
		if (rc == 0)
			assert_int_equal(info.frames, 80);
	}
}

static void
a_file_of_sox_is_taken(void **arg KAP_UNUSED)
{
	const char *path = path_of("sox.wav");
	const char *words[] = { "sox", "-n", "-r", "8000", "-b", "16", "-c",
		"1", path, "synth", "2.4", "sine", "440", NULL };
	union {
		const char **from;
		char *const *to;
	} argv = { .from = words };
	struct wav_info info;
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, "sox", NULL, NULL, argv.to, environ) != 0)
		skip();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == 127)
		skip();
	assert_int_equal(status, 0);
	assert_int_equal(check(path, &info), 0);
	assert_int_equal(info.frames, 19200);
	assert_int_equal(info.duration_s, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(audio_of_any_rate_is_taken_and_measured),
		cmocka_unit_test(other_audio_is_refused),
		cmocka_unit_test(lengths_tell_the_finished_from_the_unfinished),
		cmocka_unit_test(garbage_is_refused),
		cmocka_unit_test(chunks_beside_the_samples_are_passed_over),
		cmocka_unit_test(a_file_of_sox_is_taken),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
