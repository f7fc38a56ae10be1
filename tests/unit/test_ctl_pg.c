/*
 * kaphilactl's commands on PostgreSQL, against a real server: what they do to
 * the database, what they print, and their exit codes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>

#include "master/ctl.h"
#include "master/ctl_pg.h"
#include "shared/api_key.h"
#include "shared/webhook_secret.h"
#include "pg_fixture.h"

#define PEPPER "0123456789abcdef0123456789abcdef"
#define ARGS_MAX 20

static struct pg_fixture server;
static struct ctl_context context;
static char printed[65536]; /* by the last command, both streams */

/* Run a command line; words are parted by one space. */
static int
run(const char *line)
{
	char words[4096];
	char *argv[ARGS_MAX + 1] = { NULL };
	int argc = 0;
	char *save = NULL;
	FILE *out = tmpfile();
	const int old_out = dup(1);
	const int old_err = dup(2);
	size_t len;
	int exit_code;

	(void)snprintf(words, sizeof(words), "%s", line);
	for (char *word = strtok_r(words, " ", &save);
	     word != NULL && argc < ARGS_MAX; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	(void)fflush(stdout);
	assert_true(dup2(fileno(out), 1) >= 0 && dup2(fileno(out), 2) >= 0);
	if (strcmp(argv[0], "keys") == 0)
		exit_code = ctl_keys(&context, argc, argv);
	else if (strcmp(argv[0], "trunks") == 0)
		exit_code = ctl_trunks(&context, argc, argv);
	else
		exit_code = ctl_migrate(&context, argc, argv);
	(void)fflush(stdout);
	assert_true(dup2(old_out, 1) >= 0 && dup2(old_err, 2) >= 0);
	(void)close(old_out);
	(void)close(old_err);
	rewind(out);
	len = fread(printed, 1, sizeof(printed) - 1, out);
	printed[len] = '\0';
	(void)fclose(out);
	return exit_code;
}

static int
run_json(const char *line, cJSON **json_out)
{
	int exit_code;

	context.json = true;
	exit_code = run(line);
	context.json = false;
	*json_out = cJSON_Parse(printed);
	return exit_code;
}

static const char *
text_of(const cJSON *json, const char *field)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, field));

	return text != NULL ? text : "";
}

static double
number_of(const cJSON *json, const char *field)
{
	return cJSON_GetNumberValue(
	    cJSON_GetObjectItemCaseSensitive(json, field));
}

static void
check_text(const char *sql, const char *expect)
{
	char text[600];

	fixture_text(&server, text, sizeof(text), sql);
	assert_string_equal(text, expect);
}

static int
setup_empty(void **state)
{
	(void)state;
	fixture_exec(&server, "DROP SCHEMA public CASCADE;"
	    "CREATE SCHEMA public");
	return 0;
}

static void
migrate_line(char *line, size_t size, const char *more)
{
	char dir[FIXTURE_PATH];

	fixture_schema_dir(dir, sizeof(dir));
	(void)snprintf(line, size, "migrate --dir %s%s", dir, more);
}

static void
write_file(const char *dir, const char *name, const char *text)
{
	char path[FIXTURE_PATH];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "we");
	assert_non_null(file);
	(void)fputs(text, file);
	(void)fclose(file);
}

static void
test_migrate(void **state)
{
	char line[FIXTURE_PATH + 64];
	cJSON *json;

	(void)state;
	migrate_line(line, sizeof(line), " --dry-run");
	assert_int_equal(run(line), CTL_OK);
	check_text("SELECT count(*) FROM pg_tables"
	    " WHERE schemaname = 'public'", "0");
	migrate_line(line, sizeof(line), "");
	assert_int_equal(run_json(line, &json), CTL_OK);
	assert_int_equal(number_of(json, "from"), 0);
	assert_true(number_of(json, "version") >= 3);
	cJSON_Delete(json);
	check_text("SELECT bool_and(version > 0 AND name LIKE '%.sql'"
	    " AND applied_at <= now()) FROM schema_migrations", "t");
	assert_int_equal(run(line), CTL_OK);
	assert_non_null(strstr(printed, "up to date"));
	check_text("SELECT count(*) FROM api_keys", "0");
}

/* Four at once, on an empty database: each file is applied once. */
static void
test_migrate_at_once(void **state)
{
	char line[FIXTURE_PATH + 64];
	pid_t pids[4];

	(void)state;
	migrate_line(line, sizeof(line), "");
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			_exit(run(line));
	}
	for (int i = 0; i < 4; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	check_text("SELECT count(*) = max(version) FROM schema_migrations",
	    "t");
}

