/*
 * ari_url: what addresses are taken, and that nothing put into a path can
 * leave its place there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/ari_url.h"

struct parse_case {
	const char *input;
	const char *host; /* NULL: refused */
	sa_family_t family;
};

static const struct parse_case parses[] = {
	{ "http://127.0.0.1:8088", "127.0.0.1:8088", AF_INET },
	{ "http://127.0.0.1:8088/", "127.0.0.1:8088", AF_INET },
	{ "http://localhost:8088", "localhost:8088", AF_INET },
	{ "http://[::1]:8088", "[::1]:8088", AF_INET6 },
	{ "http://127.0.0.1", NULL, 0 },
	{ "http://127.0.0.1:0", NULL, 0 },
	{ "http://127.0.0.1:65536", NULL, 0 },
	{ "http://127.1:8088", NULL, 0 },
	{ "http://pbx:8088", NULL, 0 },
	{ "http://127.0.0.1:8088/prefix", NULL, 0 },
	{ "http://127.0.0.1:8088?x", NULL, 0 },
	{ "https://127.0.0.1:8088", NULL, 0 },
	{ "http://user@127.0.0.1:8088", NULL, 0 },
	{ "127.0.0.1:8088", NULL, 0 },
	{ "http://", NULL, 0 },
	{ "", NULL, 0 },
};

static void
test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(parses) / sizeof(parses[0]); i++) {
		const struct parse_case *c = &parses[i];
		struct ari_address address;
		struct kap_errmsg msg = { "" };
		const int rc = ari_url_parse(c->input, &address, &msg);

		if ((rc == 0) != (c->host != NULL))
			fail_msg("%s: %d %s", c->input, rc, msg.text);
		if (rc != 0) {
			assert_int_equal(rc, -KAP_INVAL);
			assert_true(msg.text[0] != '\0');
			continue;
		}
		assert_string_equal(address.host, c->host);
		assert_int_equal(address.address.ss_family, c->family);
	}
}

static void
test_uri(void **state)
{
	struct ari_uri uri;

	(void)state;
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "channels");
	ari_uri_segment(&uri, "../a/b?c#d%");
	ari_uri_query(&uri, "callerId", "\"x\" <1&2=3+4>\r\n");
	ari_uri_query_int(&uri, "timeout", -5);
	assert_int_equal(ari_uri_check(&uri), 0);
	assert_string_equal(uri.text, "channels/..%2Fa%2Fb%3Fc%23d%25"
	    "?callerId=%22x%22%20%3C1%262%3D3%2B4%3E%0D%0A&timeout=-5");
	assert_int_equal(uri.len, strlen(uri.text));
}

static void
test_overflow(void **state)
{
	struct ari_uri uri;
	char long_text[ARI_URI_MAX];
	char small[4];

	(void)state;
	memset(long_text, 'a', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	ari_uri_init(&uri);
	ari_uri_segment(&uri, long_text);
	assert_int_equal(ari_uri_check(&uri), 0); /* just so */
	ari_uri_segment(&uri, "");
	assert_int_equal(ari_uri_check(&uri), -KAP_TOOBIG);
	assert_int_equal(strlen(uri.text), uri.len);
	assert_int_equal(ari_url_encode("\xff", small, sizeof(small)), 0);
	assert_string_equal(small, "%FF");
	assert_int_equal(ari_url_encode("a\xff", small, sizeof(small)),
	    -KAP_TOOBIG);
	assert_string_equal(small, "a");
}

static void
test_app_name(void **state)
{
	char app[ARI_APP_SIZE];

	(void)state;
	ari_url_app_name(app, 7, 3);
	assert_string_equal(app, "kaphila-7-3");
	ari_url_connection_name(app, 7, 3, ARI_LANE_CONTROL, 0xbeef);
	assert_string_equal(app, "kaphila-7-3-control-0000beef");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_uri),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_app_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
