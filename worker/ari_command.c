/*
 * A command link: when to connect, by which transport, and the requests under
 * way: their numbers, replies and time limits. Knows no socket; the transports
 * do.
 *
 *     WAITING ──▶ CONNECTING ──▶ ASKING ──▶ UP
 *        ▲             │          │  ▲      │
 *        └─────────────┴──────────┴──┼──────┘
 *                      a deaf WebSocket: over HTTP
 *
 * Each connection begins with a WebSocket and a question to Asterisk. One that
 * has no REST over a WebSocket does not hear it, and is asked over HTTP; then
 * the WebSocket stays all the same, for it tells at once when Asterisk is gone,
 * which HTTP does not. So no version has to be known, and an Asterisk that was
 * replaced by another one is found out at the next connect.
 */
#include "ari_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>

#include "ari_connect.h"
#include "ari_transport.h"
#include "ari_url.h"
#include "shared/clock.h"

enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_ASKING, LINK_UP };

/* A transport and its state. */
struct link_transport {
	const struct ari_transport *kind;
	void *transport;
};

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
	int slot;
	const char *lane;
	uint32_t connection; /* the number of the last one */
	char app[ARI_APP_SIZE]; /* …and its name */
	enum link_state state;
	struct link_transport ws;
	struct link_transport http;
	struct link_transport *by; /* what requests go by: &ws or &http */
	struct ari_backoff backoff;
	struct event *on_due;  /* the end of WAITING */
	struct event *on_doom; /* the connection ends with this turn */
	char doom[160];        /* why */
	int64_t up_since_ms;   /* boot clock */
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
	const struct link_transport *by = pending->link->by;

	(void)fd;
	(void)what;
	if (by->kind->forget != NULL)
		by->kind->forget(by->transport, pending->id);
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
	rc = link->by->kind->send(link->by->transport, request,
	    &pending->mark);
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

	if (link->state != LINK_UP)
		return -KAP_AGAIN;
	return submit(link, &request, timeout_ms, callback, arg);
}

/* ---- down, and up again ---- */

/* Not from inside a transport's `reply` or `deaf`: see doom(). */
static void
go_down(struct ari_command_link *link, const char *reason)
{
	uint64_t written;
	int64_t wait_ms;
	struct timeval after;
	char copy[sizeof(link->doom)];

	(void)snprintf(copy, sizeof(copy), "%s", reason);
	if (link->state == LINK_UP && clock_boot_ms() - link->up_since_ms >=
	    link->config->asterisk.reconnect_max_ms)
		link->backoff.next_ms = 0;
	link->state = LINK_WAITING;
	link->doom[0] = '\0';
	(void)event_del(link->on_doom);
	written = link->by->kind->drop(link->by->transport);
	if (link->by != &link->ws)
		(void)link->ws.kind->drop(link->ws.transport);
	finish_all(link, written);
	wait_ms = ari_backoff_next_ms(&link->backoff, link->config);
	after.tv_sec = wait_ms / 1000;
	after.tv_usec = wait_ms % 1000 * 1000;
	(void)evtimer_add(link->on_due, &after);
	link->ops->down(link->ctx, copy);
}

/* The same at the end of the turn. */
static void
doom(struct ari_command_link *link, const char *reason)
{
	(void)snprintf(link->doom, sizeof(link->doom), "%s", reason);
	event_active(link->on_doom, 0, 0);
}

static void
on_doom(evutil_socket_t fd, short what, void *arg)
{
	struct ari_command_link *link = arg;

	(void)fd;
	(void)what;
	go_down(link, link->doom);
}

