/*
 * From the text of an API key to its record: out of the store's cache while
 * that is fresh, else by asking PostgreSQL; while PostgreSQL is away or slow,
 * out of the cache for longer. Keeps the cache and the accounts' watermarks up
 * to date. Decides nothing about a request: the API does.
 *
 * Has a PostgreSQL connection of its own, so that no ledger batch stands
 * before a request, and tells of it in the statistics row (pg_link).
 */
#ifndef KAP_KEY_LOOKUP_H
#define KAP_KEY_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/api_key.h"
#include "shared/config.h"
#include "shared/errors.h"
#include "shared/store.h"
#include "shared/turn.h"

struct event_base;
struct key_lookup;

/*
 * What became of a lookup; called exactly once for each.
 *
 * rc    0; -KAP_NOENT (401: no such key, disabled or expired); -KAP_AGAIN
 *       (503 DATABASE_UNAVAILABLE: nobody can tell now); -KAP_IO, -KAP_FULL
 *       (the store)
 * key   valid with rc 0, borrowed for the call
 * hash  of the text, borrowed for the call; NULL where it was no key's text
 */
typedef void key_lookup_fn(void *arg, int rc, const struct api_key *key,
    const uint8_t hash[API_KEY_HASH_SIZE]);

/*
 * config  borrowed: postgres.dsn, auth.*, node.id
 * msg     why the configured connection can't be used
 *
 * The store and the turn are borrowed, and outlive it. Returns 0; -KAP_INVAL
 * (the DSN); -KAP_NOMEM. Doesn't wait for the connection.
 */
KAP_MUST_USE int key_lookup_new(struct key_lookup **lookup_out,
    struct event_base *base, struct store *store, struct turn *turn,
    const struct config *config, struct kap_errmsg *msg);

/*
 * Flushes the turn, ends what is under way with -KAP_AGAIN, and frees. Not
 * from inside a callback. Sets *lookup NULL.
 */
void key_lookup_free(struct key_lookup **lookup);

/*
 * Look a key up. `fn` is called at once where the cache can tell, else within
 * two seconds or so.
 *
 * text, len  as sent by the client; any bytes
 */
void key_lookup_find(struct key_lookup *lookup, const char *text, size_t len,
    key_lookup_fn *fn, void *arg);

/* Whether PostgreSQL is there now, and has the schema that keys are in. */
bool key_lookup_is_up(const struct key_lookup *lookup);

/* Find out anew; for the tick while it isn't up. */
void key_lookup_probe(struct key_lookup *lookup);

#endif
