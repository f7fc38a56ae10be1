/*
 * Answering machine detection in the call machine: stories from the answer to
 * the verdict, and that in all of them call.answered is told once, and a
 * verdict once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_machine.h"

#define WALL_MS 1720012345000LL
#define BOOT_MS 5000000LL

static const struct call_now now = { .wall_ms = WALL_MS,
	.boot_ms = BOOT_MS, .originate_timeout_ms = 5000,
	.amd_timeout_ms = 7000 };

/* What AMD has to do with, as a compact text; all else is left out. */
static void
describe(const struct call_effects *effects, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < effects->count; i++) {
		const struct call_effect *fx = &effects->list[i];
		const char *word = NULL;

		if (fx->kind == CALL_FX_COMMAND)
			word = call_command_name(fx->command);
		else if (fx->kind == CALL_FX_EVENT)
			word = fx->event == CALL_EV_ANSWERED ? "*answered" :
			    fx->event == CALL_EV_AMD_RESULT ? "*result" :
			    fx->event == CALL_EV_ENDED ? "*ended" : NULL;
		else if (fx->timer == CALL_TIMER_AMD)
			word = fx->kind == CALL_FX_TIMER_SET ? "+amd" : "-amd";
		if (word != NULL)
			len += (size_t)snprintf(out + len, size - len,
			    "%s%s", len > 0 ? " " : "", word);
	}
}

struct line {
	struct call_input input;
	int rc;
	const char *effects;
};

struct story {
	const char *name;
	uint32_t flags;
	struct line lines[8];
	enum call_amd amd;
	const char *cause;
	int64_t decided_ms; /* after WALL_MS; -1: never */
};

#define IN(k, at, ...) { .kind = CALL_IN_##k, .at_ms = WALL_MS + (at), \
	__VA_ARGS__ }
#define AMD CALL_F_USE_AMD
#define ASYNC (CALL_F_USE_AMD | CALL_F_ASYNC_AMD)
#define ANSWER { IN(UP, 1000, .attempt = 1), 0, \
	"+amd snoop bridge-create bridge-add" }
#define ASYNC_ANSWER { IN(UP, 1000, .attempt = 1), 0, \
	"+amd *answered snoop bridge-create bridge-add" }
#define START { IN(SNOOP_START, 1010), 0, "snoop-set snoop-continue" }
#define HUMAN IN(AMD, 2500, .amd = CALL_AMD_HUMAN, \
	.amd_cause = "HUMAN-760-750")
#define END(effects) { IN(DESTROYED, 4000, .attempt = 1, .cause = 16), 0, \
	effects }

