/*
 * More workers:
 *
 *     STARTING ─────▶ JOINING ─────▶ SERVING ──▶ done
 *     │  all ready    │  streams are   all read and accept
 *     │               │  given up
 *     ▼ one is gone   ▼
 *     UNDOING ◀───────┘
 *
 * Fewer:
 *
 *     QUIETING ─────▶ GIVING_UP ─────▶ LEAVING ─────▶ CLOSING ──▶ done
 *        no new          streams are       all are       listeners
 *        connects        given up          gone          are closed
 *
 * In JOINING and GIVING_UP nobody reads a stream that changes hands, so the
 * number of workers changes while nobody acts on it; that takes milliseconds.
 * Every wait for a process has its end in the watchdog's limits.
 *
 * A listener that is closed resets what is in its queue. So new connections
 * are steered to the other sockets first, its worker goes on accepting until
 * the queue is empty, and a neighbour gets the listener for those that were
 * still shaking hands. Only a client whose handshake takes longer than
 * CLOSE_AFTER_MS is reset. Where steering isn't to be had, the API's listener
 * is lent to a neighbour for good instead.
 */
#include "master/scaling.h"

#include <stdio.h>

#include "master/child_life.h"
#include "master/children.h"
#include "master/lending.h"
#include "master/readers.h"
#include "master/respawn.h"
#include "master/steering.h"
#include "shared/clock.h"

#define QUIET_MS 1000      /* for handshakes that are under way */
#define QUIET_LAST_MS 5000 /* a queue that isn't empty then is left behind */
#define CLOSE_AFTER_MS 3000
#define CLOSE_LAST_MS 10000
#define HAND_BACK_MS 500   /* for a borrower to let go */

enum phase {
	STARTING,
	JOINING,
	SERVING,
	UNDOING,
	QUIETING,
	GIVING_UP,
	LEAVING,
	CLOSING,
	HANDING_BACK
};

static void
enter(struct operation *operation, enum phase phase, int64_t now_ms)
{
	operation->phase = phase;
	operation->since_ms = now_ms;
}

/* Of both listeners, or of none. */
static bool
steer(const struct children *children, unsigned count)
{
	const struct slot *slot = &children->slots[0];

	if (steering_begin(slot->listen_fd, count) != 0)
		return false;
	if (steering_begin(slot->admin_fd, count) == 0)
		return true;
	steering_end(slot->listen_fd);
	return false;
}

static void
end_steering(const struct children *children)
{
	steering_end(children->slots[0].listen_fd);
	steering_end(children->slots[0].admin_fd);
}

/* The last one first, so that the others keep their numbers. */
static void
close_listeners(struct children *children, unsigned from, unsigned to)
{
	for (unsigned i = to; i > from; i--)
		slots_close_listeners(&children->slots[i - 1]);
}

/* ---- more ---- */

/* Without steering the API's are lent; the admin's can't be. */
static void
close_unserved(struct children *children, const struct operation *operation)
{
	if (operation->steered)
		close_listeners(children, operation->from, operation->to);
	for (unsigned i = operation->from; i < operation->to; i++)
		slots_close_admin(&children->slots[i]);
}

static int
open_listeners(struct children *children, const struct operation *operation,
    struct kap_errmsg *msg)
{
	int rc = 0;

	for (unsigned i = operation->from; rc == 0 && i < operation->to; i++)
		rc = slots_open_listeners(&children->slots[i],
		    children->setup.config, msg);
	if (rc != 0)
		close_unserved(children, operation);
	return rc;
}

static int
begin_more(struct children *children, struct operation *operation,
    struct kap_errmsg *msg)
{
	int rc;

