/*
 * Playbacks of a call: sounds, speech, and the prompts of gathers. A record
 * is there from the request until Asterisk tells that it is over; what it is
 * needed for is stopping them, and telling what was played. Plays of one
 * target queue behind one another in Asterisk, not here.
 */
#ifndef KAP_CALL_PLAY_H
#define KAP_CALL_PLAY_H

#include <stdint.h>

#include "call.h"
#include "errors.h"
#include "store.h"

#define CALL_PLAY_VERSION 1
#define CALL_PLAY_MEDIA_SIZE 256 /* "sound:…" without its ending */
#define CALL_PLAY_TEXT_SIZE 404  /* 100 characters of UTF-8 */
#define CALL_PLAYS_MAX 32        /* of one call, queued or playing */
#define CALL_PLAYS_ALL 64        /* …with those that were stopped, and of
                                    whose end nobody has told yet */

enum call_play_kind {
	CALL_PLAY_SOUND,  /* /play: "play-<id>-<ms>" */
	CALL_PLAY_SPEECH, /* /voice: "tts-<id>-<ms>" */
	CALL_PLAY_PROMPT, /* of a gather: "gather-<id>-<ms>" */
	CALL_PLAY_KIND_COUNT
};

enum call_play_target { CALL_PLAY_BRIDGE, CALL_PLAY_CHANNEL };

enum call_play_state {
	CALL_PLAY_ASKED,   /* its command waits, or is under way */
	CALL_PLAY_TAKEN,   /* Asterisk has it: told, if it is speech */
	CALL_PLAY_STOPPED  /* its end was asked for */
};

/* One playback of a call. */
struct call_play_id {
	uint8_t kind; /* enum call_play_kind */
	uint8_t pad[7];
	int64_t ms; /* its stamp: unique within the call; 0: none */
};

/* As it lies in the store: with a text at its end (store_text_head). */
struct call_play {
	uint16_t version;
	uint16_t text_at; /* the store's */
	uint8_t target; /* enum call_play_target */
	uint8_t state;  /* enum call_play_state */
	uint8_t is_sound; /* `text` is a sound's name */
	uint8_t pad[1];
	struct call_play_id id;
	char media[CALL_PLAY_MEDIA_SIZE];
	char text[CALL_PLAY_TEXT_SIZE]; /* spoken, the first 100 characters;
	                                   of a sound its name */
};

/* "bridge" or "channel". Never NULL. */
const char *call_play_target_name(enum call_play_target target);

/* The name of a playback in Asterisk, and for the customer. */
void call_play_name(const char *call_id, const struct call_play_id *play,
    char out[CALL_NAME_SIZE]);

/* Returns 0, or -KAP_INVAL for a name that isn't of the form. */
KAP_MUST_USE int call_play_parse(const char *name, char id_out[CALL_ID_SIZE],
    struct call_play_id *play_out);

/*
 * Copy the first 100 characters of a text (not more than CALL_PLAY_TEXT_SIZE
 * bytes), whole characters only. `text` is valid UTF-8.
 */
void call_play_cut_text(const char *text, char out[CALL_PLAY_TEXT_SIZE]);

/* One record. Get returns 0, -KAP_NOENT, -KAP_IO; the others also -KAP_FULL. */
KAP_MUST_USE int call_play_get(struct store_txn *txn, const char *call_id,
    const struct call_play_id *id, struct call_play *play_out);
KAP_MUST_USE int call_play_put(struct store_txn *txn, const char *call_id,
    const struct call_play *play);
KAP_MUST_USE int call_play_del(struct store_txn *txn, const char *call_id,
    const struct call_play_id *id);

/*
 * Copy a call's playbacks, the oldest first. Returns how many (at most `max`),
 * or -KAP_IO.
 */
KAP_MUST_USE int call_play_list(struct store_txn *txn, const char *call_id,
    struct call_play_id *plays, unsigned max);

/* Delete all of a call. Returns 0, -KAP_FULL, -KAP_IO. */
KAP_MUST_USE int call_play_del_all(struct store_txn *txn,
    const char *call_id);

#endif
