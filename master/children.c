/*
 * All children together: made, started, told what all are told, drained. The
 * life of one of them is child_life.c's, who reads which events readers.c's.
 */
#include "master/children.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "master/child_life.h"
#include "master/config_memfd.h"
#include "master/readers.h"
#include "master/respawn.h"
#include "shared/clock.h"
#include "shared/log.h"

#define DRAIN_TURNS 2

const struct stats_row *
children_row(const struct children *children, const struct process *process)
{
	const struct stats_row *row =
	    &children->setup.stats->rows[stats_row_index(
	        process->slot->bell, process->generation)];

	/* a pid may come again, so the generation has to match too */
	if (process->pid == 0 || atomic_load(&row->pid) != process->pid ||
	    atomic_load(&row->generation) != process->generation)
		return NULL;
	return row;
}

bool
children_serves(const struct slot *slot)
{
	const struct streams *streams = &slot->children->streams;
	struct stream_reader reader;

	if (!process_is_ready(slot->current))
		return false;
	if (slot->role != CHILD_WORKER)
		return true;
	reader = readers_of(slot->current);
	for (int i = 0; i < CHILD_MAX_WORKERS; i++) {
		const struct stream *stream = &streams->at[i];

		if (stream_reader_equals(streams->ops->wanted(streams->ctx, i,
		    stream->known), reader) &&
		    !streams_is_settled(streams, i))
			return false;
	}
	/* one that isn't to read its own stream isn't to accept either */
	return stream_reader_equals(streams->at[slot->number].reader, reader);
}

/* ---- draining ---- */

void
children_drain_process(struct process *process)
{
	if (process->state == PROCESS_STARTING ||
	    process->state == PROCESS_READY)
		process_move(process, PROCESS_DRAINING);
	/* a full channel is tried again by the watchdog's next look */
	if (!process->drain_sent)
		process->drain_sent = process_send(process, CHILD_MSG_DRAIN,
		    process->slot->number, -1) == 0;
}

void
children_note_draining(struct process *process)
{
	if (process->state == PROCESS_READY)
		process_move(process, PROCESS_DRAINING);
}

void
children_drain_slot(struct slot *slot)
{
	for (size_t i = 0; i < 2; i++) {
		if (process_is_alive(&slot->process[i]))
			children_drain_process(&slot->process[i]);
	}
}

static void
push_drain(struct children *children)
{
	for (unsigned turn = 0; turn < DRAIN_TURNS; turn++) {
		bool any = false;

		for (size_t i = 0; i < SLOTS_COUNT; i++) {
			struct slot *slot = &children->slots[i];

			if (slot->drain_turn != turn ||
			    !slot_has_process(slot))
				continue;
			any = true;
			children_drain_slot(slot);
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
	operations_end(children);
	for (size_t i = 0; i < SLOTS_COUNT; i++)
		respawn_cancel(&children->slots[i]);
	children_turn(children);
}

/* ---- what all are told ---- */

void
children_set_paused(struct children *children, bool paused)
{
	atomic_store(&children->setup.stats->node.paused, paused ? 1U : 0U);
}

void
children_set_workers(struct children *children, unsigned workers)
{
	children->workers = workers;
	children->workers_to_be = workers;
	atomic_store(&children->setup.stats->node.workers, workers);
}

static void
send_config(const struct children *children, struct process *process)
{
	const int fd = config_memfd_make(children->setup.config);

	if (fd < 0)
		return;
	process->config_due = process_send(process, CHILD_MSG_CONFIG,
	    process->slot->number, fd) == -KAP_AGAIN;
	(void)close(fd);
}

void
children_set_config(struct children *children, const struct config *config)
{
	children->setup.config = config;
	children->check.data_dir = config->node.data_dir;
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		for (size_t n = 0; n < 2; n++)
			children->slots[i].process[n].config_due = true;
	}
	children_turn(children);
}

/* What couldn't be sent before; a draining child is told, too. */
static void
send_what_is_due(const struct children *children, struct slot *slot)
{
	for (size_t n = 0; n < 2; n++) {
		struct process *process = &slot->process[n];

		if (!process_is_alive(process))
			continue;
		if (process->config_due)
			send_config(children, process);
		if (process->state == PROCESS_DRAINING &&
		    (process == slot->leaving || !slot->active))
			children_drain_process(process);
	}
}

void
children_turn(struct children *children)
{
	const int64_t now_ms = clock_boot_ms();

	streams_settle(&children->streams, now_ms);
	for (size_t i = 0; i < SLOTS_COUNT; i++)
		send_what_is_due(children, &children->slots[i]);
	if (children->draining)
		push_drain(children);
	else
		operations_push(children, now_ms);
}

/* ---- the whole ---- */

void
children_start(struct children *children)
{
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		struct slot *slot = &children->slots[i];
		int rc = 0;

		if (slot->active)
			rc = child_life_start(slot);
		(void)rc; /* one that failed waits, and is tried again */
	}
	children_turn(children);
}

/*
 * Rows of an earlier master's children, which are gone: a pid left there by
 * SIGKILL would count as a living process. Generations go on from theirs.
 */
static uint32_t
take_rows(const struct children *children, const struct slot *slot)
{
	struct stats_row *rows =
	    &children->setup.stats->rows[stats_row_index(slot->bell, 0)];
	const uint32_t even = atomic_load(&rows[0].generation);
	const uint32_t odd = atomic_load(&rows[1].generation);

	atomic_store(&rows[0].pid, 0);
	atomic_store(&rows[1].pid, 0);
	return even > odd ? even : odd;
}

static int
prepare_slots(struct children *children)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < SLOTS_COUNT; i++) {
		struct slot *slot = &children->slots[i];

		slot->children = children;
		slot->generation = take_rows(children, slot);
		rc = respawn_init(slot);
	}
	return rc;
}

static void
on_signal_chld(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	child_life_reap(arg);
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
	streams_init(&children->streams, &readers_ops, children);
	rc = slots_make(setup->config, &children->slots, msg);
	if (rc != 0)
		return rc;
	children_set_workers(children,
	    (unsigned)setup->config->http.workers);
	atomic_store(&setup->stats->node.paused, 0);
	kap_errmsg_set(msg, "can't set up the children: %s",
	    kap_strerror(KAP_NOMEM));
	rc = slots_make_bells(children->bells);
	if (rc == 0)
		rc = prepare_slots(children);
	if (rc == 0)
		rc = watch_exits(children);
	if (rc != 0)
		children_deinit(children);
	return rc;
}

void
children_deinit(struct children *children)
{
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		struct slot *slot = &children->slots[i];

		for (size_t n = 0; n < 2; n++) {
			if (process_is_alive(&slot->process[n]))
				(void)kill(slot->process[n].pid, SIGKILL);
			process_close_control(&slot->process[n]);
		}
		respawn_deinit(slot);
	}
	if (children->on_exit != NULL)
		event_free(children->on_exit);
	children->on_exit = NULL;
	reader_check_deinit(&children->check);
	operations_deinit(children);
	streams_deinit(&children->streams);
	slots_close_bells(children->bells);
	slots_free(&children->slots);
}
