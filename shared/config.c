/*
 * The table of configuration keys, and the four things it drives: defaults,
 * parsing, checking and dumping. Opens nothing but the configuration.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <ini.h>

#include "child.h"
#include "log.h"

enum key_type { KEY_TEXT, KEY_INT, KEY_BOOL, KEY_CHOICE };
enum key_flag { KEY_SECRET = 1, KEY_RELOADABLE = 2, KEY_REQUIRED = 4 };

struct config_key {
	const char *section;
	const char *name;
	enum key_type type;
	unsigned flags;
	size_t offset; /* in struct config */
	const char *fallback;
	int64_t min;
	int64_t max;
	const char *const *choices; /* NULL-terminated, for KEY_CHOICE */
	const char *help;
};

static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
static const char *const durabilities[] = { "normal", "full", NULL };

#define AT(field) offsetof(struct config, field)
#define TEXT(s, n, flags, fallback, help) \
	{ #s, #n, KEY_TEXT, flags, AT(s.n), fallback, 0, 0, NULL, help }
#define INT(s, n, flags, fallback, min, max, help) \
	{ #s, #n, KEY_INT, flags, AT(s.n), fallback, min, max, NULL, help }
#define BOOL(s, n, flags, fallback, help) \
	{ #s, #n, KEY_BOOL, flags, AT(s.n), fallback, 0, 1, NULL, help }
#define CHOICE(s, n, flags, fallback, choices, help) \
	{ #s, #n, KEY_CHOICE, flags, AT(s.n), fallback, 0, 0, choices, help }

static const struct config_key keys[] = {
	INT(node, id, 0, "1", 1, 999,
	    "number of this node, part of every call id"),
	TEXT(node, run_dir, 0, "/run/kaphila",
	    "sockets, pid file and statistics"),
	TEXT(node, data_dir, 0, "/var/lib/kaphila",
	    "the call table and, by default, the recordings"),

	CHOICE(log, level, KEY_RELOADABLE, "info", log_levels,
	    "least level that is logged"),
	CHOICE(log, format, 0, "text", log_formats, "text or json, a line each"),

	TEXT(http, listen, 0, "127.0.0.1:3000", "address:port of the API"),
	INT(http, workers, 0, "2", 1, CHILD_MAX_WORKERS, "worker processes"),
	INT(http, max_connections, KEY_RELOADABLE, "8192", 16, 65536,
	    "client connections of one worker"),
	INT(http, head_timeout_s, KEY_RELOADABLE, "10", 1, 300,
	    "seconds for a whole request head"),
	INT(http, body_timeout_s, KEY_RELOADABLE, "20", 1, 300,
	    "seconds for a whole request body"),
	INT(http, idle_timeout_s, KEY_RELOADABLE, "75", 1, 3600,
	    "seconds a connection may wait between requests"),
	INT(http, max_body_bytes, KEY_RELOADABLE, "65536", 1024, 1048576,
	    "largest request body"),
	TEXT(http, tls_certificate, 0, "",
	    "certificate chain (PEM); empty: plain HTTP"),
	TEXT(http, tls_key, 0, "", "its private key (PEM)"),

	TEXT(admin, listen, 0, "127.0.0.1:3001",
	    "address:port of /health and /ready, without keys"),

	INT(store, map_size_mb, 0, "1024", 16, 1048576,
	    "size of the call table's map; a sparse file"),
	CHOICE(store, durability, 0, "normal", durabilities,
	    "what a power cut may undo: the last transaction, or nothing"),
	INT(store, commit_window_ms, 0, "5", 0, 100,
	    "milliseconds that what nobody waits for may wait for others, to "
	    "be written together"),

	TEXT(postgres, dsn, KEY_SECRET | KEY_REQUIRED, "",
	    "libpq connection string, by address or socket path"),

	TEXT(auth, pepper, KEY_SECRET | KEY_REQUIRED, "",
	    "secret under which API keys are hashed, 32 characters or more"),
	INT(auth, cache_fresh_s, KEY_RELOADABLE, "30", 1, 3600,
	    "seconds a cached key is used without a look at PostgreSQL"),
	INT(auth, cache_stale_s, KEY_RELOADABLE, "900", 1, 86400,
	    "seconds a cached key serves while PostgreSQL is away"),
	INT(auth, cache_unknown_s, KEY_RELOADABLE, "5", 0, 300,
	    "seconds an unknown key is remembered as unknown"),

	TEXT(asterisk, url, 0, "http://127.0.0.1:8088",
	    "ARI's address, http://address:port"),
	TEXT(asterisk, user, 0, "kaphila", "ARI user"),
	TEXT(asterisk, password, KEY_SECRET, "", "its password"),
	TEXT(asterisk, recording_dir, 0, "/var/spool/asterisk/recording",
	    "where Asterisk's recordings appear on this machine"),
	INT(asterisk, command_timeout_ms, KEY_RELOADABLE, "5000", 100, 60000,
	    "milliseconds Asterisk has for the answer to a command"),
	INT(asterisk, ping_interval_ms, KEY_RELOADABLE, "3000", 200, 60000,
	    "milliseconds between pings; two unanswered mean a dead link"),
	INT(asterisk, reconnect_min_ms, KEY_RELOADABLE, "250", 10, 60000,
	    "first wait before a new connect"),
	INT(asterisk, reconnect_max_ms, KEY_RELOADABLE, "5000", 10, 600000,
	    "longest wait before a new connect"),

	INT(calls, originate_timeout_ms, KEY_RELOADABLE, "5000", 500, 60000,
	    "milliseconds until /makecall answers 503 TELEPHONY_TIMEOUT"),
	INT(calls, ring_timeout_s, KEY_RELOADABLE, "30", 1, 600,
	    "ringTimeout where the request has none"),
	INT(calls, ring_timeout_min_s, KEY_RELOADABLE, "5", 1, 600,
	    "least ringTimeout"),
	INT(calls, ring_timeout_max_s, KEY_RELOADABLE, "120", 1, 600,
	    "greatest ringTimeout"),
	INT(calls, max_duration_s, KEY_RELOADABLE, "3600", 1, 86400,
	    "maxDuration where the request has none"),
	INT(calls, max_duration_max_s, KEY_RELOADABLE, "14400", 1, 86400,
	    "greatest maxDuration"),

	BOOL(webhook, allow_http, KEY_RELOADABLE, "false",
	    "http:// targets too"),
	BOOL(webhook, allow_private, KEY_RELOADABLE, "false",
	    "targets in private and link-local networks too"),
	BOOL(webhook, allow_loopback, KEY_RELOADABLE, "false",
	    "targets on this machine too"),
	INT(webhook, timeout_ms, KEY_RELOADABLE, "5000", 100, 60000,
	    "milliseconds a target has for one delivery"),
	INT(webhook, concurrency, KEY_RELOADABLE, "256", 1, 4096,
	    "deliveries under way at once"),
	INT(webhook, per_host, KEY_RELOADABLE, "64", 1, 1024,
	    "connections to one target host"),
	INT(webhook, retry_min_ms, KEY_RELOADABLE, "1000", 10, 3600000,
	    "first wait before a delivery is tried again; doubles"),
	INT(webhook, retry_max_ms, KEY_RELOADABLE, "300000", 10, 86400000,
	    "longest wait between two tries"),

	TEXT(recorder, dir, 0, "",
	    "store of the finished WAV files; empty: <data_dir>/recordings"),
	INT(recorder, retry_ms, KEY_RELOADABLE, "1000", 10, 600000,
	    "wait before a missing or unfinished file is looked at again"),
	INT(recorder, give_up_s, KEY_RELOADABLE, "600", 1, 86400,
	    "seconds until a file that never came is given up"),

	INT(supervision, ready_timeout_s, KEY_RELOADABLE, "15", 1, 600,
	    "seconds a child has to get ready"),
	INT(supervision, drain_timeout_s, KEY_RELOADABLE, "30", 1, 3600,
	    "seconds a child has to finish what it holds"),
	INT(supervision, heartbeat_timeout_s, KEY_RELOADABLE, "8", 2, 600,
	    "age of a heartbeat at which a child counts as hung"),
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

static void fault(struct kap_errmsg *msg, const struct config_key *key,
    const char *fmt, ...) KAP_PRINTF(3, 4);

static void
fault(struct kap_errmsg *msg, const struct config_key *key, const char *fmt,
    ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kap_errmsg_set(msg, "%s.%s %s", key->section, key->name, text);
}

static int64_t *
int_at(struct config *config, const struct config_key *key)
{
	return (int64_t *)(void *)((char *)config + key->offset);
}

static int
set_text(struct config *config, const struct config_key *key,
    const char *value, struct kap_errmsg *msg)
{
	char *to = (char *)config + key->offset;
	const size_t len = strlen(value);

	if (len >= CONFIG_TEXT_MAX) {
		fault(msg, key, "is longer than %d bytes", CONFIG_TEXT_MAX - 1);
		return -KAP_INVAL;
	}
	memcpy(to, value, len + 1);
	return 0;
}

static int
set_int(struct config *config, const struct config_key *key,
    const char *value, struct kap_errmsg *msg)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0') {
		fault(msg, key, "must be a number, not '%s'", value);
		return -KAP_INVAL;
	}
	if (number < key->min || number > key->max) {
		fault(msg, key, "must be from %" PRId64 " to %" PRId64
		    ", not %lld", key->min, key->max, number);
		return -KAP_INVAL;
	}
	*int_at(config, key) = number;
	return 0;
}

static int
set_bool(struct config *config, const struct config_key *key,
    const char *value, struct kap_errmsg *msg)
{
	bool *to = (bool *)((char *)config + key->offset);

	if (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0) {
		*to = true;
	} else if (strcmp(value, "false") == 0 || strcmp(value, "no") == 0) {
		*to = false;
	} else {
		fault(msg, key, "must be true or false, not '%s'", value);
		return -KAP_INVAL;
	}
	return 0;
}

static int
set_choice(struct config *config, const struct config_key *key,
    const char *value, struct kap_errmsg *msg)
{
	char list[120] = "";

	for (int i = 0; key->choices[i] != NULL; i++) {
		const size_t len = strlen(list);

		if (strcmp(value, key->choices[i]) == 0) {
			*int_at(config, key) = i;
			return 0;
		}
		(void)snprintf(list + len, sizeof(list) - len, "%s%s",
		    i > 0 ? ", " : "", key->choices[i]);
	}
	fault(msg, key, "must be one of %s, not '%s'", list, value);
	return -KAP_INVAL;
}

static int
set_key(struct config *config, const struct config_key *key,
    const char *value, struct kap_errmsg *msg)
{
	switch (key->type) {
	case KEY_TEXT:
		return set_text(config, key, value, msg);
	case KEY_INT:
		return set_int(config, key, value, msg);
	case KEY_BOOL:
		return set_bool(config, key, value, msg);
	case KEY_CHOICE:
		return set_choice(config, key, value, msg);
	}
	return -KAP_INVAL;
}

static const struct config_key *
find_key(const char *section, const char *name)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].section, section) == 0 &&
		    strcmp(keys[i].name, name) == 0)
			return &keys[i];
	}
	return NULL;
}

