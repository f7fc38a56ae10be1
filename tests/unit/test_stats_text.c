/*
 * shared/stats_text.c and stats_sum.c: what is shown of a statistics file,
 * when, and under which name. Whether Prometheus likes the format is told by
 * promtool in the integration tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call.h"
#include "shared/call_machine.h"
#include "shared/stats_text.h"
#include "shared/stats_words.h"

#define BOOT_MS 1000000
#define WALL_MS 1800000000000
#define WORKER(slot) ((unsigned)(CHILD_BELL_WORKER + (slot)))

/* The file, and what was rendered of it last. */
struct state {
	struct stats_file *file;
	char *text;
};

static int
set_up(void **arg)
{
	struct state *state = calloc(1, sizeof(*state));

	if (state == NULL)
		return -1;
	state->file = aligned_alloc(64, sizeof(*state->file));
	if (state->file == NULL)
		return -1;
	memset(state->file, 0, sizeof(*state->file));
	state->file->node.workers = 2;
	*arg = state;
	return 0;
}

static int
tear_down(void **arg)
{
	struct state *state = *arg;

	free(state->text);
	free(state->file);
	free(state);
	return 0;
}

static void
render(struct state *state)
{
	static const struct stats_about about = { .version = "1.2.3",
		.node = 7, .durability = DURABILITY_FULL };
	size_t len;
	FILE *out;

	free(state->text);
	state->text = NULL;
	out = open_memstream(&state->text, &len);
	assert_non_null(out);
	assert_int_equal(stats_text_render(state->file, &about, BOOT_MS,
	    WALL_MS, out), 0);
	assert_int_equal(fclose(out), 0);
}

/* Whether the text has these whole lines one after the other. */
static bool
has(const struct state *state, const char *lines)
{
	const char *at = state->text;

	while ((at = strstr(at, lines)) != NULL) {
		if ((at == state->text || at[-1] == '\n') &&
		    at[strlen(lines)] == '\n')
			return true;
		at++;
	}
	return false;
}

#define assert_shows(state, lines)                                   \
	do {                                                         \
		if (!has(state, lines))                              \
			fail_msg("not there: %s\n%s", lines,         \
			    (state)->text);                          \
	} while (0)
#define assert_lacks(state, part) assert_null(strstr((state)->text, part))

static struct stats_row *
own_row(struct state *state, unsigned bell, uint32_t generation)
{
	stats_use_row(state->file, stats_row_index(bell, generation),
	    generation);
	return stats_row();
}

