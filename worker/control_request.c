/*
 * See control_request.h. A request lives until it is answered: in a job, in
 * the making of its speech, or among those that wait.
 */
#include "control_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call_json.h"
#include "control_wait.h"
#include "http_server.h"
#include "shared/call_cold.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "sounds.h"
#include "speech.h"

struct control {
	struct turn_job job;
	struct control_wait wait;
	const struct control_kind *kind;
	struct api *api;
	struct http_request *req;
	struct api_key key;
	struct control_body body;
	struct api_error fault; /* of the body; API_OK: there is none */
	int sound_rc;           /* of the look for its sound */
	struct account_rate rate;
	bool counted; /* `rate` is set, and committed */
	enum api_code verdict;
	char voice[CALL_VOICE_MAX + 1];
	struct call_play play; /* its media is empty until it is known */
	struct change change;
};

static_assert(SOUNDS_NAME_MAX + sizeof("sound:") <= CALL_PLAY_MEDIA_SIZE,
    "a sound's name fits a playback");

/* --- the answer: each of these frees the request -------------------------- */

static void
control_free(struct control *control)
{
	control_body_clear(&control->body);
	free(control);
}

static void
reply(struct control *control, const struct api_answer *answer)
{
	if (control->counted)
		api_add_rate_headers(control->req, &control->rate);
	api_reply(control->req, answer);
	control_free(control);
}

static void
reply_code(struct control *control, enum api_code code)
{
	struct api_answer answer;

	api_answer_error(&answer, code, cJSON_CreateObject());
	reply(control, &answer);
}

static void
reply_verdict(struct control *control)
{
	cJSON *tree = cJSON_CreateObject();
	struct api_answer answer;

	if (control->verdict == control->fault.code &&
	    control->fault.text[0] != '\0')
		(void)cJSON_AddStringToObject(tree, "error",
		    control->fault.text);
	api_answer_error(&answer, control->verdict, tree);
	reply(control, &answer);
}

static void
reply_done(struct control *control)
{
	char name[CALL_NAME_SIZE];
	const struct control_done done = {
		.body = &control->body,
		.playback_id = name,
		.method = call_play_target_name(
		    (enum call_play_target)control->play.target),
	};
	struct api_answer answer = {
		.status = 200,
		.tree = call_json_success(),
	};

	call_play_name(control->body.call_id, &control->play.id, name);
	control->kind->fill(&done, answer.tree);
	reply(control, &answer);
}

/* Nobody can tell yet whether it will be heard; its id tells which it is. */
static void
reply_unknown(struct control *control)
{
	cJSON *tree = cJSON_CreateObject();
	char name[CALL_NAME_SIZE];
	struct api_answer answer;

	call_play_name(control->body.call_id, &control->play.id, name);
	(void)cJSON_AddStringToObject(tree, "callId", control->body.call_id);
	(void)cJSON_AddStringToObject(tree, "playbackId", name);
	api_answer_error(&answer, API_TELEPHONY_TIMEOUT, tree);
	reply(control, &answer);
}

/* --- the transactions ----------------------------------------------------- */

int
control_find_call(struct store_txn *txn, const char *call_id,
    const struct api_key *key, struct call *call_out,
    enum api_code *verdict_out)
{
	const int rc = *call_id != '\0' ?
	    call_table_get(txn, call_id, call_out) : -KAP_NOENT;

	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (rc != 0 || !call_is_live(call_out) ||
	    call_out->key_id != key->id)
		*verdict_out = API_CALL_NOT_FOUND;
	else if (call_out->state != CALL_ANSWERED)
		*verdict_out = API_CALL_NOT_ANSWERED;
	else /* one that is being hung up is as good as gone */
		*verdict_out = (call_out->flags & CALL_F_HANGUP_SENT) != 0 ?
		    API_CALL_NOT_FOUND : API_OK;
	return 0;
}

/* The call's voice, for its speech. */
static int
take_voice(struct control *control, struct store_txn *txn)
{
	struct call_cold cold;
	const int rc = call_cold_get(txn, control->body.call_id, &cold);

	if (rc == 0)
		(void)snprintf(control->voice, sizeof(control->voice), "%s",
		    cold.voice);
	return rc;
}

