/*
 * One line an event: time, level, role[pid], message, key=value fields; or
 * the same as a JSON object a line. Lines go to standard error in one write,
 * so those of several processes never mix.
 *
 *     log_info("call ended", LOG_S("call", id), LOG_I("cause", cause));
 *
 * The level is tested before any argument is evaluated. Never logs an API
 * key, a pepper or a password: callers don't pass them.
 */
#ifndef KAP_LOG_H
#define KAP_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
};
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
enum log_field_kind { LOG_FIELD_STRING, LOG_FIELD_INT };

struct log_field {
	const char *key;
	enum log_field_kind kind;
	const char *string;
	int64_t number;
};

#define LOG_S(key_, value_) \
	((struct log_field){ (key_), LOG_FIELD_STRING, (value_), 0 })
#define LOG_I(key_, value_) \
	((struct log_field){ (key_), LOG_FIELD_INT, NULL, (int64_t)(value_) })

#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)

/* The first of the variadic arguments is the message, the rest are fields. */
#define LOG_AT(level, ...)                                                  \
	do {                                                                \
		if (log_enabled(level))                                     \
			LOG_WRITE_(level, __VA_ARGS__, LOG_END_);           \
	} while (0)
#define LOG_END_ ((struct log_field){ NULL, LOG_FIELD_INT, NULL, 0 })
#define LOG_WRITE_(level, message, ...)                                     \
	log_write((level), (message), (const struct log_field[]){ __VA_ARGS__ })

/*
 * Set what stands before each message. Call it at start-up, and again when the
 * configuration changes, from the one thread that logs; until the first call
 * lines bear the role "?" and level info.
 *
 * role  "master", "worker", …; borrowed for ever
 * slot  the worker's slot, or -1 for a role without slots
 */
void log_init(const char *role, int slot, enum log_level level,
    enum log_format format);

bool log_enabled(enum log_level level);

/* Use the macros. `fields` ends with an entry whose key is NULL. */
void log_write(enum log_level level, const char *message,
    const struct log_field *fields);

/*
 * A broken invariant, or a start-up that can't go on: log an error and exit
 * with status 1. Never for what a peer sent.
 */
_Noreturn void fatal(const char *fmt, ...) KAP_PRINTF(1, 2);

#endif
