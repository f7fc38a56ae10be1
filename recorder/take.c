/*
 * Look, check, move. The order of the steps is what makes it safe to be
 * killed between any two of them:
 *
 *   same filesystem   rename into the store · sync file and folder
 *   another one       copy to incoming/ · sync · rename into the store ·
 *                     sync folder · unlink in the spool
 *
 * The outcome is told only after the last one, and the job stays queued until
 * then, so the next try begins at the first one that is not done.
 */
#include "recorder/take.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recorder/wav.h"
#include "shared/crash_point.h"
#include "shared/recording_store.h"

#define COPY_PIECE ((size_t)256 * 1024)
#define FILE_MODE 0640

struct paths {
	const char *store_dir;
	char spool[RECORDING_PATH_SIZE];
	char stored[RECORDING_PATH_SIZE];
	char damaged[RECORDING_PATH_SIZE];
	char incoming[RECORDING_PATH_SIZE];
};

/* A file that is open, and where it was found. */
struct found {
	const char *path;
	int fd;
	uint64_t size;
};

static const char *const result_names[TAKE_RESULT_COUNT] = {
	[TAKE_STORED] = "stored",
	[TAKE_DAMAGED] = "damaged",
	[TAKE_REFUSED] = "refused",
	[TAKE_MISSING] = "missing",
	[TAKE_UNFINISHED] = "unfinished",
	[TAKE_NO_SPACE] = "no space",
	[TAKE_DENIED] = "no access",
	[TAKE_FAILED] = "failed",
};

const char *
take_result_name(enum take_result result)
{
	return result < TAKE_RESULT_COUNT ? result_names[result] : "?";
}

static int
make_paths(const struct take_request *request, struct paths *paths)
{
	const char *dir = request->store_dir;
	int rc = recording_store_path(dir, request->name, paths->stored);

	if (rc == 0)
		rc = recording_store_damaged_path(dir, request->name,
		    paths->damaged);
	if (rc == 0)
		rc = recording_store_incoming_path(dir, request->name,
		    getpid(), paths->incoming);
	paths->store_dir = dir;
	if (rc == 0 && (size_t)snprintf(paths->spool, sizeof(paths->spool),
	    "%s/%s.wav", request->spool_dir, request->name) >=
	    sizeof(paths->spool))
		rc = -KAP_TOOBIG;
	return rc;
}

/* What just failed by errno, in words; the error it stands for. */
static int
refused(struct kap_errmsg *msg, const char *what, const char *path)
{
	kap_errmsg_set(msg, "%s %s: %m", what, path);
	return recording_store_error(errno);
}

static int
write_all(int fd, const uint8_t *from, size_t len)
{
	while (len > 0) {
		const ssize_t done = write(fd, from, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return recording_store_error(errno);
		from += done;
		len -= (size_t)done;
	}
	return 0;
}

/* Copy the whole of a file in pieces. -KAP_AGAIN where it got shorter. */
static int
copy_bytes(const struct found *from, int to_fd, struct kap_errmsg *msg)
{
	uint8_t *piece = malloc(COPY_PIECE);
	uint64_t at = 0;
	int rc = piece != NULL ? 0 : -KAP_NOMEM;

	while (rc == 0 && at < from->size) {
		const uint64_t left = from->size - at;
		const ssize_t got = pread(from->fd, piece,
		    left < COPY_PIECE ? (size_t)left : COPY_PIECE, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			rc = refused(msg, "read", from->path);
		} else if (got == 0) {
			kap_errmsg_set(msg, "got shorter while it was copied");
			rc = -KAP_AGAIN;
		} else if ((rc = write_all(to_fd, piece, (size_t)got)) != 0) {
			kap_errmsg_set(msg, "write into the store: %m");
		}
		at += got > 0 ? (uint64_t)got : 0;
	}
	free(piece);
	return rc;
}

/* Copy to incoming/, on the disk. What is there on error is for the caller
 * to remove. */
static int
copy_in(const struct found *from, const char *part, struct kap_errmsg *msg)
{
	int fd;
	int rc;

	/* of our own pid: at most an earlier try of this process left it */
	(void)unlink(part);
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	    FILE_MODE);
	if (fd < 0)
		return refused(msg, "create", part);
	rc = copy_bytes(from, fd, msg);
	if (rc == 0 && fsync(fd) != 0)
		rc = refused(msg, "sync", part);
	if (close(fd) != 0 && rc == 0)
		rc = refused(msg, "close", part);
	return rc;
}

/* Whether a copy was finished by an earlier try: only whole files ever come
 * into that place. */
