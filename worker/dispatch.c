/*
 * Life of a command in this process:
 *
 *     taken ──send──▶ ASKED ──reply──▶ settled (change_settle)
 *                       │ no, not now        └─▶ LATER ──1 s──▶ taken anew
 *                       │ link lost, no reply: forgotten here, and found
 *                       ▼ again by dispatch_resume
 *              originate: GET the channel ─┬─ there: settled
 *              play: likewise, the         └─ not there: once Asterisk is
 *                       playback                through with the connection
 *                       (command_fence.h), GET it again; still not there:
 *                       PROBED, 500 ms for events still under way, then taken
 *                       anew, unless one has come: a phone must not ring
 *                       twice, nothing is to be heard twice
 *              all else: taken anew, for saying it again does no harm
 *
 * Here is what happens to a command that this process took; taking up what
 * was left behind is dispatch_resume.c's.
 */
#include "dispatch_internal.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "ari_say.h"
#include "shared/child.h"
#include "shared/clock.h"
#include "shared/crash_point.h"
#include "shared/log.h"
#include "shared/stats.h"

#define LATER_MS 1000

static void send_item(struct dispatch *dispatch,
    const struct outbox_item *item);

static int
compare_sent(const void *a, const void *b)
{
	const struct sent *left = a;
	const struct sent *right = b;
	const int order = strcmp(left->call_id, right->call_id);

	if (order != 0)
		return order;
	return (left->seq > right->seq) - (left->seq < right->seq);
}

bool
dispatch_is_under_way(const struct dispatch *dispatch,
    const char call_id[CALL_ID_SIZE], uint32_t seq)
{
	struct sent wanted = { .seq = seq };

	memcpy(wanted.call_id, call_id, sizeof(wanted.call_id));
	return tfind(&wanted, &dispatch->sent, compare_sent) != NULL;
}

struct sent *
dispatch_sent_new(struct dispatch *dispatch, const char call_id[CALL_ID_SIZE],
    unsigned slot, const struct command *command)
{
	struct sent *sent = calloc(1, sizeof(*sent));

	if (sent == NULL)
		return NULL;
	sent->dispatch = dispatch;
	sent->kind = (enum call_command_kind)command->kind;
	sent->attempt = command->attempt;
	sent->play = command->play;
	sent->tries = command->tries;
	sent->slot = slot;
	sent->taker_slot = command->slot;
	sent->connection = command->connection;
	sent->seq = command->seq;
	sent->taken_ms = command->taken_ms;
	memcpy(sent->call_id, call_id, sizeof(sent->call_id));
	sent->listed = command->state != COMMAND_WAITING;
	if (sent->listed) {
		struct sent **node = tsearch(sent, &dispatch->sent,
		    compare_sent);

		if (node == NULL || *node != sent) {
			free(sent);
			return NULL;
		}
	}
	dispatch->sent_count++;
	return sent;
}

void
dispatch_sent_free(struct sent *sent)
{
	struct dispatch *dispatch = sent->dispatch;

	if (sent->listed)
		(void)tdelete(sent, &dispatch->sent, compare_sent);
	dispatch->sent_count--;
	command_fence_cancel(&sent->fence);
	if (sent->timer != NULL)
		event_free(sent->timer);
	free(sent);
}

/* --- what follows from a change ------------------------------------- */

/* Whoever looks after a slot's calls has something to do about them. */
static void
wake_owner(const struct dispatch *dispatch, unsigned slot)
{
	const unsigned owner = stats_slot_owner(slot);

	if (owner == dispatch->options.maker->slot && !dispatch->relieved)
		dispatch->options.timers_changed(dispatch->options.ctx);
	else
		child_bell_ring(CHILD_BELL_WORKER + owner);
}

static void
note_reroute(const struct call *call)
{
	stats_add(STATS_reroutes, 1);
	log_info("a call goes on on its next trunk", LOG_S("call", call->id),
	    LOG_I("attempt", call->attempt),
	    LOG_I("cause", call->hangup_cause), LOG_I("sip", call->sip_code));
}

static void
ring(const struct dispatch *dispatch, const struct call_step *step)
{
	const struct dispatch_options *options = &dispatch->options;

	if ((step->rings & CALL_RING_WEBHOOKD) != 0)
		child_bell_ring(CHILD_BELL_WEBHOOKD);
	if ((step->rings & CALL_RING_RECORDER) != 0)
		child_bell_ring(CHILD_BELL_RECORDER);
	if ((step->rings & CALL_RING_LEDGER) != 0)
		options->ledger_grew(options->ctx);
	if ((step->rings & CALL_RING_OWNER) != 0)
		wake_owner(dispatch, step->call.slot);
	if ((step->rings & CALL_RING_REROUTED) != 0)
		note_reroute(&step->call);
}

