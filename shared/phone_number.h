/*
 * Phone numbers as people write them, in requests and on command lines.
 */
#ifndef KAP_PHONE_NUMBER_H
#define KAP_PHONE_NUMBER_H

#include "call.h"
#include "errors.h"

/*
 * Reduce a number to its digits: one leading '+', spaces, dashes, dots and
 * parentheses are dropped, and 7 to 15 digits must remain. No other character
 * ever reaches a dial string.
 *
 * Returns 0; -KAP_INVAL leaves `out` empty.
 */
KAP_MUST_USE int phone_number_normalise(const char *text,
    char out[CALL_NUMBER_SIZE]);

#endif
