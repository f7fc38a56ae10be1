/*
 * What handlers share: the key of a request, errors, the rate limit.
 */
#include "api.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "api_fields.h"
#include "control_wait.h"
#include "http_server.h"
#include "shared/clock.h"

#define BASIC_MAX 512 /* of "Basic" credentials, encoded */

void
api_answer_error(struct api_answer *answer, enum api_code code, cJSON *tree)
{
	const struct api_code_row *row = api_code_row(code);

	(void)cJSON_AddBoolToObject(tree, "success", 0);
	if (cJSON_GetObjectItemCaseSensitive(tree, "error") == NULL)
		(void)cJSON_AddStringToObject(tree, "error", row->text);
	(void)cJSON_AddStringToObject(tree, "code", row->code);
	*answer = (struct api_answer){
		.status = row->status,
		.retry_after_s = row->retry_after_s,
		.tree = tree,
	};
}

void
api_reply(struct http_request *req, const struct api_answer *answer)
{
	char seconds[12];

	if (answer->retry_after_s > 0) {
		(void)snprintf(seconds, sizeof(seconds), "%d",
		    answer->retry_after_s);
		http_reply_add_header(req, "Retry-After", seconds);
	}
	if (answer->replayed)
		http_reply_add_header(req, "Idempotent-Replayed", "true");
	http_reply_json(req, answer->status, answer->tree);
}

void
api_reply_error_tree(struct http_request *req, enum api_code code,
    cJSON *tree)
{
	struct api_answer answer;

	api_answer_error(&answer, code, tree);
	api_reply(req, &answer);
}

void
api_reply_error(struct http_request *req, const struct api_error *error)
{
	cJSON *tree = cJSON_CreateObject();

	if (error->text[0] != '\0')
		(void)cJSON_AddStringToObject(tree, "error", error->text);
	api_reply_error_tree(req, error->code, tree);
}

void
api_reply_code(struct http_request *req, enum api_code code)
{
	api_reply_error_tree(req, code, cJSON_CreateObject());
}

enum api_code
api_code_of_store(int rc)
{
	return rc == -KAP_FULL ? API_OVERLOADED : API_INTERNAL_ERROR;
}

static enum api_code
code_of_fault(int status)
{
	switch (status) {
	case 400:
		return API_INVALID_JSON;
	case 413:
		return API_BODY_TOO_LARGE;
	case 415:
		return API_UNSUPPORTED_MEDIA_TYPE;
	default:
		return API_INTERNAL_ERROR;
	}
}

int
api_read_body(struct http_request *req, cJSON **body_out,
    struct api_error *error)
{
	struct http_fault fault;

	if (http_request_json(req, body_out, &fault) == 0)
		return 0;
	return api_error_set(error, code_of_fault(fault.status), "%s",
	    fault.text);
}

/* --- keys --------------------------------------------------------------- */

/* The password of "user:password" in base64; 0 if there is none. */
static size_t
decode_basic(const char *encoded, char *out, size_t size)
{
	const size_t len = strlen(encoded);
	unsigned char plain[BASIC_MAX];
	const char *colon;
	int plain_len;

	if (len == 0 || len > BASIC_MAX || len % 4 != 0)
		return 0;
	plain_len = EVP_DecodeBlock(plain, (const unsigned char *)encoded,
	    (int)len);
	if (plain_len <= 0)
		return 0;
	/* the padding decodes to NULs, and no key has one */
	while (plain_len > 0 && plain[plain_len - 1] == '\0')
		plain_len--;
	colon = memchr(plain, ':', (size_t)plain_len);
	if (colon == NULL)
		return 0;
	plain_len -= (int)((const unsigned char *)colon + 1 - plain);
	if (plain_len <= 0 || (size_t)plain_len > size)
		return 0;
	memcpy(out, colon + 1, (size_t)plain_len);
	return (size_t)plain_len;
}

