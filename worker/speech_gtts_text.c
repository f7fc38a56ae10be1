/*
 * gTTS's pre-processors and tokenizer, rule by rule, on characters. Its rules
 * are regular expressions over a whole text; here each is a question about a
 * character and its neighbours, asked in the same order.
 */
#include "worker/speech_gtts_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/speech_text.h"

/* A text as characters; `codes` has room for all that the changes add. */
struct chars {
	uint32_t *codes;
	size_t len;
};

static bool
is_one_of(const uint32_t *set, size_t count, uint32_t code)
{
	for (size_t i = 0; i < count; i++) {
		if (set[i] == code)
			return true;
	}
	return false;
}

#define IS_ONE_OF(set, code) \
	is_one_of((set), sizeof(set) / sizeof((set)[0]), (code))

static bool
is_tone_mark(uint32_t code)
{
	static const uint32_t marks[] = { '?', '!', 0xff1f, 0xff01 };

	return IS_ONE_OF(marks, code);
}

/* A break in speech wherever it stands; tone marks, '.', ',' and ':' aren't. */
static bool
is_break(uint32_t code)
{
	static const uint32_t marks[] = { 0xa1, '(', ')', '[', ']', 0xbf,
		0x2026, 0x2025, 0x060c, ';', 0x2014, 0x3002, 0xff0c, 0x3001,
		0xff1a, '\n' };

	return IS_ONE_OF(marks, code);
}

static bool
is_punctuation(uint32_t code)
{
	return is_tone_mark(code) || is_break(code) || code == '.' ||
	    code == ',' || code == ':' || code == ' ';
}

/* A decimal digit of any script (Unicode's Nd, up to 16 bits). */
static bool
is_digit(uint32_t code)
{
	static const uint32_t zeros[] = { '0', 0x660, 0x6f0, 0x7c0, 0x966,
		0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
		0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946,
		0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
		0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0,
		0xff10 };

	for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++) {
		if (code >= zeros[i] && code - zeros[i] < 10)
			return true;
	}
	return false;
}

static uint32_t
to_lower(uint32_t code)
{
	return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
}

static bool
is_letter(uint32_t code)
{
	return to_lower(code) >= 'a' && to_lower(code) <= 'z';
}

/* Whether `word`, in small letters, stands right before `at`. */
static bool
stands_before(const uint32_t *codes, size_t at, const char *word)
{
	const size_t len = strlen(word);

	for (size_t i = 0; i < len; i++) {
		if (at < len || to_lower(codes[at - len + i]) !=
		    (unsigned char)word[i])
			return false;
	}
	return true;
}

/* --- changes -------------------------------------------------------------- */

static void
read_chars(const char *text, struct chars *out)
{
	out->len = 0;
	while (*text != '\0') {
		uint32_t code = 0;
		const size_t len = speech_text_decode(text, &code);

		text += len > 0 ? len : 1;
		out->codes[out->len++] = code;
		if (is_tone_mark(code))
			out->codes[out->len++] = ' ';
	}
}

/*
 * One abbreviation after the other, at the end of any word, and one period
 * behind it. None begins as it ends, so what is taken out makes none.
 */
static void
drop_periods(struct chars *chars)
{
	static const char *const words[] = { "dr", "jr", "mr", "mrs", "ms",
		"msgr", "prof", "sr", "st" };

	for (size_t n = 0; n < sizeof(words) / sizeof(words[0]); n++) {
		size_t used = 0;
		bool drop = false;

		for (size_t i = 0; i < chars->len; i++) {
			drop = !drop && chars->codes[i] == '.' &&
			    stands_before(chars->codes, used, words[n]);
			if (!drop)
				chars->codes[used++] = chars->codes[i];
		}
		chars->len = used;
	}
}

static void
write_titles(const struct chars *from, struct chars *to)
{
	static const char rest[] = "uire";

	to->len = 0;
	for (size_t i = 0; i < from->len; i++) {
		if (from->codes[i] != '.' ||
		    !stands_before(from->codes, i, "esq")) {
			to->codes[to->len++] = from->codes[i];
			continue;
		}
		/* the whole word is put in, whatever its letters were */
		to->codes[to->len - 3] = 'E';
		to->codes[to->len - 2] = 's';
		to->codes[to->len - 1] = 'q';
		for (size_t k = 0; k < sizeof(rest) - 1; k++)
			to->codes[to->len++] = (unsigned char)rest[k];
	}
}

