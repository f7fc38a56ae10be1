/*
 * libcurl's multi interface on libevent: libcurl says which descriptors and
 * which timer it wants watched, libevent says when they fire, and whatever
 * ended is handed to its finish(). Easy handles are set up once and used
 * again; a request changes only what differs. Knows nothing of what is sent.
 */
#include "http_client.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <curl/curl.h>
#include <event2/event.h>

#define BODY_FIRST_BYTES 4096
#define IDLE_CONNECTION_S 60 /* a kept one older than this is not used */

struct http_transfer {
	struct http_client *client;
	CURL *easy;
	struct http_request request;
	struct curl_slist headers[HTTP_CLIENT_HEADERS_MAX];
	char *body;
	size_t body_len; /* kept, or thrown away so far */
	size_t body_size;
	bool over_limit; /* reading the body was broken off */
	bool denied;     /* the guard ruled an address out */
	bool left;       /* handed to a connection once */
	bool headed;     /* the answer's head came whole */
	char error[CURL_ERROR_SIZE];
	LIST_ENTRY(http_transfer) link;
};

LIST_HEAD(transfer_list, http_transfer);

/* A descriptor that libcurl wants watched. */
struct http_socket {
	struct event *event;
	int what; /* CURL_POLL_* */
	SLIST_ENTRY(http_socket) link;
};

SLIST_HEAD(socket_list, http_socket);

struct http_client {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	struct http_client_options options;
	char *user_agent;
	char *ca_file;
	unsigned active_count;
	struct transfer_list active;
	struct transfer_list spare;
	struct socket_list spare_sockets;
};

/* Hand every request that has ended to its owner. */
static void finish_ended(struct http_client *client);

static void
on_socket_ready(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *client = arg;
	int running;

	(void)curl_multi_socket_action(client->multi, fd,
	    ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
	    ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0), &running);
	finish_ended(client);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http_client *client = arg;
	int running;

	(void)fd;
	(void)what;
	(void)curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0,
	    &running);
	finish_ended(client);
}

static int
on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	const struct http_client *client = arg;
	const struct timeval wait = { .tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000 };

	(void)multi;
	if (timeout_ms < 0)
		return event_del(client->timer);
	return event_add(client->timer, &wait);
}

static struct http_socket *
take_socket(struct http_client *client)
{
	struct http_socket *watched = SLIST_FIRST(&client->spare_sockets);

	if (watched != NULL) {
		SLIST_REMOVE_HEAD(&client->spare_sockets, link);
		return watched;
	}
	watched = calloc(1, sizeof(*watched));
	if (watched == NULL)
		return NULL;
	watched->event = event_new(client->base, -1, 0, on_socket_ready,
	    client);
	if (watched->event == NULL) {
		free(watched);
		return NULL;
	}
	return watched;
}

static int
watch_socket(struct http_client *client, struct http_socket *watched,
    curl_socket_t fd, int what)
{
	const int events = EV_PERSIST |
	    ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) |
	    ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0);

	if (watched->what == what)
		return 0;
	watched->what = what;
	(void)event_del(watched->event);
	if (event_assign(watched->event, client->base, fd, (short)events,
	        on_socket_ready, client) != 0)
		return -1;
	return event_add(watched->event, NULL);
}

static int
on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg,
    void *socket_arg)
{
	struct http_client *client = arg;
	struct http_socket *watched = socket_arg;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watched == NULL)
			return 0;
		(void)event_del(watched->event);
		watched->what = 0;
		SLIST_INSERT_HEAD(&client->spare_sockets, watched, link);
		return 0;
	}
	if (watched == NULL) {
		watched = take_socket(client);
		if (watched == NULL)
			return -1;
		if (curl_multi_assign(client->multi, fd, watched) !=
		    CURLM_OK) {
			SLIST_INSERT_HEAD(&client->spare_sockets, watched,
			    link);
			return -1;
		}
	}
	return watch_socket(client, watched, fd, what);
}

/* Each connect asks here for its socket, whatever a name resolved to. */
static curl_socket_t
on_curl_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *transfer = arg;
	const struct http_client_options *options = &transfer->client->options;

	(void)purpose;
	if (options->guarded &&
	    net_guard_check_address(&address->addr, &options->guard) != 0) {
		transfer->denied = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC,
	    address->protocol);
}

