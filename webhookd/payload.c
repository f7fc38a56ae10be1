/*
 * Builds an event's JSON with cJSON. Strings are referred to, not copied: the
 * tree lives no longer than the records it is built from.
 */
#include "payload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "payload_internal.h"
#include "shared/amd_words.h"

void
payload_add(struct payload *payload, cJSON *to, const char *key, cJSON *item)
{
	if (item == NULL || !cJSON_AddItemToObjectCS(to, key, item)) {
		cJSON_Delete(item);
		payload->ok = false;
	}
}

void
payload_add_text(struct payload *payload, cJSON *to, const char *key,
    const char *text)
{
	payload_add(payload, to, key, cJSON_CreateStringReference(text));
}

/* cJSON's own number is a double: it prints slowly, and rounds. */
void
payload_add_number(struct payload *payload, cJSON *to, const char *key,
    uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	payload_add(payload, to, key, cJSON_CreateRaw(text));
}

void
payload_add_bool(struct payload *payload, cJSON *to, const char *key,
    bool value)
{
	payload_add(payload, to, key, cJSON_CreateBool(value));
}

void
payload_add_cause(struct payload *payload, cJSON *to, unsigned cause,
    unsigned sip_code)
{
	(void)snprintf(payload->cause, sizeof(payload->cause), "%u", cause);
	payload_add_text(payload, to, "hangupCause", payload->cause);
	if (sip_code != 0)
		payload_add_number(payload, to, "sipCode", sip_code);
}

const char *
payload_trunk_name(const struct payload *payload, unsigned n)
{
	const struct call_cold *cold = payload->cold;

	return n >= 1 && n <= cold->trunk_count ?
	    cold->trunk_names[n - 1] : "";
}

void
payload_add_attempts(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->call;

	payload_add_number(payload, to, "trunkAttempts",
	    call_trunks_tried(call));
	payload_add_number(payload, to, "totalTrunks", call->trunk_count);
}

/* When there was a verdict, or none could come any more. */
static void
add_decided_at(struct payload *payload, cJSON *to, int64_t at_ms)
{
	if (at_ms == 0) {
		payload_add(payload, to, "decidedAt", cJSON_CreateNull());
		return;
	}
	clock_format_iso(at_ms, payload->decided_at);
	payload_add_text(payload, to, "decidedAt", payload->decided_at);
}

static void
add_amd(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->call;
	const enum call_amd status = amd_told(call);
	cJSON *amd = cJSON_CreateObject();

	if (amd != NULL) {
		amd_cause_word(call->amd_cause, payload->amd_cause);
		payload_add_text(payload, amd, "status",
		    call_amd_name(status));
		payload_add_text(payload, amd, "cause", payload->amd_cause);
		payload_add(payload, amd, "confidence", cJSON_CreateNumber(
		    amd_confidence(status, payload->amd_cause)));
		payload_add_text(payload, amd, "detail", call->amd_cause);
		add_decided_at(payload, amd, call->amd_decided_ms);
	}
	payload_add(payload, to, "amd", amd);
}

/*
 * The call's own, but for a transfer that failed: that tells how the second
 * leg ended, while the call itself lives on.
 */
static const char *
status_of(const struct payload *payload)
{
	return call_status_name(
	    (enum call_status)(payload->event->kind == CALL_EV_TRANSFER_FAILED
				   ? payload->detail->other_status
				   : payload->call.status));
}

/* What every event has. */
static void
add_common(struct payload *payload, cJSON *to)
{
	const struct webhook_event *event = payload->event;
	const struct call *call = &payload->call;

	webhook_event_id(event, payload->event_id);
	clock_format_iso(event->at_ms, payload->at);
	payload_add_text(payload, to, "eventId", payload->event_id);
	payload_add_number(payload, to, "sequence", call->sequence);
	payload_add_text(payload, to, "callId", call->id);
	payload_add_text(payload, to, "timestamp", payload->at);
	payload_add_text(payload, to, "event",
	    webhook_event_name((enum call_event_kind)event->kind));
	payload_add_text(payload, to, "status", status_of(payload));
	payload_add_text(payload, to, "number", call->number);
	payload_add_text(payload, to, "to", call->number);
	payload_add_text(payload, to, "callerId", call->caller_id);
	payload_add_text(payload, to, "from", call->caller_id);
	add_amd(payload, to);
	/* verbatim: no number of the customer's is rounded on its way */
	payload_add(payload, to, "metadata", cJSON_CreateRaw(
	    payload->cold->metadata[0] == '{' ? payload->cold->metadata :
	    "{}"));
	if (call->answered_ms != 0) {
		clock_format_iso(call->answered_ms, payload->answered_at);
		payload_add_text(payload, to, "answeredAt",
		    payload->answered_at);
	}
	if ((call->flags & CALL_F_SECOND_LEG) != 0)
		payload_add_text(payload, to, "forwardedFrom",
		    call->other_id);
}

static void
name_recording(struct payload *payload)
{
	call_recording_name(&payload->call, payload->recording_id);
	(void)snprintf(payload->wav_name, sizeof(payload->wav_name), "%s.wav",
	    payload->recording_id);
	(void)snprintf(payload->wav_url, sizeof(payload->wav_url),
	    "/recordings/file/%s/download", payload->wav_name);
}

