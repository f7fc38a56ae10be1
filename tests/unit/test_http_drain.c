/*
 * A drain with patience, on real connections: those that are in use are told
 * with their next answer, the others are closed idle, and none is cut off
 * between its request and its answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http_fixture.h"

#define HOST "Host: a\r\n"
#define GET "GET /echo HTTP/1.1\r\n" HOST "\r\n"
#define PATIENCE_MS 60000

static int
setup(void **state)
{
	static struct http_fixture f;
	struct http_server_config config;

	fixture_config(&config);
	config.linger_timeout_ms = 50;
	fixture_start(&f, &config);
	*state = &f;
	return 0;
}

static int
teardown(void **state)
{
	struct http_fixture *f = *state;
	const bool in_step = f->server == NULL || fixture_is_in_step(f);

	fixture_stop(f);
	return in_step ? 0 : -1;
}

static void
count_drained(void *arg)
{
	unsigned *drained = arg;

	(*drained)++;
}

static bool
says_close(const struct http_peer *peer, unsigned n)
{
	const char *answer = peer_answer(peer, n);

	return answer != NULL &&
	    strstr(answer, "Connection: close\r\n") != NULL;
}

/* Two connections that have had an answer, one that is being read, one that
 * never spoke: all go on, until each has had its last answer. */
static void
test_each_gets_its_last_answer(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer used, half, fresh;
	unsigned drained = 0;

	peer_connect(&used, f);
	peer_send(&used, GET);
	peer_connect(&half, f);
	peer_send(&half, GET "POST /echo HTTP/1.1\r\n" HOST
	    "Content-Length: 3\r\n\r\na");
	peer_connect(&fresh, f);
	RUN_UNTIL(f->base, peer_status(&used, 0) != 0 &&
	    peer_status(&half, 0) != 0 && fixture_live(f) == 3);
	assert_false(says_close(&used, 0));

	http_server_drain_patiently(f->server, PATIENCE_MS, count_drained,
	    &drained);
	for (int i = 0; i < 20; i++)
		loop_run_once(f->base);
	assert_false(used.closed || half.closed || fresh.closed);
	assert_int_equal(drained, 0);

	peer_send(&used, "POST /echo HTTP/1.1\r\n" HOST
	    "Content-Length: 1\r\n\r\nx");
	peer_send(&half, "bc");
	peer_send(&fresh, GET);
	RUN_UNTIL(f->base, used.closed && half.closed && fresh.closed);
	assert_int_equal(peer_status(&used, 1), 200);
	assert_true(says_close(&used, 1));
	assert_int_equal(peer_status(&half, 1), 200);
	assert_true(says_close(&half, 1));
	assert_int_equal(peer_status(&fresh, 0), 200);
	assert_true(says_close(&fresh, 0));
	assert_int_equal(drained, 0); /* they may send on for a moment */
	peer_close(&used);
	peer_close(&half);
	peer_close(&fresh);
	RUN_UNTIL(f->base, drained == 1);
}

/* One whose answer was under way when the drain began had not been told. */
static void
test_an_answer_that_promised_more(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	unsigned drained = 0;

	peer_connect(&peer, f);
	peer_stop_reading(&peer);
	peer_send(&peer, "GET /long HTTP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, f->handled == 1);
	http_server_drain_patiently(f->server, PATIENCE_MS, count_drained,
	    &drained);
	peer_start_reading(&peer);
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	assert_false(says_close(&peer, 0));
	assert_false(peer.closed);
	peer_send(&peer, GET);
	RUN_UNTIL(f->base, peer.closed);
	assert_int_equal(peer_status(&peer, 1), 200);
	assert_true(says_close(&peer, 1));
	peer_close(&peer);
	RUN_UNTIL(f->base, drained == 1);
}

/* Patience has its end, also for one that was in use a moment ago. */
static void
test_patience_ends(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer used, fresh;
	unsigned drained = 0;

	peer_connect(&used, f);
	peer_send(&used, GET);
	peer_connect(&fresh, f);
	RUN_UNTIL(f->base, peer_status(&used, 0) != 0 &&
	    fixture_live(f) == 2);
	http_server_drain_patiently(f->server, 30, count_drained, &drained);
	RUN_UNTIL(f->base, peer_is_done(&used) && peer_is_done(&fresh));
	assert_true(used.closed && fresh.closed); /* in good order */
	assert_int_equal(used.len, strlen(used.data));
	assert_null(peer_answer(&used, 1));
	peer_close(&used);
	peer_close(&fresh);
	RUN_UNTIL(f->base, drained == 1);
}

/* A head that began to come has its own time, and its answer. */
static void
test_a_head_that_began(void **state)
{
	struct http_fixture *f = *state;
	struct http_peer peer;
	unsigned drained = 0;

	peer_connect(&peer, f);
	peer_send(&peer, GET);
	RUN_UNTIL(f->base, peer_status(&peer, 0) != 0);
	http_server_drain_patiently(f->server, 30, count_drained, &drained);
	peer_send(&peer, "GET /echo HT");
	for (int i = 0; i < 20; i++) {
		const struct timeval piece = { .tv_usec = 5000 };

		(void)event_base_loopexit(f->base, &piece);
		(void)event_base_dispatch(f->base);
	}
	assert_false(peer_is_done(&peer));
	peer_send(&peer, "TP/1.1\r\n" HOST "\r\n");
	RUN_UNTIL(f->base, peer.closed);
	assert_int_equal(peer_status(&peer, 1), 200);
	assert_true(says_close(&peer, 1));
	peer_close(&peer);
	RUN_UNTIL(f->base, drained == 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_each_gets_its_last_answer),
		TEST(test_an_answer_that_promised_more),
		TEST(test_patience_ends),
		TEST(test_a_head_that_began),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
