/*
 * A text as gTTS sends it: in pieces of at most 100 characters, which its
 * public endpoint takes. Pure.
 */
#ifndef KAP_WORKER_SPEECH_GTTS_TEXT_H
#define KAP_WORKER_SPEECH_GTTS_TEXT_H

#include "shared/errors.h"

#define SPEECH_GTTS_PIECE_CHARS 100

struct speech_gtts_pieces {
	char *text; /* `count` strings one behind the other, each with its NUL;
	               free() it */
	unsigned count;
};

/*
 * Cut a text where gTTS (2.5.4: tts.py and tokenizer/) does, after the same
 * changes: a blank behind tone marks, no period behind an abbreviation,
 * "Esquire" for "Esq.". Pieces of punctuation alone are left out.
 *
 * text  clean (speech_text.h)
 *
 * Returns 0; -KAP_INVAL where nothing is left to speak; -KAP_NOMEM. On error
 * nothing is written.
 */
KAP_MUST_USE int speech_gtts_split(const char *text,
    struct speech_gtts_pieces *out);

#endif
