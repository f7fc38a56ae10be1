/*
 * The queue's two tables and its details, in a real store.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "tests/unit/webhook_fixture.h"

#include <cmocka.h>

#define URL "https://example.com/hook"
#define MAX 64

static struct webhook_store fixture;

static int
set_up(void **state)
{
	(void)state;
	webhook_store_open(&fixture);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	webhook_store_close(&fixture);
	return 0;
}

static int
peek_new(uint64_t after, struct webhook_event *events, unsigned max)
{
	struct store_txn *txn;
	int count;

	assert_int_equal(store_begin_read(fixture.store, &txn), 0);
	count = webhook_queue_peek_new(txn, after, events, max);
	store_end_read(&txn);
	return count;
}

static int
peek_due(int64_t now_ms, struct webhook_event *events, int64_t *due_ms,
    unsigned max, int64_t *next_out)
{
	struct store_txn *txn;
	int count;

	assert_int_equal(store_begin_read(fixture.store, &txn), 0);
	count = webhook_queue_peek_due(txn, now_ms, events, due_ms, max,
	    next_out);
	store_end_read(&txn);
	return count;
}

static void
postpone(const struct webhook_event *event, int64_t due_ms, int64_t next_ms)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(webhook_queue_postpone(txn, event, due_ms, next_ms),
	    0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
remove_event(const struct webhook_event *event, int64_t due_ms)
{
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(webhook_queue_remove(txn, event, due_ms), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
test_names(void **state)
{
	static const char *const names[CALL_EV_COUNT] = {
		[CALL_EV_INITIATED] = "call.initiated",
		[CALL_EV_RINGING] = "call.ringing",
		[CALL_EV_ANSWERED] = "call.answered",
		[CALL_EV_ENDED] = "call.ended",
		[CALL_EV_RECORDING_STARTED] = "recording.started",
		[CALL_EV_RECORDING_COMPLETED] = "recording.completed",
		[CALL_EV_REROUTED] = "call.rerouted",
		[CALL_EV_AMD_RESULT] = "amd.result",
		[CALL_EV_DTMF] = "dtmf.received",
		[CALL_EV_GATHER_STARTED] = "gather.started",
		[CALL_EV_GATHER_PROGRESS] = "gather.progress",
		[CALL_EV_GATHER_COMPLETE] = "gather.complete",
		[CALL_EV_GATHER_TIMEOUT] = "gather.timeout",
		[CALL_EV_TTS_PLAYED] = "tts.played",
		[CALL_EV_PLAYBACK_FINISHED] = "playback.finished",
		[CALL_EV_PLAYBACK_FAILED] = "playback.failed",
		[CALL_EV_TRANSFERRED] = "call.transferred",
		[CALL_EV_TRANSFER_FAILED] = "call.transfer_failed",
		[CALL_EV_RECORDING_STOPPED] = "recording.stopped",
	};

	(void)state;
	for (enum call_event_kind i = 0; i < CALL_EV_COUNT; i++)
		assert_string_equal(webhook_event_name(i), names[i]);
	assert_string_equal(webhook_event_name(CALL_EV_COUNT), "unknown");
}

/* The longest id there can be fits, whole. */
static void
test_event_id(void **state)
{
	struct webhook_event event = { .call.sequence = UINT32_MAX };
	char id[WEBHOOK_EVENT_ID_SIZE];

	(void)state;
	memset(event.call.id, '9', CALL_ID_SIZE - 1);
	webhook_event_id(&event, id);
	assert_int_equal(strlen(id), 4 + CALL_ID_SIZE - 1 + 1 + 10);
	webhook_fixture_id(88, event.call.id);
	event.call.sequence = 3;
	webhook_event_id(&event, id);
	assert_string_equal(id, "evt_1720012345.88_3");
}

