/*
 * Looking keys up, with a real store and a real PostgreSQL: what is asked,
 * what is cached for how long, and what serves while PostgreSQL is away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>

#include "shared/account.h"
#include "shared/clock.h"
#include "worker/key_lookup.h"
#include "loop_fixture.h"
#include "pg_fixture.h"
#include "store_fixture.h"

#define PEPPER "0123456789abcdef0123456789abcdef"
#define NODE 3

static struct pg_fixture server;

struct bench {
	struct store_fixture store;
	struct config config;
	struct event_base *base;
	struct turn *turn;
	struct key_lookup *lookup;
	unsigned count; /* callbacks so far */
	int rc;         /* of the last */
	struct api_key key;
};

static void
on_found(void *arg, int rc, const struct api_key *key,
    const uint8_t hash[API_KEY_HASH_SIZE])
{
	struct bench *bench = arg;

	(void)hash;
	bench->count++;
	bench->rc = rc;
	if (rc == 0)
		bench->key = *key;
	else
		assert_null(key);
}

static void
add_key(const char *text, const char *name, const char *columns,
    const char *values)
{
	uint8_t hash[API_KEY_HASH_SIZE];
	char hex[2 * API_KEY_HASH_SIZE + 1];
	char sql[600];

	assert_int_equal(api_key_hash(PEPPER, text, strlen(text), hash), 0);
	for (size_t i = 0; i < sizeof(hash); i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	(void)snprintf(sql, sizeof(sql), "INSERT INTO api_keys (key_id, name,"
	    " key_hash, key_prefix%s%s) VALUES ('key_%s', '%s',"
	    " decode('%s', 'hex'), 'ak_'%s%s)", *columns ? ", " : "", columns,
	    name, name, hex, *values ? ", " : "", values);
	fixture_exec(&server, sql);
}

static void
remake_schema(const char *last)
{
	fixture_exec(&server, "DROP SCHEMA public CASCADE;"
	    "CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public");
	fixture_migrate_to(&server, last);
}

static void
start_worker(struct bench *bench)
{
	struct kap_errmsg msg = { "" };

	bench->base = event_base_new();
	assert_non_null(bench->base);
	assert_int_equal(event_base_priority_init(bench->base, 2), 0);
	bench->turn = turn_new(bench->base, bench->store.store);
	assert_non_null(bench->turn);
	if (key_lookup_new(&bench->lookup, bench->base, bench->store.store,
	        bench->turn, &bench->config, &msg) != 0)
		fail_msg("%s", msg.text);
}

static void
stop_worker(struct bench *bench)
{
	key_lookup_free(&bench->lookup);
	turn_free(&bench->turn);
	event_base_free(bench->base);
}

static void
open_bench(struct bench *bench)
{
	memset(bench, 0, sizeof(*bench));
	store_fixture_open(&bench->store);
	config_init(&bench->config);
	bench->config.node.id = NODE;
	(void)snprintf(bench->config.postgres.dsn,
	    sizeof(bench->config.postgres.dsn), "%s", server.dsn);
	(void)snprintf(bench->config.auth.pepper,
	    sizeof(bench->config.auth.pepper), "%s", PEPPER);
	start_worker(bench);
}

static void
close_bench(struct bench *bench)
{
	stop_worker(bench);
	store_fixture_close(&bench->store);
}

/* Find and wait for the answer; its rc. */
static int
find(struct bench *bench, const char *text)
{
	const unsigned before = bench->count;

	key_lookup_find(bench->lookup, text, strlen(text), on_found, bench);
	RUN_UNTIL(bench->base, bench->count > before);
	assert_int_equal(bench->count, before + 1);
	return bench->rc;
}

/* Find in the cache alone: the answer is there at once. */
static int
find_at_once(struct bench *bench, const char *text)
{
	const unsigned before = bench->count;

	key_lookup_find(bench->lookup, text, strlen(text), on_found, bench);
	assert_int_equal(bench->count, before + 1);
	return bench->rc;
}

/* Whether a find has to ask; its answer is waited for. */
static bool
find_asks(struct bench *bench, const char *text)
{
	const unsigned before = bench->count;
	bool asked;

	key_lookup_find(bench->lookup, text, strlen(text), on_found, bench);
	asked = bench->count == before;
	RUN_UNTIL(bench->base, bench->count > before);
	return asked;
}

typedef void change_fn(struct api_key *key, int64_t how);

static void
change_cached(struct bench *bench, const char *text, change_fn *change,
    int64_t how)
{
	uint8_t hash[API_KEY_HASH_SIZE];
	struct store_txn *txn;
	struct api_key key;

	assert_int_equal(api_key_hash(PEPPER, text, strlen(text), hash), 0);
	assert_int_equal(store_begin_write(bench->store.store, &txn), 0);
	assert_int_equal(api_key_get(txn, hash, &key), 0);
	change(&key, how);
	assert_int_equal(api_key_put(txn, hash, &key), 0);
	assert_int_equal(store_commit(&txn), 0);
}

static void
set_age(struct api_key *key, int64_t age_s)
{
	key->fetched_ms = clock_wall_ms() - age_s * 1000;
}

/* Make a cached key look as if it had been fetched `age_s` ago. */
static void
age_cached(struct bench *bench, const char *text, int64_t age_s)
{
	change_cached(bench, text, set_age, age_s);
}

/* Make it look as if an older program had written it, without limits. */
static void
set_older(struct api_key *key, int64_t version)
{
	key->version = (uint16_t)version;
	memset(&key->policy, 0, sizeof(key->policy));
}

static void
wait_for_link(struct bench *bench, bool up)
{
	RUN_UNTIL(bench->base, key_lookup_is_up(bench->lookup) == up);
}

/* Until then nothing counts as fresh: a NOTIFY may have been missed. */
static void
wait_for_listen(struct bench *bench)
{
	for (int i = 0; i < 1000 && find_asks(bench, "ak_listen"); i++)
		(void)usleep(2000);
}

static void
test_what_a_key_is(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_full", "full", "credits, rate_limit, default_caller_id,"
	    " total_calls, successful_calls, created_at, expires_at",
	    "50, 200, '14155550100', 340, 301, '2025-12-01T00:00:00Z',"
	    " '2125-12-01T00:00:00Z'");
	fixture_exec(&server, "INSERT INTO trunks (name, dial_template,"
	    " enabled) VALUES ('a', 'A/{number}', true),"
	    " ('b', 'B/{number}', false), ('c', 'C/{number}', true);"
	    "INSERT INTO key_trunks SELECT k.id, t.id,"
	    " CASE t.name WHEN 'a' THEN 9 ELSE 1 END"
	    " FROM api_keys k, trunks t WHERE k.name = 'full';"
	    "INSERT INTO key_nodes SELECT id, 3, 7, 8 FROM api_keys;"
	    "INSERT INTO key_nodes SELECT id, 4, 70, 80 FROM api_keys");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_full"), 0);
	assert_string_equal(bench.key.key_id, "key_full");
	assert_string_equal(bench.key.name, "full");
	assert_int_equal(bench.key.balance, 50);
	assert_int_equal(bench.key.rate_limit, 200);
	assert_string_equal(bench.key.default_caller_id, "14155550100");
	assert_int_equal(bench.key.total_calls, 340);
	assert_int_equal(bench.key.successful_calls, 301);
	assert_int_equal(bench.key.created_ms, 1764547200000);
	assert_int_equal(bench.key.expires_ms, 4920220800000);
	assert_int_equal(bench.key.charges_posted, 7);
	assert_int_equal(bench.key.calls_posted, 8);
	/* in the order of position, the disabled one left out */
	assert_int_equal(bench.key.trunk_count, 2);
	assert_string_equal(bench.key.trunks[0].name, "c");
	assert_string_equal(bench.key.trunks[0].dial_template, "C/{number}");
	assert_string_equal(bench.key.trunks[1].name, "a");
	close_bench(&bench);
}

