/*
 * The states of a slot, and the one function that changes them:
 *
 *             spawn                   CHILD_MSG_READY
 *      DEAD ─────────▶ STARTING ─────────────────────▶ READY
 *      ▲  ▲│            ▲    │ │                        │ │
 *      │  ││ never      │    │ │ drain            drain │ │
 *      │  ││ ready      │    │ └──────▶ DRAINING ◀──────┘ │
 *      │  │▼            │    │             │              │
 *      │  BACKOFF ──────┘    │ exit        │ exit         │ exit
 *      │    time is over     │             │              │
 *      └─────────────────────┴─────────────┴──────────────┘
 *
 * A slot whose child had been ready goes from DEAD to STARTING as soon as the
 * readers are cleared; BACKOFF goes back to DEAD when the master drains.
 * This file starts and ends no process.
 */
#include "master/slot.h"

#include "shared/clock.h"
#include "shared/log.h"

#define TO(state) (1U << (state))

static const struct {
	const char *name;
	unsigned next; /* set of states, by TO() */
} states[SLOT_STATE_COUNT] = {
	[SLOT_DEAD] = { "dead", TO(SLOT_STARTING) | TO(SLOT_BACKOFF) },
	[SLOT_STARTING] = { "starting",
	    TO(SLOT_READY) | TO(SLOT_DRAINING) | TO(SLOT_DEAD) },
	[SLOT_READY] = { "ready", TO(SLOT_DRAINING) | TO(SLOT_DEAD) },
	[SLOT_DRAINING] = { "draining", TO(SLOT_DEAD) },
	[SLOT_BACKOFF] = { "backoff", TO(SLOT_STARTING) | TO(SLOT_DEAD) },
};

const char *
slot_state_name(enum slot_state state)
{
	return states[state].name;
}

bool
slot_may_move(enum slot_state from, enum slot_state to)
{
	return (states[from].next & TO(to)) != 0;
}

void
slot_move(struct slot *slot, enum slot_state to)
{
	if (!slot_may_move(slot->state, to))
		fatal("%s %d can't go from %s to %s",
		    child_role_name(slot->role), slot->number,
		    states[slot->state].name, states[to].name);
	log_debug("slot moves", LOG_S("child", child_role_name(slot->role)),
	    LOG_I("slot", slot->number), LOG_S("from",
	    states[slot->state].name), LOG_S("to", states[to].name));
	slot->state = to;
	slot->since_ms = clock_boot_ms();
}

bool
slot_is_alive(const struct slot *slot)
{
	return slot->pid > 0;
}
