/*
 * Idempotency keys over a real store: what a record goes through by itself,
 * and what the steps of its call make of it. Each transition is also given up
 * half-way, as by a crash, and must not have happened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lmdb.h>

#include "shared/call_table.h"
#include "shared/idempotency.h"
#include "shared/outbox.h"
#include "store_fixture.h"

#define KEY_ID 12
#define WALL_MS 1720012345000LL
#define NOW_MS 5000000LL
#define KEEP_MS 86400000LL
#define CALL_1 "1720012345.1001"
#define CALL_2 "1720012345.2001"
#define LATER 3U /* strings that came to the cold record with these keys */

static const struct call_now now = { .wall_ms = WALL_MS,
	.boot_ms = NOW_MS, .originate_timeout_ms = 5000 };

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

static struct idempotency_id
make_id(uint32_t key_id, const char *text)
{
	struct idempotency_id id = { .key_id = key_id };

	assert_int_equal(idempotency_hash(text, id.hash), 0);
	return id;
}

static struct idempotency
make_record(const char *call_id)
{
	struct idempotency record = {
		/* create sets these three right */
		.state = IDEMPOTENCY_REFUSED,
		.attempt = 3,
		.answered_ms = WALL_MS,
		.use_amd = true,
		.trunk_count = 2,
		.ring_timeout_s = 45,
		.credits = 1234567890123LL,
		.voice = "en-US-Neural2-A",
		.trunks = { "one", "two" },
	};

	strncpy(record.call_id, call_id, sizeof(record.call_id) - 1);
	memset(record.body_hash, 0xab, sizeof(record.body_hash));
	return record;
}

static void
create(struct store_txn *txn, const struct idempotency_id *id,
    const char *call_id, int64_t now_ms)
{
	struct idempotency record = make_record(call_id);

	assert_int_equal(idempotency_create(txn, id, &record, KEEP_MS,
	    now_ms, now_ms), 0);
}

static int
settle(struct store_txn *txn, const struct idempotency_id *id,
    const char *call_id, enum idempotency_state to)
{
	struct call call = { .attempt = 2 };

	strncpy(call.id, call_id, sizeof(call.id) - 1);
	return idempotency_settle(txn, id, &call, to, WALL_MS + 7);
}

static uint64_t
count(struct store_txn *txn, enum store_table table)
{
	uint64_t n;

	assert_int_equal(store_count(txn, table, &n), 0);
	return n;
}

/* The state of a record, -KAP_NOENT without one. */
static int
state_at(struct store_txn *txn, const struct idempotency_id *id,
    int64_t now_ms)
{
	struct idempotency record;
	const int rc = idempotency_find(txn, id, now_ms, &record);

	return rc != 0 ? rc : (int)record.state;
}

/* --- texts and hashes -------------------------------------------------- */

static void
test_texts(void **state)
{
	static const struct {
		const char *name;
		const char *text;
		bool valid;
	} rows[] = {
		{ "uuid", "8e03978e-40d5-43e8-bc93-6894a57f9326", true },
		{ "one", "x", true },
		{ "space", "a b", true },
		{ "first and last", " ~", true },
		{ "quotes", "\"abc\"", true },
		{ "empty", "", false },
		{ "tab", "a\tb", false },
		{ "delete", "a\177", false },
		{ "control", "a\001", false },
		{ "utf-8", "\303\244", false },
	};
	char text[IDEMPOTENCY_TEXT_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (idempotency_text_is_valid(rows[i].text) != rows[i].valid)
			fail_msg("%s", rows[i].name);
	}
	memset(text, 'k', sizeof(text));
	text[IDEMPOTENCY_TEXT_MAX + 1] = '\0';
	assert_false(idempotency_text_is_valid(text));
	text[IDEMPOTENCY_TEXT_MAX] = '\0';
	assert_true(idempotency_text_is_valid(text));
}

static void
test_hashes(void **state)
{
	/* FIPS 180-2, appendix B.1 */
	static const char abc[] = "ba7816bf8f01cfea414140de5dae2223"
	    "b00361a396177a9cb410ff61f20015ad";
	uint8_t hash[IDEMPOTENCY_HASH_SIZE];
	uint8_t again[IDEMPOTENCY_HASH_SIZE];
	char hex[IDEMPOTENCY_HEX_SIZE];

	(void)state;
	assert_int_equal(idempotency_hash("abc", hash), 0);
	idempotency_format_hash(hash, hex);
	assert_string_equal(hex, abc);
	assert_int_equal(idempotency_parse_hash(hex, again), 0);
	assert_memory_equal(again, hash, sizeof(hash));
	assert_int_equal(idempotency_parse_hash("", again), -KAP_INVAL);
	hex[63] = 'g';
	assert_int_equal(idempotency_parse_hash(hex, again), -KAP_INVAL);
	hex[63] = '\0';
	assert_int_equal(idempotency_parse_hash(hex, again), -KAP_INVAL);
}

