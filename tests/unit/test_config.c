/*
 * shared/config.c: what is taken, what is refused and at which line, and that
 * a dump reads back as what was dumped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/child.h"
#include "shared/config.h"
#include "shared/log.h"

#define REQUIRED \
	"[postgres]\ndsn = host=/run/postgresql dbname=kaphila\n" \
	"[auth]\npepper = 0123456789abcdef0123456789abcdef\n"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static int
memory_file(const char *text, size_t len)
{
	const int fd = memfd_create("config", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	return fd;
}

static int
load_text(struct config *config, const char *text, struct kap_errmsg *msg)
{
	const int fd = memory_file(text, strlen(text));
	const int rc = config_load_fd(config, fd, msg);

	(void)close(fd);
	return rc;
}

static void
test_defaults_and_values(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config config;

	assert_int_equal(load_text(&config, REQUIRED
	    "[http]\nworkers = 7\nlisten = [::1]:3000\n"
	    "[webhook]\nallow_http = yes\n"
	    "[store]\ndurability = full\n"
	    "[log]\nlevel = warn\nformat = json\n", &msg), 0);
	assert_int_equal(config.http.workers, 7);
	assert_string_equal(config.http.listen, "[::1]:3000");
	assert_true(config.webhook.allow_http);
	assert_false(config.webhook.allow_private);
	assert_int_equal(config.store.durability, DURABILITY_FULL);
	assert_int_equal(config.log.level, LOG_LEVEL_WARN);
	assert_int_equal(config.log.format, LOG_FORMAT_JSON);
	assert_string_equal(config.postgres.dsn,
	    "host=/run/postgresql dbname=kaphila");
	assert_string_equal(config.node.run_dir, "/run/kaphila");
	assert_string_equal(config.admin.listen, "127.0.0.1:3001");
	assert_int_equal(config.webhook.timeout_ms, 5000);
	assert_int_equal(config.supervision.heartbeat_timeout_s, 8);
}

static void
test_faults(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *text;
		const char *says; /* a part of the message, with its line */
	} cases[] = {
		{ "unknown key", REQUIRED "[http]\nport = 3\n",
		    "configuration:6: unknown key http.port" },
		{ "unknown section", REQUIRED "[htp]\nworkers = 3\n",
		    "configuration:6: unknown key htp.workers" },
		{ "key before any section", "workers = 3\n" REQUIRED,
		    "configuration:1: unknown key workers" },
		{ "not a number", "\n[http]\nworkers = many\n",
		    "configuration:3: http.workers must be a number, "
		    "not 'many'" },
		{ "number with a tail", "[http]\nworkers = 3x\n",
		    ":2: http.workers must be a number, not '3x'" },
		{ "empty number", "[http]\nworkers =\n",
		    ":2: http.workers must be a number, not ''" },
		{ "below the range", "[http]\nworkers = 0\n",
		    ":2: http.workers must be from 1 to 64, not 0" },
		{ "over the range", "[http]\nworkers = 65\n",
		    ":2: http.workers must be from 1 to 64, not 65" },
		{ "over any number", "[http]\nworkers = 99999999999999999999\n",
		    ":2: http.workers must be a number" },
		{ "not a boolean", "[webhook]\nallow_http = 1\n",
		    ":2: webhook.allow_http must be true or false, not '1'" },
		{ "not prefixes", REQUIRED "[keys]\ndefault_allow = 49,x\n",
		    ":6: keys.default_allow must be a list of prefixes with "
		    "commas between: 'x' is not 1 to 15 digits" },
		{ "not prefixes either", REQUIRED
		    "[keys]\ndefault_deny = 49 30\n",
		    ":6: keys.default_deny must be a list of prefixes" },
		{ "not a choice", "[log]\nlevel = loud\n",
		    ":2: log.level must be one of debug, info, warn, error, "
		    "not 'loud'" },
		{ "neither section nor pair", REQUIRED "[http]\nhello\n",
		    "configuration:6: is neither [section] nor key = value" },
		{ "first of two faults", "[http]\nworkers = 0\nport = 1\n",
		    ":2: http.workers" },
		{ "required and empty", REQUIRED "[postgres]\ndsn =\n",
		    "configuration:6: postgres.dsn is required" },
		{ "dsn missing", "[auth]\npepper = " HUNDRED "\n",
		    "configuration: postgres.dsn is required" },
		{ "pepper missing", "[postgres]\ndsn = x\n",
		    "configuration: auth.pepper is required" },
		{ "pepper short", "[postgres]\ndsn = x\n[auth]\npepper = "
		    "0123456789abcdef0123456789abcde\n",
		    "auth.pepper must have 32 characters" },
		{ "listen without port", REQUIRED
		    "[http]\nlisten = 127.0.0.1\n",
		    "configuration:6: http.listen must be address:port" },
		{ "admin port 0", REQUIRED "[admin]\nlisten = 127.0.0.1:0\n",
		    "admin.listen must be address:port" },
		{ "same listeners", REQUIRED
		    "[http]\nlisten = 127.0.0.1:3001\n",
		    "configuration:6: http.listen and admin.listen are the "
		    "same" },
		{ "ring timeouts cross", REQUIRED
		    "[calls]\nring_timeout_min_s = 200\n",
		    "configuration:6: calls.ring_timeout_min_s is over "
		    "calls.ring_timeout_max_s" },
		{ "the later line of two", "[calls]\nring_timeout_min_s = 50\n"
		    "ring_timeout_max_s = 40\n" REQUIRED,
		    "configuration:3: calls.ring_timeout_min_s is over" },
		{ "certificate without key", REQUIRED
		    "[http]\ntls_certificate = /etc/cert.pem\n",
		    "configuration:6: http.tls_certificate and http.tls_key "
		    "go together" },
		{ "asterisk by https", REQUIRED
		    "[asterisk]\nurl = https://127.0.0.1:8089\n",
		    "asterisk.url must begin with http://" },
		{ "asterisk by name", REQUIRED
		    "[asterisk]\nurl = http://pbx.example:8088\n",
		    "asterisk.url must be http://address:port" },
		{ "asterisk with a password", REQUIRED
		    "[asterisk]\nurl = http://u:p@127.0.0.1:8088\n",
		    "configuration:6: asterisk.url must be "
		    "http://address:port; user and password have keys" },
		{ "listen by name", REQUIRED
		    "[http]\nlisten = localhost:3000\n",
		    "http.listen must be address:port" },
		{ "waits cross", REQUIRED
		    "[webhook]\nretry_min_ms = 5000\nretry_max_ms = 10\n",
		    "configuration:7: webhook.retry_min_ms is over "
		    "webhook.retry_max_ms" },
		{ "unknown engine", REQUIRED
		    "[speech]\nengines = espeak, festival\n",
		    ":6: speech.engines must be a list of google, gtts and "
		    "espeak, not 'espeak, festival'" },
		{ "speech in a relative folder", REQUIRED
		    "[speech]\ndir = speech\n",
		    ":6: speech.dir must be an absolute path" },
		{ "speech in a folder that is two media", REQUIRED
		    "[speech]\nasterisk_dir = /a,sound:b\n",
		    ":6: speech.asterisk_dir must be an absolute path" },
		{ "speech under a data_dir that Asterisk can't be told",
		    REQUIRED "[node]\ndata_dir = /srv/a b\n",
		    ":6: speech.dir must be set: Asterisk can't be asked to "
		    "play from /srv/a b/speech" },
		{ "a program by its name", REQUIRED
		    "[speech]\nespeak_program = espeak-ng\n",
		    ":6: speech.espeak_program must be an absolute path" },
		{ "another", REQUIRED
		    "[speech]\nffmpeg_program = bin/ffmpeg\n",
		    ":6: speech.ffmpeg_program must be an absolute path" },
		{ "text too long", "[asterisk]\nuser = " HUNDRED HUNDRED HUNDRED
		    HUNDRED HUNDRED HUNDRED "\n", ":2: " },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kap_errmsg msg = { .text = "" };
		struct config config;
		const int rc = load_text(&config, cases[i].text, &msg);

		if (rc != -KAP_INVAL ||
		    strstr(msg.text, cases[i].says) == NULL)
			fail_msg("%s: %d, '%s'", cases[i].name, rc, msg.text);
	}
}

