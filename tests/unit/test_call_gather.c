/*
 * Gathers in the call machine: stories, and random walks over all inputs
 * after which the promises must hold: exactly one end for each start, before
 * the call's; each digit told before what it means; nothing told of a playback
 * behind its end.
 */
#include <stdlib.h>

#include "talk_fixture.h"

#define GATHER(ms, expected_, effects, ...) \
	{ TALK_IN(GATHER, .gather = { .expected = (expected_), \
	    .timeout_ms = 5000, __VA_ARGS__ }), \
	    TALK_RECORD(PROMPT, ms, "Digits?"), 0, effects }
#define DIGIT(c, effects) \
	{ TALK_IN(DTMF, .digit = (c), .digit_ms = 160), { 0 }, 0, effects }
#define TIME_OVER(effects) \
	{ TALK_IN(TIMER, .timer = CALL_TIMER_GATHER), { 0 }, 0, effects }
/* …and events were missed since the prompt of stamp 7 was asked for. */
#define UNHEARD(effects) \
	{ TALK_IN(TIMER, .timer = CALL_TIMER_GATHER, .heard_since_ms = 8), \
	    { 0 }, 0, effects }
#define BEGIN(ms, n) \
	"*started:Digits?/" #n "/5000 play:" #ms " +t6=305000"

