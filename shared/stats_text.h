/*
 * Renders a statistics file in Prometheus' text format, version 0.0.4. Both
 * the master's stats.prom and a worker's /metrics are this. Without
 * timestamps; HELP and TYPE of every metric stand there even while it has no
 * series, so that the list is always whole.
 */
#ifndef KAP_STATS_TEXT_H
#define KAP_STATS_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "config.h"
#include "stats.h"

#define STATS_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* What isn't in the file. */
struct stats_about {
	const char *version; /* of the program */
	int64_t node;
	enum config_durability durability;
};

/*
 * Write all metrics to `out`, a stream of memory or of a file.
 *
 * now_boot_ms, now_wall_ms  for ages
 *
 * Returns 0; -KAP_NOMEM; -KAP_IO (the stream has failed). Takes 0.2 ms for
 * one worker, 1.4 ms for 64 of them. Any process.
 */
KAP_MUST_USE int stats_text_render(const struct stats_file *file,
    const struct stats_about *about, int64_t now_boot_ms,
    int64_t now_wall_ms, FILE *out);

#endif