static enum api_code
judge_process(const struct api *api)
{
	if (api->draining)
		return API_DRAINING;
	return api->links_up ? API_OK : API_TELEPHONY_UNAVAILABLE;
}

/* Whether there is a call that it can be played to now. */
static int
judge_call(struct control *control, struct store_txn *txn,
    struct call *call_out)
{
	struct call_play_id plays[CALL_PLAYS_ALL];
	/* what an interrupt stops needs no room any more */
	const int room = control->body.interrupt ? CALL_PLAYS_ALL :
	    CALL_PLAYS_MAX;
	int rc = control_find_call(txn, control->body.call_id, &control->key,
	    call_out, &control->verdict);

	if (rc != 0)
		return rc;
	if (control->verdict != API_CALL_NOT_FOUND &&
	    control->sound_rc == -KAP_NOENT)
		control->verdict = API_SOUND_NOT_FOUND;
	if (control->verdict != API_OK)
		return 0;
	rc = call_play_list(txn, call_out->id, plays, CALL_PLAYS_ALL);
	if (rc < 0)
		return rc;
	control->verdict = rc >= room ? API_PLAYBACK_QUEUE_FULL :
	    judge_process(control->api);
	return 0;
}

/* Have it played. */
static int
play(struct control *control, struct store_txn *txn, const struct call *call)
{
	const int64_t now_ms = clock_wall_ms();
	struct call_input input = {
		.kind = control->kind->input,
		.at_ms = now_ms,
		.play = &control->play,
		.gather = control->body.gather,
		.interrupt = control->body.interrupt,
	};
	int rc;

	control->play.version = CALL_PLAY_VERSION;
	control->play.state = CALL_PLAY_ASKED;
	control->play.target = (uint8_t)control->body.target;
	control->play.id.kind = (uint8_t)control->kind->play;
	control->play.id.ms = now_ms > call->play_ms ? now_ms :
	    call->play_ms + 1;
	input.play_id = control->play.id;
	rc = change_step(txn, control->api->maker, call->id, &input,
	    &control->change);
	if (rc == 0 && control->change.rc != 0)
		control->verdict = API_CALL_NOT_FOUND;
	return rc;
}

static int
apply_play(struct turn_job *job, struct store_txn *txn)
{
	struct control *control = (struct control *)job;
	struct call call;
	const int rc = judge_call(control, txn, &call);

	if (rc != 0 || control->verdict != API_OK)
		return rc;
	return play(control, txn, &call);
}

static int
apply_first(struct turn_job *job, struct store_txn *txn)
{
	struct control *control = (struct control *)job;
	struct account account;
	struct call call;
	int rc = api_count_request(txn, &control->key, &account,
	    &control->rate);

	if (rc != 0)
		return rc;
	control->verdict = control->rate.allowed ? control->fault.code :
	    API_RATE_LIMIT_EXCEEDED;
	if (control->verdict == API_OK)
		rc = judge_call(control, txn, &call);
	if (rc != 0 || control->verdict != API_OK)
		return rc;
	return control->body.text != NULL ? take_voice(control, txn) :
	    play(control, txn, &call);
}

/* --- after the commits ---------------------------------------------------- */

static void
on_over(struct control_wait *wait, enum control_outcome outcome)
{
	struct control *control = (struct control *)(void *)((char *)wait -
	    offsetof(struct control, wait));

	/* a gather goes on without its prompt: playback.failed tells of that */
	if ((outcome == CONTROL_REFUSED || outcome == CONTROL_GONE) &&
	    control->kind->input == CALL_IN_GATHER)
		outcome = CONTROL_TAKEN;
	/* the channel is the call; a bridge that failed isn't */
	if (outcome == CONTROL_GONE)
		outcome = control->play.target == CALL_PLAY_CHANNEL ?
		    CONTROL_ENDED : CONTROL_REFUSED;
	switch (outcome) {
	case CONTROL_TAKEN:
		reply_done(control);
		return;
	case CONTROL_REFUSED:
		reply_code(control, API_TELEPHONY_UNAVAILABLE);
		return;
	case CONTROL_ENDED:
		reply_code(control, API_CALL_NOT_FOUND);
		return;
	case CONTROL_GONE: /* is one of the others by now */
	case CONTROL_UNKNOWN:
		break;
	}
	reply_unknown(control);
}