/* Every metric is told of, once, before its series; nothing else is. */
static void
test_heads(void **arg)
{
	struct state *state = *arg;
	char current[96] = "";
	char *save = NULL;

	own_row(state, WORKER(0), 1)->look.at_ms = BOOT_MS;
	stats_request(stats_route("/calls"), "GET", 200, 1);
	render(state);
	for (char *line = strtok_r(state->text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		char name[96];

		if (sscanf(line, "# HELP %95s", name) == 1) {
			assert_string_not_equal(name, current);
			(void)snprintf(current, sizeof(current), "%s", name);
		} else if (sscanf(line, "# TYPE %95s", name) == 1) {
			assert_string_equal(name, current);
		} else {
			assert_int_equal(strncmp(line, current,
			    strlen(current)), 0);
			assert_null(strstr(line, "(null)"));
		}
	}
}

static void
test_node(void **arg)
{
	struct state *state = *arg;

	state->file->node.paused = 2;
	render(state);
	assert_shows(state, "kaphila_build_info{version=\"1.2.3\",node=\"7\"} "
	    "1");
	assert_shows(state, "kaphila_store_durability_info{durability="
	    "\"full\"} 1");
	assert_shows(state, "kaphila_workers 2");
	assert_shows(state, "kaphila_paused 1");
	assert_shows(state, "kaphila_store_up 0");
}

/* What rules may watch stands there from the start. */
static void
test_zeros(void **arg)
{
	static const char *const wanted[] = {
		"kaphila_calls_accepted_total 0",
		"kaphila_ledger_set_aside_total 0",
		"kaphila_store_commit_failures_total 0",
		"kaphila_calls_ended_total{status=\"failed\","
		    "reason=\"media_server_lost\"} 0",
		"kaphila_calls_ended_total{status=\"completed\","
		    "reason=\"normal_hangup\"} 0",
		"kaphila_webhook_deliveries_total{result=\"5xx\"} 0",
		"kaphila_ari_commands_total{command=\"hangup\","
		    "result=\"timeout\"} 0",
		"kaphila_process_restarts_total{role=\"webhookd\","
		    "reason=\"hung\"} 0",
		"kaphila_store_commit_seconds_bucket{le=\"+Inf\"} 0",
		"kaphila_store_commit_seconds_sum 0.000000",
		"kaphila_store_commit_seconds_count 0",
	};
	struct state *state = *arg;

	render(state);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		assert_shows(state, wanted[i]);
	assert_lacks(state, "kaphila_http_requests_total{");
	assert_lacks(state, "status=\"busy\",reason=\"congestion\"");
	assert_lacks(state, "kaphila_ari_events_total{");
}

/* Old and new process of a slot, and other slots: one sum. */
static void
test_sums(void **arg)
{
	struct state *state = *arg;
	const struct {
		unsigned bell;
		uint32_t generation;
	} owners[] = { { WORKER(0), 1 }, { WORKER(0), 2 }, { WORKER(1), 1 },
		{ WORKER(63), 8 } };

	for (unsigned i = 0; i < 4; i++) {
		own_row(state, owners[i].bell, owners[i].generation);
		/* so that the same names stand at other places */
		if (i % 2 == 1)
			(void)stats_trunk("other-one");
		stats_add(STATS_calls_answered, 1U << i);
		stats_count(STATS_calls_ended, CALL_STATUS_BUSY, CALL_END_BUSY,
		    1);
		stats_count(STATS_originates, stats_trunk("carrier"),
		    STATS_ORIGINATE_ACCEPTED, 10);
		stats_observe(STATS_event_lag, 2000);
		if (i % 2 == 1)
			(void)stats_route("/hangup");
		stats_request(stats_route("/makecall"), "POST", 200, 7000);
		stats_request(STATS_ROUTES_MAX, "GET", 404, 10);
	}
	render(state);
	assert_shows(state, "kaphila_calls_answered_total 15");
	assert_shows(state, "kaphila_calls_ended_total{status=\"busy\","
	    "reason=\"busy\"} 4");
	assert_shows(state,
	    "kaphila_originates_total{trunk=\"carrier\",result=\"accepted\"} "
	    "40\n"
	    "kaphila_originates_total{trunk=\"carrier\",result=\"refused\"} "
	    "0\n"
	    "kaphila_originates_total{trunk=\"carrier\",result=\"unknown\"} "
	    "0");
	assert_shows(state, "kaphila_originates_total{trunk=\"other-one\","
	    "result=\"accepted\"} 0");
	assert_shows(state,
	    "kaphila_http_requests_total{route=\"/makecall\",method=\"POST\","
	    "code=\"200\"} 4\n"
	    "kaphila_http_requests_total{route=\"other\",method=\"GET\","
	    "code=\"404\"} 4");
	assert_shows(state, "kaphila_http_request_duration_seconds_count{"
	    "route=\"/makecall\"} 4");
	assert_shows(state, "kaphila_ari_event_lag_seconds_count 4");
}

static void
test_histogram(void **arg)
{
	struct state *state = *arg;

	own_row(state, WORKER(0), 1);
	stats_observe(STATS_answer_to_webhook, 1000);
	stats_observe(STATS_answer_to_webhook, 30000);
	stats_observe(STATS_answer_to_webhook, 60000000);
	render(state);
	assert_shows(state,
	    "# TYPE kaphila_answer_to_webhook_seconds histogram\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.001\"} 1\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.005\"} 1\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.01\"} 1\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.025\"} 1\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.05\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.1\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.25\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"0.5\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"1\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"2.5\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"5\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"10\"} 2\n"
	    "kaphila_answer_to_webhook_seconds_bucket{le=\"+Inf\"} 3\n"
	    "kaphila_answer_to_webhook_seconds_sum 60.031000\n"
	    "kaphila_answer_to_webhook_seconds_count 3");
}

/* The owner dies: its gauges go, its counters stay, and go on. */
static void
test_death(void **arg)
{
	struct state *state = *arg;
	struct stats_row *row = own_row(state, WORKER(1), 1);

	row->heartbeat_ms = BOOT_MS - 1500;
	row->started_ms = WALL_MS - 60000;
	row->cpu_us = 2500000;
	row->rss_bytes = 12345678;
	row->ari_link = STATS_LINK_UP;
	row->pg_link = STATS_LINK_CONNECTING;
	stats_add(STATS_calls_created, 3);
	render(state);
	assert_shows(state, "kaphila_process_up{process=\"worker-1\"} 1");
	assert_shows(state, "kaphila_process_heartbeat_age_seconds{"
	    "process=\"worker-1\"} 1.5");
	assert_shows(state, "kaphila_process_start_time_seconds{"
	    "process=\"worker-1\"} 1799999940");
	assert_shows(state, "kaphila_process_cpu_seconds_total{"
	    "process=\"worker-1\"} 2.5");
	assert_shows(state, "kaphila_process_resident_memory_bytes{"
	    "process=\"worker-1\"} 12345678");
	assert_shows(state, "kaphila_ari_link_up{process=\"worker-1\"} 1");
	assert_shows(state, "kaphila_postgres_link_up{process=\"worker-1\"} "
	    "0");

	row->pid = 0;
	render(state);
	assert_shows(state, "kaphila_process_up{process=\"worker-1\"} 0");
	assert_shows(state, "kaphila_process_cpu_seconds_total{"
	    "process=\"worker-1\"} 2.5");
	assert_shows(state, "kaphila_calls_accepted_total 3");
	assert_lacks(state, "age_seconds{process=\"worker-1\"}");
	assert_lacks(state, "kaphila_ari_link_up{");
	assert_lacks(state, "memory_bytes{process=\"worker-1\"}");

	own_row(state, WORKER(1), 2); /* the other row of the slot */
	stats_row()->cpu_us = 500000;
	stats_add(STATS_calls_created, 4);
	render(state);
	assert_shows(state, "kaphila_process_up{process=\"worker-1\"} 1");
	assert_shows(state, "kaphila_process_cpu_seconds_total{"
	    "process=\"worker-1\"} 3");
	assert_shows(state, "kaphila_calls_accepted_total 7");
}

/* In a planned restart both are there, under one name. */
static void
test_two_alive(void **arg)
{
	struct state *state = *arg;
	struct stats_row *old = own_row(state, WORKER(0), 4);
	struct stats_row *new = own_row(state, WORKER(0), 5);

	old->heartbeat_ms = BOOT_MS - 4000;
	new->heartbeat_ms = BOOT_MS - 100;
	old->rss_bytes = 1000;
	new->rss_bytes = 2000;
	old->draining = 1;
	old->ari_link = STATS_LINK_DOWN;
	new->ari_link = STATS_LINK_UP;
	render(state);
	assert_shows(state, "kaphila_process_up{process=\"worker-0\"} 1");
	assert_shows(state, "kaphila_process_heartbeat_age_seconds{"
	    "process=\"worker-0\"} 4");
	assert_shows(state, "kaphila_process_resident_memory_bytes{"
	    "process=\"worker-0\"} 3000");
	assert_shows(state, "kaphila_process_draining{process=\"worker-0\"} "
	    "1");
	assert_shows(state, "kaphila_ari_link_up{process=\"worker-0\"} 1");
}

/* A slot of a larger node of once is no process that is missing. */
static void
test_slot_that_is_no_more(void **arg)
{
	struct state *state = *arg;

	own_row(state, WORKER(5), 1);
	stats_add(STATS_calls_created, 2);
	stats_row()->pid = 0;
	render(state);
	assert_shows(state, "kaphila_calls_accepted_total 2");
	assert_lacks(state, "kaphila_process_up{process=\"worker-5\"}");
	assert_shows(state, "kaphila_process_up{process=\"worker-1\"} 0");
	assert_lacks(state, "kaphila_process_up{process=\"worker-2\"}");
}

static void
fill_look(struct stats_row *row, int64_t at_ms, uint64_t scale)
{
	row->look.live[CALL_RINGING] = 2 * scale;
	row->look.live[CALL_ENDED] = 5 * scale;
	row->look.depth[STATS_QUEUE_LEDGER] = 3 * scale;
	row->look.oldest_ms[STATS_QUEUE_LEDGER] = WALL_MS - 2500;
	row->look.pages = 1000;
	row->look.pages_used = 125;
	row->look.readers = 4;
	row->look.at_ms = at_ms;
}

/* The newest look counts, whoever's; none counts twice. */
static void
test_looks(void **arg)
{
	struct state *state = *arg;

	fill_look(own_row(state, WORKER(0), 1), BOOT_MS - 3000, 1);
	fill_look(own_row(state, WORKER(1), 1), BOOT_MS - 1000, 10);
	stats_row()->pid = 0; /* dead, and what it saw is still so */
	fill_look(own_row(state, CHILD_BELL_WEBHOOKD, 1), BOOT_MS + 5000, 7);
	render(state);
	assert_shows(state, "kaphila_store_up 1");
	assert_shows(state, "kaphila_store_look_age_seconds 1.000");
	assert_shows(state, "kaphila_live_calls{state=\"queued\"} 0\n"
	    "kaphila_live_calls{state=\"dialing\"} 0\n"
	    "kaphila_live_calls{state=\"ringing\"} 20\n"
	    "kaphila_live_calls{state=\"answered\"} 0");
	assert_shows(state, "kaphila_ended_call_records 50");
	assert_shows(state, "kaphila_queue_depth{queue=\"ledger\"} 30");
	assert_shows(state, "kaphila_queue_depth{queue=\"commands\"} 0");
	assert_shows(state, "kaphila_queue_oldest_age_seconds{"
	    "queue=\"ledger\"} 2.500");
	assert_shows(state, "kaphila_queue_oldest_age_seconds{"
	    "queue=\"webhooks\"} 0.000");
	assert_shows(state, "kaphila_ledger_lag_seconds 2.500");
	assert_shows(state, "kaphila_store_pages 1000");
	assert_shows(state, "kaphila_store_used_pages 125");
	assert_shows(state, "kaphila_store_readers 4");
	assert_shows(state, "kaphila_store_used_ratio 0.1250");
}

static void
test_old_looks(void **arg)
{
	struct state *state = *arg;

	fill_look(own_row(state, WORKER(0), 1), BOOT_MS - 15001, 1);
	render(state);
	assert_shows(state, "kaphila_store_up 0");
	assert_lacks(state, "kaphila_live_calls{");
	assert_lacks(state, "kaphila_queue_depth{");
	assert_lacks(state, "kaphila_ledger_lag_seconds 2");
	assert_lacks(state, "kaphila_store_pages 1000");
}

/* What a label says can't end it. */
static void
test_escapes(void **arg)
{
	struct state *state = *arg;

	own_row(state, WORKER(0), 1);
	stats_count(STATS_originates, stats_trunk("a\"b\\c\nd"), 0, 1);
	render(state);
	assert_shows(state, "kaphila_originates_total{trunk="
	    "\"a\\\"b\\\\c\\nd\",result=\"accepted\"} 1");
}

/* Beyond the tables' ends there is "other". */
static void
test_others(void **arg)
{
	struct state *state = *arg;
	unsigned count = 0;

	own_row(state, WORKER(0), 1);
	for (unsigned i = 0; i < STATS_TRUNKS_MAX + 3; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "trunk-%u", i);
		stats_count(STATS_originates, stats_trunk(name), 0, 1);
	}
	for (unsigned status = 200; status < 900; status++)
		stats_request(0, "GET", status, 1);
	render(state);
	assert_shows(state, "kaphila_originates_total{trunk=\"trunk-63\","
	    "result=\"accepted\"} 1");
	assert_shows(state, "kaphila_originates_total{trunk=\"other\","
	    "result=\"accepted\"} 3");
	assert_lacks(state, "trunk-64");
	assert_lacks(state, "trunk=\"other\",result=\"refused\"");
	assert_shows(state, "kaphila_http_requests_total{route=\"other\","
	    "method=\"other\",code=\"other\"} 572");
	for (const char *at = state->text; (at = strstr(at,
	    "kaphila_http_requests_total{route=")) != NULL; at++)
		count++;
	assert_int_equal(count, STATS_HTTP_CELLS + 1);
}

