/*
 * ARI events as inputs of the call machine. Most of what Asterisk sends is of
 * no interest, so the event's type is found by a scan of the text first, and
 * only what may matter is given to the JSON library. The scan is exact for
 * JSON: names and values that callers can choose (a SIP header, a caller's
 * name) never pass for the type. Touches no socket and no store.
 */
#include "ari_decode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "shared/clock.h"

#define OLDEST_MS 3600000 /* an event's time is at most this far back */
#define CAUSE_MAX 127
#define SIP_CODE_MIN 300 /* a final answer that is no yes */
#define SIP_CODE_MAX 699
#define SMALL_TEXT 4096

struct decode {
	const cJSON *json;
	struct ari_event *out;
};

struct event_type {
	const char *name;
	bool (*decode)(const struct decode *decode);
	enum ari_event_kind kind; /* if it decodes */
};

static const cJSON *
member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *
text_of(const cJSON *object, const char *name)
{
	const char *text = cJSON_GetStringValue(member(object, name));

	return text != NULL ? text : "";
}

/* A whole number from 0 to max; `fallback` for anything else. */
static uint32_t
number_of(const cJSON *object, const char *name, uint32_t max,
    uint32_t fallback)
{
	const cJSON *item = member(object, name);

	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) ||
	    item->valuedouble > (double)max)
		return fallback;
	return (uint32_t)item->valuedouble;
}

/* Whose channel it is: the member `role` of the event. */
static bool
find_channel(const struct decode *decode, const char *role)
{
	struct ari_event *out = decode->out;

	return call_parse_channel(text_of(member(decode->json, role), "id"),
	    out->call_id, &out->input.attempt) == 0;
}

static bool
find_recording(const struct decode *decode, enum call_input_kind kind)
{
	struct ari_event *out = decode->out;
	const cJSON *recording = member(decode->json, "recording");
	int64_t stamp_ms;

	out->input.kind = kind;
	out->input.duration_s = number_of(recording, "duration", INT32_MAX, 0);
	return call_parse_recording(text_of(recording, "name"), out->call_id,
	    &stamp_ms) == 0;
}

static bool
on_channel(const struct decode *decode, enum call_input_kind kind)
{
	decode->out->input.kind = kind;
	return find_channel(decode, "channel");
}

/* The dialled channel is the `peer`; there is no caller. */
static bool
decode_dial(const struct decode *decode)
{
	const char *status = text_of(decode->json, "dialstatus");
	struct call_input *input = &decode->out->input;

	input->kind = CALL_IN_SEEN;
	if (strcmp(status, "RINGING") == 0)
		input->kind = CALL_IN_RINGING;
	else if (strcmp(status, "ANSWER") == 0)
		input->kind = CALL_IN_UP;
	else if (strcmp(status, "PROGRESS") == 0 ||
	    strcmp(status, "PROCEEDING") == 0)
		input->kind = CALL_IN_PROGRESS;
	return find_channel(decode, "peer");
}

static bool
decode_state_change(const struct decode *decode)
{
	const char *state = text_of(member(decode->json, "channel"), "state");

	if (strcmp(state, "Ringing") == 0)
		return on_channel(decode, CALL_IN_RINGING);
	if (strcmp(state, "Up") == 0)
		return on_channel(decode, CALL_IN_UP);
	return on_channel(decode, CALL_IN_SEEN);
}

/*
 * A snoop channel that comes back from the dialplan brings AMD's verdict: the
 * arguments "amd", status, cause. Before that it has none.
 */
static enum call_amd
amd_of(const char *status)
{
	if (strcmp(status, "HUMAN") == 0)
		return CALL_AMD_HUMAN;
	if (strcmp(status, "MACHINE") == 0)
		return CALL_AMD_MACHINE;
	return CALL_AMD_UNKNOWN;
}

/* Asterisk's own words, as far as they are of its form. */
static void
copy_cause(char out[CALL_AMD_CAUSE_SIZE], const char *cause)
{
	const size_t len = strlen(cause);

	if (len < CALL_AMD_CAUSE_SIZE &&
	    strspn(cause, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == len)
		memcpy(out, cause, len + 1);
}

static const char *
argument(const cJSON *args, int i)
{
	const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(args, i));

	return text != NULL ? text : "";
}

static bool
find_snoop(const struct decode *decode)
{
	return call_parse_snoop(
	    text_of(member(decode->json, "channel"), "id"),
	    decode->out->call_id) == 0;
}

static bool
decode_snoop_start(const struct decode *decode)
{
	const cJSON *args = member(decode->json, "args");
	struct call_input *input = &decode->out->input;

	if (!find_snoop(decode))
		return false;
	input->kind = CALL_IN_SNOOP_START;
	if (strcmp(argument(args, 0), "amd") == 0) {
		input->kind = CALL_IN_AMD;
		input->amd = amd_of(argument(args, 1));
		copy_cause(input->amd_cause, argument(args, 2));
	}
	return true;
}

