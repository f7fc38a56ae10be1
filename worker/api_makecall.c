/*
 * POST /makecall: one call for one request (makecall.h).
 */
#include "api.h"

#include "api_fields.h"
#include "api_makecall.h"
#include "http_server.h"
#include "makecall.h"
#include "shared/idempotency.h"

#define KEY_HEADER "Idempotency-Key"

static void
answer(void *arg, struct api_answer *answer, const struct account_rate *rate)
{
	makecall_reply(arg, answer, rate);
}

int
api_makecall_read_key(struct http_request *req, const char **text_out,
    struct api_error *error)
{
	const char *text = http_request_header(req, KEY_HEADER);

	*text_out = text;
	if (text == NULL)
		return 0;
	if (http_request_header_count(req, KEY_HEADER) > 1)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: " KEY_HEADER " came more than once");
	if (!idempotency_text_is_valid(text))
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: " KEY_HEADER
		    " must have 1 to %d printable characters",
		    IDEMPOTENCY_TEXT_MAX);
	return 0;
}

void
api_makecall_one(struct api *api, struct http_request *req,
    const struct api_key *key, const cJSON *body,
    const struct api_error *fault)
{
	struct makecall *makecall = makecall_new(api, req, key, answer, req);
	const char *idempotency_key;
	struct api_error *error;

	if (makecall == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	error = makecall_fault(makecall);
	if (body == NULL)
		*error = *fault;
	else if (api_makecall_read_key(req, &idempotency_key, error) == 0)
		makecall_read(makecall, body, idempotency_key);
	makecall_submit(makecall);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	struct api_error fault = { .code = API_OK };
	cJSON *body = NULL;

	if (api_read_body(req, &body, &fault) != 0)
		body = NULL;
	api_makecall_one(api, req, key, body, &fault);
	cJSON_Delete(body);
}

void
api_makecall(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
