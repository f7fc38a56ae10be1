/*
 * When the Idempotency-Key of a call that was given up is free: with a real
 * store, and over real sockets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_fixture.h"
#include "shared/clock.h"
#include "shared/idempotency.h"
#include "store_fixture.h"
#include "worker/api.h"
#include "worker/makecall_key.h"

#define KEYS 3
#define HOUR_MS 3600000

struct bench {
	struct store_fixture store;
	struct http_fixture http;
	struct http_peer peer;
	struct api api;
	struct idempotency_id ids[KEYS];
};

static void
format_call_id(unsigned n, char out[CALL_ID_SIZE])
{
	(void)snprintf(out, CALL_ID_SIZE, "1720012345.%u", 10000 + n);
}

/* The n-th call was given up. */
static void
put(struct bench *bench, struct store_txn *txn, unsigned n)
{
	struct idempotency record = { .trunk_count = 1 };
	struct idempotency_id *id = &bench->ids[n];
	struct call call = { .attempt = 1 };

	id->key_id = 7;
	memset(id->hash, (int)n, sizeof(id->hash));
	format_call_id(n, record.call_id);
	format_call_id(n, call.id);
	assert_int_equal(idempotency_create(txn, id, &record, 24 * HOUR_MS,
	    clock_deadline_ms(), 1), 0);
	assert_int_equal(idempotency_settle(txn, id, &call,
	    IDEMPOTENCY_GIVEN_UP, 1), 0);
}

static int
setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct store_txn *txn;

	assert_non_null(bench);
	store_fixture_open(&bench->store);
	fixture_start(&bench->http, NULL);
	bench->api.base = bench->http.base;
	bench->api.store = bench->store.store;
	bench->api.turn = turn_new(bench->api.base, bench->api.store);
	assert_non_null(bench->api.turn);
	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	for (unsigned n = 0; n < KEYS; n++)
		put(bench, txn, n);
	assert_int_equal(store_commit(&txn), 0);
	peer_connect(&bench->peer, &bench->http);
	peer_send(&bench->peer, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
	RUN_UNTIL(bench->api.base, bench->http.late != NULL);
	*state = bench;
	return 0;
}

/* As a worker closes. */
static int
teardown(void **state)
{
	struct bench *bench = *state;

	http_server_free(&bench->http.server);
	turn_free(&bench->api.turn);
	peer_close(&bench->peer);
	event_base_free(bench->http.base);
	store_fixture_close(&bench->store);
	free(bench);
	return 0;
}

/* How many keys are not free, that many milliseconds from now. */
static unsigned
held(const struct bench *bench, int64_t in_ms)
{
	const int64_t at_ms = clock_deadline_ms() + in_ms;
	struct idempotency record;
	struct store_txn *txn;
	unsigned count = 0;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	for (unsigned n = 0; n < KEYS; n++)
		count += idempotency_find(txn, &bench->ids[n], at_ms,
		    &record) == 0;
	store_end_read(&txn);
	return count;
}

static struct idempotency
record_of(const struct bench *bench, unsigned n)
{
	struct idempotency record;
	struct store_txn *txn;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	assert_int_equal(idempotency_find(txn, &bench->ids[n], 0, &record),
	    0);
	store_end_read(&txn);
	return record;
}

static struct makecall_keys *
key_of(struct bench *bench, unsigned n)
{
	char call_id[CALL_ID_SIZE];

	format_call_id(n, call_id);
	return makecall_keys_new(&bench->api, &bench->ids[n], call_id);
}

/* All keys go with one answer of this size. */
static void
answer(struct bench *bench, size_t len)
{
	struct makecall_keys *keys = NULL;

	for (unsigned n = 0; n < KEYS; n++)
		makecall_keys_join(&keys, key_of(bench, n));
	makecall_keys_join(&keys, NULL);
	makecall_keys_release(&keys, bench->http.late);
	assert_null(keys);
	fixture_reply_sized(bench->http.late, len);
}

static void
test_free_in_a_while(void **state)
{
	struct bench *bench = *state;
	const int64_t begun_ms = clock_deadline_ms();

	answer(bench, 10);
	turn_flush(bench->api.turn); /* of whatever there is now */
	assert_int_equal(held(bench, HOUR_MS), KEYS);
	RUN_UNTIL(bench->api.base, held(bench, MAKECALL_KEY_HELD_MS) == 0);
	RUN_UNTIL(bench->api.base, peer_status(&bench->peer, 0) == 200);
	assert_true(record_of(bench, 0).expires_ms >=
	    begun_ms + MAKECALL_KEY_HELD_MS);
}

/* A client that takes its time is told when it has all of it, not before. */
static void
test_slow_client(void **state)
{
	struct bench *bench = *state;

	peer_stop_reading(&bench->peer);
	answer(bench, FIXTURE_LONG_BYTES);
	for (unsigned i = 0; i < 20; i++)
		(void)event_base_loop(bench->api.base, EVLOOP_NONBLOCK);
	turn_flush(bench->api.turn);
	assert_int_equal(held(bench, HOUR_MS), KEYS);
	peer_start_reading(&bench->peer);
	RUN_UNTIL(bench->api.base, held(bench, HOUR_MS) == 0);
}

/* One that ends before it has taken all. */
static void
test_cut_off(void **state)
{
	struct bench *bench = *state;

	peer_stop_reading(&bench->peer);
	answer(bench, FIXTURE_LONG_BYTES);
	for (unsigned i = 0; i < 20; i++)
		(void)event_base_loop(bench->api.base, EVLOOP_NONBLOCK);
	http_server_free(&bench->http.server);
	turn_flush(bench->api.turn);
	assert_int_equal(held(bench, HOUR_MS), KEYS);
}

/* Nobody can say whether a client that sends no more still reads. */
static void
test_half_closed(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(shutdown(bench->peer.fd, SHUT_WR), 0);
	answer(bench, 10);
	RUN_UNTIL(bench->api.base, peer_is_done(&bench->peer));
	turn_flush(bench->api.turn);
	assert_int_equal(held(bench, HOUR_MS), KEYS);
}

/* A process that closes answers, and nobody sends that any more. */
static void
test_answered_while_closing(void **state)
{
	struct bench *bench = *state;

	answer(bench, 10);
	http_server_free(&bench->http.server);
	turn_flush(bench->api.turn);
	assert_int_equal(held(bench, HOUR_MS), KEYS);
}

/* The next try was told, too, and a key is in use again by now. */
static void
test_key_in_use_again(void **state)
{
	struct idempotency record = { .trunk_count = 1 };
	struct bench *bench = *state;
	struct store_txn *txn;

	format_call_id(99, record.call_id);
	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(idempotency_create(txn, &bench->ids[1], &record,
	    HOUR_MS, 1, 1), 0);
	assert_int_equal(store_commit(&txn), 0);
	answer(bench, 10);
	RUN_UNTIL(bench->api.base, held(bench, HOUR_MS) == 1);
	assert_string_equal(record_of(bench, 1).call_id, record.call_id);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_free_in_a_while),
		TEST(test_slow_client),
		TEST(test_cut_off),
		TEST(test_half_closed),
		TEST(test_answered_while_closing),
		TEST(test_key_in_use_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
