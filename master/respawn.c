/*
 * The waits between a death and the next start. Whether a process is needed
 * is children.c's to say, how long to wait supervise.c's.
 */
#include "master/respawn.h"

#include <stdio.h>

#include <event2/event.h>

#include "master/child_life.h"
#include "master/supervise.h"
#include "shared/clock.h"
#include "shared/log.h"

#define START_GAP_MS 100 /* least time between two starts of a slot */
#define CHECK_AGAIN_MS 5000

static void
start_in(struct slot *slot, int64_t wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000,
		.tv_usec = wait_ms % 1000 * 1000 };

	/* the usual gap is no back-off */
	slot->next_start_ms = wait_ms > START_GAP_MS ?
	    clock_boot_ms() + wait_ms : 0;
	if (event_add(slot->on_spawn_due, &wait) != 0)
		fatal("can't set the timer of a start");
}

static void
on_spawn_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct slot *slot = arg;
	int rc;

	slot->next_start_ms = 0;
	if (!slot->active || slot->current != NULL || slot->children->draining)
		return;
	rc = child_life_start(slot);
	(void)rc; /* one that failed waits again */
	children_turn(slot->children);
}

int
respawn_init(struct slot *slot)
{
	slot->on_spawn_due = event_new(slot->children->setup.base, -1, 0,
	    on_spawn_due, slot);
	return slot->on_spawn_due != NULL ? 0 : -KAP_NOMEM;
}

void
respawn_deinit(struct slot *slot)
{
	if (slot->on_spawn_due != NULL)
		event_free(slot->on_spawn_due);
	slot->on_spawn_due = NULL;
}

void
respawn_cancel(struct slot *slot)
{
	slot->next_start_ms = 0;
	slot->waits_check = false;
	slot->in_check = false;
	(void)event_del(slot->on_spawn_due);
}

void
respawn_back_off(struct slot *slot)
{
	int64_t wait_ms;

	slot->failures++;
	wait_ms = supervise_backoff_ms(slot->failures);
	log_info("next start waits", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_I("failures", slot->failures), LOG_I("ms", wait_ms));
	start_in(slot, wait_ms);
}

/* The readers are cleared, or can't be. */
static void
start_checked(struct slot *slot)
{
	const int64_t now_ms = clock_boot_ms();
	const int64_t gap_ms = START_GAP_MS -
	    (now_ms - slot->died->started_ms);

	if (slot->children->draining || !slot->active ||
	    slot->current != NULL)
		return;
	if (slot->died->ready_ms == 0)
		respawn_back_off(slot);
	else if (slot->next_start_ms > now_ms + gap_ms)
		start_in(slot, slot->next_start_ms - now_ms);
	else
		start_in(slot, gap_ms > 0 ? gap_ms : 0);
}

static void
end_check(struct children *children)
{
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		struct slot *slot = &children->slots[i];

		if (!slot->in_check)
			continue;
		slot->in_check = false;
		start_checked(slot);
	}
}

/* The starts don't wait for it, but what the dead one left pins pages. */
static void
check_again(struct children *children)
{
	children->check_again_ms = clock_boot_ms() + CHECK_AGAIN_MS;
}

/*
 * Run the reader check for every death it doesn't cover yet. One that is
 * under way may have looked before the child died, so it doesn't count.
 */
static void
check_readers(struct children *children)
{
	int rc;

	if (children->check.pid != 0 || !children->check_due)
		return;
	children->check_due = false;
	children->check_again_ms = 0;
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		struct slot *slot = &children->slots[i];

		slot->in_check = slot->waits_check;
		slot->waits_check = false;
	}
	rc = reader_check_start(&children->check);
	if (rc != 0) {
		log_warn("can't run the reader check",
		    LOG_S("error", kap_strerror(rc)));
		check_again(children);
		end_check(children);
	}
}

void
respawn_look(struct children *children, int64_t now_ms)
{
	if (children->check_again_ms == 0 ||
	    now_ms < children->check_again_ms)
		return;
	children->check_again_ms = 0;
	children->check_due = true;
	check_readers(children);
}

void
respawn_after_death(struct slot *slot, const struct process *current)
{
	slot->children->check_due = true;
	if (current != NULL) {
		slot->died = current;
		slot->waits_check = true;
	}
	check_readers(slot->children);
}

bool
respawn_reaped(struct children *children, pid_t pid, int wait_status)
{
	if (!reader_check_reaped(&children->check, pid, wait_status))
		return false;
	if (children->check.damaged)
		children_drain(children); /* none could live on it */
	else if (children->check.failed)
		check_again(children);
	end_check(children);
	check_readers(children);
	return true;
}

void
respawn_loop_words(const struct slot *slot, int64_t now_ms, char *out,
    size_t size)
{
	char name[32];

	out[0] = '\0';
	if (!slot->loop.is_loop)
		return;
	slot_name(slot, name, sizeof(name));
	supervise_loop_words(&slot->loop, name, slot->last_reason, now_ms,
	    slot->next_start_ms, out, size);
}

void
respawn_count_death(struct slot *slot, const struct process *process,
    enum supervise_end end)
{
	const int64_t now_ms = clock_boot_ms();
	const bool was_loop = slot->loop.is_loop;
	const int64_t wait_ms = supervise_loop_count(&slot->loop, end,
	    now_ms - process->ready_ms, now_ms);
	char words[160];

	/* the start itself is set when the readers are cleared */
	slot->next_start_ms = wait_ms > 0 ? now_ms + wait_ms : 0;
	respawn_loop_words(slot, now_ms, words, sizeof(words));
	if (!slot->loop.is_loop || was_loop)
		return;
	LOG_AT(supervise_loop_is_fault(&slot->loop) ? LOG_LEVEL_ERROR :
	    LOG_LEVEL_WARN, "crash loop", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number),
	    LOG_S("words", words));
}

void
respawn_review(struct slot *slot, int64_t now_ms)
{
	if (!process_is_ready(slot->current) ||
	    !supervise_loop_review(&slot->loop,
	        now_ms - slot->current->ready_ms))
		return;
	log_info("crash loop is over", LOG_S("child",
	    child_role_name(slot->role)), LOG_I("slot", slot->number));
}
