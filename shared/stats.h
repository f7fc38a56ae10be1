/*
 * The statistics file: shared memory made by the master, a row for each
 * process, written by its owner alone and read by the master and by whoever
 * renders it (stats_text.h). The heartbeat row beside the counters is what
 * the watchdog looks at. Rows survive the restart of their owner.
 *
 * What is counted, and under which name, stands in stats_list.h.
 */
#ifndef KAP_STATS_H
#define KAP_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "child.h"
#include "errors.h"
#include "stats_list.h"

#define STATS_MAGIC 0x4b41505354415401ULL
/*
 * Raised when anything in the file moves or changes its meaning; the arrays
 * have room, so that appending to a list of stats_list.h moves nothing.
 */
#define STATS_LAYOUT 3
/* Two for each doorbell, for a slot's old and new process; and the master's. */
#define STATS_ROW_COUNT (2 * CHILD_BELL_COUNT + 1)
#define STATS_ROW_MASTER (2 * CHILD_BELL_COUNT)

#define STATS_COUNTERS_MAX 48
#define STATS_CELLS_MAX 704 /* of all matrices together */
#define STATS_TIMES_MAX 8

/*
 * Bounds of the buckets. Long, of what a client or a person waits for: 1 ms
 * to 10 s. Short, of what happens inside: 50 us to 2.5 s.
 */
enum stats_ladder { STATS_LADDER_LONG, STATS_LADDER_SHORT };
#define STATS_BOUNDS 12

struct stats_times {
	_Atomic uint64_t sum_us;
	_Atomic uint64_t buckets[STATS_BOUNDS + 1]; /* the last: beyond all */
};

/*
 * Requests by route, method and code. Routes are known to the worker alone,
 * so their names stand here, first come first served; what finds no room
 * counts under "other". A key is 0 for a free cell, else stats_http_key().
 */
#define STATS_HTTP_CELLS 128
struct stats_http {
	_Atomic uint32_t route_count;
	char routes[STATS_ROUTES_MAX][STATS_NAME_SIZE];
	struct stats_times times[STATS_ROUTES_MAX + 1];
	_Atomic uint32_t keys[STATS_HTTP_CELLS];
	_Atomic uint64_t counts[STATS_HTTP_CELLS];
	_Atomic uint64_t unplaced; /* requests that found no cell */
};

#define STATS_QUEUES_MAX 12
#define STATS_CALL_STATES_MAX 10

/*
 * What a process saw in the store (store_look.h). It is a statement about the
 * store, not about the process: the newest of all rows counts.
 */
struct stats_look {
	_Atomic int64_t at_ms; /* boot clock; 0: never */
	_Atomic uint64_t live[STATS_CALL_STATES_MAX]; /* by enum call_state */
	_Atomic uint64_t depth[STATS_QUEUES_MAX];     /* by enum stats_queue */
	_Atomic int64_t oldest_ms[STATS_QUEUES_MAX];  /* wall clock; 0: none */
	_Atomic uint64_t pages;
	_Atomic uint64_t pages_used;
	_Atomic uint64_t readers;
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
	_Atomic int64_t live;          /* gauge: live calls of the node, or
	                                  entries waiting in the queue */
	_Atomic int64_t started_ms;    /* wall clock */
	_Atomic int64_t cpu_us;        /* used by all owners of the row */
	_Atomic int64_t rss_bytes;
	_Atomic uint64_t counters[STATS_COUNTERS_MAX];
	_Atomic uint64_t cells[STATS_CELLS_MAX]; /* stats_cell() */
	struct stats_times times[STATS_TIMES_MAX];
	struct stats_look look;
	_Atomic uint32_t trunk_count; /* rows of the matrix of originates */
	char trunks[STATS_TRUNKS_MAX][STATS_NAME_SIZE];
	struct stats_http http;
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

/* The same for whatever process of a slot, old or new. */
bool stats_is_slot_alive(unsigned bell);

/*
 * The worker slot that looks after a slot's calls, timers and commands:
 * itself, or one that stayed when the node was made smaller. Any process;
 * the answer changes when the node is scaled.
 *
 * slot  0..CHILD_MAX_WORKERS - 1
 */
unsigned stats_slot_owner(unsigned slot);

/* The same with so many workers; 0: each slot looks after itself. */
unsigned stats_owner_among(unsigned slot, unsigned workers);

/* The file that stats_use_row was called with; NULL before. */
const struct stats_file *stats_mapped(void);

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

/* Tells it to the watchdog, and notes how long the lock was waited for. */
void stats_set_lock(enum stats_lock lock);

/*
 * Add to a cell of a matrix. An index beyond its size counts in the last row
 * or column. `column` is 0 where the matrix has one label.
 */
void stats_count(enum stats_matrix matrix, unsigned row, unsigned column,
    uint64_t n);

/* A duration, in microseconds; less than 0 counts as 0. */
void stats_observe(enum stats_time time, int64_t us);

/*
 * The index of a name for what is counted by it, adding it where there is
 * room: at start-up for routes, at an originate for trunks. The name is
 * copied, and cut at STATS_NAME_SIZE - 1.
 *
 * Returns 0.., or STATS_ROUTES_MAX or STATS_TRUNKS_MAX for "other".
 */
unsigned stats_route(const char *pattern);
unsigned stats_trunk(const char *name);

/*
 * A request was answered.
 *
 * route    of stats_route
 * method   any text; what isn't well known counts as "other"
 * status   100..999
 */
void stats_request(unsigned route, const char *method, unsigned status,
    int64_t us);

/* Processor time and memory of this process, into its row. Every tick. */
void stats_note_process(void);

/* --- for readers -------------------------------------------------------- */

/* Cell of a matrix in a row's `cells`; the indexes are in range. */
unsigned stats_cell(enum stats_matrix matrix, unsigned row, unsigned column);

/* The size of a matrix. */
unsigned stats_matrix_rows(enum stats_matrix matrix);
unsigned stats_matrix_columns(enum stats_matrix matrix);

/* The bounds of a ladder in microseconds, STATS_BOUNDS of them. */
const int64_t *stats_bounds(enum stats_ladder ladder);
enum stats_ladder stats_time_ladder(enum stats_time time);

/* What was asked for: a method's index and status, packed with the route. */
#define STATS_METHODS 8
uint32_t stats_http_key(unsigned route, unsigned method, unsigned status);
unsigned stats_http_key_route(uint32_t key);
unsigned stats_http_key_method(uint32_t key);
unsigned stats_http_key_status(uint32_t key);

/* "GET" … "other". Never NULL. */
const char *stats_method_name(unsigned method);

#endif
