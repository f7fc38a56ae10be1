/*
 * From trunk to trunk: when a call goes on on the next one, and when not. The
 * stories are told by what each input makes of the call.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_machine.h"

#define WALL_MS 1720012345000LL
#define BOOT_MS 5000000LL
#define ALL 0xffU
#define TRUNK_MS 4000

static struct call
fresh_call(unsigned trunks)
{
	struct call call = {
		.trunk_count = (uint8_t)trunks,
		.ring_timeout_s = 30,
		.max_duration_s = 3600,
		.id = "1720012345.88001",
		.number = "14155550100",
	};

	return call;
}

/* Commands with their attempt, events with what they tell, timers. */
static void
describe_one(const struct call_effect *fx, char *word, size_t size)
{
	switch (fx->kind) {
	case CALL_FX_COMMAND:
		snprintf(word, size, "%s@%u",
		    call_command_name(fx->command), fx->attempt);
		break;
	case CALL_FX_EVENT:
		snprintf(word, size, fx->has_detail ? "*%d(%u,%u)" : "*%d",
		    (int)fx->event, fx->detail.attempt, fx->detail.cause);
		break;
	case CALL_FX_TIMER_SET:
		snprintf(word, size, "+t%d", (int)fx->timer);
		break;
	case CALL_FX_TIMER_CLEAR:
		snprintf(word, size, "-t%d", (int)fx->timer);
		break;
	default:
		snprintf(word, size, "fx%d", (int)fx->kind);
		break;
	}
}

static bool
has_effect(const struct call_effects *effects, const char *wanted)
{
	char word[48];

	for (unsigned i = 0; i < effects->count; i++) {
		describe_one(&effects->list[i], word, sizeof(word));
		if (strcmp(word, wanted) == 0)
			return true;
	}
	return false;
}

struct line {
	struct call_input input;
	uint32_t free;
	int rc;
	enum call_state state;
	unsigned attempt;
	const char *has[4];   /* effects that must be there */
	const char *lacks[4]; /* and those that must not */
};

struct story {
	const char *name;
	unsigned trunks;
	struct line lines[10];
	enum call_status status;
	enum call_end_reason reason;
	unsigned tried;
};

#define IN(k, ...) { .kind = CALL_IN_##k, .at_ms = WALL_MS, __VA_ARGS__ }
#define BORN { IN(CREATE), ALL, 0, CALL_QUEUED, 1, { "originate@0" }, { 0 } }
#define SEEN(n) { IN(SEEN, .attempt = (n)), ALL, 0, CALL_DIALING, n, \
	{ "-t0", "+t1" }, { 0 } }
#define TRUNK_TIMER IN(TIMER, .timer = CALL_TIMER_TRUNK)
#define INITIATED "*0"
#define ENDED "*3"

