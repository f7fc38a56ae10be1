/*
 * event_reader, over a real TCP connection and a real store: each event once,
 * whatever the pieces it comes in, and wherever the reader is stopped. The
 * kills at random are in test_event_kill.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "ari_bench_fixture.h"
#include "ari_frames_fixture.h"
#include "worker/ari_ws_stream.h"
#include "worker/event_reader.h"

#define SLOT 3
#define NO_PINGS 3600000

struct bench {
	struct scratch store;
	struct event_base *base;
	struct turn *turn;
	struct event_reader *reader;
	int client;
	int server;
	int64_t ping_interval_ms;
	unsigned started;
	unsigned committed;
	unsigned failed;       /* committed() with an error */
	unsigned fail_next;    /* transactions that shall fail */
	unsigned stop_at;      /* stop the reader in the committed() that … */
	uint64_t dropped;
	unsigned asked;
	int refuse;            /* what asking returns */
	struct ari_mark mark;  /* that was asked for last */
	void (*reply)(struct bench *bench); /* to that; NULL: none */
	char ended[160];
};

/* ---- the owner of the reader ---- */

static void
on_started(void *ctx)
{
	((struct bench *)ctx)->started++;
}

static void
on_begin(void *ctx)
{
	(void)ctx;
}

/* Count each event under its call's id. */
static int
on_event(void *ctx, struct store_txn *txn, const struct ari_event *event)
{
	struct bench *bench = ctx;
	uint32_t count = 0;
	const int rc = store_copy(txn, STORE_CALL_COLD, event->call_id,
	    strlen(event->call_id), &count, sizeof(count));

	assert_true(rc == 0 || rc == -KAP_NOENT);
	assert_int_equal(event->input.kind, CALL_IN_STASIS_START);
	count = rc == 0 ? count + 1 : 1;
	if (store_put(txn, STORE_CALL_COLD, event->call_id,
	        strlen(event->call_id), &count, sizeof(count)) != 0)
		return -KAP_IO;
	if (bench->fail_next == 0)
		return 0;
	bench->fail_next--;
	return -KAP_FULL;
}

static void
on_committed(void *ctx, int rc)
{
	struct bench *bench = ctx;

	if (rc != 0)
		bench->failed++;
	else if (++bench->committed == bench->stop_at)
		event_reader_stop(bench->reader);
}

static void
on_dropped(void *ctx, uint64_t bytes)
{
	((struct bench *)ctx)->dropped += bytes;
}

static void
on_ended(void *ctx, const char *reason)
{
	struct bench *bench = ctx;

	(void)snprintf(bench->ended, sizeof(bench->ended), "%s", reason);
}

static int
on_ask(void *ctx, const struct ari_mark *mark)
{
	struct bench *bench = ctx;

	bench->asked++;
	bench->mark = *mark;
	if (bench->reply != NULL)
		bench->reply(bench);
	return bench->refuse;
}

static const struct event_reader_ops ops = {
	.started = on_started,
	.begin = on_begin,
	.event = on_event,
	.committed = on_committed,
	.dropped = on_dropped,
	.ask = on_ask,
	.ended = on_ended,
};

static void
make_reader(struct bench *bench)
{
	bench->reader = event_reader_new(bench->base, bench->turn,
	    bench->store.store, SLOT, &bench->ping_interval_ms, &ops, bench);
	assert_non_null(bench->reader);
}

static int
bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct event_config *config = event_config_new();

	assert_non_null(bench);
	scratch_open(&bench->store);
	bench->base = event_base_new_with_config(config);
	event_config_free(config);
	(void)event_base_priority_init(bench->base, 2);
	bench->turn = turn_new(bench->base, bench->store.store);
	bench->ping_interval_ms = NO_PINGS;
	tcp_pair(&bench->client, &bench->server);
	make_reader(bench);
	*state = bench;
	return 0;
}

