/*
 * The statistics file: shared memory made by the master, a row for each
 * process, written by its owner alone and read by the master and by whoever
 * renders it. The heartbeat row beside the counters is what the watchdog
 * looks at. Rows survive the restart of their owner.
 */
#ifndef KAP_STATS_H
#define KAP_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "child.h"
#include "errors.h"

#define STATS_MAGIC 0x4b41505354415401ULL
#define STATS_LAYOUT 2
/* Two for each doorbell, for a slot's old and new process; and the master's. */
#define STATS_ROW_COUNT (2 * CHILD_BELL_COUNT + 1)
#define STATS_ROW_MASTER (2 * CHILD_BELL_COUNT)

/* X(name, help): every counter, once. Only ever append. */
#define STATS_COUNTERS(X) \
	X(http_requests, "requests answered") \
	X(http_errors_4xx, "requests answered 4xx") \
	X(http_errors_5xx, "requests answered 5xx") \
	X(http_refused, "requests the gate refused") \
	X(http_connections, "connections taken") \
	X(calls_created, "calls accepted") \
	X(calls_answered, "calls answered") \
	X(calls_ended, "calls ended") \
	X(ari_events, "events read from Asterisk") \
	X(ari_commands, "commands sent to Asterisk") \
	X(ari_command_failures, "commands Asterisk refused") \
	X(ari_connects, "event links made") \
	X(ari_bytes_lost, "event bytes lost, by the stream's offset") \
	X(store_commits, "write transactions committed") \
	X(store_failures, "write transactions that failed") \
	X(webhooks_delivered, "webhook deliveries taken") \
	X(webhooks_failed, "webhook tries that failed") \
	X(recordings_stored, "recordings moved into the store") \
	X(recordings_failed, "recordings given up") \
	X(ledger_posted, "ledger entries posted to PostgreSQL") \
	X(ledger_set_aside, "ledger entries PostgreSQL refused for good")

enum stats_counter {
#define X(name, help) STATS_##name,
	STATS_COUNTERS(X)
#undef X
	STATS_COUNTER_COUNT
};

enum stats_lock { STATS_LOCK_NONE, STATS_LOCK_WAITING, STATS_LOCK_HELD };

/* What a worker's links look like now. */
enum stats_link { STATS_LINK_DOWN, STATS_LINK_CONNECTING, STATS_LINK_UP };

/* One process. Aligned so that no two owners share a cache line. */
struct stats_row {
	_Alignas(64) _Atomic int32_t pid;      /* 0: no such process now */
	_Atomic uint32_t generation;
	_Atomic int64_t heartbeat_ms;  /* boot clock */
	_Atomic int32_t lock;          /* enum stats_lock: LMDB's write lock */
	_Atomic int64_t lock_since_ms; /* boot clock */
	_Atomic int32_t draining;
	_Atomic int32_t ari_link;      /* enum stats_link, workers */
	_Atomic int32_t pg_link;       /* enum stats_link, workers */
	_Atomic int64_t live;          /* gauge: live calls of the slot, or
	                                  entries waiting in the queue */
	_Atomic uint64_t counters[STATS_COUNTER_COUNT];
};

/* What the whole node is told by the master, its only writer. */
struct stats_node {
	_Atomic uint32_t workers; /* slots 0..workers - 1 are served */
	_Atomic uint32_t paused;  /* not 0: no new calls (kaphilactl drain) */
};

struct stats_file {
	uint64_t magic;
	uint32_t layout;
	uint32_t row_size;
	int64_t created_ms;
	struct stats_node node;
	struct stats_row rows[STATS_ROW_COUNT];
};

/*
 * The row of a process: the two generations of a slot that may run at the
 * same time have one each. A row's counters go on from its last owner's; a
 * slot's count is the sum of its two rows.
 *
 * bell  0..CHILD_BELL_COUNT - 1
 */
unsigned stats_row_index(unsigned bell, uint32_t generation);

/*
 * Whether that process of a slot still runs, or isn't reaped yet: what it
 * has under way is then its own. False where no file is mapped. Any process.
 */
bool stats_is_alive(unsigned bell, uint32_t generation);

/* The node's; before stats_use_row: one worker, not paused. */
const struct stats_node *stats_node(void);

/*
 * Map a statistics file from its descriptor, read and write. The mapping
 * stays until the process ends.
 *
 * Returns 0; -KAP_VERSION for another layout; -KAP_IO.
 */
KAP_MUST_USE int stats_map(int fd, struct stats_file **file_out);

/*
 * Open or create the file at `path` with room for every row; one of another
 * layout is made anew. Master only.
 *
 * Returns the descriptor (close-on-exec), or -KAP_IO.
 */
KAP_MUST_USE int stats_create(const char *path);

/* Choose this process's own row; the functions below write to it. */
void stats_use_row(struct stats_file *file, unsigned row, uint32_t generation);

/* This process's row; a private one until stats_use_row was called. */
struct stats_row *stats_row(void);

void stats_add(enum stats_counter counter, uint64_t n);
void stats_heartbeat(void);
void stats_set_lock(enum stats_lock lock);

const char *stats_counter_name(enum stats_counter counter);
const char *stats_counter_help(enum stats_counter counter);

#endif
