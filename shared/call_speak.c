/*
 * The part of the call machine that knows of playbacks. See call_machine.c.
 *
 *              PLAY_OK, PLAY_STARTED
 *     ASKED ──────────────────────────▶ TAKEN
 *       │                                 │ STOP_PLAYS, an interrupt,
 *       │ STOP_PLAYS …                    │ a digit during the prompt
 *       └────────────▶ STOPPED ◀──────────┘
 *
 *     PLAY_FINISHED, PLAY_FAILED, PLAY_REFUSED (from any): the record goes
 *
 * Whoever tells of a playback first is believed; what is told of one whose
 * record is gone means nothing.
 *
 * Asterisk tells of the end of one that was stopped in the queue when its turn
 * comes, with no beginning.
 *
 * A channel that is told to end fails what plays, before its own end or behind
 * it, and some of what is queued; of the rest nothing is told (Asterisk 16 and
 * 22). None of that is the customer's business: call.ended tells enough.
 */
#include "call_step.h"

#include <string.h>

void
call_speak_begin(struct step *step)
{
	const struct call_play *play = step->input->play;

	if (step->input->interrupt)
		step_effect(step, CALL_FX_STOP_PLAYS);
	step->call->play_ms = play->id.ms;
	step_effect(step, CALL_FX_PLAY)->play = play;
}

int
call_on_play(struct step *step)
{
	if (step->input->play == NULL || step_has(step, CALL_F_HANGUP_SENT))
		return -KAP_STATE;
	call_speak_begin(step);
	return 0;
}

int
call_on_stop_plays(struct step *step)
{
	/* else the call's own end stops them, and is not to wait for this */
	if (!step_has(step, CALL_F_HANGUP_SENT))
		step_effect(step, CALL_FX_STOP_PLAYS);
	return 0;
}

/* An event that tells of the playback. */
static struct call_event_detail *
tell(struct step *step, enum call_event_kind kind)
{
	const struct call_play *play = step->input->play;
	struct call_event_detail *detail = step_emit_detail(step, kind,
	    step_happened_at(step));

	detail->play = play->id;
	detail->play_target = play->target;
	detail->is_sound = play->is_sound;
	memcpy(detail->text, play->text, sizeof(detail->text));
	return detail;
}

int
call_on_leaving(struct step *step)
{
	/* only for what plays is this of any use */
	if (step->call->play_ms == 0 || step_has(step, CALL_F_LEAVING))
		return -KAP_STATE;
	step_mark(step, CALL_F_LEAVING);
	return 0;
}

/* Asterisk has it, for the first time that this is told. */
static void
tell_taken(struct step *step)
{
	if (step->input->play->id.kind == CALL_PLAY_SPEECH)
		(void)tell(step, CALL_EV_TTS_PLAYED);
}

static int
take(struct step *step)
{
	const struct call_play *play = step->input->play;
	struct call_effect *effect;

	if (play == NULL || play->state == CALL_PLAY_TAKEN)
		return -KAP_STATE;
	/* stopped before it was taken: it will not be heard */
	if (play->state == CALL_PLAY_STOPPED)
		return 0;
	effect = step_effect(step, CALL_FX_PLAY_STATE);
	effect->play_id = play->id;
	effect->play_state = CALL_PLAY_TAKEN;
	tell_taken(step);
	return 0;
}

int
call_on_play_ok(struct step *step)
{
	return take(step);
}

int
call_on_play_started(struct step *step)
{
	return take(step);
}

/* Its record is not needed any more. */
static void
drop(struct step *step)
{
	step_effect(step, CALL_FX_PLAY_DROP)->play_id = step->input->play->id;
	call_gather_on_play_over(step);
}

static void
finish(struct step *step)
{
	const struct call_play *play = step->input->play;

	/* its beginning may have been told while nobody listened */
	if (play->state == CALL_PLAY_ASKED)
		tell_taken(step);
	if (play->id.kind != CALL_PLAY_PROMPT)
		tell(step, CALL_EV_PLAYBACK_FINISHED)->stopped =
		    play->state == CALL_PLAY_STOPPED;
	drop(step);
}

int
call_on_play_finished(struct step *step)
{
	if (step->input->play == NULL)
		return -KAP_STATE;
	finish(step);
	return 0;
}

int
call_on_play_failed(struct step *step)
{
	if (step->input->play == NULL)
		return -KAP_STATE;
	if (!step_has(step, CALL_F_LEAVING | CALL_F_HANGUP_SENT))
		(void)tell(step, CALL_EV_PLAYBACK_FAILED);
	drop(step);
	return 0;
}

int
call_on_play_refused(struct step *step)
{
	return call_on_play_failed(step);
}
