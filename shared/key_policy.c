/*
 * See key_policy.h. Knows no store, no database and no request.
 */
#include "key_policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "phone_number.h"

#define DIGITS "0123456789"
#define DIGITS_MAX 15
#define WRITTEN_MAX 64 /* bytes of a number with all that parts its digits */
#define NO_MATCH (-1)

static const struct {
	unsigned max;
	unsigned digits_min;
	const char *what;
} kinds[] = {
	[KEY_POLICY_CALLER_IDS] = { KEY_POLICY_CALLER_IDS_MAX, 7,
	    "caller ids" },
	[KEY_POLICY_PREFIXES] = { KEY_POLICY_PREFIXES_MAX, 1, "prefixes" },
};

/* The number of no digits: as a prefix, that of everything. */
#define PACKED_NONE 1

static uint64_t
add_digit(uint64_t packed, char digit)
{
	return packed * 10 + (uint64_t)(digit - '0');
}

/* len  up to DIGITS_MAX */
static uint64_t
pack(const char *digits, size_t len)
{
	uint64_t packed = PACKED_NONE;

	for (size_t i = 0; i < len; i++)
		packed = add_digit(packed, digits[i]);
	return packed;
}

static bool
has(const uint64_t *list, unsigned max, uint64_t packed)
{
	for (unsigned i = 0; i < max && list[i] != 0; i++) {
		if (list[i] == packed)
			return true;
	}
	return false;
}

/* Take a number, in any form that the API takes one in. */
static uint64_t
take_number(const char *text, size_t len)
{
	char written[WRITTEN_MAX + 1];
	char number[CALL_NUMBER_SIZE];

	if (len > WRITTEN_MAX)
		return 0;
	memcpy(written, text, len);
	written[len] = '\0';
	return phone_number_normalise(written, number) == 0 ?
	    pack(number, strlen(number)) : 0;
}

static uint64_t
take_prefix(const char *text, size_t len)
{
	while (len > 0 && *text == ' ') {
		text++;
		len--;
	}
	while (len > 0 && text[len - 1] == ' ')
		len--;
	if (len > 0 && *text == '+') {
		text++;
		len--;
	}
	if (len < kinds[KEY_POLICY_PREFIXES].digits_min || len > DIGITS_MAX ||
	    strspn(text, DIGITS) < len)
		return 0;
	return pack(text, len);
}

/* Take one entry, which has `len` bytes; 0 where it is not one. */
static uint64_t
take_entry(enum key_policy_list kind, const char *text, size_t len)
{
	return kind == KEY_POLICY_CALLER_IDS ? take_number(text, len) :
	    take_prefix(text, len);
}

int
key_policy_parse(enum key_policy_list kind, const char *text, uint64_t *out,
    struct kap_errmsg *msg)
{
	const unsigned max = kinds[kind].max;
	unsigned count = 0;

	memset(out, 0, max * sizeof(*out));
	if (text[strspn(text, " ")] == '\0')
		return 0;
	for (;; text++) {
		const size_t len = strcspn(text, ",");
		const uint64_t packed = take_entry(kind, text, len);

		if (packed == 0) {
			kap_errmsg_set(msg, "'%.*s' is not %u to %d digits",
			    len < 40 ? (int)len : 40, text,
			    kinds[kind].digits_min, DIGITS_MAX);
			return -KAP_INVAL;
		}
		if (!has(out, count, packed)) {
			if (count == max) {
				kap_errmsg_set(msg, "more than %u %s", max,
				    kinds[kind].what);
				return -KAP_TOOBIG;
			}
			out[count++] = packed;
		}
		text += len;
		if (*text == '\0')
			return 0;
	}
}

void
key_policy_format(enum key_policy_list kind, const uint64_t *list,
    char out[KEY_POLICY_TEXT_SIZE])
{
	size_t used = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < kinds[kind].max && list[i] != 0; i++) {
		char digits[24];

		/* without the 1 before them */
		(void)snprintf(digits, sizeof(digits), "%" PRIu64, list[i]);
		(void)snprintf(out + used, KEY_POLICY_TEXT_SIZE - used,
		    "%s%s", i > 0 ? "," : "", digits + 1);
		used += strlen(out + used);
	}
}

void
key_policy_bar(struct key_policy *policy)
{
	memset(policy, 0, sizeof(*policy));
	policy->deny[0] = PACKED_NONE;
}

bool
key_policy_allows_caller_id(const struct key_policy *policy,
    const char *caller_id)
{
	const size_t len = strlen(caller_id);

	return policy->caller_ids[0] == 0 || (len <= DIGITS_MAX &&
	    has(policy->caller_ids, KEY_POLICY_CALLER_IDS_MAX,
	        pack(caller_id, len)));
}

/* How long the longest prefix is that the number has of the list. */
static int
longest_match(const uint64_t list[KEY_POLICY_PREFIXES_MAX], const char *number)
{
	uint64_t packed = PACKED_NONE;
	int longest = NO_MATCH;

	for (int len = 0; len <= DIGITS_MAX; len++) {
		if (has(list, KEY_POLICY_PREFIXES_MAX, packed))
			longest = len;
		if (number[len] == '\0')
			break;
		packed = add_digit(packed, number[len]);
	}
	return longest;
}

bool
key_policy_allows_number(const struct key_policy *policy, const char *number)
{
	/* what allows all is the shortest of prefixes */
	const int allow = policy->allow[0] == 0 ? 0 :
	    longest_match(policy->allow, number);

	return allow != NO_MATCH && allow > longest_match(policy->deny, number);
}

bool
key_policy_allows_call(const struct key_policy *policy, uint32_t live)
{
	return policy->max_calls == 0 || live < policy->max_calls;
}
