/*
 * Two requests, one behind the other, each with its reply:
 *
 *     link up ──▶ our dialplan's version ──there──▶ app_amd ──runs──▶ THERE
 *        ▲               │ not there                  │ doesn't
 *        │               └──────────────┬─────────────┘
 *        └──── 60 s ──── MISSING ◀──────┘
 *
 * A reply that doesn't come, or can't be understood, means missing too: calls
 * that ask for a verdict are refused then, and no other.
 */
#include "amd_check.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/event.h>

#include "ari_url.h"
#include "shared/log.h"

#define RETRY_S 60
#define VERSION_VARIABLE "KAPHILA_AMD_VERSION"
#define VERSION "1"
#define MODULE "app_amd.so"

enum amd_known { AMD_UNKNOWN, AMD_MISSING, AMD_THERE };

struct amd_check {
	struct amd_check_options options;
	struct event *timer;
	enum amd_known known;
	bool asking;
	bool again; /* the link came up meanwhile: its answer counts */
};

static void ask(struct amd_check *check);

static void
ask_later(struct amd_check *check)
{
	const struct timeval after = { .tv_sec = RETRY_S };

	(void)event_add(check->timer, &after);
}

/* The answer: `missing` is what isn't there, or NULL. */
static void
conclude(struct amd_check *check, const char *missing)
{
	const enum amd_known known = missing == NULL ? AMD_THERE :
	    AMD_MISSING;
	const bool changed = known != check->known;

	check->asking = false;
	if (check->again) {
		ask(check);
		return;
	}
	check->known = known;
	if (missing != NULL)
		ask_later(check);
	if (!changed)
		return;
	if (missing != NULL)
		log_warn("no answering machine detection: calls with useAmd "
		    "are refused", LOG_S("missing", missing));
	else
		log_info("answering machine detection is there");
	check->options.changed(check->options.ctx);
}

/* Whether the reply is an object whose member `name` is `wanted`. */
static bool
says(int status, const char *body, size_t body_len, const char *name,
    const char *wanted)
{
	cJSON *reply = status == 200
	    ? cJSON_ParseWithLength(body, body_len) : NULL;
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(reply, name));
	const bool is_so = text != NULL && strcmp(text, wanted) == 0;

	cJSON_Delete(reply);
	return is_so;
}

/* The link is lost: what is known stands until it is there again. */
static bool
is_lost(struct amd_check *check, int status)
{
	if (status > 0 || status == -KAP_TIMEOUT)
		return false;
	check->asking = false;
	return true;
}

static void
get(struct amd_check *check, const struct ari_uri *uri,
    ari_command_cb callback)
{
	const struct amd_check_options *options = &check->options;

	if (ari_command_send(*options->control, "GET", uri->text, NULL, NULL,
	        options->config->asterisk.command_timeout_ms, callback,
	        check) != 0)
		conclude(check, "an answer");
}

static void
on_module(void *arg, int status, const char *body, size_t body_len)
{
	struct amd_check *check = arg;

	if (!is_lost(check, status))
		conclude(check, says(status, body, body_len, "status",
		    "Running") ? NULL : MODULE);
}

static void
on_version(void *arg, int status, const char *body, size_t body_len)
{
	struct amd_check *check = arg;
	struct ari_uri uri;

	if (is_lost(check, status))
		return;
	if (!says(status, body, body_len, "value", VERSION)) {
		conclude(check, "context kaphila-amd in extensions.conf");
		return;
	}
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "asterisk");
	ari_uri_segment(&uri, "modules");
	ari_uri_segment(&uri, MODULE);
	get(check, &uri, on_module);
}

static void
ask(struct amd_check *check)
{
	struct ari_uri uri;

	(void)event_del(check->timer);
	check->asking = true;
	check->again = false;
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "asterisk");
	ari_uri_segment(&uri, "variable");
	ari_uri_query(&uri, "variable", VERSION_VARIABLE);
	get(check, &uri, on_version);
}

static void
on_timer(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct amd_check *check = arg;

	if (!check->asking)
		ask(check);
}

void
amd_check_set_link(struct amd_check *check, bool up)
{
	if (!up) {
		(void)event_del(check->timer);
		check->again = false;
	} else if (check->asking) {
		check->again = true;
	} else {
		ask(check);
	}
}

bool
amd_check_is_known(const struct amd_check *check)
{
	return check->known != AMD_UNKNOWN;
}

bool
amd_check_is_there(const struct amd_check *check)
{
	return check->known == AMD_THERE;
}

struct amd_check *
amd_check_new(const struct amd_check_options *options)
{
	struct amd_check *check = calloc(1, sizeof(*check));

	if (check == NULL)
		return NULL;
	check->options = *options;
	check->timer = evtimer_new(options->base, on_timer, check);
	if (check->timer == NULL)
		amd_check_free(&check);
	return check;
}

void
amd_check_free(struct amd_check **check)
{
	if (*check == NULL)
		return;
	if ((*check)->timer != NULL)
		event_free((*check)->timer);
	free(*check);
	*check = NULL;
}
