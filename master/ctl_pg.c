/*
 * Connects with a time limit, turns PostgreSQL's errors into one line, and
 * prints results for people and for programs.
 */
#include "master/ctl_pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cjson/cJSON.h>

#define LONG_WIDTH 24 /* columns that a table has for CTL_LONG_ */

static void
on_notice(void *arg KAP_UNUSED, const PGresult *result KAP_UNUSED)
{
}

PGconn *
ctl_pg_open(const struct ctl_context *context)
{
	/* what the DSN says comes last, and wins */
	const char *const keywords[] = { "connect_timeout",
		"application_name", "client_encoding", "dbname", NULL };
	const char *const values[] = { "10", "kaphilactl", "UTF8",
		context->config.postgres.dsn, NULL };
	PGconn *conn;

	if (!ctl_need_config(context))
		return NULL;
	conn = PQconnectdbParams(keywords, values, 1);
	if (conn == NULL || PQstatus(conn) != CONNECTION_OK) {
		const char *why = conn != NULL ? PQerrorMessage(conn)
		                               : "out of memory";

		ctl_complain("postgresql: %.*s", (int)strcspn(why, "\n"),
		    why);
		PQfinish(conn);
		return NULL;
	}
	(void)PQsetNoticeReceiver(conn, on_notice, NULL);
	return conn;
}

PGresult *
ctl_pg_query(PGconn *conn, const char *sql, int param_count,
    const char *const *values)
{
	PGresult *result = PQexecParams(conn, sql, param_count, NULL, values,
	    NULL, NULL, 0);

	if (result == NULL) {
		ctl_complain("out of memory");
		exit(CTL_FAILED);
	}
	return result;
}

bool
ctl_pg_failed_with(const PGresult *result, const char *sqlstate)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state != NULL && strcmp(state, sqlstate) == 0;
}

bool
ctl_pg_ok(const PGresult *result, const char *what)
{
	const ExecStatusType status = PQresultStatus(result);
	const char *why = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
		return true;
	if (why == NULL)
		why = PQresultErrorMessage(result);
	if (ctl_pg_failed_with(result, "42P01") ||
	    ctl_pg_failed_with(result, "42703"))
		ctl_complain("%s: %.*s (is the schema up to date? run "
		    "kaphilactl migrate)", what, (int)strcspn(why, "\n"), why);
	else
		ctl_complain("%s: %.*s", what, (int)strcspn(why, "\n"), why);
	return false;
}

bool
ctl_pg_run(PGconn *conn, const char *sql, const char *what)
{
	PGresult *result = PQexec(conn, sql);
	const bool ok = ctl_pg_ok(result, what);

	PQclear(result);
	return ok;
}

bool
ctl_pg_find_key(PGconn *conn, const char *text, char id_out[CTL_ID_SIZE])
{
	const char *const values[] = { text };
	PGresult *result = ctl_pg_query(conn,
	    "SELECT id, key_id = $1 FROM api_keys WHERE key_id = $1 OR"
	    " name = $1 ORDER BY key_id = $1 DESC LIMIT 2", 1, values);
	bool found = false;

	if (!ctl_pg_ok(result, "looking for the key")) {
		PQclear(result);
		return false;
	}
	if (PQntuples(result) == 0) {
		ctl_complain("no key '%s'", text);
	} else if (PQntuples(result) > 1 &&
	    strcmp(PQgetvalue(result, 0, 1), "t") != 0) {
		ctl_complain("several keys have the name '%s': give the key id",
		    text);
	} else {
		(void)snprintf(id_out, CTL_ID_SIZE, "%s",
		    PQgetvalue(result, 0, 0));
		found = true;
	}
	PQclear(result);
	return found;
}

