/*
 * Many calls in a store, and an API with nothing but its waiters.
 */
#ifndef KAP_WAIT_FIXTURE_H
#define KAP_WAIT_FIXTURE_H

#include "shared/call.h"
#include "store_fixture.h"
#include "worker/api.h"

#define WAIT_CALLS 500 /* more than a review looks at in one transaction */

struct wait_fixture {
	struct store_fixture store;
	struct change_maker maker;
	struct api api;
};

static inline void
wait_fixture_open(struct wait_fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	store_fixture_open(&fixture->store);
	fixture->api.store = fixture->store.store;
	fixture->api.maker = &fixture->maker;
}

static inline void
wait_fixture_close(struct wait_fixture *fixture)
{
	store_fixture_close(&fixture->store);
}

/* The n-th call's id; they are in the order of n. */
static inline void
wait_fixture_id(unsigned n, char out[CALL_ID_SIZE])
{
	(void)snprintf(out, CALL_ID_SIZE, "1720012345.%u", 10000 + n);
}

/* Put the calls from..to-1 into a state. */
static inline void
wait_fixture_put(struct wait_fixture *fixture, unsigned from, unsigned to,
    enum call_state state)
{
	struct store_txn *txn;

	if (store_begin_write(fixture->store.store, &txn) != 0)
		abort();
	for (unsigned n = from; n < to; n++) {
		struct call call = { .version = CALL_VERSION,
			.state = (uint8_t)state, .attempt = 1,
			.flags = state > CALL_QUEUED ? CALL_F_INITIATED : 0 };

		wait_fixture_id(n, call.id);
		if (store_put(txn, STORE_CALLS, call.id, strlen(call.id),
		        &call, sizeof(call)) != 0)
			abort();
	}
	if (store_commit(&txn) != 0)
		abort();
}

#endif
