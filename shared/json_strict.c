/*
 * The validator: a loop over the text with a stack of its own, bounded by the
 * depth. Keys are noted as they come and compared at the end, sorted, so that
 * a text of nothing but keys costs no more than sorting it.
 */
#include "json_strict.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What may stand at the place that is looked at. */
enum wanted {
	WANT_VALUE,
	WANT_FIRST_VALUE, /* or the end of the array */
	WANT_KEY,
	WANT_FIRST_KEY,   /* or the end of the object */
	WANT_NEXT,        /* a comma, or the end of the array or object */
	WANT_END
};

/* A key of some object of the text: what stands between its quotes. */
struct key {
	uint32_t object; /* objects are numbered as they begin */
	uint32_t hash;   /* of its characters, unescaped */
	uint32_t at;
	uint32_t len;
};

struct level {
	bool is_object;
	uint32_t object;
};

struct scan {
	const unsigned char *text;
	size_t len;
	size_t at;
	unsigned max_depth;
	unsigned depth;
	struct level levels[JSON_STRICT_DEPTH_MAX];
	uint32_t objects;
	uint32_t values;
	struct key *keys;
	size_t key_count;
	size_t key_room;
	struct kap_errmsg *msg;
};

static int
fail_at(struct scan *scan, int rc, size_t at, const char *what)
{
	kap_errmsg_set(scan->msg, "%s at byte %zu", what, at);
	return rc;
}

static int
fail(struct scan *scan, const char *what)
{
	if (scan->at >= scan->len)
		what = "unexpected end";
	return fail_at(scan, -KAP_INVAL, scan->at, what);
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* The byte at the scan's place, 0 at the end: NUL is valid nowhere. */
static unsigned char
peek(const struct scan *scan)
{
	return scan->at < scan->len ? scan->text[scan->at] : 0;
}

static void
skip_space(struct scan *scan)
{
	unsigned char c = peek(scan);

	while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
		scan->at++;
		c = peek(scan);
	}
}

static size_t
skip_digits(struct scan *scan)
{
	const size_t from = scan->at;

	while (is_digit(peek(scan)))
		scan->at++;
	return scan->at - from;
}

/* Only an exponent can take a number out of a double's range. */
static bool
fits_double(const struct scan *scan, size_t from)
{
	char number[JSON_STRICT_NUMBER_MAX + 1];

	memcpy(number, scan->text + from, scan->at - from);
	number[scan->at - from] = '\0';
	return isfinite(strtod(number, NULL));
}

static int
scan_number(struct scan *scan)
{
	const size_t from = scan->at;
	bool has_exponent = false;

	if (peek(scan) == '-')
		scan->at++;
	if (peek(scan) == '0')
		scan->at++;
	else if (skip_digits(scan) == 0)
		return fail(scan, "malformed number");
	if (peek(scan) == '.') {
		scan->at++;
		if (skip_digits(scan) == 0)
			return fail(scan, "malformed number");
	}
	if (peek(scan) == 'e' || peek(scan) == 'E') {
		has_exponent = true;
		scan->at++;
		if (peek(scan) == '+' || peek(scan) == '-')
			scan->at++;
		if (skip_digits(scan) == 0)
			return fail(scan, "malformed number");
	}
	if (scan->at - from > JSON_STRICT_NUMBER_MAX)
		return fail_at(scan, -KAP_TOOBIG, from, "number too long");
	if (has_exponent && !fits_double(scan, from))
		return fail_at(scan, -KAP_TOOBIG, from,
		    "number out of range");
	return 0;
}

static int
scan_word(struct scan *scan, const char *word)
{
	const size_t len = strlen(word);

	if (scan->len - scan->at < len ||
	    memcmp(scan->text + scan->at, word, len) != 0)
		return fail(scan, "unexpected character");
	scan->at += len;
	return 0;
}

