/*
 * event_link against a server in the same loop: the handshake and its faults,
 * the hand-over to the master, the reconnect, and the predecessor's socket.
 * With KAPHILA_TEST_ARI_URL (and _USER, _PASSWORD) against a real Asterisk
 * too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ari_bench_fixture.h"
#include "ari_frames_fixture.h"
#include "ari_server_fixture.h"
#include "worker/event_link.h"

struct bench {
	struct scratch store;
	struct event_base *base;
	struct turn *turn;
	struct config config;
	struct server server;
	struct event_link *link;
	unsigned ups;
	unsigned downs;
	unsigned gones;
	unsigned hand_overs;
	unsigned refuse_hand_overs;
	unsigned events;
	unsigned asked;
	bool is_deaf; /* asked for an event, Asterisk says yes and sends none */
	bool resumed;
	uint64_t lost;
	int master_fd; /* the master's copy; -1: none */
	char reason[160];
};

static void
on_up(void *ctx, bool resumed)
{
	struct bench *bench = ctx;

	bench->ups++;
	bench->resumed = resumed;
}

static void
on_down(void *ctx, const char *reason)
{
	struct bench *bench = ctx;

	bench->downs++;
	(void)snprintf(bench->reason, sizeof(bench->reason), "%s", reason);
}

static void
on_begin(void *ctx)
{
	(void)ctx;
}

static int
on_event(void *ctx, struct store_txn *txn, const struct ari_event *event)
{
	(void)txn;
	(void)event;
	((struct bench *)ctx)->events++;
	return 0;
}

static void
on_committed(void *ctx, int rc)
{
	(void)ctx;
	assert_int_equal(rc, 0);
}

static void
on_lost(void *ctx, uint64_t bytes)
{
	((struct bench *)ctx)->lost = bytes;
}

static int
on_hand_over(void *ctx, int fd)
{
	struct bench *bench = ctx;

	bench->hand_overs++;
	if (bench->refuse_hand_overs > 0) {
		bench->refuse_hand_overs--;
		return -KAP_AGAIN;
	}
	if (bench->master_fd >= 0)
		(void)close(bench->master_fd);
	bench->master_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return 0;
}

static void
on_gone(void *ctx)
{
	struct bench *bench = ctx;

	bench->gones++;
	/* it is shut down already, so Asterisk sees the end in any case */
	assert_int_equal(send(bench->master_fd, "x", 1, MSG_NOSIGNAL), -1);
	(void)close(bench->master_fd);
	bench->master_fd = -1;
}

static int
on_ask(void *ctx, const struct ari_mark *mark)
{
	struct bench *bench = ctx;

	(void)mark;
	bench->asked++;
	event_link_asked(bench->link, ARI_MARK_COMES);
	if (!bench->is_deaf)
		server_send_text(&bench->server,
		    "{\"type\":\"ChannelUserevent\"}");
	return 0;
}

static const struct event_link_ops ops = {
	.up = on_up,
	.down = on_down,
	.begin = on_begin,
	.event = on_event,
	.committed = on_committed,
	.lost = on_lost,
	.hand_over = on_hand_over,
	.ask = on_ask,
	.gone = on_gone,
};

static void
make_link(struct bench *bench)
{
	struct kap_errmsg msg;

	assert_int_equal(event_link_new(&bench->link, bench->base, bench->turn,
	    bench->store.store, &bench->config, 2, &ops, bench, &msg), 0);
	assert_int_equal(event_link_state(bench->link), EVENT_LINK_STOPPED);
}

static int
bench_setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	assert_non_null(bench);
	bench->master_fd = -1;
	scratch_open(&bench->store);
	bench->base = event_base_new();
	(void)event_base_priority_init(bench->base, 2);
	bench->turn = turn_new(bench->base, bench->store.store);
	server_open(&bench->server, bench->base);
	server_config(&bench->server, &bench->config);
	make_link(bench);
	*state = bench;
	return 0;
}

static int
bench_teardown(void **state)
{
	struct bench *bench = *state;

	event_link_free(&bench->link);
	server_close(&bench->server);
	turn_free(&bench->turn);
	event_base_free(bench->base);
	scratch_remove(&bench->store);
	if (bench->master_fd >= 0)
		(void)close(bench->master_fd);
	free(bench);
	return 0;
}

