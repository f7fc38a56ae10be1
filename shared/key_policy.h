/*
 * What a key may do: which caller ids it may show, where it may call, how
 * many calls it may have at a time, and where events go that no request sends
 * elsewhere. All zero, as an older program wrote it: no limits.
 *
 * A caller id or a prefix is a number here: its digits behind a 1, so that
 * leading zeros count ("0049" is 10049). A list ends at its first 0.
 */
#ifndef KAP_KEY_POLICY_H
#define KAP_KEY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define KEY_POLICY_CALLER_IDS_MAX 32
#define KEY_POLICY_PREFIXES_MAX 64 /* of each list */
#define KEY_POLICY_CALLS_MAX 1000000
#define KEY_POLICY_URL_MAX 2048 /* bytes, without the NUL */

/* Room for any list as text. */
#define KEY_POLICY_TEXT_SIZE (KEY_POLICY_PREFIXES_MAX * 16 + 1)

/* The tail of struct api_key, as cached: grows at its own tail only. */
struct key_policy {
	uint32_t max_calls; /* at a time on this node; 0: no limit */
	uint32_t pad;
	uint64_t caller_ids[KEY_POLICY_CALLER_IDS_MAX]; /* none: any */
	uint64_t allow[KEY_POLICY_PREFIXES_MAX];        /* none: any */
	uint64_t deny[KEY_POLICY_PREFIXES_MAX];
	char webhook_url[KEY_POLICY_URL_MAX + 8]; /* empty: none */
};

enum key_policy_list {
	KEY_POLICY_CALLER_IDS, /* 7..15 digits each */
	KEY_POLICY_PREFIXES    /* 1..15 digits each */
};

/*
 * Read a list with commas between; what stands there twice is taken once. A
 * caller id has any form of phone_number.h, a prefix its digits, one leading
 * '+' and spaces around it. An empty text is an empty list.
 *
 * out  has room for the most of that kind; all of it is written
 * msg  why not, as "'12x' is not 1 to 15 digits"; may be NULL
 *
 * Returns 0; -KAP_INVAL (not such a list); -KAP_TOOBIG (too many). `out` is
 * undefined on error. Pure, like all of these.
 */
KAP_MUST_USE int key_policy_parse(enum key_policy_list kind, const char *text,
    uint64_t *out, struct kap_errmsg *msg);

/* A list as it stands in the database: "49,4930". */
void key_policy_format(enum key_policy_list kind, const uint64_t *list,
    char out[KEY_POLICY_TEXT_SIZE]);

/* Allow no call any more: for limits that can't be read. */
void key_policy_bar(struct key_policy *policy);

/* caller_id  digits */
bool key_policy_allows_caller_id(const struct key_policy *policy,
    const char *caller_id);

/*
 * Whether a number may be called: the longest prefix of it that stands in a
 * list decides, and at a tie the deny list does. With an allow list, a number
 * that none of it matches is not allowed.
 *
 * number  digits, as they are dialled
 */
bool key_policy_allows_number(const struct key_policy *policy,
    const char *number);

/* Whether one more call is allowed, with `live` there already. */
bool key_policy_allows_call(const struct key_policy *policy, uint32_t live);

#endif
