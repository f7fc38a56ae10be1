/*
 * The queue of finished recordings, first in, first out by its number. Knows
 * no file and no call: the recorder takes files, call_table.c counts.
 */
#include "recording_queue.h"

#include <string.h>

#include "clock.h"

#define KEY_SIZE 8

int
recording_queue_append(struct store_txn *txn, struct recording_job *job)
{
	uint8_t key[KEY_SIZE];
	uint64_t number;
	const int rc = store_next(txn, STORE_NEXT_RECORDING, &number);

	if (rc != 0)
		return rc;
	job->version = RECORDING_JOB_VERSION;
	job->number = number;
	job->queued_ms = clock_wall_ms();
	store_put_be64(key, number);
	return store_put(txn, STORE_RECORDINGS, key, sizeof(key), job,
	    sizeof(*job));
}

/* Jobs only grow at their tail: what a shorter one lacks reads as zero. */
static void
copy_job(const struct store_value *value, struct recording_job *job)
{
	const size_t len =
	    value->len < sizeof(*job) ? value->len : sizeof(*job);

	memset(job, 0, sizeof(*job));
	memcpy(job, value->data, len);
	job->call_id[sizeof(job->call_id) - 1] = '\0';
	job->name[sizeof(job->name) - 1] = '\0';
}

int
recording_queue_peek(struct store_txn *txn, uint64_t after,
    struct recording_job *jobs, unsigned max)
{
	struct store_cursor *cursor;
	struct store_value key;
	struct store_value value;
	uint8_t from[KEY_SIZE];
	unsigned count = 0;
	int rc;

	if (max == 0 || after == UINT64_MAX)
		return 0;
	store_put_be64(from, after + 1);
	rc = store_walk(txn, STORE_RECORDINGS, from, sizeof(from), &cursor);
	if (rc != 0)
		return rc;
	while (count < max &&
	    (rc = store_walk_next(cursor, &key, &value)) == 0)
		copy_job(&value, &jobs[count++]);
	store_walk_end(&cursor);
	return rc == 0 || rc == -KAP_NOENT ? (int)count : rc;
}

int
recording_queue_remove(struct store_txn *txn, uint64_t number)
{
	uint8_t key[KEY_SIZE];

	store_put_be64(key, number);
	return store_del(txn, STORE_RECORDINGS, key, sizeof(key));
}
