/*
 * The sender, from a real store to real HTTP servers on loopback.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/http_sink.h"
#include "tests/unit/webhook_fixture.h"

#include <cmocka.h>

#include "shared/clock.h"
#include "shared/log.h"
#include "shared/stats.h"
#include "shared/turn.h"
#include "webhookd/sender.h"
#include "webhookd/signature.h"

#define LONG_MS 60000 /* a time that no test waits for */
#define SHORT_MS 150
#define GIVE_UP_US 60000000

struct state {
	struct webhook_store scratch;
	struct event_base *base;
	struct event *pulse;
	struct turn *turn;
	struct sender *sender;
	struct http_sink sink;
	struct http_sink other;
	struct config config;
	char url[128];
	char other_url[128];
	bool drained;
};

static void
on_pulse(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

static void
open_sender(struct state *state)
{
	state->turn = turn_new(state->base, state->scratch.store);
	assert_non_null(state->turn);
	state->sender = sender_new(state->base, state->scratch.store,
	    state->turn, &state->config);
	assert_non_null(state->sender);
	sender_wake(state->sender);
}

static void
close_sender(struct state *state)
{
	turn_free(&state->turn);
	sender_free(&state->sender);
}

static int
set_up(void **arg)
{
	const struct timeval every = { .tv_usec = 2000 };
	struct state *state = calloc(1, sizeof(*state));

	log_init("test", -1, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	webhook_store_open(&state->scratch);
	state->base = event_base_new();
	(void)event_base_priority_init(state->base, 3);
	state->pulse = event_new(state->base, -1, EV_PERSIST, on_pulse, NULL);
	(void)event_add(state->pulse, &every);
	http_sink_open(&state->sink, state->base);
	http_sink_open(&state->other, state->base);
	(void)snprintf(state->url, sizeof(state->url),
	    "http://127.0.0.1:%u/hook", state->sink.port);
	(void)snprintf(state->other_url, sizeof(state->other_url),
	    "http://127.0.0.1:%u/other", state->other.port);
	config_init(&state->config);
	state->config.webhook.allow_http = true;
	state->config.webhook.allow_loopback = true;
	state->config.webhook.timeout_ms = LONG_MS;
	state->config.webhook.retry_min_ms = LONG_MS;
	*arg = state;
	return 0;
}

static int
tear_down(void **arg)
{
	struct state *state = *arg;

	close_sender(state);
	http_sink_close(&state->sink);
	http_sink_close(&state->other);
	event_free(state->pulse);
	event_base_free(state->base);
	webhook_store_close(&state->scratch);
	free(state);
	return 0;
}

/* Run the loop until something is so; or the test has failed. */
static void
run_until(struct state *state, bool (*is_so)(struct state *state))
{
	const int64_t end_us = http_sink_now_us() + GIVE_UP_US;

	while (!is_so(state)) {
		if (http_sink_now_us() > end_us)
			fail_msg("never came true (%u requests, %llu left)",
			    state->sink.count, (unsigned long long)
			    webhook_fixture_left(state->scratch.store));
		(void)event_base_loop(state->base, EVLOOP_ONCE);
	}
}

static bool
all_gone(struct state *state)
{
	return webhook_fixture_left(state->scratch.store) == 0;
}

static bool
none_new(struct state *state)
{
	return webhook_fixture_count(state->scratch.store,
	    STORE_WEBHOOKS) == 0;
}

static uint64_t
count_retries(struct state *state)
{
	return webhook_fixture_count(state->scratch.store,
	    STORE_WEBHOOK_RETRY);
}

/* Requests of one call, in the order of their coming. */
static unsigned
notes_of(const struct http_sink *sink, const char *call,
    const struct http_sink_note **notes, unsigned max)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sink->count && count < max; i++) {
		if (strcmp(sink->notes[i].call, call) == 0)
			notes[count++] = &sink->notes[i];
	}
	return count;
}

static struct http_sink_plan
say_soon(struct http_sink *sink, const struct http_sink_note *note, void *arg)
{
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = 200,
		.wait_ms = sink->count * 7 % 11 };
}

