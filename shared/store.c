/*
 * The LMDB environment, its tables and its transactions. The only file that
 * calls LMDB's write side. Knows no record: keys and values are bytes here.
 */
#include "store.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <lmdb.h>

#include "clock.h"
#include "stats.h"

/* Grows when records change in a way that their own versions don't cover. */
#define STORE_LAYOUT 1
#define MAX_TABLES 32
#define MAX_READERS 1024
#define FILE_MODE 0600
#define STORE_PATH_SIZE (CONFIG_TEXT_MAX + 8)
#define DISK_FULL_BYTES (1 << 20) /* less free than this is a full disk */

static const char *const table_names[STORE_TABLE_COUNT] = {
	[STORE_META] = "meta",
	[STORE_CALLS] = "calls",
	[STORE_CALL_COLD] = "call_cold",
	[STORE_CALLS_BY_KEY] = "calls_by_key",
	[STORE_COMMANDS] = "commands",
	[STORE_TIMERS] = "timers",
	[STORE_WEBHOOKS] = "webhooks",
	[STORE_WEBHOOK_RETRY] = "webhook_retry",
	[STORE_RECORDINGS] = "recordings",
	[STORE_LEDGER] = "ledger",
	[STORE_LEDGER_ASIDE] = "ledger_aside",
	[STORE_KEYS] = "keys",
	[STORE_ACCOUNTS] = "accounts",
	[STORE_STREAMS] = "streams",
	[STORE_IDEMPOTENCY] = "idempotency",
	[STORE_IDEMPOTENCY_AGE] = "idempotency_age",
	[STORE_PLAYS] = "plays",
	[STORE_WEBHOOK_DETAILS] = "webhook_details",
	[STORE_TRUNKS] = "trunks",
};

static const char *const counter_names[STORE_COUNTER_COUNT] = {
	[STORE_NEXT_CALL] = "next_call",
	[STORE_NEXT_WEBHOOK] = "next_webhook",
	[STORE_NEXT_RECORDING] = "next_recording",
	[STORE_NEXT_LEDGER] = "next_ledger",
};

struct store_txn {
	struct store *store;
	MDB_txn *mdb;
	bool write;
};

struct store {
	MDB_env *env;
	MDB_dbi tables[STORE_TABLE_COUNT];
	struct store_txn write; /* one at a time, by LMDB's lock */
	MDB_txn *idle_read;     /* a reset read transaction, for the next */
};

struct store_cursor {
	MDB_cursor *mdb;
	MDB_val key;
	MDB_val value;
	bool at_start; /* the first record is already in key and value */
	bool at_end;
};

static int
map_error(int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return -KAP_NOENT;
	case MDB_MAP_FULL:
	case MDB_READERS_FULL:
	case MDB_TXN_FULL:
	case ENOSPC:
	case EDQUOT:
		return -KAP_FULL;
	case MDB_CORRUPTED:
	case MDB_INVALID:
	case MDB_PAGE_NOTFOUND:
	case MDB_BAD_TXN:
		return -KAP_CORRUPT;
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
		return -KAP_VERSION;
	case EACCES:
	case EPERM:
	case EROFS:
		return -KAP_DENIED;
	case ENOMEM:
		return -KAP_NOMEM;
	default:
		return -KAP_IO;
	}
}

/* LMDB's own words for these tell a person nothing. */
static const char *
error_words(int rc)
{
	switch (rc) {
	case MDB_INVALID:
		return "no file of LMDB's, or the first pages are damaged";
	case MDB_VERSION_MISMATCH:
		return "of another version of LMDB";
	default:
		return mdb_strerror(rc);
	}
}

static int
open_failed(struct kap_errmsg *msg, const char *path, const char *what,
    int rc)
{
	kap_errmsg_set(msg, "call table %s: %s: %s", path, what,
	    error_words(rc));
	return map_error(rc);
}

static unsigned
env_flags(enum config_durability durability)
{
	switch (durability) {
	case DURABILITY_FULL:
		return MDB_NOTLS;
	case DURABILITY_RELAXED:
		return MDB_NOTLS | MDB_NOSYNC;
	case DURABILITY_NORMAL:
		break;
	}
	return MDB_NOTLS | MDB_NOMETASYNC;
}

