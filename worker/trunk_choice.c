/*
 * Runs inside write transactions only: no I/O, no logging.
 */
#include "trunk_choice.h"

#include <string.h>

#include "shared/clock.h"
#include "shared/trunk_state.h"

#define SECOND_MS 1000

/*
 * The state of the key's n-th trunk, with the limits that the key was read
 * with: a later attempt of another call, which has no key at hand, finds them
 * there.
 */
static int
read_state(struct store_txn *txn, const struct api_key *key, unsigned n,
    struct trunk_state *state)
{
	const struct api_key_trunk_limits *limits = &key->limits[n];
	const struct api_key_trunk *trunk = &key->trunks[n];
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

/* Which of the key's trunks are free; and when, if none is, one may be. */
static int
find_free(struct store_txn *txn, const struct api_key *key,
    uint32_t *free_out, int64_t *wait_ms_out)
{
	const int64_t now_ms = clock_deadline_ms();

	*free_out = 0;
	*wait_ms_out = INT64_MAX;
	for (unsigned i = 0; i < key->trunk_count && i < API_KEY_TRUNKS_MAX;
	     i++) {
		struct trunk_state state;
		const int rc = read_state(txn, key, i, &state);
		int64_t wait_ms;

		if (rc != 0)
			return rc;
		wait_ms = trunk_state_wait_ms(&state, now_ms);
		if (trunk_state_busy(&state, now_ms) == TRUNK_FREE)
			*free_out |= 1U << i;
		else if (wait_ms < *wait_ms_out)
			*wait_ms_out = wait_ms;
	}
	return 0;
}

int
trunk_choice_dial(struct store_txn *txn, const struct call_request *request,
    const struct api_key *key, struct account *account,
    struct call_request_dial *out)
{
	int64_t wait_ms;
	unsigned free_count;
	uint32_t free;
	const int rc = find_free(txn, key, &free, &wait_ms);

	memset(out, 0, sizeof(*out));
	if (rc != 0)
		return rc;
	/* those that are free share the turns of the others */
	call_request_dial(request, key, free, account->round_robin, out);
	free_count = out->count;
	call_request_dial(request, key, ~free, account->round_robin, out);
	if (out->count == 0)
		return -KAP_INVAL;
	if (free_count == 0) {
		out->wait_s = (unsigned)((wait_ms + SECOND_MS - 1) / SECOND_MS);
		return -KAP_AGAIN;
	}
	account->round_robin++;
	return 0;
}
