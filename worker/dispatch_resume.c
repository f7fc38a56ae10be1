/*
 * Taking up what was left behind in the outbox: what waits, what a process
 * that is gone had sent, what was sent over a link that was lost. What a
 * living process has under way is its own, even if it is of the same slot.
 *
 * Nothing is forgotten here that isn't settled: what can't be told now is
 * found again by the next look. That goes too for what a full lane gave back:
 * it waits for a look that somebody asks for, and asks for none itself.
 *
 *     idle ──▶ a page of heads ──their jobs are committed──▶ the next page
 *      ▲          ▲      │                                        │
 *      │          └──────┘ a lane is full: after a while          │
 *      └── at the end, if nobody has asked for another look ◀─────┘
 */
#include "dispatch_internal.h"

#include <string.h>

#include <event2/event.h>

#include "ari_url.h"
#include "shared/clock.h"
#include "shared/stats.h"

#define PROBE_EVENTS_MS 500 /* for what Asterisk has yet to send */
#define PROBE_READ_MS 20    /* …and for what is yet to be read */
/*
 * …and to read, since it was said, where no fence tells when it has: over HTTP
 * a process that is gone has left a request on each of its connections at the
 * most. Asterisk refuses an originate whose channel it has, but no playback.
 */
#define PROBE_PLAY_MS 3000
#define RESUME_PAGE 256
#define PAGE_WAIT_MS 1
#define LANE_WAIT_MS 20

/* One head, and whether it is to be taken up here. */
struct left {
	struct outbox_head head;
	unsigned slot; /* of the call */
	bool ours;
};

/* --- what must be done once, and nobody knows whether it was said -------- */

bool
dispatch_is_once(enum call_command_kind kind)
{
	return kind == CALL_CMD_ORIGINATE || kind == CALL_CMD_PLAY;
}

static bool
is_once(const struct command *command)
{
	return dispatch_is_once((enum call_command_kind)command->kind);
}

static void
set_input(struct sent *sent, enum call_input_kind kind)
{
	sent->has_input = true;
	sent->input.kind = kind;
	sent->input.attempt = sent->attempt;
	sent->input.play_id = sent->play;
	sent->input.at_ms = clock_wall_ms();
}

/* Nothing can be told now: dispatch_resume asks again. */
static int
apply_unknown(struct turn_job *job, struct store_txn *txn KAP_UNUSED)
{
	struct sent *sent = (struct sent *)job;

	memset(&sent->change, 0, sizeof(sent->change));
	return 0;
}

/* Whether the call waits for it still: no event has told of it. */
static bool
is_open(const struct sent *sent, const struct call *call)
{
	if (sent->kind == CALL_CMD_PLAY)
		return call->state == CALL_ANSWERED;
	return call->state == CALL_QUEUED && call->attempt == sent->attempt;
}

/*
 * Asterisk knows no such channel, or playback. If no event has come either,
 * the command was never carried out; it may be said again, but not if events
 * may have been missed, nor if it may be carried out yet.
 */
int
dispatch_apply_not_there(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;
	const struct dispatch *dispatch = sent->dispatch;
	const struct stream_state *stream =
	    &dispatch->options.streams->slots[sent->slot];
	struct call call;
	int rc = call_table_get(txn, sent->call_id, &call);

	sent->has_input = false;
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (!dispatch->ready || stream->reader != STREAM_READ)
		return apply_unknown(job, txn);
	if (rc == 0 && is_open(sent, &call)) {
		if (!sent->in_doubt && sent->taken_ms > stream->began_ms)
			return dispatch_apply_retake(job, txn);
		set_input(sent, sent->kind == CALL_CMD_PLAY ?
		    CALL_IN_PLAY_REFUSED : CALL_IN_LOST);
		sent->input.attempt = 0;
	}
	return dispatch_apply_settle(job, txn);
}

void
dispatch_probed(struct sent *sent)
{
	const struct dispatch *dispatch = sent->dispatch;
	const struct stream_states *streams = dispatch->options.streams;

	if (!dispatch->ready)
		dispatch_sent_free(sent); /* dispatch_resume asks again */
	else if (stream_is_past(&streams->slots[sent->slot], &sent->mark))
		dispatch_submit(sent, dispatch_apply_not_there);
	else
		dispatch_wait_ms(sent, SENT_PROBED, PROBE_READ_MS);
}

