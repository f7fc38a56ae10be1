/*
 * The proof of exactly once: a generator sends numbered events without end,
 * a reader applies them, and is killed (SIGKILL) at random, and now and then
 * by itself between commit and consume, while this process holds the socket
 * as the master does. In the end each event must be in the store once. One
 * connection throughout.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>
#include <event2/event.h>

#include "ari_bench_fixture.h"
#include "ari_frames_fixture.h"
#include "worker/event_reader.h"

#define SLOT 0
#define KILLS 150
#define CRASH_ONE_IN 30 /* batches after whose commit the reader dies */
#define GUARD_MS 120000 /* no measurement: ends a test that would hang */

static const char total_key[] = "total";
static const int64_t ping_interval_ms = 1000;

static uint32_t
draw(uint32_t below)
{
	uint32_t random = 0;

	assert_int_equal(getrandom(&random, sizeof(random), 0),
	    sizeof(random));
	return random % below;
}

static void
sleep_us(uint32_t us)
{
	const struct timespec ts = { .tv_sec = us / 1000000,
		.tv_nsec = (long)(us % 1000000) * 1000 };

	(void)nanosleep(&ts, NULL);
}

/* ---- the generator: a process of its own ---- */

/*
 * Sends events, whole and fragmented, in pieces of any size, until `stop`
 * is closed; then writes how many there were, and waits for the end.
 */
static void
generate(int fd, int stop, int report)
{
	struct pollfd poll_stop = { .fd = stop, .events = POLLIN };
	unsigned sent = 0;

	while (poll(&poll_stop, 1, 0) == 0) {
		struct frames frames = { 0 };
		size_t at = 0;

		for (uint32_t n = 1 + draw(20); n > 0; n--) {
			sent++;
			if (draw(4) == 0)
				frames_event_in_pieces(&frames, sent);
			else
				frames_event(&frames, sent);
			if (draw(200) == 0)
				frames_filler(&frames, 1 + draw(40000));
		}
		while (at < frames.len) {
			const size_t n = 1 + draw(2000);
			const size_t piece = n < frames.len - at ? n :
			    frames.len - at;

			send_all(fd, frames.data + at, piece);
			at += piece;
		}
		frames_free(&frames);
		sleep_us(draw(500));
	}
	if (write(report, &sent, sizeof(sent)) != sizeof(sent))
		_exit(1);
	(void)poll(NULL, 0, GUARD_MS);
	_exit(0);
}

/* ---- the reader: killed and started anew ---- */

enum reader_kind {
	READER_FIRST, /* begins the stream */
	READER_NEXT,  /* goes on, and may crash by itself */
	READER_CALM,  /* goes on, and doesn't */
};

struct reader_state {
	struct event_base *base;
	struct turn *turn;
	bool crash_submitted;   /* fires once a batch, before the reader */
	struct turn_job crash;
	uint32_t total;  /* events in the store, as of the last batch */
	uint32_t enough; /* then leave; 0: never */
};

static void
on_nothing(void *ctx)
{
	(void)ctx;
}

static int
bump(struct store_txn *txn, const char *key, uint32_t *count_out)
{
	uint32_t count = 0;
	const int rc = store_copy(txn, STORE_CALL_COLD, key, strlen(key),
	    &count, sizeof(count));

	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	count = rc == 0 ? count + 1 : 1;
	*count_out = count;
	return store_put(txn, STORE_CALL_COLD, key, strlen(key), &count,
	    sizeof(count));
}

static int
on_event(void *ctx, struct store_txn *txn, const struct ari_event *event)
{
	struct reader_state *state = ctx;
	uint32_t count;
	const int rc = bump(txn, event->call_id, &count);

	return rc != 0 ? rc : bump(txn, total_key, &state->total);
}

static void
on_committed(void *ctx, int rc)
{
	const struct reader_state *state = ctx;

	if (rc == 0 && state->enough > 0 && state->total >= state->enough)
		(void)event_base_loopbreak(state->base);
}

static void
on_dropped(void *ctx, uint64_t bytes)
{
	(void)ctx;
	(void)bytes;
	_exit(3);
}

static void
on_ended(void *ctx, const char *reason)
{
	(void)ctx;
	(void)fprintf(stderr, "reader ended: %s\n", reason);
	_exit(4);
}

static int
on_ask(void *ctx, const struct ari_mark *mark)
{
	(void)ctx;
	(void)mark;
	return 0;
}

static const struct event_reader_ops ops = {
	.started = on_nothing,
	.begin = on_nothing,
	.event = on_event,
	.committed = on_committed,
	.dropped = on_dropped,
	.ask = on_ask,
	.ended = on_ended,
};

static int
crash_apply(struct turn_job *job, struct store_txn *txn)
{
	(void)job;
	(void)txn;
	return 0;
}

/* The turn is committed; the reader's own second half comes after ours. */
static void
crash_done(struct turn_job *job, int rc)
{
	(void)job;
	(void)rc;
	(void)raise(SIGKILL);
}

/* Gathers before the reader does, so its job stands before the batch. */
static void
crash_gather(void *arg)
{
	struct reader_state *state = arg;

	if (state->crash_submitted || draw(CRASH_ONE_IN) != 0)
		return;
	state->crash_submitted = true;
	state->crash.apply = crash_apply;
	state->crash.done = crash_done;
	turn_submit(state->turn, &state->crash);
}

