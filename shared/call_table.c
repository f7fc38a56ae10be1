/*
 * Carries a step of the machine out: the call's record, its indexes, and all
 * that follows from the change, in the caller's transaction. Decides nothing.
 */
#include "call_table.h"

#include <string.h>

#include "account.h"
#include "idempotency.h"
#include "ledger_queue.h"
#include "outbox.h"
#include "recording_queue.h"
#include "trunk_state.h"
#include "webhook_queue.h"

#define BY_KEY_MAX (4 + CALL_ID_SIZE)
#define TIMER_KEY_MAX (8 + 1 + CALL_ID_SIZE)

/*
 * How far a step may go on in the other leg's, and that one's in the first's
 * again: the machine has a told leg tell nothing.
 */
#define DEPTH_MAX 1

/* What a step needs at hand while its effects are carried out. */
struct work {
	struct store_txn *txn;
	struct call *call; /* as it will be */
	const struct call_now *now;
	unsigned rings;
	struct call_other *other; /* where the other leg's step goes */
	unsigned depth; /* 0: the step that was asked for */
	char *rested;   /* the trunk that rests from now on, if any does */
};

static int run_step(struct work *work, const char *call_id,
    const struct call_input *input, enum call_state *state_before_out);

static size_t
by_key_key(uint8_t key[BY_KEY_MAX], uint32_t key_id, const char *call_id)
{
	const size_t len = strlen(call_id);

	store_put_be32(key, key_id);
	memcpy(key + 4, call_id, len);
	return 4 + len;
}

static size_t
timer_key(uint8_t key[TIMER_KEY_MAX], int64_t deadline_ms,
    enum call_timer timer, const char *call_id)
{
	const size_t len = strlen(call_id);

	store_put_be64(key, (uint64_t)deadline_ms);
	key[8] = (uint8_t)timer;
	memcpy(key + 9, call_id, len);
	return 9 + len;
}

static int
put_call(struct store_txn *txn, const struct call *call)
{
	return store_put(txn, STORE_CALLS, call->id, strlen(call->id), call,
	    sizeof(*call));
}

/* Is anything left that needs the records of this call? */
static bool
is_needed(const struct call *call)
{
	if (call->state != CALL_ENDED || call->refs > 0)
		return true;
	for (int i = 0; i < CALL_TIMER_SLOTS; i++) {
		if (call->timers[i] != 0)
			return true;
	}
	return false;
}

static int
put_or_delete(struct store_txn *txn, const struct call *call)
{
	int rc;

	if (is_needed(call))
		return put_call(txn, call);
	rc = call_cold_del(txn, call->id);
	if (rc != 0)
		return rc;
	return store_del(txn, STORE_CALLS, call->id, strlen(call->id));
}

/* Let the account of the call's key change by one step's effects. */
struct account_change {
	int holds;
	int live;
	bool charge;
	bool log;
};

static int
change_account(struct work *work, const struct account_change *change,
    uint64_t *number_out)
{
	const uint32_t key_id = work->call->key_id;
	struct account account;
	int rc = account_get(work->txn, key_id, &account);

	if (rc != 0)
		return rc;
	if (change->holds > 0 || account.holds > 0)
		account.holds += (uint32_t)change->holds;
	if (change->live > 0 || account.live > 0)
		account.live += (uint32_t)change->live;
	if (change->charge)
		*number_out = ++account.charges;
	if (change->log)
		*number_out = ++account.calls;
	return account_put(work->txn, key_id, &account);
}

static int
append_ledger(struct work *work, enum ledger_kind kind, uint64_t key_number,
    const struct call_effect *effect)
{
	struct ledger_entry entry = {
		.kind = (uint8_t)kind,
		.key_id = work->call->key_id,
		.key_number = key_number,
		.at_ms = work->now->wall_ms,
		.duration_s = effect->duration_s,
		.size_bytes = effect->size_bytes,
		.call = *work->call,
	};
	struct call_cold cold;
	const unsigned index = work->call->attempt - 1U;
	int rc = call_cold_get(work->txn, work->call->id, &cold);

	if (rc != 0)
		return rc;
	if (index < cold.trunk_count)
		strncpy(entry.trunk, cold.trunk_names[index],
		    sizeof(entry.trunk) - 1);
	work->rings |= CALL_RING_LEDGER;
	rc = ledger_queue_append(work->txn, &entry);
	return rc;
}