/* --- records by themselves --------------------------------------------- */

static void
test_all_fields_come_back(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	struct idempotency record;

	assert_int_equal(idempotency_find(txn, &id, NOW_MS, &record),
	    -KAP_NOENT);
	create(txn, &id, CALL_1, NOW_MS);
	assert_int_equal(idempotency_find(txn, &id, NOW_MS, &record), 0);
	assert_int_equal(record.state, IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(record.attempt, 0);
	assert_int_equal(record.answered_ms, 0);
	assert_int_equal(record.expires_ms, NOW_MS + KEEP_MS);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE), 0);
	assert_int_equal(store_commit(&txn), 0);

	txn = begin(state);
	assert_int_equal(idempotency_find(txn, &id, NOW_MS, &record), 0);
	assert_int_equal(record.state, IDEMPOTENCY_MADE);
	assert_true(record.use_amd);
	assert_int_equal(record.attempt, 2);
	assert_int_equal(record.answered_ms, WALL_MS + 7);
	assert_int_equal(record.expires_ms, NOW_MS + KEEP_MS);
	assert_int_equal(record.ring_timeout_s, 45);
	assert_int_equal(record.credits, 1234567890123LL);
	assert_string_equal(record.call_id, CALL_1);
	assert_int_equal(record.body_hash[0], 0xab);
	assert_int_equal(record.body_hash[31], 0xab);
	assert_string_equal(record.voice, "en-US-Neural2-A");
	assert_int_equal(record.trunk_count, 2);
	assert_string_equal(record.trunks[0], "one");
	assert_string_equal(record.trunks[1], "two");
	assert_string_equal(record.trunks[2], "");
	store_abort(&txn);
}

static void
test_only_its_call_settles_once(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);

	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE),
	    -KAP_NOENT);
	create(txn, &id, CALL_1, NOW_MS);
	assert_int_equal(settle(txn, &id, CALL_2, IDEMPOTENCY_MADE),
	    -KAP_NOENT);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_REFUSED), 0);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE),
	    -KAP_NOENT);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_REFUSED);
	store_abort(&txn);
}

/* One who was told of a call that was given up has his key free in a while. */
static void
test_a_told_key_is_free_soon(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);

	create(txn, &id, CALL_1, NOW_MS);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_GIVEN_UP), 0);
	assert_int_equal(idempotency_told(txn, &id, CALL_2, NOW_MS), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_GIVEN_UP);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS + 300),
	    0);
	/* who is told again has not longer to wait */
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS + 500),
	    0);
	assert_int_equal(state_at(txn, &id, NOW_MS + 299),
	    IDEMPOTENCY_GIVEN_UP);
	assert_int_equal(state_at(txn, &id, NOW_MS + 300), -KAP_NOENT);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 1);
	assert_int_equal(idempotency_prune(txn, NOW_MS + 300, 4), 1);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY), 0);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 0);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS), 0);
	create(txn, &id, CALL_2, NOW_MS + 1);
	assert_int_equal(settle(txn, &id, CALL_2, IDEMPOTENCY_MADE), 0);
	store_abort(&txn);
}

static void
test_api_keys_never_meet(void **state)
{
	const struct idempotency_id mine = make_id(KEY_ID, "k");
	const struct idempotency_id other = make_id(KEY_ID + 1, "k");
	const struct idempotency_id second = make_id(KEY_ID, "K");
	struct store_txn *txn = begin(state);

	create(txn, &mine, CALL_1, NOW_MS);
	assert_int_equal(state_at(txn, &other, NOW_MS), -KAP_NOENT);
	assert_int_equal(state_at(txn, &second, NOW_MS), -KAP_NOENT);
	create(txn, &other, CALL_2, NOW_MS);
	assert_int_equal(settle(txn, &other, CALL_2, IDEMPOTENCY_MADE), 0);
	assert_int_equal(state_at(txn, &mine, NOW_MS),
	    IDEMPOTENCY_UNDER_WAY);
	store_abort(&txn);
}

static void
test_what_is_given_up_never_was(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);

	create(txn, &id, CALL_1, NOW_MS);
	store_abort(&txn);
	txn = begin(state);
	assert_int_equal(state_at(txn, &id, NOW_MS), -KAP_NOENT);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 0);
	create(txn, &id, CALL_1, NOW_MS);
	assert_int_equal(store_commit(&txn), 0);

	txn = begin(state);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE), 0);
	store_abort(&txn);
	txn = begin(state);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_GIVEN_UP), 0);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS), 0);
	store_abort(&txn);
	txn = begin(state);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE), 0);
	store_abort(&txn);
}

/* --- age ---------------------------------------------------------------- */