/* A parser that takes it for more of the value above would mix them up. */
static void
test_indented_lines(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config config;

	assert_int_equal(load_text(&config, REQUIRED
	    "  [asterisk]\n  user = a\n\tpassword = x\n", &msg), 0);
	assert_string_equal(config.asterisk.user, "a");
	assert_string_equal(config.asterisk.password, "x");
}

static void
test_missing_file(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config config;

	assert_int_equal(config_load(&config, "/nonexistent/kaphila.conf",
	    &msg), -KAP_NOENT);
	assert_non_null(strstr(msg.text, "/nonexistent/kaphila.conf"));
}

static char *
dump_text(const struct config *config, bool with_secrets, bool with_help)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(config_dump(config, out, with_secrets, with_help), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* What a child reads is what the master checked, to the last byte. */
static void
test_dump_reads_back(void **state KAP_UNUSED)
{
	static const char text[] =
	    "[node]\nid = 12\nrun_dir = /tmp/run dir\n"
	    "[postgres]\ndsn = host=/run/pg password='a=b' dbname=x\n"
	    "[auth]\npepper = 0123456789abcdef:0123456789abcdef=\n"
	    "[asterisk]\npassword = p:a=s[s]\n"
	    "[webhook]\nallow_loopback = true\n"
	    "[log]\nformat = json\n";
	struct kap_errmsg msg = { .text = "" };
	struct config config;
	struct config back;
	char *dump;

	assert_int_equal(load_text(&config, text, &msg), 0);
	for (int help = 0; help < 2; help++) {
		dump = dump_text(&config, true, help != 0);
		if (load_text(&back, dump, &msg) != 0)
			fail_msg("the dump doesn't load: %s", msg.text);
		assert_string_equal(back.postgres.dsn, config.postgres.dsn);
		assert_string_equal(back.auth.pepper, config.auth.pepper);
		assert_string_equal(back.asterisk.password, "p:a=s[s]");
		assert_string_equal(back.node.run_dir, "/tmp/run dir");
		assert_int_equal(back.node.id, 12);
		assert_true(back.webhook.allow_loopback);
		assert_int_equal(back.log.format, LOG_FORMAT_JSON);
		free(dump);
	}
}

/* A line as long as may be stays so, and a ';' begins no comment. */
static void
test_dump_reads_back_the_utmost(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	char dsn[195];
	char text[400];
	struct config config;
	struct config back;
	char *dump;

	memset(dsn, 'x', sizeof(dsn) - 1);
	dsn[sizeof(dsn) - 1] = '\0';
	(void)snprintf(text, sizeof(text), "[postgres]\ndsn=%s\n"
	    "[auth]\npepper=;123456789abcdef0123456789abcdef\n", dsn);
	assert_int_equal(load_text(&config, text, &msg), 0);
	dump = dump_text(&config, true, false);
	if (load_text(&back, dump, &msg) != 0)
		fail_msg("the dump doesn't load: %s", msg.text);
	assert_string_equal(back.postgres.dsn, dsn);
	assert_string_equal(back.auth.pepper,
	    ";123456789abcdef0123456789abcdef");
	free(dump);
}

static void
test_dump_masks_secrets(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config config;
	char *dump;

	assert_int_equal(load_text(&config, REQUIRED
	    "[asterisk]\npassword = sesame\n", &msg), 0);
	dump = dump_text(&config, false, true);
	assert_null(strstr(dump, "sesame"));
	assert_null(strstr(dump, "0123456789abcdef"));
	assert_null(strstr(dump, "dbname=kaphila"));
	assert_non_null(strstr(dump, "password = ********"));
	assert_non_null(strstr(dump, "; worker processes"));
	free(dump);
}

static void
test_dump_tells_reach(void **state KAP_UNUSED)
{
	static const struct {
		const char *help;
		const char *facts;
		const char *line;
	} cases[] = {
		{ "; least level that is logged", "; debug, info, warn or "
		    "error; default info; a reload takes it over at once",
		    "level = info" },
		{ "; address:port of the API", "; default 127.0.0.1:3000; read "
		    "when the master starts", "listen = 127.0.0.1:3000" },
		{ "; ARI user", "; default kaphila; a reload takes it over as "
		    "children start", "user = kaphila" },
		{ "; http:// targets too", "; true or false; default false; a "
		    "reload takes it over at once", "allow_http = false" },
		{ "; first wait before a new connect", "; from 10 to 60000; "
		    "default 250; a reload takes it over at once",
		    "reconnect_min_ms = 250" },
		{ "; libpq connection string, by address or socket path",
		    "; required; a reload takes it over as children start",
		    "dsn = ********" },
	};
	struct kap_errmsg msg = { .text = "" };
	struct config config;
	char *dump;

	assert_int_equal(load_text(&config, REQUIRED, &msg), 0);
	dump = dump_text(&config, false, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char expect[400];

		(void)snprintf(expect, sizeof(expect), "%s\n%s\n%s\n",
		    cases[i].help, cases[i].facts, cases[i].line);
		if (strstr(dump, expect) == NULL)
			fail_msg("not in the dump: %s", expect);
	}
	free(dump);
}

/* Every key of the dump is in the manual page's list, in the same order. */
static void
test_man_has_every_key(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config config;
	char *dump;
	char *man = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&man, &len);
	const char *at;
	int keys = 0;

	assert_non_null(out);
	assert_int_equal(config_dump_man(out), 0);
	assert_int_equal(fclose(out), 0);
	at = man;
	assert_int_equal(load_text(&config, REQUIRED, &msg), 0);
	dump = dump_text(&config, false, false);
	for (char *rest = dump, *line; (line = strsep(&rest, "\n")) != NULL;) {
		char expect[120];

		if (*line == '[')
			(void)snprintf(expect, sizeof(expect), ".Ss %s\n",
			    line);
		else if (*line != '\0')
			(void)snprintf(expect, sizeof(expect), ".It Cm %.*s\n",
			    (int)strcspn(line, "="), line);
		else
			continue;
		at = strstr(at, expect);
		if (at == NULL)
			fail_msg("not in the page, or not here: %s", expect);
		keys++;
	}
	assert_true(keys > 60);
	free(dump);
	free(man);
}

