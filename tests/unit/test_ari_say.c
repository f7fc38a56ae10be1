/*
 * How commands are said to Asterisk, and what its answers mean.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/ari_say.h"

static struct config config;

static int
setup(void **state)
{
	(void)state;
	config_init(&config);
	config.node.id = 7;
	return 0;
}

static struct outbox_item
make_item(enum call_command_kind kind)
{
	struct outbox_item item = {
		.command = { .kind = (uint8_t)kind, .attempt = 2,
		    .play = { .kind = CALL_PLAY_SPEECH,
		        .ms = 1739781234999LL } },
		.call = { .id = "1720012345.88007", .attempt = 2,
		    .ring_timeout_s = 30, .max_duration_s = 3600,
		    .recording_ms = 1739781234567LL,
		    .caller_id = "19172452367" },
		.play = { .target = CALL_PLAY_BRIDGE,
		    .media = "sound:custom/hello" },
		.endpoint = "PJSIP/0014155550100@carrier",
	};

	return item;
}

struct say_row {
	enum call_command_kind kind;
	const char *method;
	const char *path;
	const char *body; /* NULL: none */
};

static const struct say_row rows[] = {
	{ CALL_CMD_ORIGINATE, "POST", "channels",
	    "{\"endpoint\":\"PJSIP/0014155550100@carrier\",\"app\":\"app-7\","
	    "\"appArgs\":\"dialed\",\"channelId\":\"1720012345.88007-2\","
	    "\"timeout\":30,\"callerId\":\"19172452367\",\"variables\":"
	    "{\"KAPHILA_NODE\":\"7\",\"TIMEOUT(absolute)\":\"3660\"}}" },
	{ CALL_CMD_HANGUP, "DELETE", "channels/1720012345.88007-2", NULL },
	{ CALL_CMD_BRIDGE_CREATE, "POST", "bridges/bridge-1720012345.88007",
	    "{\"type\":\"mixing\",\"name\":\"kaphila-7\"}" },
	{ CALL_CMD_BRIDGE_ADD, "POST",
	    "bridges/bridge-1720012345.88007/addChannel",
	    "{\"channel\":\"1720012345.88007-2\"}" },
	{ CALL_CMD_RECORD, "POST", "bridges/bridge-1720012345.88007/record",
	    "{\"name\":\"call-1720012345.88007-1739781234567\","
	    "\"format\":\"wav\",\"maxSilenceSeconds\":0,"
	    "\"maxDurationSeconds\":3630,\"ifExists\":\"fail\"}" },
	{ CALL_CMD_RECORD_STOP, "POST", "recordings/live/"
	    "call-1720012345.88007-1739781234567/stop", NULL },
	{ CALL_CMD_BRIDGE_DESTROY, "DELETE",
	    "bridges/bridge-1720012345.88007", NULL },
	{ CALL_CMD_PLAY, "POST", "bridges/bridge-1720012345.88007/play/"
	    "tts-1720012345.88007-1739781234999",
	    "{\"media\":\"sound:custom/hello\"}" },
	{ CALL_CMD_SNOOP, "POST", "channels/1720012345.88007-2/snoop/"
	    "amd-1720012345.88007", "{\"spy\":\"in\",\"app\":\"app-7\"}" },
	{ CALL_CMD_SNOOP_SET, "POST", "channels/amd-1720012345.88007/variable",
	    "{\"variable\":\"KAPHILA_AMD\",\"value\":"
	    "\"app-7|2500,1500,700,5000,100,50,5,300,5000\"}" },
	{ CALL_CMD_SNOOP_CONTINUE, "POST",
	    "channels/amd-1720012345.88007/continue",
	    "{\"context\":\"kaphila-amd\",\"extension\":\"s\","
	    "\"priority\":1}" },
	{ CALL_CMD_SNOOP_HANGUP, "DELETE", "channels/amd-1720012345.88007",
	    NULL },
	{ CALL_CMD_PLAY_STOP, "DELETE",
	    "playbacks/tts-1720012345.88007-1739781234999", NULL },
};

static void
test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct outbox_item item = make_item(rows[i].kind);
		struct ari_request request;

		assert_int_equal(ari_say(&item, &config, "app-7", &request),
		    0);
		assert_string_equal(request.method, rows[i].method);
		assert_string_equal(request.uri.text, rows[i].path);
		if (rows[i].body == NULL)
			assert_null(request.body);
		else
			assert_string_equal(request.body, rows[i].body);
		ari_request_clear(&request);
	}
}

static void
test_no_caller_id(void **state)
{
	struct outbox_item item = make_item(CALL_CMD_ORIGINATE);
	struct ari_request request;

	(void)state;
	item.call.caller_id[0] = '\0';
	assert_int_equal(ari_say(&item, &config, "app", &request), 0);
	assert_null(strstr(request.body, "callerId"));
	ari_request_clear(&request);
}