static void
test_new_in_order(void **state)
{
	struct webhook_event events[MAX];
	uint64_t last;

	(void)state;
	assert_int_equal(peek_new(0, events, MAX), 0);
	webhook_fixture_add(fixture.store, 1, URL, 3);
	webhook_fixture_add(fixture.store, 2, URL, 4);
	assert_int_equal(peek_new(0, events, MAX), 7);
	for (unsigned i = 0; i < 7; i++) {
		assert_int_equal(events[i].version, WEBHOOK_EVENT_VERSION);
		assert_int_equal(events[i].tries, 0);
		assert_true(events[i].queued_ms > 0);
		if (i > 0)
			assert_true(events[i].number > events[i - 1].number);
		assert_int_equal(events[i].call.sequence,
		    i < 3 ? i + 1 : i - 2);
		assert_string_equal(events[i].call.number, "14155550100");
	}
	last = events[6].number;
	/* in pages, and from behind a number */
	assert_int_equal(peek_new(0, events, 2), 2);
	assert_int_equal(peek_new(events[1].number, events, 2), 2);
	assert_int_equal(events[0].call.sequence, 3);
	assert_int_equal(peek_new(last, events, MAX), 0);
	assert_int_equal(peek_new(last + 1000, events, MAX), 0);
}

/* The call's records stay until the last of its events is gone. */
static void
test_remove(void **state)
{
	struct webhook_event events[MAX];

	(void)state;
	webhook_fixture_add(fixture.store, 1, URL, 2);
	assert_int_equal(peek_new(0, events, MAX), 2);
	remove_event(&events[0], 0);
	/* one that is gone drops no second reference */
	remove_event(&events[0], 0);
	remove_event(&events[0], 12345);
	assert_int_equal(webhook_fixture_count(fixture.store, STORE_CALLS),
	    1);
	assert_int_equal(webhook_fixture_count(fixture.store,
	    STORE_CALL_COLD), 1);
	remove_event(&events[1], 0);
	assert_int_equal(webhook_fixture_left(fixture.store), 0);
	remove_event(&events[1], 0);
}

static void
test_postpone(void **state)
{
	struct webhook_event events[MAX];
	struct webhook_event due[MAX];
	int64_t due_ms[MAX];
	int64_t next_ms = -1;

	(void)state;
	webhook_fixture_add(fixture.store, 1, URL, 3);
	assert_int_equal(peek_new(0, events, MAX), 3);
	postpone(&events[1], 0, 2000);
	postpone(&events[0], 0, 5000);
	postpone(&events[0], 0, 9000); /* not there any more: nothing */
	assert_int_equal(peek_new(0, due, MAX), 1);

	assert_int_equal(peek_due(1999, due, due_ms, MAX, &next_ms), 0);
	assert_int_equal(next_ms, 2000);
	assert_int_equal(peek_due(2000, due, due_ms, MAX, &next_ms), 1);
	assert_int_equal(next_ms, 5000);
	assert_int_equal(due_ms[0], 2000);
	assert_int_equal(due[0].number, events[1].number);
	assert_int_equal(due[0].tries, 1);
	assert_int_equal(peek_due(9999, due, due_ms, MAX, &next_ms), 2);
	assert_int_equal(next_ms, 0);
	assert_int_equal(due[1].number, events[0].number);
	/* a page that is full tells that there is more */
	assert_int_equal(peek_due(9999, due, due_ms, 1, &next_ms), 1);
	assert_int_equal(next_ms, 5000);

	postpone(&due[0], 2000, 7000);
	assert_int_equal(peek_due(9999, due, due_ms, MAX, &next_ms), 2);
	assert_int_equal(due[1].tries, 2);
	assert_int_equal(due_ms[1], 7000);
	remove_event(&due[0], due_ms[0]);
	remove_event(&due[1], due_ms[1]);
	remove_event(&events[2], 0);
	assert_int_equal(webhook_fixture_left(fixture.store), 0);
}

static void
test_defer(void **state)
{
	struct webhook_event events[MAX];
	int64_t due_ms[MAX];
	int64_t next_ms;
	struct store_txn *txn;

	(void)state;
	webhook_fixture_add(fixture.store, 1, URL, 1);
	assert_int_equal(peek_new(0, events, MAX), 1);
	postpone(&events[0], 0, 2000);
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(webhook_queue_defer(txn, &events[0], 2000, 3000), 0);
	assert_int_equal(webhook_queue_defer(txn, &events[0], 2000, 4000), 0);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(peek_due(9999, events, due_ms, MAX, &next_ms), 1);
	assert_int_equal(due_ms[0], 3000);
	assert_int_equal(events[0].tries, 1);
}

