/*
 * master/streams.c: who is told to read what, and when. The workers are an
 * array of what was sent to them; the sockets are real descriptors, so that
 * one that stays open, or is closed twice, shows.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/streams.h"

#define LOG_SIZE 4096
#define NOW 1000000

/* Who is wanted, what was sent, and what the next send returns. */
struct fake {
	struct streams streams;
	struct stream_reader wanted[CHILD_MAX_WORKERS];
	char sent[LOG_SIZE]; /* "READ 0 > 0.1 +socket; " … */
	int rc;
};

static struct fake fake;

static struct stream_reader
wanted(void *ctx, int stream, bool known)
{
	const struct fake *f = ctx;

	/* as the owner has it: what nobody knows, nobody reads */
	if (!known && stream >= 4)
		return (struct stream_reader){ .generation = 0 };
	return f->wanted[stream];
}

static int
send_to(void *ctx, const struct stream_reader *to,
    enum child_message_kind kind, int stream, int fd)
{
	struct fake *f = ctx;
	const size_t used = strlen(f->sent);

	if (f->rc != 0)
		return f->rc;
	(void)snprintf(f->sent + used, sizeof(f->sent) - used,
	    "%s %d > %d.%u%s; ", kind == CHILD_MSG_READ ? "READ" : "STOP",
	    stream, to->slot, to->generation, fd >= 0 ? " +socket" : "");
	return 0;
}

static const struct streams_ops ops = { wanted, send_to };

static struct stream_reader
reader(int slot, uint32_t generation)
{
	return (struct stream_reader){ slot, generation };
}

/* What was sent since the last look. */
static void
expect_sent(const char *expected)
{
	streams_settle(&fake.streams, NOW);
	if (strcmp(fake.sent, expected) != 0)
		fail_msg("sent '%s', not '%s'", fake.sent, expected);
	fake.sent[0] = '\0';
}

static int
new_socket(void)
{
	const int fd = memfd_create("events", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int
set_up(void **state KAP_UNUSED)
{
	memset(&fake, 0, sizeof(fake));
	streams_init(&fake.streams, &ops, &fake);
	return 0;
}

static int
tear_down(void **state KAP_UNUSED)
{
	streams_deinit(&fake.streams);
	return 0;
}

/* Stream 0 is read by generation 1 of slot 0, which handed a socket over. */
static int
begin_stream(void)
{
	const int fd = new_socket();

	fake.wanted[0] = reader(0, 1);
	expect_sent("READ 0 > 0.1; ");
	assert_int_equal(streams_take_socket(&fake.streams, 0, reader(0, 1),
	    fd), 0);
	assert_true(streams_is_settled(&fake.streams, 0));
	expect_sent("");
	return fd;
}

static void
test_ordinary_start(void **state KAP_UNUSED)
{
	(void)begin_stream();
	expect_sent("");
}

static void
test_death_of_the_reader(void **state KAP_UNUSED)
{
	const int fd = begin_stream();

	fake.wanted[0] = reader(0, 0);
	streams_reader_gone(&fake.streams, reader(0, 1));
	expect_sent("");
	assert_true(is_open(fd));
	fake.wanted[0] = reader(0, 2);
	expect_sent("READ 0 > 0.2 +socket; ");
}

static void
test_planned_restart(void **state KAP_UNUSED)
{
	(void)begin_stream();
	fake.wanted[0] = reader(0, 2);
	expect_sent("STOP 0 > 0.1; ");
	assert_false(streams_is_settled(&fake.streams, 0));
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 1)),
	    NOW);
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 2)), 0);
	expect_sent(""); /* once is enough, and READ has to wait */
	streams_unread(&fake.streams, 0, reader(0, 1), false, NOW);
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 1)), 0);
	expect_sent("READ 0 > 0.2 +socket; ");
	assert_true(streams_is_settled(&fake.streams, 0));
}

static void
test_old_one_dies_before_it_stops(void **state KAP_UNUSED)
{
	(void)begin_stream();
	fake.wanted[0] = reader(0, 2);
	expect_sent("STOP 0 > 0.1; ");
	streams_reader_gone(&fake.streams, reader(0, 1));
	expect_sent("READ 0 > 0.2 +socket; ");
	/* words of the dead one, or of a stranger, mean nothing */
	streams_unread(&fake.streams, 0, reader(0, 1), false, NOW);
	streams_unread(&fake.streams, 0, reader(1, 2), false, NOW);
	expect_sent("");
	assert_true(streams_is_settled(&fake.streams, 0));
}

