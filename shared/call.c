/*
 * Words, names and judgements about a call that need nothing but its record.
 * Pure: no store, no clock.
 */
#include "call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A call's number ends in three digits that name its node. */
#define NODE_FACTOR 1000U
#define SECONDS_LIMIT ((uint64_t)1000000000000)
#define NUMBER_LIMIT ((uint64_t)1000000000000000)
#define SECONDS_DIGITS_MIN 10
#define SECONDS_DIGITS_MAX 12
#define NUMBER_DIGITS_MAX 19

static const char *const state_names[CALL_STATE_COUNT] = {
	[CALL_NONE] = "none",
	[CALL_QUEUED] = "queued",
	[CALL_DIALING] = "dialing",
	[CALL_RINGING] = "ringing",
	[CALL_ANSWERED] = "answered",
	[CALL_ENDED] = "ended",
};

static const char *const status_names[CALL_STATUS_COUNT] = {
	[CALL_STATUS_QUEUED] = "queued",
	[CALL_STATUS_RINGING] = "ringing",
	[CALL_STATUS_ANSWERED] = "answered",
	[CALL_STATUS_COMPLETED] = "completed",
	[CALL_STATUS_BUSY] = "busy",
	[CALL_STATUS_NO_ANSWER] = "no-answer",
	[CALL_STATUS_FAILED] = "failed",
	[CALL_STATUS_CANCELED] = "canceled",
};

static const char *const reason_names[CALL_END_REASON_COUNT] = {
	[CALL_END_NONE] = "",
	[CALL_END_NORMAL_HANGUP] = "normal_hangup",
	[CALL_END_API_HANGUP] = "api_hangup",
	[CALL_END_MAX_DURATION] = "max_duration",
	[CALL_END_CANCELED] = "canceled",
	[CALL_END_BUSY] = "busy",
	[CALL_END_NO_ANSWER] = "no_answer",
	[CALL_END_REJECTED] = "rejected",
	[CALL_END_INVALID_NUMBER] = "invalid_number",
	[CALL_END_CONGESTION] = "congestion",
	[CALL_END_INCOMPATIBLE] = "incompatible",
	[CALL_END_NETWORK] = "network",
	[CALL_END_LOST] = "lost",
	[CALL_END_MEDIA_SERVER_LOST] = "media_server_lost",
};

static const char *const amd_names[CALL_AMD_COUNT] = {
	[CALL_AMD_NOAMD] = "NOAMD",
	[CALL_AMD_PENDING] = "PENDING",
	[CALL_AMD_HUMAN] = "HUMAN",
	[CALL_AMD_MACHINE] = "MACHINE",
	[CALL_AMD_UNKNOWN] = "UNKNOWN",
};

const char *
call_state_name(enum call_state state)
{
	return state < CALL_STATE_COUNT ? state_names[state] : "?";
}

const char *
call_status_name(enum call_status status)
{
	return status < CALL_STATUS_COUNT ? status_names[status] : "?";
}

const char *
call_end_reason_name(enum call_end_reason reason)
{
	return reason < CALL_END_REASON_COUNT ? reason_names[reason] : "?";
}

const char *
call_amd_name(enum call_amd amd)
{
	return amd < CALL_AMD_COUNT ? amd_names[amd] : "?";
}

bool
call_is_live(const struct call *call)
{
	return call->state > CALL_NONE && call->state < CALL_ENDED;
}

enum call_outcome
call_outcome(const struct call *call)
{
	const uint32_t known = CALL_F_INITIATED | CALL_F_API_HANGUP |
	    CALL_F_OTHER_ENDED;

	/* one that waits for its next trunk was told of already */
	if (call->state == CALL_QUEUED &&
	    (call->flags & (CALL_F_ABANDONED | CALL_F_INITIATED)) == 0)
		return CALL_OUTCOME_OPEN;
	if ((call->flags & CALL_F_REFUSED) != 0)
		return CALL_OUTCOME_REFUSED;
	if ((call->flags & known) != 0)
		return CALL_OUTCOME_MADE;
	return (call->flags & CALL_F_ABANDONED) != 0 ?
	    CALL_OUTCOME_GIVEN_UP : CALL_OUTCOME_LOST;
}

unsigned
call_trunks_tried(const struct call *call)
{
	unsigned count = 0;

	for (unsigned tried = call->trunks_tried; tried != 0; tried >>= 1)
		count += tried & 1;
	/* an older program's call has tried them all up to its own */
	return count > 0 ? count : call->attempt;
}

