/*
 * A child's whole life as small reactions: started, ready, its event socket
 * handed over, gone, started again. What a child says is only believed if it
 * bears the generation that runs now. Judging children is watchdog.c's, the
 * lending of their listeners lending.c's.
 */
#include "master/children.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "master/child_start.h"
#include "master/slots.h"
#include "master/supervise.h"
#include "shared/clock.h"
#include "shared/log.h"

#define MESSAGES_PER_TURN 64
#define LAST_MESSAGES 1024 /* more than a channel's queue holds */
#define START_GAP_MS 100   /* least time between two starts of a slot */

#define DRAIN_TURNS 2

static struct stats_row *
row_of(const struct children *children, const struct slot *slot)
{
	return &children->setup.stats->rows[stats_row_index(slot->bell,
	    slot->generation)];
}

const struct stats_row *
children_row(const struct children *children, const struct slot *slot)
{
	const struct stats_row *row = row_of(children, slot);

	/* a pid may come again, so the generation has to match too */
	if (slot->pid == 0 || atomic_load(&row->pid) != slot->pid ||
	    atomic_load(&row->generation) != slot->generation)
		return NULL;
	return row;
}

int
children_send(const struct slot *slot, enum child_message_kind kind,
    int about_slot, int fd)
{
	const struct child_message message = { .kind = (uint32_t)kind,
		.generation = slot->generation, .slot = about_slot };

	if (slot->control_fd < 0)
		return -KAP_GONE;
	return child_message_send(slot->control_fd, &message, fd);
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
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
keep_event_socket(struct slot *slot, int fd)
{
	close_fd(&slot->events_fd);
	slot->events_fd = fd;
	log_debug("event socket kept", LOG_I("slot", slot->number));
}

static void
on_child_ready(struct slot *slot)
{
	if (slot->state != SLOT_STARTING)
		return;
	slot->was_ready = true;
	slot->failures = 0;
	slot_move(slot, SLOT_READY);
	log_info("child is ready", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("child_pid", slot->pid),
	    LOG_I("ms", slot->since_ms - slot->started_ms));
}

/* One validated message; the descriptor is ours. */
static void
take_message(struct slot *slot, const struct child_message *message, int fd)
{
	switch (message->kind) {
	case CHILD_MSG_READY:
		on_child_ready(slot);
		break;
	case CHILD_MSG_EVENTS_FD:
		if (fd >= 0 && slot->role == CHILD_WORKER) {
			keep_event_socket(slot, fd);
			return;
		}
		break;
	case CHILD_MSG_EVENTS_GONE:
		close_fd(&slot->events_fd);
		break;
	case CHILD_MSG_STOPPING:
		(void)snprintf(slot->stopping, sizeof(slot->stopping), "%s",
		    message->text);
		break;
	default:
		log_warn("unknown message", LOG_S("child",
		    child_role_name(slot->role)), LOG_I("kind",
		    message->kind));
		break;
	}
	close_fd(&fd);
}

/* Read up to `most` messages; true while there may be more. */
static bool
read_messages(struct slot *slot, int most)
{
	for (int i = 0; i < most; i++) {
		struct child_message message;
		int fd;
		const int rc = child_message_receive(slot->control_fd,
		    &message, &fd);

		if (rc == -KAP_AGAIN)
			return true;
		if (rc == -KAP_PROTO)
			continue;
		if (rc != 0)
			return false;
		if (message.generation == slot->generation)
			take_message(slot, &message, fd);
		else
			close_fd(&fd);
	}
	return true;
}

static void
on_control_readable(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	struct slot *slot = arg;

	/* its end is no news: the exit comes by SIGCHLD */
	if (!read_messages(slot, MESSAGES_PER_TURN))
		(void)event_del(slot->on_control);
}

static void
close_control(struct slot *slot)
{
	if (slot->on_control != NULL)
		event_free(slot->on_control);
	slot->on_control = NULL;
	close_fd(&slot->control_fd);
}

/* The control channel: our end is watched, the child's comes back. */
static int
open_control(const struct children *children, struct slot *slot)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return -KAP_IO;
	slot->control_fd = ends[0];
	slot->on_control = event_new(children->setup.base, ends[0],
	    EV_READ | EV_PERSIST, on_control_readable, slot);
	if (slot->on_control == NULL ||
	    event_add(slot->on_control, NULL) != 0) {
		close_control(slot);
		(void)close(ends[1]);
		return -KAP_NOMEM;
	}
	return ends[1];
}

/* Start the program; 0 or why there is no process. */
static int
try_start(const struct children *children, struct slot *slot)
{
	const int control = open_control(children, slot);
	int rc;

	if (control < 0)
		return control;
	rc = child_start(children, slot, control);
	(void)close(control);
	if (rc != 0)
		close_control(slot);
	return rc;
}

static void
start_in(struct slot *slot, int64_t wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000,
		.tv_usec = wait_ms % 1000 * 1000 };

	if (event_add(slot->on_spawn_due, &wait) != 0)
		fatal("can't set the timer of a start");
}

