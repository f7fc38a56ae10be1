/*
 * The configuration: one table of keys (config.c) drives the parser,
 * --check-config, --dump-config, the man page and a reload. The master reads
 * and checks the file and hands its dump to every child in a sealed memfd, so
 * a file that was broken meanwhile never reaches a process.
 */
#ifndef KAP_CONFIG_H
#define KAP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "errors.h"

#define CONFIG_TEXT_MAX 512 /* longest value, bytes, with its NUL */

enum config_durability {
	DURABILITY_NORMAL,
	DURABILITY_FULL,
	DURABILITY_RELAXED /* never synced: for tests, no configuration has it */
};

/* app_amd's parameters, in its order; the ranges stand in config.c. */
struct config_amd {
	int64_t initial_silence_ms;
	int64_t greeting_ms;
	int64_t after_greeting_silence_ms;
	int64_t total_analysis_ms;
	int64_t min_word_length_ms;
	int64_t between_words_silence_ms;
	int64_t maximum_number_of_words;
	int64_t silence_threshold;
	int64_t maximum_word_length_ms;
};

struct config {
	struct {
		int64_t id; /* this node's number, 1..999, part of call ids */
		char run_dir[CONFIG_TEXT_MAX];
		char data_dir[CONFIG_TEXT_MAX];
	} node;
	struct {
		int64_t level;  /* enum log_level */
		int64_t format; /* enum log_format */
	} log;
	struct {
		char listen[CONFIG_TEXT_MAX]; /* address:port */
		int64_t workers;              /* 1..CHILD_MAX_WORKERS */
		int64_t max_connections;      /* of one worker */
		int64_t head_timeout_s;
		int64_t body_timeout_s;
		int64_t idle_timeout_s;
		int64_t max_body_bytes;
		char tls_certificate[CONFIG_TEXT_MAX]; /* empty: plain HTTP */
		char tls_key[CONFIG_TEXT_MAX];
	} http;
	struct {
		char listen[CONFIG_TEXT_MAX];
	} admin;
	struct {
		int64_t map_size_mb;
		int64_t durability; /* enum config_durability */
		int64_t commit_window_ms;
	} store;
	struct {
		char dsn[CONFIG_TEXT_MAX];
	} postgres;
	struct {
		char pepper[CONFIG_TEXT_MAX];
		int64_t cache_fresh_s;
		int64_t cache_stale_s;
		int64_t cache_unknown_s;
	} auth;
	struct {
		char default_allow[CONFIG_TEXT_MAX]; /* key_policy_parse's */
		char default_deny[CONFIG_TEXT_MAX];
	} keys;
	struct {
		char url[CONFIG_TEXT_MAX]; /* http://host:port */
		char user[CONFIG_TEXT_MAX];
		char password[CONFIG_TEXT_MAX];
		char recording_dir[CONFIG_TEXT_MAX];
		char sounds_dirs[CONFIG_TEXT_MAX]; /* with commas between */
		int64_t command_timeout_ms;
		int64_t ping_interval_ms;
		int64_t reconnect_min_ms;
		int64_t reconnect_max_ms;
	} asterisk;
	struct {
		int64_t originate_timeout_ms;
		int64_t ring_timeout_s;
		int64_t ring_timeout_min_s;
		int64_t ring_timeout_max_s;
		int64_t max_duration_s;
		int64_t max_duration_max_s;
	} calls;
	struct config_amd amd;
	struct {
		int64_t timeout_ms; /* 0: no sign of the carrier is waited for */
		int64_t circuit_failures; /* 0: no trunk ever rests */
		int64_t circuit_rest_s;
		int64_t circuit_rest_max_s;
	} trunks;
	struct {
		int64_t keep_s;
	} idempotency;
	struct {
		bool allow_http;
		bool allow_private;
		bool allow_loopback;
		int64_t timeout_ms;
		int64_t concurrency;
		int64_t per_host;
		int64_t retry_min_ms;
		int64_t retry_max_ms;
	} webhook;
	struct {
		char dir[CONFIG_TEXT_MAX]; /* empty: <data_dir>/recordings */
		int64_t retry_ms;
		int64_t give_up_s;
	} recorder;
	struct {
		char engines[CONFIG_TEXT_MAX]; /* "google,gtts,espeak" */
		char dir[CONFIG_TEXT_MAX]; /* empty: <data_dir>/speech */
		char asterisk_dir[CONFIG_TEXT_MAX]; /* empty: the same */
		int64_t cache_max_mb;
		char google_url[CONFIG_TEXT_MAX];
		char google_key[CONFIG_TEXT_MAX];
		char google_token_file[CONFIG_TEXT_MAX];
		char gtts_url[CONFIG_TEXT_MAX];
		int64_t timeout_ms;
		char espeak_program[CONFIG_TEXT_MAX];
		char ffmpeg_program[CONFIG_TEXT_MAX];
		int64_t concurrency;
	} speech;
	struct {
		int64_t ready_timeout_s;
		int64_t drain_timeout_s;
		int64_t heartbeat_timeout_s;
	} supervision;
};

