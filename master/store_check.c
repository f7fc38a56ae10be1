/*
 * Both sides of the check of the store: the master's, which waits for one
 * line, and the helper's, which reads everything and may die of it. Writes no
 * record.
 */
#include "master/store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/spawn.h"
#include "shared/account.h"
#include "shared/api_key.h"
#include "shared/call.h"
#include "shared/call_machine.h"
#include "shared/call_play.h"
#include "shared/idempotency.h"
#include "shared/ledger_queue.h"
#include "shared/log.h"
#include "shared/outbox.h"
#include "shared/recording_queue.h"
#include "shared/store.h"
#include "shared/trunk_state.h"
#include "shared/webhook_queue.h"

#define DEADLINE_S 60
#define PAGE_BYTES 4096
/* What LMDB's lock file takes with 1,024 readers, and a little more. */
#define LOCK_FILE_BYTES (17 * PAGE_BYTES)
#define FILE_PATH_SIZE (CONFIG_TEXT_MAX + 24)
#define EXIT_BAD 1
#define MOVE_IT \
	"move the folder away: the calls that are live in it are lost then"
#define RESTORE_IT ". Restore it, or " MOVE_IT

/* Tables whose records begin with a version, and the newest known here. */
static const struct {
	enum store_table table;
	uint16_t version;
} versions[] = {
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
	{ STORE_TRUNKS, TRUNK_STATE_VERSION },
	{ STORE_PLAYS, CALL_PLAY_VERSION },
	{ STORE_WEBHOOK_DETAILS, CALL_EVENT_DETAIL_VERSION },
};

/* --- the helper's side --------------------------------------------------- */

/* What is told when a look is the last: made before the first. */
static char last_words[CONFIG_TEXT_MAX + 24];

static void
say(const char *text)
{
	const ssize_t written = write(CHILD_FD_CONTROL, text, strlen(text));

	(void)written;
}

static void
on_last_look(int signal_number)
{
	say(last_words);
	say(signal_number == SIGALRM ? "it could not be read within a minute" :
	    "it can't be read, for pages are missing or damaged" RESTORE_IT);
	_exit(EXIT_BAD);
}

static void
expect_the_worst(const char *data_dir)
{
	static const int signals[] = { SIGBUS, SIGSEGV, SIGABRT, SIGALRM };
	const struct sigaction action = { .sa_handler = on_last_look };

	(void)snprintf(last_words, sizeof(last_words), "call table %s/store: ",
	    data_dir);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)sigaction(signals[i], &action, NULL);
}

/*
 * LMDB maps its lock file and writes to it: on a full disk a page that isn't
 * there yet would be a SIGBUS, in every process and at any time.
 */
static int
reserve_lock_file(const char *data_dir, struct kap_errmsg *msg)
{
	char path[FILE_PATH_SIZE];
	struct stat st;
	int error;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/store/lock.mdb", data_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) != 0)
		error = errno;
	else
		error = posix_fallocate(fd, 0, st.st_size > LOCK_FILE_BYTES ?
		    st.st_size : LOCK_FILE_BYTES);
	if (fd >= 0)
		(void)close(fd);
	if (error == 0)
		return 0;
	kap_errmsg_set(msg, "%s: %s", path, strerror(error));
	return error == ENOSPC || error == EDQUOT ? -KAP_FULL : -KAP_IO;
}

static void
file_path(const char *data_dir, char path[FILE_PATH_SIZE])
{
	(void)snprintf(path, FILE_PATH_SIZE, "%s/store/data.mdb", data_dir);
}

static bool
has_file(const char *data_dir)
{
	char path[FILE_PATH_SIZE];
	struct stat st;

	file_path(data_dir, path);
	return stat(path, &st) == 0 || errno != ENOENT;
}

/* Half of a new one, for which there was no room: nothing is in it. */
static void
remove_file(const char *data_dir)
{
	char path[FILE_PATH_SIZE];

	file_path(data_dir, path);
	(void)unlink(path);
}

static uint16_t
known_version(enum store_table table)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (versions[i].table == table)
			return versions[i].version;
	}
	return UINT16_MAX;
}

static int
check_version(enum store_table table, const struct store_value *value,
    struct kap_errmsg *msg)
{
	const uint16_t known = known_version(table);
	uint16_t version;

	if (known == UINT16_MAX)
		return 0;
	if (value->len < sizeof(version)) {
		kap_errmsg_set(msg, "a record of %s is too short",
		    store_table_name(table));
		return -KAP_CORRUPT;
	}
	memcpy(&version, value->data, sizeof(version));
	if (version <= known)
		return 0;
	kap_errmsg_set(msg, "a record of %s has version %u, this program "
	    "knows %u", store_table_name(table), (unsigned)version,
	    (unsigned)known);
	return -KAP_VERSION;
}

/* Look at each page that a value takes. */
static void
touch(const struct store_value *value)
{
	const volatile char *bytes = value->data;

	for (size_t at = 0; at < value->len; at += PAGE_BYTES)
		(void)bytes[at];
	if (value->len > 0)
		(void)bytes[value->len - 1];
}

