/*
 * Adds rows up. Names stand at other places in each row, so they are matched
 * by their text.
 */
#include "stats_sum.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(STATS_TRUNKS_MAX <= STATS_SUM_ROUTES, "trunks have room too");

static uint64_t
get(const _Atomic uint64_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static void
add_times(struct stats_time_sum *sum, const struct stats_times *times)
{
	sum->sum_us += get(&times->sum_us);
	for (unsigned i = 0; i <= STATS_BOUNDS; i++) {
		const uint64_t n = get(&times->buckets[i]);

		sum->buckets[i] += n;
		sum->count += n;
	}
}

/* The place of a name among those of all rows; `max` where it finds none. */
static unsigned
merge_name(struct stats_name_sum *sum, const char *name, unsigned max)
{
	for (unsigned i = 0; i < sum->count; i++) {
		if (strcmp(sum->names[i], name) == 0)
			return i;
	}
	if (sum->count == max)
		return max;
	(void)snprintf(sum->names[sum->count], STATS_NAME_SIZE, "%s", name);
	return sum->count++;
}

/*
 * Where each name of a row stands among all. map_out has max_row + 1 places:
 * the last is "other", and stays so.
 */
static void
map_names(const _Atomic uint32_t *count,
    const char (*names)[STATS_NAME_SIZE], unsigned max_row,
    struct stats_name_sum *sum, unsigned max_sum, unsigned *map_out)
{
	const unsigned known = atomic_load_explicit(count,
	    memory_order_acquire);

	for (unsigned i = 0; i <= max_row; i++) {
		char name[STATS_NAME_SIZE];

		map_out[i] = max_sum;
		if (i >= known || i == max_row)
			continue;
		memcpy(name, names[i], sizeof(name));
		name[sizeof(name) - 1] = '\0';
		map_out[i] = merge_name(sum, name, max_sum);
	}
}

/* All matrices but the originates, whose rows mean other trunks each time. */
static void
add_cells(struct stats_sums *sums, const struct stats_row *row)
{
	const unsigned first = stats_cell(STATS_originates, 0, 0);
	const unsigned columns = stats_matrix_columns(STATS_originates);
	const unsigned behind = first +
	    stats_matrix_rows(STATS_originates) * columns;
	unsigned map[STATS_TRUNKS_MAX + 1];

	for (unsigned i = 0; i < STATS_CELLS_MAX; i++) {
		if (i < first || i >= behind)
			sums->cells[i] += get(&row->cells[i]);
	}
	map_names(&row->trunk_count, row->trunks, STATS_TRUNKS_MAX,
	    &sums->trunks, STATS_TRUNKS_MAX, map);
	for (unsigned i = first; i < behind; i++) {
		const unsigned trunk = map[(i - first) / columns];

		sums->cells[first + trunk * columns + (i - first) % columns] +=
		    get(&row->cells[i]);
	}
}

static void
add_requests(struct stats_sums *sums, uint32_t key, uint64_t count)
{
	const uint32_t start = (key * 2654435761U) >> 16;

	for (uint32_t i = 0; i < STATS_SUM_CELLS; i++) {
		struct stats_http_sum *cell =
		    &sums->http[(start + i) % STATS_SUM_CELLS];

		if (cell->key != 0 && cell->key != key)
			continue;
		cell->key = key;
		cell->count += count;
		return;
	}
	sums->http_unplaced += count;
}

static void
add_http(struct stats_sums *sums, const struct stats_http *http)
{
	unsigned map[STATS_ROUTES_MAX + 1];

	map_names(&http->route_count, http->routes, STATS_ROUTES_MAX,
	    &sums->routes, STATS_SUM_ROUTES, map);
	for (unsigned i = 0; i <= STATS_ROUTES_MAX; i++)
		add_times(&sums->route_times[map[i]], &http->times[i]);
	for (unsigned i = 0; i < STATS_HTTP_CELLS; i++) {
		const uint32_t key = atomic_load_explicit(&http->keys[i],
		    memory_order_relaxed);
		const unsigned route = stats_http_key_route(key);

		if (key != 0 && route <= STATS_ROUTES_MAX)
			add_requests(sums, stats_http_key(map[route],
			    stats_http_key_method(key),
			    stats_http_key_status(key)),
			    get(&http->counts[i]));
	}
	sums->http_unplaced += get(&http->unplaced);
}

static void
add_row(struct stats_sums *sums, const struct stats_row *row)
{
	for (unsigned i = 0; i < STATS_COUNTERS_MAX; i++)
		sums->counters[i] += get(&row->counters[i]);
	for (unsigned i = 0; i < STATS_TIMES_MAX; i++)
		add_times(&sums->times[i], &row->times[i]);
	add_cells(sums, row);
	add_http(sums, &row->http);
}

static int
compare_keys(const void *a, const void *b)
{
	const struct stats_http_sum *left = a;
	const struct stats_http_sum *right = b;

	return (left->key > right->key) - (left->key < right->key);
}

/* Out of their places, into their order. */
static void
sort_requests(struct stats_sums *sums)
{
	for (unsigned i = 0; i < STATS_SUM_CELLS; i++) {
		if (sums->http[i].key != 0)
			sums->http[sums->http_count++] = sums->http[i];
	}
	qsort(sums->http, sums->http_count, sizeof(sums->http[0]),
	    compare_keys);
}

static void
choose_look(struct stats_sums *sums, const struct stats_row *row,
    int64_t now_ms, int64_t *newest_ms)
{
	const int64_t at_ms = atomic_load_explicit(&row->look.at_ms,
	    memory_order_acquire);

	/* one of before the machine's last boot may seem to come */
	if (at_ms <= *newest_ms || at_ms > now_ms)
		return;
	*newest_ms = at_ms;
	sums->look = &row->look;
}

void
stats_sum(const struct stats_file *file, int64_t now_ms,
    struct stats_sums *out)
{
	int64_t newest_ms = now_ms - STATS_LOOK_FRESH_MS;

	memset(out, 0, sizeof(*out));
	if (newest_ms < 0)
		newest_ms = 0;
	for (unsigned i = 0; i < STATS_ROW_COUNT; i++) {
		const struct stats_row *row = &file->rows[i];

		/* one that never had an owner lies in no page yet */
		if (atomic_load_explicit(&row->generation,
		        memory_order_relaxed) == 0)
			continue;
		add_row(out, row);
		choose_look(out, row, now_ms, &newest_ms);
	}
	sort_requests(out);
}
