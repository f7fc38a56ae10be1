/*
 * Runs inside write transactions only: no I/O, no logging.
 */
#include "trunk_choice.h"

#include <string.h>

#include "shared/clock.h"
#include "shared/trunk_state.h"

#define SECOND_MS 1000

/*
 * The state of the n-th trunk, with the limits that the key was read with: a
 * later attempt of another call, which has no key at hand, finds them there.
 */
static int
read_state(struct store_txn *txn, const struct call_request_dial *dial,
    unsigned n, struct trunk_state *state)
{
	const struct api_key_trunk_limits *limits = &dial->limits[n];
	const struct api_key_trunk *trunk = &dial->trunks[n];
	const int rc = trunk_state_get(txn, trunk->name, state);

	if (rc != 0 || (state->id == trunk->id &&
	    state->max_calls == limits->max_calls &&
	    state->max_cps == limits->max_cps))
		return rc;
	state->id = trunk->id;
	state->max_calls = limits->max_calls;
	state->max_cps = limits->max_cps;
	return trunk_state_put(txn, trunk->name, state);
}

static void
copy_trunk(struct call_request_dial *to, const struct call_request_dial *from,
    unsigned n)
{
	to->trunks[to->count] = from->trunks[n];
	to->limits[to->count] = from->limits[n];
	memcpy(to->endpoints[to->count], from->endpoints[n],
	    sizeof(to->endpoints[0]));
	to->count++;
}

/* From the order of the key to those that are free, and then the others. */
static void
move_free_first(struct call_request_dial *dial, uint32_t free)
{
	const struct call_request_dial from = *dial;

	dial->count = 0;
	for (unsigned i = 0; i < from.count; i++) {
		if ((free & 1U << i) != 0)
			copy_trunk(dial, &from, i);
	}
	for (unsigned i = 0; i < from.count; i++) {
		if ((free & 1U << i) == 0)
			copy_trunk(dial, &from, i);
	}
}

int
trunk_choice_dial(struct store_txn *txn, const struct call_request *request,
    const struct api_key *key, struct account *account,
    struct call_request_dial *out)
{
	const int64_t now_ms = clock_deadline_ms();
	int64_t wait_ms = INT64_MAX;
	uint32_t free = 0;
	int rc = call_request_dial(request, key, account->round_robin, out);

	for (unsigned i = 0; rc == 0 && i < out->count; i++) {
		struct trunk_state state;

		rc = read_state(txn, out, i, &state);
		if (rc != 0)
			return rc;
		if (trunk_state_busy(&state, now_ms) == TRUNK_FREE)
			free |= 1U << i;
		else if (trunk_state_wait_ms(&state, now_ms) < wait_ms)
			wait_ms = trunk_state_wait_ms(&state, now_ms);
	}
	if (rc != 0)
		return rc;
	if (free == 0) {
		out->wait_s = (unsigned)((wait_ms + SECOND_MS - 1) / SECOND_MS);
		return -KAP_AGAIN;
	}
	account->round_robin++;
	move_free_first(out, free);
	return 0;
}