static const struct talk_story stories[] = {
	{ "digits behind the prompt", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	    DIGIT('1', "*dtmf:1/160 *progress:1=1/2 +t6=5000"),
	    DIGIT('2', "*dtmf:2/160 *progress:2=12/2 "
	        "*complete:12:digits_complete -t6"),
	    DIGIT('3', "*dtmf:3/160"),
	  } },
	{ "a digit stops the prompt, once", {
	    GATHER(7, 3, BEGIN(7, 3)),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    DIGIT('1', "*dtmf:1/160 *progress:1=1/3 stopped:7 play-stop:7 "
	        "+t6=5000"),
	    DIGIT('2', "*dtmf:2/160 *progress:2=12/3 +t6=5000"),
	    TALK_OF(FINISHED, 7, 0, "gone:7"),
	    TIME_OVER("-t6 *timeout:12/3:timeout"),
	  } },
	{ "complete while the prompt plays", {
	    GATHER(7, 1, BEGIN(7, 1)),
	    DIGIT('D', "*dtmf:D/160 *progress:D=D/1 "
	        "*complete:D:digits_complete stopped:7 play-stop:7 -t6"),
	    TALK_OF(FINISHED, 7, 0, "gone:7"),
	  } },
	{ "no barge-in", {
	    GATHER(7, 2, BEGIN(7, 2), .flags = CALL_GATHER_NO_BARGE_IN),
	    DIGIT('1', "*dtmf:1/160"),
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	    DIGIT('2', "*dtmf:2/160 *progress:2=2/2 +t6=5000"),
	    TIME_OVER("-t6 *timeout:2/2:timeout"),
	  } },
	{ "the finish key", {
	    GATHER(7, 5, BEGIN(7, 5), .finish = '#'),
	    DIGIT('1', "*dtmf:1/160 *progress:1=1/5 stopped:7 play-stop:7 "
	        "+t6=5000"),
	    DIGIT('*', "*dtmf:*/160 *progress:*=1*/5 +t6=5000"),
	    DIGIT('#', "*dtmf:#/160 *complete:1*:finish_key -t6"),
	    DIGIT('#', "*dtmf:#/160"),
	  } },
	{ "the finish key at once", {
	    GATHER(7, 5, BEGIN(7, 5), .finish = '#'),
	    DIGIT('#', "*dtmf:#/160 *complete::finish_key stopped:7 "
	        "play-stop:7 -t6"),
	  } },
	{ "nobody presses anything", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	    TIME_OVER("-t6 *timeout:/2:timeout"),
	    { TALK_IN(TIMER, .timer = CALL_TIMER_GATHER), { 0 }, -KAP_STATE,
	        "" },
	  } },
	{ "the prompt can't be played: the time runs all the same", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    TALK_OF(REFUSED, 7, 0, "*failed:7 gone:7 +t6=5000"),
	    TIME_OVER("-t6 *timeout:/2:timeout"),
	  } },
	{ "there is no such prompt", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    TALK_OF(FAILED, 7, 0, "*failed:7 gone:7 +t6=5000"),
	  } },
	{ "the prompt waits for long behind others, and is long itself", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    TIME_OVER("-t6 +t6=305000"),
	    TALK_OF(OK, 7, 0, "taken:7"),
	    TIME_OVER("-t6 +t6=305000"),
	    TALK_OF(STARTED, 7, -KAP_STATE, ""),
	    TIME_OVER("-t6 +t6=305000"),
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	    TIME_OVER("-t6 *timeout:/2:timeout"),
	  } },
	{ "its end may have been missed", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    UNHEARD("-t6 +t6=5000"),
	    TIME_OVER("-t6 *timeout:/2:timeout stopped:7 play-stop:7"),
	  } },
	{ "…but was only late", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    UNHEARD("-t6 +t6=5000"),
	    TALK_OF(FINISHED, 7, 0, "gone:7"),
	    TIME_OVER("-t6 *timeout:/2:timeout"),
	  } },
	{ "replaced while its prompt plays", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    GATHER(8, 3, "*timeout:/2:replaced stopped:7 play-stop:7 -t6 "
	        BEGIN(8, 3)),
	    TALK_OF(FINISHED, 7, 0, "gone:7"),
	    DIGIT('1', "*dtmf:1/160 *progress:1=1/3 stopped:8 play-stop:8 "
	        "+t6=5000"),
	  } },
	{ "replaced by one that interrupts, behind its prompt", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	    DIGIT('1', "*dtmf:1/160 *progress:1=1/2 +t6=5000"),
	    { TALK_IN(GATHER, .interrupt = true, .gather = { .expected = 3,
	        .timeout_ms = 5000 }), TALK_RECORD(PROMPT, 8, "Digits?"), 0,
	        "*timeout:1/2:replaced -t6 *started:Digits?/3/5000 stop-all "
	        "play:8 +t6=305000" },
	  } },
	{ "all that plays is stopped: the gather goes on", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    { TALK_IN(STOP_PLAYS), { 0 }, 0, "stop-all" },
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	  } },
	{ "another playback's end means nothing to it", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    { TALK_IN(PLAY), TALK_RECORD(SOUND, 8, "a"), 0, "play:8" },
	    TALK_OF(FINISHED, 8, 0, "*finished:8 gone:8"),
	    TALK_OF(FINISHED, 7, 0, "gone:7 +t6=5000"),
	  } },
	{ "the call ends", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    { TALK_IN(DESTROYED, .attempt = 1, .cause = 16), { 0 }, 0,
	        "*timeout:/2:call_ended -t6 -t2 drop gone-all bridge-destroy log "
	        "*ended" },
	    { TALK_IN(DTMF, .digit = '1'), { 0 }, -KAP_STATE, "" },
	  } },
	{ "a hangup is on its way: what comes is told, nothing is stopped", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    { TALK_IN(HANGUP), { 0 }, 0, "drop +t1=15000 hangup" },
	    DIGIT('1', "*dtmf:1/160 *progress:1=1/2 +t6=5000"),
	    { TALK_IN(GATHER, .gather = { .expected = 2 }),
	        TALK_RECORD(PROMPT, 8, "x"), -KAP_STATE, "" },
	    { TALK_IN(LOST), { 0 }, 0, "*timeout:1/2:call_ended -t6 -t1 -t2 "
	        "drop gone-all bridge-destroy log *ended" },
	  } },
	{ "no digits", {
	    GATHER(7, 2, BEGIN(7, 2)),
	    { TALK_IN(DTMF, .digit = '\0'), { 0 }, -KAP_STATE, "" },
	    { TALK_IN(DTMF, .digit = 'X'), { 0 }, -KAP_STATE, "" },
	    { TALK_IN(DTMF, .digit = 'a'), { 0 }, -KAP_STATE, "" },
	    { TALK_IN(DTMF, .digit = '\xb2'), { 0 }, -KAP_STATE, "" },
	  } },
	{ "no gather", {
	    { TALK_IN(GATHER, .gather = { .expected = 1 }), { 0 }, -KAP_STATE,
	        "" },
	    { TALK_IN(GATHER, .gather = { .expected = 0 }),
	        TALK_RECORD(PROMPT, 7, "x"), -KAP_STATE, "" },
	    { TALK_IN(GATHER, .gather = { .expected = CALL_DIGITS_MAX + 1 }),
	        TALK_RECORD(PROMPT, 7, "x"), -KAP_STATE, "" },
	  } },
};

