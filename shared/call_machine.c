/*
 * What becomes of a call, and nothing else. The table at the end of this file
 * says which action an input has in which state; an action changes the copy
 * of the call and lists effects.
 *
 *            CREATE
 *     NONE ─────────▶ QUEUED ──┐ all trunks refused ─────────────────┐
 *                       │      │ ORIGINATE_REFUSED: the next trunk   │
 *                       │      └──▶ QUEUED                           │
 *          any sign of  │                                            │
 *          the channel  ▼                                            │
 *                    DIALING ──RINGING──▶ RINGING                    │
 *                       │                    │                       │
 *                       └──UP, STASIS_START──┤                       │
 *                                            ▼                       │
 *                                         ANSWERED                   │
 *                                            │                       │
 *              DESTROYED, LOST (from any) ───┴──▶ ENDED ◀────────────┘
 *
 * A call in DIALING whose trunk failed is QUEUED again, for the next one.
 *
 * An input that means nothing in a state is refused with -KAP_STATE. That is
 * normal: Asterisk tells most things two or three times, and late replies
 * find calls that are over.
 *
 * The life of a call is here. Its recording, playbacks, gathers, AMD, the way
 * from trunk to trunk and the second leg have files of their own (call_step.h).
 */
#include "call_step.h"

#include <string.h>

#define GUARD_HANGUP_OK_MS 15000     /* until a hangup is said again */
#define GUARD_RING_GRACE_MS 10000    /* over Asterisk's own ring timeout */
#define RING_TIMEOUT_SLACK_MS 1000   /* …which we hear of a little later */
#define GUARD_STASIS_END_MS 10000    /* for the end behind StasisEnd */
#define GUARD_HANGUP_GONE_MS 5000    /* for the event of a channel's end */

static int
on_create(struct step *step)
{
	struct call *call = step->call;

	call->version = CALL_VERSION;
	call->created_ms = step->now->wall_ms;
	call->attempt = 1;
	step_mark(step, CALL_F_HELD);
	step_move(step, CALL_QUEUED);
	step_dial(step);
	call_transfer_on_create(step);
	return 0;
}

/* Asterisk shows for the first time that it has the call. */
int
call_on_seen(struct step *step)
{
	const int64_t ring_ms = (int64_t)step->call->ring_timeout_s * 1000;

	step_clear_timer(step, CALL_TIMER_ORIGINATE);
	step_move(step, CALL_DIALING);
	step_set_timer(step, CALL_TIMER_GUARD, ring_ms + GUARD_RING_GRACE_MS);
	call_reroute_on_seen(step);
	if (!step_has(step, CALL_F_INITIATED)) {
		step_mark(step, CALL_F_INITIATED);
		step_emit(step, CALL_EV_INITIATED, step_happened_at(step));
	}
	return 0;
}

static int
on_ringing(struct step *step)
{
	if (step->call->state == CALL_QUEUED)
		(void)call_on_seen(step);
	call_reroute_on_sign(step);
	step->call->ringing_ms = step_happened_at(step);
	step_move(step, CALL_RINGING);
	step_emit(step, CALL_EV_RINGING, step->call->ringing_ms);
	return 0;
}

/* Not ringing yet, but the carrier has it. */
static int
on_progress(struct step *step)
{
	if (step->call->state == CALL_QUEUED)
		(void)call_on_seen(step);
	else if (!step_has(step, CALL_F_CLOSE_TRUNK))
		return -KAP_STATE;
	call_reroute_on_sign(step);
	return 0;
}

/* What an answered call gets; its commands wait for one another. */
static void
set_up_media(struct step *step)
{
	if (step_has(step, CALL_F_HANGUP_SENT))
		return;
	if (step_has(step, CALL_F_SECOND_LEG)) {
		call_transfer_on_answer(step);
		return;
	}
	step_mark(step, CALL_F_BRIDGE);
	step_command(step, CALL_CMD_BRIDGE_CREATE);
	step_command(step, CALL_CMD_BRIDGE_ADD);
	if (!step_has(step, CALL_F_RECORD))
		return;
	step->call->recording_ms = step->now->wall_ms;
	step_command(step, CALL_CMD_RECORD);
}

