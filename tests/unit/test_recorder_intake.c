/*
 * The recorder's work on a real store and real files: each recording into
 * the store once and announced once, whatever is in the queue, and whenever
 * the process is killed.
 */
#include "tests/unit/recording_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <event2/event.h>

#include "recorder/intake.h"
#include "shared/call_table.h"
#include "shared/child_runtime.h"
#include "shared/clock.h"
#include "shared/ledger_queue.h"
#include "shared/log.h"
#include "shared/recording_queue.h"
#include "shared/recording_store.h"
#include "shared/stats.h"
#include "shared/webhook_queue.h"

#define CALLS_MAX 300
#define NODE 7
#define LOOP_LIMIT_S 120 /* a test that hangs ends */

struct recorded {
	char call_id[CALL_ID_SIZE];
	char name[CALL_RECORDING_SIZE];
	uint32_t frames;
	unsigned completed; /* events seen */
	unsigned posted;    /* ledger entries seen */
};

struct state {
	char data[FIXTURE_PATH];
	char spool_base[FIXTURE_PATH];
	char recordings[RECORDING_DIR_SIZE];
	struct config config;
	struct store *store;
	struct event_base *base;
	struct intake *intake;
	uint64_t wait_for; /* jobs left in the queue at which to stop */
	bool drained;
	unsigned count;
	struct recorded calls[CALLS_MAX];
};

static uint64_t random_state;

static uint32_t
random_below(uint32_t limit)
{
	random_state = random_state * 6364136223846793005U +
	    1442695040888963407U;
	return (uint32_t)(random_state >> 33) % limit;
}

static void
open_all(struct state *state)
{
	struct kap_errmsg msg = { .text = "" };

	if (store_open(&state->store, state->data, 64, DURABILITY_NORMAL,
	        &msg) != 0)
		fail_msg("%s", msg.text);
	state->base = event_base_new();
	assert_non_null(state->base);
	assert_int_equal(event_base_priority_init(state->base,
	    CHILD_PRIORITY_COUNT), 0);
	state->intake = intake_new(state->base, state->store, &state->config);
	assert_non_null(state->intake);
}

static void
close_all(struct state *state)
{
	intake_free(&state->intake);
	store_close(&state->store);
	if (state->base != NULL)
		event_base_free(state->base);
	state->base = NULL;
}

static int
set_up(void **arg, bool far)
{
	struct state *state = calloc(1, sizeof(*state));

	log_init("recorder", -1, LOG_LEVEL_ERROR + 1, LOG_FORMAT_TEXT);
	if (state == NULL || fixture_make_dir("/tmp", state->data) == NULL ||
	    fixture_make_dir(far ? "/dev/shm" : "/tmp", state->spool_base) ==
	        NULL)
		return -1;
	config_init(&state->config);
	(void)snprintf(state->config.node.data_dir, CONFIG_TEXT_MAX, "%.500s",
	    state->data);
	(void)snprintf(state->config.asterisk.recording_dir, CONFIG_TEXT_MAX,
	    "%.500s", state->spool_base);
	state->config.recorder.retry_ms = 10;
	recording_store_dir(&state->config, state->recordings);
	random_state = (uint64_t)clock_mono_us();
	open_all(state);
	*arg = state;
	return 0;
}

static int
set_up_near(void **arg)
{
	return set_up(arg, false);
}

static int
set_up_far(void **arg)
{
	return set_up(arg, true);
}

static int
tear_down(void **arg)
{
	struct state *state = *arg;

	close_all(state);
	fixture_remove_dir(state->spool_base);
	fixture_remove_dir(state->data);
	free(state);
	return 0;
}

static void
step(struct store_txn *txn, const char *call_id, enum call_input_kind kind)
{
	const struct call_input input = { .kind = kind,
		.at_ms = clock_wall_ms(), .cause = 16, .duration_s = 1 };
	const struct call_now now = { .wall_ms = clock_wall_ms(),
		.boot_ms = clock_deadline_ms(), .originate_timeout_ms = 5000 };
	struct call_step done;

	assert_int_equal(call_table_step(txn, call_id, &input, &now, &done),
	    0);
}