bool
call_end_is_of_trunk(unsigned cause, unsigned sip_code)
{
	static const uint8_t of_trunk[] = { 27, 34, 38, 41, 42, 44, 102 };

	if (sip_code >= 500 && sip_code <= 599)
		return true;
	for (size_t i = 0; i < sizeof(of_trunk) / sizeof(of_trunk[0]); i++) {
		if (of_trunk[i] == cause)
			return true;
	}
	return false;
}

struct cause_row {
	unsigned cause; /* Q.850 */
	enum call_status status;
	enum call_end_reason reason;
};

/* The API's table of causes; what isn't here is a failure of the network. */
static const struct cause_row causes[] = {
	{ 16, CALL_STATUS_CANCELED, CALL_END_CANCELED },
	{ 17, CALL_STATUS_BUSY, CALL_END_BUSY },
	{ 18, CALL_STATUS_NO_ANSWER, CALL_END_NO_ANSWER },
	{ 19, CALL_STATUS_NO_ANSWER, CALL_END_NO_ANSWER },
	{ 20, CALL_STATUS_NO_ANSWER, CALL_END_NO_ANSWER },
	{ 21, CALL_STATUS_FAILED, CALL_END_REJECTED },
	{ 1, CALL_STATUS_FAILED, CALL_END_INVALID_NUMBER },
	{ 3, CALL_STATUS_FAILED, CALL_END_INVALID_NUMBER },
	{ 22, CALL_STATUS_FAILED, CALL_END_INVALID_NUMBER },
	{ 28, CALL_STATUS_FAILED, CALL_END_INVALID_NUMBER },
	{ 27, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 34, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 38, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 41, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 42, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 44, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 102, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ 58, CALL_STATUS_FAILED, CALL_END_INCOMPATIBLE },
	{ 88, CALL_STATUS_FAILED, CALL_END_INCOMPATIBLE },
};

static const struct cause_row other_cause = { 0, CALL_STATUS_FAILED,
	CALL_END_NETWORK };

static const struct cause_row *
find_cause(unsigned cause)
{
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		if (causes[i].cause == cause)
			return &causes[i];
	}
	return &other_cause;
}

void
call_judge_end(bool answered, uint32_t flags, unsigned cause,
    enum call_status *status_out, enum call_end_reason *reason_out)
{
	const struct cause_row *row = find_cause(cause);

	*status_out = answered ? CALL_STATUS_COMPLETED : row->status;
	*reason_out = row->reason;
	if ((flags & CALL_F_API_HANGUP) != 0) {
		*reason_out = CALL_END_API_HANGUP;
		if (!answered)
			*status_out = CALL_STATUS_CANCELED;
	} else if (answered && (flags & CALL_F_MAX_DURATION) != 0) {
		*reason_out = CALL_END_MAX_DURATION;
	} else if (answered &&
	    (cause == 16 || (flags & CALL_F_OTHER_ENDED) != 0)) {
		*reason_out = CALL_END_NORMAL_HANGUP;
	} else if ((flags & CALL_F_OTHER_ENDED) != 0) {
		*status_out = CALL_STATUS_CANCELED;
		*reason_out = CALL_END_CANCELED;
	} else if (!answered && (flags & CALL_F_RING_TIMEOUT) != 0) {
		*status_out = CALL_STATUS_NO_ANSWER;
		*reason_out = CALL_END_NO_ANSWER;
	} else if (!answered && (flags & CALL_F_ABANDONED) != 0) {
		*status_out = CALL_STATUS_FAILED;
		*reason_out = CALL_END_NETWORK;
	}
}

uint32_t
call_duration_s(const struct call *call, int64_t until_ms)
{
	int64_t ms;

	if ((call->flags & CALL_F_WAS_ANSWERED) == 0)
		return 0;
	ms = until_ms - call->answered_ms;
	if (ms <= 1000)
		return 1;
	return (uint32_t)((ms + 999) / 1000);
}

void
call_channel_name(const struct call *call, char out[CALL_NAME_SIZE])
{
	if (call->attempt > 1)
		(void)snprintf(out, CALL_NAME_SIZE, "%s-%u", call->id,
		    call->attempt);
	else
		(void)snprintf(out, CALL_NAME_SIZE, "%s", call->id);
}

void
call_attempt_name(const char *id, unsigned attempt, char out[CALL_NAME_SIZE])
{
	if (attempt > 1)
		(void)snprintf(out, CALL_NAME_SIZE, "%s-%u", id, attempt);
	else
		(void)snprintf(out, CALL_NAME_SIZE, "%s", id);
}