static int
do_charge(struct work *work, const struct call_effect *effect)
{
	const struct account_change change = { .holds = -1, .charge = true };
	uint64_t number = 0;
	const int rc = change_account(work, &change, &number);

	return rc != 0 ? rc :
	    append_ledger(work, LEDGER_CHARGE, number, effect);
}

static int
do_release(struct work *work)
{
	const struct account_change change = { .holds = -1 };
	uint64_t number;

	return change_account(work, &change, &number);
}

/* The end of the live call: its row, and it leaves the list of its key. */
static int
do_log(struct work *work, const struct call_effect *effect)
{
	const struct account_change change = { .live = -1, .log = true };
	uint8_t key[BY_KEY_MAX];
	uint64_t number = 0;
	int rc = change_account(work, &change, &number);

	if (rc == 0)
		rc = append_ledger(work, LEDGER_CALL, number, effect);
	if (rc == 0)
		rc = store_del(work->txn, STORE_CALLS_BY_KEY, key,
		    by_key_key(key, work->call->key_id, work->call->id));
	return rc;
}

static int
do_event(struct work *work, const struct call_effect *effect)
{
	struct webhook_event event = {
		.kind = (uint8_t)effect->event,
		.at_ms = effect->at_ms,
		.recording_duration_s = effect->duration_s,
		.recording_size_bytes = effect->size_bytes,
	};
	int rc;

	work->call->sequence++;
	if ((work->call->flags & CALL_F_WEBHOOK) == 0)
		return 0;
	event.call = *work->call;
	rc = webhook_queue_append(work->txn, &event,
	    effect->has_detail ? &effect->detail : NULL);
	if (rc != 0)
		return rc;
	work->call->refs++;
	work->rings |= CALL_RING_WEBHOOKD;
	return 0;
}

static int
do_recording_job(struct work *work)
{
	struct recording_job job = {
		.key_id = work->call->key_id,
		.duration_s = work->call->recording_duration_s,
	};
	int rc;

	memcpy(job.call_id, work->call->id, sizeof(job.call_id));
	call_recording_name(work->call, job.name);
	rc = recording_queue_append(work->txn, &job);
	if (rc != 0)
		return rc;
	work->call->refs++;
	work->rings |= CALL_RING_RECORDER;
	return 0;
}

static int
do_command(struct work *work, const struct call_effect *effect)
{
	const struct outbox_order order = {
		.kind = effect->command,
		.attempt = effect->attempt,
		.play = effect->play_id,
	};

	work->rings |= CALL_RING_OUTBOX;
	return outbox_append(work->txn, work->call, &order);
}

static int
do_play(struct work *work, const struct call_effect *effect)
{
	const struct call_effect order = { .command = CALL_CMD_PLAY,
		.play_id = effect->play->id };
	const int rc = call_play_put(work->txn, work->call->id, effect->play);

	return rc != 0 ? rc : do_command(work, &order);
}

static int
set_play_state(struct work *work, const struct call_play_id *id,
    enum call_play_state state)
{
	struct call_play play;
	const int rc = call_play_get(work->txn, work->call->id, id, &play);

	if (rc != 0)
		return rc == -KAP_NOENT ? 0 : rc;
	play.state = (uint8_t)state;
	return call_play_put(work->txn, work->call->id, &play);
}

/* Asked for once. */
static int
stop_play(struct work *work, const struct call_play_id *id)
{
	const struct call_effect order = { .command = CALL_CMD_PLAY_STOP,
		.play_id = *id };
	struct call_play play;
	int rc = call_play_get(work->txn, work->call->id, id, &play);

	if (rc != 0 || play.state == CALL_PLAY_STOPPED)
		return rc == -KAP_NOENT ? 0 : rc;
	play.state = CALL_PLAY_STOPPED;
	rc = call_play_put(work->txn, work->call->id, &play);
	return rc != 0 ? rc : do_command(work, &order);
}

/* The last first: else each that is stopped has the next begin. */
static int
do_stop_plays(struct work *work)
{
	struct call_play_id plays[CALL_PLAYS_ALL];
	const int count = call_play_list(work->txn, work->call->id, plays,
	    CALL_PLAYS_ALL);

	if (count < 0)
		return count;
	for (int i = count - 1; i >= 0; i--) {
		const int rc = stop_play(work, &plays[i]);

		if (rc != 0)
			return rc;
	}
	return 0;
}

