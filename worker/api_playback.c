/*
 * DELETE /calls/:callId/playback: stops what plays, and what is queued behind
 * it. A gather goes on.
 */
#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "call_json.h"
#include "control_request.h"
#include "http_server.h"
#include "shared/clock.h"
#include "shared/log.h"

struct stop {
	struct turn_job job;
	struct api *api;
	struct http_request *req;
	struct api_key key;
	char call_id[CALL_ID_SIZE]; /* empty: no call has such a one */
	struct account_rate rate;
	enum api_code verdict;
	int stopped;
	struct change change;
};

static int
stop_plays(struct stop *stop, struct store_txn *txn)
{
	const struct call_input input = {
		.kind = CALL_IN_STOP_PLAYS,
		.at_ms = clock_wall_ms(),
	};
	struct call_play_id plays[CALL_PLAYS_ALL];
	struct call call;
	int rc = control_find_call(txn, stop->call_id, &stop->key, &call,
	    &stop->verdict);

	if (rc != 0 || stop->verdict != API_OK)
		return rc;
	stop->stopped = call_play_list(txn, call.id, plays, CALL_PLAYS_ALL);
	if (stop->stopped < 0)
		return stop->stopped;
	rc = change_step(txn, stop->api->maker, call.id, &input,
	    &stop->change);
	if (rc == 0 && stop->change.rc != 0)
		stop->verdict = API_CALL_NOT_FOUND;
	return rc;
}

static int
apply_stop(struct turn_job *job, struct store_txn *txn)
{
	struct stop *stop = (struct stop *)job;
	struct account account;
	const int rc = api_count_request(txn, &stop->key, &account,
	    &stop->rate);

	if (rc != 0)
		return rc;
	stop->verdict = stop->rate.allowed ? API_OK : API_RATE_LIMIT_EXCEEDED;
	return stop->verdict == API_OK ? stop_plays(stop, txn) : 0;
}

static void
answer(const struct stop *stop)
{
	cJSON *tree;

	if (stop->verdict != API_OK) {
		api_reply_code(stop->req, stop->verdict);
		return;
	}
	tree = call_json_success();
	(void)cJSON_AddStringToObject(tree, "message", "Playback stopped");
	(void)cJSON_AddStringToObject(tree, "callId", stop->call_id);
	(void)cJSON_AddNumberToObject(tree, "stopped", stop->stopped);
	http_reply_json(stop->req, 200, tree);
}

static void
done_stop(struct turn_job *job, int rc)
{
	struct stop *stop = (struct stop *)job;

	if (rc != 0) {
		stop->verdict = api_code_of_store(rc);
		log_error("a playback could not be stopped",
		    LOG_S("call", stop->call_id),
		    LOG_S("req", http_request_id(stop->req)),
		    LOG_S("error", kap_strerror(rc)));
	} else {
		api_add_rate_headers(stop->req, &stop->rate);
	}
	answer(stop);
	if (stop->verdict == API_OK)
		dispatch_follow(stop->api->dispatch, &stop->change);
	free(stop);
}

static void
on_key(struct api *api, struct http_request *req, const struct api_key *key)
{
	const char *call_id = http_request_param(req, "callId");
	struct stop *stop = calloc(1, sizeof(*stop));

	if (stop == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	stop->api = api;
	stop->req = req;
	stop->key = *key;
	if (call_id != NULL && call_id_is_valid(call_id))
		memcpy(stop->call_id, call_id, strlen(call_id) + 1);
	stop->job.apply = apply_stop;
	stop->job.done = done_stop;
	turn_submit(api->turn, &stop->job);
}

void
api_stop_plays(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