/* A call from its creation to its recording in the recorder's queue. */
static void
make_call(struct store_txn *txn, struct recorded *recorded)
{
	static const enum call_input_kind life[] = { CALL_IN_ORIGINATE_OK,
		CALL_IN_UP, CALL_IN_STASIS_START, CALL_IN_RECORD_OK,
		CALL_IN_RECORDING_STARTED, CALL_IN_RECORDING_FINISHED,
		CALL_IN_DESTROYED };
	const struct call_cold cold = { "https://hook.example/", "", "", 1,
		{ "carrier" }, { "PJSIP/0014155550100@carrier" }, "", "",
		"" };
	const struct call_now now = { .wall_ms = clock_wall_ms(),
		.boot_ms = clock_deadline_ms(), .originate_timeout_ms = 5000 };
	struct call call = { .key_id = 1, .trunk_count = 1,
		.ring_timeout_s = 30, .max_duration_s = 3600,
		.flags = CALL_F_RECORD | CALL_F_WEBHOOK,
		.number = "14155550100" };
	struct call_step done;

	assert_int_equal(call_table_create(txn, &call, &cold, NODE, &now,
	    &done), 0);
	for (size_t i = 0; i < sizeof(life) / sizeof(life[0]); i++)
		step(txn, done.call.id, life[i]);
	assert_int_equal(call_table_get(txn, done.call.id, &call), 0);
	memcpy(recorded->call_id, call.id, sizeof(recorded->call_id));
	call_recording_name(&call, recorded->name);
}

static void
source_path(const struct state *state, unsigned i, char out[FIXTURE_PATH + 80])
{
	(void)snprintf(out, FIXTURE_PATH + 80, "%s/%s.wav", state->spool_base,
	    state->calls[i].name);
}

static void
write_source(struct state *state, unsigned i)
{
	char path[FIXTURE_PATH + 80];

	source_path(state, i, path);
	fixture_write_wav(path, state->calls[i].frames);
}

/* So many calls; their files come with write_source. */
static void
make_calls(struct state *state, unsigned count, uint32_t frames_max)
{
	struct store_txn *txn;

	assert_in_range(count, 1, CALLS_MAX);
	assert_int_equal(store_begin_write(state->store, &txn), 0);
	for (unsigned i = 0; i < count; i++) {
		make_call(txn, &state->calls[i]);
		state->calls[i].frames = random_below(frames_max);
	}
	assert_int_equal(store_commit(&txn), 0);
	state->count = count;
}

static uint64_t
queue_length(struct store *store)
{
	struct store_txn *txn;
	uint64_t count = UINT64_MAX;

	assert_int_equal(store_begin_read(store, &txn), 0);
	assert_int_equal(store_count(txn, STORE_RECORDINGS, &count), 0);
	store_end_read(&txn);
	return count;
}

static void
on_look(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct state *state = arg;

	if (queue_length(state->store) <= state->wait_for)
		(void)event_base_loopbreak(state->base);
}

/* Let the recorder work until only so many jobs are left. */
static bool
run_until(struct state *state, uint64_t left)
{
	const struct timeval often = { .tv_usec = 2000 };
	const struct timeval limit = { .tv_sec = LOOP_LIMIT_S };
	struct event *look = event_new(state->base, -1, EV_PERSIST, on_look,
	    state);

	state->wait_for = left;
	(void)event_add(look, &often);
	(void)event_base_loopexit(state->base, &limit);
	intake_wake(state->intake);
	(void)event_base_dispatch(state->base);
	event_free(look);
	return queue_length(state->store) == left;
}

static struct recorded *
find_call(struct state *state, const char *call_id)
{
	for (unsigned i = 0; i < state->count; i++) {
		if (strcmp(state->calls[i].call_id, call_id) == 0)
			return &state->calls[i];
	}
	fail_msg("unknown call %s", call_id);
	abort(); /* not reached */
}

