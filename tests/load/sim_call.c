/*
 * One timer a channel, set for the next thing that is due to it:
 *
 *     DOWN ──ring──▶ RINGING ──decide──▶ UP ──end──▶ gone
 *      │                │                 │
 *      └─ decide, timeout, hung up ───────┴──▶ gone
 *
 * A snoop channel (sim_snoop.c) begins UP, and has no end of its own.
 * The order of the events is that of an Asterisk 22, as captured.
 */
#include "sim_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "sim_app.h"
#include "sim_bridge.h"
#include "sim_dial.h"
#include "sim_event.h"
#include "sim_play.h"
#include "sim_rung.h"
#include "sim_snoop.h"

#define CAUSE_NORMAL 16
#define CAUSE_NO_ANSWER 19
#define SIP_NO_ANSWER 480
#define TIMEOUT_VARIABLE "TIMEOUT(absolute)"

enum ending { ENDING_FAR, ENDING_API, ENDING_TIMEOUT };

static int64_t
mono_ms(void)
{
	return clock_mono_us() / 1000;
}

struct sim_call *
sim_call_find(const struct sim *sim, const char *id)
{
	return sim_table_get(&sim->calls, id);
}

/* ---- its end ---- */

static void
call_free(struct sim_call *call)
{
	(void)evtimer_del(&call->timer);
	sim_plays_clear(call->sim, &call->plays);
	while (call->variables != NULL) {
		struct sim_variable *next = call->variables->next;

		free(call->variables->value);
		free(call->variables);
		call->variables = next;
	}
	free(call);
}

static void
leave_stasis(struct sim_call *call)
{
	if (!call->in_stasis)
		return;
	sim_event_stasis_end(call->sim, call);
	sim_event_varset(call->sim, call, "STASISSTATUS", "SUCCESS");
	call->in_stasis = false;
}

/* Out of the table; whoever is told is told. */
static void
destroy(struct sim_call *call, int cause, int sip)
{
	struct sim *sim = call->sim;

	sim_plays_end(sim, &call->plays, false);
	sim_snoops_end(call);
	leave_stasis(call);
	sim_event_destroyed(sim, call, cause, sip);
	sim->totals.destroyed++;
	sim_snoop_unlink(call);
	(void)sim_table_remove(&sim->calls, call->id);
	if (call->subscribed)
		sim_app_release(sim, call->app);
	call_free(call);
}

static void
end_call(struct sim_call *call, enum ending ending, int cause, int sip,
    const char *dialstatus)
{
	struct sim *sim = call->sim;

	if (ending != ENDING_TIMEOUT)
		sim_event_hangup_request(sim, call, cause, sip,
		    ending == ENDING_API);
	if (ending != ENDING_TIMEOUT && call->state != SIM_CALL_UP)
		(void)sim_event_dial(sim, call, dialstatus);
	sim_bridge_leave(sim, call, false);
	destroy(call, cause, sip);
}

void
sim_call_hang_up(struct sim_call *call, int cause)
{
	end_call(call, ENDING_API, cause, 0, "NOANSWER");
}

void
sim_call_vanish(struct sim_call *call)
{
	sim_bridge_leave(call->sim, call, false);
	destroy(call, CAUSE_NORMAL, 0);
}

/* ---- what is due ---- */

/* Each answers when it is due, on the monotonic clock, or SIM_NEVER. */
static int64_t
after_begin(const struct sim_call *call, int64_t span_ms)
{
	return span_ms == SIM_NEVER ? SIM_NEVER : call->begun_ms + span_ms;
}

static int64_t
ring_due(const struct sim_call *call)
{
	return call->state == SIM_CALL_DOWN && !call->rings_late ?
	    after_begin(call, call->plan.ring_ms) : SIM_NEVER;
}

static int64_t
decide_due(const struct sim_call *call)
{
	return call->state != SIM_CALL_UP ?
	    after_begin(call, call->plan.decide_ms) : SIM_NEVER;
}

static int64_t
timeout_due(const struct sim_call *call)
{
	return call->state != SIM_CALL_UP ?
	    after_begin(call, call->timeout_ms) : SIM_NEVER;
}

