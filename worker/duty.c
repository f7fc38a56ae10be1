/*
 *                  READ                STOP_READING
 *     STANDBY ───────────────▶ OWN ───────────────────▶ RELIEVED
 *        (started beside)       ▲                           │
 *                               └───────────────────────────┘
 *                                   READ: the successor is lost
 *
 * What is held and what runs follows the duty alone; a drain changes nothing
 * of it.
 */
#include "duty.h"

#include <stdint.h>

#include <event2/event.h>

#include "control_wait.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "worker.h"

#define LEAVE_LOOK_MS 50
/* Of the time to drain, what is kept for the last answers' way. */
#define LAST_WAY_MS INT64_C(4000)

static void
set_duty(struct worker *worker, enum worker_duty duty)
{
	const bool hold = duty != DUTY_OWN;

	worker->duty = duty;
	child_runtime_heed_bell(&worker->runtime, !hold);
	timer_run_hold(worker->timers, hold);
	ledger_drain_hold(worker->ledger, hold);
	adoption_hold(worker->adoption, hold || worker->runtime.draining);
}

static void
serve_admin(struct worker *worker)
{
	if (worker->admin_serves || worker->runtime.draining)
		return;
	worker->admin_serves = true;
	if (http_server_add_listener(worker->admin, worker->runtime.args.slot,
	        CHILD_FD_ADMIN) != 0)
		fatal("can't serve on the admin listener that the master "
		    "gave");
}

void
duty_begin(struct worker *worker, bool beside)
{
	set_duty(worker, beside ? DUTY_STANDBY : DUTY_OWN);
	if (!beside)
		serve_admin(worker);
}

void
duty_read(struct worker *worker, int slot, int fd)
{
	const bool own = slot == worker->runtime.args.slot;
	int rc;

	if (own) {
		if (worker->duty == DUTY_RELIEVED)
			links_relieve(worker->links, false);
		set_duty(worker, DUTY_OWN);
		serve_admin(worker);
	}
	rc = streams_read(worker->streams, slot, fd);
	CRASH_POINT(handover_taken);
	if (rc != 0 && own)
		fatal("can't read the slot's events: %s", kap_strerror(rc));
	if (rc != 0) {
		log_error("can't read another slot's events",
		    LOG_I("slot", slot), LOG_S("error", kap_strerror(rc)));
		/* so that the master doesn't count on it */
		streams_leave(worker->streams, slot);
	}
	if (own && worker->opening != NULL)
		opening_take_over(worker->opening);
}

void
duty_stop_reading(struct worker *worker, int slot)
{
	CRASH_POINT(handover_asked);
	if (slot == worker->runtime.args.slot) {
		log_info("relieved: another process goes on with the calls");
		set_duty(worker, DUTY_RELIEVED);
		links_relieve(worker->links, true);
	}
	streams_leave(worker->streams, slot);
	CRASH_POINT(handover_left);
}

/* --- leaving -------------------------------------------------------------- */

void
duty_on_leave_timer(int fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	const struct timeval again = { 0, LEAVE_LOOK_MS * 1000L };
	struct worker *worker = arg;

	if (worker->http_drained && worker->admin_drained &&
	    waiters_count(worker->api.waiters) == 0 &&
	    control_waiters_count(worker->api.controls) == 0 &&
	    dispatch_under_way(worker->dispatch) == 0 &&
	    (worker->duty == DUTY_OWN || ledger_drain_is_idle(worker->ledger)))
		child_runtime_leave(&worker->runtime, "drained");
	else
		(void)event_add(worker->leave_timer, &again);
}

static void
on_http_drained(void *arg)
{
	struct worker *worker = arg;

	worker->http_drained = true;
}

static void
on_admin_drained(void *arg)
{
	struct worker *worker = arg;

	worker->admin_drained = true;
}

/* How long an idle connection may wait for its last request. */
static int64_t
patience_ms(const struct worker *worker)
{
	const int64_t whole_ms =
	    worker->runtime.config.supervision.drain_timeout_s * 1000;

	return whole_ms > 2 * LAST_WAY_MS ? whole_ms - LAST_WAY_MS :
	    whole_ms / 2;
}

/*
 * Until when lists of calls are gone on with. The last of their calls may take
 * as long as an originate does, and only then is their answer known.
 */
static int64_t
begin_until_ms(const struct worker *worker)
{
	const struct config *config = &worker->runtime.config;
	const int64_t begin_ms = config->supervision.drain_timeout_s * 1000 -
	    config->calls.originate_timeout_ms - LAST_WAY_MS;

	return clock_boot_ms() + (begin_ms > 0 ? begin_ms : 0);
}

void
duty_drain(struct worker *worker)
{
	const int64_t patience = worker->duty == DUTY_RELIEVED ?
	    patience_ms(worker) : 0;

	/* with a successor, calls go on being made as long as they are asked
	 * for here */
	worker->api.draining = worker->duty != DUTY_RELIEVED;
	worker->api.begin_until_ms = begin_until_ms(worker);
	opening_free(&worker->opening);
	adoption_hold(worker->adoption, true);
	dispatch_drain(worker->dispatch);
	http_server_drain_patiently(worker->http, patience, on_http_drained,
	    worker);
	http_server_drain_patiently(worker->admin, patience, on_admin_drained,
	    worker);
	duty_on_leave_timer(-1, 0, worker);
}
