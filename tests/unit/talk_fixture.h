/*
 * A call with its playbacks' records, as the table of calls keeps them, and
 * what a step makes of it as a line of words. For tests of the machine alone:
 * no store.
 */
#ifndef KAP_TALK_FIXTURE_H
#define KAP_TALK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_machine.h"

#define TALK_ID "1720012345.88001"
#define TALK_WALL_MS 1720012345000LL
#define TALK_BOOT_MS 5000000LL
#define TALK_WORDS_SIZE 2048

static const struct call_now talk_now = { .wall_ms = TALK_WALL_MS,
	.boot_ms = TALK_BOOT_MS, .originate_timeout_ms = 5000 };

struct talk {
	struct call call;
	struct call_play plays[CALL_PLAYS_MAX];
	unsigned play_count;
	struct call_effects effects; /* of the last step */
};

/* A record to be made; its stamp is unique within the call. */
static inline struct call_play
talk_play(enum call_play_kind kind, int64_t ms, const char *text)
{
	struct call_play play = {
		.version = CALL_PLAY_VERSION,
		.target = CALL_PLAY_CHANNEL,
		.state = CALL_PLAY_ASKED,
		.id = { .kind = (uint8_t)kind, .ms = ms },
		.media = "sound:x",
	};

	(void)snprintf(play.text, sizeof(play.text), "%s", text);
	return play;
}

static inline struct call_play *
talk_find(struct talk *talk, int64_t ms)
{
	for (unsigned i = 0; i < talk->play_count; i++) {
		if (talk->plays[i].id.ms == ms)
			return &talk->plays[i];
	}
	return NULL;
}

static inline void
talk_drop(struct talk *talk, int64_t ms)
{
	struct call_play *play = talk_find(talk, ms);

	assert_non_null(play);
	*play = talk->plays[--talk->play_count];
}

static inline void
talk_set_state(struct talk *talk, int64_t ms, enum call_play_state state)
{
	struct call_play *play = talk_find(talk, ms);

	if (play != NULL)
		play->state = (uint8_t)state;
}

/* What call_table.c does with the records. */
static inline void
talk_carry_out(struct talk *talk, const struct call_effect *fx)
{
	switch (fx->kind) {
	case CALL_FX_PLAY:
		assert_true(talk->play_count < CALL_PLAYS_MAX);
		talk->plays[talk->play_count++] = *fx->play;
		break;
	case CALL_FX_PLAY_STATE:
		talk_set_state(talk, fx->play_id.ms, fx->play_state);
		break;
	case CALL_FX_PLAY_DROP:
		talk_drop(talk, fx->play_id.ms);
		break;
	case CALL_FX_STOP_PLAYS:
		for (unsigned i = 0; i < talk->play_count; i++)
			talk->plays[i].state = CALL_PLAY_STOPPED;
		break;
	case CALL_FX_DROP_PLAYS:
		talk->play_count = 0;
		break;
	default:
		break;
	}
}

/* Let something happen; its playback's record is found here. */
static inline int
talk_step(struct talk *talk, const struct call_input *input)
{
	struct call_input full = *input;
	struct call_play found;
	struct call after;
	int rc;

	if (call_input_is_of_play(input->kind)) {
		const struct call_play *play = talk_find(talk,
		    input->play_id.ms);

		full.play = play != NULL ? &found : NULL;
		if (play != NULL)
			found = *play;
	}
	rc = call_machine_step(&talk->call, &full, &talk_now, &after,
	    &talk->effects);
	for (unsigned i = 0; i < talk->effects.count; i++)
		talk_carry_out(talk, &talk->effects.list[i]);
	talk->call = after;
	return rc;
}

/* An answered call without a recording. */
static inline void
talk_answer(struct talk *talk)
{
	static const enum call_input_kind kinds[] = { CALL_IN_CREATE,
		CALL_IN_UP, CALL_IN_STASIS_START };

	memset(talk, 0, sizeof(*talk));
	talk->call.trunk_count = 1;
	talk->call.ring_timeout_s = 30;
	talk->call.max_duration_s = 3600;
	memcpy(talk->call.id, TALK_ID, sizeof(TALK_ID));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct call_input input = { .kind = kinds[i],
			.at_ms = TALK_WALL_MS };

		assert_int_equal(talk_step(talk, &input), 0);
	}
}