/* The pages of one record of the free list that have a number >= `from`. */
static uint64_t
count_in_record(const MDB_val *record, uint64_t from)
{
	const char *bytes = record->mv_data; /* how many, then their numbers */
	uint64_t found = 0;
	size_t count;
	size_t page;

	memcpy(&count, bytes, sizeof(count));
	if (from == 0)
		return count;
	for (size_t i = 1; i <= count; i++) {
		memcpy(&page, bytes + i * sizeof(page), sizeof(page));
		found += page >= from;
	}
	return found;
}

/* LMDB's own table, always the first; no other need be open. */
static int
open_free_list(MDB_txn *txn, MDB_cursor **cursor_out)
{
	return mdb_cursor_open(txn, 0, cursor_out);
}

/* Count the free pages with a number >= `from`. */
static int
count_free_pages(MDB_cursor *free_list, uint64_t from, uint64_t *pages_out)
{
	MDB_val key;
	MDB_val value;
	int rc;

	*pages_out = 0;
	while ((rc = mdb_cursor_get(free_list, &key, &value, MDB_NEXT)) == 0)
		*pages_out += count_in_record(&value, from);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Where a look behind the end of the file goes on. At start-up only. */
static sigjmp_buf behind_the_end;

static void
on_bus_error(int signal_number KAP_UNUSED)
{
	siglongjmp(behind_the_end, 1);
}

/* What a look that ends by SIGBUS leaves behind: not on the stack. */
struct probe {
	MDB_txn *txn;
	MDB_cursor *free_list;
	uint64_t missing;
};

/*
 * Whether all pages from `first` to before `end` are free: one that was taken
 * and freed in the same transaction is never written, so a whole file may end
 * before it. The free list itself may be among what is cut off.
 */
static bool
are_free(struct probe *probe, uint64_t first, uint64_t end)
{
	const struct sigaction jump = { .sa_handler = on_bus_error };
	struct sigaction before;
	bool found = false;

	if (sigaction(SIGBUS, &jump, &before) != 0)
		return false;
	if (sigsetjmp(behind_the_end, 1) == 0)
		found = count_free_pages(probe->free_list, first,
		    &probe->missing) == 0 && probe->missing == end - first;
	(void)sigaction(SIGBUS, &before, NULL);
	return found;
}

static bool
lacks_only_free_pages(struct store *store, uint64_t first, uint64_t end)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	bool found = false;

	if (probe == NULL)
		return false;
	if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &probe->txn) == 0) {
		if (open_free_list(probe->txn, &probe->free_list) == 0) {
			found = are_free(probe, first, end);
			mdb_cursor_close(probe->free_list);
		}
		mdb_txn_abort(probe->txn);
	}
	free(probe);
	return found;
}

/*
 * A file that was cut short would be a SIGBUS at the first look behind its
 * end, so its length is compared with what its own head says.
 */
static int
check_length(struct store *store, const char *path, struct kap_errmsg *msg)
{
	MDB_envinfo info;
	MDB_stat stat_;
	mdb_filehandle_t fd;
	struct stat st;
	uint64_t size;
	uint64_t wanted;

	if (mdb_env_info(store->env, &info) != 0 ||
	    mdb_env_stat(store->env, &stat_) != 0 ||
	    mdb_env_get_fd(store->env, &fd) != 0 || fstat(fd, &st) != 0) {
		kap_errmsg_set(msg, "call table %s: can't be examined", path);
		return -KAP_IO;
	}
	size = (uint64_t)st.st_size / stat_.ms_psize;
	wanted = (uint64_t)info.me_last_pgno + 1;
	if (size >= wanted || lacks_only_free_pages(store, size, wanted))
		return 0;
	kap_errmsg_set(msg, "call table %s: cut short, %lld bytes of %llu",
	    path, (long long)st.st_size,
	    (unsigned long long)wanted * stat_.ms_psize);
	return -KAP_CORRUPT;
}

/* LMDB takes an empty file for a new one: what was in it would be gone
 * without a word. */
