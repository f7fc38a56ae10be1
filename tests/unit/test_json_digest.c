/*
 * Pairs of JSON texts that mean the same, and pairs that don't.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "shared/json_strict.h"
#include "worker/json_digest.h"

static void
digest(const char *text, uint8_t out[JSON_DIGEST_SIZE])
{
	cJSON *json;

	assert_int_equal(json_strict_parse(text, strlen(text), 16, &json,
	    NULL), 0);
	assert_int_equal(json_digest(json, out), 0);
	cJSON_Delete(json);
}

static void
test_pairs(void **state)
{
	static const struct {
		const char *name;
		const char *left;
		const char *right;
		bool same;
	} rows[] = {
		{ "itself", "{\"a\":1}", "{\"a\":1}", true },
		{ "space", "{\"a\":[1,2]}", " { \"a\" : [ 1 , 2 ] }\n", true },
		{ "order", "{\"a\":1,\"b\":2,\"c\":3}",
		    "{\"c\":3,\"a\":1,\"b\":2}", true },
		{ "order within", "{\"m\":{\"x\":[{\"a\":1,\"b\":2}]}}",
		    "{\"m\":{\"x\":[{\"b\":2,\"a\":1}]}}", true },
		{ "escapes", "{\"a\":\"\\u0041/\"}", "{\"a\":\"A\\/\"}",
		    true },
		{ "number forms", "{\"a\":30}", "{\"a\":3e1}", true },
		{ "zeros", "{\"a\":0}", "{\"a\":-0}", true },
		{ "value", "{\"a\":1}", "{\"a\":2}", false },
		{ "fraction", "{\"a\":1}", "{\"a\":1.5}", false },
		{ "name", "{\"a\":1}", "{\"b\":1}", false },
		{ "case of a name", "{\"a\":1}", "{\"A\":1}", false },
		{ "kind", "{\"a\":1}", "{\"a\":\"1\"}", false },
		{ "booleans", "{\"a\":true}", "{\"a\":false}", false },
		{ "null and false", "{\"a\":null}", "{\"a\":false}", false },
		{ "one more", "{\"a\":1}", "{\"a\":1,\"b\":1}", false },
		{ "values swapped", "{\"a\":1,\"b\":2}",
		    "{\"a\":2,\"b\":1}", false },
		{ "order of elements", "{\"a\":[1,2]}", "{\"a\":[2,1]}",
		    false },
		{ "nesting", "{\"a\":[[1],2]}", "{\"a\":[[1,2]]}", false },
		{ "empty ones", "{\"a\":{}}", "{\"a\":[]}", false },
		{ "border of strings", "{\"a\":\"b\",\"c\":\"\"}",
		    "{\"a\":\"\",\"bc\":\"\"}", false },
		{ "deeper member", "{\"a\":{\"b\":1},\"c\":2}",
		    "{\"a\":{\"b\":1,\"c\":2}}", false },
		{ "nothing", "{}", "{\"a\":null}", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t left[JSON_DIGEST_SIZE];
		uint8_t right[JSON_DIGEST_SIZE];

		digest(rows[i].left, left);
		digest(rows[i].right, right);
		if ((memcmp(left, right, sizeof(left)) == 0) != rows[i].same)
			fail_msg("%s", rows[i].name);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
