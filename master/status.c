/*
 * Renders what the master knows of its children. Fields are only ever added,
 * for scripts read this too.
 */
#include "master/status.h"

#include <unistd.h>

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
add_row(cJSON *child, const struct slot *slot, const struct stats_row *row,
    int64_t now_ms)
{
	add_number(child, "heartbeatAgeMs",
	    now_ms - atomic_load(&row->heartbeat_ms));
	add_number(child, "live", atomic_load(&row->live));
	if (slot->role != CHILD_WORKER)
		return;
	(void)cJSON_AddStringToObject(child, "ariLink",
	    link_name(atomic_load(&row->ari_link)));
	(void)cJSON_AddStringToObject(child, "pgLink",
	    link_name(atomic_load(&row->pg_link)));
}

static cJSON *
render_child(const struct children *children, const struct slot *slot,
    int64_t now_ms)
{
	const struct stats_row *row = children_row(children, slot);
	cJSON *child = cJSON_CreateObject();
	char when[CLOCK_ISO_SIZE];

	(void)cJSON_AddStringToObject(child, "role",
	    child_role_name(slot->role));
	add_number(child, "slot", slot->number);
	add_number(child, "pid", slot->pid);
	(void)cJSON_AddStringToObject(child, "state",
	    slot_state_name(slot->state));
	add_number(child, "generation", slot->generation);
	if (slot_is_alive(slot))
		add_number(child, "uptimeMs", now_ms - slot->started_ms);
	if (row != NULL)
		add_row(child, slot, row, now_ms);
	if (slot->role == CHILD_WORKER)
		(void)cJSON_AddBoolToObject(child, "holdsEventSocket",
		    slot->events_fd >= 0);
	if (slot->lent_to != NULL)
		add_number(child, "listenerLentTo", slot->lent_to->number);
	add_number(child, "restarts",
	    slot->starts > 0 ? (int64_t)slot->starts - 1 : 0);
	add_number(child, "failures", slot->failures);
	if (slot->last_exit[0] != '\0') {
		clock_format_iso(slot->last_exit_ms, when);
		(void)cJSON_AddStringToObject(child, "lastExit",
		    slot->last_exit);
		(void)cJSON_AddStringToObject(child, "lastExitAt", when);
	}
	return child;
}

cJSON *
status_render(const struct children *children,
    const struct status_about *about)
{
	const struct config *config = children->setup.config;
	const int64_t now_ms = clock_boot_ms();
	cJSON *status = cJSON_CreateObject();
	cJSON *master = cJSON_AddObjectToObject(status, "master");
	cJSON *list;

	(void)cJSON_AddBoolToObject(status, "ok", true);
	(void)cJSON_AddStringToObject(master, "version", KAPHILA_VERSION);
	add_number(master, "pid", getpid());
	add_number(master, "uptimeMs", now_ms - about->started_ms);
	(void)cJSON_AddBoolToObject(master, "draining", children->draining);
	add_number(master, "node", config->node.id);
	(void)cJSON_AddStringToObject(master, "config", about->config_path);
	(void)cJSON_AddStringToObject(master, "runDir", config->node.run_dir);
	(void)cJSON_AddStringToObject(master, "listen", config->http.listen);
	(void)cJSON_AddStringToObject(master, "adminListen",
	    config->admin.listen);
	list = cJSON_AddArrayToObject(status, "children");
	for (size_t i = 0; i < children->count; i++)
		(void)cJSON_AddItemToArray(list, render_child(children,
		    &children->slots[i], now_ms));
	return status;
}