static int
check_file(const char *path, struct kap_errmsg *msg)
{
	char file[CONFIG_TEXT_MAX + 24];
	struct stat st;

	(void)snprintf(file, sizeof(file), "%s/data.mdb", path);
	if (stat(file, &st) != 0)
		return errno == ENOENT ? 0 :
		    open_failed(msg, path, "data.mdb", errno);
	if (S_ISREG(st.st_mode) && st.st_size > 0)
		return 0;
	kap_errmsg_set(msg, "call table %s: data.mdb is %s", path,
	    S_ISREG(st.st_mode) ? "empty" : "no regular file");
	return -KAP_CORRUPT;
}

static int
open_env(struct store *store, const char *path, int64_t map_size_mb,
    enum config_durability durability, struct kap_errmsg *msg)
{
	int rc;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return open_failed(msg, path, "mkdir", errno);
	if ((rc = check_file(path, msg)) != 0)
		return rc;
	if ((rc = mdb_env_create(&store->env)) != 0)
		return open_failed(msg, path, "create", rc);
	(void)mdb_env_set_maxdbs(store->env, MAX_TABLES);
	(void)mdb_env_set_maxreaders(store->env, MAX_READERS);
	(void)mdb_env_set_mapsize(store->env, (size_t)map_size_mb << 20);
	rc = mdb_env_open(store->env, path, env_flags(durability), FILE_MODE);
	if (rc != 0)
		return open_failed(msg, path, "open", rc);
	return check_length(store, path, msg);
}

static int
get_number(struct store_txn *txn, const char *name, uint64_t *number_out)
{
	struct store_value value = { NULL, 0 };
	const int rc = store_get(txn, STORE_META, name, strlen(name), &value);

	if (rc != 0)
		return rc;
	if (value.len != sizeof(*number_out))
		return -KAP_CORRUPT;
	memcpy(number_out, value.data, sizeof(*number_out));
	return 0;
}

static int
put_number(struct store_txn *txn, const char *name, uint64_t number)
{
	return store_put(txn, STORE_META, name, strlen(name), &number,
	    sizeof(number));
}

static int
check_layout(struct store_txn *txn, struct kap_errmsg *msg)
{
	uint64_t layout = 0;
	const int rc = get_number(txn, "layout", &layout);

	if (rc == -KAP_NOENT)
		return put_number(txn, "layout", STORE_LAYOUT);
	if (rc != 0)
		return rc;
	if (layout != STORE_LAYOUT) {
		kap_errmsg_set(msg, "call table has layout %llu, this program "
		    "knows %d", (unsigned long long)layout, STORE_LAYOUT);
		return -KAP_VERSION;
	}
	return 0;
}

/*
 * Stored deadlines must keep their meaning over a reboot, though the boot
 * clock starts anew: at the first open after a boot the distance between it
 * and the wall clock is fixed for as long as that boot lasts.
 */
static int
settle_deadline_clock(struct store_txn *txn)
{
	char boot_id[CLOCK_BOOT_ID_SIZE];
	struct store_value seen = { NULL, 0 };
	uint64_t shift = 0;
	int rc;

	if (clock_boot_id(boot_id) != 0)
		return -KAP_IO;
	rc = store_get(txn, STORE_META, "boot_id", 7, &seen);
	if (rc == 0 && seen.len == strlen(boot_id) &&
	    memcmp(seen.data, boot_id, seen.len) == 0) {
		rc = get_number(txn, "deadline_shift", &shift);
		if (rc == 0)
			clock_set_deadline_shift((int64_t)shift);
		return rc;
	}
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	shift = (uint64_t)(clock_wall_ms() - clock_boot_ms());
	clock_set_deadline_shift((int64_t)shift);
	rc = store_put(txn, STORE_META, "boot_id", 7, boot_id,
	    strlen(boot_id));
	return rc != 0 ? rc : put_number(txn, "deadline_shift", shift);
}

