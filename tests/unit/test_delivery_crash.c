/*
 * A sender in a process of its own, killed again and again while it sends:
 * every event arrives at least once, under one id, first attempts in order,
 * and in the end nothing is left in the store.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>

#include "tests/unit/http_sink.h"
#include "tests/unit/webhook_fixture.h"

#include <cmocka.h>

#include "shared/log.h"
#include "shared/turn.h"
#include "webhookd/sender.h"

#define CALLS 60
#define EVENTS 6
#define KILLS_MAX 40
#define GIVE_UP_US 120000000

static struct webhook_store scratch;

/* The child's loop ends when the queue is empty. */
static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	uint64_t length = 1;

	(void)fd;
	(void)what;
	if (sender_queue_length(arg, &length) != 0)
		_exit(3);
	if (length == 0)
		_exit(0);
	sender_wake(arg);
}

/* Everything is opened after the fork, as after an exec. */
static void
run_child(const struct config *config)
{
	const struct timeval every = { .tv_usec = 5000 };
	struct event_base *base = event_base_new();
	struct turn *turn;
	struct sender *sender;
	struct event *look;

	log_init("test", -1, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	(void)event_base_priority_init(base, 3);
	webhook_store_reopen(&scratch);
	turn = turn_new(base, scratch.store);
	sender = sender_new(base, scratch.store, turn, config);
	if (turn == NULL || sender == NULL)
		_exit(2);
	look = event_new(base, -1, EV_PERSIST, on_look, sender);
	(void)event_add(look, &every);
	sender_wake(sender);
	(void)event_base_dispatch(base);
	_exit(4);
}

static pid_t
spawn(const struct config *config)
{
	const pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		run_child(config);
	return pid;
}

static struct http_sink_plan
fail_some(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)arg;
	/* each first of a fifth call's third event fails */
	return (struct http_sink_plan){
		.status = note->sequence == 3 && strstr(note->call, "5") &&
		    http_sink_count(sink, note->id) == 1 ? 500 : 200,
		.wait_ms = sink->count % 4,
	};
}

static void
on_pulse(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Wait until this many requests came, or the child has ended (true). */
static bool
watch_child(struct http_sink *sink, pid_t pid, unsigned goal,
    int64_t end_us)
{
	while (sink->count < goal) {
		int status;

		if (http_sink_now_us() > end_us)
			fail_msg("%u requests, and no end", sink->count);
		if (waitpid(pid, &status, WNOHANG) == pid) {
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 0);
			return true;
		}
		(void)event_base_loop(sink->base, EVLOOP_ONCE);
	}
	return false;
}

static void
check_arrived(const struct http_sink *sink)
{
	for (unsigned i = 0; i < CALLS; i++) {
		char call[CALL_ID_SIZE];
		unsigned seen = 0;

		webhook_fixture_id(i, call);
		for (unsigned n = 0; n < sink->count; n++) {
			const struct http_sink_note *note = &sink->notes[n];

			if (strcmp(note->call, call) != 0)
				continue;
			/* again, or the very next: never one ahead */
			assert_true(note->sequence <= seen + 1);
			if (note->sequence == seen + 1)
				seen++;
		}
		assert_int_equal(seen, EVENTS);
	}
}

static void
test_killed(void **state)
{
	const struct timeval every = { .tv_usec = 1000 };
	const int64_t end_us = http_sink_now_us() + GIVE_UP_US;
	struct event_base *base = event_base_new();
	struct event *pulse = event_new(base, -1, EV_PERSIST, on_pulse, NULL);
	struct http_sink sink;
	struct config config;
	char url[64];
	bool ended = false;
	unsigned kills = 0;

	(void)state;
	(void)event_add(pulse, &every);
	http_sink_open(&sink, base);
	sink.decide = fail_some;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/h", sink.port);
	config_init(&config);
	config.webhook.allow_http = true;
	config.webhook.allow_loopback = true;
	config.webhook.concurrency = 8;
	config.webhook.per_host = 8;
	config.webhook.retry_min_ms = 10;
	webhook_store_open(&scratch);
	for (unsigned i = 0; i < CALLS; i++)
		webhook_fixture_add(scratch.store, i, url, EVENTS);
	store_close(&scratch.store);

	srand(42);
	while (!ended) {
		const pid_t pid = spawn(&config);
		const unsigned more = kills < KILLS_MAX ?
		    (unsigned)(rand() % 25) : HTTP_SINK_NOTES_MAX;

		ended = watch_child(&sink, pid, sink.count + more, end_us);
		if (!ended) {
			kills++;
			assert_int_equal(kill(pid, SIGKILL), 0);
			assert_int_equal(waitpid(pid, NULL, 0), pid);
		}
	}
	print_message("%u kills, %u requests for %u events\n", kills,
	    sink.count, CALLS * EVENTS);
	assert_true(kills > 5);
	check_arrived(&sink);
	webhook_store_reopen(&scratch);
	assert_int_equal(webhook_fixture_left(scratch.store), 0);
	webhook_store_close(&scratch);
	http_sink_close(&sink);
	event_free(pulse);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
