/*
 * Tables of URLs and addresses. Nothing is connected to.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "shared/net_guard.h"

enum policy { STRICT, HTTP, PRIVATE, LOOPBACK, ALL, POLICY_COUNT };

static const struct net_guard_policy policies[POLICY_COUNT] = {
	[STRICT] = { false, false, false },
	[HTTP] = { true, false, false },
	[PRIVATE] = { false, true, false },
	[LOOPBACK] = { false, false, true },
	[ALL] = { true, true, true },
};

static const struct {
	const char *url;
	enum policy policy;
	int rc;
} url_cases[] = {
	{ "https://example.com", STRICT, 0 },
	{ "https://example.com/", STRICT, 0 },
	{ "https://example.com/hooks/calls?a=b&c=%20d#e", STRICT, 0 },
	{ "https://example.com:8443/x", STRICT, 0 },
	{ "https://example.com:65535/x", STRICT, 0 },
	{ "https://Example.COM/x", STRICT, 0 },
	{ "HTTPS://example.com/x", STRICT, 0 },
	{ "https://a_b.example.com/x", STRICT, 0 },
	{ "https://xn--mller-kva.example/x", STRICT, 0 },
	{ "https://1.example.com/x", STRICT, 0 },
	{ "https://8.8.8.8/x", STRICT, 0 },
	{ "https://[2606:4700::1111]/x", STRICT, 0 },
	{ "https://[2606:4700::1111]:444/x", STRICT, 0 },
	{ "https://[2606:4700:0:0:0:0:0:1111]/x", STRICT, 0 },
	{ "https://example.com/a@b", STRICT, 0 },
	{ "https://example.com/?next=https://x@y", STRICT, 0 },
	{ "https://example.com?x=1", STRICT, 0 },

	/* schemes */
	{ "http://example.com/", STRICT, -KAP_DENIED },
	{ "http://example.com/", PRIVATE, -KAP_DENIED },
	{ "http://example.com/", HTTP, 0 },
	{ "ftp://example.com/", ALL, -KAP_INVAL },
	{ "file:///etc/passwd", ALL, -KAP_INVAL },
	{ "gopher://example.com/", ALL, -KAP_INVAL },
	{ "dict://example.com/", ALL, -KAP_INVAL },
	{ "javascript:alert(1)", ALL, -KAP_INVAL },
	{ "example.com/hook", ALL, -KAP_INVAL },
	{ "//example.com/hook", ALL, -KAP_INVAL },
	{ "", ALL, -KAP_INVAL },
	{ "https", ALL, -KAP_INVAL },
	{ "https:", ALL, -KAP_INVAL },
	{ "https:example.com", ALL, -KAP_INVAL },
	{ "https:/example.com", ALL, -KAP_INVAL },
	{ "https:///example.com", ALL, -KAP_INVAL },
	{ "https:////example.com", ALL, -KAP_INVAL },
	{ "https:\\\\example.com", ALL, -KAP_INVAL },
	{ "https//example.com", ALL, -KAP_INVAL },
	{ "httpss://example.com", ALL, -KAP_INVAL },
	{ "view-source:https://example.com", ALL, -KAP_INVAL },

	/* characters */
	{ " https://example.com/", ALL, -KAP_INVAL },
	{ "https://example.com/ ", ALL, -KAP_INVAL },
	{ "https://example.com/a b", ALL, -KAP_INVAL },
	{ "https://example.com/a\tb", ALL, -KAP_INVAL },
	{ "https://example.com/a\r\nX: y", ALL, -KAP_INVAL },
	{ "https://exa\nmple.com/", ALL, -KAP_INVAL },
	{ "https://example.com/\x01", ALL, -KAP_INVAL },
	{ "https://example.com/\x7f", ALL, -KAP_INVAL },
	{ "https://example.com/h\xc3\xa4k", ALL, -KAP_INVAL },
	{ "https://m\xc3\xbcller.example/", ALL, -KAP_INVAL },
	{ "https://example\xe3\x80\x82" "com/", ALL, -KAP_INVAL },
	{ "https://\xe2\x91\xa0\xe2\x91\xa1.1/", ALL, -KAP_INVAL },
	{ "https://example.com\\@evil.example/", ALL, -KAP_INVAL },
	{ "https://example.com/a\\b", ALL, -KAP_INVAL },

	/* credentials */
	{ "https://user@example.com/", ALL, -KAP_INVAL },
	{ "https://user:password@example.com/", ALL, -KAP_INVAL },
	{ "https://:@example.com/", ALL, -KAP_INVAL },
	{ "https://@example.com/", ALL, -KAP_INVAL },
	{ "https://example.com:443@127.0.0.1/", ALL, -KAP_INVAL },

	/* ports */
	{ "https://example.com:/", ALL, -KAP_INVAL },
	{ "https://example.com:0/", ALL, -KAP_INVAL },
	{ "https://example.com:00443/", ALL, -KAP_INVAL },
	{ "https://example.com:65536/", ALL, -KAP_INVAL },
	{ "https://example.com:99999999999/", ALL, -KAP_INVAL },
	{ "https://example.com:-1/", ALL, -KAP_INVAL },
	{ "https://example.com:+443/", ALL, -KAP_INVAL },
	{ "https://example.com:80:80/", ALL, -KAP_INVAL },
	{ "https://example.com:http/", ALL, -KAP_INVAL },
	{ "https://[::1]443/", ALL, -KAP_INVAL },

	/* hosts */
	{ "https://", ALL, -KAP_INVAL },
	{ "https:///", ALL, -KAP_INVAL },
	{ "https://:443/", ALL, -KAP_INVAL },
	{ "https://?x", ALL, -KAP_INVAL },
	{ "https://#x", ALL, -KAP_INVAL },
	{ "https://.example.com/", ALL, -KAP_INVAL },
	{ "https://example..com/", ALL, -KAP_INVAL },
	{ "https://example.com./", ALL, -KAP_INVAL },
	{ "https://127.0.0.1./", ALL, -KAP_INVAL },
	{ "https://./", ALL, -KAP_INVAL },
	{ "https://-example.com/", ALL, -KAP_INVAL },
	{ "https://example-.com/", ALL, -KAP_INVAL },
	{ "https://ex%61mple.com/", ALL, -KAP_INVAL },
	{ "https://127.0.0.1%2f.example.com/", ALL, -KAP_INVAL },
	{ "https://example.com,evil.example/", ALL, -KAP_INVAL },
	{ "https://exa$mple.com/", ALL, -KAP_INVAL },
	{ "https://{host}/", ALL, -KAP_INVAL },

	/* numbers that are addresses */
	{ "https://127.1/", ALL, -KAP_INVAL },
	{ "https://127.0.1/", ALL, -KAP_INVAL },
	{ "https://2130706433/", ALL, -KAP_INVAL },
	{ "https://0/", ALL, -KAP_INVAL },
	{ "https://017700000001/", ALL, -KAP_INVAL },
	{ "https://0x7f000001/", ALL, -KAP_INVAL },
	{ "https://0x7f.1/", ALL, -KAP_INVAL },
	{ "https://0x7f.0.0.0x1/", ALL, -KAP_INVAL },
	{ "https://0x/", ALL, -KAP_INVAL },
	{ "https://0177.0.0.1/", ALL, -KAP_INVAL },
	{ "https://127.0.0.01/", ALL, -KAP_INVAL },
	{ "https://127.0.0.1.5/", ALL, -KAP_INVAL },
	{ "https://256.0.0.1/", ALL, -KAP_INVAL },
	{ "https://example.123/", ALL, -KAP_INVAL },
	{ "https://example.0x1f/", ALL, -KAP_INVAL },

	/* addresses by policy */
	{ "https://127.0.0.1/", STRICT, -KAP_DENIED },
	{ "https://127.0.0.1/", PRIVATE, -KAP_DENIED },
	{ "https://127.0.0.1/", LOOPBACK, 0 },
	{ "http://127.0.0.1:9/", ALL, 0 },
	{ "https://127.255.255.254/", STRICT, -KAP_DENIED },
	{ "https://10.0.0.1/", STRICT, -KAP_DENIED },
	{ "https://10.0.0.1/", LOOPBACK, -KAP_DENIED },
	{ "https://10.0.0.1/", PRIVATE, 0 },
	{ "https://169.254.169.254/latest", STRICT, -KAP_DENIED },
	{ "https://100.100.100.200/", STRICT, -KAP_DENIED },
	{ "https://0.0.0.0/", ALL, -KAP_DENIED },
	{ "https://255.255.255.255/", ALL, -KAP_DENIED },
	{ "https://224.0.0.1/", ALL, -KAP_DENIED },
	{ "https://[::1]/", STRICT, -KAP_DENIED },
	{ "https://[::1]/", PRIVATE, -KAP_DENIED },
	{ "https://[::1]:8443/", LOOPBACK, 0 },
	{ "https://[0:0:0:0:0:0:0:1]/", STRICT, -KAP_DENIED },
	{ "https://[::]/", ALL, -KAP_DENIED },
	{ "https://[fd00::1]/", STRICT, -KAP_DENIED },
	{ "https://[fd00::1]/", PRIVATE, 0 },
	{ "https://[fe80::1]/", STRICT, -KAP_DENIED },
	{ "https://[fe80::1%25eth0]/", ALL, -KAP_INVAL },
	{ "https://[fe80::1%eth0]/", ALL, -KAP_INVAL },
	{ "https://[64:ff9b::7f00:1]/", STRICT, -KAP_DENIED },
	{ "https://[2002:7f00:1::]/", STRICT, -KAP_DENIED },

	/* brackets */
	{ "https://[::ffff:127.0.0.1]/", ALL, -KAP_INVAL },
	{ "https://[::ffff:8.8.8.8]/", ALL, -KAP_INVAL },
	{ "https://[::ffff:7f00:1]/", ALL, -KAP_INVAL },
	{ "https://[::127.0.0.1]/", ALL, -KAP_INVAL },
	{ "https://[::7f00:1]/", ALL, -KAP_INVAL },
	{ "https://[64:ff9b::127.0.0.1]/", ALL, -KAP_INVAL },
	{ "https://[]/", ALL, -KAP_INVAL },
	{ "https://[::1/", ALL, -KAP_INVAL },
	{ "https://::1/", ALL, -KAP_INVAL },
	{ "https://[127.0.0.1]/", ALL, -KAP_INVAL },
	{ "https://[v1.x]/", ALL, -KAP_INVAL },
	{ "https://[[::1]]/", ALL, -KAP_INVAL },
	{ "https://x[::1]/", ALL, -KAP_INVAL },

	/* names of this machine */
	{ "https://localhost/", STRICT, -KAP_DENIED },
	{ "https://localhost/", PRIVATE, -KAP_DENIED },
	{ "https://localhost/", LOOPBACK, 0 },
	{ "https://LocalHost:8443/", STRICT, -KAP_DENIED },
	{ "https://a.b.localhost/", STRICT, -KAP_DENIED },
	{ "https://a.LOCALHOST/", STRICT, -KAP_DENIED },
	{ "https://localhost.localdomain/", STRICT, -KAP_DENIED },
	{ "https://ip6-localhost/", STRICT, -KAP_DENIED },
	{ "https://localhost./", STRICT, -KAP_INVAL },
	{ "https://localhost.example.com/", STRICT, 0 },
	{ "https://notlocalhost/", STRICT, 0 },
};