static void
test_defaults_and_limits(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_none", "none", "", "");
	add_key("ak_zero", "zero", "rate_limit", "0");
	fixture_exec(&server, "INSERT INTO trunks (name)"
	    " SELECT 't' || n FROM generate_series(1, 12) n;"
	    "INSERT INTO key_trunks SELECT k.id, t.id, 0"
	    " FROM api_keys k, trunks t WHERE k.name = 'zero'");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_none"), 0);
	assert_int_equal(bench.key.rate_limit, API_KEY_RATE_DEFAULT);
	assert_int_equal(bench.key.trunk_count, 0);
	assert_int_equal(bench.key.last_used_ms, 0);
	assert_int_equal(bench.key.expires_ms, 0);
	assert_int_equal(bench.key.charges_posted, 0);
	assert_int_equal(find(&bench, "ak_zero"), 0);
	assert_int_equal(bench.key.rate_limit, 0);
	assert_int_equal(bench.key.trunk_count, API_KEY_TRUNKS_MAX);
	assert_string_equal(bench.key.trunks[7].name, "t8");
	close_bench(&bench);
}

static void
test_policies(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_limits", "limits", "caller_ids, allow_prefixes,"
	    " deny_prefixes, webhook_url, max_calls",
	    "'14155550100,19172452367', '1,49', '1900',"
	    " 'https://example.com/hook', 7");
	add_key("ak_none", "none", "", "");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_limits"), 0);
	assert_true(key_policy_allows_caller_id(&bench.key.policy,
	    "19172452367"));
	assert_false(key_policy_allows_caller_id(&bench.key.policy,
	    "19172452368"));
	assert_true(key_policy_allows_number(&bench.key.policy, "4930123456"));
	assert_false(key_policy_allows_number(&bench.key.policy, "4430123456"));
	assert_false(key_policy_allows_number(&bench.key.policy, "1900123456"));
	assert_string_equal(bench.key.policy.webhook_url,
	    "https://example.com/hook");
	assert_int_equal(bench.key.policy.max_calls, 7);
	/* as it is cached, it says the same */
	bench.key.policy.max_calls = 0;
	fixture_stop(&server, SIGINT);
	wait_for_link(&bench, false);
	assert_int_equal(find_at_once(&bench, "ak_limits"), 0);
	assert_int_equal(bench.key.policy.max_calls, 7);
	fixture_start(&server);
	wait_for_link(&bench, true);
	assert_int_equal(find(&bench, "ak_none"), 0);
	assert_true(key_policy_allows_number(&bench.key.policy, "1900123456"));
	assert_true(key_policy_allows_caller_id(&bench.key.policy,
	    "19172452368"));
	assert_string_equal(bench.key.policy.webhook_url, "");
	assert_int_equal(bench.key.policy.max_calls, 0);
	close_bench(&bench);
}

