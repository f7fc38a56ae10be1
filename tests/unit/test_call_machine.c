/*
 * The call machine: stories of whole calls, and random walks over all inputs
 * after which the promises must hold: one end, one charge or one release, the
 * first event is call.initiated.
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
	.trunks_free = 0xff };

static struct call
fresh_call(unsigned trunks, uint32_t flags)
{
	struct call call = {
		.trunk_count = (uint8_t)trunks,
		.ring_timeout_s = 30,
		.max_duration_s = 3600,
		.flags = flags,
		.id = "1720012345.88001",
		.number = "14155550100",
	};

	return call;
}

/* Effects as a compact text: "originate +t0 initiated charge …" */
static void
describe(const struct call_effects *effects, char *out, size_t size)
{
	static const char *const events[CALL_EV_COUNT] = {
		[CALL_EV_INITIATED] = "*initiated",
		[CALL_EV_RINGING] = "*ringing",
		[CALL_EV_ANSWERED] = "*answered",
		[CALL_EV_ENDED] = "*ended",
		[CALL_EV_RECORDING_STARTED] = "*rec-started",
		[CALL_EV_RECORDING_STOPPED] = "*rec-stopped",
		[CALL_EV_RECORDING_COMPLETED] = "*rec-completed",
	};
	static const char *const others[] = {
		[CALL_FX_CHARGE] = "charge",
		[CALL_FX_RELEASE] = "release",
		[CALL_FX_LOG] = "log",
		[CALL_FX_RECORDING_JOB] = "job",
		[CALL_FX_RECORDING_LOG] = "rec-log",
		[CALL_FX_RECORDING_SETTLED] = "settled",
		[CALL_FX_DROP_COMMANDS] = "drop",
	};
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < effects->count; i++) {
		const struct call_effect *fx = &effects->list[i];
		char word[40];

		if (fx->kind == CALL_FX_COMMAND)
			snprintf(word, sizeof(word), "%s",
			    call_command_name(fx->command));
		else if (fx->kind == CALL_FX_EVENT)
			snprintf(word, sizeof(word), "%s", events[fx->event]);
		else if (fx->kind == CALL_FX_TIMER_SET)
			snprintf(word, sizeof(word), "+t%d", (int)fx->timer);
		else if (fx->kind == CALL_FX_TIMER_CLEAR)
			snprintf(word, sizeof(word), "-t%d", (int)fx->timer);
		else
			snprintf(word, sizeof(word), "%s", others[fx->kind]);
		len += (size_t)snprintf(out + len, size - len, "%s%s",
		    i > 0 ? " " : "", word);
	}
}

struct line {
	struct call_input input;
	int rc;
	enum call_state state;
	const char *effects;
};

struct story {
	const char *name;
	unsigned trunks;
	uint32_t flags;
	struct line lines[16];
	enum call_status status;
	enum call_end_reason reason;
};

#define IN(k, ...) { .kind = CALL_IN_##k, .at_ms = WALL_MS, __VA_ARGS__ }
#define RECORDED_ANSWER "-t0 +t1 *initiated -t1 charge +t2 *answered " \
	"bridge-create bridge-add record"
#define BORN { IN(CREATE), 0, CALL_QUEUED, "originate +t0" }

