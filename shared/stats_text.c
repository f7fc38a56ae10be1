/*
 * Sums, gauges and their names, written as text.
 */
#include "stats_text.h"

#include <inttypes.h>
#include <stdlib.h>

#include "call.h"
#include "stats_sum.h"
#include "stats_text_internal.h"
#include "stats_words.h"

static const struct {
	const char *name;
	const char *help;
} counters[] = {
#define X(symbol, name, help) { PREFIX name "_total", help },
	STATS_COUNTERS(X)
#undef X
};

static const struct {
	const char *name;
	const char *row_label;
	const char *column_label;
	const char *help;
} matrices[] = {
#define X(symbol, rows, columns, name, row_label, column_label, help) \
	{ PREFIX name "_total", row_label, column_label, help },
	STATS_MATRICES(X)
#undef X
};

static const struct {
	const char *name;
	const char *help;
} times[] = {
#define X(symbol, ladder, name, help) { PREFIX name "_seconds", help },
	STATS_TIMES(X)
#undef X
};

/* --- lines --- */

void
stats_text_head(const struct stats_text *text, const char *name,
    const char *type, const char *help)
{
	(void)fprintf(text->out, "# HELP %s %s\n# TYPE %s %s\n", name, help,
	    name, type);
}

/* A label's value, escaped as the format wants it. */
static void
put_value(FILE *out, const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			(void)fputc('\\', out);
		if (*value == '\n')
			(void)fputs("\\n", out);
		else
			(void)fputc(*value, out);
	}
}

void
stats_text_label(const struct stats_text *text, char before, const char *label,
    const char *value)
{
	(void)fprintf(text->out, "%c%s=\"", before, label);
	put_value(text->out, value);
	(void)fputc('"', text->out);
}

void
stats_text_count(const struct stats_text *text, uint64_t count)
{
	(void)fprintf(text->out, " %" PRIu64 "\n", count);
}

/* The one series of a metric without labels. */
static void
put_single(const struct stats_text *text, const char *name, const char *type,
    const char *help, uint64_t value)
{
	stats_text_head(text, name, type, help);
	(void)fputs(name, text->out);
	stats_text_count(text, value);
}

/*
 * One histogram. label may be NULL: the metric has none.
 */
static void
put_times(const struct stats_text *text, const char *name, const char *label,
    const char *value, enum stats_ladder ladder,
    const struct stats_time_sum *sum)
{
	const int64_t *bounds = stats_bounds(ladder);
	uint64_t below = 0;

	for (unsigned i = 0; i <= STATS_BOUNDS; i++) {
		(void)fprintf(text->out, "%s_bucket", name);
		if (label != NULL)
			stats_text_label(text, '{', label, value);
		below += sum->buckets[i];
		(void)fprintf(text->out, "%cle=\"", label != NULL ? ',' : '{');
		if (i < STATS_BOUNDS)
			(void)fprintf(text->out, "%g", (double)bounds[i] / 1e6);
		else
			(void)fputs("+Inf", text->out);
		(void)fprintf(text->out, "\"} %" PRIu64 "\n", below);
	}
	for (int part = 0; part < 2; part++) {
		(void)fprintf(text->out, "%s%s", name,
		    part == 0 ? "_sum" : "_count");
		if (label != NULL) {
			stats_text_label(text, '{', label, value);
			(void)fputc('}', text->out);
		}
		if (part == 0)
			(void)fprintf(text->out, " %.6f\n",
			    (double)sum->sum_us / 1e6);
		else
			stats_text_count(text, sum->count);
	}
}

/* --- matrices --- */

static const char *
trunk_name(const struct stats_sums *sums, unsigned i)
{
	if (i < sums->trunks.count)
		return sums->trunks.names[i];
	return i == STATS_TRUNKS_MAX ? "other" : NULL;
}

static void
put_matrix(const struct stats_text *text, enum stats_matrix matrix)
{
	const char *name = matrices[matrix].name;
	const unsigned columns = stats_matrix_columns(matrix);
	const unsigned cells = stats_matrix_rows(matrix) * columns;

	stats_text_head(text, name, "counter", matrices[matrix].help);
	for (unsigned i = 0; i < cells; i++) {
		const unsigned row = i / columns;
		const unsigned column = i % columns;
		const char *row_value = matrix == STATS_originates ?
		    trunk_name(&text->sums, row) : stats_row_word(matrix, row);
		const char *column_value = stats_column_word(matrix, column);
		const uint64_t count =
		    text->sums.cells[stats_cell(matrix, row, column)];

		if (row_value == NULL || column_value == NULL ||
		    (count == 0 && !stats_is_shown_empty(matrix, row, column)))
			continue;
		(void)fputs(name, text->out);
		stats_text_label(text, '{', matrices[matrix].row_label,
		    row_value);
		if (column_value[0] != '\0')
			stats_text_label(text, ',',
			    matrices[matrix].column_label, column_value);
		(void)fputc('}', text->out);
		stats_text_count(text, count);
	}
}