void
call_snoop_name(const char *id, char out[CALL_NAME_SIZE])
{
	(void)snprintf(out, CALL_NAME_SIZE, "amd-%s", id);
}

void
call_bridge_name(const char *id, char out[CALL_NAME_SIZE])
{
	(void)snprintf(out, CALL_NAME_SIZE, "bridge-%s", id);
}

void
call_recording_name(const struct call *call, char out[CALL_RECORDING_SIZE])
{
	(void)snprintf(out, CALL_RECORDING_SIZE, "call-%s-%" PRId64, call->id,
	    call->recording_ms);
}

static size_t
count_digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* Length of the call id at the head of the text, 0 if there is none. */
static size_t
id_length(const char *text)
{
	const size_t seconds = count_digits(text);
	size_t number;

	if (seconds < SECONDS_DIGITS_MIN || seconds > SECONDS_DIGITS_MAX ||
	    text[seconds] != '.')
		return 0;
	number = count_digits(text + seconds + 1);
	if (number == 0 || number > NUMBER_DIGITS_MAX)
		return 0;
	return seconds + 1 + number;
}

bool
call_id_is_valid(const char *text)
{
	const size_t len = id_length(text);

	return len > 0 && len < CALL_ID_SIZE && text[len] == '\0';
}

/* Take an id off the head of the text; *rest_out is what follows it. */
static int
take_id(const char *text, char id_out[CALL_ID_SIZE], const char **rest_out)
{
	const size_t len = id_length(text);

	if (len == 0 || len >= CALL_ID_SIZE)
		return -KAP_INVAL;
	memcpy(id_out, text, len);
	id_out[len] = '\0';
	*rest_out = text + len;
	return 0;
}

int
call_parse_channel(const char *name, char id_out[CALL_ID_SIZE],
    unsigned *attempt_out)
{
	const char *rest;
	size_t digits;

	if (take_id(name, id_out, &rest) != 0)
		return -KAP_INVAL;
	*attempt_out = 1;
	if (*rest == '\0')
		return 0;
	digits = *rest == '-' ? count_digits(rest + 1) : 0;
	if (digits == 0 || digits > 3 || rest[1 + digits] != '\0')
		return -KAP_INVAL;
	*attempt_out = (unsigned)strtoul(rest + 1, NULL, 10);
	return *attempt_out > 1 ? 0 : -KAP_INVAL;
}

int
call_parse_bridge(const char *name, char id_out[CALL_ID_SIZE])
{
	const char *rest;

	if (strncmp(name, "bridge-", 7) != 0 ||
	    take_id(name + 7, id_out, &rest) != 0 || *rest != '\0')
		return -KAP_INVAL;
	return 0;
}

int
call_parse_snoop(const char *name, char id_out[CALL_ID_SIZE])
{
	const char *rest;

	if (strncmp(name, "amd-", 4) != 0 ||
	    take_id(name + 4, id_out, &rest) != 0 || *rest != '\0')
		return -KAP_INVAL;
	return 0;
}

int
call_parse_stamped(const char *text, char id_out[CALL_ID_SIZE],
    int64_t *stamp_ms_out)
{
	const char *rest;
	size_t digits;

	if (take_id(text, id_out, &rest) != 0 || *rest != '-')
		return -KAP_INVAL;
	digits = count_digits(rest + 1);
	if (digits == 0 || digits > 15 || rest[1 + digits] != '\0')
		return -KAP_INVAL;
	*stamp_ms_out = strtoll(rest + 1, NULL, 10);
	return 0;
}

int
call_parse_recording(const char *name, char id_out[CALL_ID_SIZE],
    int64_t *stamp_ms_out)
{
	return strncmp(name, "call-", 5) == 0 ?
	    call_parse_stamped(name + 5, id_out, stamp_ms_out) : -KAP_INVAL;
}

void
call_id_make(char out[CALL_ID_SIZE], int64_t now_ms, uint64_t number,
    unsigned node)
{
	const uint64_t seconds = (uint64_t)now_ms / 1000;

	(void)snprintf(out, CALL_ID_SIZE, "%" PRIu64 ".%" PRIu64 "%03u",
	    seconds % SECONDS_LIMIT, number % NUMBER_LIMIT,
	    node % NODE_FACTOR);
}

unsigned
call_id_node(const char *id)
{
	const size_t len = strlen(id);

	if (!call_id_is_valid(id) || count_digits(strchr(id, '.') + 1) < 4)
		return 0;
	return (unsigned)strtoul(id + len - 3, NULL, 10);
}
