/*
 * Packs the records of idempotency keys: a fixed head, then the voice and the
 * trunks' names, each with its NUL. Some 200 bytes for a usual one, for there
 * is one for each call of a day. A second table has them by their deadlines.
 */
#include "idempotency.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define KEY_SIZE (4 + IDEMPOTENCY_HASH_SIZE)
#define AGE_KEY_SIZE (8 + KEY_SIZE)
#define STRINGS_MAX_BYTES \
	(CALL_VOICE_MAX + 1 + CALL_TRUNKS_MAX * (CALL_TRUNK_NAME_MAX + 1))
#define PRUNE_WITH_NEW 4
/* What is under way and yet too old is looked at again after this. */
#define UNDER_WAY_AGAIN_MS 60000

/* As it lies in the store; only ever grows at its tail. */
struct head {
	uint16_t version;
	uint16_t strings_at; /* the strings' offset: the head's own size */
	uint8_t state;
	uint8_t use_amd;
	uint8_t attempt;
	uint8_t trunk_count;
	uint16_t ring_timeout_s;
	uint8_t tried; /* 0 in an older program's: all up to `attempt` */
	uint8_t pad[5];
	int64_t answered_ms;
	int64_t expires_ms;
	int64_t credits;
	char call_id[CALL_ID_SIZE];
	uint8_t body_hash[IDEMPOTENCY_HASH_SIZE];
};

#define HEAD_V1_SIZE 104

static_assert(sizeof(struct head) == HEAD_V1_SIZE, "the first version's");
static_assert(sizeof(struct head) + STRINGS_MAX_BYTES <= 2048,
    "a larger value takes whole pages");
static_assert(IDEMPOTENCY_HEX_SIZE == CALL_IDEMPOTENCY_MAX + 1,
    "the cold record has room for the hash");

/* --- hashes -------------------------------------------------------------- */

bool
idempotency_text_is_valid(const char *text)
{
	size_t len = 0;

	for (; text[len] != '\0'; len++) {
		if (text[len] < ' ' || text[len] > '~' ||
		    len == IDEMPOTENCY_TEXT_MAX)
			return false;
	}
	return len > 0;
}

int
idempotency_hash(const char *text, uint8_t hash_out[IDEMPOTENCY_HASH_SIZE])
{
	return EVP_Digest(text, strlen(text), hash_out, NULL, EVP_sha256(),
	    NULL) == 1 ? 0 : -KAP_NOMEM;
}

