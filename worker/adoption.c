/*
 * Goes round through the table of calls, a bounded piece every second. A slot
 * is taken for orphaned when a second has passed since it was found, for the
 * master may be about to say who reads it; and for unneeded when two rounds
 * have found none of its calls.
 */
#include "adoption.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"

#define LOOK_MS 1000
#define FIRST_LOOK_MS 200
#define ORPHANED_MS 900
#define CALLS_A_LOOK 4096
#define SCAN_BATCH 64
#define ROUNDS_UNNEEDED 2

struct orphan {
	bool needed;          /* in the round under way */
	unsigned unneeded;    /* rounds in a row */
	int64_t found_ms;     /* boot clock; 0: it wasn't */
};

struct adoption {
	struct store *store;
	const struct change_maker *maker;
	struct streams *streams;
	struct event *timer;
	char after[CALL_ID_SIZE]; /* the round came to here */
	struct orphan slots[CHILD_MAX_WORKERS];
};

/* A slot that is no more, and ours to look after. */
static bool
is_ours(const struct adoption *adoption, unsigned slot)
{
	return slot != adoption->maker->slot && slot < CHILD_MAX_WORKERS &&
	    change_owns_slot(adoption->maker, slot);
}

static bool
needs_events(const struct call *call)
{
	if (call_is_live(call) || ((call->flags & CALL_F_RECORDED) != 0 &&
	    (call->flags & CALL_F_RECORD_DONE) == 0))
		return true;
	for (unsigned i = 0; i < CALL_TIMER_COUNT; i++) {
		if (call->timers[i] != 0)
			return true;
	}
	return false;
}

static void
note_need(struct adoption *adoption, const struct call *call)
{
	struct orphan *orphan;

	if (!is_ours(adoption, call->slot) || !needs_events(call))
		return;
	orphan = &adoption->slots[call->slot];
	orphan->needed = true;
	if (orphan->found_ms == 0)
		orphan->found_ms = clock_boot_ms();
}

/* A piece of the round; true when it has come to its end. */
static bool
scan(struct adoption *adoption)
{
	struct call calls[SCAN_BATCH];
	struct store_txn *txn;
	int count = SCAN_BATCH;

	if (store_begin_read(adoption->store, &txn) != 0)
		return false;
	for (int seen = 0; seen < CALLS_A_LOOK && count == SCAN_BATCH;
	    seen += count) {
		char last[CALL_ID_SIZE];

		count = call_table_scan(txn, -1, adoption->after, calls,
		    SCAN_BATCH, last);
		for (int i = 0; i < count; i++)
			note_need(adoption, &calls[i]);
		memcpy(adoption->after, last, sizeof(last));
	}
	store_end_read(&txn);
	return count >= 0 && count < SCAN_BATCH;
}

/* Its own process may be there still, or again: then it isn't orphaned. */
static void
look_at(struct adoption *adoption, unsigned slot)
{
	struct orphan *orphan = &adoption->slots[slot];
	const bool lives = stats_is_slot_alive(CHILD_BELL_WORKER + slot);
	int rc;

	orphan->needed = orphan->needed || lives;
	if (lives || streams_has(adoption->streams, slot)) {
		orphan->found_ms = 0;
		return;
	}
	if (!orphan->needed || orphan->found_ms == 0 ||
	    clock_boot_ms() - orphan->found_ms < ORPHANED_MS)
		return;
	orphan->found_ms = 0;
	orphan->unneeded = 0;
	log_info("taking the calls of a slot that is no more",
	    LOG_I("slot", slot));
	rc = streams_read(adoption->streams, (int)slot, -1);
	if (rc != 0)
		log_error("could not take them", LOG_I("slot", slot),
		    LOG_S("error", kap_strerror(rc)));
}

static void
end_round(struct adoption *adoption)
{
	adoption->after[0] = '\0';
	for (unsigned slot = 0; slot < CHILD_MAX_WORKERS; slot++) {
		struct orphan *orphan = &adoption->slots[slot];
		const bool needed = orphan->needed;

		orphan->needed = false;
		orphan->unneeded = needed ? 0 : orphan->unneeded + 1;
		if (!needed)
			orphan->found_ms = 0;
		if (orphan->unneeded < ROUNDS_UNNEEDED)
			continue;
		orphan->unneeded = 0;
		if (is_ours(adoption, slot) &&
		    streams_has(adoption->streams, slot))
			streams_end(adoption->streams, (int)slot);
	}
}

static void
look_again(struct adoption *adoption, int ms)
{
	const struct timeval after = { ms / 1000, ms % 1000 * 1000L };

	(void)event_add(adoption->timer, &after);
}

static void
on_look(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct adoption *adoption = arg;
	const bool at_end = scan(adoption);

	for (unsigned slot = 0; slot < CHILD_MAX_WORKERS; slot++) {
		if (is_ours(adoption, slot))
			look_at(adoption, slot);
	}
	if (at_end)
		end_round(adoption);
	look_again(adoption, LOOK_MS);
}

struct adoption *
adoption_new(struct event_base *base, struct store *store,
    const struct change_maker *maker, struct streams *streams)
{
	struct adoption *adoption = calloc(1, sizeof(*adoption));

	if (adoption == NULL)
		return NULL;
	adoption->store = store;
	adoption->maker = maker;
	adoption->streams = streams;
	adoption->timer = evtimer_new(base, on_look, adoption);
	if (adoption->timer == NULL) {
		free(adoption);
		return NULL;
	}
	return adoption;
}

void
adoption_free(struct adoption **adoption)
{
	if (*adoption == NULL)
		return;
	event_free((*adoption)->timer);
	free(*adoption);
	*adoption = NULL;
}

void
adoption_hold(struct adoption *adoption, bool hold)
{
	if (hold) {
		(void)event_del(adoption->timer);
		return;
	}
	memset(adoption->slots, 0, sizeof(adoption->slots));
	adoption->after[0] = '\0';
	look_again(adoption, FIRST_LOOK_MS);
}
