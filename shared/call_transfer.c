/*
 * The part of the call machine that joins two calls in one bridge. See
 * call_machine.c.
 *
 *     first leg, ANSWERED            second leg
 *     other_id: none
 *        │ ◀──────OTHER_CREATED─────── created: other_id, SECOND_LEG
 *     other_id: the second's           QUEUED … RINGING
 *        │                             ANSWERED: into the first's bridge
 *        │ ◀──────OTHER_ANSWERED────── …where Asterisk has it
 *     TRANSFERRED                      TRANSFERRED
 *        │                                │
 *        ├─ ends, whenever ─OTHER_ENDED─▶ hung up
 *        │ ◀─OTHER_ENDED─ ends, TRANSFERRED: hung up, too
 *        └ ◀─OTHER_ENDED─ ends, without: other_id is none again, and the
 *                         first leg goes on
 *
 * Each leg's step is a step of its own, in the same transaction; here it is
 * only said which follows (CALL_FX_TELL_OTHER). A leg that has ended keeps
 * the id of the other, for what is still told of it.
 */
#include "call_step.h"

#include <string.h>

static void
tell_other(struct step *step, enum call_input_kind what, int64_t at_ms)
{
	struct call_effect *effect = step_effect(step, CALL_FX_TELL_OTHER);

	effect->tell = what;
	effect->at_ms = at_ms;
}

/* Is it from the leg that this one is joined with, or is to be? */
static bool
is_of_other(const struct step *step)
{
	const struct call *other = step->input->other;

	return other != NULL && step->call->other_id[0] != '\0' &&
	    strcmp(other->id, step->call->other_id) == 0;
}

static struct call_event_detail *
emit_of_other(struct step *step, enum call_event_kind kind)
{
	const struct call *other = step->input->other;
	struct call_event_detail *detail = step_emit_detail(step, kind,
	    step_happened_at(step));

	memcpy(detail->other_id, other->id, sizeof(detail->other_id));
	memcpy(detail->text, other->number, sizeof(other->number));
	return detail;
}

void
call_transfer_on_create(struct step *step)
{
	if (step_has(step, CALL_F_SECOND_LEG))
		tell_other(step, CALL_IN_OTHER_CREATED,
		    step->call->created_ms);
}

int
call_on_other_created(struct step *step)
{
	const struct call *other = step->input->other;

	/* a second leg has a first one; three in one bridge there are not */
	if (other == NULL || step->call->other_id[0] != '\0' ||
	    step_has(step, CALL_F_SECOND_LEG | CALL_F_HANGUP_SENT))
		return -KAP_STATE;
	memcpy(step->call->other_id, other->id, sizeof(other->id));
	return 0;
}

void
call_transfer_on_answer(struct step *step)
{
	step_command(step, CALL_CMD_BRIDGE_JOIN);
}

void
call_transfer_on_joined(struct step *step)
{
	if (step_has(step, CALL_F_TRANSFERRED))
		return;
	step_mark(step, CALL_F_TRANSFERRED);
	tell_other(step, CALL_IN_OTHER_ANSWERED, step->call->answered_ms);
}

int
call_on_other_answered(struct step *step)
{
	if (!is_of_other(step) || step_has(step, CALL_F_TRANSFERRED))
		return -KAP_STATE;
	step_mark(step, CALL_F_TRANSFERRED);
	(void)emit_of_other(step, CALL_EV_TRANSFERRED);
	return 0;
}

void
call_transfer_on_join_failed(struct step *step)
{
	if (!step_has(step, CALL_F_HANGUP_SENT))
		step_hang_up(step);
}

void
call_transfer_on_end(struct step *step)
{
	if (step->call->other_id[0] != '\0')
		tell_other(step, CALL_IN_OTHER_ENDED, step->call->ended_ms);
}

/* The second leg came to nothing: the first goes on as it was. */
static void
lose_other(struct step *step)
{
	struct call_event_detail *detail = emit_of_other(step,
	    CALL_EV_TRANSFER_FAILED);

	detail->other_status = (uint8_t)step->input->other->status;
	detail->cause = step->input->other->hangup_cause;
	detail->sip_code = step->input->other->sip_code;
	memset(step->call->other_id, 0, sizeof(step->call->other_id));
}

int
call_on_other_ended(struct step *step)
{
	if (!is_of_other(step))
		return -KAP_STATE;
	if (!step_has(step, CALL_F_SECOND_LEG) &&
	    (step->input->other->flags & CALL_F_TRANSFERRED) == 0) {
		lose_other(step);
		return 0;
	}
	if (step_has(step, CALL_F_HANGUP_SENT))
		return -KAP_STATE; /* it ends already */
	step_mark(step, CALL_F_OTHER_ENDED);
	step_hang_up(step);
	return 0;
}
