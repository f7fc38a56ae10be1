/*
 * What answering machine detection is told, and what it tells, in the API's
 * words. Asterisk's cause is a word and the figures that led to it
 * ("LONGGREETING-1500-1500"); how much a verdict is worth was measured, and
 * stands in one table here. Decides nothing about a call.
 */
#ifndef KAP_AMD_WORDS_H
#define KAP_AMD_WORDS_H

#include "call.h"
#include "call_cold.h"
#include "config.h"

/*
 * What AMD() is called with: all nine arguments, commas between them.
 *
 * amd  within the configuration's ranges
 */
void amd_args_format(const struct config_amd *amd,
    char out[CALL_AMD_ARGS_MAX + 1]);

/*
 * The cause without its figures: "LONGGREETING". What isn't of Asterisk's
 * form gives the letters that it begins with, maybe none.
 *
 * raw  as Asterisk told it; "" gives ""
 */
void amd_cause_word(const char *raw, char out[CALL_AMD_CAUSE_SIZE]);

/*
 * The share of right verdicts, 0..1, measured for this status and cause
 * (tests/load/amd_set.py). 0 for a status that is no verdict: NOAMD, PENDING,
 * UNKNOWN.
 *
 * raw  the cause as Asterisk told it; its figures don't matter
 */
double amd_confidence(enum call_amd amd, const char *raw);

/*
 * What a call's AMD is told as. The record has NOAMD for one that is to be
 * analysed until it is answered, and for good if it never is; outside that
 * would say that nobody has asked for it.
 */
enum call_amd amd_told(const struct call *call);

#endif