static void
count_event(struct state *state, const struct store_value *value)
{
	struct webhook_event event;
	struct recorded *recorded;

	assert_int_equal(value->len, sizeof(event));
	memcpy(&event, value->data, sizeof(event));
	if (event.kind != CALL_EV_RECORDING_COMPLETED)
		return;
	recorded = find_call(state, event.call.id);
	recorded->completed++;
	assert_int_equal(event.recording_size_bytes,
	    44 + 2 * recorded->frames);
	assert_int_equal(event.recording_duration_s,
	    (recorded->frames + 4000) / 8000);
}

static void
count_entry(struct state *state, const struct store_value *value)
{
	struct ledger_entry entry;

	assert_int_equal(value->len, sizeof(entry));
	memcpy(&entry, value->data, sizeof(entry));
	if (entry.kind == LEDGER_RECORDING)
		find_call(state, entry.call.id)->posted++;
}

static void
walk(struct state *state, enum store_table table,
    void (*visit)(struct state *, const struct store_value *))
{
	struct store_cursor *cursor;
	struct store_txn *txn;
	struct store_value key;
	struct store_value value;

	assert_int_equal(store_begin_read(state->store, &txn), 0);
	assert_int_equal(store_walk(txn, table, NULL, 0, &cursor), 0);
	while (store_walk_next(cursor, &key, &value) == 0)
		visit(state, &value);
	store_walk_end(&cursor);
	store_end_read(&txn);
}

static void
count_announcements(struct state *state)
{
	for (unsigned i = 0; i < state->count; i++) {
		state->calls[i].completed = 0;
		state->calls[i].posted = 0;
	}
	walk(state, STORE_WEBHOOKS, count_event);
	walk(state, STORE_LEDGER, count_entry);
}

/* Is recording i in the store, whole, and announced once? Or not at all? */
static void
expect_taken(const struct state *state, unsigned i, bool taken)
{
	const struct recorded *recorded = &state->calls[i];
	char source[FIXTURE_PATH + 80];
	char stored[RECORDING_PATH_SIZE];
	const unsigned times = taken ? 1 : 0;

	source_path(state, i, source);
	assert_int_equal(recording_store_path(state->recordings,
	    recorded->name, stored), 0);
	if (recorded->completed != times || recorded->posted != times)
		fail_msg("%s: announced %u times, posted %u times",
		    recorded->name, recorded->completed, recorded->posted);
	if (!taken) {
		assert_int_equal(fixture_size(stored), -1);
		return;
	}
	assert_int_equal(fixture_size(source), -1);
	assert_int_equal(fixture_size(stored), 44 + 2 * recorded->frames);
}

static void
expect_all_taken(struct state *state)
{
	count_announcements(state);
	for (unsigned i = 0; i < state->count; i++)
		expect_taken(state, i, true);
	assert_int_equal(fixture_count_files(state->spool_base), 0);
	assert_int_equal(fixture_count_files(state->recordings), state->count);
}

static uint32_t
refs_of(const struct state *state, unsigned i)
{
	struct store_txn *txn;
	struct call call = { .refs = 0 };

	assert_int_equal(store_begin_read(state->store, &txn), 0);
	assert_int_equal(call_table_get(txn, state->calls[i].call_id, &call),
	    0);
	store_end_read(&txn);
	return call.refs;
}

static uint64_t
stat_of(enum stats_counter counter)
{
	return stats_row()->counters[counter];
}

static void
every_recording_is_stored_and_announced_once(void **arg)
{
	struct state *state = *arg;
	const uint64_t stored = stat_of(STATS_recordings_stored);
	uint32_t refs;

	make_calls(state, 40, 50000);
	refs = refs_of(state, 0);
	for (unsigned i = 0; i < state->count; i++)
		write_source(state, i);
	assert_true(run_until(state, 0));
	expect_all_taken(state);
	assert_int_equal(stat_of(STATS_recordings_stored) - stored, 40);
	assert_int_equal(stats_row()->live, 0);
	/* the recorder's reference is gone, its event's came */
	assert_int_equal(refs_of(state, 0), refs);
}