void
config_init(struct config *config)
{
	struct kap_errmsg msg;

	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (set_key(config, &keys[i], keys[i].fallback, &msg) != 0)
			fatal("built-in default: %s", msg.text);
	}
}

/* State of one parse; inih calls back for each pair. */
struct parse {
	struct config *config;
	FILE *file;
	int line; /* of the pair being read */
	int rc;
	int fault_line;
	struct kap_errmsg fault;
};

static int
on_pair(void *arg, const char *section, const char *name, const char *value)
{
	struct parse *parse = arg;
	const struct config_key *key = find_key(section, name);

	if (parse->rc != 0)
		return 1; /* the first fault is the one that is told */
	if (key == NULL) {
		kap_errmsg_set(&parse->fault, "unknown key %s%s%s", section,
		    *section != '\0' ? "." : "", name);
		parse->rc = -KAP_INVAL;
	} else if (set_key(parse->config, key, value, &parse->fault) != 0) {
		parse->rc = -KAP_INVAL;
	}
	if (parse->rc != 0)
		parse->fault_line = parse->line;
	return 1;
}

/*
 * inih's line reader, counting lines and refusing those it would cut. inih
 * takes an indented line for more of the value above it; here it is a line
 * like any other.
 */
static char *
read_line(char *text, int size, void *stream)
{
	struct parse *parse = stream;
	char *got = fgets(text, size, parse->file);

	if (got == NULL)
		return NULL;
	parse->line++;
	memmove(text, text + strspn(text, " \t"),
	    strlen(text + strspn(text, " \t")) + 1);
	if (strchr(text, '\n') == NULL && !feof(parse->file) &&
	    parse->rc == 0) {
		kap_errmsg_set(&parse->fault, "line is over %d bytes",
		    size - 1);
		parse->rc = -KAP_INVAL;
		parse->fault_line = parse->line;
	}
	return got;
}

