/*
 * Between payload.c and payload_control.c: a rendering under way, and how a
 * member is added to its tree. Nobody else includes this.
 */
#ifndef KAP_PAYLOAD_INTERNAL_H
#define KAP_PAYLOAD_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "shared/call_cold.h"
#include "shared/clock.h"
#include "shared/webhook_queue.h"

#define WAV_NAME_SIZE (CALL_RECORDING_SIZE + sizeof(".wav"))
#define WAV_URL_SIZE (WAV_NAME_SIZE + 32)
#define CAUSE_SIZE 12

/*
 * What the tree refers to while it is printed. One for each rendering, on the
 * stack.
 */
struct payload {
	const struct webhook_event *event;
	const struct call_event_detail *detail;
	const struct call_cold *cold;
	struct call call; /* as it was when the event happened */
	char event_id[WEBHOOK_EVENT_ID_SIZE];
	char at[CLOCK_ISO_SIZE];
	char answered_at[CLOCK_ISO_SIZE];
	char decided_at[CLOCK_ISO_SIZE];
	char amd_cause[CALL_AMD_CAUSE_SIZE];
	char cause[CAUSE_SIZE];
	char recording_id[CALL_RECORDING_SIZE];
	char wav_name[WAV_NAME_SIZE];
	char wav_url[WAV_URL_SIZE];
	char playback_id[CALL_NAME_SIZE];
	char digit[2];
	bool ok; /* false once memory ran out */
};

/* Takes `item`, which may be NULL when memory ran out. Keys are literals. */
void payload_add(struct payload *payload, cJSON *to, const char *key,
    cJSON *item);
/* `text` is referred to until the tree is printed. */
void payload_add_text(struct payload *payload, cJSON *to, const char *key,
    const char *text);
void payload_add_number(struct payload *payload, cJSON *to, const char *key,
    uint64_t number);
void payload_add_bool(struct payload *payload, cJSON *to, const char *key,
    bool value);
/* Q.850, as text; and the carrier's answer, where one was told (not 0). */
void payload_add_cause(struct payload *payload, cJSON *to, unsigned cause,
    unsigned sip_code);

/* The name of the call's n-th trunk, from 1; "" where it has no such one. */
const char *payload_trunk_name(const struct payload *payload, unsigned n);

/* trunkAttempts and totalTrunks. */
void payload_add_attempts(struct payload *payload, cJSON *to);

/*
 * What the control of a live call is told by: digits, gathers, playbacks,
 * trunks and transfers. Nothing for an event of another kind.
 */
void payload_add_control(struct payload *payload, cJSON *to);

#endif