static void
note_rest(const struct change *change)
{
	if (change->step.rested[0] == '\0')
		return;
	stats_add(STATS_trunk_rests, 1);
	log_warn("a trunk rests, for its calls fail",
	    LOG_S("trunk", change->step.rested),
	    LOG_S("call", change->step.call.id));
}

static void
trace(const struct change *change)
{
	const struct call *call = &change->step.call;

	if (change->step.state_before == (enum call_state)call->state)
		return;
	log_debug("call moved", LOG_S("call", call->id),
	    LOG_S("from", call_state_name(change->step.state_before)),
	    LOG_S("to", call_state_name((enum call_state)call->state)));
}

static void
follow_leg(struct dispatch *dispatch, const struct change *change)
{
	if (change->step.rings != 0)
		ring(dispatch, &change->step);
	if (change->has_item)
		send_item(dispatch, &change->item);
	if (change->rc != 0 || change->step.call.id[0] == '\0')
		return;
	trace(change);
	dispatch->options.watch(dispatch->options.ctx, change);
}

void
dispatch_follow(struct dispatch *dispatch, const struct change *change)
{
	struct change other;

	note_rest(change);
	follow_leg(dispatch, change);
	if (change_split_other(change, &other))
		follow_leg(dispatch, &other);
}

/* --- jobs: the second half of each frees `sent` ----------------------- */

/*
 * An originate's reply that changed nothing, for the call's events came first:
 * whoever waits for the call may have heard of them, or else another process
 * read them.
 */
static bool
is_late_originate(const struct sent *sent)
{
	return sent->kind == CALL_CMD_ORIGINATE && sent->has_input &&
	    (sent->change.rc != 0 ||
	    sent->change.step.state_before > CALL_QUEUED);
}

/*
 * The same of a playback: its events came first, or its call is over. Who has
 * asked for it may hear of neither.
 */
static bool
is_late_play(const struct sent *sent)
{
	return sent->kind == CALL_CMD_PLAY && sent->has_input &&
	    sent->change.rc != 0;
}

static void
finish_sent(struct turn_job *job, int rc)
{
	struct sent *sent = (struct sent *)job;
	struct dispatch *dispatch = sent->dispatch;
	struct change change = sent->change;

	change.reply_status = sent->reply_status;
	if (rc == 0 && (is_late_originate(sent) || is_late_play(sent)))
		dispatch->options.originate_known(dispatch->options.ctx,
		    sent->call_id);
	if (rc != 0)
		log_error("a command's outcome could not be stored",
		    LOG_S("call", sent->call_id),
		    LOG_S("command", call_command_name(sent->kind)),
		    LOG_S("error", kap_strerror(rc)));
	dispatch_sent_free(sent);
	if (rc == 0)
		dispatch_follow(dispatch, &change);
}

void
dispatch_submit(struct sent *sent,
    int (*apply)(struct turn_job *job, struct store_txn *txn))
{
	sent->job.apply = apply;
	sent->job.done = finish_sent;
	/* a client waits for an originate's reply */
	if (sent->kind == CALL_CMD_ORIGINATE)
		turn_submit(sent->dispatch->options.turn, &sent->job);
	else
		turn_submit_lazily(sent->dispatch->options.turn, &sent->job);
}

int
dispatch_apply_settle(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;

	return change_settle(txn, sent->dispatch->options.maker, sent->call_id,
	    sent->seq, sent->has_input ? &sent->input : NULL, &sent->change);
}

int
dispatch_apply_retake(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;

	return change_retake(txn, sent->dispatch->options.maker,
	    sent->call_id, sent->seq, sent->tries, &sent->change);
}

static int
apply_release(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;
	const int rc = outbox_release(txn, sent->call_id, sent->seq);

	memset(&sent->change, 0, sizeof(sent->change));
	return rc == -KAP_NOENT ? 0 : rc;
}

/* It waits now: for our own dispatch_resume, or for another's. */
static void
finish_release(struct turn_job *job, int rc)
{
	const struct sent *sent = (struct sent *)job;
	const struct dispatch *dispatch = sent->dispatch;

	if (rc == 0 && (dispatch->relieved ||
	    !change_owns_slot(dispatch->options.maker, sent->slot)))
		wake_owner(dispatch, sent->slot);
	finish_sent(job, rc);
}

/* Back into the outbox. */
static void
release(struct sent *sent)
{
	sent->has_input = false;
	sent->job.apply = apply_release;
	sent->job.done = finish_release;
	turn_submit_lazily(sent->dispatch->options.turn, &sent->job);
}

