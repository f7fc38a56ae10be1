/*
 * The SQL of a key lookup and the columns of its answer. Knows no cache.
 */
#include "worker/key_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define QUERY_TIMEOUT_MS 1500
#define TOUCH_TIMEOUT_MS 10000

/*
 * One statement, so that balance and watermarks are of one snapshot. The
 * columns that came after the first schema are taken out of the row's JSON:
 * those that an older one lacks are null, and keys are found on it, too.
 */
static const char find_sql[] =
    "SELECT k.id, k.key_id, k.name, k.credits, k.rate_limit,"
    " k.default_caller_id,"
    " (extract(epoch FROM k.created_at) * 1000)::bigint,"
    " (extract(epoch FROM k.last_used) * 1000)::bigint,"
    " CASE WHEN isfinite(k.expires_at) THEN"
    "  (extract(epoch FROM k.expires_at) * 1000)::bigint END,"
    " k.total_calls, k.successful_calls,"
    " (k.disabled_at IS NOT NULL OR coalesce(k.expires_at <= now(), false))"
    "  ::int,"
    " n.charges_posted, n.calls_posted, t.id, t.name, t.dial_template,"
    " t.whole ->> 'priority', t.whole ->> 'weight', t.whole ->> 'max_calls',"
    " t.whole ->> 'max_cps',"
    " k.whole ->> 'caller_ids', k.whole ->> 'allow_prefixes',"
    " k.whole ->> 'deny_prefixes', k.whole ->> 'webhook_url',"
    " k.whole ->> 'max_calls', k.whole ->> 'webhook_secret',"
    " k.whole ->> 'webhook_secret_before'"
    " FROM (SELECT *, to_jsonb(api_keys) AS whole FROM api_keys) k"
    " LEFT JOIN key_nodes n ON n.api_key_id = k.id AND n.node = $2::integer"
    " LEFT JOIN LATERAL (SELECT t.*, to_jsonb(t) AS whole, kt.position"
    "  FROM key_trunks kt JOIN trunks t ON t.id = kt.trunk_id"
    "  WHERE kt.api_key_id = k.id AND t.enabled"
    "  ORDER BY kt.position, t.id LIMIT 8) t ON true"
    " WHERE k.key_hash = $1::bytea"
    " ORDER BY t.position, t.id";

enum find_column {
	COL_ID,
	COL_KEY_ID,
	COL_NAME,
	COL_CREDITS,
	COL_RATE_LIMIT,
	COL_CALLER_ID,
	COL_CREATED,
	COL_LAST_USED,
	COL_EXPIRES,
	COL_TOTAL,
	COL_SUCCESSFUL,
	COL_BARRED,
	COL_CHARGES,
	COL_CALLS,
	COL_TRUNK_ID,
	COL_TRUNK_NAME,
	COL_TRUNK_TEMPLATE,
	COL_TRUNK_PRIORITY,
	COL_TRUNK_WEIGHT,
	COL_TRUNK_MAX_CALLS,
	COL_TRUNK_MAX_CPS,
	COL_CALLER_IDS,
	COL_ALLOW,
	COL_DENY,
	COL_WEBHOOK,
	COL_MAX_CALLS,
	COL_SECRET,
	COL_SECRET_BEFORE
};

/* Never waits for the row: a ledger batch may hold it. */
static const char touch_sql[] =
    "UPDATE api_keys SET last_used = now() WHERE id ="
    " (SELECT id FROM api_keys WHERE id = $1::integer"
    "  FOR NO KEY UPDATE SKIP LOCKED)";

int
key_query_send(struct pg *pg, const uint8_t hash[API_KEY_HASH_SIZE],
    int64_t node, pg_result_fn *fn, void *arg)
{
	char node_text[24];
	const char *const values[] = { (const char *)hash, node_text };
	const int lengths[] = { API_KEY_HASH_SIZE, 0 };
	const int formats[] = { 1, 0 };
	const struct pg_statement statement = {
		.sql = find_sql,
		.param_count = 2,
		.values = values,
		.lengths = lengths,
		.formats = formats,
		.timeout_ms = QUERY_TIMEOUT_MS,
	};

	(void)snprintf(node_text, sizeof(node_text), "%" PRId64, node);
	return pg_query(pg, &statement, fn, arg);
}

static void
read_limits(struct api_key_trunk_limits *limits, const PGresult *result,
    int row)
{
	limits->priority = (int32_t)pg_get_int(result, row,
	    COL_TRUNK_PRIORITY, 0);
	limits->weight = (uint32_t)pg_get_int(result, row, COL_TRUNK_WEIGHT,
	    1);
	limits->max_calls = (uint32_t)pg_get_int(result, row,
	    COL_TRUNK_MAX_CALLS, 0);
	limits->max_cps = (uint32_t)pg_get_int(result, row, COL_TRUNK_MAX_CPS,
	    0);
}

