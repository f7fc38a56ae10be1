/*
 * stats.prom in the run directory: all statistics in Prometheus' text format
 * (shared/stats_text.h), written anew every 5 s into a temporary file that is
 * renamed into place. For node_exporter's textfile collector, which reads it
 * also while no worker answers.
 */
#ifndef KAP_STATS_FILE_H
#define KAP_STATS_FILE_H

#include "shared/config.h"
#include "shared/errors.h"
#include "shared/stats.h"

struct event_base;
struct stats_writer;

/*
 * Take the master's own row, remove what an earlier master left, and begin.
 *
 * base, stats, config  borrowed, outlive the writer; node.run_dir and
 *                      store.durability are read at each writing
 *
 * Returns 0; -KAP_TOOBIG (the run directory's path), -KAP_NOMEM. Master only.
 * A file that can't be written is no error: it is logged, once, and tried
 * again.
 */
KAP_MUST_USE int stats_file_start(struct stats_writer **writer_out,
    struct event_base *base, struct stats_file *stats,
    const struct config *config);

/*
 * Remove the file, for nobody is to read old figures for ever, and give up
 * the row. Sets *writer NULL.
 */
void stats_file_stop(struct stats_writer **writer);

#endif