static const struct story stories[] = {
	{ "congestion, then an answer", 2, {
	    BORN,
	    { IN(SEEN, .attempt = 1), ALL, 0, CALL_DIALING, 1,
	        { INITIATED, "+t4" }, { 0 } },
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_QUEUED,
	        2, { "*6(1,34)", "-t4", "-t1", "originate@0" },
	        { ENDED, "fx5", "fx6" } },
	    { IN(SEEN, .attempt = 2), ALL, 0, CALL_DIALING, 2, { "+t1" },
	        { INITIATED, "+t4" } },
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, -KAP_STATE,
	        CALL_DIALING, 2, { 0 }, { 0 } },
	    { IN(UP, .attempt = 2), ALL, 0, CALL_ANSWERED, 2, { "fx4" },
	        { INITIATED } },
	    { IN(DESTROYED, .attempt = 2, .cause = 16), ALL, 0, CALL_ENDED,
	        2, { ENDED }, { 0 } },
	}, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP, 2 },
	{ "both congested", 2, {
	    BORN, SEEN(1),
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_QUEUED,
	        2, { "*6(1,34)" }, { ENDED } },
	    SEEN(2),
	    { IN(DESTROYED, .attempt = 2, .cause = 38), ALL, 0, CALL_ENDED,
	        2, { ENDED, "fx5" }, { "originate@0" } },
	}, CALL_STATUS_FAILED, CALL_END_CONGESTION, 2 },
	{ "one that is not free is passed over", 3, {
	    BORN, SEEN(1),
	    { IN(DESTROYED, .attempt = 1, .cause = 34), 4, 0, CALL_QUEUED,
	        3, { "*6(1,34)", "originate@0" }, { 0 } },
	    SEEN(3),
	    { IN(DESTROYED, .attempt = 3, .cause = 17), 2, 0, CALL_ENDED,
	        3, { ENDED }, { "originate@0" } },
	}, CALL_STATUS_BUSY, CALL_END_BUSY, 2 },
	{ "none is free", 3, {
	    BORN,
	    { IN(SEEN, .attempt = 1), 1, 0, CALL_DIALING, 1, { INITIATED },
	        { "+t4" } },
	    { IN(DESTROYED, .attempt = 1, .cause = 34), 1, 0, CALL_ENDED,
	        1, { ENDED }, { "originate@0" } },
	}, CALL_STATUS_FAILED, CALL_END_CONGESTION, 1 },
	{ "no sign in time", 2, {
	    BORN, SEEN(1),
	    { TRUNK_TIMER, ALL, 0, CALL_QUEUED, 2,
	        { "hangup@1", "*6(1,102)", "originate@0", "-t1" },
	        { ENDED } },
	    { IN(RINGING, .attempt = 1), ALL, -KAP_STATE, CALL_QUEUED, 2,
	        { 0 }, { 0 } },
	    { IN(UP, .attempt = 1), ALL, -KAP_STATE, CALL_QUEUED, 2,
	        { 0 }, { 0 } },
	    { IN(HANGUP_OK, .attempt = 1), ALL, -KAP_STATE, CALL_QUEUED, 2,
	        { 0 }, { 0 } },
	    { IN(UP, .attempt = 2), ALL, 0, CALL_ANSWERED, 2, { "fx4" },
	        { INITIATED } },
	    { IN(DESTROYED, .attempt = 2, .cause = 16), ALL, 0, CALL_ENDED,
	        2, { ENDED }, { 0 } },
	}, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP, 2 },
	{ "no sign in time, and none is free any more", 2, {
	    BORN, SEEN(1),
	    { TRUNK_TIMER, 1, 0, CALL_DIALING, 1, { "-t4" },
	        { "hangup@1", "hangup@0", "originate@0" } },
	    { IN(RINGING, .attempt = 1), 1, 0, CALL_RINGING, 1, { 0 },
	        { 0 } },
	    { IN(DESTROYED, .attempt = 1, .cause = 17), 1, 0, CALL_ENDED, 1,
	        { ENDED }, { 0 } },
	}, CALL_STATUS_BUSY, CALL_END_BUSY, 1 },
	{ "it rang: it is this carrier's call", 2, {
	    BORN, SEEN(1),
	    { IN(RINGING, .attempt = 1), ALL, 0, CALL_RINGING, 1, { "-t4" },
	        { 0 } },
	    { TRUNK_TIMER, ALL, -KAP_STATE, CALL_RINGING, 1, { 0 }, { 0 } },
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_ENDED,
	        1, { ENDED }, { "originate@0" } },
	}, CALL_STATUS_FAILED, CALL_END_CONGESTION, 1 },
	{ "progress is a sign, but no ringing", 2, {
	    BORN, SEEN(1),
	    { IN(PROGRESS, .attempt = 1), ALL, 0, CALL_DIALING, 1,
	        { "-t4" }, { 0 } },
	    { IN(PROGRESS, .attempt = 1), ALL, -KAP_STATE, CALL_DIALING, 1,
	        { 0 }, { 0 } },
	    { TRUNK_TIMER, ALL, -KAP_STATE, CALL_DIALING, 1, { 0 }, { 0 } },
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_QUEUED,
	        2, { "*6(1,34)" }, { ENDED } },
	    SEEN(2),
	    { IN(DESTROYED, .attempt = 2, .cause = 1), ALL, 0, CALL_ENDED, 2,
	        { ENDED }, { 0 } },
	}, CALL_STATUS_FAILED, CALL_END_INVALID_NUMBER, 2 },
	{ "progress before anything else", 2, {
	    BORN,
	    { IN(PROGRESS, .attempt = 1), ALL, 0, CALL_DIALING, 1,
	        { INITIATED }, { 0 } },
	    { TRUNK_TIMER, ALL, -KAP_STATE, CALL_DIALING, 1, { 0 }, { 0 } },
	    { IN(DESTROYED, .attempt = 1, .cause = 17), ALL, 0, CALL_ENDED,
	        1, { ENDED }, { 0 } },
	}, CALL_STATUS_BUSY, CALL_END_BUSY, 1 },
	{ "hung up by the client", 2, {
	    BORN, SEEN(1),
	    { IN(HANGUP), ALL, 0, CALL_DIALING, 1, { "hangup@0" }, { 0 } },
	    { TRUNK_TIMER, ALL, 0, CALL_DIALING, 1, { 0 },
	        { "originate@0" } },
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_ENDED,
	        1, { ENDED }, { "originate@0" } },
	}, CALL_STATUS_CANCELED, CALL_END_API_HANGUP, 1 },
	{ "hung up between two trunks", 2, {
	    BORN, SEEN(1),
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_QUEUED,
	        2, { "originate@0" }, { 0 } },
	    { IN(HANGUP), ALL, 0, CALL_QUEUED, 2, { "hangup@0" }, { 0 } },
	    { IN(ORIGINATE_REFUSED, .attempt = 2), ALL, 0, CALL_ENDED, 2,
	        { ENDED }, { "originate@0" } },
	}, CALL_STATUS_CANCELED, CALL_END_API_HANGUP, 2 },
	{ "refused at once, before anybody was told", 3, {
	    BORN,
	    { IN(ORIGINATE_REFUSED, .attempt = 1), 4, 0, CALL_QUEUED, 3,
	        { "originate@0", "-t0", "+t0" }, { "*6(1,0)", INITIATED } },
	    SEEN(3),
	    { IN(DESTROYED, .attempt = 3, .cause = 17), ALL, 0, CALL_ENDED,
	        3, { ENDED }, { 0 } },
	}, CALL_STATUS_BUSY, CALL_END_BUSY, 2 },
	{ "all refused at once: nobody is told", 2, {
	    BORN,
	    { IN(ORIGINATE_REFUSED, .attempt = 1), ALL, 0, CALL_QUEUED, 2,
	        { "originate@0" }, { 0 } },
	    { IN(ORIGINATE_REFUSED, .attempt = 2), ALL, 0, CALL_ENDED, 2,
	        { "fx5", "fx6" }, { ENDED } },
	}, CALL_STATUS_FAILED, CALL_END_NETWORK, 2 },
	{ "refused at once behind a carrier's refusal", 3, {
	    BORN, SEEN(1),
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_QUEUED,
	        2, { "*6(1,34)" }, { 0 } },
	    { IN(ORIGINATE_REFUSED, .attempt = 2), ALL, 0, CALL_QUEUED, 3,
	        { "*6(2,0)", "originate@0" }, { ENDED } },
	    { IN(ORIGINATE_REFUSED, .attempt = 3), ALL, 0, CALL_ENDED, 3,
	        { ENDED, "fx5", "fx6" }, { 0 } },
	}, CALL_STATUS_FAILED, CALL_END_CONGESTION, 3 },
	{ "gone before it was seen", 2, {
	    BORN,
	    { IN(DESTROYED, .attempt = 1, .cause = 41), ALL, 0, CALL_QUEUED,
	        2, { INITIATED, "*6(1,41)", "originate@0" }, { ENDED } },
	    SEEN(2),
	    { IN(DESTROYED, .attempt = 2, .cause = 17), ALL, 0, CALL_ENDED,
	        2, { ENDED }, { INITIATED } },
	}, CALL_STATUS_BUSY, CALL_END_BUSY, 2 },
	{ "no reply to the second originate", 2, {
	    BORN, SEEN(1),
	    { IN(DESTROYED, .attempt = 1, .cause = 34), ALL, 0, CALL_QUEUED,
	        2, { "+t0" }, { 0 } },
	    { IN(TIMER, .timer = CALL_TIMER_ORIGINATE), ALL, 0, CALL_QUEUED,
	        2, { "hangup@0" }, { 0 } },
	    { IN(ORIGINATE_REFUSED, .attempt = 2), ALL, 0, CALL_ENDED, 2,
	        { ENDED }, { "originate@0" } },
	}, CALL_STATUS_FAILED, CALL_END_NETWORK, 2 },
};