static int64_t
digit_due(const struct sim_call *call)
{
	const struct sim_plan *plan = &call->plan;
	int64_t due = call->answered_ms + plan->digits_after_ms;

	if (call->state != SIM_CALL_UP || plan->digits == NULL ||
	    plan->digits[call->digits_sent] == '\0')
		return SIM_NEVER;
	for (unsigned i = 0; i < call->digits_sent; i++)
		due += plan->digits[i] == SIM_PAUSE ? SIM_PAUSE_MS :
		    plan->digit_every_ms;
	return due;
}

static int64_t
end_due(const struct sim_call *call)
{
	return call->state == SIM_CALL_UP && call->plan.talk_ms != SIM_NEVER ?
	    call->answered_ms + call->plan.talk_ms : SIM_NEVER;
}

static int64_t
absolute_due(const struct sim_call *call)
{
	return after_begin(call, call->absolute_ms);
}

static int64_t
return_due(const struct sim_call *call)
{
	return call->return_ms;
}

/* Each does it; false: the call is gone. */
static bool
do_ring(struct sim_call *call)
{
	struct sim *sim = call->sim;

	if (sim_event_state(sim, call, SIM_EVENT_RINGING) == SIM_FATE_LATE) {
		call->rings_late = true;
		return true;
	}
	call->state = SIM_CALL_RINGING;
	(void)sim_event_dial(sim, call, "RINGING");
	return true;
}

/* Into Stasis, or out of the world: its app must be there to take it. */
bool
sim_call_enter_stasis(struct sim_call *call)
{
	struct sim *sim = call->sim;
	struct sim_app *app = sim_app_find(sim, call->app);

	if (!sim_app_is_active(app)) {
		sim->totals.dropped_calls++;
		destroy(call, CAUSE_NORMAL, 0);
		return false;
	}
	if (!call->subscribed)
		sim_app_hold(app);
	call->subscribed = true;
	call->in_stasis = true;
	sim_event_varset(sim, call, "STASISSTATUS", "");
	sim_event_stasis_start(sim, call);
	return true;
}

static bool
do_answer(struct sim_call *call)
{
	struct sim *sim = call->sim;

	call->state = SIM_CALL_UP;
	call->answered_ms = mono_ms();
	sim->totals.answered++;
	(void)sim_event_state(sim, call, SIM_EVENT_ANSWER);
	(void)sim_event_dial(sim, call, "ANSWER");
	if (!sim_call_enter_stasis(call))
		return false;
	if (call->rings_late) {
		(void)sim_event_state(sim, call, SIM_EVENT_RINGING);
		(void)sim_event_dial(sim, call, "RINGING");
	}
	return true;
}

static bool
do_decide(struct sim_call *call)
{
	const struct sim_refusal *refusal = call->plan.refusal;

	if (refusal == NULL)
		return do_answer(call);
	end_call(call, ENDING_FAR, refusal->cause, refusal->sip,
	    refusal->dialstatus);
	return false;
}

static bool
do_timeout(struct sim_call *call)
{
	if (sim_is_newer(call->sim))
		end_call(call, ENDING_TIMEOUT, CAUSE_NO_ANSWER, SIP_NO_ANSWER,
		    "");
	else
		end_call(call, ENDING_TIMEOUT, 0, 0, "");
	return false;
}

static bool
do_digit(struct sim_call *call)
{
	const char digit = call->plan.digits[call->digits_sent++];

	if (digit != SIM_PAUSE)
		sim_event_dtmf(call->sim, call, digit);
	return true;
}

static bool
do_end(struct sim_call *call)
{
	end_call(call, ENDING_FAR, CAUSE_NORMAL, 0, "");
	return false;
}

static bool
do_absolute(struct sim_call *call)
{
	if (call->state != SIM_CALL_UP)
		return do_timeout(call);
	end_call(call, ENDING_TIMEOUT, 0, 0, "");
	return false;
}

static bool
do_return(struct sim_call *call)
{
	call->return_ms = SIM_NEVER;
	return sim_snoop_return(call);
}

