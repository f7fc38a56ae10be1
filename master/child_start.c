/*
 * Fills in the contract of shared/child.h for one start. Knows no states.
 */
#include "master/child_start.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "master/config_memfd.h"
#include "master/spawn.h"

static int
start_program(const struct children *children, struct slot *slot,
    struct spawn_fds *fds)
{
	char path[PATH_MAX];
	char name[32];
	char number[16];
	char generation[16];
	char child_option[] = "--child";
	char slot_option[] = "--slot";
	char generation_option[] = "--generation";
	char *const argv[] = { name, child_option, slot_option, number,
		generation_option, generation, NULL };

	if (spawn_find_program(children->setup.bin_dir, slot->role,
	    path) != 0)
		return -KAP_NOENT;
	(void)snprintf(name, sizeof(name), "kaphila-%s",
	    child_role_name(slot->role));
	(void)snprintf(number, sizeof(number), "%d", slot->number);
	(void)snprintf(generation, sizeof(generation), "%" PRIu32,
	    slot->generation);
	fds->at[CHILD_FD_STATS] = children->setup.stats_fd;
	fds->at[CHILD_FD_LISTEN] = slot->listen_fd;
	fds->at[CHILD_FD_ADMIN] = slot->admin_fd;
	fds->at[CHILD_FD_LOCK] = children->setup.lock_fd;
	for (int i = 0; i < CHILD_BELL_COUNT; i++)
		fds->at[CHILD_FD_BELLS + i] = children->bells[i];
	return spawn_program(path, argv, fds, &slot->pid);
}

int
child_start(const struct children *children, struct slot *slot,
    int control_fd)
{
	const int config = config_memfd_make(children->setup.config);
	struct spawn_fds fds;
	int rc;

	if (config < 0)
		return config;
	spawn_fds_init(&fds);
	fds.at[CHILD_FD_CONTROL] = control_fd;
	fds.at[CHILD_FD_CONFIG] = config;
	rc = start_program(children, slot, &fds);
	(void)close(config);
	return rc;
}