static int
bench_teardown(void **state)
{
	struct bench *bench = *state;

	event_reader_free(&bench->reader);
	turn_free(&bench->turn);
	event_base_free(bench->base);
	scratch_remove(&bench->store);
	if (bench->client >= 0)
		(void)close(bench->client);
	if (bench->server >= 0)
		(void)close(bench->server);
	free(bench);
	return 0;
}

/* Begin the stream, and wait until its record is there. */
static void
start(struct bench *bench)
{
	assert_int_equal(event_reader_start(bench->reader, bench->client), 0);
	RUN_UNTIL(bench->base, bench->started > 0);
}

static uint32_t
count_of(struct bench *bench, unsigned number)
{
	struct store_txn *txn;
	char id[32];
	uint32_t count = 0;

	event_call_id(id, number);
	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	if (store_copy(txn, STORE_CALL_COLD, id, strlen(id), &count,
	        sizeof(count)) != 0)
		count = 0;
	store_end_read(&txn);
	return count;
}

static void
assert_each_once(struct bench *bench, unsigned from, unsigned to)
{
	for (unsigned i = from; i <= to; i++) {
		if (count_of(bench, i) != 1)
			fail_msg("event %u: %u times", i, count_of(bench, i));
	}
}

static bool
is_there(struct bench *bench, unsigned number)
{
	return count_of(bench, number) > 0;
}

static size_t
waiting_bytes(const struct bench *bench)
{
	static uint8_t into[1 << 20];
	const ssize_t n = recv(bench->client, into, sizeof(into),
	    MSG_PEEK | MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

/* Drop the reader as if its process had died, and let another go on. */
static int
succeed(struct bench *bench, uint64_t *lost_out)
{
	event_reader_free(&bench->reader);
	make_reader(bench);
	return event_reader_resume(bench->reader, bench->client, lost_out);
}

/* ---- what comes in ---- */

static void
test_all_kinds_of_messages(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };

	frames_event(&frames, 1);
	frames_event_in_pieces(&frames, 2);
	frames_frame(&frames, true, ARI_WS_TEXT, "no json at all", 14);
	frames_frame(&frames, true, ARI_WS_BINARY, "\x00\xff\xfe", 3);
	frames_frame(&frames, true, ARI_WS_TEXT, "", 0);
	frames_filler(&frames, 70000);
	frames_event(&frames, 3);
	start(bench);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, is_there(bench, 3));
	assert_each_once(bench, 1, 3);
	assert_int_equal(waiting_bytes(bench), 0);
	assert_string_equal(bench->ended, "");
	frames_free(&frames);
}

/* Every byte by itself, and between each two of them another reader. */
static void
test_byte_by_byte_with_successors(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint64_t lost;

	frames_event(&frames, 1);
	frames_event_in_pieces(&frames, 2);
	frames_event(&frames, 3);
	start(bench);
	for (size_t i = 0; i < frames.len; i++) {
		const unsigned before = bench->committed;

		send_all(bench->server, frames.data + i, 1);
		RUN_UNTIL(bench->base, bench->committed > before);
		if (succeed(bench, &lost) != 0)
			fail_msg("byte %zu", i);
	}
	assert_each_once(bench, 1, 3);
	frames_free(&frames);
}

static void
test_long_message_is_thrown_away(void **state)
{
	static const size_t sizes[] = { ARI_WS_MESSAGE_MAX - 1,
		ARI_WS_MESSAGE_MAX, ARI_WS_MESSAGE_MAX + 1,
		3 * ARI_WS_MESSAGE_MAX };
	struct bench *bench = *state;
	unsigned number = 0;

	start(bench);
	for (size_t i = 0; i < 4; i++) {
		struct frames frames = { 0 };
		const bool long_one = sizes[i] > ARI_WS_MESSAGE_MAX;
		size_t at = 0;

		frames_event(&frames, ++number);
		frames_filler(&frames, sizes[i]);
		frames_event(&frames, ++number);
		bench->dropped = 0;
		/* in pieces, for nobody reads while this sends */
		while (at < frames.len) {
			const size_t n = frames.len - at < 50000 ?
			    frames.len - at : 50000;

			send_all(bench->server, frames.data + at, n);
			at += n;
			(void)event_base_loop(bench->base, EVLOOP_NONBLOCK);
		}
		RUN_UNTIL(bench->base, is_there(bench, number));
		assert_int_equal(bench->dropped, long_one ? sizes[i] : 0);
		frames_free(&frames);
	}
	assert_each_once(bench, 1, number);
}

