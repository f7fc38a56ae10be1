/*
 * The part of the call machine that knows of answering machine detection. See
 * call_machine.c.
 *
 *     answer ──▶ PENDING ──AMD──▶ HUMAN, MACHINE, UNKNOWN
 *                   │
 *                   └─ no snoop channel, its end, the timer, the call's end
 *                                                        ──▶ UNKNOWN
 *
 * Asterisk listens on a snoop channel of the call, which runs AMD in the
 * dialplan and comes back into our app with the verdict. The snoop channel is
 * asked for first of all that an answer brings: so one that is in its bridge
 * has its snoop channel (reconcile_calls.c builds on that).
 */
#include "call_step.h"

#include <string.h>

/* The call's own limit or the configuration's, and a grace over Asterisk's. */
static int64_t
limit_ms(const struct step *step)
{
	const int64_t own_ms = (int64_t)step->call->amd_total *
	    CALL_AMD_UNIT_MS;

	return own_ms > 0 ? own_ms + CALL_AMD_GRACE_MS :
	    step->now->amd_timeout_ms;
}

static void
tell_answer(struct step *step, int64_t at_ms)
{
	step_mark(step, CALL_F_ANSWER_TOLD);
	step_emit(step, CALL_EV_ANSWERED, at_ms);
}

/*
 * The verdict, which comes once. Whoever was told of the answer already is
 * told of it in an event of its own.
 */
static void
decide(struct step *step, enum call_amd verdict, const char *cause)
{
	struct call *call = step->call;
	int64_t at_ms = step_happened_at(step);

	if (at_ms < call->answered_ms)
		at_ms = call->answered_ms;
	call->amd_status = (uint8_t)verdict;
	call->amd_decided_ms = at_ms;
	strncpy(call->amd_cause, cause, sizeof(call->amd_cause) - 1);
	step_clear_timer(step, CALL_TIMER_AMD);
	if (step_has(step, CALL_F_ANSWER_TOLD))
		step_emit(step, CALL_EV_AMD_RESULT, at_ms);
	else
		tell_answer(step, at_ms);
}

static bool
is_pending(const struct step *step)
{
	return step->call->amd_status == CALL_AMD_PENDING;
}

/* Nobody needs it any more; the call's end takes it along by itself. */
static void
hang_up_snoop(struct step *step)
{
	if (step_has(step, CALL_F_SNOOPED) &&
	    !step_has(step, CALL_F_HANGUP_SENT))
		step_command(step, CALL_CMD_SNOOP_HANGUP);
}

int
call_on_snoop_failed(struct step *step)
{
	if (!is_pending(step))
		return -KAP_STATE;
	decide(step, CALL_AMD_UNKNOWN, "");
	hang_up_snoop(step);
	return 0;
}

int
call_on_snoop_start(struct step *step)
{
	if (!is_pending(step) || step_has(step, CALL_F_HANGUP_SENT))
		return -KAP_STATE;
	step_command(step, CALL_CMD_SNOOP_SET);
	step_command(step, CALL_CMD_SNOOP_CONTINUE);
	return 0;
}

int
call_on_amd(struct step *step)
{
	const struct call_input *input = step->input;

	if (!is_pending(step))
		return -KAP_STATE;
	decide(step, input->amd, input->amd_cause);
	hang_up_snoop(step);
	return 0;
}

int
call_on_snoop_gone(struct step *step)
{
	if (!step_has(step, CALL_F_SNOOPED))
		return -KAP_STATE;
	step_unmark(step, CALL_F_SNOOPED);
	if (is_pending(step))
		decide(step, CALL_AMD_UNKNOWN, "");
	return 0;
}

void
call_amd_on_timer(struct step *step)
{
	(void)call_on_snoop_failed(step);
}

void
call_amd_on_answer(struct step *step)
{
	struct call *call = step->call;

	if (!step_has(step, CALL_F_USE_AMD)) {
		tell_answer(step, call->answered_ms);
		return;
	}
	call->amd_status = CALL_AMD_PENDING;
	step_set_timer(step, CALL_TIMER_AMD, limit_ms(step));
	if (step_has(step, CALL_F_ASYNC_AMD))
		tell_answer(step, call->answered_ms);
	if (step_has(step, CALL_F_HANGUP_SENT))
		return;
	step_mark(step, CALL_F_SNOOPED);
	step_command(step, CALL_CMD_SNOOP);
}

void
call_amd_on_end(struct step *step)
{
	step_unmark(step, CALL_F_SNOOPED);
	if (is_pending(step))
		decide(step, CALL_AMD_UNKNOWN, "");
}
