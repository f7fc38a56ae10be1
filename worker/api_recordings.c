/*
 * POST /recordings/:callId/stop: ends the recording of a live call, which goes
 * on. Not on the list of the limited paths.
 */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call_json.h"
#include "http_server.h"
#include "shared/clock.h"
#include "shared/log.h"

struct stop {
	struct turn_job job;
	struct api *api;
	struct http_request *req;
	uint32_t key_id;
	char call_id[CALL_ID_SIZE]; /* empty: no call has such a one */
	struct change change; /* rc is 0 only where a recording is stopped */
};

static int
apply_stop(struct turn_job *job, struct store_txn *txn)
{
	struct stop *stop = (struct stop *)job;
	const struct call_input input = {
		.kind = CALL_IN_RECORD_STOP,
		.at_ms = clock_wall_ms(),
	};
	struct call call;
	int rc = stop->call_id[0] != '\0' ?
	    call_table_get(txn, stop->call_id, &call) : -KAP_NOENT;

	stop->change.rc = -KAP_NOENT;
	if (rc == -KAP_NOENT)
		return 0;
	if (rc == 0 && call.key_id == stop->key_id)
		rc = change_step(txn, stop->api->maker, call.id, &input,
		    &stop->change);
	return rc;
}

static void
answer(const struct stop *stop)
{
	char name[CALL_RECORDING_SIZE];
	char filename[CALL_RECORDING_SIZE + 8];
	cJSON *tree = call_json_success();

	call_recording_name(&stop->change.step.call, name);
	(void)snprintf(filename, sizeof(filename), "%s.wav", name);
	(void)cJSON_AddStringToObject(tree, "message",
	    "Recording stopped successfully");
	(void)cJSON_AddStringToObject(tree, "filename", filename);
	(void)cJSON_AddStringToObject(tree, "recordingId", name);
	http_reply_json(stop->req, 200, tree);
}

static void
done_stop(struct turn_job *job, int rc)
{
	struct stop *stop = (struct stop *)job;

	if (rc != 0) {
		log_error("a recording could not be stopped",
		    LOG_S("call", stop->call_id),
		    LOG_S("req", http_request_id(stop->req)),
		    LOG_S("error", kap_strerror(rc)));
		api_reply_code(stop->req, api_code_of_store(rc));
	} else if (stop->change.rc != 0) {
		api_reply_code(stop->req, API_RECORDING_NOT_FOUND);
	} else {
		answer(stop);
		dispatch_follow(stop->api->dispatch, &stop->change);
	}
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
	stop->key_id = key->id;
	if (call_id != NULL && call_id_is_valid(call_id))
		memcpy(stop->call_id, call_id, strlen(call_id) + 1);
	stop->job.apply = apply_stop;
	stop->job.done = done_stop;
	turn_submit(api->turn, &stop->job);
}

void
api_stop_recording(struct http_request *req, void *ctx)
{
	api_with_key(ctx, req, on_key);
}
