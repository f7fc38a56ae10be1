/*
 * Taking one recording: into the store by rename and by copy, from every
 * point where a try before may have been killed, and everything that can be
 * in a recording's place.
 */
#include "tests/unit/recording_fixture.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "recorder/take.h"
#include "shared/recording_store.h"

#define NAME "call-1720012345.88001-1739781234567"
#define FRAMES 20000U /* 2.5 s: 3 */
#define BYTES (44 + 2 * FRAMES)

struct state {
	bool far; /* the spool is on another filesystem than the store */
	char spool_base[FIXTURE_PATH];
	char store_base[FIXTURE_PATH];
	char spool[FIXTURE_PATH];
	char store[FIXTURE_PATH];
	char source[FIXTURE_PATH + 64];
	char stored[RECORDING_PATH_SIZE];
	char damaged[RECORDING_PATH_SIZE];
	struct take_request request;
	struct take_outcome outcome;
};

static int
set_up(void **arg, bool far)
{
	struct state *state = calloc(1, sizeof(*state));

	if (state == NULL ||
	    fixture_make_dir("/tmp", state->store_base) == NULL ||
	    fixture_make_dir(far ? "/dev/shm" : "/tmp", state->spool_base) ==
	        NULL)
		return -1;
	state->far = far;
	fixture_make_folder(state->spool_base, "spool", state->spool);
	(void)snprintf(state->store, sizeof(state->store), "%.900s/store",
	    state->store_base);
	(void)snprintf(state->source, sizeof(state->source), "%s/%s.wav",
	    state->spool, NAME);
	state->request = (struct take_request){ state->spool, state->store,
		NAME, false };
	*arg = state;
	if (recording_store_path(state->store, NAME, state->stored) != 0)
		return -1;
	return recording_store_damaged_path(state->store, NAME,
	    state->damaged);
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

	fixture_remove_dir(state->spool_base);
	fixture_remove_dir(state->store_base);
	free(state);
	return 0;
}

/* Without a second filesystem there is nothing to test. */
static void
skip_unless_far(const struct state *state)
{
	struct stat spool;
	struct stat store;

	assert_int_equal(stat(state->spool_base, &spool), 0);
	assert_int_equal(stat(state->store_base, &store), 0);
	if (state->far && spool.st_dev == store.st_dev)
		skip();
}

static void
expect(struct state *state, enum take_result result)
{
	take_recording(&state->request, &state->outcome);
	if (state->outcome.result != result)
		fail_msg("%s, not %s: %s",
		    take_result_name(state->outcome.result),
		    take_result_name(result), state->outcome.msg.text);
}

static void
expect_stored(struct state *state)
{
	expect(state, TAKE_STORED);
	assert_int_equal(state->outcome.duration_s, 3);
	assert_int_equal(state->outcome.size_bytes, BYTES);
	assert_int_equal(fixture_size(state->stored), BYTES);
	assert_int_equal(fixture_count_files(state->spool), 0);
	assert_int_equal(fixture_count_files(state->store), 1);
}

static void
a_recording_is_moved_and_measured(void **arg)
{
	struct state *state = *arg;

	skip_unless_far(state);
	fixture_write_wav(state->source, FRAMES);
	expect_stored(state);
	/* killed after the move, before the commit: the same again */
	expect_stored(state);
	state->request.last_try = true;
	expect_stored(state);
}

static void
a_long_recording_is_copied_byte_by_byte(void **arg)
{
	struct state *state = *arg;
	const uint32_t frames = 3000001; /* many pieces and a bit */
	uint8_t was[64];
	uint8_t is[64];
	int fd;

	skip_unless_far(state);
	fixture_write_wav(state->source, frames);
	fd = open(state->source, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, was, 64, 2 * 2999000), 64);
	assert_int_equal(close(fd), 0);
	expect(state, TAKE_STORED);
	assert_int_equal(state->outcome.size_bytes, 44 + 2 * frames);
	assert_int_equal(fixture_size(state->stored), 44 + 2 * frames);
	fd = open(state->stored, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, is, 64, 2 * 2999000), 64);
	assert_int_equal(close(fd), 0);
	assert_memory_equal(was, is, 64);
	assert_int_equal(fixture_count_files(state->spool), 0);
	assert_int_equal(fixture_count_files(state->store), 1);
}

static void
a_copy_that_was_finished_is_not_made_again(void **arg)
{
	struct state *state = *arg;
	struct stat before;
	struct stat after;

	skip_unless_far(state);
	fixture_write_wav(state->source, FRAMES);
	expect_stored(state);
	assert_int_equal(stat(state->stored, &before), 0);
	/* killed between the rename and the unlink */
	fixture_write_wav(state->source, FRAMES);
	expect_stored(state);
	assert_int_equal(stat(state->stored, &after), 0);
	if (state->far)
		assert_int_equal(before.st_ino, after.st_ino);
}