static void
test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		talk_tell(&stories[i]);
}

/* As many digits as a gather may have: none is lost, none is too many. */
static void
test_most_digits(void **state)
{
	static const char keys[] = "0123456789*#ABCD0123456789*#ABCD";
	const struct call_play prompt = talk_play(CALL_PLAY_PROMPT, 7, "x");
	const struct call_input begin = TALK_IN(GATHER, .play = &prompt,
	    .gather = { .expected = CALL_DIGITS_MAX, .timeout_ms = 1000 });
	struct talk talk;

	(void)state;
	assert_int_equal(sizeof(keys) - 1, CALL_DIGITS_MAX);
	talk_answer(&talk);
	assert_int_equal(talk_step(&talk, &begin), 0);
	for (size_t i = 0; i < CALL_DIGITS_MAX; i++) {
		const struct call_input digit = TALK_IN(DTMF,
		    .digit = keys[i]);

		assert_int_equal(talk.call.gather_state, i == 0 ?
		    CALL_GATHER_PROMPT : CALL_GATHER_DIGITS);
		assert_int_equal(talk_step(&talk, &digit), 0);
	}
	assert_int_equal(talk.call.gather_state, CALL_GATHER_NONE);
	assert_int_equal(talk.effects.list[2].event, CALL_EV_GATHER_COMPLETE);
	assert_string_equal(talk.effects.list[2].detail.digits, keys);
}

/* ---- random walks ---- */

#define STAMPS 64
#define STEPS 80

/* What was told so far. */
struct told {
	unsigned starts;
	unsigned ends;
	unsigned ended;
	unsigned events;
	int64_t next_ms; /* of a playback */
	uint8_t played[STAMPS]; /* tts.played, by stamp */
	uint8_t over[STAMPS];   /* playback.finished, .failed */
	char digits[CALL_DIGITS_MAX + 8]; /* of this gather */
};

static void
check_event(struct told *told, const struct call_effect *fx,
    const struct call_effect *before)
{
	const struct call_event_detail *d = &fx->detail;
	const int64_t ms = d->play.ms;

	told->events++;
	assert_int_equal(told->ended, 0);
	switch (fx->event) {
	case CALL_EV_GATHER_STARTED:
		told->starts++;
		told->digits[0] = '\0';
		break;
	case CALL_EV_GATHER_PROGRESS:
		assert_int_equal(before->event, CALL_EV_DTMF);
		assert_int_equal(before->detail.digit, d->digit);
		strncat(told->digits, (const char[2]){ d->digit, '\0' }, 1);
		assert_in_range(strlen(told->digits), 1, d->expected);
		break;
	case CALL_EV_GATHER_COMPLETE:
		assert_true(d->gather_end == CALL_GATHER_DIGITS_COMPLETE ||
		    d->gather_end == CALL_GATHER_FINISH_KEY);
		assert_true(before->event == CALL_EV_GATHER_PROGRESS ||
		    d->gather_end == CALL_GATHER_FINISH_KEY);
		told->ends++;
		break;
	case CALL_EV_GATHER_TIMEOUT:
		assert_in_range(d->gather_end, CALL_GATHER_TIMED_OUT,
		    CALL_GATHER_CALL_ENDED);
		assert_true(strlen(d->digits) < d->expected);
		told->ends++;
		break;
	case CALL_EV_TTS_PLAYED:
		assert_int_equal(told->over[ms], 0);
		assert_int_equal(told->played[ms]++, 0);
		break;
	case CALL_EV_PLAYBACK_FINISHED:
	case CALL_EV_PLAYBACK_FAILED:
		assert_int_equal(told->over[ms]++, 0);
		break;
	case CALL_EV_ENDED:
		told->ended++;
		break;
	default:
		break;
	}
	if (fx->event >= CALL_EV_GATHER_PROGRESS &&
	    fx->event <= CALL_EV_GATHER_TIMEOUT)
		assert_string_equal(d->digits, told->digits);
}

