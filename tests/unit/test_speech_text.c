/*
 * worker/speech_text.c and speech_voice.c: tables of texts and names, and what
 * must hold for any text: no piece over its limits, nothing lost, nothing cut
 * within a character.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/speech_text.h"
#include "worker/speech_voice.h"

#define ROUNDS 20000
#define TEXT_MAX 600

static void
test_clean(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *text;
		const char *clean; /* NULL: refused */
	} cases[] = {
		{ "plain", "Hello.", "Hello." },
		{ "blanks", "  a \t\r  b  ", "a b" },
		{ "lines", "\na \t\r\n b \n\n c\n", "a\nb\nc" },
		{ "a hyphen at a line's end", "won-\nder - \nful-\n",
		    "wonder -\nful" },
		{ "controls", "a\x01\x1f\x7f" "b", "a b" },
		{ "C1 controls", "a\xc2\x80\xc2\x9f" "b", "a b" },
		{ "no-break and wide blanks", "a\xc2\xa0\xe3\x80\x80" "b",
		    "a b" },
		{ "line separator", "a\xe2\x80\xa8" "b", "a b" },
		{ "thin blanks", "a\xe2\x80\x89\xe2\x80\xaf\xe1\x9a\x80" "b",
		    "a b" },
		{ "Chinese", "你好", "你好" },
		{ "beyond 16 bits", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
		{ "empty", "", NULL },
		{ "blank", " \n", NULL },
		{ "cut short", "a\xe4\xbd", NULL },
		{ "alone", "\x80", NULL },
		{ "overlong", "\xc1\x81", NULL },
		{ "overlong of three", "\xe0\x80\xaf", NULL },
		{ "surrogate", "\xed\xa0\x80", NULL },
		{ "too great", "\xf4\x90\x80\x80", NULL },
		{ "no lead byte", "\xff", NULL },
		{ "no lead byte either", "\xf8\x88\x80\x80\x80", NULL },
	};
	char out[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int rc = speech_text_clean(cases[i].text, out);

		print_message("%s\n", cases[i].name);
		assert_int_equal(rc, cases[i].clean != NULL ? 0 : -KAP_INVAL);
		if (rc == 0)
			assert_string_equal(out, cases[i].clean);
	}
}

static void
test_pieces(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *text;
		size_t max_chars;
		size_t max_bytes;
		const char *pieces; /* each with a bar behind it */
	} cases[] = {
		{ "none", "", 10, 40, "" },
		{ "fits", "0123456789", 10, 40, "0123456789|" },
		{ "clauses go together", "a, b. c", 10, 40, "a, b. c|" },
		{ "at a clause", "one, two three", 10, 40,
		    "one,|two three|" },
		{ "at the last clause", "a. b, c dddddd", 8, 40,
		    "a. b,|c dddddd|" },
		{ "at a blank", "aaaa bbbb cccc", 10, 40,
		    "aaaa bbbb|cccc|" },
		{ "a blank at the limit", "aaaaa bbbb", 5, 40,
		    "aaaaa|bbbb|" },
		{ "hard", "0123456789abc", 10, 40, "0123456789|abc|" },
		{ "a number", "pi 3.14159 is", 7, 40, "pi|3.14159|is|" },
		{ "a time", "at 10:30:15", 6, 40, "at|10:30:|15|" },
		{ "Chinese", "你好，世界。再见", 6, 40, "你好，世界。|再见|" },
		{ "Arabic", "مرحبا، بك", 7, 40, "مرحبا،|بك|" },
		{ "bytes", "你好世界", 10, 7, "你好|世界|" },
		{ "question", "eh? no way", 7, 40, "eh?|no way|" },
		{ "lines", "aaaa\nbbbb\ncccc", 10, 40, "aaaa\nbbbb|cccc|" },
		{ "a clause's end at a line's", "a.\nbbbb", 5, 40, "a.|bbbb|" },
		{ "a byte like a blank", "\xc4\xa0\xc4\xa0\xc4\xa0", 2, 40,
		    "\xc4\xa0\xc4\xa0|\xc4\xa0|" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *at = cases[i].text;
		char pieces[200] = "";
		size_t used = 0;
		size_t len;

		print_message("%s\n", cases[i].name);
		for (;;) {
			const char *next;

			len = speech_text_piece(at, cases[i].max_chars,
			    cases[i].max_bytes, &next);
			if (len == 0)
				break;
			used += (size_t)snprintf(pieces + used,
			    sizeof(pieces) - used, "%.*s|", (int)len, at);
			at = next;
		}
		assert_string_equal(pieces, cases[i].pieces);
	}
}