/*
 * The other leg's step. It may be over and gone; then it needs not be told.
 * But a second leg that its first does not know of would never be ended.
 */
static int
tell_other(struct work *work, const struct call_effect *effect)
{
	const struct call_input input = { .kind = effect->tell,
		.at_ms = effect->at_ms, .other = work->call };
	struct call_other *other = work->other;
	struct work nested = { .txn = work->txn, .call = &other->call,
		.now = work->now, .other = other,
		.depth = work->depth + 1, .rested = work->rested };
	int rc;

	if (work->depth >= DEPTH_MAX ||
	    strcmp(work->call->other_id, work->call->id) == 0)
		return -KAP_CORRUPT;
	rc = run_step(&nested, work->call->other_id, &input,
	    &other->state_before);
	other->told = rc == 0;
	other->input = effect->tell;
	other->rings = nested.rings;
	if (effect->tell == CALL_IN_OTHER_CREATED)
		return rc == -KAP_NOENT ? -KAP_STATE : rc;
	return rc == -KAP_NOENT || rc == -KAP_STATE ? 0 : rc;
}

static int
do_effect(struct work *work, const struct call_effect *effect)
{
	switch (effect->kind) {
	case CALL_FX_COMMAND:
		return do_command(work, effect);
	case CALL_FX_DROP_COMMANDS:
		return outbox_drop_waiting(work->txn, work->call);
	case CALL_FX_EVENT:
		return do_event(work, effect);
	case CALL_FX_CHARGE:
		return do_charge(work, effect);
	case CALL_FX_RELEASE:
		return do_release(work);
	case CALL_FX_LOG:
		return do_log(work, effect);
	case CALL_FX_RECORDING_JOB:
		return do_recording_job(work);
	case CALL_FX_RECORDING_LOG:
		return append_ledger(work, LEDGER_RECORDING, 0, effect);
	case CALL_FX_RECORDING_SETTLED:
		if (work->call->refs > 0)
			work->call->refs--;
		return 0;
	case CALL_FX_PLAY:
		return do_play(work, effect);
	case CALL_FX_PLAY_STATE:
		return set_play_state(work, &effect->play_id,
		    effect->play_state);
	case CALL_FX_PLAY_DROP:
		return call_play_del(work->txn, work->call->id,
		    &effect->play_id);
	case CALL_FX_STOP_PLAYS:
		return do_stop_plays(work);
	case CALL_FX_DROP_PLAYS:
		return call_play_del_all(work->txn, work->call->id);
	case CALL_FX_TELL_OTHER:
		return tell_other(work, effect);
	case CALL_FX_TIMER_SET:
	case CALL_FX_TIMER_CLEAR:
		return 0; /* by comparing the records: write_timers */
	}
	return -KAP_INVAL;
}

/* Bring STORE_TIMERS in line with the record's deadlines. */
static int
write_timers(struct work *work, const struct call *before)
{
	const struct call *call = work->call;
	uint8_t key[TIMER_KEY_MAX];

	for (int i = 0; i < CALL_TIMER_COUNT; i++) {
		const int64_t old = before->timers[i];
		const int64_t new = call->timers[i];
		int rc = 0;

		if (old == new)
			continue;
		work->rings |= CALL_RING_OWNER;
		if (old != 0)
			rc = store_del(work->txn, STORE_TIMERS, key,
			    timer_key(key, old, (enum call_timer)i, call->id));
		if (rc == 0 && new != 0)
			rc = store_put(work->txn, STORE_TIMERS, key,
			    timer_key(key, new, (enum call_timer)i, call->id),
			    &call->slot, sizeof(call->slot));
		if (rc != 0)
			return rc;
	}
	return 0;
}

/*
 * What became of the call is what its Idempotency-Key stands for from now on,
 * whoever takes this step and whether or not the client still waits. A call
 * that was given up frees its key. One that was lost doesn't: its phone may
 * have rung, and a retry must not let it ring again; the answer is its id, of
 * which call.ended tells the rest.
 */
