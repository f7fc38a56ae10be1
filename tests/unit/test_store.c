/*
 * The store: tables, walks, counters, a full map, a file cut short, a reboot.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/clock.h"
#include "store_fixture.h"

static int
setup(void **state)
{
	struct store_fixture *fixture = calloc(1, sizeof(*fixture));

	store_fixture_open_sized(fixture, 16);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	store_fixture_close(*state);
	free(*state);
	return 0;
}

static struct store_txn *
begin_write(struct store_fixture *fixture)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	return txn;
}

static struct store_txn *
begin_read(struct store_fixture *fixture)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_read(fixture->store, &txn), 0);
	return txn;
}

static void
test_records(void **state)
{
	struct store_txn *txn = begin_write(*state);
	struct store_value value;
	char copy[8];

	assert_int_equal(store_get(txn, STORE_CALLS, "a", 1, &value),
	    -KAP_NOENT);
	assert_int_equal(store_put(txn, STORE_CALLS, "a", 1, "one", 3), 0);
	assert_int_equal(store_get(txn, STORE_CALLS, "a", 1, &value), 0);
	assert_int_equal(value.len, 3);
	assert_memory_equal(value.data, "one", 3);
	memset(copy, 'x', sizeof(copy));
	assert_int_equal(store_copy(txn, STORE_CALLS, "a", 1, copy, 8), 0);
	assert_memory_equal(copy, "one\0\0\0\0\0", 8);
	copy[2] = 'X';
	assert_int_equal(store_copy(txn, STORE_CALLS, "a", 1, copy, 2), 0);
	assert_memory_equal(copy, "onX", 2);
	assert_int_equal(copy[2], 'X');
	assert_int_equal(store_commit(&txn), 0);
	assert_null(txn);
	txn = begin_write(*state);
	assert_int_equal(store_del(txn, STORE_CALLS, "a", 1), 0);
	assert_int_equal(store_del(txn, STORE_CALLS, "a", 1), 0);
	store_abort(&txn);
	txn = begin_read(*state);
	assert_int_equal(store_get(txn, STORE_CALLS, "a", 1, &value), 0);
	store_end_read(&txn);
}

static void
test_two_readers_at_once(void **state)
{
	struct store_txn *first = begin_read(*state);
	struct store_txn *second = begin_read(*state);
	struct store_txn *third;

	store_end_read(&first);
	store_end_read(&second);
	third = begin_read(*state);
	store_end_read(&third);
}

static void
test_walk(void **state)
{
	struct store_txn *txn = begin_write(*state);
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	char seen[16] = "";

	for (const char *k = "bdfh"; *k != '\0'; k++)
		assert_int_equal(store_put(txn, STORE_KEYS, k, 1, k, 1), 0);
	assert_int_equal(store_walk(txn, STORE_KEYS, "c", 1, &cursor), 0);
	while (store_walk_next(cursor, &key, &value) == 0) {
		strncat(seen, key.data, 1);
		if (*(const char *)key.data == 'f')
			assert_int_equal(store_walk_del(cursor), 0);
	}
	assert_int_equal(store_walk_next(cursor, &key, &value), -KAP_NOENT);
	store_walk_end(&cursor);
	assert_string_equal(seen, "dfh");
	assert_int_equal(store_get(txn, STORE_KEYS, "f", 1, &value),
	    -KAP_NOENT);
	assert_int_equal(store_get(txn, STORE_KEYS, "h", 1, &value), 0);
	assert_int_equal(store_walk(txn, STORE_KEYS, "z", 1, &cursor), 0);
	assert_int_equal(store_walk_next(cursor, &key, &value), -KAP_NOENT);
	store_walk_end(&cursor);
	store_abort(&txn);
}

static void
test_counters_survive(void **state)
{
	struct store_fixture *fixture = *state;
	struct kap_errmsg msg;
	struct store_txn *txn = begin_write(fixture);
	uint64_t number;

	assert_int_equal(store_next(txn, STORE_NEXT_CALL, &number), 0);
	assert_int_equal(number, 1);
	assert_int_equal(store_next(txn, STORE_NEXT_CALL, &number), 0);
	assert_int_equal(number, 2);
	assert_int_equal(store_next(txn, STORE_NEXT_LEDGER, &number), 0);
	assert_int_equal(number, 1);
	assert_int_equal(store_commit(&txn), 0);
	store_close(&fixture->store);
	assert_int_equal(store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, &msg), 0);
	txn = begin_write(fixture);
	assert_int_equal(store_next(txn, STORE_NEXT_CALL, &number), 0);
	assert_int_equal(number, 3);
	store_abort(&txn);
}

static void
test_numbers_sort(void **state)
{
	uint8_t low[8];
	uint8_t high[8];

	(void)state;
	store_put_be64(low, 255);
	store_put_be64(high, 256);
	assert_true(memcmp(low, high, 8) < 0);
	assert_int_equal(store_get_be64(high), 256);
	store_put_be32(low, 0xfffefdfcU);
	assert_int_equal(store_get_be32(low), 0xfffefdfcU);
}

static void
test_full_map(void **state)
{
	struct store_fixture *fixture = *state;
	struct store_usage usage;
	static const char page[4000] = "x";
	struct store_value value;
	struct store_txn *txn;
	int rc = 0;

	for (uint32_t i = 0; rc == 0; i++) {
		uint8_t key[4];

		assert_in_range(i, 0, 10000);
		store_put_be32(key, i);
		txn = begin_write(fixture);
		rc = store_put(txn, STORE_CALLS, key, 4, page, sizeof(page));
		if (rc == 0)
			rc = store_commit(&txn);
		else
			store_abort(&txn);
	}
	assert_int_equal(rc, -KAP_FULL);
	assert_int_equal(store_usage(fixture->store, &usage), 0);
	assert_in_range(usage.percent, 90, 100);
	txn = begin_read(fixture);
	assert_int_equal(store_get(txn, STORE_CALLS, "\0\0\0\0", 4, &value), 0);
	store_end_read(&txn);
}

static void
test_cut_short(void **state)
{
	struct store_fixture *fixture = *state;
	struct kap_errmsg msg;
	struct store_txn *txn = begin_write(fixture);
	char path[128];

	for (uint32_t i = 0; i < 2000; i++) {
		uint8_t key[4];

		store_put_be32(key, i);
		assert_int_equal(store_put(txn, STORE_CALLS, key, 4,
		    "0123456789012345678901234567890", 32), 0);
	}
	assert_int_equal(store_commit(&txn), 0);
	store_close(&fixture->store);
	snprintf(path, sizeof(path), "%s/store/data.mdb", fixture->dir);
	assert_int_equal(truncate(path, 20480), 0);
	assert_int_equal(store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, &msg), -KAP_CORRUPT);
	assert_non_null(strstr(msg.text, "cut short"));
	unlink(path);
	assert_int_equal(store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, &msg), 0);
}

/*
 * Pages at the end that were taken and freed in one transaction are never
 * written: the file is shorter than its head says, and whole.
 */