#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define SECRET_BEFORE "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void
test_secrets(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_both", "both", "webhook_secret, webhook_secret_before",
	    "'" SECRET "', '" SECRET_BEFORE "'");
	add_key("ak_none", "none", "", "");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_both"), 0);
	assert_string_equal(bench.key.webhook_secret, SECRET);
	assert_string_equal(bench.key.webhook_secret_before, SECRET_BEFORE);
	/* as it is cached, it says the same */
	bench.key.webhook_secret[0] = '\0';
	fixture_stop(&server, SIGINT);
	wait_for_link(&bench, false);
	assert_int_equal(find_at_once(&bench, "ak_both"), 0);
	assert_string_equal(bench.key.webhook_secret, SECRET);
	assert_string_equal(bench.key.webhook_secret_before, SECRET_BEFORE);
	fixture_start(&server);
	wait_for_link(&bench, true);
	assert_int_equal(find(&bench, "ak_none"), 0);
	assert_string_equal(bench.key.webhook_secret, "");
	assert_string_equal(bench.key.webhook_secret_before, "");
	close_bench(&bench);
}

/* Limits that can't be read, which the database's checks keep out, allow
 * nothing. */
static void
test_broken_policies_bar(void **state)
{
	static const char *const changes[] = {
		"UPDATE api_keys SET caller_ids = '14155550100;'",
		"UPDATE api_keys SET allow_prefixes = '1,'",
		"UPDATE api_keys SET deny_prefixes = 'x'",
		"UPDATE api_keys SET deny_prefixes = (SELECT"
		" string_agg(n::text, ',') FROM generate_series(1, 65) n)",
		"UPDATE api_keys SET webhook_url = 'https://example.com/' ||"
		" repeat('x', 2048)",
	};
	struct bench bench;

	(void)state;
	fixture_exec(&server, "ALTER TABLE api_keys"
	    " DROP CONSTRAINT api_keys_caller_ids_check,"
	    " DROP CONSTRAINT api_keys_allow_prefixes_check,"
	    " DROP CONSTRAINT api_keys_deny_prefixes_check,"
	    " DROP CONSTRAINT api_keys_webhook_url_check");
	add_key("ak_one", "one", "", "");
	open_bench(&bench);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		fixture_exec(&server, "UPDATE api_keys SET caller_ids = NULL,"
		    " allow_prefixes = NULL, deny_prefixes = NULL,"
		    " webhook_url = NULL");
		RUN_UNTIL(bench.base, find(&bench, "ak_one") == 0 &&
		    key_policy_allows_number(&bench.key.policy,
		        "14155550100"));
		fixture_exec(&server, changes[i]);
		RUN_UNTIL(bench.base, find(&bench, "ak_one") == 0 &&
		    !key_policy_allows_number(&bench.key.policy,
		        "14155550100"));
	}
	close_bench(&bench);
	remake_schema("9999");
}

