/*
 * Owner's side and mapping of the statistics file. Every access is a relaxed
 * atomic: rows are read while they are written.
 */
#include "stats.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

/* Where each matrix begins in a row's cells. */
enum {
#define X(symbol, rows, columns, name, row_label, column_label, help) \
	FIRST_##symbol, \
	LAST_##symbol = FIRST_##symbol + (rows) * (columns) - 1,
	STATS_MATRICES(X)
#undef X
	CELL_COUNT
};

static_assert((int)STATS_COUNTER_COUNT <= STATS_COUNTERS_MAX, "no room");
static_assert((int)CELL_COUNT <= STATS_CELLS_MAX, "no room");
static_assert((int)STATS_TIME_COUNT <= STATS_TIMES_MAX, "no room");
static_assert((int)STATS_QUEUE_COUNT <= STATS_QUEUES_MAX, "no room");

static const struct {
	unsigned first;
	unsigned rows;
	unsigned columns;
} matrices[] = {
#define X(symbol, rows, columns, name, row_label, column_label, help) \
	{ FIRST_##symbol, rows, columns },
	STATS_MATRICES(X)
#undef X
};

static const enum stats_ladder ladders[] = {
#define X(symbol, ladder, name, help) ladder,
	STATS_TIMES(X)
#undef X
};

static const int64_t bounds[][STATS_BOUNDS] = {
	[STATS_LADDER_LONG] = { 1000, 5000, 10000, 25000, 50000, 100000,
	    250000, 500000, 1000000, 2500000, 5000000, 10000000 },
	[STATS_LADDER_SHORT] = { 50, 100, 250, 500, 1000, 2500, 5000, 10000,
	    25000, 100000, 500000, 2500000 },
};

static const char *const methods[STATS_METHODS] = { "GET", "HEAD", "POST",
	"PUT", "DELETE", "PATCH", "OPTIONS", "other" };

static struct stats_row private_row;
static struct stats_row *row = &private_row;
static const struct stats_file *mapped; /* NULL until stats_use_row */
static const struct stats_node private_node = { .workers = 1 };
static int64_t lock_wanted_us; /* clock_mono_us: the wait for it began */
static int64_t cpu_noted_us;   /* of this process, in the row already */

static struct stats_file *
map_file(int fd)
{
	struct stats_file *file = mmap(NULL, sizeof(*file),
	    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return file == MAP_FAILED ? NULL : file;
}

static int
has_our_layout(const struct stats_file *file)
{
	return file->magic == STATS_MAGIC && file->layout == STATS_LAYOUT &&
	    file->row_size == sizeof(struct stats_row);
}

int
stats_map(int fd, struct stats_file **file_out)
{
	struct stat st;
	struct stats_file *file;

	if (fstat(fd, &st) != 0)
		return -KAP_IO;
	if (st.st_size != (off_t)sizeof(*file))
		return -KAP_VERSION;
	file = map_file(fd);
	if (file == NULL)
		return -KAP_IO;
	if (!has_our_layout(file)) {
		(void)munmap(file, sizeof(*file));
		return -KAP_VERSION;
	}
	*file_out = file;
	return 0;
}

/* A hole in it would be a SIGBUS at some write, with the disk full then. */
static int
reserve(int fd)
{
	errno = posix_fallocate(fd, 0, (off_t)sizeof(struct stats_file));
	return errno == 0 ? 0 : -KAP_IO;
}

/* Empty and size the file, then write its head. */
static int
format_file(int fd)
{
	struct stats_file *file;

	if (ftruncate(fd, 0) != 0 || reserve(fd) != 0)
		return -KAP_IO;
	file = map_file(fd);
	if (file == NULL)
		return -KAP_IO;
	file->layout = STATS_LAYOUT;
	file->row_size = sizeof(struct stats_row);
	file->created_ms = clock_wall_ms();
	file->magic = STATS_MAGIC;
	(void)munmap(file, sizeof(*file));
	return 0;
}

int
stats_create(const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
	    0640);
	struct stats_file *file;
	int error;

	if (fd < 0)
		return -KAP_IO;
	if (stats_map(fd, &file) == 0) {
		(void)munmap(file, sizeof(*file));
		if (reserve(fd) == 0)
			return fd;
	} else if (format_file(fd) == 0) {
		return fd;
	}
	error = errno;
	(void)close(fd);
	errno = error; /* run_dir.c tells it */
	return -KAP_IO;
}

static void
set_gauge(_Atomic int64_t *gauge, int64_t value)
{
	atomic_store_explicit(gauge, value, memory_order_relaxed);
}

void
stats_use_row(struct stats_file *file, unsigned index, uint32_t generation)
{
	mapped = file;
	row = &file->rows[index];
	atomic_store_explicit(&row->lock, STATS_LOCK_NONE,
	    memory_order_relaxed);
	atomic_store_explicit(&row->draining, 0, memory_order_relaxed);
	atomic_store_explicit(&row->generation, generation,
	    memory_order_relaxed);
	set_gauge(&row->started_ms, clock_wall_ms());
	stats_note_process();
	stats_heartbeat();
	atomic_store_explicit(&row->pid, getpid(), memory_order_release);
}

unsigned
stats_row_index(unsigned bell, uint32_t generation)
{
	return 2 * bell + (generation & 1);
}

bool
stats_is_alive(unsigned bell, uint32_t generation)
{
	const struct stats_row *owner;

	if (mapped == NULL || bell >= CHILD_BELL_COUNT)
		return false;
	owner = &mapped->rows[stats_row_index(bell, generation)];
	return atomic_load(&owner->pid) != 0 &&
	    atomic_load(&owner->generation) == generation;
}

bool
stats_is_slot_alive(unsigned bell)
{
	const struct stats_row *rows;

	if (mapped == NULL || bell >= CHILD_BELL_COUNT)
		return false;
	rows = &mapped->rows[stats_row_index(bell, 0)];
	return atomic_load(&rows[0].pid) != 0 || atomic_load(&rows[1].pid) != 0;
}

unsigned
stats_owner_among(unsigned slot, unsigned workers)
{
	return workers == 0 || slot < workers ? slot : slot % workers;
}

unsigned
stats_slot_owner(unsigned slot)
{
	return stats_owner_among(slot, atomic_load_explicit(
	    &stats_node()->workers, memory_order_relaxed));
}

const struct stats_file *
stats_mapped(void)
{
	return mapped;
}

const struct stats_node *
stats_node(void)
{
	return mapped != NULL ? &mapped->node : &private_node;
}

struct stats_row *
stats_row(void)
{
	return row;
}

/* One writer: a plain read, add, store is enough. */
static void
bump(_Atomic uint64_t *count, uint64_t n)
{
	atomic_store_explicit(count,
	    atomic_load_explicit(count, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

void
stats_add(enum stats_counter counter, uint64_t n)
{
	bump(&row->counters[counter], n);
}

void
stats_heartbeat(void)
{
	set_gauge(&row->heartbeat_ms, clock_boot_ms());
}

void
stats_set_lock(enum stats_lock lock)
{
	if (lock == STATS_LOCK_WAITING)
		lock_wanted_us = clock_mono_us();
	else if (lock == STATS_LOCK_HELD)
		stats_observe(STATS_lock_wait,
		    clock_mono_us() - lock_wanted_us);
	set_gauge(&row->lock_since_ms,
	    lock == STATS_LOCK_NONE ? 0 : clock_boot_ms());
	atomic_store_explicit(&row->lock, (int32_t)lock,
	    memory_order_relaxed);
}

unsigned
stats_cell(enum stats_matrix matrix, unsigned at_row, unsigned column)
{
	return matrices[matrix].first + at_row * matrices[matrix].columns +
	    column;
}

unsigned
stats_matrix_rows(enum stats_matrix matrix)
{
	return matrices[matrix].rows;
}

unsigned
stats_matrix_columns(enum stats_matrix matrix)
{
	return matrices[matrix].columns;
}

void
stats_count(enum stats_matrix matrix, unsigned at_row, unsigned column,
    uint64_t n)
{
	if (at_row >= matrices[matrix].rows)
		at_row = matrices[matrix].rows - 1;
	if (column >= matrices[matrix].columns)
		column = matrices[matrix].columns - 1;
	bump(&row->cells[stats_cell(matrix, at_row, column)], n);
}

const int64_t *
stats_bounds(enum stats_ladder ladder)
{
	return bounds[ladder];
}

enum stats_ladder
stats_time_ladder(enum stats_time time)
{
	return ladders[time];
}

static void
observe(struct stats_times *times, enum stats_ladder ladder, int64_t us)
{
	unsigned i = 0;

	if (us < 0)
		us = 0;
	while (i < STATS_BOUNDS && us > bounds[ladder][i])
		i++;
	bump(&times->buckets[i], 1);
	bump(&times->sum_us, (uint64_t)us);
}

void
stats_observe(enum stats_time time, int64_t us)
{
	observe(&row->times[time], ladders[time], us);
}

/* Find or add a name; `max` when there is no room. */
static unsigned
intern(_Atomic uint32_t *count, char (*names)[STATS_NAME_SIZE], unsigned max,
    const char *name)
{
	const unsigned known = atomic_load_explicit(count,
	    memory_order_relaxed);

	for (unsigned i = 0; i < known && i < max; i++) {
		if (strncmp(names[i], name, STATS_NAME_SIZE - 1) == 0)
			return i;
	}
	if (known >= max)
		return max;
	(void)snprintf(names[known], STATS_NAME_SIZE, "%s", name);
	/* a reader that sees the count sees the name */
	atomic_store_explicit(count, known + 1, memory_order_release);
	return known;
}

unsigned
stats_route(const char *pattern)
{
	return intern(&row->http.route_count, row->http.routes,
	    STATS_ROUTES_MAX, pattern);
}

unsigned
stats_trunk(const char *name)
{
	return intern(&row->trunk_count, row->trunks, STATS_TRUNKS_MAX, name);
}

uint32_t
stats_http_key(unsigned route, unsigned method, unsigned status)
{
	return (route + 1) << 16 | (method & 7) << 10 | (status & 1023);
}

unsigned
stats_http_key_route(uint32_t key)
{
	return (key >> 16) - 1;
}

unsigned
stats_http_key_method(uint32_t key)
{
	return key >> 10 & 7;
}

unsigned
stats_http_key_status(uint32_t key)
{
	return key & 1023;
}

const char *
stats_method_name(unsigned method)
{
	return methods[method];
}

static unsigned
find_method(const char *name)
{
	unsigned i = 0;

	while (i < STATS_METHODS - 1 && strcmp(methods[i], name) != 0)
		i++;
	return i;
}

/* The cell of a key, taking a free one for a new key; NULL: none is left. */
static _Atomic uint64_t *
place(struct stats_http *http, uint32_t key)
{
	const uint32_t start = key * 2654435761U; /* 2^32 by the golden ratio */

	for (uint32_t i = 0; i < STATS_HTTP_CELLS; i++) {
		const uint32_t at = ((start >> 16) + i) % STATS_HTTP_CELLS;
		const uint32_t there = atomic_load_explicit(&http->keys[at],
		    memory_order_relaxed);

		if (there == 0)
			atomic_store_explicit(&http->keys[at], key,
			    memory_order_relaxed);
		if (there == 0 || there == key)
			return &http->counts[at];
	}
	return NULL;
}

void
stats_request(unsigned route, const char *method, unsigned status, int64_t us)
{
	struct stats_http *http = &row->http;
	_Atomic uint64_t *count;

	if (route > STATS_ROUTES_MAX)
		route = STATS_ROUTES_MAX;
	count = place(http, stats_http_key(route, find_method(method),
	    status));
	bump(count != NULL ? count : &http->unplaced, 1);
	observe(&http->times[route], STATS_LADDER_LONG, us);
}

static int64_t
read_rss(void)
{
	const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char text[128];
	char *rest;
	ssize_t len;

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	text[len > 0 ? len : 0] = '\0';
	/* "size resident shared …", in pages */
	(void)strtoll(text, &rest, 10);
	return strtoll(rest, NULL, 10) * sysconf(_SC_PAGESIZE);
}

void
stats_note_process(void)
{
	struct rusage usage;
	int64_t used_us;

	set_gauge(&row->rss_bytes, read_rss());
	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return;
	used_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
	    1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	/* on top of what earlier owners used, so that it never falls */
	set_gauge(&row->cpu_us, atomic_load_explicit(&row->cpu_us,
	    memory_order_relaxed) + used_us - cpu_noted_us);
	cpu_noted_us = used_us;
}