/* The call's own arguments for AMD, not the configuration's. */
static void
test_own_amd(void **state)
{
	struct outbox_item item = make_item(CALL_CMD_SNOOP_SET);
	struct ari_request request;

	(void)state;
	memcpy(item.amd, "1,2,3,4,5,6,7,8,9", 18);
	assert_int_equal(ari_say(&item, &config, "app", &request), 0);
	assert_non_null(strstr(request.body, "\"app|1,2,3,4,5,6,7,8,9\""));
	ari_request_clear(&request);
}

/* Where a playback goes: the call's channel, its bridge, the other leg's. */
static void
test_play_targets(void **state)
{
	struct outbox_item item = make_item(CALL_CMD_PLAY);
	struct ari_request request;

	(void)state;
	item.play.target = CALL_PLAY_CHANNEL;
	assert_int_equal(ari_say(&item, &config, "app", &request), 0);
	assert_string_equal(request.uri.text, "channels/1720012345.88007-2/"
	    "play/tts-1720012345.88007-1739781234999");
	ari_request_clear(&request);
	item.play.target = CALL_PLAY_BRIDGE;
	item.call.flags = CALL_F_SECOND_LEG;
	memcpy(item.call.other_id, "1720012345.77007", 17);
	assert_int_equal(ari_say(&item, &config, "app", &request), 0);
	assert_string_equal(request.uri.text, "bridges/"
	    "bridge-1720012345.77007/play/"
	    "tts-1720012345.88007-1739781234999");
	ari_request_clear(&request);
}

/* Into the first leg's bridge, and there is no second try at a no. */
static void
test_bridge_join(void **state)
{
	struct outbox_item item = make_item(CALL_CMD_BRIDGE_JOIN);
	enum call_input_kind meaning;
	struct ari_request request;

	(void)state;
	item.call.flags = CALL_F_SECOND_LEG;
	memcpy(item.call.other_id, "1720012345.77007", 17);
	assert_int_equal(ari_say(&item, &config, "app", &request), 0);
	assert_string_equal(request.method, "POST");
	assert_string_equal(request.uri.text,
	    "bridges/bridge-1720012345.77007/addChannel");
	assert_string_equal(request.body,
	    "{\"channel\":\"1720012345.88007-2\"}");
	ari_request_clear(&request);
	assert_int_equal(ari_reply_meaning(CALL_CMD_BRIDGE_JOIN, 1, 204,
	    &meaning), ARI_SETTLED);
	assert_int_equal(meaning, CALL_IN_BRIDGE_ADD_OK);
	assert_int_equal(ari_reply_meaning(CALL_CMD_BRIDGE_JOIN, 2, 404,
	    &meaning), ARI_SETTLED);
	assert_int_equal(meaning, CALL_IN_BRIDGE_FAILED);
}

/* The longest names of all fit. */
static void
test_long_play(void **state)
{
	struct outbox_item item = make_item(CALL_CMD_PLAY);
	struct ari_request request;

	(void)state;
	memcpy(item.call.id, "123456789012.123456789012345678", 32);
	item.command.play.ms = INT64_MAX;
	item.command.play.kind = CALL_PLAY_PROMPT;
	memset(item.play.media, '"', sizeof(item.play.media) - 1);
	assert_int_equal(ari_say(&item, &config, "app", &request), 0);
	assert_non_null(strstr(request.uri.text,
	    "/play/gather-123456789012.123456789012345678-"
	    "9223372036854775807"));
	ari_request_clear(&request);
}

struct reply_row {
	enum call_command_kind kind;
	unsigned tries;
	int status;
	enum ari_verdict verdict;
	enum call_input_kind input; /* CALL_INPUT_COUNT: none */
};