static void
test_answers_expire(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	const int64_t end_ms = NOW_MS + KEEP_MS;
	struct store_txn *txn = begin(state);

	create(txn, &id, CALL_1, NOW_MS);
	/* what is under way stays: there must be no second call */
	assert_int_equal(state_at(txn, &id, end_ms + 1),
	    IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE), 0);
	assert_int_equal(state_at(txn, &id, end_ms - 1), IDEMPOTENCY_MADE);
	assert_int_equal(state_at(txn, &id, end_ms), -KAP_NOENT);
	assert_int_equal(state_at(txn, &id, 0), IDEMPOTENCY_MADE);
	create(txn, &id, CALL_2, end_ms);
	assert_int_equal(state_at(txn, &id, end_ms), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY), 1);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 1);
	store_abort(&txn);
}

/* An older one of the same key may still be there, behind others. */
static void
test_a_new_record_takes_the_old_ones_place(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "last");
	struct store_txn *txn = begin(state);
	char text[16];

	for (int i = 0; i < 10; i++) {
		struct idempotency_id other;

		snprintf(text, sizeof(text), "other %d", i);
		other = make_id(KEY_ID, text);
		create(txn, &other, CALL_1, NOW_MS + i);
		assert_int_equal(settle(txn, &other, CALL_1,
		    IDEMPOTENCY_MADE), 0);
	}
	create(txn, &id, CALL_1, NOW_MS + 10);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE), 0);
	create(txn, &id, CALL_2, NOW_MS + KEEP_MS + 10);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY), 7); /* four pruned */
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 7);
	assert_int_equal(idempotency_prune(txn, NOW_MS + KEEP_MS + 10,
	    IDEMPOTENCY_PRUNE_MAX), 6);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY), 1);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_UNDER_WAY);
	store_abort(&txn);
}

static void
test_prune(void **state)
{
	struct store_txn *txn = begin(state);
	struct idempotency_id ids[100];
	char text[16];

	assert_int_equal(idempotency_is_due(txn, NOW_MS), 0);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "k%d", i);
		ids[i] = make_id(KEY_ID, text);
		create(txn, &ids[i], CALL_1, NOW_MS + i);
		assert_int_equal(settle(txn, &ids[i], CALL_1,
		    IDEMPOTENCY_MADE), 0);
	}
	assert_int_equal(idempotency_is_due(txn, NOW_MS + KEEP_MS - 1), 0);
	assert_int_equal(idempotency_is_due(txn, NOW_MS + KEEP_MS), 1);
	assert_int_equal(idempotency_prune(txn, NOW_MS + KEEP_MS - 1, 10), 0);
	/* the oldest first, no more than asked for */
	assert_int_equal(idempotency_prune(txn, NOW_MS + KEEP_MS + 50, 10),
	    10);
	assert_int_equal(state_at(txn, &ids[9], 0), -KAP_NOENT);
	assert_int_equal(state_at(txn, &ids[10], 0), IDEMPOTENCY_MADE);
	/* none that is young enough */
	assert_int_equal(idempotency_prune(txn, NOW_MS + KEEP_MS + 50,
	    IDEMPOTENCY_PRUNE_MAX), 41);
	assert_int_equal(state_at(txn, &ids[51], 0), IDEMPOTENCY_MADE);
	/* never more than there is room for */
	assert_int_equal(idempotency_prune(txn, NOW_MS + 2 * KEEP_MS, 1000),
	    49);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY), 0);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 0);
	store_abort(&txn);
}

/* Where room is short, each new one sends the oldest away. */
static void
test_room_for_new_ones(void **state)
{
	const struct idempotency_id last = make_id(KEY_ID, "last");
	struct idempotency record = make_record(CALL_2);
	struct idempotency_id ids[6];
	struct store_txn *txn = begin(state);

	for (int i = 0; i < 6; i++) {
		char text[8];

		snprintf(text, sizeof(text), "k%d", i);
		ids[i] = make_id(KEY_ID, text);
		create(txn, &ids[i], CALL_1, NOW_MS + i);
		if (i > 0)
			assert_int_equal(settle(txn, &ids[i], CALL_1,
			    IDEMPOTENCY_MADE), 0);
	}
	assert_int_equal(idempotency_create(txn, &last, &record, KEEP_MS,
	    NOW_MS + 6, NOW_MS + 6 + KEEP_MS), 0);
	/* four were looked at; the one under way stays */
	assert_int_equal(state_at(txn, &ids[0], 0), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(state_at(txn, &ids[1], 0), -KAP_NOENT);
	assert_int_equal(state_at(txn, &ids[3], 0), -KAP_NOENT);
	assert_int_equal(state_at(txn, &ids[4], 0), IDEMPOTENCY_MADE);
	assert_int_equal(state_at(txn, &last, 0), IDEMPOTENCY_UNDER_WAY);
	store_abort(&txn);
}

static void
test_prune_spares_what_is_under_way(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "under way");
	const struct idempotency_id next = make_id(KEY_ID, "next");
	const int64_t late_ms = NOW_MS + KEEP_MS + 1000;
	struct store_txn *txn = begin(state);

	create(txn, &id, CALL_1, NOW_MS);
	create(txn, &next, CALL_2, NOW_MS + 1);
	assert_int_equal(settle(txn, &next, CALL_2, IDEMPOTENCY_MADE), 0);
	/* and it doesn't stand in the others' way */
	assert_int_equal(idempotency_prune(txn, late_ms, 1), 1);
	assert_int_equal(idempotency_prune(txn, late_ms, 1), 1);
	assert_int_equal(idempotency_prune(txn, late_ms, 1), 0);
	assert_int_equal(state_at(txn, &id, late_ms), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY), 1);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 1);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_MADE), 0);
	assert_int_equal(idempotency_prune(txn, late_ms + KEEP_MS, 4), 1);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 0);
	store_abort(&txn);
}

