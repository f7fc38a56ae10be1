/*
 * The table of configuration keys, and what is made from it key by key:
 * defaults, setting, comparing, taking over. It drives the parser
 * (config_file.c) and the dumps (config_dump.c) too. Opens nothing.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "config_keys.h"
#include "log.h"

static const char *const log_levels[] = { "debug", "info", "warn", "error",
	NULL };
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

const struct config_key config_keys[] = {
	INT(node, id, KEY_FIXED, "1", 1, 999,
	    "number of this node, part of every call id"),
	TEXT(node, run_dir, KEY_FIXED, "/run/kaphila",
	    "sockets, pid file and statistics"),
	TEXT(node, data_dir, KEY_FIXED, "/var/lib/kaphila",
	    "the call table and, by default, the recordings"),

	CHOICE(log, level, KEY_RELOADABLE, "info", log_levels,
	    "least level that is logged"),
	CHOICE(log, format, KEY_RELOADABLE, "text", log_formats,
	    "form of the lines that are logged"),

	TEXT(http, listen, KEY_FIXED, "127.0.0.1:3000",
	    "address:port of the API"),
	INT(http, workers, KEY_FIXED, "2", 1, CHILD_MAX_WORKERS,
	    "worker processes; kaphilactl scale changes their number at once"),
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
	TEXT(http, tls_certificate, KEY_RELOADABLE, "",
	    "certificate chain (PEM), reread by a reload; empty: plain HTTP"),
	TEXT(http, tls_key, KEY_RELOADABLE, "", "its private key (PEM)"),

	TEXT(admin, listen, KEY_FIXED, "127.0.0.1:3001",
	    "address:port of /health and /ready, without keys"),

	INT(store, map_size_mb, KEY_FIXED, "1024", 16, 1048576,
	    "size of the call table's map; a sparse file"),
	CHOICE(store, durability, 0, "normal", durabilities,
	    "what a power cut may undo: the last transaction, or nothing"),
	INT(store, commit_window_ms, 0, "5", 0, 100,
	    "milliseconds that what nobody waits for may wait for others, to "
	    "be written together"),

	TEXT(postgres, dsn, KEY_SECRET | KEY_REQUIRED, "",
	    "libpq connection string, by address or socket path"),

	TEXT(auth, pepper, KEY_SECRET | KEY_REQUIRED | KEY_FIXED, "",
	    "secret under which API keys are hashed, 32 characters or more"),
	INT(auth, cache_fresh_s, KEY_RELOADABLE, "30", 1, 3600,
	    "seconds a cached key is used without a look at PostgreSQL"),
	INT(auth, cache_stale_s, KEY_RELOADABLE, "900", 1, 86400,
	    "seconds a cached key serves while PostgreSQL is away"),
	INT(auth, cache_unknown_s, KEY_RELOADABLE, "5", 0, 300,
	    "seconds an unknown key is remembered as unknown"),

	TEXT(keys, default_allow, KEY_RELOADABLE, "",
	    "prefixes of the numbers that a new key may call, with commas "
	    "between; empty: all. kaphilactl keys create reads it"),
	TEXT(keys, default_deny, KEY_RELOADABLE, "",
	    "prefixes of those that it may not, unless a longer allowed one "
	    "matches"),

	TEXT(asterisk, url, 0, "http://127.0.0.1:8088",
	    "ARI's address, http://address:port"),
	TEXT(asterisk, user, 0, "kaphila", "ARI user"),
	TEXT(asterisk, password, KEY_SECRET, "", "its password"),
	TEXT(asterisk, recording_dir, 0, "/var/spool/asterisk/recording",
	    "where Asterisk's recordings appear on this machine"),
	TEXT(asterisk, sounds_dirs, KEY_RELOADABLE,
	    "/usr/share/asterisk/sounds/en,/usr/share/asterisk/sounds,"
	    "/var/lib/asterisk/sounds/en,/var/lib/asterisk/sounds",
	    "where Asterisk's sounds appear on this machine, with commas "
	    "between; empty, or none there: /play is not checked"),
	INT(asterisk, command_timeout_ms, KEY_RELOADABLE, "5000", 100, 60000,
	    "milliseconds Asterisk has for the answer to a command"),
	INT(asterisk, ping_interval_ms, KEY_RELOADABLE, "3000", 200, 60000,
	    "milliseconds without a word of Asterisk's before a sign of life is "
	    "asked for; two in vain mean a dead link"),
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

	INT(amd, initial_silence_ms, KEY_RELOADABLE, "2500", 100, 10000,
	    "silence at the beginning that means a machine"),
	INT(amd, greeting_ms, KEY_RELOADABLE, "1500", 100, 10000,
	    "speech of this length means a machine"),
	INT(amd, after_greeting_silence_ms, KEY_RELOADABLE, "700", 100, 5000,
	    "silence behind a shorter greeting that means a human"),
	INT(amd, total_analysis_ms, KEY_RELOADABLE, "5000", 500, 20000,
	    "milliseconds until the analysis ends as UNKNOWN"),
	INT(amd, min_word_length_ms, KEY_RELOADABLE, "100", 10, 2000,
	    "shorter sound is no word"),
	INT(amd, between_words_silence_ms, KEY_RELOADABLE, "50", 10, 2000,
	    "silence that ends a word"),
	INT(amd, maximum_number_of_words, KEY_RELOADABLE, "5", 1, 100,
	    "more words mean a machine"),
	INT(amd, silence_threshold, KEY_RELOADABLE, "300", 1, 32767,
	    "mean level of a frame's samples under which it is silence"),
	INT(amd, maximum_word_length_ms, KEY_RELOADABLE, "5000", 100, 10000,
	    "one word of this length means a machine"),

	INT(trunks, timeout_ms, KEY_RELOADABLE, "4000", 0, 60000,
	    "milliseconds a carrier has for its first sign of a call, which "
	    "goes on on the next trunk then; 0: no limit"),
	INT(trunks, circuit_failures, KEY_RELOADABLE, "5", 0, 1000,
	    "failed calls in a row after which a trunk rests; 0: never"),
	INT(trunks, circuit_rest_s, KEY_RELOADABLE, "30", 1, 3600,
	    "seconds it rests, doubled each time the call after it fails"),
	INT(trunks, circuit_rest_max_s, KEY_RELOADABLE, "300", 1, 86400,
	    "longest rest"),

	INT(idempotency, keep_s, KEY_RELOADABLE, "86400", 1, 604800,
	    "seconds that an Idempotency-Key's answer is kept, some 350 bytes "
	    "of the call table each"),

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

	TEXT(speech, engines, 0, "espeak",
	    "engines in the order in which they are tried: google, gtts and "
	    "espeak, separated by commas; empty: no speech"),
	TEXT(speech, dir, 0, "",
	    "where the sound files of spoken texts are written, to be read by "
	    "Asterisk, whose user has to be able to enter every folder on the "
	    "way; empty: <data_dir>/speech"),
	TEXT(speech, asterisk_dir, 0, "",
	    "the same folder as Asterisk sees it; empty: speech.dir"),
	INT(speech, cache_max_mb, KEY_RELOADABLE, "256", 1, 1048576,
	    "size that these files are kept under; what was used in the last "
	    "15 minutes stays, over twice this size in the last minute"),
	TEXT(speech, google_url, 0, "https://texttospeech.googleapis.com",
	    "address of Google Cloud Text-to-Speech"),
	TEXT(speech, google_key, KEY_SECRET, "", "its API key"),
	TEXT(speech, google_token_file, 0, "",
	    "its service account's key file (JSON), in place of an API key"),
	TEXT(speech, gtts_url, 0, "https://translate.google.com",
	    "address of the public endpoint that gTTS uses"),
	INT(speech, timeout_ms, KEY_RELOADABLE, "15000", 100, 120000,
	    "milliseconds an engine has for one text"),
	TEXT(speech, espeak_program, 0, "/usr/bin/espeak-ng",
	    "espeak-ng, by its absolute path"),
	TEXT(speech, ffmpeg_program, 0, "/usr/bin/ffmpeg",
	    "ffmpeg, by its absolute path; it converts what gtts and espeak "
	    "make"),
	INT(speech, concurrency, KEY_RELOADABLE, "4", 1, 256,
	    "texts that a worker makes at once"),

	INT(supervision, ready_timeout_s, KEY_RELOADABLE, "15", 1, 600,
	    "seconds a child has to get ready"),
	INT(supervision, drain_timeout_s, KEY_RELOADABLE, "30", 1, 3600,
	    "seconds a child has to finish what it holds"),
	INT(supervision, heartbeat_timeout_s, KEY_RELOADABLE, "8", 2, 600,
	    "age of a heartbeat at which a child counts as hung"),
};

const size_t config_key_count = sizeof(config_keys) / sizeof(config_keys[0]);

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

int
config_key_set(struct config *config, const struct config_key *key,
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

size_t
config_key_find(const char *section, const char *name)
{
	size_t i = 0;

	while (i < config_key_count &&
	    (strcmp(config_keys[i].section, section) != 0 ||
	    strcmp(config_keys[i].name, name) != 0))
		i++;
	return i;
}

void
config_init(struct config *config)
{
	struct kap_errmsg msg;

	memset(config, 0, sizeof(*config));
	for (size_t i = 0; i < config_key_count; i++) {
		if (config_key_set(config, &config_keys[i],
		    config_keys[i].fallback, &msg) != 0)
			fatal("built-in default: %s", msg.text);
	}
}

void
config_key_format(const struct config *config, const struct config_key *key,
    bool with_secrets, char out[CONFIG_TEXT_MAX])
{
	const char *at = (const char *)config + key->offset;
	const bool hide = (key->flags & KEY_SECRET) != 0 && !with_secrets;

	switch (key->type) {
	case KEY_TEXT:
		(void)snprintf(out, CONFIG_TEXT_MAX, "%s",
		    hide && *at != '\0' ? "********" : at);
		break;
	case KEY_INT:
		(void)snprintf(out, CONFIG_TEXT_MAX, "%" PRId64,
		    *(const int64_t *)(const void *)at);
		break;
	case KEY_BOOL:
		(void)snprintf(out, CONFIG_TEXT_MAX, "%s",
		    *(const bool *)at ? "true" : "false");
		break;
	case KEY_CHOICE:
		(void)snprintf(out, CONFIG_TEXT_MAX, "%s",
		    key->choices[*(const int64_t *)(const void *)at]);
		break;
	}
}

void
config_range(const char *section, const char *name, int64_t *min_out,
    int64_t *max_out)
{
	const size_t i = config_key_find(section, name);

	if (i >= config_key_count)
		fatal("no such key: %s.%s", section, name);
	*min_out = config_keys[i].min;
	*max_out = config_keys[i].max;
}

const char *
config_reach_name(enum config_reach reach)
{
	static const char *const names[CONFIG_REACH_COUNT] = {
		[CONFIG_AT_ONCE] = "now",
		[CONFIG_AT_CHILD_START] = "child start",
		[CONFIG_AT_MASTER_START] = "master start",
	};

	return names[reach];
}

enum config_reach
config_key_reach(const struct config_key *key)
{
	if ((key->flags & KEY_RELOADABLE) != 0)
		return CONFIG_AT_ONCE;
	return (key->flags & KEY_FIXED) != 0 ? CONFIG_AT_MASTER_START :
	    CONFIG_AT_CHILD_START;
}

static bool
is_same(const struct config *a, const struct config *b,
    const struct config_key *key)
{
	char text_a[CONFIG_TEXT_MAX];
	char text_b[CONFIG_TEXT_MAX];

	config_key_format(a, key, true, text_a);
	config_key_format(b, key, true, text_b);
	return strcmp(text_a, text_b) == 0;
}

unsigned
config_compare(const struct config *from, const struct config *to,
    config_change_fn *callback, void *ctx)
{
	unsigned count = 0;

	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		char was[CONFIG_TEXT_MAX];
		char will_be[CONFIG_TEXT_MAX];
		const struct config_change change = { .section = key->section,
			.name = key->name, .reach = config_key_reach(key),
			.from = was, .to = will_be };

		if (is_same(from, to, key))
			continue;
		count++;
		if (callback == NULL)
			continue;
		config_key_format(from, key, false, was);
		config_key_format(to, key, false, will_be);
		callback(ctx, &change);
	}
	return count;
}

void
config_take(struct config *to, const struct config *from,
    enum config_reach reach)
{
	static const size_t sizes[] = {
		[KEY_TEXT] = CONFIG_TEXT_MAX,
		[KEY_INT] = sizeof(int64_t),
		[KEY_BOOL] = sizeof(bool),
		[KEY_CHOICE] = sizeof(int64_t),
	};

	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];

		if (config_key_reach(key) == reach)
			memcpy((char *)to + key->offset,
			    (const char *)from + key->offset,
			    sizes[key->type]);
	}
}
