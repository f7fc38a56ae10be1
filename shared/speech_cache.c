/*
 * Names, locks and files of spoken texts. It decides neither what is spoken
 * nor what has to go.
 */
#include "speech_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <openssl/evp.h>

#define FOLDER_MODE 0755 /* Asterisk is another user and has to read */
#define FILE_MODE 0644
#define LOCK_TRIES 8 /* a lock's file may be replaced while it is opened */

static const char *const endings[] = {
	[SPEECH_FILE_WAV] = ".wav",
	[SPEECH_FILE_TEMPORARY] = ".tmp",
	[SPEECH_FILE_LOCK] = ".lock",
};

static int
file_error(int error)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return -KAP_FULL;
	case EACCES:
	case EPERM:
	case EROFS:
		return -KAP_DENIED;
	default:
		return -KAP_IO;
	}
}

void
speech_cache_dir(const struct config *config, char out[SPEECH_PATH_SIZE])
{
	if (config->speech.dir[0] != '\0')
		(void)snprintf(out, SPEECH_PATH_SIZE, "%s",
		    config->speech.dir);
	else
		(void)snprintf(out, SPEECH_PATH_SIZE, "%s/speech",
		    config->node.data_dir);
}

/* Each part with its NUL, so that no two lists of parts look the same. */
int
speech_cache_hash(const char *engine, const char *voice, const char *text,
    char out[SPEECH_HASH_SIZE])
{
	static const char form[] = "kaphila speech 1: 8000 Hz mono s16";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int ok;

	if (ctx == NULL)
		return -KAP_NOMEM;
	ok = EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(ctx, form, sizeof(form)) == 1 &&
	    EVP_DigestUpdate(ctx, engine, strlen(engine) + 1) == 1 &&
	    EVP_DigestUpdate(ctx, voice, strlen(voice) + 1) == 1 &&
	    EVP_DigestUpdate(ctx, text, strlen(text) + 1) == 1 &&
	    EVP_DigestFinal_ex(ctx, digest, &len) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return -KAP_NOMEM;
	for (unsigned i = 0; i < len; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

void
speech_cache_path(const char *dir, const char *hash, enum speech_file file,
    char out[SPEECH_PATH_SIZE])
{
	(void)snprintf(out, SPEECH_PATH_SIZE, "%s/%.2s/%s%s", dir, hash, hash,
	    endings[file]);
}

int
speech_cache_name(const char *name, enum speech_file *file_out)
{
	const size_t len = strspn(name, "0123456789abcdef");

	if (len != SPEECH_HASH_SIZE - 1)
		return -KAP_INVAL;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		if (strcmp(name + len, endings[i]) == 0) {
			*file_out = (enum speech_file)i;
			return 0;
		}
	}
	return -KAP_INVAL;
}

bool
speech_cache_is_folder(const char *name)
{
	return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static void
put_u16(unsigned char *at, unsigned value)
{
	at[0] = (unsigned char)(value & 0xff);
	at[1] = (unsigned char)(value >> 8 & 0xff);
}

static void
put_u32(unsigned char *at, uint32_t value)
{
	put_u16(at, value & 0xffff);
	put_u16(at + 2, value >> 16);
}

/* The plainest head there is; Asterisk's format_wav reads it. */
static void
make_head(unsigned char head[SPEECH_WAV_HEAD], uint32_t data_bytes)
{
	memcpy(head, "RIFF", 4);
	put_u32(head + 4, data_bytes + SPEECH_WAV_HEAD - 8);
	memcpy(head + 8, "WAVEfmt ", 8);
	put_u32(head + 16, 16);
	put_u16(head + 20, 1); /* PCM */
	put_u16(head + 22, 1); /* channels */
	put_u32(head + 24, SPEECH_RATE_HZ);
	put_u32(head + 28, SPEECH_RATE_HZ * SPEECH_SAMPLE_BYTES);
	put_u16(head + 32, SPEECH_SAMPLE_BYTES);
	put_u16(head + 34, 8 * SPEECH_SAMPLE_BYTES);
	memcpy(head + 36, "data", 4);
	put_u32(head + 40, data_bytes);
}

/* Its head is the one that belongs to its size. */
static bool
is_whole(int fd)
{
	unsigned char head[SPEECH_WAV_HEAD];
	unsigned char expected[SPEECH_WAV_HEAD];
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    st.st_size < SPEECH_WAV_HEAD +
	    SPEECH_SAMPLES_MIN * SPEECH_SAMPLE_BYTES ||
	    st.st_size > (off_t)SPEECH_PCM_MAX + SPEECH_WAV_HEAD)
		return false;
	make_head(expected, (uint32_t)st.st_size - SPEECH_WAV_HEAD);
	return pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	    memcmp(head, expected, sizeof(head)) == 0;
}

bool
speech_cache_hit(const char *dir, const char *hash)
{
	char path[SPEECH_PATH_SIZE];
	struct stat st;
	bool hit;
	int fd;

	speech_cache_path(dir, hash, SPEECH_FILE_WAV, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return false;
	hit = is_whole(fd);
	/* who may not write to it may not remove it either: it is used as is */
	if (hit)
		(void)futimens(fd, NULL);
	else
		(void)unlink(path);
	/* it may have been removed for its age a moment before it was used */
	if (hit && (fstat(fd, &st) != 0 || st.st_nlink == 0))
		hit = false;
	(void)close(fd);
	return hit;
}

/* Both levels, with the modes that they need whatever the umask says. */
static int
make_folders(const char *dir, const char *hash)
{
	char path[SPEECH_PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/%.2s", dir, hash);
	if (mkdir(path, FOLDER_MODE) == 0) {
		(void)chmod(path, FOLDER_MODE);
		return 0;
	}
	if (errno == EEXIST)
		return 0;
	if (errno != ENOENT || (mkdir(dir, FOLDER_MODE) != 0 &&
	    errno != EEXIST))
		return file_error(errno);
	(void)chmod(dir, FOLDER_MODE);
	if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST)
		return file_error(errno);
	(void)chmod(path, FOLDER_MODE);
	return 0;
}

/* Whether the open file is still the one that has the name. */
static bool
has_name(int fd, const char *path)
{
	struct stat here;
	struct stat there;

	return fstat(fd, &here) == 0 && stat(path, &there) == 0 &&
	    here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

int
speech_cache_lock(const char *dir, const char *hash)
{
	char path[SPEECH_PATH_SIZE];
	int rc = make_folders(dir, hash);

	if (rc != 0)
		return rc;
	speech_cache_path(dir, hash, SPEECH_FILE_LOCK, path);
	for (int i = 0; i < LOCK_TRIES; i++) {
		const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC |
		    O_NOFOLLOW, FILE_MODE);

		if (fd < 0)
			return file_error(errno);
		if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
			rc = errno == EWOULDBLOCK ? -KAP_AGAIN :
			    file_error(errno);
			(void)close(fd);
			return rc;
		}
		/* its last holder may have removed it after the open */
		if (has_name(fd, path))
			return fd;
		(void)close(fd);
	}
	return -KAP_AGAIN;
}

void
speech_cache_unlock(const char *dir, const char *hash, int *fd)
{
	char path[SPEECH_PATH_SIZE];

	if (*fd < 0)
		return;
	speech_cache_path(dir, hash, SPEECH_FILE_TEMPORARY, path);
	(void)unlink(path);
	speech_cache_path(dir, hash, SPEECH_FILE_LOCK, path);
	(void)unlink(path);
	(void)close(*fd);
	*fd = -1;
}

static int
write_all(int fd, struct evbuffer *data)
{
	while (evbuffer_get_length(data) > 0) {
		errno = 0;
		if (evbuffer_write(data, fd) <= 0 && errno != EINTR)
			return file_error(errno);
	}
	return 0;
}

int
speech_cache_put(const char *dir, const char *hash, struct evbuffer *pcm)
{
	const size_t len = evbuffer_get_length(pcm);
	unsigned char head[SPEECH_WAV_HEAD];
	char temporary[SPEECH_PATH_SIZE];
	char path[SPEECH_PATH_SIZE];
	int rc;
	int fd;

	if (len < SPEECH_SAMPLES_MIN * SPEECH_SAMPLE_BYTES ||
	    len % SPEECH_SAMPLE_BYTES != 0)
		return -KAP_INVAL;
	if (len > SPEECH_PCM_MAX)
		return -KAP_TOOBIG;
	speech_cache_path(dir, hash, SPEECH_FILE_TEMPORARY, temporary);
	speech_cache_path(dir, hash, SPEECH_FILE_WAV, path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC |
	    O_NOFOLLOW, FILE_MODE);
	if (fd < 0)
		return file_error(errno);
	make_head(head, (uint32_t)len);
	(void)fchmod(fd, FILE_MODE);
	rc = evbuffer_prepend(pcm, head, sizeof(head)) != 0 ? -KAP_NOMEM :
	    write_all(fd, pcm);
	if (close(fd) != 0 && rc == 0)
		rc = file_error(errno);
	if (rc == 0 && rename(temporary, path) != 0)
		rc = file_error(errno);
	if (rc != 0)
		(void)unlink(temporary);
	return rc;
}
