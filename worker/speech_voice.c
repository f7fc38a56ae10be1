/*
 * Names of voices and languages. Google Cloud's names are the clients' own;
 * the other engines know languages alone, partly by older codes. Whether an
 * engine has a language is its own to say.
 */
#include "worker/speech_voice.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* Without a region a row holds for all regions; the first that fits counts. */
struct name_row {
	const char *language;
	const char *region;
	const char *name;
};

/* Where Google Translate's code isn't the language's own. */
static const struct name_row gtts_names[] = {
	{ "cmn", "TW", "zh-TW" },
	{ "cmn", "", "zh-CN" },
	{ "zh", "TW", "zh-TW" },
	{ "zh", "", "zh-CN" },
	{ "fr", "CA", "fr-CA" },
	{ "pt", "PT", "pt-PT" },
	{ "he", "", "iw" },
	{ "jv", "", "jw" },
	{ "fil", "", "tl" },
	{ "nb", "", "no" },
	{ "nn", "", "no" },
};

/* Where espeak-ng tells regions apart, or has another code. */
static const struct name_row espeak_names[] = {
	{ "en", "US", "en-us" },
	{ "en", "GB", "en-gb" },
	{ "en", "", "en" },
	{ "es", "419", "es-419" },
	{ "es", "US", "es-419" },
	{ "es", "MX", "es-419" },
	{ "fr", "BE", "fr-be" },
	{ "fr", "CH", "fr-ch" },
	{ "pt", "BR", "pt-br" },
	{ "zh", "", "cmn" },
	{ "no", "", "nb" },
	{ "nn", "", "nb" },
	{ "iw", "", "he" },
};

static void
to_case(char *text, int (*change)(int))
{
	for (; *text != '\0'; text++)
		*text = (char)change((unsigned char)*text);
}

/* "US", or "419" for a part of the world. */
static bool
is_region(const char *part, size_t len)
{
	return (len == 2 && strspn(part, LETTERS) >= 2) ||
	    (len == 3 && strspn(part, DIGITS) >= 3);
}

int
speech_voice_parse(const char *name, struct speech_voice *voice_out)
{
	const size_t language_len = strspn(name, LETTERS);
	const char *rest = name + language_len;
	struct speech_voice voice = { .name = "" };
	size_t len;

	if (strlen(name) > SPEECH_NAME_MAX || language_len < 2 ||
	    language_len > 3 || strspn(name, LETTERS DIGITS "-") !=
	    strlen(name) || (*rest != '\0' && *rest != '-'))
		return -KAP_INVAL;
	memcpy(voice.language, name, language_len);
	to_case(voice.language, tolower);
	if (*rest == '-') {
		rest++;
		len = strcspn(rest, "-");
		if (!is_region(rest, len))
			return -KAP_INVAL;
		memcpy(voice.region, rest, len);
		to_case(voice.region, toupper);
		rest += len;
	}
	(void)snprintf(voice.tag, sizeof(voice.tag), "%.3s%s%.3s",
	    voice.language, voice.region[0] != '\0' ? "-" : "",
	    voice.region);
	len = strlen(voice.tag);
	memcpy(voice.name, voice.tag, len);
	memcpy(voice.name + len, rest, strlen(rest) + 1);
	*voice_out = voice;
	return 0;
}

static void
look_up(const struct name_row *rows, size_t count,
    const struct speech_voice *voice, char out[SPEECH_VOICE_SIZE])
{
	const char *name = voice->language;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(rows[i].language, voice->language) == 0 &&
		    (rows[i].region[0] == '\0' ||
		    strcmp(rows[i].region, voice->region) == 0)) {
			name = rows[i].name;
			break;
		}
	}
	(void)snprintf(out, SPEECH_VOICE_SIZE, "%s", name);
}

void
speech_voice_gtts(const struct speech_voice *voice,
    char out[SPEECH_VOICE_SIZE])
{
	look_up(gtts_names, sizeof(gtts_names) / sizeof(gtts_names[0]), voice,
	    out);
}

void
speech_voice_espeak(const struct speech_voice *voice,
    char out[SPEECH_VOICE_SIZE])
{
	look_up(espeak_names, sizeof(espeak_names) / sizeof(espeak_names[0]),
	    voice, out);
}