static void
check_step(const struct talk *talk, struct told *told)
{
	static const struct call_effect none;
	const struct call_effect *before = &none;
	const struct call *call = &talk->call;
	const bool gathers = call->gather_state != CALL_GATHER_NONE;

	assert_true(talk->effects.count < CALL_EFFECTS_MAX);
	for (unsigned i = 0; i < talk->effects.count; i++) {
		const struct call_effect *fx = &talk->effects.list[i];

		if (fx->kind != CALL_FX_EVENT)
			continue;
		check_event(told, fx, before);
		before = fx;
	}
	assert_int_equal(told->starts - told->ends, gathers ? 1 : 0);
	assert_int_equal(call->timers[CALL_TIMER_GATHER] != 0, gathers);
	if (gathers)
		assert_string_equal(call->gather_digits, told->digits);
	if (call->state != CALL_ENDED)
		return;
	assert_false(gathers);
	assert_int_equal(talk->play_count, 0);
}

static enum call_input_kind
pick_kind(void)
{
	static const enum call_input_kind talks[] = { CALL_IN_PLAY,
		CALL_IN_GATHER, CALL_IN_PLAY_OK, CALL_IN_PLAY_STARTED,
		CALL_IN_PLAY_FINISHED, CALL_IN_PLAY_FAILED,
		CALL_IN_PLAY_REFUSED, CALL_IN_DTMF, CALL_IN_DTMF,
		CALL_IN_DTMF, CALL_IN_TIMER, CALL_IN_STOP_PLAYS };

	if (random() % 8 != 0)
		return talks[(size_t)random() %
		    (sizeof(talks) / sizeof(talks[0]))];
	return (enum call_input_kind)(random() % CALL_INPUT_COUNT);
}

/* Anything at all; what comes of the API is as it makes it. */
static struct call_input
pick_input(struct told *told, struct call_play *play)
{
	struct call_input input = {
		.kind = pick_kind(),
		.attempt = (unsigned)random() % 3,
		.cause = (unsigned)random() % 128,
		.timer = random() % 2 ? CALL_TIMER_GATHER :
		    (enum call_timer)(random() % CALL_TIMER_COUNT),
		.at_ms = TALK_WALL_MS + random() % 100000 - 50000,
		.interrupt = random() % 4 == 0,
		.digit = "0123456789*#ABCDxa"[random() % 18],
		.gather = { .timeout_ms = 1000,
		    .expected = (uint8_t)(random() % 5),
		    .flags = random() % 4 == 0 ? CALL_GATHER_NO_BARGE_IN : 0,
		    .finish = random() % 2 == 0 ? '#' : '\0' },
		.play_id = { .ms = 1 + random() % told->next_ms },
	};

	if ((input.kind != CALL_IN_PLAY && input.kind != CALL_IN_GATHER) ||
	    told->next_ms + 1 >= STAMPS || random() % 8 == 0)
		return input;
	*play = talk_play(input.kind == CALL_IN_GATHER ? CALL_PLAY_PROMPT :
	    random() % 2 ? CALL_PLAY_SPEECH : CALL_PLAY_SOUND,
	    told->next_ms, "x");
	input.play = play;
	return input;
}

static unsigned
walk(unsigned seed)
{
	struct told told = { .next_ms = 1 };
	struct talk talk;

	srandom(seed);
	talk_answer(&talk);
	for (int step = 0; step < STEPS; step++) {
		struct call_play play;
		const struct call_input input = pick_input(&told, &play);
		const struct call before = talk.call;
		int rc;

		/* what the API refuses itself */
		if (input.play != NULL && talk.play_count == CALL_PLAYS_MAX)
			continue;
		rc = talk_step(&talk, &input);
		assert_true(rc == 0 || rc == -KAP_STATE);
		if (rc != 0) {
			assert_int_equal(talk.effects.count, 0);
			assert_memory_equal(&before, &talk.call,
			    sizeof(before));
		}
		if (rc == 0 && input.play == &play) {
			assert_int_equal(talk.call.play_ms, told.next_ms);
			told.next_ms++;
		}
		check_step(&talk, &told);
	}
	return told.ends;
}

static void
test_random_walks(void **state)
{
	unsigned ends = 0;

	(void)state;
	for (unsigned seed = 1; seed <= 30000; seed++)
		ends += walk(seed);
	/* the walks were to go somewhere */
	assert_true(ends > 30000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_most_digits),
		cmocka_unit_test(test_random_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