static bool
is_address(const char *host)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, host, bytes) == 1 ||
	    inet_pton(AF_INET6, host, bytes) == 1;
}

static int
check_listen(const char *key, const char *listen, struct kap_errmsg *msg)
{
	char host[CONFIG_TEXT_MAX];
	uint16_t port;

	if (config_split_listen(listen, host, sizeof(host), &port) == 0 &&
	    is_address(host))
		return 0;
	kap_errmsg_set(msg, "%s must be address:port, not '%s'", key, listen);
	return -KAP_INVAL;
}

static int
check_asterisk_url(const char *url, struct kap_errmsg *msg)
{
	static const char scheme[] = "http://";
	char host[CONFIG_TEXT_MAX];
	uint16_t port;

	if (strncmp(url, scheme, strlen(scheme)) != 0) {
		kap_errmsg_set(msg, "asterisk.url must begin with http:// "
		    "(for TLS, put a stunnel before Asterisk)");
		return -KAP_INVAL;
	}
	if (config_split_listen(url + strlen(scheme), host, sizeof(host),
	        &port) == 0 &&
	    (is_address(host) || strcmp(host, "localhost") == 0))
		return 0;
	kap_errmsg_set(msg, "asterisk.url must be http://address:port, by "
	    "address or localhost, not '%s'", url);
	return -KAP_INVAL;
}