void
idempotency_format_hash(const uint8_t hash[IDEMPOTENCY_HASH_SIZE],
    char out[IDEMPOTENCY_HEX_SIZE])
{
	for (size_t i = 0; i < IDEMPOTENCY_HASH_SIZE; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

int
idempotency_parse_hash(const char *text,
    uint8_t hash_out[IDEMPOTENCY_HASH_SIZE])
{
	if (strlen(text) == IDEMPOTENCY_HEX_SIZE - 1 &&
	    OPENSSL_hexstr2buf_ex(hash_out, IDEMPOTENCY_HASH_SIZE, NULL, text,
	        '\0') == 1)
		return 0;
	ERR_clear_error();
	return -KAP_INVAL;
}

/* --- records ------------------------------------------------------------- */

static void
make_key(uint8_t key[KEY_SIZE], const struct idempotency_id *id)
{
	store_put_be32(key, id->key_id);
	memcpy(key + 4, id->hash, sizeof(id->hash));
}

static void
make_age_key(uint8_t age_key[AGE_KEY_SIZE], int64_t expires_ms,
    const uint8_t key[KEY_SIZE])
{
	store_put_be64(age_key, (uint64_t)expires_ms);
	memcpy(age_key + 8, key, KEY_SIZE);
}

/* The next string of a value, at most `max` long; NULL if it is bad. */
static const char *
next_string(const struct store_value *value, size_t *at, size_t max)
{
	const char *text = (const char *)value->data + *at;
	const size_t room = value->len - *at;
	const char *end = memchr(text, '\0', room);

	if (end == NULL || (size_t)(end - text) > max)
		return NULL;
	*at += (size_t)(end - text) + 1;
	return text;
}

static int
unpack_strings(const struct store_value *value, size_t at,
    struct idempotency *record)
{
	const char *text = next_string(value, &at, CALL_VOICE_MAX);

	if (text == NULL)
		return -KAP_CORRUPT;
	memcpy(record->voice, text, strlen(text) + 1);
	for (unsigned i = 0; i < record->trunk_count; i++) {
		text = next_string(value, &at, CALL_TRUNK_NAME_MAX);
		if (text == NULL)
			return -KAP_CORRUPT;
		memcpy(record->trunks[i], text, strlen(text) + 1);
	}
	return 0;
}

static int
unpack(const struct store_value *value, struct idempotency *record)
{
	struct head head;

	memset(record, 0, sizeof(*record));
	if (value->len < HEAD_V1_SIZE)
		return -KAP_CORRUPT;
	memcpy(&head, value->data, HEAD_V1_SIZE);
	if (head.strings_at < HEAD_V1_SIZE || head.strings_at > value->len ||
	    head.state >= IDEMPOTENCY_STATE_COUNT ||
	    head.trunk_count > CALL_TRUNKS_MAX ||
	    head.attempt > CALL_TRUNKS_MAX)
		return -KAP_CORRUPT;
	record->state = (enum idempotency_state)head.state;
	record->use_amd = head.use_amd != 0;
	record->attempt = head.attempt;
	record->tried = (uint8_t)(head.tried != 0 ? head.tried :
	    (1U << head.attempt) - 1);
	record->trunk_count = head.trunk_count;
	record->ring_timeout_s = head.ring_timeout_s;
	record->answered_ms = head.answered_ms;
	record->expires_ms = head.expires_ms;
	record->credits = head.credits;
	memcpy(record->call_id, head.call_id, sizeof(record->call_id));
	record->call_id[sizeof(record->call_id) - 1] = '\0';
	memcpy(record->body_hash, head.body_hash, sizeof(record->body_hash));
	return unpack_strings(value, head.strings_at, record);
}

static size_t
add_string(uint8_t *value, size_t at, const char *text, size_t max)
{
	const size_t len = strnlen(text, max);

	memcpy(value + at, text, len);
	value[at + len] = '\0';
	return at + len + 1;
}

static int
get(struct store_txn *txn, const uint8_t key[KEY_SIZE],
    struct idempotency *record_out)
{
	struct store_value value;
	const int rc = store_get(txn, STORE_IDEMPOTENCY, key, KEY_SIZE,
	    &value);

	return rc != 0 ? rc : unpack(&value, record_out);
}

/* Write a record; its place in the order of age is the caller's business. */
static int
put(struct store_txn *txn, const uint8_t key[KEY_SIZE],
    const struct idempotency *record)
{
	uint8_t value[sizeof(struct head) + STRINGS_MAX_BYTES];
	size_t len = sizeof(struct head);
	struct head head = {
		.version = IDEMPOTENCY_VERSION,
		.strings_at = sizeof(head),
		.state = (uint8_t)record->state,
		.use_amd = record->use_amd,
		.attempt = record->attempt,
		.tried = record->tried,
		.trunk_count = record->trunk_count,
		.ring_timeout_s = record->ring_timeout_s,
		.answered_ms = record->answered_ms,
		.expires_ms = record->expires_ms,
		.credits = record->credits,
	};

	memcpy(head.call_id, record->call_id, sizeof(head.call_id));
	memcpy(head.body_hash, record->body_hash, sizeof(head.body_hash));
	memcpy(value, &head, sizeof(head));
	len = add_string(value, len, record->voice, CALL_VOICE_MAX);
	for (unsigned i = 0; i < record->trunk_count; i++)
		len = add_string(value, len, record->trunks[i],
		    CALL_TRUNK_NAME_MAX);
	return store_put(txn, STORE_IDEMPOTENCY, key, KEY_SIZE, value, len);
}

static int
put_age(struct store_txn *txn, const uint8_t key[KEY_SIZE],
    int64_t expires_ms)
{
	uint8_t age_key[AGE_KEY_SIZE];

	make_age_key(age_key, expires_ms, key);
	return store_put(txn, STORE_IDEMPOTENCY_AGE, age_key, sizeof(age_key),
	    "", 0);
}

static int
del_age(struct store_txn *txn, const uint8_t key[KEY_SIZE],
    int64_t expires_ms)
{
	uint8_t age_key[AGE_KEY_SIZE];

	make_age_key(age_key, expires_ms, key);
	return store_del(txn, STORE_IDEMPOTENCY_AGE, age_key,
	    sizeof(age_key));
}

int
idempotency_find(struct store_txn *txn, const struct idempotency_id *id,
    int64_t now_ms, struct idempotency *record_out)
{
	uint8_t key[KEY_SIZE];
	int rc;

	make_key(key, id);
	rc = get(txn, key, record_out);
	if (rc == 0 && record_out->state != IDEMPOTENCY_UNDER_WAY &&
	    record_out->expires_ms <= now_ms)
		return -KAP_NOENT;
	return rc;
}

int
idempotency_create(struct store_txn *txn, const struct idempotency_id *id,
    struct idempotency *record, int64_t keep_ms, int64_t now_ms,
    int64_t old_ms)
{
	struct idempotency old;
	uint8_t key[KEY_SIZE];
	int rc;

	if (record->trunk_count > CALL_TRUNKS_MAX)
		return -KAP_INVAL;
	make_key(key, id);
	rc = idempotency_prune(txn, old_ms, PRUNE_WITH_NEW);
	if (rc < 0)
		return rc;
	rc = get(txn, key, &old);
	if (rc == 0)
		rc = del_age(txn, key, old.expires_ms);
	if (rc != 0 && rc != -KAP_NOENT && rc != -KAP_CORRUPT)
		return rc;
	record->state = IDEMPOTENCY_UNDER_WAY;
	record->attempt = 0;
	record->tried = 0;
	record->answered_ms = 0;
	record->expires_ms = now_ms + keep_ms;
	rc = put(txn, key, record);
	return rc != 0 ? rc : put_age(txn, key, record->expires_ms);
}

/* The record of this very call. */
static int
get_of_call(struct store_txn *txn, const uint8_t key[KEY_SIZE],
    const char *call_id, struct idempotency *record_out)
{
	const int rc = get(txn, key, record_out);

	if (rc != 0)
		return rc;
	return strcmp(record_out->call_id, call_id) == 0 ? 0 : -KAP_NOENT;
}

int
idempotency_settle(struct store_txn *txn, const struct idempotency_id *id,
    const struct call *call, enum idempotency_state state,
    int64_t answered_ms)
{
	struct idempotency record;
	uint8_t key[KEY_SIZE];
	int rc;

	make_key(key, id);
	rc = get_of_call(txn, key, call->id, &record);
	if (rc == 0 && record.state != IDEMPOTENCY_UNDER_WAY)
		rc = -KAP_NOENT;
	if (rc != 0)
		return rc;
	record.state = state;
	record.attempt = call->attempt;
	record.tried = call->trunks_tried;
	record.answered_ms = answered_ms;
	return put(txn, key, &record);
}

int
idempotency_told(struct store_txn *txn, const struct idempotency_id *id,
    const char *call_id, int64_t free_ms)
{
	struct idempotency record;
	uint8_t key[KEY_SIZE];
	int rc;

	make_key(key, id);
	rc = get_of_call(txn, key, call_id, &record);
	if (rc != 0)
		return rc == -KAP_NOENT ? 0 : rc;
	if (record.state != IDEMPOTENCY_GIVEN_UP ||
	    record.expires_ms <= free_ms)
		return 0;
	rc = del_age(txn, key, record.expires_ms);
	if (rc != 0)
		return rc;
	record.expires_ms = free_ms;
	rc = put(txn, key, &record);
	return rc != 0 ? rc : put_age(txn, key, free_ms);
}

/* --- age ----------------------------------------------------------------- */

/* Copy the keys of what is due. Returns how many, or -KAP_IO. */
static int
list_due(struct store_txn *txn, int64_t now_ms,
    uint8_t age_keys[][AGE_KEY_SIZE], unsigned max)
{
	struct store_cursor *cursor;
	struct store_value age_key;
	struct store_value value;
	unsigned count = 0;
	int rc = store_walk(txn, STORE_IDEMPOTENCY_AGE, NULL, 0, &cursor);

	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &age_key, &value)) == 0) {
		if (age_key.len != AGE_KEY_SIZE) {
			rc = -KAP_CORRUPT;
			break;
		}
		if (store_get_be64(age_key.data) > (uint64_t)now_ms)
			break;
		memcpy(age_keys[count++], age_key.data, AGE_KEY_SIZE);
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

static int
prune_one(struct store_txn *txn, int64_t now_ms,
    const uint8_t age_key[AGE_KEY_SIZE])
{
	const uint8_t *key = age_key + 8;
	struct idempotency record;
	int rc = store_del(txn, STORE_IDEMPOTENCY_AGE, age_key, AGE_KEY_SIZE);

	if (rc != 0)
		return rc;
	rc = get(txn, key, &record);
	if (rc == -KAP_NOENT)
		return 0;
	if (rc != 0 && rc != -KAP_CORRUPT)
		return rc;
	if (rc == 0 && record.expires_ms > now_ms)
		return 0; /* written anew since: it has its own place */
	if (rc == -KAP_CORRUPT || record.state != IDEMPOTENCY_UNDER_WAY)
		return store_del(txn, STORE_IDEMPOTENCY, key, KEY_SIZE);
	record.expires_ms = now_ms + UNDER_WAY_AGAIN_MS;
	rc = put(txn, key, &record);
	return rc != 0 ? rc : put_age(txn, key, record.expires_ms);
}

int
idempotency_prune(struct store_txn *txn, int64_t now_ms, unsigned max)
{
	uint8_t age_keys[IDEMPOTENCY_PRUNE_MAX][AGE_KEY_SIZE];
	const int count = list_due(txn, now_ms, age_keys,
	    max < IDEMPOTENCY_PRUNE_MAX ? max : IDEMPOTENCY_PRUNE_MAX);

	for (int i = 0; i < count; i++) {
		const int rc = prune_one(txn, now_ms, age_keys[i]);

		if (rc != 0)
			return rc;
	}
	return count;
}

int
idempotency_is_due(struct store_txn *txn, int64_t now_ms)
{
	uint8_t age_keys[1][AGE_KEY_SIZE];

	return list_due(txn, now_ms, age_keys, 1);
}
