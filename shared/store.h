/*
 * The store: one LMDB environment that every role opens for itself. What is
 * live lies here and nowhere else. This module knows tables, transactions and
 * errors; what a record means is its owner's business (call_table, queues …).
 *
 * Rules that this interface is built around:
 *   - one write transaction for a turn of the loop (turn.h); nothing but the
 *     store is touched inside it: no I/O, no logging, no waiting
 *   - records are read in place and never kept beyond their transaction
 *   - a read transaction ends in the turn that began it
 */
#ifndef KAP_STORE_H
#define KAP_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "errors.h"

/* Only ever append. */
enum store_table {
	STORE_META,          /* name → number: versions, counters, boot id */
	STORE_CALLS,         /* call id → struct call */
	STORE_CALL_COLD,     /* call id → packed strings of the call */
	STORE_CALLS_BY_KEY,  /* be32 key id, call id → nothing: live calls */
	STORE_COMMANDS,      /* call id, NUL, be32 → struct command */
	STORE_TIMERS,        /* be64 boot ms, timer, call id → slot */
	STORE_WEBHOOKS,      /* be64 number → struct webhook_event */
	STORE_WEBHOOK_RETRY, /* be64 boot ms, be64 number → the same */
	STORE_RECORDINGS,    /* be64 number → struct recording_job */
	STORE_LEDGER,        /* be64 number → struct ledger_entry */
	STORE_LEDGER_ASIDE,  /* the same, refused by PostgreSQL for good */
	STORE_KEYS,          /* key hash → struct api_key */
	STORE_ACCOUNTS,      /* be32 key id → struct account */
	STORE_STREAMS,       /* slot → struct event_stream and its tail */
	STORE_IDEMPOTENCY,   /* be32 key id, SHA-256 of the header → a record
	                        with a tail (idempotency.c) */
	STORE_IDEMPOTENCY_AGE, /* be64 deadline ms, the former key → nothing */
	STORE_PLAYS,         /* call id, NUL, be64 stamp → struct call_play */
	STORE_WEBHOOK_DETAILS, /* be64 number → struct call_event_detail */
	STORE_TRUNKS,        /* name → struct trunk_state */
	STORE_TABLE_COUNT
};

/* Numbers that only grow, kept in STORE_META. */
enum store_counter {
	STORE_NEXT_CALL,
	STORE_NEXT_WEBHOOK,
	STORE_NEXT_RECORDING,
	STORE_NEXT_LEDGER,
	STORE_COUNTER_COUNT
};

struct store;
struct store_txn;
struct store_cursor;

struct store_value {
	const void *data;
	size_t len;
};

/*
 * Open the store, creating it where it is missing, and check its version.
 *
 * dir          an existing folder; the environment lies in <dir>/store
 * map_size_mb  size of the map, from the configuration
 * msg          a line for a person
 *
 * Returns 0; -KAP_DENIED (rights), -KAP_FULL (disk), -KAP_CORRUPT (cut short
 * or not ours), -KAP_VERSION (of another layout), -KAP_IO. Blocks on the
 * disk; call it at start-up. Any child.
 */
KAP_MUST_USE int store_open(struct store **store_out, const char *dir,
    int64_t map_size_mb, enum config_durability durability,
    struct kap_errmsg *msg);

/*
 * Open a store that is there, for reading alone: it makes nothing, and takes
 * no lock that a writer waits for. For kaphilactl, beside a running node.
 * Read transactions are to be short, as everybody's.
 *
 * Returns 0; -KAP_VERSION (no program of this version has opened it yet);
 * else as store_open. Blocks on the disk.
 */
KAP_MUST_USE int store_open_to_read(struct store **store_out,
    const char *dir, int64_t map_size_mb, struct kap_errmsg *msg);

/*
 * Look whether the file is as long as it must be, and no further: waits for no
 * lock and reads no record.
 *
 * Returns 0; -KAP_CORRUPT for a file that was cut short, with the words in
 * msg; else as store_open. Any process.
 */
KAP_MUST_USE int store_check_length(const char *dir, struct kap_errmsg *msg);

/* Close it; every transaction has ended. Sets *store NULL. */
void store_close(struct store **store);

/*
 * Begin a write transaction. Waits for the store's one write lock, and tells
 * so in the heartbeat row. Use turn.h instead, where there is an event loop.
 *
 * Returns 0; -KAP_FULL, -KAP_CORRUPT, -KAP_IO.
 */
KAP_MUST_USE int store_begin_write(struct store *store,
    struct store_txn **txn_out);

/* Commit; the transaction is gone either way. Returns 0, -KAP_FULL, -KAP_IO. */
KAP_MUST_USE int store_commit(struct store_txn **txn);

/* Give up a write transaction. */
void store_abort(struct store_txn **txn);

