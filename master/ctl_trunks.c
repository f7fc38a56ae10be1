/*
 * kaphilactl trunks: add, set, list, remove, enable, disable, and which keys
 * may use them in which order. What they do now is ctl_trunk_state.c's.
 * Workers hear of each change by NOTIFY, which the
 * tables' triggers send.
 */
#include "master/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "master/ctl_args.h"
#include "master/ctl_pg.h"
#include "shared/api_key.h"

#define TEMPLATE_DEFAULT "PJSIP/00{number}@{trunk}"

static const struct ctl_column trunk_columns[] = {
	{ "id", NULL, CTL_INT },
	{ "name", "TRUNK", CTL_TEXT },
	{ "template", "TEMPLATE", CTL_TEXT },
	{ "enabled", "ENABLED", CTL_BOOL },
	{ "priority", "PRIORITY", CTL_INT },
	{ "weight", "WEIGHT", CTL_INT },
	{ "maxCalls", "MAX CALLS", CTL_LIMIT },
	{ "maxCps", "MAX CPS", CTL_LIMIT },
	{ "keys", "KEYS", CTL_LIST },
	{ "createdAt", NULL, CTL_TEXT },
};

#define TRUNK_COLUMN_COUNT \
	((int)(sizeof(trunk_columns) / sizeof(trunk_columns[0])))

#define SELECT_TRUNKS \
	"SELECT t.id, t.name, t.dial_template, t.enabled, t.priority," \
	" t.weight, t.max_calls, t.max_cps," \
	" (SELECT string_agg(k.key_id, ',' ORDER BY k.id) FROM key_trunks kt" \
	"  JOIN api_keys k ON k.id = kt.api_key_id WHERE kt.trunk_id = t.id)," \
	" to_char(t.created_at AT TIME ZONE 'UTC'," \
	"  'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM trunks t "

static int
show_trunk(PGconn *conn, const char *name, bool json)
{
	const char *const values[] = { name };
	PGresult *result = ctl_pg_query(conn, SELECT_TRUNKS
	    "WHERE t.name = $1", 1, values);
	int exit_code = CTL_FAILED;

	if (ctl_pg_ok(result, "reading the trunk")) {
		if (PQntuples(result) == 1) {
			ctl_pg_print_row(result, trunk_columns,
			    TRUNK_COLUMN_COUNT, NULL, json);
			exit_code = CTL_OK;
		} else {
			ctl_complain("no trunk '%s'", name);
		}
	}
	PQclear(result);
	return exit_code;
}

/* What reaches a dial string is checked here, and where it is made. */
static bool
is_good_trunk(const char *name, const char *template)
{
	struct api_key_trunk trunk;
	char dial[160];
	const size_t len = strlen(name);

	if (len == 0 || len >= sizeof(trunk.name) ||
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	        "0123456789._-") != len) {
		ctl_complain("a trunk's name has 1 to 63 letters, digits, '.',"
		    " '_' and '-': not '%s'", name);
		return false;
	}
	(void)snprintf(trunk.name, sizeof(trunk.name), "%s", name);
	(void)snprintf(trunk.dial_template, sizeof(trunk.dial_template), "%s",
	    template);
	for (const char *c = template; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || *c == '&' || *c == '|' ||
		    *c == ',') {
			ctl_complain("the template has a character that can't"
			    " be in a dial string: '%s'", template);
			return false;
		}
	}
	if (strlen(template) >= sizeof(trunk.dial_template) ||
	    api_key_expand_dial(&trunk, "123456789012345", dial,
	        sizeof(dial)) != 0) {
		ctl_complain("the template must have {number} and at most %zu"
		    " characters: '%s'", sizeof(trunk.dial_template) - 1,
		    template);
		return false;
	}
	return true;
}

/* What add and set have in common; the order is that of their SQL. */
enum setting {
	SET_TEMPLATE,
	SET_PRIORITY,
	SET_WEIGHT,
	SET_MAX_CALLS,
	SET_MAX_CPS,
	SETTING_COUNT
};

static const struct {
	const char *option;
	int64_t min; /* of numbers */
	int64_t max;
} settings[SETTING_COUNT] = {
	[SET_TEMPLATE] = { "--template", 0, 0 },
	[SET_PRIORITY] = { "--priority", 0, 1000 },
	[SET_WEIGHT] = { "--weight", 1, 100 },
	[SET_MAX_CALLS] = { "--max-calls", 0, 1000000 },
	[SET_MAX_CPS] = { "--max-cps", 0, 1000000 },
};

