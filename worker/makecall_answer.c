/*
 * Renders; decides nothing.
 */
#include "makecall_answer.h"

#include "call_json.h"
#include "shared/clock.h"

/* The n-th trunk that was tried, from 1. */
static const char *
trunk_name(const struct idempotency *record, unsigned attempt)
{
	if (attempt == 0 || attempt > record->trunk_count)
		return "";
	return record->trunks[attempt - 1];
}

static bool
was_tried(const struct idempotency *record, unsigned attempt)
{
	return (record->tried & 1U << (attempt - 1)) != 0;
}

/* Those that were not free are not among them. */
static unsigned
count_tried(const struct idempotency *record)
{
	unsigned count = 0;

	for (unsigned i = 1; i <= record->trunk_count; i++)
		count += was_tried(record, i);
	return count;
}

static void
answer_made(const struct idempotency *record, struct api_answer *answer)
{
	cJSON *tree = call_json_success();
	char timestamp[CLOCK_ISO_SIZE];

	clock_format_iso(record->answered_ms, timestamp);
	(void)cJSON_AddStringToObject(tree, "callId", record->call_id);
	(void)cJSON_AddStringToObject(tree, "status", "ringing");
	(void)cJSON_AddBoolToObject(tree, "amdEnabled", record->use_amd);
	(void)cJSON_AddStringToObject(tree, "voiceName", record->voice);
	(void)cJSON_AddNumberToObject(tree, "credits",
	    (double)record->credits);
	(void)cJSON_AddNumberToObject(tree, "ringTimeoutSeconds",
	    record->ring_timeout_s);
	(void)cJSON_AddStringToObject(tree, "trunk",
	    trunk_name(record, record->attempt));
	(void)cJSON_AddNumberToObject(tree, "trunkAttempts",
	    count_tried(record));
	(void)cJSON_AddNumberToObject(tree, "totalTrunks",
	    record->trunk_count);
	(void)cJSON_AddStringToObject(tree, "timestamp", timestamp);
	*answer = (struct api_answer){ .status = 200, .tree = tree };
}

static void
answer_refused(const struct idempotency *record, struct api_answer *answer)
{
	cJSON *tree = cJSON_CreateObject();
	cJSON *tried = cJSON_AddArrayToObject(tree, "attemptedTrunks");

	for (unsigned i = 1; i <= record->attempt; i++) {
		if (was_tried(record, i))
			(void)cJSON_AddItemToArray(tried,
			    cJSON_CreateString(trunk_name(record, i)));
	}
	(void)cJSON_AddNumberToObject(tree, "totalTrunks",
	    record->trunk_count);
	api_answer_error(answer, API_ORIGINATION_FAILED, tree);
}

void
makecall_answer(const struct idempotency *record, struct api_answer *answer)
{
	if (record->state == IDEMPOTENCY_REFUSED)
		answer_refused(record, answer);
	else if (record->state == IDEMPOTENCY_GIVEN_UP)
		makecall_answer_unknown(record->call_id, answer);
	else
		answer_made(record, answer);
}

void
makecall_answer_unknown(const char *call_id, struct api_answer *answer)
{
	cJSON *tree = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(tree, "callId", call_id);
	api_answer_error(answer, API_TELEPHONY_TIMEOUT, tree);
}