static void
name_connection(struct ari_command_link *link)
{
	do {
		evutil_secure_rng_get_bytes(&link->connection,
		    sizeof(link->connection));
	} while (link->connection == 0);
	ari_url_connection_name(link->app, link->config->node.id, link->slot,
	    link->lane, link->connection);
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	struct ari_command_link *link = arg;

	(void)fd;
	(void)what;
	link->state = LINK_CONNECTING;
	link->by = &link->ws;
	name_connection(link);
	link->ws.kind->connect(link->ws.transport, link->app);
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
		return; /* lost, or asked over HTTP meanwhile */
	if (status == 200 && read_info(body, &server) == 0) {
		link->state = LINK_UP;
		link->up_since_ms = clock_boot_ms();
		server.transport = link->by->kind->name;
		link->ops->up(link->ctx, &server);
		return;
	}
	if (status == -KAP_TIMEOUT)
		(void)snprintf(reason, sizeof(reason),
		    "Asterisk doesn't answer commands over %s",
		    link->by->kind->name);
	else
		(void)snprintf(reason, sizeof(reason),
		    "Asterisk answered %d when asked for its version", status);
	doom(link, reason);
}

/* ---- from the transports ---- */

static void
on_transport_connected(void *ctx)
{
	struct ari_command_link *link = ctx;
	struct ari_request request = { .method = "GET",
		.path = "asterisk/info", .query = "only=system,status" };

	link->state = LINK_ASKING;
	if (submit(link, &request, link->config->asterisk.command_timeout_ms,
	        on_info, link) != 0)
		doom(link, "out of memory");
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
on_transport_deaf(void *ctx)
{
	struct ari_command_link *link = ctx;

	if (link->state != LINK_ASKING || link->by != &link->ws)
		return;
	finish_all(link, 0); /* our own question */
	link->state = LINK_CONNECTING;
	link->by = &link->http;
	link->http.kind->connect(link->http.transport, link->app);
}

static void
on_transport_lost(void *ctx, const char *reason)
{
	struct ari_command_link *link = ctx;

	go_down(link, reason);
}

static const struct ari_transport_ops transport_ops = {
	.connected = on_transport_connected,
	.reply = on_transport_reply,
	.deaf = on_transport_deaf,
	.lost = on_transport_lost,
};

/* ---- lifecycle ---- */

static void
release(struct ari_command_link *link)
{
	if (link->ws.transport != NULL)
		link->ws.kind->close(link->ws.transport);
	if (link->http.transport != NULL)
		link->http.kind->close(link->http.transport);
	if (link->on_due != NULL)
		event_free(link->on_due);
	if (link->on_doom != NULL)
		event_free(link->on_doom);
	free(link->pending);
	free(link);
}

static void
open_transport(struct ari_command_link *link, struct link_transport *one,
    const struct ari_transport *kind, const struct ari_address *address)
{
	one->kind = kind;
	one->transport = kind->open(link->base, link->config, address,
	    &transport_ops, link);
}

int
ari_command_open(struct ari_command_link **link_out, struct event_base *base,
    const struct config *config, int slot, const char *lane,
    const struct ari_command_ops *ops, void *ctx, struct kap_errmsg *msg)
{
	static const struct timeval at_once;
	struct ari_command_link *link;
	struct ari_address address;

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
	link->slot = slot;
	link->lane = lane;
	link->by = &link->ws;
	link->pending = calloc(ARI_COMMANDS_MAX, sizeof(*link->pending));
	link->on_due = evtimer_new(base, on_due, link);
	link->on_doom = event_new(base, -1, 0, on_doom, link);
	open_transport(link, &link->ws, &ari_transport_ws, &address);
	open_transport(link, &link->http, &ari_transport_http, &address);
	if (link->pending == NULL || link->on_due == NULL ||
	    link->on_doom == NULL || link->ws.transport == NULL ||
	    link->http.transport == NULL ||
	    evtimer_add(link->on_due, &at_once) != 0) {
		release(link);
		return -KAP_NOMEM;
	}
	*link_out = link;
	return 0;
}

void
ari_command_close(struct ari_command_link **link)
{
	struct ari_command_link *old = *link;

	if (old == NULL)
		return;
	*link = NULL;
	old->state = LINK_WAITING;
	finish_all(old, old->by->kind->drop(old->by->transport));
	release(old);
}

bool
ari_command_is_up(const struct ari_command_link *link)
{
	return link->state == LINK_UP;
}

uint32_t
ari_command_connection(const struct ari_command_link *link)
{
	return link->state == LINK_UP && link->by == &link->ws ?
	    link->connection : 0;
}

unsigned
ari_command_in_flight(const struct ari_command_link *link)
{
	return link->in_flight;
}
