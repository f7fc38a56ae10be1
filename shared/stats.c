/*
 * Owner's side and mapping of the statistics file. Every access is a relaxed
 * atomic: rows are read while they are written.
 */
#include "stats.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

static struct stats_row private_row;
static struct stats_row *row = &private_row;
static const struct stats_file *mapped; /* NULL until stats_use_row */
static const struct stats_node private_node = { .workers = 1 };

static const char *const names[] = {
#define X(name, help) #name,
	STATS_COUNTERS(X)
#undef X
};

static const char *const helps[] = {
#define X(name, help) help,
	STATS_COUNTERS(X)
#undef X
};

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

/* Empty and size the file, then write its head. */
static int
format_file(int fd)
{
	struct stats_file *file;

	if (ftruncate(fd, 0) != 0 ||
	    ftruncate(fd, (off_t)sizeof(*file)) != 0)
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

	if (fd < 0)
		return -KAP_IO;
	if (stats_map(fd, &file) == 0) {
		(void)munmap(file, sizeof(*file));
		return fd;
	}
	if (format_file(fd) != 0) {
		(void)close(fd);
		return -KAP_IO;
	}
	return fd;
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

void
stats_add(enum stats_counter counter, uint64_t n)
{
	/* one writer: a plain read, add, store is enough */
	const uint64_t now = atomic_load_explicit(&row->counters[counter],
	    memory_order_relaxed);

	atomic_store_explicit(&row->counters[counter], now + n,
	    memory_order_relaxed);
}

void
stats_heartbeat(void)
{
	atomic_store_explicit(&row->heartbeat_ms, clock_boot_ms(),
	    memory_order_relaxed);
}

void
stats_set_lock(enum stats_lock lock)
{
	atomic_store_explicit(&row->lock_since_ms,
	    lock == STATS_LOCK_NONE ? 0 : clock_boot_ms(),
	    memory_order_relaxed);
	atomic_store_explicit(&row->lock, (int32_t)lock,
	    memory_order_relaxed);
}

const char *
stats_counter_name(enum stats_counter counter)
{
	return names[counter];
}

const char *
stats_counter_help(enum stats_counter counter)
{
	return helps[counter];
}