static void
test_migrate_refuses(void **state)
{
	char dir[] = "/tmp/kaphila-schema-XXXXXX";
	char line[FIXTURE_PATH + 64];
	char path[FIXTURE_PATH];
	static const char *const names[] = { "0001_a.sql", "0002_b.sql",
		"0004_d.sql" };

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(line, sizeof(line), "migrate --dir %s", dir);
	assert_int_equal(run(line), CTL_FAILED); /* no file */
	write_file(dir, names[0], "CREATE TABLE a (n int);");
	write_file(dir, names[1], "CREATE TABLE b (n int); SELECT 1/0;");
	assert_int_equal(run(line), CTL_FAILED);
	assert_non_null(strstr(printed, "0002_b.sql: division by zero"));
	/* the first stays, nothing of the second does */
	check_text("SELECT string_agg(tablename, ' ' ORDER BY tablename)"
	    " FROM pg_tables WHERE schemaname = 'public'",
	    "a schema_migrations");
	write_file(dir, names[1], "CREATE TABLE b (n int);");
	assert_int_equal(run(line), CTL_OK);
	check_text("SELECT string_agg(name, ' ' ORDER BY version)"
	    " FROM schema_migrations", "0001_a.sql 0002_b.sql");
	write_file(dir, names[2], "");
	assert_int_equal(run(line), CTL_FAILED); /* a gap */
	(void)snprintf(path, sizeof(path), "%s/%s", dir, names[2]);
	assert_int_equal(unlink(path), 0);
	fixture_exec(&server, "INSERT INTO schema_migrations VALUES (7, 'x')");
	assert_int_equal(run(line), CTL_FAILED);
	assert_non_null(strstr(printed, "newer"));
	assert_int_equal(run("migrate --dir /nonexistent"), CTL_FAILED);
	assert_int_equal(run("migrate --nonsense"), CTL_USAGE);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
}

static void
test_keys_create(void **state)
{
	uint8_t hash[API_KEY_HASH_SIZE];
	char hex[2 * API_KEY_HASH_SIZE + 1];
	const char *text;
	cJSON *json;

	(void)state;
	assert_int_equal(run_json("keys create full --credits 500"
	    " --rate-limit=7 --expires 2125-01-31 --caller-id +14155550100",
	    &json), CTL_OK);
	text = text_of(json, "key");
	assert_int_equal(strlen(text), API_KEY_TEXT_SIZE - 1);
	assert_int_equal(strlen(text_of(json, "keyId")), 14);
	assert_int_equal(number_of(json, "rateLimit"), 7);
	assert_int_equal(number_of(json, "credits"), 500);
	assert_string_equal(text_of(json, "expiresAt"),
	    "2125-01-31T00:00:00.000Z");
	assert_string_equal(text_of(json, "defaultCallerId"), "14155550100");
	/* in the database: its hash and its first 10 letters, no more */
	assert_int_equal(api_key_hash(PEPPER, text, strlen(text), hash), 0);
	for (size_t i = 0; i < sizeof(hash); i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	check_text("SELECT encode(key_hash, 'hex') FROM api_keys", hex);
	assert_memory_equal(text, text_of(json, "keyPrefix"), 10);
	assert_int_equal(strlen(text_of(json, "keyPrefix")), 10);
	cJSON_Delete(json);
	check_text("SELECT concat_ws(' ', kind, amount, call_id ~ '^grant-')"
	    " FROM credit_ledger", "grant 500 t");
	assert_int_equal(run_json("keys create plain", &json), CTL_OK);
	assert_int_equal(number_of(json, "rateLimit"), 100);
	assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json,
	    "expiresAt")));
	cJSON_Delete(json);
	check_text("SELECT rate_limit IS NULL FROM api_keys"
	    " WHERE name = 'plain'", "t");
}

/* The text of the column for the one key that there is. */
static void
check_column(const char *column, const char *expect)
{
	char sql[200];

	(void)snprintf(sql, sizeof(sql), "SELECT coalesce(%s, '') FROM"
	    " api_keys", column);
	check_text(sql, expect);
}

/* Run a command that makes a secret; its text, and what `signed` says. */
static void
run_secret(const char *line, char secret_out[WEBHOOK_SECRET_TEXT_SIZE],
    bool with_before)
{
	uint8_t bytes[WEBHOOK_SECRET_BYTES_MAX];
	const char *text;
	size_t len;
	cJSON *json;

	assert_int_equal(run_json(line, &json), CTL_OK);
	text = text_of(json, "webhookSecret");
	(void)snprintf(secret_out, WEBHOOK_SECRET_TEXT_SIZE, "%s", text);
	assert_int_equal(webhook_secret_parse(text, strlen(text), bytes,
	    &len), 0);
	assert_true(cJSON_IsTrue(cJSON_GetObjectItem(json, "signed")));
	assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(json,
	    "secretBefore")), with_before);
	cJSON_Delete(json);
}

