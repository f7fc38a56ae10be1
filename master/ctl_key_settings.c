/*
 * One table of options, each with the check that brings it into the form of
 * the database. What is given is checked in full before anything is written.
 */
#include "master/ctl_key_settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "master/ctl.h"
#include "master/ctl_pg.h"
#include "shared/net_guard.h"

/* Another name of --default-caller-id. */
#define SHORT_CALLER_ID KEY_SET_COUNT

static const char *const names[CTL_KEY_OPTION_COUNT] = {
	[KEY_SET_RATE_LIMIT] = "--rate-limit",
	[KEY_SET_EXPIRES] = "--expires",
	[KEY_SET_CALLER_ID] = "--default-caller-id",
	[KEY_SET_CALLER_IDS] = "--caller-ids",
	[KEY_SET_ALLOW] = "--allow",
	[KEY_SET_DENY] = "--deny",
	[KEY_SET_WEBHOOK_URL] = "--webhook-url",
	[KEY_SET_MAX_CALLS] = "--max-calls",
	[KEY_SET_SECRET] = "--webhook-secret",
	[KEY_SET_SECRET_BEFORE] = "--webhook-secret-before",
	[SHORT_CALLER_ID] = "--caller-id",
};

/* One of them, or all: a parameter that is NULL leaves its column as it is. */
#define SET(column, number, type) \
	#column " = CASE WHEN $" #number "::text IS NULL THEN " #column \
	" ELSE nullif($" #number "::text, '')::" #type " END"

static const char first_sql[] = "UPDATE api_keys SET "
    SET(rate_limit, 2, integer) ", " SET(expires_at, 3, timestamptz) ", "
    SET(default_caller_id, 4, text) " WHERE id = $1::integer";

static const char policy_sql[] = "UPDATE api_keys SET "
    SET(caller_ids, 2, text) ", " SET(allow_prefixes, 3, text) ", "
    SET(deny_prefixes, 4, text) ", " SET(webhook_url, 5, text) ", "
    SET(max_calls, 6, integer) " WHERE id = $1::integer";

/* One that takes another's place leaves it valid; with none, no other is. */
static const char secret_sql[] = "UPDATE api_keys SET"
    " webhook_secret_before = CASE"
    "  WHEN $2::text = '' OR $3::text IS NOT NULL THEN NULL"
    "  WHEN $2::text <> webhook_secret THEN webhook_secret"
    "  ELSE webhook_secret_before END, "
    SET(webhook_secret, 2, text) " WHERE id = $1::integer";

void
ctl_key_settings_init(struct ctl_key_settings *settings,
    struct ctl_option options[CTL_KEY_OPTION_COUNT])
{
	memset(settings, 0, sizeof(*settings));
	for (int i = 0; i < CTL_KEY_OPTION_COUNT; i++)
		options[i] = (struct ctl_option){ names[i],
			&settings->given[i], NULL };
}

/* What was given for a setting; NULL: nothing, "": none. */
static const char *
given(const struct ctl_key_settings *settings, enum ctl_key_setting setting)
{
	const char *text = settings->given[setting];

	if (text == NULL && setting == KEY_SET_CALLER_ID)
		text = settings->given[SHORT_CALLER_ID];
	return text != NULL && strcmp(text, "none") == 0 ? "" : text;
}

static bool
take_number(struct ctl_key_settings *settings, enum ctl_key_setting setting,
    int64_t max, char out[24])
{
	const char *text = given(settings, setting);
	int64_t number;

	if (text == NULL)
		return true;
	settings->values[setting] = out;
	if (*text == '\0')
		return true;
	if (!ctl_parse_int(names[setting], text, 0, max, &number))
		return false;
	(void)snprintf(out, 24, "%" PRId64, number);
	return true;
}