static void
bad_jobs_hold_up_none_and_are_tried_again(void **arg)
{
	struct state *state = *arg;
	char path[FIXTURE_PATH + 80];

	make_calls(state, 30, 5000);
	for (unsigned i = 12; i < 30; i++)
		write_source(state, i);
	for (unsigned i = 0; i < 6; i++) { /* the other six are missing */
		source_path(state, i, path);
		fixture_write(path, "RIFF\0\0\0\0WAVE", 12);
	}
	assert_true(run_until(state, 12));
	count_announcements(state);
	for (unsigned i = 0; i < 30; i++)
		expect_taken(state, i, i >= 12);
	assert_int_equal(stats_row()->live, 12);
	for (unsigned i = 0; i < 12; i++)
		write_source(state, i);
	assert_true(run_until(state, 0));
	expect_all_taken(state);
}

static void
what_never_came_is_given_up(void **arg)
{
	struct state *state = *arg;
	const uint64_t failed = stat_of(STATS_recordings_failed);
	char path[FIXTURE_PATH + 80];
	char aside[RECORDING_PATH_SIZE];
	uint32_t refs;

	make_calls(state, 3, 5000);
	refs = refs_of(state, 0);
	write_source(state, 2);
	source_path(state, 1, path);
	fixture_write(path, "RIFF\0\0\0\0WAVE", 12);
	state->config.recorder.give_up_s = 0;
	assert_true(run_until(state, 0));
	count_announcements(state);
	expect_taken(state, 0, false);
	expect_taken(state, 1, false);
	expect_taken(state, 2, true); /* late is not never */
	assert_int_equal(stat_of(STATS_recordings_failed) - failed, 2);
	assert_int_equal(refs_of(state, 0), refs - 1);
	assert_int_equal(recording_store_damaged_path(state->recordings,
	    state->calls[1].name, aside), 0);
	assert_int_equal(fixture_size(aside), 12);
}

static void
garbage_is_given_up_at_once(void **arg)
{
	struct state *state = *arg;
	char path[FIXTURE_PATH + 80];
	char aside[RECORDING_PATH_SIZE];

	make_calls(state, 2, 5000);
	source_path(state, 0, path);
	fixture_write(path, "this is no recording", 20);
	write_source(state, 1);
	assert_true(run_until(state, 0));
	count_announcements(state);
	expect_taken(state, 0, false);
	expect_taken(state, 1, true);
	assert_int_equal(recording_store_damaged_path(state->recordings,
	    state->calls[0].name, aside), 0);
	assert_int_equal(fixture_size(aside), 20);
}

static void
a_job_without_its_call_is_stored_and_dropped(void **arg)
{
	struct state *state = *arg;
	const char *id = state->calls[0].call_id;
	char stored[RECORDING_PATH_SIZE];
	struct store_txn *txn;

	make_calls(state, 2, 5000);
	write_source(state, 0);
	write_source(state, 1);
	assert_int_equal(store_begin_write(state->store, &txn), 0);
	assert_int_equal(store_del(txn, STORE_CALLS, id, strlen(id)), 0);
	assert_int_equal(store_commit(&txn), 0);
	assert_true(run_until(state, 0));
	count_announcements(state);
	expect_taken(state, 1, true);
	assert_int_equal(state->calls[0].completed, 0);
	assert_int_equal(recording_store_path(state->recordings,
	    state->calls[0].name, stored), 0);
	assert_int_equal(fixture_size(stored), 44 + 2 * state->calls[0].frames);
}