/* Every key at its default. */
void config_init(struct config *config);

/*
 * Read an INI file over the defaults and check it whole.
 *
 * path    the file; "-" is not special
 * msg     the first fault, with its line: "kaphila.conf:12: http.workers …"
 *
 * Returns 0; -KAP_NOENT (no such file), -KAP_INVAL (unknown key, wrong type,
 * out of range, contradicting keys). `config` is undefined on error. Blocks
 * on the file.
 */
KAP_MUST_USE int config_load(struct config *config, const char *path,
    struct kap_errmsg *msg);

/* The same from an open descriptor, rewound first; it stays open. */
KAP_MUST_USE int config_load_fd(struct config *config, int fd,
    struct kap_errmsg *msg);

/*
 * Find one key in a file that may be wrong elsewhere: for a message about its
 * value, or for the run directory of a master whose file is broken by now.
 *
 * key        "node.run_dir"
 * value_out  its text, unchecked; CONFIG_TEXT_MAX bytes; may be NULL
 *
 * Returns its line, the last if there are several; 0 where the file leaves it
 * out or can't be read: nothing is written then. Blocks on the file.
 */
int config_peek(const char *path, const char *key, char *value_out);

/*
 * The range of a whole-number key: for a request that may say the same. Any
 * process; the key must be there.
 */
void config_range(const char *section, const char *name, int64_t *min_out,
    int64_t *max_out);

/* When a changed key is taken over. */
enum config_reach {
	CONFIG_AT_ONCE,         /* by a reload, in every process */
	CONFIG_AT_CHILD_START,  /* by each child that starts after it */
	CONFIG_AT_MASTER_START, /* when the master starts next */
	CONFIG_REACH_COUNT
};

/* "now", "child start", "master start". */
const char *config_reach_name(enum config_reach reach);

/* One key that differs. All of it is borrowed for the call. */
struct config_change {
	const char *section;
	const char *name;
	enum config_reach reach;
	const char *from; /* as in a file; a secret reads "********" */
	const char *to;
};

typedef void config_change_fn(void *ctx, const struct config_change *change);

/*
 * Call back for each key that differs, in the table's order.
 *
 * callback  may be NULL
 *
 * Returns how many there are. Never blocks.
 */
unsigned config_compare(const struct config *from, const struct config *to,
    config_change_fn *callback, void *ctx);

/*
 * Copy the keys of one reach. Keys that a rule ties together have the same
 * reach, so of two checked configurations a checked one comes out.
 */
void config_take(struct config *to, const struct config *from,
    enum config_reach reach);

/*
 * Write every key with its value, in a form config_load reads back.
 *
 * with_secrets  false: passwords and the pepper read "********"
 * with_help     comment lines before each key: what it means, what it may be,
 *               and when a change of it is taken over
 *
 * Returns 0 or -KAP_IO.
 */
KAP_MUST_USE int config_dump(const struct config *config, FILE *out,
    bool with_secrets, bool with_help);

/*
 * Write the list of all keys in mdoc(7), for kaphila.conf(5). Returns 0 or
 * -KAP_IO.
 */
KAP_MUST_USE int config_dump_man(FILE *out);

/*
 * Split "address:port" or "[v6]:port". `host_out` has room for the text.
 * Returns 0 or -KAP_INVAL.
 */
KAP_MUST_USE int config_split_listen(const char *listen, char *host_out,
    size_t host_size, uint16_t *port_out);

#endif
