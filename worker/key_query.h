/*
 * What PostgreSQL is asked about a key: one statement for its record, the
 * node's watermarks and its trunks, and one that notes that it was used.
 */
#ifndef KAP_KEY_QUERY_H
#define KAP_KEY_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/api_key.h"
#include "shared/errors.h"
#include "shared/pg.h"

/*
 * Ask for the key with a hash; fn gets a result for key_query_read, within
 * 1.5 s. Returns what pg_query returns.
 *
 * node  whose watermarks are read
 */
KAP_MUST_USE int key_query_send(struct pg *pg,
    const uint8_t hash[API_KEY_HASH_SIZE], int64_t node, pg_result_fn *fn,
    void *arg);

/*
 * Read the answer into *key, all but version and fetched_ms. False, and
 * nothing read, when there is no such key.
 */
bool key_query_read(const PGresult *result, struct api_key *key);

/* Note that a key is used now; nobody learns whether that worked. */
void key_query_touch(struct pg *pg, uint32_t key_id);

#endif