static int
on_up(struct step *step)
{
	struct call *call = step->call;

	if (call->state == CALL_QUEUED)
		(void)call_on_seen(step);
	call_reroute_on_sign(step);
	call->answered_ms = step_happened_at(step);
	step_mark(step, CALL_F_WAS_ANSWERED);
	step_move(step, CALL_ANSWERED);
	if (!step_has(step, CALL_F_HANGUP_SENT))
		step_clear_timer(step, CALL_TIMER_GUARD);
	if (step_has(step, CALL_F_HELD)) {
		step_unmark(step, CALL_F_HELD);
		step_effect(step, CALL_FX_CHARGE);
	}
	step_set_timer(step, CALL_TIMER_MAX_DURATION,
	    (int64_t)call->max_duration_s * 1000);
	call_amd_on_answer(step);
	set_up_media(step);
	return 0;
}

static int
on_stasis_start(struct step *step)
{
	if (step->call->state != CALL_ANSWERED)
		(void)on_up(step);
	step_mark(step, CALL_F_IN_STASIS);
	return 0;
}

static int
on_stasis_end(struct step *step)
{
	step_unmark(step, CALL_F_IN_STASIS);
	/*
	 * Our channels leave Stasis to end. One that was originated while the
	 * app was not registered is not subscribed to any further, and its
	 * ChannelDestroyed never comes.
	 */
	if (!step_has(step, CALL_F_HANGUP_SENT))
		step_set_timer(step, CALL_TIMER_GUARD, GUARD_STASIS_END_MS);
	return 0;
}

static int
on_api_hangup(struct step *step)
{
	step_mark(step, CALL_F_API_HANGUP);
	if (!step_has(step, CALL_F_HANGUP_SENT))
		step_hang_up(step);
	return 0;
}

static int
on_hangup_ok(struct step *step)
{
	step_set_timer(step, CALL_TIMER_GUARD, GUARD_HANGUP_OK_MS);
	return 0;
}

static int
on_hangup_gone(struct step *step)
{
	step_mark(step, CALL_F_CHANNEL_GONE);
	step_set_timer(step, CALL_TIMER_GUARD, GUARD_HANGUP_GONE_MS);
	return 0;
}

static int
on_bridge_add_ok(struct step *step)
{
	step_mark(step, CALL_F_BRIDGED);
	if (step_has(step, CALL_F_SECOND_LEG))
		call_transfer_on_joined(step);
	return 0;
}

static int
on_bridge_failed(struct step *step)
{
	if (step_has(step, CALL_F_SECOND_LEG)) {
		call_transfer_on_join_failed(step);
		return 0;
	}
	/*
	 * Without a bridge there is nothing to record; the call goes on. What
	 * waits is said all the same: each playback is to have an answer.
	 */
	step_unmark(step, CALL_F_RECORD);
	return 0;
}

/* What every end has in common; status, reason and cause are set already. */
void
call_finish(struct step *step, bool tell)
{
	struct call *call = step->call;

	call->ended_ms = step_happened_at(step);
	if (call->ended_ms < call->answered_ms)
		call->ended_ms = call->answered_ms;
	step_unmark(step, CALL_F_IN_STASIS | CALL_F_BRIDGED);
	call_amd_on_end(step);
	call_gather_end(step, CALL_GATHER_CALL_ENDED);
	for (int timer = 0; timer < CALL_TIMER_COUNT; timer++)
		step_clear_timer(step, (enum call_timer)timer);
	step_move(step, CALL_ENDED);
	step_effect(step, CALL_FX_DROP_COMMANDS);
	if (call->play_ms != 0)
		step_effect(step, CALL_FX_DROP_PLAYS);
	call_recording_on_end(step);
	if (step_has(step, CALL_F_HELD)) {
		step_unmark(step, CALL_F_HELD);
		step_effect(step, CALL_FX_RELEASE);
	}
	step_effect(step, CALL_FX_LOG);
	if (tell)
		step_emit(step, CALL_EV_ENDED, call->ended_ms);
	call_transfer_on_end(step);
}

