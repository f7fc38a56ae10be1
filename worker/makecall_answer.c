/*
 * Renders; decides nothing.
 */
#include "makecall_answer.h"

#include "api.h"
#include "call_json.h"
#include "http_server.h"
#include "shared/clock.h"

/* The n-th trunk that was tried, from 1. */
static const char *
trunk_name(const struct idempotency *record, unsigned attempt)
{
	if (attempt == 0 || attempt > record->trunk_count)
		return "";
	return record->trunks[attempt - 1];
}

static void
answer_made(struct http_request *req, const struct idempotency *record)
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
	(void)cJSON_AddNumberToObject(tree, "trunkAttempts", record->attempt);
	(void)cJSON_AddNumberToObject(tree, "totalTrunks",
	    record->trunk_count);
	(void)cJSON_AddStringToObject(tree, "timestamp", timestamp);
	http_reply_json(req, 200, tree);
}

static void
answer_refused(struct http_request *req, const struct idempotency *record)
{
	cJSON *tree = cJSON_CreateObject();
	cJSON *tried = cJSON_AddArrayToObject(tree, "attemptedTrunks");

	for (unsigned i = 1; i <= record->attempt; i++)
		(void)cJSON_AddItemToArray(tried,
		    cJSON_CreateString(trunk_name(record, i)));
	(void)cJSON_AddNumberToObject(tree, "totalTrunks",
	    record->trunk_count);
	api_reply_error_tree(req, API_ORIGINATION_FAILED, tree);
}

void
makecall_answer(struct http_request *req, const struct idempotency *record)
{
	if (record->state == IDEMPOTENCY_REFUSED)
		answer_refused(req, record);
	else if (record->state == IDEMPOTENCY_GIVEN_UP)
		makecall_answer_unknown(req, record->call_id);
	else
		answer_made(req, record);
}

void
makecall_answer_unknown(struct http_request *req, const char *call_id)
{
	cJSON *tree = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(tree, "callId", call_id);
	api_reply_error_tree(req, API_TELEPHONY_TIMEOUT, tree);
}
