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
 * An input that means nothing in a state is refused with -KAP_STATE. That is
 * normal: Asterisk tells most things two or three times, and late replies
 * find calls that are over.
 */
#include "call_machine.h"

#include <string.h>

#define GUARD_RING_GRACE_MS 10000    /* over Asterisk's own ring timeout */
#define RING_TIMEOUT_SLACK_MS 1000   /* …which we hear of a little later */
#define GUARD_STASIS_END_MS 10000    /* for the end behind StasisEnd */
#define GUARD_HANGUP_OK_MS 15000     /* until a hangup is said again */
#define GUARD_HANGUP_GONE_MS 5000    /* for the event of a channel's end */
#define RECORDING_GRACE_MS 30000     /* for RecordingFinished */
#define RECORD_REPLY_GRACE_MS 5000   /* to learn whether there is one */

struct step {
	const struct call_input *input;
	const struct call_now *now;
	struct call *call; /* the copy that becomes the call */
	struct call_effects *effects;
};

static struct call_effect *
add_effect(struct step *step, enum call_effect_kind kind)
{
	struct call_effects *effects = step->effects;
	struct call_effect *effect;

	/* no action adds more than a dozen; the last one would be reused */
	if (effects->count < CALL_EFFECTS_MAX)
		effects->count++;
	effect = &effects->list[effects->count - 1];
	memset(effect, 0, sizeof(*effect));
	effect->kind = kind;
	return effect;
}

static void
command(struct step *step, enum call_command_kind kind)
{
	add_effect(step, CALL_FX_COMMAND)->command = kind;
}

static void
emit(struct step *step, enum call_event_kind kind, int64_t at_ms)
{
	struct call_effect *effect = add_effect(step, CALL_FX_EVENT);

	effect->event = kind;
	effect->at_ms = at_ms;
}

static void
set_timer(struct step *step, enum call_timer timer, int64_t after_ms)
{
	struct call_effect *effect = add_effect(step, CALL_FX_TIMER_SET);

	effect->timer = timer;
	effect->deadline_boot_ms = step->now->boot_ms + after_ms;
	step->call->timers[timer] = effect->deadline_boot_ms;
}

static void
clear_timer(struct step *step, enum call_timer timer)
{
	if (step->call->timers[timer] == 0)
		return;
	add_effect(step, CALL_FX_TIMER_CLEAR)->timer = timer;
	step->call->timers[timer] = 0;
}

static bool
has(const struct step *step, uint32_t flags)
{
	return (step->call->flags & flags) != 0;
}

static void
mark(struct step *step, uint32_t flags)
{
	step->call->flags |= flags;
}

static void
unmark(struct step *step, uint32_t flags)
{
	step->call->flags &= ~flags;
}

/*
 * The only place where a call's state changes. Where a status goes with the
 * state it is set here too; the end has its own.
 */
static void
move(struct step *step, enum call_state to)
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

/* Never earlier than the call itself, whatever a clock says. */
static int64_t
happened_at(const struct step *step)
{
	const int64_t at_ms = step->input->at_ms;

	return at_ms > step->call->created_ms ? at_ms : step->call->created_ms;
}

static void
dial(struct step *step)
{
	command(step, CALL_CMD_ORIGINATE);
	set_timer(step, CALL_TIMER_ORIGINATE, step->now->originate_timeout_ms);
}

static int
on_create(struct step *step)
{
	struct call *call = step->call;

	call->version = CALL_VERSION;
	call->created_ms = step->now->wall_ms;
	call->attempt = 1;
	mark(step, CALL_F_HELD);
	move(step, CALL_QUEUED);
	dial(step);
	return 0;
}

