/*
 * worker/reconcile.c and its parts with thousands of calls, channels and
 * bridges: what is ended, what is left alone, and that no turn of the loop does
 * more than a page. With a real store, a real link, and a server that lists
 * what the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "ari_bench_fixture.h"
#include "ari_rest_fixture.h"
#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "worker/reconcile.h"

#define OWN_GENERATION 2
#define CALLS 1500
#define STRAYS 700
#define PAGE 256
#define UNDER_WAY_MAX 200

/* A snoop channel of the server's. */
struct snoop {
	const char *id;
	const char *name;
};

struct bench {
	struct scratch store;
	struct event_base *base;
	struct turn *turn;
	struct config config;
	struct server server;
	struct rest_lane lane;
	struct change_maker maker;
	struct stream_states streams;
	struct dispatch *dispatch;
	struct reconcile *reconcile;
	unsigned done;
	char ids[CALLS][CALL_ID_SIZE];
	/* the server's */
	unsigned listed; /* the first so many have their channels */
	unsigned strays; /* channels, and bridges, of no call */
	struct snoop snoops[8];
	unsigned snoop_count;
	char last_hung_up[128]; /* the path of the channel */
	void (*on_list)(struct bench *bench); /* before channels are listed */
	unsigned hung_up;
	unsigned destroyed;
	unsigned asked_marks;
	/* what was seen of the calls */
	unsigned changes;
	unsigned most_at_once;
	char made[CALL_ID_SIZE]; /* on_list's */
};

static struct stats_file *stats;

/* ---- the server ---- */

static void
reply_json(struct server *server, const char *id, cJSON *body)
{
	char *text = cJSON_PrintUnformatted(body);

	rest_reply(server, id, 200, text);
	free(text);
	cJSON_Delete(body);
}

/* A call of this node, 1, that there never was. */
static void
stray_id(char id[CALL_ID_SIZE], unsigned number)
{
	(void)snprintf(id, CALL_ID_SIZE, "1600000000.%u001",
	    1000U + number);
}

static cJSON *
list_channels(const struct bench *bench)
{
	cJSON *list = cJSON_CreateArray();

	for (unsigned i = 0; i < bench->listed + bench->strays; i++) {
		cJSON *channel = cJSON_CreateObject();
		char id[CALL_ID_SIZE];

		stray_id(id, i);
		(void)cJSON_AddStringToObject(channel, "id",
		    i < bench->listed ? bench->ids[i] : id);
		(void)cJSON_AddStringToObject(channel, "state", "Ringing");
		(void)cJSON_AddItemToArray(list, channel);
	}
	for (unsigned i = 0; i < bench->snoop_count; i++) {
		cJSON *channel = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(channel, "id",
		    bench->snoops[i].id);
		(void)cJSON_AddStringToObject(channel, "name",
		    bench->snoops[i].name);
		(void)cJSON_AddStringToObject(channel, "state", "Up");
		(void)cJSON_AddItemToArray(list, channel);
	}
	return list;
}

static cJSON *
list_bridges(const struct bench *bench)
{
	cJSON *list = cJSON_CreateArray();

	for (unsigned i = 0; i < bench->strays; i++) {
		cJSON *bridge = cJSON_CreateObject();
		char id[CALL_ID_SIZE];
		char name[CALL_NAME_SIZE];

		stray_id(id, i);
		call_bridge_name(id, name);
		(void)cJSON_AddStringToObject(bridge, "id", name);
		(void)cJSON_AddStringToObject(bridge, "name", "kaphila-1");
		(void)cJSON_AddItemToArray(list, bridge);
	}
	return list;
}

/* An app that is told of all of our calls. */
static cJSON *
show_app(const struct bench *bench)
{
	cJSON *app = cJSON_CreateObject();
	cJSON *told = cJSON_AddArrayToObject(app, "channel_ids");

	for (unsigned i = 0; i < CALLS; i++)
		(void)cJSON_AddItemToArray(told,
		    cJSON_CreateString(bench->ids[i]));
	return app;
}

/* Every hundredth stray bears another node's mark. */
static void
reply_mark(struct bench *bench, const char *id)
{
	rest_reply(&bench->server, id, 200, bench->asked_marks++ % 100 == 0 ?
	    "{\"value\":\"2\"}" : "{\"value\":\"1\"}");
}

