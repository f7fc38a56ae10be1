/*
 * Reads packets and hands each to whom it concerns. What a child says is only
 * believed if it bears the generation of the process whose channel it came by.
 */
#include "master/child_messages.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "master/children.h"
#include "master/readers.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"

#define MESSAGES_PER_TURN 64
#define LAST_MESSAGES 1024 /* more than a channel's queue holds */
#define IDLE "idle" /* the text of an UNREAD that forgets the stream */

static void
take_event_socket(struct process *process, int stream, int fd)
{
	const int rc = streams_take_socket(&process->slot->children->streams,
	    stream, readers_of(process), fd);

	CRASH_POINT(master_socket_kept);
	if (rc == 0)
		log_debug("event socket kept", LOG_I("stream", stream),
		    LOG_I("slot", process->slot->number));
	else
		log_warn("event socket of a stream that another reads",
		    LOG_I("stream", stream),
		    LOG_I("slot", process->slot->number));
}

/* The successor takes over; the one before it finishes and leaves. */
static void
take_place(struct slot *slot)
{
	struct children *children = slot->children;

	slot->leaving = slot->current;
	slot->current = slot->next;
	slot->next = NULL;
	slot->planned++;
	log_info("successor takes over", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("child_pid", slot->current->pid),
	    LOG_I("from_pid", slot->leaving->pid));
	/* it is to stop reading before it drains, so that goes first */
	streams_settle(&children->streams, clock_boot_ms());
	children_drain_process(slot->leaving);
}

static void
on_child_ready(struct process *process)
{
	struct slot *slot = process->slot;

	if (process->state != PROCESS_STARTING)
		return;
	slot->failures = 0;
	process_move(process, PROCESS_READY);
	process->ready_ms = process->since_ms;
	log_info("child is ready", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("child_pid", process->pid),
	    LOG_I("ms", process->ready_ms - process->started_ms));
	if (process == slot->next)
		take_place(slot);
}

/* It was sent SIGHUP. */
static void
on_restart_asked(const struct process *process)
{
	const struct slot *slot = process->slot;
	struct kap_errmsg msg;
	uint64_t id;

	if (process != slot->current)
		return;
	if (operation_restart(slot->children, child_role_name(slot->role),
	    slot->number, &id, &msg) != 0)
		log_warn("no successor", LOG_S("child",
		    child_role_name(slot->role)), LOG_I("slot", slot->number),
		    LOG_S("error", msg.text));
}

/* One validated message; the descriptor is ours. */
static void
take_message(struct process *process, const struct child_message *message,
    int fd)
{
	struct streams *streams = &process->slot->children->streams;

	switch (message->kind) {
	case CHILD_MSG_READY:
		on_child_ready(process);
		break;
	case CHILD_MSG_EVENTS_FD:
		if (fd >= 0 && process->slot->role == CHILD_WORKER) {
			take_event_socket(process, message->slot, fd);
			return;
		}
		break;
	case CHILD_MSG_EVENTS_GONE:
		streams_socket_gone(streams, message->slot,
		    readers_of(process));
		break;
	case CHILD_MSG_UNREAD:
		streams_unread(streams, message->slot, readers_of(process),
		    strcmp(message->text, IDLE) == 0, clock_boot_ms());
		break;
	case CHILD_MSG_STOPPING:
		(void)snprintf(process->stopping, sizeof(process->stopping),
		    "%s", message->text);
		break;
	case CHILD_MSG_RESTART:
		on_restart_asked(process);
		break;
	default:
		log_warn("unknown message", LOG_S("child",
		    child_role_name(process->slot->role)),
		    LOG_I("kind", message->kind));
		break;
	}
	if (fd >= 0)
		(void)close(fd);
}

/* Read up to `most` messages; true while there may be more. */
static bool
read_messages(struct process *process, int most)
{
	for (int i = 0; i < most; i++) {
		struct child_message message;
		int fd;
		const int rc = child_message_receive(process->control_fd,
		    &message, &fd);

		if (rc == -KAP_AGAIN)
			return true;
		if (rc == -KAP_PROTO) {
			log_warn("dropped a malformed message",
			    LOG_S("child", child_role_name(
			        process->slot->role)),
			    LOG_I("slot", process->slot->number));
			continue;
		}
		if (rc != 0)
			return false;
		if (message.generation == process->generation)
			take_message(process, &message, fd);
		else if (fd >= 0)
			(void)close(fd);
	}
	return true;
}

void
child_messages_on_readable(evutil_socket_t fd KAP_UNUSED,
    short what KAP_UNUSED, void *arg)
{
	struct process *process = arg;

	/* its end is no news: the exit comes by SIGCHLD */
	if (!read_messages(process, MESSAGES_PER_TURN))
		(void)event_del(process->on_control);
	children_turn(process->slot->children);
}

void
child_messages_take_last(struct process *process)
{
	const bool more = read_messages(process, LAST_MESSAGES);

	(void)more; /* its channel is closed next */
}