static int
open_tables(struct store *store, struct kap_errmsg *msg)
{
	struct store_txn *txn;
	int rc = store_begin_write(store, &txn);

	if (rc != 0)
		return rc;
	for (int i = 0; i < STORE_TABLE_COUNT && rc == 0; i++)
		rc = map_error(mdb_dbi_open(txn->mdb, table_names[i],
		    MDB_CREATE, &store->tables[i]));
	if (rc == 0)
		rc = check_layout(txn, msg);
	if (rc == 0)
		rc = settle_deadline_clock(txn);
	if (rc != 0) {
		store_abort(&txn);
		return rc;
	}
	return store_commit(&txn);
}

/* The environment alone; a failure leaves one to be closed by the caller. */
static int
open_at(struct store *store, const char *dir, char path[STORE_PATH_SIZE],
    int64_t map_size_mb, enum config_durability durability,
    struct kap_errmsg *msg)
{
	if (snprintf(path, STORE_PATH_SIZE, "%s/store", dir) >=
	    STORE_PATH_SIZE)
		return -KAP_TOOBIG;
	return open_env(store, path, map_size_mb, durability, msg);
}

int
store_check_length(const char *dir, struct kap_errmsg *msg)
{
	struct store store = { .env = NULL };
	char path[STORE_PATH_SIZE];
	const int rc = open_at(&store, dir, path, 0, DURABILITY_NORMAL, msg);

	if (store.env != NULL)
		mdb_env_close(store.env);
	return rc;
}

int
store_open(struct store **store_out, const char *dir, int64_t map_size_mb,
    enum config_durability durability, struct kap_errmsg *msg)
{
	struct store *store = calloc(1, sizeof(*store));
	char path[STORE_PATH_SIZE];
	int rc;

	if (store == NULL)
		return -KAP_NOMEM;
	rc = open_at(store, dir, path, map_size_mb, durability, msg);
	if (rc == 0) {
		kap_errmsg_set(msg, "call table %s", path);
		rc = open_tables(store, msg);
		if (rc != 0 && rc != -KAP_VERSION)
			kap_errmsg_set(msg, "call table %s: %s", path,
			    kap_strerror(rc));
	}
	if (rc != 0) {
		if (store->env != NULL)
			mdb_env_close(store->env);
		free(store);
		return rc;
	}
	*store_out = store;
	return 0;
}

/* No write transaction: who only looks never holds, or waits for, the lock. */
static int
open_tables_to_read(struct store *store, struct kap_errmsg *msg)
{
	struct store_txn txn = { .store = store };
	uint64_t shift = 0;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn.mdb);

	if (rc != 0)
		return map_error(rc);
	for (int i = 0; i < STORE_TABLE_COUNT && rc == 0; i++)
		rc = mdb_dbi_open(txn.mdb, table_names[i], 0,
		    &store->tables[i]);
	rc = map_error(rc);
	if (rc == -KAP_NOENT) {
		kap_errmsg_set(msg, "the call table is an older program's");
		rc = -KAP_VERSION;
	}
	if (rc == 0)
		rc = get_number(&txn, "deadline_shift", &shift);
	if (rc == 0)
		clock_set_deadline_shift((int64_t)shift);
	/* the handles of an aborted one would be gone */
	if (rc == 0)
		return map_error(mdb_txn_commit(txn.mdb));
	mdb_txn_abort(txn.mdb);
	return rc;
}

static int
open_env_to_read(struct store *store, const char *path, int64_t map_size_mb,
    struct kap_errmsg *msg)
{
	char file[CONFIG_TEXT_MAX + 24];
	struct stat st;
	int rc;

	(void)snprintf(file, sizeof(file), "%s/data.mdb", path);
	if (stat(file, &st) != 0)
		return open_failed(msg, path, "data.mdb", errno);
	if ((rc = check_file(path, msg)) != 0)
		return rc;
	if ((rc = mdb_env_create(&store->env)) != 0)
		return open_failed(msg, path, "create", rc);
	(void)mdb_env_set_maxdbs(store->env, MAX_TABLES);
	(void)mdb_env_set_mapsize(store->env, (size_t)map_size_mb << 20);
	rc = mdb_env_open(store->env, path, MDB_NOTLS | MDB_RDONLY, FILE_MODE);
	if (rc != 0)
		return open_failed(msg, path, "open", rc);
	return check_length(store, path, msg);
}

