/*
 * Fills in the contract of shared/child.h for one start. Knows no states.
 */
#include "master/child_start.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "master/config_memfd.h"
#include "master/spawn.h"

#define NUMBER_SIZE 16
#define ARGS_MAX 9

/* The contract's arguments, and where their texts lie. */
struct arguments {
	char name[32];
	char slot[NUMBER_SIZE];
	char generation[NUMBER_SIZE];
	char beside[NUMBER_SIZE];
	char *argv[ARGS_MAX + 1];
};

static void
fill_arguments(struct arguments *arguments, const struct process *process,
    const struct process *beside)
{
	static char child_option[] = "--child";
	static char slot_option[] = "--slot";
	static char generation_option[] = "--generation";
	static char beside_option[] = "--beside";
	size_t n = 0;

	(void)snprintf(arguments->name, sizeof(arguments->name), "kaphila-%s",
	    child_role_name(process->slot->role));
	(void)snprintf(arguments->slot, NUMBER_SIZE, "%d",
	    process->slot->number);
	(void)snprintf(arguments->generation, NUMBER_SIZE, "%" PRIu32,
	    process->generation);
	arguments->argv[n++] = arguments->name;
	arguments->argv[n++] = child_option;
	arguments->argv[n++] = slot_option;
	arguments->argv[n++] = arguments->slot;
	arguments->argv[n++] = generation_option;
	arguments->argv[n++] = arguments->generation;
	if (beside != NULL) {
		(void)snprintf(arguments->beside, NUMBER_SIZE, "%" PRIu32,
		    beside->generation);
		arguments->argv[n++] = beside_option;
		arguments->argv[n++] = arguments->beside;
	}
	arguments->argv[n] = NULL;
}

static int
start_program(const struct children *children, struct process *process,
    const struct process *beside, struct spawn_fds *fds)
{
	const struct slot *slot = process->slot;
	struct arguments arguments;
	char path[PATH_MAX];

	if (spawn_find_program(children->setup.bin_dir, slot->role,
	    path) != 0)
		return -KAP_NOENT;
	fill_arguments(&arguments, process, beside);
	fds->at[CHILD_FD_STATS] = children->setup.stats_fd;
	fds->at[CHILD_FD_LISTEN] = slot->listen_fd;
	fds->at[CHILD_FD_ADMIN] = slot->admin_fd;
	fds->at[CHILD_FD_LOCK] = children->setup.lock_fd;
	for (int i = 0; i < CHILD_BELL_COUNT; i++)
		fds->at[CHILD_FD_BELLS + i] = children->bells[i];
	return spawn_program(path, arguments.argv, fds, &process->pid);
}

int
child_start(const struct children *children, struct process *process,
    const struct process *beside, int control_fd)
{
	const int config = config_memfd_make(children->setup.config);
	struct spawn_fds fds;
	int rc;

	if (config < 0)
		return config;
	spawn_fds_init(&fds);
	fds.at[CHILD_FD_CONTROL] = control_fd;
	fds.at[CHILD_FD_CONFIG] = config;
	rc = start_program(children, process, beside, &fds);
	(void)close(config);
	return rc;
}