/* For what may come of it after all. */
static int
probe_wait_ms(const struct sent *sent)
{
	const int64_t left_ms = sent->taken_ms + PROBE_PLAY_MS -
	    clock_deadline_ms();

	if (sent->kind != CALL_CMD_PLAY || sent->connection != 0 ||
	    left_ms < PROBE_EVENTS_MS)
		return PROBE_EVENTS_MS;
	return left_ms < PROBE_PLAY_MS ? (int)left_ms : PROBE_PLAY_MS;
}

/* --- what may come of it yet ---------------------------------------------- */

static void probe(struct sent *sent);

/* It went by a connection that is there. */
static bool
is_over_this(const struct sent *sent)
{
	return sent->connection != 0 && sent->connection ==
	    ari_command_connection(dispatch_lane(sent->dispatch, sent->kind));
}

static void
on_fence_ended(void *arg, enum fence_end end)
{
	struct sent *sent = arg;

	if (end == FENCE_NO_REPLY) {
		dispatch_sent_free(sent); /* dispatch_resume asks again */
		return;
	}
	sent->fenced = true;
	sent->in_doubt = end == FENCE_STANDS;
	probe(sent);
}

/*
 * Whether what was probed is final: the probe came behind it; or there is no
 * connection that could be asked after.
 */
static bool
is_final(const struct sent *sent)
{
	return sent->fenced || sent->connection == 0 || is_over_this(sent);
}

static void
wait_for_fence(struct sent *sent)
{
	const struct dispatch *dispatch = sent->dispatch;
	char app[ARI_APP_SIZE];

	if (dispatch->draining) {
		dispatch_sent_free(sent); /* whoever comes can tell */
		return;
	}
	ari_url_connection_name(app, dispatch->options.config->node.id,
	    (int)sent->taker_slot, sent->kind == CALL_CMD_ORIGINATE ?
	    ARI_LANE_ORIGINATE : ARI_LANE_CONTROL, sent->connection);
	command_fence_wait(dispatch->fence, &sent->fence, app, on_fence_ended,
	    sent);
}

/*
 * Said by this process, and its events are now another's to read: he can tell
 * what became of it, once the connection is gone; or at once, for what came
 * over one that stays was asked for behind it.
 */
static int
apply_disown(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;
	const int rc = outbox_disown(txn, sent->call_id, sent->seq,
	    sent->tries, is_over_this(sent));

	memset(&sent->change, 0, sizeof(sent->change));
	return rc == -KAP_NOENT ? 0 : rc;
}

/* --- whether Asterisk has it ---------------------------------------------- */

static void
on_probe_reply(void *arg, int status, const char *body, size_t body_len)
{
	struct sent *sent = arg;

	(void)body;
	(void)body_len;
	if (status == 404 && sent->is_left) {
		dispatch_submit(sent, apply_disown);
		return;
	}
	if (status == 404 && !is_final(sent)) {
		wait_for_fence(sent);
		return;
	}
	if (status == 404) {
		dispatch_wait_ms(sent, SENT_PROBED, probe_wait_ms(sent));
		return;
	}
	if (status < 200 || status > 299) {
		dispatch_sent_free(sent); /* dispatch_resume asks again */
		return;
	}
	set_input(sent, sent->kind == CALL_CMD_PLAY ? CALL_IN_PLAY_OK :
	    CALL_IN_ORIGINATE_OK);
	dispatch_submit(sent, dispatch_apply_settle);
}