/* Keys and their trunks are found on the schema of an older program, too. */
static void
test_older_schemas(void **state)
{
	static const char *const lasts[] = { "0003", "0004" };
	struct bench bench;

	(void)state;
	for (size_t i = 0; i < sizeof(lasts) / sizeof(lasts[0]); i++) {
		remake_schema(lasts[i]);
		add_key("ak_one", "one", "credits", "5");
		fixture_exec(&server, "INSERT INTO trunks (name) VALUES ('a');"
		    "INSERT INTO key_trunks SELECT k.id, t.id, 0"
		    " FROM api_keys k, trunks t");
		open_bench(&bench);
		assert_int_equal(find(&bench, "ak_one"), 0);
		assert_int_equal(bench.key.balance, 5);
		assert_int_equal(bench.key.trunk_count, 1);
		assert_int_equal(bench.key.limits[0].weight, 1);
		assert_int_equal(bench.key.limits[0].max_calls, 0);
		assert_int_equal(bench.key.policy.max_calls, 0);
		assert_true(key_policy_allows_number(&bench.key.policy,
		    "14155550100"));
		close_bench(&bench);
	}
	remake_schema("9999");
}

static void
test_no_such_key(void **state)
{
	char longest[API_KEY_TEXT_MAX + 2];
	struct bench bench;

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	add_key("ak_disabled", "disabled", "disabled_at", "now()");
	add_key("ak_expired", "expired", "expires_at",
	    "now() - interval '1 second'");
	open_bench(&bench);
	wait_for_listen(&bench);
	assert_int_equal(find(&bench, "ak_nobody"), -KAP_NOENT);
	assert_int_equal(find(&bench, "ak_disabled"), -KAP_NOENT);
	assert_int_equal(find(&bench, "ak_expired"), -KAP_NOENT);
	assert_int_equal(find_at_once(&bench, ""), -KAP_NOENT);
	assert_int_equal(find_at_once(&bench, longest), -KAP_NOENT);
	/* remembered */
	assert_int_equal(find_at_once(&bench, "ak_nobody"), -KAP_NOENT);
	assert_int_equal(find_at_once(&bench, "ak_disabled"), -KAP_NOENT);
	close_bench(&bench);
}

