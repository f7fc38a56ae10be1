/*
 * master/stats_file.c: the file is there whole or not at all, and gone at the
 * end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop_fixture.h"
#include "master/stats_file.h"
#include "shared/config.h"

static struct config config;
static struct stats_file stats;
static char path[640];
static char temporary[640];

static int
set_up(void **state)
{
	(void)snprintf(config.node.run_dir, sizeof(config.node.run_dir),
	    "/tmp/kaphila-stats-XXXXXX");
	if (mkdtemp(config.node.run_dir) == NULL)
		return -1;
	config.node.id = 3;
	(void)snprintf(path, sizeof(path), "%s/stats.prom",
	    config.node.run_dir);
	(void)snprintf(temporary, sizeof(temporary), "%s/stats.prom.tmp",
	    config.node.run_dir);
	*state = event_base_new();
	return *state != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	event_base_free(*state);
	(void)unlink(path);
	(void)rmdir(temporary);
	return rmdir(config.node.run_dir);
}

static void
leave_file(const char *name)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	(void)fputs("old\n", file);
	assert_int_equal(fclose(file), 0);
}

static bool
is_there(const char *name)
{
	return access(name, F_OK) == 0;
}

static void
test_life(void **state)
{
	struct event_base *base = *state;
	struct stats_writer *writer;
	char first[128] = "";
	struct stat st;
	FILE *file;

	leave_file(path);
	leave_file(temporary);
	stats.rows[STATS_ROW_MASTER].generation = 6;
	assert_int_equal(stats_file_start(&writer, base, &stats, &config), 0);
	assert_false(is_there(path)); /* of an earlier master */
	assert_false(is_there(temporary));
	assert_int_equal(stats.rows[STATS_ROW_MASTER].pid, getpid());
	assert_int_equal(stats.rows[STATS_ROW_MASTER].generation, 7);

	RUN_UNTIL(base, is_there(path));
	assert_false(is_there(temporary));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07, 0);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(first, sizeof(first), file));
	assert_string_equal(first,
	    "# HELP kaphila_build_info Always 1: what runs here.\n");
	(void)fclose(file);

	stats_file_stop(&writer);
	assert_null(writer);
	assert_false(is_there(path));
	assert_int_equal(stats.rows[STATS_ROW_MASTER].pid, 0);
}

/* What can't be written leaves nothing, and is tried again. */
static void
test_trouble(void **state)
{
	struct event_base *base = *state;
	struct stats_writer *writer;
	int64_t beat;

	assert_int_equal(stats_file_start(&writer, base, &stats, &config), 0);
	assert_int_equal(mkdir(temporary, 0700), 0);
	beat = stats.rows[STATS_ROW_MASTER].heartbeat_ms;
	RUN_UNTIL(base, stats.rows[STATS_ROW_MASTER].heartbeat_ms > beat);
	assert_false(is_there(path));
	assert_int_equal(rmdir(temporary), 0);
	RUN_UNTIL(base, is_there(path));
	stats_file_stop(&writer);
}

static void
test_long_path(void **state)
{
	static struct config longer;
	struct stats_writer *writer;

	memset(longer.node.run_dir, 'x', sizeof(longer.node.run_dir) - 1);
	assert_int_equal(stats_file_start(&writer, *state, &stats, &longer),
	    0); /* a folder that isn't there is no error */
	stats_file_stop(&writer);
	stats_file_stop(&writer);
	assert_null(writer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_trouble, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_long_path, set_up,
		    tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
