/*
 * The words of answering machine detection, and what each verdict is worth.
 * Decides nothing about a call.
 */
#include "amd_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct confidence {
	enum call_amd amd;
	const char *cause;
	double share;
};

/*
 * As tests/load/amd_set.py found them: 244 calls, with the configuration's
 * defaults. With those no word reaches the length for MAXWORDLENGTH before it
 * is a LONGGREETING, so it is taken for one.
 */
static const struct confidence confidences[] = {
	{ CALL_AMD_HUMAN, "HUMAN", 0.91 },
	{ CALL_AMD_MACHINE, "LONGGREETING", 0.89 },
	{ CALL_AMD_MACHINE, "INITIALSILENCE", 0.72 },
	{ CALL_AMD_MACHINE, "MAXWORDS", 0.65 },
	{ CALL_AMD_MACHINE, "MAXWORDLENGTH", 0.89 },
};

/* For a cause that the table doesn't have: no better than a guess. */
static const double unknown_cause = 0.5;

void
amd_args_format(const struct config_amd *amd,
    char out[CALL_AMD_ARGS_MAX + 1])
{
	(void)snprintf(out, CALL_AMD_ARGS_MAX + 1,
	    "%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64
	    ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64,
	    amd->initial_silence_ms, amd->greeting_ms,
	    amd->after_greeting_silence_ms, amd->total_analysis_ms,
	    amd->min_word_length_ms, amd->between_words_silence_ms,
	    amd->maximum_number_of_words, amd->silence_threshold,
	    amd->maximum_word_length_ms);
}

void
amd_cause_word(const char *raw, char out[CALL_AMD_CAUSE_SIZE])
{
	size_t len = strspn(raw, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	if (len >= CALL_AMD_CAUSE_SIZE)
		len = CALL_AMD_CAUSE_SIZE - 1;
	memcpy(out, raw, len);
	out[len] = '\0';
}

double
amd_confidence(enum call_amd amd, const char *raw)
{
	const size_t count = sizeof(confidences) / sizeof(confidences[0]);
	char word[CALL_AMD_CAUSE_SIZE];

	if (amd != CALL_AMD_HUMAN && amd != CALL_AMD_MACHINE)
		return 0;
	amd_cause_word(raw, word);
	for (size_t i = 0; i < count; i++) {
		if (confidences[i].amd == amd &&
		    strcmp(confidences[i].cause, word) == 0)
			return confidences[i].share;
	}
	return unknown_cause;
}

enum call_amd
amd_told(const struct call *call)
{
	if (call->amd_status != CALL_AMD_NOAMD ||
	    (call->flags & CALL_F_USE_AMD) == 0)
		return (enum call_amd)call->amd_status;
	return call->state == CALL_ENDED ? CALL_AMD_UNKNOWN : CALL_AMD_PENDING;
}