static uint32_t
total_in(struct store *store)
{
	struct store_txn *txn;
	uint32_t total = 0;

	if (store_begin_read(store, &txn) != 0)
		return 0;
	if (store_copy(txn, STORE_CALL_COLD, total_key, strlen(total_key),
	        &total, sizeof(total)) != 0)
		total = 0;
	store_end_read(&txn);
	return total;
}

/* Never returns. The exit status tells what went wrong; 0: enough. */
static void
read_events(struct scratch *fixture, int fd, enum reader_kind kind,
    uint32_t enough)
{
	struct reader_state state = { .enough = enough };
	struct event_reader *reader;
	uint64_t lost = 0;
	int rc;

	scratch_reopen(fixture);
	state.base = event_base_new();
	(void)event_base_priority_init(state.base, 2);
	state.turn = turn_new(state.base, fixture->store);
	if (kind == READER_NEXT &&
	    turn_add_gather(state.turn, crash_gather, &state) != 0)
		_exit(6);
	reader = event_reader_new(state.base, state.turn, fixture->store, SLOT,
	    &ping_interval_ms, &ops, &state);
	if (enough > 0 && total_in(fixture->store) >= enough)
		_exit(0);
	rc = kind == READER_FIRST ? event_reader_start(reader, fd) :
	    event_reader_resume(reader, fd, &lost);
	if (rc != 0) {
		(void)fprintf(stderr, "resume: %d, %llu lost\n", rc,
		    (unsigned long long)lost);
		_exit(5);
	}
	(void)event_base_dispatch(state.base);
	_exit(0);
}

static pid_t
spawn_reader(struct scratch *fixture, int fd, enum reader_kind kind,
    uint32_t enough)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		read_events(fixture, fd, kind, enough);
	return pid;
}

/* The master clears a dead reader's slot in the store; here we do. */
static void
clear_slots(struct scratch *fixture)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		scratch_reopen(fixture);
		_exit(store_clear_stale_readers(fixture->store) < 0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/*
 * Until the record of the stream is there, a death ends the connection: that
 * is the time before the socket is handed to the master.
 */
static void
wait_for_record(struct scratch *fixture)
{
	const uint8_t key = SLOT;
	struct store_value value;
	struct store_txn *txn;
	int rc = -KAP_NOENT;

	scratch_reopen(fixture);
	for (int i = 0; i < GUARD_MS && rc != 0; i++) {
		assert_int_equal(store_begin_read(fixture->store, &txn), 0);
		rc = store_get(txn, STORE_STREAMS, &key, 1, &value);
		store_end_read(&txn);
		sleep_us(1000);
	}
	store_close(&fixture->store);
	assert_int_equal(rc, 0);
}

static void
kill_reader(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("the reader left by itself: %d", WEXITSTATUS(status));
}

static void
check_counts(struct scratch *fixture, unsigned sent)
{
	struct store_txn *txn;

	scratch_reopen(fixture);
	assert_int_equal(total_in(fixture->store), sent);
	assert_int_equal(store_begin_read(fixture->store, &txn), 0);
	for (unsigned i = 1; i <= sent; i++) {
		uint32_t count = 0;
		char id[32];

		event_call_id(id, i);
		if (store_copy(txn, STORE_CALL_COLD, id, strlen(id), &count,
		        sizeof(count)) != 0 || count != 1)
			fail_msg("event %u of %u: %u times", i, sent, count);
	}
	store_end_read(&txn);
}

static void
test_each_event_once(void **state)
{
	struct scratch fixture = { .store = NULL };
	int client, server, stop[2], report[2], status;
	unsigned sent = 0;
	pid_t generator, reader;

	(void)state;
	scratch_open(&fixture);
	store_close(&fixture.store); /* no environment goes over a fork */
	tcp_pair(&client, &server);
	assert_int_equal(pipe(stop), 0);
	assert_int_equal(pipe(report), 0);
	generator = fork();
	assert_true(generator >= 0);
	if (generator == 0) {
		(void)close(client);
		(void)close(stop[1]);
		generate(server, stop[0], report[1]);
	}
	(void)close(server);
	(void)close(stop[0]);
	(void)close(report[1]);
	reader = spawn_reader(&fixture, client, READER_FIRST, 0);
	wait_for_record(&fixture);
	for (int i = 0; i < KILLS; i++) {
		sleep_us(draw(15000));
		kill_reader(reader);
		clear_slots(&fixture);
		reader = spawn_reader(&fixture, client, READER_NEXT, 0);
	}
	kill_reader(reader);
	/* the generator may be blocked: only a reader lets it see the stop */
	(void)close(stop[1]);
	reader = spawn_reader(&fixture, client, READER_CALM, 0);
	assert_int_equal(read(report[0], &sent, sizeof(sent)), sizeof(sent));
	kill_reader(reader);
	reader = spawn_reader(&fixture, client, READER_CALM, sent);
	assert_int_equal(waitpid(reader, &status, 0), reader);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	check_counts(&fixture, sent);
	print_message("%u events, each once, over %d kills\n", sent,
	    KILLS + 2);
	(void)kill(generator, SIGKILL);
	(void)waitpid(generator, NULL, 0);
	(void)close(client);
	(void)close(report[0]);
	scratch_remove(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_event_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
