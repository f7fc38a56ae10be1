/*
 * What is told of processes. A slot's old and new process are one here, under
 * the slot's name.
 */
#include "stats_text_internal.h"

/* One name: its slot's two processes. */
struct process {
	char name[24]; /* "worker-0" */
	const struct stats_row *rows[2]; /* NULL: never was */
	bool expected; /* it should run */
	bool is_worker;
};

/* All that are expected, or ever were. */
struct processes {
	struct process list[CHILD_BELL_COUNT + 1];
	unsigned count;
};

static bool
is_alive(const struct stats_row *row)
{
	return row != NULL && atomic_load_explicit(&row->pid,
	    memory_order_acquire) != 0;
}

static bool
ever_was(const struct stats_row *row)
{
	return atomic_load_explicit(&row->generation,
	    memory_order_relaxed) != 0;
}

/* NULL for one that is neither expected nor ever was. */
static struct process *
add_process(struct processes *processes, const char *name,
    const struct stats_row *first, unsigned row_count, bool expected)
{
	struct process *process = &processes->list[processes->count];
	bool known = expected;

	*process = (struct process){ .expected = expected };
	(void)snprintf(process->name, sizeof(process->name), "%s", name);
	for (unsigned i = 0; i < row_count; i++) {
		if (!ever_was(&first[i]))
			continue;
		process->rows[i] = &first[i];
		known = true;
	}
	if (!known)
		return NULL;
	processes->count++;
	return process;
}

static void
find_processes(const struct stats_file *file, struct processes *out)
{
	const struct stats_row *rows = file->rows;
	const unsigned workers = atomic_load_explicit(&file->node.workers,
	    memory_order_relaxed);

	out->count = 0;
	(void)add_process(out, "master", &rows[STATS_ROW_MASTER], 1, true);
	(void)add_process(out, "webhookd",
	    &rows[stats_row_index(CHILD_BELL_WEBHOOKD, 0)], 2, true);
	(void)add_process(out, "recorder",
	    &rows[stats_row_index(CHILD_BELL_RECORDER, 0)], 2, true);
	for (unsigned slot = 0; slot < CHILD_MAX_WORKERS; slot++) {
		struct process *process;
		char name[24];

		(void)snprintf(name, sizeof(name), "worker-%u", slot);
		process = add_process(out, name, &rows[stats_row_index(
		    CHILD_BELL_WORKER + slot, 0)], 2, slot < workers);
		if (process != NULL)
			process->is_worker = true;
	}
}

/*
 * What is told of a process: a value of each of its living rows, put
 * together. A series is left out where no row tells anything.
 */
struct process_metric {
	const char *name;
	const char *type;
	const char *help;
	double (*value)(const struct stats_text *text,
	    const struct stats_row *row);
	enum { MERGE_SUM, MERGE_MAX } merge;
	bool of_dead_too; /* a counter: it goes on from the last owner's */
	bool of_workers;  /* …alone */
};

static double
tell_heartbeat(const struct stats_text *text, const struct stats_row *row)
{
	const int64_t age_ms = text->now_boot_ms -
	    atomic_load_explicit(&row->heartbeat_ms, memory_order_relaxed);

	return age_ms > 0 ? stats_text_seconds(age_ms) : 0;
}

static double
tell_start(const struct stats_text *text KAP_UNUSED,
    const struct stats_row *row)
{
	return stats_text_seconds(atomic_load_explicit(&row->started_ms,
	    memory_order_relaxed));
}

static double
tell_cpu(const struct stats_text *text KAP_UNUSED,
    const struct stats_row *row)
{
	return (double)atomic_load_explicit(&row->cpu_us,
	    memory_order_relaxed) / 1e6;
}

static double
tell_memory(const struct stats_text *text KAP_UNUSED,
    const struct stats_row *row)
{
	return (double)atomic_load_explicit(&row->rss_bytes,
	    memory_order_relaxed);
}