/* --- requests --- */

static const char *
route_name(const struct stats_sums *sums, unsigned route)
{
	return route < sums->routes.count ? sums->routes.names[route] :
	    "other";
}

static void
put_request(const struct stats_text *text, const char *name,
    const struct stats_http_sum *cell)
{
	char code[8];

	(void)snprintf(code, sizeof(code), "%u",
	    stats_http_key_status(cell->key));
	(void)fputs(name, text->out);
	stats_text_label(text, '{', "route", route_name(&text->sums,
	    stats_http_key_route(cell->key)));
	stats_text_label(text, ',', "method", stats_method_name(
	    stats_http_key_method(cell->key)));
	stats_text_label(text, ',', "code", code);
	(void)fputc('}', text->out);
	stats_text_count(text, cell->count);
}

static void
put_http(const struct stats_text *text)
{
	static const char requests[] = PREFIX "http_requests_total";
	static const char durations[] =
	    PREFIX "http_request_duration_seconds";
	const struct stats_sums *sums = &text->sums;

	stats_text_head(text, requests, "counter", "Requests answered.");
	for (unsigned i = 0; i < sums->http_count; i++)
		put_request(text, requests, &sums->http[i]);
	if (sums->http_unplaced > 0) {
		(void)fprintf(text->out, "%s{route=\"other\","
		    "method=\"other\",code=\"other\"}", requests);
		stats_text_count(text, sums->http_unplaced);
	}
	stats_text_head(text, durations, "histogram",
	    "From a request that is whole to its answer.");
	for (unsigned i = 0; i <= STATS_SUM_ROUTES; i++) {
		const struct stats_time_sum *sum = &sums->route_times[i];

		if (sum->count > 0)
			put_times(text, durations, "route",
			    route_name(sums, i), STATS_LADDER_LONG, sum);
	}
}

/* --- the store --- */

static uint64_t
get(const _Atomic uint64_t *gauge)
{
	return atomic_load_explicit(gauge, memory_order_relaxed);
}

static void
put_look_age(const struct stats_text *text, const struct stats_look *look)
{
	static const char age[] = PREFIX "store_look_age_seconds";

	stats_text_head(text, age, "gauge",
	    "How old the figures of calls, queues and pages are: of the last "
	    "look at the store.");
	if (look != NULL)
		(void)fprintf(text->out, "%s %.3f\n", age,
		    stats_text_seconds(text->now_boot_ms - atomic_load_explicit(
		    &look->at_ms, memory_order_relaxed)));
}

static void
put_calls(const struct stats_text *text, const struct stats_look *look)
{
	static const char live[] = PREFIX "live_calls";
	static const char kept[] = PREFIX "ended_call_records";

	stats_text_head(text, live, "gauge",
	    "Calls that live, by their state.");
	for (unsigned i = CALL_QUEUED; look != NULL && i < CALL_ENDED; i++) {
		(void)fputs(live, text->out);
		stats_text_label(text, '{', "state",
		    call_state_name((enum call_state)i));
		(void)fputc('}', text->out);
		stats_text_count(text, get(&look->live[i]));
	}
	stats_text_head(text, kept, "gauge",
	    "Ended calls kept for what still follows from them.");
	if (look != NULL) {
		(void)fputs(kept, text->out);
		stats_text_count(text, get(&look->live[CALL_ENDED]));
	}
}

/* The age of a queue's oldest; 0 for an empty one. */
static double
queue_age(const struct stats_text *text, const struct stats_look *look,
    unsigned i)
{
	const int64_t since_ms = atomic_load_explicit(&look->oldest_ms[i],
	    memory_order_relaxed);

	return since_ms > 0 && since_ms < text->now_wall_ms ?
	    stats_text_seconds(text->now_wall_ms - since_ms) : 0;
}

static void
put_queues(const struct stats_text *text, const struct stats_look *look)
{
	static const char depth[] = PREFIX "queue_depth";
	static const char age[] = PREFIX "queue_oldest_age_seconds";
	static const char lag[] = PREFIX "ledger_lag_seconds";

	stats_text_head(text, depth, "gauge", "Entries waiting in a queue.");
	for (unsigned i = 0; look != NULL && i < STATS_QUEUE_COUNT; i++) {
		(void)fputs(depth, text->out);
		stats_text_label(text, '{', "queue",
		    stats_queue_name((enum stats_queue)i));
		(void)fputc('}', text->out);
		stats_text_count(text, get(&look->depth[i]));
	}
	stats_text_head(text, age, "gauge", "Age of a queue's oldest entry.");
	for (unsigned i = 0; look != NULL && i < STATS_QUEUE_COUNT; i++) {
		(void)fputs(age, text->out);
		stats_text_label(text, '{', "queue",
		    stats_queue_name((enum stats_queue)i));
		(void)fprintf(text->out, "} %.3f\n",
		    queue_age(text, look, i));
	}
	stats_text_head(text, lag, "gauge",
	    "How far PostgreSQL is behind: age of the oldest entry that is "
	    "not posted.");
	if (look != NULL)
		(void)fprintf(text->out, "%s %.3f\n", lag,
		    queue_age(text, look, STATS_QUEUE_LEDGER));
}

