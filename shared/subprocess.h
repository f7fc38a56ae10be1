/*
 * Programs run from an event loop: started without a shell, fed by their
 * stdin, with bounded output and a deadline. Nothing of this process reaches
 * them: three pipes are all their descriptors, their environment holds a path
 * and a locale, signals are at their defaults; they run a little nicer than
 * this process, and memory, files and processor time are limited.
 */
#ifndef KAP_SUBPROCESS_H
#define KAP_SUBPROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define SUBPROCESS_ERRORS_MAX 200 /* bytes of its stderr that are kept */

struct evbuffer;
struct event_base;
struct subprocess;
struct subprocess_set;

/* How a program ended. Borrowed for the call of finish(). */
struct subprocess_result {
	/*
	 * 0: it ended with status 0; -KAP_STATE: with another, or by a signal;
	 * -KAP_TIMEOUT, -KAP_TOOBIG: it was killed for that; -KAP_IO.
	 */
	int rc;
	int status;              /* its exit status; 128 + n for signal n */
	const char *errors;      /* the first of its stderr, one line, "" */
	struct evbuffer *output; /* its stdout, may be drained; never NULL */
};

typedef void subprocess_finish_fn(void *arg,
    const struct subprocess_result *result);

struct subprocess_request {
	const char *const *argv; /* an absolute path first, NULL last; used
	                            during the call only */
	struct evbuffer *input;  /* for its stdin, taken out of here during
	                            the call; NULL: none */
	size_t output_max_bytes; /* more kills it */
	int64_t timeout_ms;      /* then it is killed; 0: none */
	subprocess_finish_fn *finish;
	void *arg;
};

/*
 * The programs of one event loop. `base` is borrowed and outlives the set.
 * Returns NULL when out of memory.
 */
struct subprocess_set *subprocess_set_new(struct event_base *base);

/*
 * Kill what runs, without a finish(). Blocks until the killed are reaped,
 * which the kernel does at once. Sets *set NULL; NULL is fine.
 */
void subprocess_set_free(struct subprocess_set **set);

/*
 * Start a program. finish() is called once, from the loop, when it has ended
 * and all that it wrote is read; never from within this call. It may start
 * another, but not free the set.
 *
 * process_out  for subprocess_cancel, valid until finish(); may be NULL
 *
 * Returns 0; -KAP_NOENT (no such program); -KAP_DENIED (none that may be
 * run); -KAP_NOMEM; -KAP_IO. Doesn't block, but for the start itself.
 */
KAP_MUST_USE int subprocess_start(struct subprocess_set *set,
    const struct subprocess_request *request,
    struct subprocess **process_out);

/*
 * Kill it; no finish() comes. It is reaped later by the set. Sets *process
 * NULL; NULL is fine.
 */
void subprocess_cancel(struct subprocess **process);

/* Programs that run or are not reaped yet. */
unsigned subprocess_count(const struct subprocess_set *set);

#endif