/* Two that are due in the same millisecond are two. */
static void
test_same_deadline(void **state)
{
	struct webhook_event events[MAX];
	int64_t due_ms[MAX];
	int64_t next_ms;

	(void)state;
	webhook_fixture_add(fixture.store, 1, URL, 2);
	assert_int_equal(peek_new(0, events, MAX), 2);
	postpone(&events[0], 0, 2000);
	postpone(&events[1], 0, 2000);
	assert_int_equal(peek_due(2000, events, due_ms, MAX, &next_ms), 2);
	assert_int_equal(events[0].call.sequence, 1);
	assert_int_equal(events[1].call.sequence, 2);
}

/* An event that an older or a newer program wrote. */
static void
test_record_sizes(void **state)
{
	struct webhook_event event = { .version = 1, .number = 5,
		.call = webhook_fixture_call(1) };
	struct {
		struct webhook_event event;
		char tail[40];
	} longer = { .event = event };
	struct webhook_event out[2];
	uint8_t key[8];
	struct store_txn *txn;

	(void)state;
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	store_put_be64(key, 5);
	assert_int_equal(store_put(txn, STORE_WEBHOOKS, key, sizeof(key),
	    &event, offsetof(struct webhook_event, call.caller_id)), 0);
	store_put_be64(key, 6);
	longer.event.number = 6;
	assert_int_equal(store_put(txn, STORE_WEBHOOKS, key, sizeof(key),
	    &longer, sizeof(longer)), 0);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(peek_new(0, out, 2), 2);
	assert_string_equal(out[0].call.number, "14155550100");
	assert_string_equal(out[0].call.caller_id, "");
	assert_string_equal(out[1].call.caller_id, "19172452367");
}

/* ---- details ---- */

static struct webhook_event
append_detailed(const struct call_event_detail *detail)
{
	struct webhook_event event = { .kind = CALL_EV_TTS_PLAYED,
		.call = webhook_fixture_call(1) };
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(webhook_queue_append(txn, &event, detail), 0);
	assert_int_equal(store_commit(&txn), 0);
	return event;
}

static struct call_event_detail
get_detail(uint64_t number)
{
	struct call_event_detail detail;
	struct store_txn *txn;

	/* whatever was there before is no part of the answer */
	memset(&detail, 0x5a, sizeof(detail));
	assert_int_equal(store_begin_read(fixture.store, &txn), 0);
	assert_int_equal(webhook_queue_get_detail(txn, number, &detail), 0);
	store_end_read(&txn);
	return detail;
}

static size_t
detail_len(uint64_t number)
{
	struct store_value value;
	struct store_txn *txn;
	uint8_t key[8];

	store_put_be64(key, number);
	assert_int_equal(store_begin_read(fixture.store, &txn), 0);
	assert_int_equal(store_get(txn, STORE_WEBHOOK_DETAILS, key,
	    sizeof(key), &value), 0);
	store_end_read(&txn);
	return value.len;
}

/* The text is the last member, and only what there is of it is written. */
static void
test_detail(void **state)
{
	static const size_t lengths[] = { 0, 1, 17, CALL_PLAY_TEXT_SIZE - 1 };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct call_event_detail detail = {
			.version = CALL_EVENT_DETAIL_VERSION,
			.gather_end = CALL_GATHER_TIMED_OUT,
			.expected = CALL_DIGITS_MAX,
			.digit = '#',
			.digit_ms = 100,
			.cause = 34,
			.play = { .kind = CALL_PLAY_SPEECH, .ms = INT64_MAX },
			.digits = "12",
			.other_id = "1720012345.89",
		};
		struct call_event_detail found;
		struct webhook_event event;

		memset(detail.text, 'x', lengths[i]);
		event = append_detailed(&detail);
		assert_int_equal(detail_len(event.number),
		    offsetof(struct call_event_detail, text) + lengths[i] + 1);
		found = get_detail(event.number);
		assert_memory_equal(&found, &detail, sizeof(found));
	}
}