static void
test_successor_dies_while_the_old_one_stops(void **state KAP_UNUSED)
{
	(void)begin_stream();
	fake.wanted[0] = reader(0, 2);
	expect_sent("STOP 0 > 0.1; ");
	fake.wanted[0] = reader(0, 0);
	streams_reader_gone(&fake.streams, reader(0, 2));
	expect_sent("");
	streams_unread(&fake.streams, 0, reader(0, 1), false, NOW);
	expect_sent("");
	assert_true(streams_is_settled(&fake.streams, 0));
	fake.wanted[0] = reader(0, 4);
	expect_sent("READ 0 > 0.4 +socket; ");
}

/* The wish goes back and forth: it is still one UNREAD for one STOP. */
static void
test_wish_returns(void **state KAP_UNUSED)
{
	(void)begin_stream();
	fake.wanted[0] = reader(0, 2);
	expect_sent("STOP 0 > 0.1; ");
	fake.wanted[0] = reader(0, 1);
	expect_sent("");
	/* the right one reads, but not for long */
	assert_false(streams_is_settled(&fake.streams, 0));
	streams_unread(&fake.streams, 0, reader(0, 1), false, NOW);
	expect_sent("READ 0 > 0.1 +socket; ");
}

static void
test_full_channels(void **state KAP_UNUSED)
{
	fake.wanted[0] = reader(0, 1);
	fake.rc = -KAP_AGAIN;
	expect_sent("");
	assert_false(streams_is_settled(&fake.streams, 0));
	fake.rc = 0;
	expect_sent("READ 0 > 0.1; ");
	fake.wanted[0] = reader(0, 2);
	fake.rc = -KAP_AGAIN;
	expect_sent("");
	/* the time runs all the same: it may hang with a full channel */
	streams_settle(&fake.streams, NOW + 500);
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 1)),
	    NOW);
	fake.rc = 0;
	expect_sent("STOP 0 > 0.1; ");
	streams_unread(&fake.streams, 0, reader(0, 1), false, NOW);
	expect_sent("READ 0 > 0.2; ");
}

static void
test_sockets(void **state KAP_UNUSED)
{
	const int first = begin_stream();
	const int second = new_socket();
	const int third = new_socket();

	/* a reconnect: the next socket in place of the first */
	assert_int_equal(streams_take_socket(&fake.streams, 0, reader(0, 1),
	    second), 0);
	assert_false(is_open(first));
	streams_socket_gone(&fake.streams, 0, reader(0, 7));
	assert_true(is_open(second));
	streams_socket_gone(&fake.streams, 0, reader(0, 1));
	assert_false(is_open(second));
	/* it may have one until the moment it stops */
	fake.wanted[0] = reader(0, 2);
	expect_sent("STOP 0 > 0.1; ");
	assert_int_equal(streams_take_socket(&fake.streams, 0, reader(0, 1),
	    third), 0);
	streams_unread(&fake.streams, 0, reader(0, 1), false, NOW);
	expect_sent("READ 0 > 0.2 +socket; ");
	assert_true(is_open(third));
}

static void
test_sockets_out_of_range(void **state KAP_UNUSED)
{
	static const int numbers[] = { -1, CHILD_MAX_WORKERS, 1 << 30 };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		const int fd = new_socket();

		assert_int_equal(streams_take_socket(&fake.streams,
		    numbers[i], reader(0, 1), fd), -KAP_INVAL);
		assert_false(is_open(fd));
		streams_socket_gone(&fake.streams, numbers[i], reader(0, 1));
		streams_unread(&fake.streams, numbers[i], reader(0, 1), true,
		    NOW);
	}
	expect_sent("");
}

/* Stream 5 belongs to no slot; worker 1 finds calls and begins to read. */
static void
test_a_worker_begins_by_itself(void **state KAP_UNUSED)
{
	const int fd = new_socket();

	fake.wanted[5] = reader(1, 1);
	expect_sent(""); /* nobody knows of it yet */
	assert_int_equal(streams_take_socket(&fake.streams, 5, reader(1, 1),
	    fd), 0);
	expect_sent("");
	assert_true(streams_is_settled(&fake.streams, 5));
	/* it dies, and its successor goes on */
	fake.wanted[5] = reader(1, 2);
	streams_reader_gone(&fake.streams, reader(1, 1));
	expect_sent("READ 5 > 1.2 +socket; ");
	/* nobody needs it any more */
	streams_unread(&fake.streams, 5, reader(1, 2), true, NOW);
	assert_false(is_open(fd));
	expect_sent("");
}

/* The wrong one began: it is told to stop, then the right one reads. */
static void
test_another_worker_begins_by_itself(void **state KAP_UNUSED)
{
	const int fd = new_socket();

	fake.wanted[5] = reader(1, 1);
	assert_int_equal(streams_take_socket(&fake.streams, 5, reader(2, 1),
	    fd), 0);
	expect_sent("STOP 5 > 2.1; ");
	streams_unread(&fake.streams, 5, reader(2, 1), false, NOW);
	expect_sent("READ 5 > 1.1 +socket; ");
}