/* --- sending ---------------------------------------------------------- */

static void
on_sent_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sent *sent = arg;

	(void)fd;
	(void)what;
	if (sent->phase == SENT_PROBED)
		dispatch_probed(sent);
	else if (sent->dispatch->draining)
		release(sent); /* a process that leaves doesn't wait */
	else
		dispatch_submit(sent, dispatch_apply_retake);
}

void
dispatch_wait_ms(struct sent *sent, enum sent_phase phase, int ms)
{
	const struct timeval after = { ms / 1000, (ms % 1000) * 1000L };

	sent->phase = phase;
	if (sent->timer == NULL)
		sent->timer = evtimer_new(sent->dispatch->options.base,
		    on_sent_timer, sent);
	if (sent->timer == NULL || event_add(sent->timer, &after) != 0)
		on_sent_timer(-1, 0, sent);
}

static void
note_refusal(const struct sent *sent, int status, const char *body)
{
	const bool expected = sent->kind == CALL_CMD_HANGUP ||
	    sent->kind == CALL_CMD_BRIDGE_DESTROY ||
	    sent->kind == CALL_CMD_RECORD_STOP ||
	    (sent->kind >= CALL_CMD_SNOOP &&
	    sent->kind <= CALL_CMD_SNOOP_HANGUP) ||
	    sent->kind == CALL_CMD_PLAY_STOP;

	if (expected && status == 404)
		return;
	log_warn("asterisk refused a command", LOG_S("call", sent->call_id),
	    LOG_S("command", call_command_name(sent->kind)),
	    LOG_I("status", status), LOG_S("reply", body));
}

static enum stats_command_result
reply_result(int status)
{
	if (status == -KAP_AGAIN)
		return STATS_COMMAND_UNSENT;
	if (status == -KAP_TIMEOUT)
		return STATS_COMMAND_TIMEOUT;
	if (status < 0)
		return STATS_COMMAND_LOST;
	if (status < 300)
		return STATS_COMMAND_OK;
	return status == 404 ? STATS_COMMAND_GONE : STATS_COMMAND_REFUSED;
}

static void
count_reply(const struct sent *sent, int status)
{
	const enum stats_command_result result = reply_result(status);

	stats_count(STATS_commands, sent->kind, result, 1);
	if (sent->kind != CALL_CMD_ORIGINATE ||
	    result == STATS_COMMAND_UNSENT)
		return;
	stats_count(STATS_originates, sent->stats_trunk,
	    status < 0 ? STATS_ORIGINATE_UNKNOWN :
	    result == STATS_COMMAND_OK ? STATS_ORIGINATE_ACCEPTED :
	    STATS_ORIGINATE_REFUSED, 1);
}

static void
on_reply(void *arg, int status, const char *body, size_t body_len)
{
	struct sent *sent = arg;
	enum call_input_kind meaning;

	(void)body_len;
	count_reply(sent, status);
	if (status == -KAP_AGAIN) {
		release(sent);
		return;
	}
	if (status < 0) {
		dispatch_sent_free(sent); /* stays SENT in the outbox */
		return;
	}
	if (sent->kind == CALL_CMD_ORIGINATE)
		CRASH_POINT(originate_replied);
	else
		CRASH_POINT(command_replied);
	if (status >= 300)
		note_refusal(sent, status, body);
	if (ari_reply_meaning(sent->kind, sent->tries, status, &meaning) ==
	    ARI_TRY_AGAIN) {
		dispatch_wait_ms(sent, SENT_LATER, LATER_MS);
		return;
	}
	sent->has_input = meaning != CALL_INPUT_COUNT;
	sent->reply_status = status;
	sent->input.kind = meaning;
	sent->input.attempt = sent->attempt;
	sent->input.play_id = sent->play;
	sent->input.at_ms = clock_wall_ms();
	dispatch_submit(sent, dispatch_apply_settle);
}

struct ari_command_link *
dispatch_lane(const struct dispatch *dispatch, enum call_command_kind kind)
{
	return kind == CALL_CMD_ORIGINATE ? *dispatch->options.originate :
	    *dispatch->options.control;
}

/*
 * An originate's reply may come late: the call's own timer is first, and what
 * is asked then is whether the channel is there.
 */
static int64_t
reply_limit_ms(const struct config *config, enum call_command_kind kind)
{
	const int64_t limit_ms = config->asterisk.command_timeout_ms;

	return kind == CALL_CMD_ORIGINATE ?
	    limit_ms + config->calls.originate_timeout_ms : limit_ms;
}