static void
test_random_keys_leave_the_store_empty(void **state)
{
	struct bench bench;
	struct store_txn *txn;
	uint64_t count;

	(void)state;
	open_bench(&bench);
	for (int i = 0; i < 50; i++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "ak_random%d", i);
		assert_int_equal(find(&bench, text), -KAP_NOENT);
	}
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(store_count(txn, STORE_KEYS, &count), 0);
	store_end_read(&txn);
	assert_int_equal(count, 0);
	close_bench(&bench);
}

static void
test_how_long_it_is_fresh(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	open_bench(&bench);
	/* the cache of an earlier worker is asked about once more */
	assert_int_equal(find(&bench, "ak_one"), 0);
	wait_for_link(&bench, true);
	stop_worker(&bench);
	start_worker(&bench);
	wait_for_link(&bench, true);
	assert_true(find_asks(&bench, "ak_one"));
	wait_for_listen(&bench);
	(void)find(&bench, "ak_one");
	assert_false(find_asks(&bench, "ak_one"));
	age_cached(&bench, "ak_one", 31);
	assert_true(find_asks(&bench, "ak_one"));
	assert_false(find_asks(&bench, "ak_one"));
	/* fetched in the future: the clock was set back */
	age_cached(&bench, "ak_one", -100);
	assert_true(find_asks(&bench, "ak_one"));
	close_bench(&bench);
}

/* Two programs run side by side while one replaces the other: what the older
 * one wrote lacks the limits, and serves only while nobody can be asked. */
static void
test_an_older_record_is_asked_anew(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "max_calls", "7");
	open_bench(&bench);
	wait_for_listen(&bench);
	(void)find(&bench, "ak_one");
	assert_false(find_asks(&bench, "ak_one"));
	change_cached(&bench, "ak_one", set_older, 2);
	assert_true(find_asks(&bench, "ak_one"));
	assert_int_equal(bench.key.policy.max_calls, 7);
	assert_false(find_asks(&bench, "ak_one"));
	change_cached(&bench, "ak_one", set_older, 2);
	fixture_stop(&server, SIGINT);
	wait_for_link(&bench, false);
	assert_int_equal(find_at_once(&bench, "ak_one"), 0);
	assert_int_equal(bench.key.policy.max_calls, 0);
	fixture_start(&server);
	close_bench(&bench);
}

static void
test_many_requests_ask_once(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	fixture_exec(&server, "CREATE SEQUENCE asked;"
	    "ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;"
	    "ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;"
	    "CREATE POLICY counted ON api_keys"
	    " USING (nextval('asked') > 0);"
	    "CREATE ROLE plain LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public"
	    " TO plain; GRANT ALL ON SEQUENCE asked TO plain");
	open_bench(&bench);
	stop_worker(&bench);
	(void)snprintf(bench.config.postgres.dsn,
	    sizeof(bench.config.postgres.dsn),
	    "host=%s user=plain dbname=postgres", server.dir);
	start_worker(&bench);
	for (int i = 0; i < 500; i++)
		key_lookup_find(bench.lookup, "ak_one", 6, on_found, &bench);
	RUN_UNTIL(bench.base, bench.count == 500);
	assert_int_equal(bench.rc, 0);
	/* one look-up, and at the most the note that it was used */
	assert_in_range(fixture_int(&server, "SELECT last_value FROM asked"),
	    1, 4);
	close_bench(&bench);
	fixture_exec(&server, "DROP POLICY counted ON api_keys;"
	    "ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;"
	    "ALTER TABLE api_keys DISABLE ROW LEVEL SECURITY;"
	    "DROP OWNED BY plain; DROP ROLE plain; DROP SEQUENCE asked");
}