int
store_open_to_read(struct store **store_out, const char *dir,
    int64_t map_size_mb, struct kap_errmsg *msg)
{
	struct store *store = calloc(1, sizeof(*store));
	char path[STORE_PATH_SIZE];
	int rc = store != NULL ? 0 : -KAP_NOMEM;

	kap_errmsg_set(msg, "call table of %s: it can't be read", dir);
	if (rc == 0 && snprintf(path, sizeof(path), "%s/store", dir) >=
	    (int)sizeof(path))
		rc = -KAP_TOOBIG;
	if (rc == 0)
		rc = open_env_to_read(store, path, map_size_mb, msg);
	if (rc == 0)
		rc = open_tables_to_read(store, msg);
	if (rc != 0) {
		if (store != NULL && store->env != NULL)
			mdb_env_close(store->env);
		free(store);
		return rc;
	}
	*store_out = store;
	return 0;
}

void
store_close(struct store **store)
{
	if (*store == NULL)
		return;
	if ((*store)->idle_read != NULL)
		mdb_txn_abort((*store)->idle_read);
	mdb_env_close((*store)->env);
	free(*store);
	*store = NULL;
}

int
store_begin_write(struct store *store, struct store_txn **txn_out)
{
	int rc;

	stats_set_lock(STATS_LOCK_WAITING);
	rc = mdb_txn_begin(store->env, NULL, 0, &store->write.mdb);
	if (rc != 0) {
		stats_set_lock(STATS_LOCK_NONE);
		return map_error(rc);
	}
	stats_set_lock(STATS_LOCK_HELD);
	store->write.store = store;
	store->write.write = true;
	*txn_out = &store->write;
	return 0;
}

/*
 * LMDB tells a write that was cut short by a full disk as EIO, the first time
 * at least.
 */
static bool
disk_is_full(const struct store *store)
{
	mdb_filehandle_t fd;
	struct statvfs fs;

	return mdb_env_get_fd(store->env, &fd) == 0 &&
	    fstatvfs(fd, &fs) == 0 &&
	    (uint64_t)fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES;
}

int
store_commit(struct store_txn **txn)
{
	const int64_t began_us = clock_mono_us();
	int rc = mdb_txn_commit((*txn)->mdb);

	stats_observe(STATS_commit, clock_mono_us() - began_us);
	stats_set_lock(STATS_LOCK_NONE);
	stats_add(rc == 0 ? STATS_store_commits : STATS_store_failures, 1);
	if (rc == EIO && disk_is_full((*txn)->store))
		rc = ENOSPC;
	(*txn)->mdb = NULL;
	*txn = NULL;
	return map_error(rc);
}

void
store_abort(struct store_txn **txn)
{
	mdb_txn_abort((*txn)->mdb);
	stats_set_lock(STATS_LOCK_NONE);
	(*txn)->mdb = NULL;
	*txn = NULL;
}

int
store_begin_read(struct store *store, struct store_txn **txn_out)
{
	struct store_txn *txn = malloc(sizeof(*txn));
	int rc;

	if (txn == NULL)
		return -KAP_NOMEM;
	txn->store = store;
	txn->write = false;
	if (store->idle_read != NULL) {
		txn->mdb = store->idle_read;
		store->idle_read = NULL;
		rc = mdb_txn_renew(txn->mdb);
		if (rc != 0)
			mdb_txn_abort(txn->mdb);
	} else {
		rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn->mdb);
	}
	if (rc != 0) {
		free(txn);
		return map_error(rc);
	}
	*txn_out = txn;
	return 0;
}

void
store_end_read(struct store_txn **txn)
{
	struct store *store = (*txn)->store;

	if (store->idle_read == NULL) {
		mdb_txn_reset((*txn)->mdb);
		store->idle_read = (*txn)->mdb;
	} else {
		mdb_txn_abort((*txn)->mdb);
	}
	free(*txn);
	*txn = NULL;
}

struct store *
store_of(const struct store_txn *txn)
{
	return txn->store;
}

/* LMDB takes keys and data as non-const pointers and leaves them alone. */
static MDB_val
as_val(const void *data, size_t len)
{
	union {
		const void *from;
		void *to;
	} cast = { .from = data };

	return (MDB_val){ .mv_size = len, .mv_data = cast.to };
}

