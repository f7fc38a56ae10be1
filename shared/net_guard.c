/*
 * Judges URLs and addresses. The URL's parts are cut out here by strict rules
 * and then compared with what libcurl's parser makes of it, for libcurl is
 * what will connect: where the two differ, the URL is refused. Resolves and
 * opens nothing.
 */
#include "net_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <curl/curl.h>

#include "config.h"

#define HOST_MAX 253 /* bytes of a DNS name, RFC 1035 */
#define LABEL_MAX 63

static const char digits[] = "0123456789";
static const char letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* The parts of a URL that decide where it leads. */
struct target {
	bool is_https;
	bool is_v6;
	char host[HOST_MAX + 1]; /* without brackets */
	const char *port;        /* in the URL; NULL: none given */
	size_t port_len;
};

/* What kind of network an address lies in. */
enum scope { SCOPE_NEVER, SCOPE_PUBLIC, SCOPE_PRIVATE, SCOPE_LOOPBACK };

struct v4_range {
	uint32_t first;
	unsigned bits;
	enum scope scope;
};

/*
 * IANA's registry of special-purpose IPv4 addresses, and multicast. The first
 * that fits counts; what fits none is public.
 */
static const struct v4_range v4_ranges[] = {
	{ 0x00000000, 8, SCOPE_NEVER },    /* "this network": reaches us */
	{ 0x0a000000, 8, SCOPE_PRIVATE },  /* 10/8 */
	{ 0x64400000, 10, SCOPE_PRIVATE }, /* 100.64/10, carrier's NAT */
	{ 0x7f000000, 8, SCOPE_LOOPBACK },
	{ 0xa9fe0000, 16, SCOPE_PRIVATE }, /* 169.254/16, link-local */
	{ 0xac100000, 12, SCOPE_PRIVATE }, /* 172.16/12 */
	{ 0xc0000000, 24, SCOPE_NEVER },   /* 192.0.0/24, protocols */
	{ 0xc0000200, 24, SCOPE_NEVER },   /* 192.0.2/24, TEST-NET-1 */
	{ 0xc0586300, 24, SCOPE_NEVER },   /* 192.88.99/24, 6to4 relays */
	{ 0xc0a80000, 16, SCOPE_PRIVATE }, /* 192.168/16 */
	{ 0xc6120000, 15, SCOPE_NEVER },   /* 198.18/15, benchmarks */
	{ 0xc6336400, 24, SCOPE_NEVER },   /* 198.51.100/24, TEST-NET-2 */
	{ 0xcb007100, 24, SCOPE_NEVER },   /* 203.0.113/24, TEST-NET-3 */
	{ 0xe0000000, 4, SCOPE_NEVER },    /* multicast */
	{ 0xf0000000, 4, SCOPE_NEVER },    /* reserved, and the broadcast */
};

struct v6_range {
	uint8_t first[8]; /* no range here is longer than 64 bits */
	unsigned bits;
	enum scope scope;
};

/* The same for IPv6, those that carry an IPv4 address aside. */
static const struct v6_range v6_ranges[] = {
	{ { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48, SCOPE_PRIVATE },
	{ { 0x01, 0x00 }, 64, SCOPE_NEVER },       /* discard */
	{ { 0x20, 0x01, 0x00 }, 23, SCOPE_NEVER }, /* protocols, Teredo */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32, SCOPE_NEVER }, /* documentation */
	{ { 0x3f, 0xff }, 20, SCOPE_NEVER },       /* documentation */
	{ { 0x20 }, 3, SCOPE_PUBLIC },             /* global unicast */
	{ { 0xfc }, 7, SCOPE_PRIVATE },            /* unique local */
	{ { 0xfe, 0x80 }, 10, SCOPE_PRIVATE },     /* link-local */
	{ { 0xfe, 0xc0 }, 10, SCOPE_PRIVATE },     /* site-local, old */
	{ { 0 }, 0, SCOPE_NEVER },                 /* all the rest */
};