static void
test_postgres_away(void **state)
{
	static const struct {
		const char *name;
		int64_t age_s;
		int rc;
	} cases[] = {
		{ "fresh", 1, 0 },
		{ "stale", 31, 0 },
		{ "as stale as may be", 890, 0 },
		{ "too stale", 901, -KAP_AGAIN },
	};
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	add_key("ak_off", "off", "disabled_at", "now()");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), 0);
	assert_int_equal(find(&bench, "ak_off"), -KAP_NOENT);
	fixture_stop(&server, SIGINT);
	wait_for_link(&bench, false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		age_cached(&bench, "ak_one", cases[i].age_s);
		if (find_at_once(&bench, "ak_one") != cases[i].rc)
			fail_msg("%s: %d", cases[i].name, bench.rc);
	}
	assert_int_equal(find_at_once(&bench, "ak_nobody"), -KAP_AGAIN);
	age_cached(&bench, "ak_off", 6);
	assert_int_equal(find_at_once(&bench, "ak_off"), -KAP_AGAIN);
	fixture_start(&server);
	wait_for_link(&bench, true);
	assert_int_equal(find(&bench, "ak_one"), 0);
	assert_int_equal(find(&bench, "ak_nobody"), -KAP_NOENT);
	close_bench(&bench);
}

static void
test_postgres_away_at_start(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	fixture_stop(&server, SIGINT);
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), -KAP_AGAIN);
	fixture_start(&server);
	wait_for_link(&bench, true);
	assert_int_equal(find(&bench, "ak_one"), 0);
	close_bench(&bench);
}

/* The first request comes before the first connect is through. */
static void
test_request_before_the_connect(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	open_bench(&bench);
	assert_false(key_lookup_is_up(bench.lookup));
	assert_int_equal(find(&bench, "ak_one"), 0);
	assert_int_equal(bench.key.balance, 5);
	close_bench(&bench);
}

/* A lock on the table stands for a server that hangs. */
static void
test_postgres_hangs(void **state)
{
	PGconn *locker = fixture_connect(&server);
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), 0);
	age_cached(&bench, "ak_one", 100);
	PQclear(PQexec(locker, "BEGIN; LOCK TABLE api_keys"));
	assert_int_equal(find(&bench, "ak_one"), 0); /* after its time limit */
	wait_for_link(&bench, true);
	/* the next doesn't wait at all, connected or not */
	assert_int_equal(find_at_once(&bench, "ak_one"), 0);
	assert_int_equal(find_at_once(&bench, "ak_one"), 0);
	assert_int_equal(find(&bench, "ak_nobody"), -KAP_AGAIN);
	PQclear(PQexec(locker, "ROLLBACK"));
	PQfinish(locker);
	wait_for_link(&bench, true);
	assert_int_equal(find(&bench, "ak_nobody"), -KAP_NOENT);
	close_bench(&bench);
}

static void
test_no_schema_yet(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), 0);
	age_cached(&bench, "ak_one", 100);
	fixture_exec(&server, "ALTER TABLE api_keys RENAME TO gone");
	assert_int_equal(find(&bench, "ak_nobody"), -KAP_AGAIN);
	assert_int_equal(find(&bench, "ak_one"), 0);
	fixture_exec(&server, "ALTER TABLE gone RENAME TO api_keys");
	assert_int_equal(find(&bench, "ak_nobody"), -KAP_NOENT);
	close_bench(&bench);
}

