/*
 * Builds an event's JSON with cJSON. Strings are referred to, not copied: the
 * tree lives no longer than the records it is built from.
 */
#include "payload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "shared/clock.h"

#define WAV_NAME_SIZE (CALL_RECORDING_SIZE + sizeof(".wav"))
#define WAV_URL_SIZE (WAV_NAME_SIZE + 32)

/*
 * What the tree refers to while it is printed. One for each rendering, on the
 * stack.
 */
struct payload {
	const struct webhook_event *event;
	const struct call_cold *cold;
	char event_id[WEBHOOK_EVENT_ID_SIZE];
	char at[CLOCK_ISO_SIZE];
	char answered_at[CLOCK_ISO_SIZE];
	char cause[8];
	char recording_id[CALL_RECORDING_SIZE];
	char wav_name[WAV_NAME_SIZE];
	char wav_url[WAV_URL_SIZE];
	bool ok; /* false once memory ran out */
};

/* Takes `item`, which may be NULL when memory ran out. Keys are literals. */
static void
add(struct payload *payload, cJSON *to, const char *key, cJSON *item)
{
	if (item == NULL || !cJSON_AddItemToObjectCS(to, key, item)) {
		cJSON_Delete(item);
		payload->ok = false;
	}
}

static void
add_text(struct payload *payload, cJSON *to, const char *key,
    const char *text)
{
	add(payload, to, key, cJSON_CreateStringReference(text));
}

/* cJSON's own number is a double: it prints slowly, and rounds. */
static void
add_number(struct payload *payload, cJSON *to, const char *key,
    uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	add(payload, to, key, cJSON_CreateRaw(text));
}

static void
add_bool(struct payload *payload, cJSON *to, const char *key, bool value)
{
	add(payload, to, key, cJSON_CreateBool(value));
}

static void
add_amd(struct payload *payload, cJSON *to, const struct call *call)
{
	cJSON *amd = cJSON_CreateObject();

	if (amd != NULL) {
		add_text(payload, amd, "status",
		    call_amd_name((enum call_amd)call->amd_status));
		add_text(payload, amd, "cause", "");
		add_number(payload, amd, "confidence", 0);
	}
	add(payload, to, "amd", amd);
}

/* What every event has. */
static void
add_common(struct payload *payload, cJSON *to)
{
	const struct webhook_event *event = payload->event;
	const struct call *call = &event->call;

	webhook_event_id(event, payload->event_id);
	clock_format_iso(event->at_ms, payload->at);
	add_text(payload, to, "eventId", payload->event_id);
	add_number(payload, to, "sequence", call->sequence);
	add_text(payload, to, "callId", call->id);
	add_text(payload, to, "timestamp", payload->at);
	add_text(payload, to, "event",
	    webhook_event_name((enum call_event_kind)event->kind));
	add_text(payload, to, "status",
	    call_status_name((enum call_status)call->status));
	add_text(payload, to, "number", call->number);
	add_text(payload, to, "to", call->number);
	add_text(payload, to, "callerId", call->caller_id);
	add_text(payload, to, "from", call->caller_id);
	add_amd(payload, to, call);
	/* verbatim: no number of the customer's is rounded on its way */
	add(payload, to, "metadata", cJSON_CreateRaw(
	    payload->cold->metadata[0] == '{' ? payload->cold->metadata :
	    "{}"));
	if (call->answered_ms != 0) {
		clock_format_iso(call->answered_ms, payload->answered_at);
		add_text(payload, to, "answeredAt", payload->answered_at);
	}
}

static void
name_recording(struct payload *payload)
{
	call_recording_name(&payload->event->call, payload->recording_id);
	(void)snprintf(payload->wav_name, sizeof(payload->wav_name), "%s.wav",
	    payload->recording_id);
	(void)snprintf(payload->wav_url, sizeof(payload->wav_url),
	    "/recordings/file/%s/download", payload->wav_name);
}

static void
add_initiated(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->event->call;
	const struct call_cold *cold = payload->cold;
	const unsigned tried = call->attempt > 0 ? call->attempt : 1;

	add_text(payload, to, "trunk", tried <= cold->trunk_count ?
	    cold->trunk_names[tried - 1] : "");
	add_number(payload, to, "trunkAttempts", tried);
	add_number(payload, to, "totalTrunks", call->trunk_count);
	add_number(payload, to, "ringTimeoutSeconds", call->ring_timeout_s);
	add_bool(payload, to, "useAmd", (call->flags & CALL_F_USE_AMD) != 0);
}

static void
add_ended_recording(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->event->call;
	cJSON *recording;

	if ((call->flags & CALL_F_RECORDED) == 0 || call->recording_ms == 0) {
		add(payload, to, "recording", cJSON_CreateNull());
		return;
	}
	name_recording(payload);
	recording = cJSON_CreateObject();
	if (recording != NULL) {
		add_text(payload, recording, "filename", payload->wav_name);
		add_text(payload, recording, "recordingId",
		    payload->recording_id);
		add_bool(payload, recording, "active", false);
	}
	add(payload, to, "recording", recording);
}

static void
add_ended(struct payload *payload, cJSON *to)
{
	const struct call *call = &payload->event->call;
	const uint32_t duration_s = call_duration_s(call, call->ended_ms);

	(void)snprintf(payload->cause, sizeof(payload->cause), "%u",
	    call->hangup_cause);
	add_text(payload, to, "endReason",
	    call_end_reason_name((enum call_end_reason)call->end_reason));
	add_text(payload, to, "hangupCause", payload->cause);
	add_bool(payload, to, "wasAnswered",
	    (call->flags & CALL_F_WAS_ANSWERED) != 0);
	add_ended_recording(payload, to);
	add_number(payload, to, "callDuration", duration_s);
	add_number(payload, to, "duration", duration_s);
}

static void
add_recording(struct payload *payload, cJSON *to)
{
	name_recording(payload);
	add_text(payload, to, "filename", payload->wav_name);
	add_text(payload, to, "recordingId", payload->recording_id);
	add_text(payload, to, "method", "bridge");
	if (payload->event->kind != CALL_EV_RECORDING_COMPLETED)
		return;
	add_number(payload, to, "duration",
	    payload->event->recording_duration_s);
	add_number(payload, to, "size", payload->event->recording_size_bytes);
	add_text(payload, to, "recordingUrl", payload->wav_url);
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
	case CALL_EV_RECORDING_COMPLETED:
		add_recording(payload, to);
		break;
	case CALL_EV_RINGING:
	case CALL_EV_ANSWERED:
	case CALL_EV_COUNT:
		break;
	}
}

int
payload_render(const struct webhook_event *event, const struct call_cold *cold,
    char out[PAYLOAD_MAX], size_t *len_out)
{
	struct payload payload = { .event = event, .cold = cold, .ok = true };
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
