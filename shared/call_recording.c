/*
 * The part of the call machine that knows of a call's recording: from the
 * command to the file in the recorder's hands. See call_machine.c.
 */
#include "call_step.h"

#define RECORDING_GRACE_MS 30000   /* for RecordingFinished */
#define RECORD_REPLY_GRACE_MS 5000 /* to learn whether there is one */

/* Was a recording ever asked for, and is it not in the recorder's hands? */
static bool
may_record(const struct step *step)
{
	return step->call->recording_ms != 0 &&
	    !step_has(step, CALL_F_RECORD_DONE);
}

int
call_on_record_ok(struct step *step)
{
	if (!may_record(step) || step_has(step, CALL_F_RECORDED))
		return -KAP_STATE;
	step_mark(step, CALL_F_RECORDED);
	if (step->call->state == CALL_ENDED)
		step_set_timer(step, CALL_TIMER_RECORDING, RECORDING_GRACE_MS);
	return 0;
}

/*
 * An ended call's bridge goes when its recording is done: to destroy it
 * sooner can cost RecordingFinished.
 */
static void
release_bridge(struct step *step)
{
	if (step->call->state == CALL_ENDED && step_has(step, CALL_F_BRIDGE)) {
		step_unmark(step, CALL_F_BRIDGE);
		step_command(step, CALL_CMD_BRIDGE_DESTROY);
	}
}

int
call_on_record_failed(struct step *step)
{
	if (!may_record(step))
		return -KAP_STATE;
	step_unmark(step, CALL_F_RECORD);
	step_clear_timer(step, CALL_TIMER_RECORDING);
	release_bridge(step);
	return 0;
}

static void
begin_recording(struct step *step, int64_t at_ms)
{
	step_mark(step, CALL_F_RECORDED | CALL_F_RECORDING);
	step_emit(step, CALL_EV_RECORDING_STARTED, at_ms);
	if (step_has(step, CALL_F_RECORD_STOP)) {
		step_clear_timer(step, CALL_TIMER_RECORDING);
		step_command(step, CALL_CMD_RECORD_STOP);
	}
}

int
call_on_recording_started(struct step *step)
{
	if (!may_record(step) || step_has(step, CALL_F_RECORDING))
		return -KAP_STATE;
	begin_recording(step, step_happened_at(step));
	return 0;
}

/* The file is as complete as it will be: the recorder's turn. */
static void
hand_recording_over(struct step *step)
{
	/* its beginning may have been told while nobody listened */
	if (!step_has(step, CALL_F_RECORDING))
		step_emit(step, CALL_EV_RECORDING_STARTED,
		    step->call->recording_ms);
	if (step_has(step, CALL_F_RECORD_STOP))
		step_emit(step, CALL_EV_RECORDING_STOPPED,
		    step_happened_at(step));
	step_unmark(step, CALL_F_RECORDING);
	step_mark(step, CALL_F_RECORDED | CALL_F_RECORD_DONE);
	step_clear_timer(step, CALL_TIMER_RECORDING);
	step_effect(step, CALL_FX_RECORDING_JOB);
	release_bridge(step);
}

int
call_on_recording_finished(struct step *step)
{
	if (!may_record(step))
		return -KAP_STATE;
	step->call->recording_duration_s = step->input->duration_s;
	hand_recording_over(step);
	return 0;
}

int
call_on_recording_error(struct step *step)
{
	if (!may_record(step))
		return -KAP_STATE;
	if (!step_has(step, CALL_F_RECORDED))
		return call_on_record_failed(step);
	hand_recording_over(step); /* there may be a part of it */
	return 0;
}

/*
 * Its end is asked for, once. One that has not begun yet is stopped when it
 * has: until then Asterisk says yes to a stop, and records all the same.
 * recording.stopped is told when it has ended.
 */
int
call_on_record_stop(struct step *step)
{
	if (!may_record(step) || !step_has(step, CALL_F_RECORD) ||
	    step_has(step, CALL_F_RECORD_STOP | CALL_F_HANGUP_SENT))
		return -KAP_STATE;
	step_mark(step, CALL_F_RECORD_STOP);
	if (step_has(step, CALL_F_RECORDING))
		step_command(step, CALL_CMD_RECORD_STOP);
	else
		step_set_timer(step, CALL_TIMER_RECORDING,
		    RECORD_REPLY_GRACE_MS);
	return 0;
}

/* RecordingFinished follows, unless it came while nobody listened. */
int
call_on_record_stop_ok(struct step *step)
{
	if (!may_record(step) || !step_has(step, CALL_F_RECORDED))
		return -KAP_STATE;
	step_set_timer(step, CALL_TIMER_RECORDING, RECORDING_GRACE_MS);
	return 0;
}

/* The recorder has done with the file; once. */
static int
settle_recording(struct step *step)
{
	if (!step_has(step, CALL_F_RECORD_DONE) ||
	    step_has(step, CALL_F_RECORD_SETTLED))
		return -KAP_STATE;
	step_mark(step, CALL_F_RECORD_SETTLED);
	step_effect(step, CALL_FX_RECORDING_SETTLED);
	return 0;
}

int
call_on_recording_stored(struct step *step)
{
	struct call_effect *effect;

	if (settle_recording(step) != 0)
		return -KAP_STATE;
	step_emit(step, CALL_EV_RECORDING_COMPLETED, step_happened_at(step));
	effect = &step->effects->list[step->effects->count - 1];
	effect->duration_s = step->input->duration_s;
	effect->size_bytes = step->input->size_bytes;
	effect = step_effect(step, CALL_FX_RECORDING_LOG);
	effect->duration_s = step->input->duration_s;
	effect->size_bytes = step->input->size_bytes;
	return 0;
}

int
call_on_recording_given_up(struct step *step)
{
	return settle_recording(step);
}

/* A stop waits for a beginning of which nobody has told. */
static void
stop_unheard(struct step *step)
{
	if (step_has(step, CALL_F_RECORDED))
		begin_recording(step, step->call->recording_ms);
	else if (step_has(step, CALL_F_RECORD))
		step_set_timer(step, CALL_TIMER_RECORDING,
		    RECORD_REPLY_GRACE_MS);
}

void
call_recording_on_timer(struct step *step)
{
	if (step->call->state == CALL_ANSWERED &&
	    !step_has(step, CALL_F_RECORDING))
		stop_unheard(step);
	else if (step_has(step, CALL_F_RECORDED))
		hand_recording_over(step);
	else
		release_bridge(step);
}

void
call_recording_on_end(struct step *step)
{
	if (step_has(step, CALL_F_RECORD) && may_record(step))
		step_set_timer(step, CALL_TIMER_RECORDING,
		    step_has(step, CALL_F_RECORDED) ? RECORDING_GRACE_MS :
		    RECORD_REPLY_GRACE_MS);
	else
		release_bridge(step);
}

void
call_recording_on_end_unseen(struct step *step)
{
	if (step_has(step, CALL_F_RECORDED) && may_record(step))
		hand_recording_over(step);
}