/* A fragmented one that only grows too long with its last fragments. */
static void
test_long_fragments_are_thrown_away(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	static uint8_t piece[100000];
	uint64_t lost;

	start(bench);
	for (unsigned i = 0; i < 15; i++) {
		frames.len = 0;
		frames_frame(&frames, i == 14,
		    i == 0 ? ARI_WS_TEXT : ARI_WS_CONTINUATION, piece,
		    sizeof(piece));
		frames_frame(&frames, true, ARI_WS_PING, "p", 1);
		send_all(bench->server, frames.data, frames.len);
		(void)event_base_loop(bench->base, EVLOOP_NONBLOCK);
		assert_int_equal(succeed(bench, &lost), 0);
	}
	frames.len = 0;
	frames_event(&frames, 1);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, is_there(bench, 1));
	assert_int_equal(bench->dropped, 15 * sizeof(piece));
	assert_each_once(bench, 1, 1);
	frames_free(&frames);
}

static void
test_ping_is_answered(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint8_t pong[64];
	ssize_t n;

	frames_frame(&frames, true, ARI_WS_PING, "hello", 5);
	frames_event(&frames, 1);
	start(bench);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, is_there(bench, 1));
	n = recv(bench->server, pong, sizeof(pong), 0);
	assert_int_equal(n, 6 + 5);
	assert_int_equal(pong[0], 0x80 | ARI_WS_PONG);
	assert_int_equal(pong[1], 0x80 | 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(pong[6 + i] ^ pong[2 + (i & 3)], "hello"[i]);
	frames_free(&frames);
}

/* ---- how it ends ---- */

struct end_case {
	const char *name;
	const char *bytes;
	size_t len;
	bool close;
	const char *reason; /* begins with this */
};

static const struct end_case ends[] = {
	{ "close frame", "\x88\x02\x03\xe9", 4, false,
	    "Asterisk closed the link (code 1001)" },
	{ "close frame without code", "\x88\x00", 2, false,
	    "Asterisk closed the link (code 0)" },
	{ "masked", "\x81\x81" "abcdx", 7, false, "Asterisk sent a broken" },
	{ "reserved bit", "\xc1\x00", 2, false, "Asterisk sent a broken" },
	{ "reserved opcode", "\x83\x00", 2, false, "Asterisk sent a broken" },
	{ "continues nothing", "\x80\x01x", 3, false,
	    "Asterisk sent a broken" },
	{ "begins within a message", "\x01\x01x\x81\x01x", 6, false,
	    "Asterisk sent a broken" },
	{ "fragmented ping", "\x09\x00", 2, false, "Asterisk sent a broken" },
	{ "long ping", "\x89\x7e\x00\x7e", 4, false, "Asterisk sent a broken" },
	{ "length not in its shortest form", "\x81\x7e\x00\x7d", 4, false,
	    "Asterisk sent a broken" },
	{ "negative length", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10,
	    false, "Asterisk sent a broken" },
	{ "end of the stream", "", 0, true, "Asterisk closed the connection" },
	{ "end within a frame", "\x81\x05xy", 4, true,
	    "Asterisk closed the connection" },
};

static void
check_end(const struct end_case *c)
{
	struct frames frames = { 0 };
	struct bench *bench;
	void *state;

	(void)bench_setup(&state);
	bench = state;
	frames_event(&frames, 1);
	frames_add(&frames, c->bytes, c->len);
	start(bench);
	send_all(bench->server, frames.data, frames.len);
	if (c->close) {
		(void)close(bench->server);
		bench->server = -1;
	}
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	if (strncmp(bench->ended, c->reason, strlen(c->reason)) != 0)
		fail_msg("%s: %s", c->name, bench->ended);
	assert_each_once(bench, 1, 1); /* what came before it counts */
	frames_free(&frames);
	(void)bench_teardown(&state);
}