/* Asterisk shows for the first time that it has the call. */
static int
on_seen(struct step *step)
{
	const int64_t ring_ms = (int64_t)step->call->ring_timeout_s * 1000;

	clear_timer(step, CALL_TIMER_ORIGINATE);
	mark(step, CALL_F_INITIATED);
	move(step, CALL_DIALING);
	set_timer(step, CALL_TIMER_GUARD, ring_ms + GUARD_RING_GRACE_MS);
	emit(step, CALL_EV_INITIATED, happened_at(step));
	return 0;
}

static int
on_ringing(struct step *step)
{
	if (step->call->state == CALL_QUEUED)
		(void)on_seen(step);
	step->call->ringing_ms = happened_at(step);
	move(step, CALL_RINGING);
	emit(step, CALL_EV_RINGING, step->call->ringing_ms);
	return 0;
}

/* What an answered call gets; its commands wait for one another. */
static void
set_up_media(struct step *step)
{
	if (has(step, CALL_F_HANGUP_SENT))
		return;
	mark(step, CALL_F_BRIDGE);
	command(step, CALL_CMD_BRIDGE_CREATE);
	command(step, CALL_CMD_BRIDGE_ADD);
	if (!has(step, CALL_F_RECORD))
		return;
	step->call->recording_ms = step->now->wall_ms;
	command(step, CALL_CMD_RECORD);
}

static int
on_up(struct step *step)
{
	struct call *call = step->call;

	if (call->state == CALL_QUEUED)
		(void)on_seen(step);
	call->answered_ms = happened_at(step);
	mark(step, CALL_F_WAS_ANSWERED);
	move(step, CALL_ANSWERED);
	if (!has(step, CALL_F_HANGUP_SENT))
		clear_timer(step, CALL_TIMER_GUARD);
	if (has(step, CALL_F_HELD)) {
		unmark(step, CALL_F_HELD);
		add_effect(step, CALL_FX_CHARGE);
	}
	if (has(step, CALL_F_USE_AMD))
		call->amd_status = CALL_AMD_UNKNOWN;
	set_timer(step, CALL_TIMER_MAX_DURATION,
	    (int64_t)call->max_duration_s * 1000);
	emit(step, CALL_EV_ANSWERED, call->answered_ms);
	set_up_media(step);
	return 0;
}

static int
on_stasis_start(struct step *step)
{
	if (step->call->state != CALL_ANSWERED)
		(void)on_up(step);
	mark(step, CALL_F_IN_STASIS);
	return 0;
}

static int
on_stasis_end(struct step *step)
{
	unmark(step, CALL_F_IN_STASIS);
	/*
	 * Our channels leave Stasis to end. One that was originated while the
	 * app was not registered is not subscribed to any further, and its
	 * ChannelDestroyed never comes.
	 */
	if (!has(step, CALL_F_HANGUP_SENT))
		set_timer(step, CALL_TIMER_GUARD, GUARD_STASIS_END_MS);
	return 0;
}

/*
 * Behind the originate of a queued call, before all else of any other. The
 * guard sees to it that the call ends even if the reply never comes.
 */
static void
send_hangup(struct step *step)
{
	mark(step, CALL_F_HANGUP_SENT);
	if (step->call->state != CALL_QUEUED) {
		add_effect(step, CALL_FX_DROP_COMMANDS);
		set_timer(step, CALL_TIMER_GUARD, GUARD_HANGUP_OK_MS);
	}
	command(step, CALL_CMD_HANGUP);
}

static int
on_api_hangup(struct step *step)
{
	mark(step, CALL_F_API_HANGUP);
	if (!has(step, CALL_F_HANGUP_SENT))
		send_hangup(step);
	return 0;
}

static int
on_hangup_ok(struct step *step)
{
	set_timer(step, CALL_TIMER_GUARD, GUARD_HANGUP_OK_MS);
	return 0;
}

static int
on_hangup_gone(struct step *step)
{
	mark(step, CALL_F_CHANNEL_GONE);
	set_timer(step, CALL_TIMER_GUARD, GUARD_HANGUP_GONE_MS);
	return 0;
}