/* A connection that was kept may be older than the guard. */
static bool
is_ruled_out(const struct http_client *client, const char *address)
{
	struct sockaddr_storage parsed;
	struct sockaddr *at = (struct sockaddr *)&parsed;
	int len = sizeof(parsed);

	return client->options.guarded &&
	    (evutil_parse_sockaddr_port(address, at, &len) != 0 ||
	    net_guard_check_address(at, &client->options.guard) != 0);
}

/* Before each sending of a request, and libcurl's repeating of one. */
static int
on_curl_request(void *arg, char *address, char *local_address, int port,
    int local_port)
{
	struct http_transfer *transfer = arg;
	const struct http_request *request = &transfer->request;

	(void)local_address;
	(void)port;
	(void)local_port;
	if (is_ruled_out(transfer->client, address)) {
		transfer->denied = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (request->leaving == NULL)
		return CURL_PREREQFUNC_OK;
	if (transfer->left)
		return CURL_PREREQFUNC_ABORT;
	transfer->left = true;
	request->leaving(request->arg);
	return CURL_PREREQFUNC_OK;
}

static bool
keep_body(struct http_transfer *transfer, const char *data, size_t len)
{
	const size_t max = transfer->request.body_max_bytes;
	size_t size = transfer->body_size;

	if (len > max - transfer->body_len) {
		transfer->over_limit = true;
		return false;
	}
	if (size == 0)
		size = BODY_FIRST_BYTES;
	while (size <= transfer->body_len + len)
		size *= 2;
	if (size != transfer->body_size) {
		char *bigger = realloc(transfer->body, size);

		if (bigger == NULL)
			return false;
		transfer->body = bigger;
		transfer->body_size = size;
	}
	memcpy(transfer->body + transfer->body_len, data, len);
	transfer->body_len += len;
	transfer->body[transfer->body_len] = '\0';
	return true;
}

/* To libcurl a head that breaks off is an answer without a body. */
static size_t
on_curl_header(char *line, size_t size, size_t count, void *arg)
{
	struct http_transfer *transfer = arg;

	if (count >= 5 && memcmp(line, "HTTP/", 5) == 0)
		transfer->headed = false; /* after a 100, say */
	else if (count == 2 && memcmp(line, "\r\n", 2) == 0)
		transfer->headed = true;
	return size * count;
}

static size_t
on_curl_body(char *data, size_t size, size_t count, void *arg)
{
	struct http_transfer *transfer = arg;
	const size_t len = size * count;

	if (transfer->request.body_max_bytes > 0)
		return keep_body(transfer, data, len) ? len : 0;
	transfer->body_len += len;
	if (transfer->body_len > HTTP_CLIENT_DISCARD_MAX) {
		transfer->over_limit = true;
		return 0;
	}
	return len;
}

/* What every request of this client has in common. */
static bool
set_up_easy(struct http_transfer *transfer)
{
	const struct http_client *client = transfer->client;
	CURL *easy = transfer->easy;
	bool ok = true;

#define SET(option, value) \
	(ok = ok && curl_easy_setopt(easy, (option), (value)) == CURLE_OK)
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->error);
	SET(CURLOPT_WRITEFUNCTION, on_curl_body);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_curl_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_curl_open);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_PREREQFUNCTION, on_curl_request);
	SET(CURLOPT_PREREQDATA, transfer);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_NOSIGNAL, 1L);
	/* else giving up a request waits for the resolver's thread */
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_MAXAGE_CONN, (long)client->options.idle_s);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	/* with a folder set, libcurl parses the whole file anew each time */
	SET(CURLOPT_CAPATH, (char *)NULL);
	if (client->ca_file != NULL)
		SET(CURLOPT_CAINFO, client->ca_file);
	if (client->user_agent != NULL)
		SET(CURLOPT_USERAGENT, client->user_agent);
#undef SET
	return ok;
}

static struct http_transfer *
transfer_new(struct http_client *client)
{
	struct http_transfer *transfer = calloc(1, sizeof(*transfer));

	if (transfer == NULL)
		return NULL;
	transfer->client = client;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !set_up_easy(transfer)) {
		curl_easy_cleanup(transfer->easy);
		free(transfer);
		return NULL;
	}
	return transfer;
}

static void
transfer_free(struct http_transfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	free(transfer->body);
	free(transfer);
}

static void
free_transfers(struct transfer_list *list)
{
	struct http_transfer *transfer;

	while ((transfer = LIST_FIRST(list)) != NULL) {
		LIST_REMOVE(transfer, link);
		transfer_free(transfer);
	}
}

