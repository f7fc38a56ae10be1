/*
 * Life of a command in this process:
 *
 *     taken ──send──▶ ASKED ──reply──▶ settled (change_settle)
 *                       │ no, not now        └─▶ LATER ──1 s──▶ taken anew
 *                       │ link lost, no reply: forgotten here, and found
 *                       ▼ again by dispatch_resume
 *              originate: PROBED: GET the channel ─┬─ there: settled
 *                                                  └─ not there: 500 ms for
 *                       events still under way, then taken anew, unless one
 *                       has come: a phone must not ring twice
 *              all else: taken anew, for saying it again does no harm
 */
#include "dispatch.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "ari_say.h"
#include "shared/child.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"

#define LATER_MS 1000
#define PROBE_EVENTS_MS 500
#define RESUME_BATCH 128
/* An originate's reply counts however late: the call's own timer is first. */
#define ORIGINATE_REPLY_MS 60000

enum sent_phase { SENT_ASKED, SENT_LATER, SENT_PROBED };

/* One command that this process has under way. */
struct sent {
	struct turn_job job;
	struct dispatch *dispatch;
	struct event *timer; /* LATER and PROBED; NULL until needed */
	enum sent_phase phase;
	enum call_command_kind kind;
	unsigned attempt;
	unsigned tries;
	uint32_t seq;
	int64_t taken_ms;
	char call_id[CALL_ID_SIZE];
	struct call_input input; /* what the reply means */
	bool has_input;
	bool listed; /* in the tree; a look for what waits is not */
	struct change change;
};

struct dispatch {
	struct dispatch_options options;
	char app[ARI_APP_SIZE];
	void *sent; /* tsearch tree of struct sent, by call and seq */
	unsigned sent_count;
	int64_t events_began_ms; /* deadline clock */
	bool ready; /* all links are up */
};

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

static bool
is_under_way(const struct dispatch *dispatch,
    const char call_id[CALL_ID_SIZE], uint32_t seq)
{
	struct sent wanted = { .seq = seq };

	memcpy(wanted.call_id, call_id, sizeof(wanted.call_id));
	return tfind(&wanted, &dispatch->sent, compare_sent) != NULL;
}