static int
on_bridge_add_ok(struct step *step)
{
	mark(step, CALL_F_BRIDGED);
	return 0;
}

static int
on_bridge_failed(struct step *step)
{
	/* without a bridge there is nothing to record; the call goes on */
	unmark(step, CALL_F_RECORD);
	if (!has(step, CALL_F_HANGUP_SENT))
		add_effect(step, CALL_FX_DROP_COMMANDS);
	return 0;
}

/* Was a recording ever asked for, and is it not in the recorder's hands? */
static bool
may_record(const struct step *step)
{
	return step->call->recording_ms != 0 &&
	    !has(step, CALL_F_RECORD_DONE);
}

static int
on_record_ok(struct step *step)
{
	if (!may_record(step) || has(step, CALL_F_RECORDED))
		return -KAP_STATE;
	mark(step, CALL_F_RECORDED);
	if (step->call->state == CALL_ENDED)
		set_timer(step, CALL_TIMER_RECORDING, RECORDING_GRACE_MS);
	return 0;
}

/*
 * An ended call's bridge goes when its recording is done: to destroy it
 * sooner can cost RecordingFinished.
 */
static void
release_bridge(struct step *step)
{
	if (step->call->state == CALL_ENDED && has(step, CALL_F_BRIDGE)) {
		unmark(step, CALL_F_BRIDGE);
		command(step, CALL_CMD_BRIDGE_DESTROY);
	}
}

static int
on_record_failed(struct step *step)
{
	if (!may_record(step))
		return -KAP_STATE;
	unmark(step, CALL_F_RECORD);
	clear_timer(step, CALL_TIMER_RECORDING);
	release_bridge(step);
	return 0;
}

static int
on_recording_started(struct step *step)
{
	if (!may_record(step) || has(step, CALL_F_RECORDING))
		return -KAP_STATE;
	mark(step, CALL_F_RECORDED | CALL_F_RECORDING);
	emit(step, CALL_EV_RECORDING_STARTED, happened_at(step));
	return 0;
}

/* The file is as complete as it will be: the recorder's turn. */
static void
hand_recording_over(struct step *step)
{
	/* its beginning may have been told while nobody listened */
	if (!has(step, CALL_F_RECORDING))
		emit(step, CALL_EV_RECORDING_STARTED,
		    step->call->recording_ms);
	unmark(step, CALL_F_RECORDING);
	mark(step, CALL_F_RECORDED | CALL_F_RECORD_DONE);
	clear_timer(step, CALL_TIMER_RECORDING);
	add_effect(step, CALL_FX_RECORDING_JOB);
	release_bridge(step);
}

static int
on_recording_finished(struct step *step)
{
	if (!may_record(step))
		return -KAP_STATE;
	step->call->recording_duration_s = step->input->duration_s;
	hand_recording_over(step);
	return 0;
}

static int
on_recording_error(struct step *step)
{
	if (!may_record(step))
		return -KAP_STATE;
	if (!has(step, CALL_F_RECORDED))
		return on_record_failed(step);
	hand_recording_over(step); /* there may be a part of it */
	return 0;
}

/* The recorder has done with the file; once. */
static int
settle_recording(struct step *step)
{
	if (!has(step, CALL_F_RECORD_DONE) ||
	    has(step, CALL_F_RECORD_SETTLED))
		return -KAP_STATE;
	mark(step, CALL_F_RECORD_SETTLED);
	add_effect(step, CALL_FX_RECORDING_SETTLED);
	return 0;
}

static int
on_recording_stored(struct step *step)
{
	struct call_effect *effect;

	if (settle_recording(step) != 0)
		return -KAP_STATE;
	emit(step, CALL_EV_RECORDING_COMPLETED, happened_at(step));
	effect = &step->effects->list[step->effects->count - 1];
	effect->duration_s = step->input->duration_s;
	effect->size_bytes = step->input->size_bytes;
	effect = add_effect(step, CALL_FX_RECORDING_LOG);
	effect->duration_s = step->input->duration_s;
	effect->size_bytes = step->input->size_bytes;
	return 0;
}