/* Two read one stream: whoever wasn't asked has to stop. */
static void
test_two_readers(void **state KAP_UNUSED)
{
	const int kept = begin_stream();
	const int fd = new_socket();

	assert_int_equal(streams_take_socket(&fake.streams, 0, reader(1, 1),
	    fd), -KAP_STATE);
	assert_false(is_open(fd));
	assert_true(is_open(kept));
	expect_sent("STOP 0 > 1.1; ");
	streams_unread(&fake.streams, 0, reader(1, 1), false, NOW);
	expect_sent("");
	assert_true(streams_is_settled(&fake.streams, 0));
}

/* Its own stream a worker doesn't begin by itself, late words neither. */
static void
test_own_stream_is_not_begun(void **state KAP_UNUSED)
{
	const int fd = new_socket();

	assert_int_equal(streams_take_socket(&fake.streams, 0, reader(0, 1),
	    fd), -KAP_STATE);
	assert_false(is_open(fd));
	expect_sent("STOP 0 > 0.1; ");
}

/* A reader that gives up unasked isn't told again in the same moment. */
static void
test_given_up_unasked(void **state KAP_UNUSED)
{
	(void)begin_stream();
	streams_unread(&fake.streams, 0, reader(0, 1), true, NOW);
	expect_sent("");
	streams_settle(&fake.streams, NOW + 250);
	assert_string_equal(fake.sent, "READ 0 > 0.1 +socket; ");
}

/* One that reads several stops with all of them; one death frees all. */
static void
test_many_streams_of_one_reader(void **state KAP_UNUSED)
{
	(void)begin_stream();
	fake.wanted[2] = reader(0, 1);
	expect_sent("READ 2 > 0.1; ");
	fake.wanted[0] = reader(0, 2);
	fake.wanted[2] = reader(0, 2);
	expect_sent("STOP 0 > 0.1; STOP 2 > 0.1; ");
	streams_unread(&fake.streams, 2, reader(0, 1), false, NOW);
	expect_sent("READ 2 > 0.2; ");
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 1)),
	    NOW);
	streams_reader_gone(&fake.streams, reader(0, 1));
	expect_sent("READ 0 > 0.2 +socket; ");
	streams_reader_gone(&fake.streams, reader(0, 2));
	fake.wanted[0] = reader(0, 3);
	fake.wanted[2] = reader(0, 3);
	expect_sent("READ 0 > 0.3 +socket; READ 2 > 0.3; ");
}

/* Its time is that of the stream it holds on to the longest. */
static void
test_stops_at_two_times(void **state KAP_UNUSED)
{
	(void)begin_stream();
	fake.wanted[2] = reader(0, 1);
	expect_sent("READ 2 > 0.1; ");
	fake.wanted[2] = reader(0, 2);
	expect_sent("STOP 2 > 0.1; ");
	fake.wanted[0] = reader(0, 2);
	streams_settle(&fake.streams, NOW + 500);
	assert_string_equal(fake.sent, "STOP 0 > 0.1; ");
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 1)),
	    NOW);
	streams_unread(&fake.streams, 2, reader(0, 1), false, NOW + 600);
	assert_int_equal(streams_stop_since(&fake.streams, reader(0, 1)),
	    NOW + 500);
}

static void
test_nobody_has_no_slot(void **state KAP_UNUSED)
{
	assert_true(stream_reader_equals(reader(0, 0), reader(2, 0)));
	assert_false(stream_reader_equals(reader(2, 0), reader(2, 1)));
}

#define ON_STREAMS(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_STREAMS(test_ordinary_start),
		ON_STREAMS(test_death_of_the_reader),
		ON_STREAMS(test_planned_restart),
		ON_STREAMS(test_old_one_dies_before_it_stops),
		ON_STREAMS(test_successor_dies_while_the_old_one_stops),
		ON_STREAMS(test_wish_returns),
		ON_STREAMS(test_full_channels),
		ON_STREAMS(test_sockets),
		ON_STREAMS(test_sockets_out_of_range),
		ON_STREAMS(test_a_worker_begins_by_itself),
		ON_STREAMS(test_another_worker_begins_by_itself),
		ON_STREAMS(test_two_readers),
		ON_STREAMS(test_own_stream_is_not_begun),
		ON_STREAMS(test_given_up_unasked),
		ON_STREAMS(test_many_streams_of_one_reader),
		ON_STREAMS(test_stops_at_two_times),
		ON_STREAMS(test_nobody_has_no_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