	operation->steered = steer(children, operation->from);
	rc = open_listeners(children, operation, msg);
	if (rc != 0) {
		if (operation->steered)
			end_steering(children);
		return rc;
	}
	for (unsigned i = operation->from; i < operation->to; i++) {
		struct slot *slot = &children->slots[i];

		slot->active = true;
		slot->joining = true;
		slot->not_lent = operation->steered;
		rc = child_life_start(slot);
		if (rc == 0)
			operation_note(operation, "worker %u: pid %d started",
			    i, (int)slot->current->pid);
		/* one that couldn't be started shows as gone, below */
	}
	enter(operation, STARTING, clock_boot_ms());
	return 0;
}

static void
undo(struct children *children, struct operation *operation, int64_t now_ms)
{
	children->workers_to_be = children->workers;
	for (unsigned i = operation->from; i < operation->to; i++) {
		struct slot *slot = &children->slots[i];

		slot->active = false;
		slot->joining = false;
		respawn_cancel(slot);
		if (slot->current != NULL)
			children_drain_process(slot->current);
	}
	enter(operation, UNDOING, now_ms);
}

/* The new ones are all ready; false also after one failed. */
static bool
are_ready(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	bool ready = true;

	for (unsigned i = operation->from; i < operation->to; i++) {
		const struct slot *slot = &children->slots[i];

		if (slot->current == NULL) {
			operation_fail(operation, "worker %u: %s", i,
			    slot->last_exit);
			undo(children, operation, now_ms);
			return false;
		}
		ready = ready && process_is_ready(slot->current);
	}
	return ready;
}

static void
push_joining(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	if (!are_ready(children, operation, now_ms))
		return;
	if (operation->phase == STARTING) {
		children->workers_to_be = operation->to;
		streams_settle(&children->streams, now_ms);
		enter(operation, JOINING, now_ms);
	}
	if (readers_hold_on(children))
		return;
	children_set_workers(children, operation->to);
	for (unsigned i = operation->from; i < operation->to; i++) {
		children->slots[i].joining = false;
		children->slots[i].not_lent = false;
	}
	streams_settle(&children->streams, now_ms);
	operation_note(operation, "there are %u workers", operation->to);
	enter(operation, SERVING, now_ms);
}

static void
push_serving(struct children *children, struct operation *operation)
{
	bool serve = true;

	for (unsigned i = operation->from; i < operation->to; i++) {
		const struct slot *slot = &children->slots[i];

		/* an ordinary child now: it is started anew by itself */
		if (slot->current == NULL)
			operation_fail(operation, "worker %u: %s", i,
			    slot->last_exit);
		serve = serve && children_serves(slot);
	}
	if (!serve && !operation->failed)
		return;
	if (operation->steered)
		end_steering(children);
	operation_finish(operation);
}

/* True while one of the operation's slots has a process. */
static bool
any_is_there(const struct children *children, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		if (slot_has_process(&children->slots[i]))
			return true;
	}
	return false;
}

static void
push_undoing(struct children *children, struct operation *operation)
{
	if (any_is_there(children, operation->from, operation->to))
		return;
	close_unserved(children, operation);
	if (operation->steered)
		end_steering(children);
	for (unsigned i = operation->from; i < operation->to; i++)
		children->slots[i].not_lent = false;
	operation_finish(operation);
}

/* ---- fewer ---- */

static void
begin_fewer(struct children *children, struct operation *operation)
{
	const int64_t now_ms = clock_boot_ms();

	operation->steered = steer(children, operation->to);
	operation->steered_ms = now_ms;
	if (operation->steered)
		operation_note(operation, "no new connections to workers "
		    "%u to %u", operation->to, operation->from - 1);
	enter(operation, QUIETING, now_ms);
}

/* Connections that nobody has accepted, of those that leave. */
static bool
any_waits(const struct children *children, const struct operation *operation)
{
	for (unsigned i = operation->to; i < operation->from; i++) {
		const struct slot *slot = &children->slots[i];

		if (slot->listen_fd >= 0 &&
		    steering_queue_length(slot->listen_fd) > 0)
			return true;
	}
	return false;
}