static void
check_call_order(const struct http_sink *sink, unsigned number,
    unsigned events)
{
	const struct http_sink_note *notes[16];
	char call[CALL_ID_SIZE];

	webhook_fixture_id(number, call);
	assert_int_equal(notes_of(sink, call, notes, 16), events);
	for (unsigned i = 0; i < events; i++) {
		assert_int_equal(notes[i]->sequence, i + 1);
		/* only when the one before had its answer */
		if (i > 0)
			assert_true(notes[i]->at_us >=
			    notes[i - 1]->answered_us);
	}
}

static void
test_in_order(void **arg)
{
	struct state *state = *arg;

	state->sink.decide = say_soon;
	for (unsigned i = 0; i < 40; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 6);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 240);
	for (unsigned i = 0; i < 40; i++)
		check_call_order(&state->sink, i, 6);
	/* and calls don't wait for one another */
	assert_true(state->sink.open_max > 10);
	/* connections are kept */
	assert_true(state->sink.connections <=
	    (unsigned)state->config.webhook.per_host);
}

static void
test_request(void **arg)
{
	struct state *state = *arg;
	const struct http_sink_note *note = &state->sink.notes[0];
	const int64_t now_s = clock_wall_ms() / 1000;

	webhook_fixture_add(state->scratch.store, 88, state->url, 1);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 1);
	assert_string_equal(note->path, "/hook");
	assert_string_equal(note->id, "evt_1720012345.88_1");
	assert_string_equal(note->content_type, "application/json");
	assert_string_equal(note->user_agent, "Kaphila-API-API/2.0");
	assert_in_range(strtoll(note->timestamp, NULL, 10), now_s, now_s + 60);
	assert_string_equal(note->signature, "");
	assert_non_null(strstr(note->body,
	    "\"eventId\":\"evt_1720012345.88_1\",\"sequence\":1,"
	    "\"callId\":\"1720012345.88\","));
	assert_non_null(strstr(note->body, "\"event\":\"call.initiated\""));
}

/* What an event tells beyond the call is in its body. */
static void
test_detail(void **arg)
{
	struct state *state = *arg;
	const unsigned sequence = CALL_EV_TTS_PLAYED + 1;
	char id[WEBHOOK_EVENT_ID_SIZE];
	char text[32];
	unsigned seen = 0;

	webhook_fixture_add(state->scratch.store, 88, state->url, sequence);
	open_sender(state);
	run_until(state, all_gone);
	(void)snprintf(id, sizeof(id), "evt_1720012345.88_%u", sequence);
	(void)snprintf(text, sizeof(text), ":\"text %u\"", sequence);
	for (unsigned i = 0; i < state->sink.count; i++) {
		const struct http_sink_note *note = &state->sink.notes[i];

		if (strcmp(note->id, id) != 0)
			continue;
		assert_non_null(strstr(note->body,
		    "\"event\":\"tts.played\""));
		assert_non_null(strstr(note->body, text));
		seen++;
	}
	assert_int_equal(seen, 1);
}

/* Events that come while it runs, with a ring and one ring for many. */
static void
test_wake(void **arg)
{
	struct state *state = *arg;

	open_sender(state);
	for (unsigned round = 0; round < 5; round++) {
		webhook_fixture_add(state->scratch.store, 2 * round,
		    state->url, 2);
		webhook_fixture_add(state->scratch.store, 2 * round + 1,
		    state->url, 2);
		sender_wake(state->sender);
		run_until(state, all_gone);
		assert_int_equal(state->sink.count, 4 * (round + 1));
	}
}

static struct http_sink_plan
fail_second_twice(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	const unsigned seen = http_sink_count(sink, note->id);

	(void)arg;
	return (struct http_sink_plan){
		.status = note->sequence == 2 && seen <= 2 ? 500 : 200 };
}

