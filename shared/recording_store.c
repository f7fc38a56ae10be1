/*
 * Names, paths and folders of the recordings' store. Opens and makes; what is
 * in a file, and which file belongs here, is the recorder's business.
 */
#include "recording_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "call.h"

#define FOLDER_MODE 0750
#define MAX_STAMP_MS 253402300799999LL /* 9999-12-31T23:59:59.999Z */
#define PART_SUFFIX ".part"

int
recording_store_error(int error_number)
{
	switch (error_number) {
	case ENOENT:
		return -KAP_NOENT;
	case ENOSPC:
	case EDQUOT:
		return -KAP_FULL;
	case EACCES:
	case EPERM:
	case EROFS:
		return -KAP_DENIED;
	case ELOOP:
	case EISDIR:
		return -KAP_INVAL;
	default:
		return -KAP_IO;
	}
}

void
recording_store_dir(const struct config *config, char out[RECORDING_DIR_SIZE])
{
	if (config->recorder.dir[0] != '\0')
		(void)snprintf(out, RECORDING_DIR_SIZE, "%s",
		    config->recorder.dir);
	else
		(void)snprintf(out, RECORDING_DIR_SIZE, "%s/recordings",
		    config->node.data_dir);
}

bool
recording_name_is_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	const size_t len = strnlen(name, CALL_RECORDING_SIZE);

	return len > 0 && len < CALL_RECORDING_SIZE && name[0] != '.' &&
	    strspn(name, allowed) == len;
}

/* The stamp in a recording's name; -KAP_INVAL where it isn't one. */
static int
read_name(const char *name, char id_out[CALL_ID_SIZE], int64_t *stamp_ms_out)
{
	if (!recording_name_is_valid(name) ||
	    call_parse_recording(name, id_out, stamp_ms_out) != 0)
		return -KAP_INVAL;
	if (*stamp_ms_out < 0 || *stamp_ms_out > MAX_STAMP_MS)
		return -KAP_INVAL;
	return 0;
}

static int
fits(int len)
{
	return len > 0 && len < RECORDING_PATH_SIZE ? 0 : -KAP_TOOBIG;
}

int
recording_store_path(const char *dir, const char *name,
    char out[RECORDING_PATH_SIZE])
{
	char id[CALL_ID_SIZE];
	int64_t stamp_ms;
	struct tm day;
	time_t seconds;

	if (read_name(name, id, &stamp_ms) != 0)
		return -KAP_INVAL;
	seconds = (time_t)(stamp_ms / 1000);
	if (gmtime_r(&seconds, &day) == NULL)
		return -KAP_INVAL;
	return fits(snprintf(out, RECORDING_PATH_SIZE,
	    "%s/%04d/%02d/%02d/%s.wav", dir, day.tm_year + 1900,
	    day.tm_mon + 1, day.tm_mday, name));
}

int
recording_store_incoming_path(const char *dir, const char *name, int64_t pid,
    char out[RECORDING_PATH_SIZE])
{
	char id[CALL_ID_SIZE];
	int64_t stamp_ms;

	if (read_name(name, id, &stamp_ms) != 0)
		return -KAP_INVAL;
	return fits(snprintf(out, RECORDING_PATH_SIZE,
	    "%s/incoming/%s.%" PRId64 PART_SUFFIX, dir, name, pid));
}

int
recording_store_damaged_path(const char *dir, const char *name,
    char out[RECORDING_PATH_SIZE])
{
	char id[CALL_ID_SIZE];
	int64_t stamp_ms;

	if (read_name(name, id, &stamp_ms) != 0)
		return -KAP_INVAL;
	return fits(snprintf(out, RECORDING_PATH_SIZE, "%s/damaged/%s.wav",
	    dir, name));
}

/* Close, with errno as it was. */
static void
close_quietly(int fd)
{
	const int saved = errno;

	(void)close(fd);
	errno = saved;
}

