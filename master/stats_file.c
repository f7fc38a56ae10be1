/*
 * Writes stats.prom. What is in it is stats_text.c's business.
 */
#include "master/stats_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "master/run_dir.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats_text.h"

#define PERIOD_S 5
#define FIRST_S 1 /* the children are there by then */

struct stats_writer {
	const struct stats_file *stats;
	const struct config *config;
	struct event *timer;
	bool failing; /* and the log was told */
	char path[PATH_MAX];
	char temporary[PATH_MAX];
};

static int
render(const struct stats_writer *writer, int fd)
{
	const struct stats_about about = {
		.version = KAPHILA_VERSION,
		.node = writer->config->node.id,
		.durability =
		    (enum config_durability)writer->config->store.durability,
	};
	FILE *out = fdopen(fd, "w");
	int rc;

	if (out == NULL) {
		(void)close(fd);
		return -KAP_NOMEM;
	}
	rc = stats_text_render(writer->stats, &about, clock_boot_ms(),
	    clock_wall_ms(), out);
	if (fclose(out) != 0 && rc == 0)
		rc = -KAP_IO;
	return rc;
}

static int
write_file(const struct stats_writer *writer)
{
	const int fd = open(writer->temporary,
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	int rc;

	if (fd < 0)
		return -KAP_IO;
	rc = render(writer, fd);
	if (rc == 0 && rename(writer->temporary, writer->path) != 0)
		rc = -KAP_IO;
	if (rc != 0)
		(void)unlink(writer->temporary);
	return rc;
}

static void
wait_s(const struct stats_writer *writer, int seconds)
{
	const struct timeval wait = { .tv_sec = seconds };

	(void)event_add(writer->timer, &wait);
}

static void
on_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct stats_writer *writer = arg;
	int rc;

	stats_heartbeat();
	stats_note_process();
	rc = write_file(writer);
	if (rc != 0 && !writer->failing)
		log_warn("can't write the statistics",
		    LOG_S("file", writer->path),
		    LOG_S("error", rc == -KAP_IO ? strerror(errno) :
		        kap_strerror(rc)));
	writer->failing = rc != 0;
	wait_s(writer, PERIOD_S);
}

static int
set_up(struct stats_writer *writer, struct event_base *base)
{
	const char *dir = writer->config->node.run_dir;

	if (run_dir_path(dir, "stats.prom", writer->path,
	        sizeof(writer->path)) != 0 ||
	    run_dir_path(dir, "stats.prom.tmp", writer->temporary,
	        sizeof(writer->temporary)) != 0)
		return -KAP_TOOBIG;
	writer->timer = event_new(base, -1, 0, on_due, writer);
	return writer->timer != NULL ? 0 : -KAP_NOMEM;
}

int
stats_file_start(struct stats_writer **writer_out, struct event_base *base,
    struct stats_file *stats, const struct config *config)
{
	struct stats_writer *writer = calloc(1, sizeof(*writer));
	int rc;

	if (writer == NULL)
		return -KAP_NOMEM;
	writer->stats = stats;
	writer->config = config;
	rc = set_up(writer, base);
	if (rc != 0) {
		free(writer);
		return rc;
	}
	(void)unlink(writer->path);
	(void)unlink(writer->temporary);
	stats_use_row(stats, STATS_ROW_MASTER, 1 + atomic_load(
	    &stats->rows[STATS_ROW_MASTER].generation));
	wait_s(writer, FIRST_S);
	*writer_out = writer;
	return 0;
}

void
stats_file_stop(struct stats_writer **writer)
{
	struct stats_writer *old = *writer;

	if (old == NULL)
		return;
	*writer = NULL;
	event_free(old->timer);
	(void)unlink(old->path);
	atomic_store(&stats_row()->pid, 0);
	free(old);
}
