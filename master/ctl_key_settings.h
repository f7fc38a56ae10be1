/*
 * What a key can be limited to and has as its defaults, as `kaphilactl keys
 * create` and `keys set` are told of it: options, their checks, and what writes
 * them.
 */
#ifndef KAP_CTL_KEY_SETTINGS_H
#define KAP_CTL_KEY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include <libpq-fe.h>

#include "master/ctl_args.h"
#include "shared/clock.h"
#include "shared/config.h"
#include "shared/errors.h"
#include "shared/key_policy.h"
#include "shared/webhook_secret.h"

/* In the order of the statements' parameters. */
enum ctl_key_setting {
	KEY_SET_RATE_LIMIT,
	KEY_SET_EXPIRES,
	KEY_SET_CALLER_ID,
	KEY_SET_CALLER_IDS, /* from here on: of schema 0005 */
	KEY_SET_ALLOW,
	KEY_SET_DENY,
	KEY_SET_WEBHOOK_URL,
	KEY_SET_MAX_CALLS,
	KEY_SET_SECRET, /* from here on: of schema 0006 */
	KEY_SET_SECRET_BEFORE,
	KEY_SET_COUNT
};

/* One of them has two names. */
#define CTL_KEY_OPTION_COUNT (KEY_SET_COUNT + 1)

struct ctl_key_settings {
	const char *given[CTL_KEY_OPTION_COUNT]; /* as it stands in argv */
	/* checked, for the statement; NULL: not given, "": none */
	const char *values[KEY_SET_COUNT];
	char rate_limit[24];
	char expires[CLOCK_ISO_SIZE];
	char caller_id[KEY_POLICY_TEXT_SIZE];
	char caller_ids[KEY_POLICY_TEXT_SIZE];
	char allow[KEY_POLICY_TEXT_SIZE];
	char deny[KEY_POLICY_TEXT_SIZE];
	char max_calls[24];
	char secret[WEBHOOK_SECRET_TEXT_SIZE]; /* made here; "": none was */
};

/* Empty them, and fill in the options that take them out of argv. */
void ctl_key_settings_init(struct ctl_key_settings *settings,
    struct ctl_option options[CTL_KEY_OPTION_COUNT]);

/*
 * Check what the options took. "none" takes away what was set; an empty text
 * is refused.
 *
 * config  what webhooks may be, and what a new key may call where `is_new`
 *         and nothing was given
 *
 * Returns false after a complaint.
 */
KAP_MUST_USE bool ctl_key_settings_check(struct ctl_key_settings *settings,
    const struct config *config, bool is_new);

/*
 * A new key that was told of no webhook secret gets one, if the database has
 * room for it. Returns false after a complaint.
 */
KAP_MUST_USE bool ctl_key_settings_add_secret(
    struct ctl_key_settings *settings, PGconn *conn);

/* Whether any of them was given. */
bool ctl_key_settings_any(const struct ctl_key_settings *settings);

/*
 * Change a key to them, inside the caller's transaction; those that were not
 * given stay as they are, and their columns may be missing. Returns false
 * after a complaint.
 *
 * id  api_keys.id as text
 */
KAP_MUST_USE bool ctl_key_settings_write(
    const struct ctl_key_settings *settings, PGconn *conn, const char *id);

#endif
