/* The strict head check: what passes, what is refused, and with which code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/gate_head.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define POST "POST / HTTP/1.1\r\n" HOST

static const struct gate_limits limits = { .head_bytes = 2048,
	.fields = 16 };

/*
 * Check a head from memory of exactly its size, so that a byte too far is
 * caught. Returns 0, or the status of the refusal, or -1: not yet whole.
 */
static int
check(const char *text, size_t len, struct gate_head *head)
{
	struct gate_refusal refusal = { 0 };
	char *copy = malloc(len > 0 ? len : 1);
	size_t scanned = 0, head_len = 0;
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(head, 0, sizeof(*head));
	rc = gate_head_find_end(copy, len, &limits, &scanned, &head_len,
	    &refusal);
	if (rc == 0)
		rc = gate_head_check(copy, head_len, &limits, head, &refusal);
	free(copy);
	if (rc == -KAP_AGAIN)
		return -1;
	if (rc != 0)
		assert_non_null(refusal.text);
	return rc == 0 ? 0 : refusal.status;
}

struct head_case {
	const char *name;
	const char *text;
	size_t len;
	int expect;
};

#define CASE(name, text, expect) { name, text, sizeof(text) - 1, expect }

static const struct head_case cases[] = {
	CASE("plain GET", GET "\r\n", 0),
	CASE("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0),
	CASE("query", "GET /a?b=%00c HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("query with escapes",
	    "GET /a?b=%2F%2e%01 HTTP/1.1\r\n" HOST "\r\n", 0),
	CASE("POST of nothing", POST "\r\n", 0),
	CASE("POST with length", POST "Content-Length: 5\r\n\r\n", 0),
	CASE("POST chunked", POST "Transfer-Encoding: Chunked\r\n\r\n", 0),
	CASE("GET of length 0", GET "Content-Length: 0\r\n\r\n", 0),
	CASE("value with UTF-8", GET "X: \xc3\xa4\r\n\r\n", 0),
	CASE("value with tabs", GET "X:\t a\tb \t\r\n\r\n", 0),
	CASE("empty value", GET "X:\r\n\r\n", 0),
	CASE("unfinished", GET, -1),
	CASE("nothing", "", -1),
	CASE("CR at the end", "GET / HTTP/1.1\r", -1),

	CASE("empty line first", "\r\n" GET "\r\n", 400),
	CASE("line feed first", "\n" GET "\r\n", 400),
	CASE("bare LF", "GET / HTTP/1.1\n" HOST "\r\n", 400),
	CASE("bare LF in a header", GET "X: a\nY: b\r\n\r\n", 400),
	CASE("bare CR", GET "X: a\rb\r\n\r\n", 400),
	CASE("two CR", GET "X: a\r\r\n\r\n", 400),
	CASE("NUL in a header", GET "X: a\0b\r\n\r\n", 400),
	CASE("NUL in the request line", "GET /\0 HTTP/1.1\r\n", 400),
	CASE("control character", GET "X: a\x01\r\n\r\n", 400),
	CASE("DEL", GET "X: a\x7f\r\n\r\n", 400),
	CASE("obs-fold", GET "X: a\r\n b\r\n\r\n", 400),
	CASE("obs-fold with a tab", GET "X: a\r\n\tb\r\n\r\n", 400),
	CASE("space before the first field",
	    "GET / HTTP/1.1\r\n " HOST "\r\n", 400),
	CASE("space before the colon", POST "Content-Length : 5\r\n\r\n",
	    400),
	CASE("no colon", GET "nonsense\r\n\r\n", 400),
	CASE("no name", GET ": a\r\n\r\n", 400),
	CASE("name with a slash", GET "a/b: c\r\n\r\n", 400),

	CASE("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
	CASE("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
	CASE("two Hosts", GET HOST "\r\n", 400),
	CASE("Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
	CASE("Host with a user", "GET / HTTP/1.1\r\nHost: u@b\r\n\r\n", 400),
	CASE("Host in brackets",
	    "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 0),

	CASE("two lengths", POST "Content-Length: 5\r\n"
	    "Content-Length: 6\r\n\r\n", 400),
	CASE("two lengths alike", POST "Content-Length: 5\r\n"
	    "content-length: 5\r\n\r\n", 400),
	CASE("list of lengths", POST "Content-Length: 5, 5\r\n\r\n", 400),
	CASE("signed length", POST "Content-Length: +5\r\n\r\n", 400),
	CASE("negative length", POST "Content-Length: -5\r\n\r\n", 400),
	CASE("hexadecimal length", POST "Content-Length: 0x5\r\n\r\n", 400),
	CASE("empty length", POST "Content-Length:\r\n\r\n", 400),
	CASE("length of 19 digits", POST
	    "Content-Length: 1000000000000000000\r\n\r\n", 400),
	CASE("other encoding", POST
	    "Transfer-Encoding: xchunked\r\n\r\n", 400),
	CASE("gzip, chunked", POST
	    "Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
	CASE("chunked twice", POST "Transfer-Encoding: chunked\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n", 400),
	CASE("length and chunked", POST "Content-Length: 5\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n", 400),
	CASE("chunked in 1.0", "POST / HTTP/1.0\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n", 400),
	CASE("HEAD with a body", "HEAD / HTTP/1.1\r\n" HOST
	    "Content-Length: 5\r\n\r\n", 400),
	CASE("GET with a body", GET "Content-Length: 5\r\n\r\n", 400),
	CASE("GET chunked", GET "Transfer-Encoding: chunked\r\n\r\n", 400),
	CASE("other expectation", POST "Expect: a\r\n\r\n", 417),
	CASE("two expectations", POST "Expect: 100-continue\r\n"
	    "Expect: 100-continue\r\n\r\n", 417),

	CASE("unknown method", "BREW / HTTP/1.1\r\n" HOST "\r\n", 405),
	CASE("lower-case method", "get / HTTP/1.1\r\n" HOST "\r\n", 405),
	CASE("TRACE", "TRACE / HTTP/1.1\r\n" HOST "\r\n", 405),
	CASE("malformed method", "G@T / HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("malformed method, two Hosts", "BREW / HTTP/1.1\r\n" HOST HOST
	    "\r\n", 400),
	CASE("no method", " / HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("two spaces", "GET  / HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("space behind", "GET / HTTP/1.1 \r\n" HOST "\r\n", 400),
	CASE("no version", "GET /\r\n" HOST "\r\n", 400),
	CASE("one word", "GET\r\n" HOST "\r\n", 400),
	CASE("HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n", 505),
	CASE("HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", 505),
	CASE("HTTP/0.9", "GET / HTTP/0.9\r\n" HOST "\r\n", 505),
	CASE("http/1.1", "GET / http/1.1\r\n" HOST "\r\n", 400),
	CASE("HTTP/1.10", "GET / HTTP/1.10\r\n" HOST "\r\n", 400),
	CASE("HTTP/1.", "GET / HTTP/1.\r\n" HOST "\r\n", 400),

	CASE("absolute target", "GET http://a/ HTTP/1.1\r\n" HOST "\r\n",
	    400),
	CASE("asterisk", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("authority", "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("two slashes", "GET //a HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("dots", "GET /a/../b HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("dots at the end", "GET /a/.. HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("one dot", "GET /./a HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("dots before the query", "GET /..?a HTTP/1.1\r\n" HOST "\r\n",
	    400),
	CASE("dots in a name", "GET /a..b/...c HTTP/1.1\r\n" HOST "\r\n", 0),
	CASE("dots in the query", "GET /a?/../b HTTP/1.1\r\n" HOST "\r\n",
	    0),
	CASE("escaped slash", "GET /a%2fb HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("escaped dot", "GET /%2e%2E HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("escaped backslash", "GET /a%5Cb HTTP/1.1\r\n" HOST "\r\n",
	    400),
	CASE("escaped NUL", "GET /a%00 HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("escaped line feed", "GET /a%0a HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("half an escape", "GET /a%4 HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("no escape", "GET /a%zz HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("good escape", "GET /a%20b HTTP/1.1\r\n" HOST "\r\n", 0),
	CASE("fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("backslash", "GET /a\\b HTTP/1.1\r\n" HOST "\r\n", 400),
	CASE("raw UTF-8", "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400),
};

static void
test_heads_pass_or_are_refused(void **state)
{
	struct gate_head head;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int got = check(cases[i].text, cases[i].len, &head);

		if (got != cases[i].expect)
			fail_msg("%s: %d, expected %d", cases[i].name, got,
			    cases[i].expect);
	}
}

/* However the bytes come, the verdict is the same. */
static void
test_head_byte_by_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct head_case *c = &cases[i];
		struct gate_refusal refusal = { 0 };
		struct gate_head head;
		size_t scanned = 0, head_len = 0;
		char copy[512];
		int rc = -KAP_AGAIN;

		memcpy(copy, c->text, c->len);
		for (size_t n = 1; n <= c->len && rc == -KAP_AGAIN; n++)
			rc = gate_head_find_end(copy, n, &limits, &scanned,
			    &head_len, &refusal);
		if (rc == 0)
			rc = gate_head_check(copy, head_len, &limits, &head,
			    &refusal);
		if (c->expect == -1)
			assert_int_equal(rc, -KAP_AGAIN);
		else if (c->expect == 0)
			assert_int_equal(rc, 0);
		else
			assert_int_equal(refusal.status, c->expect);
	}
}

static void
test_head_limits(void **state)
{
	struct gate_head head;
	char text[4096];
	size_t len;

	(void)state;
	len = (size_t)snprintf(text, sizeof(text), GET);
	for (int i = 0; i < 15; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
		    "X: y\r\n");
	(void)snprintf(text + len, sizeof(text) - len, "\r\n");
	assert_int_equal(check(text, len + 2, &head), 0);
	(void)snprintf(text + len, sizeof(text) - len, "X: y\r\n\r\n");
	assert_int_equal(check(text, len + 8, &head), 431);

	memset(text, 'a', sizeof(text));
	assert_int_equal(check(text, 2047, &head), -1);
	assert_int_equal(check(text, 2048, &head), 431);
	len = (size_t)snprintf(text, sizeof(text), GET "X: %1999s\r\n\r\n",
	    "y");
	assert_true(len < 2048);
	assert_int_equal(check(text, len, &head), 0);
}

static void
test_head_fields_are_told(void **state)
{
	static const char text[] = "PATCH /a/b?c=d HTTP/1.1\r\n" HOST
	    "Content-Length: 0012\r\nExpect: 100-Continue\r\n"
	    "X-Request-Id: a.B-3_\r\nX-Request-Id: other\r\n\r\n";
	struct gate_head head;

	(void)state;
	assert_int_equal(check(text, sizeof(text) - 1, &head), 0);
	assert_int_equal(head.method, GATE_METHOD_PATCH);
	assert_int_equal(head.length, 12);
	assert_true(head.has_length);
	assert_true(head.expects_continue);
	assert_false(head.chunked);
	assert_false(head.wants_close);
	assert_false(head.http10);
	assert_memory_equal(text + head.path_at, "/a/b", 4);
	assert_int_equal(head.path_len, 4);
	assert_memory_equal(text + head.framing_at,
	    "Content-Length: 0012\r\nExpect", 28);
	assert_int_equal(head.framing_len, 22);
	assert_string_equal(head.request_id, "a.B-3_");
}

static void
test_head_connection_options(void **state)
{
	static const struct {
		const char *text;
		bool close;
	} rows[] = {
		{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		    true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE , Close\r\n"
		    "\r\n", true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\n"
		    "Connection: close\r\n\r\n", true },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n",
		    false },
		{ "GET / HTTP/1.0\r\n\r\n", true },
		{ "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false },
		{ "GET / HTTP/1.0\r\nConnection: keep-alive,close\r\n\r\n",
		    true },
	};
	struct gate_head head;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(check(rows[i].text, strlen(rows[i].text),
		    &head), 0);
		assert_int_equal(head.wants_close, rows[i].close);
	}
}

static void
test_head_request_ids(void **state)
{
	static const struct {
		const char *value;
		const char *expect;
	} rows[] = {
		{ "abc", "abc" },
		{ " abc ", "abc" },
		{ "", "" },
		{ "a b", "" },
		{ "a\"b", "" },
		{ "0123456789012345678901234567890123456789012345678901234567"
		    "890123",
		    "0123456789012345678901234567890123456789012345678901234567"
		    "890123" },
		{ "0123456789012345678901234567890123456789012345678901234567"
		    "8901234", "" },
	};
	struct gate_head head;
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const int len = snprintf(text, sizeof(text),
		    GET "X-Request-Id:%s\r\n\r\n", rows[i].value);

		assert_int_equal(check(text, (size_t)len, &head), 0);
		assert_string_equal(head.request_id, rows[i].expect);
	}
}

/* evhttp skips spaces before a value, and nothing else. */
static void
test_head_leading_tabs_become_spaces(void **state)
{
	char text[] = GET "X:\t\t y\tz\r\n\r\n";
	struct gate_refusal refusal;
	struct gate_head head;

	(void)state;
	assert_int_equal(gate_head_check(text, sizeof(text) - 1, &limits,
	    &head, &refusal), 0);
	assert_string_equal(text, GET "X:   y\tz\r\n\r\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads_pass_or_are_refused),
		cmocka_unit_test(test_head_byte_by_byte),
		cmocka_unit_test(test_head_limits),
		cmocka_unit_test(test_head_fields_are_told),
		cmocka_unit_test(test_head_connection_options),
		cmocka_unit_test(test_head_request_ids),
		cmocka_unit_test(test_head_leading_tabs_become_spaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