static const struct {
	int64_t (*due)(const struct sim_call *call);
	bool (*act)(struct sim_call *call);
} steps[] = {
	{ ring_due, do_ring },
	{ decide_due, do_decide },
	{ timeout_due, do_timeout },
	{ digit_due, do_digit },
	{ end_due, do_end },
	{ absolute_due, do_absolute },
	{ return_due, do_return },
};

#define STEP_COUNT (sizeof(steps) / sizeof(steps[0]))

/* Which step is next; STEP_COUNT: none ever. */
static size_t
next_step(const struct sim_call *call, int64_t *due_out)
{
	size_t next = STEP_COUNT;

	*due_out = SIM_NEVER;
	for (size_t i = 0; i < STEP_COUNT; i++) {
		const int64_t due = steps[i].due(call);

		if (due < *due_out) {
			*due_out = due;
			next = i;
		}
	}
	return next;
}

static void
schedule(struct sim_call *call)
{
	int64_t wait_ms;
	struct timeval after;
	int64_t due;

	if (next_step(call, &due) == STEP_COUNT)
		return;
	wait_ms = due - mono_ms();
	if (wait_ms < 0)
		wait_ms = 0;
	after.tv_sec = wait_ms / 1000;
	after.tv_usec = wait_ms % 1000 * 1000;
	(void)evtimer_add(&call->timer, &after);
}

/* All that is due by now. */
static void
go_on(struct sim_call *call)
{
	const int64_t now = mono_ms();
	int64_t due;
	size_t step;

	while ((step = next_step(call, &due)) != STEP_COUNT && due <= now) {
		if (!steps[step].act(call))
			return;
	}
	schedule(call);
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct sim_call *call = arg;

	(void)fd;
	(void)what;
	if (call->sim->timers_frozen)
		call->is_overdue = true; /* sim_calls_thaw finds it */
	else
		go_on(call);
}

/*
 * All calls, or the overdue ones alone, as a chain: while they are gone
 * through the table may change. A call's end is its snoops' end too, so either
 * the one or the others are in a chain.
 */
static struct sim_call *
chain(const struct sim *sim, bool overdue_alone, bool snoops)
{
	struct sim_call *first = NULL;
	struct sim_call *call;
	size_t at = 0;

	while ((call = sim_table_next(&sim->calls, &at)) != NULL) {
		if ((overdue_alone && !call->is_overdue) ||
		    (call->spied != NULL) != snoops)
			continue;
		call->is_overdue = false;
		call->next_chained = first;
		first = call;
	}
	return first;
}

static void
thaw(struct sim *sim, bool snoops)
{
	struct sim_call *next;

	for (struct sim_call *call = chain(sim, true, snoops); call != NULL;
	    call = next) {
		next = call->next_chained;
		go_on(call);
	}
}

void
sim_calls_thaw(struct sim *sim)
{
	thaw(sim, false);
	thaw(sim, true);
}

/* ---- its beginning ---- */

static void
copy(char *out, size_t size, const char *text)
{
	(void)snprintf(out, size, "%s", text != NULL ? text : "");
}

static struct sim_call *
call_new(struct sim *sim, const struct sim_call_order *order)
{
	struct sim_call *call = calloc(1, sizeof(*call));

	if (call == NULL)
		return NULL;
	call->sim = sim;
	call->number_in_order = sim->next_channel;
	call->created_ms = clock_wall_ms();
	call->begun_ms = mono_ms();
	call->timeout_ms = order->timeout_ms;
	call->absolute_ms = SIM_NEVER;
	call->return_ms = SIM_NEVER;
	if (order->id != NULL)
		copy(call->id, sizeof(call->id), order->id);
	else
		(void)snprintf(call->id, sizeof(call->id), "sim-%lld.%u",
		    (long long)call->created_ms, sim->next_channel);
	copy(call->app, sizeof(call->app), order->app);
	copy(call->args, sizeof(call->args), order->args);
	sim_dial_read_caller(call, order->caller);
	(void)evtimer_assign(&call->timer, sim->base, on_due, call);
	return call;
}