/* --- the stored form ----------------------------------------------------- */

static void
key_of(const struct idempotency_id *id, uint8_t key[36])
{
	store_put_be32(key, id->key_id);
	memcpy(key + 4, id->hash, 32);
}

static struct store_value
raw_value(struct store_txn *txn, const struct idempotency_id *id)
{
	struct store_value value = { NULL, 0 };
	uint8_t key[36];

	key_of(id, key);
	assert_int_equal(store_get(txn, STORE_IDEMPOTENCY, key, sizeof(key),
	    &value), 0);
	return value;
}

static void
put_raw(struct store_txn *txn, const struct idempotency_id *id,
    const uint8_t *bytes, size_t len)
{
	uint8_t key[36];

	key_of(id, key);
	assert_int_equal(store_put(txn, STORE_IDEMPOTENCY, key, sizeof(key),
	    bytes, len), 0);
}

static void
test_sizes(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	struct idempotency record = make_record(CALL_1);
	struct idempotency found;

	create(txn, &id, CALL_1, NOW_MS);
	assert_in_range(raw_value(txn, &id).len, 1, 200);
	record.trunk_count = CALL_TRUNKS_MAX;
	memset(record.voice, 'v', CALL_VOICE_MAX);
	for (int i = 0; i < CALL_TRUNKS_MAX; i++)
		memset(record.trunks[i], 'a' + i, CALL_TRUNK_NAME_MAX);
	assert_int_equal(idempotency_create(txn, &id, &record, KEEP_MS,
	    NOW_MS, NOW_MS), 0);
	assert_in_range(raw_value(txn, &id).len, 500, 2000);
	assert_int_equal(idempotency_find(txn, &id, NOW_MS, &found), 0);
	assert_string_equal(found.voice, record.voice);
	for (int i = 0; i < CALL_TRUNKS_MAX; i++)
		assert_string_equal(found.trunks[i], record.trunks[i]);
	record.trunk_count = CALL_TRUNKS_MAX + 1;
	assert_int_equal(idempotency_create(txn, &id, &record, KEEP_MS,
	    NOW_MS, NOW_MS), -KAP_INVAL);
	store_abort(&txn);
}

/* A later version's head is longer; its strings follow all the same. */
static void
test_a_head_that_has_grown(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	struct idempotency record;
	struct store_value value;
	uint8_t bytes[512];
	uint16_t words[2];

	create(txn, &id, CALL_1, NOW_MS);
	value = raw_value(txn, &id);
	memcpy(words, value.data, sizeof(words));
	assert_int_equal(words[0], IDEMPOTENCY_VERSION);
	memcpy(bytes, value.data, words[1]);
	memset(bytes + words[1], 0xee, 16);
	memcpy(bytes + words[1] + 16, (const uint8_t *)value.data + words[1],
	    value.len - words[1]);
	words[0]++;
	words[1] = (uint16_t)(words[1] + 16);
	memcpy(bytes, words, sizeof(words));
	put_raw(txn, &id, bytes, value.len + 16);
	assert_int_equal(idempotency_find(txn, &id, NOW_MS, &record), 0);
	assert_string_equal(record.call_id, CALL_1);
	assert_string_equal(record.voice, "en-US-Neural2-A");
	assert_string_equal(record.trunks[1], "two");
	store_abort(&txn);
}

