/*
 * Reads a configuration file over the defaults and checks it whole. A fault
 * is told with the line that it is in, also one that spans keys, so the line
 * of each key is remembered while the file is read.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <ini.h>

#include "config_keys.h"
#include "key_policy.h"
#include "speech_cache.h"

#define PEPPER_MIN 32 /* characters */
#define SPEECH_DIR_MAX 180 /* of a play's media, CALL_PLAY_MEDIA_SIZE */

/* State of one parse; inih calls back for each pair. */
struct parse {
	struct config *config;
	FILE *file;
	int line; /* of the pair being read */
	int rc;
	int fault_line; /* 0: none */
	struct kap_errmsg fault;
	int *lines; /* where each key stands; 0: nowhere */
};

static int
on_pair(void *arg, const char *section, const char *name, const char *value)
{
	struct parse *parse = arg;
	const size_t key = config_key_find(section, name);

	if (parse->rc != 0)
		return 1; /* the first fault is the one that is told */
	if (key == config_key_count) {
		kap_errmsg_set(&parse->fault, "unknown key %s%s%s", section,
		    *section != '\0' ? "." : "", name);
		parse->rc = -KAP_INVAL;
	} else {
		parse->lines[key] = parse->line;
		parse->rc = config_key_set(parse->config, &config_keys[key],
		    value, &parse->fault);
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

/* Whether "section.name" is that one. */
static bool
is_key(const char *key, const char *section, const char *name)
{
	const size_t len = strlen(section);

	return strncmp(key, section, len) == 0 && key[len] == '.' &&
	    strcmp(key + len + 1, name) == 0;
}

/* Where a key stands; 0 if it is left at its default. */
static int
line_of(const struct parse *parse, const char *key)
{
	for (size_t i = 0; i < config_key_count; i++) {
		if (is_key(key, config_keys[i].section, config_keys[i].name))
			return parse->lines[i];
	}
	return 0;
}

static int blame(struct parse *parse, const char *key, const char *other,
    const char *fmt, ...) KAP_PRINTF(4, 5);

/*
 * A fault of a key, or of two together (else other is NULL): its line is that
 * of the later one, for that is where it came about.
 */
static int
blame(struct parse *parse, const char *key, const char *other,
    const char *fmt, ...)
{
	const int other_line = other != NULL ? line_of(parse, other) : 0;
	va_list ap;

	parse->fault_line = line_of(parse, key);
	if (other_line > parse->fault_line)
		parse->fault_line = other_line;
	va_start(ap, fmt);
	(void)vsnprintf(parse->fault.text, sizeof(parse->fault.text), fmt,
	    ap);
	va_end(ap);
	parse->rc = -KAP_INVAL;
	return parse->rc;
}

static bool
is_address(const char *host)
{
	unsigned char bytes[16];

	return inet_pton(AF_INET, host, bytes) == 1 ||
	    inet_pton(AF_INET6, host, bytes) == 1;
}

static int
check_listen(struct parse *parse, const char *key, const char *listen)
{
	char host[CONFIG_TEXT_MAX];
	uint16_t port;

	if (config_split_listen(listen, host, sizeof(host), &port) == 0 &&
	    is_address(host))
		return 0;
	return blame(parse, key, NULL, "%s must be address:port, not '%s'",
	    key, listen);
}

static int
check_asterisk_url(struct parse *parse)
{
	static const char key[] = "asterisk.url";
	static const char scheme[] = "http://";
	const char *url = parse->config->asterisk.url;
	char host[CONFIG_TEXT_MAX];
	uint16_t port;

	if (strncmp(url, scheme, strlen(scheme)) != 0)
		return blame(parse, key, NULL, "asterisk.url must begin with "
		    "http:// (for TLS, put a stunnel before Asterisk)");
	if (config_split_listen(url + strlen(scheme), host, sizeof(host),
	        &port) == 0 &&
	    (is_address(host) || strcmp(host, "localhost") == 0))
		return 0;
	/* what stands before an '@' may be a password: it isn't shown */
	if (strchr(url, '@') != NULL)
		return blame(parse, key, NULL, "asterisk.url must be "
		    "http://address:port; user and password have keys of "
		    "their own");
	return blame(parse, key, NULL, "asterisk.url must be "
	    "http://address:port, by address or localhost, not '%s'", url);
}

static int
check_required(struct parse *parse)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		const char *text = (const char *)parse->config + key->offset;

		if ((key->flags & KEY_REQUIRED) == 0 || *text != '\0')
			continue;
		kap_errmsg_set(&parse->fault, "%s.%s is required",
		    key->section, key->name);
		parse->fault_line = parse->lines[i];
		parse->rc = -KAP_INVAL;
		return parse->rc;
	}
	return 0;
}