/* The second's next try is a minute away; the others don't wait for it. */
static void
test_retry_holds_up_nothing(void **arg)
{
	struct state *state = *arg;

	state->sink.decide = fail_second_twice;
	webhook_fixture_add(state->scratch.store, 1, state->url, 4);
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(state->sink.count, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(state->sink.notes[i].sequence, i + 1);
	assert_int_equal(count_retries(state), 1);
}

/* The calls of a test get a secret. */
static void
add_secret(struct state *state, unsigned number, const char *secrets)
{
	struct call_cold cold = webhook_fixture_cold(state->url);
	struct store_txn *txn;
	char id[CALL_ID_SIZE];

	webhook_fixture_id(number, id);
	cold.webhook_secrets = secrets;
	assert_int_equal(store_begin_write(state->scratch.store, &txn), 0);
	assert_int_equal(call_cold_put(txn, id, &cold), 0);
	assert_int_equal(store_commit(&txn), 0);
}

/* Each try is signed by itself, with the time that it says. */
static void
test_signed(void **arg)
{
	static const char secrets[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	    " whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
	struct state *state = *arg;

	state->sink.decide = fail_second_twice;
	state->config.webhook.retry_min_ms = 100;
	webhook_fixture_add(state->scratch.store, 1, state->url, 3);
	add_secret(state, 1, secrets);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 5);
	for (unsigned i = 0; i < 5; i++) {
		const struct http_sink_note *note = &state->sink.notes[i];
		char expect[SIGNATURE_SIZE];

		assert_int_equal(signature_make(secrets, note->id,
		    strtoll(note->timestamp, NULL, 10), note->body,
		    strlen(note->body), expect), 0);
		assert_string_equal(note->signature, expect);
	}
}

/* What can't be signed is not sent: it waits, and holds up nobody else. */
static void
test_unsignable(void **arg)
{
	struct state *state = *arg;

	webhook_fixture_add(state->scratch.store, 1, state->url, 1);
	add_secret(state, 1, "whsec_short");
	webhook_fixture_add(state->scratch.store, 2, state->url, 1);
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(count_retries(state), 1);
	assert_int_equal(state->sink.count, 1);
	assert_string_equal(state->sink.notes[0].id, "evt_1720012345.2_1");
}

static void
test_retry(void **arg)
{
	struct state *state = *arg;
	const struct http_sink_note *tries[8];
	unsigned count = 0;

	state->sink.decide = fail_second_twice;
	state->config.webhook.retry_min_ms = 100;
	webhook_fixture_add(state->scratch.store, 1, state->url, 4);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 6);
	for (unsigned i = 0; i < 6; i++) {
		if (state->sink.notes[i].sequence == 2)
			tries[count++] = &state->sink.notes[i];
	}
	assert_int_equal(count, 3);
	for (unsigned i = 1; i < 3; i++) {
		/* the same event, whatever the try */
		assert_string_equal(tries[i]->id, tries[0]->id);
		assert_string_equal(tries[i]->body, tries[0]->body);
	}
	/* each waited its back-off at least, the second time twice as long */
	assert_true(tries[1]->at_us - tries[0]->at_us >= 80000);
	assert_true(tries[2]->at_us - tries[1]->at_us >= 160000);
}

static struct http_sink_plan
say_number(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	unsigned number = 0;

	(void)sink;
	(void)arg;
	(void)sscanf(note->call, "1720012345.%u", &number);
	return (struct http_sink_plan){ .status = number };
}

static uint64_t
tries_that_ended(unsigned result)
{
	return atomic_load(&stats_row()->cells[
	    stats_cell(STATS_deliveries, result, 0)]);
}