struct seen {
	const char *key;
	const char *from;
	const char *to;
	const char *when;
};

struct seen_list {
	const struct seen *expect;
	unsigned count;
};

static void
on_change(void *ctx, const struct config_change *change)
{
	struct seen_list *list = ctx;
	const struct seen *expect = &list->expect[list->count++];
	char key[80];

	(void)snprintf(key, sizeof(key), "%s.%s", change->section,
	    change->name);
	assert_non_null(expect->key);
	assert_string_equal(key, expect->key);
	assert_string_equal(change->from, expect->from);
	assert_string_equal(change->to, expect->to);
	assert_string_equal(config_reach_name(change->reach), expect->when);
}

#define CHANGED \
	"[node]\nid = 3\n" \
	"[log]\nlevel = debug\n" \
	"[http]\nworkers = 5\nidle_timeout_s = 7\n" \
	"tls_certificate = /c\ntls_key = /k\n" \
	"[postgres]\ndsn = host=/run/postgresql dbname=other\n" \
	"[auth]\npepper = 0123456789abcdef0123456789abcdeX\n" \
	"[asterisk]\nuser = someone\npassword = sesame\n" \
	"[webhook]\nallow_http = true\n"

static const struct seen all_changes[] = {
	{ "node.id", "1", "3", "master start" },
	{ "log.level", "info", "debug", "now" },
	{ "http.workers", "2", "5", "master start" },
	{ "http.idle_timeout_s", "75", "7", "now" },
	{ "http.tls_certificate", "", "/c", "now" },
	{ "http.tls_key", "", "/k", "now" },
	{ "postgres.dsn", "********", "********", "child start" },
	{ "auth.pepper", "********", "********", "master start" },
	{ "asterisk.user", "kaphila", "someone", "child start" },
	{ "asterisk.password", "", "********", "child start" },
	{ "webhook.allow_http", "false", "true", "now" },
	{ NULL, NULL, NULL, NULL },
};

