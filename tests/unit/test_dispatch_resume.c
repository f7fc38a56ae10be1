/*
 * Who takes up what is left in the outbox: a table of who took the command,
 * whether that process lives, whose the call is, and what this process is.
 * With a real store, a real statistics file, and a server that is asked.
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
#include "shared/account.h"
#include "shared/clock.h"
#include "shared/stats.h"
#include "worker/dispatch.h"
#include "worker/event_link.h"

#define OWN_SLOT 0
#define OWN_GENERATION 2
#define WORKERS 2
#define KEY_ID 5
#define GONE 0x2a /* the number of a connection that is no more */

enum left { LEFT_WAITING, LEFT_SENT };

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
	char request[200]; /* the first that the dispatch made; or empty */
	unsigned known;    /* times originate_known was called */
	unsigned requests; /* that the dispatch made */
	unsigned posts;    /* …to originate */
	int look;          /* the status of a look for a channel */
	int app;           /* …and of one for an app */
	unsigned app_looks;
	char app_uri[200]; /* the last of those */
	uint32_t connection; /* by which what lies there was sent */
	bool mute;         /* the server keeps its replies back: */
	unsigned held;
	char ids[ARI_COMMANDS_MAX][24]; /* …to these */
};

static struct stats_file *stats;

/* ---- the server ---- */

/* A request of the dispatch's. */
static void
note(struct bench *bench, const char *method, const char *uri)
{
	if (strcmp(uri, "last") == 0)
		return;
	bench->requests++;
	bench->posts += strcmp(method, "POST") == 0;
	if (bench->request[0] == '\0')
		(void)snprintf(bench->request, sizeof(bench->request),
		    "%s %s", method, uri);
}

static void
on_text(struct server *server, const char *text, void *arg)
{
	struct bench *bench = arg;
	struct rest_request request;

	rest_request_read(&request, text);
	if (strncmp(request.uri, "applications/", 13) == 0) {
		bench->app_looks++;
		(void)snprintf(bench->app_uri, sizeof(bench->app_uri), "%s",
		    request.uri);
		rest_reply(server, request.id, bench->app, "{}");
		rest_request_free(&request);
		return;
	}
	if (!rest_request_is_info(&request))
		note(bench, request.method, request.uri);
	if (bench->mute)
		(void)snprintf(bench->ids[bench->held++],
		    sizeof(bench->ids[0]), "%s", request.id);
	else if (rest_request_is_info(&request))
		rest_reply(server, request.id, 200, REST_INFO);
	else
		rest_reply(server, request.id, strcmp(request.method, "GET") ==
		    0 && strcmp(request.uri, "last") != 0 ? bench->look : 200,
		    "{}");
	rest_request_free(&request);
}

/* ---- the dispatch ---- */

static void
on_watch(void *ctx, const struct change *change)
{
	(void)ctx;
	(void)change;
}

static void
on_known(void *ctx, const char *call_id)
{
	struct bench *bench = ctx;

	(void)call_id;
	bench->known++;
}

static void
on_nothing(void *ctx)
{
	(void)ctx;
}

static void
make_dispatch(struct bench *bench)
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

	bench->maker = (struct change_maker){ .slot = OWN_SLOT,
		.generation = OWN_GENERATION, .node = 1,
		.originate_timeout_ms = 5000 };
	bench->dispatch = dispatch_new(&options);
	assert_non_null(bench->dispatch);
	rest_lane_open(&bench->lane, bench->base, &bench->config, OWN_SLOT);
	bench->maker.originate_connection =
	    ari_command_connection(bench->lane.link);
	bench->maker.control_connection = bench->maker.originate_connection;
	dispatch_set_ready(bench->dispatch, true);
}

static void
bench_open(struct bench *bench)
{
	memset(bench, 0, sizeof(*bench));
	bench->look = 200;
	bench->app = 404;
	bench->connection = GONE;
	scratch_open(&bench->store);
	bench->base = event_base_new();
	bench->turn = turn_new(bench->base, bench->store.store);
	server_open(&bench->server, bench->base);
	bench->server.on_text = on_text;
	bench->server.arg = bench;
	server_config(&bench->server, &bench->config);
	make_dispatch(bench);
}

static void
bench_close(struct bench *bench)
{
	ari_command_close(&bench->lane.link);
	/* parted in good order */
	RUN_UNTIL(bench->base, bench->server.peer == NULL);
	assert_int_equal(bench->server.goodbyes, 1);
	turn_flush(bench->turn);
	dispatch_free(&bench->dispatch);
	turn_free(&bench->turn);
	server_close(&bench->server);
	event_base_free(bench->base);
	scratch_remove(&bench->store);
}

/* ---- what lies in the outbox ---- */

struct scene {
	const char *name;
	unsigned call_slot;
	enum call_command_kind kind;
	enum left left;
	unsigned taker_slot;
	uint32_t taker_generation;
	bool taker_lives;
	bool relieved;
	enum stream_reader stream; /* of the call's slot */
	const char *asks; /* the method of what is asked; NULL: nothing */
};