static void
check_line(const struct story *story, const struct line *line,
    const struct call *after, const struct call_effects *effects, int rc)
{
	if (rc != line->rc || after->state != line->state ||
	    after->attempt != line->attempt)
		fail_msg("%s: %s: rc %d, %s, attempt %u", story->name,
		    call_input_name(line->input.kind), rc,
		    call_state_name((enum call_state)after->state),
		    after->attempt);
	for (int i = 0; i < 4 && line->has[i] != NULL; i++) {
		if (!has_effect(effects, line->has[i]))
			fail_msg("%s: %s: no %s", story->name,
			    call_input_name(line->input.kind), line->has[i]);
	}
	for (int i = 0; i < 4 && line->lacks[i] != NULL; i++) {
		if (has_effect(effects, line->lacks[i]))
			fail_msg("%s: %s: %s", story->name,
			    call_input_name(line->input.kind),
			    line->lacks[i]);
	}
}

static void
tell(const struct story *story)
{
	struct call call = fresh_call(story->trunks);
	enum call_outcome outcome = CALL_OUTCOME_OPEN;

	for (int i = 0; i == 0 || story->lines[i].input.kind != 0; i++) {
		const struct line *line = &story->lines[i];
		const struct call_now now = { .wall_ms = WALL_MS,
			.boot_ms = BOOT_MS, .originate_timeout_ms = 5000,
			.trunk_timeout_ms = TRUNK_MS,
			.trunks_free = line->free };
		struct call_effects effects;
		struct call after;
		const int rc = call_machine_step(&call, &line->input, &now,
		    &after, &effects);

		check_line(story, line, &after, &effects, rc);
		call = after;
		/* what /makecall has answered stays so */
		if (outcome == CALL_OUTCOME_MADE)
			assert_int_equal(call_outcome(&call), outcome);
		outcome = call_outcome(&call);
		if (call.state == CALL_QUEUED &&
		    (call.flags & CALL_F_INITIATED) != 0)
			assert_int_equal(call.status, CALL_STATUS_RINGING);
	}
	assert_int_equal(call.state, CALL_ENDED);
	assert_int_equal(call.status, story->status);
	assert_int_equal(call.end_reason, story->reason);
	assert_int_equal(call_trunks_tried(&call), story->tried);
	for (int i = 0; i < CALL_TIMER_SLOTS; i++)
		assert_int_equal(call.timers[i], 0);
}