/* A command that waits is not under way yet: whoever takes it is listed. */
static struct sent *
sent_new(struct dispatch *dispatch, const char call_id[CALL_ID_SIZE],
    const struct command *command)
{
	struct sent *sent = calloc(1, sizeof(*sent));

	if (sent == NULL)
		return NULL;
	sent->dispatch = dispatch;
	sent->kind = (enum call_command_kind)command->kind;
	sent->attempt = command->attempt;
	sent->tries = command->tries;
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

static void
sent_free(struct sent *sent)
{
	struct dispatch *dispatch = sent->dispatch;

	if (sent->listed)
		(void)tdelete(sent, &dispatch->sent, compare_sent);
	dispatch->sent_count--;
	if (sent->timer != NULL)
		event_free(sent->timer);
	free(sent);
}

/* --- what follows from a change ------------------------------------- */

static void
ring(struct dispatch *dispatch, const struct call_step *step)
{
	const struct dispatch_options *options = &dispatch->options;
	const bool own = step->call.slot == options->maker->slot;

	if ((step->rings & CALL_RING_WEBHOOKD) != 0)
		child_bell_ring(CHILD_BELL_WEBHOOKD);
	if ((step->rings & CALL_RING_RECORDER) != 0)
		child_bell_ring(CHILD_BELL_RECORDER);
	if ((step->rings & CALL_RING_LEDGER) != 0)
		options->ledger_grew(options->ctx);
	if ((step->rings & CALL_RING_OWNER) != 0) {
		if (own)
			options->timers_changed(options->ctx);
		else
			child_bell_ring(CHILD_BELL_WORKER + step->call.slot);
	}
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

void
dispatch_follow(struct dispatch *dispatch, const struct change *change)
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

/* --- jobs: the second half of each frees `sent` ----------------------- */

static void
finish_sent(struct turn_job *job, int rc)
{
	struct sent *sent = (struct sent *)job;
	struct dispatch *dispatch = sent->dispatch;
	const struct change change = sent->change;

	if (rc != 0)
		log_error("a command's outcome could not be stored",
		    LOG_S("call", sent->call_id),
		    LOG_S("command", call_command_name(sent->kind)),
		    LOG_S("error", kap_strerror(rc)));
	sent_free(sent);
	if (rc == 0)
		dispatch_follow(dispatch, &change);
}

static void
submit(struct sent *sent, int (*apply)(struct turn_job *, struct store_txn *))
{
	sent->job.apply = apply;
	sent->job.done = finish_sent;
	/* a client waits for an originate's reply */
	if (sent->kind == CALL_CMD_ORIGINATE)
		turn_submit(sent->dispatch->options.turn, &sent->job);
	else
		turn_submit_lazily(sent->dispatch->options.turn, &sent->job);
}

static int
apply_settle(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;

	return change_settle(txn, sent->dispatch->options.maker, sent->call_id,
	    sent->seq, sent->has_input ? &sent->input : NULL, &sent->change);
}

static int
apply_retake(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;

	return change_retake(txn, sent->dispatch->options.maker,
	    sent->call_id, sent->seq, &sent->change);
}

/* Back into the outbox, to wait for dispatch_resume. */
static int
apply_release(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;
	const int rc = outbox_release(txn, sent->call_id, sent->seq);

	memset(&sent->change, 0, sizeof(sent->change));
	return rc == -KAP_NOENT ? 0 : rc;
}

/* Nothing can be told now: dispatch_resume asks again. */
static int
apply_unknown(struct turn_job *job, struct store_txn *txn KAP_UNUSED)
{
	struct sent *sent = (struct sent *)job;

	memset(&sent->change, 0, sizeof(sent->change));
	return 0;
}

/*
 * Asterisk knows no such channel. If no event has come either, the originate
 * was never carried out; it may be said again, but not if events may have
 * been missed.
 */
static int
apply_not_there(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;
	const struct dispatch *dispatch = sent->dispatch;
	struct call call;
	int rc = call_table_get(txn, sent->call_id, &call);

	sent->has_input = false;
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (!dispatch->ready)
		return apply_unknown(job, txn);
	if (rc == 0 && call.state == CALL_QUEUED &&
	    call.attempt == sent->attempt) {
		if (sent->taken_ms > dispatch->events_began_ms)
			return apply_retake(job, txn);
		sent->has_input = true;
		sent->input.kind = CALL_IN_LOST;
		sent->input.at_ms = clock_wall_ms();
	}
	return apply_settle(job, txn);
}

/* --- sending ---------------------------------------------------------- */

static void
on_sent_timer(evutil_socket_t fd, short what, void *arg)
{
	struct sent *sent = arg;

	(void)fd;
	(void)what;
	submit(sent, sent->phase == SENT_PROBED ? apply_not_there :
	    apply_retake);
}

/* Run the next job after a while; at once, if there is no timer to be had. */
static void
wait_ms(struct sent *sent, enum sent_phase phase, int ms)
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
	    sent->kind == CALL_CMD_BRIDGE_DESTROY;

	stats_add(STATS_ari_command_failures, 1);
	if (expected && status == 404)
		return;
	log_warn("asterisk refused a command", LOG_S("call", sent->call_id),
	    LOG_S("command", call_command_name(sent->kind)),
	    LOG_I("status", status), LOG_S("reply", body));
}

static void
on_reply(void *arg, int status, const char *body, size_t body_len)
{
	struct sent *sent = arg;
	enum call_input_kind meaning;

	(void)body_len;
	if (status == -KAP_AGAIN) {
		submit(sent, apply_release);
		return;
	}
	if (status < 0) {
		sent_free(sent); /* stays SENT in the outbox */
		return;
	}
	if (status >= 300)
		note_refusal(sent, status, body);
	if (ari_reply_meaning(sent->kind, sent->tries, status, &meaning) ==
	    ARI_TRY_AGAIN) {
		wait_ms(sent, SENT_LATER, LATER_MS);
		return;
	}
	sent->has_input = meaning != CALL_INPUT_COUNT;
	sent->input.kind = meaning;
	sent->input.attempt = sent->attempt;
	sent->input.at_ms = clock_wall_ms();
	submit(sent, apply_settle);
}

static struct ari_command_link *
lane_for(const struct dispatch *dispatch, enum call_command_kind kind)
{
	return kind == CALL_CMD_ORIGINATE ? *dispatch->options.originate :
	    *dispatch->options.control;
}

static int
say_item(struct sent *sent, const struct outbox_item *item)
{
	const struct dispatch *dispatch = sent->dispatch;
	const struct config *config = dispatch->options.config;
	struct ari_request request;
	int rc = ari_say(item, config, dispatch->app, &request);

	if (rc != 0)
		return rc;
	rc = ari_command_send(lane_for(dispatch, sent->kind), request.method,
	    request.uri.text, NULL, request.body,
	    sent->kind == CALL_CMD_ORIGINATE ? ORIGINATE_REPLY_MS :
	    config->asterisk.command_timeout_ms, on_reply, sent);
	ari_request_clear(&request);
	return rc;
}

static void
send_item(struct dispatch *dispatch, const struct outbox_item *item)
{
	struct sent *sent = sent_new(dispatch, item->call.id, &item->command);

	if (sent == NULL)
		return; /* out of memory: dispatch_resume finds it */
	/* without a reader of events, an answered call would be dropped */
	if ((dispatch->ready || sent->kind != CALL_CMD_ORIGINATE) &&
	    say_item(sent, item) == 0)
		stats_add(STATS_ari_commands, 1);
	else
		submit(sent, apply_release);
}

/* --- taking up what was left behind ------------------------------------ */

static void
on_probe_reply(void *arg, int status, const char *body, size_t body_len)
{
	struct sent *sent = arg;

	(void)body;
	(void)body_len;
	if (status == 404) {
		wait_ms(sent, SENT_PROBED, PROBE_EVENTS_MS);
		return;
	}
	if (status < 200 || status > 299) {
		sent_free(sent); /* dispatch_resume asks again */
		return;
	}
	sent->has_input = true;
	sent->input.kind = CALL_IN_ORIGINATE_OK;
	sent->input.attempt = sent->attempt;
	sent->input.at_ms = clock_wall_ms();
	submit(sent, apply_settle);
}

static void
probe(struct sent *sent)
{
	const struct dispatch *dispatch = sent->dispatch;
	struct call call = { .attempt = (uint8_t)sent->attempt };
	char channel[CALL_NAME_SIZE];
	struct ari_uri uri;

	memcpy(call.id, sent->call_id, sizeof(call.id));
	call_channel_name(&call, channel);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "channels");
	ari_uri_segment(&uri, channel);
	if (ari_command_send(*dispatch->options.control, "GET", uri.text, NULL,
	        NULL, dispatch->options.config->asterisk.command_timeout_ms,
	        on_probe_reply, sent) != 0)
		sent_free(sent);
}

