/*
 * The check of a recording. The lengths in the header are walked here, for
 * libsndfile silently puts right those that are wrong, and whether they are
 * right is how a finished file is told from one still being written. What the
 * audio is, is libsndfile's to say.
 */
#include "recorder/wav.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sndfile.h>

#define RIFF_HEAD_LEN 12 /* "RIFF", length, "WAVE" */
#define CHUNK_HEAD_LEN 8 /* name, length */
#define CHUNKS_MAX 64

static uint32_t
get_le32(const uint8_t *from)
{
	return (uint32_t)from[0] | (uint32_t)from[1] << 8 |
	    (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* Read `len` bytes at an offset; -KAP_AGAIN where the file ends before. */
static int
read_at(int fd, uint64_t at, uint8_t *to, size_t len, struct kap_errmsg *msg)
{
	ssize_t got;

	do
		got = pread(fd, to, len, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		kap_errmsg_set(msg, "can't be read: %m");
		return -KAP_IO;
	}
	if ((size_t)got < len) {
		kap_errmsg_set(msg, "ends at byte %llu",
		    (unsigned long long)at + (unsigned long long)got);
		return -KAP_AGAIN;
	}
	return 0;
}

/* The RIFF head: *end_out is where its length says that the file ends. */
static int
check_head(int fd, uint64_t size, uint64_t *end_out, struct kap_errmsg *msg)
{
	uint8_t head[RIFF_HEAD_LEN];
	uint64_t end;
	const int rc = read_at(fd, 0, head, sizeof(head), msg);

	if (rc != 0)
		return rc;
	if (memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0) {
		kap_errmsg_set(msg, "is not a WAV file");
		return -KAP_CORRUPT;
	}
	end = (uint64_t)get_le32(head + 4) + 8;
	/* an odd length is followed by a byte that it doesn't count */
	if (size != end && size != end + (end & 1)) {
		kap_errmsg_set(msg, "has %llu bytes, its header says %llu",
		    (unsigned long long)size, (unsigned long long)end);
		return -KAP_AGAIN;
	}
	*end_out = end;
	return 0;
}

/*
 * Walk the chunks: each must end within the file, and one must hold the
 * samples. Of the two lengths that Asterisk fills in, the file's is the first
 * and the samples' the second: in between the samples have the length zero
 * and yet something follows.
 */
static int
check_chunks(int fd, uint64_t end, struct kap_errmsg *msg)
{
	uint64_t at = RIFF_HEAD_LEN;
	bool has_data = false;

	for (int i = 0; i < CHUNKS_MAX && end - at >= CHUNK_HEAD_LEN; i++) {
		uint8_t head[CHUNK_HEAD_LEN];
		const int rc = read_at(fd, at, head, sizeof(head), msg);
		const bool is_data = memcmp(head, "data", 4) == 0;
		uint64_t len;

		if (rc != 0)
			return rc;
		len = get_le32(head + 4);
		at += CHUNK_HEAD_LEN;
		if (len > end - at || (is_data && len == 0 && at < end)) {
			kap_errmsg_set(msg, "has a part that says %llu bytes, "
			    "and %llu follow", (unsigned long long)len,
			    (unsigned long long)(end - at));
			return -KAP_AGAIN;
		}
		if (is_data && has_data)
			break;
		has_data = has_data || is_data;
		at += len + (len & 1);
		if (at >= end)
			break;
	}
	if (!has_data || at < end) {
		kap_errmsg_set(msg, "has no samples, or too much beside them");
		return -KAP_CORRUPT;
	}
	return 0;
}

/*
 * What libsndfile reads the file through. It isn't given the descriptor, for
 * sf_open_fd of 1.2.0 closes it where it refuses the file, and other versions
 * don't (libsndfile issue 949).
 */
struct reader {
	int fd;
	int error; /* errno of a read that failed */
	sf_count_t size;
	sf_count_t at;
};

static sf_count_t
reader_size(void *arg)
{
	const struct reader *reader = arg;

	return reader->size;
}

static sf_count_t
reader_tell(void *arg)
{
	const struct reader *reader = arg;

	return reader->at;
}

static sf_count_t
reader_seek(sf_count_t offset, int whence, void *arg)
{
	struct reader *reader = arg;
	sf_count_t from = 0;

	if (whence == SEEK_CUR)
		from = reader->at;
	else if (whence == SEEK_END)
		from = reader->size;
	if (offset < -from || offset > reader->size - from)
		return -1;
	reader->at = from + offset;
	return reader->at;
}

static sf_count_t
reader_read(void *to, sf_count_t len, void *arg)
{
	struct reader *reader = arg;
	ssize_t got;

	if (len <= 0)
		return 0;
	do
		got = pread(reader->fd, to, (size_t)len, (off_t)reader->at);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		reader->error = errno;
		return 0;
	}
	reader->at += got;
	return got;
}

static sf_count_t
reader_write(const void *from KAP_UNUSED, sf_count_t len KAP_UNUSED,
    void *arg KAP_UNUSED)
{
	return 0;
}

/* What libsndfile tells of the file: is it what we keep? */
static int
judge_audio(const SF_INFO *audio, uint64_t size, struct wav_info *info_out,
    struct kap_errmsg *msg)
{
	const int container = audio->format & SF_FORMAT_TYPEMASK;

	if ((container != SF_FORMAT_WAV && container != SF_FORMAT_WAVEX) ||
	    (audio->format & SF_FORMAT_SUBMASK) != SF_FORMAT_PCM_16) {
		kap_errmsg_set(msg, "is not 16-bit PCM (format %#x)",
		    (unsigned)audio->format);
		return -KAP_CORRUPT;
	}
	if (audio->samplerate <= 0 || audio->channels <= 0 ||
	    audio->frames < 0 || (uint64_t)audio->frames > size) {
		kap_errmsg_set(msg, "makes no sense: %d Hz, %d channels",
		    audio->samplerate, audio->channels);
		return -KAP_CORRUPT;
	}
	info_out->rate_hz = (uint32_t)audio->samplerate;
	info_out->channels = (uint32_t)audio->channels;
	info_out->frames = (uint64_t)audio->frames;
	/* fits: the file's length is one of 32 bits, and so is this */
	info_out->duration_s = (uint32_t)((info_out->frames +
	    info_out->rate_hz / 2) / info_out->rate_hz);
	return 0;
}

static int
check_audio(int fd, uint64_t size, struct wav_info *info_out,
    struct kap_errmsg *msg)
{
	struct reader reader = { .fd = fd, .size = (sf_count_t)size };
	SF_VIRTUAL_IO through = { reader_size, reader_seek, reader_read,
		reader_write, reader_tell };
	SF_INFO audio = { .format = 0 };
	SNDFILE *file = sf_open_virtual(&through, SFM_READ, &audio, &reader);

	if (file != NULL)
		(void)sf_close(file);
	if (reader.error != 0) {
		errno = reader.error;
		kap_errmsg_set(msg, "can't be read: %m");
		return -KAP_IO;
	}
	if (file == NULL) {
		kap_errmsg_set(msg, "is refused by libsndfile");
		return -KAP_CORRUPT;
	}
	return judge_audio(&audio, size, info_out, msg);
}

int
wav_check(int fd, uint64_t size, struct wav_info *info_out,
    struct kap_errmsg *msg)
{
	uint64_t end;
	int rc = check_head(fd, size, &end, msg);

	if (rc == 0)
		rc = check_chunks(fd, end, msg);
	if (rc == 0)
		rc = check_audio(fd, size, info_out, msg);
	return rc;
}
