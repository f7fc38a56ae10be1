/*
 * An answer's keys on their way to being free: with the answer, then a job of
 * the turn, which has them expire.
 */
#include "makecall_key.h"

#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "http_server.h"
#include "shared/clock.h"
#include "shared/idempotency.h"
#include "shared/log.h"

struct given_up {
	STAILQ_ENTRY(given_up) entry;
	struct idempotency_id id;
	char call_id[CALL_ID_SIZE];
};

struct makecall_keys {
	struct turn_job job;
	struct api *api;
	int64_t free_ms; /* deadline clock */
	STAILQ_HEAD(, given_up) list;
};

struct makecall_keys *
makecall_keys_new(struct api *api, const struct idempotency_id *id,
    const char *call_id)
{
	struct makecall_keys *keys = calloc(1, sizeof(*keys));
	struct given_up *key = calloc(1, sizeof(*key));

	if (keys == NULL || key == NULL) {
		free(keys);
		free(key);
		return NULL;
	}
	keys->api = api;
	STAILQ_INIT(&keys->list);
	STAILQ_INSERT_TAIL(&keys->list, key, entry);
	key->id = *id;
	memcpy(key->call_id, call_id, sizeof(key->call_id));
	return keys;
}

static void
keys_free(struct makecall_keys *keys)
{
	struct given_up *key;

	while ((key = STAILQ_FIRST(&keys->list)) != NULL) {
		STAILQ_REMOVE_HEAD(&keys->list, entry);
		free(key);
	}
	free(keys);
}

void
makecall_keys_join(struct makecall_keys **keys, struct makecall_keys *more)
{
	if (more == NULL)
		return;
	if (*keys == NULL) {
		*keys = more;
		return;
	}
	STAILQ_CONCAT(&(*keys)->list, &more->list);
	keys_free(more);
}

static int
apply_told(struct turn_job *job, struct store_txn *txn)
{
	struct makecall_keys *keys = (struct makecall_keys *)job;
	struct given_up *key;
	int rc;

	STAILQ_FOREACH(key, &keys->list, entry) {
		rc = idempotency_told(txn, &key->id, key->call_id,
		    keys->free_ms);
		/* one that can't be read stays, and holds up no other */
		if (rc != 0 && rc != -KAP_CORRUPT)
			return rc;
	}
	return 0;
}

static void
done_told(struct turn_job *job, int rc)
{
	if (rc != 0)
		log_warn("an Idempotency-Key could not be freed",
		    LOG_S("error", kap_strerror(rc)));
	keys_free((struct makecall_keys *)job);
}

/*
 * Not before: a transaction can be committed before the answer that was handed
 * over ahead of it has left the process, which may end in between.
 */
static void
on_sent(void *arg, bool sent)
{
	struct makecall_keys *keys = arg;

	if (!sent) {
		keys_free(keys);
		return;
	}
	keys->free_ms = clock_deadline_ms() + MAKECALL_KEY_HELD_MS;
	keys->job.apply = apply_told;
	keys->job.done = done_told;
	turn_submit(keys->api->turn, &keys->job);
}

void
makecall_keys_release(struct makecall_keys **keys, struct http_request *req)
{
	struct makecall_keys *k = *keys;

	*keys = NULL;
	if (k == NULL)
		return;
	if (!http_request_has_client(req))
		keys_free(k);
	else
		http_reply_on_sent(req, on_sent, k);
}