static double
tell_draining(const struct stats_text *text KAP_UNUSED,
    const struct stats_row *row)
{
	return atomic_load_explicit(&row->draining,
	    memory_order_relaxed) != 0;
}

static double
tell_ari_link(const struct stats_text *text KAP_UNUSED,
    const struct stats_row *row)
{
	return atomic_load_explicit(&row->ari_link,
	    memory_order_relaxed) == STATS_LINK_UP;
}

static double
tell_pg_link(const struct stats_text *text KAP_UNUSED,
    const struct stats_row *row)
{
	return atomic_load_explicit(&row->pg_link,
	    memory_order_relaxed) == STATS_LINK_UP;
}

static const struct process_metric process_metrics[] = {
	{ PREFIX "process_heartbeat_age_seconds", "gauge",
	    "Since the process last said that it lives.", tell_heartbeat,
	    MERGE_MAX, false, false },
	{ PREFIX "process_start_time_seconds", "gauge",
	    "When the process started, since the epoch.", tell_start,
	    MERGE_MAX, false, false },
	{ PREFIX "process_cpu_seconds_total", "counter",
	    "Processor time, of the slot's earlier processes too.", tell_cpu,
	    MERGE_SUM, true, false },
	{ PREFIX "process_resident_memory_bytes", "gauge",
	    "Resident memory.", tell_memory, MERGE_SUM, false, false },
	{ PREFIX "process_draining", "gauge",
	    "1 for a process that finishes what it has, and leaves.",
	    tell_draining, MERGE_SUM, false, false },
	{ PREFIX "ari_link_up", "gauge",
	    "1 while all links to Asterisk are up and tried.", tell_ari_link,
	    MERGE_MAX, false, true },
	{ PREFIX "postgres_link_up", "gauge",
	    "1 while the link to PostgreSQL is up.", tell_pg_link,
	    MERGE_MAX, false, true },
};

static void
put_process_metric(const struct stats_text *text, const struct process *process,
    const struct process_metric *metric)
{
	double merged = 0;
	bool any = false;

	for (int i = 0; i < 2; i++) {
		const struct stats_row *row = process->rows[i];
		double value;

		if (row == NULL || (!metric->of_dead_too && !is_alive(row)))
			continue;
		value = metric->value(text, row);
		if (metric->merge == MERGE_SUM)
			merged += value;
		else if (!any || value > merged)
			merged = value;
		any = true;
	}
	if (!any)
		return;
	(void)fputs(metric->name, text->out);
	stats_text_label(text, '{', "process", process->name);
	(void)fprintf(text->out, "} %.15g\n", merged);
}

static void
put_up(const struct stats_text *text, const struct processes *processes)
{
	static const char up[] = PREFIX "process_up";

	stats_text_head(text, up, "gauge",
	    "1 for a process that runs, 0 for one that should.");
	for (unsigned i = 0; i < processes->count; i++) {
		const struct process *process = &processes->list[i];
		const bool alive = is_alive(process->rows[0]) ||
		    is_alive(process->rows[1]);

		/* a slot that is no more is not missing */
		if (!alive && !process->expected)
			continue;
		(void)fputs(up, text->out);
		stats_text_label(text, '{', "process", process->name);
		(void)fprintf(text->out, "} %d\n", alive);
	}
}

void
stats_text_processes(const struct stats_text *text)
{
	struct processes processes;

	find_processes(text->file, &processes);
	put_up(text, &processes);
	for (size_t m = 0; m < COUNT_OF(process_metrics); m++) {
		const struct process_metric *metric = &process_metrics[m];

		stats_text_head(text, metric->name, metric->type,
		    metric->help);
		for (unsigned i = 0; i < processes.count; i++) {
			const struct process *process = &processes.list[i];

			if (process->is_worker || !metric->of_workers)
				put_process_metric(text, process, metric);
		}
	}
}