/* Where in an IPv6 address an IPv4 one lies, by its prefix. */
static const struct {
	uint8_t prefix[12];
	unsigned prefix_len_bytes;
	unsigned at;
} v4_carriers[] = {
	{ { [10] = 0xff, [11] = 0xff }, 12, 12 },      /* ::ffff:0:0/96 */
	{ { [8] = 0xff, [9] = 0xff }, 12, 12 },        /* ::ffff:0:0:0/96 */
	{ { 0x00, 0x64, 0xff, 0x9b }, 12, 12 },        /* 64:ff9b::/96 */
	{ { 0x20, 0x02 }, 2, 2 },                      /* 6to4 */
};

static const char *const local_names[] = { "localhost",
	"localhost.localdomain", "localhost6", "localhost6.localdomain6",
	"ip6-localhost", "ip6-loopback" };

static enum scope
v4_scope(uint32_t address)
{
	for (size_t i = 0; i < sizeof(v4_ranges) / sizeof(v4_ranges[0]); i++) {
		const unsigned host_bits = 32 - v4_ranges[i].bits;

		if (address >> host_bits == v4_ranges[i].first >> host_bits)
			return v4_ranges[i].scope;
	}
	return SCOPE_PUBLIC;
}

static uint32_t
read_be32(const uint8_t in[4])
{
	return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 |
	    (uint32_t)in[2] << 8 | (uint32_t)in[3];
}

static bool
has_prefix(const uint8_t *address, const uint8_t *prefix, unsigned bits)
{
	const unsigned whole = bits / 8;
	const unsigned rest = bits % 8;

	if (memcmp(address, prefix, whole) != 0)
		return false;
	return rest == 0 ||
	    address[whole] >> (8 - rest) == prefix[whole] >> (8 - rest);
}

static enum scope
v6_scope(const uint8_t address[16])
{
	static const uint8_t loopback[16] = { [15] = 1 };
	size_t i;

	if (memcmp(address, loopback, sizeof(loopback)) == 0)
		return SCOPE_LOOPBACK;
	for (i = 0; i < sizeof(v4_carriers) / sizeof(v4_carriers[0]); i++) {
		if (memcmp(address, v4_carriers[i].prefix,
		        v4_carriers[i].prefix_len_bytes) == 0)
			return v4_scope(read_be32(address +
			    v4_carriers[i].at));
	}
	for (i = 0; i < sizeof(v6_ranges) / sizeof(v6_ranges[0]); i++) {
		if (has_prefix(address, v6_ranges[i].first,
		        v6_ranges[i].bits))
			break; /* the last one fits everything */
	}
	return v6_ranges[i].scope;
}

static int
judge_scope(enum scope scope, const struct net_guard_policy *policy)
{
	switch (scope) {
	case SCOPE_PUBLIC:
		return 0;
	case SCOPE_PRIVATE:
		return policy->allow_private ? 0 : -KAP_DENIED;
	case SCOPE_LOOPBACK:
		return policy->allow_loopback ? 0 : -KAP_DENIED;
	case SCOPE_NEVER:
		break;
	}
	return -KAP_DENIED;
}

int
net_guard_check_address(const struct sockaddr *address,
    const struct net_guard_policy *policy)
{
	/* copied out: a sockaddr may be less aligned than what it holds */
	if (address->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, address, sizeof(in));
		return judge_scope(v4_scope(ntohl(in.sin_addr.s_addr)),
		    policy);
	}
	if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, address, sizeof(in6));
		return judge_scope(v6_scope(in6.sin6_addr.s6_addr), policy);
	}
	return -KAP_INVAL;
}

static int
refuse(struct kap_errmsg *msg, int rc, const char *why)
{
	kap_errmsg_set(msg, "%s", why);
	return rc;
}

/* Bytes that no URL has, or that parsers are known to disagree on. */
static int
check_bytes(const char *url, struct kap_errmsg *msg)
{
	size_t len = 0;

	for (; url[len] != '\0'; len++) {
		const unsigned char c = (unsigned char)url[len];

		if (len >= NET_GUARD_URL_MAX)
			return refuse(msg, -KAP_TOOBIG,
			    "is longer than 2048 characters");
		if (c <= 0x20 || c >= 0x7f)
			return refuse(msg, -KAP_INVAL, "has a character "
			    "outside printable ASCII");
		if (c == '\\')
			return refuse(msg, -KAP_INVAL, "has a backslash");
	}
	return 0;
}