static void
test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		tell(&stories[i]);
}

/* Each cause there is: those of the trunk go on, and no other. */
static void
test_causes(void **state)
{
	static const unsigned of_trunk[] = { 27, 34, 38, 41, 42, 44, 102 };

	(void)state;
	for (unsigned cause = 0; cause < 128; cause++) {
		const struct call_input gone = IN(DESTROYED, .attempt = 1,
		    .cause = cause);
		const struct call_now now = { .wall_ms = WALL_MS,
			.boot_ms = BOOT_MS, .trunks_free = ALL };
		struct call call = fresh_call(2);
		struct call_effects effects;
		struct call after;
		bool expected = false;

		for (size_t i = 0;
		     i < sizeof(of_trunk) / sizeof(of_trunk[0]); i++)
			expected = expected || of_trunk[i] == cause;
		call.state = CALL_DIALING;
		call.attempt = 1;
		call.flags = CALL_F_INITIATED | CALL_F_HELD |
		    CALL_F_CLOSE_TRUNK;
		assert_int_equal(call_machine_step(&call, &gone, &now, &after,
		    &effects), 0);
		assert_int_equal(after.state,
		    expected ? CALL_QUEUED : CALL_ENDED);
		assert_int_equal(call_end_is_of_trunk(cause, 0), expected);
		assert_int_equal(call_end_is_of_trunk(cause, 486), expected);
	}
}