static void
push_quieting(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	const int64_t passed_ms = now_ms - operation->since_ms;

	if (operation->steered && passed_ms < QUIET_LAST_MS &&
	    (passed_ms < QUIET_MS || any_waits(children, operation)))
		return;
	for (unsigned i = operation->to; i < operation->from; i++) {
		children->slots[i].active = false;
		respawn_cancel(&children->slots[i]);
	}
	children->workers_to_be = operation->to;
	/* a neighbour accepts before they stop; they stop reading first */
	lending_look(children, now_ms);
	streams_settle(&children->streams, now_ms);
	for (unsigned i = operation->to; i < operation->from; i++)
		children_drain_slot(&children->slots[i]);
	operation_note(operation, "workers %u to %u leave", operation->to,
	    operation->from - 1);
	enter(operation, GIVING_UP, now_ms);
}

static void
push_giving_up(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	if (readers_hold_on(children))
		return;
	children_set_workers(children, operation->to);
	streams_settle(&children->streams, now_ms);
	operation_note(operation, "there are %u workers", operation->to);
	enter(operation, LEAVING, now_ms);
}

static void
push_leaving(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	if (any_is_there(children, operation->to, operation->from))
		return;
	operation_note(operation, "workers %u to %u are gone", operation->to,
	    operation->from - 1);
	enter(operation, CLOSING, now_ms);
}

static void
push_closing(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	const int64_t passed_ms = now_ms - operation->steered_ms;

	if (!operation->steered) {
		for (unsigned i = operation->to; i < operation->from; i++)
			slots_close_admin(&children->slots[i]);
		operation_note(operation, "their listeners are lent for good");
		operation_finish(operation);
		return;
	}
	if (passed_ms < CLOSE_LAST_MS && (passed_ms < CLOSE_AFTER_MS ||
	    any_waits(children, operation)))
		return;
	for (unsigned i = operation->to; i < operation->from; i++)
		children->slots[i].not_lent = true;
	lending_look(children, now_ms);
	enter(operation, HANDING_BACK, now_ms);
}

static void
push_handing_back(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	if (now_ms - operation->since_ms < HAND_BACK_MS)
		return;
	close_listeners(children, operation->to, operation->from);
	end_steering(children);
	for (unsigned i = operation->to; i < operation->from; i++)
		children->slots[i].not_lent = false;
	operation_note(operation, "their listeners are closed");
	operation_finish(operation);
}

/* ---- both ---- */

int
scaling_begin(struct children *children, struct operation *operation,
    unsigned workers, struct kap_errmsg *msg)
{
	if (workers < 1 || workers > CHILD_MAX_WORKERS) {
		kap_errmsg_set(msg, "the number of workers is 1 to %d",
		    CHILD_MAX_WORKERS);
		return -KAP_INVAL;
	}
	if (workers == children->workers) {
		kap_errmsg_set(msg, "there are %u workers already", workers);
		return -KAP_EXISTS;
	}
	operation->from = children->workers;
	operation->to = workers;
	(void)snprintf(operation->what, sizeof(operation->what),
	    "scale from %u to %u workers", operation->from, operation->to);
	if (workers > children->workers)
		return begin_more(children, operation, msg);
	begin_fewer(children, operation);
	return 0;
}

void
scaling_push(struct children *children, struct operation *operation,
    int64_t now_ms)
{
	switch ((enum phase)operation->phase) {
	case STARTING:
	case JOINING:
		push_joining(children, operation, now_ms);
		break;
	case SERVING:
		push_serving(children, operation);
		break;
	case UNDOING:
		push_undoing(children, operation);
		break;
	case QUIETING:
		push_quieting(children, operation, now_ms);
		break;
	case GIVING_UP:
		push_giving_up(children, operation, now_ms);
		break;
	case LEAVING:
		push_leaving(children, operation, now_ms);
		break;
	case CLOSING:
		push_closing(children, operation, now_ms);
		break;
	case HANDING_BACK:
		push_handing_back(children, operation, now_ms);
		break;
	}
}