/* Rules that span keys, and forms that the table can't say. */
static int
check_whole(const struct config *config, struct kap_errmsg *msg)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		const char *text = (const char *)config + keys[i].offset;

		if ((keys[i].flags & KEY_REQUIRED) != 0 && *text == '\0') {
			fault(msg, &keys[i], "is required");
			return -KAP_INVAL;
		}
	}
	if (check_listen("http.listen", config->http.listen, msg) != 0 ||
	    check_listen("admin.listen", config->admin.listen, msg) != 0)
		return -KAP_INVAL;
	if (strcmp(config->http.listen, config->admin.listen) == 0) {
		kap_errmsg_set(msg, "http.listen and admin.listen are the same");
		return -KAP_INVAL;
	}
	if (strlen(config->auth.pepper) < 32) {
		kap_errmsg_set(msg,
		    "auth.pepper must have 32 characters or more");
		return -KAP_INVAL;
	}
	if (config->calls.ring_timeout_min_s > config->calls.ring_timeout_max_s) {
		kap_errmsg_set(msg, "calls.ring_timeout_min_s is over "
		    "calls.ring_timeout_max_s");
		return -KAP_INVAL;
	}
	if ((config->http.tls_certificate[0] == '\0') !=
	    (config->http.tls_key[0] == '\0')) {
		kap_errmsg_set(msg, "http.tls_certificate and http.tls_key go "
		    "together");
		return -KAP_INVAL;
	}
	if (config->webhook.retry_min_ms > config->webhook.retry_max_ms ||
	    config->asterisk.reconnect_min_ms >
	    config->asterisk.reconnect_max_ms) {
		kap_errmsg_set(msg, "a ..._min_ms is over its ..._max_ms");
		return -KAP_INVAL;
	}
	return check_asterisk_url(config->asterisk.url, msg);
}

