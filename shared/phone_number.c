/*
 * See phone_number.h. Pure.
 */
#include "phone_number.h"

#include <stddef.h>
#include <string.h>

#define DIGITS_MIN 7
#define DIGITS_MAX 15

static_assert(DIGITS_MAX < CALL_NUMBER_SIZE, "a number must fit");

int
phone_number_normalise(const char *text, char out[CALL_NUMBER_SIZE])
{
	size_t digits = 0;

	out[0] = '\0';
	text += strspn(text, " ");
	if (*text == '+')
		text++;
	for (; *text != '\0'; text++) {
		if (strchr(" -.()", *text) != NULL)
			continue;
		if (*text < '0' || *text > '9' || digits == DIGITS_MAX) {
			out[0] = '\0';
			return -KAP_INVAL;
		}
		out[digits++] = *text;
		out[digits] = '\0';
	}
	if (digits < DIGITS_MIN) {
		out[0] = '\0';
		return -KAP_INVAL;
	}
	return 0;
}