static void
test_what_counts_as_taken(void **arg)
{
	static const struct {
		unsigned status;
		bool taken;
	} cases[] = {
		{ 200, true }, { 201, true }, { 202, true }, { 204, true },
		{ 299, true }, { 300, false }, { 301, false },
		{ 302, false }, { 304, false }, { 307, false },
		{ 400, false }, { 401, false }, { 404, false },
		{ 410, false }, { 429, false }, { 500, false },
		{ 503, false },
	};
	const size_t count = sizeof(cases) / sizeof(cases[0]);
	static const struct {
		enum stats_delivery_result result;
		unsigned count;
	} wanted[] = {
		{ STATS_DELIVERY_2XX, 5 }, { STATS_DELIVERY_3XX, 5 },
		{ STATS_DELIVERY_4XX, 5 }, { STATS_DELIVERY_5XX, 2 },
		{ STATS_DELIVERY_TIMEOUT, 0 }, { STATS_DELIVERY_OTHER, 0 },
	};
	uint64_t before[STATS_DELIVERY_RESULTS];
	struct state *state = *arg;
	unsigned failed = 0;

	for (unsigned i = 0; i < STATS_DELIVERY_RESULTS; i++)
		before[i] = tries_that_ended(i);
	state->sink.decide = say_number;
	for (size_t i = 0; i < count; i++) {
		webhook_fixture_add(state->scratch.store, cases[i].status,
		    state->url, 1);
		failed += !cases[i].taken;
	}
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(state->sink.count, count);
	assert_int_equal(count_retries(state), failed);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		assert_int_equal(tries_that_ended(wanted[i].result) -
		    before[wanted[i].result], wanted[i].count);
}

/* What a failure leaves in the store. */
static void
test_schedule(void **arg)
{
	struct state *state = *arg;
	struct webhook_event event;
	struct store_txn *txn;
	int64_t due_ms;
	int64_t next_ms;
	uint64_t length;

	state->sink.decide = say_number;
	webhook_fixture_add(state->scratch.store, 503, state->url, 1);
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(store_begin_read(state->scratch.store, &txn), 0);
	assert_int_equal(webhook_queue_peek_due(txn, INT64_MAX, &event,
	    &due_ms, 1, &next_ms), 1);
	store_end_read(&txn);
	assert_int_equal(event.tries, 1);
	/* from now on, for the try is over */
	assert_true(due_ms <= clock_deadline_ms() + LONG_MS * 6 / 5);
	assert_true(due_ms > clock_deadline_ms() + LONG_MS * 4 / 5 -
	    GIVE_UP_US / 1000);
	assert_int_equal(sender_queue_length(state->sender, &length), 0);
	assert_int_equal(length, 1);
}

static struct http_sink_plan
say_nothing(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)sink;
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = HTTP_SINK_NEVER };
}

static struct http_sink_plan
say_nothing_at_first(struct http_sink *sink,
    const struct http_sink_note *note, void *arg)
{
	(void)arg;
	return (struct http_sink_plan){
		.status = http_sink_count(sink, note->id) < 2 ?
		    HTTP_SINK_NEVER : 200 };
}

/* Each try of a call's first attempts takes its full time, in order. */
static void
test_silence(void **arg)
{
	struct state *state = *arg;
	const struct http_sink_note *notes[16];
	char call[CALL_ID_SIZE];

	state->sink.decide = say_nothing_at_first;
	state->config.webhook.timeout_ms = SHORT_MS;
	state->config.webhook.retry_min_ms = 10;
	webhook_fixture_add(state->scratch.store, 1, state->url, 3);
	open_sender(state);
	run_until(state, all_gone);
	webhook_fixture_id(1, call);
	assert_true(notes_of(&state->sink, call, notes, 16) >= 6);
	assert_int_equal(notes[0]->sequence, 1);
	for (unsigned sequence = 1; sequence <= 3; sequence++) {
		unsigned i = 0;

		while (notes[i]->sequence != sequence)
			i++;
		/* no first attempt before the one before had its time */
		if (sequence > 1)
			assert_true(notes[i]->at_us - notes[0]->at_us >=
			    SHORT_MS * 1000 * (sequence - 1) - 5000);
	}
}

/* A target that never answers soon has no more than an eighth at once. */
static void
test_silence_costs_room(void **arg)
{
	struct state *state = *arg;

	state->sink.decide = say_nothing;
	state->config.webhook.per_host = 16;
	state->config.webhook.timeout_ms = SHORT_MS;
	for (unsigned i = 0; i < 44; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 1);
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(state->sink.count, 44);
	/* two at a time, each for its time: ten times that; less for slack */
	assert_true(state->sink.notes[43].at_us -
	    state->sink.notes[23].at_us >= 6LL * SHORT_MS * 1000);
}

