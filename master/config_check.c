/*
 * Reads and checks a configuration. Not in shared/config_file.c, which every
 * child has: it would bring libpq into all of them.
 */
#include "master/config_check.h"

#include <string.h>

#include "shared/pg_dsn.h"
#include "shared/tls_files.h"

static int
check_dsn(const struct config *config, struct kap_errmsg *why)
{
	struct pg_dsn *dsn;
	const int rc = pg_dsn_parse(&dsn, config->postgres.dsn, "kaphila",
	    why);

	if (rc == 0)
		pg_dsn_free(&dsn);
	return rc;
}

static int
check_tls(const struct config *config, struct kap_errmsg *why)
{
	if (config->http.tls_certificate[0] == '\0')
		return 0;
	return tls_files_check(config->http.tls_certificate,
	    config->http.tls_key, why);
}

static int
refuse(int rc, const char *path, const char *key, const struct kap_errmsg *why,
    struct kap_errmsg *msg)
{
	const int line = config_peek(path, key, NULL);

	if (line > 0)
		kap_errmsg_set(msg, "%s:%d: %s: %s", path, line, key,
		    why->text);
	else
		kap_errmsg_set(msg, "%s: %s: %s", path, key, why->text);
	return rc;
}

/* The message begins with the file that was refused. */
static const char *
tls_key_at_fault(const struct config *config, const struct kap_errmsg *why)
{
	const size_t len = strlen(config->http.tls_key);

	return strncmp(why->text, config->http.tls_key, len) == 0 &&
	    why->text[len] == ':' ? "http.tls_key" : "http.tls_certificate";
}

int
config_check_load(struct config *config, const char *path,
    struct kap_errmsg *msg)
{
	struct kap_errmsg why = { .text = "" };
	int rc = config_load(config, path, msg);

	if (rc != 0)
		return rc;
	rc = check_dsn(config, &why);
	if (rc != 0)
		return refuse(rc, path, "postgres.dsn", &why, msg);
	rc = check_tls(config, &why);
	if (rc != 0)
		return refuse(rc, path, tls_key_at_fault(config, &why), &why,
		    msg);
	return 0;
}
