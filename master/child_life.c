/*
 * A process's life as small reactions. What it says meanwhile is
 * child_messages.c's, judging it watchdog.c's, when the slot gets the next
 * one respawn.c's.
 */
#include "master/child_life.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/child_messages.h"
#include "master/child_start.h"
#include "master/readers.h"
#include "master/respawn.h"
#include "master/supervise.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "shared/stats.h"

/* The process to come: a row of its own, so another parity than its mate's. */
static struct process *
prepare_process(struct slot *slot)
{
	struct process *process;

	slot->generation++;
	if (process_is_alive(&slot->process[slot->generation & 1]))
		slot->generation++;
	process = &slot->process[slot->generation & 1];
	if (process_is_alive(process))
		fatal("a third process in a slot");
	*process = (struct process){ .slot = slot, .control_fd = -1,
		.generation = slot->generation,
		.started_ms = clock_boot_ms() };
	return process;
}

static int
try_start(const struct children *children, struct process *process,
    const struct process *beside)
{
	const int control = process_open_control(process,
	    children->setup.base, child_messages_on_readable);
	int rc;

	if (control < 0)
		return control;
	CRASH_POINT(master_before_spawn);
	rc = child_start(children, process, beside, control);
	CRASH_POINT(master_spawned);
	(void)close(control);
	if (rc != 0)
		process_close_control(process);
	return rc;
}

/* Start a process in a slot, beside another one or not. 0, or why not. */
static int
start_process(struct slot *slot, const struct process *beside,
    struct process **process_out)
{
	struct process *process = prepare_process(slot);
	int rc;

	slot->starts++;
	process_move(process, PROCESS_STARTING);
	rc = try_start(slot->children, process, beside);
	if (rc == 0) {
		log_info("started", LOG_S("child",
		    child_role_name(slot->role)),
		    LOG_I("slot", slot->number),
		    LOG_I("child_pid", process->pid),
		    LOG_I("generation", process->generation),
		    LOG_I("beside", beside != NULL ? beside->generation : 0));
		*process_out = process;
		return 0;
	}
	process_move(process, PROCESS_NONE);
	(void)snprintf(slot->last_exit, sizeof(slot->last_exit),
	    "no process could be started: %s", kap_strerror(rc));
	slot->last_exit_ms = clock_wall_ms();
	log_error("can't start", LOG_S("child", child_role_name(slot->role)),
	    LOG_I("slot", slot->number), LOG_S("error", kap_strerror(rc)));
	return rc;
}

int
child_life_start(struct slot *slot)
{
	const int rc = start_process(slot, slot->leaving, &slot->current);

	if (rc != 0)
		respawn_back_off(slot);
	return rc;
}

int
child_life_begin_restart(struct slot *slot, uint32_t *generation_out)
{
	int rc;

	if (slot->leaving != NULL || slot->next != NULL ||
	    slot->waits_check || slot->in_check)
		return -KAP_AGAIN;
	if (slot->current == NULL) {
		respawn_cancel(slot);
		rc = child_life_start(slot);
	} else if (process_is_ready(slot->current)) {
		rc = start_process(slot, slot->current, &slot->next);
	} else {
		return -KAP_AGAIN;
	}
	*generation_out = slot->generation;
	return rc;
}

/* Nobody owns the row now; what it counted stays. */
static void
release_row(const struct children *children, const struct process *process)
{
	struct stats_row *row = &children->setup.stats->rows[stats_row_index(
	    process->slot->bell, process->generation)];

	if (children_row(children, process) == NULL)
		return;
	atomic_store(&row->lock, STATS_LOCK_NONE);
	atomic_store(&row->ari_link, STATS_LINK_DOWN);
	atomic_store(&row->pg_link, STATS_LINK_DOWN);
	atomic_store(&row->draining, 0);
	atomic_store(&row->pid, 0);
}

static void
ring_all_bells(const struct children *children)
{
	const uint64_t one = 1;

	for (size_t i = 0; i < CHILD_BELL_COUNT; i++) {
		const ssize_t written = write(children->bells[i], &one,
		    sizeof(one));

		(void)written; /* a full one rings already */
	}
}

static void
log_exit(const struct process *process, bool expected)
{
	const struct slot *slot = process->slot;
	const enum log_level level = expected ? LOG_LEVEL_INFO :
	    LOG_LEVEL_WARN;

	LOG_AT(level, "child is gone", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("child_pid", process->pid),
	    LOG_I("generation", process->generation),
	    LOG_S("reason", slot->last_exit));
}

/*
 * The slot without this process. Returns the process if it was the current
 * one and nobody is there to take its place.
 */
static const struct process *
forget_process(struct slot *slot, struct process *process)
{
	if (process == slot->leaving) {
		slot->leaving = NULL;
	} else if (process == slot->next) {
		slot->next = NULL;
	} else {
		/* a successor is an ordinary child from now on */
		slot->current = slot->next;
		slot->next = NULL;
		return slot->current == NULL && slot->active ? process : NULL;
	}
	return NULL;
}

/* An end that another process of the slot makes up for. */
static void
count_restart(const struct process *process, enum supervise_end end)
{
	static const enum stats_restart_reason reasons[] = {
		[SUPERVISE_LEFT] = STATS_RESTART_EXITED,
		[SUPERVISE_FAILED] = STATS_RESTART_EXITED,
		[SUPERVISE_HUNG] = STATS_RESTART_HUNG,
		[SUPERVISE_CRASHED] = STATS_RESTART_CRASHED,
		[SUPERVISE_KILLED] = STATS_RESTART_KILLED,
	};
	const struct slot *slot = process->slot;

	if (slot->children->draining || !slot->active ||
	    process == slot->next)
		return;
	stats_count(STATS_restarts, slot->role, process == slot->leaving ?
	    STATS_RESTART_PLANNED : reasons[end], 1);
}

static void
on_child_exit(struct process *process, int wait_status)
{
	struct slot *slot = process->slot;
	struct children *children = slot->children;
	const enum supervise_end end = supervise_classify(wait_status,
	    process->verdict, process->stopped);
	const struct process *current;

	CRASH_POINT(master_child_gone);
	/* what it sent last counts: the event socket above all */
	child_messages_take_last(process);
	process_close_control(process);
	supervise_exit_words(wait_status, process->ready_ms != 0,
	    process->verdict, process->stopping, slot->last_exit,
	    sizeof(slot->last_exit));
	supervise_reason(wait_status, process->verdict, process->stopped,
	    slot->last_reason, sizeof(slot->last_reason));
	slot->last_exit_ms = clock_wall_ms();
	log_exit(process, end == SUPERVISE_LEFT);
	release_row(children, process);
	streams_reader_gone(&children->streams, readers_of(process));
	process->pid = 0;
	process_move(process, PROCESS_NONE);
	count_restart(process, end);
	current = forget_process(slot, process);
	if (current != NULL && current->ready_ms != 0)
		respawn_count_death(slot, current, end);
	respawn_after_death(slot, current);
	/* a ring may have been lost with it */
	ring_all_bells(children);
	children_turn(children);
}

static void
reap(struct children *children, pid_t pid, int wait_status)
{
	if (respawn_reaped(children, pid, wait_status))
		return;
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		for (size_t n = 0; n < 2; n++) {
			struct process *process =
			    &children->slots[i].process[n];

			if (process->pid == pid) {
				on_child_exit(process, wait_status);
				return;
			}
		}
	}
}

void
child_life_reap(struct children *children)
{
	int wait_status;
	pid_t pid;

	while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
		reap(children, pid, wait_status);
}