/* The guard stands at Asterisk's own timeout and a grace. */
static bool
rang_to_the_end(const struct step *step)
{
	const int64_t guard_ms = step->call->timers[CALL_TIMER_GUARD];

	return !step_has(step, CALL_F_HANGUP_SENT) && guard_ms != 0 &&
	    step->now->boot_ms >= guard_ms - GUARD_RING_GRACE_MS -
	        RING_TIMEOUT_SLACK_MS;
}

static int
on_destroyed(struct step *step)
{
	if (step->call->state == CALL_QUEUED)
		(void)call_on_seen(step);
	step->call->sip_code = (uint16_t)step->input->sip_code;
	if (call_reroute_on_destroyed(step))
		return 0;
	/* a ring timeout is cause 19 in Asterisk 22, and none in 16 */
	if (step->input->cause == 0 && rang_to_the_end(step))
		step_mark(step, CALL_F_RING_TIMEOUT);
	step_judge(step, step->input->cause);
	call_finish(step, true);
	return 0;
}

/* It ended while nobody could see it. */
static void
end_unseen(struct step *step, enum call_end_reason reason)
{
	const uint32_t known = CALL_F_API_HANGUP | CALL_F_MAX_DURATION |
	    CALL_F_RING_TIMEOUT | CALL_F_ABANDONED | CALL_F_OTHER_ENDED;

	call_reroute_on_unheard(step);
	step->call->sip_code = 0;
	step_judge(step, 0);
	if (!step_has(step, known) || reason == CALL_END_MEDIA_SERVER_LOST)
		step->call->end_reason = (uint8_t)reason;
	call_finish(step, true);
	call_recording_on_end_unseen(step);
}

static int
on_lost(struct step *step)
{
	end_unseen(step, CALL_END_LOST);
	return 0;
}

static int
on_media_server_lost(struct step *step)
{
	end_unseen(step, CALL_END_MEDIA_SERVER_LOST);
	return 0;
}

static int
on_originate_refused(struct step *step)
{
	if (step_has(step, CALL_F_ABANDONED | CALL_F_API_HANGUP |
	        CALL_F_OTHER_ENDED)) {
		step->call->sip_code = 0;
		step_judge(step, 0);
		call_finish(step, true); /* its id is known outside */
		return 0;
	}
	if (call_reroute_on_refused(step))
		return 0;
	if (step_has(step, CALL_F_INITIATED)) {
		/* what the carrier before had said is why it ends */
		step_judge(step, step->call->hangup_cause);
		call_finish(step, true);
		return 0;
	}
	step_mark(step, CALL_F_REFUSED);
	step_judge(step, 0);
	call_finish(step, false);
	return 0;
}

static int
on_guard(struct step *step)
{
	if (step_has(step, CALL_F_CHANNEL_GONE)) {
		end_unseen(step, CALL_END_LOST);
		return 0;
	}
	if (!step_has(step, CALL_F_HANGUP_SENT) &&
	    step->call->state != CALL_ANSWERED)
		step_mark(step, CALL_F_RING_TIMEOUT);
	step_hang_up(step);
	return 0;
}

static int
on_originate_timeout(struct step *step)
{
	if (step->call->state != CALL_QUEUED)
		return 0;
	step_mark(step, CALL_F_ABANDONED);
	if (!step_has(step, CALL_F_HANGUP_SENT))
		step_hang_up(step);
	return 0;
}