static void
on_text(struct server *server, const char *text, void *arg)
{
	struct bench *bench = arg;
	struct rest_request request;
	const char *uri;

	rest_request_read(&request, text);
	uri = request.uri;
	if (strcmp(request.method, "DELETE") == 0) {
		if (strncmp(uri, "bridges/", 8) == 0)
			bench->destroyed++;
		else
			bench->hung_up++;
		(void)snprintf(bench->last_hung_up,
		    sizeof(bench->last_hung_up), "%s", uri);
		rest_reply(server, request.id, 204, "");
	} else if (strcmp(uri, "channels") == 0) {
		if (bench->on_list != NULL)
			bench->on_list(bench);
		reply_json(server, request.id, list_channels(bench));
	} else if (strcmp(uri, "bridges") == 0) {
		reply_json(server, request.id, list_bridges(bench));
	} else if (strncmp(uri, "applications/", 13) == 0) {
		/* it is told of all */
		assert_string_equal(request.method, "GET");
		reply_json(server, request.id, show_app(bench));
	} else if (strstr(uri, "/variable") != NULL) {
		reply_mark(bench, request.id);
	} else {
		rest_reply(server, request.id, 200, REST_INFO);
	}
	rest_request_free(&request);
}

/* ---- the worker's part ---- */

static void
on_watch(void *ctx, const struct change *change)
{
	struct bench *bench = ctx;

	(void)change;
	bench->changes++;
}

static void
on_known(void *ctx, const char *call_id)
{
	(void)ctx;
	(void)call_id;
}

static void
on_nothing(void *ctx)
{
	(void)ctx;
}

static void
on_done(void *ctx)
{
	struct bench *bench = ctx;

	bench->done++;
}

static void
make_worker(struct bench *bench)
{
	const struct dispatch_options options = {
		.base = bench->base,
		.turn = bench->turn,
		.store = bench->store.store,
		.config = &bench->config,
		.maker = &bench->maker,
		.originate = &bench->lane.link,
		.control = &bench->lane.link,
		.streams = &bench->streams,
		.watch = on_watch,
		.originate_known = on_known,
		.timers_changed = on_nothing,
		.ledger_grew = on_nothing,
		.ctx = bench,
	};
	struct reconcile_options reconcile = {
		.base = bench->base,
		.turn = bench->turn,
		.store = bench->store.store,
		.config = &bench->config,
		.maker = &bench->maker,
		.control = &bench->lane.link,
		.streams = &bench->streams,
		.done = on_done,
		.ctx = bench,
	};

	bench->maker = (struct change_maker){ .slot = 0,
		.generation = OWN_GENERATION, .node = 1,
		.originate_timeout_ms = 5000 };
	bench->dispatch = dispatch_new(&options);
	assert_non_null(bench->dispatch);
	reconcile.dispatch = bench->dispatch;
	bench->reconcile = reconcile_new(&reconcile);
	assert_non_null(bench->reconcile);
}

static struct bench *
bench_open(void)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	assert_non_null(bench);
	scratch_open(&bench->store);
	bench->base = event_base_new();
	bench->turn = turn_new(bench->base, bench->store.store);
	server_open(&bench->server, bench->base);
	bench->server.on_text = on_text;
	bench->server.arg = bench;
	server_config(&bench->server, &bench->config);
	bench->config.node.id = 1;
	bench->config.asterisk.command_timeout_ms = 50000;
	make_worker(bench);
	rest_lane_open(&bench->lane, bench->base, &bench->config, 0);
	return bench;
}

static void
bench_close(struct bench *bench)
{
	ari_command_close(&bench->lane.link);
	RUN_UNTIL(bench->base, bench->server.peer == NULL);
	reconcile_free(&bench->reconcile);
	turn_flush(bench->turn);
	dispatch_free(&bench->dispatch);
	turn_free(&bench->turn);
	server_close(&bench->server);
	event_base_free(bench->base);
	scratch_remove(&bench->store);
	free(bench);
}

/* ---- calls ---- */

/* A call that Asterisk has taken. */
static void
create_call(struct store_txn *txn, const struct change_maker *maker,
    char id_out[CALL_ID_SIZE])
{
	const struct call_input accepted = { .kind = CALL_IN_ORIGINATE_OK,
		.attempt = 1, .at_ms = clock_wall_ms() };
	const struct call_cold cold = { .trunk_count = 1,
		.trunk_names = { "a" }, .endpoints = { "PJSIP/001@a" },
		.webhook_url = "https://a/", .metadata = "", .voice = "" };
	struct call call = { .version = CALL_VERSION, .key_id = 5,
		.trunk_count = 1, .ring_timeout_s = 30,
		.max_duration_s = 60, .number = "14155550100",
		/* its record outlives it */
		.flags = CALL_F_WEBHOOK | CALL_F_USE_AMD };
	struct change change;

	assert_int_equal(change_create(txn, maker, &call, &cold, &change), 0);
	memcpy(id_out, change.step.call.id, CALL_ID_SIZE);
	assert_int_equal(change_settle(txn, maker, id_out, 1, &accepted,
	    &change), 0);
}

static void
lay_out_calls(struct bench *bench)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	for (unsigned i = 0; i < CALLS; i++)
		create_call(txn, &bench->maker, bench->ids[i]);
	assert_int_equal(store_commit(&txn), 0);
}