static void
test_compare(void **state KAP_UNUSED)
{
	struct seen_list list = { .expect = all_changes };
	struct kap_errmsg msg = { .text = "" };
	struct config from;
	struct config to;

	assert_int_equal(load_text(&from, REQUIRED, &msg), 0);
	assert_int_equal(load_text(&to, CHANGED, &msg), 0);
	assert_int_equal(config_compare(&from, &to, on_change, &list), 11);
	assert_int_equal(list.count, 11);
	assert_int_equal(config_compare(&from, &to, NULL, NULL), 11);
	assert_int_equal(config_compare(&to, &to, on_change, &list), 0);
}

/* What lies behind a text's end is not the text. */
static void
test_compare_ignores_leftovers(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config a;
	struct config b;

	assert_int_equal(load_text(&a, REQUIRED, &msg), 0);
	assert_int_equal(load_text(&b, "[asterisk]\nuser = longer-than-that\n"
	    "user = kaphila\n" REQUIRED, &msg), 0);
	assert_int_equal(config_compare(&a, &b, NULL, NULL), 0);
}

/* Each reach takes its own keys and no others; all of them take everything. */
static void
test_take(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config from;
	struct config to;
	struct config original;

	assert_int_equal(load_text(&to, REQUIRED, &msg), 0);
	original = to;
	assert_int_equal(load_text(&from, CHANGED, &msg), 0);
	config_take(&to, &from, CONFIG_AT_ONCE);
	assert_int_equal(to.log.level, LOG_LEVEL_DEBUG);
	assert_int_equal(to.http.idle_timeout_s, 7);
	assert_string_equal(to.http.tls_key, "/k");
	assert_true(to.webhook.allow_http);
	assert_int_equal(config_compare(&original, &to, NULL, NULL), 5);
	config_take(&to, &from, CONFIG_AT_CHILD_START);
	assert_string_equal(to.asterisk.password, "sesame");
	assert_int_equal(to.http.workers, 2);
	assert_int_equal(config_compare(&original, &to, NULL, NULL), 8);
	config_take(&to, &from, CONFIG_AT_MASTER_START);
	assert_int_equal(config_compare(&from, &to, NULL, NULL), 0);
	/* a text in all its length */
	memset(from.asterisk.user, 'u', CONFIG_TEXT_MAX - 1);
	config_take(&to, &from, CONFIG_AT_CHILD_START);
	assert_string_equal(to.asterisk.user, from.asterisk.user);
}

