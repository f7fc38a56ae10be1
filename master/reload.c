/*
 * Builds the next configuration beside the running one and swaps it in, or
 * leaves the running one untouched. Secrets are compared, never shown.
 */
#include "master/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "master/children.h"
#include "master/config_check.h"
#include "shared/clock.h"
#include "shared/log.h"

/* What is found while two configurations are compared. */
struct changes {
	cJSON *list; /* NULL: nobody wants it */
	unsigned count[CONFIG_REACH_COUNT];
};

/*
 * The secrets are hashed too, for they change like the rest; the pepper among
 * them is long and random, so the digits give none of them away.
 */
static void
hash_config(const struct config *config, char out[RELOAD_HASH_SIZE])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	bool ok = file != NULL && config_dump(config, file, true, false) == 0;

	if (file != NULL && fclose(file) != 0)
		ok = false;
	ok = ok && EVP_Digest(text, len, digest, NULL, EVP_sha256(), NULL) == 1;
	for (size_t i = 0; i < (RELOAD_HASH_SIZE - 1) / 2; i++)
		(void)snprintf(out + 2 * i, 3, "%02x",
		    ok ? digest[i] : 0U);
	if (text != NULL)
		OPENSSL_cleanse(text, len);
	free(text);
}

static void
note_loaded(struct reload *reload)
{
	reload->loaded_ms = clock_wall_ms();
	hash_config(&reload->config, reload->hash);
}

int
reload_first(struct reload *reload, const char *path, struct kap_errmsg *msg)
{
	const int rc = config_check_load(&reload->config, path, msg);

	reload->path = path;
	if (rc == 0)
		note_loaded(reload);
	return rc;
}

static void
on_key_changed(void *ctx, const struct config_change *change)
{
	struct changes *changes = ctx;
	cJSON *object = cJSON_CreateObject();
	const char *when = config_reach_name(change->reach);
	char key[128];

	(void)snprintf(key, sizeof(key), "%s.%s", change->section,
	    change->name);
	log_info("configuration key changed", LOG_S("key", key),
	    LOG_S("from", change->from), LOG_S("to", change->to),
	    LOG_S("when", when));
	changes->count[change->reach]++;
	(void)cJSON_AddStringToObject(object, "key", key);
	(void)cJSON_AddStringToObject(object, "from", change->from);
	(void)cJSON_AddStringToObject(object, "to", change->to);
	(void)cJSON_AddStringToObject(object, "when", when);
	(void)cJSON_AddItemToArray(changes->list, object);
}

/* Swap in what a running node can take; the children are told. */
static void
take_over(struct reload *reload, const struct config *next,
    const struct changes *changes)
{
	config_take(&reload->config, next, CONFIG_AT_ONCE);
	config_take(&reload->config, next, CONFIG_AT_CHILD_START);
	if (changes->count[CONFIG_AT_CHILD_START] > 0)
		reload->child_keys_ms = clock_boot_ms();
	note_loaded(reload);
	log_init("master", -1, (enum log_level)reload->config.log.level,
	    (enum log_format)reload->config.log.format);
	/* also when nothing changed: the certificate is read anew */
	if (reload->children != NULL)
		children_set_config(reload->children, &reload->config);
}

static cJSON *
refuse(const struct kap_errmsg *msg)
{
	cJSON *answer = cJSON_CreateObject();

	log_warn("configuration refused, nothing changed",
	    LOG_S("error", msg->text));
	(void)cJSON_AddBoolToObject(answer, "ok", false);
	(void)cJSON_AddStringToObject(answer, "error", msg->text);
	return answer;
}

cJSON *
reload_again(struct reload *reload)
{
	struct changes changes = { .list = NULL };
	struct kap_errmsg msg = { .text = "" };
	char when[CLOCK_ISO_SIZE];
	struct config next;
	cJSON *answer;

	if (config_check_load(&next, reload->path, &msg) != 0)
		return refuse(&msg);
	/* kaphilactl scale may have changed it */
	if (reload->children != NULL)
		reload->config.http.workers = reload->children->workers;
	answer = cJSON_CreateObject();
	changes.list = cJSON_AddArrayToObject(answer, "changed");
	(void)config_compare(&reload->config, &next, on_key_changed,
	    &changes);
	take_over(reload, &next, &changes);
	log_info("configuration reloaded", LOG_S("config", reload->path),
	    LOG_I("now", changes.count[CONFIG_AT_ONCE]),
	    LOG_I("child_start", changes.count[CONFIG_AT_CHILD_START]),
	    LOG_I("master_start", changes.count[CONFIG_AT_MASTER_START]));
	clock_format_iso(reload->loaded_ms, when);
	(void)cJSON_AddBoolToObject(answer, "ok", true);
	(void)cJSON_AddStringToObject(answer, "loadedAt", when);
	(void)cJSON_AddStringToObject(answer, "hash", reload->hash);
	(void)cJSON_AddBoolToObject(answer, "certificateRead",
	    reload->config.http.tls_certificate[0] != '\0');
	return answer;
}
