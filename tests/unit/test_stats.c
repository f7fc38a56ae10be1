/*
 * shared/stats.c: the file survives its processes, a foreign layout does not,
 * each owner writes to its own row alone, and what is counted finds its place
 * or "other".
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

static uint64_t
cell(enum stats_matrix matrix, unsigned row, unsigned column)
{
	return atomic_load(&stats_row()->cells[stats_cell(matrix, row,
	    column)]);
}

/* Each cell is its own, and what is out of range has one, too. */
static void
test_matrices(void **state KAP_UNUSED)
{
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	unsigned n = 0;

	stats_use_row(file, 0, 1);
	for (unsigned m = 0; m < STATS_MATRIX_COUNT; m++) {
		const enum stats_matrix matrix = (enum stats_matrix)m;

		for (unsigned r = 0; r < stats_matrix_rows(matrix); r++) {
			for (unsigned c = 0; c < stats_matrix_columns(matrix);
			     c++)
				stats_count(matrix, r, c, ++n);
		}
	}
	n = 0;
	for (unsigned m = 0; m < STATS_MATRIX_COUNT; m++) {
		const enum stats_matrix matrix = (enum stats_matrix)m;

		for (unsigned r = 0; r < stats_matrix_rows(matrix); r++) {
			for (unsigned c = 0; c < stats_matrix_columns(matrix);
			     c++)
				assert_int_equal(cell(matrix, r, c), ++n);
		}
	}
	n = (unsigned)cell(STATS_originates, STATS_TRUNKS_MAX, 2);
	stats_count(STATS_originates, 4000, 4000, 1);
	assert_int_equal(cell(STATS_originates, STATS_TRUNKS_MAX, 2), n + 1);
	(void)close(fd);
	unmap(file);
}

static void
test_buckets(void **state KAP_UNUSED)
{
	static const struct {
		int64_t us;
		unsigned bucket;
	} cases[] = {
		{ -5, 0 }, { 0, 0 }, { 50, 0 }, { 51, 1 }, { 100, 1 },
		{ 2500000, STATS_BOUNDS - 1 }, { 2500001, STATS_BOUNDS },
		{ 3600000000, STATS_BOUNDS },
	};
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	const struct stats_times *times;
	uint64_t sum = 0;

	stats_use_row(file, 0, 1);
	times = &stats_row()->times[STATS_commit];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint64_t before =
		    atomic_load(&times->buckets[cases[i].bucket]);

		stats_observe(STATS_commit, cases[i].us);
		sum += cases[i].us > 0 ? (uint64_t)cases[i].us : 0;
		assert_int_equal(atomic_load(
		    &times->buckets[cases[i].bucket]), before + 1);
		assert_int_equal(atomic_load(&times->sum_us), sum);
	}
	(void)close(fd);
	unmap(file);
}

/* From the first wish for the lock to having it, and nothing else. */
static void
test_lock_wait(void **state KAP_UNUSED)
{
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	const struct stats_times *times;
	uint64_t count = 0;

	stats_use_row(file, 0, 1);
	times = &stats_row()->times[STATS_lock_wait];
	for (int i = 0; i < 3; i++) {
		stats_set_lock(STATS_LOCK_WAITING);
		stats_set_lock(STATS_LOCK_HELD);
		stats_set_lock(STATS_LOCK_NONE);
	}
	for (unsigned i = 0; i <= STATS_BOUNDS; i++)
		count += atomic_load(&times->buckets[i]);
	assert_int_equal(count, 3);
	(void)close(fd);
	unmap(file);
}

/* The same name has the same index, also for the row's next owner. */
static void
test_trunks(void **state KAP_UNUSED)
{
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	char name[STATS_NAME_SIZE + 8];

	stats_use_row(file, 0, 1);
	assert_int_equal(stats_trunk("a"), 0);
	assert_int_equal(stats_trunk("b"), 1);
	assert_int_equal(stats_trunk("a"), 0);
	stats_use_row(file, 1, 1); /* another row, other names */
	assert_int_equal(stats_trunk("b"), 0);
	stats_use_row(file, 0, 3);
	assert_int_equal(stats_trunk("b"), 1);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0'; /* cut, and found all the same */
	assert_int_equal(stats_trunk(name), 2);
	assert_int_equal(stats_trunk(name), 2);
	for (unsigned i = 3; i < STATS_TRUNKS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "trunk-%u", i);
		assert_int_equal(stats_trunk(name), i);
	}
	assert_int_equal(stats_trunk("one-too-many"), STATS_TRUNKS_MAX);
	assert_int_equal(stats_trunk("a"), 0);
	(void)close(fd);
	unmap(file);
}

static void
test_http_key(void **state KAP_UNUSED)
{
	for (unsigned route = 0; route <= STATS_ROUTES_MAX; route++) {
		for (unsigned i = 0; i < STATS_METHODS; i++) {
			const uint32_t key = stats_http_key(route, i, 503);

			assert_true(key != 0);
			assert_int_equal(stats_http_key_route(key), route);
			assert_int_equal(stats_http_key_method(key), i);
			assert_int_equal(stats_http_key_status(key), 503);
		}
	}
}

/* However many different requests there are, each is counted once. */
static void
test_requests(void **state KAP_UNUSED)
{
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	const struct stats_http *http;
	uint64_t placed = 0;

	stats_use_row(file, 0, 1);
	http = &stats_row()->http;
	for (int round = 0; round < 2; round++) {
		for (unsigned status = 200; status < 500; status++)
			stats_request(status % 7, "POST", status, 900);
	}
	for (unsigned i = 0; i < STATS_HTTP_CELLS; i++) {
		assert_int_equal(atomic_load(&http->counts[i]), 2);
		placed += 2;
	}
	assert_int_equal(atomic_load(&http->unplaced), 600 - placed);
	stats_request(4000, "BREW", 418, 900);
	assert_int_equal(atomic_load(
	    &http->times[STATS_ROUTES_MAX].buckets[0]), 1);
	(void)close(fd);
	unmap(file);
}

/* Processor time goes on from the last owner's, and memory is told. */
static void
test_process(void **state KAP_UNUSED)
{
	const int fd = stats_create(path);
	struct stats_file *file = map(fd);
	int64_t before;

	file->rows[0].cpu_us = 5000000000;
	stats_use_row(file, 0, 2);
	before = file->rows[0].cpu_us;
	assert_true(before >= 5000000000);
	stats_note_process();
	assert_true(file->rows[0].cpu_us >= before);
	assert_true(file->rows[0].rss_bytes > 1000000);
	assert_true(file->rows[0].started_ms <= clock_wall_ms());
	assert_true(file->rows[0].started_ms > clock_wall_ms() - 600000);
	(void)close(fd);
	unmap(file);
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
		IN_FOLDER(test_matrices),
		IN_FOLDER(test_buckets),
		IN_FOLDER(test_lock_wait),
		IN_FOLDER(test_trunks),
		IN_FOLDER(test_requests),
		IN_FOLDER(test_process),
		cmocka_unit_test(test_http_key),
		cmocka_unit_test(test_rows_are_padded),
		cmocka_unit_test(test_create_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
