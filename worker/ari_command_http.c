/*
 * Commands over HTTP, for an Asterisk that has no REST over a WebSocket (16
 * to 20). An HTTP connection works its requests off one by one, so a lane has
 * many of them: a slow reply then doesn't hold up those behind it. Requests
 * begin in the order they came in. The connections are libcurl's
 * (shared/http_client.h); what a request means is not known here.
 *
 *     DOWN ──▶ CONNECTING ──▶ UP
 *
 * CONNECTING opens nothing: the first request opens the first connection. One
 * that breaks under a request is the end of all: what came of that request
 * can't be known, and whoever sent it is told so by the end of the link.
 */
#include "ari_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <openssl/evp.h>

#include "shared/http_client.h"

/*
 * At most, opened as they are needed. Asterisk 16 looks for what a channel is
 * to do when the channel hears something, else every 200 ms, and keeps the
 * reply back until it is done: this many calls that nobody speaks in yet can
 * be put into their bridges at once.
 */
#define CONNECTIONS 32
/* Under session_keep_alive, 15 s by default: none is closed as it is used. */
#define IDLE_S 10
#define REPLY_MAX (32U << 20) /* a list of very many channels */
#define WAITING_MAX (8U << 20) /* bytes that may wait to leave */
#define BODY_MAX 65536        /* of one request */
#define URL_SIZE (ARI_URI_MAX + 128)
#define CREDENTIALS_MAX (2 * CONFIG_TEXT_MAX)

enum http_state { HTTP_DOWN, HTTP_CONNECTING, HTTP_UP };

/* One request, until its reply. */
struct command {
	STAILQ_ENTRY(command) entry;
	struct http_transport *http;
	struct http_transfer *transfer; /* NULL: waits, or has failed */
	uint64_t id;
	uint64_t mark;
	bool left; /* maybe */
	bool has_body;
	char method[8];
	const char *headers[2]; /* of which http_client keeps no copy */
	size_t body_len;
	char body[]; /* NUL-terminated; the URL follows */
};

STAILQ_HEAD(command_queue, command);

struct http_transport {
	struct event_base *base;
	const struct config *config;
	const struct ari_transport_ops *ops;
	void *link;
	enum http_state state;
	char root[96]; /* "http://127.0.0.1:8088/ari/" */
	char app[ARI_APP_SIZE];
	struct event *on_turn; /* the end of a turn that changed something */

	/* while not DOWN */
	struct http_client *client;
	char authorization[CREDENTIALS_MAX * 4 / 3 + 64];
	struct command_queue waiting;
	struct command_queue begun;
	unsigned begun_count;
	size_t waiting_bytes;
	uint64_t queued_mark;
	uint64_t begun_mark;
	char doom[160]; /* why it ends with this turn */
};

static const char *
command_url(const struct command *command)
{
	return command->body + command->body_len + 1;
}

static size_t
command_size(const struct command *command)
{
	return command->body_len + strlen(command_url(command)) + 2;
}

/* The first reason stays. */
static void
doom(struct http_transport *http, const char *reason)
{
	if (http->doom[0] == '\0')
		(void)snprintf(http->doom, sizeof(http->doom), "%s", reason);
	event_active(http->on_turn, 0, 0);
}

/* ---- replies ---- */

static void
end_command(struct command *command)
{
	struct http_transport *http = command->http;

	STAILQ_REMOVE(&http->begun, command, command, entry);
	http->begun_count--;
	free(command);
	if (!STAILQ_EMPTY(&http->waiting))
		event_active(http->on_turn, 0, 0);
}

static void
on_leaving(void *arg)
{
	struct command *command = arg;

	command->left = true;
}

static void
on_finish(void *arg, const struct http_result *result)
{
	struct command *command = arg;
	struct http_transport *http = command->http;
	const uint64_t id = command->id;
	char reason[128];

	command->transfer = NULL;
	if (result->rc == 0) {
		end_command(command);
		http->ops->reply(http->link, id, (int)result->status,
		    result->body, result->body_len);
		return;
	}
	/* it stays in `begun`, for drop */
	(void)snprintf(reason, sizeof(reason), "a request over HTTP %s: %s",
	    command->left ? "broke" : "could not be sent", result->error);
	doom(http, reason);
}

