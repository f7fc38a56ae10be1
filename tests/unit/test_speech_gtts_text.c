/*
 * worker/speech_gtts_text.c: the pieces of each text are those that gTTS
 * itself makes of it (2.5.4, gTTS(text, lang_check=False)._tokenize(text)),
 * each with a bar behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/speech_gtts_text.h"
#include "worker/speech_text.h"

#define ROUNDS 5000
#define TEXT_MAX 600

static const struct {
	const char *name;
	const char *text;
	const char *pieces; /* "": refused */
} cases[] = {
	{ "short",
	    "Hello there.",
	    "Hello there.|" },
	{ "a blank behind a tone mark",
	    "Really?Yes! No",
	    "Really? Yes!  No|" },
	{ "tone marks in a row",
	    "What?!",
	    "What? !|" },
	{ "wide tone marks",
	    "真的？是！好",
	    "真的？ 是！ 好|" },
	{ "abbreviations",
	    "Dr. Smith, MRS. Jones and the best. Prof. of St. Mar"
	    "y's Jr.",
	    "Dr Smith, MRS Jones and the best Prof of St Mary's J"
	    "r|" },
	{ "one period of two",
	    "Mr.. X",
	    "Mr. X|" },
	{ "none begins where one went",
	    "mr.s. ms.t. d.r.",
	    "mrs mst d.r.|" },
	{ "a title",
	    "John Smith, ESQ. and esq.",
	    "John Smith, Esquire and Esquire|" },
	{ "punctuation alone",
	    "?! ... : ;",
	    "" },
	{ "punctuation without a tone mark",
	    ".,:",
	    "" },
	{ "100 characters",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|" },
	{ "101 characters",
	    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb|b|" },
	{ "100 with the blank that a tone mark gets",
	    "cccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "ccccccccccccccccccccccccccccccccccccccccccccc?d",
	    "cccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "ccccccccccccccccccccccccccccccccccccccccccccc? d|" },
	{ "101 with that blank",
	    "cccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "ccccccccccccccccccccccccccccccccccccccccccccccc?d",
	    "cccccccccccccccccccccccccccccccccccccccccccccccccccc"
	    "ccccccccccccccccccccccccccccccccccccccccccccccc?|d|" },
	{ "at a blank",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark forest near the riv"
	    "er",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark forest near|the riv"
	    "er|" },
	{ "no blank",
	    "0123456789012345678901234567890123456789012345678901"
	    "2345678901234567890123456789012345678901234567890123"
	    "4567890123456789012345678901234567890123456789012345"
	    "6789012345678901234567890123456789012345678901234567"
	    "890123456789012345678901234567890123456789",
	    "0123456789012345678901234567890123456789012345678901"
	    "234567890123456789012345678901234567890123456789|012"
	    "3456789012345678901234567890123456789012345678901234"
	    "567890123456789012345678901234567890123456789|012345"
	    "67890123456789012345678901234567890123456789|" },
	{ "blank behind the limit",
	    "dddddddddddddddddddddddddddddddddddddddddddddddddddd"
	    "dddddddddddddddddddddddddddddddddddddddddddddddd e",
	    "dddddddddddddddddddddddddddddddddddddddddddddddddddd"
	    "dddddddddddddddddddddddddddddddddddddddddddddddd|e|" },
	{ "blank at the limit",
	    "dddddddddddddddddddddddddddddddddddddddddddddddddddd"
	    "ddddddddddddddddddddddddddddddddddddddddddddddd e",
	    "dddddddddddddddddddddddddddddddddddddddddddddddddddd"
	    "ddddddddddddddddddddddddddddddddddddddddddddddd|e|" },
	{ "tone mark and clauses",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs! And this, is. A test? Yes: it is",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs!  And this, is. A test?  Yes: it is|" },
	{ "numbers stay whole",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores costs 1,000.5"
	    "0 and 3.14 or 10:30",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores costs|1,000.5"
	    "0 and 3.14 or 10:30|" },
	{ "numbers' colon",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores at 10:30: now"
	    "; x:y",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores at|10:30: now"
	    "|x|y|" },
	{ "digits of other scripts",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores ٣:٤ ९:५ a:b",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores ٣:٤ ९:५ a|b|" },
	{ "dotted abbreviations",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores e.g. this, U."
	    "S. that, a.m. now. End, x",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores e.g. this|U.S"
	    ". that|a.m. now|End|x|" },
	{ "a sentence without a blank",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores one.Two,three"
	    ". four",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores|one.Two,three"
	    "|four|" },
	{ "brackets and dashes",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores (in) [it]—the"
	    "re…or‥so ¡hola ¿que",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores|in|it|there|o"
	    "r|so|hola|que|" },
	{ "Chinese",
	    "您好，请按一或者二。您好，请按一或者二。您好，请按一"
	    "或者二。您好，请按一或者二。您好，请按一或者二。您好"
	    "，请按一或者二。您好，请按一或者二。您好，请按一或者"
	    "二。您好，请按一或者二。您好，请按一或者二。您好，请"
	    "按一或者二。您好，请按一或者二。",
	    "您好|请按一或者二|您好|请按一或者二|您好|请按一或者"
	    "二|您好|请按一或者二|您好|请按一或者二|您好|请按一或"
	    "者二|您好|请按一或者二|您好|请按一或者二|您好|请按一"
	    "或者二|您好|请按一或者二|您好|请按一或者二|您好|请按"
	    "一或者二|" },
	{ "Japanese",
	    "今日は、元気ですか？はい。今日は、元気ですか？はい。"
	    "今日は、元気ですか？はい。今日は、元気ですか？はい。"
	    "今日は、元気ですか？はい。今日は、元気ですか？はい。"
	    "今日は、元気ですか？はい。今日は、元気ですか？はい。"
	    "今日は、元気ですか？はい。今日は、元気ですか？はい。",
	    "今日は|元気ですか？|はい|今日は|元気ですか？|はい|今"
	    "日は|元気ですか？|はい|今日は|元気ですか？|はい|今日"
	    "は|元気ですか？|はい|今日は|元気ですか？|はい|今日は"
	    "|元気ですか？|はい|今日は|元気ですか？|はい|今日は|"
	    "元気ですか？|はい|今日は|元気ですか？|はい|" },
	{ "Arabic",
	    "مرحبا، اضغط واحد أو اثنين؛ شكرا. مرحبا، اضغط واحد أو"
	    " اثنين؛ شكرا. مرحبا، اضغط واحد أو اثنين؛ شكرا. مرحبا"
	    "، اضغط واحد أو اثنين؛ شكرا.",
	    "مرحبا|اضغط واحد أو اثنين؛ شكرا|مرحبا|اضغط واحد أو اث"
	    "نين؛ شكرا|مرحبا|اضغط واحد أو اثنين؛ شكرا|مرحبا|اضغط "
	    "واحد أو اثنين؛ شكرا.|" },
	{ "lines",
	    "First line\nSecond line\nThe quick brown fox jumps o"
	    "ver the lazy dog and then it runs away into the deep"
	    " dark forest near the river",
	    "First line|Second line|The quick brown fox jumps ove"
	    "r the lazy dog and then it runs away into the deep d"
	    "ark forest near|the river|" },
	{ "punctuation between",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores. , ; : . ! ? "
	    "end",
	    "The quick brown fox jumps over the lazy dog and then"
	    " it runs away into the deep dark fores|end|" },
	{ "beyond 16 bits",
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀"
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀"
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀"
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀",
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀"
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀"
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀"
	    "😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀|😀|" },
	{ "blanks of tone marks",
	    "yes? yes? yes? yes? yes? yes? yes? yes? yes? yes? ye"
	    "s? yes? yes? yes? yes? yes? yes? yes? yes? yes? yes?"
	    " yes? yes? yes? yes?",
	    "yes?|yes?|yes?|yes?|yes?|yes?|yes?|yes?|yes?|yes?|ye"
	    "s?|yes?|yes?|yes?|yes?|yes?|yes?|yes?|yes?|yes?|yes?"
	    "|yes?|yes?|yes?|yes?|" },
};

static void
test_as_the_library(void **state KAP_UNUSED)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct speech_gtts_pieces pieces = { .text = NULL };
		char clean[1200];
		char joined[1200] = "";
		size_t used = 0;
		const char *at;

		print_message("%s\n", cases[i].name);
		/* they are clean as they stand here */
		assert_int_equal(speech_text_clean(cases[i].text, clean), 0);
		assert_string_equal(clean, cases[i].text);
		assert_int_equal(speech_gtts_split(clean, &pieces),
		    cases[i].pieces[0] != '\0' ? 0 : -KAP_INVAL);
		at = pieces.text;
		for (unsigned n = 0; n < pieces.count; n++) {
			used += (size_t)snprintf(joined + used,
			    sizeof(joined) - used, "%s|", at);
			at += strlen(at) + 1;
		}
		assert_string_equal(joined, cases[i].pieces);
		free(pieces.text);
	}
}

static size_t
count_chars(const char *text)
{
	size_t count = 0;

	for (; *text != '\0'; text++)
		count += ((unsigned char)*text & 0xc0) != 0x80;
	return count;
}

/* Whatever the text: no piece is too long or empty, all is UTF-8. */
static void
test_any_text(void **state KAP_UNUSED)
{
	static const char *const parts[] = { "a", " ", ".", ", ", "你", "。",
		"\xf0\x9f\x98\x80", "م", "،", "?", "9", "é", "[", "word ",
		"\n", ":", "st.", "Esq.", "e.g. " };
	static uint64_t seed = 20261201;

	for (int i = 0; i < ROUNDS; i++) {
		struct speech_gtts_pieces pieces = { .text = NULL };
		char text[TEXT_MAX + 8];
		char clean[TEXT_MAX + 8];
		const char *at;
		size_t used = 0;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		for (size_t size = (seed >> 33) % TEXT_MAX; used <= size;) {
			seed = seed * 6364136223846793005ULL +
			    1442695040888963407ULL;
			used += (size_t)snprintf(text + used,
			    sizeof(text) - used, "%s", parts[(seed >> 33) %
			    (sizeof(parts) / sizeof(parts[0]))]);
		}
		if (speech_text_clean(text, clean) != 0 ||
		    speech_gtts_split(clean, &pieces) != 0)
			continue;
		at = pieces.text;
		for (unsigned n = 0; n < pieces.count; n++) {
			assert_in_range(count_chars(at), 1,
			    SPEECH_GTTS_PIECE_CHARS);
			assert_int_equal(speech_text_clean(at, clean), 0);
			at += strlen(at) + 1;
		}
		free(pieces.text);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_library),
		cmocka_unit_test(test_any_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