static struct call
get_call(const struct bench *bench, const char *id)
{
	struct store_txn *txn;
	struct call call;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	assert_int_equal(call_table_get(txn, id, &call), 0);
	store_end_read(&txn);
	return call;
}

/* Run to the end, and note the most changes in a turn of the loop. */
static void
run(struct bench *bench, bool restarted)
{
	reconcile_start(bench->reconcile, restarted);
	while (bench->done == 0) {
		const unsigned before = bench->changes;

		(void)event_base_loop(bench->base, EVLOOP_ONCE);
		if (bench->changes - before > bench->most_at_once)
			bench->most_at_once = bench->changes - before;
	}
}

/* ---- tests ---- */

/* Calls without a channel are ended, the others heard of; a page a turn. */
static void
test_many_calls(void **state)
{
	struct bench *bench = bench_open();

	(void)state;
	lay_out_calls(bench);
	bench->listed = CALLS / 2;
	run(bench, false);
	for (unsigned i = 0; i < CALLS; i++) {
		const struct call call = get_call(bench, bench->ids[i]);

		assert_int_equal(call.state, i < CALLS / 2 ? CALL_RINGING :
		    CALL_ENDED);
		if (i >= CALLS / 2)
			assert_int_equal(call.end_reason, CALL_END_LOST);
	}
	assert_int_equal(bench->changes, CALLS);
	assert_in_range(bench->most_at_once, 1, PAGE);
	assert_int_equal(bench->hung_up, 0);
	bench_close(bench);
}

static void
test_restarted(void **state)
{
	struct bench *bench = bench_open();

	(void)state;
	lay_out_calls(bench);
	run(bench, true);
	for (unsigned i = 0; i < CALLS; i++)
		assert_int_equal(get_call(bench, bench->ids[i]).end_reason,
		    CALL_END_MEDIA_SERVER_LOST);
	assert_in_range(bench->most_at_once, 1, PAGE);
	bench_close(bench);
}