/* Made with the key, shown once, and never again. */
static void
test_webhook_secrets(void **state)
{
	char first[WEBHOOK_SECRET_TEXT_SIZE];
	char second[WEBHOOK_SECRET_TEXT_SIZE];
	char third[WEBHOOK_SECRET_TEXT_SIZE];

	(void)state;
	run_secret("keys create one", first, false);
	check_column("webhook_secret", first);
	check_column("webhook_secret_before", "");
	assert_int_equal(run("keys set one --max-calls 3"), CTL_OK);
	assert_null(strstr(printed, "whsec_"));
	check_column("webhook_secret", first);
	run_secret("keys set one --webhook-secret new", second, true);
	assert_string_not_equal(first, second);
	check_column("webhook_secret", second);
	check_column("webhook_secret_before", first);
	for (int i = 0; i < 4; i++) {
		static const char *const lines[] = { "keys show one",
			"keys list", "keys show one", "keys list" };

		context.json = i >= 2;
		assert_int_equal(run(lines[i]), CTL_OK);
		context.json = false;
		assert_null(strstr(printed, "whsec_"));
		assert_non_null(strstr(printed, i == 1 ? " SIGNED" :
		    "signed"));
	}
	assert_int_equal(run("keys set one --webhook-secret-before none"),
	    CTL_OK);
	assert_null(strstr(printed, "whsec_"));
	check_column("webhook_secret", second);
	check_column("webhook_secret_before", "");
	run_secret("keys set one --webhook-secret new", third, true);
	check_column("webhook_secret_before", second);
	run_secret("keys set one --webhook-secret new"
	    " --webhook-secret-before none", first, false);
	check_column("webhook_secret", first);
	check_column("webhook_secret_before", "");
}

/* One that is brought along is not printed; `none` takes both away. */
static void
test_own_webhook_secrets(void **state)
{
	static const char own[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
	char line[200];
	char other[WEBHOOK_SECRET_TEXT_SIZE];

	(void)state;
	(void)snprintf(line, sizeof(line),
	    "keys create one --webhook-secret %s", own);
	assert_int_equal(run(line), CTL_OK);
	assert_null(strstr(printed, "whsec_"));
	assert_non_null(strstr(printed, "The key is shown this once"));
	check_column("webhook_secret", own);
	/* the same again is no rotation */
	(void)snprintf(line, sizeof(line), "keys set one --webhook-secret %s",
	    own);
	assert_int_equal(run(line), CTL_OK);
	check_column("webhook_secret_before", "");
	run_secret("keys set one --webhook-secret new", other, true);
	check_column("webhook_secret_before", own);
	assert_int_equal(run("keys set one --webhook-secret none"), CTL_OK);
	check_column("webhook_secret", "");
	check_column("webhook_secret_before", "");
	run_secret("keys set one --webhook-secret new", other, false);
	assert_int_equal(run("keys create two --webhook-secret none"), CTL_OK);
	assert_null(strstr(printed, "whsec_"));
	check_text("SELECT webhook_secret IS NULL FROM api_keys"
	    " WHERE name = 'two'", "t");
}

/* Nor does a complaint show what was given. */
static void
test_no_webhook_secrets(void **state)
{
	static const char *const given[] = { "whsec_c2VjcmV0", "hunter2",
		"whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV",
		"whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0-_==" };

	(void)state;
	assert_int_equal(run("keys create one"), CTL_OK);
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		char line[200];

		(void)snprintf(line, sizeof(line),
		    "keys set one --webhook-secret %s", given[i]);
		assert_int_equal(run(line), CTL_USAGE);
		assert_non_null(strstr(printed, "24 to 64 bytes"));
		assert_null(strstr(printed, given[i]));
		(void)snprintf(line, sizeof(line),
		    "keys set one --webhook-secret-before %s", given[i]);
		assert_int_equal(run(line), CTL_USAGE);
		assert_non_null(strstr(printed, "can only be none"));
		assert_null(strstr(printed, given[i]));
	}
	assert_int_equal(run("keys set one --webhook-secret-before new"),
	    CTL_USAGE);
	/* also where it stands in the wrong place */
	assert_int_equal(run("keys set one whsec_hunter2 --max-calls 1"),
	    CTL_USAGE);
	assert_non_null(strstr(printed, "too many arguments: 'whsec_…'\n"));
	assert_int_equal(run("keys show whsec_hunter2"), CTL_FAILED);
	assert_non_null(strstr(printed, "no key 'whsec_…'\n"));
	assert_int_equal(run("keys whsec_hunter2"), CTL_USAGE);
	assert_null(strstr(printed, "hunter2"));
	assert_int_equal(run("keys set one --rate-limit whsec_hunter2"),
	    CTL_USAGE);
	assert_null(strstr(printed, "hunter2"));
}

