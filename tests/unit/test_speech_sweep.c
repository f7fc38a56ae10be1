/*
 * recorder/speech_sweep.c on real folders: the oldest use goes first, what is
 * recent stays, what dead processes left goes, and nothing else is touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "loop_fixture.h"
#include "recorder/speech_sweep.h"
#include "shared/clock.h"
#include "shared/speech_cache.h"

#define NOW_S 2000000000
#define OLD_S (NOW_S - SPEECH_KEEP_S - 10)
#define FILE_BYTES 1000

struct fixture {
	char dir[64];
	struct speech_sweep_outcome outcome;
};

/* The linker puts this in the place of flock(). */
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

static const char *replaced; /* a file that another replaces just before */

int
__wrap_flock(int fd, int operation)
{
	if (replaced != NULL) {
		assert_int_equal(unlink(replaced), 0);
		(void)close(open(replaced, O_WRONLY | O_CREAT | O_EXCL, 0644));
		replaced = NULL;
	}
	return __real_flock(fd, operation);
}

static int
set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	(void)snprintf(fixture->dir, sizeof(fixture->dir),
	    "/tmp/kaphila-sweep-XXXXXX");
	*state = fixture;
	return mkdtemp(fixture->dir) != NULL ? 0 : -1;
}

static int
remove_entry(const char *path, const struct stat *st KAP_UNUSED,
    int kind KAP_UNUSED, struct FTW *ftw KAP_UNUSED)
{
	return remove(path);
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;

	(void)nftw(fixture->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

/* A file of the n-th text. */
static void
path_of(const struct fixture *fixture, unsigned n, enum speech_file kind,
    char path[SPEECH_PATH_SIZE])
{
	char hash[SPEECH_HASH_SIZE];
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", n);
	assert_int_equal(speech_cache_hash("e", "v", text, hash), 0);
	speech_cache_path(fixture->dir, hash, kind, path);
}

static void
set_time(const char *path, int64_t used_s)
{
	const struct timespec times[2] = { { .tv_sec = used_s },
		{ .tv_sec = used_s } };

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void
put_file(const struct fixture *fixture, unsigned n, enum speech_file kind,
    int64_t used_s)
{
	char path[SPEECH_PATH_SIZE];
	char folder[SPEECH_PATH_SIZE];
	int fd;

	path_of(fixture, n, kind, path);
	(void)snprintf(folder, sizeof(folder), "%.*s",
	    (int)(strrchr(path, '/') - path), path);
	(void)mkdir(folder, 0755);
	fd = open(path, O_WRONLY | O_CREAT, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_BYTES), 0);
	(void)close(fd);
	set_time(path, used_s);
}

static bool
is_there(const struct fixture *fixture, unsigned n, enum speech_file kind)
{
	char path[SPEECH_PATH_SIZE];

	path_of(fixture, n, kind, path);
	return access(path, F_OK) == 0;
}

static void
sweep(struct fixture *fixture, uint64_t max_bytes)
{
	assert_int_equal(speech_sweep_run(fixture->dir, max_bytes, NOW_S,
	    &fixture->outcome), 0);
}

static void
test_oldest_first(void **state)
{
	struct fixture *fixture = *state;

	/* 300 is the oldest, 1 was used last */
	for (unsigned n = 1; n <= 300; n++)
		put_file(fixture, n, SPEECH_FILE_WAV, OLD_S - n);
	sweep(fixture, 300 * FILE_BYTES);
	assert_int_equal(fixture->outcome.removed, 0);
	sweep(fixture, 100 * FILE_BYTES + FILE_BYTES / 2);
	assert_int_equal(fixture->outcome.removed, 200);
	assert_int_equal(fixture->outcome.kept, 100);
	assert_int_equal(fixture->outcome.kept_bytes, 100 * FILE_BYTES);
	for (unsigned n = 1; n <= 300; n++)
		assert_true(is_there(fixture, n, SPEECH_FILE_WAV) ==
		    (n <= 100));
}

static void
test_recent_stays(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned n = 1; n <= 10; n++)
		put_file(fixture, n, SPEECH_FILE_WAV, n <= 5 ?
		    NOW_S - SPEECH_KEEP_S + 5 : OLD_S);
	put_file(fixture, 11, SPEECH_FILE_WAV, NOW_S + 1000);
	/* 11 of them are not over twice that */
	sweep(fixture, 5 * FILE_BYTES + 500);
	assert_int_equal(fixture->outcome.removed, 5);
	assert_int_equal(fixture->outcome.kept, 6);
	assert_int_equal(fixture->outcome.kept_bytes, 6 * FILE_BYTES);
	for (unsigned n = 1; n <= 11; n++)
		assert_true(is_there(fixture, n, SPEECH_FILE_WAV) ==
		    (n <= 5 || n == 11));
}

static void
test_leftovers(void **state)
{
	struct fixture *fixture = *state;
	char path[SPEECH_PATH_SIZE];
	char hash[SPEECH_HASH_SIZE];
	int held;

	put_file(fixture, 1, SPEECH_FILE_TEMPORARY, OLD_S);
	put_file(fixture, 2, SPEECH_FILE_TEMPORARY, NOW_S - 5);
	put_file(fixture, 3, SPEECH_FILE_LOCK, OLD_S);
	put_file(fixture, 4, SPEECH_FILE_LOCK, NOW_S - 5);
	assert_int_equal(speech_cache_hash("e", "v", "5", hash), 0);
	held = speech_cache_lock(fixture->dir, hash);
	assert_true(held >= 0);
	path_of(fixture, 5, SPEECH_FILE_LOCK, path);
	set_time(path, OLD_S);
	sweep(fixture, 1 << 20);
	assert_int_equal(fixture->outcome.leftovers, 2);
	assert_false(is_there(fixture, 1, SPEECH_FILE_TEMPORARY));
	assert_true(is_there(fixture, 2, SPEECH_FILE_TEMPORARY));
	assert_false(is_there(fixture, 3, SPEECH_FILE_LOCK));
	assert_true(is_there(fixture, 4, SPEECH_FILE_LOCK));
	assert_true(is_there(fixture, 5, SPEECH_FILE_LOCK));
	speech_cache_unlock(fixture->dir, hash, &held);
	assert_false(is_there(fixture, 5, SPEECH_FILE_LOCK));
}

/* Between the look at a lock and the hold on it another one took its name. */
static void
test_replaced_lock_stays(void **state)
{
	struct fixture *fixture = *state;
	char path[SPEECH_PATH_SIZE];

	put_file(fixture, 1, SPEECH_FILE_LOCK, OLD_S);
	path_of(fixture, 1, SPEECH_FILE_LOCK, path);
	replaced = path;
	sweep(fixture, 1 << 20);
	assert_null(replaced);
	assert_true(is_there(fixture, 1, SPEECH_FILE_LOCK));
	assert_int_equal(fixture->outcome.leftovers, 0);
}

/* Over twice the bound even what is recent goes, but for the last minute's. */
static void
test_far_too_much(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned n = 1; n <= 10; n++)
		put_file(fixture, n, SPEECH_FILE_WAV, n <= 7 ?
		    NOW_S - SPEECH_KEEP_LEAST_S - 10 - n : NOW_S - 5);
	/* twice the bound is not over it */
	sweep(fixture, 5 * FILE_BYTES);
	assert_int_equal(fixture->outcome.removed, 0);
	sweep(fixture, 5 * FILE_BYTES - 500);
	assert_int_equal(fixture->outcome.removed, 6);
	for (unsigned n = 1; n <= 10; n++)
		assert_true(is_there(fixture, n, SPEECH_FILE_WAV) ==
		    (n == 1 || n > 7));
	sweep(fixture, 1);
	assert_int_equal(fixture->outcome.kept, 3);
	for (unsigned n = 8; n <= 10; n++)
		assert_true(is_there(fixture, n, SPEECH_FILE_WAV));
}