bool
ctl_random_hex(char *out, size_t bytes)
{
	uint8_t random[32];

	if (bytes > sizeof(random) ||
	    getrandom(random, bytes, 0) != (ssize_t)bytes) {
		ctl_complain("no random numbers");
		return false;
	}
	for (size_t i = 0; i < bytes; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", random[i]);
	return true;
}

/* Columns that a terminal needs for UTF-8 text, wide letters aside. */
static int
width_of(const char *text)
{
	int width = 0;

	for (; *text != '\0'; text++) {
		if (((unsigned char)*text & 0xc0) != 0x80)
			width++;
	}
	return width;
}

static bool
is_number(enum ctl_column_kind kind)
{
	return kind == CTL_INT || kind == CTL_LIMIT;
}

/* A cell for people: "-" for none, "yes" and "no". */
static const char *
cell_text(const PGresult *result, int row, int column,
    enum ctl_column_kind kind)
{
	const char *text = PQgetvalue(result, row, column);

	if (*text == '\0')
		return "-";
	if (kind == CTL_BOOL)
		return *text == 't' ? "yes" : "no";
	if (kind == CTL_LIMIT && strcmp(text, "0") == 0)
		return CTL_NO_LIMIT;
	return text;
}

/* How many columns of a table a text of a kind takes. */
static int
shown_width(const char *text, enum ctl_column_kind kind)
{
	const bool is_long = kind == CTL_LONG_TEXT || kind == CTL_LONG_LIST;
	const int width = width_of(text);

	return is_long && width > LONG_WIDTH ? LONG_WIDTH : width;
}

/* Bytes of the first `width` characters. */
static int
bytes_of(const char *text, int width)
{
	int bytes = 0;

	for (; text[bytes] != '\0'; bytes++) {
		if (((unsigned char)text[bytes] & 0xc0) != 0x80 &&
		    width-- == 0)
			break;
	}
	return bytes;
}

static void
print_cell(const char *text, enum ctl_column_kind kind, int width, bool last)
{
	const int shown = shown_width(text, kind);
	const bool whole = shown == width_of(text);
	const int pad = width - shown;

	if (is_number(kind))
		(void)printf("%*s", pad, "");
	(void)printf("%.*s%s", bytes_of(text, whole ? shown : shown - 1),
	    text, whole ? "" : "…");
	if (!is_number(kind) && !last)
		(void)printf("%*s", pad, "");
	(void)fputs(last ? "\n" : "  ", stdout);
}

static int
last_shown(const struct ctl_column *columns, int count)
{
	while (count > 0 && columns[count - 1].title == NULL)
		count--;
	return count - 1;
}

static void
print_table(const PGresult *result, const struct ctl_column *columns,
    int count)
{
	const int last = last_shown(columns, count);
	int widths[32];

	for (int i = 0; i <= last; i++) {
		widths[i] = columns[i].title != NULL
		    ? width_of(columns[i].title) : 0;
		for (int row = 0; row < PQntuples(result); row++) {
			const int width = shown_width(cell_text(result, row,
			    i, columns[i].kind), columns[i].kind);

			if (width > widths[i])
				widths[i] = width;
		}
	}
	for (int row = -1; row < PQntuples(result); row++) {
		for (int i = 0; i <= last; i++) {
			if (columns[i].title != NULL)
				print_cell(row < 0 ? columns[i].title
				    : cell_text(result, row, i,
				          columns[i].kind), columns[i].kind,
				    widths[i], i == last);
		}
	}
}

static cJSON *
json_list(const char *text)
{
	cJSON *list = cJSON_CreateArray();

	while (*text != '\0') {
		char item[128];
		const size_t len = strcspn(text, ",");

		(void)snprintf(item, sizeof(item), "%.*s", (int)len, text);
		(void)cJSON_AddItemToArray(list, cJSON_CreateString(item));
		text += len + (text[len] == ',');
	}
	return list;
}

static cJSON *
json_value(const PGresult *result, int row, int column,
    enum ctl_column_kind kind)
{
	const char *text = PQgetvalue(result, row, column);

	if (kind == CTL_LIST || kind == CTL_LONG_LIST)
		return json_list(text);
	if (PQgetisnull(result, row, column))
		return cJSON_CreateNull();
	if (kind == CTL_BOOL)
		return cJSON_CreateBool(*text == 't');
	/* as it is written: a double would round large numbers */
	return is_number(kind) ? cJSON_CreateRaw(text)
	                       : cJSON_CreateString(text);
}

static cJSON *
json_row(const PGresult *result, int row, const struct ctl_column *columns,
    int count)
{
	cJSON *object = cJSON_CreateObject();

	for (int i = 0; i < count; i++)
		(void)cJSON_AddItemToObject(object, columns[i].json,
		    json_value(result, row, i, columns[i].kind));
	return object;
}

static void
print_json(cJSON *json)
{
	char *text = cJSON_Print(json);

	cJSON_Delete(json);
	if (text == NULL) {
		ctl_complain("out of memory");
		exit(CTL_FAILED);
	}
	(void)puts(text);
	cJSON_free(text);
}

void
ctl_pg_print_rows(const PGresult *result, const struct ctl_column *columns,
    int count, bool json)
{
	cJSON *array;

	if (!json) {
		print_table(result, columns, count);
		return;
	}
	array = cJSON_CreateArray();
	for (int row = 0; row < PQntuples(result); row++)
		(void)cJSON_AddItemToArray(array,
		    json_row(result, row, columns, count));
	print_json(array);
}

void
ctl_pg_print_row(const PGresult *result, const struct ctl_column *columns,
    int count, const struct ctl_extra *extras, bool json)
{
	if (json) {
		cJSON *object = json_row(result, 0, columns, count);

		for (; extras != NULL && extras->json != NULL; extras++)
			(void)cJSON_AddStringToObject(object, extras->json,
			    extras->value);
		print_json(object);
		return;
	}
	for (int i = 0; i < count; i++)
		(void)printf("%-16s  %s\n", columns[i].json,
		    cell_text(result, 0, i, columns[i].kind));
	for (; extras != NULL && extras->json != NULL; extras++)
		(void)printf("%-16s  %s\n", extras->json, extras->value);
}
