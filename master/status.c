/*
 * Renders what the master knows of its children. Fields are only ever added,
 * for scripts read this too.
 */
#include "master/status.h"

#include <unistd.h>

#include "master/respawn.h"
#include "shared/clock.h"

static const char *
link_name(int32_t link)
{
	switch ((enum stats_link)link) {
	case STATS_LINK_UP:
		return "up";
	case STATS_LINK_CONNECTING:
		return "connecting";
	case STATS_LINK_DOWN:
		break;
	}
	return "down";
}

static void
add_number(cJSON *object, const char *name, int64_t number)
{
	(void)cJSON_AddNumberToObject(object, name, (double)number);
}

static void
add_row(cJSON *child, const struct process *process,
    const struct stats_row *row, int64_t now_ms)
{
	add_number(child, "heartbeatAgeMs",
	    now_ms - atomic_load(&row->heartbeat_ms));
	add_number(child, "live", atomic_load(&row->live));
	if (process->slot->role != CHILD_WORKER)
		return;
	(void)cJSON_AddStringToObject(child, "ariLink",
	    link_name(atomic_load(&row->ari_link)));
	(void)cJSON_AddStringToObject(child, "pgLink",
	    link_name(atomic_load(&row->pg_link)));
}

/* The one that comes or leaves, beside the current one. */
static void
add_other(cJSON *child, const char *name, const struct process *process,
    int64_t now_ms)
{
	cJSON *other;

	if (process == NULL)
		return;
	other = cJSON_AddObjectToObject(child, name);
	add_number(other, "pid", process->pid);
	add_number(other, "generation", process->generation);
	add_number(other, "sinceMs", now_ms - process->since_ms);
}

static void
add_current(const struct children *children, cJSON *child,
    const struct process *process, int64_t now_ms)
{
	const struct stats_row *row = children_row(children, process);

	add_number(child, "uptimeMs", now_ms - process->started_ms);
	if (row != NULL)
		add_row(child, process, row, now_ms);
}

/* What its processes came to. */
static void
add_history(cJSON *child, const struct slot *slot, int64_t now_ms)
{
	char loop[160];
	char when[CLOCK_ISO_SIZE];

	respawn_loop_words(slot, now_ms, loop, sizeof(loop));
	add_number(child, "restarts",
	    slot->starts > 0 ? (int64_t)slot->starts - 1 : 0);
	add_number(child, "plannedRestarts", (int64_t)slot->planned);
	add_number(child, "failures", slot->failures);
	(void)cJSON_AddBoolToObject(child, "crashLoop", slot->loop.is_loop);
	if (loop[0] != '\0')
		(void)cJSON_AddStringToObject(child, "crashLoopWords", loop);
	if (slot->last_exit[0] != '\0') {
		clock_format_iso(slot->last_exit_ms, when);
		(void)cJSON_AddStringToObject(child, "lastExit",
		    slot->last_exit);
		(void)cJSON_AddStringToObject(child, "lastExitAt", when);
	}
}

static cJSON *
render_child(const struct children *children, const struct slot *slot,
    int64_t now_ms)
{
	const struct process *current = slot->current;
	cJSON *child = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(child, "role",
	    child_role_name(slot->role));
	add_number(child, "slot", slot->number);
	add_number(child, "pid", current != NULL ? current->pid : 0);
	(void)cJSON_AddStringToObject(child, "state", slot_state_name(slot));
	add_number(child, "generation",
	    current != NULL ? current->generation : slot->generation);
	if (current != NULL)
		add_current(children, child, current, now_ms);
	add_other(child, "successor", slot->next, now_ms);
	add_other(child, "leaving", slot->leaving, now_ms);
	if (slot->role == CHILD_WORKER)
		(void)cJSON_AddBoolToObject(child, "holdsEventSocket",
		    children->streams.at[slot->number].fd >= 0);
	if (slot->lent_to != NULL)
		add_number(child, "listenerLentTo", slot->lent_to->number);
	add_history(child, slot, now_ms);
	return child;
}

/* A reload changed what it read at its start. */
static bool
is_outdated(const struct slot *slot, const struct reload *reload)
{
	return slot->current != NULL &&
	    slot->current->started_ms < reload->child_keys_ms;
}

/* Streams that are read, or kept for a reader to come. */
static void
add_streams(cJSON *status, const struct children *children)
{
	cJSON *list = cJSON_AddArrayToObject(status, "streams");

	for (int i = 0; i < CHILD_MAX_WORKERS; i++) {
		const struct stream *stream = &children->streams.at[i];
		cJSON *item;

		if (stream->fd < 0 && stream->reader.generation == 0)
			continue;
		item = cJSON_CreateObject();
		add_number(item, "slot", i);
		(void)cJSON_AddBoolToObject(item, "held", stream->fd >= 0);
		if (stream->reader.generation != 0) {
			add_number(item, "reader", stream->reader.slot);
			add_number(item, "readerGeneration",
			    stream->reader.generation);
		}
		(void)cJSON_AddBoolToObject(item, "settled",
		    streams_is_settled(&children->streams, i));
		(void)cJSON_AddItemToArray(list, item);
	}
}

static void
add_master(cJSON *status, const struct children *children,
    const struct status_about *about, int64_t now_ms)
{
	const struct config *config = children->setup.config;
	cJSON *master = cJSON_AddObjectToObject(status, "master");
	char when[CLOCK_ISO_SIZE];

	(void)cJSON_AddStringToObject(master, "version", KAPHILA_VERSION);
	add_number(master, "pid", getpid());
	add_number(master, "uptimeMs", now_ms - about->started_ms);
	(void)cJSON_AddBoolToObject(master, "draining", children->draining);
	(void)cJSON_AddBoolToObject(master, "paused",
	    atomic_load(&children->setup.stats->node.paused) != 0);
	add_number(master, "workers", children->workers);
	add_number(master, "node", config->node.id);
	(void)cJSON_AddStringToObject(master, "config", about->config_path);
	clock_format_iso(about->reload->loaded_ms, when);
	(void)cJSON_AddStringToObject(master, "configLoadedAt", when);
	(void)cJSON_AddStringToObject(master, "configHash",
	    about->reload->hash);
	(void)cJSON_AddStringToObject(master, "runDir", config->node.run_dir);
	(void)cJSON_AddStringToObject(master, "listen", config->http.listen);
	(void)cJSON_AddStringToObject(master, "adminListen",
	    config->admin.listen);
}

cJSON *
status_render(const struct children *children,
    const struct status_about *about)
{
	const int64_t now_ms = clock_boot_ms();
	cJSON *status = cJSON_CreateObject();
	cJSON *list;

	(void)cJSON_AddBoolToObject(status, "ok", true);
	add_master(status, children, about, now_ms);
	list = cJSON_AddArrayToObject(status, "children");
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		const struct slot *slot = &children->slots[i];

		cJSON *child;

		if (!slot->active && !slot_has_process(slot))
			continue;
		child = render_child(children, slot, now_ms);
		(void)cJSON_AddBoolToObject(child, "configOutdated",
		    is_outdated(slot, about->reload));
		(void)cJSON_AddItemToArray(list, child);
	}
	add_streams(status, children);
	return status;
}