static bool
decode_created(const struct decode *decode)
{
	return on_channel(decode, CALL_IN_SEEN);
}

static bool
decode_stasis_start(const struct decode *decode)
{
	return on_channel(decode, CALL_IN_STASIS_START) ||
	    decode_snoop_start(decode);
}

static bool
decode_stasis_end(const struct decode *decode)
{
	/* a snoop channel leaves for the dialplan: that is no end of it */
	return on_channel(decode, CALL_IN_STASIS_END);
}

/* Since Asterisk 22 it tells the carrier's final answer, if there was one. */
static bool
decode_destroyed(const struct decode *decode)
{
	const uint32_t sip_code = number_of(decode->json, "tech_cause",
	    SIP_CODE_MAX, 0);

	if (sip_code >= SIP_CODE_MIN)
		decode->out->input.sip_code = sip_code;
	decode->out->input.cause = number_of(decode->json, "cause", CAUSE_MAX,
	    0);
	if (on_channel(decode, CALL_IN_DESTROYED))
		return true;
	decode->out->input.kind = CALL_IN_SNOOP_GONE;
	return find_snoop(decode);
}

static bool
decode_recording_started(const struct decode *decode)
{
	return find_recording(decode, CALL_IN_RECORDING_STARTED);
}

static bool
decode_recording_finished(const struct decode *decode)
{
	return find_recording(decode, CALL_IN_RECORDING_FINISHED);
}

static bool
decode_recording_failed(const struct decode *decode)
{
	return find_recording(decode, CALL_IN_RECORDING_ERROR);
}

static bool
decode_hangup_request(const struct decode *decode)
{
	return on_channel(decode, CALL_IN_LEAVING);
}

static bool
find_playback(const struct decode *decode, enum call_input_kind kind)
{
	struct ari_event *out = decode->out;

	out->input.kind = kind;
	return call_play_parse(text_of(member(decode->json, "playback"), "id"),
	    out->call_id, &out->input.play_id) == 0;
}

static bool
decode_playback_started(const struct decode *decode)
{
	return find_playback(decode, CALL_IN_PLAY_STARTED);
}

/* "done", also where it was stopped, even before it began; or "failed". */
static bool
decode_playback_finished(const struct decode *decode)
{
	const char *state = text_of(member(decode->json, "playback"), "state");

	return find_playback(decode, strcmp(state, "failed") == 0 ?
	    CALL_IN_PLAY_FAILED : CALL_IN_PLAY_FINISHED);
}

static bool
decode_dtmf(const struct decode *decode)
{
	const char *digit = text_of(decode->json, "digit");
	struct call_input *input = &decode->out->input;

	if (digit[0] == '\0' || digit[1] != '\0')
		return false;
	input->digit = digit[0];
	input->digit_ms = number_of(decode->json, "duration_ms", INT32_MAX, 0);
	return on_channel(decode, CALL_IN_DTMF);
}

static bool
decode_user_event(const struct decode *decode)
{
	return ari_mark_parse(text_of(decode->json, "eventname"),
	    &decode->out->mark);
}

static bool
decode_replaced(const struct decode *decode)
{
	(void)decode;
	return true;
}

/* The types that matter. */
static const struct event_type types[] = {
	{ "Dial", decode_dial, ARI_EVENT_CALL },
	{ "ChannelStateChange", decode_state_change, ARI_EVENT_CALL },
	{ "StasisStart", decode_stasis_start, ARI_EVENT_CALL },
	{ "StasisEnd", decode_stasis_end, ARI_EVENT_CALL },
	{ "ChannelDestroyed", decode_destroyed, ARI_EVENT_CALL },
	{ "RecordingStarted", decode_recording_started, ARI_EVENT_CALL },
	{ "RecordingFinished", decode_recording_finished, ARI_EVENT_CALL },
	{ "RecordingFailed", decode_recording_failed, ARI_EVENT_CALL },
	{ "ChannelCreated", decode_created, ARI_EVENT_CALL },
	{ "ChannelHangupRequest", decode_hangup_request, ARI_EVENT_CALL },
	{ "ChannelDtmfReceived", decode_dtmf, ARI_EVENT_CALL },
	{ "PlaybackStarted", decode_playback_started, ARI_EVENT_CALL },
	{ "PlaybackFinished", decode_playback_finished, ARI_EVENT_CALL },
	{ "ChannelUserevent", decode_user_event, ARI_EVENT_MARK },
	{ "ApplicationReplaced", decode_replaced, ARI_EVENT_REPLACED },
};