/*
 * Keys that a rule ties together change together, or what is taken of a
 * checked configuration would not be a checked one.
 */
static void
test_tied_keys_have_one_reach(void **state KAP_UNUSED)
{
	static const char *const changes[] = {
		"[http]\nlisten = 127.0.0.1:1\n[admin]\nlisten = [::1]:2\n",
		"[http]\ntls_certificate = /c\ntls_key = /k\n",
		"[calls]\nring_timeout_min_s = 7\nring_timeout_max_s = 8\n",
		"[webhook]\nretry_min_ms = 70\nretry_max_ms = 80\n",
		"[asterisk]\nreconnect_min_ms = 70\nreconnect_max_ms = 80\n",
	};
	struct kap_errmsg msg = { .text = "" };
	struct config from;

	assert_int_equal(load_text(&from, REQUIRED, &msg), 0);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		char text[300];
		struct config to;
		unsigned taken = 0;

		(void)snprintf(text, sizeof(text), REQUIRED "%s", changes[i]);
		assert_int_equal(load_text(&to, text, &msg), 0);
		assert_int_equal(config_compare(&from, &to, NULL, NULL), 2);
		for (int reach = 0; reach < CONFIG_REACH_COUNT; reach++) {
			struct config mixed = from;

			config_take(&mixed, &to, (enum config_reach)reach);
			if (config_compare(&from, &mixed, NULL, NULL) == 2)
				taken++;
		}
		if (taken != 1)
			fail_msg("not of one reach: %s", changes[i]);
	}
}

