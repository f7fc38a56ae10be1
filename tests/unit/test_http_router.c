/* Routes: what matches, in which order, and what Allow says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/http_router.h"

static const struct http_route table[] = {
	{ "GET", "/", NULL, 0, 0 },
	{ "GET", "/calls", NULL, 1, 0 },
	{ "GET", "/calls/:callId", NULL, 2, 0 },
	{ "DELETE", "/calls/:callId/playback", NULL, 3, 0 },
	{ "GET", "/recordings/file/:name/download", NULL, 4, 0 },
	{ "GET", "/recordings/:callId/:part/download", NULL, 5, 0 },
	{ "POST", "/recordings/:callId/stop", NULL, 6, 0 },
	{ "PUT", "/calls", NULL, 7, 0 },
};
static const struct http_routes routes = { table,
	sizeof(table) / sizeof(table[0]) };

static void
test_matches(void **state)
{
	static const struct {
		const char *method;
		const char *path;
		int rc;
		unsigned flags; /* of the route that is expected */
	} rows[] = {
		{ "GET", "/", 0, 0 },
		{ "GET", "/calls", 0, 1 },
		{ "HEAD", "/calls", 0, 1 },
		{ "PUT", "/calls", 0, 7 },
		{ "GET", "/calls/1.2", 0, 2 },
		{ "DELETE", "/calls/1.2/playback", 0, 3 },
		{ "GET", "/recordings/file/a/download", 0, 4 },
		{ "GET", "/recordings/x/a/download", 0, 5 },
		{ "POST", "/recordings/x/stop", 0, 6 },
		{ "POST", "/calls", -KAP_STATE, 0 },
		{ "OPTIONS", "/calls", -KAP_STATE, 0 },
		{ "HEAD", "/recordings/x/stop", -KAP_STATE, 0 },
		{ "GET", "/call", -KAP_NOENT, 0 },
		{ "GET", "/callsx", -KAP_NOENT, 0 },
		{ "GET", "/Calls", -KAP_NOENT, 0 },
		{ "GET", "/calls/", -KAP_NOENT, 0 },
		{ "GET", "/calls//", -KAP_NOENT, 0 },
		{ "GET", "/calls/1/2", -KAP_NOENT, 0 },
		{ "DELETE", "/calls//playback", -KAP_NOENT, 0 },
		{ "GET", "", -KAP_NOENT, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_match match;
		const int rc = http_router_match(&routes, rows[i].method,
		    rows[i].path, strlen(rows[i].path), &match);

		if (rc != rows[i].rc)
			fail_msg("%s %s: %d", rows[i].method, rows[i].path,
			    rc);
		if (rc == 0)
			assert_int_equal(match.route->flags, rows[i].flags);
		else
			assert_null(match.route);
	}
}

static void
test_parameters(void **state)
{
	static const char path[] = "/recordings/a%20b/c/download/behind";
	struct http_match match;

	(void)state;
	assert_int_equal(http_router_match(&routes, "GET", path,
	    strlen(path) - strlen("/behind"), &match), 0);
	assert_int_equal(match.param_count, 2);
	assert_int_equal(match.params[0].name_len, 6);
	assert_memory_equal(match.params[0].name, "callId", 6);
	assert_int_equal(match.params[0].value_len, 5);
	assert_memory_equal(match.params[0].value, "a%20b", 5);
	assert_memory_equal(match.params[1].name, "part", 4);
	assert_memory_equal(match.params[1].value, "c", 1);
}

static void
test_allow(void **state)
{
	static const struct {
		const char *path;
		const char *allow; /* NULL: no such path */
	} rows[] = {
		{ "/calls", "GET, HEAD, PUT, OPTIONS" },
		{ "/calls/1", "GET, HEAD, OPTIONS" },
		{ "/recordings/1/stop", "POST, OPTIONS" },
		{ "/nowhere", NULL },
	};
	char allow[HTTP_ALLOW_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const int rc = http_router_allow(&routes, rows[i].path,
		    strlen(rows[i].path), allow);

		assert_int_equal(rc, rows[i].allow != NULL ? 0 : -KAP_NOENT);
		if (rc == 0)
			assert_string_equal(allow, rows[i].allow);
	}
}

static void
test_every_method_fits_into_allow(void **state)
{
	static const struct http_route all[] = {
		{ "GET", "/", NULL, 0, 0 }, { "POST", "/", NULL, 0, 0 },
		{ "PUT", "/", NULL, 0, 0 }, { "DELETE", "/", NULL, 0, 0 },
		{ "PATCH", "/", NULL, 0, 0 },
	};
	const struct http_routes every = { all, 5 };
	char allow[HTTP_ALLOW_SIZE];

	(void)state;
	assert_int_equal(http_router_allow(&every, "/", 1, allow), 0);
	assert_string_equal(allow,
	    "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS");
}

static void
test_decode(void **state)
{
	static const struct {
		const char *text;
		const char *expect;
	} rows[] = {
		{ "", "" },
		{ "abc", "abc" },
		{ "a%20b", "a b" },
		{ "%41%4a", "AJ" },
		{ "a+b", "a+b" },
		{ "%", "%" },
		{ "%4", "%4" },
		{ "%zz", "%zz" },
	};
	char out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		http_router_decode(rows[i].text, strlen(rows[i].text), out);
		assert_string_equal(out, rows[i].expect);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_every_method_fits_into_allow),
		cmocka_unit_test(test_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