static void
test_damaged_records(void **state)
{
	static const struct {
		const char *name;
		size_t at; /* of a byte that is changed */
		uint8_t byte;
	} rows[] = {
		{ "head too short", 2, 8 },
		{ "strings behind the end", 3, 0x7f },
		{ "unknown state", 4, IDEMPOTENCY_STATE_COUNT },
		{ "too many trunks", 7, CALL_TRUNKS_MAX + 1 },
		{ "a trunk too many", 7, 3 },
	};
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct idempotency record;
	struct store_value value;
	uint8_t bytes[512];
	struct store_txn *txn;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		txn = begin(state);
		create(txn, &id, CALL_1, NOW_MS);
		value = raw_value(txn, &id);
		memcpy(bytes, value.data, value.len);
		bytes[rows[i].at] = rows[i].byte;
		put_raw(txn, &id, bytes, value.len);
		if (idempotency_find(txn, &id, NOW_MS, &record) !=
		    -KAP_CORRUPT)
			fail_msg("%s", rows[i].name);
		/* it goes like any other */
		assert_int_equal(idempotency_prune(txn, NOW_MS + KEEP_MS, 1),
		    1);
		assert_int_equal(count(txn, STORE_IDEMPOTENCY), 0);
		store_abort(&txn);
	}
	txn = begin(state);
	create(txn, &id, CALL_1, NOW_MS);
	value = raw_value(txn, &id);
	for (size_t len = 0; len < value.len; len++) {
		memcpy(bytes, value.data, value.len);
		put_raw(txn, &id, bytes, len);
		assert_int_equal(idempotency_find(txn, &id, NOW_MS, &record),
		    -KAP_CORRUPT);
		put_raw(txn, &id, bytes, value.len);
		value = raw_value(txn, &id);
	}
	store_abort(&txn);
}

/* Strings as long as they may be, and each of them a byte longer. */
static void
test_strings_too_long(void **state)
{
	static const struct {
		size_t lens[3]; /* the voice, two trunks */
		int rc;
	} rows[] = {
		{ { CALL_VOICE_MAX, CALL_TRUNK_NAME_MAX, CALL_TRUNK_NAME_MAX },
		    0 },
		{ { CALL_VOICE_MAX + 1, 1, 1 }, -KAP_CORRUPT },
		{ { 1, CALL_TRUNK_NAME_MAX + 1, 1 }, -KAP_CORRUPT },
		{ { 1, 1, CALL_TRUNK_NAME_MAX + 1 }, -KAP_CORRUPT },
	};
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	struct idempotency record;
	uint8_t bytes[512];
	uint16_t words[2];

	create(txn, &id, CALL_1, NOW_MS);
	memcpy(words, raw_value(txn, &id).data, sizeof(words));
	memcpy(bytes, raw_value(txn, &id).data, words[1]);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = words[1];

		for (int j = 0; j < 3; j++) {
			memset(bytes + len, 'x', rows[i].lens[j]);
			len += rows[i].lens[j];
			bytes[len++] = '\0';
		}
		put_raw(txn, &id, bytes, len);
		if (idempotency_find(txn, &id, NOW_MS, &record) != rows[i].rc)
			fail_msg("row %zu", i);
	}
	store_abort(&txn);
}

/* A damaged record's place is taken; what is left of it harms nobody. */
static void
test_a_damaged_record_is_replaced(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);

	create(txn, &id, CALL_1, NOW_MS);
	put_raw(txn, &id, (const uint8_t *)"x", 1);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS),
	    -KAP_CORRUPT);
	create(txn, &id, CALL_2, NOW_MS + 1000);
	assert_int_equal(settle(txn, &id, CALL_2, IDEMPOTENCY_MADE), 0);
	/* the old one's end isn't the new one's */
	assert_int_equal(idempotency_prune(txn, NOW_MS + KEEP_MS, 4), 1);
	assert_int_equal(state_at(txn, &id, NOW_MS + KEEP_MS),
	    IDEMPOTENCY_MADE);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 1);

	/* and the new one may be gone before it */
	put_raw(txn, &id, (const uint8_t *)"x", 1);
	create(txn, &id, CALL_1, NOW_MS + 2000);
	assert_int_equal(settle(txn, &id, CALL_1, IDEMPOTENCY_GIVEN_UP), 0);
	assert_int_equal(idempotency_told(txn, &id, CALL_1, NOW_MS + 2000),
	    0);
	assert_int_equal(idempotency_prune(txn, NOW_MS + 2 * KEEP_MS, 4), 2);
	assert_int_equal(count(txn, STORE_IDEMPOTENCY_AGE), 0);
	store_abort(&txn);
}

/* What stands in the order of age and can't be read is told of. */
static void
test_a_damaged_order_of_age(void **state)
{
	struct store_txn *txn = begin(state);

	assert_int_equal(store_put(txn, STORE_IDEMPOTENCY_AGE, "x", 1, "", 0),
	    0);
	assert_int_equal(idempotency_is_due(txn, INT64_MAX), -KAP_CORRUPT);
	assert_int_equal(idempotency_prune(txn, INT64_MAX, 1), -KAP_CORRUPT);
	store_abort(&txn);
}

