/*
 * Playbacks in the call machine: stories of what is told of them, in every
 * order in which Asterisk may tell it.
 */
#include "talk_fixture.h"

#define PLAY(kind, ms, text, effects, ...) { TALK_IN(PLAY, __VA_ARGS__), \
	TALK_RECORD(kind, ms, text), 0, effects }

static const struct talk_story stories[] = {
	{ "a sound, to its end", {
	    PLAY(SOUND, 7, "hello", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    TALK_OF(STARTED, 7, -KAP_STATE, ""),
	    TALK_OF(FINISHED, 7, 0, "*finished:7 gone:7"),
	    TALK_OF(FINISHED, 7, -KAP_STATE, ""),
	    TALK_OF(FAILED, 7, -KAP_STATE, ""),
	  } },
	{ "speech: told when Asterisk has taken it, once", {
	    PLAY(SPEECH, 7, "Hello", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7 *tts:7:Hello"),
	    TALK_OF(STARTED, 7, -KAP_STATE, ""),
	    TALK_OF(FINISHED, 7, 0, "*finished:7 gone:7"),
	  } },
	{ "speech, its beginning is told before the reply", {
	    PLAY(SPEECH, 7, "Hello", "play:7"),
	    TALK_OF(STARTED, 7, 0, "taken:7 *tts:7:Hello"),
	    TALK_OF(OK, 7, -KAP_STATE, ""),
	    TALK_OF(FINISHED, 7, 0, "*finished:7 gone:7"),
	  } },
	{ "speech, nothing is told but its end", {
	    PLAY(SPEECH, 7, "Hello", "play:7"),
	    TALK_OF(FINISHED, 7, 0, "*tts:7:Hello *finished:7 gone:7"),
	    TALK_OF(OK, 7, -KAP_STATE, ""),
	  } },
	{ "no such sound", {
	    PLAY(SOUND, 7, "nope", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    TALK_OF(FAILED, 7, 0, "*failed:7 gone:7"),
	    TALK_OF(FINISHED, 7, -KAP_STATE, ""),
	  } },
	{ "refused", {
	    PLAY(SPEECH, 7, "Hello", "play:7"),
	    TALK_OF(REFUSED, 7, 0, "*failed:7 gone:7"),
	    TALK_OF(REFUSED, 7, -KAP_STATE, ""),
	  } },
	{ "several, all of them stopped", {
	    PLAY(SOUND, 7, "a", "play:7"),
	    PLAY(SOUND, 8, "b", "play:8"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    TALK_OF(OK, 8, 0, "taken:8"),
	    { TALK_IN(STOP_PLAYS), { 0 }, 0, "stop-all" },
	    TALK_OF(FINISHED, 7, 0, "*finished:7:stopped gone:7"),
	    TALK_OF(FINISHED, 8, 0, "*finished:8:stopped gone:8"),
	  } },
	{ "one interrupts the others", {
	    PLAY(SOUND, 7, "a", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    PLAY(SPEECH, 8, "b", "stop-all play:8", .interrupt = true),
	    TALK_OF(OK, 8, 0, "taken:8 *tts:8:b"),
	    TALK_OF(FINISHED, 7, 0, "*finished:7:stopped gone:7"),
	    TALK_OF(FINISHED, 8, 0, "*finished:8 gone:8"),
	  } },
	{ "stopped before Asterisk has it: never heard, never told as played", {
	    PLAY(SPEECH, 7, "a", "play:7"),
	    { TALK_IN(STOP_PLAYS), { 0 }, 0, "stop-all" },
	    TALK_OF(OK, 7, 0, ""),
	    TALK_OF(STARTED, 7, 0, ""),
	    TALK_OF(FINISHED, 7, 0, "*finished:7:stopped gone:7"),
	  } },
	{ "the far end hangs up: what that fails is told by call.ended", {
	    PLAY(SOUND, 7, "a", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    { TALK_IN(LEAVING, .attempt = 1), { 0 }, 0, "" },
	    { TALK_IN(LEAVING, .attempt = 1), { 0 }, -KAP_STATE, "" },
	    TALK_OF(FAILED, 7, 0, "gone:7"),
	    { TALK_IN(DESTROYED, .attempt = 1, .cause = 16), { 0 }, 0,
	        "-t2 drop gone-all bridge-destroy log *ended" },
	    TALK_OF(FINISHED, 7, -KAP_STATE, ""),
	  } },
	{ "…and what was at its end is told", {
	    PLAY(SOUND, 7, "a", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    { TALK_IN(LEAVING, .attempt = 1), { 0 }, 0, "" },
	    TALK_OF(FINISHED, 7, 0, "*finished:7 gone:7"),
	  } },
	{ "hung up by us", {
	    PLAY(SOUND, 7, "a", "play:7"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    { TALK_IN(HANGUP), { 0 }, 0, "drop +t1=15000 hangup" },
	    TALK_OF(FAILED, 7, 0, "gone:7"),
	    { TALK_IN(PLAY), TALK_RECORD(SOUND, 8, "b"), -KAP_STATE, "" },
	    { TALK_IN(STOP_PLAYS), { 0 }, 0, "" },
	  } },
	{ "of no playback", {
	    { TALK_IN(PLAY), { 0 }, -KAP_STATE, "" },
	    { TALK_IN(LEAVING, .attempt = 1), { 0 }, -KAP_STATE, "" },
	    TALK_OF(OK, 7, -KAP_STATE, ""),
	    TALK_OF(REFUSED, 7, -KAP_STATE, ""),
	    TALK_OF(STARTED, 7, -KAP_STATE, ""),
	    TALK_OF(FINISHED, 7, -KAP_STATE, ""),
	    TALK_OF(FAILED, 7, -KAP_STATE, ""),
	  } },
	{ "without a bridge what waits is said all the same", {
	    { TALK_IN(BRIDGE_FAILED), { 0 }, 0, "" },
	    PLAY(SOUND, 7, "a", "play:7"),
	    TALK_OF(REFUSED, 7, 0, "*failed:7 gone:7"),
	  } },
};

static void
test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		talk_tell(&stories[i]);
}

/* What an event of a playback says of it. */
static void
test_detail(void **state)
{
	const struct call_play play = talk_play(CALL_PLAY_SPEECH, 9,
	    "Guten Tag");
	const struct call_input asked = TALK_IN(PLAY, .play = &play);
	const struct call_input taken = TALK_IN(PLAY_OK,
	    .play_id = { .ms = 9 });
	const struct call_effect *fx;
	struct talk talk;

	(void)state;
	talk_answer(&talk);
	assert_int_equal(talk_step(&talk, &asked), 0);
	assert_int_equal(talk.call.play_ms, 9);
	assert_int_equal(talk_step(&talk, &taken), 0);
	fx = &talk.effects.list[talk.effects.count - 1];
	assert_int_equal(fx->event, CALL_EV_TTS_PLAYED);
	assert_int_equal(fx->at_ms, TALK_WALL_MS);
	assert_true(fx->has_detail);
	assert_int_equal(fx->detail.version, CALL_EVENT_DETAIL_VERSION);
	assert_memory_equal(&fx->detail.play, &play.id, sizeof(play.id));
	assert_int_equal(fx->detail.play_target, CALL_PLAY_CHANNEL);
	assert_string_equal(fx->detail.text, "Guten Tag");
}

/* Only an answered call speaks. */
static void
test_not_answered(void **state)
{
	const struct call_play play = talk_play(CALL_PLAY_SOUND, 9, "a");
	const struct call_input inputs[] = {
		TALK_IN(PLAY, .play = &play),
		TALK_IN(GATHER, .play = &play, .gather = { .expected = 1,
		    .timeout_ms = 1000 }),
		TALK_IN(STOP_PLAYS),
		TALK_IN(DTMF, .digit = '1'),
		TALK_IN(LEAVING),
	};

	(void)state;
	for (unsigned at = 0; at < CALL_STATE_COUNT; at++) {
		for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
			struct talk talk;

			if (at == CALL_ANSWERED)
				continue;
			talk_answer(&talk);
			talk.call.state = (uint8_t)at;
			assert_int_equal(talk_step(&talk, &inputs[i]),
			    -KAP_STATE);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_detail),
		cmocka_unit_test(test_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
