/*
 * The router. Knows no connection and no handler by name.
 */
#include "http_router.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static size_t
segment_len(const char *text, size_t len)
{
	const char *slash = memchr(text, '/', len);

	return slash != NULL ? (size_t)(slash - text) : len;
}

/* Match one segment; a parameter is kept. */
static bool
match_segment(const char *pattern, size_t pattern_len, const char *path,
    size_t path_len, struct http_match *match)
{
	struct http_param *param;

	if (pattern_len == 0 || pattern[0] != ':')
		return pattern_len == path_len &&
		    memcmp(pattern, path, path_len) == 0;
	if (path_len == 0 || match->param_count == HTTP_PARAMS_MAX)
		return false;
	param = &match->params[match->param_count++];
	param->name = pattern + 1;
	param->name_len = pattern_len - 1;
	param->value = path;
	param->value_len = path_len;
	return true;
}

static bool
match_path(const char *pattern, const char *path, size_t path_len,
    struct http_match *match)
{
	size_t pattern_len = strlen(pattern);

	match->param_count = 0;
	while (pattern_len > 0 && path_len > 0) {
		size_t a, b;

		if (*pattern != '/' || *path != '/')
			return false;
		a = segment_len(pattern + 1, pattern_len - 1);
		b = segment_len(path + 1, path_len - 1);
		if (!match_segment(pattern + 1, a, path + 1, b, match))
			return false;
		pattern += a + 1;
		pattern_len -= a + 1;
		path += b + 1;
		path_len -= b + 1;
	}
	return pattern_len == 0 && path_len == 0;
}

static bool
answers(const struct http_route *route, const char *method)
{
	return strcmp(route->method, method) == 0 ||
	    (strcmp(method, "HEAD") == 0 &&
	    strcmp(route->method, "GET") == 0);
}

int
http_router_match(const struct http_routes *routes, const char *method,
    const char *path, size_t path_len, struct http_match *match_out)
{
	int rc = -KAP_NOENT;

	match_out->path_route = NULL;
	for (size_t i = 0; i < routes->count; i++) {
		const struct http_route *route = &routes->table[i];

		if (!match_path(route->pattern, path, path_len, match_out))
			continue;
		rc = -KAP_STATE;
		match_out->path_route = route;
		if (answers(route, method)) {
			match_out->route = route;
			return 0;
		}
	}
	match_out->route = NULL;
	match_out->param_count = 0;
	return rc;
}

static bool
can_be_asked(const struct http_routes *routes, const char *method,
    const char *path, size_t path_len)
{
	struct http_match match;

	return http_router_match(routes, method, path, path_len, &match) == 0;
}

int
http_router_allow(const struct http_routes *routes, const char *path,
    size_t path_len, char out[HTTP_ALLOW_SIZE])
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT",
		"DELETE", "PATCH" };
	size_t len = 0;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (can_be_asked(routes, methods[i], path, path_len))
			len += (size_t)snprintf(out + len,
			    HTTP_ALLOW_SIZE - len, "%s, ", methods[i]);
	}
	if (len == 0)
		return -KAP_NOENT;
	(void)snprintf(out + len, HTTP_ALLOW_SIZE - len, "OPTIONS");
	return 0;
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

void
http_router_decode(const char *text, size_t len, char *out)
{
	size_t at = 0;

	while (at < len) {
		int high = -1, low = -1;

		if (text[at] == '%' && len - at >= 3) {
			high = hex_value(text[at + 1]);
			low = hex_value(text[at + 2]);
		}
		if (high >= 0 && low >= 0) {
			*out++ = (char)(high * 16 + low);
			at += 3;
		} else {
			*out++ = text[at++];
		}
	}
	*out = '\0';
}