/* It is in the outbox: Asterisk is to take it. */
static void
follow(struct control *control)
{
	/* it may be answered, and gone, while the change is followed */
	const struct change change = control->change;
	struct api *api = control->api;
	struct control_wait *wait = &control->wait;

	wait->over = on_over;
	wait->until_ms = clock_deadline_ms() +
	    api->config->asterisk.command_timeout_ms;
	wait->play = control->play.id;
	memcpy(wait->call_id, control->body.call_id, sizeof(wait->call_id));
	if (control_wait_add(api->controls, wait) != 0)
		reply_code(control, API_INTERNAL_ERROR);
	dispatch_follow(api->dispatch, &change);
}

/* What a transaction came to; false: it is answered. */
static bool
is_good(struct control *control, int rc)
{
	if (rc != 0) {
		control->fault.code = API_OK;
		control->verdict = api_code_of_store(rc);
		log_error("a call could not be played to",
		    LOG_S("call", control->body.call_id),
		    LOG_S("req", http_request_id(control->req)),
		    LOG_S("error", kap_strerror(rc)));
	}
	if (control->verdict == API_OK)
		return true;
	reply_verdict(control);
	return false;
}

static void
done_play(struct turn_job *job, int rc)
{
	struct control *control = (struct control *)job;

	if (is_good(control, rc))
		follow(control);
}

static enum api_code
code_of_speech(int rc)
{
	if (rc == -KAP_AGAIN)
		return API_OVERLOADED;
	if (rc == -KAP_INVAL)
		return API_TEXT_NOT_SPEAKABLE;
	return rc == -KAP_NOMEM ? API_INTERNAL_ERROR : API_SPEECH_UNAVAILABLE;
}

static void
on_speech(void *arg, int rc, const char *media)
{
	struct control *control = arg;

	if (rc != 0) {
		reply_code(control, code_of_speech(rc));
	} else if (http_request_is_gone(control->req)) {
		/* nobody reads it: what nobody waits for is not said */
		http_reply_empty(control->req, 204);
		control_free(control);
	} else if (strlen(media) >= sizeof(control->play.media)) {
		log_error("the path of speech is too long",
		    LOG_S("media", media));
		reply_code(control, API_INTERNAL_ERROR);
	} else {
		memcpy(control->play.media, media, strlen(media) + 1);
		control->job.apply = apply_play;
		control->job.done = done_play;
		turn_submit(control->api->turn, &control->job);
	}
}

static void
done_first(struct turn_job *job, int rc)
{
	struct control *control = (struct control *)job;

	control->counted = rc == 0;
	if (!is_good(control, rc))
		return;
	if (control->body.text == NULL) {
		follow(control);
		return;
	}
	rc = speech_request(control->api->speech, control->voice,
	    control->body.text, on_speech, control);
	if (rc != 0)
		reply_code(control, code_of_speech(rc));
}

/* --- the request ---------------------------------------------------------- */

/* What of the playback its body tells. */
static void
prepare_play(struct control *control)
{
	const struct control_body *body = &control->body;
	struct call_play *record = &control->play;

	if (body->text != NULL) {
		call_play_cut_text(body->text, record->text);
		return;
	}
	control->sound_rc = sounds_find(
	    control->api->config->asterisk.sounds_dirs, body->sound);
	record->is_sound = 1;
	(void)snprintf(record->media, sizeof(record->media), "sound:%s",
	    body->sound);
	(void)snprintf(record->text, sizeof(record->text), "%.100s",
	    body->sound);
}

void
control_request_begin(struct api *api, struct http_request *req,
    const struct api_key *key, const struct control_kind *kind)
{
	struct control *control = calloc(1, sizeof(*control));
	cJSON *body;

	if (control == NULL) {
		api_reply_code(req, API_INTERNAL_ERROR);
		return;
	}
	control->kind = kind;
	control->api = api;
	control->req = req;
	control->key = *key;
	if (api_read_body(req, &body, &control->fault) == 0) {
		if (kind->read(body, &control->body, &control->fault) == 0)
			prepare_play(control);
		cJSON_Delete(body);
	}
	control->job.apply = apply_first;
	control->job.done = done_first;
	turn_submit(api->turn, &control->job);
}