static int
cut_host(const char *authority, size_t len, struct target *target,
    struct kap_errmsg *msg)
{
	const char *host = authority;
	const char *end = authority + len;
	size_t host_len;

	if (memchr(authority, '@', len) != NULL)
		return refuse(msg, -KAP_INVAL, "must not hold credentials");
	if (len > 0 && *host == '[') {
		const char *close = memchr(host, ']', len);

		if (close == NULL)
			return refuse(msg, -KAP_INVAL, "has no valid host");
		target->is_v6 = true;
		host++;
		host_len = (size_t)(close - host);
		target->port = close + 1;
	} else {
		const char *colon = memchr(host, ':', len);

		host_len = colon != NULL ? (size_t)(colon - host) : len;
		target->port = host + host_len;
	}
	if (host_len == 0 || host_len > HOST_MAX)
		return refuse(msg, -KAP_INVAL, "has no valid host");
	memcpy(target->host, host, host_len);
	target->host[host_len] = '\0';
	target->port_len = (size_t)(end - target->port);
	if (target->port_len == 0)
		target->port = NULL;
	return 0;
}

static int
cut_url(const char *url, struct target *target, struct kap_errmsg *msg)
{
	size_t scheme_len;

	memset(target, 0, sizeof(*target));
	if (strncasecmp(url, "https://", 8) == 0) {
		target->is_https = true;
		scheme_len = 8;
	} else if (strncasecmp(url, "http://", 7) == 0) {
		scheme_len = 7;
	} else {
		return refuse(msg, -KAP_INVAL, "must begin with https://");
	}
	url += scheme_len;
	return cut_host(url, strcspn(url, "/?#"), target, msg);
}

static int
check_port(const struct target *target, struct kap_errmsg *msg)
{
	unsigned number = 0;

	if (target->port == NULL)
		return 0;
	if (target->port_len < 2 || target->port_len > 6 ||
	    target->port[0] != ':' || target->port[1] == '0')
		return refuse(msg, -KAP_INVAL, "has no valid port");
	for (size_t i = 1; i < target->port_len; i++) {
		if (target->port[i] < '0' || target->port[i] > '9')
			return refuse(msg, -KAP_INVAL, "has no valid port");
		number = number * 10 + (unsigned)(target->port[i] - '0');
	}
	if (number > 65535)
		return refuse(msg, -KAP_INVAL, "has no valid port");
	return 0;
}

/*
 * Whether a resolver might take the name for a number: by its last label, as
 * the WHATWG's URL standard has it ("127.1", "0x7f000001", "2130706433").
 */
static bool
ends_in_number(const char *host)
{
	const char *dot = strrchr(host, '.');
	const char *last = dot != NULL ? dot + 1 : host;

	if (last[0] == '0' && (last[1] == 'x' || last[1] == 'X'))
		return true;
	return *last != '\0' && last[strspn(last, digits)] == '\0';
}

static bool
is_dns_name(const char *host)
{
	while (*host != '\0') {
		size_t len = 0;

		while (host[len] != '\0' && host[len] != '.') {
			const char c = host[len];

			if (strchr(digits, c) == NULL &&
			    strchr(letters, c) == NULL && c != '-' &&
			    c != '_')
				return false;
			len++;
		}
		if (len == 0 || len > LABEL_MAX || host[0] == '-' ||
		    host[len - 1] == '-')
			return false;
		host += len;
		if (*host == '.' && *++host == '\0')
			return false; /* a dot at the end */
	}
	return true;
}

static bool
is_local_name(const char *host)
{
	static const char suffix[] = ".localhost";
	const size_t len = strlen(host);
	const size_t suffix_len = sizeof(suffix) - 1;

	for (size_t i = 0; i < sizeof(local_names) / sizeof(local_names[0]);
	     i++) {
		if (strcasecmp(host, local_names[i]) == 0)
			return true;
	}
	return len > suffix_len &&
	    strcasecmp(host + len - suffix_len, suffix) == 0;
}