/*
 * Take the trunk's name and its settings out of argv, and check them. What
 * was not given is left NULL, which SQL takes for "as it is".
 *
 * values  [0] the name, then those of enum setting
 */
static bool
take_settings(int argc, char **argv, const char *values[1 + SETTING_COUNT])
{
	struct ctl_option options[SETTING_COUNT] = { { .name = NULL } };
	const char *template;

	for (int i = 0; i < SETTING_COUNT; i++) {
		values[1 + i] = NULL;
		options[i].name = settings[i].option;
		options[i].value = &values[1 + i];
	}
	if (!ctl_take_args(argc, argv, 2, options, SETTING_COUNT, values, 1))
		return false;
	for (int i = SET_PRIORITY; i < SETTING_COUNT; i++) {
		int64_t ignored;

		if (values[1 + i] != NULL && !ctl_parse_int(
		        settings[i].option, values[1 + i], settings[i].min,
		        settings[i].max, &ignored))
			return false;
	}
	template = values[1 + SET_TEMPLATE];
	return is_good_trunk(values[0],
	    template != NULL ? template : TEMPLATE_DEFAULT);
}

static int
add(struct ctl_context *context, int argc, char **argv)
{
	const char *values[1 + SETTING_COUNT];
	PGresult *result;
	PGconn *conn;
	int exit_code = CTL_FAILED;

	if (!take_settings(argc, argv, values))
		return CTL_USAGE;
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	result = ctl_pg_query(conn, "INSERT INTO trunks (name, dial_template,"
	    " priority, weight, max_calls, max_cps) VALUES ($1,"
	    " coalesce($2, '" TEMPLATE_DEFAULT "'),"
	    " coalesce($3::integer, 0), coalesce($4::integer, 1),"
	    " coalesce($5::integer, 0), coalesce($6::integer, 0))",
	    1 + SETTING_COUNT, values);
	if (ctl_pg_failed_with(result, "23505"))
		ctl_complain("trunk '%s' is there already", values[0]);
	else if (ctl_pg_ok(result, "adding the trunk"))
		exit_code = show_trunk(conn, values[0], context->json);
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

static int
set(struct ctl_context *context, int argc, char **argv)
{
	const char *values[1 + SETTING_COUNT];
	PGresult *result;
	PGconn *conn;
	int exit_code = CTL_FAILED;

	if (!take_settings(argc, argv, values))
		return CTL_USAGE;
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	result = ctl_pg_query(conn, "UPDATE trunks SET"
	    " dial_template = coalesce($2, dial_template),"
	    " priority = coalesce($3::integer, priority),"
	    " weight = coalesce($4::integer, weight),"
	    " max_calls = coalesce($5::integer, max_calls),"
	    " max_cps = coalesce($6::integer, max_cps) WHERE name = $1",
	    1 + SETTING_COUNT, values);
	if (ctl_pg_ok(result, "changing the trunk"))
		exit_code = show_trunk(conn, values[0], context->json);
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

static int
list(struct ctl_context *context, int argc, char **argv)
{
	PGresult *result;
	PGconn *conn;
	int exit_code = CTL_FAILED;

	if (!ctl_take_args(argc, argv, 2, NULL, 0, NULL, 0))
		return CTL_USAGE;
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	result = ctl_pg_query(conn, SELECT_TRUNKS "ORDER BY t.name", 0, NULL);
	if (ctl_pg_ok(result, "reading the trunks")) {
		ctl_pg_print_rows(result, trunk_columns, TRUNK_COLUMN_COUNT,
		    context->json);
		exit_code = CTL_OK;
	}
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

/* Run `sql`, whose $1 is the trunk's name, and which tells how many rows. */
static int
change_trunk(const struct ctl_context *context, int argc, char **argv,
    const char *sql)
{
	const char *name;
	PGresult *result;
	PGconn *conn;
	int exit_code = CTL_FAILED;

	if (!ctl_take_args(argc, argv, 2, NULL, 0, &name, 1))
		return CTL_USAGE;
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	result = ctl_pg_query(conn, sql, 1, &name);
	if (!ctl_pg_ok(result, "changing the trunk")) {
		exit_code = CTL_FAILED;
	} else if (strcmp(PQcmdTuples(result), "0") == 0) {
		ctl_complain("no trunk '%s'", name);
	} else {
		exit_code = show_trunk(conn, name, context->json);
	}
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

/* Say why it was not removed: which keys have it, or that there is none. */
static void
complain_of_keys(PGconn *conn, const char *name)
{
	PGresult *result = ctl_pg_query(conn, "SELECT string_agg(key_id ||"
	    " ' (' || name || ')', ', ' ORDER BY id) FILTER (WHERE n <= 5),"
	    " nullif(greatest(count(*) - 5, 0), 0) FROM (SELECT k.*,"
	    "  row_number() OVER (ORDER BY k.id) AS n FROM trunks t"
	    "  JOIN key_trunks kt ON kt.trunk_id = t.id"
	    "  JOIN api_keys k ON k.id = kt.api_key_id WHERE t.name = $1) u",
	    1, &name);
	const char *more;

	if (ctl_pg_ok(result, "reading the trunk's keys")) {
		more = PQgetvalue(result, 0, 1);
		if (PQgetisnull(result, 0, 0))
			ctl_complain("no trunk '%s'", name);
		else
			ctl_complain("trunk '%s' is assigned to %s%s%s%s:"
			    " --force removes it all the same", name,
			    PQgetvalue(result, 0, 0),
			    *more != '\0' ? " and " : "", more,
			    *more != '\0' ? " more" : "");
	}
	PQclear(result);
}

/* $1 the trunk's name, $2 "force" or empty. */
static const char remove_sql[] =
    "DELETE FROM trunks t WHERE t.name = $1 AND ($2 = 'force' OR"
    " NOT EXISTS (SELECT FROM key_trunks kt WHERE kt.trunk_id = t.id))";

static void
print_removed(const char *name, bool json)
{
	(void)printf(json ? "{\"removed\": \"%s\"}\n" : "removed %s\n", name);
}

/* By force its assignments go with it; what calls it had stays in their
 * logs. */
static int
remove_trunk(struct ctl_context *context, int argc, char **argv)
{
	bool force = false;
	const struct ctl_option options[] = { { "--force", NULL, &force } };
	const char *values[2];
	PGresult *result;
	PGconn *conn;
	int exit_code = CTL_FAILED;

	if (!ctl_take_args(argc, argv, 2, options, 1, values, 1))
		return CTL_USAGE;
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	values[1] = force ? "force" : "";
	result = ctl_pg_query(conn, remove_sql, 2, values);
	if (!ctl_pg_ok(result, "removing the trunk")) {
		exit_code = CTL_FAILED;
	} else if (strcmp(PQcmdTuples(result), "0") == 0) {
		complain_of_keys(conn, values[0]);
	} else {
		print_removed(values[0], context->json);
		exit_code = CTL_OK;
	}
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

static int
enable(struct ctl_context *context, int argc, char **argv)
{
	return change_trunk(context, argc, argv,
	    "UPDATE trunks SET enabled = true WHERE name = $1");
}

static int
disable(struct ctl_context *context, int argc, char **argv)
{
	return change_trunk(context, argc, argv,
	    "UPDATE trunks SET enabled = false WHERE name = $1");
}

/* $1 the key's id, $2 the trunk's name, $3 the position or empty: the end. */
static const char assign_sql[] =
    "INSERT INTO key_trunks (api_key_id, trunk_id, position)"
    " SELECT $1::integer, t.id, coalesce(nullif($3, '')::integer,"
    "  (SELECT max(position) + 1 FROM key_trunks"
    "   WHERE api_key_id = $1::integer AND trunk_id <> t.id), 1)"
    " FROM trunks t WHERE t.name = $2"
    " ON CONFLICT (api_key_id, trunk_id) DO UPDATE"
    " SET position = EXCLUDED.position";

static const char unassign_sql[] =
    "DELETE FROM key_trunks WHERE api_key_id = $1::integer AND trunk_id ="
    " (SELECT id FROM trunks WHERE name = $2)";

/* A ninth trunk would never be used: better said now. */
static bool
has_room(PGconn *conn, const char *key_id, const char *trunk)
{
	const char *const values[] = { key_id, trunk };
	PGresult *result = ctl_pg_query(conn, "SELECT count(*) >= 8"
	    " FROM key_trunks kt JOIN trunks t ON t.id = kt.trunk_id"
	    " WHERE kt.api_key_id = $1::integer AND t.name <> $2", 2, values);
	bool room = false;

	if (ctl_pg_ok(result, "counting the key's trunks")) {
		room = strcmp(PQgetvalue(result, 0, 0), "f") == 0;
		if (!room)
			ctl_complain("a key can have %d trunks, and this one"
			    " has", API_KEY_TRUNKS_MAX);
	}
	PQclear(result);
	return room;
}

/* The key's trunks, in the order in which they are taken. */
static int
show_assigned(PGconn *conn, const char *key_id, bool json)
{
	static const struct ctl_column columns[] = {
		{ "position", "POSITION", CTL_INT },
		{ "trunk", "TRUNK", CTL_TEXT },
		{ "enabled", "ENABLED", CTL_BOOL },
	};
	const char *const values[] = { key_id };
	PGresult *result = ctl_pg_query(conn, "SELECT kt.position, t.name,"
	    " t.enabled FROM key_trunks kt JOIN trunks t ON t.id = kt.trunk_id"
	    " WHERE kt.api_key_id = $1::integer ORDER BY kt.position, t.id", 1,
	    values);
	int exit_code = CTL_FAILED;

	if (ctl_pg_ok(result, "reading the key's trunks")) {
		ctl_pg_print_rows(result, columns, 3, json);
		exit_code = CTL_OK;
	}
	PQclear(result);
	return exit_code;
}

/* given: the key and the trunk; position: NULL to unassign */
static int
change_assignment(const struct ctl_context *context,
    const char *const given[2], const char *position)
{
	char id[CTL_ID_SIZE];
	const char *const values[] = { id, given[1], position };
	PGconn *conn = ctl_pg_open(context);
	int exit_code = CTL_FAILED;
	PGresult *result;

	if (conn == NULL)
		return CTL_FAILED;
	if (!ctl_pg_find_key(conn, given[0], id) ||
	    (position != NULL && !has_room(conn, id, given[1]))) {
		PQfinish(conn);
		return CTL_FAILED;
	}
	result = position != NULL ? ctl_pg_query(conn, assign_sql, 3, values)
	                          : ctl_pg_query(conn, unassign_sql, 2,
	                                values);
	if (ctl_pg_ok(result, "changing the key's trunks")) {
		if (strcmp(PQcmdTuples(result), "0") != 0)
			exit_code = show_assigned(conn, id, context->json);
		else if (position != NULL)
			ctl_complain("no trunk '%s'", given[1]);
		else
			ctl_complain("'%s' doesn't have trunk '%s'", given[0],
			    given[1]);
	}
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

static int
assign(struct ctl_context *context, int argc, char **argv)
{
	const char *given[2];
	const char *position = NULL;
	const struct ctl_option options[] = {
		{ "--position", &position, NULL },
	};
	char text[24] = "";
	int64_t number;

	if (!ctl_take_args(argc, argv, 2, options, 1, given, 2))
		return CTL_USAGE;
	if (position != NULL) {
		if (!ctl_parse_int("--position", position, 0, 1000000,
		        &number))
			return CTL_USAGE;
		(void)snprintf(text, sizeof(text), "%" PRId64, number);
	}
	return change_assignment(context, given, text);
}

static int
unassign(struct ctl_context *context, int argc, char **argv)
{
	const char *given[2];

	if (!ctl_take_args(argc, argv, 2, NULL, 0, given, 2))
		return CTL_USAGE;
	return change_assignment(context, given, NULL);
}

int
ctl_trunks(struct ctl_context *context, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*handler)(struct ctl_context *, int, char **);
	} verbs[] = {
		{ "add", add }, { "list", list }, { "remove", remove_trunk },
		{ "enable", enable }, { "disable", disable },
		{ "set", set }, { "state", ctl_trunk_state },
		{ "assign", assign }, { "unassign", unassign },
	};

	if (argc == 1)
		return ctl_trunk_state(context, argc, argv);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if ( strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].handler(context, argc, argv);
	}
	ctl_complain("trunks can't '%s'", argv[1]);
	return CTL_USAGE;
}