/* "2027-01-31" is the beginning of that day, UTC. */
static bool
take_expires(struct ctl_key_settings *settings)
{
	const char *text = given(settings, KEY_SET_EXPIRES);
	char full[64];
	int64_t ms;

	if (text == NULL)
		return true;
	settings->values[KEY_SET_EXPIRES] = settings->expires;
	if (*text == '\0')
		return true;
	(void)snprintf(full, sizeof(full), "%s%s", text,
	    strchr(text, 'T') == NULL ? "T00:00:00Z" : "");
	if (clock_parse_iso(full, &ms) != 0) {
		ctl_complain("--expires must be a date (2027-01-31) or a time"
		    " (2027-01-31T12:00:00Z), not '%s'", text);
		return false;
	}
	if (ms <= clock_wall_ms()) {
		ctl_complain("--expires is in the past: %s", text);
		return false;
	}
	clock_format_iso(ms, settings->expires);
	return true;
}

/* One caller id is a list of one. */
static bool
take_caller_id(struct ctl_key_settings *settings)
{
	const char *text = given(settings, KEY_SET_CALLER_ID);
	uint64_t list[KEY_POLICY_CALLER_IDS_MAX];

	if (text == NULL)
		return true;
	if (key_policy_parse(KEY_POLICY_CALLER_IDS, text, list, NULL) != 0 ||
	    list[1] != 0) {
		ctl_complain("--default-caller-id must have 7 to 15 digits, "
		    "not '%s'", text);
		return false;
	}
	key_policy_format(KEY_POLICY_CALLER_IDS, list, settings->caller_id);
	settings->values[KEY_SET_CALLER_ID] = settings->caller_id;
	return true;
}

/* fallback  where nothing was given; NULL: nothing then */
static bool
take_list(struct ctl_key_settings *settings, enum ctl_key_setting setting,
    const char *fallback, char out[KEY_POLICY_TEXT_SIZE])
{
	const enum key_policy_list kind = setting == KEY_SET_CALLER_IDS ?
	    KEY_POLICY_CALLER_IDS : KEY_POLICY_PREFIXES;
	const char *text = given(settings, setting);
	uint64_t list[KEY_POLICY_PREFIXES_MAX];
	struct kap_errmsg why;

	if (text == NULL)
		text = fallback;
	if (text == NULL)
		return true;
	if (key_policy_parse(kind, text, list, &why) != 0) {
		ctl_complain("%s must be a list with commas between: %s",
		    names[setting], why.text);
		return false;
	}
	key_policy_format(kind, list, out);
	settings->values[setting] = out;
	return true;
}

/* Where its name leads is seen when an event is sent, and not here. */
static bool
take_webhook_url(struct ctl_key_settings *settings, const struct config *config)
{
	const char *text = given(settings, KEY_SET_WEBHOOK_URL);
	struct kap_errmsg why;

	if (text != NULL && *text != '\0' &&
	    net_guard_check_webhook(text, config, &why) != 0) {
		ctl_complain("--webhook-url %s", why.text);
		return false;
	}
	settings->values[KEY_SET_WEBHOOK_URL] = text;
	return true;
}

static bool
make_secret(struct ctl_key_settings *settings)
{
	if (webhook_secret_generate(settings->secret) != 0) {
		ctl_complain("could not make a secret");
		return false;
	}
	settings->values[KEY_SET_SECRET] = settings->secret;
	return true;
}

/* No complaint says what was given: it may be a secret with a slip. */
static bool
take_secrets(struct ctl_key_settings *settings)
{
	const char *text = given(settings, KEY_SET_SECRET);
	const char *before = given(settings, KEY_SET_SECRET_BEFORE);
	uint8_t bytes[WEBHOOK_SECRET_BYTES_MAX];
	size_t len;

	if (before != NULL && *before != '\0') {
		ctl_complain("--webhook-secret-before can only be none");
		return false;
	}
	settings->values[KEY_SET_SECRET_BEFORE] = before;
	if (text != NULL && strcmp(text, "new") == 0)
		return make_secret(settings);
	if (text != NULL && *text != '\0' &&
	    webhook_secret_parse(text, strlen(text), bytes, &len) != 0) {
		ctl_complain("--webhook-secret must be new, none, or whsec_"
		    " and the base64 of %d to %d bytes",
		    WEBHOOK_SECRET_BYTES_MIN, WEBHOOK_SECRET_BYTES_MAX);
		return false;
	}
	settings->values[KEY_SET_SECRET] = text;
	return true;
}

