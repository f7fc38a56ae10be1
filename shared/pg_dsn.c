/*
 * Checks the hosts of a connection string, and adds what makes libpq notice a
 * dead server. Only addresses and socket paths pass: libpq would look a name
 * up in the middle of the event loop.
 */
#include "pg_dsn.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#define WORDS_MAX 80
#define ADDRESSES_MAX 512

struct pg_dsn {
	PQconninfoOption *options; /* owns the given values */
	char addresses[ADDRESSES_MAX]; /* hostaddr; empty: sockets only */
	unsigned count;
	const char *keywords[WORDS_MAX + 1];
	const char *values[WORDS_MAX + 1];
};

/* Used where the connection string says nothing. */
static const struct {
	const char *keyword;
	const char *value;
} fallbacks[] = {
	{ "client_encoding", "UTF8" },
	{ "keepalives", "1" },
	{ "keepalives_idle", "10" },
	{ "keepalives_interval", "3" },
	{ "keepalives_count", "3" },
	{ "tcp_user_timeout", "10000" },
	{ "gssencmode", "disable" }, /* Kerberos' libraries block */
	/* what we gave up on must not go on in the server for ever */
	{ "options", "-c statement_timeout=20000" },
};

static const char *
given(const struct pg_dsn *dsn, const char *keyword)
{
	for (const PQconninfoOption *option = dsn->options;
	     option->keyword != NULL; option++) {
		if (strcmp(option->keyword, keyword) == 0)
			return option->val != NULL && *option->val != '\0'
			    ? option->val : NULL;
	}
	return NULL;
}

static int
add_word(struct pg_dsn *dsn, const char *keyword, const char *value)
{
	if (dsn->count == WORDS_MAX)
		return -KAP_INVAL;
	dsn->keywords[dsn->count] = keyword;
	dsn->values[dsn->count] = value;
	dsn->count++;
	return 0;
}

static bool
is_address(const char *host)
{
	unsigned char raw[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, raw) == 1 ||
	    inet_pton(AF_INET6, host, raw) == 1;
}

/* What to connect to for a host; NULL for a name. "" is a socket. */
static const char *
address_of(const char *host)
{
	if (*host == '\0' || *host == '/' || *host == '@')
		return "";
	if (strcmp(host, "localhost") == 0)
		return "127.0.0.1";
	return is_address(host) ? host : NULL;
}

/* The addresses of a comma-separated list of hosts, in the same order. */
static int
plan_addresses(struct pg_dsn *dsn, const char *hosts, struct kap_errmsg *msg)
{
	char host[ADDRESSES_MAX];
	bool any = false;
	size_t used = 0;

	for (;;) {
		const size_t len = strcspn(hosts, ",");
		const char *address;
		size_t size;

		if (len >= sizeof(host)) {
			kap_errmsg_set(msg, "postgres.dsn: host is too long");
			return -KAP_INVAL;
		}
		memcpy(host, hosts, len);
		host[len] = '\0';
		address = address_of(host);
		if (address == NULL) {
			kap_errmsg_set(msg, "postgres.dsn: host '%.100s' is a "
			    "name; give its address (or hostaddr= beside it) "
			    "or a socket path", host);
			return -KAP_INVAL;
		}
		size = strlen(address);
		if (used + size + 2 > sizeof(dsn->addresses)) {
			kap_errmsg_set(msg, "postgres.dsn: too many hosts");
			return -KAP_INVAL;
		}
		any = any || size > 0;
		memcpy(dsn->addresses + used, address, size);
		used += size;
		hosts += len;
		if (*hosts == '\0')
			break;
		dsn->addresses[used++] = *hosts++;
	}
	dsn->addresses[any ? used : 0] = '\0';
	return 0;
}

static int
check_hosts(struct pg_dsn *dsn, struct kap_errmsg *msg)
{
	const char *hosts = given(dsn, "host");

	if (given(dsn, "service") != NULL || getenv("PGSERVICE") != NULL) {
		kap_errmsg_set(msg, "postgres.dsn: a service can't be used; "
		    "write its parameters");
		return -KAP_INVAL;
	}
	if (given(dsn, "hostaddr") != NULL)
		return 0;
	if (hosts == NULL)
		hosts = getenv("PGHOST");
	return hosts != NULL ? plan_addresses(dsn, hosts, msg) : 0;
}

static int
collect_words(struct pg_dsn *dsn, const char *application)
{
	int rc = 0;

	for (const PQconninfoOption *option = dsn->options;
	     option->keyword != NULL && rc == 0; option++) {
		if (given(dsn, option->keyword) != NULL)
			rc = add_word(dsn, option->keyword, option->val);
	}
	if (rc == 0 && dsn->addresses[0] != '\0')
		rc = add_word(dsn, "hostaddr", dsn->addresses);
	if (rc == 0 && given(dsn, "application_name") == NULL)
		rc = add_word(dsn, "application_name", application);
	for (size_t i = 0;
	     i < sizeof(fallbacks) / sizeof(fallbacks[0]) && rc == 0; i++) {
		if (given(dsn, fallbacks[i].keyword) == NULL)
			rc = add_word(dsn, fallbacks[i].keyword,
			    fallbacks[i].value);
	}
	return rc;
}

int
pg_dsn_parse(struct pg_dsn **dsn_out, const char *text,
    const char *application, struct kap_errmsg *msg)
{
	struct pg_dsn *dsn = calloc(1, sizeof(*dsn));
	int rc;

	if (dsn == NULL)
		return -KAP_NOMEM;
	/* libpq's own message may quote the string, with its password */
	dsn->options = PQconninfoParse(text, NULL);
	if (dsn->options == NULL) {
		kap_errmsg_set(msg, "postgres.dsn is not a connection string "
		    "that libpq understands");
		pg_dsn_free(&dsn);
		return -KAP_INVAL;
	}
	rc = check_hosts(dsn, msg);
	if (rc == 0 && (rc = collect_words(dsn, application)) != 0)
		kap_errmsg_set(msg, "postgres.dsn has too many parameters");
	if (rc != 0) {
		pg_dsn_free(&dsn);
		return rc;
	}
	*dsn_out = dsn;
	return 0;
}

void
pg_dsn_free(struct pg_dsn **dsn)
{
	if (*dsn == NULL)
		return;
	PQconninfoFree((*dsn)->options);
	free(*dsn);
	*dsn = NULL;
}

const char *const *
pg_dsn_keywords(const struct pg_dsn *dsn)
{
	return dsn->keywords;
}

const char *const *
pg_dsn_values(const struct pg_dsn *dsn)
{
	return dsn->values;
}