/* --- pieces --------------------------------------------------------------- */

static size_t
encode(uint32_t code, char *out)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

struct output {
	struct speech_gtts_pieces pieces;
	size_t used;
};

static void
put_piece(struct output *output, const uint32_t *codes, size_t len)
{
	if (len == 0)
		return;
	for (size_t i = 0; i < len; i++)
		output->used += encode(codes[i],
		    output->pieces.text + output->used);
	output->pieces.text[output->used++] = '\0';
	output->pieces.count++;
}

/* Cut at the last blank that is early enough, else in the middle of a word. */
static void
put_short(struct output *output, const uint32_t *codes, size_t len)
{
	for (;;) {
		size_t end = SPEECH_GTTS_PIECE_CHARS;

		if (len > 0 && codes[0] == ' ') {
			codes++;
			len--;
		}
		if (len <= SPEECH_GTTS_PIECE_CHARS)
			break;
		while (end > 0 && codes[end - 1] != ' ')
			end--;
		end = end > 0 ? end - 1 : SPEECH_GTTS_PIECE_CHARS;
		put_piece(output, codes, end);
		codes += end;
		len -= end;
	}
	put_piece(output, codes, len);
}

static bool
is_blank(uint32_t code)
{
	return code == ' ' || code == '\n';
}

/* Without blanks around it, and not at all if there is nothing to speak. */
static void
put_token(struct output *output, const uint32_t *codes, size_t len)
{
	size_t spoken = 0;

	for (size_t i = 0; i < len; i++)
		spoken += !is_punctuation(codes[i]);
	if (spoken == 0)
		return;
	for (; is_blank(codes[0]); len--)
		codes++;
	while (is_blank(codes[len - 1]))
		len--;
	put_short(output, codes, len);
}

/* How many characters from `at` on are a cut between two tokens; 0: none. */
static size_t
cut_len(const struct chars *chars, size_t at)
{
	const uint32_t *codes = chars->codes;
	const uint32_t code = codes[at];

	if (at > 0 && is_tone_mark(codes[at - 1]) && code != '\n')
		return 1;
	/* none in a number, nor behind "e.g." */
	if ((code == '.' || code == ',') && at + 1 < chars->len &&
	    codes[at + 1] == ' ' && !(at > 1 && codes[at - 2] == '.' &&
	    is_letter(codes[at - 1])))
		return 2;
	if (code == ':')
		return at > 0 && is_digit(codes[at - 1]) ? 0 : 1;
	return is_break(code) ? 1 : 0;
}

static void
put_tokens(struct output *output, const struct chars *chars)
{
	size_t begin = 0;
	size_t at = 0;

	while (at < chars->len) {
		const size_t cut = cut_len(chars, at);

		if (cut > 0) {
			put_token(output, chars->codes + begin, at - begin);
			begin = at + cut;
		}
		at += cut > 0 ? cut : 1;
	}
	put_token(output, chars->codes + begin, chars->len - begin);
}

int
speech_gtts_split(const char *text, struct speech_gtts_pieces *out)
{
	/* a character becomes two at the most */
	const size_t size = 2 * strlen(text) + 1;
	struct chars first = { .codes = calloc(size, sizeof(uint32_t)) };
	struct chars chars = { .codes = calloc(size, sizeof(uint32_t)) };
	struct output output = { .used = 0 };
	int rc = -KAP_NOMEM;

	/* a piece takes the place of a cut, or has 100 characters */
	output.pieces.text = malloc(2 * size + 1);
	if (first.codes != NULL && chars.codes != NULL &&
	    output.pieces.text != NULL) {
		read_chars(text, &first);
		drop_periods(&first);
		write_titles(&first, &chars);
		if (chars.len <= SPEECH_GTTS_PIECE_CHARS)
			put_token(&output, chars.codes, chars.len);
		else
			put_tokens(&output, &chars);
		rc = output.pieces.count > 0 ? 0 : -KAP_INVAL;
	}
	free(first.codes);
	free(chars.codes);
	if (rc == 0)
		*out = output.pieces;
	else
		free(output.pieces.text);
	return rc;
}