static void
test_peek(void **state KAP_UNUSED)
{
	static const char text[] = "nonsense\n"
	    "[http]\nport = 3\nworkers = 900\n"
	    "[node]\n  run_dir = /tmp/a b\n"
	    "[http]\nworkers = many\n";
	const int fd = memory_file(text, strlen(text));
	char value[CONFIG_TEXT_MAX] = "as it was";
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(config_peek(path, "node.run_dir", value), 6);
	assert_string_equal(value, "/tmp/a b");
	assert_int_equal(config_peek(path, "http.workers", NULL), 8);
	assert_int_equal(config_peek(path, "node.id", value), 0);
	assert_int_equal(config_peek(path, "run_dir", value), 0);
	assert_int_equal(config_peek("/nonexistent", "node.id", value), 0);
	assert_string_equal(value, "/tmp/a b");
	(void)close(fd);
}

static void
test_what_is_no_file(void **state KAP_UNUSED)
{
	struct kap_errmsg msg = { .text = "" };
	struct config config;

	assert_int_equal(config_load(&config, "/tmp", &msg), -KAP_IO);
	assert_string_equal(msg.text, "/tmp: Is a directory");
}

/* Each reads from the start, whatever was read from the descriptor before. */
static void
test_load_fd_twice(void **state KAP_UNUSED)
{
	const int fd = memory_file(REQUIRED, strlen(REQUIRED));
	struct kap_errmsg msg = { .text = "" };
	struct config config;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(config_load_fd(&config, fd, &msg), 0);
		assert_string_equal(config.postgres.dsn,
		    "host=/run/postgresql dbname=kaphila");
	}
	(void)close(fd);
}

static void
test_split_listen(void **state KAP_UNUSED)
{
	static const struct {
		const char *listen;
		int rc;
		const char *host;
		uint16_t port;
	} cases[] = {
		{ "127.0.0.1:3000", 0, "127.0.0.1", 3000 },
		{ "[::1]:65535", 0, "::1", 65535 },
		{ "::1:80", 0, "::1", 80 },
		{ "0.0.0.0:1", 0, "0.0.0.0", 1 },
		{ "127.0.0.1", -KAP_INVAL, NULL, 0 },
		{ ":3000", -KAP_INVAL, NULL, 0 },
		{ "127.0.0.1:", -KAP_INVAL, NULL, 0 },
		{ "127.0.0.1:0", -KAP_INVAL, NULL, 0 },
		{ "127.0.0.1:65536", -KAP_INVAL, NULL, 0 },
		{ "127.0.0.1:-1", -KAP_INVAL, NULL, 0 },
		{ "127.0.0.1:80x", -KAP_INVAL, NULL, 0 },
		{ "", -KAP_INVAL, NULL, 0 },
		{ "123456789012345678901234567890123:80", -KAP_INVAL, NULL,
		    0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char host[32] = "";
		uint16_t port = 0;
		const int rc = config_split_listen(cases[i].listen, host,
		    sizeof(host), &port);

		if (rc != cases[i].rc || (rc == 0 &&
		    (strcmp(host, cases[i].host) != 0 ||
		    port != cases[i].port)))
			fail_msg("%s: %d, '%s', %u", cases[i].listen, rc, host,
			    port);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_and_values),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_indented_lines),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_dump_reads_back),
		cmocka_unit_test(test_dump_reads_back_the_utmost),
		cmocka_unit_test(test_dump_masks_secrets),
		cmocka_unit_test(test_dump_tells_reach),
		cmocka_unit_test(test_man_has_every_key),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_compare_ignores_leftovers),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_tied_keys_have_one_reach),
		cmocka_unit_test(test_peek),
		cmocka_unit_test(test_what_is_no_file),
		cmocka_unit_test(test_load_fd_twice),
		cmocka_unit_test(test_split_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