static void
test_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		check_end(&ends[i]);
}

static void
test_app_taken_over(void **state)
{
	static const char text[] = "{\"type\":\"ApplicationReplaced\"}";
	struct bench *bench = *state;
	struct frames frames = { 0 };

	frames_frame(&frames, true, ARI_WS_TEXT, text, strlen(text));
	frames_event(&frames, 1); /* may follow, and counts */
	start(bench);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	assert_non_null(strstr(bench->ended, "took the Stasis app over"));
	assert_each_once(bench, 1, 1);
	frames_free(&frames);
}

/* ---- life ---- */

static void
say_yes(struct bench *bench)
{
	event_reader_asked(bench->reader, ARI_MARK_COMES);
}

static void
say_no(struct bench *bench)
{
	event_reader_asked(bench->reader, ARI_MARK_NO_APP);
}

static void
add_mark(struct frames *frames, const struct ari_mark *mark)
{
	char name[ARI_MARK_NAME_SIZE];
	char text[160];
	int len;

	ari_mark_name(name, mark);
	len = snprintf(text, sizeof(text), "{\"type\":\"ChannelUserevent\","
	    "\"eventname\":\"%s\"}", name);
	frames_frame(frames, true, ARI_WS_TEXT, text, (size_t)len);
}

static void
send_mark(const struct bench *bench, const struct ari_mark *mark)
{
	struct frames frames = { 0 };

	add_mark(&frames, mark);
	send_all(bench->server, frames.data, frames.len);
	frames_free(&frames);
}

static void
answer_with_mark(struct bench *bench)
{
	say_yes(bench);
	send_mark(bench, &bench->mark);
}

/* The connection lives, and its pongs come; but no event does. */
static void
answer_with_pong(struct bench *bench)
{
	say_yes(bench);
	send_all(bench->server, "\x8a\x00", 2);
}

static void
test_no_events_is_deafness(void **state)
{
	struct bench *bench = *state;

	bench->ping_interval_ms = 20;
	bench->reply = say_yes;
	start(bench);
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	assert_string_equal(bench->ended,
	    "Asterisk sends the app's events elsewhere");
	assert_true(bench->asked >= 2);
}

static void
test_pongs_are_no_events(void **state)
{
	struct bench *bench = *state;

	bench->ping_interval_ms = 20;
	bench->reply = answer_with_pong;
	start(bench);
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	assert_non_null(strstr(bench->ended, "elsewhere"));
}

static void
test_no_app_is_the_end(void **state)
{
	struct bench *bench = *state;

	bench->ping_interval_ms = 20;
	bench->reply = say_no;
	start(bench);
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	assert_string_equal(bench->ended, "Asterisk has no such Stasis app");
	assert_int_equal(bench->asked, 1);
	say_no(bench); /* too late: nothing */
}

/* Events keep it up through many more than two intervals. */
static void
test_events_are_life(void **state)
{
	struct bench *bench = *state;

	bench->ping_interval_ms = 20;
	bench->reply = answer_with_mark;
	start(bench);
	RUN_UNTIL(bench->base, bench->asked == 8 ||
	    bench->ended[0] != '\0');
	assert_string_equal(bench->ended, "");
}

/* Asterisk stands still, or its command link is down: that says nothing. */
static void
test_no_reply_is_no_verdict(void **state)
{
	struct bench *bench = *state;

	bench->ping_interval_ms = 20;
	start(bench);
	RUN_UNTIL(bench->base, bench->asked == 8 ||
	    bench->ended[0] != '\0');
	assert_string_equal(bench->ended, "");
	bench->reply = say_yes;
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
}

/* ---- marks ---- */

/* The one that is asked for next. */
static struct ari_mark
take_mark(struct bench *bench)
{
	const unsigned before = bench->asked;

	RUN_UNTIL(bench->base, bench->asked > before);
	return bench->mark;
}