static void
come_up(struct bench *bench)
{
	event_link_start(bench->link, -1);
	RUN_UNTIL(bench->base, bench->ups == 1);
	assert_false(bench->resumed);
	assert_int_equal(event_link_state(bench->link), EVENT_LINK_UP);
}

static void
test_handshake(void **state)
{
	struct bench *bench = *state;
	struct frames greeting = { 0 };

	/* the first events may come with the head of the answer */
	frames_event(&greeting, 1);
	bench->server.greeting = &greeting;
	come_up(bench);
	RUN_UNTIL(bench->base, bench->events == 1);
	assert_non_null(strstr(bench->server.head,
	    "GET /ari/events?app=kaphila-1-2&subscribeAll=false HTTP/1.1\r\n"));
	assert_non_null(strstr(bench->server.head,
	    "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
	assert_int_equal(bench->hand_overs, 1);
	assert_int_equal(bench->downs, 0);
	frames_free(&greeting);
}

static void
test_handshake_in_pieces(void **state)
{
	struct bench *bench = *state;
	struct frames greeting = { 0 };

	frames_event(&greeting, 1);
	bench->server.greeting = &greeting;
	bench->server.mode = SERVER_UPGRADE_SLOWLY;
	come_up(bench);
	RUN_UNTIL(bench->base, bench->events == 1);
	assert_int_equal(bench->downs, 0);
	frames_free(&greeting);
}

struct refusal {
	enum server_mode mode;
	const char *reason; /* contains this */
};

static const struct refusal refusals[] = {
	{ SERVER_REFUSE, "401 Unauthorized (asterisk.user" },
	{ SERVER_WRONG_KEY, "not to our key" },
	{ SERVER_NO_ACCEPT, "not to our key" },
	{ SERVER_NO_HTTP, "no HTTP server" },
	{ SERVER_LONG_HEAD, "too long" },
	{ SERVER_HANG_UP, "in the handshake" },
	{ SERVER_SILENT, "doesn't answer the handshake" },
};

/* Each fault is told, tried again, and ends when the server is well. */
static void
test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct bench *bench;
		void *own;

		(void)bench_setup(&own);
		bench = own;
		bench->config.asterisk.command_timeout_ms = 100;
		bench->server.mode = refusals[i].mode;
		event_link_start(bench->link, -1);
		RUN_UNTIL(bench->base, bench->downs == 2);
		if (strstr(bench->reason, refusals[i].reason) == NULL)
			fail_msg("%zu: %s", i, bench->reason);
		assert_int_equal(bench->ups, 0);
		bench->server.mode = SERVER_UPGRADE;
		RUN_UNTIL(bench->base, bench->ups == 1);
		(void)bench_teardown(&own);
	}
}

static void
test_nobody_listens(void **state)
{
	struct bench *bench = *state;

	server_close(&bench->server);
	event_link_start(bench->link, -1);
	RUN_UNTIL(bench->base, bench->downs == 3);
	assert_non_null(strstr(bench->reason, "Connection refused"));
}

static void
test_reconnects(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };

	come_up(bench);
	server_hang_up(&bench->server);
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_int_equal(bench->downs, 1);
	assert_int_equal(bench->gones, 1);
	assert_int_equal(bench->hand_overs, 2);
	assert_false(bench->resumed);
	frames_event(&frames, 1);
	server_send(&bench->server, &frames);
	RUN_UNTIL(bench->base, bench->events == 1);
	frames_free(&frames);
}

static void
test_hand_over_is_tried_again(void **state)
{
	struct bench *bench = *state;

	bench->config.asterisk.ping_interval_ms = 10;
	bench->refuse_hand_overs = 2;
	come_up(bench);
	assert_int_equal(bench->master_fd, -1);
	RUN_UNTIL(bench->base, bench->master_fd >= 0);
	assert_int_equal(bench->hand_overs, 3);
}