static void
test_urls(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(url_cases) / sizeof(url_cases[0]); i++) {
		struct kap_errmsg msg = { "" };
		const int rc = net_guard_check_url(url_cases[i].url,
		    &policies[url_cases[i].policy], &msg);

		if (rc != url_cases[i].rc)
			fail_msg("'%s' with policy %d: %d, not %d (%s)",
			    url_cases[i].url, (int)url_cases[i].policy, rc,
			    url_cases[i].rc, msg.text);
		/* whatever is refused is explained, and only that */
		assert_int_equal(msg.text[0] != '\0', rc != 0);
	}
}

static void
test_url_length(void **state)
{
	char url[NET_GUARD_URL_MAX + 2];
	struct kap_errmsg msg = { "" };

	(void)state;
	memset(url, 'a', sizeof(url));
	memcpy(url, "https://example.com/", 20);
	url[NET_GUARD_URL_MAX] = '\0';
	assert_int_equal(net_guard_check_url(url, &policies[STRICT], &msg), 0);
	url[NET_GUARD_URL_MAX] = 'a';
	url[NET_GUARD_URL_MAX + 1] = '\0';
	assert_int_equal(net_guard_check_url(url, &policies[STRICT], &msg),
	    -KAP_TOOBIG);
	assert_int_equal(net_guard_check_url(url, &policies[STRICT], NULL),
	    -KAP_TOOBIG);
}

