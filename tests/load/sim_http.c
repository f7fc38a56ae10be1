/*
 * One request after the other, each with a Content-Length or none. A head is
 * taken out of the buffer only when its request is done, so that one which
 * has to wait is simply read again.
 */
#include "sim_http.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/queue.h>

#include "sim_app.h"
#include "sim_rest.h"
#include "sim_world.h"
#include "sim_ws.h"

#define HEAD_MAX 16384
#define BODY_MAX (1U << 20)
#define METHOD_SIZE 16
#define ACCEPT_SIZE 29 /* a SHA-1 in base64, NUL included */

/* What of a head matters. Texts lie in `text`. */
struct head {
	char text[HEAD_MAX + 1];
	size_t len; /* with its empty line */
	const char *method;
	const char *target;
	const char *authorization;
	const char *upgrade;
	const char *key;
	size_t body_len;
	bool closes;
	bool is_bad;
};

/* ---- reading a head ---- */

static void
read_field(struct head *head, const char *name, const char *value)
{
	if (strcasecmp(name, "Content-Length") == 0) {
		char *end;

		head->body_len = strtoul(value, &end, 10);
		if (*end != '\0' || head->body_len > BODY_MAX)
			head->is_bad = true;
	} else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		head->is_bad = true;
	} else if (strcasecmp(name, "Connection") == 0) {
		head->closes = strcasecmp(value, "close") == 0;
	} else if (strcasecmp(name, "Authorization") == 0) {
		head->authorization = value;
	} else if (strcasecmp(name, "Upgrade") == 0) {
		head->upgrade = value;
	} else if (strcasecmp(name, "Sec-WebSocket-Key") == 0) {
		head->key = value;
	}
}

static void
read_line(struct head *head, char *line)
{
	char *value = strchr(line, ':');

	if (value == NULL) {
		head->is_bad = true;
		return;
	}
	*value++ = '\0';
	value += strspn(value, " \t");
	read_field(head, line, value);
}

static void
parse_head(struct head *head)
{
	char *rest = head->text;
	char *line = strsep(&rest, "\r");
	char *version;

	head->method = strsep(&line, " ");
	head->target = strsep(&line, " ");
	version = line;
	if (head->target == NULL || version == NULL ||
	    strncmp(version, "HTTP/1.", 7) != 0 ||
	    strlen(head->method) >= METHOD_SIZE) {
		head->is_bad = true;
		return;
	}
	while (rest != NULL && rest[0] == '\n' && rest[1] != '\r') {
		line = rest + 1;
		rest = line;
		(void)strsep(&rest, "\r");
		read_line(head, line);
	}
}

/* False: it is not all there yet. */
static bool
read_head(struct evbuffer *in, struct head *head)
{
	const struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4,
	    NULL);
	const size_t len = end.pos >= 0 ? (size_t)end.pos + 4 :
	    evbuffer_get_length(in);

	if (end.pos < 0 && len < HEAD_MAX)
		return false;
	/* all but the text, which is long */
	memset(&head->len, 0, sizeof(*head) - offsetof(struct head, len));
	if (end.pos < 0 || len > HEAD_MAX) {
		head->is_bad = true;
		return true;
	}
	(void)evbuffer_copyout(in, head->text, len);
	head->text[len] = '\0';
	head->len = len;
	parse_head(head);
	return true;
}

/* ---- answers ---- */

static void
add_general(const struct sim *sim, bool closes, struct evbuffer *out)
{
	const time_t now = time(NULL);
	struct tm parts;
	char date[40] = "";

	if (gmtime_r(&now, &parts) != NULL)
		(void)strftime(date, sizeof(date), "%a, %d %b %Y %T GMT",
		    &parts);
	(void)evbuffer_add_printf(out, "Server: Asterisk/%s\r\nDate: %s\r\n%s"
	    "Cache-Control: no-cache, no-store\r\n", sim_world_version(sim),
	    date, closes ? "Connection: close\r\n" : "");
}

