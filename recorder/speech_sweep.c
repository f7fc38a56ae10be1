/*
 * One walk over the folders of spoken texts, then removals in the order of
 * last use. It takes no part in making or using a text and knows nothing of
 * calls: a file that is needed is one that was used lately.
 */
#include "recorder/speech_sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/speech_cache.h"

#define INTERVAL_MS 60000
#define FILES_FIRST 256
#define FILES_MAX 1000000 /* of one walk; the next one takes the others */

/* A spoken text that may go. */
struct spoken {
	int64_t used_s;
	uint64_t bytes;
	char hash[SPEECH_HASH_SIZE];
};

struct walk {
	const char *dir;
	int64_t now_s;
	int64_t keep_s; /* what was used since stays */
	struct spoken *files;
	size_t count;
	size_t size;
	uint64_t total_bytes;
	struct speech_sweep_outcome *outcome;
};

struct speech_sweep {
	struct pool *pool;
	const struct config *config;
	struct pool_task task;
	bool busy;
	bool ended;
	int64_t due_ms;
	/* the task's own while it is busy */
	char dir[SPEECH_PATH_SIZE];
	uint64_t max_bytes;
	int rc;
	struct speech_sweep_outcome outcome;
};

static bool
was_used_since(const struct walk *walk, const struct stat *st, int64_t s)
{
	return st->st_mtim.tv_sec > walk->now_s - s;
}

/* Whether the open file is still the one that has the name. */
static bool
has_name(int fd, int folder_fd, const char *name)
{
	struct stat here;
	struct stat there;

	return fstat(fd, &here) == 0 &&
	    fstatat(folder_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/*
 * A lock that nobody holds is removed while it is held here, so whoever
 * opened it meanwhile finds that its name is gone. One that was replaced
 * before it was held here is another's.
 */
static void
remove_lock(const struct walk *walk, int folder_fd, const char *name)
{
	const int fd = openat(folder_fd, name, O_RDWR | O_CLOEXEC |
	    O_NOFOLLOW);

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
	    has_name(fd, folder_fd, name) &&
	    unlinkat(folder_fd, name, 0) == 0)
		walk->outcome->leftovers++;
	(void)close(fd);
}

static int
note_spoken(struct walk *walk, const char *name, const struct stat *st)
{
	struct spoken *file;

	walk->total_bytes += (uint64_t)st->st_size;
	walk->outcome->kept++;
	if (was_used_since(walk, st, SPEECH_KEEP_LEAST_S) ||
	    walk->count == FILES_MAX)
		return 0;
	if (walk->count == walk->size) {
		const size_t size = walk->size == 0 ? FILES_FIRST :
		    2 * walk->size;
		struct spoken *more = realloc(walk->files,
		    size * sizeof(*more));

		if (more == NULL)
			return -KAP_NOMEM;
		walk->files = more;
		walk->size = size;
	}
	file = &walk->files[walk->count++];
	file->used_s = st->st_mtim.tv_sec;
	file->bytes = (uint64_t)st->st_size;
	(void)snprintf(file->hash, sizeof(file->hash), "%.*s",
	    SPEECH_HASH_SIZE - 1, name);
	return 0;
}

static int
look_at(struct walk *walk, int folder_fd, const char *name)
{
	enum speech_file kind;
	struct stat st;

	if (speech_cache_name(name, &kind) != 0 ||
	    fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    !S_ISREG(st.st_mode))
		return 0;
	if (kind == SPEECH_FILE_WAV)
		return note_spoken(walk, name, &st);
	if (was_used_since(walk, &st, SPEECH_KEEP_S))
		return 0;
	if (kind == SPEECH_FILE_LOCK)
		remove_lock(walk, folder_fd, name);
	else if (unlinkat(folder_fd, name, 0) == 0)
		walk->outcome->leftovers++;
	return 0;
}

static int
walk_folder(struct walk *walk, const char *name)
{
	char path[SPEECH_PATH_SIZE];
	const struct dirent *entry;
	DIR *folder;
	int rc = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", walk->dir, name);
	folder = opendir(path);
	if (folder == NULL)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -KAP_IO;
	while (rc == 0 && (entry = readdir(folder)) != NULL)
		rc = look_at(walk, dirfd(folder), entry->d_name);
	(void)closedir(folder);
	return rc;
}

static int
walk_all(struct walk *walk)
{
	const struct dirent *entry;
	DIR *dir = opendir(walk->dir);
	int rc = 0;

	if (dir == NULL)
		return errno == ENOENT ? 0 : -KAP_IO;
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		if (speech_cache_is_folder(entry->d_name))
			rc = walk_folder(walk, entry->d_name);
	}
	(void)closedir(dir);
	return rc;
}

