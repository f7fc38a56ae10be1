/*
 * See trunk_state.h. What happened to a trunk is told by a call's record
 * before and after its step alone, never by anything that a process keeps.
 */
#include "trunk_state.h"

#include <assert.h>
#include <string.h>

#define FULL_WAIT_MS 5000  /* until calls may have ended */
#define PROBE_WAIT_MS 5000 /* until a probe may have told */
#define SECOND_MS 1000
#define ROWS_A_PAGE 16
#define DOUBLINGS_MAX 16 /* of a rest; long before, the longest is reached */

static_assert(sizeof(struct trunk_state) == 104,
    "the record's layout is stored");

/* What an attempt tells of its trunk. */
enum sign {
	SIGN_NONE,
	SIGN_GOOD, /* the carrier lives */
	SIGN_BAD   /* the trunk failed */
};

const char *
trunk_circuit_name(enum trunk_circuit circuit)
{
	static const char *const names[TRUNK_CIRCUIT_COUNT] = {
		[TRUNK_CLOSED] = "closed",
		[TRUNK_RESTING] = "resting",
		[TRUNK_PROBING] = "probing",
	};

	return (unsigned)circuit < TRUNK_CIRCUIT_COUNT ? names[circuit] : "?";
}

/* --- records ------------------------------------------------------------- */

int
trunk_state_get(struct store_txn *txn, const char *name,
    struct trunk_state *state_out)
{
	const int rc = store_copy(txn, STORE_TRUNKS, name, strlen(name),
	    state_out, sizeof(*state_out));

	if (rc != -KAP_NOENT)
		return rc;
	*state_out = (struct trunk_state){ .version = TRUNK_STATE_VERSION };
	return 0;
}

int
trunk_state_put(struct store_txn *txn, const char *name,
    const struct trunk_state *state)
{
	return store_put(txn, STORE_TRUNKS, name, strlen(name), state,
	    sizeof(*state));
}

static void
read_row(const struct store_value *key, const struct store_value *value,
    struct trunk_row *row)
{
	const size_t len = value->len < sizeof(row->state) ? value->len :
	    sizeof(row->state);

	memset(row, 0, sizeof(*row));
	memcpy(row->name, key->data, key->len < sizeof(row->name) ?
	    key->len : sizeof(row->name) - 1);
	memcpy(&row->state, value->data, len);
}