static void
send_reply(struct sim_conn *conn, const struct head *head,
    const struct sim_reply *reply)
{
	struct evbuffer *out = evbuffer_new();

	if (out == NULL) {
		sim_conn_cut(conn);
		return;
	}
	(void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n", reply->status,
	    reply->reason);
	add_general(conn->sim, head->closes, out);
	if (reply->status == 401)
		(void)evbuffer_add_printf(out, "WWW-Authenticate: Basic "
		    "realm=\"Asterisk REST Interface\"\r\n");
	if (reply->location[0] != '\0')
		(void)evbuffer_add_printf(out, "Location: %s\r\n",
		    reply->location);
	if (reply->allow != NULL)
		(void)evbuffer_add_printf(out, "Allow: %s\r\n", reply->allow);
	if (reply->body.len > 0)
		(void)evbuffer_add_printf(out,
		    "Content-type: application/json\r\n");
	(void)evbuffer_add_printf(out, "Content-Length: %zu\r\n\r\n",
	    reply->body.len);
	(void)evbuffer_add(out, sim_text_string(&reply->body),
	    reply->body.len);
	conn->closing = head->closes;
	sim_conn_reply(conn, out, reply->delay_ms);
	evbuffer_free(out);
}

static void
refuse(struct sim_conn *conn, struct head *head, int status,
    const char *reason, const char *message)
{
	struct sim_reply reply = { 0 };

	sim_rest_refuse(&reply, status, reason, message);
	if (head->is_bad)
		head->closes = true;
	send_reply(conn, head, &reply);
	sim_text_deinit(&reply.body);
}

/* ---- who asks ---- */

static bool
is_user(const struct sim *sim, const char *text)
{
	const size_t len = strlen(sim->options.user);

	return strncmp(text, sim->options.user, len) == 0 &&
	    text[len] == ':' &&
	    strcmp(text + len + 1, sim->options.password) == 0;
}

static bool
is_allowed(const struct sim *sim, const struct head *head,
    const struct evkeyvalq *query)
{
	const char *api_key = evhttp_find_header(query, "api_key");
	unsigned char plain[512];
	size_t len;
	int n;

	if (api_key != NULL)
		return is_user(sim, api_key);
	if (head->authorization == NULL ||
	    strncasecmp(head->authorization, "Basic ", 6) != 0)
		return false;
	len = strlen(head->authorization + 6);
	if (len == 0 || len > sizeof(plain) / 4 * 3)
		return false;
	n = EVP_DecodeBlock(plain,
	    (const unsigned char *)head->authorization + 6, (int)len);
	if (n < 0)
		return false;
	plain[n] = '\0'; /* padding has decoded to NULs before it */
	return is_user(sim, (const char *)plain);
}

/* ---- the handshake ---- */

static void
make_accept(const char *key, char out[ACCEPT_SIZE])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[SHA_DIGEST_LENGTH];
	char text[128];

	(void)snprintf(text, sizeof(text), "%.64s%s", key, guid);
	(void)SHA1((const unsigned char *)text, strlen(text), digest);
	(void)EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}

static void
become_websocket(struct sim_conn *conn, const struct head *head,
    const char *app)
{
	struct sim *sim = conn->sim;
	const struct sim_subject subject = { .app = conn->app };
	char accept_[ACCEPT_SIZE];
	char answer[256];
	int len;

	make_accept(head->key, accept_);
	len = snprintf(answer, sizeof(answer),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
	    "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
	    "Sec-WebSocket-Protocol: ari\r\n\r\n", accept_);
	(void)snprintf(conn->app, sizeof(conn->app), "%s", app);
	sim_conn_send(conn, answer, (size_t)len);
	if (sim_ws_begin(conn) != 0 || sim_app_connect(sim, app, conn) != 0) {
		sim_conn_cut(conn);
		return;
	}
	sim->totals.connects++;
	sim_fault_at_connect(sim, &subject);
}