static void
add_initiated(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->call;

	payload_add_text(payload, to, "trunk", payload_trunk_name(payload,
	    call->attempt > 0 ? call->attempt : 1));
	payload_add_attempts(payload, to);
	payload_add_number(payload, to, "ringTimeoutSeconds",
	    call->ring_timeout_s);
	payload_add_bool(payload, to, "useAmd",
	    (call->flags & CALL_F_USE_AMD) != 0);
}

static void
add_ended_recording(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->call;
	cJSON *recording;

	if ((call->flags & CALL_F_RECORDED) == 0 || call->recording_ms == 0) {
		payload_add(payload, to, "recording", cJSON_CreateNull());
		return;
	}
	name_recording(payload);
	recording = cJSON_CreateObject();
	if (recording != NULL) {
		payload_add_text(payload, recording, "filename",
		    payload->wav_name);
		payload_add_text(payload, recording, "recordingId",
		    payload->recording_id);
		payload_add_bool(payload, recording, "active", false);
	}
	payload_add(payload, to, "recording", recording);
}

static void
add_ended(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->call;
	const uint32_t duration_s = call_duration_s(call, call->ended_ms);

	payload_add_text(payload, to, "endReason",
	    call_end_reason_name((enum call_end_reason)call->end_reason));
	payload_add_cause(payload, to, call->hangup_cause, call->sip_code);
	payload_add_bool(payload, to, "wasAnswered",
	    (call->flags & CALL_F_WAS_ANSWERED) != 0);
	add_ended_recording(payload, to);
	payload_add_number(payload, to, "callDuration", duration_s);
	payload_add_number(payload, to, "duration", duration_s);
}

static void
add_recording(struct payload *payload, cJSON *to)
{
	name_recording(payload);
	payload_add_text(payload, to, "filename", payload->wav_name);
	payload_add_text(payload, to, "recordingId", payload->recording_id);
	payload_add_text(payload, to, "method", "bridge");
	if (payload->event->kind != CALL_EV_RECORDING_COMPLETED)
		return;
	payload_add_number(payload, to, "duration",
	    payload->event->recording_duration_s);
	payload_add_number(payload, to, "size",
	    payload->event->recording_size_bytes);
	payload_add_text(payload, to, "recordingUrl", payload->wav_url);
}

/* What this kind of event has beyond the others. */
static void
add_special(struct payload *payload, cJSON *to)
{
	switch ((enum call_event_kind)payload->event->kind) {
	case CALL_EV_INITIATED:
		add_initiated(payload, to);
		break;
	case CALL_EV_ENDED:
		add_ended(payload, to);
		break;
	case CALL_EV_RECORDING_STARTED:
	case CALL_EV_RECORDING_STOPPED:
	case CALL_EV_RECORDING_COMPLETED:
		add_recording(payload, to);
		break;
	default:
		payload_add_control(payload, to);
		break;
	}
}

/* --- the call as it was when the event happened --------------------------- */

/*
 * It was told together with its trunk's failure, and the record has the next
 * trunk already: this is about the one that was dialled before.
 */
static void
go_back_a_trunk(struct call *call)
{
	unsigned tried = call->trunks_tried;
	unsigned attempt = 0;

	if (call->attempt >= 1 && call->attempt <= CALL_TRUNKS_MAX)
		tried &= ~(1U << (call->attempt - 1));
	for (unsigned left = tried; left != 0; left >>= 1)
		attempt++;
	if (attempt == 0)
		return; /* nothing tells of an earlier one */
	call->attempt = (uint8_t)attempt;
	call->trunks_tried = (uint8_t)tried;
}

/* Nobody had answered yet. */
static void
go_back_to_ringing(struct call *call)
{
	if (call->status <= CALL_STATUS_RINGING)
		return;
	call->status = CALL_STATUS_RINGING;
	call->state = CALL_RINGING;
	call->answered_ms = 0;
	call->amd_status = CALL_AMD_NOAMD;
	call->amd_decided_ms = 0;
	call->amd_cause[0] = '\0';
}

/*
 * One step may tell of several events, and each has the call as it is behind
 * the whole step: a call that was answered before anything else was heard of
 * it, or that ended before its verdict, would be told of ahead of itself.
 */
static struct call
call_at_event(const struct webhook_event *event)
{
	struct call call = event->call;

	switch ((enum call_event_kind)event->kind) {
	case CALL_EV_INITIATED:
		/* it is dialling by then, if nothing has followed */
		if (call.state == CALL_QUEUED)
			go_back_a_trunk(&call);
		go_back_to_ringing(&call);
		break;
	case CALL_EV_RINGING:
		go_back_to_ringing(&call);
		break;
	case CALL_EV_ANSWERED:
		call.status = CALL_STATUS_ANSWERED;
		break;
	default:
		break;
	}
	return call;
}

int
payload_render(const struct webhook_event *event,
    const struct call_event_detail *detail, const struct call_cold *cold,
    char out[PAYLOAD_MAX], size_t *len_out)
{
	struct payload payload = { .event = event,
		.detail = detail,
		.cold = cold,
		.call = call_at_event(event),
		.ok = true };
	cJSON *root = cJSON_CreateObject();
	int rc = -KAP_NOMEM;

	if (root == NULL)
		return -KAP_NOMEM;
	add_common(&payload, root);
	add_special(&payload, root);
	if (payload.ok)
		rc = cJSON_PrintPreallocated(root, out, PAYLOAD_MAX, false) ?
		    0 : -KAP_TOOBIG;
	if (rc == 0)
		*len_out = strlen(out);
	cJSON_Delete(root);
	return rc;
}
