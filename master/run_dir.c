/*
 * Who is master of a run directory, and what lies in it. Ends children of an
 * earlier master; its own are children.c's.
 */
#include "master/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shared/child.h"
#include "shared/log.h"

#define FOLDER_MODE 0750
#define LEAVE_MS 3000 /* what children of a dead master get to leave */
#define KILLED_MS 5000
#define POLL_MS 20

int
run_dir_path(const char *dir, const char *name, char *out, size_t size)
{
	const int len = snprintf(out, size, "%s/%s", dir, name);

	return len >= 0 && (size_t)len < size ? 0 : -KAP_TOOBIG;
}

static int
fault(const char *path, struct kap_errmsg *msg)
{
	kap_errmsg_set(msg, "%s: %s", path, strerror(errno));
	return errno == EACCES || errno == EPERM || errno == EROFS ?
	    -KAP_DENIED : -KAP_IO;
}

/* Open a file of the directory, or make it. */
static int
open_file(const struct run_dir *dir, const char *name, int *fd_out,
    struct kap_errmsg *msg)
{
	char path[PATH_MAX];

	if (run_dir_path(dir->path, name, path, sizeof(path)) != 0) {
		kap_errmsg_set(msg, "node.run_dir is too long");
		return -KAP_INVAL;
	}
	*fd_out = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	return *fd_out >= 0 ? 0 : fault(path, msg);
}

static long
read_pid(int fd)
{
	char text[24] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return strtol(text, NULL, 10);
}

static int
write_pid(const struct run_dir *dir, struct kap_errmsg *msg)
{
	if (ftruncate(dir->pid_fd, 0) != 0 ||
	    dprintf(dir->pid_fd, "%d\n", (int)getpid()) < 0)
		return fault(dir->path, msg);
	return 0;
}

static int
become_master(struct run_dir *dir, struct kap_errmsg *msg)
{
	int rc = open_file(dir, "master.pid", &dir->pid_fd, msg);

	if (rc != 0)
		return rc;
	if (flock(dir->pid_fd, LOCK_EX | LOCK_NB) == 0)
		return write_pid(dir, msg);
	if (errno == EWOULDBLOCK) {
		kap_errmsg_set(msg, "another master (pid %ld) runs in %s",
		    read_pid(dir->pid_fd), dir->path);
		rc = -KAP_EXISTS;
	} else {
		rc = fault(dir->path, msg);
	}
	(void)close(dir->pid_fd); /* the file is another's: leave it */
	dir->pid_fd = -1;
	return rc;
}

/* True when the lock came within the time. */
static bool
wait_for_lock(int fd, int limit_ms)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

	for (int waited = 0; waited <= limit_ms; waited += POLL_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		(void)nanosleep(&pause, NULL);
	}
	return false;
}

/*
 * A pid may have been given to another program since: a child of ours has
 * this very lock file at its number.
 */
static bool
is_child_of_ours(const struct run_dir *dir, pid_t pid)
{
	char path[64];
	struct stat theirs;
	struct stat ours;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid,
	    CHILD_FD_LOCK);
	return fstat(dir->children_fd, &ours) == 0 &&
	    stat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	    ours.st_ino == theirs.st_ino;
}

static void
kill_leftovers(const struct run_dir *dir)
{
	struct stats_file *stats;

	/* the rows tell the pids, if this version can read them */
	if (stats_map(dir->stats_fd, &stats) != 0)
		return;
	for (unsigned i = 0; i < STATS_ROW_COUNT; i++) {
		const pid_t pid = atomic_load(&stats->rows[i].pid);

		if (pid <= 0 || !is_child_of_ours(dir, pid))
			continue;
		log_warn("killing a child of an earlier master",
		    LOG_I("pid", pid));
		(void)kill(pid, SIGKILL);
	}
	(void)munmap(stats, sizeof(*stats));
}