static const struct reply_row replies[] = {
	{ CALL_CMD_ORIGINATE, 1, 200, ARI_SETTLED, CALL_IN_ORIGINATE_OK },
	{ CALL_CMD_ORIGINATE, 2, 409, ARI_SETTLED, CALL_IN_ORIGINATE_OK },
	{ CALL_CMD_ORIGINATE, 1, 500, ARI_SETTLED, CALL_IN_ORIGINATE_REFUSED },
	{ CALL_CMD_ORIGINATE, 1, 400, ARI_SETTLED, CALL_IN_ORIGINATE_REFUSED },
	{ CALL_CMD_HANGUP, 1, 204, ARI_SETTLED, CALL_IN_HANGUP_OK },
	{ CALL_CMD_HANGUP, 1, 404, ARI_SETTLED, CALL_IN_HANGUP_GONE },
	{ CALL_CMD_HANGUP, 1, 500, ARI_TRY_AGAIN, CALL_IN_HANGUP_GONE },
	{ CALL_CMD_BRIDGE_CREATE, 1, 200, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_BRIDGE_CREATE, 2, 409, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_BRIDGE_CREATE, 1, 500, ARI_SETTLED, CALL_IN_BRIDGE_FAILED },
	/* what Asterisk 16 has for a bridge that is there */
	{ CALL_CMD_BRIDGE_CREATE, 2, 500, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_BRIDGE_ADD, 1, 204, ARI_SETTLED, CALL_IN_BRIDGE_ADD_OK },
	{ CALL_CMD_BRIDGE_ADD, 1, 422, ARI_SETTLED, CALL_IN_BRIDGE_FAILED },
	{ CALL_CMD_RECORD, 1, 201, ARI_SETTLED, CALL_IN_RECORD_OK },
	{ CALL_CMD_RECORD, 2, 409, ARI_SETTLED, CALL_IN_RECORD_OK },
	{ CALL_CMD_RECORD, 1, 404, ARI_SETTLED, CALL_IN_RECORD_FAILED },
	{ CALL_CMD_RECORD_STOP, 1, 204, ARI_SETTLED, CALL_IN_RECORD_STOP_OK },
	{ CALL_CMD_RECORD_STOP, 1, 404, ARI_SETTLED, CALL_IN_RECORD_STOP_OK },
	{ CALL_CMD_RECORD_STOP, 2, 409, ARI_SETTLED, CALL_IN_RECORD_STOP_OK },
	{ CALL_CMD_RECORD_STOP, 1, 500, ARI_TRY_AGAIN,
	    CALL_IN_RECORD_STOP_OK },
	{ CALL_CMD_RECORD_STOP, 3, 500, ARI_SETTLED, CALL_IN_RECORD_STOP_OK },
	{ CALL_CMD_BRIDGE_DESTROY, 1, 404, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_SNOOP, 1, 200, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_SNOOP, 1, 404, ARI_SETTLED, CALL_IN_SNOOP_FAILED },
	{ CALL_CMD_SNOOP, 1, 500, ARI_SETTLED, CALL_IN_SNOOP_FAILED },
	/* Asterisk has no other word for one that is there */
	{ CALL_CMD_SNOOP, 2, 500, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_SNOOP_SET, 1, 204, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_SNOOP_SET, 1, 404, ARI_SETTLED, CALL_IN_SNOOP_FAILED },
	{ CALL_CMD_SNOOP_SET, 2, 409, ARI_SETTLED, CALL_IN_SNOOP_FAILED },
	{ CALL_CMD_SNOOP_CONTINUE, 1, 204, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_SNOOP_CONTINUE, 1, 409, ARI_SETTLED, CALL_IN_SNOOP_FAILED },
	{ CALL_CMD_SNOOP_CONTINUE, 2, 409, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_SNOOP_HANGUP, 1, 204, ARI_SETTLED, CALL_IN_SNOOP_GONE },
	{ CALL_CMD_SNOOP_HANGUP, 1, 404, ARI_SETTLED, CALL_IN_SNOOP_GONE },
	/* Asterisk 16 and 22 look at no id that is there already */
	{ CALL_CMD_PLAY, 1, 201, ARI_SETTLED, CALL_IN_PLAY_OK },
	{ CALL_CMD_PLAY, 2, 201, ARI_SETTLED, CALL_IN_PLAY_OK },
	{ CALL_CMD_PLAY, 1, 404, ARI_SETTLED, CALL_IN_PLAY_REFUSED },
	{ CALL_CMD_PLAY, 1, 409, ARI_SETTLED, CALL_IN_PLAY_REFUSED },
	{ CALL_CMD_PLAY, 2, 409, ARI_SETTLED, CALL_IN_PLAY_REFUSED },
	{ CALL_CMD_PLAY, 1, 412, ARI_SETTLED, CALL_IN_PLAY_REFUSED },
	{ CALL_CMD_PLAY, 1, 500, ARI_SETTLED, CALL_IN_PLAY_REFUSED },
	{ CALL_CMD_PLAY_STOP, 1, 204, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_PLAY_STOP, 1, 404, ARI_SETTLED, CALL_INPUT_COUNT },
	{ CALL_CMD_PLAY_STOP, 2, 500, ARI_TRY_AGAIN, CALL_INPUT_COUNT },
	{ CALL_CMD_PLAY_STOP, 3, 500, ARI_SETTLED, CALL_INPUT_COUNT },
	/* there already at the first try: a stranger's */
	{ CALL_CMD_ORIGINATE, 1, 409, ARI_SETTLED, CALL_IN_ORIGINATE_REFUSED },
	{ CALL_CMD_BRIDGE_CREATE, 1, 409, ARI_SETTLED, CALL_IN_BRIDGE_FAILED },
};

static void
test_replies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		const struct reply_row *row = &replies[i];
		enum call_input_kind input;

		assert_int_equal(ari_reply_meaning(row->kind, row->tries,
		    row->status, &input), row->verdict);
		if (input != row->input)
			fail_msg("%s %d gave %d", call_command_name(row->kind),
			    row->status, (int)input);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_no_caller_id),
		cmocka_unit_test(test_own_amd),
		cmocka_unit_test(test_play_targets),
		cmocka_unit_test(test_bridge_join),
		cmocka_unit_test(test_long_play),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
