/*
 * shared/stats.c: the file survives its processes, a foreign layout does not,
 * and each owner writes to its own row alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/clock.h"
#include "shared/stats.h"

static char folder[64];
static char path[96];

static int
set_up(void **state KAP_UNUSED)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/kaphila-stats-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/stats.shm", folder);
	return 0;
}

static int
tear_down(void **state KAP_UNUSED)
{
	(void)unlink(path);
	return rmdir(folder);
}

static struct stats_file *
map(int fd)
{
	struct stats_file *file = NULL;

	assert_true(fd >= 0);
	assert_int_equal(stats_map(fd, &file), 0);
	return file;
}

static void
unmap(struct stats_file *file)
{
	assert_int_equal(munmap(file, sizeof(*file)), 0);
}

static void
test_rows_survive(void **state KAP_UNUSED)
{
	int fd = stats_create(path);
	struct stats_file *file = map(fd);
	const int64_t created = file->created_ms;

	stats_use_row(file, 3, 5);
	stats_add(STATS_calls_created, 2);
	stats_add(STATS_calls_created, 40);
	(void)close(fd);
	unmap(file);

	fd = stats_create(path);
	file = map(fd);
	assert_int_equal(file->created_ms, created);
	assert_int_equal(file->rows[3].counters[STATS_calls_created], 42);
	assert_int_equal(file->rows[3].generation, 5);
	assert_int_equal(file->rows[3].pid, getpid());
	assert_int_equal(file->rows[2].counters[STATS_calls_created], 0);
	assert_int_equal(file->rows[2].pid, 0);
	assert_int_equal(file->rows[4].pid, 0);
	(void)close(fd);
	unmap(file);
}

static void
test_own_row(void **state KAP_UNUSED)
{
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	const int64_t before = clock_boot_ms();

	file->rows[1].lock = STATS_LOCK_HELD; /* of the last owner */
	file->rows[1].draining = 1;
	stats_use_row(file, 1, 9);
	assert_ptr_equal(stats_row(), &file->rows[1]);
	assert_int_equal(file->rows[1].lock, STATS_LOCK_NONE);
	assert_int_equal(file->rows[1].draining, 0);
	assert_true(file->rows[1].heartbeat_ms >= before);

	stats_set_lock(STATS_LOCK_WAITING);
	assert_int_equal(file->rows[1].lock, STATS_LOCK_WAITING);
	assert_true(file->rows[1].lock_since_ms >= before);
	stats_set_lock(STATS_LOCK_NONE);
	assert_int_equal(file->rows[1].lock, STATS_LOCK_NONE);
	assert_int_equal(file->rows[1].lock_since_ms, 0);

	file->rows[1].heartbeat_ms = 0;
	stats_heartbeat();
	assert_true(file->rows[1].heartbeat_ms >= before);
	(void)close(fd);
	unmap(file);
}

/* No two owners on one cache line. */
static void
test_rows_are_padded(void **state KAP_UNUSED)
{
	assert_int_equal(sizeof(struct stats_row) % 64, 0);
	assert_int_equal(offsetof(struct stats_file, rows) % 64, 0);
}

static void
spoil_magic(struct stats_file *file)
{
	file->magic++;
}

static void
spoil_layout(struct stats_file *file)
{
	file->layout++;
}

static void
spoil_row_size(struct stats_file *file)
{
	file->row_size -= 64;
}

static void
test_foreign_layout(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		void (*spoil)(struct stats_file *file);
	} cases[] = {
		{ "magic", spoil_magic },
		{ "layout", spoil_layout },
		{ "row size", spoil_row_size },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int fd = stats_create(path);
		struct stats_file *file = map(fd);
		struct stats_file *again;

		file->rows[0].counters[0] = 7;
		cases[i].spoil(file);
		unmap(file);
		if (stats_map(fd, &again) != -KAP_VERSION)
			fail_msg("%s: mapped", cases[i].name);
		(void)close(fd);

		/* the master makes it anew */
		fd = stats_create(path);
		file = map(fd);
		if (file->rows[0].counters[0] != 0)
			fail_msg("%s: not emptied", cases[i].name);
		(void)close(fd);
		unmap(file);
	}
}

static void
test_wrong_size(void **state KAP_UNUSED)
{
	static const off_t sizes[] = { 0, 24,
		(off_t)sizeof(struct stats_file) - 1,
		(off_t)sizeof(struct stats_file) + 1 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = stats_create(path);
		struct stats_file *file;

		assert_int_equal(ftruncate(fd, sizes[i]), 0);
		assert_int_equal(stats_map(fd, &file), -KAP_VERSION);
		(void)close(fd);
		fd = stats_create(path);
		unmap(map(fd));
		(void)close(fd);
	}
}

static void
test_create_fails(void **state KAP_UNUSED)
{
	struct stats_file *file;

	assert_int_equal(stats_create("/nonexistent/stats.shm"), -KAP_IO);
	assert_int_equal(stats_map(-1, &file), -KAP_IO);
}

/* A name of somebody else's making must not lead us elsewhere. */
static void
test_create_follows_no_link(void **state KAP_UNUSED)
{
	assert_int_equal(symlink("/tmp/kaphila-stats-elsewhere", path), 0);
	assert_int_equal(stats_create(path), -KAP_IO);
	assert_int_equal(access("/tmp/kaphila-stats-elsewhere", F_OK), -1);
}

static void
test_names(void **state KAP_UNUSED)
{
	for (int i = 0; i < STATS_COUNTER_COUNT; i++) {
		assert_true(*stats_counter_name((enum stats_counter)i) != 0);
		assert_true(*stats_counter_help((enum stats_counter)i) != 0);
	}
	assert_string_equal(stats_counter_name(STATS_calls_created),
	    "calls_created");
	assert_string_equal(stats_counter_help(STATS_calls_created),
	    "calls accepted");
}

#define IN_FOLDER(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		IN_FOLDER(test_rows_survive),
		IN_FOLDER(test_own_row),
		IN_FOLDER(test_foreign_layout),
		IN_FOLDER(test_wrong_size),
		IN_FOLDER(test_create_follows_no_link),
		cmocka_unit_test(test_rows_are_padded),
		cmocka_unit_test(test_create_fails),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
