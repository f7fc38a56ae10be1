/*
 * Taking one recording out of Asterisk's spool: look, check, move. All that
 * is done to files is done here, and nothing else: no store, no log, no event
 * loop. It blocks on the disk for as long as that takes, so it runs on a
 * thread of the pool (pool.h).
 *
 * It can be killed at any instruction and done again from the start: a file
 * is at every moment whole in the spool, in the store, or in damaged/, and
 * one that is in its place already counts as taken.
 */
#ifndef KAP_RECORDER_TAKE_H
#define KAP_RECORDER_TAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/errors.h"

enum take_result {
	TAKE_STORED,     /* in the store and on the disk */
	TAKE_DAMAGED,    /* no recording; set aside in damaged/ */
	TAKE_REFUSED,    /* never to be touched: no file, or no such name */
	/* the rest may become better with time */
	TAKE_MISSING,    /* not there (yet) */
	TAKE_UNFINISHED, /* still being written, or cut short */
	TAKE_NO_SPACE,   /* the store's disk is full */
	TAKE_DENIED,     /* no rights, or no spool folder */
	TAKE_FAILED,     /* the operating system refused otherwise */
	TAKE_RESULT_COUNT
};

struct take_request {
	const char *spool_dir; /* Asterisk's recordings */
	const char *store_dir; /* recording_store_dir's */
	const char *name;      /* without ".wav" */
	/* patience is at its end: an unfinished file is set aside */
	bool last_try;
};

struct take_outcome {
	enum take_result result;
	uint32_t duration_s; /* TAKE_STORED */
	uint64_t size_bytes; /* TAKE_STORED */
	struct kap_errmsg msg; /* what went wrong, for a person */
};

/* Take it. Never fails but by its outcome. Any thread. */
void take_recording(const struct take_request *request,
    struct take_outcome *outcome_out);

/* "stored", "damaged" …  Never NULL. */
const char *take_result_name(enum take_result result);

#endif