static void
test_shorter_than_its_head_says(void **state)
{
	struct store_fixture *fixture = *state;
	static const char large[60000] = "x";
	struct kap_errmsg msg = { "" };
	struct store_txn *txn;
	struct store_value value;
	struct stat st;
	char path[128];

	for (int i = 0; i < 8; i++) {
		txn = begin_write(fixture); /* frees single pages */
		assert_int_equal(store_put(txn, STORE_CALLS, "a", 1, "one",
		    3), 0);
		assert_int_equal(store_commit(&txn), 0);
	}
	txn = begin_write(fixture);
	assert_int_equal(store_put(txn, STORE_CALLS, "a", 1, "two", 3), 0);
	assert_int_equal(store_put(txn, STORE_CALLS, "b", 1, large,
	    sizeof(large)), 0);
	assert_int_equal(store_del(txn, STORE_CALLS, "b", 1), 0);
	assert_int_equal(store_commit(&txn), 0);
	store_close(&fixture->store);
	snprintf(path, sizeof(path), "%s/store/data.mdb", fixture->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_in_range(st.st_size, 0, sizeof(large));
	assert_int_equal(store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, &msg), 0);
	txn = begin_read(fixture);
	assert_int_equal(store_get(txn, STORE_CALLS, "a", 1, &value), 0);
	store_end_read(&txn);
}