/* A start that failed: wait longer each time. */
static void
back_off(struct slot *slot)
{
	int64_t wait_ms;

	slot->failures++;
	wait_ms = supervise_backoff_ms(slot->failures);
	slot_move(slot, SLOT_BACKOFF);
	log_info("next start waits", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("failures", slot->failures), LOG_I("ms", wait_ms));
	start_in(slot, wait_ms);
}

/* Forget the last child of the slot. */
static void
reset_slot(struct slot *slot)
{
	slot->was_ready = false;
	slot->drain_sent = false;
	slot->excused_ms = 0;
	slot->aborted_ms = 0;
	slot->killed = false;
	slot->verdict[0] = '\0';
	slot->stopping[0] = '\0';
}

static void
start_child(struct children *children, struct slot *slot)
{
	int rc;

	reset_slot(slot);
	slot->generation++;
	slot->starts++;
	slot->started_ms = clock_boot_ms();
	slot_move(slot, SLOT_STARTING);
	rc = try_start(children, slot);
	if (rc == 0 && slot->role == CHILD_WORKER)
		rc = children_send(slot, CHILD_MSG_READ, slot->number,
		    slot->events_fd);
	if (rc == 0) {
		log_info("started", LOG_S("child",
		    child_role_name(slot->role)),
		    LOG_I("slot", slot->number),
		    LOG_I("child_pid", slot->pid),
		    LOG_I("generation", slot->generation));
		return;
	}
	slot_move(slot, SLOT_DEAD);
	(void)snprintf(slot->last_exit, sizeof(slot->last_exit),
	    "no process could be started: %s", kap_strerror(rc));
	slot->last_exit_ms = clock_wall_ms();
	log_error("can't start", LOG_S("child", child_role_name(slot->role)),
	    LOG_I("slot", slot->number), LOG_S("error", kap_strerror(rc)));
	back_off(slot);
}

static void
on_spawn_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct slot *slot = arg;

	if (!slot_is_alive(slot) && !slot->children->draining)
		start_child(slot->children, slot);
}

/*
 * The readers are cleared, or can't be: start what had been ready at once,
 * and let wait what never was.
 */
static void
restart_slot(struct slot *slot)
{
	const int64_t since_start = clock_boot_ms() - slot->started_ms;

	if (slot->children->draining)
		return;
	if (!slot->was_ready)
		back_off(slot);
	else
		start_in(slot, since_start < START_GAP_MS ?
		    START_GAP_MS - since_start : 0);
}

static void
restart_checked(struct children *children)
{
	for (size_t i = 0; i < children->count; i++) {
		struct slot *slot = &children->slots[i];

		if (!slot->in_check)
			continue;
		slot->in_check = false;
		restart_slot(slot);
	}
}

/*
 * Run the reader check for every death it doesn't cover yet. One that is
 * under way may have looked before the child died, so it doesn't count.
 */
static void
check_readers(struct children *children)
{
	bool any = false;
	int rc;

	if (children->check.pid != 0)
		return;
	for (size_t i = 0; i < children->count; i++) {
		struct slot *slot = &children->slots[i];

		any = any || slot->waits_check;
		slot->in_check = slot->waits_check;
		slot->waits_check = false;
	}
	if (!any)
		return;
	rc = reader_check_start(&children->check);
	if (rc != 0) {
		log_warn("can't run the reader check",
		    LOG_S("error", kap_strerror(rc)));
		restart_checked(children);
	}
}

/* Nobody owns the row now; what it counted stays. */
static void
release_row(const struct children *children, const struct slot *slot)
{
	struct stats_row *row = row_of(children, slot);

	if (children_row(children, slot) == NULL)
		return;
	atomic_store(&row->lock, STATS_LOCK_NONE);
	atomic_store(&row->ari_link, STATS_LINK_DOWN);
	atomic_store(&row->pg_link, STATS_LINK_DOWN);
	atomic_store(&row->draining, 0);
	atomic_store(&row->pid, 0);
}

static void
log_exit(const struct slot *slot, bool expected)
{
	const enum log_level level = expected ? LOG_LEVEL_INFO :
	    LOG_LEVEL_WARN;

	LOG_AT(level, "child is gone", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("child_pid", slot->pid),
	    LOG_I("generation", slot->generation),
	    LOG_S("reason", slot->last_exit));
}

static void
on_child_exit(struct children *children, struct slot *slot, int wait_status)
{
	/* what it sent last counts: the event socket above all */
	(void)read_messages(slot, LAST_MESSAGES);
	close_control(slot);
	supervise_exit_words(wait_status, slot->was_ready, slot->verdict,
	    slot->stopping, slot->last_exit, sizeof(slot->last_exit));
	slot->last_exit_ms = clock_wall_ms();
	log_exit(slot, wait_status == 0);
	release_row(children, slot);
	slot->pid = 0;
	slot_move(slot, SLOT_DEAD);
	slot->waits_check = true;
	/* a ring may have been lost with it */
	ring_all_bells(children);
	check_readers(children);
	if (children->draining)
		children_push_drain(children);
}