static int
examine_table(struct store_txn *txn, enum store_table table,
    struct kap_errmsg *msg)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint64_t expected = 0;
	uint64_t found = 0;
	int rc = store_count(txn, table, &expected);

	if (rc == 0)
		rc = store_walk(txn, table, NULL, 0, &cursor);
	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0) {
		touch(&value);
		found++;
		rc = check_version(table, &value, msg);
		if (rc != 0)
			break;
	}
	store_walk_end(&cursor);
	if (rc != -KAP_NOENT)
		return rc;
	return found == expected ? 0 : -KAP_CORRUPT;
}

static int
examine(struct store *store, const char *data_dir, struct kap_errmsg *msg)
{
	struct kap_errmsg why = { .text = "" };
	struct store_usage usage;
	struct store_txn *txn;
	int rc = store_begin_read(store, &txn);

	if (rc == 0) {
		for (int i = 0; i < STORE_TABLE_COUNT && rc == 0; i++)
			rc = examine_table(txn, (enum store_table)i, &why);
		store_end_read(&txn);
	}
	if (rc == 0)
		rc = store_usage(store, &usage); /* reads the free list */
	if (rc != 0)
		kap_errmsg_set(msg, "call table %s/store: %s", data_dir,
		    why.text[0] != '\0' ? why.text : "damaged");
	return rc;
}

int
store_check_examine(const char *data_dir, int64_t map_size_mb,
    struct kap_errmsg *msg)
{
	const bool is_new = !has_file(data_dir);
	struct store *store;
	int rc = reserve_lock_file(data_dir, msg);

	if (rc == 0)
		rc = store_open(&store, data_dir, map_size_mb,
		    DURABILITY_NORMAL, msg);
	if (rc != 0) {
		if (is_new)
			remove_file(data_dir);
		return rc;
	}
	rc = examine(store, data_dir, msg);
	store_close(&store);
	return rc;
}

static const char *
advice(int rc)
{
	switch (rc) {
	case -KAP_CORRUPT:
		return RESTORE_IT;
	case -KAP_VERSION:
		return ". Start the program that wrote it, or " MOVE_IT;
	case -KAP_FULL:
		return ". Make room on the disk, or raise store.map_size_mb";
	default:
		return "";
	}
}

int
store_check_run(const char *data_dir, const char *map_size_mb)
{
	struct kap_errmsg msg = { .text = "" };
	const bool is_new = !has_file(data_dir);
	int rc;

	expect_the_worst(data_dir);
	(void)alarm(DEADLINE_S);
	rc = store_check_examine(data_dir, strtoll(map_size_mb, NULL, 10),
	    &msg);
	if (rc == 0) {
		if (is_new)
			log_info("made a new call table",
			    LOG_S("data_dir", data_dir));
		return 0;
	}
	(void)dprintf(CHILD_FD_CONTROL, "%s%s", msg.text, advice(rc));
	return EXIT_BAD;
}

/* --- the master's side --------------------------------------------------- */

/* Read until the helper has closed its end; cut at the message's size. */
static void
read_line(int fd, struct kap_errmsg *msg)
{
	size_t len = 0;

	while (len < sizeof(msg->text) - 1) {
		const ssize_t got = read(fd, msg->text + len,
		    sizeof(msg->text) - 1 - len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		len += (size_t)got;
	}
	msg->text[len] = '\0';
}

static int
judge(pid_t pid, const char *data_dir, struct kap_errmsg *msg)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -KAP_IO;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (msg->text[0] == '\0')
		kap_errmsg_set(msg, "call table %s/store: its check ended "
		    "with %s %d", data_dir,
		    WIFSIGNALED(status) ? "signal" : "status",
		    WIFSIGNALED(status) ? WTERMSIG(status) :
		    WEXITSTATUS(status));
	return -KAP_CORRUPT;
}

int
store_check(const char *data_dir, int64_t map_size_mb, struct kap_errmsg *msg)
{
	char name[] = "kaphila-master";
	char option[] = STORE_CHECK_OPTION;
	char dir[CONFIG_TEXT_MAX];
	char size[24];
	char *const argv[] = { name, option, dir, size, NULL };
	struct spawn_fds fds;
	int ends[2];
	pid_t pid;
	int rc;

	(void)snprintf(dir, sizeof(dir), "%s", data_dir);
	(void)snprintf(size, sizeof(size), "%" PRId64, map_size_mb);
	kap_errmsg_set(msg, "can't start the check of the call table");
	if (pipe2(ends, O_CLOEXEC) != 0)
		return -KAP_IO;
	spawn_fds_init(&fds);
	fds.at[CHILD_FD_CONTROL] = ends[1];
	rc = spawn_program("/proc/self/exe", argv, &fds, &pid);
	(void)close(ends[1]);
	if (rc == 0) {
		read_line(ends[0], msg);
		rc = judge(pid, data_dir, msg);
	}
	(void)close(ends[0]);
	return rc;
}