static int
settle_idempotency(struct work *work)
{
	struct call *call = work->call;
	const enum call_outcome outcome = call_outcome(call);
	struct idempotency_id id = { .key_id = call->key_id };
	struct call_cold cold;
	int rc;

	if ((call->flags & CALL_F_IDEMPOTENT) == 0 ||
	    outcome == CALL_OUTCOME_OPEN)
		return 0;
	call->flags &= ~(uint32_t)CALL_F_IDEMPOTENT;
	rc = call_cold_get(work->txn, call->id, &cold);
	if (rc == 0 && idempotency_parse_hash(cold.idempotency, id.hash) != 0)
		rc = -KAP_CORRUPT;
	if (rc != 0)
		return rc;
	rc = idempotency_settle(work->txn, &id, call,
	    outcome == CALL_OUTCOME_REFUSED ? IDEMPOTENCY_REFUSED :
	    outcome == CALL_OUTCOME_GIVEN_UP ? IDEMPOTENCY_GIVEN_UP :
	    IDEMPOTENCY_MADE, work->now->wall_ms);
	/* a damaged one must not keep its call from going on */
	return rc == -KAP_NOENT || rc == -KAP_CORRUPT ? 0 : rc;
}

static bool
has_event(const struct call_effects *effects, enum call_event_kind kind)
{
	for (unsigned i = 0; i < effects->count; i++) {
		if (effects->list[i].kind == CALL_FX_EVENT &&
		    effects->list[i].event == kind)
			return true;
	}
	return false;
}

static int
carry_out(struct work *work, const struct call *before,
    const struct call_effects *effects)
{
	const uint32_t entered = work->call->flags & ~before->flags;
	int rc = 0;

	/* effects read the record (its refs, its sequence) and change it */
	for (unsigned i = 0; i < effects->count && rc == 0; i++)
		rc = do_effect(work, &effects->list[i]);
	if (rc == 0)
		rc = write_timers(work, before);
	if (rc == 0)
		rc = settle_idempotency(work);
	if (rc == 0)
		rc = trunk_state_follow(work->txn, before, work->call,
		    work->now, work->rested);
	if (has_event(effects, CALL_EV_REROUTED))
		work->rings |= CALL_RING_REROUTED;
	if ((entered & CALL_F_IN_STASIS) != 0)
		work->rings |= CALL_RING_OUTBOX;
	return rc != 0 ? rc : put_or_delete(work->txn, work->call);
}

int
call_table_create(struct store_txn *txn, struct call *call,
    const struct call_cold *cold, unsigned node, const struct call_now *now,
    struct call_step *step_out)
{
	const struct call_input input = { .kind = CALL_IN_CREATE };
	const struct account_change change = { .holds = 1, .live = 1 };
	struct work work = { .txn = txn, .call = &step_out->call, .now = now,
		.other = &step_out->other, .rested = step_out->rested };
	struct call_effects effects;
	uint8_t key[BY_KEY_MAX];
	uint64_t number;
	int rc = store_next(txn, STORE_NEXT_CALL, &number);

	if (rc != 0)
		return rc;
	call_id_make(call->id, now->wall_ms, number, node);
	call->state = CALL_NONE;
	step_out->state_before = CALL_NONE;
	step_out->other.told = false;
	step_out->rested[0] = '\0';
	rc = call_machine_step(call, &input, now, &step_out->call, &effects);
	if (rc == 0)
		rc = call_cold_put(txn, call->id, cold);
	if (rc == 0)
		rc = store_put(txn, STORE_CALLS_BY_KEY, key,
		    by_key_key(key, call->key_id, call->id), "", 0);
	if (rc == 0)
		rc = change_account(&work, &change, &number);
	if (rc == 0)
		rc = carry_out(&work, call, &effects);
	step_out->rings = work.rings;
	return rc;
}

/* The record of the playback that an input tells of, if it is there. */
static int
find_play(struct store_txn *txn, const char *call_id,
    struct call_input *input, struct call_play *play)
{
	const int rc = call_play_get(txn, call_id, &input->play_id, play);

	input->play = rc == 0 ? play : NULL;
	return rc == -KAP_NOENT ? 0 : rc;
}

/*
 * What may have a call go on on another trunk, or wait for that: it must know
 * which of them are free. Nothing else pays for the look.
 */
