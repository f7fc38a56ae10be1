/*
 * Looks whether a point is armed, and ends the process. Knows no module and
 * keeps no state but the way to the folder.
 */
#include "crash_point.h"

#ifdef KAPHILA_CRASH_POINTS

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_CRASHED 86
#define PROGRAM_PREFIX "kaphila-"

static const char *const names[CRASH_POINT_COUNT] = {
#define X(name, where) #name,
	CRASH_POINTS(X)
#undef X
};

/* "worker": the program's name without its prefix. */
static const char *
role(void)
{
	const char *name = program_invocation_short_name;
	const size_t len = strlen(PROGRAM_PREFIX);

	return strncmp(name, PROGRAM_PREFIX, len) == 0 ? name + len : name;
}

/*
 * Count one passing down in the file; true at the last. Two processes that
 * pass at the same moment may count as one: it fires later then.
 */
static bool
count_down(int fd)
{
	char text[16] = "";
	long left;
	int len;

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return true;
	left = strtol(text, NULL, 10);
	if (left <= 1)
		return true;
	/* never longer than what it replaces, so padded to be as long */
	len = snprintf(text, sizeof(text), "%0*ld", (int)strcspn(text, "\n"),
	    left - 1);
	return pwrite(fd, text, (size_t)len, 0) != len;
}

/* The watchdog ends it then: it has to see that nothing comes any more. */
static void
stay_if_told(int fd)
{
	char text[8] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return;
	if (strncmp(text, "stop", 4) == 0)
		(void)raise(SIGSTOP);
	if (strncmp(text, "hang", 4) == 0) {
		for (;;)
			(void)pause();
	}
}

void
crash_point_pass(enum crash_point point)
{
	const char *dir = getenv("KAPHILA_CRASH_DIR");
	const int kept_errno = errno;
	char path[PATH_MAX];
	char line[128];
	ssize_t written;
	int len;
	int fd;

	if (dir == NULL)
		return;
	(void)snprintf(path, sizeof(path), "%s/%s.%s", dir, role(),
	    names[point]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	errno = kept_errno;
	if (fd < 0)
		return;
	if (count_down(fd) && unlink(path) == 0) {
		len = snprintf(line, sizeof(line), "crash point %s: %s[%d] "
		    "ends here\n", names[point], role(), (int)getpid());
		written = write(STDERR_FILENO, line, (size_t)len);
		(void)written;
		stay_if_told(fd);
		_exit(EXIT_CRASHED);
	}
	(void)close(fd);
	errno = kept_errno;
}

#endif
