/*
 * See api_fields.h. Pure: looks at a parsed body and nothing else.
 */
#include "api_fields.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/phone_number.h"

/* Integers over this have been rounded by the JSON parser. */
#define EXACT_MAX 9007199254740992.0

int
api_error_set(struct api_error *error, enum api_code code, const char *fmt,
    ...)
{
	va_list ap;

	error->code = code;
	error->text[0] = '\0';
	if (fmt != NULL) {
		va_start(ap, fmt);
		(void)vsnprintf(error->text, sizeof(error->text), fmt, ap);
		va_end(ap);
	}
	return -KAP_INVAL;
}

const cJSON *
api_field(const cJSON *body, const char *name)
{
	const cJSON *field = cJSON_GetObjectItemCaseSensitive(body, name);

	return field == NULL || cJSON_IsNull(field) ? NULL : field;
}

static int
wrong_type(const char *name, const char *wanted, struct api_error *error)
{
	return api_error_set(error, API_INVALID_PARAMETER,
	    "Invalid parameter: %s must be %s", name, wanted);
}

int
api_field_text(const cJSON *body, const char *name, const char **out,
    struct api_error *error)
{
	const cJSON *field = api_field(body, name);

	*out = NULL;
	if (field == NULL)
		return 0;
	if (!cJSON_IsString(field))
		return wrong_type(name, "a string", error);
	*out = field->valuestring;
	return 0;
}

int
api_field_bool(const cJSON *body, const char *name, bool fallback, bool *out,
    struct api_error *error)
{
	const cJSON *field = api_field(body, name);

	*out = fallback;
	if (field == NULL)
		return 0;
	if (!cJSON_IsBool(field))
		return wrong_type(name, "true or false", error);
	*out = cJSON_IsTrue(field);
	return 0;
}

/* A whole decimal text as a number; nothing like "0x1f", "inf" or " 1". */
static bool
parse_number(const char *text, double *out)
{
	char *end;

	if (text[strspn(text, "0123456789+-.eE")] != '\0' || *text == '\0')
		return false;
	errno = 0;
	*out = strtod(text, &end);
	return *end == '\0' && end != text;
}

/* Any number, also one in a text. 0, or -KAP_INVAL with the error. */
static int
read_number(const cJSON *field, const char *name, double *out,
    struct api_error *error)
{
	if (cJSON_IsNumber(field))
		*out = field->valuedouble;
	else if (!cJSON_IsString(field) ||
	    !parse_number(field->valuestring, out))
		return wrong_type(name, "a number", error);
	if (*out != *out) /* not a number */
		return wrong_type(name, "a number", error);
	return 0;
}

int
api_field_clamped(const cJSON *body, const char *name, int64_t fallback,
    int64_t min, int64_t max, int64_t *out, struct api_error *error)
{
	const cJSON *field = api_field(body, name);
	double number = 0;

	*out = fallback;
	if (field == NULL)
		return 0;
	if (read_number(field, name, &number, error) != 0)
		return -KAP_INVAL;
	if (number < (double)min)
		*out = min;
	else if (number > (double)max)
		*out = max;
	else
		*out = (int64_t)number;
	return 0;
}

int
api_field_whole(const cJSON *body, const char *name, int64_t fallback,
    int64_t min, int64_t max, int64_t *out, struct api_error *error)
{
	const cJSON *field = api_field(body, name);
	double number = 0;

	*out = fallback;
	if (field == NULL)
		return 0;
	if (read_number(field, name, &number, error) != 0)
		return -KAP_INVAL;
	if (number < (double)min || number > (double)max ||
	    (double)(int64_t)number != number)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: %s must be a whole number from %"
		    PRId64 " to %" PRId64, name, min, max);
	*out = (int64_t)number;
	return 0;
}

int
api_field_phone(const cJSON *body, const char *name,
    char out[CALL_NUMBER_SIZE], bool *present_out, struct api_error *error)
{
	const cJSON *field = api_field(body, name);
	const char *text;
	char digits[24];

	out[0] = '\0';
	*present_out = false;
	if (field == NULL)
		return 0;
	if (cJSON_IsNumber(field)) {
		const double number = field->valuedouble;

		if (number < 0 || number > EXACT_MAX ||
		    (double)(int64_t)number != number)
			return api_error_set(error, API_INVALID_NUMBER,
			    "Invalid %s: 7 to 15 digits", name);
		(void)snprintf(digits, sizeof(digits), "%" PRId64,
		    (int64_t)number);
		text = digits;
	} else if (cJSON_IsString(field)) {
		text = field->valuestring;
	} else {
		return wrong_type(name, "a string", error);
	}
	if (*text == '\0')
		return 0;
	*present_out = true;
	if (phone_number_normalise(text, out) != 0)
		return api_error_set(error, API_INVALID_NUMBER,
		    "Invalid %s: 7 to 15 digits", name);
	return 0;
}
