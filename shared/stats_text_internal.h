/*
 * What stats_text.c and stats_text_process.c know of each other. Nobody else
 * includes this.
 */
#ifndef KAP_STATS_TEXT_INTERNAL_H
#define KAP_STATS_TEXT_INTERNAL_H

#include "stats_sum.h"
#include "stats_text.h"

#define PREFIX "kaphila_"
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

struct stats_text {
	FILE *out;
	const struct stats_file *file;
	const struct stats_about *about;
	int64_t now_boot_ms;
	int64_t now_wall_ms;
	struct stats_sums sums;
};

/* HELP and TYPE of a metric. */
void stats_text_head(const struct stats_text *text, const char *name,
    const char *type, const char *help);

/* One label behind `before`, its value escaped. */
void stats_text_label(const struct stats_text *text, char before,
    const char *label, const char *value);

/* The value of a series, and the end of its line. */
void stats_text_count(const struct stats_text *text, uint64_t count);

static inline double
stats_text_seconds(int64_t ms)
{
	return (double)ms / 1000;
}

/* All that is told of each process. */
void stats_text_processes(const struct stats_text *text);

#endif
