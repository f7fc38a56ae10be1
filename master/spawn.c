/*
 * The way from the master's descriptors to a child's, and the search for the
 * programs. Between fork and exec it only makes system calls.
 */
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_NOT_RUN 127

void
spawn_fds_init(struct spawn_fds *fds)
{
	for (int i = 0; i < CHILD_FD_END; i++)
		fds->at[i] = -1;
}

static _Noreturn void
give_up(const char *what, const char *path)
{
	char line[PATH_MAX + 64];
	const int len = snprintf(line, sizeof(line), "%s %s: %s\n", what,
	    path, strerrordesc_np(errno));
	const ssize_t written = write(STDERR_FILENO, line,
	    len < (int)sizeof(line) ? (size_t)len : sizeof(line) - 1);

	(void)written;
	_exit(EXIT_NOT_RUN);
}

/*
 * Put every descriptor at its number. A source may stand where another is to
 * go, so all are copied above the numbered ones first.
 */
static int
place_descriptors(const struct spawn_fds *fds)
{
	int copies[CHILD_FD_END];

	for (int i = CHILD_FD_CONFIG; i < CHILD_FD_END; i++) {
		copies[i] = -1;
		if (fds->at[i] < 0)
			continue;
		copies[i] = fcntl(fds->at[i], F_DUPFD_CLOEXEC, CHILD_FD_END);
		if (copies[i] < 0)
			return -KAP_IO;
	}
	for (int i = CHILD_FD_CONFIG; i < CHILD_FD_END; i++) {
		if (copies[i] < 0)
			(void)close(i);
		else if (dup2(copies[i], i) < 0)
			return -KAP_IO;
	}
	return close_range(CHILD_FD_END, ~0U, 0) == 0 ? 0 : -KAP_IO;
}

static void
reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
	/* it asks for a restart: nothing that a start should die of */
	(void)signal(SIGHUP, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int
spawn_program(const char *path, char *const argv[],
    const struct spawn_fds *fds, pid_t *pid_out)
{
	sigset_t all;
	sigset_t before;
	pid_t pid;

	/* a handler of the master's must not run in the child */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0) {
		if (place_descriptors(fds) != 0)
			give_up("can't pass descriptors to", path);
		reset_signals();
		(void)execv(path, argv);
		give_up("can't run", path);
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return -KAP_IO;
	*pid_out = pid;
	return 0;
}

static bool
is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	    access(path, X_OK) == 0;
}

int
spawn_find_program(const char *bin_dir, enum child_role role,
    char path_out[PATH_MAX])
{
	const char *name = child_role_name(role);
	const char *const places[] = { "", "/../lib/kaphila", "/", "/../" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		/* the last two are a build tree: a folder for each role */
		const int len = snprintf(path_out, PATH_MAX,
		    "%s%s%s/kaphila-%s", bin_dir, places[i],
		    i >= 2 ? name : "", name);

		if (len < PATH_MAX && is_program(path_out))
			return 0;
	}
	return -KAP_NOENT;
}

int
spawn_own_dir(char dir_out[PATH_MAX])
{
	const ssize_t len = readlink("/proc/self/exe", dir_out, PATH_MAX - 1);
	char *slash;

	if (len <= 0)
		return -KAP_IO;
	dir_out[len] = '\0';
	slash = strrchr(dir_out, '/');
	if (slash == NULL)
		return -KAP_IO;
	*slash = '\0';
	return 0;
}
