/*
 * Questions to a slot. Changes nothing.
 */
#include "master/slot.h"

#include <stdio.h>

bool
slot_has_process(const struct slot *slot)
{
	return process_is_alive(&slot->process[0]) ||
	    process_is_alive(&slot->process[1]);
}

struct process *
slot_find_process(struct slot *slot, uint32_t generation)
{
	struct process *process = &slot->process[generation & 1];

	return process_is_alive(process) &&
	    process->generation == generation ? process : NULL;
}

void
slot_name(const struct slot *slot, char *out, size_t size)
{
	if (slot->role == CHILD_WORKER)
		(void)snprintf(out, size, "worker %d", slot->number);
	else
		(void)snprintf(out, size, "%s", child_role_name(slot->role));
}

const char *
slot_state_name(const struct slot *slot)
{
	if (slot->current != NULL)
		return process_state_name(slot->current->state);
	return slot->next_start_ms != 0 ? "backoff" : "dead";
}