static int
apply_look(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;

	return change_step(txn, sent->dispatch->options.maker, sent->call_id,
	    NULL, &sent->change);
}

static bool
is_ours(struct dispatch *dispatch, struct store_txn *txn,
    const struct outbox_head *head)
{
	const struct change_maker *maker = dispatch->options.maker;
	struct call call;

	if (head->command.state == COMMAND_SENT)
		return change_owns_slot(maker, head->command.slot);
	return call_table_get(txn, head->call_id, &call) == 0 &&
	    change_owns_slot(maker, call.slot);
}

static void
resume_head(struct dispatch *dispatch, const struct outbox_head *head)
{
	struct sent *sent;

	if (is_under_way(dispatch, head->call_id, head->command.seq))
		return;
	sent = sent_new(dispatch, head->call_id, &head->command);
	if (sent == NULL)
		return;
	if (head->command.state == COMMAND_WAITING)
		submit(sent, apply_look);
	else if (sent->kind == CALL_CMD_ORIGINATE)
		probe(sent);
	else
		submit(sent, apply_retake);
}

/* The next heads, and which of them are this worker's. */
static int
read_heads(struct dispatch *dispatch, const char *after,
    struct outbox_head *heads, bool *ours)
{
	struct store_txn *txn;
	int count;

	if (store_begin_read(dispatch->options.store, &txn) != 0)
		return 0;
	count = outbox_scan(txn, after, heads, RESUME_BATCH);
	for (int i = 0; i < count; i++)
		ours[i] = is_ours(dispatch, txn, &heads[i]);
	store_end_read(&txn);
	return count;
}

void
dispatch_resume(struct dispatch *dispatch)
{
	struct outbox_head heads[RESUME_BATCH];
	bool ours[RESUME_BATCH];
	char after[CALL_ID_SIZE] = "";
	int count;

	if (!dispatch->ready)
		return;
	do {
		count = read_heads(dispatch, after, heads, ours);
		for (int i = 0; i < count; i++) {
			memcpy(after, heads[i].call_id, sizeof(after));
			if (ours[i])
				resume_head(dispatch, &heads[i]);
		}
	} while (count == RESUME_BATCH);
}

void
dispatch_set_ready(struct dispatch *dispatch, bool ready)
{
	dispatch->ready = ready;
}

void
dispatch_events_began(struct dispatch *dispatch, int64_t began_ms)
{
	dispatch->events_began_ms = began_ms;
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
	ari_url_app_name(dispatch->app, options->config->node.id,
	    (int)options->maker->slot, NULL);
	return dispatch;
}

void
dispatch_free(struct dispatch **dispatch)
{
	if (*dispatch == NULL)
		return;
	while ((*dispatch)->sent != NULL)
		sent_free(*(struct sent **)(*dispatch)->sent);
	free(*dispatch);
	*dispatch = NULL;
}