int
trunk_state_list(struct store_txn *txn, const char *after,
    struct trunk_row *rows, unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	unsigned count = 0;
	int rc = store_walk(txn, STORE_TRUNKS, after, strlen(after), &cursor);

	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0) {
		read_row(&key, &value, &rows[count]);
		if (strcmp(rows[count].name, after) != 0)
			count++;
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

/* --- whether it may be dialled -------------------------------------------- */

uint32_t
trunk_state_cps(const struct trunk_state *state, int64_t now_ms)
{
	return state->second == now_ms / SECOND_MS ? state->second_count : 0;
}

enum trunk_busy
trunk_state_busy(const struct trunk_state *state, int64_t now_ms)
{
	if (state->circuit == TRUNK_PROBING ||
	    (state->circuit == TRUNK_RESTING &&
	    now_ms < state->rest_until_ms))
		return TRUNK_RESTS;
	if (state->max_calls != 0 && state->live >= state->max_calls)
		return TRUNK_OVER_CALLS;
	if (state->max_cps != 0 &&
	    trunk_state_cps(state, now_ms) >= state->max_cps)
		return TRUNK_OVER_CPS;
	return TRUNK_FREE;
}

int64_t
trunk_state_wait_ms(const struct trunk_state *state, int64_t now_ms)
{
	switch (trunk_state_busy(state, now_ms)) {
	case TRUNK_RESTS:
		return state->circuit == TRUNK_RESTING ?
		    state->rest_until_ms - now_ms : PROBE_WAIT_MS;
	case TRUNK_OVER_CALLS:
		return FULL_WAIT_MS;
	case TRUNK_OVER_CPS:
		return SECOND_MS - now_ms % SECOND_MS;
	case TRUNK_FREE:
		break;
	}
	return 1;
}

int
trunk_state_free_behind(struct store_txn *txn, const struct call *call,
    const struct call_now *now, uint32_t *free_out)
{
	struct call_cold cold;
	int rc = call_cold_get(txn, call->id, &cold);

	*free_out = 0;
	for (unsigned i = call->attempt; rc == 0 && i < cold.trunk_count; i++) {
		struct trunk_state state;

		rc = trunk_state_get(txn, cold.trunk_names[i], &state);
		if (rc == 0 &&
		    trunk_state_busy(&state, now->boot_ms) == TRUNK_FREE)
			*free_out |= 1U << i;
	}
	return rc == -KAP_NOENT ? -KAP_CORRUPT : rc;
}

/* --- what a step means to a trunk ----------------------------------------- */

/*
 * No sign for as long as a trunk may take, and then the ring timeout, or what
 * Asterisk itself makes of an INVITE that nobody answers.
 */
static bool
was_silent(const struct call *call, const struct call_now *now)
{
	return now->trunk_timeout_ms > 0 &&
	    (call->flags & CALL_F_CLOSE_TRUNK) != 0 &&
	    call->ended_ms - call->dialled_ms >= now->trunk_timeout_ms;
}

/* The end of a call that never rang. */
static enum sign
judge_end(const struct call *call, const struct call_now *now)
{
	const unsigned cause = call->hangup_cause;

	if ((call->flags & CALL_F_REFUSED) != 0)
		return SIGN_BAD;
	if ((call->flags & (CALL_F_API_HANGUP | CALL_F_ABANDONED |
	        CALL_F_OTHER_ENDED)) != 0 ||
	    call->end_reason == CALL_END_LOST ||
	    call->end_reason == CALL_END_MEDIA_SERVER_LOST)
		return SIGN_NONE;
	if (call_end_is_of_trunk(cause, call->sip_code))
		return SIGN_BAD;
	if ((call->flags & CALL_F_RING_TIMEOUT) != 0 || cause == 0 ||
	    cause == 18 || cause == 19) {
		if (was_silent(call, now))
			return SIGN_BAD;
		return cause == 18 || cause == 19 ? SIGN_GOOD : SIGN_NONE;
	}
	return SIGN_GOOD;
}

/* Of the attempt that a call was at before the step. */
static enum sign
judge_attempt(const struct call *before, const struct call *after,
    const struct call_now *now)
{
	const bool had_sign = (before->flags & CALL_F_CLOSE_TRUNK) == 0;
	const bool has_sign = (after->flags & CALL_F_CLOSE_TRUNK) == 0;

	if (before->state != CALL_QUEUED && before->state != CALL_DIALING)
		return SIGN_NONE;
	if (!call_is_live(after))
		return judge_end(after, now);
	if (after->attempt != before->attempt)
		return SIGN_BAD;
	return has_sign && !had_sign ? SIGN_GOOD : SIGN_NONE;
}

static void
close_circuit(struct trunk_state *state)
{
	state->circuit = TRUNK_CLOSED;
	state->failures = 0;
	state->rests = 0;
	state->probe[0] = '\0';
}

static void
rest(struct trunk_state *state, const struct call_now *now)
{
	const uint32_t doublings = state->rests < DOUBLINGS_MAX ?
	    state->rests : DOUBLINGS_MAX;
	int64_t rest_ms = now->circuit_rest_ms << doublings;

	if (rest_ms > now->circuit_rest_max_ms)
		rest_ms = now->circuit_rest_max_ms;
	state->rests++;
	state->circuit = TRUNK_RESTING;
	state->rest_until_ms = now->boot_ms + rest_ms;
	state->probe[0] = '\0';
}

/* Returns whether it rests from now on. */
static bool
note_failure(struct trunk_state *state, bool is_probe,
    const struct call_now *now)
{
	state->failures++;
	state->failed++;
	if (now->circuit_failures == 0) {
		if (is_probe)
			close_circuit(state);
		return false;
	}
	/* the end of an older call tells nothing that is not known by now */
	if (!is_probe && (state->circuit != TRUNK_CLOSED ||
	    state->failures < now->circuit_failures))
		return false;
	rest(state, now);
	return true;
}

/* Returns whether the trunk rests from now on. */
static bool
note_sign(struct trunk_state *state, enum sign sign, const char *call_id,
    bool is_over, const struct call_now *now)
{
	const bool is_probe = state->circuit == TRUNK_PROBING &&
	    strcmp(state->probe, call_id) == 0;

	if (sign == SIGN_BAD)
		return note_failure(state, is_probe, now);
	if (sign == SIGN_GOOD) {
		close_circuit(state);
	} else if (is_probe && is_over) {
		/* it has told nothing: the next call is the probe */
		state->circuit = TRUNK_RESTING;
		state->probe[0] = '\0';
	}
	return false;
}

/* A trunk of a call, by its attempt; the name is copied. */
static int
find_trunk(struct store_txn *txn, const char *call_id, unsigned attempt,
    char name_out[TRUNK_NAME_SIZE], struct trunk_state *state_out)
{
	struct call_cold cold;
	size_t len;
	const int rc = call_cold_get(txn, call_id, &cold);

	if (rc != 0)
		return rc == -KAP_NOENT ? -KAP_CORRUPT : rc;
	if (attempt < 1 || attempt > cold.trunk_count)
		return -KAP_CORRUPT;
	len = strlen(cold.trunk_names[attempt - 1]);
	if (len == 0 || len >= TRUNK_NAME_SIZE)
		return -KAP_CORRUPT;
	memcpy(name_out, cold.trunk_names[attempt - 1], len + 1);
	return trunk_state_get(txn, name_out, state_out);
}

/* An attempt is over, or has shown a sign. */
static int
leave(struct store_txn *txn, const struct call *before, bool is_over,
    enum sign sign, const struct call_now *now, char *rested_out)
{
	char name[TRUNK_NAME_SIZE];
	struct trunk_state state;
	int rc = find_trunk(txn, before->id, before->attempt, name, &state);

	if (rc != 0)
		return rc;
	/* a table that was lost has counted none of the calls before */
	if (is_over && state.live > 0)
		state.live--;
	if (note_sign(&state, sign, before->id, is_over, now) &&
	    rested_out != NULL)
		memcpy(rested_out, name, sizeof(name));
	return trunk_state_put(txn, name, &state);
}

static int
enter(struct store_txn *txn, const struct call *after,
    const struct call_now *now)
{
	const int64_t second = now->boot_ms / SECOND_MS;
	char name[TRUNK_NAME_SIZE];
	struct trunk_state state;
	const int rc = find_trunk(txn, after->id, after->attempt, name,
	    &state);

	if (rc != 0)
		return rc;
	state.live++;
	state.dialled++;
	state.last_used_ms = now->wall_ms;
	state.second_count = trunk_state_cps(&state, now->boot_ms) + 1;
	state.second = second;
	if (state.circuit == TRUNK_RESTING &&
	    now->boot_ms >= state.rest_until_ms) {
		state.circuit = TRUNK_PROBING;
		memcpy(state.probe, after->id, sizeof(state.probe));
	}
	return trunk_state_put(txn, name, &state);
}

/* An older program's calls were not counted when they began. */
static bool
occupies_trunk(const struct call *call)
{
	return call_is_live(call) && call->trunks_tried != 0;
}

int
trunk_state_follow(struct store_txn *txn, const struct call *before,
    const struct call *after, const struct call_now *now, char *rested_out)
{
	const bool was = occupies_trunk(before);
	const bool is = occupies_trunk(after);
	const bool moved = was && is && before->attempt != after->attempt;
	const bool is_over = was && (!is || moved);
	const enum sign sign = judge_attempt(before, after, now);
	int rc = 0;

	if (is_over || (was && sign != SIGN_NONE))
		rc = leave(txn, before, is_over, sign, now, rested_out);
	if (rc == 0 && is && (!was || moved))
		rc = enter(txn, after, now);
	return rc;
}

static int
end_rest(struct store_txn *txn, struct trunk_row *row)
{
	if (row->state.circuit != TRUNK_RESTING)
		return 0;
	row->state.rests = 0;
	row->state.rest_until_ms = 0;
	return trunk_state_put(txn, row->name, &row->state);
}

int
trunk_state_end_rests(struct store_txn *txn)
{
	char after[TRUNK_NAME_SIZE] = "";
	struct trunk_row rows[ROWS_A_PAGE];
	int count;

	do {
		count = trunk_state_list(txn, after, rows, ROWS_A_PAGE);
		for (int i = 0; i < count; i++) {
			const int rc = end_rest(txn, &rows[i]);

			if (rc != 0)
				return rc;
		}
		if (count > 0)
			memcpy(after, rows[count - 1].name, sizeof(after));
	} while (count == ROWS_A_PAGE);
	return count < 0 ? count : 0;
}
