/*
 * Turns the configured PostgreSQL connection string into the parameters of a
 * connect that can't block: every host an address or a socket path, and a
 * dead server noticed. Opens nothing.
 */
#ifndef KAP_PG_DSN_H
#define KAP_PG_DSN_H

#include "errors.h"

struct pg_dsn;

/*
 * Parse and check a connection string or URI.
 *
 * application  application_name where the string has none; borrowed
 * msg          what is wrong with it, in words; never shows a password
 *
 * Returns 0; -KAP_INVAL (not understood; a host that is a name, a service);
 * -KAP_NOMEM. Never blocks. Any process.
 */
KAP_MUST_USE int pg_dsn_parse(struct pg_dsn **dsn_out, const char *text,
    const char *application, struct kap_errmsg *msg);

/* Sets *dsn NULL. */
void pg_dsn_free(struct pg_dsn **dsn);

/* For PQconnectStartParams: NULL-terminated, borrowed from the DSN. */
const char *const *pg_dsn_keywords(const struct pg_dsn *dsn);
const char *const *pg_dsn_values(const struct pg_dsn *dsn);

#endif