/* While the list is made, a call is made and another one ends by itself. */
static void
change_meanwhile(struct bench *bench)
{
	const struct call_input busy = { .kind = CALL_IN_DESTROYED,
		.attempt = 1, .cause = 17, .at_ms = clock_wall_ms() };
	struct change change;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	create_call(txn, &bench->maker, bench->made);
	assert_int_equal(change_step(txn, &bench->maker, bench->ids[7], &busy,
	    &change), 0);
	assert_int_equal(change.rc, 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
test_made_or_ended_meanwhile(void **state)
{
	struct bench *bench = bench_open();

	(void)state;
	lay_out_calls(bench);
	bench->on_list = change_meanwhile;
	run(bench, false);
	assert_int_equal(get_call(bench, bench->made).state, CALL_DIALING);
	assert_int_equal(get_call(bench, bench->ids[7]).end_reason,
	    CALL_END_BUSY);
	assert_int_equal(bench->changes, CALLS - 1);
	bench_close(bench);
}

/* Strays all go, some at a time; another node's stay. */
static void
test_many_strays(void **state)
{
	struct bench *bench = bench_open();
	unsigned most = 0;

	(void)state;
	bench->strays = STRAYS;
	run(bench, false);
	while (bench->destroyed < STRAYS) {
		if (ari_command_in_flight(bench->lane.link) > most)
			most = ari_command_in_flight(bench->lane.link);
		(void)event_base_loop(bench->base, EVLOOP_ONCE);
	}
	RUN_UNTIL(bench->base, ari_command_in_flight(bench->lane.link) == 0);
	assert_in_range(most, 1, UNDER_WAY_MAX);
	assert_int_equal(bench->asked_marks, STRAYS);
	assert_int_equal(bench->hung_up, STRAYS - STRAYS / 100);
	assert_int_equal(bench->destroyed, STRAYS);
	bench_close(bench);
}

/* Let a call be answered, and go through some of the steps behind that. */
static void
answer_call(struct bench *bench, const char *id,
    const enum call_input_kind *kinds, unsigned count)
{
	struct change change;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	for (unsigned i = 0; i < count; i++) {
		const struct call_input input = { .kind = kinds[i],
			.attempt = kinds[i] == CALL_IN_UP ? 1 : 0,
			.amd = CALL_AMD_HUMAN, .at_ms = clock_wall_ms() };

		assert_int_equal(change_step(txn, &bench->maker, id, &input,
		    &change), 0);
		assert_int_equal(change.rc, 0);
	}
	assert_int_equal(store_commit(&txn), 0);
}

/* The names of a call's snoop channel, as Asterisk makes them. */
static void
list_snoop(struct bench *bench, const char *id, char names[2][80])
{
	struct snoop *snoop = &bench->snoops[bench->snoop_count++];

	call_snoop_name(id, names[0]);
	(void)snprintf(names[1], 80, "Snoop/%s-00000007", id);
	snoop->id = names[0];
	snoop->name = names[1];
}

/*
 * An analysis whose snoop channel is there goes on; one whose isn't, and that
 * had it for sure, is over; one that may not have it yet is left alone.
 */
static void
test_snoops_of_calls(void **state)
{
	static const enum call_input_kind steps[] = { CALL_IN_UP,
		CALL_IN_STASIS_START, CALL_IN_BRIDGE_ADD_OK, CALL_IN_AMD };
	struct bench *bench = bench_open();
	char names[2][80];

	(void)state;
	lay_out_calls(bench);
	bench->listed = CALLS;
	answer_call(bench, bench->ids[0], steps, 3);
	answer_call(bench, bench->ids[1], steps, 3);
	answer_call(bench, bench->ids[2], steps, 2);
	answer_call(bench, bench->ids[3], steps, 4);
	list_snoop(bench, bench->ids[0], names);
	run(bench, false);
	assert_int_equal(get_call(bench, bench->ids[0]).amd_status,
	    CALL_AMD_PENDING);
	assert_int_equal(get_call(bench, bench->ids[1]).amd_status,
	    CALL_AMD_UNKNOWN);
	assert_int_equal(get_call(bench, bench->ids[2]).amd_status,
	    CALL_AMD_PENDING);
	assert_int_equal(get_call(bench, bench->ids[3]).amd_status,
	    CALL_AMD_HUMAN);
	rest_lane_ask_last(&bench->lane, bench->base);
	assert_int_equal(bench->hung_up, 0);
	bench_close(bench);
}

/* Of no call: hung up. What only looks like ours stays. */
static void
test_snoops_of_no_call(void **state)
{
	static const struct snoop others[] = {
		{ "amd-1600000000.5002", "Snoop/1600000000.5002-00000001" },
		{ "amd-1600000000.5001", "Snoop/1600000000.50010-00000001" },
		{ "amd-1600000000.5001", "PJSIP/1600000000.5001-00000001" },
		{ "amd-1600000000.5001", "Snoop/other-00000001" },
		{ "snoop-1600000000.5001", "Snoop/1600000000.5001-00000001" },
	};
	struct bench *bench = bench_open();
	char names[2][80];
	char path[128];

	(void)state;
	lay_out_calls(bench);
	bench->listed = CALLS;
	memcpy(bench->snoops, others, sizeof(others));
	bench->snoop_count = sizeof(others) / sizeof(others[0]);
	/* its call rings: nothing is analysed there */
	list_snoop(bench, bench->ids[4], names);
	run(bench, false);
	RUN_UNTIL(bench->base, bench->hung_up > 0);
	rest_lane_ask_last(&bench->lane, bench->base);
	assert_int_equal(bench->hung_up, 1);
	(void)snprintf(path, sizeof(path), "channels/%s", names[0]);
	assert_string_equal(bench->last_hung_up, path);
	bench_close(bench);
}

/* What a run left to do is dropped with it, in the midst of it too. */
static void
test_stopped(void **state)
{
	struct bench *bench = bench_open();

	(void)state;
	lay_out_calls(bench);
	bench->strays = STRAYS;
	run(bench, false);
	RUN_UNTIL(bench->base, bench->asked_marks > 0);
	reconcile_stop(bench->reconcile);
	RUN_UNTIL(bench->base, ari_command_in_flight(bench->lane.link) == 0);
	assert_true(bench->asked_marks <= UNDER_WAY_MAX);
	bench->done = 0;
	run(bench, false);
	RUN_UNTIL(bench->base, bench->destroyed == STRAYS);
	reconcile_start(bench->reconcile, false);
	reconcile_stop(bench->reconcile);
	assert_false(reconcile_is_done(bench->reconcile));
	bench_close(bench);
}

static int
open_stats(void **state)
{
	char path[] = "/tmp/kaphila-reconcile-XXXXXX";
	const int made = mkstemp(path);
	const int fd = stats_create(path);

	(void)state;
	log_init("test", -1, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	(void)close(made);
	(void)unlink(path);
	if (fd < 0 || stats_map(fd, &stats) != 0)
		return -1;
	(void)close(fd);
	atomic_store(&stats->node.workers, 1);
	stats_use_row(stats, stats_row_index(CHILD_BELL_WORKER,
	    OWN_GENERATION), OWN_GENERATION);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_calls),
		cmocka_unit_test(test_restarted),
		cmocka_unit_test(test_made_or_ended_meanwhile),
		cmocka_unit_test(test_many_strays),
		cmocka_unit_test(test_snoops_of_calls),
		cmocka_unit_test(test_snoops_of_no_call),
		cmocka_unit_test(test_stopped),
	};

	return cmocka_run_group_tests(tests, open_stats, NULL);
}
