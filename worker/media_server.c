/*
 * One record of STORE_META for each slot: "asterisk.<slot>" → entity and
 * start time.
 */
#include "media_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"

#define IDENTITY_SIZE 128

struct note_job {
	struct turn_job job;
	char key[24];
	char identity[IDENTITY_SIZE];
	bool restarted;
	void (*fn)(void *ctx, bool restarted);
	void *ctx;
};

static int
apply_note(struct turn_job *job, struct store_txn *txn)
{
	struct note_job *note = (struct note_job *)job;
	const size_t len = strlen(note->identity);
	struct store_value before;
	const int rc = store_get(txn, STORE_META, note->key,
	    strlen(note->key), &before);

	note->restarted = false;
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (rc == 0) {
		if (before.len == len &&
		    memcmp(before.data, note->identity, len) == 0)
			return 0;
		note->restarted = true;
	}
	return store_put(txn, STORE_META, note->key, strlen(note->key),
	    note->identity, len);
}

static void
done_note(struct turn_job *job, int rc)
{
	struct note_job *note = (struct note_job *)job;

	if (rc != 0)
		log_error("could not remember the media server",
		    LOG_S("error", kap_strerror(rc)));
	note->fn(note->ctx, rc == 0 && note->restarted);
	free(note);
}

int
media_server_note(struct turn *turn, unsigned slot,
    const struct ari_server *server, void (*fn)(void *ctx, bool restarted),
    void *ctx)
{
	struct note_job *note = calloc(1, sizeof(*note));

	if (note == NULL)
		return -KAP_NOMEM;
	(void)snprintf(note->key, sizeof(note->key), "asterisk.%u", slot);
	(void)snprintf(note->identity, sizeof(note->identity), "%s %s",
	    server->entity_id, server->started);
	note->fn = fn;
	note->ctx = ctx;
	note->job.apply = apply_note;
	note->job.done = done_note;
	turn_submit_lazily(turn, &note->job);
	return 0;
}
