/*
 * Playbacks in the store, and their names. Keys of STORE_PLAYS are the call's
 * id, a NUL and the stamp, so a call's playbacks stand together and in order.
 */
#include "call_play.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX (CALL_ID_SIZE + 8)
#define TEXT_CHARS 100

static const char *const prefixes[CALL_PLAY_KIND_COUNT] = {
	[CALL_PLAY_SOUND] = "play-",
	[CALL_PLAY_SPEECH] = "tts-",
	[CALL_PLAY_PROMPT] = "gather-",
};

const char *
call_play_target_name(enum call_play_target target)
{
	return target == CALL_PLAY_CHANNEL ? "channel" : "bridge";
}

void
call_play_name(const char *call_id, const struct call_play_id *play,
    char out[CALL_NAME_SIZE])
{
	(void)snprintf(out, CALL_NAME_SIZE, "%s%s-%" PRId64,
	    play->kind < CALL_PLAY_KIND_COUNT ? prefixes[play->kind] : "?",
	    call_id, play->ms);
}

int
call_play_parse(const char *name, char id_out[CALL_ID_SIZE],
    struct call_play_id *play_out)
{
	int64_t ms;

	for (unsigned kind = 0; kind < CALL_PLAY_KIND_COUNT; kind++) {
		const size_t len = strlen(prefixes[kind]);

		if (strncmp(name, prefixes[kind], len) != 0)
			continue;
		if (call_parse_stamped(name + len, id_out, &ms) != 0)
			return -KAP_INVAL;
		*play_out = (struct call_play_id){ .kind = (uint8_t)kind,
			.ms = ms };
		return 0;
	}
	return -KAP_INVAL;
}

/* Bytes of the character at `text`; a NUL within it ends the text. */
static size_t
character_len(const char *text)
{
	const unsigned char first = (unsigned char)*text;

	if (first >= 0xf0)
		return strnlen(text, 4);
	if (first >= 0xe0)
		return strnlen(text, 3);
	return first >= 0xc0 ? strnlen(text, 2) : 1;
}

void
call_play_cut_text(const char *text, char out[CALL_PLAY_TEXT_SIZE])
{
	size_t len = 0;

	for (int i = 0; i < TEXT_CHARS && text[len] != '\0'; i++) {
		const size_t more = character_len(text + len);

		if (len + more >= CALL_PLAY_TEXT_SIZE)
			break;
		len += more;
	}
	memcpy(out, text, len);
	out[len] = '\0';
}

static size_t
make_key(uint8_t key[KEY_MAX], const char *call_id, int64_t ms)
{
	const size_t len = strlen(call_id);

	memcpy(key, call_id, len + 1);
	store_put_be64(key + len + 1, (uint64_t)ms);
	return len + 1 + 8;
}

int
call_play_get(struct store_txn *txn, const char *call_id,
    const struct call_play_id *id, struct call_play *play_out)
{
	uint8_t key[KEY_MAX];
	const int rc = store_copy_text(txn, STORE_PLAYS, key,
	    make_key(key, call_id, id->ms), play_out,
	    sizeof(*play_out), offsetof(struct call_play, text),
	    sizeof(play_out->text));

	play_out->media[sizeof(play_out->media) - 1] = '\0';
	return rc;
}

int
call_play_put(struct store_txn *txn, const char *call_id,
    const struct call_play *play)
{
	uint8_t key[KEY_MAX];

	return store_put_text(txn, STORE_PLAYS, key,
	    make_key(key, call_id, play->id.ms), play,
	    offsetof(struct call_play, text));
}

int
call_play_del(struct store_txn *txn, const char *call_id,
    const struct call_play_id *id)
{
	uint8_t key[KEY_MAX];

	return store_del(txn, STORE_PLAYS, key,
	    make_key(key, call_id, id->ms));
}

/* Whether a record under this key is of the call. */
static bool
is_of_call(const struct store_value *key, const char *call_id)
{
	const size_t len = strlen(call_id);

	return key->len == len + 1 + 8 &&
	    memcmp(key->data, call_id, len + 1) == 0;
}

int
call_play_list(struct store_txn *txn, const char *call_id,
    struct call_play_id *plays, unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[KEY_MAX];
	unsigned count = 0;
	int rc = store_walk(txn, STORE_PLAYS, from,
	    make_key(from, call_id, 0), &cursor);

	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0 &&
	    is_of_call(&key, call_id)) {
		if (value.len < offsetof(struct call_play, media))
			continue;
		memcpy(&plays[count++], (const uint8_t *)value.data +
		    offsetof(struct call_play, id), sizeof(plays[0]));
	}
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
call_play_del_all(struct store_txn *txn, const char *call_id)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[KEY_MAX];
	int rc = store_walk(txn, STORE_PLAYS, from,
	    make_key(from, call_id, 0), &cursor);

	if (rc != 0)
		return rc;
	while ((rc = store_walk_next(cursor, &key, &value)) == 0 &&
	    is_of_call(&key, call_id)) {
		rc = store_walk_del(cursor);
		if (rc != 0)
			break;
	}
	store_walk_end(&cursor);
	return rc == -KAP_NOENT ? 0 : rc;
}
