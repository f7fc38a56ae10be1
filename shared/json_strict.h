/*
 * JSON as RFC 8259 has it and not an inch further: cJSON 1.7.15 takes much
 * that isn't (raw control characters, 01, broken UTF-8, duplicate keys), so
 * a text is validated first and parsed by cJSON after that.
 */
#ifndef KAP_JSON_STRICT_H
#define KAP_JSON_STRICT_H

#include <stddef.h>

#include <cjson/cJSON.h>

#include "errors.h"

#define JSON_STRICT_DEPTH_MAX 64
/* Each becomes 64 bytes of cJSON's: a text of commas would take gigabytes. */
#define JSON_STRICT_VALUES_MAX 200000
/* cJSON's limit for a number's characters. */
#define JSON_STRICT_NUMBER_MAX 63

/*
 * Parse a text. Refused are, besides what RFC 8259 forbids: duplicate keys
 * (compared unescaped), NUL also as an escape, lone surrogates, a byte order
 * mark, numbers that no double can hold, and what is over a limit above.
 *
 * text       len bytes, need not be NUL-terminated
 * max_depth  of arrays and objects, 1..JSON_STRICT_DEPTH_MAX
 * json_out   cJSON_Delete it; unset on error
 * msg        what is wrong, and at which byte; may be NULL
 *
 * Returns 0; -KAP_INVAL for a text that is refused; -KAP_TOOBIG for one over
 * a limit; -KAP_NOMEM. Takes O(n log n) and no recursion, whatever the text.
 * Never blocks. Any process.
 */
KAP_MUST_USE int json_strict_parse(const char *text, size_t len,
    unsigned max_depth, cJSON **json_out, struct kap_errmsg *msg);

#endif
