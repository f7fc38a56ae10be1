/*
 * POST /forwardcall: a second leg is dialled for an answered call, by the
 * same way as any call (makecall.h). What is its own is the body
 * (forward_leg.h), and what the answer says of both legs.
 */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>

#include "api_makecall.h"
#include "call_request.h"
#include "forward_leg.h"
#include "makecall.h"

#define MESSAGE_SIZE (CALL_ID_SIZE + CALL_NUMBER_SIZE + 40)

struct forward {
	struct http_request *req;
	char first_id[CALL_ID_SIZE];
	struct call_request request;
};

/* Of an answer of /makecall, what /forwardcall doesn't say. */
static const char *const unsaid[] = { "amdEnabled", "voiceName" };

/* The id in the tree is the second leg's. */
static void
rename_id(cJSON *tree, const char *first_id)
{
	cJSON *second = cJSON_DetachItemFromObjectCaseSensitive(tree,
	    "callId");

	(void)cJSON_AddStringToObject(tree, "callId", first_id);
	if (second != NULL &&
	    !cJSON_AddItemToObject(tree, "forwardedCallId", second))
		cJSON_Delete(second);
}

static void
tell_of_both(const struct forward *forward, cJSON *tree)
{
	char message[MESSAGE_SIZE];

	(void)snprintf(message, sizeof(message),
	    "Call %s is being forwarded to %s", forward->first_id,
	    forward->request.number);
	(void)cJSON_AddStringToObject(tree, "message", message);
	(void)cJSON_AddStringToObject(tree, "forwardNumber",
	    forward->request.number);
	for (size_t i = 0; i < sizeof(unsaid) / sizeof(unsaid[0]); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(tree, unsaid[i]);
}

static void
answer(void *arg, struct api_answer *answer, const struct account_rate *rate)
{
	struct forward *forward = arg;

	/* also where an error names the call: it is the second leg */
	if (answer->tree != NULL && cJSON_GetObjectItemCaseSensitive(
	        answer->tree, "callId") != NULL)
		rename_id(answer->tree, forward->first_id);
	if (answer->tree != NULL && answer->status == 200)
		tell_of_both(forward, answer->tree);
	makecall_reply(forward->req, answer, rate);
	free(forward);
}

static void
read_request(struct forward *forward, struct makecall *makecall,
    const struct config *config)
{
	struct api_error *error = makecall_fault(makecall);
	const char *idempotency_key;
	cJSON *body;

	if (api_read_body(forward->req, &body, error) != 0)
		return;
	if (forward_leg_read(body, config, forward->first_id,
	        &forward->request, error) == 0 &&
	    api_makecall_read_key(forward->req, &idempotency_key, error) == 0)
		makecall_read_second(makecall, forward->first_id,
		    &forward->request, body, idempotency_key);
	cJSON_Delete(body);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	struct forward *forward = calloc(1, sizeof(*forward));
	struct makecall *makecall = forward == NULL ? NULL :
	    makecall_new(api, req, key, answer, forward);

	if (makecall == NULL) {
		free(forward);
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	forward->req = req;
	read_request(forward, makecall, api->config);
	makecall_submit(makecall);
}

void
api_forwardcall(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
