/*
 * Decides who accepts for whom. The listener stays the master's; a borrower
 * gets a copy, and its death or drain ends the loan by itself.
 */
#include "master/lending.h"

#include "shared/log.h"

#define UNSERVED_MS 1000

static bool
can_borrow(const struct slot *slot)
{
	return slot->role == CHILD_WORKER && slot->active && !slot->joining &&
	    process_is_ready(slot->current);
}

/* The next ready worker behind the slot, in the circle of the slots. */
static struct slot *
find_neighbour(struct children *children, const struct slot *slot)
{
	const size_t at = (size_t)(slot - children->slots);

	for (size_t i = 1; i < SLOTS_COUNT; i++) {
		struct slot *other =
		    &children->slots[(at + i) % SLOTS_COUNT];

		if (can_borrow(other))
			return other;
	}
	return NULL;
}

static void
lend(struct children *children, struct slot *slot)
{
	struct slot *to = find_neighbour(children, slot);

	if (to == NULL || process_send(to->current, CHILD_MSG_LISTENER,
	    slot->number, slot->listen_fd) != 0)
		return;
	slot->lent_to = to;
	slot->lent_generation = to->current->generation;
	log_info("listener lent", LOG_I("slot", slot->number),
	    LOG_I("to", to->number));
}

/* A borrower that died, or takes no new work, has nothing any more. */
static void
forget_dead_loan(struct slot *slot)
{
	if (slot->lent_to != NULL && (!can_borrow(slot->lent_to) ||
	    slot->lent_to->current->generation != slot->lent_generation))
		slot->lent_to = NULL;
}

static void
take_back(struct slot *slot)
{
	if (slot->lent_to == NULL || process_send(slot->lent_to->current,
	    CHILD_MSG_LISTENER_DROP, slot->number, -1) == -KAP_AGAIN)
		return;
	log_info("listener taken back", LOG_I("slot", slot->number),
	    LOG_I("from", slot->lent_to->number));
	slot->lent_to = NULL;
}

static void
look_at(struct children *children, struct slot *slot, int64_t now_ms)
{
	forget_dead_loan(slot);
	if (slot->not_lent || children_serves(slot)) {
		slot->unserved_since_ms = 0;
		take_back(slot);
		return;
	}
	if (slot->unserved_since_ms == 0)
		slot->unserved_since_ms = now_ms;
	/* where none comes soon there is nothing to wait for */
	if (slot->lent_to == NULL && (!slot->active || slot->joining ||
	    now_ms - slot->unserved_since_ms >= UNSERVED_MS))
		lend(children, slot);
}

void
lending_look(struct children *children, int64_t now_ms)
{
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		if (children->slots[i].listen_fd >= 0)
			look_at(children, &children->slots[i], now_ms);
	}
}