static void
test_keys_usage(void **state)
{
	static const char *const lines[] = {
		"keys", "keys nonsense", "keys create", "keys create a b",
		"keys create a --credits", "keys create a --credits x",
		"keys create a --credits -1", "keys create a --credits 5x",
		"keys create a --rate-limit -1", "keys create a --nonsense 1",
		"keys create a --expires tomorrow",
		"keys create a --expires 2001-01-01",
		"keys create a\x01b", "keys create a --caller-id 123",
		"keys create a --default-caller-id 1234567,1234568",
		"keys create a --default-caller-id 49x0123456",
		"keys create a --caller-ids 1234567,", "keys create a --allow x",
		"keys create a --allow 1,,2", "keys create a --deny 1;2",
		"keys create a --deny 1234567890123456",
		"keys create a --allow -1", "keys create a --max-calls -1",
		"keys create a --max-calls many",
		"keys create a --max-calls 1000001",
		"keys create a --webhook-url http://example.com/",
		"keys create a --webhook-url https://127.0.0.1/",
		"keys create a --webhook-url https://u:p@example.com/",
		"keys create a --webhook-url nonsense",
		"keys set", "keys set a", "keys set a b --deny 1",
		"keys set a --credits 5", "keys set a --caller-ids 123",
		"keys set a --expires 2001-01-01", "keys set a --deny",
		"keys show", "keys list x",
		"keys credits a", "keys credits a 0", "keys credits a five",
		"trunks nonsense", "trunks add", "trunks add a/b",
		"trunks add a --template PJSIP/x",
		"trunks add a --template X/{number}&Y/{number}",
		"trunks assign a", "trunks assign a b --position x",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const int exit_code = run(lines[i]);

		if (exit_code != CTL_USAGE)
			fail_msg("%s: %d", lines[i], exit_code);
	}
	check_text("SELECT count(*) FROM api_keys", "0");
}

/* The items of a list, with commas between. */
static const char *
list_of(const cJSON *json, const char *field)
{
	static char text[2048];
	const cJSON *item;
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, field);
	size_t used = 0;

	assert_true(cJSON_IsArray(list));
	text[0] = '\0';
	cJSON_ArrayForEach(item, list)
	{
		(void)snprintf(text + used, sizeof(text) - used, "%s%s",
		    used > 0 ? "," : "", cJSON_GetStringValue(item));
		used += strlen(text + used);
	}
	return text;
}

static void
test_keys_limits(void **state)
{
	cJSON *json;

	(void)state;
	assert_int_equal(run_json("keys create one --caller-ids"
	    " +14155550100,19172452367 --default-caller-id +14155550199"
	    " --allow 1,+49 --deny=1900,1976 --webhook-url"
	    " https://example.com/hook --max-calls 5", &json), CTL_OK);
	assert_string_equal(text_of(json, "defaultCallerId"), "14155550199");
	assert_string_equal(list_of(json, "callerIds"),
	    "14155550100,19172452367");
	assert_string_equal(list_of(json, "allow"), "1,49");
	assert_string_equal(list_of(json, "deny"), "1900,1976");
	assert_string_equal(text_of(json, "webhookUrl"),
	    "https://example.com/hook");
	assert_int_equal(number_of(json, "maxCalls"), 5);
	cJSON_Delete(json);
	/* what isn't named stays as it is */
	assert_int_equal(run_json("keys set one --deny none --max-calls 9"
	    " --rate-limit 7", &json), CTL_OK);
	assert_string_equal(list_of(json, "deny"), "");
	assert_string_equal(list_of(json, "allow"), "1,49");
	assert_int_equal(number_of(json, "maxCalls"), 9);
	assert_int_equal(number_of(json, "rateLimit"), 7);
	assert_string_equal(text_of(json, "defaultCallerId"), "14155550199");
	cJSON_Delete(json);
	assert_int_equal(run("keys set one --deny ,"), CTL_USAGE);
	assert_non_null(strstr(printed, "--deny must be a list with commas"
	    " between: '' is not 1 to 15 digits"));
	assert_int_equal(run_json("keys set one --rate-limit none"
	    " --default-caller-id none --caller-ids none --allow none"
	    " --webhook-url none --max-calls none --expires none", &json),
	    CTL_OK);
	assert_int_equal(number_of(json, "rateLimit"), 100);
	assert_int_equal(number_of(json, "maxCalls"), 0);
	assert_string_equal(list_of(json, "allow"), "");
	cJSON_Delete(json);
	check_text("SELECT num_nulls(rate_limit, default_caller_id,"
	    " expires_at, caller_ids, allow_prefixes, deny_prefixes,"
	    " webhook_url, max_calls) FROM api_keys", "8");
	assert_int_equal(run("keys set nobody --deny 1"), CTL_FAILED);
	assert_non_null(strstr(printed, "no key 'nobody'"));
}

