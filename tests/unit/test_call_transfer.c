/*
 * Two calls in one bridge: stories of both legs on the pure machine, random
 * walks over the real table, after each step of which the promises must hold:
 * live legs know each other, none knows one that is over, each is told once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_table.h"
#include "shared/outbox.h"
#include "shared/webhook_queue.h"
#include "store_fixture.h"

#define WALL_MS 1720012345000LL
#define BOOT_MS 5000000LL
#define KEY_ID 12
#define FIRST_ID "1720012345.1001"
#define SECOND_ID "1720012346.2001"
#define SECOND_NUMBER "14155550107"

static const struct call_now now = { .wall_ms = WALL_MS,
	.boot_ms = BOOT_MS, .originate_timeout_ms = 5000 };

/* --- stories ---------------------------------------------------------- */

enum leg { FIRST, SECOND };

static const struct outbox_taker taker = { .slot = 3, .generation = 1,
	.now_ms = BOOT_MS };

struct pair {
	struct call legs[2];
	char told[256]; /* what the last step had as its effects */
};

static void
append(struct pair *pair, const char *word)
{
	const size_t len = strlen(pair->told);

	assert_true(len + strlen(word) + 2 < sizeof(pair->told));
	(void)snprintf(pair->told + len, sizeof(pair->told) - len, "%s%s",
	    len > 0 ? " " : "", word);
}

static int step_leg(struct pair *pair, enum leg leg,
    const struct call_input *input);

/* The words of an effect; what the other leg is told it takes at once. */
static void
take_effect(struct pair *pair, enum leg leg, const struct call_effect *fx)
{
	struct call_input input = { .kind = fx->tell, .at_ms = fx->at_ms,
		.other = &pair->legs[leg] };

	switch (fx->kind) {
	case CALL_FX_COMMAND:
		append(pair, call_command_name(fx->command));
		break;
	case CALL_FX_EVENT:
		append(pair, webhook_event_name(fx->event));
		break;
	case CALL_FX_TELL_OTHER:
		append(pair, leg == FIRST ? ">2" : ">1");
		append(pair, call_input_name(fx->tell));
		if (step_leg(pair, leg == FIRST ? SECOND : FIRST, &input) != 0)
			append(pair, "(nothing)");
		break;
	default:
		break; /* as of any call: test_call_machine.c */
	}
}

static void
check_detail(const struct call_effect *fx, const struct call_input *input)
{
	if (fx->kind != CALL_FX_EVENT || (fx->event != CALL_EV_TRANSFERRED &&
	    fx->event != CALL_EV_TRANSFER_FAILED))
		return;
	assert_true(fx->has_detail);
	assert_string_equal(fx->detail.other_id, SECOND_ID);
	assert_string_equal(fx->detail.text, SECOND_NUMBER);
	assert_int_equal(fx->at_ms, input->at_ms);
	if (fx->event == CALL_EV_TRANSFER_FAILED) {
		assert_int_equal(fx->detail.cause,
		    input->other->hangup_cause);
		assert_int_equal(fx->detail.other_status,
		    input->other->status);
	}
}

static int
step_leg(struct pair *pair, enum leg leg, const struct call_input *input)
{
	struct call_effects effects;
	struct call after;
	const int rc = call_machine_step(&pair->legs[leg], input, &now,
	    &after, &effects);

	pair->legs[leg] = after;
	for (unsigned i = 0; i < effects.count; i++) {
		check_detail(&effects.list[i], input);
		take_effect(pair, leg, &effects.list[i]);
	}
	return rc;
}

struct line {
	enum leg leg;
	struct call_input input;
	int rc;
	const char *effects;
};

struct story {
	const char *name;
	struct line lines[12];
	enum call_state state[2];
	enum call_status status[2];
	enum call_end_reason reason[2];
	const char *other_of_first;
};

#define AT .at_ms = WALL_MS + 5000
#define IN(k, ...) { .kind = CALL_IN_##k, AT, __VA_ARGS__ }
#define MADE { SECOND, IN(CREATE), 0, "originate >1 other-created" }
#define RINGS { SECOND, IN(RINGING, .attempt = 1), 0, \
	"call.initiated call.ringing" }