static int
reopen(struct store_fixture *fixture, struct kap_errmsg *msg)
{
	msg->text[0] = '\0';
	return store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, msg);
}

/* Read all there is. */
static unsigned
count_all(struct store_fixture *fixture)
{
	struct store_txn *txn = begin_read(fixture);
	unsigned count = 0;

	for (int i = 0; i < STORE_TABLE_COUNT; i++) {
		struct store_cursor *cursor;
		struct store_value key;
		struct store_value value;

		assert_int_equal(store_walk(txn, (enum store_table)i, NULL, 0,
		    &cursor), 0);
		while (store_walk_next(cursor, &key, &value) == 0)
			count++;
		store_walk_end(&cursor);
	}
	store_end_read(&txn);
	return count;
}

/* Cut at each page: refused, or nothing but free pages is gone. */
static void
test_cut_at_each_page(void **state)
{
	struct store_fixture *fixture = *state;
	static char whole[1 << 20];
	struct kap_errmsg msg;
	struct store_txn *txn;
	unsigned refused = 0;
	unsigned all;
	ssize_t size;
	char path[128];
	int fd;

	for (uint32_t i = 0; i < 400; i++) {
		uint8_t key[4];

		txn = begin_write(fixture);
		store_put_be32(key, i % 300);
		assert_int_equal(store_put(txn, STORE_CALLS, key, 4, whole,
		    100), 0);
		assert_int_equal(store_commit(&txn), 0);
	}
	all = count_all(fixture);
	store_close(&fixture->store);
	snprintf(path, sizeof(path), "%s/store/data.mdb", fixture->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	size = read(fd, whole, sizeof(whole));
	assert_in_range(size, 20 * 4096, sizeof(whole) - 1);
	for (ssize_t len = 0; len < size; len += 4096) {
		int rc;

		assert_int_equal(pwrite(fd, whole, (size_t)size, 0), size);
		assert_int_equal(ftruncate(fd, len), 0);
		rc = reopen(fixture, &msg);
		if (rc == 0) {
			assert_int_equal(count_all(fixture), all);
			store_close(&fixture->store);
			continue;
		}
		refused++;
		assert_int_equal(rc, -KAP_CORRUPT);
		assert_non_null(strstr(msg.text, fixture->dir));
		assert_int_equal(store_check_length(fixture->dir, &msg),
		    -KAP_CORRUPT);
	}
	assert_true(refused > 10);
	assert_int_equal(pwrite(fd, whole, (size_t)size, 0), size);
	(void)close(fd);
	assert_int_equal(store_check_length(fixture->dir, &msg), 0);
	assert_int_equal(reopen(fixture, &msg), 0);
}

/* Where LMDB's own head lies in the first two pages. */
#define HEAD_MAGIC 16
#define HEAD_VERSION 20

static void
test_not_ours(void **state)
{
	static const struct {
		const char *name;
		off_t at; /* in each of the first two pages; -1: file emptied */
		int rc;
		const char *words;
	} rows[] = {
		{ "magic", HEAD_MAGIC, -KAP_CORRUPT, "no file of LMDB's" },
		{ "version", HEAD_VERSION, -KAP_VERSION, "another version" },
		{ "empty", -1, -KAP_CORRUPT, "empty" },
	};
	struct store_fixture *fixture = *state;
	const uint32_t other = 999;
	struct kap_errmsg msg;
	char path[128];

	snprintf(path, sizeof(path), "%s/store/data.mdb", fixture->dir);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fd;

		store_close(&fixture->store);
		fd = open(path, O_RDWR);
		assert_true(fd >= 0);
		if (rows[i].at < 0)
			assert_int_equal(ftruncate(fd, 0), 0);
		for (off_t page = 0; rows[i].at >= 0 && page < 2; page++)
			assert_int_equal(pwrite(fd, &other, sizeof(other),
			    page * 4096 + rows[i].at), sizeof(other));
		(void)close(fd);
		assert_int_equal(reopen(fixture, &msg), rows[i].rc);
		assert_non_null(strstr(msg.text, rows[i].words));
		assert_non_null(strstr(msg.text, fixture->dir));
		unlink(path);
		assert_int_equal(reopen(fixture, &msg), 0);
	}
	store_close(&fixture->store);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(reopen(fixture, &msg), -KAP_CORRUPT);
	assert_non_null(strstr(msg.text, "no regular file"));
	rmdir(path);
}

