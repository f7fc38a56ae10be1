/*
 * The Idempotency-Keys of calls that were given up. Such a key is free for the
 * next try, which makes a second call, a while after a client was told of the
 * first: that is, after the whole answer has left this process. Until then the
 * next try is told of the first call again, whatever becomes of the process.
 *
 * What has left may still be lost: of a client whose network broke, and who
 * tries again only later than this, nobody here can tell that it heard nothing.
 * Where the store is tight, the hold is shorter (idempotency_prune).
 */
#ifndef KAP_MAKECALL_KEY_H
#define KAP_MAKECALL_KEY_H

struct api;
struct http_request;
struct idempotency_id;

/*
 * How long after its answer a key is free. A client that gave up in the moment
 * in which it was answered, and tries again at once, is told. One that heard
 * the answer waits for as long as its Retry-After says, which is longer.
 */
#define MAKECALL_KEY_HELD_MS 3000

/* The keys that go with an answer. */
struct makecall_keys;

/*
 * The key of one call.
 *
 * id, call_id  copied
 *
 * NULL when out of memory: the key stays as it is, which is safe.
 */
struct makecall_keys *makecall_keys_new(struct api *api,
    const struct idempotency_id *id, const char *call_id);

/* Add those of `more` to *keys, either may be NULL. Takes `more`. */
void makecall_keys_join(struct makecall_keys **keys,
    struct makecall_keys *more);

/*
 * Free them, some time after a client was told. To be called right before the
 * request is answered. Sets *keys NULL; NULL is fine.
 */
void makecall_keys_release(struct makecall_keys **keys,
    struct http_request *req);

#endif