/* What a shell makes of a variable that isn't set opens no key. */
static void
test_empty_is_not_none(void **state)
{
	static const char *const options[] = { "--allow", "--deny",
		"--caller-ids", "--webhook-url", "--default-caller-id",
		"--caller-id", "--max-calls", "--rate-limit", "--expires",
		"--webhook-secret", "--webhook-secret-before" };
	static const char before[] = "SELECT concat_ws(' ', allow_prefixes,"
	    " deny_prefixes, caller_ids, webhook_url, default_caller_id,"
	    " max_calls, rate_limit, webhook_secret IS NULL) FROM api_keys";
	static const char expect[] = "1 1900 14155550100"
	    " https://example.com/ 14155550100 5 7 f";

	(void)state;
	assert_int_equal(run("keys create one --allow 1 --deny 1900"
	    " --caller-ids 14155550100 --webhook-url https://example.com/"
	    " --caller-id 14155550100 --max-calls 5 --rate-limit 7"), CTL_OK);
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		char line[80];
		char why[80];

		(void)snprintf(why, sizeof(why), "%s is empty", options[i]);
		(void)snprintf(line, sizeof(line), "keys set one %s=",
		    options[i]);
		assert_int_equal(run(line), CTL_USAGE);
		if (strstr(printed, why) == NULL)
			fail_msg("%s: %s", line, printed);
		(void)snprintf(line, sizeof(line), "keys create two %s=",
		    options[i]);
		assert_int_equal(run(line), CTL_USAGE);
	}
	check_text(before, expect);
}

/* As the API takes them. */
static void
test_numbers_as_they_are_written(void **state)
{
	cJSON *json;

	(void)state;
	assert_int_equal(run_json("keys create one --caller-ids"
	    " +1-415-555-0101,(1)917.245.2367 --default-caller-id"
	    " +1-415-555-0199", &json), CTL_OK);
	assert_string_equal(list_of(json, "callerIds"),
	    "14155550101,19172452367");
	assert_string_equal(text_of(json, "defaultCallerId"), "14155550199");
	cJSON_Delete(json);
	assert_int_equal(run("keys set one --caller-ids +1-415-555-01o1"),
	    CTL_USAGE);
	assert_non_null(strstr(printed, "'+1-415-555-01o1' is not 7 to 15"
	    " digits"));
}

/* For people; a program gets the number. */
static void
test_unlimited(void **state)
{
	cJSON *json;

	(void)state;
	assert_int_equal(run("keys create one --rate-limit 0"), CTL_OK);
	assert_non_null(strstr(printed, "maxCalls          unlimited\n"));
	assert_non_null(strstr(printed, "rateLimit         unlimited\n"));
	assert_int_equal(run("keys list"), CTL_OK);
	assert_non_null(strstr(printed, " unlimited  "));
	assert_int_equal(run_json("keys show one", &json), CTL_OK);
	assert_int_equal(number_of(json, "maxCalls"), 0);
	assert_int_equal(number_of(json, "rateLimit"), 0);
	cJSON_Delete(json);
	assert_int_equal(run("trunks add a --max-cps 3"), CTL_OK);
	assert_non_null(strstr(printed, "maxCalls          unlimited\n"));
	assert_non_null(strstr(printed, "maxCps            3\n"));
	assert_int_equal(run("trunks list"), CTL_OK);
	assert_non_null(strstr(printed, " unlimited  "));
}

static void
test_lists_are_cut_in_a_table(void **state)
{
	(void)state;
	assert_int_equal(run("keys create one --deny"
	    " 1900,1976,44871,44872,44873 --max-calls 5"), CTL_OK);
	assert_non_null(strstr(printed, "1900,1976,44871,44872,44873"));
	assert_int_equal(run("keys list"), CTL_OK);
	assert_non_null(strstr(printed, " MAX CALLS "));
	assert_non_null(strstr(printed, "  1900,1976,44871,44872,4…  "));
}

/* Also all that a list may have, which is more than a line of the file. */
static void
test_the_longest_lists(void **state)
{
	char line[2400] = "keys create one --deny ";
	size_t used = strlen(line);

	(void)state;
	for (int i = 0; i < KEY_POLICY_PREFIXES_MAX; i++) {
		(void)snprintf(line + used, sizeof(line) - used,
		    "%s9999999999999%02d", i > 0 ? "," : "", i);
		used += strlen(line + used);
	}
	assert_int_equal(run(line), CTL_OK);
	check_text("SELECT length(deny_prefixes) FROM api_keys", "1023");
	(void)snprintf(line + used, sizeof(line) - used, ",1");
	assert_int_equal(run(line), CTL_USAGE);
	assert_non_null(strstr(printed, "more than 64 prefixes"));
}

/* [keys] says what a new one may call, where it isn't told; the others stay
 * as they are. */
static void
test_keys_defaults(void **state)
{
	cJSON *json;

	(void)state;
	assert_int_equal(run("keys create before"), CTL_OK);
	(void)snprintf(context.config.keys.default_allow, CONFIG_TEXT_MAX,
	    "%s", "1, +49");
	(void)snprintf(context.config.keys.default_deny, CONFIG_TEXT_MAX,
	    "%s", "1900");
	assert_int_equal(run_json("keys create one", &json), CTL_OK);
	assert_string_equal(list_of(json, "allow"), "1,49");
	assert_string_equal(list_of(json, "deny"), "1900");
	cJSON_Delete(json);
	assert_int_equal(run_json("keys create two --allow 44 --deny none",
	    &json), CTL_OK);
	assert_string_equal(list_of(json, "allow"), "44");
	assert_string_equal(list_of(json, "deny"), "");
	cJSON_Delete(json);
	assert_int_equal(run_json("keys set before --max-calls 3", &json),
	    CTL_OK);
	assert_string_equal(list_of(json, "allow"), "");
	assert_string_equal(list_of(json, "deny"), "");
	cJSON_Delete(json);
	context.config.keys.default_allow[0] = '\0';
	context.config.keys.default_deny[0] = '\0';
}