static int
on_recording_given_up(struct step *step)
{
	return settle_recording(step);
}

/* What every end has in common; status, reason and cause are set already. */
static void
finish(struct step *step, bool tell)
{
	struct call *call = step->call;

	call->ended_ms = happened_at(step);
	if (call->ended_ms < call->answered_ms)
		call->ended_ms = call->answered_ms;
	unmark(step, CALL_F_IN_STASIS | CALL_F_BRIDGED);
	for (int timer = 0; timer < CALL_TIMER_COUNT; timer++)
		clear_timer(step, (enum call_timer)timer);
	move(step, CALL_ENDED);
	add_effect(step, CALL_FX_DROP_COMMANDS);
	if (has(step, CALL_F_RECORD) && may_record(step))
		set_timer(step, CALL_TIMER_RECORDING,
		    has(step, CALL_F_RECORDED) ? RECORDING_GRACE_MS :
		    RECORD_REPLY_GRACE_MS);
	else
		release_bridge(step);
	if (has(step, CALL_F_HELD)) {
		unmark(step, CALL_F_HELD);
		add_effect(step, CALL_FX_RELEASE);
	}
	add_effect(step, CALL_FX_LOG);
	if (tell)
		emit(step, CALL_EV_ENDED, call->ended_ms);
}

static void
judge(struct step *step, unsigned cause)
{
	struct call *call = step->call;
	enum call_status status;
	enum call_end_reason reason;

	call_judge_end(has(step, CALL_F_WAS_ANSWERED), call->flags, cause,
	    &status, &reason);
	call->status = (uint8_t)status;
	call->end_reason = (uint8_t)reason;
	call->hangup_cause = (uint16_t)cause;
}

/* The guard stands at Asterisk's own timeout and a grace. */
static bool
rang_to_the_end(const struct step *step)
{
	const int64_t guard_ms = step->call->timers[CALL_TIMER_GUARD];

	return !has(step, CALL_F_HANGUP_SENT) && guard_ms != 0 &&
	    step->now->boot_ms >= guard_ms - GUARD_RING_GRACE_MS -
	        RING_TIMEOUT_SLACK_MS;
}

static int
on_destroyed(struct step *step)
{
	if (step->call->state == CALL_QUEUED)
		(void)on_seen(step);
	/* a ring timeout is cause 19 in Asterisk 22, and none in 16 */
	if (step->input->cause == 0 && rang_to_the_end(step))
		mark(step, CALL_F_RING_TIMEOUT);
	judge(step, step->input->cause);
	finish(step, true);
	return 0;
}

/* It ended while nobody could see it. */
static void
end_unseen(struct step *step, enum call_end_reason reason)
{
	const uint32_t known = CALL_F_API_HANGUP | CALL_F_MAX_DURATION |
	    CALL_F_RING_TIMEOUT | CALL_F_ABANDONED;

	judge(step, 0);
	if (!has(step, known) || reason == CALL_END_MEDIA_SERVER_LOST)
		step->call->end_reason = (uint8_t)reason;
	finish(step, true);
	/* nobody will tell any more that its recording is finished */
	if (has(step, CALL_F_RECORDED) && may_record(step))
		hand_recording_over(step);
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
	struct call *call = step->call;

	if (has(step, CALL_F_ABANDONED | CALL_F_API_HANGUP)) {
		judge(step, 0);
		finish(step, true); /* its id is known outside */
		return 0;
	}
	if (call->attempt < call->trunk_count) {
		call->attempt++;
		clear_timer(step, CALL_TIMER_ORIGINATE);
		dial(step);
		return 0;
	}
	mark(step, CALL_F_REFUSED);
	judge(step, 0);
	finish(step, false);
	return 0;
}

