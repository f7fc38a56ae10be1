/*
 * POST /hangup: ends a call in whatever state it is.
 */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_fields.h"
#include "call_json.h"
#include "http_server.h"
#include "shared/clock.h"
#include "shared/log.h"

struct hangup {
	struct turn_job job;
	struct api *api;
	struct http_request *req;
	struct api_key key;
	char call_id[CALL_ID_SIZE];
	struct api_error body_error; /* API_OK: there is none */
	struct account_rate rate;
	enum api_code verdict;
	struct change change;
};

/* Is there such a live call, and is it this key's? */
static int
find_call(struct store_txn *txn, const struct hangup *hangup,
    enum api_code *verdict_out)
{
	struct call call;
	const int rc = call_table_get(txn, hangup->call_id, &call);

	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	*verdict_out = rc == 0 && call_is_live(&call) &&
	    call.key_id == hangup->key.id ? API_OK : API_CALL_NOT_FOUND;
	return 0;
}

static int
apply_hangup(struct turn_job *job, struct store_txn *txn)
{
	struct hangup *hangup = (struct hangup *)job;
	const struct call_input input = {
		.kind = CALL_IN_HANGUP,
		.at_ms = clock_wall_ms(),
	};
	struct account account;
	int rc = api_count_request(txn, &hangup->key, &account,
	    &hangup->rate);

	if (rc != 0)
		return rc;
	if (!hangup->rate.allowed)
		hangup->verdict = API_RATE_LIMIT_EXCEEDED;
	else if (hangup->body_error.code != API_OK)
		hangup->verdict = hangup->body_error.code;
	else
		rc = find_call(txn, hangup, &hangup->verdict);
	if (rc != 0 || hangup->verdict != API_OK)
		return rc;
	return change_step(txn, hangup->api->maker, hangup->call_id, &input,
	    &hangup->change);
}

static void
answer(struct hangup *hangup)
{
	char message[CALL_ID_SIZE + 32];
	cJSON *tree;

	if (hangup->verdict == hangup->body_error.code &&
	    hangup->verdict != API_OK) {
		api_reply_error(hangup->req, &hangup->body_error);
		return;
	}
	if (hangup->verdict != API_OK) {
		api_reply_code(hangup->req, hangup->verdict);
		return;
	}
	tree = call_json_success();
	(void)snprintf(message, sizeof(message), "Call %s terminated",
	    hangup->call_id);
	(void)cJSON_AddStringToObject(tree, "message", message);
	(void)cJSON_AddStringToObject(tree, "callId", hangup->call_id);
	http_reply_json(hangup->req, 200, tree);
}

static void
done_hangup(struct turn_job *job, int rc)
{
	struct hangup *hangup = (struct hangup *)job;

	if (rc != 0) {
		hangup->body_error.code = API_OK;
		hangup->verdict = api_code_of_store(rc);
		log_error("a call could not be hung up",
		    LOG_S("req", http_request_id(hangup->req)),
		    LOG_S("error", kap_strerror(rc)));
	} else {
		api_add_rate_headers(hangup->req, &hangup->rate);
	}
	answer(hangup);
	if (rc == 0 && hangup->verdict == API_OK)
		dispatch_follow(hangup->api->dispatch, &hangup->change);
	free(hangup);
}

/* The call's id out of the body; an odd one is a call that isn't there. */
static void
read_call_id(struct hangup *hangup, const cJSON *body)
{
	const char *text;

	if (api_field_text(body, "callId", &text, &hangup->body_error) != 0)
		return;
	if (text == NULL || *text == '\0')
		(void)api_error_set(&hangup->body_error,
		    API_MISSING_PARAMETER,
		    "Missing required parameter: callId");
	else if (!call_id_is_valid(text))
		(void)api_error_set(&hangup->body_error, API_CALL_NOT_FOUND,
		    NULL);
	else
		memcpy(hangup->call_id, text, strlen(text) + 1);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	struct hangup *hangup = calloc(1, sizeof(*hangup));
	cJSON *body;

	if (hangup == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	hangup->api = api;
	hangup->req = req;
	hangup->key = *key;
	if (api_read_body(req, &body, &hangup->body_error) == 0) {
		read_call_id(hangup, body);
		cJSON_Delete(body);
	}
	hangup->job.apply = apply_hangup;
	hangup->job.done = done_hangup;
	turn_submit(api->turn, &hangup->job);
}

void
api_hangup(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