static int
on_timer(struct step *step)
{
	const enum call_timer timer = step->input->timer;

	if (timer >= CALL_TIMER_COUNT || step->call->timers[timer] == 0)
		return -KAP_STATE;
	step_clear_timer(step, timer);
	switch (timer) {
	case CALL_TIMER_ORIGINATE:
		return on_originate_timeout(step);
	case CALL_TIMER_GUARD:
		return on_guard(step);
	case CALL_TIMER_MAX_DURATION:
		step_mark(step, CALL_F_MAX_DURATION);
		if (!step_has(step, CALL_F_HANGUP_SENT))
			step_hang_up(step);
		return 0;
	case CALL_TIMER_RECORDING:
		call_recording_on_timer(step);
		return 0;
	case CALL_TIMER_TRUNK:
		call_reroute_on_timer(step);
		return 0;
	case CALL_TIMER_AMD:
		call_amd_on_timer(step);
		return 0;
	case CALL_TIMER_GATHER:
		call_gather_on_timer(step);
		return 0;
	case CALL_TIMER_COUNT:
		break;
	}
	return -KAP_STATE;
}

/* What can end or interrupt a call in any live state. */
#define LIVE_ACTIONS \
	[CALL_IN_HANGUP] = on_api_hangup, \
	[CALL_IN_HANGUP_OK] = on_hangup_ok, \
	[CALL_IN_HANGUP_GONE] = on_hangup_gone, \
	[CALL_IN_STASIS_START] = on_stasis_start, \
	[CALL_IN_DESTROYED] = on_destroyed, \
	[CALL_IN_TIMER] = on_timer, \
	[CALL_IN_LOST] = on_lost, \
	[CALL_IN_OTHER_ENDED] = call_on_other_ended, \
	[CALL_IN_MEDIA_SERVER_LOST] = on_media_server_lost

/* What the recorder and Asterisk tell of a recording, live or ended. */
#define RECORDING_ACTIONS \
	[CALL_IN_RECORD_OK] = call_on_record_ok, \
	[CALL_IN_RECORD_FAILED] = call_on_record_failed, \
	[CALL_IN_RECORD_STOP_OK] = call_on_record_stop_ok, \
	[CALL_IN_RECORDING_FINISHED] = call_on_recording_finished, \
	[CALL_IN_RECORDING_ERROR] = call_on_recording_error, \
	[CALL_IN_RECORDING_STORED] = call_on_recording_stored, \
	[CALL_IN_RECORDING_GIVEN_UP] = call_on_recording_given_up