static int
say_item(struct sent *sent, const struct outbox_item *item)
{
	const struct dispatch *dispatch = sent->dispatch;
	const struct config *config = dispatch->options.config;
	struct ari_request request;
	char app[ARI_APP_SIZE];
	int rc;

	ari_url_app_name(app, config->node.id, (int)sent->slot);
	rc = ari_say(item, config, app, &request);
	if (rc != 0)
		return rc;
	rc = ari_command_send(dispatch_lane(dispatch, sent->kind),
	    request.method, request.uri.text, NULL, request.body,
	    reply_limit_ms(config, sent->kind), on_reply, sent);
	if (sent->kind == CALL_CMD_ORIGINATE)
		CRASH_POINT(originate_said);
	else
		CRASH_POINT(command_said);
	ari_request_clear(&request);
	return rc;
}

bool
dispatch_is_stream_read(const struct dispatch *dispatch, unsigned slot)
{
	return slot < CHILD_MAX_WORKERS &&
	    dispatch->options.streams->slots[slot].reader != STREAM_UNREAD;
}

static bool
may_be_said(const struct sent *sent)
{
	const struct dispatch *dispatch = sent->dispatch;

	/* whoever looks for it later asks after that connection */
	if (sent->connection != ari_command_connection(
	        dispatch_lane(dispatch, sent->kind)))
		return false;
	/* without a reader of events, an answered call would be dropped */
	return sent->kind != CALL_CMD_ORIGINATE || (dispatch->ready &&
	    dispatch_is_stream_read(dispatch, sent->slot));
}

/* What a call's history needs, should a phone ring twice all the same. */
static void
note_again(const struct sent *sent)
{
	if (sent->tries > 1 && dispatch_is_once(sent->kind))
		log_info("a command that did not come off is said now",
		    LOG_S("call", sent->call_id),
		    LOG_S("command", call_command_name(sent->kind)),
		    LOG_I("try", sent->tries),
		    LOG_I("play", sent->play.ms));
}

static void
send_item(struct dispatch *dispatch, const struct outbox_item *item)
{
	struct sent *sent = dispatch_sent_new(dispatch, item->call.id,
	    item->call.slot, &item->command);

	if (sent == NULL)
		return; /* out of memory: dispatch_resume finds it */
	if (sent->kind == CALL_CMD_ORIGINATE)
		CRASH_POINT(originate_before_send);
	else
		CRASH_POINT(command_before_send);
	if (sent->kind == CALL_CMD_ORIGINATE)
		sent->stats_trunk = stats_trunk(item->trunk);
	if (!may_be_said(sent) || say_item(sent, item) != 0)
		release(sent);
	else
		note_again(sent);
}

void
dispatch_set_ready(struct dispatch *dispatch, bool ready)
{
	dispatch->ready = ready;
}

void
dispatch_relieve(struct dispatch *dispatch, bool relieved)
{
	dispatch->relieved = relieved;
}

void
dispatch_drain(struct dispatch *dispatch)
{
	dispatch->draining = true;
	command_fence_give_up(dispatch->fence); /* whoever comes can tell */
}

unsigned
dispatch_under_way(const struct dispatch *dispatch)
{
	return dispatch->sent_count;
}

static void
on_stray_reply(void *arg, int status, const char *body, size_t body_len)
{
	(void)arg;
	(void)status;
	(void)body;
	(void)body_len;
}

void
dispatch_hang_up_stray(struct dispatch *dispatch, const char *channel)
{
	struct ari_uri uri;

	log_warn("hanging up a channel that no call has",
	    LOG_S("channel", channel));
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "channels");
	ari_uri_segment(&uri, channel);
	if (ari_command_send(*dispatch->options.control, "DELETE", uri.text,
	        NULL, NULL,
	        dispatch->options.config->asterisk.command_timeout_ms,
	        on_stray_reply, NULL) != 0)
		log_warn("could not hang it up now",
		    LOG_S("channel", channel));
}

struct dispatch *
dispatch_new(const struct dispatch_options *options)
{
	struct dispatch *dispatch = calloc(1, sizeof(*dispatch));

	if (dispatch == NULL)
		return NULL;
	dispatch->options = *options;
	dispatch->fence = command_fence_new(options->base, options->config,
	    options->control);
	if (dispatch->fence == NULL) {
		free(dispatch);
		return NULL;
	}
	dispatch_sweep_init(dispatch);
	return dispatch;
}

void
dispatch_free(struct dispatch **dispatch)
{
	if (*dispatch == NULL)
		return;
	while ((*dispatch)->sent != NULL)
		dispatch_sent_free(*(struct sent **)(*dispatch)->sent);
	dispatch_sweep_deinit(*dispatch);
	command_fence_free(&(*dispatch)->fence);
	free(*dispatch);
	*dispatch = NULL;
}