static void
send_event(struct bench *bench, unsigned number)
{
	struct frames frames = { 0 };

	frames_event(&frames, number);
	send_all(bench->server, frames.data, frames.len);
	frames_free(&frames);
	RUN_UNTIL(bench->base, is_there(bench, number));
}

/* An empty socket proves nothing: the other end may hold more. */
static void
test_mark_is_behind_what_was_written(void **state)
{
	struct bench *bench = *state;
	struct ari_mark mark = { .number = 0 };
	struct ari_mark asked;

	start(bench);
	assert_false(event_reader_is_past(bench->reader, &mark));
	asked = take_mark(bench);
	assert_memory_equal(&asked, &mark, sizeof(mark));
	send_event(bench, 1);
	assert_int_equal(waiting_bytes(bench), 0);
	assert_false(event_reader_is_past(bench->reader, &mark));
	send_mark(bench, &asked);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &mark));
	assert_each_once(bench, 1, 1);
	assert_int_equal(bench->asked, 1);
}

/* Come in is not enough: what is in front of it has to be committed. */
static void
test_mark_waits_for_the_commit(void **state)
{
	struct bench *bench = *state;
	struct ari_mark mark = { .number = 0 };
	struct ari_mark asked;
	struct frames frames = { 0 };

	start(bench);
	assert_false(event_reader_is_past(bench->reader, &mark));
	asked = take_mark(bench);
	frames_event(&frames, 1);
	add_mark(&frames, &asked);
	bench->fail_next = 1;
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, bench->failed == 1);
	assert_false(event_reader_is_past(bench->reader, &mark));
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &mark));
	frames_free(&frames);
	assert_each_once(bench, 1, 1);
}

/* A predecessor's marks, what was never asked for, and pongs. */
static void
test_other_marks_are_no_answer(void **state)
{
	struct bench *bench = *state;
	struct ari_mark mark = { .number = 0 };
	struct ari_mark other;

	start(bench);
	assert_false(event_reader_is_past(bench->reader, &mark));
	(void)take_mark(bench);
	other = mark;
	other.reader++;
	send_mark(bench, &other);
	other = mark;
	other.number++;
	send_mark(bench, &other);
	send_all(bench->server, "\x8a\x00", 2);
	send_event(bench, 1);
	assert_false(event_reader_is_past(bench->reader, &mark));
	send_mark(bench, &mark);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &mark));
}

/* One mark serves all who want one before it is asked for, and none after. */
static void
test_marks_are_shared(void **state)
{
	struct bench *bench = *state;
	struct ari_mark marks[3] = { { .number = 0 } };
	struct ari_mark asked;

	start(bench);
	assert_false(event_reader_is_past(bench->reader, &marks[0]));
	assert_false(event_reader_is_past(bench->reader, &marks[1]));
	asked = take_mark(bench);
	assert_false(event_reader_is_past(bench->reader, &marks[2]));
	send_mark(bench, &asked);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &marks[0]));
	assert_true(event_reader_is_past(bench->reader, &marks[1]));
	assert_false(event_reader_is_past(bench->reader, &marks[2]));
	RUN_UNTIL(bench->base, bench->asked == 2);
	send_mark(bench, &bench->mark);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &marks[2]));
}

/* Over HTTP Asterisk may take up the later question first. */
static void
test_marks_in_any_order(void **state)
{
	struct bench *bench = *state;
	struct ari_mark marks[2] = { { .number = 0 } };
	struct frames frames = { 0 };

	start(bench);
	for (int i = 0; i < 2; i++) {
		assert_false(event_reader_is_past(bench->reader, &marks[i]));
		(void)take_mark(bench);
	}
	add_mark(&frames, &marks[1]);
	add_mark(&frames, &marks[0]);
	send_all(bench->server, frames.data, frames.len);
	frames_free(&frames);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &marks[0]));
	assert_true(event_reader_is_past(bench->reader, &marks[1]));
}

