/*
 * What every action of the call machine is made of: changes of the copy, and
 * effects. Decides nothing by itself.
 */
#include "call_step.h"

#include <string.h>

#define GUARD_HANGUP_OK_MS 15000 /* until a hangup is said again */

struct call_effect *
step_effect(struct step *step, enum call_effect_kind kind)
{
	struct call_effects *effects = step->effects;
	struct call_effect *effect;

	/* no step adds so many; the last one would be reused */
	if (effects->count < CALL_EFFECTS_MAX)
		effects->count++;
	effect = &effects->list[effects->count - 1];
	memset(effect, 0, sizeof(*effect));
	effect->kind = kind;
	return effect;
}

void
step_command(struct step *step, enum call_command_kind kind)
{
	step_effect(step, CALL_FX_COMMAND)->command = kind;
}

struct call_effect *
step_emit(struct step *step, enum call_event_kind kind, int64_t at_ms)
{
	struct call_effect *effect = step_effect(step, CALL_FX_EVENT);

	effect->event = kind;
	effect->at_ms = at_ms;
	return effect;
}

struct call_event_detail *
step_emit_detail(struct step *step, enum call_event_kind kind, int64_t at_ms)
{
	struct call_effect *effect = step_emit(step, kind, at_ms);

	effect->has_detail = true;
	effect->detail.version = CALL_EVENT_DETAIL_VERSION;
	return &effect->detail;
}

void
step_set_timer(struct step *step, enum call_timer timer, int64_t after_ms)
{
	struct call_effect *effect = step_effect(step, CALL_FX_TIMER_SET);

	effect->timer = timer;
	effect->deadline_boot_ms = step->now->boot_ms + after_ms;
	step->call->timers[timer] = effect->deadline_boot_ms;
}

void
step_clear_timer(struct step *step, enum call_timer timer)
{
	if (step->call->timers[timer] == 0)
		return;
	step_effect(step, CALL_FX_TIMER_CLEAR)->timer = timer;
	step->call->timers[timer] = 0;
}

bool
step_has(const struct step *step, uint32_t flags)
{
	return (step->call->flags & flags) != 0;
}

void
step_mark(struct step *step, uint32_t flags)
{
	step->call->flags |= flags;
}

void
step_unmark(struct step *step, uint32_t flags)
{
	step->call->flags &= ~flags;
}

void
step_move(struct step *step, enum call_state to)
{
	static const enum call_status statuses[CALL_STATE_COUNT] = {
		[CALL_QUEUED] = CALL_STATUS_QUEUED,
		[CALL_DIALING] = CALL_STATUS_RINGING,
		[CALL_RINGING] = CALL_STATUS_RINGING,
		[CALL_ANSWERED] = CALL_STATUS_ANSWERED,
	};

	step->call->state = (uint8_t)to;
	if (to != CALL_ENDED)
		step->call->status = (uint8_t)statuses[to];
}

int64_t
step_happened_at(const struct step *step)
{
	const int64_t at_ms = step->input->at_ms;

	return at_ms > step->call->created_ms ? at_ms : step->call->created_ms;
}

void
step_dial(struct step *step)
{
	struct call *call = step->call;

	if (call->attempt >= 1 && call->attempt <= CALL_TRUNKS_MAX)
		call->trunks_tried |= (uint8_t)(1U << (call->attempt - 1));
	call->dialled_ms = step->now->wall_ms;
	step_mark(step, CALL_F_CLOSE_TRUNK);
	step_command(step, CALL_CMD_ORIGINATE);
	step_set_timer(step, CALL_TIMER_ORIGINATE,
	    step->now->originate_timeout_ms);
}

void
step_hang_up(struct step *step)
{
	step_mark(step, CALL_F_HANGUP_SENT);
	if (step->call->state != CALL_QUEUED) {
		step_effect(step, CALL_FX_DROP_COMMANDS);
		step_set_timer(step, CALL_TIMER_GUARD, GUARD_HANGUP_OK_MS);
	}
	step_command(step, CALL_CMD_HANGUP);
}

void
step_judge(struct step *step, unsigned cause)
{
	struct call *call = step->call;
	enum call_status status;
	enum call_end_reason reason;

	call_judge_end(step_has(step, CALL_F_WAS_ANSWERED), call->flags, cause,
	    &status, &reason);
	call->status = (uint8_t)status;
	call->end_reason = (uint8_t)reason;
	call->hangup_cause = (uint16_t)cause;
}