#define PLAY_MS 7

/* From its originate to a playback that waits at the head. */
static void
have_it_play(struct store_txn *txn, const struct change_maker *maker,
    const char *id)
{
	const struct call_play play = { .version = CALL_PLAY_VERSION,
		.id = { .kind = CALL_PLAY_SOUND, .ms = PLAY_MS },
		.media = "sound:x", .text = "x" };
	const struct call_input inputs[] = {
		{ .kind = CALL_IN_STASIS_START, .attempt = 1 },
		{ .kind = CALL_IN_PLAY, .play = &play },
	};
	struct change change;

	for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
		assert_int_equal(change_step(txn, maker, id, &inputs[i],
		    &change), 0);
	assert_int_equal(change_settle(txn, maker, id, 2, NULL, &change), 0);
	assert_int_equal(change_settle(txn, maker, id, 3, NULL, &change), 0);
	assert_true(change.has_item);
	assert_int_equal(change.item.command.kind, CALL_CMD_PLAY);
	assert_int_equal(outbox_release(txn, id, 4), 0);
}

static void
create_call(struct store_txn *txn, const struct scene *scene,
    char id_out[CALL_ID_SIZE])
{
	const struct change_maker maker = { .slot = scene->call_slot,
		.generation = 77, .node = 1, .originate_timeout_ms = 5000 };
	const struct call_input accepted = { .kind = CALL_IN_ORIGINATE_OK,
		.attempt = 1, .at_ms = clock_wall_ms() };
	const struct call_input hangup = { .kind = CALL_IN_HANGUP,
		.at_ms = clock_wall_ms() };
	const struct call_cold cold = { .trunk_count = 1,
		.trunk_names = { "a" }, .endpoints = { "PJSIP/001@a" },
		.webhook_url = "", .metadata = "", .voice = "" };
	struct call call = { .version = CALL_VERSION, .key_id = KEY_ID,
		.trunk_count = 1, .ring_timeout_s = 30,
		.max_duration_s = 60, .number = "14155550100" };
	struct change change;

	assert_int_equal(change_create(txn, &maker, &call, &cold, &change),
	    0);
	assert_true(change.has_item);
	memcpy(id_out, change.step.call.id, CALL_ID_SIZE);
	assert_int_equal(outbox_release(txn, id_out, 1), 0);
	if (scene->kind == CALL_CMD_ORIGINATE)
		return;
	assert_int_equal(change_settle(txn, &maker, id_out, 1, &accepted,
	    &change), 0);
	assert_false(change.has_item);
	if (scene->kind == CALL_CMD_PLAY) {
		have_it_play(txn, &maker, id_out);
		return;
	}
	assert_int_equal(change_step(txn, &maker, id_out, &hangup, &change),
	    0);
	assert_true(change.has_item);
	assert_int_equal(change.item.command.kind, CALL_CMD_HANGUP);
	assert_int_equal(outbox_release(txn, id_out, 2), 0);
}