static void
ring_the_phone(struct sim_call *call)
{
	struct sim *sim = call->sim;
	struct sim_app *app = sim_app_find(sim, call->app);

	sim->next_channel++;
	sim->totals.originates++;
	if (sim_rung_count(sim->rung, call->id, call->number) > 1)
		sim->totals.rung_twice++;
	if (app != NULL) {
		sim_app_hold(app);
		call->subscribed = true;
		call->is_followed = true;
	}
	(void)sim_event_dial(sim, call, "");
	schedule(call);
}

int
sim_call_originate(struct sim *sim, const struct sim_call_order *order,
    struct sim_call **call_out)
{
	struct sim_call *call;
	int rc;

	if (order->id != NULL && sim_call_find(sim, order->id) != NULL) {
		sim->totals.duplicates++;
		return -KAP_EXISTS;
	}
	call = call_new(sim, order);
	if (call == NULL)
		return -KAP_NOMEM;
	rc = sim_dial_read_endpoint(call, order->endpoint);
	if (rc == 0)
		rc = sim_table_add(&sim->calls, call->id, call);
	if (rc != 0) {
		sim->totals.refused++;
		call_free(call);
		return rc;
	}
	ring_the_phone(call);
	*call_out = call;
	return 0;
}

int
sim_call_make_up(struct sim *sim, const struct sim_call_order *order,
    struct sim_call **call_out)
{
	struct sim_call *call = call_new(sim, order);
	int rc;

	if (call == NULL)
		return -KAP_NOMEM;
	call->state = SIM_CALL_UP;
	call->timeout_ms = SIM_NEVER;
	call->plan.talk_ms = SIM_NEVER;
	rc = sim_table_add(&sim->calls, call->id, call);
	if (rc != 0) {
		call_free(call);
		return rc;
	}
	sim->next_channel++;
	*call_out = call;
	return 0;
}

void
sim_call_leave_stasis(struct sim_call *call)
{
	sim_bridge_leave(call->sim, call, false);
	leave_stasis(call);
	if (call->subscribed && !call->is_followed) {
		call->subscribed = false;
		sim_app_release(call->sim, call->app);
	}
}

void
sim_call_return_after(struct sim_call *call, int64_t ms)
{
	call->return_ms = mono_ms() + ms;
	schedule(call);
}

int
sim_call_follow(struct sim_call *call, struct sim_app *app)
{
	if (strcmp(call->app, app->name) != 0)
		return -KAP_DENIED;
	if (!call->subscribed)
		sim_app_hold(app);
	call->subscribed = true;
	call->is_followed = true;
	return 0;
}

/* ---- variables ---- */

int
sim_call_set_variable(struct sim_call *call, const char *name,
    const char *value)
{
	const size_t size = strlen(name) + 1;
	struct sim_variable *variable;

	if (strcmp(name, TIMEOUT_VARIABLE) == 0) {
		const int64_t seconds = strtoll(value, NULL, 10);

		call->absolute_ms = seconds > 0 ? seconds * 1000 : SIM_NEVER;
		schedule(call);
		return 0;
	}
	variable = calloc(1, sizeof(*variable) + size);
	if (variable != NULL)
		variable->value = strdup(value);
	if (variable == NULL || variable->value == NULL) {
		free(variable);
		return -KAP_NOMEM;
	}
	memcpy(variable->name, name, size);
	variable->next = call->variables; /* the newest is found first */
	call->variables = variable;
	return 0;
}

/* ---- the end of all ---- */

void
sim_calls_end(struct sim *sim)
{
	struct sim_call *next;

	for (struct sim_call *call = chain(sim, false, false); call != NULL;
	    call = next) {
		next = call->next_chained;
		end_call(call, ENDING_TIMEOUT, 0, 0, "");
	}
}

void
sim_calls_clear(struct sim *sim)
{
	struct sim_call *call;
	size_t at = 0;

	while ((call = sim_table_next(&sim->calls, &at)) != NULL)
		call_free(call);
	sim_table_deinit(&sim->calls);
}