static int
load_stream(struct config *config, FILE *file, const char *name,
    struct kap_errmsg *msg)
{
	struct parse parse = { .config = config, .file = file };
	struct kap_errmsg whole;
	int bad_line;

	config_init(config);
	bad_line = ini_parse_stream(read_line, &parse, on_pair, &parse);
	if (parse.rc == 0 && bad_line != 0) {
		kap_errmsg_set(&parse.fault, "is neither [section] nor key = "
		    "value");
		parse.fault_line = bad_line;
		parse.rc = -KAP_INVAL;
	}
	if (parse.rc != 0) {
		kap_errmsg_set(msg, "%s:%d: %s", name, parse.fault_line,
		    parse.fault.text);
		return parse.rc;
	}
	if (check_whole(config, &whole) != 0) {
		kap_errmsg_set(msg, "%s: %s", name, whole.text);
		return -KAP_INVAL;
	}
	return 0;
}

int
config_load(struct config *config, const char *path, struct kap_errmsg *msg)
{
	FILE *file = fopen(path, "re");
	int rc;

	if (file == NULL) {
		kap_errmsg_set(msg, "%s: %s", path, strerror(errno));
		return -KAP_NOENT;
	}
	rc = load_stream(config, file, path, msg);
	(void)fclose(file);
	return rc;
}

int
config_load_fd(struct config *config, int fd, struct kap_errmsg *msg)
{
	const int copy = dup(fd);
	FILE *file;
	int rc;

	if (copy < 0 || (file = fdopen(copy, "r")) == NULL) {
		kap_errmsg_set(msg, "configuration descriptor: %s",
		    strerror(errno));
		if (copy >= 0)
			(void)close(copy);
		return -KAP_IO;
	}
	rewind(file);
	rc = load_stream(config, file, "configuration", msg);
	(void)fclose(file);
	return rc;
}

static void
dump_value(const struct config *config, const struct config_key *key,
    FILE *out, bool with_secrets)
{
	const char *at = (const char *)config + key->offset;
	const int64_t number = key->type == KEY_INT || key->type == KEY_CHOICE
	    ? *(const int64_t *)(const void *)at : 0;

	switch (key->type) {
	case KEY_TEXT:
		if ((key->flags & KEY_SECRET) != 0 && !with_secrets &&
		    *at != '\0')
			at = "********";
		(void)fputs(at, out);
		break;
	case KEY_INT:
		(void)fprintf(out, "%" PRId64, number);
		break;
	case KEY_BOOL:
		(void)fputs(*(const bool *)at ? "true" : "false", out);
		break;
	case KEY_CHOICE:
		(void)fputs(key->choices[number], out);
		break;
	}
}

int
config_dump(const struct config *config, FILE *out, bool with_secrets,
    bool with_help)
{
	const char *section = "";

	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct config_key *key = &keys[i];

		if (strcmp(section, key->section) != 0) {
			(void)fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "",
			    key->section);
			section = key->section;
		}
		if (with_help)
			(void)fprintf(out, "; %s\n", key->help);
		(void)fprintf(out, "%s = ", key->name);
		dump_value(config, key, out, with_secrets);
		(void)fputc('\n', out);
	}
	return fflush(out) == 0 && !ferror(out) ? 0 : -KAP_IO;
}

int
config_split_listen(const char *listen, char *host_out, size_t host_size,
    uint16_t *port_out)
{
	const char *colon = strrchr(listen, ':');
	const char *host = listen;
	size_t host_len;
	char *end;
	unsigned long port;

	if (colon == NULL || colon == listen)
		return -KAP_INVAL;
	host_len = (size_t)(colon - listen);
	if (*host == '[' && host_len > 2 && host[host_len - 1] == ']') {
		host++;
		host_len -= 2;
	}
	if (host_len >= host_size || colon[1] < '0' || colon[1] > '9')
		return -KAP_INVAL;
	port = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || port == 0 || port > 65535)
		return -KAP_INVAL;
	memcpy(host_out, host, host_len);
	host_out[host_len] = '\0';
	*port_out = (uint16_t)port;
	return 0;
}
