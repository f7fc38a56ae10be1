/*
 * Marks in a stream, on a real TCP connection over loopback.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "worker/event_socket.h"
#include "worker/stream_state.h"

struct pair {
	int reader;
	int writer;
};

static int
setup(void **state)
{
	struct sockaddr_in name = { .sin_family = AF_INET };
	socklen_t len = sizeof(name);
	struct pair *pair = calloc(1, sizeof(*pair));
	const int listener = socket(AF_INET, SOCK_STREAM, 0);

	name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pair->reader = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&name, len) != 0 ||
	    listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&name, &len) != 0 ||
	    connect(pair->reader, (struct sockaddr *)&name, len) != 0)
		return -1;
	pair->writer = accept(listener, NULL, NULL);
	(void)close(listener);
	*state = pair;
	return pair->writer < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	struct pair *pair = *state;

	(void)close(pair->reader);
	(void)close(pair->writer);
	free(pair);
	return 0;
}

static void
tell(const struct pair *pair, const char *bytes, size_t len)
{
	struct pollfd wait = { .fd = pair->reader, .events = POLLIN };

	assert_int_equal(write(pair->writer, bytes, len), (ssize_t)len);
	assert_int_equal(poll(&wait, 1, 10000), 1);
}

static void
test_what_had_come_is_read_first(void **state)
{
	const struct pair *pair = *state;
	const struct stream_state stream = { .reader = STREAM_READ,
		.began_ms = 5, .fd = pair->reader };
	struct stream_mark mark = { .is_set = false };
	struct stream_mark none = { .is_set = false };

	assert_true(stream_mark_is_read(&none, &stream));
	tell(pair, "events", 6);
	assert_false(stream_mark_is_read(&mark, &stream));
	assert_int_equal(event_socket_consume(pair->reader, 3), 0);
	assert_false(stream_mark_is_read(&mark, &stream));
	/* what comes later is not waited for */
	tell(pair, "more", 4);
	assert_int_equal(event_socket_consume(pair->reader, 3), 0);
	assert_true(stream_mark_is_read(&mark, &stream));
	assert_true(stream_mark_is_read(&none, &stream));
}

/* With the window shut, what has come in is not all that was told. */
static void
test_a_full_socket_is_emptied_first(void **state)
{
	const struct pair *pair = *state;
	const struct stream_state stream = { .reader = STREAM_READ,
		.began_ms = 5, .fd = pair->reader };
	struct stream_mark mark = { .is_set = false };
	char bytes[20000] = { 0 };

	tell(pair, bytes, sizeof(bytes));
	while (event_socket_has_bytes(pair->reader) && !mark.is_set) {
		assert_false(stream_mark_is_read(&mark, &stream));
		assert_int_equal(event_socket_consume(pair->reader, 2000), 0);
	}
	assert_true(mark.is_set);
	assert_int_equal(mark.bytes, sizeof(bytes));
	while (event_socket_has_bytes(pair->reader)) {
		assert_false(stream_mark_is_read(&mark, &stream));
		assert_int_equal(event_socket_consume(pair->reader, 2000), 0);
	}
	assert_true(stream_mark_is_read(&mark, &stream));
}

static void
test_other_streams_are_not_waited_for(void **state)
{
	const struct pair *pair = *state;
	struct stream_state stream = { .reader = STREAM_READ, .began_ms = 5,
		.fd = pair->reader };
	struct stream_mark mark = { .is_set = false };

	tell(pair, "events", 6);
	assert_false(stream_mark_is_read(&mark, &stream));
	stream.began_ms = 6; /* a new connection */
	assert_true(stream_mark_is_read(&mark, &stream));
	stream.began_ms = 5;
	stream.reader = STREAM_ELSEWHERE;
	assert_true(stream_mark_is_read(&mark, &stream));
	stream.reader = STREAM_READ;
	stream.fd = 0;
	assert_true(stream_mark_is_read(&mark, &stream));
}

/* One that broke is about to be given up: nothing can be told before. */
static void
test_a_broken_one_is_never_read(void **state)
{
	struct pair *pair = *state;
	const struct stream_state stream = { .reader = STREAM_READ,
		.began_ms = 5, .fd = pair->reader };
	const struct linger reset = { .l_onoff = 1 };
	struct pollfd wait = { .fd = pair->reader, .events = POLLIN };
	struct stream_mark mark = { .is_set = false };

	assert_int_equal(setsockopt(pair->writer, SOL_SOCKET, SO_LINGER,
	    &reset, sizeof(reset)), 0);
	(void)close(pair->writer);
	pair->writer = -1;
	assert_int_equal(poll(&wait, 1, 10000), 1);
	assert_false(stream_mark_is_read(&mark, &stream));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    test_what_had_come_is_read_first, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_full_socket_is_emptied_first, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_other_streams_are_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_broken_one_is_never_read, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