/* Another slot's row may hold names and keys of a newer program. */
static void
test_damaged_row(void **arg)
{
	struct state *state = *arg;
	struct stats_row *row = own_row(state, WORKER(0), 1);

	row->trunk_count = 4000000000U;
	row->http.route_count = 77;
	row->http.keys[3] = 0xffffffffU;
	row->http.counts[3] = 9;
	memset(row->http.routes, 'z', sizeof(row->http.routes));
	stats_count(STATS_commands, 15, 7, 3);
	render(state);
	assert_shows(state, "kaphila_workers 2");
}

/* Each word is one that Prometheus' users can match. */
static void
test_words(void **arg KAP_UNUSED)
{
	for (unsigned m = 0; m < STATS_MATRIX_COUNT; m++) {
		const enum stats_matrix matrix = (enum stats_matrix)m;

		for (unsigned i = 0; i < stats_matrix_rows(matrix); i++) {
			const char *word = stats_row_word(matrix, i);

			assert_true(word == NULL || word[0] != '\0');
		}
	}
	assert_string_equal(stats_row_word(STATS_commands,
	    CALL_CMD_ORIGINATE), "originate");
	assert_null(stats_row_word(STATS_commands, 0));
	assert_string_equal(stats_row_word(STATS_events,
	    STATS_EVENT_IRRELEVANT), "irrelevant");
	assert_string_equal(stats_column_word(STATS_calls_ended,
	    CALL_END_MEDIA_SERVER_LOST), "media_server_lost");
	assert_string_equal(stats_column_word(STATS_restarts,
	    STATS_RESTART_HUNG), "hung");
	assert_string_equal(stats_queue_name(STATS_QUEUE_COMMANDS),
	    "commands");
}

#define WITH_FILE(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(test_heads),
		WITH_FILE(test_node),
		WITH_FILE(test_zeros),
		WITH_FILE(test_sums),
		WITH_FILE(test_histogram),
		WITH_FILE(test_death),
		WITH_FILE(test_two_alive),
		WITH_FILE(test_slot_that_is_no_more),
		WITH_FILE(test_looks),
		WITH_FILE(test_old_looks),
		WITH_FILE(test_escapes),
		WITH_FILE(test_others),
		WITH_FILE(test_damaged_row),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
