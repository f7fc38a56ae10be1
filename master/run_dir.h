/*
 * The run directory: its two locks, the pid file, the statistics file, and
 * the link that tells kaphilactl which configuration is in use.
 *
 *     master.pid      the master's pid; locked while it lives
 *     children.lock   locked while any child lives: they inherit the lock
 *     stats.shm       the statistics (shared/stats.h)
 *     stats.prom      the same as text, for Prometheus (stats_file.h)
 *     kaphila.conf    link to the configuration file
 *     control.sock    the control socket (control.h)
 */
#ifndef KAP_RUN_DIR_H
#define KAP_RUN_DIR_H

#include <limits.h>
#include <stddef.h>

#include "shared/errors.h"
#include "shared/stats.h"

struct run_dir {
	char path[PATH_MAX];
	int pid_fd;      /* holds the lock on master.pid */
	int children_fd; /* holds the lock on children.lock; passed on */
	int stats_fd;
	struct stats_file *stats;
};

/*
 * Make the directory where it is missing (mode 0750, its parent exists) and
 * become its master: take the lock, write the pid, see to it that no child of
 * an earlier master is left, map the statistics, make the link.
 *
 * Children of a master that was killed leave by themselves when they have
 * finished; those that don't within 3 s are killed, for two readers of one
 * slot must never be, and nothing is lost by it.
 *
 * config_path  of the configuration file
 *
 * Returns 0; -KAP_EXISTS (another master runs there), -KAP_DENIED,
 * -KAP_TIMEOUT (a child is left that can't be killed), -KAP_IO. Blocks for
 * some seconds at the most; at start-up only.
 */
KAP_MUST_USE int run_dir_open(struct run_dir *dir, const char *path,
    const char *config_path, struct kap_errmsg *msg);

/*
 * Empty the pid file and release the locks. The link stays, so that
 * kaphilactl finds the configuration while no master runs.
 */
void run_dir_close(struct run_dir *dir);

/*
 * The path of a file in the run directory.
 *
 * Returns 0, -KAP_TOOBIG when `out` has no room for it.
 */
KAP_MUST_USE int run_dir_path(const char *dir, const char *name, char *out,
    size_t size);

#endif