static void
test_successor_resumes(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };

	come_up(bench);
	event_link_free(&bench->link); /* as its process died */
	frames_event(&frames, 1);
	server_send(&bench->server, &frames);
	make_link(bench);
	event_link_start(bench->link, fcntl(bench->master_fd, F_DUPFD_CLOEXEC,
	    3));
	RUN_UNTIL(bench->base, bench->events == 1);
	assert_int_equal(bench->ups, 2);
	assert_true(bench->resumed);
	assert_int_equal(bench->downs, 0);
	assert_int_equal(bench->server.accepted, 1);
	/* lost later on, it is the master's business, too */
	server_hang_up(&bench->server);
	RUN_UNTIL(bench->base, bench->ups == 3);
	assert_int_equal(bench->gones, 1);
	frames_free(&frames);
}

static void
test_successor_finds_a_gap(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };
	char thief[4];

	come_up(bench);
	event_link_free(&bench->link);
	frames_event(&frames, 1);
	server_send(&bench->server, &frames);
	RUN_UNTIL(bench->base, recv(bench->master_fd, thief, 4,
	    MSG_DONTWAIT) == 4);
	make_link(bench);
	event_link_start(bench->link, fcntl(bench->master_fd, F_DUPFD_CLOEXEC,
	    3));
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_int_equal(bench->lost, 4);
	assert_int_equal(bench->gones, 1);
	assert_false(bench->resumed);
	assert_non_null(strstr(bench->reason, "gap"));
	assert_int_equal(bench->server.accepted, 2);
	frames_free(&frames);
}

/* Another link of the same slot, as a successor has it. */
static void
make_other(struct bench *bench)
{
	event_link_free(&bench->link);
	make_link(bench);
}

static void
test_stop_leaves_the_connection(void **state)
{
	struct bench *bench = *state;
	struct frames frames = { 0 };

	come_up(bench);
	event_link_stop(bench->link);
	assert_int_equal(event_link_state(bench->link), EVENT_LINK_STOPPED);
	frames_event(&frames, 1);
	server_send(&bench->server, &frames);
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(bench->base, EVLOOP_NONBLOCK);
	assert_int_equal(bench->events, 0);
	assert_int_equal(bench->gones, 0);
	assert_non_null(bench->server.peer);
	frames_free(&frames);
}

/* The master refused the socket at first: the last chance is not missed. */
static void
test_stop_hands_over_at_last(void **state)
{
	struct bench *bench = *state;

	bench->refuse_hand_overs = 1;
	come_up(bench);
	assert_int_equal(bench->master_fd, -1);
	event_link_stop(bench->link);
	assert_int_equal(bench->hand_overs, 2);
	assert_true(bench->master_fd >= 0);
	/* …and the connection goes on from there */
	make_other(bench);
	event_link_start(bench->link, fcntl(bench->master_fd, F_DUPFD_CLOEXEC,
	    3));
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_true(bench->resumed);
	assert_int_equal(bench->server.accepted, 1);
}

static void
test_end_says_goodbye(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	event_link_end(bench->link);
	assert_int_equal(event_link_state(bench->link), EVENT_LINK_STOPPED);
	assert_int_equal(bench->gones, 0); /* the owner says so in its words */
	RUN_UNTIL(bench->base, bench->server.peer == NULL);
	assert_int_equal(bench->server.goodbyes, 1);
}

/* Whoever took the app over has it for a while; then it is taken back. */
static void
test_taken_over(void **state)
{
	struct bench *bench = *state;

	come_up(bench);
	server_send_text(&bench->server, "{\"type\":\"ApplicationReplaced\","
	    "\"application\":\"kaphila-1-2\"}");
	RUN_UNTIL(bench->base, bench->downs == 1);
	assert_non_null(strstr(bench->reason, "took the Stasis app over"));
	assert_int_equal(bench->gones, 1);
	/* far longer than the usual wait, which is 40 ms here at the most */
	for (int i = 0; i < 10; i++) {
		const struct timeval piece = { .tv_usec = 20000 };

		(void)event_base_loopexit(bench->base, &piece);
		(void)event_base_dispatch(bench->base);
	}
	assert_int_equal(bench->server.accepted, 1);
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_false(bench->resumed);
}

/* What has gone to stderr so far, which is this file. */
static bool
was_logged(FILE *log, const char *text)
{
	char all[16384];
	size_t len;

	rewind(log);
	len = fread(all, 1, sizeof(all) - 1, log);
	all[len] = '\0';
	return strstr(all, text) != NULL;
}