static int
outlive_earlier_children(struct run_dir *dir, struct kap_errmsg *msg)
{
	const int rc = open_file(dir, "children.lock", &dir->children_fd, msg);

	if (rc != 0)
		return rc;
	if (wait_for_lock(dir->children_fd, 0))
		return 0;
	log_info("waiting for the children of an earlier master to leave");
	if (wait_for_lock(dir->children_fd, LEAVE_MS))
		return 0;
	kill_leftovers(dir);
	if (wait_for_lock(dir->children_fd, KILLED_MS))
		return 0;
	kap_errmsg_set(msg, "children of an earlier master still run in %s",
	    dir->path);
	return -KAP_TIMEOUT;
}

/* No process owns a row now, whatever the last owners left in it. */
static void
clear_rows(struct stats_file *stats)
{
	for (unsigned i = 0; i < STATS_ROW_COUNT; i++) {
		atomic_store(&stats->rows[i].pid, 0);
		atomic_store(&stats->rows[i].lock, STATS_LOCK_NONE);
		atomic_store(&stats->rows[i].ari_link, STATS_LINK_DOWN);
		atomic_store(&stats->rows[i].pg_link, STATS_LINK_DOWN);
	}
}

/*
 * The file of an earlier version is made anew only when nobody has it mapped
 * any more.
 */
static int
open_stats(struct run_dir *dir, struct kap_errmsg *msg)
{
	char path[PATH_MAX];
	int rc = run_dir_path(dir->path, "stats.shm", path, sizeof(path));

	if (rc != 0)
		return rc;
	if (dir->stats_fd >= 0)
		(void)close(dir->stats_fd);
	dir->stats_fd = stats_create(path);
	if (dir->stats_fd < 0)
		return fault(path, msg);
	rc = stats_map(dir->stats_fd, &dir->stats);
	if (rc != 0)
		return fault(path, msg);
	clear_rows(dir->stats);
	return 0;
}

/* kaphilactl can do without; so a file system without links is no fault. */
static void
link_config(const struct run_dir *dir, const char *config_path)
{
	char link[PATH_MAX];
	char *target = realpath(config_path, NULL);

	if (target != NULL && run_dir_path(dir->path, "kaphila.conf", link,
	    sizeof(link)) == 0) {
		(void)unlink(link);
		if (symlink(target, link) != 0)
			log_warn("can't link the configuration",
			    LOG_S("link", link),
			    LOG_S("error", strerror(errno)));
	}
	free(target);
}

int
run_dir_open(struct run_dir *dir, const char *path, const char *config_path,
    struct kap_errmsg *msg)
{
	int rc;

	*dir = (struct run_dir){ .pid_fd = -1, .children_fd = -1,
		.stats_fd = -1 };
	if (snprintf(dir->path, sizeof(dir->path), "%s", path) >=
	    (int)sizeof(dir->path)) {
		kap_errmsg_set(msg, "node.run_dir is too long");
		return -KAP_INVAL;
	}
	if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST)
		return fault(path, msg);
	rc = become_master(dir, msg);
	if (rc == 0)
		rc = open_file(dir, "stats.shm", &dir->stats_fd, msg);
	if (rc == 0)
		rc = outlive_earlier_children(dir, msg);
	if (rc == 0)
		rc = open_stats(dir, msg);
	if (rc != 0) {
		run_dir_close(dir);
		return rc;
	}
	link_config(dir, config_path);
	return 0;
}

void
run_dir_close(struct run_dir *dir)
{
	int *const fds[] = { &dir->stats_fd, &dir->children_fd,
		&dir->pid_fd };

	if (dir->pid_fd >= 0 && ftruncate(dir->pid_fd, 0) != 0)
		log_warn("can't empty the pid file", LOG_S("error",
		    strerror(errno)));
	if (dir->stats != NULL)
		(void)munmap(dir->stats, sizeof(*dir->stats));
	dir->stats = NULL;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
		*fds[i] = -1;
	}
}