/* A store of a build that knew no such tables gets them. */
static void
test_a_store_without_the_tables(void **state)
{
	static const char *const names[] = { "idempotency",
		"idempotency_age" };
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_fixture *fixture = *state;
	struct kap_errmsg msg;
	struct store_txn *txn;
	char path[128];
	MDB_env *env;
	MDB_txn *raw;
	MDB_dbi dbi;

	store_close(&fixture->store);
	snprintf(path, sizeof(path), "%s/store", fixture->dir);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
	assert_int_equal(mdb_env_open(env, path, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &raw), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mdb_dbi_open(raw, names[i], 0, &dbi), 0);
		assert_int_equal(mdb_drop(raw, dbi, 1), 0);
	}
	assert_int_equal(mdb_txn_commit(raw), 0);
	mdb_env_close(env);

	assert_int_equal(store_open(&fixture->store, fixture->dir, 64,
	    DURABILITY_RELAXED, &msg), 0);
	txn = begin(state);
	create(txn, &id, CALL_1, NOW_MS);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_UNDER_WAY);
	store_abort(&txn);
}

/* --- with its call -------------------------------------------------------- */

static void
create_call(struct store_txn *txn, const char *text, char id_out[CALL_ID_SIZE])
{
	const struct idempotency_id id = make_id(KEY_ID, text);
	char hex[IDEMPOTENCY_HEX_SIZE];
	const struct call_cold cold = {
		.webhook_url = "",
		.voice = "en-US-Neural2-A",
		.trunk_count = 2,
		.trunk_names = { "one", "two" },
		.endpoints = { "PJSIP/00x@one", "PJSIP/00x@two" },
		.idempotency = hex,
	};
	struct call call = {
		.key_id = KEY_ID,
		.trunk_count = 2,
		.ring_timeout_s = 45,
		.max_duration_s = 60,
		.flags = CALL_F_IDEMPOTENT,
		.number = "14155550100",
	};
	struct call_step step;

	idempotency_format_hash(id.hash, hex);
	assert_int_equal(call_table_create(txn, &call, &cold, 1, &now, &step),
	    0);
	memcpy(id_out, step.call.id, CALL_ID_SIZE);
	create(txn, &id, id_out, NOW_MS);
}

static int
step_call(struct store_txn *txn, const char *id, enum call_input_kind kind)
{
	const struct call_input input = {
		.kind = kind,
		.cause = 17,
		.timer = CALL_TIMER_ORIGINATE,
		.at_ms = WALL_MS,
	};
	struct call_step step;

	return call_table_step(txn, id, &input, &now, &step);
}

#define STEPS_MAX 4

/* What a row of steps makes of the record of a call; 0 ends the row. */
static void
test_outcomes(void **state)
{
	static const struct {
		const char *name;
		enum call_input_kind steps[STEPS_MAX];
		int expect;  /* enum idempotency_state */
		int attempt;
	} rows[] = {
		{ "not decided", { CALL_IN_CREATE }, IDEMPOTENCY_UNDER_WAY,
		    0 },
		{ "one trunk refused", { CALL_IN_ORIGINATE_REFUSED },
		    IDEMPOTENCY_UNDER_WAY, 0 },
		{ "reply", { CALL_IN_ORIGINATE_OK }, IDEMPOTENCY_MADE, 1 },
		{ "event before the reply", { CALL_IN_SEEN },
		    IDEMPOTENCY_MADE, 1 },
		{ "ringing", { CALL_IN_RINGING }, IDEMPOTENCY_MADE, 1 },
		{ "answered at once", { CALL_IN_UP }, IDEMPOTENCY_MADE, 1 },
		{ "busy at once", { CALL_IN_DESTROYED }, IDEMPOTENCY_MADE,
		    1 },
		{ "second trunk", { CALL_IN_ORIGINATE_REFUSED,
		    CALL_IN_ORIGINATE_OK }, IDEMPOTENCY_MADE, 2 },
		{ "all trunks refused", { CALL_IN_ORIGINATE_REFUSED,
		    CALL_IN_ORIGINATE_REFUSED }, IDEMPOTENCY_REFUSED, 2 },
		{ "later steps", { CALL_IN_RINGING, CALL_IN_UP,
		    CALL_IN_DESTROYED }, IDEMPOTENCY_MADE, 1 },
		{ "hung up before the reply", { CALL_IN_HANGUP },
		    IDEMPOTENCY_UNDER_WAY, 0 },
		{ "hung up, then refused", { CALL_IN_HANGUP,
		    CALL_IN_ORIGINATE_REFUSED }, IDEMPOTENCY_MADE, 1 },
		{ "no reply", { CALL_IN_TIMER }, IDEMPOTENCY_GIVEN_UP, 1 },
		{ "no reply, then one", { CALL_IN_TIMER,
		    CALL_IN_ORIGINATE_OK, CALL_IN_DESTROYED },
		    IDEMPOTENCY_GIVEN_UP, 1 },
		{ "no reply, then lost", { CALL_IN_TIMER, CALL_IN_LOST },
		    IDEMPOTENCY_GIVEN_UP, 1 },
		{ "lost: it may have rung", { CALL_IN_LOST },
		    IDEMPOTENCY_MADE, 1 },
		{ "its asterisk lost", { CALL_IN_MEDIA_SERVER_LOST },
		    IDEMPOTENCY_MADE, 1 },
	};
	const struct idempotency_id id = make_id(KEY_ID, "k");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store_txn *txn = begin(state);
		struct idempotency record = { .attempt = 0 };
		char call_id[CALL_ID_SIZE];
		int rc;

		create_call(txn, "k", call_id);
		for (int j = 0; j < STEPS_MAX && rows[i].steps[j] != 0; j++) {
			if (step_call(txn, call_id, rows[i].steps[j]) != 0)
				fail_msg("%s: step %d", rows[i].name, j);
		}
		rc = idempotency_find(txn, &id, NOW_MS, &record);
		if ((rc != 0 ? rc : (int)record.state) != rows[i].expect)
			fail_msg("%s: %d, %d", rows[i].name, rc,
			    (int)record.state);
		if (rc == 0 && record.attempt != rows[i].attempt)
			fail_msg("%s: attempt %u", rows[i].name,
			    record.attempt);
		if (record.answered_ms != (record.attempt > 0 ? WALL_MS : 0))
			fail_msg("%s: answered at another time",
			    rows[i].name);
		store_abort(&txn);
	}
}