/* Behind it, where the connection that it went by is there. */
static void
probe(struct sent *sent)
{
	const struct dispatch *dispatch = sent->dispatch;
	struct ari_command_link *link = is_over_this(sent) ?
	    dispatch_lane(dispatch, sent->kind) : *dispatch->options.control;
	const bool is_play = sent->kind == CALL_CMD_PLAY;
	char name[CALL_NAME_SIZE];
	struct ari_uri uri;

	if (is_play)
		call_play_name(sent->call_id, &sent->play, name);
	else
		call_attempt_name(sent->call_id, sent->attempt, name);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, is_play ? "playbacks" : "channels");
	ari_uri_segment(&uri, name);
	if (ari_command_send(link, "GET", uri.text, NULL, NULL,
	        dispatch->options.config->asterisk.command_timeout_ms,
	        on_probe_reply, sent) != 0)
		dispatch_sent_free(sent);
}

/* --- looking through the outboxes ----------------------------------------- */

static int
apply_look(struct turn_job *job, struct store_txn *txn)
{
	struct sent *sent = (struct sent *)job;

	return change_step(txn, sent->dispatch->options.maker, sent->call_id,
	    NULL, &sent->change);
}

/*
 * Who takes a head up: the process that sent it, and lost the link, while it
 * lives; else whoever looks after the call.
 */
static bool
is_ours(const struct dispatch *dispatch, const struct command *command,
    unsigned call_slot)
{
	const struct change_maker *maker = dispatch->options.maker;

	if (command->state == COMMAND_SENT) {
		if (command->slot == maker->slot &&
		    command->generation == maker->generation)
			return true;
		if (stats_is_alive(CHILD_BELL_WORKER + command->slot,
		    command->generation))
			return false;
	}
	return !dispatch->relieved && change_owns_slot(maker, call_slot);
}

static bool
is_read_by(const struct dispatch *dispatch, const struct left *left,
    enum stream_reader reader)
{
	return left->slot < CHILD_MAX_WORKERS &&
	    dispatch->options.streams->slots[left->slot].reader == reader;
}

/*
 * What must be done once can be judged only by who reads the call's events: not
 * by a process that was relieved of that. Nor can an originate be said.
 */
static bool
may_be_taken_up(const struct dispatch *dispatch, const struct left *left)
{
	const struct command *command = &left->head.command;
	const bool needs_events = command->kind == CALL_CMD_ORIGINATE ||
	    (is_once(command) && command->state == COMMAND_SENT);

	return !needs_events || is_read_by(dispatch, left, STREAM_READ);
}

/*
 * One that was sent, and is in this process's hands for no use: its events are
 * a successor's, or a neighbour's, to read.
 */
static bool
is_to_be_left(const struct dispatch *dispatch, const struct left *left)
{
	return !may_be_taken_up(dispatch, left) &&
	    left->head.command.state == COMMAND_SENT &&
	    left->head.command.generation != 0 &&
	    (is_read_by(dispatch, left, STREAM_ELSEWHERE) ||
	    !change_owns_slot(dispatch->options.maker, left->slot));
}

/* Whether it may have to wait for its connection's end. */
static bool
may_wait(const struct command *command)
{
	return command->state == COMMAND_SENT && is_once(command) &&
	    command->connection != 0;
}

/* As many as there may be commands under way: the next look begins others. */
static bool
is_fence_crowded(const struct dispatch *dispatch)
{
	return command_fence_waiting(dispatch->fence) >= ARI_COMMANDS_FULL;
}

/* Whether anything was begun. */
static bool
resume_head(struct dispatch *dispatch, const struct left *left)
{
	const struct command *command = &left->head.command;
	const bool is_left = is_to_be_left(dispatch, left);
	struct sent *sent;

	if ((!is_left && !may_be_taken_up(dispatch, left)) ||
	    (may_wait(command) && is_fence_crowded(dispatch)) ||
	    dispatch_is_under_way(dispatch, left->head.call_id, command->seq))
		return false;
	sent = dispatch_sent_new(dispatch, left->head.call_id, left->slot,
	    command);
	if (sent == NULL)
		return false;
	sent->is_left = is_left;
	if (is_left && !is_over_this(sent))
		dispatch_submit(sent, apply_disown);
	else if (command->state == COMMAND_WAITING)
		dispatch_submit(sent, apply_look);
	else if (is_once(command))
		probe(sent);
	else
		dispatch_submit(sent, dispatch_apply_retake);
	return true;
}

static void
judge(const struct dispatch *dispatch, struct store_txn *txn,
    struct left *left)
{
	struct call call;