static void
put_pages(const struct stats_text *text, const struct stats_look *look)
{
	const struct {
		const char *name;
		const char *help;
		const _Atomic uint64_t *value;
	} gauges[] = {
		{ PREFIX "store_pages", "Pages of the store's map.",
		    look != NULL ? &look->pages : NULL },
		{ PREFIX "store_used_pages", "Pages of it in use.",
		    look != NULL ? &look->pages_used : NULL },
		{ PREFIX "store_readers", "Reader slots taken.",
		    look != NULL ? &look->readers : NULL },
	};
	static const char ratio[] = PREFIX "store_used_ratio";
	const uint64_t pages = look != NULL ? get(&look->pages) : 0;

	for (size_t i = 0; i < COUNT_OF(gauges); i++) {
		stats_text_head(text, gauges[i].name, "gauge", gauges[i].help);
		if (gauges[i].value == NULL)
			continue;
		(void)fputs(gauges[i].name, text->out);
		stats_text_count(text, get(gauges[i].value));
	}
	stats_text_head(text, ratio, "gauge",
	    "Share of the map in use; no new calls from 0.8 on.");
	if (pages > 0)
		(void)fprintf(text->out, "%s %.4f\n", ratio,
		    (double)get(&look->pages_used) / (double)pages);
}

/* --- the node --- */

static const char *
durability_name(enum config_durability durability)
{
	switch (durability) {
	case DURABILITY_FULL:
		return "full";
	case DURABILITY_RELAXED:
		return "relaxed";
	case DURABILITY_NORMAL:
		break;
	}
	return "normal";
}

static void
put_node(const struct stats_text *text)
{
	static const char build[] = PREFIX "build_info";
	static const char durability[] = PREFIX "store_durability_info";
	const struct stats_node *node = &text->file->node;

	stats_text_head(text, build, "gauge", "Always 1: what runs here.");
	(void)fputs(build, text->out);
	stats_text_label(text, '{', "version", text->about->version);
	(void)fprintf(text->out, ",node=\"%" PRId64 "\"} 1\n",
	    text->about->node);
	stats_text_head(text, durability, "gauge",
	    "Always 1: how commits are synced.");
	(void)fputs(durability, text->out);
	stats_text_label(text, '{', "durability",
	    durability_name(text->about->durability));
	(void)fputs("} 1\n", text->out);
	put_single(text, PREFIX "workers", "gauge",
	    "Worker slots that are served.",
	    atomic_load_explicit(&node->workers, memory_order_relaxed));
	put_single(text, PREFIX "paused", "gauge",
	    "1 while the node takes no new calls.",
	    atomic_load_explicit(&node->paused, memory_order_relaxed) != 0);
	put_single(text, PREFIX "store_up", "gauge",
	    "1 while a process can look at the store; without one, what is "
	    "in it is left out.", text->sums.look != NULL);
}

static void
put_all(struct stats_text *text)
{
	const struct stats_look *look = text->sums.look;

	put_node(text);
	stats_text_processes(text);
	put_http(text);
	for (unsigned i = 0; i < STATS_COUNTER_COUNT; i++)
		put_single(text, counters[i].name, "counter", counters[i].help,
		    text->sums.counters[i]);
	for (unsigned i = 0; i < STATS_MATRIX_COUNT; i++)
		put_matrix(text, (enum stats_matrix)i);
	for (unsigned i = 0; i < STATS_TIME_COUNT; i++) {
		stats_text_head(text, times[i].name, "histogram",
		    times[i].help);
		put_times(text, times[i].name, NULL, NULL,
		    stats_time_ladder((enum stats_time)i),
		    &text->sums.times[i]);
	}
	put_look_age(text, look);
	put_calls(text, look);
	put_queues(text, look);
	put_pages(text, look);
}

int
stats_text_render(const struct stats_file *file,
    const struct stats_about *about, int64_t now_boot_ms,
    int64_t now_wall_ms, FILE *out)
{
	struct stats_text *text = malloc(sizeof(*text));

	if (text == NULL)
		return -KAP_NOMEM;
	text->out = out;
	text->file = file;
	text->about = about;
	text->now_boot_ms = now_boot_ms;
	text->now_wall_ms = now_wall_ms;
	stats_sum(file, now_boot_ms, &text->sums);
	put_all(text);
	free(text);
	return ferror(out) != 0 ? -KAP_IO : 0;
}