static void
be_taken_over(struct bench *bench)
{
	const unsigned ups = bench->ups;

	server_send_text(&bench->server, "{\"type\":\"ApplicationReplaced\","
	    "\"application\":\"kaphila-1-2\"}");
	RUN_UNTIL(bench->base, bench->ups == ups + 1);
}

/*
 * Asterisk comes late to a handshake that was given up: that one is no other
 * program. What takes the app after it is.
 */
static void
test_taken_over_by_itself(void **state)
{
	struct bench *bench = *state;
	FILE *log = tmpfile();
	const int stderr_fd = dup(STDERR_FILENO);

	assert_non_null(log);
	assert_true(dup2(fileno(log), STDERR_FILENO) >= 0);
	bench->config.asterisk.command_timeout_ms = 50;
	bench->server.mode = SERVER_SILENT;
	event_link_start(bench->link, -1);
	RUN_UNTIL(bench->base, bench->downs == 1);
	bench->server.mode = SERVER_UPGRADE;
	bench->config.asterisk.command_timeout_ms = 10000;
	RUN_UNTIL(bench->base, bench->ups == 1);
	be_taken_over(bench);
	assert_false(was_logged(log, "another program"));
	be_taken_over(bench);
	assert_true(was_logged(log, "another program"));
	(void)dup2(stderr_fd, STDERR_FILENO);
	(void)close(stderr_fd);
	(void)fclose(log);
}

static void
test_silence(void **state)
{
	struct bench *bench = *state;

	bench->config.asterisk.ping_interval_ms = 20;
	bench->is_deaf = true;
	come_up(bench);
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_non_null(strstr(bench->reason, "elsewhere"));
	assert_true(bench->asked >= 2);
	bench->is_deaf = false;
	RUN_UNTIL(bench->base, bench->asked > 20);
	assert_int_equal(bench->downs, 1);
	assert_int_equal(bench->server.pings, 0);
}

static void
test_names_are_refused(void **state)
{
	struct bench *bench = *state;
	struct event_link *link;
	struct kap_errmsg msg;

	(void)snprintf(bench->config.asterisk.url,
	    sizeof(bench->config.asterisk.url), "http://pbx.example:8088");
	assert_int_equal(event_link_new(&link, bench->base, bench->turn,
	    bench->store.store, &bench->config, 0, &ops, bench, &msg),
	    -KAP_INVAL);
	assert_non_null(strstr(msg.text, "'pbx.example' is a name"));
	assert_null(link);
}

static void
test_real_asterisk(void **state)
{
	struct bench *bench = *state;
	const char *url = getenv("KAPHILA_TEST_ARI_URL");
	const char *user = getenv("KAPHILA_TEST_ARI_USER");
	const char *password = getenv("KAPHILA_TEST_ARI_PASSWORD");

	if (url == NULL || user == NULL || password == NULL)
		skip();
	event_link_free(&bench->link);
	(void)snprintf(bench->config.asterisk.url,
	    sizeof(bench->config.asterisk.url), "%s", url);
	(void)snprintf(bench->config.asterisk.user,
	    sizeof(bench->config.asterisk.user), "%s", user);
	(void)snprintf(bench->config.asterisk.password,
	    sizeof(bench->config.asterisk.password), "%s", password);
	make_link(bench);
	come_up(bench);
	event_link_free(&bench->link);
	make_link(bench);
	event_link_start(bench->link, fcntl(bench->master_fd, F_DUPFD_CLOEXEC,
	    3));
	RUN_UNTIL(bench->base, bench->ups == 2);
	assert_true(bench->resumed);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_handshake),
		TEST(test_handshake_in_pieces),
		cmocka_unit_test(test_refusals),
		TEST(test_nobody_listens),
		TEST(test_reconnects),
		TEST(test_hand_over_is_tried_again),
		TEST(test_successor_resumes),
		TEST(test_successor_finds_a_gap),
		TEST(test_stop_leaves_the_connection),
		TEST(test_stop_hands_over_at_last),
		TEST(test_end_says_goodbye),
		TEST(test_taken_over),
		TEST(test_taken_over_by_itself),
		TEST(test_silence),
		TEST(test_names_are_refused),
		TEST(test_real_asterisk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