static void
upgrade(struct sim_conn *conn, struct head *head,
    const struct evkeyvalq *query)
{
	const char *app = evhttp_find_header(query, "app");

	if (head->upgrade == NULL ||
	    strcasecmp(head->upgrade, "websocket") != 0 || head->key == NULL)
		refuse(conn, head, 426, "Upgrade Required",
		    "Upgrade Required");
	else if (app == NULL || *app == '\0' || strlen(app) >= SIM_APP_SIZE)
		refuse(conn, head, 400, "Bad Request",
		    "HTTP request is missing param: [app]");
	else
		become_websocket(conn, head, app);
}

/* ---- requests ---- */

/* False: all is frozen, it is to be taken again. */
static bool
run_rest(struct sim_conn *conn, struct head *head, const char *uri,
    const char *body)
{
	const struct sim_rest_call call = {
		.app = "",
		.method = head->method,
		.uri = uri,
		.body = body,
		.body_len = head->body_len,
	};
	struct sim_reply reply = { 0 };
	const enum sim_rest_outcome outcome = sim_rest_run(conn->sim, &call,
	    &reply);

	if (outcome == SIM_REST_REPLY && !conn->doomed)
		send_reply(conn, head, &reply);
	else if (outcome == SIM_REST_NO_REPLY)
		sim_conn_stop_taking(conn);
	sim_text_deinit(&reply.body);
	if (outcome != SIM_REST_LATER)
		conn->commands++;
	return outcome != SIM_REST_LATER;
}

static bool
run_target(struct sim_conn *conn, struct head *head, const char *body)
{
	static const char prefix[] = "/ari/";
	const char *query_text = strchr(head->target, '?');
	struct evkeyvalq query;
	bool is_done = true;

	TAILQ_INIT(&query);
	if (query_text != NULL)
		(void)evhttp_parse_query_str(query_text + 1, &query);
	if (strncmp(head->target, prefix, sizeof(prefix) - 1) != 0)
		refuse(conn, head, 404, "Not Found", "Resource not found");
	else if (!is_allowed(conn->sim, head, &query))
		refuse(conn, head, 401, "Unauthorized",
		    "Authentication required");
	else if (strncmp(head->target, "/ari/events?", 12) == 0 ||
	    strcmp(head->target, "/ari/events") == 0)
		upgrade(conn, head, &query);
	else
		is_done = run_rest(conn, head,
		    head->target + sizeof(prefix) - 1, body);
	evhttp_clear_headers(&query);
	return is_done;
}

/* False: nothing more can be done now. */
static bool
take_request(struct sim_conn *conn, struct head *head)
{
	unsigned char *bytes;
	bool is_done;

	if (!read_head(conn->in, head))
		return false;
	if (head->is_bad) {
		refuse(conn, head, 400, "Bad Request", "Bad Request");
		(void)evbuffer_drain(conn->in,
		    evbuffer_get_length(conn->in));
		return false;
	}
	if (evbuffer_get_length(conn->in) < head->len + head->body_len)
		return false;
	bytes = evbuffer_pullup(conn->in,
	    (ssize_t)(head->len + head->body_len));
	if (bytes == NULL) {
		sim_conn_cut(conn);
		return false;
	}
	is_done = run_target(conn, head, (const char *)bytes + head->len);
	if (is_done)
		(void)evbuffer_drain(conn->in, head->len + head->body_len);
	return is_done;
}

void
sim_http_input(struct sim_conn *conn)
{
	static struct head head;

	while (conn->ws == NULL && !conn->doomed && !conn->closing &&
	    !conn->waiting && !conn->silent && !conn->sim->frozen &&
	    take_request(conn, &head))
		;
	/* frames may have come right behind the handshake */
	if (conn->ws != NULL && !conn->doomed &&
	    evbuffer_get_length(conn->in) > 0)
		sim_ws_input(conn);
}