static step_action *const table[CALL_STATE_COUNT][CALL_INPUT_COUNT] = {
	[CALL_NONE] = {
		[CALL_IN_CREATE] = on_create,
	},
	[CALL_QUEUED] = {
		LIVE_ACTIONS,
		[CALL_IN_ORIGINATE_OK] = call_on_seen,
		[CALL_IN_ORIGINATE_REFUSED] = on_originate_refused,
		[CALL_IN_SEEN] = call_on_seen,
		[CALL_IN_PROGRESS] = on_progress,
		[CALL_IN_RINGING] = on_ringing,
		[CALL_IN_UP] = on_up,
	},
	[CALL_DIALING] = {
		LIVE_ACTIONS,
		[CALL_IN_PROGRESS] = on_progress,
		[CALL_IN_RINGING] = on_ringing,
		[CALL_IN_UP] = on_up,
	},
	[CALL_RINGING] = {
		LIVE_ACTIONS,
		[CALL_IN_UP] = on_up,
	},
	[CALL_ANSWERED] = {
		LIVE_ACTIONS,
		RECORDING_ACTIONS,
		[CALL_IN_STASIS_END] = on_stasis_end,
		[CALL_IN_BRIDGE_ADD_OK] = on_bridge_add_ok,
		[CALL_IN_BRIDGE_FAILED] = on_bridge_failed,
		[CALL_IN_RECORDING_STARTED] = call_on_recording_started,
		[CALL_IN_RECORD_STOP] = call_on_record_stop,
		[CALL_IN_LEAVING] = call_on_leaving,
		[CALL_IN_PLAY] = call_on_play,
		[CALL_IN_STOP_PLAYS] = call_on_stop_plays,
		[CALL_IN_PLAY_OK] = call_on_play_ok,
		[CALL_IN_PLAY_REFUSED] = call_on_play_refused,
		[CALL_IN_PLAY_STARTED] = call_on_play_started,
		[CALL_IN_PLAY_FINISHED] = call_on_play_finished,
		[CALL_IN_PLAY_FAILED] = call_on_play_failed,
		[CALL_IN_GATHER] = call_on_gather,
		[CALL_IN_DTMF] = call_on_dtmf,
		[CALL_IN_SNOOP_FAILED] = call_on_snoop_failed,
		[CALL_IN_SNOOP_START] = call_on_snoop_start,
		[CALL_IN_AMD] = call_on_amd,
		[CALL_IN_SNOOP_GONE] = call_on_snoop_gone,
		[CALL_IN_OTHER_CREATED] = call_on_other_created,
		[CALL_IN_OTHER_ANSWERED] = call_on_other_answered,
	},
	[CALL_ENDED] = {
		RECORDING_ACTIONS,
		[CALL_IN_RECORDING_STARTED] = call_on_record_ok,
		[CALL_IN_TIMER] = on_timer,
	},
};

/* Inputs of a channel, void when they belong to an attempt that is over. */
static bool
is_stale(const struct call *call, const struct call_input *input)
{
	return input->attempt != 0 && input->attempt != call->attempt;
}

int
call_machine_step(const struct call *before, const struct call_input *input,
    const struct call_now *now, struct call *after,
    struct call_effects *effects)
{
	struct step step = { input, now, after, effects };
	step_action *act = NULL;
	int rc = -KAP_STATE;

	effects->count = 0;
	*after = *before;
	if (before->state < CALL_STATE_COUNT && input->kind < CALL_INPUT_COUNT &&
	    !is_stale(before, input))
		act = table[before->state][input->kind];
	if (act != NULL)
		rc = act(&step);
	if (rc != 0) {
		effects->count = 0;
		*after = *before;
	}
	return rc;
}

bool
call_input_is_of_play(enum call_input_kind kind)
{
	return kind == CALL_IN_PLAY_OK || kind == CALL_IN_PLAY_REFUSED ||
	    kind == CALL_IN_PLAY_STARTED || kind == CALL_IN_PLAY_FINISHED ||
	    kind == CALL_IN_PLAY_FAILED;
}

bool
call_input_is_event(enum call_input_kind kind)
{
	return (kind >= CALL_IN_SEEN && kind <= CALL_IN_DESTROYED) ||
	    kind == CALL_IN_PROGRESS;
}

const char *
call_gather_end_name(enum call_gather_end end)
{
	static const char *const names[CALL_GATHER_END_COUNT] = {
		[CALL_GATHER_END_NONE] = "",
		[CALL_GATHER_DIGITS_COMPLETE] = "digits_complete",
		[CALL_GATHER_FINISH_KEY] = "finish_key",
		[CALL_GATHER_TIMED_OUT] = "timeout",
		[CALL_GATHER_REPLACED] = "replaced",
		[CALL_GATHER_CALL_ENDED] = "call_ended",
	};

	return (unsigned)end < CALL_GATHER_END_COUNT ? names[end] : "";
}

