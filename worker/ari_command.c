/*
 * Requests under way on one command link: numbering, matching, time limits,
 * and the question to Asterisk that a new connection begins with. Knows no
 * socket; the transport does.
 *
 *     connected ──▶ asks /asterisk/info ──▶ up ──▶ lost ──▶ (again)
 */
#include "ari_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "ari_transport.h"
#include "ari_url.h"

/* One request; at pending[id % ARI_COMMANDS_MAX]. */
struct pending {
	uint64_t id;   /* 0: free */
	uint64_t mark; /* the transport's: how far it must have written */
	ari_command_cb callback;
	void *arg;
	struct ari_command_link *link;
	struct event timeout;
};

struct ari_command_link {
	struct event_base *base;
	const struct config *config;
	const struct ari_command_ops *ops;
	void *ctx;
	const struct ari_transport *kind;
	void *transport;
	bool up; /* connected, and Asterisk has answered */
	uint64_t last_id;
	unsigned in_flight;
	struct pending *pending; /* ARI_COMMANDS_MAX */
};

/* End one request. The slot is free before the callback, which may send. */
static void
finish(struct pending *pending, int status, const char *body, size_t body_len)
{
	const ari_command_cb callback = pending->callback;
	void *arg = pending->arg;

	(void)evtimer_del(&pending->timeout);
	pending->id = 0;
	pending->link->in_flight--;
	callback(arg, status, body, body_len);
}

static int
compare_ids(const void *a, const void *b)
{
	const uint64_t left = *(const uint64_t *)a;
	const uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/*
 * End all requests, oldest first; those that never left say so. Nothing new
 * is taken meanwhile, for the link is down.
 */
static void
finish_all(struct ari_command_link *link, uint64_t written)
{
	uint64_t ids[ARI_COMMANDS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < ARI_COMMANDS_MAX; i++) {
		if (link->pending[i].id != 0)
			ids[count++] = link->pending[i].id;
	}
	qsort(ids, count, sizeof(ids[0]), compare_ids);
	for (size_t i = 0; i < count; i++) {
		struct pending *pending =
		    &link->pending[ids[i] % ARI_COMMANDS_MAX];

		if (pending->id == ids[i])
			finish(pending, pending->mark <= written ? -KAP_GONE :
			    -KAP_AGAIN, "", 0);
	}
}

static void
on_request_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct pending *pending = arg;

	(void)fd;
	(void)what;
	finish(pending, -KAP_TIMEOUT, "", 0);
}

static int
submit(struct ari_command_link *link, struct ari_request *request,
    int64_t timeout_ms, ari_command_cb callback, void *arg)
{
	uint64_t id = link->last_id + 1;
	struct pending *pending;
	const struct timeval after = { .tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000 };
	int rc;

	if (link->in_flight == ARI_COMMANDS_MAX)
		return -KAP_FULL;
	/* one that waits long for its reply must not stop those behind it */
	while (link->pending[id % ARI_COMMANDS_MAX].id != 0)
		id++;
	pending = &link->pending[id % ARI_COMMANDS_MAX];
	request->id = id;
	rc = link->kind->send(link->transport, request, &pending->mark);
	if (rc != 0)
		return rc;
	link->last_id = id;
	link->in_flight++;
	pending->id = id;
	pending->callback = callback;
	pending->arg = arg;
	pending->link = link;
	(void)evtimer_assign(&pending->timeout, link->base,
	    on_request_timeout, pending);
	(void)evtimer_add(&pending->timeout, &after);
	return 0;
}

int
ari_command_send(struct ari_command_link *link, const char *method,
    const char *path, const char *query, const char *body_json,
    int64_t timeout_ms, ari_command_cb callback, void *arg)
{
	struct ari_request request = { .method = method, .path = path,
		.query = query, .body_json = body_json };

	if (!link->up)
		return -KAP_AGAIN;
	return submit(link, &request, timeout_ms, callback, arg);
}

/* ---- the first question ---- */

static void
copy_text(char *out, size_t size, const cJSON *object, const char *part,
    const char *name)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(
	        cJSON_GetObjectItemCaseSensitive(object, part), name));

	(void)snprintf(out, size, "%s", text != NULL ? text : "");
}

