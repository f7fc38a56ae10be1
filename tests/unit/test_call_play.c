/*
 * Playbacks: their names, the text that is told of them, and their records,
 * on a real store.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/call_play.h"
#include "store_fixture.h"

#define ID "1720012345.88001"

struct name_case {
	const char *name;
	int rc;
	enum call_play_kind kind;
	int64_t ms;
};

static const struct name_case names[] = {
	{ "play-" ID "-1720012345678", 0, CALL_PLAY_SOUND, 1720012345678 },
	{ "tts-" ID "-1", 0, CALL_PLAY_SPEECH, 1 },
	{ "gather-" ID "-1720012345678", 0, CALL_PLAY_PROMPT, 1720012345678 },
	{ "", -KAP_INVAL, 0, 0 },
	{ "play-", -KAP_INVAL, 0, 0 },
	{ "play-" ID, -KAP_INVAL, 0, 0 },
	{ "play-" ID "-", -KAP_INVAL, 0, 0 },
	{ "play-" ID "-x", -KAP_INVAL, 0, 0 },
	{ "play-" ID "-1x", -KAP_INVAL, 0, 0 },
	{ "Play-" ID "-1", -KAP_INVAL, 0, 0 },
	{ "call-" ID "-1", -KAP_INVAL, 0, 0 },
	{ "xplay-" ID "-1", -KAP_INVAL, 0, 0 },
	{ "0f7a1c32-5b7e-4f6e-8c1d-77f0a1b2c3d4", -KAP_INVAL, 0, 0 },
};

static void
test_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct name_case *c = &names[i];
		struct call_play_id play;
		char id[CALL_ID_SIZE];
		char back[CALL_NAME_SIZE];

		if (call_play_parse(c->name, id, &play) != c->rc)
			fail_msg("\"%s\"", c->name);
		if (c->rc != 0)
			continue;
		assert_string_equal(id, ID);
		assert_int_equal(play.kind, c->kind);
		assert_int_equal(play.ms, c->ms);
		call_play_name(id, &play, back);
		assert_string_equal(back, c->name);
	}
}

/* The longest of all still has room. */
static void
test_long_names(void **state)
{
	const struct call_play_id play = { .kind = CALL_PLAY_PROMPT,
		.ms = INT64_MAX };
	char name[CALL_NAME_SIZE];

	(void)state;
	call_play_name("123456789012.123456789012345678", &play, name);
	assert_string_equal(name, "gather-123456789012.123456789012345678-"
	    "9223372036854775807");
	assert_string_equal(call_play_target_name(CALL_PLAY_BRIDGE), "bridge");
	assert_string_equal(call_play_target_name(CALL_PLAY_CHANNEL),
	    "channel");
}

struct cut_case {
	const char *name;
	const char *unit; /* the text is this, `count` times */
	size_t count;
	size_t expect; /* units that stay */
};

static const struct cut_case cuts[] = {
	{ "nothing", "a", 0, 0 },
	{ "short", "a", 5, 5 },
	{ "just", "a", 100, 100 },
	{ "long", "a", 101, 100 },
	{ "two bytes each", "\xc3\xa9", 130, 100 },
	{ "three bytes each", "\xe2\x82\xac", 130, 100 },
	{ "four bytes each", "\xf0\x9f\x98\x80", 130, 100 },
};

static void
test_cut_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		const struct cut_case *c = &cuts[i];
		const size_t unit = strlen(c->unit);
		char *text = calloc(1, unit * c->count + 1);
		char out[CALL_PLAY_TEXT_SIZE];

		assert_non_null(text);
		for (size_t n = 0; n < c->count; n++)
			memcpy(text + n * unit, c->unit, unit);
		call_play_cut_text(text, out);
		if (strlen(out) != c->expect * unit ||
		    memcmp(out, text, c->expect * unit) != 0)
			fail_msg("%s: %zu bytes", c->name, strlen(out));
		free(text);
	}
}

/* No byte behind the text's end is read, even if a character is cut there. */
static void
test_cut_broken_text(void **state)
{
	char *text = malloc(3);
	char out[CALL_PLAY_TEXT_SIZE];

	(void)state;
	assert_non_null(text);
	memcpy(text, "a\xf0", 3);
	call_play_cut_text(text, out);
	assert_string_equal(out, "a\xf0");
	free(text);
}

static struct call_play
make(enum call_play_kind kind, int64_t ms, const char *text)
{
	struct call_play play = { .version = CALL_PLAY_VERSION,
		.target = CALL_PLAY_CHANNEL, .state = CALL_PLAY_TAKEN,
		.id = { .kind = (uint8_t)kind, .ms = ms },
		.media = "sound:hello" };

	memcpy(play.text, text, strlen(text) + 1);
	return play;
}

static void
put(struct store_txn *txn, const char *call_id, int64_t ms)
{
	const struct call_play play = make(CALL_PLAY_SOUND, ms, "hello");

	assert_int_equal(call_play_put(txn, call_id, &play), 0);
}

static void
test_records(void **state)
{
	const struct call_play play = make(CALL_PLAY_SPEECH, 7, "Bonjour");
	struct store_fixture fixture;
	struct store_txn *txn;
	struct call_play got;
	struct store_value value;
	const uint8_t key[] = ID "\0\0\0\0\0\0\0\0\7";

	(void)state;
	store_fixture_open(&fixture);
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(call_play_get(txn, ID, &play.id, &got), -KAP_NOENT);
	assert_int_equal(call_play_put(txn, ID, &play), 0);
	memset(&got, 0xa5, sizeof(got));
	assert_int_equal(call_play_get(txn, ID, &play.id, &got), 0);
	assert_memory_equal(&got, &play, sizeof(play));
	/* behind the text nothing is stored */
	assert_int_equal(store_get(txn, STORE_PLAYS, key, sizeof(key) - 1,
	    &value), 0);
	assert_int_equal(value.len, offsetof(struct call_play, text) + 8);
	assert_int_equal(call_play_del(txn, ID, &play.id), 0);
	assert_int_equal(call_play_get(txn, ID, &play.id, &got), -KAP_NOENT);
	store_abort(&txn);
	store_fixture_close(&fixture);
}

/* In order, of this call alone: not of one whose id begins the same. */
static void
test_lists(void **state)
{
	static const int64_t stamps[] = { 300, 1, 70000, 255, 256 };
	static const int64_t sorted[] = { 1, 255, 256, 300, 70000 };
	struct call_play_id plays[8];
	struct store_fixture fixture;
	struct store_txn *txn;

	(void)state;
	store_fixture_open(&fixture);
	assert_int_equal(store_begin_write(fixture.store, &txn), 0);
	assert_int_equal(call_play_list(txn, ID, plays, 8), 0);
	assert_int_equal(call_play_del_all(txn, ID), 0);
	for (size_t i = 0; i < 5; i++)
		put(txn, ID, stamps[i]);
	put(txn, "1720012345.8800", 5);
	put(txn, ID "0", 5);
	assert_int_equal(call_play_list(txn, ID, plays, 8), 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(plays[i].ms, sorted[i]);
	assert_int_equal(call_play_list(txn, ID, plays, 2), 2);
	assert_int_equal(call_play_del_all(txn, ID), 0);
	assert_int_equal(call_play_list(txn, ID, plays, 8), 0);
	assert_int_equal(call_play_list(txn, ID "0", plays, 8), 1);
	assert_int_equal(call_play_list(txn, "1720012345.8800", plays, 8), 1);
	assert_int_equal(call_play_del_all(txn, ID), 0);
	store_abort(&txn);
	store_fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_cut_text),
		cmocka_unit_test(test_cut_broken_text),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