/* Each of these shows at once, not only when the cached key is 30 s old. */
static void
test_administrative_changes_show(void **state)
{
	static const char *const changes[] = {
		"UPDATE api_keys SET disabled_at = now()",
		"UPDATE api_keys SET disabled_at = NULL",
		"UPDATE api_keys SET rate_limit = 7",
		"UPDATE api_keys SET caller_ids = '14155550100'",
		"UPDATE api_keys SET allow_prefixes = '1'",
		"UPDATE api_keys SET deny_prefixes = '1'",
		"UPDATE api_keys SET webhook_url = 'https://example.com/'",
		"UPDATE api_keys SET max_calls = 3",
		"UPDATE api_keys SET webhook_secret = '" SECRET "'",
		"UPDATE api_keys SET webhook_secret_before = '" SECRET "'",
		"INSERT INTO trunks (name) VALUES ('x')",
		"INSERT INTO key_trunks SELECT k.id, t.id, 0"
		" FROM api_keys k, trunks t",
		"UPDATE trunks SET enabled = false",
		"DELETE FROM key_trunks",
		"INSERT INTO api_keys (key_id, name, key_hash, key_prefix)"
		" VALUES ('key_new', 'new', sha256('x'), 'ak_')",
		"SELECT pg_notify('kaphila_keys', '')",
	};
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	open_bench(&bench);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		/* what was notified before may still be on its way */
		RUN_UNTIL(bench.base, !find_asks(&bench, "ak_one"));
		fixture_exec(&server, changes[i]);
		RUN_UNTIL(bench.base, find_asks(&bench, "ak_one"));
	}
	close_bench(&bench);
}

/* What is remembered as unknown is asked for anew when a key was made. */
static void
test_a_new_key_shows(void **state)
{
	struct bench bench;

	(void)state;
	open_bench(&bench);
	bench.config.auth.cache_unknown_s = 300;
	assert_int_equal(find(&bench, "ak_new"), -KAP_NOENT);
	add_key("ak_new", "new", "", "");
	RUN_UNTIL(bench.base, find(&bench, "ak_new") == 0);
	close_bench(&bench);
}

/* The ledger's and last_used's updates must not throw caches away. */
static void
test_the_ledger_does_not_notify(void **state)
{
	PGconn *listener = fixture_connect(&server);
	PGnotify *notify;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	PQclear(PQexec(listener, "LISTEN kaphila_keys"));
	fixture_exec(&server, "UPDATE api_keys SET credits = credits - 1,"
	    " total_calls = total_calls + 1,"
	    " successful_calls = successful_calls + 1");
	fixture_exec(&server, "UPDATE api_keys SET last_used = now()");
	fixture_exec(&server, "UPDATE api_keys SET name = 'two'");
	PQclear(PQexec(listener, "SELECT 1"));
	notify = PQnotifies(listener);
	assert_non_null(notify); /* of the name, and no other */
	PQfreemem(notify);
	assert_null(PQnotifies(listener));
	PQfinish(listener);
}

static void
test_last_used_is_noted(void **state)
{
	struct bench bench;

	(void)state;
	add_key("ak_one", "one", "", "");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), 0);
	RUN_UNTIL(bench.base, fixture_int(&server, "SELECT count(*) FROM"
	    " api_keys WHERE last_used > now() - interval '1 minute'") == 1);
	close_bench(&bench);
}

/* After the loss of the store, numbers go on behind what was posted. */
static void
test_account_follows_the_watermarks(void **state)
{
	struct bench bench;
	struct account account;
	struct store_txn *txn;

	(void)state;
	add_key("ak_one", "one", "credits", "46");
	fixture_exec(&server, "INSERT INTO key_nodes"
	    " SELECT id, 3, 9, 12 FROM api_keys");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), 0);
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(account_get(txn, bench.key.id, &account), 0);
	store_end_read(&txn);
	assert_int_equal(account.charges, 9);
	assert_int_equal(account.calls, 12);
	assert_int_equal(account_credits(&account, &bench.key), 46);
	close_bench(&bench);
}

