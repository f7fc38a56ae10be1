/*
 * The part of the call machine that takes a call from trunk to trunk, as long
 * as no phone has rung. Which trunks are free it is told (call_now); it must
 * not dial another one. See call_machine.c.
 *
 *                 Asterisk has it: the trunk's timer, if there is another one
 *     QUEUED ────────────────────────▶ DIALING ── a sign ──▶ the carrier's
 *       ▲                                 │                  call, for good
 *       └── the next free trunk ──────────┘
 *              its channel ended with a cause of the trunk, or the timer fired
 *
 * A phone must not ring twice: where events were missed since the attempt was
 * dialled, or progress was shown and time has passed, it stays where it is.
 */
#include "call_step.h"

#define CAUSE_NO_SIGN 102 /* recovery on timer expiry: no sign in time */

/* The next attempt, behind the present one; 0: no trunk is free. */
static unsigned
next_free(const struct step *step)
{
	const struct call *call = step->call;

	for (unsigned next = call->attempt + 1U;
	     next <= call->trunk_count && next <= CALL_TRUNKS_MAX; next++) {
		if ((step->now->trunks_free & 1U << (next - 1)) != 0)
			return next;
	}
	return 0;
}

/*
 * May a sign of the carrier have gone unheard, for the events of this attempt
 * were not read throughout? Then its phone may have rung.
 */
static bool
may_have_rung(const struct step *step)
{
	return step->input->heard_since_ms > step->call->dialled_ms;
}

/*
 * A carrier that has shown progress may have its phone ring unheard, in band.
 * Soon behind the dialling it is only refused late.
 */
static bool
is_with_carrier(const struct step *step)
{
	return !step_has(step, CALL_F_CLOSE_TRUNK) &&
	    step->now->wall_ms - step->call->dialled_ms >=
	        step->now->trunk_timeout_ms;
}

/* Does nobody want it any more, or has its hangup been asked for? */
static bool
is_given_up(const struct step *step)
{
	return step_has(step, CALL_F_HANGUP_SENT | CALL_F_API_HANGUP |
	    CALL_F_ABANDONED | CALL_F_OTHER_ENDED);
}

/* cause: why the present trunk is left; 0: Asterisk refused it */
static void
dial_on(struct step *step, unsigned next, unsigned cause)
{
	struct call *call = step->call;
	const unsigned failed = call->attempt;

	step_clear_timer(step, CALL_TIMER_ORIGINATE);
	step_clear_timer(step, CALL_TIMER_GUARD);
	step_clear_timer(step, CALL_TIMER_TRUNK);
	if (cause != 0)
		call->hangup_cause = (uint16_t)cause;
	call->attempt = (uint8_t)next;
	step_move(step, CALL_QUEUED);
	if (step_has(step, CALL_F_INITIATED)) {
		struct call_event_detail *detail = step_emit_detail(step,
		    CALL_EV_REROUTED, step_happened_at(step));

		detail->attempt = failed;
		detail->cause = cause;
		detail->sip_code = cause != 0 ? call->sip_code : 0;
		/* who was told that it rings isn't told that it waits */
		call->status = CALL_STATUS_RINGING;
	}
	step_dial(step);
}

bool
call_reroute_on_destroyed(struct step *step)
{
	const unsigned next = next_free(step);

	if (may_have_rung(step)) {
		call_reroute_on_unheard(step);
		return false;
	}
	if (step->call->state != CALL_DIALING || next == 0 ||
	    is_given_up(step) || is_with_carrier(step) ||
	    !call_end_is_of_trunk(step->input->cause, step->input->sip_code))
		return false;
	dial_on(step, next, step->input->cause);
	return true;
}

bool
call_reroute_on_refused(struct step *step)
{
	const unsigned next = next_free(step);

	if (next == 0)
		return false;
	dial_on(step, next, 0);
	return true;
}

void
call_reroute_on_timer(struct step *step)
{
	const unsigned next = next_free(step);
	struct call_effect *effect;

	if (step->call->state != CALL_DIALING || next == 0 ||
	    is_given_up(step) || may_have_rung(step))
		return;
	/* not the call's own hangup: the attempt that it was is named */
	effect = step_effect(step, CALL_FX_COMMAND);
	effect->command = CALL_CMD_HANGUP;
	effect->attempt = step->call->attempt;
	step->call->sip_code = 0;
	dial_on(step, next, CAUSE_NO_SIGN);
}

void
call_reroute_on_seen(struct step *step)
{
	if (step->now->trunk_timeout_ms > 0 && next_free(step) != 0 &&
	    !is_given_up(step))
		step_set_timer(step, CALL_TIMER_TRUNK,
		    step->now->trunk_timeout_ms);
}

void
call_reroute_on_unheard(struct step *step)
{
	step_unmark(step, CALL_F_CLOSE_TRUNK);
}

void
call_reroute_on_sign(struct step *step)
{
	step_unmark(step, CALL_F_CLOSE_TRUNK);
	step_clear_timer(step, CALL_TIMER_TRUNK);
}
