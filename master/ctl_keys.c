/*
 * kaphilactl keys: create, set, list, show, disable, enable, credits. Every
 * change is one transaction; workers hear of it by NOTIFY. A key's text and a
 * webhook secret are printed when they are made, and never again.
 */
#include "master/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "master/ctl_args.h"
#include "master/ctl_key_settings.h"
#include "master/ctl_pg.h"
#include "shared/api_key.h"

#define NAME_MAX_BYTES 120
#define CREDITS_MAX 1000000000000LL

static const struct ctl_column key_columns[] = {
	{ "id", NULL, CTL_INT },
	{ "keyId", "KEY", CTL_TEXT },
	{ "name", "NAME", CTL_TEXT },
	{ "keyPrefix", "PREFIX", CTL_TEXT },
	{ "state", "STATE", CTL_TEXT },
	{ "credits", "CREDITS", CTL_INT },
	{ "rateLimit", "RATE/H", CTL_LIMIT },
	{ "totalCalls", "CALLS", CTL_INT },
	{ "successfulCalls", "ANSWERED", CTL_INT },
	{ "trunks", "TRUNKS", CTL_LIST },
	{ "maxCalls", "MAX CALLS", CTL_LIMIT },
	{ "defaultCallerId", NULL, CTL_TEXT },
	{ "callerIds", "CALLER IDS", CTL_LONG_LIST },
	{ "allow", "ALLOW", CTL_LONG_LIST },
	{ "deny", "DENY", CTL_LONG_LIST },
	{ "webhookUrl", "WEBHOOK", CTL_LONG_TEXT },
	{ "signed", "SIGNED", CTL_BOOL },
	{ "secretBefore", NULL, CTL_BOOL },
	{ "createdAt", NULL, CTL_TEXT },
	{ "lastUsed", "LAST USED", CTL_TEXT },
	{ "expiresAt", NULL, CTL_TEXT },
};

#define KEY_COLUMN_COUNT ((int)(sizeof(key_columns) / sizeof(key_columns[0])))

#define ISO(column) \
	"to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"" \
	"HH24:MI:SS.MS\"Z\"')"

/* What schemas 0005 and 0006 brought: null on one before it. */
#define LATER(column) "to_jsonb(k) ->> '" column "'"

/* The columns above; a null rate limit means 100. */
#define SELECT_KEYS \
	"SELECT k.id, k.key_id, k.name, k.key_prefix," \
	" CASE WHEN k.disabled_at IS NOT NULL THEN 'disabled'" \
	"  WHEN k.expires_at <= now() THEN 'expired' ELSE 'enabled' END," \
	" k.credits, coalesce(k.rate_limit, 100), k.total_calls," \
	" k.successful_calls, (SELECT string_agg(t.name, ',' ORDER BY" \
	"  kt.position, t.id) FROM key_trunks kt JOIN trunks t" \
	"  ON t.id = kt.trunk_id WHERE kt.api_key_id = k.id)," \
	" coalesce((" LATER("max_calls") ")::integer, 0)," \
	" k.default_caller_id, " LATER("caller_ids") ", " \
	LATER("allow_prefixes") ", " LATER("deny_prefixes") ", " \
	LATER("webhook_url") ", " \
	" " LATER("webhook_secret") " IS NOT NULL, " \
	LATER("webhook_secret_before") " IS NOT NULL, " \
	ISO("k.created_at") ", " \
	ISO("k.last_used") ", " ISO("k.expires_at") " FROM api_keys k "

static int
show_key(PGconn *conn, const char *id, const struct ctl_extra *extras,
    bool json)
{
	const char *const values[] = { id };
	PGresult *result = ctl_pg_query(conn, SELECT_KEYS
	    "WHERE k.id = $1::integer", 1, values);
	int exit_code = CTL_FAILED;

	if (ctl_pg_ok(result, "reading the key")) {
		if (PQntuples(result) == 1) {
			ctl_pg_print_row(result, key_columns,
			    KEY_COLUMN_COUNT, extras, json);
			exit_code = CTL_OK;
		} else {
			ctl_complain("the key is gone");
		}
	}
	PQclear(result);
	return exit_code;
}

