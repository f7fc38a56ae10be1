/*
 * Fields of a JSON body, read by the API's rules: names match exactly, null
 * counts as absent, a numeric string passes for a number and an integer for a
 * phone number; a field of the wrong type is INVALID_PARAMETER and names it.
 */
#ifndef KAP_API_FIELDS_H
#define KAP_API_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "api_error.h"
#include "shared/call.h"
#include "shared/errors.h"

/*
 * Each returns 0 and sets *out (absent: to the fallback), or -KAP_INVAL with
 * the error filled in. Texts are borrowed from the body.
 */
KAP_MUST_USE int api_field_text(const cJSON *body, const char *name,
    const char **out, struct api_error *error);
KAP_MUST_USE int api_field_bool(const cJSON *body, const char *name,
    bool fallback, bool *out, struct api_error *error);

/* A number, cut to whole and clamped to min..max, whatever its size. */
KAP_MUST_USE int api_field_clamped(const cJSON *body, const char *name,
    int64_t fallback, int64_t min, int64_t max, int64_t *out,
    struct api_error *error);

/* A whole number; one out of min..max is INVALID_PARAMETER. */
KAP_MUST_USE int api_field_whole(const cJSON *body, const char *name,
    int64_t fallback, int64_t min, int64_t max, int64_t *out,
    struct api_error *error);

/* A phone number; *present_out tells whether it was there at all. */
KAP_MUST_USE int api_field_phone(const cJSON *body, const char *name,
    char out[CALL_NUMBER_SIZE], bool *present_out, struct api_error *error);

/* The field itself; NULL when it is absent or null. */
const cJSON *api_field(const cJSON *body, const char *name);

/* Fill an error in; fmt NULL leaves the table's text. Returns -KAP_INVAL. */
int api_error_set(struct api_error *error, enum api_code code,
    const char *fmt, ...) KAP_PRINTF(3, 4);

#endif