	left->ours = false;
	if (call_table_get(txn, left->head.call_id, &call) != 0)
		return;
	left->slot = call.slot;
	left->ours = is_ours(dispatch, &left->head.command, call.slot);
}

/* The next heads, and which of them are this worker's. */
static int
read_heads(struct dispatch *dispatch, const char *after, struct left *lefts)
{
	struct outbox_head heads[RESUME_PAGE];
	struct store_txn *txn;
	int count;

	if (store_begin_read(dispatch->options.store, &txn) != 0)
		return 0;
	count = outbox_scan(txn, after, heads, RESUME_PAGE);
	for (int i = 0; i < count; i++) {
		lefts[i].head = heads[i];
		judge(dispatch, txn, &lefts[i]);
	}
	store_end_read(&txn);
	return count;
}

/* --- a page a turn -------------------------------------------------------- */

static void
wait_ms(struct sweep *sweep, int ms)
{
	const struct timeval after = { ms / 1000, (ms % 1000) * 1000L };

	(void)evtimer_add(&sweep->timer, &after);
}

/* What the page has begun is committed, and said. */
static void
end_page(struct sweep *sweep)
{
	if (sweep->at_end) {
		sweep->after[0] = '\0';
		sweep->under_way = sweep->again;
		sweep->again = false;
	}
	if (sweep->under_way)
		wait_ms(sweep, PAGE_WAIT_MS);
}

static int
apply_committed(struct turn_job *job KAP_UNUSED,
    struct store_txn *txn KAP_UNUSED)
{
	return 0;
}

static void
done_committed(struct turn_job *job, int rc KAP_UNUSED)
{
	end_page((struct sweep *)job);
}

static bool
is_lane_full(const struct dispatch *dispatch)
{
	const struct dispatch_options *options = &dispatch->options;

	return ari_command_in_flight(*options->control) >= ARI_COMMANDS_FULL ||
	    ari_command_in_flight(*options->originate) >= ARI_COMMANDS_FULL;
}

/* Begin the next heads; true if any was. */
static bool
resume_page(struct dispatch *dispatch)
{
	struct sweep *sweep = &dispatch->sweep;
	struct left lefts[RESUME_PAGE];
	const int count = read_heads(dispatch, sweep->after, lefts);
	bool any = false;

	for (int i = 0; i < count; i++) {
		if (lefts[i].ours && resume_head(dispatch, &lefts[i]))
			any = true;
	}
	sweep->at_end = count < RESUME_PAGE;
	if (count > 0)
		memcpy(sweep->after, lefts[count - 1].head.call_id,
		    sizeof(sweep->after));
	return any;
}

static void
go_on(struct sweep *sweep)
{
	struct dispatch *dispatch = sweep->dispatch;

	if (!dispatch->ready) { /* whoever sets it looks again */
		sweep->under_way = false;
		sweep->again = false;
	} else if (is_lane_full(dispatch)) {
		wait_ms(sweep, LANE_WAIT_MS);
	} else if (resume_page(dispatch)) {
		/* jobs are done in order: behind it, those of the page are */
		turn_submit_lazily(dispatch->options.turn, &sweep->committed);
	} else {
		end_page(sweep);
	}
}

static void
on_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	go_on(arg);
}

void
dispatch_resume(struct dispatch *dispatch)
{
	struct sweep *sweep = &dispatch->sweep;

	if (!dispatch->ready)
		return;
	if (sweep->under_way) {
		sweep->again = true;
		return;
	}
	sweep->under_way = true;
	sweep->after[0] = '\0';
	go_on(sweep);
}

void
dispatch_sweep_init(struct dispatch *dispatch)
{
	struct sweep *sweep = &dispatch->sweep;

	sweep->dispatch = dispatch;
	sweep->committed.apply = apply_committed;
	sweep->committed.done = done_committed;
	(void)evtimer_assign(&sweep->timer, dispatch->options.base, on_timer,
	    sweep);
}

void
dispatch_sweep_deinit(struct dispatch *dispatch)
{
	(void)evtimer_del(&dispatch->sweep.timer);
}