static int
check_listeners(struct parse *parse)
{
	const struct config *config = parse->config;

	if (check_listen(parse, "http.listen", config->http.listen) != 0 ||
	    check_listen(parse, "admin.listen", config->admin.listen) != 0)
		return -KAP_INVAL;
	if (strcmp(config->http.listen, config->admin.listen) == 0)
		return blame(parse, "http.listen", "admin.listen",
		    "http.listen and admin.listen are the same");
	if ((config->http.tls_certificate[0] == '\0') !=
	    (config->http.tls_key[0] == '\0'))
		return blame(parse, "http.tls_certificate", "http.tls_key",
		    "http.tls_certificate and http.tls_key go together");
	return 0;
}

/* What is least must not be over what is greatest. */
static int
check_pairs(struct parse *parse)
{
	const struct config *config = parse->config;
	const struct {
		const char *least;
		const char *most;
		int64_t least_value;
		int64_t most_value;
	} pairs[] = {
		{ "calls.ring_timeout_min_s", "calls.ring_timeout_max_s",
		    config->calls.ring_timeout_min_s,
		    config->calls.ring_timeout_max_s },
		{ "webhook.retry_min_ms", "webhook.retry_max_ms",
		    config->webhook.retry_min_ms,
		    config->webhook.retry_max_ms },
		{ "asterisk.reconnect_min_ms", "asterisk.reconnect_max_ms",
		    config->asterisk.reconnect_min_ms,
		    config->asterisk.reconnect_max_ms },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (pairs[i].least_value > pairs[i].most_value)
			return blame(parse, pairs[i].least, pairs[i].most,
			    "%s is over %s", pairs[i].least, pairs[i].most);
	}
	return 0;
}

static int
check_engines(struct parse *parse)
{
	static const char *const names[] = { "google", "gtts", "espeak" };
	const char *at = parse->config->speech.engines;

	while (*at != '\0') {
		const size_t len = strcspn(at, ", ");
		bool known = len == 0;

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			known = known || (strlen(names[i]) == len &&
			    strncmp(names[i], at, len) == 0);
		if (!known)
			return blame(parse, "speech.engines", NULL,
			    "speech.engines must be a list of google, gtts "
			    "and espeak, not '%s'",
			    parse->config->speech.engines);
		at += len;
		at += strspn(at, ", ");
	}
	return 0;
}

/* It becomes a part of what Asterisk is asked to play. */
static bool
is_speech_dir(const char *dir)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";

	return dir[0] == '/' && strspn(dir, allowed) == strlen(dir) &&
	    strlen(dir) <= SPEECH_DIR_MAX;
}

static int
check_speech_dir(struct parse *parse, const char *key, const char *dir)
{
	if (dir[0] == '\0' || is_speech_dir(dir))
		return 0;
	return blame(parse, key, NULL, "%s must be an absolute path of at "
	    "most %d letters, digits, '/', '.', '_' and '-'", key,
	    SPEECH_DIR_MAX);
}

/* The folder under data_dir, where there is speech and no other is set. */
static int
check_default_dir(struct parse *parse)
{
	const struct config *config = parse->config;
	char dir[SPEECH_PATH_SIZE];

	if (config->speech.engines[0] == '\0' ||
	    config->speech.dir[0] != '\0' ||
	    config->speech.asterisk_dir[0] != '\0')
		return 0;
	speech_cache_dir(config, dir);
	if (is_speech_dir(dir))
		return 0;
	return blame(parse, "node.data_dir", NULL, "speech.dir must be set: "
	    "Asterisk can't be asked to play from %.100s", dir);
}

/* An empty one is an engine that isn't there. */
static int
check_program(struct parse *parse, const char *key, const char *path)
{
	if (path[0] == '\0' || path[0] == '/')
		return 0;
	return blame(parse, key, NULL, "%s must be an absolute path", key);
}

