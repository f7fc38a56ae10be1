/*
 * A PostgreSQL connection in the event loop: connects, keeps connected,
 * sends statements over libpq's pipeline mode and hands each its result, in
 * the order of their sending. Every statement has a Sync of its own, so each
 * is one transaction and none is undone by another's error.
 *
 * Never blocks: the server is named by address or socket path, for libpq
 * resolves names blocking. Neither logs nor retries a statement: when the
 * connection is lost every statement under way ends with -KAP_GONE, and
 * whether it took effect is unknown to all.
 */
#ifndef KAP_PG_H
#define KAP_PG_H

#include <stddef.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "errors.h"

#define PG_QUEUE_MAX 512 /* statements under way on one connection */
#define PG_LISTEN_MAX 4  /* channels listened to on one connection */

struct event_base;
struct pg;

/* In the order of enum stats_link. */
enum pg_state { PG_DOWN, PG_CONNECTING, PG_UP };

/*
 * The connection's state changed.
 *
 * why  PG_DOWN: a line for a person; else "". Borrowed for the call.
 */
typedef void pg_state_fn(void *arg, enum pg_state state, const char *why);

/*
 * A statement ended; called exactly once for each that pg_query took, never
 * from inside pg_query.
 *
 * rc      0; -KAP_PROTO (PostgreSQL refused it: pg_sqlstate tells why);
 *         -KAP_TIMEOUT (no answer in time, the connection was given up);
 *         -KAP_GONE (the connection was lost)
 * result  borrowed for the call; NULL for -KAP_TIMEOUT and -KAP_GONE
 *
 * May call pg_query, not pg_free.
 */
typedef void pg_result_fn(void *arg, int rc, const PGresult *result);

/*
 * A NOTIFY came. payload is NULL when listening has just begun (again): what
 * was notified before that is unknown. Borrowed for the call.
 */
typedef void pg_notify_fn(void *arg, const char *payload);

struct pg_options {
	const char *dsn;         /* connection string or URI; copied */
	const char *application; /* shown by pg_stat_activity; copied */
	pg_state_fn *on_state;   /* may be NULL */
	void *arg;
};

struct pg_statement {
	const char *sql;           /* one statement */
	unsigned param_count;
	const char *const *values; /* text, or binary where formats says 1 */
	const int *lengths;        /* NULL: all text */
	const int *formats;        /* NULL: all text */
	int64_t timeout_ms;        /* until its result is here, over 0 */
};

/*
 * Begin to connect; on_state tells how that goes, from the loop. A lost or
 * refused connection is tried again after 100 ms, doubling up to 5 s.
 *
 * msg  why the DSN can't be used: not understood, or a host that is a name
 *      ("localhost" is taken for 127.0.0.1)
 *
 * Returns 0; -KAP_INVAL (the DSN); -KAP_NOMEM. Any child.
 */
KAP_MUST_USE int pg_new(struct pg **pg_out, struct event_base *base,
    const struct pg_options *options, struct kap_errmsg *msg);

/*
 * Close and free. Statements under way end with -KAP_GONE; on_state is not
 * called. Not from inside a callback of the same connection. Sets *pg NULL.
 */
void pg_free(struct pg **pg);

enum pg_state pg_state(const struct pg *pg);

/*
 * Send a statement; values are copied. One that is not answered within its
 * time gives the connection up.
 *
 * Returns 0; -KAP_GONE while not connected; -KAP_AGAIN with PG_QUEUE_MAX
 * under way; -KAP_NOMEM. `fn` is not called on error. Never blocks.
 */
KAP_MUST_USE int pg_query(struct pg *pg, const struct pg_statement *statement,
    pg_result_fn *fn, void *arg);

/*
 * Listen on a channel for as long as the connection object lives, again
 * after every reconnect.
 *
 * channel  a name of [a-z_], borrowed for ever
 *
 * Returns 0; -KAP_INVAL (its name); -KAP_FULL (PG_LISTEN_MAX).
 */
KAP_MUST_USE int pg_listen(struct pg *pg, const char *channel,
    pg_notify_fn *fn, void *arg);

/* The five characters of a result's SQLSTATE, "" where it has none. */
const char *pg_sqlstate(const PGresult *result);

/* The first line of a result's error, "" where it has none. */
void pg_error_text(const PGresult *result, struct kap_errmsg *out);

/* A column as a number; `absent` for NULL. */
int64_t pg_get_int(const PGresult *result, int row, int column,
    int64_t absent);

/* A column as text, cut at its size; "" for NULL. */
void pg_get_text(const PGresult *result, int row, int column, char *out,
    size_t size);

#endif