/* A slower worker's older answer doesn't replace a newer one. */
static void
test_an_older_answer_loses(void **state)
{
	PGconn *locker = fixture_connect(&server);
	struct bench bench;
	uint8_t hash[API_KEY_HASH_SIZE];
	struct store_txn *txn;
	struct api_key key;

	(void)state;
	add_key("ak_one", "one", "credits", "5");
	open_bench(&bench);
	assert_int_equal(find(&bench, "ak_one"), 0);
	age_cached(&bench, "ak_one", 100);
	PQclear(PQexec(locker, "BEGIN; LOCK TABLE api_keys"));
	bench.count = 0;
	key_lookup_find(bench.lookup, "ak_one", 6, on_found, &bench);
	loop_run_once(bench.base);
	/* meanwhile another worker asked, later, and wrote */
	assert_int_equal(api_key_hash(PEPPER, "ak_one", 6, hash), 0);
	(void)usleep(5000);
	age_cached(&bench, "ak_one", 0);
	assert_int_equal(store_begin_write(bench.store.store, &txn), 0);
	assert_int_equal(api_key_get(txn, hash, &key), 0);
	key.balance = 77;
	assert_int_equal(api_key_put(txn, hash, &key), 0);
	assert_int_equal(store_commit(&txn), 0);
	(void)usleep(5000);
	PQclear(PQexec(locker, "ROLLBACK"));
	PQfinish(locker);
	RUN_UNTIL(bench.base, bench.count == 1);
	assert_int_equal(store_begin_read(bench.store.store, &txn), 0);
	assert_int_equal(api_key_get(txn, hash, &key), 0);
	store_end_read(&txn);
	assert_int_equal(key.balance, 77);
	close_bench(&bench);
}

static void
test_free_answers_everybody(void **state)
{
	PGconn *locker = fixture_connect(&server);
	struct bench bench;

	(void)state;
	open_bench(&bench);
	wait_for_link(&bench, true);
	PQclear(PQexec(locker, "BEGIN; LOCK TABLE api_keys"));
	key_lookup_find(bench.lookup, "ak_1", 4, on_found, &bench);
	key_lookup_find(bench.lookup, "ak_2", 4, on_found, &bench);
	close_bench(&bench);
	assert_int_equal(bench.count, 2);
	assert_int_equal(bench.rc, -KAP_AGAIN);
	PQfinish(locker);
}

static int
setup(void **state)
{
	(void)state;
	fixture_exec(&server, "TRUNCATE api_keys, trunks, key_trunks,"
	    " key_nodes, credit_ledger, call_logs, recordings"
	    " RESTART IDENTITY CASCADE");
	return 0;
}

static int
group_setup(void **state)
{
	(void)state;
	fixture_init(&server);
	fixture_migrate(&server);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	fixture_deinit(&server);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_what_a_key_is, setup),
		cmocka_unit_test_setup(test_defaults_and_limits, setup),
		cmocka_unit_test_setup(test_policies, setup),
		cmocka_unit_test_setup(test_secrets, setup),
		cmocka_unit_test_setup(test_broken_policies_bar, setup),
		cmocka_unit_test_setup(test_older_schemas, setup),
		cmocka_unit_test_setup(test_no_such_key, setup),
		cmocka_unit_test_setup(test_random_keys_leave_the_store_empty,
		    setup),
		cmocka_unit_test_setup(test_how_long_it_is_fresh, setup),
		cmocka_unit_test_setup(test_an_older_record_is_asked_anew,
		    setup),
		cmocka_unit_test_setup(test_many_requests_ask_once, setup),
		cmocka_unit_test_setup(test_postgres_away, setup),
		cmocka_unit_test_setup(test_postgres_away_at_start, setup),
		cmocka_unit_test_setup(test_request_before_the_connect,
		    setup),
		cmocka_unit_test_setup(test_postgres_hangs, setup),
		cmocka_unit_test_setup(test_no_schema_yet, setup),
		cmocka_unit_test_setup(test_administrative_changes_show,
		    setup),
		cmocka_unit_test_setup(test_a_new_key_shows, setup),
		cmocka_unit_test_setup(test_the_ledger_does_not_notify, setup),
		cmocka_unit_test_setup(test_last_used_is_noted, setup),
		cmocka_unit_test_setup(test_account_follows_the_watermarks,
		    setup),
		cmocka_unit_test_setup(test_an_older_answer_loses, setup),
		cmocka_unit_test_setup(test_free_answers_everybody, setup),
	};

	if (!fixture_find_server(&server)) {
		(void)puts("skipped: no PostgreSQL server is installed");
		return 0;
	}
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
