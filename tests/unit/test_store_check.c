/*
 * The check of the store before a start: whole, of a newer version, of an
 * older one, with pages that are not what they were.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "master/store_check.h"
#include "shared/account.h"
#include "shared/api_key.h"
#include "shared/call_table.h"
#include "shared/idempotency.h"
#include "shared/ledger_queue.h"
#include "shared/outbox.h"
#include "shared/recording_queue.h"
#include "shared/webhook_queue.h"
#include "store_fixture.h"

#define MAP_MB 16
#define PAGE 4096

static int
setup(void **state)
{
	struct store_fixture *fixture = calloc(1, sizeof(*fixture));

	store_fixture_open_sized(fixture, MAP_MB);
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

static int
examine(const struct store_fixture *fixture, struct kap_errmsg *msg)
{
	msg->text[0] = '\0';
	return store_check_examine(fixture->dir, MAP_MB, msg);
}

static void
put(struct store_fixture *fixture, enum store_table table, const void *data,
    size_t len)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	assert_int_equal(store_put(txn, table, "key1", 4, data, len), 0);
	assert_int_equal(store_commit(&txn), 0);
}

/* What stands in which table, and how its records begin. */
static const struct {
	enum store_table table;
	uint16_t version;
} kinds[] = {
	{ STORE_CALLS, CALL_VERSION },
	{ STORE_COMMANDS, COMMAND_VERSION },
	{ STORE_WEBHOOKS, WEBHOOK_EVENT_VERSION },
	{ STORE_WEBHOOK_RETRY, WEBHOOK_EVENT_VERSION },
	{ STORE_RECORDINGS, RECORDING_JOB_VERSION },
	{ STORE_LEDGER, LEDGER_ENTRY_VERSION },
	{ STORE_LEDGER_ASIDE, LEDGER_ENTRY_VERSION },
	{ STORE_KEYS, API_KEY_VERSION },
	{ STORE_ACCOUNTS, ACCOUNT_VERSION },
	{ STORE_IDEMPOTENCY, IDEMPOTENCY_VERSION },
};

static void
test_versions(void **state)
{
	struct store_fixture *fixture = *state;
	struct kap_errmsg msg;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const enum store_table table = kinds[i].table;
		uint16_t record[4] = { 0 };

		for (uint16_t v = 0; v <= kinds[i].version; v++) {
			record[0] = v;
			put(fixture, table, record, sizeof(record));
			assert_int_equal(examine(fixture, &msg), 0);
		}
		record[0] = kinds[i].version + 1U;
		put(fixture, table, record, sizeof(record));
		assert_int_equal(examine(fixture, &msg), -KAP_VERSION);
		assert_non_null(strstr(msg.text, store_table_name(table)));
		assert_non_null(strstr(msg.text, fixture->dir));
		put(fixture, table, record, 1);
		assert_int_equal(examine(fixture, &msg), -KAP_CORRUPT);
		record[0] = 1;
		put(fixture, table, record, sizeof(record));
	}
}

/* A record of before something was added at its tail reads as if that were
 * zero; written again, it has its whole length. */
static void
test_an_older_call(void **state)
{
	struct store_fixture *fixture = *state;
	const struct call_now now = { .wall_ms = 1700000000000, .boot_ms = 1 };
	const struct call_cold cold = { .webhook_url = "", .metadata = "",
		.voice = "", .trunk_count = 1, .trunk_names = { "t" },
		.endpoints = { "PJSIP/0014155550101@t" } };
	struct call call = { .number = "14155550101", .trunk_count = 1,
		.key_id = 7 };
	const size_t old_len = offsetof(struct call, caller_id);
	struct call_step step;
	struct kap_errmsg msg;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	memcpy(call.caller_id, "19172452367", 12);
	assert_int_equal(call_table_create(txn, &call, &cold, 1, &now, &step),
	    0);
	assert_int_equal(store_put(txn, STORE_CALLS, call.id,
	    strlen(call.id), &step.call, old_len), 0);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(examine(fixture, &msg), 0);

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	memset(&call, 'x', sizeof(call));
	assert_int_equal(call_table_get(txn, step.call.id, &call), 0);
	assert_memory_equal(&call, &step.call, old_len);
	for (size_t i = old_len; i < sizeof(call); i++)
		assert_int_equal(((const char *)&call)[i], 0);
	store_abort(&txn);
}

static void
fill(struct store_fixture *fixture)
{
	static const char value[600] = "a value";
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	for (uint32_t i = 0; i < 300; i++) {
		uint8_t key[4];

		store_put_be32(key, i);
		assert_int_equal(store_put(txn, STORE_TIMERS, key, 4, value,
		    sizeof(value)), 0);
	}
	assert_int_equal(store_put(txn, STORE_CALL_COLD, "long", 4, value,
	    sizeof(value)), 0);
	assert_int_equal(store_commit(&txn), 0);
}

/* The check in a process that may die of it; true if it found nothing. */
static bool
passes(const struct store_fixture *fixture)
{
	const pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct kap_errmsg msg;

		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGBUS, SIG_DFL);
		(void)close(STDERR_FILENO); /* LMDB's asserts */
		_exit(examine(fixture, &msg) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/*
 * Every page wiped in turn. A free one doesn't matter, and neither does the
 * older of the two heads; any other must be found.
 */
static void
test_a_wiped_page(void **state)
{
	struct store_fixture *fixture = *state;
	static const char zeros[PAGE];
	char page[PAGE];
	char path[128];
	struct store_usage usage;
	unsigned found = 0;
	struct stat st;
	int fd;

	fill(fixture);
	assert_int_equal(store_usage(fixture->store, &usage), 0);
	store_close(&fixture->store);
	snprintf(path, sizeof(path), "%s/store/data.mdb", fixture->dir);
	assert_int_equal(stat(path, &st), 0);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	for (off_t at = 2 * PAGE; at < st.st_size; at += PAGE) {
		assert_int_equal(pread(fd, page, PAGE, at), PAGE);
		assert_int_equal(pwrite(fd, zeros, PAGE, at), PAGE);
		found += !passes(fixture);
		assert_int_equal(pwrite(fd, page, PAGE, at), PAGE);
	}
	(void)close(fd);
	assert_true(passes(fixture));
	assert_true(usage.pages_used > 40);
	assert_int_equal(found, usage.pages_used - 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_versions, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_an_older_call, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(test_a_wiped_page, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
