/*
 * The part of the call machine that gathers digits. See call_machine.c.
 *
 *            GATHER            the prompt is over, or a digit stops it
 *     NONE ─────────▶ PROMPT ──────────────────────────────────────▶ DIGITS
 *      ▲                │                                              │
 *      │                │ enough digits, the finish key, the next      │
 *      │                │ GATHER, the call's end                       │
 *      └────────────────┴──────────────────────────────────────────────┤
 *                                                 the time is over ────┘
 *
 * Each way back to NONE is call_gather_end(), which tells of it: one event
 * for each gather.started.
 */
#include "call_step.h"

#include <string.h>

/*
 * Until it is looked at whether anything was missed of a prompt's end. How
 * long it is, and is queued behind others, nobody knows.
 */
#define PROMPT_LOOK_MS 300000

/* Not heard out: it was told to play, and nobody told of its end. */
static void
stop_prompt(struct step *step)
{
	const struct call_play_id prompt = { .kind = CALL_PLAY_PROMPT,
		.ms = step->call->gather_prompt_ms };
	struct call_effect *effect;

	step->call->gather_prompt_ms = 0;
	/* the end of the call ends it too, and is not to wait for this */
	if (prompt.ms == 0 || step_has(step, CALL_F_HANGUP_SENT))
		return;
	effect = step_effect(step, CALL_FX_PLAY_STATE);
	effect->play_id = prompt;
	effect->play_state = CALL_PLAY_STOPPED;
	effect = step_effect(step, CALL_FX_COMMAND);
	effect->command = CALL_CMD_PLAY_STOP;
	effect->play_id = prompt;
}

/* An event with what was gathered so far. */
static struct call_event_detail *
tell(struct step *step, enum call_event_kind kind)
{
	const struct call *call = step->call;
	struct call_event_detail *detail = step_emit_detail(step, kind,
	    step_happened_at(step));

	detail->expected = call->gather_expected;
	memcpy(detail->digits, call->gather_digits, sizeof(detail->digits));
	return detail;
}

static void
forget(struct call *call)
{
	call->gather_state = CALL_GATHER_NONE;
	call->gather_flags = 0;
	call->gather_expected = 0;
	call->gather_finish = '\0';
	call->gather_timeout_ms = 0;
	memset(call->gather_digits, 0, sizeof(call->gather_digits));
}

void
call_gather_end(struct step *step, enum call_gather_end why)
{
	const bool complete = why == CALL_GATHER_DIGITS_COMPLETE ||
	    why == CALL_GATHER_FINISH_KEY;

	if (step->call->gather_state == CALL_GATHER_NONE)
		return;
	tell(step, complete ? CALL_EV_GATHER_COMPLETE :
	    CALL_EV_GATHER_TIMEOUT)->gather_end = (uint8_t)why;
	if (why == CALL_GATHER_CALL_ENDED)
		step->call->gather_prompt_ms = 0; /* silent already */
	else
		stop_prompt(step);
	step_clear_timer(step, CALL_TIMER_GATHER);
	forget(step->call);
}

/* The time runs, for the first digit or for the next. */
static void
wait_for_digit(struct step *step)
{
	step->call->gather_state = CALL_GATHER_DIGITS;
	step_set_timer(step, CALL_TIMER_GATHER,
	    step->call->gather_timeout_ms);
}

/* The gather's own guard, as long as its prompt is not over. */
static void
guard_prompt(struct step *step)
{
	step_set_timer(step, CALL_TIMER_GATHER, PROMPT_LOOK_MS +
	    (int64_t)step->call->gather_timeout_ms);
}

static void
begin(struct step *step)
{
	const struct call_gather *gather = &step->input->gather;
	const struct call_play *prompt = step->input->play;
	struct call *call = step->call;
	struct call_event_detail *detail;

	call->gather_state = CALL_GATHER_PROMPT;
	call->gather_flags = gather->flags;
	call->gather_expected = gather->expected;
	call->gather_finish = gather->finish;
	call->gather_timeout_ms = gather->timeout_ms;
	call->gather_prompt_ms = prompt->id.ms;
	detail = tell(step, CALL_EV_GATHER_STARTED);
	detail->timeout_ms = gather->timeout_ms;
	detail->play = prompt->id;
	detail->play_target = prompt->target;
	memcpy(detail->text, prompt->text, sizeof(detail->text));
	call_speak_begin(step);
	guard_prompt(step);
}

int
call_on_gather(struct step *step)
{
	const struct call_gather *gather = &step->input->gather;

	if (step->input->play == NULL || gather->expected == 0 ||
	    gather->expected > CALL_DIGITS_MAX ||
	    step_has(step, CALL_F_HANGUP_SENT))
		return -KAP_STATE;
	call_gather_end(step, CALL_GATHER_REPLACED);
	begin(step);
	return 0;
}

static bool
is_digit(char digit)
{
	return digit != '\0' && strchr("0123456789*#ABCD", digit) != NULL;
}

static bool
is_gathering(const struct call *call)
{
	return call->gather_state == CALL_GATHER_DIGITS ||
	    (call->gather_state == CALL_GATHER_PROMPT &&
	    (call->gather_flags & CALL_GATHER_NO_BARGE_IN) == 0);
}

static void
gather_digit(struct step *step, char digit)
{
	struct call *call = step->call;
	const size_t len = strlen(call->gather_digits);

	if (digit == call->gather_finish) {
		call_gather_end(step, CALL_GATHER_FINISH_KEY);
		return;
	}
	call->gather_digits[len] = digit;
	tell(step, CALL_EV_GATHER_PROGRESS)->digit = digit;
	if (len + 1 >= call->gather_expected) {
		call_gather_end(step, CALL_GATHER_DIGITS_COMPLETE);
		return;
	}
	if (call->gather_state == CALL_GATHER_PROMPT)
		stop_prompt(step);
	wait_for_digit(step);
}

int
call_on_dtmf(struct step *step)
{
	const char digit = step->input->digit;
	struct call_event_detail *detail;

	if (!is_digit(digit))
		return -KAP_STATE;
	detail = step_emit_detail(step, CALL_EV_DTMF, step_happened_at(step));
	detail->digit = digit;
	detail->digit_ms = step->input->digit_ms;
	if (is_gathering(step->call))
		gather_digit(step, digit);
	return 0;
}

void
call_gather_on_play_over(struct step *step)
{
	struct call *call = step->call;

	if (call->gather_prompt_ms == 0 ||
	    step->input->play_id.ms != call->gather_prompt_ms)
		return;
	call->gather_prompt_ms = 0;
	if (call->gather_state == CALL_GATHER_PROMPT)
		wait_for_digit(step);
}

/* It is queued, or long; but its end may have gone unheard. */
static bool
is_prompt_over(const struct step *step)
{
	return step->input->heard_since_ms > step->call->gather_prompt_ms;
}

void
call_gather_on_timer(struct step *step)
{
	if (step->call->gather_state == CALL_GATHER_PROMPT &&
	    !is_prompt_over(step))
		guard_prompt(step);
	else if (step->call->gather_state == CALL_GATHER_PROMPT)
		wait_for_digit(step);
	else
		call_gather_end(step, CALL_GATHER_TIMED_OUT);
}