static int
check_v6_host(const struct target *target,
    const struct net_guard_policy *policy, struct kap_errmsg *msg)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	/* an IPv4 address in IPv6's spelling has no honest use in a URL */
	if (strchr(target->host, '.') != NULL ||
	    inet_pton(AF_INET6, target->host, &in6.sin6_addr) != 1 ||
	    IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) ||
	    IN6_IS_ADDR_V4COMPAT(&in6.sin6_addr))
		return refuse(msg, -KAP_INVAL, "has no valid host");
	if (net_guard_check_address((struct sockaddr *)&in6, policy) != 0)
		return refuse(msg, -KAP_DENIED, "leads to an address that is "
		    "not allowed");
	return 0;
}

static int
check_host(const struct target *target,
    const struct net_guard_policy *policy, struct kap_errmsg *msg)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	if (target->is_v6)
		return check_v6_host(target, policy, msg);
	if (!is_dns_name(target->host))
		return refuse(msg, -KAP_INVAL, "has no valid host");
	if (ends_in_number(target->host)) {
		/* takes four decimal numbers without leading zeros alone */
		if (inet_pton(AF_INET, target->host, &in.sin_addr) != 1)
			return refuse(msg, -KAP_INVAL, "has no valid host");
		if (net_guard_check_address((struct sockaddr *)&in,
		        policy) != 0)
			return refuse(msg, -KAP_DENIED, "leads to an address "
			    "that is not allowed");
		return 0;
	}
	if (is_local_name(target->host) && !policy->allow_loopback)
		return refuse(msg, -KAP_DENIED, "leads to this machine");
	return 0;
}

/* Whether "[v6]", perhaps in another spelling, is the address judged. */
static bool
is_same_v6(char *bracketed, const char *judged)
{
	const size_t len = strlen(bracketed);
	struct in6_addr a;
	struct in6_addr b;

	if (len < 2 || bracketed[0] != '[' || bracketed[len - 1] != ']')
		return false;
	bracketed[len - 1] = '\0';
	return inet_pton(AF_INET6, bracketed + 1, &a) == 1 &&
	    inet_pton(AF_INET6, judged, &b) == 1 &&
	    memcmp(&a, &b, sizeof(a)) == 0;
}

/* What libcurl would connect to must be what was judged. */
static bool
curl_agrees(CURLU *parsed, const struct target *target)
{
	char *scheme = NULL;
	char *host = NULL;
	bool same = false;

	if (curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    strcmp(scheme, target->is_https ? "https" : "http") == 0)
		same = target->is_v6 ? is_same_v6(host, target->host) :
		    strcasecmp(host, target->host) == 0;
	curl_free(scheme);
	curl_free(host);
	return same;
}

static int
check_with_curl(const char *url, const struct target *target,
    struct kap_errmsg *msg)
{
	CURLU *parsed = curl_url();
	int rc = 0;

	if (parsed == NULL)
		return -KAP_NOMEM;
	if (curl_url_set(parsed, CURLUPART_URL, url,
	        CURLU_DISALLOW_USER) != CURLUE_OK ||
	    !curl_agrees(parsed, target))
		rc = refuse(msg, -KAP_INVAL, "is not a valid URL");
	curl_url_cleanup(parsed);
	return rc;
}

int
net_guard_check_url(const char *url, const struct net_guard_policy *policy,
    struct kap_errmsg *msg)
{
	struct target target;
	int rc = check_bytes(url, msg);

	if (rc == 0)
		rc = cut_url(url, &target, msg);
	if (rc == 0 && !target.is_https && !policy->allow_http)
		rc = refuse(msg, -KAP_DENIED, "must begin with https://");
	if (rc == 0)
		rc = check_port(&target, msg);
	if (rc == 0)
		rc = check_host(&target, policy, msg);
	if (rc == 0)
		rc = check_with_curl(url, &target, msg);
	return rc;
}

int
net_guard_check_webhook(const char *url, const struct config *config,
    struct kap_errmsg *msg)
{
	const struct net_guard_policy policy = {
		.allow_http = config->webhook.allow_http,
		.allow_private = config->webhook.allow_private,
		.allow_loopback = config->webhook.allow_loopback,
	};

	return net_guard_check_url(url, &policy, msg);
}