/* The database takes all that kaphilactl would, from 24 bytes to 64. */
static void
test_all_webhook_secrets_have_room(void **state)
{
	(void)state;
	assert_int_equal(run("keys create one"), CTL_OK);
	for (int bytes = 24; bytes <= 64; bytes++) {
		char line[200] = "keys set one --webhook-secret whsec_";
		const size_t used = strlen(line);

		memset(line + used, 'x', (size_t)(bytes + 2) / 3 * 4);
		memset(line + used + (bytes * 4 + 2) / 3, '=',
		    (size_t)(3 - bytes % 3) % 3);
		if (run(line) != CTL_OK)
			fail_msg("%d bytes: %s", bytes, printed);
		check_column("webhook_secret", line + used - 6);
	}
}

/* The database refuses what kaphilactl would. */
static void
test_limits_are_checked_in_the_database(void **state)
{
	static const char *const values[] = {
		"caller_ids = ''", "caller_ids = '123456'",
		"caller_ids = '1234567, 1234568'",
		"caller_ids = '1234567890123456'",
		"caller_ids = repeat('1234567,', 32) || '1234567'",
		"allow_prefixes = ''", "allow_prefixes = '+49'",
		"allow_prefixes = '1,'", "allow_prefixes = E'1\n'",
		"deny_prefixes = '1234567890123456'",
		"deny_prefixes = repeat('1,', 64) || '1'",
		"webhook_url = ''", "webhook_url = repeat('x', 2049)",
		"max_calls = -1", "max_calls = 1000001",
		"webhook_secret = ''", "webhook_secret = 'whsec_'",
		"webhook_secret = 'whsec_' || repeat('A', 31) || '='",
		"webhook_secret = 'whsec_' || repeat('A', 33)",
		"webhook_secret = 'whsec_' || repeat('A', 87) || '='",
		"webhook_secret = 'whsec_' || repeat('A', 88)",
		"webhook_secret = 'whsec_' || repeat('A', 32) || E'\n'",
		"webhook_secret = 'WHSEC_' || repeat('A', 32)",
		"webhook_secret_before = ''",
		"webhook_secret_before = 'whsec_' || repeat('A', 88)",
	};
	PGconn *conn = fixture_connect(&server);

	(void)state;
	assert_int_equal(run("keys create one"), CTL_OK);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char sql[200];
		PGresult *result;

		(void)snprintf(sql, sizeof(sql), "UPDATE api_keys SET %s",
		    values[i]);
		result = PQexec(conn, sql);
		if (!ctl_pg_failed_with(result, "23514"))
			fail_msg("%s: %s", values[i],
			    PQresultErrorMessage(result));
		PQclear(result);
	}
	PQfinish(conn);
}

/* With a new kaphilactl and the schema of before: keys as they were then. */
static void
test_keys_on_an_older_schema(void **state)
{
	cJSON *json;

	(void)setup_empty(state);
	fixture_migrate_to(&server, "0004");
	assert_int_equal(run_json("keys create one --credits 5 --rate-limit 7"
	    " --caller-id 14155550100", &json), CTL_OK);
	assert_int_equal(number_of(json, "rateLimit"), 7);
	assert_string_equal(text_of(json, "defaultCallerId"), "14155550100");
	assert_int_equal(number_of(json, "maxCalls"), 0);
	cJSON_Delete(json);
	assert_null(strstr(printed, "whsec_"));
	assert_int_equal(run("keys set one --webhook-secret new"), CTL_FAILED);
	assert_non_null(strstr(printed, "kaphilactl migrate"));
	assert_null(strstr(printed, "whsec_"));
	assert_int_equal(run("keys set one --rate-limit 8"), CTL_OK);
	assert_int_equal(run("keys list"), CTL_OK);
	assert_int_equal(run("keys create two --max-calls 3"), CTL_FAILED);
	assert_non_null(strstr(printed, "kaphilactl migrate"));
	assert_int_equal(run("keys set one --rate-limit 9 --deny 1"),
	    CTL_FAILED);
	/* all or nothing */
	check_text("SELECT concat_ws(' ', count(*), max(rate_limit))"
	    " FROM api_keys", "1 8");
}

