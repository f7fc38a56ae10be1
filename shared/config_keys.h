/*
 * What config.c (the table, and what is made from it), config_file.c (the
 * reading of a file) and config_dump.c know of a key. Nobody else includes
 * this.
 */
#ifndef KAP_CONFIG_KEYS_H
#define KAP_CONFIG_KEYS_H

#include <stdint.h>

#include "config.h"

enum config_key_type { KEY_TEXT, KEY_INT, KEY_BOOL, KEY_CHOICE };

/* Without KEY_RELOADABLE or KEY_FIXED a key is read when a child starts. */
enum config_key_flag {
	KEY_SECRET = 1,
	KEY_RELOADABLE = 2, /* CONFIG_AT_ONCE */
	KEY_REQUIRED = 4,
	KEY_FIXED = 8 /* CONFIG_AT_MASTER_START */
};

struct config_key {
	const char *section;
	const char *name;
	enum config_key_type type;
	unsigned flags;
	size_t offset; /* in struct config */
	const char *fallback;
	int64_t min;
	int64_t max;
	const char *const *choices; /* NULL-terminated, for KEY_CHOICE */
	const char *help;
};

extern const struct config_key config_keys[];
extern const size_t config_key_count;

/* The index of a key, or config_key_count if there is none such. */
size_t config_key_find(const char *section, const char *name);

/*
 * Set a key from text. Returns 0, or -KAP_INVAL with "http.workers must …";
 * nothing is set then.
 */
KAP_MUST_USE int config_key_set(struct config *config,
    const struct config_key *key, const char *value, struct kap_errmsg *msg);

/* The value as it stands in a file; a secret reads "********" without them. */
void config_key_format(const struct config *config,
    const struct config_key *key, bool with_secrets,
    char out[CONFIG_TEXT_MAX]);

enum config_reach config_key_reach(const struct config_key *key);

#endif