static bool
other_has_all(struct state *state)
{
	return state->other.count >= 200;
}

/*
 * A target that takes connections and never says a word has a backlog of
 * many times what fits into the window, ahead of everybody else's events.
 */
static void
test_deaf_target(void **arg)
{
	struct state *state = *arg;
	uint16_t port;
	const int fd = http_sink_dead_port(64, &port);
	char url[64];

	state->config.webhook.concurrency = 8;
	state->config.webhook.per_host = 4;
	state->config.webhook.timeout_ms = 1000;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	for (unsigned i = 0; i < 100; i++)
		webhook_fixture_add(state->scratch.store, i, url, 6);
	for (unsigned i = 100; i < 150; i++)
		webhook_fixture_add(state->scratch.store, i, state->other_url,
		    4);
	open_sender(state);
	/* behind it, at four a second, this would never come true */
	run_until(state, other_has_all);
	for (unsigned i = 100; i < 150; i++)
		check_call_order(&state->other, i, 4);
	(void)close(fd);
}

/* A port that refuses: every event moves on to its schedule at once. */
static void
test_refusing_target(void **arg)
{
	struct state *state = *arg;
	uint16_t port;
	const int fd = http_sink_dead_port(0, &port);
	char url[64];

	state->config.webhook.concurrency = 8;
	state->config.webhook.per_host = 4;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	for (unsigned i = 0; i < 50; i++)
		webhook_fixture_add(state->scratch.store, i, url, 6);
	webhook_fixture_add(state->scratch.store, 50, state->url, 6);
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(count_retries(state), 300);
	assert_int_equal(state->sink.count, 6);
	(void)close(fd);
}

static struct http_sink_plan
say_slowly(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)sink;
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = 200, .wait_ms = 50 };
}

/* As slow as can be, and with events between those of the other one. */
static void
test_slow_and_fast(void **arg)
{
	struct state *state = *arg;

	state->config.webhook.concurrency = 16;
	state->config.webhook.per_host = 4;
	state->sink.decide = say_nothing;
	for (unsigned i = 0; i < 100; i++) {
		webhook_fixture_add(state->scratch.store, 2 * i, state->url,
		    2);
		webhook_fixture_add(state->scratch.store, 2 * i + 1,
		    state->other_url, 2);
	}
	open_sender(state);
	run_until(state, other_has_all);
	assert_int_equal(state->other.count, 200);
	assert_int_equal(state->sink.count, 4);
	for (unsigned i = 0; i < 100; i++)
		check_call_order(&state->other, 2 * i + 1, 2);
}

/* Many times what the window holds, for one target. */
static void
test_long_queue(void **arg)
{
	struct state *state = *arg;

	state->config.webhook.concurrency = 4;
	state->config.webhook.per_host = 3;
	for (unsigned i = 0; i < 300; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 3);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 900);
	assert_true(state->sink.open_max <= 3);
	for (unsigned i = 0; i < 300; i++)
		check_call_order(&state->sink, i, 3);
}

static bool
other_has_fifty(struct state *state)
{
	return state->other.count >= 50;
}

/*
 * The last events that a target left behind stand beyond a thousand of
 * another's, which stay where they are.
 */
static void
test_long_way_to_the_rest(void **arg)
{
	struct state *state = *arg;

	state->config.webhook.concurrency = 16;
	state->config.webhook.per_host = 4;
	state->sink.decide = say_nothing;
	for (unsigned i = 0; i < 40; i++)
		webhook_fixture_add(state->scratch.store, i, state->other_url,
		    1);
	for (unsigned i = 100; i < 300; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 5);
	for (unsigned i = 40; i < 50; i++)
		webhook_fixture_add(state->scratch.store, i, state->other_url,
		    1);
	open_sender(state);
	run_until(state, other_has_fifty);
	assert_int_equal(state->other.count, 50);
}