/* The step and what the key stands for are one. */
static void
test_step_and_outcome_are_one(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	char call_id[CALL_ID_SIZE];
	struct call call;

	create_call(txn, "k", call_id);
	assert_int_equal(store_commit(&txn), 0);
	txn = begin(state);
	assert_int_equal(step_call(txn, call_id, CALL_IN_ORIGINATE_OK), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_MADE);
	store_abort(&txn);

	txn = begin(state);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_UNDER_WAY);
	assert_int_equal(call_table_get(txn, call_id, &call), 0);
	assert_int_equal(call.state, CALL_QUEUED);
	assert_true((call.flags & CALL_F_IDEMPOTENT) != 0);
	assert_int_equal(step_call(txn, call_id, CALL_IN_ORIGINATE_OK), 0);
	assert_int_equal(store_commit(&txn), 0);
	txn = begin(state);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_MADE);
	assert_int_equal(call_table_get(txn, call_id, &call), 0);
	assert_true((call.flags & CALL_F_IDEMPOTENT) == 0);
	store_abort(&txn);
}

static void
test_the_answer_outlives_the_call(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	struct call call;
	char call_id[CALL_ID_SIZE];

	create_call(txn, "k", call_id);
	assert_int_equal(call_table_get(txn, call_id, &call), 0);
	assert_int_equal(step_call(txn, call_id, CALL_IN_DESTROYED), 0);
	assert_int_equal(outbox_settle(txn, call_id, call.command_seq), 0);
	assert_int_equal(count(txn, STORE_CALLS), 0);
	assert_int_equal(count(txn, STORE_CALL_COLD), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_MADE);
	store_abort(&txn);
}

/* An abandoned call that shows up late leaves the next one's record alone. */
static void
test_a_late_call_settles_nothing(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	struct idempotency record;
	char first[CALL_ID_SIZE];
	char second[CALL_ID_SIZE];

	create_call(txn, "k", first);
	assert_int_equal(step_call(txn, first, CALL_IN_TIMER), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), IDEMPOTENCY_GIVEN_UP);
	assert_int_equal(idempotency_told(txn, &id, first, NOW_MS), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), -KAP_NOENT);
	create_call(txn, "k", second);
	assert_int_equal(step_call(txn, first, CALL_IN_ORIGINATE_OK), 0);
	assert_int_equal(step_call(txn, first, CALL_IN_DESTROYED), 0);
	assert_int_equal(idempotency_find(txn, &id, NOW_MS, &record), 0);
	assert_int_equal(record.state, IDEMPOTENCY_UNDER_WAY);
	assert_string_equal(record.call_id, second);
	store_abort(&txn);
}

/* A record that is not there any more holds up no call. */
static void
test_a_call_without_its_record(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	char call_id[CALL_ID_SIZE];

	create_call(txn, "k", call_id);
	assert_int_equal(settle(txn, &id, call_id, IDEMPOTENCY_MADE), 0);
	assert_int_equal(idempotency_prune(txn, INT64_MAX, 4), 1);
	assert_int_equal(step_call(txn, call_id, CALL_IN_ORIGINATE_OK), 0);
	assert_int_equal(state_at(txn, &id, NOW_MS), -KAP_NOENT);
	store_abort(&txn);
}