/* A restart in good order has the old one and the new one side by side. */
static void
two_recorders_announce_once(void **arg)
{
	struct state *state = *arg;
	struct intake *other = intake_new(state->base, state->store,
	    &state->config);

	assert_non_null(other);
	make_calls(state, 100, 5000);
	for (unsigned i = 0; i < state->count; i++)
		write_source(state, i);
	intake_wake(other);
	assert_true(run_until(state, 0));
	intake_free(&other);
	expect_all_taken(state);
}

static void
on_drained(void *ctx)
{
	struct state *state = ctx;

	state->drained = true;
	(void)event_base_loopbreak(state->base);
}

static void
a_drain_finishes_what_is_under_way(void **arg)
{
	struct state *state = *arg;
	uint64_t left;

	make_calls(state, 40, 5000);
	for (unsigned i = 0; i < state->count; i++)
		write_source(state, i);
	intake_wake(state->intake); /* some are begun now */
	intake_drain(state->intake, on_drained, state);
	assert_false(state->drained);
	intake_wake(state->intake); /* begins nothing more */
	(void)event_base_dispatch(state->base);
	assert_true(state->drained);
	left = queue_length(state->store);
	assert_in_range(left, 40 - 16, 39);
	assert_int_equal(fixture_count_files(state->spool_base), left);
	close_all(state);
	open_all(state);
	assert_true(run_until(state, 0));
	expect_all_taken(state);
	state->drained = false;
	intake_drain(state->intake, on_drained, state);
	assert_true(state->drained); /* nothing under way: at once */
}

/* A recorder's life, as in its main(); ends when the queue is empty. */
static _Noreturn void
live_as_recorder(struct state *state)
{
	bool done;

	open_all(state);
	done = recording_store_clear_incoming(state->recordings, NODE) >= 0 &&
	    run_until(state, 0);
	close_all(state);
	_exit(done ? 0 : 1);
}

/* Kill it after a while; true when it had come to its end before. */
static bool
let_live_for(struct state *state, uint32_t us)
{
	const struct timespec while_ = { .tv_nsec = (long)us * 1000 };
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		live_as_recorder(state);
	(void)nanosleep(&while_, NULL);
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 0);
		return true;
	}
	assert_int_equal(WTERMSIG(status), SIGKILL);
	return false;
}

static void
kill_until_done(struct state *state, uint32_t frames_max)
{
	const uint64_t seed = random_state;
	unsigned kills = 0;
	bool done = false;

	make_calls(state, CALLS_MAX, frames_max);
	for (unsigned i = 0; i < state->count; i++)
		write_source(state, i);
	close_all(state);
	/* longer and longer, so that it comes to an end on any machine */
	for (uint32_t i = 0; i < 2000 && !done; i++) {
		done = let_live_for(state, 1000 + random_below(3000 +
		    i * 50));
		kills += done ? 0 : 1;
	}
	print_message("seed %llu: %u kills\n", (unsigned long long)seed,
	    kills);
	assert_true(done);
	open_all(state);
	expect_all_taken(state);
}

static void
killed_at_any_moment_it_loses_and_repeats_nothing(void **arg)
{
	kill_until_done(*arg, 5000);
}

static void
killed_while_copying_it_loses_and_repeats_nothing(void **arg)
{
	kill_until_done(*arg, 400000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define NEAR(name) \
	cmocka_unit_test_setup_teardown(name, set_up_near, tear_down)
#define FAR(name) \
	cmocka_unit_test_setup_teardown(name, set_up_far, tear_down)
		NEAR(every_recording_is_stored_and_announced_once),
		NEAR(bad_jobs_hold_up_none_and_are_tried_again),
		NEAR(what_never_came_is_given_up),
		NEAR(garbage_is_given_up_at_once),
		NEAR(a_job_without_its_call_is_stored_and_dropped),
		NEAR(two_recorders_announce_once),
		NEAR(a_drain_finishes_what_is_under_way),
		NEAR(killed_at_any_moment_it_loses_and_repeats_nothing),
		FAR(killed_while_copying_it_loses_and_repeats_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