static int
read_info(const char *body, struct ari_server *server)
{
	cJSON *info = cJSON_Parse(body);

	if (info == NULL)
		return -KAP_PROTO;
	copy_text(server->version, sizeof(server->version), info, "system",
	    "version");
	copy_text(server->entity_id, sizeof(server->entity_id), info,
	    "system", "entity_id");
	copy_text(server->started, sizeof(server->started), info, "status",
	    "startup_time");
	cJSON_Delete(info);
	return server->version[0] != '\0' ? 0 : -KAP_PROTO;
}

static void
on_info(void *arg, int status, const char *body, size_t body_len)
{
	struct ari_command_link *link = arg;
	struct ari_server server;
	char reason[128];

	(void)body_len;
	if (status == -KAP_GONE || status == -KAP_AGAIN)
		return; /* lost meanwhile: it connects again anyway */
	if (status == 200 && read_info(body, &server) == 0) {
		link->up = true;
		link->ops->up(link->ctx, &server);
		return;
	}
	if (status == -KAP_TIMEOUT)
		(void)snprintf(reason, sizeof(reason), "Asterisk doesn't "
		    "answer commands over %s (it takes a version 22)",
		    link->kind->name);
	else
		(void)snprintf(reason, sizeof(reason),
		    "Asterisk answered %d when asked for its version", status);
	link->kind->reset(link->transport, reason);
}

/* ---- from the transport ---- */

static void
on_transport_connected(void *ctx)
{
	struct ari_command_link *link = ctx;
	struct ari_request request = { .method = "GET",
		.path = "asterisk/info", .query = "only=system,status" };

	if (submit(link, &request, link->config->asterisk.command_timeout_ms,
	        on_info, link) != 0)
		link->kind->reset(link->transport, "out of memory");
}

static void
on_transport_reply(void *ctx, uint64_t id, int status, const char *body,
    size_t body_len)
{
	struct ari_command_link *link = ctx;
	struct pending *pending = &link->pending[id % ARI_COMMANDS_MAX];

	/* one that comes after its time has no request any more */
	if (id != 0 && pending->id == id)
		finish(pending, status, body, body_len);
}

static void
on_transport_lost(void *ctx, uint64_t written, const char *reason)
{
	struct ari_command_link *link = ctx;

	link->up = false;
	finish_all(link, written);
	link->ops->down(link->ctx, reason);
}

static const struct ari_transport_ops transport_ops = {
	.connected = on_transport_connected,
	.reply = on_transport_reply,
	.lost = on_transport_lost,
};

/* ---- lifecycle ---- */

int
ari_command_open(struct ari_command_link **link_out, struct event_base *base,
    const struct config *config, int slot, const char *lane,
    const struct ari_command_ops *ops, void *ctx, struct kap_errmsg *msg)
{
	struct ari_command_link *link;
	struct ari_address address;
	char app[ARI_APP_SIZE];

	*link_out = NULL;
	if (ari_url_parse(config->asterisk.url, &address, msg) != 0)
		return -KAP_INVAL;
	link = calloc(1, sizeof(*link));
	if (link == NULL)
		return -KAP_NOMEM;
	link->base = base;
	link->config = config;
	link->ops = ops;
	link->ctx = ctx;
	link->kind = &ari_transport_ws;
	link->pending = calloc(ARI_COMMANDS_MAX, sizeof(*link->pending));
	ari_url_app_name(app, config->node.id, slot, lane);
	if (link->pending != NULL)
		link->transport = link->kind->open(base, config, &address,
		    app, &transport_ops, link);
	if (link->transport == NULL) {
		free(link->pending);
		free(link);
		return -KAP_NOMEM;
	}
	*link_out = link;
	return 0;
}

void
ari_command_close(struct ari_command_link **link)
{
	struct ari_command_link *old = *link;
	uint64_t written;

	if (old == NULL)
		return;
	*link = NULL;
	written = old->kind->written(old->transport);
	old->up = false;
	old->kind->close(old->transport);
	finish_all(old, written);
	free(old->pending);
	free(old);
}

bool
ari_command_is_up(const struct ari_command_link *link)
{
	return link->up;
}

unsigned
ari_command_in_flight(const struct ari_command_link *link)
{
	return link->in_flight;
}
