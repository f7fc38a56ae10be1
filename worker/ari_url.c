/*
 * Addresses and paths of Asterisk's REST interface. Text alone: opens
 * nothing, looks nothing up.
 */
#include "ari_url.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "http://"

/* A literal address and a port as a socket address; false for a name. */
static bool
to_address(const char *host, uint16_t port, struct ari_address *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->address;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		out->address_len = sizeof(*v4);
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		out->address_len = sizeof(*v6);
		return true;
	}
	return false;
}

int
ari_url_parse(const char *url, struct ari_address *out,
    struct kap_errmsg *msg)
{
	char rest[sizeof(out->host)];
	char host[sizeof(out->host)];
	const char *literal = host;
	uint16_t port;
	size_t len;

	memset(out, 0, sizeof(*out));
	if (strncmp(url, SCHEME, strlen(SCHEME)) != 0) {
		kap_errmsg_set(msg, "asterisk.url must begin with http://, not "
		    "'%s'", url);
		return -KAP_INVAL;
	}
	url += strlen(SCHEME);
	len = strcspn(url, "/?#");
	if (len >= sizeof(rest) ||
	    strspn(url + len, "/") != strlen(url + len)) {
		kap_errmsg_set(msg, "asterisk.url must be http://address:port "
		    "without a path");
		return -KAP_INVAL;
	}
	memcpy(rest, url, len);
	rest[len] = '\0';
	if (config_split_listen(rest, host, sizeof(host), &port) != 0) {
		kap_errmsg_set(msg, "asterisk.url must be http://address:port, "
		    "not 'http://%s'", rest);
		return -KAP_INVAL;
	}
	if (strcmp(host, "localhost") == 0)
		literal = "127.0.0.1";
	if (!to_address(literal, port, out)) {
		kap_errmsg_set(msg, "asterisk.url: '%s' is a name; write "
		    "Asterisk's address (or localhost)", host);
		return -KAP_INVAL;
	}
	memcpy(out->host, rest, len + 1);
	return 0;
}

void
ari_url_app_name(char out[ARI_APP_SIZE], int64_t node, int slot)
{
	(void)snprintf(out, ARI_APP_SIZE, "kaphila-%" PRId64 "-%d", node,
	    slot);
}

void
ari_url_connection_name(char out[ARI_APP_SIZE], int64_t node, int slot,
    const char *lane, uint32_t connection)
{
	(void)snprintf(out, ARI_APP_SIZE,
	    "kaphila-%" PRId64 "-%d-%s-%08" PRIx32, node, slot, lane,
	    connection);
}

static bool
is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~';
}

/* Append as it is; false when there is no room for it and a NUL. */
static bool
append(char *out, size_t size, size_t *len, const char *text, size_t text_len)
{
	if (text_len >= size - *len)
		return false;
	memcpy(out + *len, text, text_len);
	*len += text_len;
	out[*len] = '\0';
	return true;
}

static bool
append_encoded(char *out, size_t size, size_t *len, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *text != '\0'; text++) {
		const unsigned char c = (unsigned char)*text;
		const char escaped[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (is_unreserved(c)) {
			if (!append(out, size, len, text, 1))
				return false;
		} else if (!append(out, size, len, escaped, 3)) {
			return false;
		}
	}
	return true;
}

int
ari_url_encode(const char *text, char *out, size_t out_size)
{
	size_t len = 0;

	if (out_size == 0)
		return -KAP_TOOBIG;
	out[0] = '\0';
	return append_encoded(out, out_size, &len, text) ? 0 : -KAP_TOOBIG;
}

void
ari_uri_init(struct ari_uri *uri)
{
	uri->text[0] = '\0';
	uri->len = 0;
	uri->has_query = false;
	uri->overflow = false;
}

static void
add_plain(struct ari_uri *uri, const char *text)
{
	if (!append(uri->text, sizeof(uri->text), &uri->len, text,
	        strlen(text)))
		uri->overflow = true;
}

static void
add_encoded(struct ari_uri *uri, const char *text)
{
	if (!append_encoded(uri->text, sizeof(uri->text), &uri->len, text))
		uri->overflow = true;
}

void
ari_uri_segment(struct ari_uri *uri, const char *text)
{
	if (uri->len > 0)
		add_plain(uri, "/");
	add_encoded(uri, text);
}

void
ari_uri_query(struct ari_uri *uri, const char *name, const char *value)
{
	add_plain(uri, uri->has_query ? "&" : "?");
	uri->has_query = true;
	add_encoded(uri, name);
	add_plain(uri, "=");
	add_encoded(uri, value);
}

void
ari_uri_query_int(struct ari_uri *uri, const char *name, int64_t value)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%" PRId64, value);
	ari_uri_query(uri, name, digits);
}

int
ari_uri_check(const struct ari_uri *uri)
{
	return uri->overflow ? -KAP_TOOBIG : 0;
}