static void
test_keys_found_by_id_or_name(void **state)
{
	cJSON *json;
	char line[64];

	(void)state;
	assert_int_equal(run_json("keys create one", &json), CTL_OK);
	(void)snprintf(line, sizeof(line), "keys show %s",
	    text_of(json, "keyId"));
	cJSON_Delete(json);
	assert_int_equal(run(line), CTL_OK);
	assert_null(strstr(printed, "\nkey "));
	assert_int_equal(run("keys show one"), CTL_OK);
	assert_int_equal(run("keys create one"), CTL_OK);
	assert_int_equal(run("keys show one"), CTL_FAILED);
	assert_non_null(strstr(printed, "several"));
	assert_int_equal(run(line), CTL_OK);
	assert_int_equal(run("keys show nobody"), CTL_FAILED);
	assert_int_equal(run_json("keys list", &json), CTL_OK);
	assert_int_equal(cJSON_GetArraySize(json), 2);
	cJSON_Delete(json);
	assert_int_equal(run("keys list"), CTL_OK);
	assert_memory_equal(printed, "KEY ", 4);
}

static void
test_keys_changes(void **state)
{
	PGconn *listener = fixture_connect(&server);
	PGnotify *notify;
	cJSON *json;

	(void)state;
	assert_int_equal(run("keys create one --credits 10"), CTL_OK);
	PQclear(PQexec(listener, "LISTEN kaphila_keys"));
	assert_int_equal(run_json("keys credits one +5", &json), CTL_OK);
	assert_int_equal(number_of(json, "credits"), 15);
	cJSON_Delete(json);
	PQclear(PQexec(listener, "SELECT 1"));
	notify = PQnotifies(listener);
	assert_non_null(notify);
	PQfreemem(notify);
	PQfinish(listener);
	assert_int_equal(run("keys credits one -20"), CTL_OK);
	check_text("SELECT credits = (SELECT sum(amount) FROM credit_ledger)"
	    " AND credits = -5 FROM api_keys", "t");
	assert_int_equal(run("keys disable one"), CTL_OK);
	check_text("SELECT disabled_at IS NOT NULL FROM api_keys", "t");
	assert_int_equal(run_json("keys show one", &json), CTL_OK);
	assert_string_equal(text_of(json, "state"), "disabled");
	cJSON_Delete(json);
	assert_int_equal(run("keys enable one"), CTL_OK);
	check_text("SELECT disabled_at IS NULL FROM api_keys", "t");
	assert_int_equal(run("keys credits nobody 5"), CTL_FAILED);
}

static void
test_trunks(void **state)
{
	cJSON *json;

	(void)state;
	assert_int_equal(run("keys create one"), CTL_OK);
	assert_int_equal(run_json("trunks add a", &json), CTL_OK);
	assert_string_equal(text_of(json, "template"),
	    "PJSIP/00{number}@{trunk}");
	cJSON_Delete(json);
	assert_int_equal(run("trunks add a"), CTL_FAILED);
	assert_int_equal(run("trunks add b --template SIP/{number}"), CTL_OK);
	assert_int_equal(run("trunks assign one a"), CTL_OK);
	assert_int_equal(run("trunks assign one b"), CTL_OK);
	check_text("SELECT string_agg(concat(t.name, position), ' ' ORDER BY"
	    " position) FROM key_trunks JOIN trunks t ON t.id = trunk_id",
	    "a1 b2");
	assert_int_equal(run("trunks assign one b --position 0"), CTL_OK);
	check_text("SELECT string_agg(concat(t.name, position), ' ' ORDER BY"
	    " position) FROM key_trunks JOIN trunks t ON t.id = trunk_id",
	    "b0 a1");
	assert_int_equal(run("trunks assign one nope"), CTL_FAILED);
	assert_int_equal(run("trunks assign nobody a"), CTL_FAILED);
	assert_int_equal(run_json("trunks list", &json), CTL_OK);
	assert_int_equal(cJSON_GetArraySize(json), 2);
	cJSON_Delete(json);
	assert_int_equal(run("trunks disable a"), CTL_OK);
	check_text("SELECT enabled FROM trunks WHERE name = 'a'", "f");
	assert_int_equal(run("trunks enable a"), CTL_OK);
	assert_int_equal(run("trunks unassign one b"), CTL_OK);
	assert_int_equal(run("trunks unassign one b"), CTL_FAILED);
	assert_int_equal(run("trunks remove b"), CTL_OK);
	assert_int_equal(run("trunks remove b"), CTL_FAILED);
	assert_non_null(strstr(printed, "no trunk 'b'"));
	assert_int_equal(run("trunks remove b --force"), CTL_FAILED);
	check_text("SELECT count(*) FROM key_trunks", "1");
}