/* A name of 253 bytes passes; one byte, or one label's byte, more doesn't. */
static void
test_host_length(void **state)
{
	char url[400] = "https://";
	char *host = url + 8;

	(void)state;
	memset(host, 'a', 253);
	for (int i = 63; i < 253; i += 64)
		host[i] = '.';
	memcpy(host + 253, "/", 2);
	assert_int_equal(net_guard_check_url(url, &policies[STRICT], NULL), 0);
	memcpy(host + 253, "a/", 3);
	assert_int_equal(net_guard_check_url(url, &policies[STRICT], NULL),
	    -KAP_INVAL);
	memset(host, 'a', 64);
	memcpy(host + 64, ".example/", 10);
	assert_int_equal(net_guard_check_url(url, &policies[STRICT], NULL),
	    -KAP_INVAL);
}

static const struct {
	const char *first;
	const char *last; /* of the range; both are tried */
	enum policy needs; /* STRICT: always allowed; ALL: never */
} address_cases[] = {
	{ "0.0.0.0", "0.255.255.255", ALL },
	{ "1.0.0.0", "9.255.255.255", STRICT },
	{ "10.0.0.0", "10.255.255.255", PRIVATE },
	{ "11.0.0.0", "100.63.255.255", STRICT },
	{ "100.64.0.0", "100.127.255.255", PRIVATE },
	{ "100.128.0.0", "126.255.255.255", STRICT },
	{ "127.0.0.0", "127.255.255.255", LOOPBACK },
	{ "128.0.0.0", "169.253.255.255", STRICT },
	{ "169.254.0.0", "169.254.255.255", PRIVATE },
	{ "169.255.0.0", "172.15.255.255", STRICT },
	{ "172.16.0.0", "172.31.255.255", PRIVATE },
	{ "172.32.0.0", "191.255.255.255", STRICT },
	{ "192.0.0.0", "192.0.0.255", ALL },
	{ "192.0.1.0", "192.0.1.255", STRICT },
	{ "192.0.2.0", "192.0.2.255", ALL },
	{ "192.0.3.0", "192.88.98.255", STRICT },
	{ "192.88.99.0", "192.88.99.255", ALL },
	{ "192.88.100.0", "192.167.255.255", STRICT },
	{ "192.168.0.0", "192.168.255.255", PRIVATE },
	{ "192.169.0.0", "198.17.255.255", STRICT },
	{ "198.18.0.0", "198.19.255.255", ALL },
	{ "198.20.0.0", "198.51.99.255", STRICT },
	{ "198.51.100.0", "198.51.100.255", ALL },
	{ "198.51.101.0", "203.0.112.255", STRICT },
	{ "203.0.113.0", "203.0.113.255", ALL },
	{ "203.0.114.0", "223.255.255.255", STRICT },
	{ "224.0.0.0", "239.255.255.255", ALL },
	{ "240.0.0.0", "255.255.255.255", ALL },

	{ "::", "::", ALL },
	{ "::1", "::1", LOOPBACK },
	{ "::2", "::ffff", ALL },
	{ "::7f00:1", "::10.0.0.1", ALL }, /* v4-compatible, deprecated */
	{ "::ffff:127.0.0.1", "::ffff:127.255.255.255", LOOPBACK },
	{ "::ffff:10.0.0.1", "::ffff:192.168.1.1", PRIVATE },
	{ "::ffff:8.8.8.8", "::ffff:1.1.1.1", STRICT },
	{ "::ffff:0.0.0.0", "::ffff:255.255.255.255", ALL },
	{ "::ffff:0:127.0.0.1", "::ffff:0:127.0.0.2", LOOPBACK },
	{ "64:ff9b::8.8.8.8", "64:ff9b::1.1.1.1", STRICT },
	{ "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", PRIVATE },
	{ "64:ff9b::127.0.0.1", "64:ff9b::127.0.0.1", LOOPBACK },
	{ "64:ff9b::1:0:0", "64:ff9b:0:ffff::", ALL },
	{ "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", PRIVATE },
	{ "64:ff9b:2::", "ff::", ALL },
	{ "100::", "100::ffff:ffff:ffff:ffff", ALL },
	{ "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", ALL },
	{ "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", STRICT },
	{ "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", ALL },
	{ "2001:db9::", "2001:ffff::", STRICT },
	{ "2002:808:808::", "2002:101:101::1", STRICT },
	{ "2002:7f00:1::", "2002:7fff:ffff::1", LOOPBACK },
	{ "2002:a00:1::", "2002:c0a8:101::1", PRIVATE },
	{ "2002:e000:1::", "2002:ffff:ffff::", ALL },
	{ "2003::", "3ffe:ffff::", STRICT },
	{ "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", ALL },
	{ "4000::", "5f00::", ALL },
	{ "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE },
	{ "fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ALL },
	{ "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE },
	{ "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIVATE },
	{ "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ALL },
};

static int
check_text(const char *text, enum policy policy)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return net_guard_check_address((struct sockaddr *)&in,
		    &policies[policy]);
	if (inet_pton(AF_INET6, text, &in6.sin6_addr) != 1)
		fail_msg("'%s' is no address", text);
	return net_guard_check_address((struct sockaddr *)&in6,
	    &policies[policy]);
}

static void
check_range(const char *text, enum policy needs)
{
	for (enum policy policy = STRICT; policy < POLICY_COUNT; policy++) {
		const bool allowed = needs == STRICT ||
		    (needs != ALL && (policy == needs || policy == ALL));
		const int rc = check_text(text, policy);

		if (rc != (allowed ? 0 : -KAP_DENIED))
			fail_msg("%s with policy %d: %d", text, (int)policy,
			    rc);
	}
}

static void
test_addresses(void **state)
{
	(void)state;
	for (size_t i = 0;
	     i < sizeof(address_cases) / sizeof(address_cases[0]); i++) {
		check_range(address_cases[i].first, address_cases[i].needs);
		check_range(address_cases[i].last, address_cases[i].needs);
	}
}

static void
test_other_families(void **state)
{
	const struct sockaddr_un un = { .sun_family = AF_UNIX };

	(void)state;
	assert_int_equal(net_guard_check_address(
	    (const struct sockaddr *)&un, &policies[ALL]), -KAP_INVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls),
		cmocka_unit_test(test_url_length),
		cmocka_unit_test(test_host_length),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_other_families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