static void
lay_out(struct bench *bench, const struct scene *scene)
{
	const struct outbox_taker taker = { .slot = scene->taker_slot,
		.generation = scene->taker_generation,
		.originate_connection = bench->connection,
		.control_connection = bench->connection,
		.now_ms = clock_deadline_ms() };
	struct outbox_item item;
	struct store_txn *txn;
	char id[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	create_call(txn, scene, id);
	if (scene->left == LEFT_SENT)
		assert_int_equal(outbox_take(txn, id, &taker, &item), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
set_alive(unsigned slot, uint32_t generation, bool lives)
{
	struct stats_row *row = &stats->rows[stats_row_index(
	    CHILD_BELL_WORKER + slot, generation)];

	atomic_store(&row->generation, generation);
	atomic_store(&row->pid, lives ? 1 : 0);
}

/* Whatever is asked by now has come to the server when this returns. */
static void
ask_last(struct bench *bench)
{
	turn_flush(bench->turn);
	rest_lane_ask_last(&bench->lane, bench->base);
}

static const struct scene scenes[] = {
#define W LEFT_WAITING
#define S LEFT_SENT
#define HANGUP CALL_CMD_HANGUP
#define DIAL CALL_CMD_ORIGINATE
#define PLAY CALL_CMD_PLAY
#define READ STREAM_READ
#define AWAY STREAM_ELSEWHERE
#define NONE STREAM_UNREAD
	{ "waits", 0, HANGUP, W, 0, 0, 0, 0, READ, "DELETE" },
	{ "originate waits", 0, DIAL, W, 0, 0, 0, 0, READ, "POST" },
	{ "originate waits, nobody reads", 0, DIAL, W, 0, 0, 0, 0, NONE,
	    NULL },
	{ "predecessor is dead", 0, HANGUP, S, 0, 1, 0, 0, READ, "DELETE" },
	{ "predecessor is dead, originate", 0, DIAL, S, 0, 1, 0, 0, READ,
	    "GET" },
	{ "predecessor is dead, originate, nobody reads", 0, DIAL, S, 0, 1, 0,
	    0, NONE, NULL },
	{ "predecessor lives", 0, HANGUP, S, 0, 1, 1, 0, READ, NULL },
	{ "predecessor lives, originate", 0, DIAL, S, 0, 1, 1, 0, READ,
	    NULL },
	{ "own, the link was lost", 0, HANGUP, S, 0, 2, 1, 0, READ,
	    "DELETE" },
	{ "own, the link was lost, originate", 0, DIAL, S, 0, 2, 1, 0, READ,
	    "GET" },
	{ "relieved: own", 0, HANGUP, S, 0, 2, 1, 1, AWAY, "DELETE" },
	{ "relieved: own originate", 0, DIAL, S, 0, 2, 1, 1, AWAY, NULL },
	{ "relieved: a dead one's", 0, HANGUP, S, 0, 1, 0, 1, AWAY, NULL },
	{ "relieved: waits", 0, HANGUP, W, 0, 0, 0, 1, AWAY, NULL },
	{ "relieved: originate waits", 0, DIAL, W, 0, 0, 0, 1, AWAY, NULL },
	{ "a neighbour's call", 1, HANGUP, W, 0, 0, 0, 0, NONE, NULL },
	{ "a neighbour's, its worker is dead", 1, HANGUP, S, 1, 4, 0, 0,
	    NONE, NULL },
	{ "a neighbour's, a dead one of ours took it", 1, HANGUP, S, 0, 1, 0,
	    0, NONE, NULL },
	{ "ours, a neighbour took it", 0, HANGUP, S, 1, 4, 1, 0, READ, NULL },
	{ "ours, a dead neighbour took it", 0, HANGUP, S, 1, 4, 0, 0, READ,
	    "DELETE" },
	{ "a slot that is no more, ours now", 2, HANGUP, S, 2, 6, 0, 0, NONE,
	    "DELETE" },
	{ "…its process leaves", 2, HANGUP, S, 2, 6, 1, 0, NONE, NULL },
	{ "…an originate, adopted", 2, DIAL, S, 2, 6, 0, 0, READ, "GET" },
	{ "…an originate, not adopted yet", 2, DIAL, S, 2, 6, 0, 0, NONE,
	    NULL },
	{ "…an originate that waits", 2, DIAL, W, 0, 0, 0, 0, READ, "POST" },
	{ "a slot that is no more, the neighbour's", 3, HANGUP, S, 3, 6, 0, 0,
	    NONE, NULL },
	{ "playback waits", 0, PLAY, W, 0, 0, 0, 0, READ, "POST" },
	{ "playback waits, nobody reads", 0, PLAY, W, 0, 0, 0, 0, NONE,
	    "POST" },
	{ "predecessor is dead, playback", 0, PLAY, S, 0, 1, 0, 0, READ,
	    "GET" },
	{ "predecessor is dead, playback, nobody reads", 0, PLAY, S, 0, 1, 0,
	    0, NONE, NULL },
	{ "predecessor lives, playback", 0, PLAY, S, 0, 1, 1, 0, READ, NULL },
	{ "own, the link was lost, playback", 0, PLAY, S, 0, 2, 1, 0, READ,
	    "GET" },
	{ "relieved: own playback", 0, PLAY, S, 0, 2, 1, 1, AWAY, NULL },
	{ "a neighbour's call, a playback of ours", 1, PLAY, S, 0, 2, 1, 0,
	    NONE, NULL },
	{ "a slot that is no more, playback, adopted", 2, PLAY, S, 2, 6, 0, 0,
	    READ, "GET" },
#undef W
#undef S
#undef HANGUP
#undef DIAL
#undef PLAY
#undef READ
#undef AWAY
#undef NONE
};

static void
test_scenes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
		const struct scene *scene = &scenes[i];
		const size_t len = scene->asks != NULL ?
		    strlen(scene->asks) : 0;
		struct bench bench;

		bench_open(&bench);
		lay_out(&bench, scene);
		set_alive(OWN_SLOT, OWN_GENERATION, true);
		if (scene->left == LEFT_SENT)
			set_alive(scene->taker_slot, scene->taker_generation,
			    scene->taker_lives);
		bench.streams.slots[scene->call_slot].reader = scene->stream;
		dispatch_relieve(bench.dispatch, scene->relieved);
		dispatch_resume(bench.dispatch);
		ask_last(&bench);
		if (scene->asks == NULL ? bench.request[0] != '\0' :
		    strncmp(bench.request, scene->asks, len) != 0 ||
		    bench.request[len] != ' ')
			fail_msg("%s: asked \"%s\", not %s", scene->name,
			    bench.request, scene->asks != NULL ?
			    scene->asks : "nothing");
		if (scene->left == LEFT_SENT)
			set_alive(scene->taker_slot, scene->taker_generation,
			    false);
		bench_close(&bench);
	}
}

/*
 * Between the look and the transaction somebody else may have taken the
 * command up: then it is left to him.
 */
static void
test_taken_meanwhile(void **state)
{
	static const struct scene scene = { "", 0, CALL_CMD_HANGUP, LEFT_SENT,
		0, 1, false, false, STREAM_READ, NULL };
	const struct outbox_taker taker = { .slot = 1, .generation = 4,
		.now_ms = clock_deadline_ms() };
	struct outbox_item item;
	struct outbox_head head;
	struct store_txn *txn;
	struct bench bench;

	(void)state;
	bench_open(&bench);
	lay_out(&bench, &scene);
	set_alive(0, 1, false);
	bench.streams.slots[0].reader = STREAM_READ;
	dispatch_resume(bench.dispatch); /* its job waits for the turn */
	assert_int_equal(store_begin_write(bench.store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	assert_int_equal(outbox_release(txn, head.call_id, head.command.seq),
	    0);
	assert_int_equal(outbox_take(txn, head.call_id, &taker, &item), 0);
	assert_int_equal(store_commit(&txn), 0);
	ask_last(&bench);
	assert_string_equal(bench.request, "");
	bench_close(&bench);
}

/* This process has said an originate, and is then relieved of its duty. */
static void
relieve_of_originate(struct bench *bench)
{
	static const struct scene scene = { "", 0, CALL_CMD_ORIGINATE,
		LEFT_SENT, 0, OWN_GENERATION, true, true, STREAM_ELSEWHERE,
		NULL };

	lay_out(bench, &scene);
	set_alive(OWN_SLOT, OWN_GENERATION, true);
	bench->streams.slots[0].reader = STREAM_ELSEWHERE;
	dispatch_relieve(bench->dispatch, true);
	dispatch_resume(bench->dispatch);
}

/*
 * An originate over a link that was lost, of a process that was relieved: it
 * lives on, but its successor tells what became of it.
 */
static void
test_originate_of_a_relieved_process(void **state)
{
	struct bench bench;

	(void)state;
	bench_open(&bench);
	relieve_of_originate(&bench);
	turn_flush(bench.turn);
	/* from here on it is the successor */
	bench.maker.generation = OWN_GENERATION + 1;
	bench.streams.slots[0].reader = STREAM_READ;
	dispatch_relieve(bench.dispatch, false);
	dispatch_resume(bench.dispatch);
	ask_last(&bench);
	assert_memory_equal(bench.request, "GET channels/", 13);
	set_alive(OWN_SLOT, OWN_GENERATION, false);
	bench_close(&bench);
}

/*
 * A playback of a neighbour's call, over a link of ours that was lost: the
 * neighbour reads the call's events, and tells what became of it.
 */
static void
test_playback_of_a_neighbours_call(void **state)
{
	static const struct scene scene = { "", 1, CALL_CMD_PLAY, LEFT_SENT,
		OWN_SLOT, OWN_GENERATION, true, false, STREAM_UNREAD, NULL };
	struct outbox_head head;
	struct store_txn *txn;
	struct bench bench;

	(void)state;
	bench_open(&bench);
	lay_out(&bench, &scene);
	set_alive(OWN_SLOT, OWN_GENERATION, true);
	dispatch_resume(bench.dispatch);
	ask_last(&bench);
	assert_string_equal(bench.request, "");
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	store_end_read(&txn);
	assert_int_equal(head.command.state, COMMAND_SENT);
	assert_int_equal(head.command.generation, 0);
	/* from here on it is the neighbour */
	bench.maker.slot = 1;
	bench.streams.slots[1].reader = STREAM_READ;
	dispatch_resume(bench.dispatch);
	ask_last(&bench);
	assert_memory_equal(bench.request, "GET playbacks/play-", 19);
	set_alive(OWN_SLOT, OWN_GENERATION, false);
	bench_close(&bench);
}

/*
 * The reply to an originate whose events another process has read already:
 * whoever waits for the call is told all the same.
 */
static void
test_reply_behind_the_events(void **state)
{
	static const struct scene scene = { "", 0, CALL_CMD_ORIGINATE,
		LEFT_WAITING, 0, 0, false, false, STREAM_READ, NULL };
	const struct call_input rings = { .kind = CALL_IN_RINGING,
		.attempt = 1, .at_ms = clock_wall_ms() };
	struct outbox_head head;
	struct change change;
	struct store_txn *txn;
	struct bench bench;

	(void)state;
	bench_open(&bench);
	lay_out(&bench, &scene);
	bench.streams.slots[0].reader = STREAM_READ;
	dispatch_resume(bench.dispatch);
	turn_flush(bench.turn); /* taken and said */
	assert_int_equal(dispatch_under_way(bench.dispatch), 1);
	dispatch_relieve(bench.dispatch, true);
	assert_int_equal(store_begin_write(bench.store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	assert_int_equal(change_step(txn, &bench.maker, head.call_id, &rings,
	    &change), 0);
	assert_int_equal(change.rc, 0);
	assert_int_equal(store_commit(&txn), 0);
	RUN_UNTIL(bench.base, bench.known == 1);
	assert_int_equal(dispatch_under_way(bench.dispatch), 0);
	bench_close(&bench);
}

/* ---- more than a page ---- */

#define MANY 1500
#define PAGE 256

static const struct scene hangup_waits = { "", 0, CALL_CMD_HANGUP,
	LEFT_WAITING, 0, 0, false, false, STREAM_READ, NULL };

static void
lay_out_many(struct bench *bench, unsigned count)
{
	struct store_txn *txn;
	char id[CALL_ID_SIZE];

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	for (unsigned i = 0; i < count; i++)
		create_call(txn, &hangup_waits, id);
	assert_int_equal(store_commit(&txn), 0);
	bench->streams.slots[0].reader = STREAM_READ;
}

/* A page a turn; in the end each was said once, and is settled. */
static void
test_pages(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct outbox_head head;
	struct store_txn *txn;

	(void)state;
	assert_non_null(bench);
	bench_open(bench);
	lay_out_many(bench, MANY);
	dispatch_resume(bench->dispatch);
	turn_flush(bench->turn);
	assert_int_equal(ari_command_in_flight(bench->lane.link), PAGE);
	RUN_UNTIL(bench->base, bench->requests == MANY &&
	    dispatch_under_way(bench->dispatch) == 0);
	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 0);
	store_end_read(&txn);
	ask_last(bench);
	assert_int_equal(bench->requests, MANY);
	bench_close(bench);
	free(bench);
}

/* A head that a sweep has passed by is found by the look asked for then. */
static void
test_asked_for_on_the_way(void **state)
{
	const struct outbox_taker taker = { .slot = 0, .generation = 1,
		.now_ms = clock_deadline_ms() };
	struct bench *bench = calloc(1, sizeof(*bench));
	struct outbox_item item;
	struct outbox_head head;
	struct store_txn *txn;

	(void)state;
	assert_non_null(bench);
	bench_open(bench);
	lay_out_many(bench, MANY);
	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	assert_int_equal(outbox_take(txn, head.call_id, &taker, &item), 0);
	assert_int_equal(store_commit(&txn), 0);
	set_alive(0, 1, true);
	dispatch_resume(bench->dispatch);
	turn_flush(bench->turn); /* it is passed by: its sender lives */
	set_alive(0, 1, false);
	assert_int_equal(ari_command_in_flight(bench->lane.link), PAGE - 1);
	dispatch_resume(bench->dispatch);
	RUN_UNTIL(bench->base, bench->requests == MANY);
	ask_last(bench);
	assert_int_equal(bench->requests, MANY);
	bench_close(bench);
	free(bench);
}

/* ---- the verdict on what must be done once ---- */

struct stream {
	struct server server;
	struct config config;
	struct event_link *link;
	unsigned asked;
	struct ari_mark mark; /* that was asked for last */
	bool up;
};

static void
on_stream_up(void *ctx, bool resumed)
{
	struct stream *stream = ctx;

	(void)resumed;
	stream->up = true;
}

static void
on_stream_begin(void *ctx)
{
	(void)ctx;
}

static int
on_stream_event(void *ctx, struct store_txn *txn,
    const struct ari_event *event)
{
	(void)ctx;
	(void)txn;
	(void)event;
	return 0;
}

static void
on_stream_committed(void *ctx, int rc)
{
	(void)ctx;
	assert_int_equal(rc, 0);
}

static int
on_stream_ask(void *ctx, const struct ari_mark *mark)
{
	struct stream *stream = ctx;

	stream->asked++;
	stream->mark = *mark;
	return 0;
}

static void
send_mark(struct stream *stream)
{
	char name[ARI_MARK_NAME_SIZE];
	char text[160];

	ari_mark_name(name, &stream->mark);
	(void)snprintf(text, sizeof(text), "{\"type\":\"ChannelUserevent\","
	    "\"eventname\":\"%s\"}", name);
	server_send_text(&stream->server, text);
}

static int
on_stream_hand_over(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return 0;
}

/* An event stream of the own slot, read by this process. */
static void
stream_open(struct stream *stream, struct bench *bench)
{
	static const struct event_link_ops ops = { .up = on_stream_up,
		.begin = on_stream_begin, .event = on_stream_event,
		.committed = on_stream_committed,
		.hand_over = on_stream_hand_over, .ask = on_stream_ask };
	struct kap_errmsg msg;

	memset(stream, 0, sizeof(*stream));
	server_open(&stream->server, bench->base);
	server_config(&stream->server, &stream->config);
	assert_int_equal(event_link_new(&stream->link, bench->base,
	    bench->turn, bench->store.store, &stream->config, OWN_SLOT, &ops,
	    stream, &msg), 0);
	event_link_start(stream->link, -1);
	RUN_UNTIL(bench->base, stream->up);
	bench->streams.slots[OWN_SLOT] = (struct stream_state){
		.reader = STREAM_READ, .link = stream->link,
		.began_ms = 1 /* long before anything was said */ };
}

/*
 * A dead one's originate, of which Asterisk has no channel: it may have rung
 * and be over, with its events on the way. Nothing is said again before
 * Asterisk's mark behind them is read. Likewise a playback.
 */
static void
check_verdict_waits(enum call_command_kind kind)
{
	const struct scene scene = { "", OWN_SLOT, kind, LEFT_SENT, OWN_SLOT,
		1, false, false, STREAM_READ, NULL };
	struct stream stream;
	struct bench bench;

	bench_open(&bench);
	bench.look = 404;
	stream_open(&stream, &bench);
	lay_out(&bench, &scene);
	dispatch_resume(bench.dispatch);
	RUN_UNTIL(bench.base, stream.asked == 1);
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(bench.base, EVLOOP_ONCE);
	assert_int_equal(bench.posts, 0);
	assert_int_equal(stream.asked, 1);
	send_mark(&stream);
	RUN_UNTIL(bench.base, bench.posts == 1);
	RUN_UNTIL(bench.base, ari_command_in_flight(bench.lane.link) == 0);
	event_link_free(&stream.link);
	server_close(&stream.server);
	bench_close(&bench);
}

/*
 * Calls can't be made any more, so nobody can be asked for the mark: it is left
 * to the next resume, and holds up no drain.
 */
static void
test_verdict_is_left_to_the_next(void **state)
{
	const struct scene scene = { "", OWN_SLOT, CALL_CMD_ORIGINATE,
		LEFT_SENT, OWN_SLOT, 1, false, false, STREAM_READ, NULL };
	struct stream stream;
	struct bench bench;

	(void)state;
	bench_open(&bench);
	bench.look = 404;
	stream_open(&stream, &bench);
	lay_out(&bench, &scene);
	dispatch_resume(bench.dispatch);
	RUN_UNTIL(bench.base, stream.asked == 1);
	assert_int_equal(dispatch_under_way(bench.dispatch), 1);
	dispatch_set_ready(bench.dispatch, false);
	RUN_UNTIL(bench.base, dispatch_under_way(bench.dispatch) == 0);
	assert_int_equal(bench.posts, 0);
	dispatch_set_ready(bench.dispatch, true);
	dispatch_resume(bench.dispatch);
	RUN_UNTIL(bench.base, stream.asked == 2);
	send_mark(&stream);
	RUN_UNTIL(bench.base, bench.posts == 1);
	RUN_UNTIL(bench.base, ari_command_in_flight(bench.lane.link) == 0);
	event_link_free(&stream.link);
	server_close(&stream.server);
	bench_close(&bench);
}

static void
test_verdict_waits_for_the_events(void **state)
{
	(void)state;
	check_verdict_waits(CALL_CMD_ORIGINATE);
	check_verdict_waits(CALL_CMD_PLAY);
}

/* --- what was said over a connection that is gone --- */

static const struct fence_case {
	const char *name;
	enum call_command_kind kind;
	const char *app; /* that is asked for; NULL: none is */
	int status; /* of its look, at first; 404 later */
	bool over_this; /* it went by the connection that there is */
} fence_cases[] = {
	{ "an originate", CALL_CMD_ORIGINATE, "originate-0000002a", 200,
	    false },
	{ "a playback", CALL_CMD_PLAY, "control-0000002a", 200, false },
	{ "Asterisk stumbles", CALL_CMD_PLAY, "control-0000002a", 500, false },
	{ "an originate, through", CALL_CMD_ORIGINATE, "originate-0000002a",
	    404, false },
	{ "over this connection", CALL_CMD_ORIGINATE, NULL, 200, true },
	{ "a playback over this connection", CALL_CMD_PLAY, NULL, 200, true },
};

static void
open_fence(struct bench *bench, const struct fence_case *row)
{
	const struct scene scene = { "", OWN_SLOT, row->kind, LEFT_SENT,
		OWN_SLOT, 1, false, false, STREAM_READ, NULL };

	bench_open(bench);
	bench->look = 404;
	bench->app = row->status;
	if (row->over_this)
		bench->connection = ari_command_connection(bench->lane.link);
	lay_out(bench, &scene);
	bench->streams.slots[0].reader = STREAM_READ;
	dispatch_resume(bench->dispatch);
}

static void
check_fence(const struct fence_case *row)
{
	struct bench bench;
	char uri[64] = "";

	open_fence(&bench, row);
	if (row->app != NULL)
		(void)snprintf(uri, sizeof(uri), "applications/kaphila-1-0-%s",
		    row->app);
	if (row->app != NULL && row->status != 404) {
		RUN_UNTIL(bench.base, bench.app_looks == 4);
		if (bench.requests != 1 || bench.posts != 0)
			fail_msg("%s: %u requests", row->name, bench.requests);
		bench.app = 404;
	}
	RUN_UNTIL(bench.base, bench.posts == 1);
	if (strcmp(bench.app_uri, uri) != 0 ||
	    bench.requests != (row->app != NULL ? 3U : 2U))
		fail_msg("%s: asked for \"%s\", %u requests", row->name,
		    bench.app_uri, bench.requests);
	bench_close(&bench);
}

/*
 * Not there is no verdict while Asterisk still works off what the command's
 * own connection had brought: it is looked for again behind that.
 */
static void
test_fence(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(fence_cases) / sizeof(fence_cases[0]);
	    i++)
		check_fence(&fence_cases[i]);
}

/* A process that leaves doesn't wait for it, and begins no other wait. */
static void
test_fence_of_one_that_leaves(void **state)
{
	struct bench bench;

	(void)state;
	open_fence(&bench, &fence_cases[0]);
	RUN_UNTIL(bench.base, bench.app_looks == 1);
	assert_int_equal(dispatch_under_way(bench.dispatch), 1);
	dispatch_drain(bench.dispatch);
	assert_int_equal(dispatch_under_way(bench.dispatch), 0);
	dispatch_resume(bench.dispatch);
	RUN_UNTIL(bench.base, dispatch_under_way(bench.dispatch) == 0);
	assert_int_equal(bench.requests, 2);
	assert_int_equal(bench.posts, 0);
	assert_int_equal(bench.app_looks, 1);
	bench_close(&bench);
}

/* Without an Asterisk to be asked it is found again by the next look. */
static void
test_fence_without_a_link(void **state)
{
	struct bench bench;

	(void)state;
	open_fence(&bench, &fence_cases[0]);
	RUN_UNTIL(bench.base, bench.app_looks == 1);
	ari_command_close(&bench.lane.link);
	assert_int_equal(dispatch_under_way(bench.dispatch), 0);
	RUN_UNTIL(bench.base, bench.server.peer == NULL);
	bench.server.goodbyes = 0;
	rest_lane_open(&bench.lane, bench.base, &bench.config, OWN_SLOT);
	bench.maker.originate_connection =
	    ari_command_connection(bench.lane.link);
	bench.app = 404;
	dispatch_resume(bench.dispatch);
	RUN_UNTIL(bench.base, bench.posts == 1);
	bench_close(&bench);
}

/*
 * An originate without a reply over a link that stands, of a process that was
 * relieved: it is asked for behind that, and whoever is to tell of it need not
 * wait for the link's end.
 */
static void
test_left_over_a_link_that_stands(void **state)
{
	struct outbox_head head;
	struct store_txn *txn;
	struct bench bench;

	(void)state;
	bench_open(&bench);
	bench.look = 404;
	bench.connection = ari_command_connection(bench.lane.link);
	relieve_of_originate(&bench);
	RUN_UNTIL(bench.base, dispatch_under_way(bench.dispatch) == 0);
	assert_int_equal(bench.requests, 1);
	assert_int_equal(bench.app_looks, 0);
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	store_end_read(&txn);
	assert_int_equal(head.command.state, COMMAND_SENT);
	assert_int_equal(head.command.generation, 0);
	assert_int_equal(head.command.connection, 0);
	set_alive(OWN_SLOT, OWN_GENERATION, false);
	bench_close(&bench);
}

/*
 * What was taken for a connection that is not the present one is not said: it
 * would be asked for in vain.
 */
static void
test_taken_for_another_connection(void **state)
{
	static const struct scene scene = { "", OWN_SLOT, CALL_CMD_ORIGINATE,
		LEFT_WAITING, 0, 0, false, false, STREAM_READ, NULL };
	struct outbox_head head;
	struct store_txn *txn;
	struct bench bench;

	(void)state;
	bench_open(&bench);
	lay_out(&bench, &scene);
	bench.streams.slots[0].reader = STREAM_READ;
	bench.maker.originate_connection ^= 1;
	dispatch_resume(bench.dispatch);
	ask_last(&bench);
	turn_flush(bench.turn);
	assert_int_equal(bench.requests, 0);
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	store_end_read(&txn);
	assert_int_equal(head.command.state, COMMAND_WAITING);
	bench.maker.originate_connection ^= 1;
	dispatch_resume(bench.dispatch);
	RUN_UNTIL(bench.base, bench.posts == 1);
	bench_close(&bench);
}

struct play_verdict {
	const char *name;
	int look; /* what Asterisk has to say of the playback */
	bool gap; /* events were missed since it was said */
	bool ended; /* its call has ended meanwhile */
	unsigned posts;
	int state; /* of its record then; -1: none */
};

static const struct play_verdict play_verdicts[] = {
	{ "it is there", 200, false, false, 0, CALL_PLAY_TAKEN },
	{ "it is there, events were missed", 200, true, false, 0,
	    CALL_PLAY_TAKEN },
	{ "it is not there", 404, false, false, 1, CALL_PLAY_TAKEN },
	{ "it is not there, events were missed", 404, true, false, 0, -1 },
	{ "its call is over", 404, false, true, 0, -1 },
};

static void
end_call(struct bench *bench)
{
	const struct call_input over = { .kind = CALL_IN_DESTROYED,
		.attempt = 1, .cause = 16 };
	struct outbox_head head;
	struct change change;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	assert_int_equal(change_step(txn, &bench->maker, head.call_id, &over,
	    &change), 0);
	assert_int_equal(store_commit(&txn), 0);
}

/* The state of the one playback in the store; -1: there is none. */
static int
play_state(struct bench *bench, const char *call_id)
{
	const struct call_play_id id = { .ms = PLAY_MS };
	struct call_play play;
	struct store_txn *txn;
	int rc;

	assert_int_equal(store_begin_read(bench->store.store, &txn), 0);
	rc = call_play_get(txn, call_id, &id, &play);
	store_end_read(&txn);
	return rc == 0 ? play.state : -1;
}

/* Whatever is told of it: it is said once more at the most, and settled. */
static void
check_play_verdict(const struct play_verdict *row)
{
	static const struct scene scene = { "", OWN_SLOT, CALL_CMD_PLAY,
		LEFT_SENT, OWN_SLOT, 1, false, false, STREAM_READ, NULL };
	struct outbox_head head;
	struct store_txn *txn;
	struct bench bench;

	bench_open(&bench);
	bench.look = row->look;
	lay_out(&bench, &scene);
	bench.streams.slots[0] = (struct stream_state){ .reader = STREAM_READ,
		.began_ms = row->gap ? INT64_MAX : 0 };
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(outbox_scan(txn, "", &head, 1), 1);
	store_end_read(&txn);
	dispatch_resume(bench.dispatch);
	turn_flush(bench.turn);
	if (row->ended)
		end_call(&bench);
	RUN_UNTIL(bench.base, dispatch_under_way(bench.dispatch) == 0);
	if (bench.posts != row->posts ||
	    play_state(&bench, head.call_id) != row->state)
		fail_msg("%s: %u posts, state %d", row->name, bench.posts,
		    play_state(&bench, head.call_id));
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(outbox_find(txn, head.call_id, head.command.seq),
	    -KAP_NOENT);
	store_end_read(&txn);
	bench_close(&bench);
}

static void
test_verdicts_on_a_playback(void **state)
{
	(void)state;
	for (size_t i = 0;
	    i < sizeof(play_verdicts) / sizeof(play_verdicts[0]); i++)
		check_play_verdict(&play_verdicts[i]);
}

static void
on_filling(void *arg, int status, const char *body, size_t len)
{
	unsigned *answered = arg;

	(void)body;
	(void)len;
	assert_int_equal(status, 200);
	(*answered)++;
}

/* Nothing is added to a lane that is half full; later it goes on by itself. */
static void
test_full_lane(void **state)
{
	const unsigned filling = ARI_COMMANDS_MAX / 2;
	struct bench *bench = calloc(1, sizeof(*bench));
	unsigned answered = 0;

	(void)state;
	assert_non_null(bench);
	bench_open(bench);
	lay_out_many(bench, PAGE + 1);
	bench->mute = true;
	for (unsigned i = 0; i < filling; i++)
		assert_int_equal(ari_command_send(bench->lane.link, "GET",
		    "last", NULL, NULL, 50000, on_filling, &answered), 0);
	dispatch_resume(bench->dispatch);
	RUN_UNTIL(bench->base, bench->held == filling);
	turn_flush(bench->turn);
	assert_int_equal(ari_command_in_flight(bench->lane.link), filling);
	assert_int_equal(dispatch_under_way(bench->dispatch), 0);
	bench->mute = false;
	for (unsigned i = 0; i < filling; i++)
		rest_reply(&bench->server, bench->ids[i], 200, "{}");
	RUN_UNTIL(bench->base, answered == filling &&
	    bench->requests == PAGE + 1 &&
	    ari_command_in_flight(bench->lane.link) == 0);
	bench_close(bench);
	free(bench);
}

static int
open_stats(void **state)
{
	char path[] = "/tmp/kaphila-dispatch-XXXXXX";
	const int made = mkstemp(path);
	const int fd = stats_create(path);

	(void)state;
	(void)close(made);
	(void)unlink(path);
	if (fd < 0 || stats_map(fd, &stats) != 0)
		return -1;
	(void)close(fd);
	atomic_store(&stats->node.workers, WORKERS);
	stats_use_row(stats, stats_row_index(CHILD_BELL_WORKER + OWN_SLOT,
	    OWN_GENERATION), OWN_GENERATION);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenes),
		cmocka_unit_test(test_taken_meanwhile),
		cmocka_unit_test(test_originate_of_a_relieved_process),
		cmocka_unit_test(test_reply_behind_the_events),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_asked_for_on_the_way),
		cmocka_unit_test(test_playback_of_a_neighbours_call),
		cmocka_unit_test(test_fence),
		cmocka_unit_test(test_fence_of_one_that_leaves),
		cmocka_unit_test(test_fence_without_a_link),
		cmocka_unit_test(test_left_over_a_link_that_stands),
		cmocka_unit_test(test_taken_for_another_connection),
		cmocka_unit_test(test_verdict_is_left_to_the_next),
		cmocka_unit_test(test_verdict_waits_for_the_events),
		cmocka_unit_test(test_verdicts_on_a_playback),
		cmocka_unit_test(test_full_lane),
	};

	return cmocka_run_group_tests(tests, open_stats, NULL);
}