static struct http_sink_plan
say_first_at_once(struct http_sink *sink, const struct http_sink_note *note,
    void *arg)
{
	(void)note;
	(void)arg;
	return (struct http_sink_plan){ .status = 200,
		.wait_ms = sink->count == 1 ? 0 : 200 };
}

static bool
one_answered(struct state *state)
{
	return state->sink.count > 0 && state->sink.notes[0].answered_us > 0 &&
	    webhook_fixture_count(state->scratch.store, STORE_CALLS) == 19;
}

/*
 * The first event of the last call was left behind; the second comes when
 * its target has a little room again, and must not overtake it.
 */
static void
test_late_event_of_one_left(void **arg)
{
	struct state *state = *arg;
	struct webhook_event event = { .kind = CALL_EV_RINGING,
		.at_ms = WEBHOOK_FIXTURE_AT_MS };
	struct store_txn *txn;

	state->config.webhook.concurrency = 8;
	state->config.webhook.per_host = 4;
	state->sink.decide = say_first_at_once;
	for (unsigned i = 0; i < 20; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 1);
	open_sender(state);
	run_until(state, one_answered);
	event.call = webhook_fixture_call(19);
	event.call.refs = 2;
	event.call.sequence = 2;
	assert_int_equal(store_begin_write(state->scratch.store, &txn), 0);
	assert_int_equal(store_put(txn, STORE_CALLS, event.call.id,
	    strlen(event.call.id), &event.call, sizeof(event.call)), 0);
	assert_int_equal(webhook_queue_append(txn, &event,
	    NULL), 0);
	assert_int_equal(store_commit(&txn), 0);
	sender_wake(state->sender);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 21);
	check_call_order(&state->sink, 19, 2);
}

/* Move every new event to the retries, due long ago, in order. */
static void
make_overdue(struct state *state)
{
	struct webhook_event events[64];
	struct store_txn *txn;
	int count;

	assert_int_equal(store_begin_write(state->scratch.store, &txn), 0);
	while ((count = webhook_queue_peek_new(txn, 0, events, 64)) > 0) {
		for (int i = 0; i < count; i++)
			assert_int_equal(webhook_queue_postpone(txn,
			    &events[i], 0, (int64_t)events[i].number), 0);
	}
	assert_int_equal(store_commit(&txn), 0);
}

static bool
other_has_its_five(struct state *state)
{
	return state->other.count >= 5;
}

/* Hundreds of overdue retries of a deaf target stand before five others. */
static void
test_overdue_retries(void **arg)
{
	struct state *state = *arg;
	uint16_t port;
	const int fd = http_sink_dead_port(64, &port);
	char url[64];

	state->config.webhook.concurrency = 8;
	state->config.webhook.per_host = 4;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	for (unsigned i = 0; i < 100; i++)
		webhook_fixture_add(state->scratch.store, i, url, 6);
	webhook_fixture_add(state->scratch.store, 100, state->other_url, 5);
	make_overdue(state);
	open_sender(state);
	run_until(state, other_has_its_five);
	/* none is lost, and none of those that waited counts as tried */
	assert_true(count_retries(state) >= 600);
	(void)close(fd);
}

/* Many overdue retries of a target that is well again. */
static void
test_retries_drain(void **arg)
{
	struct state *state = *arg;

	state->config.webhook.concurrency = 8;
	state->config.webhook.per_host = 4;
	state->config.webhook.retry_min_ms = 10;
	for (unsigned i = 0; i < 60; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 5);
	make_overdue(state);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 300);
}

/* Nothing can be sent for these; they must not stay for ever. */
static void
test_unsendable(void **arg)
{
	struct state *state = *arg;
	struct store_txn *txn;
	char call[CALL_ID_SIZE];

	webhook_fixture_add(state->scratch.store, 1, "", 3);
	webhook_fixture_add(state->scratch.store, 2, state->url, 2);
	webhook_fixture_add(state->scratch.store, 3, state->url, 2);
	webhook_fixture_id(2, call);
	assert_int_equal(store_begin_write(state->scratch.store, &txn), 0);
	assert_int_equal(call_cold_del(txn, call), 0);
	assert_int_equal(store_commit(&txn), 0);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 2);
	assert_string_equal(state->sink.notes[0].call, "1720012345.3");
}

