/*
 * For each slot of the plan:
 *
 *     wait until nobody leaves it ─▶ begin ─▶ the successor serves ─▶ next
 *                                      │             │
 *                                      ▼             ▼ it is gone
 *                                    failed ◀────────┘
 *
 * Every wait has its end in the watchdog's limits, so none is set here.
 */
#include "master/rolling.h"

#include <stdio.h>
#include <string.h>

#include "master/child_life.h"
#include "master/children.h"

#define ALL "all"

static bool
is_role(const char *role)
{
	for (int i = 0; i < CHILD_ROLE_COUNT; i++) {
		if (strcmp(role, child_role_name((enum child_role)i)) == 0)
			return true;
	}
	return strcmp(role, ALL) == 0;
}

static void
put_words(struct operation *operation, const char *role, int slot)
{
	if (slot < 0)
		(void)snprintf(operation->what, sizeof(operation->what),
		    "restart %s%s", role,
		    strcmp(role, child_role_name(CHILD_WORKER)) == 0 ? "s" :
		    "");
	else if (strcmp(role, child_role_name(CHILD_WORKER)) == 0)
		(void)snprintf(operation->what, sizeof(operation->what),
		    "restart %s %d", role, slot);
	else
		(void)snprintf(operation->what, sizeof(operation->what),
		    "restart %s", role);
}

int
rolling_plan(struct children *children, struct operation *operation,
    const char *role, int slot, struct kap_errmsg *msg)
{
	const bool all = strcmp(role, ALL) == 0;

	if (!is_role(role)) {
		kap_errmsg_set(msg, "there is no role '%s'", role);
		return -KAP_INVAL;
	}
	if (all && slot >= 0) {
		kap_errmsg_set(msg, "all of them have no number");
		return -KAP_INVAL;
	}
	/* the slots are in the order that is wanted */
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		const struct slot *one = &children->slots[i];

		if (one->active && (all || strcmp(role,
		    child_role_name(one->role)) == 0) &&
		    (slot < 0 || slot == one->number))
			operation->plan[operation->plan_count++] = (uint8_t)i;
	}
	put_words(operation, role, slot);
	if (operation->plan_count != 0)
		return 0;
	kap_errmsg_set(msg, "there is no %s %d", role, slot);
	return -KAP_NOENT;
}

static void
begin_slot(struct operation *operation, struct slot *slot, const char *name)
{
	const struct process *old = slot->current;
	const int rc = child_life_begin_restart(slot, &operation->generation);
	const struct process *started;

	if (rc == -KAP_AGAIN) {
		operation->generation = 0;
		if (!operation->told_wait)
			operation_note(operation, "%s: waits for %s", name,
			    slot->leaving != NULL ?
			    "the process that leaves" : "its process");
		operation->told_wait = true;
		return;
	}
	operation->told_wait = false;
	if (rc != 0) {
		operation_fail(operation, "%s: no process could be started: "
		    "%s", name, kap_strerror(rc));
		return;
	}
	started = slot_find_process(slot, operation->generation);
	operation_note(operation, "%s: pid %d started%s", name,
	    started != NULL ? (int)started->pid : 0,
	    old != NULL ? " beside the old one" : "");
}

/* Look after the successor; true if the slot is done. */
static bool
look_after(struct operation *operation, struct slot *slot, const char *name)
{
	const struct process *process = slot_find_process(slot,
	    operation->generation);

	if (process == NULL) {
		operation_fail(operation, "%s: %s", name, slot->last_exit);
		return false;
	}
	if (process != slot->current || !children_serves(slot))
		return false;
	if (slot->leaving != NULL)
		operation_note(operation, "%s: pid %d serves, pid %d leaves",
		    name, (int)process->pid, (int)slot->leaving->pid);
	else
		operation_note(operation, "%s: pid %d serves", name,
		    (int)process->pid);
	return true;
}

/* One move for the slot whose turn it is; true if the next one's has come. */
static bool
push_slot(struct operation *operation, struct slot *slot)
{
	char name[32];

	slot_name(slot, name, sizeof(name));
	if (operation->generation == 0)
		begin_slot(operation, slot, name);
	if (operation->failed || operation->generation == 0 ||
	    !look_after(operation, slot, name))
		return false;
	operation->generation = 0;
	operation->plan_at++;
	return true;
}

void
rolling_push(struct children *children, struct operation *operation)
{
	while (operation->plan_at < operation->plan_count &&
	    push_slot(operation,
	        &children->slots[operation->plan[operation->plan_at]]))
		continue;
	if (operation->failed || operation->plan_at == operation->plan_count)
		operation_finish(operation);
}