#define ANSWERS { SECOND, IN(UP, .attempt = 1), 0, \
	"call.answered bridge-join" }
#define JOINED { SECOND, IN(BRIDGE_ADD_OK), 0, \
	">1 other-answered call.transferred" }
#define DESTROYED(n) IN(DESTROYED, .attempt = 1, .cause = n)

static const struct story stories[] = {
	{ "joined, the second hangs up", {
	    MADE, RINGS, ANSWERS, JOINED,
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended hangup" },
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_COMPLETED },
	  { CALL_END_NORMAL_HANGUP, CALL_END_NORMAL_HANGUP }, SECOND_ID },
	{ "joined, the first hangs up", {
	    MADE, RINGS, ANSWERS, JOINED,
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended hangup" },
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_COMPLETED },
	  { CALL_END_NORMAL_HANGUP, CALL_END_NORMAL_HANGUP }, SECOND_ID },
	{ "joined, /hangup of the first", {
	    MADE, RINGS, ANSWERS, JOINED,
	    { FIRST, IN(HANGUP), 0, "hangup" },
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended hangup" },
	    { SECOND, DESTROYED(127), 0,
	        "call.ended >1 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_COMPLETED },
	  { CALL_END_API_HANGUP, CALL_END_NORMAL_HANGUP }, SECOND_ID },
	{ "joined, /hangup of the second", {
	    MADE, RINGS, ANSWERS, JOINED,
	    { SECOND, IN(HANGUP), 0, "hangup" },
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended hangup" },
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_COMPLETED },
	  { CALL_END_NORMAL_HANGUP, CALL_END_API_HANGUP }, SECOND_ID },
	{ "busy: the first goes on", {
	    MADE,
	    { SECOND, DESTROYED(17), 0, "call.initiated call.ended "
	        ">1 other-ended call.transfer_failed" },
	    { FIRST, IN(OTHER_ENDED), -KAP_STATE, "" },
	  }, { CALL_ANSWERED, CALL_ENDED },
	  { CALL_STATUS_ANSWERED, CALL_STATUS_BUSY },
	  { CALL_END_NONE, CALL_END_BUSY }, "" },
	{ "refused at once: the first goes on", {
	    MADE,
	    { SECOND, IN(ORIGINATE_REFUSED, .attempt = 1), 0,
	        ">1 other-ended call.transfer_failed" },
	  }, { CALL_ANSWERED, CALL_ENDED },
	  { CALL_STATUS_ANSWERED, CALL_STATUS_FAILED },
	  { CALL_END_NONE, CALL_END_NETWORK }, "" },
	{ "the first hangs up while the second rings", {
	    MADE, RINGS,
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended hangup" },
	    { SECOND, DESTROYED(0), 0,
	        "call.ended >1 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_CANCELED },
	  { CALL_END_NORMAL_HANGUP, CALL_END_CANCELED }, SECOND_ID },
	{ "the first hangs up before the second was dialled", {
	    MADE,
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended hangup" },
	    { SECOND, IN(ORIGINATE_REFUSED, .attempt = 1), 0,
	        "call.ended >1 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_CANCELED },
	  { CALL_END_NORMAL_HANGUP, CALL_END_CANCELED }, SECOND_ID },
	{ "the second answers while it is hung up: nobody is joined", {
	    MADE, RINGS,
	    { SECOND, IN(HANGUP), 0, "hangup" },
	    { SECOND, IN(UP, .attempt = 1), 0, "call.answered" },
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended call.transfer_failed" },
	  }, { CALL_ANSWERED, CALL_ENDED },
	  { CALL_STATUS_ANSWERED, CALL_STATUS_COMPLETED },
	  { CALL_END_NONE, CALL_END_API_HANGUP }, "" },
	{ "gone before it was joined: the first goes on", {
	    MADE, RINGS, ANSWERS,
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended call.transfer_failed" },
	    { SECOND, IN(BRIDGE_ADD_OK), -KAP_STATE, "" },
	  }, { CALL_ANSWERED, CALL_ENDED },
	  { CALL_STATUS_ANSWERED, CALL_STATUS_COMPLETED },
	  { CALL_END_NONE, CALL_END_NORMAL_HANGUP }, "" },
	{ "it can't be joined: the first goes on", {
	    MADE, RINGS, ANSWERS,
	    { SECOND, IN(BRIDGE_FAILED), 0, "hangup" },
	    { SECOND, IN(BRIDGE_FAILED), 0, "" },
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended call.transfer_failed" },
	  }, { CALL_ANSWERED, CALL_ENDED },
	  { CALL_STATUS_ANSWERED, CALL_STATUS_COMPLETED },
	  { CALL_END_NONE, CALL_END_NORMAL_HANGUP }, "" },
	{ "both hung up at once", {
	    MADE, RINGS, ANSWERS, JOINED,
	    { FIRST, IN(HANGUP), 0, "hangup" },
	    { SECOND, IN(HANGUP), 0, "hangup" },
	    { SECOND, DESTROYED(16), 0,
	        "call.ended >1 other-ended (nothing)" },
	    { FIRST, DESTROYED(16), 0,
	        "bridge-destroy call.ended >2 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_COMPLETED },
	  { CALL_END_API_HANGUP, CALL_END_API_HANGUP }, SECOND_ID },
	{ "Asterisk was restarted under both", {
	    MADE, RINGS, ANSWERS, JOINED,
	    { FIRST, IN(MEDIA_SERVER_LOST), 0,
	        "bridge-destroy call.ended >2 other-ended hangup" },
	    { SECOND, IN(MEDIA_SERVER_LOST), 0,
	        "call.ended >1 other-ended (nothing)" },
	  }, { CALL_ENDED, CALL_ENDED },
	  { CALL_STATUS_COMPLETED, CALL_STATUS_COMPLETED },
	  { CALL_END_MEDIA_SERVER_LOST, CALL_END_MEDIA_SERVER_LOST },
	  SECOND_ID },
};

static void
begin_pair(struct pair *pair)
{
	const struct pair fresh = { .legs = {
		{ .id = FIRST_ID, .number = "14155550101", .version =
		    CALL_VERSION, .state = CALL_ANSWERED, .status =
		    CALL_STATUS_ANSWERED, .attempt = 1, .trunk_count = 1,
		    .created_ms = WALL_MS - 5000, .answered_ms = WALL_MS,
		    .max_duration_s = 60, .ring_timeout_s = 30,
		    .flags = CALL_F_WAS_ANSWERED | CALL_F_IN_STASIS |
		    CALL_F_BRIDGE | CALL_F_BRIDGED | CALL_F_INITIATED |
		    CALL_F_ANSWER_TOLD },
		{ .id = SECOND_ID, .number = SECOND_NUMBER, .trunk_count = 1,
		    .max_duration_s = 60, .ring_timeout_s = 30,
		    .flags = CALL_F_SECOND_LEG, .other_id = FIRST_ID },
	} };

	*pair = fresh;
}

static void
check_line(struct pair *pair, const struct story *story, unsigned i)
{
	const struct line *line = &story->lines[i];
	int rc;

	pair->told[0] = '\0';
	rc = step_leg(pair, line->leg, &line->input);
	if (rc != line->rc || strcmp(pair->told, line->effects) != 0)
		fail_msg("%s, line %u: %d, \"%s\" and not \"%s\"",
		    story->name, i, rc, pair->told, line->effects);
}

static void
test_stories(void **state)
{
	(void)state;
	for (size_t s = 0; s < sizeof(stories) / sizeof(stories[0]); s++) {
		const struct story *story = &stories[s];
		struct pair pair;

		begin_pair(&pair);
		for (unsigned i = 0; i < 12 &&
		    story->lines[i].effects != NULL; i++)
			check_line(&pair, story, i);
		for (unsigned leg = 0; leg < 2; leg++) {
			const struct call *call = &pair.legs[leg];

			if (call->state != story->state[leg] ||
			    call->status != story->status[leg] ||
			    call->end_reason != story->reason[leg])
				fail_msg("%s: leg %u is %s, %s, %s",
				    story->name, leg + 1,
				    call_state_name(call->state),
				    call_status_name(call->status),
				    call_end_reason_name(call->end_reason));
		}
		assert_string_equal(pair.legs[FIRST].other_id,
		    story->other_of_first);
		assert_string_equal(pair.legs[SECOND].other_id, FIRST_ID);
	}
}

/* What the first leg takes from whom. */
static void
test_only_its_own_other_is_heard(void **state)
{
	static const struct {
		const char *name;
		enum call_state first;
		uint32_t flags;       /* of the first, more than usual */
		const char *other_id; /* of the first */
		const char *teller;   /* NULL: nobody */
		enum call_input_kind told;
		int rc;
	} rows[] = {
		{ "created", CALL_ANSWERED, 0, "", SECOND_ID,
		    CALL_IN_OTHER_CREATED, 0 },
		{ "created, before the answer", CALL_RINGING, 0, "",
		    SECOND_ID, CALL_IN_OTHER_CREATED, -KAP_STATE },
		{ "created, behind the end", CALL_ENDED, 0, "", SECOND_ID,
		    CALL_IN_OTHER_CREATED, -KAP_STATE },
		{ "created, while it is hung up", CALL_ANSWERED,
		    CALL_F_HANGUP_SENT, "", SECOND_ID,
		    CALL_IN_OTHER_CREATED, -KAP_STATE },
		{ "created, by another", CALL_ANSWERED, 0, SECOND_ID,
		    "1720012346.3001", CALL_IN_OTHER_CREATED, -KAP_STATE },
		{ "created, for a second leg", CALL_ANSWERED,
		    CALL_F_SECOND_LEG, "", SECOND_ID,
		    CALL_IN_OTHER_CREATED, -KAP_STATE },
		{ "created, by nobody", CALL_ANSWERED, 0, "", NULL,
		    CALL_IN_OTHER_CREATED, -KAP_STATE },
		{ "answered", CALL_ANSWERED, 0, SECOND_ID, SECOND_ID,
		    CALL_IN_OTHER_ANSWERED, 0 },
		{ "answered, a second time", CALL_ANSWERED,
		    CALL_F_TRANSFERRED, SECOND_ID, SECOND_ID,
		    CALL_IN_OTHER_ANSWERED, -KAP_STATE },
		{ "answered, by another", CALL_ANSWERED, 0, SECOND_ID,
		    "1720012346.3001", CALL_IN_OTHER_ANSWERED, -KAP_STATE },
		{ "answered, of none", CALL_ANSWERED, 0, "", SECOND_ID,
		    CALL_IN_OTHER_ANSWERED, -KAP_STATE },
		{ "ended", CALL_ANSWERED, 0, SECOND_ID, SECOND_ID,
		    CALL_IN_OTHER_ENDED, 0 },
		{ "ended, by another", CALL_ANSWERED, 0, SECOND_ID,
		    "1720012346.3001", CALL_IN_OTHER_ENDED, -KAP_STATE },
		{ "ended, by nobody", CALL_ANSWERED, 0, SECOND_ID, NULL,
		    CALL_IN_OTHER_ENDED, -KAP_STATE },
		{ "ended, behind the end", CALL_ENDED, 0, SECOND_ID,
		    SECOND_ID, CALL_IN_OTHER_ENDED, -KAP_STATE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pair pair;
		struct call teller;
		struct call_input input = { .kind = rows[i].told, AT };
		int rc;

		begin_pair(&pair);
		pair.legs[FIRST].state = (uint8_t)rows[i].first;
		pair.legs[FIRST].flags |= rows[i].flags;
		memcpy(pair.legs[FIRST].other_id, rows[i].other_id,
		    strlen(rows[i].other_id) + 1);
		teller = pair.legs[SECOND];
		if (rows[i].teller != NULL) {
			memcpy(teller.id, rows[i].teller,
			    strlen(rows[i].teller) + 1);
			input.other = &teller;
		}
		rc = step_leg(&pair, FIRST, &input);
		if (rc != rows[i].rc)
			fail_msg("%s: %d", rows[i].name, rc);
	}
}

/* --- over the real table ----------------------------------------------- */

static const struct call_cold cold = {
	.webhook_url = "https://example.com/hook",
	.metadata = "{}",
	.voice = "en-US-Neural2-A",
	.trunk_count = 2,
	.trunk_names = { "one", "two" },
	.endpoints = { "PJSIP/00x@one", "PJSIP/00x@two" },
};

static int
setup(void **state)
{
	struct store_fixture *fixture = calloc(1, sizeof(*fixture));

	store_fixture_open(fixture);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	store_fixture_close(*state);
	free(*state);
	return 0;
}

static struct store_txn *
begin(void **state)
{
	struct store_fixture *fixture = *state;
	struct store_txn *txn;

	assert_int_equal(store_begin_write(fixture->store, &txn), 0);
	return txn;
}

static int
create(struct store_txn *txn, const char *first_id, uint32_t flags,
    struct call_step *step)
{
	struct call call = { .key_id = KEY_ID, .slot = 3, .trunk_count = 2,
		.ring_timeout_s = 30, .max_duration_s = 60,
		.flags = flags | CALL_F_WEBHOOK, .number = SECOND_NUMBER };

	if (first_id != NULL) {
		call.flags |= CALL_F_SECOND_LEG;
		memcpy(call.other_id, first_id, strlen(first_id) + 1);
	}
	return call_table_create(txn, &call, &cold, 1, &now, step);
}

static int
tell(struct store_txn *txn, const char *id, enum call_input_kind kind,
    struct call_step *step)
{
	const struct call_input input = { .kind = kind, .cause = 16, AT };

	return call_table_step(txn, id, &input, &now, step);
}

static struct call
get(struct store_txn *txn, const char *id)
{
	struct call call = { .state = CALL_NONE };
	const int rc = call_table_get(txn, id, &call);

	assert_true(rc == 0 || rc == -KAP_NOENT);
	return call;
}

static void
test_a_second_leg_needs_a_first_that_takes_it(void **state)
{
	struct call_step step;
	struct call_step second;
	struct store_txn *txn = begin(state);

	assert_int_equal(create(txn, "1720012345.99001", 0, &second),
	    -KAP_STATE);
	store_abort(&txn);
	txn = begin(state);
	assert_int_equal(create(txn, NULL, 0, &step), 0);
	assert_false(step.other.told);
	assert_int_equal(create(txn, step.call.id, 0, &second), -KAP_STATE);
	store_abort(&txn);
	txn = begin(state);
	assert_int_equal(create(txn, NULL, 0, &step), 0);
	assert_int_equal(tell(txn, step.call.id, CALL_IN_UP, &step), 0);
	assert_int_equal(create(txn, step.call.id, 0, &second), 0);
	assert_true(second.other.told);
	assert_string_equal(second.other.call.id, step.call.id);
	assert_string_equal(get(txn, step.call.id).other_id, second.call.id);
	assert_int_equal(create(txn, step.call.id, 0, &second), -KAP_STATE);
	store_abort(&txn);
}

/* The other leg's record, its commands and its rings, by one step. */
static void
test_the_other_leg_steps_along(void **state)
{
	struct store_txn *txn = begin(state);
	struct call_step first;
	struct call_step second;
	struct outbox_item item;

	assert_int_equal(create(txn, NULL, 0, &first), 0);
	assert_int_equal(tell(txn, first.call.id, CALL_IN_STASIS_START,
	    &first), 0);
	assert_int_equal(create(txn, first.call.id, 0, &second), 0);
	assert_int_equal(tell(txn, second.call.id, CALL_IN_STASIS_START,
	    &second), 0);
	assert_false(second.other.told);
	assert_int_equal(tell(txn, second.call.id, CALL_IN_BRIDGE_ADD_OK,
	    &second), 0);
	assert_true(second.other.told);
	assert_int_equal(second.other.input, CALL_IN_OTHER_ANSWERED);
	assert_int_equal(second.other.state_before, CALL_ANSWERED);
	assert_int_equal(second.other.rings, CALL_RING_WEBHOOKD);
	assert_int_equal(second.other.call.sequence,
	    first.call.sequence + 1);
	assert_int_equal(tell(txn, second.call.id, CALL_IN_DESTROYED,
	    &second), 0);
	assert_true(second.other.told);
	assert_int_equal(second.other.rings & CALL_RING_OUTBOX,
	    CALL_RING_OUTBOX);
	assert_int_equal(second.other.rings & CALL_RING_OWNER,
	    CALL_RING_OWNER);
	/* its originate's reply first, then the hangup */
	assert_int_equal(outbox_take(txn, first.call.id, &taker,
	    &item), 0);
	assert_int_equal(outbox_settle(txn, first.call.id,
	    item.command.seq), 0);
	assert_int_equal(outbox_take(txn, first.call.id, &taker,
	    &item), 0);
	assert_int_equal(item.command.kind, CALL_CMD_HANGUP);
	assert_int_equal(tell(txn, first.call.id, CALL_IN_DESTROYED, &first),
	    0);
	assert_false(first.other.told);
	store_abort(&txn);
}

/* A record that names itself, as no machine writes it. */
static void
test_a_leg_is_not_its_own_other(void **state)
{
	struct store_txn *txn = begin(state);
	struct call_step step;
	struct call call;

	assert_int_equal(create(txn, NULL, 0, &step), 0);
	assert_int_equal(tell(txn, step.call.id, CALL_IN_UP, &step), 0);
	call = get(txn, step.call.id);
	memcpy(call.other_id, call.id, sizeof(call.id));
	assert_int_equal(store_put(txn, STORE_CALLS, call.id, strlen(call.id),
	    &call, sizeof(call)), 0);
	assert_int_equal(tell(txn, call.id, CALL_IN_DESTROYED, &step),
	    -KAP_CORRUPT);
	store_abort(&txn);
}

/* --- random walks -------------------------------------------------------- */

#define SECONDS_MAX 4

struct walk {
	struct store_txn *txn;
	char first[CALL_ID_SIZE];
	char seconds[SECONDS_MAX][CALL_ID_SIZE]; /* one behind the other */
	unsigned count;
};

/* Each live leg knows one live leg, and that one knows it; or none. */
static void
check_links(const struct walk *walk)
{
	const struct call first = get(walk->txn, walk->first);
	unsigned linked = 0;

	for (unsigned i = 0; i < walk->count; i++) {
		const struct call second = get(walk->txn, walk->seconds[i]);
		const bool is_known =
		    strcmp(first.other_id, walk->seconds[i]) == 0;

		if (!call_is_live(&second)) {
			/* its end was told, unless it is hung up with it */
			if (call_is_live(&first) && is_known)
				assert_true((first.flags &
				    CALL_F_HANGUP_SENT) != 0);
			continue;
		}
		linked++;
		assert_string_equal(second.other_id, walk->first);
		if (call_is_live(&first)) {
			assert_true(is_known);
			assert_int_equal(first.flags & CALL_F_TRANSFERRED,
			    (second.flags & CALL_F_HANGUP_SENT) != 0 ?
			    first.flags & CALL_F_TRANSFERRED :
			    second.flags & CALL_F_TRANSFERRED);
		} else {
			assert_true((second.flags & CALL_F_HANGUP_SENT) != 0);
		}
	}
	assert_in_range(linked, 0, 1);
}

static void
random_step(struct walk *walk)
{
	const long pick = random() % (walk->count + 1);
	const char *id = pick == 0 ? walk->first : walk->seconds[pick - 1];
	const struct call_input input = {
		.kind = (enum call_input_kind)(random() % CALL_INPUT_COUNT),
		.cause = (unsigned)random() % 32,
		.timer = (enum call_timer)(random() % CALL_TIMER_COUNT),
		.at_ms = WALL_MS + random() % 10000,
	};
	struct outbox_item item;
	struct call_step step;
	int rc;

	/* a playback or a gather would need more than a kind */
	if (input.kind == CALL_IN_PLAY || input.kind == CALL_IN_GATHER)
		return;
	/* most walks are to come further than to an end */
	if ((input.kind == CALL_IN_LOST ||
	    input.kind == CALL_IN_MEDIA_SERVER_LOST ||
	    input.kind == CALL_IN_DESTROYED) && random() % 4 != 0)
		return;
	rc = call_table_step(walk->txn, id, &input, &now, &step);
	assert_true(rc == 0 || rc == -KAP_STATE || rc == -KAP_NOENT);
	if (random() % 2 && outbox_take(walk->txn, id, &taker,
	        &item) == 0)
		assert_int_equal(outbox_settle(walk->txn, id,
		    item.command.seq), 0);
}

/* How often an event of a call stands in the queue. */
struct told {
	unsigned transferred;
	unsigned failed;
	unsigned ended;
};

static void
count_told(struct walk *walk, const char *id, struct told *told)
{
	struct webhook_event event;
	uint64_t after = 0;

	while (webhook_queue_peek_new(walk->txn, after, &event, 1) == 1) {
		after = event.number;
		if (strcmp(event.call.id, id) != 0)
			continue;
		told->transferred += event.kind == CALL_EV_TRANSFERRED;
		told->failed += event.kind == CALL_EV_TRANSFER_FAILED;
		told->ended += event.kind == CALL_EV_ENDED;
	}
}

static void
check_told(struct walk *walk, struct told *sum)
{
	struct told told = { 0 };

	count_told(walk, walk->first, &told);
	sum->transferred += told.transferred;
	sum->failed += told.failed;
	sum->ended += walk->count;
	assert_int_equal(told.ended, 1);
	assert_in_range(told.failed, 0, walk->count);
	assert_in_range(told.transferred, 0, walk->count);
	for (unsigned i = 0; i < walk->count; i++) {
		struct told second = { 0 };

		count_told(walk, walk->seconds[i], &second);
		assert_in_range(second.ended, 0, 1);
		assert_int_equal(second.transferred, 0);
		assert_int_equal(second.failed, 0);
	}
}

static void
walk_once(void **state, unsigned seed, struct told *sum)
{
	struct walk walk = { .txn = begin(state) };
	struct call_step step;

	srandom(seed);
	assert_int_equal(create(walk.txn, NULL,
	    random() % 2 ? CALL_F_RECORD : 0, &step), 0);
	memcpy(walk.first, step.call.id, CALL_ID_SIZE);
	assert_int_equal(tell(walk.txn, walk.first, CALL_IN_STASIS_START,
	    &step), 0);
	for (int n = 0; n < 60; n++) {
		const struct call first = get(walk.txn, walk.first);

		if (walk.count < SECONDS_MAX &&
		    first.state == CALL_ANSWERED &&
		    first.other_id[0] == '\0' &&
		    (first.flags & CALL_F_HANGUP_SENT) == 0) {
			assert_int_equal(create(walk.txn, walk.first, 0,
			    &step), 0);
			memcpy(walk.seconds[walk.count++], step.call.id,
			    CALL_ID_SIZE);
		}
		random_step(&walk);
		check_links(&walk);
	}
	for (unsigned i = 0; i <= walk.count; i++)
		(void)!tell(walk.txn, i == 0 ? walk.first :
		    walk.seconds[i - 1], CALL_IN_LOST, &step);
	check_links(&walk);
	check_told(&walk, sum);
	store_abort(&walk.txn);
}

static void
test_random_walks(void **state)
{
	struct told sum = { 0 };

	for (unsigned seed = 1; seed <= 3000; seed++)
		walk_once(state, seed, &sum);
	/* they have come to all that there is */
	assert_in_range(sum.transferred, 300, UINT32_MAX);
	assert_in_range(sum.failed, 300, UINT32_MAX);
	assert_in_range(sum.ended, 3000, UINT32_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_only_its_own_other_is_heard),
		cmocka_unit_test_setup_teardown(
		    test_a_second_leg_needs_a_first_that_takes_it, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    test_the_other_leg_steps_along, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_a_leg_is_not_its_own_other, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_walks, setup,
		    teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