static void
reap(struct children *children, pid_t pid, int wait_status)
{
	if (reader_check_reaped(&children->check, pid, wait_status)) {
		restart_checked(children);
		check_readers(children);
		return;
	}
	for (size_t i = 0; i < children->count; i++) {
		if (children->slots[i].pid == pid) {
			on_child_exit(children, &children->slots[i],
			    wait_status);
			return;
		}
	}
}

static void
on_signal_chld(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	struct children *children = arg;
	int wait_status;
	pid_t pid;

	while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
		reap(children, pid, wait_status);
}

static void
begin_drain(struct slot *slot)
{
	if (slot->state == SLOT_STARTING || slot->state == SLOT_READY)
		slot_move(slot, SLOT_DRAINING);
	/* a full channel is tried again by the watchdog's next look */
	if (!slot->drain_sent)
		slot->drain_sent = children_send(slot, CHILD_MSG_DRAIN,
		    slot->number, -1) == 0;
}

void
children_push_drain(struct children *children)
{
	for (unsigned turn = 0; turn < DRAIN_TURNS; turn++) {
		bool any = false;

		for (size_t i = 0; i < children->count; i++) {
			struct slot *slot = &children->slots[i];

			if (slot->drain_turn != turn || !slot_is_alive(slot))
				continue;
			any = true;
			begin_drain(slot);
		}
		if (any)
			return;
	}
	if (!children->gone) {
		children->gone = true;
		children->setup.on_gone(children->setup.ctx);
	}
}

void
children_drain(struct children *children)
{
	if (children->draining)
		return;
	children->draining = true;
	for (size_t i = 0; i < children->count; i++) {
		struct slot *slot = &children->slots[i];

		(void)event_del(slot->on_spawn_due);
		if (slot->state == SLOT_BACKOFF)
			slot_move(slot, SLOT_DEAD);
	}
	children_push_drain(children);
}

void
children_note_draining(struct slot *slot)
{
	if (slot->state == SLOT_READY)
		slot_move(slot, SLOT_DRAINING);
}

void
children_start(struct children *children)
{
	for (size_t i = 0; i < children->count; i++)
		start_child(children, &children->slots[i]);
}

static uint32_t
last_generation(const struct children *children, const struct slot *slot)
{
	const struct stats_row *rows =
	    &children->setup.stats->rows[stats_row_index(slot->bell, 0)];
	const uint32_t even = atomic_load(&rows[0].generation);
	const uint32_t odd = atomic_load(&rows[1].generation);

	return even > odd ? even : odd;
}

static int
add_slot_timer(struct children *children, struct slot *slot)
{
	slot->children = children;
	slot->on_spawn_due = event_new(children->setup.base, -1, 0,
	    on_spawn_due, slot);
	/* generations go on where the last master's ended */
	slot->generation = last_generation(children, slot);
	return slot->on_spawn_due != NULL ? 0 : -KAP_NOMEM;
}

static int
watch_exits(struct children *children)
{
	children->on_exit = event_new(children->setup.base, SIGCHLD,
	    EV_SIGNAL | EV_PERSIST, on_signal_chld, children);
	if (children->on_exit == NULL ||
	    event_add(children->on_exit, NULL) != 0)
		return -KAP_NOMEM;
	return reader_check_init(&children->check, children->setup.base,
	    children->setup.config->node.data_dir);
}

int
children_init(struct children *children, const struct children_setup *setup,
    struct kap_errmsg *msg)
{
	int rc;

	memset(children, 0, sizeof(*children));
	children->setup = *setup;
	rc = slots_make(setup->config, &children->slots, &children->count,
	    msg);
	if (rc != 0)
		return rc;
	kap_errmsg_set(msg, "can't set up the children: %s",
	    kap_strerror(KAP_NOMEM));
	rc = slots_make_bells(children->bells);
	for (size_t i = 0; rc == 0 && i < children->count; i++)
		rc = add_slot_timer(children, &children->slots[i]);
	if (rc == 0)
		rc = watch_exits(children);
	if (rc != 0)
		children_deinit(children);
	return rc;
}

void
children_deinit(struct children *children)
{
	for (size_t i = 0; i < children->count; i++) {
		struct slot *slot = &children->slots[i];

		if (slot_is_alive(slot))
			(void)kill(slot->pid, SIGKILL);
		close_control(slot);
		if (slot->on_spawn_due != NULL)
			event_free(slot->on_spawn_due);
	}
	if (children->on_exit != NULL)
		event_free(children->on_exit);
	children->on_exit = NULL;
	reader_check_deinit(&children->check);
	slots_close_bells(children->bells);
	slots_free(&children->slots, &children->count);
}