/*
 * Begin and end a read transaction; cheap. Never held over a turn of the
 * loop. Returns 0, -KAP_FULL (no reader slot left), -KAP_IO.
 */
KAP_MUST_USE int store_begin_read(struct store *store,
    struct store_txn **txn_out);
void store_end_read(struct store_txn **txn);

struct store *store_of(const struct store_txn *txn);

/*
 * Look up one record. *value_out is borrowed, valid until the transaction
 * ends or writes to the same table. The data is aligned to 2 bytes only: copy
 * a struct out with store_copy, or memcpy.
 *
 * Returns 0, -KAP_NOENT, -KAP_IO.
 */
KAP_MUST_USE int store_get(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len, struct store_value *value_out);

/*
 * Look up a fixed record that only ever grows at its tail: copies what is
 * there, and zeroes the rest of `to`.
 *
 * Returns 0, -KAP_NOENT, -KAP_IO.
 */
KAP_MUST_USE int store_copy(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len, void *to, size_t size);

/*
 * A record that ends with a text, of which only what there is gets stored: a
 * struct that begins with this head and has the text as its last member. It
 * grows before the text; where that begins is told by each record itself.
 */
struct store_text_head {
	uint16_t version;
	uint16_t text_at; /* set by store_put_text */
};

/*
 * Write such a record.
 *
 * text_at  the text's offset in it; NUL-terminated
 *
 * Returns 0, -KAP_FULL, -KAP_IO.
 */
KAP_MUST_USE int store_put_text(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len, const void *record, size_t text_at);

/*
 * Read one, whichever version wrote it: of its fixed part what this program
 * knows, the rest zeroed; the text cut to its room.
 *
 * size       of `to`
 * text_at    the text's offset in it
 * text_size  its room, NUL included
 *
 * Returns 0; -KAP_NOENT, -KAP_IO; -KAP_CORRUPT. `to` is zeroed on error.
 */
KAP_MUST_USE int store_copy_text(struct store_txn *txn,
    enum store_table table, const void *key, size_t key_len, void *to,
    size_t size, size_t text_at, size_t text_size);

/* Write one record over what is there. Returns 0, -KAP_FULL, -KAP_IO. */
KAP_MUST_USE int store_put(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len, const void *data, size_t len);

/* Delete one record; one that isn't there is no error. */
KAP_MUST_USE int store_del(struct store_txn *txn, enum store_table table,
    const void *key, size_t key_len);

/* The next value of a counter, from 1. */
KAP_MUST_USE int store_next(struct store_txn *txn, enum store_counter counter,
    uint64_t *number_out);

/*
 * Walk a table in the order of its keys, from the first key at or behind
 * `from` (NULL, 0: the first of all). A cursor ends before its transaction.
 *
 *     rc = store_walk(txn, table, from, len, &cursor);
 *     while ((rc = store_walk_next(cursor, &key, &value)) == 0)
 *             …
 *     store_walk_end(&cursor);
 *
 * store_walk_next returns -KAP_NOENT at the end. What it yields is borrowed
 * like store_get's. In a write transaction, store_walk_del deletes the record
 * yielded last; nothing else may write to the table during the walk.
 */
KAP_MUST_USE int store_walk(struct store_txn *txn, enum store_table table,
    const void *from, size_t from_len, struct store_cursor **cursor_out);
KAP_MUST_USE int store_walk_next(struct store_cursor *cursor,
    struct store_value *key_out, struct store_value *value_out);
KAP_MUST_USE int store_walk_del(struct store_cursor *cursor);
void store_walk_end(struct store_cursor **cursor);

/* Records in a table. */
KAP_MUST_USE int store_count(struct store_txn *txn, enum store_table table,
    uint64_t *count_out);

/* The table's name in LMDB, for tools: "calls". Never NULL. */
const char *store_table_name(enum store_table table);

struct store_usage {
	uint64_t pages_total;
	uint64_t pages_used; /* pages in the file, free ones included, less
	                        those on the free list */
	uint32_t readers;
	uint32_t percent; /* of the map in use, 0..100 */
	bool disk_is_full; /* less than a megabyte is free */
};

/* How full the map is. Reads, no lock. Returns 0 or -KAP_IO. */
KAP_MUST_USE int store_usage(struct store *store, struct store_usage *out);

/* Clear the reader slots of dead processes. Takes LMDB's reader lock: only
 * in the master's short-lived helper. Returns the number cleared or -KAP_IO. */
KAP_MUST_USE int store_clear_stale_readers(struct store *store);

/* Numbers in keys are big-endian, so that they sort. */
void store_put_be32(uint8_t out[4], uint32_t number);
void store_put_be64(uint8_t out[8], uint64_t number);
uint32_t store_get_be32(const uint8_t in[4]);
uint64_t store_get_be64(const uint8_t in[8]);

#endif
