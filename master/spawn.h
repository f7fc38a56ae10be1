/*
 * Fork and exec of a program with exactly the descriptors it is to have.
 * Knows no slot and no state; children.c says what to start.
 */
#ifndef KAP_SPAWN_H
#define KAP_SPAWN_H

#include <limits.h>
#include <sys/types.h>

#include "shared/child.h"
#include "shared/errors.h"

/* Which of the master's descriptors stands behind each number; -1: none. */
struct spawn_fds {
	int at[CHILD_FD_END]; /* 0, 1 and 2 are always the master's own */
};

void spawn_fds_init(struct spawn_fds *fds);

/*
 * Start a program. The child's signals are at their defaults; it has 0, 1, 2
 * and what `fds` names, and no other descriptor. A program that can't be run
 * ends with status 127, its reason on standard error.
 *
 * argv  NULL-terminated, argv[0] included
 *
 * Returns 0 and *pid_out; -KAP_IO when there is no process to be had. Doesn't
 * wait for the program.
 */
KAP_MUST_USE int spawn_program(const char *path, char *const argv[],
    const struct spawn_fds *fds, pid_t *pid_out);

/*
 * Find the programs of the roles: in `bin_dir`, in <bin_dir>/../lib/kaphila
 * (installed), or in <bin_dir>/<role> and <bin_dir>/../<role> (build tree).
 *
 * path_out  PATH_MAX bytes
 *
 * Returns 0; -KAP_NOENT when there is none that can be executed.
 */
KAP_MUST_USE int spawn_find_program(const char *bin_dir, enum child_role role,
    char path_out[PATH_MAX]);

/* The folder of this process's own program. Returns 0 or -KAP_IO. */
KAP_MUST_USE int spawn_own_dir(char dir_out[PATH_MAX]);

#endif
