/*
 * The members of the events that tell of a live call's control. The details
 * come from the event's own record (call_event_detail); one that is missing
 * gives empty members, never none.
 */
#include "payload_internal.h"

#include <string.h>

/* Its name, where the event tells of a playback at all. */
static void
add_playback_id(struct payload *payload, cJSON *to)
{
	if (payload->detail->play.ms == 0)
		return;
	call_play_name(
	    payload->call.id, &payload->detail->play, payload->playback_id);
	payload_add_text(payload, to, "playbackId", payload->playback_id);
}

/* What was asked for: a sound's name, or the text that is spoken. */
static void
add_media(struct payload *payload, cJSON *to)
{
	const struct call_event_detail *detail = payload->detail;

	if (detail->text[0] == '\0')
		return;
	payload_add_text(
	    payload, to, detail->is_sound != 0 ? "file" : "text", detail->text);
}

static void
add_playback(struct payload *payload, cJSON *to)
{
	add_media(payload, to);
	payload_add_text(payload, to, "method", call_play_target_name(
	    (enum call_play_target)payload->detail->play_target));
	add_playback_id(payload, to);
}

static void
add_digit(struct payload *payload, cJSON *to)
{
	payload->digit[0] = payload->detail->digit;
	payload_add_text(payload, to, "digit", payload->digit);
}

static void
add_gather_started(struct payload *payload, cJSON *to)
{
	const struct call_event_detail *detail = payload->detail;

	payload_add_text(payload, to, "prompt", detail->text);
	payload_add_number(payload, to, "expectedDigits", detail->expected);
	payload_add_number(payload, to, "timeoutMs", detail->timeout_ms);
	add_playback_id(payload, to);
}

static void
add_gather_progress(struct payload *payload, cJSON *to)
{
	const struct call_event_detail *detail = payload->detail;
	const size_t count = strlen(detail->digits);

	add_digit(payload, to);
	payload_add_text(payload, to, "collected", detail->digits);
	payload_add_number(payload, to, "remaining",
	    detail->expected > count ? detail->expected - count : 0);
}

static void
add_gather_complete(struct payload *payload, cJSON *to)
{
	payload_add_text(payload, to, "digits", payload->detail->digits);
	payload_add_text(payload, to, "method", call_gather_end_name(
	    (enum call_gather_end)payload->detail->gather_end));
}

static void
add_gather_timeout(struct payload *payload, cJSON *to)
{
	payload_add_text(payload, to, "digits", payload->detail->digits);
	payload_add_number(payload, to, "expected",
	    payload->detail->expected);
	payload_add_text(payload, to, "reason", call_gather_end_name(
	    (enum call_gather_end)payload->detail->gather_end));
}

/* The call is on its next trunk already; the detail has the one before. */
static void
add_rerouted(struct payload *payload, cJSON *to)
{
	payload_add_text(payload, to, "trunk",
	    payload_trunk_name(payload, payload->detail->attempt));
	payload_add_text(payload, to, "nextTrunk",
	    payload_trunk_name(payload, payload->call.attempt));
	payload_add_cause(payload, to, payload->detail->cause,
	    payload->detail->sip_code);
	payload_add_attempts(payload, to);
}

static void
add_other_leg(struct payload *payload, cJSON *to)
{
	payload_add_text(payload, to, "forwardedCallId",
	    payload->detail->other_id);
	payload_add_text(payload, to, "forwardNumber", payload->detail->text);
}

void
payload_add_control(struct payload *payload, cJSON *to)
{
	switch ((enum call_event_kind)payload->event->kind) {
	case CALL_EV_REROUTED:
		add_rerouted(payload, to);
		break;
	case CALL_EV_DTMF:
		add_digit(payload, to);
		payload_add_number(payload, to, "durationMs",
		    payload->detail->digit_ms);
		break;
	case CALL_EV_GATHER_STARTED:
		add_gather_started(payload, to);
		break;
	case CALL_EV_GATHER_PROGRESS:
		add_gather_progress(payload, to);
		break;
	case CALL_EV_GATHER_COMPLETE:
		add_gather_complete(payload, to);
		break;
	case CALL_EV_GATHER_TIMEOUT:
		add_gather_timeout(payload, to);
		break;
	case CALL_EV_PLAYBACK_FINISHED:
		payload_add_bool(payload, to, "stopped",
		    payload->detail->stopped != 0);
		add_playback(payload, to);
		break;
	case CALL_EV_TTS_PLAYED:
	case CALL_EV_PLAYBACK_FAILED:
		add_playback(payload, to);
		break;
	case CALL_EV_TRANSFERRED:
		add_other_leg(payload, to);
		break;
	case CALL_EV_TRANSFER_FAILED:
		add_other_leg(payload, to);
		payload_add_cause(payload, to, payload->detail->cause,
		    payload->detail->sip_code);
		break;
	default: /* of the call itself (payload.c), or of a later program */
		break;
	}
}
