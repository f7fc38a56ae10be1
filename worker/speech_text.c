/*
 * Cleans and cuts texts. Works on UTF-8, whose form is checked once, when a
 * text is cleaned; it knows characters, not languages.
 */
#include "worker/speech_text.h"

#include <stdbool.h>
#include <string.h>

#define CODE_MAX 0x10FFFFU
#define BLANKS " \n" /* all that there are in a clean text */

size_t
speech_text_decode(const char *text, uint32_t *code_out)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *at = (const unsigned char *)text;
	size_t len = 1;
	uint32_t code = at[0];

	if (code >= 0xf8 || (code >= 0x80 && code < 0xc0))
		return 0;
	if (code >= 0xc0) {
		len = code >= 0xf0 ? 4 : code >= 0xe0 ? 3 : 2;
		code &= 0xffU >> (len + 1);
	}
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3fU);
	}
	if (code < least[len] || code > CODE_MAX ||
	    (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*code_out = code;
	return len;
}

/* Controls of both sets, line and paragraph separators, and blanks. */
static bool
is_blank(uint32_t code)
{
	return code <= 0x20 || (code >= 0x7f && code <= 0xa0) ||
	    code == 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
	    code == 0x2028 || code == 0x2029 || code == 0x202f ||
	    code == 0x205f || code == 0x3000 || code == 0xfeff;
}

int
speech_text_clean(const char *text, char *out)
{
	size_t used = 0;
	char blank = '\0'; /* what is due before the next character */

	while (*text != '\0') {
		uint32_t code = 0;
		const size_t len = speech_text_decode(text, &code);

		if (len == 0)
			return -KAP_INVAL;
		if (text[0] == '-' && text[1] == '\n') {
			text += 2;
			continue;
		}
		if (is_blank(code)) {
			if (code == '\n' || blank == '\0')
				blank = code == '\n' ? '\n' : ' ';
		} else {
			if (blank != '\0' && used > 0)
				out[used++] = blank;
			blank = '\0';
			memcpy(out + used, text, len);
			used += len;
		}
		text += len;
	}
	out[used] = '\0';
	return used > 0 ? 0 : -KAP_INVAL;
}

static bool
is_clean_blank(char sign)
{
	return sign == ' ' || sign == '\n';
}

/* A clause ends behind these wherever they stand. */
static bool
ends_always(uint32_t code)
{
	static const uint32_t marks[] = { '?', '!', ';', ')', ']',
		0x2014, 0x2026, 0x2025, /* dash, ellipses */
		0x060c, 0x061b, 0x061f, /* Arabic comma, semicolon, question */
		0x0964,                 /* danda */
		0x3002, 0x3001,         /* ideographic full stop and comma */
		0xff01, 0xff0c, 0xff1a, 0xff1b, 0xff1f }; /* full width */

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		if (marks[i] == code)
			return true;
	}
	return false;
}

/* "3.14", "10:30" and "1,000" are no ends: a blank has to follow. */
static bool
ends_clause(uint32_t code, char next)
{
	if (code == '.' || code == ',' || code == ':')
		return next == '\0' || is_clean_blank(next);
	return ends_always(code);
}

size_t
speech_text_piece(const char *text, size_t max_chars, size_t max_bytes,
    const char **next_out)
{
	size_t at = 0;
	size_t clause = 0; /* where the last clause within the limits ends */
	size_t word = 0;   /* the last word */
	size_t chars = 0;
	size_t end;

	text += strspn(text, BLANKS);
	while (text[at] != '\0' && chars < max_chars) {
		uint32_t code = 0;
		const size_t len = speech_text_decode(text + at, &code);
		const size_t step = len > 0 ? len : 1;

		if (at + step > max_bytes)
			break;
		if (code < 0x80 && is_clean_blank((char)code))
			word = at;
		at += step;
		chars++;
		if (ends_clause(code, text[at]))
			clause = at;
	}
	if (text[at] == '\0' || is_clean_blank(text[at]))
		word = at;
	end = text[at] == '\0' ? at : clause > 0 ? clause : word > 0 ? word :
	    at;
	*next_out = text + end + strspn(text + end, BLANKS);
	while (end > 0 && is_clean_blank(text[end - 1]))
		end--;
	return end;
}