static bool
has_control(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

/* What `keys create` was given, checked. */
struct new_key {
	const char *name;
	char credits[24];
	struct ctl_key_settings settings;
};

static bool
take_new_key(const struct ctl_context *context, int argc, char **argv,
    struct new_key *key)
{
	const char *credits = "0";
	struct ctl_option options[CTL_KEY_OPTION_COUNT + 1];
	int64_t number;

	ctl_key_settings_init(&key->settings, options);
	options[CTL_KEY_OPTION_COUNT] = (struct ctl_option){ "--credits",
		&credits, NULL };
	if (!ctl_take_args(argc, argv, 2, options, CTL_KEY_OPTION_COUNT + 1,
	        &key->name, 1))
		return false;
	if (*key->name == '\0' || strlen(key->name) > NAME_MAX_BYTES ||
	    has_control(key->name)) {
		ctl_complain("NAME must have 1 to %d bytes, none of them a "
		    "control character", NAME_MAX_BYTES);
		return false;
	}
	if (!ctl_parse_int("--credits", credits, 0, CREDITS_MAX, &number))
		return false;
	(void)snprintf(key->credits, sizeof(key->credits), "%" PRId64, number);
	return ctl_key_settings_check(&key->settings, &context->config, true);
}

/* The first credits are a ledger entry, like all that follow. */
static const char create_sql[] =
    "WITH made AS (INSERT INTO api_keys (key_id, name, key_hash, key_prefix,"
    "  credits) VALUES ('key_' || $1, $2, decode($3, 'hex'), $4,"
    "  $5::bigint) RETURNING id, credits)"
    ", granted AS (INSERT INTO credit_ledger (call_id, kind, api_key_id,"
    "  amount, node, key_number, at)"
    " SELECT 'grant-' || $6, 'grant', id, credits, $7::integer, 0, now()"
    " FROM made WHERE credits > 0)"
    " SELECT id FROM made";

/*
 * Insert a row, inside a transaction. False after a complaint.
 *
 * text  of the new key
 */
static bool
insert_row(const struct ctl_context *context, PGconn *conn,
    const struct new_key *key, const char *text, char id_out[CTL_ID_SIZE])
{
	uint8_t hash[API_KEY_HASH_SIZE];
	char hash_hex[2 * API_KEY_HASH_SIZE + 1];
	char prefix[11];
	char key_id[11];
	char grant_id[17];
	char node[24];
	const char *const values[] = { key_id, key->name, hash_hex, prefix,
		key->credits, grant_id, node };
	PGresult *result;
	bool ok;

	if (!ctl_random_hex(key_id, 5) || !ctl_random_hex(grant_id, 8))
		return false;
	if (api_key_hash(context->config.auth.pepper, text, strlen(text),
	        hash) != 0) {
		ctl_complain("could not make a key");
		return false;
	}
	for (size_t i = 0; i < sizeof(hash); i++)
		(void)snprintf(hash_hex + 2 * i, 3, "%02x", hash[i]);
	(void)snprintf(prefix, sizeof(prefix), "%.10s", text);
	(void)snprintf(node, sizeof(node), "%" PRId64,
	    context->config.node.id);
	result = ctl_pg_query(conn, create_sql, 7, values);
	ok = ctl_pg_ok(result, "creating the key");
	if (ok)
		(void)snprintf(id_out, CTL_ID_SIZE, "%s",
		    PQgetvalue(result, 0, 0));
	PQclear(result);
	return ok;
}

/*
 * Show a key with what was made for it just now.
 *
 * text  the key's own; NULL: it isn't new
 */
static int
show_made(const struct ctl_context *context, PGconn *conn, const char *id,
    const char *text, const struct ctl_key_settings *settings)
{
	struct ctl_extra extras[3] = { { NULL, NULL } };
	int count = 0;
	int exit_code;

	if (text != NULL)
		extras[count++] = (struct ctl_extra){ "key", text };
	if (settings->secret[0] != '\0')
		extras[count++] = (struct ctl_extra){ "webhookSecret",
			settings->secret };
	exit_code = show_key(conn, id, extras, context->json);
	if (exit_code == CTL_OK && !context->json && count > 0)
		(void)printf("\n%s shown this once: keep %s.\n",
		    count == 2 ? "The key and its webhook secret are"
		    : text != NULL ? "The key is" : "The webhook secret is",
		    count == 2 ? "them" : "it");
	return exit_code;
}

static int
insert_key(const struct ctl_context *context, PGconn *conn,
    struct new_key *key)
{
	char text[API_KEY_TEXT_SIZE];
	char id[CTL_ID_SIZE];

	if (api_key_generate(text) != 0) {
		ctl_complain("could not make a key");
		return CTL_FAILED;
	}
	/* what has begun when one of these fails ends with the connection */
	if (!ctl_key_settings_add_secret(&key->settings, conn) ||
	    !ctl_pg_run(conn, "BEGIN", "creating the key") ||
	    !insert_row(context, conn, key, text, id) ||
	    !ctl_key_settings_write(&key->settings, conn, id) ||
	    !ctl_pg_run(conn, "COMMIT", "creating the key"))
		return CTL_FAILED;
	return show_made(context, conn, id, text, &key->settings);
}

static int
create(struct ctl_context *context, int argc, char **argv)
{
	struct new_key key;
	PGconn *conn;
	int exit_code;

	if (!take_new_key(context, argc, argv, &key))
		return CTL_USAGE;
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	exit_code = insert_key(context, conn, &key);
	PQfinish(conn);
	return exit_code;
}

static int
set(struct ctl_context *context, int argc, char **argv)
{
	struct ctl_option options[CTL_KEY_OPTION_COUNT];
	struct ctl_key_settings settings;
	char id[CTL_ID_SIZE];
	const char *key;
	PGconn *conn;
	int exit_code = CTL_FAILED;

	ctl_key_settings_init(&settings, options);
	if (!ctl_take_args(argc, argv, 2, options, CTL_KEY_OPTION_COUNT, &key,
	        1) ||
	    !ctl_key_settings_check(&settings, &context->config, false))
		return CTL_USAGE;
	if (!ctl_key_settings_any(&settings)) {
		ctl_complain("nothing to set");
		return CTL_USAGE;
	}
	conn = ctl_pg_open(context);
	if (conn == NULL)
		return CTL_FAILED;
	if (ctl_pg_find_key(conn, key, id) &&
	    ctl_pg_run(conn, "BEGIN", "changing the key") &&
	    ctl_key_settings_write(&settings, conn, id) &&
	    ctl_pg_run(conn, "COMMIT", "changing the key"))
		exit_code = show_made(context, conn, id, NULL, &settings);
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
	result = ctl_pg_query(conn, SELECT_KEYS "ORDER BY k.id", 0, NULL);
	if (ctl_pg_ok(result, "reading the keys")) {
		ctl_pg_print_rows(result, key_columns, KEY_COLUMN_COUNT,
		    context->json);
		exit_code = CTL_OK;
	}
	PQclear(result);
	PQfinish(conn);
	return exit_code;
}

/*
 * Find the key, run `sql` on it ($1 is its id, the caller's values follow),
 * and show what it is then.
 */
static int
change_key(const struct ctl_context *context, const char *key,
    const char *sql, int extra_count, const char *const *extra_values)
{
	char id[CTL_ID_SIZE];
	const char *values[5] = { id };
	PGconn *conn = ctl_pg_open(context);
	int exit_code = CTL_FAILED;

	if (conn == NULL)
		return CTL_FAILED;
	for (int i = 0; i < extra_count; i++)
		values[i + 1] = extra_values[i];
	if (ctl_pg_find_key(conn, key, id)) {
		bool done = sql == NULL;

		if (sql != NULL) {
			PGresult *result = ctl_pg_query(conn, sql,
			    extra_count + 1, values);

			done = ctl_pg_ok(result, "changing the key");
			PQclear(result);
		}
		if (done)
			exit_code = show_key(conn, id, NULL, context->json);
	}
	PQfinish(conn);
	return exit_code;
}

static int
show(struct ctl_context *context, int argc, char **argv)
{
	const char *key;

	if (!ctl_take_args(argc, argv, 2, NULL, 0, &key, 1))
		return CTL_USAGE;
	return change_key(context, key, NULL, 0, NULL);
}

static int
disable(struct ctl_context *context, int argc, char **argv)
{
	const char *key;

	if (!ctl_take_args(argc, argv, 2, NULL, 0, &key, 1))
		return CTL_USAGE;
	return change_key(context, key, "UPDATE api_keys SET disabled_at ="
	    " coalesce(disabled_at, now()) WHERE id = $1::integer", 0, NULL);
}

static int
enable(struct ctl_context *context, int argc, char **argv)
{
	const char *key;

	if (!ctl_take_args(argc, argv, 2, NULL, 0, &key, 1))
		return CTL_USAGE;
	return change_key(context, key, "UPDATE api_keys SET disabled_at ="
	    " NULL WHERE id = $1::integer", 0, NULL);
}

/* No trigger tells of credits, for the ledger changes them all the time. */
static const char credits_sql[] =
    "WITH granted AS (INSERT INTO credit_ledger (call_id, kind, api_key_id,"
    "  amount, node, key_number, at) VALUES ('grant-' || $3, 'grant',"
    "  $1::integer, $2::bigint, $4::integer, 0, now())"
    "  RETURNING api_key_id, amount)"
    ", changed AS (UPDATE api_keys k SET credits = k.credits + g.amount"
    "  FROM granted g WHERE k.id = g.api_key_id RETURNING k.id)"
    " SELECT pg_notify('kaphila_keys', '') FROM changed";

static int
credits(struct ctl_context *context, int argc, char **argv)
{
	const char *given[2];
	char amount[24];
	char grant_id[17];
	char node[24];
	const char *const values[] = { amount, grant_id, node };
	int64_t number;

	if (!ctl_take_args(argc, argv, 2, NULL, 0, given, 2) ||
	    !ctl_parse_int("the credits", given[1], -CREDITS_MAX, CREDITS_MAX,
	        &number))
		return CTL_USAGE;
	if (number == 0) {
		ctl_complain("the credits are added or taken: +N or -N, not 0");
		return CTL_USAGE;
	}
	if (!ctl_random_hex(grant_id, 8))
		return CTL_FAILED;
	(void)snprintf(amount, sizeof(amount), "%" PRId64, number);
	(void)snprintf(node, sizeof(node), "%" PRId64,
	    context->config.node.id);
	return change_key(context, given[0], credits_sql, 3, values);
}

int
ctl_keys(struct ctl_context *context, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*handler)(struct ctl_context *, int, char **);
	} verbs[] = {
		{ "create", create }, { "set", set }, { "list", list },
		{ "show", show },
		{ "disable", disable }, { "enable", enable },
		{ "credits", credits },
	};

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (argc > 1 && strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].handler(context, argc, argv);
	}
	if (argc > 1)
		ctl_complain("keys can't '%s'", argv[1]);
	else
		ctl_complain("too few arguments");
	return CTL_USAGE;
}