/* A carrier's own failure, which Asterisk may call anything. */
static void
test_sip_codes(void **state)
{
	static const struct {
		unsigned code;
		bool of_trunk;
	} table[] = { { 0, false }, { 404, false }, { 480, false },
		{ 499, false }, { 500, true }, { 503, true }, { 580, true },
		{ 599, true }, { 600, false }, { 603, false } };

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct call_input gone = IN(DESTROYED, .attempt = 1,
		    .cause = 127, .sip_code = table[i].code);
		const struct call_now now = { .wall_ms = WALL_MS,
			.boot_ms = BOOT_MS, .trunks_free = ALL };
		struct call call = fresh_call(2);
		struct call_effects effects;
		struct call after;

		call.state = CALL_DIALING;
		call.attempt = 1;
		call.flags = CALL_F_INITIATED | CALL_F_HELD |
		    CALL_F_CLOSE_TRUNK;
		assert_int_equal(call_machine_step(&call, &gone, &now, &after,
		    &effects), 0);
		assert_int_equal(after.state,
		    table[i].of_trunk ? CALL_QUEUED : CALL_ENDED);
		assert_int_equal(after.sip_code, table[i].code);
		for (unsigned n = 0; n < effects.count; n++) {
			if (effects.list[n].kind == CALL_FX_EVENT &&
			    effects.list[n].event == CALL_EV_REROUTED)
				assert_int_equal(
				    effects.list[n].detail.sip_code,
				    table[i].code);
		}
	}
}

/*
 * Where a phone may have rung, no other trunk is dialled: behind progress that
 * lasted, and where events of the attempt were missed.
 */
static void
test_may_have_rung(void **state)
{
	static const struct {
		const char *name;
		uint32_t flags;
		int64_t dialled_before_ms;
		int64_t heard_before_ms;
		bool goes_on;
	} table[] = {
		{ "no sign", CALL_F_CLOSE_TRUNK, 30000, 60000, true },
		{ "progress a moment ago", 0, TRUNK_MS - 1, 60000, true },
		{ "progress for long", 0, TRUNK_MS, 60000, false },
		{ "events missed", CALL_F_CLOSE_TRUNK, 3000, 2999, false },
		{ "none missed", CALL_F_CLOSE_TRUNK, 3000, 3000, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct call_input gone = IN(DESTROYED, .attempt = 1,
		    .cause = 34,
		    .heard_since_ms = WALL_MS - table[i].heard_before_ms);
		const struct call_input timer = { .kind = CALL_IN_TIMER,
			.timer = CALL_TIMER_TRUNK, .at_ms = WALL_MS,
			.heard_since_ms = WALL_MS -
			    table[i].heard_before_ms };
		const struct call_now now = { .wall_ms = WALL_MS,
			.boot_ms = BOOT_MS, .trunks_free = ALL,
			.trunk_timeout_ms = TRUNK_MS };
		struct call call = fresh_call(2);
		struct call_effects effects;
		struct call after;

		call.state = CALL_DIALING;
		call.attempt = 1;
		call.flags = CALL_F_INITIATED | CALL_F_HELD | table[i].flags;
		call.dialled_ms = WALL_MS - table[i].dialled_before_ms;
		assert_int_equal(call_machine_step(&call, &gone, &now, &after,
		    &effects), 0);
		if ((after.state == CALL_QUEUED) != table[i].goes_on)
			fail_msg("%s", table[i].name);
		if (table[i].flags == 0)
			continue; /* a sign has cleared the timer */
		call.timers[CALL_TIMER_TRUNK] = BOOT_MS;
		assert_int_equal(call_machine_step(&call, &timer, &now,
		    &after, &effects), 0);
		assert_int_equal(after.timers[CALL_TIMER_TRUNK], 0);
		assert_int_equal(after.state, table[i].goes_on ? CALL_QUEUED :
		    CALL_DIALING);
		assert_int_equal(after.attempt, table[i].goes_on ? 2 : 1);
	}
}

/* Switched off, nothing is waited for; the causes count all the same. */
static void
test_no_timeout(void **state)
{
	const struct call_input seen = IN(SEEN, .attempt = 1);
	const struct call_now now = { .wall_ms = WALL_MS, .boot_ms = BOOT_MS,
		.trunks_free = ALL };
	struct call call = fresh_call(2);
	struct call_effects effects;
	struct call after;

	(void)state;
	call.state = CALL_QUEUED;
	call.attempt = 1;
	assert_int_equal(call_machine_step(&call, &seen, &now, &after,
	    &effects), 0);
	assert_int_equal(after.timers[CALL_TIMER_TRUNK], 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_causes),
		cmocka_unit_test(test_sip_codes),
		cmocka_unit_test(test_may_have_rung),
		cmocka_unit_test(test_no_timeout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