/* ---- sending ---- */

static int
begin_command(struct http_transport *http, struct command *command)
{
	const struct http_request request = {
		.method = command->method,
		.url = command_url(command),
		.headers = command->headers,
		.header_count = sizeof(command->headers) /
		    sizeof(command->headers[0]),
		.body = command->has_body ? command->body : NULL,
		.body_len = command->body_len,
		.body_max_bytes = REPLY_MAX,
		.leaving = on_leaving,
		.finish = on_finish,
		.arg = command,
	};

	return http_client_send(http->client, &request, &command->transfer);
}

static void
begin_waiting(struct http_transport *http)
{
	struct command *command;

	while (http->begun_count < CONNECTIONS &&
	    (command = STAILQ_FIRST(&http->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&http->waiting, entry);
		STAILQ_INSERT_TAIL(&http->begun, command, entry);
		http->waiting_bytes -= command_size(command);
		http->begun_count++;
		http->begun_mark = command->mark;
		if (begin_command(http, command) != 0) {
			doom(http, "out of memory");
			return;
		}
	}
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct http_transport *http = arg;

	(void)fd;
	(void)what;
	if (http->doom[0] != '\0') {
		http->ops->lost(http->link, http->doom);
	} else if (http->state == HTTP_CONNECTING) {
		http->state = HTTP_UP;
		http->ops->connected(http->link);
	} else if (http->state == HTTP_UP) {
		begin_waiting(http);
	}
}

static struct command *
command_new(struct http_transport *http, const struct ari_request *request)
{
	const size_t body_len = request->body_json != NULL ?
	    strlen(request->body_json) : 0;
	char url[URL_SIZE];
	const int url_len = snprintf(url, sizeof(url), "%s%s%s%s", http->root,
	    request->path, request->query != NULL ? "?" : "",
	    request->query != NULL ? request->query : "");
	struct command *command = calloc(1, sizeof(*command) + body_len +
	    (size_t)url_len + 2);

	if (command == NULL)
		return NULL;
	command->http = http;
	command->id = request->id;
	command->has_body = request->body_json != NULL;
	command->headers[0] = http->authorization;
	command->headers[1] = command->has_body ?
	    "Content-Type: application/json" : "Content-Type:";
	command->body_len = body_len;
	if (body_len > 0)
		memcpy(command->body, request->body_json, body_len);
	memcpy(command->body + body_len + 1, url, (size_t)url_len);
	(void)snprintf(command->method, sizeof(command->method), "%s",
	    request->method);
	return command;
}

static int
http_send(void *transport, const struct ari_request *request,
    uint64_t *mark_out)
{
	struct http_transport *http = transport;
	struct command *command;

	if (http->doom[0] != '\0')
		return -KAP_AGAIN;
	if (strlen(request->method) >= sizeof(command->method) ||
	    strlen(request->path) + (request->query != NULL ?
	        strlen(request->query) + 1 : 0) >= ARI_URI_MAX ||
	    (request->body_json != NULL &&
	        strlen(request->body_json) > BODY_MAX))
		return -KAP_TOOBIG;
	if (http->waiting_bytes > WAITING_MAX)
		return -KAP_FULL;
	command = command_new(http, request);
	if (command == NULL)
		return -KAP_NOMEM;
	command->mark = ++http->queued_mark;
	*mark_out = command->mark;
	http->waiting_bytes += command_size(command);
	STAILQ_INSERT_TAIL(&http->waiting, command, entry);
	event_active(http->on_turn, 0, 0);
	return 0;
}

/* Its connection is closed, if it has one: it may be held up for good. */
static void
http_forget(void *transport, uint64_t id)
{
	struct http_transport *http = transport;
	struct command *command;

	STAILQ_FOREACH(command, &http->begun, entry) {
		if (command->id == id) {
			http_client_cancel(&command->transfer);
			end_command(command);
			return;
		}
	}
	STAILQ_FOREACH(command, &http->waiting, entry) {
		if (command->id == id) {
			STAILQ_REMOVE(&http->waiting, command, command, entry);
			http->waiting_bytes -= command_size(command);
			free(command);
			return;
		}
	}
}

/* ---- connecting ---- */

/* The user and the password may have changed since the last time. */
static void
write_authorization(struct http_transport *http)
{
	static const char name[] = "Authorization: Basic ";
	char plain[CREDENTIALS_MAX];

	(void)snprintf(plain, sizeof(plain), "%s:%s",
	    http->config->asterisk.user, http->config->asterisk.password);
	memcpy(http->authorization, name, sizeof(name));
	(void)EVP_EncodeBlock(
	    (unsigned char *)http->authorization + sizeof(name) - 1,
	    (const unsigned char *)plain, (int)strlen(plain));
	explicit_bzero(plain, sizeof(plain));
}

static void
http_connect(void *transport, const char *app)
{
	struct http_transport *http = transport;
	const struct http_client_options options = {
		.concurrency = CONNECTIONS,
		.per_host = CONNECTIONS,
		.idle_s = IDLE_S,
		.user_agent = http->app, /* tells the lanes apart */
	};

	(void)snprintf(http->app, sizeof(http->app), "%s", app);
	http->state = HTTP_CONNECTING;
	write_authorization(http);
	http->client = http_client_new(http->base, &options);
	if (http->client == NULL)
		doom(http, "out of memory");
	event_active(http->on_turn, 0, 0);
}

static void
free_commands(struct command_queue *queue)
{
	struct command *command;

	while ((command = STAILQ_FIRST(queue)) != NULL) {
		STAILQ_REMOVE_HEAD(queue, entry);
		free(command);
	}
}

static uint64_t
http_drop(void *transport)
{
	struct http_transport *http = transport;
	const uint64_t begun_mark = http->begun_mark;
	struct command *command;

	http->state = HTTP_DOWN;
	http_client_free(&http->client); /* ends its transfers silently */
	STAILQ_FOREACH(command, &http->begun, entry) {
		if (!command->left)
			http->ops->reply(http->link, command->id, -KAP_AGAIN,
			    "", 0);
	}
	free_commands(&http->begun);
	free_commands(&http->waiting);
	http->begun_count = 0;
	http->waiting_bytes = 0;
	http->queued_mark = 0;
	http->begun_mark = 0;
	http->doom[0] = '\0';
	(void)event_del(http->on_turn);
	explicit_bzero(http->authorization, sizeof(http->authorization));
	return begun_mark;
}

/* ---- lifecycle ---- */

/* By its address and not its name, which libcurl would look up. */
static void
write_root(struct http_transport *http, const struct ari_address *address)
{
	const struct sockaddr_in *v4 =
	    (const struct sockaddr_in *)&address->address;
	const struct sockaddr_in6 *v6 =
	    (const struct sockaddr_in6 *)&address->address;
	const bool is_v6 = address->address.ss_family == AF_INET6;
	char text[INET6_ADDRSTRLEN] = "";

	(void)inet_ntop(address->address.ss_family, is_v6 ?
	    (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, text,
	    sizeof(text));
	(void)snprintf(http->root, sizeof(http->root),
	    is_v6 ? "http://[%s]:%u/ari/" : "http://%s:%u/ari/", text,
	    (unsigned)ntohs(is_v6 ? v6->sin6_port : v4->sin_port));
}

static void
http_close(void *transport)
{
	struct http_transport *http = transport;

	(void)http_drop(http);
	event_free(http->on_turn);
	free(http);
}

static void *
http_open(struct event_base *base, const struct config *config,
    const struct ari_address *address, const struct ari_transport_ops *ops,
    void *link)
{
	struct http_transport *http = calloc(1, sizeof(*http));

	if (http == NULL)
		return NULL;
	http->base = base;
	http->config = config;
	http->ops = ops;
	http->link = link;
	write_root(http, address);
	STAILQ_INIT(&http->waiting);
	STAILQ_INIT(&http->begun);
	http->on_turn = event_new(base, -1, 0, on_turn, http);
	if (http->on_turn == NULL) {
		free(http);
		return NULL;
	}
	return http;
}

const struct ari_transport ari_transport_http = {
	.name = "HTTP",
	.open = http_open,
	.close = http_close,
	.connect = http_connect,
	.drop = http_drop,
	.send = http_send,
	.forget = http_forget,
};