static int
on_guard(struct step *step)
{
	if (has(step, CALL_F_CHANNEL_GONE)) {
		end_unseen(step, CALL_END_LOST);
		return 0;
	}
	if (!has(step, CALL_F_HANGUP_SENT) &&
	    step->call->state != CALL_ANSWERED)
		mark(step, CALL_F_RING_TIMEOUT);
	send_hangup(step);
	return 0;
}

static int
on_originate_timeout(struct step *step)
{
	if (step->call->state != CALL_QUEUED)
		return 0;
	mark(step, CALL_F_ABANDONED);
	if (!has(step, CALL_F_HANGUP_SENT))
		send_hangup(step);
	return 0;
}

static int
on_timer(struct step *step)
{
	const enum call_timer timer = step->input->timer;

	if (timer >= CALL_TIMER_COUNT || step->call->timers[timer] == 0)
		return -KAP_STATE;
	clear_timer(step, timer);
	switch (timer) {
	case CALL_TIMER_ORIGINATE:
		return on_originate_timeout(step);
	case CALL_TIMER_GUARD:
		return on_guard(step);
	case CALL_TIMER_MAX_DURATION:
		mark(step, CALL_F_MAX_DURATION);
		if (!has(step, CALL_F_HANGUP_SENT))
			send_hangup(step);
		return 0;
	case CALL_TIMER_RECORDING:
		if (has(step, CALL_F_RECORDED))
			hand_recording_over(step);
		else
			release_bridge(step);
		return 0;
	case CALL_TIMER_COUNT:
		break;
	}
	return -KAP_STATE;
}

typedef int action(struct step *step);

/* What can end or interrupt a call in any live state. */
#define LIVE_ACTIONS \
	[CALL_IN_HANGUP] = on_api_hangup, \
	[CALL_IN_HANGUP_OK] = on_hangup_ok, \
	[CALL_IN_HANGUP_GONE] = on_hangup_gone, \
	[CALL_IN_STASIS_START] = on_stasis_start, \
	[CALL_IN_DESTROYED] = on_destroyed, \
	[CALL_IN_TIMER] = on_timer, \
	[CALL_IN_LOST] = on_lost, \
	[CALL_IN_MEDIA_SERVER_LOST] = on_media_server_lost

/* What the recorder and Asterisk tell of a recording, live or ended. */
#define RECORDING_ACTIONS \
	[CALL_IN_RECORD_OK] = on_record_ok, \
	[CALL_IN_RECORD_FAILED] = on_record_failed, \
	[CALL_IN_RECORDING_FINISHED] = on_recording_finished, \
	[CALL_IN_RECORDING_ERROR] = on_recording_error, \
	[CALL_IN_RECORDING_STORED] = on_recording_stored, \
	[CALL_IN_RECORDING_GIVEN_UP] = on_recording_given_up

static action *const table[CALL_STATE_COUNT][CALL_INPUT_COUNT] = {
	[CALL_NONE] = {
		[CALL_IN_CREATE] = on_create,
	},
	[CALL_QUEUED] = {
		LIVE_ACTIONS,
		[CALL_IN_ORIGINATE_OK] = on_seen,
		[CALL_IN_ORIGINATE_REFUSED] = on_originate_refused,
		[CALL_IN_SEEN] = on_seen,
		[CALL_IN_RINGING] = on_ringing,
		[CALL_IN_UP] = on_up,
	},
	[CALL_DIALING] = {
		LIVE_ACTIONS,
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
		[CALL_IN_RECORDING_STARTED] = on_recording_started,
	},
	[CALL_ENDED] = {
		RECORDING_ACTIONS,
		[CALL_IN_RECORDING_STARTED] = on_record_ok,
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
	action *act = NULL;
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
call_input_is_event(enum call_input_kind kind)
{
	return kind >= CALL_IN_SEEN && kind <= CALL_IN_DESTROYED;
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
	};

	return kind < CALL_CMD_COUNT && names[kind] != NULL ? names[kind] : "?";
}