/* Asterisk can't be asked, for a while. */
static void
test_mark_is_asked_again(void **state)
{
	struct bench *bench = *state;
	struct ari_mark mark = { .number = 0 };

	bench->refuse = -KAP_AGAIN;
	start(bench);
	assert_false(event_reader_is_past(bench->reader, &mark));
	RUN_UNTIL(bench->base, bench->asked == 3);
	bench->refuse = 0;
	RUN_UNTIL(bench->base, bench->asked == 4);
	assert_memory_equal(&bench->mark, &mark, sizeof(mark));
	send_mark(bench, &mark);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &mark));
}

static void
say_nothing(struct bench *bench)
{
	event_reader_asked(bench->reader, ARI_MARK_UNKNOWN);
}

/* Lost on its way, though events come all the time: asked for once more. */
static void
test_lost_mark_is_asked_again(void **state)
{
	struct bench *bench = *state;
	struct ari_mark mark = { .number = 0 };

	bench->reply = say_nothing;
	start(bench);
	assert_false(event_reader_is_past(bench->reader, &mark));
	RUN_UNTIL(bench->base, bench->asked == 3);
	send_event(bench, 1);
	assert_false(event_reader_is_past(bench->reader, &mark));
	bench->reply = answer_with_mark;
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &mark));
}

/* No such app, but the reason for it may lie in the socket: read that first. */
static void
test_no_app_waits_for_what_came(void **state)
{
	struct bench *bench = *state;
	static const char text[] = "{\"type\":\"ApplicationReplaced\"}";
	struct frames frames = { 0 };

	start(bench);
	frames_frame(&frames, true, ARI_WS_TEXT, text, sizeof(text) - 1);
	send_all(bench->server, frames.data, frames.len);
	say_no(bench);
	assert_string_equal(bench->ended, "");
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	assert_true(event_reader_was_replaced(bench->reader));
	frames_free(&frames);
}

/* What was asked of a reader that is gone is asked again. */
static void
test_successor_asks_anew(void **state)
{
	struct bench *bench = *state;
	struct ari_mark mark = { .number = 0 };
	struct ari_mark old;
	uint64_t lost;

	start(bench);
	assert_false(event_reader_is_past(bench->reader, &mark));
	old = take_mark(bench);
	assert_int_equal(succeed(bench, &lost), 0);
	send_mark(bench, &old);
	send_event(bench, 1);
	assert_false(event_reader_is_past(bench->reader, &mark));
	assert_int_not_equal(mark.reader, old.reader);
	old = take_mark(bench);
	send_mark(bench, &old);
	RUN_UNTIL(bench->base, event_reader_is_past(bench->reader, &mark));
	event_reader_stop(bench->reader);
	assert_false(event_reader_is_past(bench->reader, &mark));
}

/* ---- the store says no ---- */

static void
test_failed_commit_is_tried_again(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };

	frames_event(&frames, 1);
	frames_event(&frames, 2);
	start(bench);
	/* the turn tries a lone job once, so each costs one transaction */
	bench->fail_next = 3;
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, bench->failed == 1);
	assert_int_equal(waiting_bytes(bench), frames.len);
	assert_int_equal(count_of(bench, 1), 0);
	RUN_UNTIL(bench->base, is_there(bench, 2));
	assert_int_equal(bench->failed, 3);
	assert_each_once(bench, 1, 2);
	assert_int_equal(waiting_bytes(bench), 0);
	frames_free(&frames);
}

/* Stopped between two tries: the successor has it all to itself. */
static void
test_stopped_while_it_fails(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint64_t lost;

	frames_event(&frames, 1);
	start(bench);
	bench->fail_next = 1;
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, bench->failed == 1);
	assert_int_equal(succeed(bench, &lost), 0);
	RUN_UNTIL(bench->base, is_there(bench, 1));
	assert_each_once(bench, 1, 1);
	frames_free(&frames);
}

/* ---- successors ---- */

/* A job in front of the reader's, whose second half stops the reader. */
struct stopper {
	struct turn_job job;
	struct bench *bench;
	bool submitted;
	bool done;
};