static int
check_speech(struct parse *parse)
{
	const struct config *config = parse->config;

	if (check_engines(parse) != 0 ||
	    check_speech_dir(parse, "speech.dir", config->speech.dir) != 0 ||
	    check_speech_dir(parse, "speech.asterisk_dir",
	        config->speech.asterisk_dir) != 0 ||
	    check_default_dir(parse) != 0 ||
	    check_program(parse, "speech.espeak_program",
	        config->speech.espeak_program) != 0)
		return -KAP_INVAL;
	return check_program(parse, "speech.ffmpeg_program",
	    config->speech.ffmpeg_program);
}

static int
check_prefixes(struct parse *parse, const char *key, const char *text)
{
	uint64_t list[KEY_POLICY_PREFIXES_MAX];
	struct kap_errmsg why;

	if (key_policy_parse(KEY_POLICY_PREFIXES, text, list, &why) == 0)
		return 0;
	return blame(parse, key, NULL, "%s must be a list of prefixes with "
	    "commas between: %s", key, why.text);
}

static int
check_keys(struct parse *parse)
{
	const struct config *config = parse->config;

	if (check_prefixes(parse, "keys.default_allow",
	        config->keys.default_allow) != 0)
		return -KAP_INVAL;
	return check_prefixes(parse, "keys.default_deny",
	    config->keys.default_deny);
}

/* Rules that span keys, and forms that the table can't say. */
static int
check_whole(struct parse *parse)
{
	if (check_required(parse) != 0 || check_listeners(parse) != 0 ||
	    check_pairs(parse) != 0 || check_speech(parse) != 0 ||
	    check_keys(parse) != 0)
		return -KAP_INVAL;
	if (strlen(parse->config->auth.pepper) < PEPPER_MIN)
		return blame(parse, "auth.pepper", NULL, "auth.pepper must "
		    "have %d characters or more", PEPPER_MIN);
	return check_asterisk_url(parse);
}

/* Read the file into parse->config; the fault stands in `parse`. */
static int
parse_stream(struct parse *parse)
{
	int bad_line;

	config_init(parse->config);
	errno = 0;
	bad_line = ini_parse_stream(read_line, parse, on_pair, parse);
	if (ferror(parse->file)) {
		kap_errmsg_set(&parse->fault, "%s", strerror(errno));
		parse->fault_line = 0;
		parse->rc = -KAP_IO;
	} else if (parse->rc == 0 && bad_line != 0) {
		kap_errmsg_set(&parse->fault, "is neither [section] nor key = "
		    "value");
		parse->fault_line = bad_line;
		parse->rc = -KAP_INVAL;
	}
	return parse->rc;
}

static int
load_stream(struct config *config, FILE *file, const char *name,
    struct kap_errmsg *msg)
{
	struct parse parse = { .config = config, .file = file,
		.lines = calloc(config_key_count, sizeof(*parse.lines)) };

	if (parse.lines == NULL) {
		kap_errmsg_set(msg, "%s: out of memory", name);
		return -KAP_NOMEM;
	}
	if (parse_stream(&parse) == 0)
		(void)check_whole(&parse);
	free(parse.lines);
	if (parse.rc != 0 && parse.fault_line > 0)
		kap_errmsg_set(msg, "%s:%d: %s", name, parse.fault_line,
		    parse.fault.text);
	else if (parse.rc != 0)
		kap_errmsg_set(msg, "%s: %s", name, parse.fault.text);
	return parse.rc;
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

/* What config_peek looks for, and what it found. */
struct peek {
	struct parse parse; /* for read_line */
	const char *key;
	char *value; /* may be NULL */
	int line;
};

static char *
read_peeked_line(char *text, int size, void *stream)
{
	struct peek *peek = stream;

	return read_line(text, size, &peek->parse);
}

static int
on_peeked_pair(void *arg, const char *section, const char *name,
    const char *value)
{
	struct peek *peek = arg;

	if (!is_key(peek->key, section, name))
		return 1;
	peek->line = peek->parse.line;
	if (peek->value != NULL)
		(void)snprintf(peek->value, CONFIG_TEXT_MAX, "%s", value);
	return 1;
}

int
config_peek(const char *path, const char *key, char *value_out)
{
	struct peek peek = { .key = key, .value = value_out };

	peek.parse.file = fopen(path, "re");
	if (peek.parse.file == NULL)
		return 0;
	(void)ini_parse_stream(read_peeked_line, &peek, on_peeked_pair,
	    &peek);
	(void)fclose(peek.parse.file);
	return peek.line;
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