/* The key's text out of the Authorization header; 0 if it has none. */
static size_t
read_key(struct http_request *req, char *out, size_t size)
{
	const char *header = http_request_header(req, "Authorization");
	size_t len;

	if (header == NULL)
		return 0;
	if (strncasecmp(header, "Basic ", 6) == 0)
		return decode_basic(header + 6 + strspn(header + 6, " "), out,
		    size);
	if (strncasecmp(header, "Bearer ", 7) != 0)
		return 0;
	header += 7 + strspn(header + 7, " ");
	len = strlen(header);
	if (len > size) {
		/* too long for any key, and so an unknown one */
		out[0] = '?';
		return 1;
	}
	memcpy(out, header, len);
	return len;
}

/* A request that waits for its key. */
struct key_wait {
	struct api *api;
	struct http_request *req;
	api_key_fn *fn;
};

static void
on_key(void *arg, int rc, const struct api_key *key,
    const uint8_t hash[API_KEY_HASH_SIZE])
{
	const struct key_wait wait = *(struct key_wait *)arg;

	(void)hash;
	free(arg);
	if (rc == 0)
		wait.fn(wait.api, wait.req, key);
	else if (rc == -KAP_NOENT)
		api_reply_code(wait.req, API_UNAUTHORIZED_KEY);
	else if (rc == -KAP_AGAIN)
		api_reply_code(wait.req, API_DATABASE_UNAVAILABLE);
	else
		api_reply_code(wait.req, api_code_of_store(rc));
}

void
api_with_key(struct api *api, struct http_request *req, api_key_fn *fn)
{
	char text[API_KEY_TEXT_MAX];
	const size_t len = read_key(req, text, sizeof(text));
	struct key_wait *wait;

	if (len == 0) {
		http_reply_add_header(req, "WWW-Authenticate", "Bearer");
		api_reply_code(req, API_UNAUTHORIZED_HEADER);
		return;
	}
	wait = malloc(sizeof(*wait));
	if (wait == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	wait->api = api;
	wait->req = req;
	wait->fn = fn;
	key_lookup_find(api->keys, text, len, on_key, wait);
}

/* --- the rate limit ------------------------------------------------------ */

int
api_count_request(struct store_txn *txn, const struct api_key *key,
    struct account *account_out, struct account_rate *rate_out)
{
	const int64_t now_ms = clock_wall_ms();
	const int rc = account_get(txn, key->id, account_out);

	if (rc != 0)
		return rc;
	account_count(account_out, key->rate_limit, 1, now_ms, rate_out);
	account_out->last_used_ms = now_ms;
	return account_put(txn, key->id, account_out);
}

int
api_rate_wait_s(const struct account_rate *rate)
{
	const int64_t wait_s = (rate->reset_ms - clock_wall_ms() + 999) / 1000;

	return wait_s > 1 ? (int)wait_s : 1;
}

void
api_add_rate_headers(struct http_request *req,
    const struct account_rate *rate)
{
	const int wait_s = api_rate_wait_s(rate);
	char text[64];

	if (rate->limit == 0)
		return;
	(void)snprintf(text, sizeof(text), "\"hour\";q=%u;w=3600",
	    rate->limit);
	http_reply_add_header(req, "RateLimit-Policy", text);
	(void)snprintf(text, sizeof(text), "\"hour\";r=%u;t=%d",
	    rate->remaining, wait_s);
	http_reply_add_header(req, "RateLimit", text);
	(void)snprintf(text, sizeof(text), "%u", rate->limit);
	http_reply_add_header(req, "X-RateLimit-Limit", text);
	(void)snprintf(text, sizeof(text), "%u", rate->remaining);
	http_reply_add_header(req, "X-RateLimit-Remaining", text);
	(void)snprintf(text, sizeof(text), "%" PRId64,
	    (rate->reset_ms + 999) / 1000);
	http_reply_add_header(req, "X-RateLimit-Reset", text);
	if (!rate->allowed) {
		(void)snprintf(text, sizeof(text), "%d", wait_s);
		http_reply_add_header(req, "Retry-After", text);
	}
}

/* --- who waits ------------------------------------------------------------ */

void
api_call_changed(struct api *api, const struct change *change)
{
	waiters_call_changed(api, change);
	control_call_changed(api, change);
}