static int
stopper_apply(struct turn_job *job, struct store_txn *txn)
{
	(void)job;
	(void)txn;
	return 0;
}

static void
stopper_done(struct turn_job *job, int rc)
{
	struct stopper *stopper = (struct stopper *)job;

	assert_int_equal(rc, 0);
	stopper->done = true;
	event_reader_free(&stopper->bench->reader);
}

static void
stopper_gather(void *arg)
{
	struct stopper *stopper = arg;

	if (!stopper->submitted)
		turn_submit(stopper->bench->turn, &stopper->job);
	stopper->submitted = true;
}

/* Between commit and consume: the successor discards what was committed. */
static void
test_committed_but_not_consumed(void **state)
{
	struct bench *bench = *state;
	struct stopper stopper = { .job = { .apply = stopper_apply,
		.done = stopper_done }, .bench = bench };
	struct frames frames = { 0 };
	uint64_t lost;

	frames_event(&frames, 1);
	frames_event(&frames, 2);
	frames_add(&frames, "\x81\x20half", 6);
	start(bench);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, waiting_bytes(bench) == frames.len);
	/* the reader's own place is behind this one */
	event_reader_stop(bench->reader);
	event_reader_free(&bench->reader);
	assert_int_equal(turn_add_gather(bench->turn, stopper_gather,
	    &stopper), 0);
	make_reader(bench);
	assert_int_equal(event_reader_resume(bench->reader, bench->client,
	    &lost), 0);
	RUN_UNTIL(bench->base, stopper.done);
	turn_remove_gather(bench->turn, stopper_gather, &stopper);
	/* whether it shared the transaction is what decides the rest */
	assert_int_equal(count_of(bench, 1), 1);
	assert_int_equal(waiting_bytes(bench), frames.len);
	make_reader(bench);
	assert_int_equal(event_reader_resume(bench->reader, bench->client,
	    &lost), 0);
	assert_int_equal(waiting_bytes(bench), 0);
	frames.len = 0;
	frames_add(&frames, "0123456789012345678901234567", 28);
	frames_event(&frames, 3);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, is_there(bench, 3));
	assert_each_once(bench, 1, 3);
	frames_free(&frames);
}

static void
test_nobody_read_meanwhile(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint64_t lost;

	start(bench);
	event_reader_stop(bench->reader);
	for (unsigned i = 1; i <= 100; i++)
		frames_event_in_pieces(&frames, i);
	send_all(bench->server, frames.data, frames.len);
	assert_int_equal(succeed(bench, &lost), 0);
	RUN_UNTIL(bench->base, is_there(bench, 100));
	assert_each_once(bench, 1, 100);
	frames_free(&frames);
}

/* The stream's end waits unread, too: the kernel counts it as a byte. */
static void
test_ended_while_nobody_read(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint64_t lost;

	start(bench);
	frames_event(&frames, 1);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, is_there(bench, 1));
	event_reader_stop(bench->reader);
	frames.len = 0;
	frames_event(&frames, 2);
	send_all(bench->server, frames.data, frames.len);
	(void)close(bench->server);
	bench->server = -1;
	RUN_UNTIL(bench->base, waiting_bytes(bench) == frames.len);
	assert_int_equal(succeed(bench, &lost), 0);
	assert_int_equal(lost, 0);
	RUN_UNTIL(bench->base, bench->ended[0] != '\0');
	assert_string_equal(bench->ended, "Asterisk closed the connection");
	assert_each_once(bench, 1, 2);
	frames_free(&frames);
}

static void
test_lost_bytes_are_told(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint64_t lost;
	char thief[10];

	start(bench);
	event_reader_stop(bench->reader);
	frames_event(&frames, 1);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, waiting_bytes(bench) == frames.len);
	assert_int_equal(recv(bench->client, thief, sizeof(thief), 0), 10);
	assert_int_equal(succeed(bench, &lost), -KAP_CORRUPT);
	assert_int_equal(lost, 10);
	frames_free(&frames);
}