static bool
set_up_multi(struct http_client *client)
{
	CURLM *multi = client->multi;
	bool ok = true;

#define SET(option, value) \
	(ok = ok && curl_multi_setopt(multi, (option), (value)) == CURLM_OK)
	SET(CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	SET(CURLMOPT_SOCKETDATA, client);
	SET(CURLMOPT_TIMERFUNCTION, on_curl_timer);
	SET(CURLMOPT_TIMERDATA, client);
	SET(CURLMOPT_MAX_HOST_CONNECTIONS, (long)client->options.per_host);
	SET(CURLMOPT_MAXCONNECTS, (long)client->options.concurrency);
#undef SET
	return ok;
}

/* Copy a text of the options that may be NULL. */
static bool
copy_text(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

struct http_client *
http_client_new(struct event_base *base,
    const struct http_client_options *options)
{
	struct http_client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		return NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(client);
		return NULL;
	}
	client->base = base;
	client->options = *options;
	if (client->options.idle_s == 0)
		client->options.idle_s = IDLE_CONNECTION_S;
	LIST_INIT(&client->active);
	LIST_INIT(&client->spare);
	SLIST_INIT(&client->spare_sockets);
	client->multi = curl_multi_init();
	client->timer = event_new(base, -1, 0, on_timer, client);
	if (!copy_text(&client->user_agent, options->user_agent) ||
	    !copy_text(&client->ca_file, options->ca_file) ||
	    client->multi == NULL || client->timer == NULL ||
	    !set_up_multi(client))
		http_client_free(&client);
	return client;
}

int
http_client_reconfigure(struct http_client *client,
    const struct http_client_options *options)
{
	const struct http_client_options before = client->options;

	client->options.concurrency = options->concurrency;
	client->options.per_host = options->per_host;
	client->options.guard = options->guard;
	if (set_up_multi(client))
		return 0;
	client->options = before;
	return -KAP_IO;
}

void
http_client_free(struct http_client **client_at)
{
	struct http_client *client = *client_at;
	struct http_transfer *transfer;
	struct http_socket *watched;

	if (client == NULL)
		return;
	*client_at = NULL;
	LIST_FOREACH(transfer, &client->active, link)
		(void)curl_multi_remove_handle(client->multi, transfer->easy);
	free_transfers(&client->active);
	free_transfers(&client->spare);
	/* closes the kept connections, and gives their sockets back */
	(void)curl_multi_cleanup(client->multi);
	while ((watched = SLIST_FIRST(&client->spare_sockets)) != NULL) {
		SLIST_REMOVE_HEAD(&client->spare_sockets, link);
		event_free(watched->event);
		free(watched);
	}
	if (client->timer != NULL)
		event_free(client->timer);
	free(client->user_agent);
	free(client->ca_file);
	free(client);
	curl_global_cleanup();
}

/* Chain the request's header lines up without copying one. */
static struct curl_slist *
chain_headers(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;

	for (unsigned i = 0; i < request->header_count; i++) {
		struct curl_slist *node = &transfer->headers[i];

		/* libcurl's list is not const, but libcurl only reads it */
		node->data = (char *)(uintptr_t)request->headers[i];
		node->next = i + 1 < request->header_count ? node + 1 : NULL;
	}
	return request->header_count > 0 ? transfer->headers : NULL;
}

static bool
set_up_request(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	const struct http_client_options *options = &transfer->client->options;
	const char *method = request->method;
	CURL *easy = transfer->easy;
	bool has_body = request->body != NULL;
	bool ok = true;

	if (method == NULL)
		method = has_body ? "POST" : "GET";
	/* these two say how long their body is, even when there is none */
	if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
		has_body = true;
#define SET(option, value) \
	(ok = ok && curl_easy_setopt(easy, (option), (value)) == CURLE_OK)
	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_PROTOCOLS_STR,
	    options->guarded && !options->guard.allow_http ? "https" :
	    "http,https");
	SET(CURLOPT_HTTPHEADER, chain_headers(transfer));
	SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	if (has_body) {
		SET(CURLOPT_POSTFIELDSIZE_LARGE,
		    (curl_off_t)request->body_len);
		SET(CURLOPT_POSTFIELDS,
		    request->body != NULL ? request->body : "");
		SET(CURLOPT_POST, 1L);
	} else {
		SET(CURLOPT_HTTPGET, 1L);
	}
	SET(CURLOPT_CUSTOMREQUEST,
	    strcmp(method, has_body ? "POST" : "GET") == 0 ? NULL : method);
#undef SET
	return ok;
}

