/*
 * GET /health, GET /ready and the admin listener's GET /metrics: need no key,
 * and answer while PostgreSQL and Asterisk are away.
 */
#include "api.h"

#include <stdlib.h>

#include "call_json.h"
#include "http_server.h"
#include "shared/clock.h"
#include "shared/stats.h"
#include "shared/stats_text.h"
#include "speech_engine.h"

#define SERVICE_NAME "Kaphila API Telephony API"
#define API_VERSION "2.0.0" /* of the API's reference, not of this program */

static uint64_t
count_live_calls(struct api *api)
{
	struct store_txn *txn;
	uint64_t count = 0;

	if (store_begin_read(api->store, &txn) != 0)
		return 0;
	if (call_table_live_count(txn, &count) != 0)
		count = 0;
	store_end_read(&txn);
	return count;
}

void
api_health(struct http_request *req, void *ctx)
{
	struct api *api = ctx;
	char engines[SPEECH_LABELS_SIZE];
	cJSON *tree = cJSON_CreateObject();
	cJSON *stats;
	cJSON *features;

	(void)cJSON_AddStringToObject(tree, "status", "healthy");
	(void)cJSON_AddStringToObject(tree, "service", SERVICE_NAME);
	(void)cJSON_AddStringToObject(tree, "version", API_VERSION);
	call_json_add_timestamp(tree);
	stats = cJSON_AddObjectToObject(tree, "stats");
	(void)cJSON_AddNumberToObject(stats, "activeCalls",
	    (double)count_live_calls(api));
	features = cJSON_AddObjectToObject(tree, "features");
	(void)cJSON_AddStringToObject(features, "recording", "bridge-only");
	(void)cJSON_AddStringToObject(features, "amd",
	    api->has_amd ? "enhanced" : "none");
	speech_engines_describe(api->config, engines);
	(void)cJSON_AddStringToObject(features, "tts", engines);
	(void)cJSON_AddStringToObject(features, "playback", "bridge-safe");
	http_reply_json(req, 200, tree);
}

/* The first thing that is missing names the error. */
static void
miss(cJSON *missing, enum api_code code, const char *what,
    enum api_code *first)
{
	(void)cJSON_AddItemToArray(missing, cJSON_CreateString(what));
	if (*first == API_OK)
		*first = code;
}

void
api_ready(struct http_request *req, void *ctx)
{
	struct api *api = ctx;
	enum api_code first = API_OK;
	cJSON *tree = cJSON_CreateObject();
	cJSON *missing = cJSON_AddArrayToObject(tree, "missing");

	if (!api->links_up)
		miss(missing, API_TELEPHONY_UNAVAILABLE, "asterisk", &first);
	if (!key_lookup_is_up(api->keys))
		miss(missing, API_DATABASE_UNAVAILABLE, "postgresql", &first);
	if (api->overloaded)
		miss(missing, API_OVERLOADED, "room in the call table",
		    &first);
	if (api->draining || atomic_load(&stats_node()->paused) != 0)
		miss(missing, API_DRAINING, "draining", &first);
	(void)cJSON_AddBoolToObject(tree, "ready", first == API_OK);
	if (first != API_OK) {
		(void)cJSON_AddStringToObject(tree, "error", "Not ready");
		api_reply_error_tree(req, first, tree);
		return;
	}
	(void)cJSON_AddBoolToObject(tree, "success", 1);
	call_json_add_timestamp(tree);
	http_reply_json(req, 200, tree);
}

/* All metrics as a text of its own, *len_out bytes; NULL: out of memory. */
static char *
render_metrics(const struct api *api, size_t *len_out)
{
	const struct stats_about about = {
		.version = KAPHILA_VERSION,
		.node = api->config->node.id,
		.durability =
		    (enum config_durability)api->config->store.durability,
	};
	char *text = NULL;
	FILE *out = open_memstream(&text, len_out);
	int rc;

	if (out == NULL)
		return NULL;
	rc = stats_text_render(stats_mapped(), &about, clock_boot_ms(),
	    clock_wall_ms(), out);
	if (fclose(out) == 0 && rc == 0)
		return text;
	free(text);
	return NULL;
}

void
api_metrics(struct http_request *req, void *ctx)
{
	size_t len;
	char *text = render_metrics(ctx, &len);

	if (text == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	http_reply_text(req, 200, STATS_TEXT_TYPE, text, len);
	free(text);
}