static void
test_others_files_stay(void **state)
{
	static const char *const names[] = { "readme", "ab/readme.wav",
		"ab/0123.wav", "ab/x.tmp", "zz/a.wav" };
	struct fixture *fixture = *state;
	char path[SPEECH_PATH_SIZE];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%.2s", fixture->dir,
		    names[i]);
		if (strchr(names[i], '/') != NULL)
			(void)mkdir(path, 0755);
		(void)snprintf(path, sizeof(path), "%s/%s", fixture->dir,
		    names[i]);
		(void)close(open(path, O_WRONLY | O_CREAT, 0644));
		set_time(path, 1000);
	}
	sweep(fixture, 0);
	assert_int_equal(fixture->outcome.removed, 0);
	assert_int_equal(fixture->outcome.leftovers, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", fixture->dir,
		    names[i]);
		assert_int_equal(access(path, F_OK), 0);
	}
	assert_int_equal(speech_sweep_run("/nonexistent", 0, NOW_S,
	    &fixture->outcome), 0);
}

static void
do_nothing(void *arg KAP_UNUSED)
{
}

static void
set_over(void *arg)
{
	*(bool *)arg = true;
}

/* From the loop, on a thread, with the bound of the configuration. */
static void
test_tick(void **state)
{
	struct fixture *fixture = *state;
	struct event_base *base = event_base_new();
	struct pool *pool = pool_new(base, 1);
	struct config config;
	struct speech_sweep *sweeper;
	bool over = false;
	struct pool_task task = { .work = do_nothing, .done = set_over,
		.arg = &over };

	config_init(&config);
	(void)snprintf(config.speech.dir, CONFIG_TEXT_MAX, "%s",
	    fixture->dir);
	config.speech.cache_max_mb = 0;
	sweeper = speech_sweep_new(pool, &config);
	/* one that is ended begins none: what the thread does next is ours */
	put_file(fixture, 4, SPEECH_FILE_WAV, clock_wall_ms() / 1000 -
	    SPEECH_KEEP_S - 5);
	speech_sweep_end(sweeper);
	speech_sweep_tick(sweeper);
	pool_submit(pool, &task);
	RUN_UNTIL(base, over);
	assert_true(is_there(fixture, 4, SPEECH_FILE_WAV));
	pool_free(&pool);
	speech_sweep_free(&sweeper);
	pool = pool_new(base, 1);
	for (unsigned n = 1; n <= 3; n++)
		put_file(fixture, n, SPEECH_FILE_WAV, clock_wall_ms() / 1000 -
		    (n <= 2 ? SPEECH_KEEP_S + 5 : 0));
	sweeper = speech_sweep_new(pool, &config);
	speech_sweep_tick(sweeper);
	speech_sweep_tick(sweeper);
	RUN_UNTIL(base, !is_there(fixture, 1, SPEECH_FILE_WAV) &&
	    !is_there(fixture, 2, SPEECH_FILE_WAV));
	assert_true(is_there(fixture, 3, SPEECH_FILE_WAV));
	pool_free(&pool);
	speech_sweep_free(&sweeper);
	event_base_free(base);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		TEST(test_oldest_first),
		TEST(test_recent_stays),
		TEST(test_leftovers),
		TEST(test_replaced_lock_stays),
		TEST(test_far_too_much),
		TEST(test_others_files_stay),
		TEST(test_tick),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
