/*
 * Two records of STORE_META for each slot: "asterisk.<slot>" → entity and
 * start time; and "asterisk.<slot>.new", there from the moment another one is
 * seen until the calls of the one before are ended.
 */
#include "media_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/log.h"
#include "shared/trunk_state.h"

#define IDENTITY_SIZE 128

struct note_job {
	struct turn_job job;
	char key[32];
	char due_key[32];
	char identity[IDENTITY_SIZE];
	bool restarted;
	void (*fn)(void *ctx, bool restarted);
	void *ctx;
};

/* The same server, but the calls of the one before may not be ended yet. */
static int
read_due(struct note_job *note, struct store_txn *txn)
{
	struct store_value due;
	const int rc = store_get(txn, STORE_META, note->due_key,
	    strlen(note->due_key), &due);

	note->restarted = rc == 0;
	return rc == -KAP_NOENT ? 0 : rc;
}

static int
note_restart(const struct note_job *note, struct store_txn *txn)
{
	const int rc = store_put(txn, STORE_META, note->due_key,
	    strlen(note->due_key), "1", 1);

	return rc != 0 ? rc : trunk_state_end_rests(txn);
}

static int
apply_note(struct turn_job *job, struct store_txn *txn)
{
	struct note_job *note = (struct note_job *)job;
	const size_t len = strlen(note->identity);
	struct store_value before;
	int rc = store_get(txn, STORE_META, note->key, strlen(note->key),
	    &before);

	note->restarted = false;
	if (rc != 0 && rc != -KAP_NOENT)
		return rc;
	if (rc == 0 && before.len == len &&
	    memcmp(before.data, note->identity, len) == 0)
		return read_due(note, txn);
	note->restarted = rc == 0;
	rc = note->restarted ? note_restart(note, txn) : 0;
	if (rc != 0)
		return rc;
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

static struct note_job *
new_note(unsigned slot)
{
	struct note_job *note = calloc(1, sizeof(*note));

	if (note == NULL)
		return NULL;
	(void)snprintf(note->key, sizeof(note->key), "asterisk.%u", slot);
	(void)snprintf(note->due_key, sizeof(note->due_key),
	    "asterisk.%u.new", slot);
	return note;
}

int
media_server_note(struct turn *turn, unsigned slot,
    const struct ari_server *server, void (*fn)(void *ctx, bool restarted),
    void *ctx)
{
	struct note_job *note = new_note(slot);

	if (note == NULL)
		return -KAP_NOMEM;
	(void)snprintf(note->identity, sizeof(note->identity), "%s %s",
	    server->entity_id, server->started);
	note->fn = fn;
	note->ctx = ctx;
	note->job.apply = apply_note;
	note->job.done = done_note;
	turn_submit_lazily(turn, &note->job);
	return 0;
}

static int
apply_settled(struct turn_job *job, struct store_txn *txn)
{
	const struct note_job *note = (const struct note_job *)job;

	return store_del(txn, STORE_META, note->due_key,
	    strlen(note->due_key));
}

/* Where it could not be written, the calls are compared once more some day. */
static void
done_settled(struct turn_job *job, int rc KAP_UNUSED)
{
	free(job);
}

void
media_server_settled(struct turn *turn, unsigned slot)
{
	struct note_job *note = new_note(slot);

	if (note == NULL)
		return;
	note->job.apply = apply_settled;
	note->job.done = done_settled;
	turn_submit_lazily(turn, &note->job);
}
