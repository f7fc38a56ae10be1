/* The chunk decoder: whole, and cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/gate_chunk.h"

#define LIMIT 16

struct result {
	int rc;
	int status;  /* of the refusal */
	char body[64];
	size_t used; /* of the input */
};

/* Feed `text` in pieces of `piece` bytes, each in memory of its own. */
static void
decode(const char *text, size_t len, size_t piece, struct result *result)
{
	struct gate_refusal refusal = { 0 };
	struct gate_chunk chunk;
	size_t at = 0;

	memset(result, 0, sizeof(*result));
	gate_chunk_init(&chunk, LIMIT);
	result->rc = -KAP_AGAIN;
	while (at < len && result->rc == -KAP_AGAIN) {
		const size_t n = len - at < piece ? len - at : piece;
		char *copy = malloc(n);
		const char *run;
		size_t used, run_len;

		assert_non_null(copy);
		memcpy(copy, text + at, n);
		result->rc = gate_chunk_feed(&chunk, copy, n, &used, &run,
		    &run_len, &refusal);
		assert_true(used > 0 && used <= n);
		assert_true(strlen(result->body) + run_len <= LIMIT);
		(void)strncat(result->body, run != NULL ? run : "", run_len);
		free(copy);
		at += used;
	}
	result->used = at;
	result->status = refusal.status;
}

static const struct {
	const char *name;
	const char *text;
	int rc;
	int status;
	const char *body; /* NULL: doesn't matter */
	size_t left;      /* bytes that belong to the next request */
} cases[] = {
	{ "empty", "0\r\n\r\n", 0, 0, "", 0 },
	{ "one", "5\r\nhello\r\n0\r\n\r\n", 0, 0, "hello", 0 },
	{ "two", "1\r\nh\r\n04\r\nello\r\n0\r\n\r\n", 0, 0, "hello", 0 },
	{ "hexadecimal", "a\r\n0123456789\r\n000\r\n\r\n", 0, 0, "0123456789",
	    0 },
	{ "upper case", "A\r\n0123456789\r\n0\r\n\r\n", 0, 0, "0123456789",
	    0 },
	{ "exactly the limit", "10\r\n0123456789abcdef\r\n0\r\n\r\n", 0, 0,
	    "0123456789abcdef", 0 },
	{ "next request behind", "1\r\nh\r\n0\r\n\r\nGET", 0, 0, "h", 3 },
	{ "trailers", "1\r\nh\r\n0\r\nA: b\r\nC:\r\n\r\n", 0, 0, "h", 0 },
	{ "unfinished", "5\r\nhel", -KAP_AGAIN, 0, "hel", 0 },
	{ "unfinished end", "0\r\n\r", -KAP_AGAIN, 0, "", 0 },

	{ "over the limit", "11\r\n", -KAP_TOOBIG, 0, NULL, 0 },
	{ "over the limit in two", "8\r\n01234567\r\n9\r\n", -KAP_TOOBIG, 0,
	    NULL, 0 },
	{ "huge", "ffffffff\r\n", -KAP_TOOBIG, 0, NULL, 0 },
	{ "nine digits", "000000001\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "0x3", "0x3\r\nabc\r\n0\r\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "+3", "+3\r\nabc\r\n0\r\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "-3", "-3\r\nabc\r\n0\r\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "space before", " 3\r\nabc\r\n0\r\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "space behind", "3 \r\nabc\r\n0\r\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "extension", "3;a=b\r\nabc\r\n0\r\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "no size", "\r\nabc", -KAP_PROTO, 400, NULL, 0 },
	{ "bare LF", "3\nabc\n0\n\n", -KAP_PROTO, 400, NULL, 0 },
	{ "CR alone", "3\rabc", -KAP_PROTO, 400, NULL, 0 },
	{ "data too long", "3\r\nabcd\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "data with LF alone", "3\r\nabc\n", -KAP_PROTO, 400, NULL, 0 },
	{ "trailer without colon", "0\r\nab\r\n\r\n", -KAP_PROTO, 400, NULL,
	    0 },
	{ "trailer with a space", "0\r\na : b\r\n\r\n", -KAP_PROTO, 400,
	    NULL, 0 },
	{ "trailer folded", "0\r\na: b\r\n c\r\n\r\n", -KAP_PROTO, 400, NULL,
	    0 },
	{ "trailer with LF", "0\r\na: b\n\r\n", -KAP_PROTO, 400, NULL, 0 },
	{ "trailer with a control", "0\r\na: \x01\r\n\r\n", -KAP_PROTO, 400,
	    NULL, 0 },
};

static void
test_chunks(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const size_t len = strlen(cases[i].text);

		for (size_t piece = 1; piece <= len; piece++) {
			struct result result;

			decode(cases[i].text, len, piece, &result);
			if (result.rc != cases[i].rc ||
			    result.status != cases[i].status ||
			    (result.rc == 0 &&
			    result.used != len - cases[i].left) ||
			    (cases[i].body != NULL &&
			    strcmp(result.body, cases[i].body) != 0))
				fail_msg("%s in pieces of %zu: rc %d status "
				    "%d used %zu body '%s'", cases[i].name,
				    piece, result.rc, result.status,
				    result.used, result.body);
		}
	}
}

static void
test_trailers_are_bounded(void **state)
{
	char text[4096];
	struct result result;
	size_t len = (size_t)snprintf(text, sizeof(text), "0\r\n");

	(void)state;
	while (len < 3000)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
		    "A: b\r\n");
	decode(text, len, len, &result);
	assert_int_equal(result.rc, -KAP_PROTO);
	assert_int_equal(result.status, 431);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_trailers_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