static MDB_dbi
dbi(const struct store_txn *txn, enum store_table table)
{
	return txn->store->tables[table];
}

int
store_get(struct store_txn *txn, enum store_table table, const void *key,
    size_t key_len, struct store_value *value_out)
{
	MDB_val k = as_val(key, key_len);
	MDB_val v;
	const int rc = mdb_get(txn->mdb, dbi(txn, table), &k, &v);

	if (rc != 0)
		return map_error(rc);
	value_out->data = v.mv_data;
	value_out->len = v.mv_size;
	return 0;
}

int
store_copy(struct store_txn *txn, enum store_table table, const void *key,
    size_t key_len, void *to, size_t size)
{
	struct store_value value = { NULL, 0 };
	const int rc = store_get(txn, table, key, key_len, &value);
	size_t len;

	if (rc != 0)
		return rc;
	len = value.len < size ? value.len : size;
	memcpy(to, value.data, len);
	memset((char *)to + len, 0, size - len);
	return 0;
}

int
store_put_text(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len, const void *record, size_t text_at)
{
	const size_t len = text_at +
	    strlen((const char *)record + text_at) + 1;
	const uint16_t at = (uint16_t)text_at;
	MDB_val k = as_val(key, key_len);
	MDB_val v = { .mv_size = len };
	const int rc = mdb_put(txn->mdb, dbi(txn, table), &k, &v,
	    MDB_RESERVE);

	if (rc != 0)
		return map_error(rc);
	memcpy(v.mv_data, record, len);
	memcpy((char *)v.mv_data + offsetof(struct store_text_head, text_at),
	    &at, sizeof(at));
	return 0;
}

/* Where its text begins, or 0 where it is no such record. */
static size_t
find_text(const struct store_value *value)
{
	struct store_text_head head;

	if (value->len < sizeof(head))
		return 0;
	memcpy(&head, value->data, sizeof(head));
	return head.text_at >= sizeof(head) && head.text_at <= value->len ?
	    head.text_at : 0;
}

int
store_copy_text(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len, void *to, size_t size, size_t text_at,
    size_t text_size)
{
	struct store_value value = { NULL, 0 };
	const int rc = store_get(txn, table, key, key_len, &value);
	size_t at;
	size_t len;

	memset(to, 0, size);
	if (rc != 0)
		return rc;
	at = find_text(&value);
	if (at == 0)
		return -KAP_CORRUPT;
	memcpy(to, value.data, at < text_at ? at : text_at);
	memset((char *)to + offsetof(struct store_text_head, text_at), 0,
	    sizeof(uint16_t));
	len = value.len - at < text_size ? value.len - at : text_size - 1;
	memcpy((char *)to + text_at, (const char *)value.data + at, len);
	return 0;
}

int
store_put(struct store_txn *txn, enum store_table table, const void *key,
    size_t key_len, const void *data, size_t len)
{
	MDB_val k = as_val(key, key_len);
	MDB_val v = as_val(data, len);

	return map_error(mdb_put(txn->mdb, dbi(txn, table), &k, &v, 0));
}

int
store_del(struct store_txn *txn, enum store_table table, const void *key,
    size_t key_len)
{
	MDB_val k = as_val(key, key_len);
	const int rc = mdb_del(txn->mdb, dbi(txn, table), &k, NULL);

	return rc == MDB_NOTFOUND ? 0 : map_error(rc);
}

int
store_next(struct store_txn *txn, enum store_counter counter,
    uint64_t *number_out)
{
	uint64_t number = 0;
	int rc = get_number(txn, counter_names[counter], &number);

	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	number++;
	rc = put_number(txn, counter_names[counter], number);
	if (rc == 0)
		*number_out = number;
	return rc;
}