static size_t
count_chars(const char *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += ((unsigned char)text[i] & 0xc0) != 0x80;
	return count;
}

static bool
is_blank(char sign)
{
	return sign == ' ' || sign == '\n';
}

/* Put together without blanks the pieces are the text without blanks. */
static void
check_pieces(const char *text, size_t max_chars, size_t max_bytes)
{
	const char *expected = text;
	const char *at = text;
	const char *next;
	size_t len;

	while ((len = speech_text_piece(at, max_chars, max_bytes, &next)) >
	    0) {
		const char *piece = at + strspn(at, " \n");

		assert_true(len <= max_bytes);
		assert_true(count_chars(piece, len) <= max_chars);
		assert_false(is_blank(piece[0]) || is_blank(piece[len - 1]));
		assert_true(((unsigned char)piece[0] & 0xc0) != 0x80);
		assert_true(((unsigned char)piece[len] & 0xc0) != 0x80);
		for (size_t i = 0; i < len; i++) {
			if (is_blank(piece[i]))
				continue;
			expected += strspn(expected, " \n");
			assert_int_equal(piece[i], *expected++);
		}
		assert_true(next > at);
		at = next;
	}
	assert_int_equal(*at, '\0');
	expected += strspn(expected, " \n");
	assert_int_equal(*expected, '\0');
}

static void
test_any_text(void **state KAP_UNUSED)
{
	static const char *const parts[] = { "a", " ", ".", ", ", "你", "。",
		"\xf0\x9f\x98\x80", "م", "،", "? ", "9", "é", "[", "word ", "\n",
		"-\n" };
	static uint64_t seed = 20261122;
	char text[TEXT_MAX + 8];
	char clean[TEXT_MAX + 8];

	for (int i = 0; i < ROUNDS; i++) {
		size_t used = 0;
		size_t size;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		size = (seed >> 33) % TEXT_MAX;
		while (used < size) {
			seed = seed * 6364136223846793005ULL +
			    1442695040888963407ULL;
			used += (size_t)snprintf(text + used,
			    sizeof(text) - used, "%s", parts[(seed >> 33) %
			    (sizeof(parts) / sizeof(parts[0]))]);
		}
		text[used] = '\0';
		if (speech_text_clean(text, clean) == 0)
			check_pieces(clean, 1 + (seed >> 40) % 120,
			    4 + (seed >> 50) % 400);
	}
}

static void
test_voices(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *tag;
		const char *gtts;
		const char *espeak;
	} cases[] = {
		{ "en-US-Neural2-A", "en-US", "en", "en-us" },
		{ "en-GB-Wavenet-B", "en-GB", "en", "en-gb" },
		{ "en-AU-Standard-C", "en-AU", "en", "en" },
		{ "cmn-CN-Wavenet-A", "cmn-CN", "zh-CN", "cmn" },
		{ "cmn-TW-Wavenet-A", "cmn-TW", "zh-TW", "cmn" },
		{ "yue-HK-Standard-A", "yue-HK", "yue", "yue" },
		{ "ar-XA-Wavenet-A", "ar-XA", "ar", "ar" },
		{ "pt-BR-Neural2-A", "pt-BR", "pt", "pt-br" },
		{ "pt-PT-Wavenet-A", "pt-PT", "pt-PT", "pt" },
		{ "fr-CA-Neural2-A", "fr-CA", "fr-CA", "fr" },
		{ "es-419-X", "es-419", "es", "es-419" },
		{ "nb-NO-Wavenet-A", "nb-NO", "no", "nb" },
		{ "he-IL-Wavenet-A", "he-IL", "iw", "he" },
		{ "EN-us-x", "en-US", "en", "en-us" },
		{ "de", "de", "de", "de" },
	};
	struct speech_voice voice;
	char name[SPEECH_VOICE_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		assert_int_equal(speech_voice_parse(cases[i].name, &voice),
		    0);
		assert_string_equal(voice.tag, cases[i].tag);
		speech_voice_gtts(&voice, name);
		assert_string_equal(name, cases[i].gtts);
		speech_voice_espeak(&voice, name);
		assert_string_equal(name, cases[i].espeak);
	}
	assert_int_equal(speech_voice_parse("EN-us-x", &voice), 0);
	assert_string_equal(voice.name, "en-US-x");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_any_text),
		cmocka_unit_test(test_voices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