static void
read_trunks(struct api_key *key, const PGresult *result)
{
	const int rows = PQntuples(result);

	for (int row = 0; row < rows; row++) {
		struct api_key_trunk *trunk = &key->trunks[key->trunk_count];

		if (key->trunk_count == API_KEY_TRUNKS_MAX ||
		    PQgetisnull(result, row, COL_TRUNK_ID))
			return;
		trunk->id = (uint32_t)pg_get_int(result, row, COL_TRUNK_ID, 0);
		pg_get_text(result, row, COL_TRUNK_NAME, trunk->name,
		    sizeof(trunk->name));
		pg_get_text(result, row, COL_TRUNK_TEMPLATE,
		    trunk->dial_template, sizeof(trunk->dial_template));
		read_limits(&key->limits[key->trunk_count], result, row);
		key->trunk_count++;
	}
}

/* "" where there is none; borrowed from the result. */
static const char *
text_at(const PGresult *result, enum find_column column)
{
	return PQgetvalue(result, 0, (int)column);
}

/* One that can't be read must not be one that allows everything. */
static void
read_policy(struct key_policy *policy, const PGresult *result)
{
	const char *url = text_at(result, COL_WEBHOOK);

	if (strlen(url) > KEY_POLICY_URL_MAX ||
	    key_policy_parse(KEY_POLICY_CALLER_IDS,
	        text_at(result, COL_CALLER_IDS), policy->caller_ids,
	        NULL) != 0 ||
	    key_policy_parse(KEY_POLICY_PREFIXES, text_at(result, COL_ALLOW),
	        policy->allow, NULL) != 0 ||
	    key_policy_parse(KEY_POLICY_PREFIXES, text_at(result, COL_DENY),
	        policy->deny, NULL) != 0) {
		key_policy_bar(policy);
		return;
	}
	memcpy(policy->webhook_url, url, strlen(url));
	policy->max_calls = (uint32_t)pg_get_int(result, 0, COL_MAX_CALLS, 0);
}

/* One that can't be read signs nothing: no event of it could be sent. */
static void
read_secret(char out[WEBHOOK_SECRET_TEXT_SIZE], const PGresult *result,
    enum find_column column)
{
	const char *text = text_at(result, column);
	uint8_t bytes[WEBHOOK_SECRET_BYTES_MAX];
	size_t len;

	if (webhook_secret_parse(text, strlen(text), bytes, &len) == 0)
		memcpy(out, text, strlen(text));
}

bool
key_query_read(const PGresult *result, struct api_key *key)
{
	if (PQntuples(result) == 0)
		return false;
	key->verdict = pg_get_int(result, 0, COL_BARRED, 1) != 0
	    ? API_KEY_UNKNOWN : API_KEY_VALID;
	key->id = (uint32_t)pg_get_int(result, 0, COL_ID, 0);
	key->balance = pg_get_int(result, 0, COL_CREDITS, 0);
	key->charges_posted = (uint64_t)pg_get_int(result, 0, COL_CHARGES, 0);
	key->calls_posted = (uint64_t)pg_get_int(result, 0, COL_CALLS, 0);
	key->total_calls = pg_get_int(result, 0, COL_TOTAL, 0);
	key->successful_calls = pg_get_int(result, 0, COL_SUCCESSFUL, 0);
	key->rate_limit = (uint32_t)pg_get_int(result, 0, COL_RATE_LIMIT,
	    API_KEY_RATE_DEFAULT);
	key->created_ms = pg_get_int(result, 0, COL_CREATED, 0);
	key->last_used_ms = pg_get_int(result, 0, COL_LAST_USED, 0);
	key->expires_ms = pg_get_int(result, 0, COL_EXPIRES, 0);
	pg_get_text(result, 0, COL_KEY_ID, key->key_id, sizeof(key->key_id));
	pg_get_text(result, 0, COL_NAME, key->name, sizeof(key->name));
	pg_get_text(result, 0, COL_CALLER_ID, key->default_caller_id,
	    sizeof(key->default_caller_id));
	read_trunks(key, result);
	read_policy(&key->policy, result);
	read_secret(key->webhook_secret, result, COL_SECRET);
	read_secret(key->webhook_secret_before, result, COL_SECRET_BEFORE);
	return true;
}

static void
on_touched(void *arg KAP_UNUSED, int rc KAP_UNUSED,
    const PGresult *result KAP_UNUSED)
{
	/* last_used is for display: a lost one is made good by the next */
}

void
key_query_touch(struct pg *pg, uint32_t key_id)
{
	char id[16];
	const char *const values[] = { id };
	const struct pg_statement statement = {
		.sql = touch_sql,
		.param_count = 1,
		.values = values,
		.timeout_ms = TOUCH_TIMEOUT_MS,
	};

	(void)snprintf(id, sizeof(id), "%" PRIu32, key_id);
	if (pg_query(pg, &statement, on_touched, NULL) != 0)
		return; /* as in on_touched */
}
