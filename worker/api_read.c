/*
 * What only looks: GET /calls, GET /calls/:callId, GET /api/me. One short
 * read transaction each.
 */
#include "api.h"

#include <string.h>

#include "call_json.h"
#include "http_server.h"
#include "shared/clock.h"

#define LIST_BATCH 64

/* A call's voice; the empty text where its cold record can't be read. */
static const char *
voice_of(struct store_txn *txn, const struct call *call)
{
	struct call_cold cold;

	return call_cold_get(txn, call->id, &cold) == 0 ? cold.voice : "";
}

static int
list_calls(struct store_txn *txn, uint32_t key_id, cJSON *list)
{
	struct call calls[LIST_BATCH];
	char after[CALL_ID_SIZE] = "";
	int count;

	do {
		count = call_table_list(txn, key_id, after, calls, LIST_BATCH);
		for (int i = 0; i < count; i++) {
			(void)cJSON_AddItemToArray(list, call_json_list_item(
			    &calls[i], voice_of(txn, &calls[i])));
			memcpy(after, calls[i].id, sizeof(after));
		}
	} while (count == LIST_BATCH);
	return count < 0 ? count : 0;
}

static void
on_list_key(struct api *api, struct http_request *req,
    const struct api_key *key)
{
	cJSON *tree = call_json_success();
	cJSON *list = cJSON_CreateArray();
	struct store_txn *txn;
	int count;
	int rc = store_begin_read(api->store, &txn);

	if (rc == 0) {
		rc = list_calls(txn, key->id, list);
		store_end_read(&txn);
	}
	if (rc != 0) {
		cJSON_Delete(tree);
		cJSON_Delete(list);
		api_reply_code(req, api_code_of_store(rc));
		return;
	}
	count = cJSON_GetArraySize(list);
	(void)cJSON_AddNumberToObject(tree, "totalCalls", count);
	(void)cJSON_AddNumberToObject(tree, "activeCalls", count);
	(void)cJSON_AddItemToObject(tree, "calls", list);
	call_json_add_timestamp(tree);
	http_reply_json(req, 200, tree);
}

void
api_list_calls(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_list_key);
}

static void
on_show_key(struct api *api, struct http_request *req,
    const struct api_key *key)
{
	const char *call_id = http_request_param(req, "callId");
	cJSON *tree = NULL;
	struct store_txn *txn;
	struct call call;
	int rc = call_id_is_valid(call_id) ? 0 : -KAP_NOENT;

	if (rc == 0)
		rc = store_begin_read(api->store, &txn);
	if (rc == 0) {
		rc = call_table_get(txn, call_id, &call);
		if (rc == 0 && (!call_is_live(&call) || call.key_id != key->id))
			rc = -KAP_NOENT;
		if (rc == 0)
			tree = call_json_detail(&call, voice_of(txn, &call));
		store_end_read(&txn);
	}
	if (rc == 0)
		http_reply_json(req, 200, tree);
	else if (rc == -KAP_NOENT)
		api_reply_code(req, API_CALL_NOT_FOUND);
	else
		api_reply_code(req, api_code_of_store(rc));
}

void
api_show_call(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_show_key);
}

static void
add_time_or_null(cJSON *tree, const char *name, int64_t ms)
{
	char text[CLOCK_ISO_SIZE];

	if (ms == 0) {
		(void)cJSON_AddNullToObject(tree, name);
		return;
	}
	clock_format_iso(ms, text);
	(void)cJSON_AddStringToObject(tree, name, text);
}

/* What PostgreSQL has, and what it does not have yet. */
static cJSON *
render_me(const struct api_key *key, const struct account *account)
{
	const int64_t calls = key->total_calls + account->live +
	    (int64_t)(account->calls - key->calls_posted);
	const int64_t answered = key->successful_calls +
	    (int64_t)(account->charges - key->charges_posted);
	cJSON *tree = call_json_success();
	cJSON *me = cJSON_AddObjectToObject(tree, "apiKey");

	(void)cJSON_AddNumberToObject(me, "id", key->id);
	(void)cJSON_AddStringToObject(me, "keyId", key->key_id);
	(void)cJSON_AddStringToObject(me, "name", key->name);
	(void)cJSON_AddNumberToObject(me, "credits",
	    (double)account_credits(account, key));
	(void)cJSON_AddNumberToObject(me, "totalCalls", (double)calls);
	(void)cJSON_AddNumberToObject(me, "successfulCalls",
	    (double)answered);
	(void)cJSON_AddNumberToObject(me, "rateLimit", key->rate_limit);
	add_time_or_null(me, "createdAt", key->created_ms);
	add_time_or_null(me, "lastUsed",
	    account->last_used_ms > key->last_used_ms
	    ? account->last_used_ms : key->last_used_ms);
	return tree;
}

static void
on_me_key(struct api *api, struct http_request *req,
    const struct api_key *key)
{
	struct store_txn *txn;
	struct account account;
	int rc = store_begin_read(api->store, &txn);

	if (rc == 0) {
		rc = account_get(txn, key->id, &account);
		store_end_read(&txn);
	}
	if (rc != 0)
		api_reply_code(req, api_code_of_store(rc));
	else
		http_reply_json(req, 200, render_me(key, &account));
}

void
api_me(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_me_key);
}
