/*
 * The strict head check. Knows no socket, allocates nothing, and keeps no
 * state between two heads.
 */
#include "gate_head.h"

#include <string.h>
#include <strings.h>

enum char_class {
	CHAR_TOKEN = 1,  /* RFC 9110 5.6.2: names of methods and fields */
	CHAR_TARGET = 2, /* RFC 3986: path and query, "%" included */
	CHAR_HOST = 4,
	CHAR_ID = 8      /* of a request id that may be taken over */
};

static const unsigned char classes[256] = {
	['!'] = CHAR_TOKEN | CHAR_TARGET,
	['#'] = CHAR_TOKEN,
	['$'] = CHAR_TOKEN | CHAR_TARGET,
	['%'] = CHAR_TOKEN | CHAR_TARGET,
	['&'] = CHAR_TOKEN | CHAR_TARGET,
	['\''] = CHAR_TOKEN | CHAR_TARGET,
	['('] = CHAR_TARGET,
	[')'] = CHAR_TARGET,
	['*'] = CHAR_TOKEN | CHAR_TARGET,
	['+'] = CHAR_TOKEN | CHAR_TARGET,
	[','] = CHAR_TARGET,
	['-'] = CHAR_TOKEN | CHAR_TARGET | CHAR_HOST | CHAR_ID,
	['.'] = CHAR_TOKEN | CHAR_TARGET | CHAR_HOST | CHAR_ID,
	['/'] = CHAR_TARGET,
	['0' ... '9'] = CHAR_TOKEN | CHAR_TARGET | CHAR_HOST | CHAR_ID,
	[':'] = CHAR_TARGET | CHAR_HOST,
	[';'] = CHAR_TARGET,
	['='] = CHAR_TARGET,
	['?'] = CHAR_TARGET,
	['@'] = CHAR_TARGET,
	['A' ... 'Z'] = CHAR_TOKEN | CHAR_TARGET | CHAR_HOST | CHAR_ID,
	['['] = CHAR_HOST,
	[']'] = CHAR_HOST,
	['^'] = CHAR_TOKEN,
	['_'] = CHAR_TOKEN | CHAR_TARGET | CHAR_HOST | CHAR_ID,
	['`'] = CHAR_TOKEN,
	['a' ... 'z'] = CHAR_TOKEN | CHAR_TARGET | CHAR_HOST | CHAR_ID,
	['|'] = CHAR_TOKEN,
	['~'] = CHAR_TOKEN | CHAR_TARGET,
};

static const char *const method_names[] = {
	[GATE_METHOD_GET] = "GET",
	[GATE_METHOD_HEAD] = "HEAD",
	[GATE_METHOD_POST] = "POST",
	[GATE_METHOD_PUT] = "PUT",
	[GATE_METHOD_DELETE] = "DELETE",
	[GATE_METHOD_PATCH] = "PATCH",
	[GATE_METHOD_OPTIONS] = "OPTIONS",
	[GATE_METHOD_UNKNOWN] = "?",
};

struct slice {
	const char *text;
	size_t len;
};

struct field {
	struct slice name;
	struct slice value;
	size_t line_at; /* in the head */
	size_t line_len; /* with its CRLF */
};

/* One head being checked. */
struct check {
	char *text;
	size_t len;
	const struct gate_limits *limits;
	struct gate_head *head;
	struct gate_refusal *refusal;
	unsigned fields;
	unsigned hosts;
	unsigned expects;
	unsigned connections;
	bool asked_close;
	bool asked_keep_alive;
};

static int
refuse(struct gate_refusal *refusal, int status, const char *text)
{
	refusal->status = status;
	refusal->text = text;
	return -KAP_PROTO;
}

static bool
is_all(struct slice s, enum char_class class)
{
	for (size_t i = 0; i < s.len; i++) {
		if ((classes[(unsigned char)s.text[i]] & class) == 0)
			return false;
	}
	return s.len > 0;
}

static bool
is_word(struct slice s, const char *word)
{
	return s.len == strlen(word) &&
	    strncasecmp(s.text, word, s.len) == 0;
}

const char *
gate_method_name(enum gate_method method)
{
	return method_names[method];
}