static struct http_transfer *
take_transfer(struct http_client *client)
{
	struct http_transfer *transfer = LIST_FIRST(&client->spare);

	if (transfer == NULL)
		return transfer_new(client);
	LIST_REMOVE(transfer, link);
	return transfer;
}

/* Make a transfer ready for the next request. */
static void
put_transfer(struct http_transfer *transfer)
{
	free(transfer->body);
	transfer->body = NULL;
	transfer->body_size = 0;
	LIST_INSERT_HEAD(&transfer->client->spare, transfer, link);
}

int
http_client_send(struct http_client *client,
    const struct http_request *request, struct http_transfer **transfer_out)
{
	struct http_transfer *transfer;

	if (client->active_count >= client->options.concurrency)
		return -KAP_AGAIN;
	if (request->header_count > HTTP_CLIENT_HEADERS_MAX)
		return -KAP_INVAL;
	transfer = take_transfer(client);
	if (transfer == NULL)
		return -KAP_NOMEM;
	transfer->request = *request;
	transfer->body_len = 0;
	transfer->over_limit = false;
	transfer->denied = false;
	transfer->left = false;
	transfer->headed = false;
	transfer->error[0] = '\0';
	if (!set_up_request(transfer)) {
		put_transfer(transfer);
		return -KAP_INVAL;
	}
	if (curl_multi_add_handle(client->multi, transfer->easy) !=
	    CURLM_OK) {
		put_transfer(transfer);
		return -KAP_NOMEM;
	}
	LIST_INSERT_HEAD(&client->active, transfer, link);
	client->active_count++;
	if (transfer_out != NULL)
		*transfer_out = transfer;
	return 0;
}

void
http_client_cancel(struct http_transfer **transfer_at)
{
	struct http_transfer *transfer = *transfer_at;

	if (transfer == NULL)
		return;
	*transfer_at = NULL;
	(void)curl_multi_remove_handle(transfer->client->multi,
	    transfer->easy);
	LIST_REMOVE(transfer, link);
	transfer->client->active_count--;
	put_transfer(transfer);
}

unsigned
http_client_active(const struct http_client *client)
{
	return client->active_count;
}

static int
map_result(const struct http_transfer *transfer, CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return transfer->headed ? 0 : -KAP_GONE;
	case CURLE_OPERATION_TIMEDOUT:
		return -KAP_TIMEOUT;
	case CURLE_COULDNT_RESOLVE_HOST:
		return -KAP_NOENT;
	case CURLE_COULDNT_CONNECT:
		return transfer->denied ? -KAP_DENIED : -KAP_GONE;
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
		return -KAP_GONE;
	case CURLE_ABORTED_BY_CALLBACK: /* on_curl_request: left once */
		return transfer->denied ? -KAP_DENIED : -KAP_GONE;
	case CURLE_WRITE_ERROR:
		if (!transfer->over_limit)
			return -KAP_NOMEM;
		/* a body nobody wants may be as long as it likes */
		return transfer->request.body_max_bytes > 0 ? -KAP_TOOBIG : 0;
	case CURLE_OUT_OF_MEMORY:
		return -KAP_NOMEM;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return -KAP_PROTO;
	default:
		return -KAP_IO;
	}
}

static void
finish_transfer(struct http_transfer *transfer, CURLcode code)
{
	struct http_client *client = transfer->client;
	const struct http_request request = transfer->request;
	struct http_result result = {
		.rc = map_result(transfer, code),
		.error = "",
		.body = "",
	};
	long status = 0;

	(void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE,
	    &status);
	(void)curl_multi_remove_handle(client->multi, transfer->easy);
	result.status = status > 0 ? (unsigned)status : 0;
	if (result.rc == -KAP_DENIED)
		result.error = "address is not allowed";
	else if (result.rc != 0 && code == CURLE_OK)
		result.error = "the answer broke off";
	else if (result.rc != 0)
		result.error = transfer->error[0] != '\0' ? transfer->error :
		    curl_easy_strerror(code);
	if (transfer->body != NULL) {
		result.body = transfer->body;
		result.body_len = transfer->body_len;
	}
	LIST_REMOVE(transfer, link);
	client->active_count--;
	/* not yet to the spare ones: the result lies in it */
	request.finish(request.arg, &result);
	put_transfer(transfer);
}

static void
finish_ended(struct http_client *client)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(client->multi, &left)) !=
	    NULL) {
		/* removing the handle makes the message void: copy first */
		CURL *easy = message->easy_handle;
		const CURLcode code = message->data.result;
		char *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
		finish_transfer((struct http_transfer *)(void *)transfer,
		    code);
	}
}
