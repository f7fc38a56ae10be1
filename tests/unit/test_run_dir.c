/*
 * master/run_dir.c: one master a directory, and what becomes of the children
 * of one that was killed. The locks are taken by real processes.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/run_dir.h"
#include "shared/child.h"
#include "shared/log.h"

static char folder[64];
static char path[96];
static char config_path[96];

static int
set_up(void **state KAP_UNUSED)
{
	FILE *file;

	log_init("test", -1, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	(void)snprintf(folder, sizeof(folder), "/tmp/kaphila-run-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/run", folder);
	(void)snprintf(config_path, sizeof(config_path), "%s/k.conf", folder);
	file = fopen(config_path, "we");
	return file != NULL && fclose(file) == 0 ? 0 : -1;
}

static int
tear_down(void **state KAP_UNUSED)
{
	static const char *const names[] = { "master.pid", "children.lock",
		"stats.shm", "kaphila.conf" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char file[PATH_MAX];

		(void)snprintf(file, sizeof(file), "%s/%s", path, names[i]);
		(void)unlink(file);
	}
	(void)rmdir(path);
	(void)unlink(config_path);
	return rmdir(folder);
}

static void
read_text(const char *name, char *text, size_t size)
{
	char file[PATH_MAX];
	ssize_t len;
	int fd;

	(void)snprintf(file, sizeof(file), "%s/%s", path, name);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	len = read(fd, text, size - 1);
	assert_true(len >= 0);
	text[len] = '\0';
	(void)close(fd);
}

static void
test_what_lies_in_it(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct run_dir dir;
	struct stat st;
	char link[PATH_MAX];
	char target[PATH_MAX] = "";
	char text[32];
	char expect[32];

	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	read_text("master.pid", text, sizeof(text));
	(void)snprintf(expect, sizeof(expect), "%d\n", (int)getpid());
	assert_string_equal(text, expect);
	assert_int_equal(run_dir_path(path, "kaphila.conf", link,
	    sizeof(link)), 0);
	assert_true(readlink(link, target, sizeof(target) - 1) > 0);
	assert_string_equal(target, config_path);
	assert_int_equal(dir.stats->magic, STATS_MAGIC);
	run_dir_close(&dir);
	read_text("master.pid", text, sizeof(text));
	assert_string_equal(text, "");
}

/* The rows of dead owners are nobody's, their counters stay. */
static void
test_rows_of_the_dead(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct run_dir dir;

	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	dir.stats->rows[2].pid = 12345;
	dir.stats->rows[2].generation = 6;
	dir.stats->rows[2].lock = STATS_LOCK_HELD;
	dir.stats->rows[2].ari_link = STATS_LINK_UP;
	dir.stats->rows[2].counters[STATS_calls_created] = 8;
	run_dir_close(&dir);
	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	assert_int_equal(dir.stats->rows[2].pid, 0);
	assert_int_equal(dir.stats->rows[2].generation, 6);
	assert_int_equal(dir.stats->rows[2].lock, STATS_LOCK_NONE);
	assert_int_equal(dir.stats->rows[2].ari_link, STATS_LINK_DOWN);
	assert_int_equal(dir.stats->rows[2].counters[STATS_calls_created], 8);
	run_dir_close(&dir);
}

static void
test_second_master(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct run_dir dir;
	struct run_dir other;
	char expect[160];
	char text[32];

	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	assert_int_equal(run_dir_open(&other, path, config_path, &msg),
	    -KAP_EXISTS);
	(void)snprintf(expect, sizeof(expect),
	    "another master (pid %d) runs in %s", (int)getpid(), path);
	assert_string_equal(msg.text, expect);
	/* the one that was refused leaves the other's file alone */
	read_text("master.pid", text, sizeof(text));
	assert_int_equal(strtol(text, NULL, 10), getpid());
	run_dir_close(&dir);
	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	run_dir_close(&dir);
}

/* A test that fails leaves nobody behind. */
static void
end_with_parent(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == 1)
		_exit(1);
}

/*
 * A process that holds the children's lock at its number, as a child of a
 * dead master does; one that never leaves by itself.
 */
static pid_t
leave_child_behind(void)
{
	char file[PATH_MAX];
	int ready[2];
	char byte;
	pid_t pid;

	(void)snprintf(file, sizeof(file), "%s/children.lock", path);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const int lock = open(file, O_RDWR);
		const int fd = fcntl(lock, F_DUPFD, 64);
		const int word = fcntl(ready[1], F_DUPFD, 64);

		end_with_parent();
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
			_exit(1);
		/* of what the test holds, the master's lock above all, it
		 * keeps nothing: only its own lock, and the pipe for a word */
		(void)dup2(word, CHILD_FD_LOCK + 1);
		(void)dup2(fd, CHILD_FD_LOCK);
		(void)close_range(3, CHILD_FD_LOCK - 1, 0);
		(void)close_range(CHILD_FD_LOCK + 2, ~0U, 0);
		if (write(CHILD_FD_LOCK + 1, "x", 1) != 1)
			_exit(1);
		(void)close(CHILD_FD_LOCK + 1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]); /* so that its failure is an end, too */
	assert_int_equal(read(ready[0], &byte, 1), 1);
	(void)close(ready[0]);
	return pid;
}

static pid_t
start_bystander(void)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		end_with_parent();
		for (;;)
			(void)pause();
	}
	return pid;
}

/*
 * A child that doesn't leave is killed, and no other process whose pid a row
 * happens to name.
 */
static void
test_child_left_behind(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	const pid_t bystander = start_bystander();
	struct run_dir dir;
	pid_t child;
	int status = 0;

	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	/* the lock is dropped for a moment, for the child to take it */
	assert_int_equal(flock(dir.children_fd, LOCK_UN), 0);
	child = leave_child_behind();
	dir.stats->rows[3].pid = child;
	dir.stats->rows[4].pid = bystander;
	run_dir_close(&dir);

	assert_int_equal(run_dir_open(&dir, path, config_path, &msg), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(waitpid(bystander, &status, WNOHANG), 0);
	(void)kill(bystander, SIGKILL);
	assert_int_equal(waitpid(bystander, &status, 0), bystander);
	run_dir_close(&dir);
}

static void
test_no_parent(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct run_dir dir;

	assert_int_equal(run_dir_open(&dir, "/nonexistent/run", config_path,
	    &msg), -KAP_IO);
	assert_non_null(strstr(msg.text, "/nonexistent/run"));
}

static void
test_path_is_bounded(void **state KAP_UNUSED)
{
	char out[8];

	assert_int_equal(run_dir_path("/a", "bcde", out, sizeof(out)), 0);
	assert_string_equal(out, "/a/bcde");
	assert_int_equal(run_dir_path("/a", "bcdef", out, sizeof(out)),
	    -KAP_TOOBIG);
}

#define IN_FOLDER(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(test_what_lies_in_it),
		IN_FOLDER(test_rows_of_the_dead),
		IN_FOLDER(test_second_master),
		IN_FOLDER(test_child_left_behind),
		IN_FOLDER(test_no_parent),
		cmocka_unit_test(test_path_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
