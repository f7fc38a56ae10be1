/*
 * See forward_leg.h. Writes nothing to the store.
 */
#include "forward_leg.h"

#include <stdio.h>
#include <string.h>

#include "api_fields.h"
#include "control_request.h"
#include "shared/call_cold.h"
#include "shared/call_table.h"

static int
missing(struct api_error *error, const char *name)
{
	return api_error_set(error, API_MISSING_PARAMETER,
	    "Missing required parameter: %s", name);
}

static int
read_first_id(const cJSON *body, char first_id_out[CALL_ID_SIZE],
    struct api_error *error)
{
	const char *text;

	first_id_out[0] = '\0';
	if (api_field_text(body, "callId", &text, error) != 0)
		return -KAP_INVAL;
	if (text == NULL || *text == '\0')
		return missing(error, "callId");
	if (call_id_is_valid(text))
		memcpy(first_id_out, text, strlen(text) + 1);
	return 0;
}

static int
read_numbers(const cJSON *body, struct call_request *request,
    struct api_error *error)
{
	bool present;

	if (api_field_phone(body, "forwardNumber", request->number, &present,
	        error) != 0)
		return -KAP_INVAL;
	if (!present)
		return missing(error, "forwardNumber");
	return api_field_phone(body, "callerId", request->caller_id, &present,
	    error);
}

/* `timeout` is another word for ringTimeout, which goes before it. */
static int
read_ring_timeout(const cJSON *body, const struct config *config,
    struct call_request *request, struct api_error *error)
{
	int64_t ring_s = config->calls.ring_timeout_s;

	if (api_field_clamped(body, "timeout", ring_s,
	        config->calls.ring_timeout_min_s,
	        config->calls.ring_timeout_max_s, &ring_s, error) != 0 ||
	    api_field_clamped(body, "ringTimeout", ring_s,
	        config->calls.ring_timeout_min_s,
	        config->calls.ring_timeout_max_s, &ring_s, error) != 0)
		return -KAP_INVAL;
	request->ring_timeout_s = (uint16_t)ring_s;
	return 0;
}

int
forward_leg_read(const cJSON *body, const struct config *config,
    char first_id_out[CALL_ID_SIZE], struct call_request *request_out,
    struct api_error *error)
{
	memset(request_out, 0, sizeof(*request_out));
	if (read_first_id(body, first_id_out, error) != 0 ||
	    read_numbers(body, request_out, error) != 0)
		return -KAP_INVAL;
	return read_ring_timeout(body, config, request_out, error);
}

int
forward_leg_judge(struct store_txn *txn, const struct api_key *key,
    const char *first_id, enum api_code *code_out)
{
	struct call call;
	const int rc = control_find_call(txn, first_id, key, &call, code_out);

	if (rc == 0 && *code_out == API_OK &&
	    ((call.flags & CALL_F_SECOND_LEG) != 0 || call.other_id[0] != '\0'))
		*code_out = API_CALL_ALREADY_FORWARDED;
	return rc;
}

int
forward_leg_inherit(struct store_txn *txn, const char *first_id,
    struct call_request *request)
{
	struct call call;
	struct call_cold cold;
	int rc = call_table_get(txn, first_id, &call);

	if (rc == 0)
		rc = call_cold_get(txn, first_id, &cold);
	if (rc != 0)
		return rc;
	if (request->caller_id[0] == '\0')
		memcpy(request->caller_id, call.caller_id,
		    sizeof(request->caller_id));
	request->max_duration_s = call.max_duration_s;
	(void)snprintf(request->webhook_url, sizeof(request->webhook_url),
	    "%s", cold.webhook_url);
	(void)snprintf(request->metadata, sizeof(request->metadata), "%s",
	    cold.metadata);
	(void)snprintf(request->voice, sizeof(request->voice), "%s",
	    cold.voice);
	return 0;
}

void
forward_leg_mark(struct call *call, const char *first_id)
{
	call->flags |= CALL_F_SECOND_LEG;
	(void)snprintf(call->other_id, sizeof(call->other_id), "%s", first_id);
}