static void
test_other_layout(void **state)
{
	struct store_fixture *fixture = *state;
	const uint64_t other = 77;
	struct kap_errmsg msg;
	struct store_txn *txn = begin_write(fixture);

	assert_int_equal(store_put(txn, STORE_META, "layout", 6, &other, 8),
	    0);
	assert_int_equal(store_commit(&txn), 0);
	store_close(&fixture->store);
	assert_int_equal(store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, &msg), -KAP_VERSION);
	assert_non_null(strstr(msg.text, "layout 77"));
}

/* A deadline keeps its distance though the boot clock has started anew. */
static void
test_deadlines_over_a_reboot(void **state)
{
	struct store_fixture *fixture = *state;
	const int64_t before_ms = clock_deadline_ms();
	struct kap_errmsg msg;
	struct store_txn *txn = begin_write(fixture);

	assert_int_equal(store_put(txn, STORE_META, "boot_id", 7, "other", 5),
	    0);
	assert_int_equal(store_commit(&txn), 0);
	store_close(&fixture->store);
	clock_set_deadline_shift(0);
	assert_int_equal(store_open(&fixture->store, fixture->dir, 16,
	    DURABILITY_RELAXED, &msg), 0);
	assert_in_range(clock_deadline_ms() - before_ms, 0, 60000);
}

/* Who only looks sees all, writes nothing, and makes nothing. */
static void
test_open_to_read(void **state)
{
	struct store_fixture *fixture = *state;
	struct store_txn *txn = begin_write(fixture);
	struct kap_errmsg msg = { "" };
	const int64_t before_ms = clock_deadline_ms() - clock_boot_ms();
	struct store *reader = NULL;
	struct store_value value;
	char none[80];

	assert_int_equal(store_put(txn, STORE_TRUNKS, "a", 1, "one", 3), 0);
	assert_int_equal(store_commit(&txn), 0);
	store_close(&fixture->store);
	clock_set_deadline_shift(0);
	assert_int_equal(store_open_to_read(&reader, fixture->dir, 16, &msg),
	    0);
	assert_in_range(clock_deadline_ms() - clock_boot_ms(), before_ms - 1,
	    before_ms + 1);
	assert_int_equal(store_begin_read(reader, &txn), 0);
	assert_int_equal(store_get(txn, STORE_TRUNKS, "a", 1, &value), 0);
	assert_memory_equal(value.data, "one", 3);
	assert_int_equal(store_get(txn, STORE_CALLS, "a", 1, &value),
	    -KAP_NOENT);
	store_end_read(&txn);
	assert_int_not_equal(store_begin_write(reader, &txn), 0);
	store_close(&reader);

	snprintf(none, sizeof(none), "%s/none", fixture->dir);
	assert_int_not_equal(store_open_to_read(&reader, none, 16, &msg), 0);
	assert_non_null(strstr(msg.text, none));
	assert_int_not_equal(access(none, F_OK), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_records, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_readers_at_once,
		    setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counters_survive, setup,
		    teardown),
		cmocka_unit_test(test_numbers_sort),
		cmocka_unit_test_setup_teardown(test_full_map, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_cut_short, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_shorter_than_its_head_says, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_at_each_page, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_not_ours, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_other_layout, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_open_to_read, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_deadlines_over_a_reboot,
		    setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