/* An event without one has zeroes, and no record. */
static void
test_no_detail(void **state)
{
	const struct call_event_detail nothing = { 0 };
	const struct webhook_event event = append_detailed(NULL);
	const struct call_event_detail found = get_detail(event.number);

	(void)state;
	assert_memory_equal(&found, &nothing, sizeof(found));
	assert_int_equal(webhook_fixture_count(fixture.store,
	    STORE_WEBHOOK_DETAILS), 0);
}

/* It stays while the event is put off, and goes with it. */
static void
test_detail_life(void **state)
{
	const struct call_event_detail detail = { .digit = '7',
		.text = "hello" };
	const struct webhook_event first = append_detailed(&detail);
	const struct webhook_event second = append_detailed(&detail);
	struct store_txn *txn;

	(void)state;
	postpone(&first, 0, 2000);
	assert_string_equal(get_detail(first.number).text, "hello");
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(webhook_queue_defer(txn, &first, 2000, 3000), 0);
	assert_int_equal(store_commit(&txn), 0);
	assert_int_equal(get_detail(first.number).digit, '7');
	/* not where it is any more: neither it nor its detail goes */
	remove_event(&first, 0);
	remove_event(&first, 2000);
	assert_string_equal(get_detail(first.number).text, "hello");
	remove_event(&first, 3000);
	assert_string_equal(get_detail(first.number).text, "");
	/* another's is none of its business */
	assert_string_equal(get_detail(second.number).text, "hello");
	remove_event(&second, 0);
	assert_int_equal(webhook_fixture_count(fixture.store,
	    STORE_WEBHOOK_DETAILS), 0);
}

/* As another program's `fixed` bytes before the text would lie there. */
static void
put_foreign_detail(uint64_t number, uint16_t text_at, size_t fixed,
    const char *text)
{
	const struct call_event_detail detail = {
		.version = CALL_EVENT_DETAIL_VERSION, .digit = '7',
		.cause = 34 };
	uint8_t record[2 * sizeof(detail)];
	struct store_txn *txn;
	uint8_t key[8];

	memset(record, 'y', sizeof(record));
	memcpy(record, &detail, fixed < sizeof(detail) ? fixed :
	    offsetof(struct call_event_detail, text));
	memcpy(record + offsetof(struct call_event_detail, text_at), &text_at,
	    sizeof(text_at));
	memcpy(record + fixed, text, strlen(text) + 1);
	store_put_be64(key, number);
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(store_put(txn, STORE_WEBHOOK_DETAILS, key,
	    sizeof(key), record, fixed + strlen(text) + 1), 0);
	assert_int_equal(store_commit(&txn), 0);
}

/* What grew before the text since; what is damaged has no detail. */
static void
test_detail_of_another_version(void **state)
{
	const size_t ours = offsetof(struct call_event_detail, text);
	const size_t older = offsetof(struct call_event_detail, cause);
	char long_text[CALL_PLAY_TEXT_SIZE + 20];
	struct call_event_detail found;

	(void)state;
	put_foreign_detail(5, (uint16_t)older, older, "hello");
	found = get_detail(5);
	assert_int_equal(found.digit, '7');
	assert_int_equal(found.cause, 0);
	assert_string_equal(found.text, "hello");
	put_foreign_detail(6, (uint16_t)(ours + 16), ours + 16, "hello");
	found = get_detail(6);
	assert_int_equal(found.cause, 34);
	assert_string_equal(found.text, "hello");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	put_foreign_detail(7, (uint16_t)ours, ours, long_text);
	assert_int_equal(strlen(get_detail(7).text), CALL_PLAY_TEXT_SIZE - 1);
	put_foreign_detail(8, UINT16_MAX, ours, "hello");
	assert_int_equal(get_detail(8).digit, 0);
	put_foreign_detail(9, 0, ours, "hello");
	assert_int_equal(get_detail(9).digit, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_event_id),
		TEST(test_new_in_order),
		TEST(test_remove),
		TEST(test_postpone),
		TEST(test_defer),
		TEST(test_same_deadline),
		TEST(test_record_sizes),
		TEST(test_detail),
		TEST(test_no_detail),
		TEST(test_detail_life),
		TEST(test_detail_of_another_version),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