/* Keys would be left with one trunk less, or none, without a word. */
static void
test_a_trunk_in_use_stays(void **state)
{
	cJSON *json;

	(void)state;
	assert_int_equal(run("trunks add a"), CTL_OK);
	fixture_exec(&server, "INSERT INTO api_keys (key_id, name, key_hash,"
	    " key_prefix) SELECT 'key_' || n, 'name ' || n,"
	    " sha256(n::text::bytea), 'ak_' FROM generate_series(1, 7) n;"
	    "INSERT INTO key_trunks SELECT k.id, t.id, 0 FROM api_keys k,"
	    " trunks t WHERE k.key_id <= 'key_5'");
	assert_int_equal(run("trunks remove a"), CTL_FAILED);
	assert_non_null(strstr(printed, "trunk 'a' is assigned to key_1 (name"
	    " 1), key_2 (name 2), key_3 (name 3), key_4 (name 4), key_5 (name"
	    " 5): --force"));
	fixture_exec(&server, "INSERT INTO key_trunks SELECT k.id, t.id, 0"
	    " FROM api_keys k, trunks t WHERE k.key_id > 'key_5'");
	assert_int_equal(run("trunks remove a"), CTL_FAILED);
	assert_non_null(strstr(printed, "key_5 (name 5) and 2 more: --force"));
	check_text("SELECT count(*) FROM key_trunks", "7");
	assert_int_equal(run_json("trunks remove a --force", &json), CTL_OK);
	assert_string_equal(text_of(json, "removed"), "a");
	cJSON_Delete(json);
	check_text("SELECT (SELECT count(*) FROM key_trunks) +"
	    " (SELECT count(*) FROM trunks)", "0");
}

static void
test_a_ninth_trunk_is_refused(void **state)
{
	(void)state;
	assert_int_equal(run("keys create one"), CTL_OK);
	fixture_exec(&server, "INSERT INTO trunks (name) SELECT 't' || n"
	    " FROM generate_series(1, 9) n; INSERT INTO key_trunks"
	    " SELECT k.id, t.id, t.id FROM api_keys k, trunks t"
	    " WHERE t.name <> 't9'");
	assert_int_equal(run("trunks assign one t9"), CTL_FAILED);
	assert_int_equal(run("trunks assign one t8 --position 0"), CTL_OK);
}

static void
test_complaints(void **state)
{
	char dsn[CONFIG_TEXT_MAX];

	(void)state;
	(void)snprintf(dsn, sizeof(dsn), "%s", context.config.postgres.dsn);
	(void)snprintf(context.config.postgres.dsn,
	    sizeof(context.config.postgres.dsn), "host=/nonexistent");
	assert_int_equal(run("keys list"), CTL_FAILED);
	assert_memory_equal(printed, "kaphilactl: postgresql: ", 24);
	context.have_config = false;
	assert_int_equal(run("keys list"), CTL_FAILED);
	context.have_config = true;
	(void)snprintf(context.config.postgres.dsn,
	    sizeof(context.config.postgres.dsn), "%s", dsn);
	fixture_exec(&server, "DROP SCHEMA public CASCADE;"
	    "CREATE SCHEMA public");
	assert_int_equal(run("keys list"), CTL_FAILED);
	assert_non_null(strstr(printed, "kaphilactl migrate"));
}

static int
setup(void **state)
{
	(void)setup_empty(state);
	fixture_migrate(&server);
	return 0;
}

static int
group_setup(void **state)
{
	(void)state;
	fixture_init(&server);
	config_init(&context.config);
	context.have_config = true;
	(void)snprintf(context.config.postgres.dsn,
	    sizeof(context.config.postgres.dsn), "%s", server.dsn);
	(void)snprintf(context.config.auth.pepper,
	    sizeof(context.config.auth.pepper), "%s", PEPPER);
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
		cmocka_unit_test_setup(test_migrate, setup_empty),
		cmocka_unit_test_setup(test_migrate_at_once, setup_empty),
		cmocka_unit_test_setup(test_migrate_refuses, setup_empty),
		cmocka_unit_test_setup(test_keys_create, setup),
		cmocka_unit_test_setup(test_webhook_secrets, setup),
		cmocka_unit_test_setup(test_own_webhook_secrets, setup),
		cmocka_unit_test_setup(test_no_webhook_secrets, setup),
		cmocka_unit_test_setup(test_keys_usage, setup),
		cmocka_unit_test_setup(test_keys_limits, setup),
		cmocka_unit_test_setup(test_empty_is_not_none, setup),
		cmocka_unit_test_setup(test_numbers_as_they_are_written,
		    setup),
		cmocka_unit_test_setup(test_unlimited, setup),
		cmocka_unit_test_setup(test_lists_are_cut_in_a_table, setup),
		cmocka_unit_test_setup(test_the_longest_lists, setup),
		cmocka_unit_test_setup(test_keys_defaults, setup),
		cmocka_unit_test_setup(test_all_webhook_secrets_have_room,
		    setup),
		cmocka_unit_test_setup(test_limits_are_checked_in_the_database,
		    setup),
		cmocka_unit_test_setup(test_keys_on_an_older_schema, setup),
		cmocka_unit_test_setup(test_keys_found_by_id_or_name, setup),
		cmocka_unit_test_setup(test_keys_changes, setup),
		cmocka_unit_test_setup(test_trunks, setup),
		cmocka_unit_test_setup(test_a_trunk_in_use_stays, setup),
		cmocka_unit_test_setup(test_a_ninth_trunk_is_refused, setup),
		cmocka_unit_test_setup(test_complaints, setup),
	};

	if (!fixture_find_server(&server)) {
		(void)puts("skipped: no PostgreSQL server is installed");
		return 0;
	}
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