static bool
may_dial_on(const struct call *call, const struct call_input *input)
{
	if ((call->state != CALL_QUEUED && call->state != CALL_DIALING) ||
	    call->attempt >= call->trunk_count)
		return false;
	return input->kind == CALL_IN_ORIGINATE_OK ||
	    input->kind == CALL_IN_ORIGINATE_REFUSED ||
	    input->kind == CALL_IN_SEEN || input->kind == CALL_IN_DESTROYED ||
	    (input->kind == CALL_IN_TIMER &&
	    input->timer == CALL_TIMER_TRUNK);
}

/* A step of the call, whose record it becomes is work->call. */
static int
run_step(struct work *work, const char *call_id,
    const struct call_input *input, enum call_state *state_before_out)
{
	struct call_input full = *input;
	struct call_effects effects;
	struct call_now now = *work->now;
	struct call_play play;
	struct call before;
	int rc = call_table_get(work->txn, call_id, &before);

	if (rc == 0 && call_input_is_of_play(input->kind))
		rc = find_play(work->txn, call_id, &full, &play);
	if (rc == 0 && may_dial_on(&before, input))
		rc = trunk_state_free_behind(work->txn, &before, &now,
		    &now.trunks_free);
	if (rc != 0)
		return rc;
	*state_before_out = (enum call_state)before.state;
	rc = call_machine_step(&before, &full, &now, work->call, &effects);
	if (rc != 0)
		return rc;
	rc = carry_out(work, &before, &effects);
	/* what a step needs must be there: half of one is never committed */
	return rc == -KAP_NOENT || rc == -KAP_STATE ? -KAP_CORRUPT : rc;
}

int
call_table_step(struct store_txn *txn, const char *call_id,
    const struct call_input *input, const struct call_now *now,
    struct call_step *step_out)
{
	struct work work = { .txn = txn, .call = &step_out->call, .now = now,
		.other = &step_out->other, .rested = step_out->rested };
	int rc;

	step_out->other.told = false;
	step_out->rested[0] = '\0';
	rc = run_step(&work, call_id, input, &step_out->state_before);
	step_out->rings = work.rings;
	return rc;
}

int
call_table_get(struct store_txn *txn, const char *call_id,
    struct call *call_out)
{
	return store_copy(txn, STORE_CALLS, call_id, strlen(call_id), call_out,
	    sizeof(*call_out));
}

int
call_table_list(struct store_txn *txn, uint32_t key_id, const char *after_id,
    struct call *calls, unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[BY_KEY_MAX];
	const size_t from_len = by_key_key(from, key_id, after_id);
	unsigned count = 0;
	int rc = store_walk(txn, STORE_CALLS_BY_KEY, from, from_len, &cursor);

	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0) {
		const char *id = (const char *)key.data + 4;
		const size_t id_len = key.len - 4;

		if (key.len <= 4 || memcmp(key.data, from, 4) != 0)
			break;
		if (key.len == from_len && memcmp(key.data, from, from_len) == 0)
			continue;
		if (store_copy(txn, STORE_CALLS, id, id_len, &calls[count],
		        sizeof(calls[count])) == 0)
			count++;
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
call_table_scan(struct store_txn *txn, int slot, const char *after_id,
    struct call *calls, unsigned max, char last_id_out[CALL_ID_SIZE])
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	unsigned count = 0;
	int rc = store_walk(txn, STORE_CALLS, after_id, strlen(after_id),
	    &cursor);

	if (rc != 0) {
		last_id_out[0] = '\0';
		return rc;
	}
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0) {
		struct call *call = &calls[count];
		const size_t len = value.len < sizeof(*call)
		    ? value.len : sizeof(*call);

		memset(call, 0, sizeof(*call));
		memcpy(call, value.data, len);
		if (strcmp(call->id, after_id) == 0)
			continue;
		if (slot < 0 || call->slot == slot)
			count++;
	}
	store_walk_end(&cursor);
	if (rc == 0 && count > 0)
		memcpy(last_id_out, calls[count - 1].id, CALL_ID_SIZE);
	else
		last_id_out[0] = '\0';
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
call_table_live_count(struct store_txn *txn, uint64_t *count_out)
{
	return store_count(txn, STORE_CALLS_BY_KEY, count_out);
}

int
call_table_unref(struct store_txn *txn, const char *call_id)
{
	struct call call;
	const int rc = call_table_get(txn, call_id, &call);

	if (rc == -KAP_NOENT)
		return 0;
	if (rc != 0)
		return rc;
	if (call.refs > 0)
		call.refs--;
	return put_or_delete(txn, &call);
}