int
store_walk(struct store_txn *txn, enum store_table table, const void *from,
    size_t from_len, struct store_cursor **cursor_out)
{
	struct store_cursor *cursor = calloc(1, sizeof(*cursor));
	int rc;

	if (cursor == NULL)
		return -KAP_NOMEM;
	rc = mdb_cursor_open(txn->mdb, dbi(txn, table), &cursor->mdb);
	if (rc != 0) {
		free(cursor);
		return map_error(rc);
	}
	if (from_len > 0) {
		cursor->key = as_val(from, from_len);
		rc = mdb_cursor_get(cursor->mdb, &cursor->key,
		    &cursor->value, MDB_SET_RANGE);
	} else {
		rc = mdb_cursor_get(cursor->mdb, &cursor->key,
		    &cursor->value, MDB_FIRST);
	}
	if (rc != 0 && rc != MDB_NOTFOUND) {
		store_walk_end(&cursor);
		return map_error(rc);
	}
	cursor->at_start = rc == 0;
	cursor->at_end = rc == MDB_NOTFOUND;
	*cursor_out = cursor;
	return 0;
}

int
store_walk_next(struct store_cursor *cursor, struct store_value *key_out,
    struct store_value *value_out)
{
	if (cursor->at_end)
		return -KAP_NOENT;
	if (!cursor->at_start) {
		const int rc = mdb_cursor_get(cursor->mdb, &cursor->key,
		    &cursor->value, MDB_NEXT);

		if (rc != 0) {
			cursor->at_end = true;
			return map_error(rc);
		}
	}
	cursor->at_start = false;
	key_out->data = cursor->key.mv_data;
	key_out->len = cursor->key.mv_size;
	value_out->data = cursor->value.mv_data;
	value_out->len = cursor->value.mv_size;
	return 0;
}

int
store_walk_del(struct store_cursor *cursor)
{
	return map_error(mdb_cursor_del(cursor->mdb, 0));
}

void
store_walk_end(struct store_cursor **cursor)
{
	if (*cursor == NULL)
		return;
	mdb_cursor_close((*cursor)->mdb);
	free(*cursor);
	*cursor = NULL;
}

int
store_count(struct store_txn *txn, enum store_table table,
    uint64_t *count_out)
{
	MDB_stat stat_;
	const int rc = mdb_stat(txn->mdb, dbi(txn, table), &stat_);

	if (rc == 0)
		*count_out = stat_.ms_entries;
	return map_error(rc);
}

const char *
store_table_name(enum store_table table)
{
	return table_names[table];
}

int
store_usage(struct store *store, struct store_usage *out)
{
	struct store_txn *txn;
	MDB_cursor *free_list;
	MDB_envinfo info;
	MDB_stat stat_;
	uint64_t in_file;
	uint64_t free_pages = 0;
	int rc = store_begin_read(store, &txn);

	if (rc != 0)
		return rc;
	rc = open_free_list(txn->mdb, &free_list);
	if (rc == 0) {
		rc = count_free_pages(free_list, 0, &free_pages);
		mdb_cursor_close(free_list);
	}
	store_end_read(&txn);
	if (rc == 0)
		rc = mdb_env_info(store->env, &info);
	if (rc == 0)
		rc = mdb_env_stat(store->env, &stat_);
	if (rc != 0)
		return map_error(rc);
	in_file = (uint64_t)info.me_last_pgno + 1;
	out->pages_total = info.me_mapsize / stat_.ms_psize;
	out->pages_used = in_file > free_pages ? in_file - free_pages : 0;
	out->readers = info.me_numreaders;
	out->percent = (uint32_t)(out->pages_used * 100 / out->pages_total);
	out->disk_is_full = disk_is_full(store);
	return 0;
}

int
store_clear_stale_readers(struct store *store)
{
	int dead = 0;
	const int rc = mdb_reader_check(store->env, &dead);

	return rc != 0 ? map_error(rc) : dead;
}

void
store_put_be32(uint8_t out[4], uint32_t number)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(number >> (24 - 8 * i));
}

void
store_put_be64(uint8_t out[8], uint64_t number)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(number >> (56 - 8 * i));
}

uint32_t
store_get_be32(const uint8_t in[4])
{
	uint32_t number = 0;

	for (int i = 0; i < 4; i++)
		number = number << 8 | in[i];
	return number;
}

uint64_t
store_get_be64(const uint8_t in[8])
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | in[i];
	return number;
}
