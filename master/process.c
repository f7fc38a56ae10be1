/*
 * The states of a process, the one function that changes them, and its
 * control channel:
 *
 *              spawn               CHILD_MSG_READY
 *      NONE ─────────▶ STARTING ─────────────────────▶ READY
 *       ▲                │  │                           │ │
 *       │                │  │ drain               drain │ │
 *       │                │  └──────▶ DRAINING ◀─────────┘ │
 *       │ exit           │ exit         │ exit            │ exit
 *       └────────────────┴──────────────┴─────────────────┘
 *
 * This file starts and ends no process.
 */
#include "master/process.h"

#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "master/slot.h"
#include "shared/clock.h"
#include "shared/log.h"

#define TO(state) (1U << PROCESS_##state)

static const struct {
	const char *name;
	unsigned next; /* set of states, by TO() */
} states[PROCESS_STATE_COUNT] = {
	[PROCESS_NONE] = { "none", TO(STARTING) },
	[PROCESS_STARTING] = { "starting",
	    TO(READY) | TO(DRAINING) | TO(NONE) },
	[PROCESS_READY] = { "ready", TO(DRAINING) | TO(NONE) },
	[PROCESS_DRAINING] = { "draining", TO(NONE) },
};

const char *
process_state_name(enum process_state state)
{
	return states[state].name;
}

bool
process_may_move(enum process_state from, enum process_state to)
{
	return (states[from].next & (1U << to)) != 0;
}

void
process_move(struct process *process, enum process_state to)
{
	const struct slot *slot = process->slot;

	if (!process_may_move(process->state, to))
		fatal("%s %d can't go from %s to %s",
		    child_role_name(slot->role), slot->number,
		    states[process->state].name, states[to].name);
	log_debug("process moves", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("generation", process->generation), LOG_S("from",
	    states[process->state].name), LOG_S("to", states[to].name));
	process->state = to;
	process->since_ms = clock_boot_ms();
}

bool
process_is_alive(const struct process *process)
{
	return process != NULL && process->pid > 0;
}

bool
process_is_ready(const struct process *process)
{
	return process_is_alive(process) && process->state == PROCESS_READY;
}

int
process_open_control(struct process *process, struct event_base *base,
    void (*on_readable)(int, short, void *))
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return -KAP_IO;
	process->control_fd = ends[0];
	process->on_control = event_new(base, ends[0], EV_READ | EV_PERSIST,
	    on_readable, process);
	if (process->on_control == NULL ||
	    event_add(process->on_control, NULL) != 0) {
		process_close_control(process);
		(void)close(ends[1]);
		return -KAP_NOMEM;
	}
	return ends[1];
}

void
process_close_control(struct process *process)
{
	if (process->on_control != NULL)
		event_free(process->on_control);
	process->on_control = NULL;
	if (process->control_fd >= 0)
		(void)close(process->control_fd);
	process->control_fd = -1;
}

int
process_send(const struct process *process, enum child_message_kind kind,
    int about_slot, int fd)
{
	const struct child_message message = { .kind = (uint32_t)kind,
		.generation = process->generation, .slot = about_slot };

	if (process->control_fd < 0)
		return -KAP_GONE;
	return child_message_send(process->control_fd, &message, fd);
}
