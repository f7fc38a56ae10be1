/*
 * The reader check: at a child's death a short-lived helper process clears
 * the reader slots it left in the store, for they pin old pages. The check
 * takes a lock that a stopped child may hold, so it runs in a process that
 * can be killed: `kaphila-master --clear-readers DATA_DIR`, with a deadline.
 * It also looks whether the store's file is still as long as it must be: on
 * one that was cut short no child can live, so the master ends then.
 */
#ifndef KAP_READER_CHECK_H
#define KAP_READER_CHECK_H

#include <stdbool.h>
#include <sys/types.h>

#include "shared/errors.h"

struct event;
struct event_base;

#define READER_CHECK_OPTION "--clear-readers"

struct reader_check {
	const char *data_dir;
	pid_t pid; /* 0: none runs */
	bool damaged; /* one has found that the store was cut short */
	bool failed;  /* the last one couldn't clear anything */
	struct event *on_deadline;
};

/* `data_dir` is borrowed. Returns 0 or -KAP_NOMEM. */
KAP_MUST_USE int reader_check_init(struct reader_check *check,
    struct event_base *base, const char *data_dir);

/* Kills a helper that still runs. */
void reader_check_deinit(struct reader_check *check);

/*
 * Start the helper; its end comes by SIGCHLD, after 2 s at the latest.
 *
 * Returns 0; -KAP_AGAIN while one runs; -KAP_IO when none can be started.
 */
KAP_MUST_USE int reader_check_start(struct reader_check *check);

/*
 * Hand it a reaped process. True if that was the helper, which is done then,
 * whether it could clear anything or not.
 */
bool reader_check_reaped(struct reader_check *check, pid_t pid,
    int wait_status);

/* What the helper's main() does. Returns its exit status. */
int reader_check_run(const char *data_dir);

#endif
