/*
 * Sees (the heartbeat rows, /proc), has supervise.c judge, and acts by
 * signals. It waits for nothing; what it ends is reaped by children.c.
 */
#include "master/watchdog.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <event2/event.h>

#include "master/lending.h"
#include "master/readers.h"
#include "master/respawn.h"
#include "master/supervise.h"
#include "shared/clock.h"
#include "shared/log.h"

#define LOOK_MS 250
#define GAP_MS 2000 /* a look that comes later than this saw nothing before */

static char
process_state(pid_t pid)
{
	char path[64];
	char line[256];
	ssize_t len;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	len = read(fd, line, sizeof(line) - 1);
	(void)close(fd);
	line[len > 0 ? len : 0] = '\0';
	return supervise_proc_state(line);
}

static bool
holds_lock(const struct children *children, const struct process *process)
{
	const struct stats_row *row = children_row(children, process);

	return row != NULL && atomic_load(&row->lock) == STATS_LOCK_HELD;
}

static bool
other_holds_lock(const struct children *children,
    const struct process *process)
{
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		for (size_t n = 0; n < 2; n++) {
			const struct process *other =
			    &children->slots[i].process[n];

			if (other != process && holds_lock(children, other))
				return true;
		}
	}
	return false;
}

static struct supervise_sight
look_at(const struct watchdog *watchdog, struct process *process,
    int64_t now_ms)
{
	const struct children *children = watchdog->children;
	const struct stats_row *row = children_row(children, process);
	struct supervise_sight sight = { .state = process->state,
		.now_ms = now_ms, .state_since_ms = process->since_ms,
		.watching_since_ms = watchdog->watching_since_ms,
		.aborted_ms = process->aborted_ms };

	sight.stopped = process_state(process->pid) == 'T';
	if (process->slot->role == CHILD_WORKER)
		sight.stop_reading_ms = streams_stop_since(
		    &children->streams, readers_of(process));
	if (row == NULL)
		return sight;
	sight.heartbeat_ms = atomic_load(&row->heartbeat_ms);
	sight.lock = (enum stats_lock)atomic_load(&row->lock);
	sight.lock_since_ms = atomic_load(&row->lock_since_ms);
	sight.other_holds_lock = other_holds_lock(children, process);
	if (supervise_is_excused(sight.lock, sight.other_holds_lock))
		process->excused_ms = now_ms;
	sight.excused_ms = process->excused_ms;
	return sight;
}

static void
end_child(struct process *process, enum supervise_verdict verdict,
    const char *why, int64_t now_ms)
{
	const bool hard = verdict == SUPERVISE_KILL;

	/* the first reason is the cause; a later one only that it lingered */
	if (process->verdict[0] == '\0')
		(void)snprintf(process->verdict, sizeof(process->verdict),
		    "%.*s", (int)sizeof(process->verdict) - 1, why);
	log_warn("ending a child", LOG_S("child",
	    child_role_name(process->slot->role)),
	    LOG_I("slot", process->slot->number),
	    LOG_I("child_pid", process->pid), LOG_S("signal",
	    hard ? "SIGKILL" : "SIGABRT"), LOG_S("reason", why));
	(void)kill(process->pid, hard ? SIGKILL : SIGABRT);
	if (hard)
		process->killed = true;
	else
		process->aborted_ms = now_ms;
}

static void
look_after(const struct watchdog *watchdog, struct process *process,
    int64_t now_ms)
{
	const struct config *config = watchdog->children->setup.config;
	const struct supervise_limits limits = {
		.ready_ms = config->supervision.ready_timeout_s * 1000,
		.drain_ms = config->supervision.drain_timeout_s * 1000,
		.heartbeat_ms = config->supervision.heartbeat_timeout_s * 1000
	};
	const struct supervise_sight sight = look_at(watchdog, process,
	    now_ms);
	const struct stats_row *row = children_row(watchdog->children,
	    process);
	struct kap_errmsg why;
	const enum supervise_verdict verdict = supervise_judge(&sight,
	    &limits, &why);

	process->stopped = process->stopped || sight.stopped;
	if (verdict != SUPERVISE_FINE)
		end_child(process, verdict, why.text, now_ms);
	else if (row != NULL && atomic_load(&row->draining) != 0)
		children_note_draining(process);
}

static void
look_after_slot(const struct watchdog *watchdog, struct slot *slot,
    int64_t now_ms)
{
	for (size_t n = 0; n < 2; n++) {
		struct process *process = &slot->process[n];

		/* once SIGKILL is sent there is only its exit to come */
		if (process_is_alive(process) && !process->killed)
			look_after(watchdog, process, now_ms);
	}
	respawn_review(slot, now_ms);
}

static void
on_look_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct watchdog *watchdog = arg;
	struct children *children = watchdog->children;
	const int64_t now_ms = clock_boot_ms();

	if (now_ms - watchdog->last_look_ms > GAP_MS)
		watchdog->watching_since_ms = now_ms;
	watchdog->last_look_ms = now_ms;
	for (size_t i = 0; i < SLOTS_COUNT; i++)
		look_after_slot(watchdog, &children->slots[i], now_ms);
	respawn_look(children, now_ms);
	if (!children->draining)
		lending_look(children, now_ms);
	children_turn(children);
}

int
watchdog_init(struct watchdog *watchdog, struct children *children)
{
	const struct timeval period = { .tv_usec = LOOK_MS * 1000L };

	watchdog->children = children;
	watchdog->last_look_ms = clock_boot_ms();
	watchdog->watching_since_ms = watchdog->last_look_ms;
	watchdog->on_look = event_new(children->setup.base, -1, EV_PERSIST,
	    on_look_due, watchdog);
	if (watchdog->on_look == NULL ||
	    event_add(watchdog->on_look, &period) != 0)
		return -KAP_NOMEM;
	return 0;
}

void
watchdog_deinit(struct watchdog *watchdog)
{
	if (watchdog->on_look != NULL)
		event_free(watchdog->on_look);
	watchdog->on_look = NULL;
}