/* Judge the byte at `i`. 1: the head ends behind it, 0: go on, < 0: refused. */
static int
scan_byte(const char *text, size_t i, struct gate_refusal *refusal)
{
	switch (text[i]) {
	case '\0':
		return refuse(refusal, 400, "NUL in the request head");
	case '\n':
		if (i == 0 || text[i - 1] != '\r')
			return refuse(refusal, 400, "Line feed without "
			    "carriage return in the request head");
		if (i == 1)
			return refuse(refusal, 400, "Empty request line");
		return i >= 3 && text[i - 2] == '\n' ? 1 : 0;
	default:
		if (i > 0 && text[i - 1] == '\r')
			return refuse(refusal, 400, "Carriage return without "
			    "line feed in the request head");
		return 0;
	}
}

int
gate_head_find_end(const char *text, size_t len,
    const struct gate_limits *limits, size_t *scanned, size_t *len_out,
    struct gate_refusal *refusal)
{
	const size_t end = len < limits->head_bytes ? len :
	    limits->head_bytes;

	for (size_t i = *scanned; i < end; i++) {
		const int found = scan_byte(text, i, refusal);

		if (found < 0)
			return found;
		if (found == 1) {
			*scanned = i + 1;
			*len_out = i + 1;
			return 0;
		}
	}
	*scanned = end;
	if (len >= limits->head_bytes)
		return refuse(refusal, 431, "Request head is too large");
	return -KAP_AGAIN;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte that "%xx" at `at` stands for, or -1. */
static int
escaped_byte(struct slice target, size_t at)
{
	int high, low;

	if (target.len - at < 3)
		return -1;
	high = hex_value(target.text[at + 1]);
	low = hex_value(target.text[at + 2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/*
 * A path's escapes may hide nothing that changes what the path means: no
 * control character, no separator, no dot.
 */
static bool
is_good_escape(int byte, bool in_query)
{
	if (byte <= 0)
		return false;
	if (in_query)
		return true;
	return byte >= 0x20 && byte != 0x7f && byte != '/' && byte != '\\' &&
	    byte != '.';
}

static bool
is_dot_segment(struct slice s)
{
	return (s.len == 1 && s.text[0] == '.') ||
	    (s.len == 2 && s.text[0] == '.' && s.text[1] == '.');
}

static bool
has_dot_segment(struct slice path)
{
	size_t from = 1;

	for (size_t i = 1; i <= path.len; i++) {
		if (i < path.len && path.text[i] != '/')
			continue;
		if (is_dot_segment((struct slice){ path.text + from,
		        i - from }))
			return true;
		from = i + 1;
	}
	return false;
}

/* Origin form only: a path, then maybe a query. */
static bool
is_good_target(struct slice target, size_t *path_len_out)
{
	size_t path_len = target.len;

	if (!is_all(target, CHAR_TARGET) || target.text[0] != '/')
		return false;
	if (target.len > 1 && target.text[1] == '/')
		return false; /* would read as an authority */
	for (size_t i = 0; i < target.len; i++) {
		if (target.text[i] == '?' && path_len == target.len)
			path_len = i;
		if (target.text[i] == '%' &&
		    !is_good_escape(escaped_byte(target, i), i > path_len))
			return false;
	}
	*path_len_out = path_len;
	return !has_dot_segment((struct slice){ target.text, path_len });
}

static enum gate_method
find_method(struct slice name)
{
	for (int i = 0; i < GATE_METHOD_UNKNOWN; i++) {
		/* methods are case-sensitive */
		if (strlen(method_names[i]) == name.len &&
		    memcmp(method_names[i], name.text, name.len) == 0)
			return (enum gate_method)i;
	}
	return GATE_METHOD_UNKNOWN;
}

static int
check_version(struct check *check, struct slice version)
{
	const char *text = version.text;

	if (version.len != 8 || memcmp(text, "HTTP/", 5) != 0 ||
	    text[5] < '0' || text[5] > '9' || text[6] != '.' ||
	    text[7] < '0' || text[7] > '9')
		return refuse(check->refusal, 400, "Malformed request line");
	if (text[5] != '1' || text[7] > '1')
		return refuse(check->refusal, 505,
		    "HTTP version is not supported");
	check->head->http10 = text[7] == '0';
	return 0;
}

/* method SP target SP version, and nothing else. */
static int
check_request_line(struct check *check, struct slice line)
{
	const char *end = line.text + line.len;
	const char *space = memchr(line.text, ' ', line.len);
	const char *space2;
	struct slice method, target;
	int rc;

	if (space == NULL)
		return refuse(check->refusal, 400, "Malformed request line");
	method = (struct slice){ line.text, (size_t)(space - line.text) };
	if (!is_all(method, CHAR_TOKEN))
		return refuse(check->refusal, 400, "Malformed request method");
	check->head->method = find_method(method);
	target.text = space + 1;
	space2 = memchr(target.text, ' ', (size_t)(end - target.text));
	if (space2 == NULL)
		return refuse(check->refusal, 400, "Malformed request line");
	target.len = (size_t)(space2 - target.text);
	rc = check_version(check, (struct slice){ space2 + 1,
	    (size_t)(end - space2 - 1) });
	if (rc != 0)
		return rc;
	if (!is_good_target(target, &check->head->path_len))
		return refuse(check->refusal, 400, "Malformed request target");
	check->head->path_at = (size_t)(target.text - check->text);
	return 0;
}

static int
on_host(struct check *check, const struct field *field)
{
	if (check->hosts++ > 0)
		return refuse(check->refusal, 400, "More than one Host");
	if (!is_all(field->value, CHAR_HOST))
		return refuse(check->refusal, 400, "Malformed Host");
	return 0;
}

static int
on_content_length(struct check *check, const struct field *field)
{
	const struct slice value = field->value;
	uint64_t length = 0;

	if (check->head->has_length)
		return refuse(check->refusal, 400,
		    "More than one Content-Length");
	if (value.len == 0 || value.len > 18)
		return refuse(check->refusal, 400,
		    "Malformed Content-Length");
	for (size_t i = 0; i < value.len; i++) {
		if (value.text[i] < '0' || value.text[i] > '9')
			return refuse(check->refusal, 400,
			    "Malformed Content-Length");
		length = length * 10 + (uint64_t)(value.text[i] - '0');
	}
	check->head->has_length = true;
	check->head->length = length;
	check->head->framing_at = field->line_at;
	check->head->framing_len = field->line_len;
	return 0;
}

static int
on_transfer_encoding(struct check *check, const struct field *field)
{
	if (check->head->chunked)
		return refuse(check->refusal, 400,
		    "More than one Transfer-Encoding");
	if (!is_word(field->value, "chunked"))
		return refuse(check->refusal, 400,
		    "Transfer-Encoding is not supported");
	check->head->chunked = true;
	check->head->framing_at = field->line_at;
	check->head->framing_len = field->line_len;
	return 0;
}

static int
on_expect(struct check *check, const struct field *field)
{
	if (check->expects++ > 0 || !is_word(field->value, "100-continue"))
		return refuse(check->refusal, 417,
		    "Expectation is not supported");
	return 0;
}

static struct slice
trimmed(struct slice s)
{
	while (s.len > 0 && (s.text[0] == ' ' || s.text[0] == '\t')) {
		s.text++;
		s.len--;
	}
	while (s.len > 0 && (s.text[s.len - 1] == ' ' ||
	    s.text[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* A list of options; evhttp understands only one that stands alone. */
static int
on_connection(struct check *check, const struct field *field)
{
	struct slice rest = field->value;

	while (rest.len > 0) {
		const char *comma = memchr(rest.text, ',', rest.len);
		const size_t len = comma != NULL ?
		    (size_t)(comma - rest.text) : rest.len;
		const struct slice option =
		    trimmed((struct slice){ rest.text, len });

		if (is_word(option, "close"))
			check->asked_close = true;
		else if (is_word(option, "keep-alive"))
			check->asked_keep_alive = true;
		rest.text += len;
		rest.len -= len;
		if (rest.len > 0) {
			rest.text++;
			rest.len--;
		}
	}
	return 0;
}

static int
on_request_id(struct check *check, const struct field *field)
{
	char *id = check->head->request_id;

	if (id[0] != '\0' || field->value.len > GATE_REQUEST_ID_MAX ||
	    !is_all(field->value, CHAR_ID))
		return 0;
	memcpy(id, field->value.text, field->value.len);
	id[field->value.len] = '\0';
	return 0;
}

/* The fields that decide how a request is read. */
static const struct {
	const char *name;
	int (*check)(struct check *check, const struct field *field);
} field_checks[] = {
	{ "Host", on_host },
	{ "Content-Length", on_content_length },
	{ "Transfer-Encoding", on_transfer_encoding },
	{ "Expect", on_expect },
	{ "Connection", on_connection },
	{ "X-Request-Id", on_request_id },
};

/* Cut a line (without its CRLF) into name and value. */
static int
parse_field(struct check *check, size_t at, size_t len, struct field *field)
{
	char *text = check->text + at;
	size_t name_len = 0;

	while (name_len < len &&
	    (classes[(unsigned char)text[name_len]] & CHAR_TOKEN) != 0)
		name_len++;
	if (name_len == 0 || name_len == len || text[name_len] != ':')
		return refuse(check->refusal, 400, "Malformed header name");
	for (size_t i = name_len + 1;
	    i < len && (text[i] == ' ' || text[i] == '\t'); i++)
		text[i] = ' ';
	field->name = (struct slice){ text, name_len };
	field->value = trimmed((struct slice){ text + name_len + 1,
	    len - name_len - 1 });
	field->line_at = at;
	field->line_len = len + 2;
	for (size_t i = 0; i < field->value.len; i++) {
		const unsigned char c = (unsigned char)field->value.text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return refuse(check->refusal, 400,
			    "Control character in a header");
	}
	return 0;
}

static int
check_field(struct check *check, size_t at, size_t len)
{
	struct field field;
	int rc;

	if (++check->fields > check->limits->fields)
		return refuse(check->refusal, 431, "Too many header fields");
	rc = parse_field(check, at, len, &field);
	if (rc != 0)
		return rc;
	for (size_t i = 0;
	    i < sizeof(field_checks) / sizeof(field_checks[0]); i++) {
		if (is_word(field.name, field_checks[i].name))
			return field_checks[i].check(check, &field);
	}
	return 0;
}

/* What the fields mean together. */
static int
check_whole(struct check *check)
{
	struct gate_head *head = check->head;
	const bool bodiless = head->method == GATE_METHOD_GET ||
	    head->method == GATE_METHOD_HEAD;

	head->expects_continue = check->expects > 0 && !head->http10;
	head->wants_close = check->asked_close ||
	    (head->http10 && !check->asked_keep_alive);
	if (check->hosts == 0 && !head->http10)
		return refuse(check->refusal, 400, "No Host");
	if (head->chunked && head->has_length)
		return refuse(check->refusal, 400,
		    "Both Transfer-Encoding and Content-Length");
	if (head->chunked && head->http10)
		return refuse(check->refusal, 400,
		    "Transfer-Encoding in HTTP/1.0");
	if (bodiless && (head->chunked || head->length > 0))
		return refuse(check->refusal, 400,
		    "This method takes no body");
	if (head->method == GATE_METHOD_UNKNOWN)
		return refuse(check->refusal, 405, "Method not allowed");
	return 0;
}

int
gate_head_check(char *text, size_t len, const struct gate_limits *limits,
    struct gate_head *head_out, struct gate_refusal *refusal)
{
	struct check check = { .text = text, .len = len, .limits = limits,
		.head = head_out, .refusal = refusal };
	size_t at = 0;

	memset(head_out, 0, sizeof(*head_out));
	head_out->method = GATE_METHOD_UNKNOWN;
	while (at + 2 < len) {
		/* each line ends in CRLF, and no CR stands elsewhere */
		const char *end = memchr(text + at, '\r', len - at);
		size_t line_len;
		int rc;

		if (end == NULL)
			return refuse(refusal, 400, "Malformed request head");
		line_len = (size_t)(end - text) - at;
		if (at == 0)
			rc = check_request_line(&check,
			    (struct slice){ text, line_len });
		else
			rc = check_field(&check, at, line_len);
		if (rc != 0)
			return rc;
		at += line_len + 2;
	}
	return check_whole(&check);
}
