/*
 * A digest of what a JSON text means: the same for the same values, whatever
 * the order of an object's members, the white space and the escapes. So a
 * client that writes its request anew for a retry has sent the same one.
 */
#ifndef KAP_JSON_DIGEST_H
#define KAP_JSON_DIGEST_H

#include <stdint.h>

#include <cjson/cJSON.h>

#include "shared/errors.h"

#define JSON_DIGEST_SIZE 32 /* SHA-256 */

/*
 * Digest a tree without duplicate names, as json_strict_parse makes them, of
 * a bounded depth. Numbers count as what the parser took them for. Pure.
 *
 * Returns 0, or -KAP_NOMEM.
 */
KAP_MUST_USE int json_digest(const cJSON *json,
    uint8_t digest_out[JSON_DIGEST_SIZE]);

#endif
