/*
 * The queue of finished recordings that the recorder is to take out of
 * Asterisk's spool. Each holds a reference on its call.
 */
#ifndef KAP_RECORDING_QUEUE_H
#define KAP_RECORDING_QUEUE_H

#include "call.h"
#include "store.h"

#define RECORDING_JOB_VERSION 1

struct recording_job {
	uint16_t version;
	uint16_t pad;
	uint32_t key_id;
	uint64_t number;    /* in the queue */
	int64_t queued_ms;  /* wall clock */
	uint32_t duration_s; /* as Asterisk told; 0: not told */
	uint32_t pad2;
	char call_id[CALL_ID_SIZE];
	char name[CALL_RECORDING_SIZE]; /* without ".wav" */
};

/* Append; fills in number, version, queued_ms. Returns 0, -KAP_FULL, -KAP_IO. */
KAP_MUST_USE int recording_queue_append(struct store_txn *txn,
    struct recording_job *job);

/* Copy jobs with a number over `after`, oldest first. Returns how many, or
 * -KAP_IO. Reads only. */
KAP_MUST_USE int recording_queue_peek(struct store_txn *txn, uint64_t after,
    struct recording_job *jobs, unsigned max);

/* Remove a job; one that is gone is no error. The reference on the call is
 * call_table_step's to drop (CALL_IN_RECORDING_STORED or _GIVEN_UP). */
KAP_MUST_USE int recording_queue_remove(struct store_txn *txn,
    uint64_t number);

#endif