static const struct event_type *
find_type(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strlen(types[i].name) == len &&
		    memcmp(types[i].name, name, len) == 0)
			return &types[i];
	}
	return NULL;
}

/* A text being scanned; `at` runs from its begin to its end. */
struct scan {
	const char *at;
	const char *end;
};

struct span {
	const char *text;
	size_t len;
	bool escaped; /* holds a backslash: the text is not what it means */
};

/* What the library takes for space: more than JSON does. */
static void
skip_space(struct scan *scan)
{
	while (scan->at < scan->end && (unsigned char)*scan->at <= ' ')
		scan->at++;
}

static bool
skip_char(struct scan *scan, char c)
{
	skip_space(scan);
	if (scan->at >= scan->end || *scan->at != c)
		return false;
	scan->at++;
	return true;
}

/* Pass a string whose opening quote was passed. */
static bool
scan_string(struct scan *scan, struct span *out)
{
	out->text = scan->at;
	out->escaped = false;
	for (; scan->at < scan->end; scan->at++) {
		if (*scan->at == '"') {
			out->len = (size_t)(scan->at - out->text);
			scan->at++;
			return true;
		}
		if (*scan->at == '\\' && scan->at + 1 < scan->end) {
			out->escaped = true;
			scan->at++;
		}
	}
	return false;
}

/* Pass a value up to the comma or the brace behind it; false at the end. */
static bool
skip_value(struct scan *scan)
{
	struct span ignored;
	int depth = 0;

	while (scan->at < scan->end) {
		const char c = *scan->at;

		if (depth == 0 && (c == ',' || c == '}'))
			return true;
		scan->at++;
		if (c == '"' && !scan_string(scan, &ignored))
			return false;
		if (c == '{' || c == '[')
			depth++;
		if (c == '}' || c == ']')
			depth--;
		if (depth < 0)
			return false;
	}
	return false;
}

/*
 * Find the value of the outermost object's first member "type". False when
 * there is none; then, too, when the text is no such JSON.
 */
static bool
scan_type(struct scan *scan, struct span *type_out)
{
	struct span key;

	if (!skip_char(scan, '{'))
		return false;
	do {
		if (!skip_char(scan, '"') || !scan_string(scan, &key) ||
		    !skip_char(scan, ':'))
			return false;
		/* an escaped key might spell "type": let the library see */
		if (key.escaped) {
			*type_out = key;
			return true;
		}
		if (key.len == 4 && memcmp(key.text, "type", 4) == 0)
			return skip_char(scan, '"') &&
			    scan_string(scan, type_out);
	} while (skip_value(scan) && skip_char(scan, ','));
	return false;
}

static int64_t
event_time(const cJSON *json, int64_t now_ms)
{
	int64_t at_ms;

	if (clock_parse_iso(text_of(json, "timestamp"), &at_ms) != 0 ||
	    at_ms > now_ms)
		return now_ms;
	return at_ms < now_ms - OLDEST_MS ? now_ms - OLDEST_MS : at_ms;
}

static void
decode_json(const cJSON *json, int64_t now_ms, struct ari_event *out)
{
	const struct decode decode = { .json = json, .out = out };
	const char *name = text_of(json, "type");
	const struct event_type *type = find_type(name, strlen(name));

	if (!cJSON_IsObject(json) || type == NULL)
		return;
	out->input.at_ms = event_time(json, now_ms);
	if (type->decode(&decode))
		out->kind = type->kind;
}

/*
 * cJSON 1.7.15 reads past the end of a text that isn't NUL-terminated, so it
 * gets a copy that is. Nothing may follow the value.
 */
static void
parse_copy(char *copy, const char *text, size_t len, int64_t now_ms,
    struct ari_event *out)
{
	cJSON *json;

	memcpy(copy, text, len);
	copy[len] = '\0';
	json = cJSON_ParseWithLengthOpts(copy, len + 1, NULL, true);
	if (json != NULL)
		decode_json(json, now_ms, out);
	cJSON_Delete(json);
}

enum ari_event_kind
ari_decode(const char *text, size_t len, int64_t now_ms,
    struct ari_event *out)
{
	struct scan scan = { .at = text, .end = text + len };
	struct span type;
	char small[SMALL_TEXT];

	memset(out, 0, sizeof(*out));
	/* a NUL is in no JSON, but would end a string for the library */
	if (memchr(text, '\0', len) != NULL || !scan_type(&scan, &type) ||
	    (!type.escaped && find_type(type.text, type.len) == NULL))
		return ARI_EVENT_IRRELEVANT;
	if (len < sizeof(small)) {
		parse_copy(small, text, len, now_ms, out);
	} else {
		char *large = malloc(len + 1);

		if (large != NULL)
			parse_copy(large, text, len, now_ms, out);
		free(large);
	}
	return out->kind;
}