static const struct story stories[] = {
	{ "answered, recorded, hung up by the far end", 1, CALL_F_RECORD, {
	    BORN,
	    { IN(ORIGINATE_OK, .attempt = 1), 0, CALL_DIALING,
	        "-t0 +t1 *initiated" },
	    { IN(SEEN, .attempt = 1), -KAP_STATE, CALL_DIALING, "" },
	    { IN(RINGING, .attempt = 1), 0, CALL_RINGING, "*ringing" },
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t1 charge +t2 *answered bridge-create bridge-add record" },
	    { IN(UP, .attempt = 1), -KAP_STATE, CALL_ANSWERED, "" },
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED, "" },
	    { IN(BRIDGE_ADD_OK), 0, CALL_ANSWERED, "" },
	    { IN(RECORD_OK), 0, CALL_ANSWERED, "" },
	    { IN(RECORDING_STARTED), 0, CALL_ANSWERED, "*rec-started" },
	    { IN(RECORDING_STARTED), -KAP_STATE, CALL_ANSWERED, "" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 drop +t3 log *ended" },
	    { IN(RECORDING_FINISHED, .duration_s = 3), 0, CALL_ENDED,
	        "-t3 job bridge-destroy" },
	    { IN(RECORDING_STORED, .duration_s = 3), 0, CALL_ENDED,
	        "settled *rec-completed rec-log" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "answers before the originate's reply, without ringing", 1, 0, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(ORIGINATE_OK, .attempt = 1), -KAP_STATE, CALL_ANSWERED, "" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "busy", 1, 0, {
	    BORN,
	    { IN(ORIGINATE_OK, .attempt = 1), 0, CALL_DIALING,
	        "-t0 +t1 *initiated" },
	    { IN(DESTROYED, .attempt = 1, .cause = 17), 0, CALL_ENDED,
	        "-t1 drop release log *ended" },
	    { IN(DESTROYED, .attempt = 1, .cause = 17), -KAP_STATE,
	        CALL_ENDED, "" },
	  }, CALL_STATUS_BUSY, CALL_END_BUSY },
	{ "over before the originate's reply", 1, 0, {
	    BORN,
	    { IN(DESTROYED, .attempt = 1, .cause = 1), 0, CALL_ENDED,
	        "-t0 +t1 *initiated -t1 drop release log *ended" },
	  }, CALL_STATUS_FAILED, CALL_END_INVALID_NUMBER },
	{ "first trunk refuses at once, second takes it", 2, 0, {
	    BORN,
	    { IN(ORIGINATE_REFUSED, .attempt = 1), 0, CALL_QUEUED,
	        "-t0 originate +t0" },
	    { IN(SEEN, .attempt = 1), -KAP_STATE, CALL_QUEUED, "" },
	    { IN(ORIGINATE_OK, .attempt = 2), 0, CALL_DIALING,
	        "-t0 +t1 *initiated" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), -KAP_STATE,
	        CALL_DIALING, "" },
	    { IN(DESTROYED, .attempt = 2, .cause = 34), 0, CALL_ENDED,
	        "-t1 drop release log *ended" },
	  }, CALL_STATUS_FAILED, CALL_END_CONGESTION },
	{ "all trunks refuse at once: a row, and no event", 1, 0, {
	    BORN,
	    { IN(ORIGINATE_REFUSED, .attempt = 1), 0, CALL_ENDED,
	        "-t0 drop release log" },
	  }, CALL_STATUS_FAILED, CALL_END_NETWORK },
	{ "no reply in time; the channel turns up and is hung up", 1, 0, {
	    BORN,
	    { IN(TIMER, .timer = CALL_TIMER_ORIGINATE), 0, CALL_QUEUED,
	        "-t0 hangup" },
	    { IN(ORIGINATE_OK, .attempt = 1), 0, CALL_DIALING,
	        "+t1 *initiated" },
	    { IN(HANGUP_OK), 0, CALL_DIALING, "+t1" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t1 drop release log *ended" },
	  }, CALL_STATUS_FAILED, CALL_END_NETWORK },
	{ "no reply in time, and then a refusal", 2, 0, {
	    BORN,
	    { IN(TIMER, .timer = CALL_TIMER_ORIGINATE), 0, CALL_QUEUED,
	        "-t0 hangup" },
	    { IN(ORIGINATE_REFUSED, .attempt = 1), 0, CALL_ENDED,
	        "drop release log *ended" },
	  }, CALL_STATUS_FAILED, CALL_END_NETWORK },
	{ "hung up by the API while it rings", 1, 0, {
	    BORN,
	    { IN(RINGING, .attempt = 1), 0, CALL_RINGING,
	        "-t0 +t1 *initiated *ringing" },
	    { IN(HANGUP), 0, CALL_RINGING, "drop +t1 hangup" },
	    { IN(HANGUP), 0, CALL_RINGING, "" },
	    { IN(HANGUP_OK), 0, CALL_RINGING, "+t1" },
	    { IN(DESTROYED, .attempt = 1, .cause = 0), 0, CALL_ENDED,
	        "-t1 drop release log *ended" },
	  }, CALL_STATUS_CANCELED, CALL_END_API_HANGUP },
	{ "hung up by the API in conversation", 1, 0, {
	    BORN,
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(HANGUP), 0, CALL_ANSWERED, "drop +t1 hangup" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t1 -t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_API_HANGUP },
	{ "a hangup that finds nothing, and no event of the end", 1, 0, {
	    BORN,
	    { IN(RINGING, .attempt = 1), 0, CALL_RINGING,
	        "-t0 +t1 *initiated *ringing" },
	    { IN(HANGUP), 0, CALL_RINGING, "drop +t1 hangup" },
	    { IN(HANGUP_GONE), 0, CALL_RINGING, "+t1" },
	    { IN(TIMER, .timer = CALL_TIMER_GUARD), 0, CALL_ENDED,
	        "-t1 drop release log *ended" },
	  }, CALL_STATUS_CANCELED, CALL_END_API_HANGUP },
	{ "its Stasis ends, and nothing tells of its own end", 1, 0, {
	    BORN,
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED, "" },
	    { IN(STASIS_END, .attempt = 1), 0, CALL_ANSWERED, "+t1" },
	    { IN(TIMER, .timer = CALL_TIMER_GUARD), 0, CALL_ANSWERED,
	        "-t1 drop +t1 hangup" },
	    { IN(HANGUP_GONE), 0, CALL_ANSWERED, "+t1" },
	    { IN(TIMER, .timer = CALL_TIMER_GUARD), 0, CALL_ENDED,
	        "-t1 -t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_LOST },
	{ "rings longer than Asterisk should have let it", 1, 0, {
	    BORN,
	    { IN(RINGING, .attempt = 1), 0, CALL_RINGING,
	        "-t0 +t1 *initiated *ringing" },
	    { IN(TIMER, .timer = CALL_TIMER_GUARD), 0, CALL_RINGING,
	        "-t1 drop +t1 hangup" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t1 drop release log *ended" },
	  }, CALL_STATUS_NO_ANSWER, CALL_END_NO_ANSWER },
	{ "longer than its limit", 1, 0, {
	    BORN,
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(TIMER, .timer = CALL_TIMER_MAX_DURATION), 0, CALL_ANSWERED,
	        "-t2 drop +t1 hangup" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t1 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_MAX_DURATION },
	{ "its Asterisk went away", 1, 0, {
	    BORN,
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(MEDIA_SERVER_LOST), 0, CALL_ENDED,
	        "-t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_MEDIA_SERVER_LOST },
	{ "its Asterisk went away while it recorded", 1, CALL_F_RECORD, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add record" },
	    { IN(RECORD_OK), 0, CALL_ANSWERED, "" },
	    { IN(MEDIA_SERVER_LOST), 0, CALL_ENDED,
	        "-t2 drop +t3 log *ended *rec-started -t3 job "
	        "bridge-destroy" },
	  }, CALL_STATUS_COMPLETED, CALL_END_MEDIA_SERVER_LOST },
	{ "gone unseen while it rang", 1, 0, {
	    BORN,
	    { IN(RINGING, .attempt = 1), 0, CALL_RINGING,
	        "-t0 +t1 *initiated *ringing" },
	    { IN(LOST), 0, CALL_ENDED, "-t1 drop release log *ended" },
	  }, CALL_STATUS_FAILED, CALL_END_LOST },
	{ "no bridge: the call goes on without", 1, CALL_F_RECORD, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add record" },
	    { IN(BRIDGE_FAILED), 0, CALL_ANSWERED, "" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "a hangup outlives the failure of the bridge", 1, 0, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(HANGUP), 0, CALL_ANSWERED, "drop +t1 hangup" },
	    { IN(BRIDGE_FAILED), 0, CALL_ANSWERED, "" },
	    { IN(TIMER, .timer = CALL_TIMER_GUARD), 0, CALL_ANSWERED,
	        "-t1 drop +t1 hangup" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t1 -t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_API_HANGUP },
	{ "over before it was said to record: the bridge goes all the same", 1,
	  CALL_F_RECORD, {
	    BORN,
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add record" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 drop +t3 log *ended" },
	    { IN(TIMER, .timer = CALL_TIMER_RECORDING), 0, CALL_ENDED,
	        "-t3 bridge-destroy" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "RecordingFinished never comes: the file is taken all the same", 1,
	  CALL_F_RECORD, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add record" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 drop +t3 log *ended" },
	    { IN(RECORD_OK), 0, CALL_ENDED, "+t3" },
	    { IN(TIMER, .timer = CALL_TIMER_RECORDING), 0, CALL_ENDED,
	        "-t3 *rec-started job bridge-destroy" },
	    { IN(RECORDING_FINISHED), -KAP_STATE, CALL_ENDED, "" },
	    { IN(RECORDING_GIVEN_UP), 0, CALL_ENDED, "settled" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "its recording is stopped, once, and the call goes on", 1,
	  CALL_F_RECORD, {
	    BORN,
	    { IN(RECORD_STOP), -KAP_STATE, CALL_QUEUED, "" },
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        RECORDED_ANSWER },
	    { IN(RECORD_OK), 0, CALL_ANSWERED, "" },
	    { IN(RECORDING_STARTED), 0, CALL_ANSWERED, "*rec-started" },
	    { IN(RECORD_STOP), 0, CALL_ANSWERED, "record-stop" },
	    { IN(RECORD_STOP), -KAP_STATE, CALL_ANSWERED, "" },
	    { IN(RECORD_STOP_OK), 0, CALL_ANSWERED, "+t3" },
	    { IN(RECORDING_FINISHED, .duration_s = 3), 0, CALL_ANSWERED,
	        "*rec-stopped -t3 job" },
	    { IN(RECORD_STOP), -KAP_STATE, CALL_ANSWERED, "" },
	    { IN(RECORDING_STORED, .duration_s = 3), 0, CALL_ANSWERED,
	        "settled *rec-completed rec-log" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 drop bridge-destroy log *ended" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "stopped before it began: the stop waits for the beginning", 1,
	  CALL_F_RECORD, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        RECORDED_ANSWER },
	    { IN(RECORD_STOP), 0, CALL_ANSWERED, "+t3" },
	    { IN(TIMER, .timer = CALL_TIMER_RECORDING), 0, CALL_ANSWERED,
	        "-t3 +t3" },
	    { IN(RECORD_OK), 0, CALL_ANSWERED, "" },
	    { IN(RECORDING_STARTED), 0, CALL_ANSWERED,
	        "*rec-started -t3 record-stop" },
	    { IN(RECORDING_FINISHED), 0, CALL_ANSWERED, "*rec-stopped job" },
	    { IN(RECORD_STOP_OK), -KAP_STATE, CALL_ANSWERED, "" },
	  }, CALL_STATUS_ANSWERED, CALL_END_NONE },
	{ "stopped, and nobody heard of its beginning or its end", 1,
	  CALL_F_RECORD, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        RECORDED_ANSWER },
	    { IN(RECORD_OK), 0, CALL_ANSWERED, "" },
	    { IN(RECORD_STOP), 0, CALL_ANSWERED, "+t3" },
	    { IN(TIMER, .timer = CALL_TIMER_RECORDING), 0, CALL_ANSWERED,
	        "-t3 *rec-started record-stop" },
	    { IN(RECORD_STOP_OK), 0, CALL_ANSWERED, "+t3" },
	    { IN(TIMER, .timer = CALL_TIMER_RECORDING), 0, CALL_ANSWERED,
	        "-t3 *rec-stopped job" },
	  }, CALL_STATUS_ANSWERED, CALL_END_NONE },
	{ "stopped, and over before it has ended", 1, CALL_F_RECORD, {
	    BORN,
	    { IN(STASIS_START, .attempt = 1), 0, CALL_ANSWERED,
	        RECORDED_ANSWER },
	    { IN(RECORD_OK), 0, CALL_ANSWERED, "" },
	    { IN(RECORD_STOP), 0, CALL_ANSWERED, "+t3" },
	    { IN(DESTROYED, .attempt = 1, .cause = 16), 0, CALL_ENDED,
	        "-t2 -t3 drop +t3 log *ended" },
	    { IN(RECORDING_FINISHED), 0, CALL_ENDED,
	        "*rec-started *rec-stopped -t3 job bridge-destroy" },
	  }, CALL_STATUS_COMPLETED, CALL_END_NORMAL_HANGUP },
	{ "no recording: none to stop", 1, 0, {
	    BORN,
	    { IN(UP, .attempt = 1), 0, CALL_ANSWERED,
	        "-t0 +t1 *initiated -t1 charge +t2 *answered "
	        "bridge-create bridge-add" },
	    { IN(RECORD_STOP), -KAP_STATE, CALL_ANSWERED, "" },
	  }, CALL_STATUS_ANSWERED, CALL_END_NONE },
};

static void
tell_story(const struct story *story)
{
	struct call call = fresh_call(story->trunks, story->flags);

	for (size_t i = 0; i < 16; i++) {
		const struct line *line = &story->lines[i];
		struct call_effects effects;
		struct call after;
		char got[512];
		int rc;

		if (i > 0 && line->effects == NULL)
			break;
		rc = call_machine_step(&call, &line->input, &now, &after,
		    &effects);
		describe(&effects, got, sizeof(got));
		if (rc != line->rc || after.state != line->state ||
		    strcmp(got, line->effects) != 0)
			fail_msg("%s, line %zu (%s): rc %d state %s effects "
			    "\"%s\", expected rc %d state %s effects \"%s\"",
			    story->name, i, call_input_name(line->input.kind),
			    rc, call_state_name((enum call_state)after.state),
			    got, line->rc, call_state_name(line->state),
			    line->effects);
		call = after;
	}
	if (call.status != story->status || call.end_reason != story->reason)
		fail_msg("%s: ends as %s/%s", story->name,
		    call_status_name((enum call_status)call.status),
		    call_end_reason_name((enum call_end_reason)
		        call.end_reason));
}

static void
test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		tell_story(&stories[i]);
}

/* A ring timeout has no cause in Asterisk 16: the time tells it. */
struct ring {
	const char *name;
	int64_t after_ms; /* from the first sign of the call to its end */
	unsigned cause;
	enum call_status status;
	enum call_end_reason reason;
};

static const struct ring rings[] = {
	{ "to the end", 30000, 0, CALL_STATUS_NO_ANSWER, CALL_END_NO_ANSWER },
	{ "and heard of late", 29500, 0, CALL_STATUS_NO_ANSWER,
	    CALL_END_NO_ANSWER },
	{ "not so long", 28000, 0, CALL_STATUS_FAILED, CALL_END_NETWORK },
	{ "to the end, with a cause", 30000, 17, CALL_STATUS_BUSY,
	    CALL_END_BUSY },
};

static void
test_ring_timeout_without_a_cause(void **state)
{
	const struct call_input born = IN(CREATE);
	const struct call_input seen = IN(SEEN, .attempt = 1);

	(void)state;
	for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
		const struct ring *ring = &rings[i];
		const struct call_input gone = IN(DESTROYED, .attempt = 1,
		    .cause = ring->cause);
		const struct call_now then = {
			.wall_ms = WALL_MS + ring->after_ms,
			.boot_ms = BOOT_MS + ring->after_ms,
			.originate_timeout_ms = now.originate_timeout_ms,
		};
		const struct call none = fresh_call(1, 0);
		struct call_effects effects;
		struct call made;
		struct call there;
		struct call ended;

		assert_int_equal(call_machine_step(&none, &born, &now, &made,
		    &effects), 0);
		assert_int_equal(call_machine_step(&made, &seen, &now, &there,
		    &effects), 0);
		assert_int_equal(call_machine_step(&there, &gone, &then,
		    &ended, &effects), 0);
		if (ended.status != ring->status ||
		    ended.end_reason != ring->reason)
			fail_msg("%s: %s/%s", ring->name, call_status_name(
			    (enum call_status)ended.status),
			    call_end_reason_name((enum call_end_reason)
			        ended.end_reason));
	}
}

/* What a random walk has seen so far. */
struct tally {
	int charges;
	int releases;
	int logs;
	int ended;
	int initiated;
	int answered;
	int jobs;
	int events;
	int originates;
};

static void
count_effects(const struct call_effects *effects, struct tally *tally)
{
	assert_true(effects->count < CALL_EFFECTS_MAX);
	for (unsigned i = 0; i < effects->count; i++) {
		const struct call_effect *fx = &effects->list[i];

		tally->charges += fx->kind == CALL_FX_CHARGE;
		tally->releases += fx->kind == CALL_FX_RELEASE;
		tally->logs += fx->kind == CALL_FX_LOG;
		tally->jobs += fx->kind == CALL_FX_RECORDING_JOB;
		tally->originates += fx->kind == CALL_FX_COMMAND &&
		    fx->command == CALL_CMD_ORIGINATE;
		if (fx->kind != CALL_FX_EVENT)
			continue;
		tally->events++;
		tally->ended += fx->event == CALL_EV_ENDED;
		tally->answered += fx->event == CALL_EV_ANSWERED;
		tally->initiated += fx->event == CALL_EV_INITIATED;
		if (fx->event == CALL_EV_INITIATED)
			assert_int_equal(tally->events, 1);
	}
}

static void
check_promises(const struct call *call, const struct tally *tally)
{
	const bool over = call->state == CALL_ENDED;

	assert_in_range(tally->charges + tally->releases, 0, 1);
	assert_int_equal(tally->charges, tally->answered);
	assert_int_equal(tally->logs, over ? 1 : 0);
	assert_in_range(tally->ended, 0, over ? 1 : 0);
	assert_in_range(tally->jobs, 0, 1);
	assert_in_range(tally->originates, 1, call->trunk_count);
	if (over) {
		assert_int_equal(tally->charges + tally->releases, 1);
		assert_int_equal(tally->ended,
		    (call->flags & CALL_F_REFUSED) != 0 ? 0 : 1);
		assert_true(call->status >= CALL_STATUS_COMPLETED);
		assert_true(call->end_reason != CALL_END_NONE);
		assert_int_equal(call->status == CALL_STATUS_COMPLETED,
		    (call->flags & CALL_F_WAS_ANSWERED) != 0);
		assert_true(call->ended_ms >= call->answered_ms);
		assert_int_equal(call_duration_s(call, call->ended_ms) > 0,
		    (call->flags & CALL_F_WAS_ANSWERED) != 0);
	}
}

static void
walk(unsigned seed)
{
	struct call call;
	struct tally tally = { 0 };
	struct call_input input = IN(CREATE);

	srandom(seed);
	call = fresh_call(1 + (unsigned)random() % 3,
	    random() % 2 ? CALL_F_RECORD : 0);
	for (int step = 0; step < 40; step++) {
		struct call_effects effects;
		struct call after;
		int rc = call_machine_step(&call, &input, &now, &after,
		    &effects);

		assert_true(rc == 0 || rc == -KAP_STATE);
		if (rc != 0) {
			assert_int_equal(effects.count, 0);
			assert_memory_equal(&call, &after, sizeof(call));
		}
		count_effects(&effects, &tally);
		call = after;
		check_promises(&call, &tally);
		input.kind = (enum call_input_kind)(random() %
		    CALL_INPUT_COUNT);
		input.attempt = (unsigned)random() % 3;
		input.cause = (unsigned)random() % 128;
		input.timer = (enum call_timer)(random() % CALL_TIMER_COUNT);
		input.at_ms = WALL_MS + random() % 100000 - 50000;
	}
}

static void
test_random_walks(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 200000; seed++)
		walk(seed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_ring_timeout_without_a_cause),
		cmocka_unit_test(test_random_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