/* A script's variable that is not set must not take a limit away. */
static bool
none_is_empty(const struct ctl_key_settings *settings)
{
	for (int i = 0; i < CTL_KEY_OPTION_COUNT; i++) {
		const char *text = settings->given[i];

		if (text != NULL && text[strspn(text, " ")] == '\0') {
			ctl_complain("%s is empty: 'none' takes away what was "
			    "set", names[i]);
			return false;
		}
	}
	return true;
}

bool
ctl_key_settings_check(struct ctl_key_settings *settings,
    const struct config *config, bool is_new)
{
	const char *allow = config->keys.default_allow;
	const char *deny = config->keys.default_deny;

	return none_is_empty(settings) &&
	    take_number(settings, KEY_SET_RATE_LIMIT, INT32_MAX,
	        settings->rate_limit) &&
	    take_expires(settings) && take_caller_id(settings) &&
	    take_list(settings, KEY_SET_CALLER_IDS, NULL,
	        settings->caller_ids) &&
	    take_list(settings, KEY_SET_ALLOW,
	        is_new && *allow != '\0' ? allow : NULL, settings->allow) &&
	    take_list(settings, KEY_SET_DENY,
	        is_new && *deny != '\0' ? deny : NULL, settings->deny) &&
	    take_webhook_url(settings, config) &&
	    take_number(settings, KEY_SET_MAX_CALLS, KEY_POLICY_CALLS_MAX,
	        settings->max_calls) &&
	    take_secrets(settings);
}

bool
ctl_key_settings_add_secret(struct ctl_key_settings *settings, PGconn *conn)
{
	PGresult *result;
	bool has_column;
	bool ok;

	if (settings->given[KEY_SET_SECRET] != NULL)
		return true;
	result = ctl_pg_query(conn, "SELECT 1 FROM pg_attribute"
	    " WHERE attrelid = 'api_keys'::regclass"
	    " AND attname = 'webhook_secret'", 0, NULL);
	ok = ctl_pg_ok(result, "creating the key");
	has_column = ok && PQntuples(result) == 1;
	PQclear(result);
	return has_column ? make_secret(settings) : ok;
}

static bool
any(const struct ctl_key_settings *settings, int first, int end)
{
	for (int i = first; i < end; i++) {
		if (settings->values[i] != NULL)
			return true;
	}
	return false;
}

bool
ctl_key_settings_any(const struct ctl_key_settings *settings)
{
	return any(settings, 0, KEY_SET_COUNT);
}

/* Those from `first` up to `end`, which are the statement's from $2 on. */
static bool
write_some(const struct ctl_key_settings *settings, PGconn *conn,
    const char *id, const char *sql, int first, int end)
{
	const char *values[1 + KEY_SET_COUNT] = { id };
	PGresult *result;
	bool ok;

	if (!any(settings, first, end))
		return true;
	for (int i = first; i < end; i++)
		values[1 + i - first] = settings->values[i];
	result = ctl_pg_query(conn, sql, 1 + end - first, values);
	ok = ctl_pg_ok(result, "changing the key");
	PQclear(result);
	return ok;
}

bool
ctl_key_settings_write(const struct ctl_key_settings *settings, PGconn *conn,
    const char *id)
{
	return write_some(settings, conn, id, first_sql, 0,
	           KEY_SET_CALLER_IDS) &&
	    write_some(settings, conn, id, policy_sql, KEY_SET_CALLER_IDS,
	        KEY_SET_SECRET) &&
	    write_some(settings, conn, id, secret_sql, KEY_SET_SECRET,
	        KEY_SET_COUNT);
}