static void
test_socket_of_another_stream(void **state)
{
	struct bench *bench = *state;
	uint64_t lost;

	assert_int_equal(event_reader_resume(bench->reader, bench->client,
	    &lost), -KAP_NOENT); /* no record at all */
	start(bench);
	(void)close(bench->client);
	(void)close(bench->server);
	tcp_pair(&bench->client, &bench->server);
	assert_int_equal(succeed(bench, &lost), -KAP_NOENT);
	assert_int_equal(lost, 0);
}

/* Half a message, half a head; then a new connection begins with none. */
static void
test_new_stream_forgets_the_old(void **state)
{
	static const char *const halves[] = { "\x01\x04half", "\x81", "\x89\x05"
	    "ab" };
	struct bench *bench = *state;

	start(bench);
	for (unsigned i = 0; i < 3; i++) {
		const unsigned before = bench->committed;
		struct frames frames = { 0 };

		frames_event(&frames, i);
		frames_add(&frames, halves[i], strlen(halves[i]));
		send_all(bench->server, frames.data, frames.len);
		RUN_UNTIL(bench->base, bench->committed > before);
		event_reader_free(&bench->reader);
		(void)close(bench->client);
		(void)close(bench->server);
		tcp_pair(&bench->client, &bench->server);
		make_reader(bench);
		bench->started = 0;
		start(bench);
		frames_free(&frames);
	}
	assert_each_once(bench, 0, 2);
	assert_string_equal(bench->ended, "");
}

static void
test_slots_are_apart(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	uint64_t lost;

	start(bench);
	frames_event(&frames, 1);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, is_there(bench, 1));
	event_reader_free(&bench->reader);
	bench->reader = event_reader_new(bench->base, bench->turn,
	    bench->store.store, SLOT + 1, &bench->ping_interval_ms, &ops,
	    bench);
	assert_int_equal(event_reader_resume(bench->reader, bench->client,
	    &lost), -KAP_NOENT);
	frames_free(&frames);
}

/* The owner stops it from inside its callback. */
static void
test_stopped_by_its_owner(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };

	start(bench);
	bench->stop_at = 1;
	frames_event(&frames, 1);
	send_all(bench->server, frames.data, frames.len);
	RUN_UNTIL(bench->base, bench->committed == 1);
	send_all(bench->server, frames.data, frames.len);
	for (int i = 0; i < 10; i++)
		(void)event_base_loop(bench->base, EVLOOP_NONBLOCK);
	assert_each_once(bench, 1, 1);
	assert_int_equal(bench->committed, 1);
	frames_free(&frames);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_all_kinds_of_messages),
		TEST(test_byte_by_byte_with_successors),
		TEST(test_long_message_is_thrown_away),
		TEST(test_long_fragments_are_thrown_away),
		TEST(test_ping_is_answered),
		cmocka_unit_test(test_ends),
		TEST(test_app_taken_over),
		TEST(test_no_events_is_deafness),
		TEST(test_pongs_are_no_events),
		TEST(test_no_app_is_the_end),
		TEST(test_events_are_life),
		TEST(test_no_reply_is_no_verdict),
		TEST(test_mark_is_behind_what_was_written),
		TEST(test_mark_waits_for_the_commit),
		TEST(test_other_marks_are_no_answer),
		TEST(test_marks_are_shared),
		TEST(test_marks_in_any_order),
		TEST(test_mark_is_asked_again),
		TEST(test_lost_mark_is_asked_again),
		TEST(test_no_app_waits_for_what_came),
		TEST(test_successor_asks_anew),
		TEST(test_failed_commit_is_tried_again),
		TEST(test_stopped_while_it_fails),
		TEST(test_committed_but_not_consumed),
		TEST(test_nobody_read_meanwhile),
		TEST(test_ended_while_nobody_read),
		TEST(test_lost_bytes_are_told),
		TEST(test_socket_of_another_stream),
		TEST(test_new_stream_forgets_the_old),
		TEST(test_slots_are_apart),
		TEST(test_stopped_by_its_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