static void
test_guard(void **arg)
{
	struct state *state = *arg;

	state->config.webhook.allow_loopback = false;
	state->config.webhook.allow_private = true;
	webhook_fixture_add(state->scratch.store, 1, state->url, 3);
	webhook_fixture_add(state->scratch.store, 2, "http://localhost:9/", 3);
	open_sender(state);
	run_until(state, none_new);
	assert_int_equal(count_retries(state), 6);
	assert_int_equal(state->sink.connections, 0);
}

static bool
some_open(struct state *state)
{
	return state->sink.open >= 4;
}

static bool
is_drained(struct state *state)
{
	return state->drained;
}

static void
on_drained(void *arg)
{
	struct state *state = arg;

	assert_false(state->drained);
	state->drained = true;
}

static void
test_drain(void **arg)
{
	struct state *state = *arg;
	unsigned at_drain;

	state->config.webhook.concurrency = 4;
	state->config.webhook.per_host = 4;
	state->sink.decide = say_slowly;
	for (unsigned i = 0; i < 30; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 2);
	open_sender(state);
	run_until(state, some_open);
	at_drain = state->sink.count;
	sender_drain(state->sender, on_drained, state);
	assert_false(state->drained);
	run_until(state, is_drained);
	/* what was under way was answered and stored, no other was begun */
	assert_int_equal(state->sink.count, at_drain);
	assert_int_equal(state->sink.open, 0);
	assert_int_equal(webhook_fixture_count(state->scratch.store,
	    STORE_WEBHOOKS), 60 - at_drain);
	/* the next one goes on with the rest */
	close_sender(state);
	open_sender(state);
	run_until(state, all_gone);
	assert_int_equal(state->sink.count, 60);
}

static void
test_drain_when_idle(void **arg)
{
	struct state *state = *arg;

	open_sender(state);
	sender_drain(state->sender, on_drained, state);
	assert_false(state->drained);
	run_until(state, is_drained);
}

/* Broken off in the middle: the next one sends the rest, and some again. */
static void
test_break_off(void **arg)
{
	struct state *state = *arg;
	unsigned breaks = 0;

	state->config.webhook.concurrency = 4;
	state->config.webhook.per_host = 4;
	state->sink.decide = say_soon;
	for (unsigned i = 0; i < 30; i++)
		webhook_fixture_add(state->scratch.store, i, state->url, 4);
	open_sender(state);
	while (!all_gone(state) && breaks < 1000) {
		const unsigned goal = state->sink.count + 9;

		while (state->sink.count < goal && !all_gone(state))
			(void)event_base_loop(state->base, EVLOOP_ONCE);
		if (breaks++ < 10) {
			close_sender(state);
			open_sender(state);
		}
	}
	for (unsigned i = 0; i < 30; i++) {
		for (unsigned sequence = 1; sequence <= 4; sequence++) {
			char id[64];

			(void)snprintf(id, sizeof(id),
			    "evt_1720012345.%u_%u", i, sequence);
			assert_true(http_sink_count(&state->sink, id) >= 1);
		}
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_in_order),
		TEST(test_request),
		TEST(test_detail),
		TEST(test_wake),
		TEST(test_retry_holds_up_nothing),
		TEST(test_signed),
		TEST(test_unsignable),
		TEST(test_retry),
		TEST(test_what_counts_as_taken),
		TEST(test_schedule),
		TEST(test_silence),
		TEST(test_silence_costs_room),
		TEST(test_deaf_target),
		TEST(test_refusing_target),
		TEST(test_slow_and_fast),
		TEST(test_long_queue),
		TEST(test_long_way_to_the_rest),
		TEST(test_late_event_of_one_left),
		TEST(test_overdue_retries),
		TEST(test_retries_drain),
		TEST(test_unsendable),
		TEST(test_guard),
		TEST(test_drain),
		TEST(test_drain_when_idle),
		TEST(test_break_off),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
