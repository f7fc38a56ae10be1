/*
 * The rows of a statistics file added up: what the whole node has counted,
 * its dead processes included. Reads only, while the owners write; so a sum
 * may miss what is being counted this moment.
 */
#ifndef KAP_STATS_SUM_H
#define KAP_STATS_SUM_H

#include <stdint.h>

#include "stats.h"

/* A look at the store that is older is no statement about now. */
#define STATS_LOOK_FRESH_MS 15000

#define STATS_SUM_ROUTES 64  /* distinct ones of all rows; then "other" */
#define STATS_SUM_CELLS 1024 /* power of two */

struct stats_time_sum {
	uint64_t sum_us;
	uint64_t count;
	uint64_t buckets[STATS_BOUNDS + 1]; /* not cumulative */
};

/* Names of all rows, each once. */
struct stats_name_sum {
	unsigned count;
	char names[STATS_SUM_ROUTES][STATS_NAME_SIZE];
};

struct stats_http_sum {
	uint32_t key; /* stats_http_key; the route is STATS_SUM_ROUTES for
	                 "other". 0: a free cell */
	uint64_t count;
};

struct stats_sums {
	uint64_t counters[STATS_COUNTERS_MAX];
	/* by stats_cell(); the row of an originate is its trunk in `trunks`,
	 * or the last one for "other" */
	uint64_t cells[STATS_CELLS_MAX];
	struct stats_time_sum times[STATS_TIMES_MAX];
	struct stats_name_sum trunks; /* STATS_TRUNKS_MAX at the most */
	struct stats_name_sum routes;
	struct stats_time_sum route_times[STATS_SUM_ROUTES + 1];
	unsigned http_count; /* the first of `http`, in the order of keys */
	struct stats_http_sum http[STATS_SUM_CELLS];
	uint64_t http_unplaced;
	const struct stats_look *look; /* the newest; NULL: none is fresh */
};

/*
 * Add all rows up.
 *
 * now_ms  boot clock
 * out     filled whole; out->look is borrowed from the file
 */
void stats_sum(const struct stats_file *file, int64_t now_ms,
    struct stats_sums *out);

#endif
