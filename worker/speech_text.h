/*
 * Texts before they are spoken: made harmless, and cut into the pieces that
 * an engine takes. Pure.
 */
#ifndef KAP_WORKER_SPEECH_TEXT_H
#define KAP_WORKER_SPEECH_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"

/*
 * Decode the character at `text`. Returns its length in bytes, 1..4, or 0
 * for what is no UTF-8 (RFC 3629).
 */
size_t speech_text_decode(const char *text, uint32_t *code_out);

/*
 * Copy a text with every control character made a blank, runs of blanks made
 * one, and none at its ends. A run with a line's end in it becomes a line's
 * end; a word that was cut by a hyphen there is put together.
 *
 * out  room for strlen(text) + 1 bytes; may not be `text`
 *
 * Returns 0, or -KAP_INVAL for what is no UTF-8, or where nothing is left.
 */
KAP_MUST_USE int speech_text_clean(const char *text, char *out);

/*
 * The first piece of a clean text: up to the last end of a clause that is
 * within the limits, else to the last blank, else to the last character.
 *
 * text       clean; "" has no piece
 * max_chars  1..
 * max_bytes  4..
 * next_out   where the next piece begins
 *
 * Returns the piece's length in bytes, without blanks at its end; 0 for none.
 */
size_t speech_text_piece(const char *text, size_t max_chars,
    size_t max_bytes, const char **next_out);

#endif
