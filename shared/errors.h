/*
 * Error codes of every module, and the bounded message that a lower layer
 * fills where a person needs words.
 *
 * A function returns 0 or one of these negated (-KAP_NOENT). Lower layers
 * neither log nor exit: whoever ends the operation logs it, once.
 */
#ifndef KAP_ERRORS_H
#define KAP_ERRORS_H

#include <stdarg.h>

#define KAP_MUST_USE __attribute__((warn_unused_result))
#define KAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define KAP_UNUSED __attribute__((unused))

enum kap_error {
	KAP_OK = 0,
	KAP_NOENT = 1, /* no such thing */
	KAP_EXISTS,    /* it is there already */
	KAP_STATE,     /* not in this state */
	KAP_INVAL,     /* a value out of its form or range */
	KAP_NOMEM,     /* out of memory */
	KAP_FULL,      /* the table or the disk is full */
	KAP_IO,        /* the operating system refused; errno tells */
	KAP_AGAIN,     /* not now, try again */
	KAP_TOOBIG,    /* over a limit */
	KAP_DENIED,    /* not allowed */
	KAP_TIMEOUT,   /* no answer in time */
	KAP_PROTO,     /* the peer broke the protocol */
	KAP_GONE,      /* the peer or the link is gone */
	KAP_CORRUPT,   /* stored data is damaged */
	KAP_VERSION,   /* stored data is of a version we can't use */
	KAP_ERROR_COUNT
};

/* What went wrong, in words, for the one log line or the one CLI message. */
struct kap_errmsg {
	char text[320];
};

/* The name of an error; takes the code or its negation. Never NULL. */
const char *kap_strerror(int error);

/*
 * Fill a message, cut at its size. `msg` may be NULL: nothing is done then.
 * Keeps errno.
 */
void kap_errmsg_set(struct kap_errmsg *msg, const char *fmt, ...)
    KAP_PRINTF(2, 3);

#endif