static inline void
talk_describe_event(const struct call_effect *fx, char *out, size_t size)
{
	const struct call_event_detail *d = &fx->detail;
	const char *end = call_gather_end_name(
	    (enum call_gather_end)d->gather_end);

	switch (fx->event) {
	case CALL_EV_DTMF:
		(void)snprintf(out, size, "*dtmf:%c/%u", d->digit,
		    d->digit_ms);
		break;
	case CALL_EV_GATHER_STARTED:
		(void)snprintf(out, size, "*started:%s/%u/%u", d->text,
		    d->expected, d->timeout_ms);
		break;
	case CALL_EV_GATHER_PROGRESS:
		(void)snprintf(out, size, "*progress:%c=%s/%u", d->digit,
		    d->digits, d->expected);
		break;
	case CALL_EV_GATHER_COMPLETE:
		(void)snprintf(out, size, "*complete:%s:%s", d->digits, end);
		break;
	case CALL_EV_GATHER_TIMEOUT:
		(void)snprintf(out, size, "*timeout:%s/%u:%s", d->digits,
		    d->expected, end);
		break;
	case CALL_EV_TTS_PLAYED:
		(void)snprintf(out, size, "*tts:%d:%s", (int)d->play.ms,
		    d->text);
		break;
	case CALL_EV_PLAYBACK_FINISHED:
		(void)snprintf(out, size, "*finished:%d%s", (int)d->play.ms,
		    d->stopped != 0 ? ":stopped" : "");
		break;
	case CALL_EV_PLAYBACK_FAILED:
		(void)snprintf(out, size, "*failed:%d", (int)d->play.ms);
		break;
	case CALL_EV_ENDED:
		(void)snprintf(out, size, "*ended");
		break;
	default:
		(void)snprintf(out, size, "*event%d", (int)fx->event);
	}
}

static inline void
talk_describe_effect(const struct call_effect *fx, char *out, size_t size)
{
	static const char *const states[] = { "asked", "taken", "stopped" };

	switch (fx->kind) {
	case CALL_FX_EVENT:
		talk_describe_event(fx, out, size);
		break;
	case CALL_FX_COMMAND:
		(void)snprintf(out, size, fx->play_id.ms != 0 ? "%s:%d" : "%s",
		    call_command_name(fx->command), (int)fx->play_id.ms);
		break;
	case CALL_FX_PLAY:
		(void)snprintf(out, size, "play:%d", (int)fx->play->id.ms);
		break;
	case CALL_FX_PLAY_STATE:
		(void)snprintf(out, size, "%s:%d", states[fx->play_state],
		    (int)fx->play_id.ms);
		break;
	case CALL_FX_PLAY_DROP:
		(void)snprintf(out, size, "gone:%d", (int)fx->play_id.ms);
		break;
	case CALL_FX_STOP_PLAYS:
		(void)snprintf(out, size, "stop-all");
		break;
	case CALL_FX_DROP_PLAYS:
		(void)snprintf(out, size, "gone-all");
		break;
	case CALL_FX_TIMER_SET:
		(void)snprintf(out, size, "+t%d=%d", (int)fx->timer,
		    (int)(fx->deadline_boot_ms - TALK_BOOT_MS));
		break;
	case CALL_FX_TIMER_CLEAR:
		(void)snprintf(out, size, "-t%d", (int)fx->timer);
		break;
	case CALL_FX_DROP_COMMANDS:
		(void)snprintf(out, size, "drop");
		break;
	case CALL_FX_LOG:
		(void)snprintf(out, size, "log");
		break;
	default:
		(void)snprintf(out, size, "fx%d", (int)fx->kind);
	}
}

/* The effects of the last step, in order. */
static inline void
talk_describe(const struct talk *talk, char out[TALK_WORDS_SIZE])
{
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < talk->effects.count; i++) {
		char word[CALL_PLAY_TEXT_SIZE + 64];

		talk_describe_effect(&talk->effects.list[i], word,
		    sizeof(word));
		len += (size_t)snprintf(out + len, TALK_WORDS_SIZE - len,
		    "%s%s", i > 0 ? " " : "", word);
		assert_true(len < TALK_WORDS_SIZE);
	}
}

/* One line of a story: an input, and what it makes of the call. */
struct talk_line {
	struct call_input input;
	struct call_play play; /* PLAY, GATHER: the record to be made */
	int rc;
	const char *effects;
};

#define TALK_LINES 14

struct talk_story {
	const char *name;
	struct talk_line lines[TALK_LINES];
};

static inline void
talk_tell(const struct talk_story *story)
{
	struct talk talk;

	talk_answer(&talk);
	for (size_t i = 0; i < TALK_LINES; i++) {
		const struct talk_line *line = &story->lines[i];
		struct call_input input = line->input;
		char got[TALK_WORDS_SIZE];
		int rc;

		if (line->effects == NULL)
			break;
		if (line->play.id.ms != 0)
			input.play = &line->play;
		rc = talk_step(&talk, &input);
		talk_describe(&talk, got);
		if (rc != line->rc || strcmp(got, line->effects) != 0)
			fail_msg("%s, line %zu (%s): rc %d \"%s\", not rc %d "
			    "\"%s\"", story->name, i,
			    call_input_name(input.kind), rc, got, line->rc,
			    line->effects);
	}
}

#define TALK_IN(k, ...) { .kind = CALL_IN_##k, .at_ms = TALK_WALL_MS, \
	__VA_ARGS__ }
#define TALK_RECORD(kind_, ms_, text_) { .version = CALL_PLAY_VERSION, \
	.target = CALL_PLAY_CHANNEL, .id = { .kind = CALL_PLAY_##kind_, \
	.ms = (ms_) }, .media = "sound:x", .text = text_ }
/* What is told of a playback. */
#define TALK_OF(k, ms_, rc, effects) \
	{ TALK_IN(PLAY_##k, .play_id = { .ms = (ms_) }), { 0 }, rc, effects }

#endif
