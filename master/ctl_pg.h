/*
 * kaphilactl's connection to PostgreSQL, by the configuration's DSN, and the
 * printing of what it answers. Blocks; for kaphilactl alone, the daemons use
 * shared/pg.h.
 */
#ifndef KAP_CTL_PG_H
#define KAP_CTL_PG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "master/ctl.h"
#include "shared/errors.h"

/* Connect, or complain and return NULL. PQfinish it. */
PGconn *ctl_pg_open(const struct ctl_context *context);

/*
 * Run one statement with text parameters (NULL for NULL). The result is never
 * NULL; PQclear it.
 */
PGresult *ctl_pg_query(PGconn *conn, const char *sql, int param_count,
    const char *const *values);

/*
 * Run any number of statements without parameters, or complain, beginning
 * with `what`.
 */
KAP_MUST_USE bool ctl_pg_run(PGconn *conn, const char *sql, const char *what);

/* Whether it succeeded; else complains, beginning with `what`. */
KAP_MUST_USE bool ctl_pg_ok(const PGresult *result, const char *what);

/* Whether it failed with this SQLSTATE. */
bool ctl_pg_failed_with(const PGresult *result, const char *sqlstate);

/*
 * Find a key by its key_id, or by its name where only one has it. Complains
 * where there is none, or more than one.
 *
 * id_out  api_keys.id as text
 */
#define CTL_ID_SIZE 16
KAP_MUST_USE bool ctl_pg_find_key(PGconn *conn, const char *text,
    char id_out[CTL_ID_SIZE]);

/* Random hexadecimal digits, 2 * bytes and a NUL; bytes up to 32. */
KAP_MUST_USE bool ctl_random_hex(char *out, size_t bytes);

/* What stands for people where there is no limit. */
#define CTL_NO_LIMIT "unlimited"

enum ctl_column_kind {
	CTL_TEXT, /* null in JSON where it is NULL */
	CTL_INT,
	CTL_LIMIT, /* a CTL_INT of which 0 is no limit, and says so to people */
	CTL_BOOL,
	CTL_LIST, /* text with commas; an array in JSON */
	CTL_LONG_TEXT, /* the same two, but cut in a table */
	CTL_LONG_LIST
};

/* What stands in a result's columns, in the same order. */
struct ctl_column {
	const char *json;  /* name of the field */
	const char *title; /* heading of the table; NULL: only in JSON, and
	                      where one row is shown by itself */
	enum ctl_column_kind kind;
};

/* Print all rows, as a table or as a JSON array. */
void ctl_pg_print_rows(const PGresult *result,
    const struct ctl_column *columns, int count, bool json);

/* A field that is no column of the result; a list of them ends with NULL. */
struct ctl_extra {
	const char *json;
	const char *value;
};

/* Print the first row, a line a column or as a JSON object; extras last. */
void ctl_pg_print_row(const PGresult *result,
    const struct ctl_column *columns, int count,
    const struct ctl_extra *extras, bool json);

#endif