static void
a_leftover_of_a_copy_is_no_hindrance(void **arg)
{
	struct state *state = *arg;
	char part[RECORDING_PATH_SIZE];

	skip_unless_far(state);
	assert_int_equal(recording_store_incoming_path(state->store, NAME,
	    getpid(), part), 0);
	assert_int_equal(recording_store_make_folders(state->store, part), 0);
	fixture_write(part, "half", 4);
	fixture_write_wav(state->source, FRAMES);
	expect(state, TAKE_STORED);
	assert_int_equal(fixture_size(state->stored), BYTES);
	if (state->far) /* else nobody looked there */
		assert_int_equal(fixture_size(part), -1);
}

static void
what_is_not_there_is_missing(void **arg)
{
	struct state *state = *arg;

	expect(state, TAKE_MISSING);
	state->request.last_try = true;
	expect(state, TAKE_MISSING);
	assert_int_equal(fixture_count_files(state->store_base), 0);
	/* a spool that isn't there says nothing about its files */
	state->request.spool_dir = "/nonexistent/spool";
	expect(state, TAKE_DENIED);
}

static void
an_unfinished_file_waits_and_is_set_aside_at_last(void **arg)
{
	struct state *state = *arg;

	skip_unless_far(state);
	fixture_write_wav(state->source, FRAMES);
	assert_int_equal(truncate(state->source, 1000), 0);
	expect(state, TAKE_UNFINISHED);
	assert_int_equal(fixture_size(state->source), 1000);
	assert_int_equal(fixture_count_files(state->store_base), 0);
	state->request.last_try = true;
	expect(state, TAKE_DAMAGED);
	assert_int_equal(fixture_size(state->damaged), 1000);
	assert_int_equal(fixture_count_files(state->spool), 0);
	/* killed before the commit: the same again */
	expect(state, TAKE_DAMAGED);
	state->request.last_try = false;
	expect(state, TAKE_DAMAGED);
	assert_int_equal(fixture_count_files(state->store), 1);
}

static void
an_unfinished_file_is_taken_when_it_is_finished(void **arg)
{
	struct state *state = *arg;
	static uint8_t bytes[BYTES];

	fixture_put_head(bytes, 0, 0);
	fixture_write(state->source, bytes, sizeof(bytes));
	expect(state, TAKE_UNFINISHED);
	fixture_put_head(bytes, 36 + 2 * FRAMES, 2 * FRAMES);
	fixture_write(state->source, bytes, sizeof(bytes));
	expect_stored(state);
}

static void
garbage_is_set_aside_at_once(void **arg)
{
	struct state *state = *arg;

	skip_unless_far(state);
	fixture_write(state->source, "this is no recording", 20);
	expect(state, TAKE_DAMAGED);
	assert_string_equal(state->outcome.msg.text, "is not a WAV file");
	assert_int_equal(fixture_size(state->damaged), 20);
	assert_int_equal(fixture_count_files(state->spool), 0);
	assert_int_equal(fixture_count_files(state->store), 1);
}

static void
a_stored_file_that_broke_is_set_aside(void **arg)
{
	struct state *state = *arg;

	fixture_write_wav(state->source, FRAMES);
	expect_stored(state);
	assert_int_equal(truncate(state->stored, 100), 0);
	expect(state, TAKE_DAMAGED);
	assert_int_equal(fixture_size(state->damaged), 100);
	assert_int_equal(fixture_count_files(state->store), 1);
}

static void
a_link_is_refused_and_left_alone(void **arg)
{
	struct state *state = *arg;
	char target[FIXTURE_PATH + 64];

	(void)snprintf(target, sizeof(target), "%s/target.wav",
	    state->store_base);
	fixture_write_wav(target, FRAMES);
	assert_int_equal(symlink(target, state->source), 0);
	expect(state, TAKE_REFUSED);
	assert_int_equal(fixture_size(target), BYTES);
	assert_true(fixture_size(state->source) > 0);
	assert_int_equal(unlink(state->source), 0);
	assert_int_equal(mkfifo(state->source, 0644), 0);
	expect(state, TAKE_REFUSED);
	assert_int_equal(unlink(state->source), 0);
	assert_int_equal(mkdir(state->source, 0755), 0);
	expect(state, TAKE_REFUSED);
	assert_int_equal(fixture_size(state->stored), -1);
}

static void
a_name_that_is_none_is_refused(void **arg)
{
	static const char *const names[] = { "", "../../etc/passwd",
		"call-1720012345.88001", "x", ".." };
	struct state *state = *arg;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		state->request.name = names[i];
		expect(state, TAKE_REFUSED);
	}
}

/* Run `body` in a process of its own, which may give up what it can do. */
static void
run_apart(struct state *state, void (*body)(struct state *))
{
	int status;
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		body(state);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	if (WEXITSTATUS(status) != 0)
		fail_msg("step %d", WEXITSTATUS(status));
}