static const struct story stories[] = {
	{ "not asked for", 0, {
	    { IN(UP, 1000, .attempt = 1), 0,
	        "*answered bridge-create bridge-add" },
	    { IN(SNOOP_START, 1010), -KAP_STATE, "" },
	    { HUMAN, -KAP_STATE, "" },
	    { IN(SNOOP_GONE, 2600), -KAP_STATE, "" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_NOAMD, "", -1 },
	{ "later told, but not asked for", CALL_F_ASYNC_AMD, {
	    { IN(UP, 1000, .attempt = 1), 0,
	        "*answered bridge-create bridge-add" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_NOAMD, "", -1 },
	{ "a verdict, and then nothing more", AMD, {
	    ANSWER, START,
	    { HUMAN, 0, "-amd *answered snoop-hangup" },
	    { HUMAN, -KAP_STATE, "" },
	    { IN(SNOOP_FAILED, 2600), -KAP_STATE, "" },
	    { IN(SNOOP_GONE, 2700), 0, "" },
	    { IN(SNOOP_GONE, 2700), -KAP_STATE, "" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_HUMAN, "HUMAN-760-750", 2500 },
	{ "a verdict behind the answer", ASYNC, {
	    ASYNC_ANSWER, START,
	    { IN(AMD, 3000, .amd = CALL_AMD_MACHINE,
	        .amd_cause = "MAXWORDS-5-5"), 0,
	        "-amd *result snoop-hangup" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_MACHINE, "MAXWORDS-5-5", 3000 },
	{ "not sure", AMD, {
	    ANSWER, START,
	    { IN(AMD, 6000, .amd = CALL_AMD_UNKNOWN,
	        .amd_cause = "TOOLONG-5000"), 0,
	        "-amd *answered snoop-hangup" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_UNKNOWN, "TOOLONG-5000", 6000 },
	{ "no snoop channel", AMD, {
	    ANSWER,
	    { IN(SNOOP_FAILED, 1020), 0, "-amd *answered snoop-hangup" },
	    { IN(SNOOP_START, 1030), -KAP_STATE, "" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_UNKNOWN, "", 1020 },
	{ "the snoop channel ends alone", ASYNC, {
	    ASYNC_ANSWER, START,
	    { IN(SNOOP_GONE, 1500), 0, "-amd *result" },
	    { HUMAN, -KAP_STATE, "" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_UNKNOWN, "", 1500 },
	{ "the time is over", AMD, {
	    ANSWER, START,
	    { IN(TIMER, 8000, .timer = CALL_TIMER_AMD), 0,
	        "-amd *answered snoop-hangup" },
	    { IN(TIMER, 8000, .timer = CALL_TIMER_AMD), -KAP_STATE, "" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_UNKNOWN, "", 8000 },
	{ "the far end hangs up first", AMD, {
	    ANSWER, START,
	    END("-amd *answered bridge-destroy *ended") },
	    CALL_AMD_UNKNOWN, "", 4000 },
	{ "…with the answer told", ASYNC, {
	    ASYNC_ANSWER,
	    END("-amd *result bridge-destroy *ended") },
	    CALL_AMD_UNKNOWN, "", 4000 },
	{ "answered while it is being hung up", AMD, {
	    { IN(HANGUP, 500), 0, "hangup" },
	    { IN(UP, 1000, .attempt = 1), 0, "+amd" },
	    { IN(SNOOP_START, 1010), -KAP_STATE, "" },
	    END("-amd *answered *ended") },
	    CALL_AMD_UNKNOWN, "", 4000 },
	{ "hung up by us while it listens: no command but that", AMD, {
	    ANSWER, START,
	    { IN(HANGUP, 1500), 0, "hangup" },
	    { HUMAN, 0, "-amd *answered" },
	    END("bridge-destroy *ended") },
	    CALL_AMD_HUMAN, "HUMAN-760-750", 2500 },
	{ "a clock that goes backwards", AMD, {
	    ANSWER, START,
	    { IN(AMD, 900, .amd = CALL_AMD_HUMAN, .amd_cause = "HUMAN-1-1"),
	        0, "-amd *answered snoop-hangup" } },
	    CALL_AMD_HUMAN, "HUMAN-1-1", 1000 },
	{ "never answered", AMD, {
	    END("*ended") },
	    CALL_AMD_NOAMD, "", -1 },
};

/* A call that Asterisk has, not answered yet. */
static struct call
dialling_call(uint32_t flags)
{
	static const struct call_input create = IN(CREATE, 0);
	static const struct call_input ok = IN(ORIGINATE_OK, 10, .attempt = 1);
	struct call call = { .trunk_count = 1, .ring_timeout_s = 30,
		.max_duration_s = 3600, .flags = flags,
		.id = "1720012345.88001", .number = "14155550100" };
	struct call_effects effects;
	struct call after;

	assert_int_equal(call_machine_step(&call, &create, &now, &after,
	    &effects), 0);
	assert_int_equal(call_machine_step(&after, &ok, &now, &call,
	    &effects), 0);
	return call;
}

static void
tell_line(struct call *call, const struct story *story,
    const struct line *line)
{
	struct call_effects effects;
	struct call after;
	char text[400];
	const int rc = call_machine_step(call, &line->input, &now, &after,
	    &effects);

	describe(&effects, text, sizeof(text));
	if (rc != line->rc || strcmp(text, line->effects) != 0)
		fail_msg("%s: %s gave %d \"%s\"", story->name,
		    call_input_name(line->input.kind), rc, text);
	*call = after;
}

static void
test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		const struct story *story = &stories[i];
		struct call call = dialling_call(story->flags);

		for (const struct line *line = story->lines;
		    line->effects != NULL; line++)
			tell_line(&call, story, line);
		assert_int_equal(call.amd_status, story->amd);
		assert_string_equal(call.amd_cause, story->cause);
		assert_int_equal(call.amd_decided_ms, story->decided_ms < 0 ?
		    0 : WALL_MS + story->decided_ms);
		if (call.state == CALL_ENDED)
			assert_int_equal(call.flags & CALL_F_SNOOPED, 0);
	}
}

/* When the verdict is due: by the configuration, or by the call itself. */
static void
test_limits(void **state)
{
	static const struct call_input up = IN(UP, 1000, .attempt = 1);
	struct call call = dialling_call(AMD);
	struct call_effects effects;
	struct call after;

	(void)state;
	assert_int_equal(call_machine_step(&call, &up, &now, &after,
	    &effects), 0);
	assert_int_equal(after.timers[CALL_TIMER_AMD], BOOT_MS + 7000);
	call.amd_total = 12;
	assert_int_equal(call_machine_step(&call, &up, &now, &after,
	    &effects), 0);
	assert_int_equal(after.timers[CALL_TIMER_AMD],
	    BOOT_MS + 1200 + CALL_AMD_GRACE_MS);
}

/* The event that tells a verdict is of the verdict's time. */
static void
test_times(void **state)
{
	static const struct call_input up = IN(UP, 1000, .attempt = 1);
	static const struct call_input human = HUMAN;
	struct call call = dialling_call(AMD);
	struct call_effects effects;
	struct call after;
	int64_t told_ms = 0;

	(void)state;
	assert_int_equal(call_machine_step(&call, &up, &now, &after,
	    &effects), 0);
	assert_int_equal(call_machine_step(&after, &human, &now, &call,
	    &effects), 0);
	for (unsigned i = 0; i < effects.count; i++) {
		if (effects.list[i].kind == CALL_FX_EVENT)
			told_ms = effects.list[i].at_ms;
	}
	assert_int_equal(told_ms, WALL_MS + 2500);
	assert_int_equal(call.answered_ms, WALL_MS + 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