static void
test_a_call_with_a_damaged_record(void **state)
{
	const struct idempotency_id id = make_id(KEY_ID, "k");
	struct store_txn *txn = begin(state);
	char call_id[CALL_ID_SIZE];
	struct call call;

	create_call(txn, "k", call_id);
	put_raw(txn, &id, (const uint8_t *)"x", 1);
	assert_int_equal(step_call(txn, call_id, CALL_IN_ORIGINATE_OK), 0);
	assert_int_equal(call_table_get(txn, call_id, &call), 0);
	assert_int_equal(call.state, CALL_DIALING);
	store_abort(&txn);
}

/* Which key it stands for is a part of the call: no step without it. */
static void
test_a_call_without_its_hash(void **state)
{
	struct store_txn *txn = begin(state);
	const struct call_cold cold = {
		.webhook_url = "",
		.voice = "",
		.trunk_count = 1,
		.trunk_names = { "one" },
		.endpoints = { "PJSIP/00x@one" },
		.idempotency = "0123",
	};
	char call_id[CALL_ID_SIZE];

	create_call(txn, "k", call_id);
	assert_int_equal(call_cold_put(txn, call_id, &cold), 0);
	assert_int_equal(step_call(txn, call_id, CALL_IN_ORIGINATE_OK),
	    -KAP_CORRUPT);
	store_abort(&txn);
}

/* The cold record as it was written before there were such keys. */
static void
test_an_older_cold_record(void **state)
{
	struct store_txn *txn = begin(state);
	struct call_cold cold = {
		.webhook_url = "https://example.com/hook",
		.voice = "en-US-Neural2-A",
		.trunk_count = 1,
		.trunk_names = { "one" },
		.endpoints = { "PJSIP/00x@one" },
		.idempotency = "0123",
	};
	struct store_value value;
	uint8_t bytes[512];
	uint16_t words[3];
	size_t head;

	assert_int_equal(call_cold_put(txn, CALL_1, &cold), 0);
	assert_int_equal(call_cold_get(txn, CALL_1, &cold), 0);
	assert_string_equal(cold.idempotency, "0123");
	assert_int_equal(store_get(txn, STORE_CALL_COLD, CALL_1,
	    strlen(CALL_1), &value), 0);
	memcpy(words, value.data, sizeof(words));
	head = (3 + (size_t)words[1]) * sizeof(uint16_t);
	words[1] = (uint16_t)(words[1] - LATER);
	memcpy(bytes, words, sizeof(words));
	memcpy(bytes + sizeof(words), (const uint8_t *)value.data +
	    sizeof(words), head - sizeof(words) - LATER * sizeof(uint16_t));
	memcpy(bytes + head - LATER * sizeof(uint16_t),
	    (const uint8_t *)value.data + head, value.len - head);
	assert_int_equal(store_put(txn, STORE_CALL_COLD, CALL_2,
	    strlen(CALL_2), bytes, value.len - LATER * sizeof(uint16_t)), 0);
	assert_int_equal(call_cold_get(txn, CALL_2, &cold), 0);
	assert_string_equal(cold.webhook_url, "https://example.com/hook");
	assert_string_equal(cold.endpoints[0], "PJSIP/00x@one");
	assert_string_equal(cold.idempotency, "");
	assert_string_equal(cold.amd, "");
	assert_string_equal(cold.webhook_secrets, "");
	store_abort(&txn);
}

#define ON_STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_hashes),
		ON_STORE(test_all_fields_come_back),
		ON_STORE(test_only_its_call_settles_once),
		ON_STORE(test_a_told_key_is_free_soon),
		ON_STORE(test_api_keys_never_meet),
		ON_STORE(test_room_for_new_ones),
		ON_STORE(test_what_is_given_up_never_was),
		ON_STORE(test_answers_expire),
		ON_STORE(test_a_new_record_takes_the_old_ones_place),
		ON_STORE(test_prune),
		ON_STORE(test_prune_spares_what_is_under_way),
		ON_STORE(test_sizes),
		ON_STORE(test_a_head_that_has_grown),
		ON_STORE(test_damaged_records),
		ON_STORE(test_strings_too_long),
		ON_STORE(test_a_damaged_record_is_replaced),
		ON_STORE(test_a_damaged_order_of_age),
		ON_STORE(test_a_store_without_the_tables),
		ON_STORE(test_outcomes),
		ON_STORE(test_step_and_outcome_are_one),
		ON_STORE(test_the_answer_outlives_the_call),
		ON_STORE(test_a_late_call_settles_nothing),
		ON_STORE(test_a_call_without_its_record),
		ON_STORE(test_a_call_with_a_damaged_record),
		ON_STORE(test_a_call_without_its_hash),
		ON_STORE(test_an_older_cold_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