static int
compare_use(const void *a, const void *b)
{
	const struct spoken *x = a;
	const struct spoken *y = b;

	if (x->used_s != y->used_s)
		return x->used_s < y->used_s ? -1 : 1;
	return strcmp(x->hash, y->hash);
}

/* It may have been used since the walk, so it is looked at once more. */
static void
remove_spoken(struct walk *walk, const struct spoken *file)
{
	char path[SPEECH_PATH_SIZE];
	struct stat st;

	speech_cache_path(walk->dir, file->hash, SPEECH_FILE_WAV, path);
	if (lstat(path, &st) == 0 &&
	    (was_used_since(walk, &st, walk->keep_s) || unlink(path) != 0))
		return;
	walk->total_bytes -= file->bytes;
	walk->outcome->kept--;
	walk->outcome->removed++;
}

int
speech_sweep_run(const char *dir, uint64_t max_bytes, int64_t now_s,
    struct speech_sweep_outcome *outcome_out)
{
	struct walk walk = { .dir = dir, .now_s = now_s,
		.outcome = outcome_out };
	int rc;

	memset(outcome_out, 0, sizeof(*outcome_out));
	rc = walk_all(&walk);
	/* too many for the bound to be kept by patience */
	walk.keep_s = walk.total_bytes / 2 > max_bytes ? SPEECH_KEEP_LEAST_S :
	    SPEECH_KEEP_S;
	if (walk.count > 0 && walk.total_bytes > max_bytes)
		qsort(walk.files, walk.count, sizeof(*walk.files),
		    compare_use);
	for (size_t i = 0; i < walk.count && walk.total_bytes > max_bytes; i++)
		remove_spoken(&walk, &walk.files[i]);
	outcome_out->kept_bytes = walk.total_bytes;
	free(walk.files);
	return rc;
}

static void
work(void *arg)
{
	struct speech_sweep *sweep = arg;

	sweep->rc = speech_sweep_run(sweep->dir, sweep->max_bytes,
	    clock_wall_ms() / 1000, &sweep->outcome);
}

static void
done(void *arg)
{
	struct speech_sweep *sweep = arg;
	const struct speech_sweep_outcome *outcome = &sweep->outcome;

	sweep->busy = false;
	sweep->due_ms = clock_boot_ms() + INTERVAL_MS;
	if (outcome->removed > 0 || outcome->leftovers > 0)
		log_info("removed spoken texts",
		    LOG_I("files", outcome->removed),
		    LOG_I("leftovers", outcome->leftovers),
		    LOG_I("kept_bytes", outcome->kept_bytes));
	if (sweep->rc != 0)
		log_warn("can't look through the spoken texts",
		    LOG_S("folder", sweep->dir),
		    LOG_S("error", kap_strerror(sweep->rc)));
}

void
speech_sweep_tick(struct speech_sweep *sweep)
{
	if (sweep->busy || sweep->ended || clock_boot_ms() < sweep->due_ms)
		return;
	sweep->busy = true;
	speech_cache_dir(sweep->config, sweep->dir);
	sweep->max_bytes = (uint64_t)sweep->config->speech.cache_max_mb << 20;
	sweep->task.work = work;
	sweep->task.done = done;
	sweep->task.arg = sweep;
	pool_submit(sweep->pool, &sweep->task);
}

void
speech_sweep_end(struct speech_sweep *sweep)
{
	sweep->ended = true;
}

struct speech_sweep *
speech_sweep_new(struct pool *pool, const struct config *config)
{
	struct speech_sweep *sweep = calloc(1, sizeof(*sweep));

	if (sweep == NULL)
		return NULL;
	sweep->pool = pool;
	sweep->config = config;
	return sweep;
}

void
speech_sweep_free(struct speech_sweep **sweep)
{
	free(*sweep);
	*sweep = NULL;
}