static int
hex_value(unsigned char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The four hexadecimal digits at `at`, or -1. */
static int32_t
hex4(const unsigned char *text, size_t len, size_t at)
{
	int32_t value = 0;

	if (len < 4 || at > len - 4)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		const int digit = hex_value(text[at + i]);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static bool
is_high_surrogate(int32_t unit)
{
	return unit >= 0xd800 && unit <= 0xdbff;
}

static bool
is_low_surrogate(int32_t unit)
{
	return unit >= 0xdc00 && unit <= 0xdfff;
}

/* "\uXXXX", its pair included; at the "u". */
static int
scan_unicode_escape(struct scan *scan)
{
	const size_t from = scan->at - 1;
	const int32_t unit = hex4(scan->text, scan->len, scan->at + 1);

	if (unit < 0)
		return fail_at(scan, -KAP_INVAL, from, "malformed escape");
	if (unit == 0)
		return fail_at(scan, -KAP_INVAL, from, "NUL in a string");
	scan->at += 5;
	if (is_low_surrogate(unit))
		return fail_at(scan, -KAP_INVAL, from, "lone surrogate");
	if (!is_high_surrogate(unit))
		return 0;
	if (scan->len - scan->at < 6 || scan->text[scan->at] != '\\' ||
	    scan->text[scan->at + 1] != 'u' ||
	    !is_low_surrogate(hex4(scan->text, scan->len, scan->at + 2)))
		return fail_at(scan, -KAP_INVAL, from, "lone surrogate");
	scan->at += 6;
	return 0;
}

static int
scan_escape(struct scan *scan)
{
	scan->at++; /* the backslash */
	switch (peek(scan)) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		scan->at++;
		return 0;
	case 'u':
		return scan_unicode_escape(scan);
	default:
		return fail(scan, "malformed escape");
	}
}

/* Bytes of the well-formed UTF-8 sequence at `p`, 0 if it isn't one. */
static size_t
utf8_len(const unsigned char *p, size_t len)
{
	const unsigned char lead = p[0];
	unsigned char low = 0x80, high = 0xbf; /* of the second byte */
	size_t need;

	if (lead >= 0xc2 && lead <= 0xdf)
		need = 2;
	else if (lead >= 0xe0 && lead <= 0xef)
		need = 3;
	else if (lead >= 0xf0 && lead <= 0xf4)
		need = 4;
	else
		return 0;
	if (lead == 0xe0)
		low = 0xa0; /* else overlong */
	else if (lead == 0xed)
		high = 0x9f; /* else a surrogate */
	else if (lead == 0xf0)
		low = 0x90; /* else overlong */
	else if (lead == 0xf4)
		high = 0x8f; /* else beyond U+10FFFF */
	if (len < need || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < need; i++) {
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	}
	return need;
}

/* From the opening quote to behind the closing one. */
static int
scan_string(struct scan *scan)
{
	scan->at++;
	while (scan->at < scan->len) {
		const unsigned char c = scan->text[scan->at];
		int rc = 0;

		if (c == '"') {
			scan->at++;
			return 0;
		}
		if (c == '\\') {
			rc = scan_escape(scan);
		} else if (c < 0x20) {
			return fail(scan, "control character in a string");
		} else if (c < 0x80) {
			scan->at++;
		} else {
			const size_t n = utf8_len(scan->text + scan->at,
			    scan->len - scan->at);

			if (n == 0)
				return fail(scan, "invalid UTF-8");
			scan->at += n;
		}
		if (rc != 0)
			return rc;
	}
	return fail(scan, "unexpected end");
}

/*
 * The next character of a validated string, unescaped, as a code point. Raw
 * UTF-8 and escapes come out the same.
 */
static uint32_t
next_char(const unsigned char *text, size_t *at)
{
	static const char from[] = "bfnrt";
	static const char to[] = "\b\f\n\r\t";
	const unsigned char c = text[(*at)++];
	const char *found;
	int32_t unit, low;
	unsigned char e;

	if (c >= 0x80) {
		const unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
		uint32_t code = c & (0x3fU >> more);

		for (unsigned i = 0; i < more; i++)
			code = code << 6 | (text[(*at)++] & 0x3fU);
		return code;
	}
	if (c != '\\')
		return c;
	e = text[(*at)++];
	if (e != 'u') {
		found = strchr(from, e);
		return found != NULL ? (unsigned char)to[found - from] : e;
	}
	unit = hex4(text, SIZE_MAX, *at);
	*at += 4;
	if (!is_high_surrogate(unit))
		return (uint32_t)unit;
	low = hex4(text, SIZE_MAX, *at + 2);
	*at += 6;
	return 0x10000U + ((uint32_t)(unit - 0xd800) << 10) +
	    (uint32_t)(low - 0xdc00);
}

/*
 * FNV-1a over the characters. It only spares comparisons: keys made to
 * collide are compared in full, which the sort can bear.
 */
static uint32_t
hash_key(const unsigned char *text, size_t at, size_t end)
{
	uint32_t hash = 2166136261U;

	while (at < end)
		hash = (hash ^ next_char(text, &at)) * 16777619U;
	return hash;
}

static int
note_key(struct scan *scan, size_t at, size_t len)
{
	struct key *key;

	if (scan->key_count == scan->key_room) {
		const size_t room = scan->key_room > 0 ?
		    scan->key_room * 2 : 32;
		struct key *keys = realloc(scan->keys, room * sizeof(*keys));

		if (keys == NULL)
			return fail_at(scan, -KAP_NOMEM, at,
			    "out of memory");
		scan->keys = keys;
		scan->key_room = room;
	}
	key = &scan->keys[scan->key_count++];
	key->object = scan->levels[scan->depth - 1].object;
	key->hash = hash_key(scan->text, at, at + len);
	key->at = (uint32_t)at;
	key->len = (uint32_t)len;
	return 0;
}

/* Order by object, then by what the key reads as. */
static int
compare_keys(const void *left, const void *right, void *arg)
{
	const struct key *a = left;
	const struct key *b = right;
	const unsigned char *text = arg;
	size_t i = a->at, j = b->at;
	const size_t i_end = i + a->len, j_end = j + b->len;

	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	while (i < i_end && j < j_end) {
		const uint32_t x = next_char(text, &i);
		const uint32_t y = next_char(text, &j);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return (i < i_end) - (j < j_end);
}

static int
check_keys(struct scan *scan)
{
	/* qsort_r takes no const, and gives none of it away */
	unsigned char *text = (unsigned char *)(uintptr_t)scan->text;

	if (scan->key_count < 2)
		return 0;
	qsort_r(scan->keys, scan->key_count, sizeof(scan->keys[0]),
	    compare_keys, text);
	for (size_t i = 1; i < scan->key_count; i++) {
		const struct key *a = &scan->keys[i - 1];
		const struct key *b = &scan->keys[i];

		if (compare_keys(a, b, text) == 0)
			return fail_at(scan, -KAP_INVAL,
			    (a->at > b->at ? a->at : b->at) - 1U,
			    "duplicate key");
	}
	return 0;
}

static int
open_level(struct scan *scan, bool is_object, enum wanted *wanted)
{
	struct level *level;

	if (scan->depth == scan->max_depth)
		return fail_at(scan, -KAP_TOOBIG, scan->at,
		    "nested too deeply");
	level = &scan->levels[scan->depth++];
	level->is_object = is_object;
	if (is_object)
		level->object = scan->objects++;
	scan->at++;
	*wanted = is_object ? WANT_FIRST_KEY : WANT_FIRST_VALUE;
	return 0;
}

static void
close_level(struct scan *scan, enum wanted *wanted)
{
	scan->depth--;
	scan->at++;
	*wanted = scan->depth > 0 ? WANT_NEXT : WANT_END;
}

static int
scan_value(struct scan *scan, enum wanted *wanted)
{
	const unsigned char c = peek(scan);

	if (++scan->values > JSON_STRICT_VALUES_MAX)
		return fail_at(scan, -KAP_TOOBIG, scan->at,
		    "too many values");
	*wanted = scan->depth > 0 ? WANT_NEXT : WANT_END;
	switch (c) {
	case '{':
		return open_level(scan, true, wanted);
	case '[':
		return open_level(scan, false, wanted);
	case '"':
		return scan_string(scan);
	case 't':
		return scan_word(scan, "true");
	case 'f':
		return scan_word(scan, "false");
	case 'n':
		return scan_word(scan, "null");
	default:
		if (c == '-' || is_digit(c))
			return scan_number(scan);
		return fail(scan, "unexpected character");
	}
}

/* A key and its colon. */
static int
scan_key(struct scan *scan, enum wanted *wanted)
{
	const size_t from = scan->at + 1;
	int rc;

	if (peek(scan) != '"')
		return fail(scan, "unexpected character");
	rc = scan_string(scan);
	if (rc != 0)
		return rc;
	rc = note_key(scan, from, scan->at - 1 - from);
	if (rc != 0)
		return rc;
	skip_space(scan);
	if (peek(scan) != ':')
		return fail(scan, "unexpected character");
	scan->at++;
	*wanted = WANT_VALUE;
	return 0;
}

/* Behind a value: a comma, or the end of what it is in. */
static int
scan_next(struct scan *scan, enum wanted *wanted)
{
	const bool in_object = scan->levels[scan->depth - 1].is_object;
	const unsigned char c = peek(scan);

	if (c == (in_object ? '}' : ']')) {
		close_level(scan, wanted);
		return 0;
	}
	if (c != ',')
		return fail(scan, "unexpected character");
	scan->at++;
	*wanted = in_object ? WANT_KEY : WANT_VALUE;
	return 0;
}

static int
scan_step(struct scan *scan, enum wanted *wanted)
{
	const unsigned char c = peek(scan);

	switch (*wanted) {
	case WANT_FIRST_VALUE:
		if (c == ']') {
			close_level(scan, wanted);
			return 0;
		}
		return scan_value(scan, wanted);
	case WANT_VALUE:
		return scan_value(scan, wanted);
	case WANT_FIRST_KEY:
		if (c == '}') {
			close_level(scan, wanted);
			return 0;
		}
		return scan_key(scan, wanted);
	case WANT_KEY:
		return scan_key(scan, wanted);
	case WANT_NEXT:
		return scan_next(scan, wanted);
	case WANT_END:
		break;
	}
	return fail(scan, "text behind the value");
}

static int
validate(struct scan *scan)
{
	enum wanted wanted = WANT_VALUE;

	skip_space(scan);
	while (wanted != WANT_END || scan->at < scan->len) {
		const int rc = scan_step(scan, &wanted);

		if (rc != 0)
			return rc;
		skip_space(scan);
	}
	return check_keys(scan);
}

int
json_strict_parse(const char *text, size_t len, unsigned max_depth,
    cJSON **json_out, struct kap_errmsg *msg)
{
	struct scan scan = { .text = (const unsigned char *)text, .len = len,
		.max_depth = max_depth, .msg = msg };
	cJSON *json;
	int rc;

	if (len >= UINT32_MAX || max_depth == 0 ||
	    max_depth > JSON_STRICT_DEPTH_MAX) {
		kap_errmsg_set(msg, "text or depth is over the limit");
		return -KAP_TOOBIG;
	}
	rc = validate(&scan);
	free(scan.keys);
	if (rc != 0)
		return rc;
	json = cJSON_ParseWithLength(text, len);
	if (json == NULL) {
		/* it has passed, so nothing else can be wrong with it */
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	*json_out = json;
	return 0;
}