static bool
is_copied(const struct found *from, const char *to)
{
	struct stat st;

	return lstat(to, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == from->size;
}

static int
move_by_copy(const struct found *from, const char *to,
    const struct paths *paths, struct kap_errmsg *msg)
{
	const char *slash = strrchr(from->path, '/');
	char folder[RECORDING_PATH_SIZE];
	int rc = 0;

	/* else it would be copied at every try, only to stay */
	(void)snprintf(folder, sizeof(folder), "%.*s",
	    (int)(slash - from->path), from->path);
	if (access(folder, W_OK | X_OK) != 0)
		return refused(msg, "write to", folder);
	if (!is_copied(from, to)) {
		rc = recording_store_make_folders(paths->store_dir,
		    paths->incoming);
		if (rc != 0)
			return refused(msg, "make the folder of",
			    paths->incoming);
		rc = copy_in(from, paths->incoming, msg);
		CRASH_POINT(recording_copied);
		if (rc == 0 && rename(paths->incoming, to) != 0)
			rc = refused(msg, "rename to", to);
		if (rc != 0)
			(void)unlink(paths->incoming);
	}
	if (rc == 0 && (rc = recording_store_sync_folder(to)) != 0)
		(void)refused(msg, "sync the folder of", to);
	CRASH_POINT(recording_before_unlink);
	if (rc == 0 && unlink(from->path) != 0 && errno != ENOENT)
		rc = refused(msg, "remove", from->path);
	return rc;
}

/* Put a file that lies in its place, and the place, on the disk. */
static int
sync_in_place(const struct found *file, const char *path,
    struct kap_errmsg *msg)
{
	int rc;

	if (fsync(file->fd) != 0)
		return refused(msg, "sync", path);
	rc = recording_store_sync_folder(path);
	return rc == 0 ? 0 : refused(msg, "sync the folder of", path);
}

/* Move an open file to its place below the store's folder. */
static int
move_file(const struct found *from, const char *to, const struct paths *paths,
    struct kap_errmsg *msg)
{
	if (recording_store_make_folders(paths->store_dir, to) != 0)
		return refused(msg, "make the folder of", to);
	CRASH_POINT(recording_found);
	if (rename(from->path, to) == 0) {
		CRASH_POINT(recording_moved);
		return sync_in_place(from, to, msg);
	}
	if (errno == EXDEV)
		return move_by_copy(from, to, paths, msg);
	return refused(msg, "move", from->path);
}

static enum take_result
result_of(int error)
{
	switch (error) {
	case -KAP_NOENT:
		return TAKE_MISSING;
	case -KAP_INVAL:
		return TAKE_REFUSED;
	case -KAP_AGAIN:
		return TAKE_UNFINISHED;
	case -KAP_FULL:
		return TAKE_NO_SPACE;
	case -KAP_DENIED:
		return TAKE_DENIED;
	default:
		return TAKE_FAILED;
	}
}

/* Keep what is no recording where a person can look at it. */
static void
set_aside(const struct found *file, const struct paths *paths,
    struct take_outcome *outcome)
{
	struct kap_errmsg msg = { .text = "" };
	const int rc = move_file(file, paths->damaged, paths, &msg);

	outcome->result = TAKE_DAMAGED;
	if (rc != 0) {
		outcome->result = result_of(rc);
		outcome->msg = msg;
	}
}

/* Check an open file, and bring it to where it belongs. */
static void
take_file(const struct found *file, bool last_try, const struct paths *paths,
    struct take_outcome *outcome)
{
	struct wav_info info;
	int rc = wav_check(file->fd, file->size, &info, &outcome->msg);

	if (rc == -KAP_CORRUPT || (rc == -KAP_AGAIN && last_try)) {
		set_aside(file, paths, outcome);
		return;
	}
	if (rc == 0 && file->path == paths->stored)
		rc = sync_in_place(file, paths->stored, &outcome->msg);
	else if (rc == 0)
		rc = move_file(file, paths->stored, paths, &outcome->msg);
	if (rc != 0) {
		outcome->result = result_of(rc);
		return;
	}
	outcome->result = TAKE_STORED;
	outcome->duration_s = info.duration_s;
	outcome->size_bytes = file->size;
}

/* The spool hasn't got it: was it moved by a try that didn't live to tell? */
static void
take_moved(const struct take_request *request, const struct paths *paths,
    struct take_outcome *outcome)
{
	struct found file = { .path = paths->stored };
	int rc = recording_store_open_file(file.path, &file.fd, &file.size);

	if (rc == 0) {
		/* nobody writes here any more: unfinished is damaged */
		take_file(&file, true, paths, outcome);
		(void)close(file.fd);
		return;
	}
	if (rc != -KAP_NOENT) {
		rc = refused(&outcome->msg, "open", paths->stored);
		outcome->result = result_of(rc);
	} else if (access(paths->damaged, F_OK) == 0) {
		kap_errmsg_set(&outcome->msg, "was set aside before");
		outcome->result = TAKE_DAMAGED;
	} else if (access(request->spool_dir, F_OK) != 0) {
		(void)refused(&outcome->msg, "spool folder",
		    request->spool_dir);
		outcome->result = TAKE_DENIED;
	} else {
		kap_errmsg_set(&outcome->msg, "is not there");
		outcome->result = TAKE_MISSING;
	}
}

void
take_recording(const struct take_request *request,
    struct take_outcome *outcome_out)
{
	struct paths paths;
	struct found file = { .path = paths.spool };
	int rc;

	memset(outcome_out, 0, sizeof(*outcome_out));
	if (make_paths(request, &paths) != 0) {
		kap_errmsg_set(&outcome_out->msg, "is not a recording's name");
		outcome_out->result = TAKE_REFUSED;
		return;
	}
	rc = recording_store_open_file(paths.spool, &file.fd, &file.size);
	if (rc == 0) {
		take_file(&file, request->last_try, &paths, outcome_out);
		(void)close(file.fd);
	} else if (rc == -KAP_NOENT) {
		take_moved(request, &paths, outcome_out);
	} else if (rc == -KAP_INVAL) {
		kap_errmsg_set(&outcome_out->msg, "%s is not a regular file",
		    paths.spool);
		outcome_out->result = TAKE_REFUSED;
	} else {
		(void)refused(&outcome_out->msg, "open", paths.spool);
		outcome_out->result = result_of(rc);
	}
}