static int
sync_path(const char *folder)
{
	const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return recording_store_error(errno);
	if (fsync(fd) != 0)
		rc = recording_store_error(errno);
	close_quietly(fd);
	return rc;
}

int
recording_store_sync_folder(const char *path)
{
	char folder[RECORDING_PATH_SIZE];
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return sync_path(".");
	(void)snprintf(folder, sizeof(folder), "%.*s",
	    (int)(slash > path ? slash - path : 1), path);
	return sync_path(folder);
}

/* One folder; a new one is on the disk when its parent is. */
static int
make_folder(const char *folder)
{
	if (mkdir(folder, FOLDER_MODE) == 0)
		return recording_store_sync_folder(folder);
	return errno == EEXIST ? 0 : recording_store_error(errno);
}

int
recording_store_make_folders(const char *dir, const char *path)
{
	char folder[RECORDING_PATH_SIZE];
	const char *slash = strrchr(path, '/');
	size_t at = strlen(dir);
	int rc;

	if (slash == NULL || strstr(path, dir) != path || path[at] != '/')
		return -KAP_INVAL;
	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path),
	    path);
	/* nearly always it is there: the first file of the day made it */
	if (access(folder, F_OK) == 0)
		return 0;
	for (; path + at <= slash; at += strcspn(path + at + 1, "/") + 1) {
		(void)snprintf(folder, sizeof(folder), "%.*s", (int)at, path);
		rc = make_folder(folder);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int
recording_store_open_file(const char *path, int *fd_out, uint64_t *size_out)
{
	/* without O_NONBLOCK the open would wait for a pipe's other end */
	const int fd = open(path,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	int rc = 0;

	if (fd < 0) /* a socket can't be opened at all: ENXIO */
		return errno == ENXIO ? -KAP_INVAL
				      : recording_store_error(errno);
	if (fstat(fd, &st) != 0)
		rc = recording_store_error(errno);
	else if (!S_ISREG(st.st_mode))
		rc = -KAP_INVAL;
	if (rc != 0) {
		close_quietly(fd);
		return rc;
	}
	*fd_out = fd;
	*size_out = (uint64_t)st.st_size;
	return 0;
}

int
recording_store_open(const char *dir, const char *name, int *fd_out,
    uint64_t *size_out)
{
	char path[RECORDING_PATH_SIZE];
	const int rc = recording_store_path(dir, name, path);

	return rc != 0 ? rc : recording_store_open_file(path, fd_out, size_out);
}

/* Whether a file's name is "<name>.<pid>.part", of a call of this node. */
static bool
is_leftover(const char *file, unsigned node)
{
	char name[CALL_RECORDING_SIZE];
	char id[CALL_ID_SIZE];
	const char *suffix = strstr(file, PART_SUFFIX);
	const char *dot = suffix;
	int64_t stamp_ms;
	int len;

	if (suffix == NULL || suffix[strlen(PART_SUFFIX)] != '\0')
		return false;
	while (dot > file && dot[-1] >= '0' && dot[-1] <= '9')
		dot--;
	if (dot == suffix || dot == file || *--dot != '.')
		return false;
	len = (int)(dot - file);
	if (len >= CALL_RECORDING_SIZE)
		return false;
	(void)snprintf(name, sizeof(name), "%.*s", len, file);
	return read_name(name, id, &stamp_ms) == 0 && call_id_node(id) == node;
}

int
recording_store_clear_incoming(const char *dir, unsigned node)
{
	char path[RECORDING_PATH_SIZE];
	const struct dirent *entry;
	int removed = 0;
	DIR *folder;

	(void)snprintf(path, sizeof(path), "%s/incoming", dir);
	folder = opendir(path);
	if (folder == NULL)
		return errno == ENOENT ? 0 : recording_store_error(errno);
	while ((entry = readdir(folder)) != NULL) {
		if (is_leftover(entry->d_name, node) &&
		    unlinkat(dirfd(folder), entry->d_name, 0) == 0)
			removed++;
	}
	(void)closedir(folder);
	return removed;
}