const char *
call_input_name(enum call_input_kind kind)
{
	static const char *const names[CALL_INPUT_COUNT] = {
		[CALL_IN_CREATE] = "create",
		[CALL_IN_HANGUP] = "hangup",
		[CALL_IN_ORIGINATE_OK] = "originate-ok",
		[CALL_IN_ORIGINATE_REFUSED] = "originate-refused",
		[CALL_IN_BRIDGE_ADD_OK] = "bridge-add-ok",
		[CALL_IN_BRIDGE_FAILED] = "bridge-failed",
		[CALL_IN_RECORD_OK] = "record-ok",
		[CALL_IN_RECORD_FAILED] = "record-failed",
		[CALL_IN_HANGUP_OK] = "hangup-ok",
		[CALL_IN_HANGUP_GONE] = "hangup-gone",
		[CALL_IN_SEEN] = "seen",
		[CALL_IN_RINGING] = "ringing",
		[CALL_IN_UP] = "up",
		[CALL_IN_STASIS_START] = "stasis-start",
		[CALL_IN_STASIS_END] = "stasis-end",
		[CALL_IN_DESTROYED] = "destroyed",
		[CALL_IN_RECORDING_STARTED] = "recording-started",
		[CALL_IN_RECORDING_FINISHED] = "recording-finished",
		[CALL_IN_RECORDING_ERROR] = "recording-error",
		[CALL_IN_TIMER] = "timer",
		[CALL_IN_LOST] = "lost",
		[CALL_IN_MEDIA_SERVER_LOST] = "media-server-lost",
		[CALL_IN_RECORDING_STORED] = "recording-stored",
		[CALL_IN_RECORDING_GIVEN_UP] = "recording-given-up",
		[CALL_IN_PLAY] = "play",
		[CALL_IN_GATHER] = "gather",
		[CALL_IN_STOP_PLAYS] = "stop-plays",
		[CALL_IN_PLAY_OK] = "play-ok",
		[CALL_IN_PLAY_REFUSED] = "play-refused",
		[CALL_IN_SNOOP_FAILED] = "snoop-failed",
		[CALL_IN_PLAY_STARTED] = "play-started",
		[CALL_IN_PLAY_FINISHED] = "play-finished",
		[CALL_IN_PLAY_FAILED] = "play-failed",
		[CALL_IN_DTMF] = "dtmf",
		[CALL_IN_SNOOP_START] = "snoop-start",
		[CALL_IN_AMD] = "amd",
		[CALL_IN_SNOOP_GONE] = "snoop-gone",
		[CALL_IN_OTHER_ANSWERED] = "other-answered",
		[CALL_IN_OTHER_ENDED] = "other-ended",
		[CALL_IN_OTHER_CREATED] = "other-created",
		[CALL_IN_LEAVING] = "leaving",
		[CALL_IN_RECORD_STOP] = "record-stop",
		[CALL_IN_RECORD_STOP_OK] = "record-stop-ok",
		[CALL_IN_PROGRESS] = "progress",
	};

	return kind < CALL_INPUT_COUNT ? names[kind] : "?";
}

const char *
call_command_name(enum call_command_kind kind)
{
	static const char *const names[CALL_CMD_COUNT] = {
		[CALL_CMD_ORIGINATE] = "originate",
		[CALL_CMD_HANGUP] = "hangup",
		[CALL_CMD_BRIDGE_CREATE] = "bridge-create",
		[CALL_CMD_BRIDGE_ADD] = "bridge-add",
		[CALL_CMD_RECORD] = "record",
		[CALL_CMD_BRIDGE_DESTROY] = "bridge-destroy",
		[CALL_CMD_PLAY] = "play",
		[CALL_CMD_PLAY_STOP] = "play-stop",
		[CALL_CMD_SNOOP] = "snoop",
		[CALL_CMD_SNOOP_SET] = "snoop-set",
		[CALL_CMD_SNOOP_CONTINUE] = "snoop-continue",
		[CALL_CMD_SNOOP_HANGUP] = "snoop-hangup",
		[CALL_CMD_BRIDGE_JOIN] = "bridge-join",
		[CALL_CMD_RECORD_STOP] = "record-stop",
	};

	return kind < CALL_CMD_COUNT && names[kind] != NULL ? names[kind] : "?";
}