static enum take_result
result_now(struct state *state)
{
	take_recording(&state->request, &state->outcome);
	return state->outcome.result;
}

static void
become_nobody(void)
{
	if (getuid() == 0 &&
	    (setresgid(65534, 65534, 65534) != 0 ||
	        setresuid(65534, 65534, 65534) != 0))
		_exit(77);
}

/* _exit tells the step that went wrong, for asserts end the parent's test. */
static void
try_without_rights(struct state *state)
{
	become_nobody();
	if (result_now(state) != TAKE_DENIED)
		_exit(1); /* the file can't be read */
	if (state->outcome.msg.text[0] == '\0')
		_exit(2);
	_exit(0);
}

static void
a_file_that_may_not_be_read_waits(void **arg)
{
	struct state *state = *arg;

	fixture_write_wav(state->source, FRAMES);
	assert_int_equal(chmod(state->source, 0), 0);
	assert_int_equal(chmod(state->spool_base, 0755), 0);
	run_apart(state, try_without_rights);
	assert_int_equal(fixture_size(state->source), BYTES);
	assert_int_equal(chmod(state->source, 0644), 0);
	expect_stored(state);
}

static void
try_with_a_spool_to_read_alone(struct state *state)
{
	become_nobody();
	for (int i = 0; i < 2; i++) {
		if (result_now(state) != TAKE_DENIED)
			_exit(1);
		/* no copy of what can't be removed is made */
		if (fixture_size(state->stored) >= 0)
			_exit(2);
	}
	_exit(0);
}

static void
a_file_that_may_not_be_removed_waits(void **arg)
{
	struct state *state = *arg;

	skip_unless_far(state);
	fixture_write_wav(state->source, FRAMES);
	assert_int_equal(chmod(state->source, 0644), 0);
	assert_int_equal(chmod(state->spool_base, 0755), 0);
	assert_int_equal(chmod(state->spool, 0555), 0);
	assert_int_equal(mkdir(state->store, 0777), 0);
	assert_int_equal(chmod(state->store, 0777), 0);
	assert_int_equal(chmod(state->store_base, 0755), 0);
	run_apart(state, try_with_a_spool_to_read_alone);
	assert_int_equal(chmod(state->spool, 0755), 0);
}

static void
try_with_a_full_store(struct state *state)
{
	if (unshare(CLONE_NEWNS) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mkdir(state->store, 0755) != 0 ||
	    mount("tmpfs", state->store, "tmpfs", 0, "size=64k") != 0)
		_exit(77);
	if (result_now(state) != TAKE_NO_SPACE)
		_exit(1);
	/* the file stays, and nothing of it is left behind */
	if (fixture_size(state->source) != 44 + 2 * 100000)
		_exit(2);
	if (fixture_count_files(state->store) != 0)
		_exit(3);
	/* room again: on it goes */
	if (mount(NULL, state->store, NULL, MS_REMOUNT, "size=8m") != 0)
		_exit(77);
	if (result_now(state) != TAKE_STORED)
		_exit(4);
	if (fixture_size(state->source) >= 0)
		_exit(5);
	_exit(fixture_size(state->stored) == 44 + 2 * 100000 ? 0 : 6);
}

static void
a_full_disk_is_waited_for(void **arg)
{
	struct state *state = *arg;

	fixture_write_wav(state->source, 100000);
	run_apart(state, try_with_a_full_store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define NEAR(name) \
	cmocka_unit_test_setup_teardown(name, set_up_near, tear_down)
#define FAR(name) \
	{ #name " (far)", name, set_up_far, tear_down, NULL }
		NEAR(a_recording_is_moved_and_measured),
		FAR(a_recording_is_moved_and_measured),
		NEAR(a_long_recording_is_copied_byte_by_byte),
		FAR(a_long_recording_is_copied_byte_by_byte),
		NEAR(a_copy_that_was_finished_is_not_made_again),
		FAR(a_copy_that_was_finished_is_not_made_again),
		NEAR(a_leftover_of_a_copy_is_no_hindrance),
		FAR(a_leftover_of_a_copy_is_no_hindrance),
		NEAR(what_is_not_there_is_missing),
		NEAR(an_unfinished_file_waits_and_is_set_aside_at_last),
		FAR(an_unfinished_file_waits_and_is_set_aside_at_last),
		NEAR(an_unfinished_file_is_taken_when_it_is_finished),
		NEAR(garbage_is_set_aside_at_once),
		FAR(garbage_is_set_aside_at_once),
		NEAR(a_stored_file_that_broke_is_set_aside),
		NEAR(a_link_is_refused_and_left_alone),
		NEAR(a_name_that_is_none_is_refused),
		NEAR(a_file_that_may_not_be_read_waits),
		NEAR(a_file_that_may_not_be_removed_waits),
		FAR(a_file_that_may_not_be_removed_waits),
		NEAR(a_full_disk_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
