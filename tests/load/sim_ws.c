/*
 * What comes in is unframed by wslay. What goes out is framed here, for a
 * frame may have to be torn, doubled or swapped.
 *
 * Requests and pings wait in a queue of the connection's and are worked off
 * one by one, as Asterisk does it: a pong never overtakes a reply.
 */
#include "sim_ws.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <event2/buffer.h>
#include <wslay/wslay.h>

#include "sim_rest.h"

#define MESSAGE_MAX (1U << 20)
#define SWAP_MS 500 /* a frame waits so long for the next one */
#define HEAD_MAX 10

struct message {
	struct message *next;
	uint8_t opcode;
	size_t len;
	char text[]; /* NUL-terminated */
};

struct sim_ws {
	struct sim_conn *conn;
	wslay_event_context_ptr wslay;
	struct message *first;
	struct message **last;
	struct sim_text held; /* a frame's payload that goes after the next */
	bool has_held;
	struct event on_release;
};

/* ---- out ---- */

/* The head of an unmasked, whole frame (RFC 6455, 5.2); its length. */
static size_t
make_head(unsigned char head[HEAD_MAX], uint8_t opcode, size_t len)
{
	head[0] = 0x80 | opcode;
	if (len < 126) {
		head[1] = (unsigned char)len;
		return 2;
	}
	if (len < 65536) {
		head[1] = 126;
		head[2] = (unsigned char)(len >> 8);
		head[3] = (unsigned char)len;
		return 4;
	}
	head[1] = 127;
	for (int i = 0; i < 8; i++)
		head[2 + i] = (unsigned char)((uint64_t)len >> (56 - 8 * i));
	return 10;
}

void
sim_ws_send(struct sim_conn *conn, const char *text, size_t len)
{
	unsigned char head[HEAD_MAX];

	sim_conn_send(conn, head, make_head(head, WSLAY_TEXT_FRAME, len));
	sim_conn_send(conn, text, len);
}

static void
send_held(struct sim_ws *ws)
{
	if (!ws->has_held)
		return;
	ws->has_held = false;
	(void)event_del(&ws->on_release);
	sim_ws_send(ws->conn, sim_text_string(&ws->held), ws->held.len);
}

static void
on_release_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	send_held(arg);
}

static void
hold(struct sim_ws *ws, const char *text, size_t len)
{
	const struct timeval after = { .tv_usec = SWAP_MS * 1000L };

	send_held(ws);
	sim_text_clear(&ws->held);
	sim_text_add_bytes(&ws->held, text, len);
	ws->has_held = !ws->held.failed;
	(void)event_add(&ws->on_release, &after);
}

void
sim_ws_send_event(struct sim_conn *conn, const char *text, size_t len,
    enum sim_fate fate)
{
	unsigned char head[HEAD_MAX];

	conn->events++;
	switch (fate) {
	case SIM_FATE_HALF:
		sim_conn_send(conn, head, make_head(head, WSLAY_TEXT_FRAME, len));
		sim_conn_send(conn, text, len / 2);
		sim_conn_doom(conn);
		return;
	case SIM_FATE_SWAP:
		hold(conn->ws, text, len);
		return;
	case SIM_FATE_REPEAT:
		sim_ws_send(conn, text, len);
		break;
	case SIM_FATE_SEND:
	case SIM_FATE_LOSE:
	case SIM_FATE_LATE:
		break;
	}
	sim_ws_send(conn, text, len);
	send_held(conn->ws);
}

/* ---- REST over it ---- */

static const char *
text_of(const cJSON *json, const char *name)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, name));

	return text != NULL ? text : "";
}

static void
render_response(const struct sim_conn *conn, const cJSON *request,
    const struct sim_reply *reply, struct sim_text *out)
{
	const char *uri = text_of(request, "uri");
	char path[256];
	const size_t len = strcspn(uri, "?");

	(void)snprintf(path, sizeof(path), "%.*s", (int)len, uri);
	sim_text_add(out, "{\"type\":\"RESTResponse\",\"transaction_id\":");
	sim_text_add_quoted(out, text_of(request, "transaction_id"));
	sim_text_add(out, ",\"request_id\":");
	sim_text_add_quoted(out, text_of(request, "request_id"));
	sim_text_printf(out, ",\"status_code\":%d,\"reason_phrase\":",
	    reply->status);
	sim_text_add_quoted(out, reply->reason);
	sim_text_add(out, ",\"uri\":");
	sim_text_add_quoted(out, path);
	if (reply->body.len > 0) {
		sim_text_add(out, ",\"content_type\":\"application/json\","
		    "\"message_body\":");
		sim_text_add_quoted(out, sim_text_string(&reply->body));
	}
	sim_text_add(out, ",\"application\":");
	sim_text_add_quoted(out, conn->app);
	sim_text_add(out, ",\"asterisk_id\":");
	sim_text_add_quoted(out, conn->sim->entity);
	sim_text_add(out, "}");
}

static void
respond(struct sim_conn *conn, const cJSON *request,
    const struct sim_reply *reply)
{
	struct sim_text *text = &conn->sim->scratch;
	struct evbuffer *frame = evbuffer_new();
	unsigned char head[HEAD_MAX];

	sim_text_clear(text);
	render_response(conn, request, reply, text);
	if (frame == NULL || text->failed ||
	    evbuffer_add(frame, head, make_head(head, WSLAY_TEXT_FRAME,
	        text->len)) != 0 ||
	    evbuffer_add(frame, text->data, text->len) != 0)
		sim_conn_cut(conn);
	else
		sim_conn_reply(conn, frame, reply->delay_ms);
	if (frame != NULL)
		evbuffer_free(frame);
}

/* What is said to something that is no request; Asterisk's words. */
static void
refuse_message(struct sim_conn *conn, const cJSON *json)
{
	struct sim_reply reply = { .status = 400, .reason = "Bad request" };

	if (json == NULL)
		reply.reason = "Failed to parse request message JSON";
	else if (strcmp(text_of(json, "type"), "RESTRequest") != 0)
		sim_text_add(&reply.body,
		    "{\"message\":\"Unknown request type.\"}");
	else
		sim_text_add(&reply.body, "{\"message\":"
		    "\"Unknown or missing 'method' property.\"}");
	respond(conn, json, &reply);
	sim_text_deinit(&reply.body);
}

/* False: all is frozen, it is to be taken again. */
static bool
run_request(struct sim_conn *conn, const cJSON *json)
{
	const char *body = text_of(json, "message_body");
	const struct sim_rest_call call = {
		.app = conn->app,
		.method = text_of(json, "method"),
		.uri = text_of(json, "uri"),
		.body = body,
		.body_len = strlen(body),
	};
	struct sim_reply reply = { 0 };
	const enum sim_rest_outcome outcome = sim_rest_run(conn->sim, &call,
	    &reply);

	if (outcome == SIM_REST_REPLY && !conn->doomed)
		respond(conn, json, &reply);
	sim_text_deinit(&reply.body);
	return outcome != SIM_REST_LATER;
}

static void
send_control(struct sim_conn *conn, uint8_t opcode,
    const struct message *message)
{
	unsigned char head[HEAD_MAX];

	sim_conn_send(conn, head, make_head(head, opcode, message->len));
	sim_conn_send(conn, message->text, message->len);
}

/* Asterisk 16 and 20 take no notice of what comes. */
static bool
take_request(struct sim_conn *conn, const struct message *message)
{
	cJSON *json;
	bool is_done = true;

	if (conn->sim->options.version < 22)
		return true;
	json = cJSON_ParseWithLength(message->text, message->len);
	if (json == NULL ||
	    strcmp(text_of(json, "type"), "RESTRequest") != 0 ||
	    text_of(json, "method")[0] == '\0')
		refuse_message(conn, json);
	else
		is_done = run_request(conn, json);
	if (is_done)
		conn->commands++;
	cJSON_Delete(json);
	return is_done;
}

static bool
take_message(struct sim_conn *conn, const struct message *message)
{
	switch (message->opcode) {
	case WSLAY_PING:
		send_control(conn, WSLAY_PONG, message);
		return true;
	case WSLAY_CONNECTION_CLOSE:
		send_control(conn, WSLAY_CONNECTION_CLOSE, message);
		sim_conn_doom(conn);
		return true;
	case WSLAY_PONG:
		return true;
	default:
		return take_request(conn, message);
	}
}

static void
work_off(struct sim_conn *conn)
{
	struct sim_ws *ws = conn->ws;

	while (ws->first != NULL && !conn->waiting && !conn->doomed &&
	    !conn->silent && !conn->sim->frozen && !conn->sim->dying) {
		struct message *message = ws->first;

		if (!take_message(conn, message))
			return;
		ws->first = message->next;
		if (ws->first == NULL)
			ws->last = &ws->first;
		free(message);
	}
}

/* ---- in ---- */

static ssize_t
on_wslay_recv(wslay_event_context_ptr wslay, uint8_t *out, size_t len,
    int flags, void *arg)
{
	const struct sim_ws *ws = arg;
	const int n = evbuffer_remove(ws->conn->in, out, len);

	(void)flags;
	if (n > 0)
		return n;
	wslay_event_set_error(wslay, WSLAY_ERR_WOULDBLOCK);
	return -1;
}

/* Its own pongs would come too soon: they are thrown away. */
static ssize_t
on_wslay_send(wslay_event_context_ptr wslay, const uint8_t *data, size_t len,
    int flags, void *arg)
{
	(void)wslay;
	(void)data;
	(void)flags;
	(void)arg;
	return (ssize_t)len;
}

static void
on_wslay_message(wslay_event_context_ptr wslay,
    const struct wslay_event_on_msg_recv_arg *arg, void *ctx)
{
	struct sim_ws *ws = ctx;
	struct message *message;

	message = malloc(sizeof(*message) + arg->msg_length + 1);
	if (message == NULL) {
		wslay_event_set_error(wslay, WSLAY_ERR_NOMEM);
		return;
	}
	message->next = NULL;
	message->opcode = arg->opcode;
	message->len = arg->msg_length;
	if (arg->msg_length > 0)
		memcpy(message->text, arg->msg, arg->msg_length);
	message->text[message->len] = '\0';
	*ws->last = message;
	ws->last = &message->next;
}

void
sim_ws_input(struct sim_conn *conn)
{
	struct sim_ws *ws = conn->ws;
	const bool is_good = wslay_event_recv(ws->wslay) == 0 &&
	    wslay_event_send(ws->wslay) == 0;

	work_off(conn);
	if (!is_good)
		sim_conn_doom(conn);
}

/* ---- its life ---- */

int
sim_ws_begin(struct sim_conn *conn)
{
	static const struct wslay_event_callbacks callbacks = {
		.recv_callback = on_wslay_recv,
		.send_callback = on_wslay_send,
		.on_msg_recv_callback = on_wslay_message,
	};
	struct sim_ws *ws = calloc(1, sizeof(*ws));

	if (ws == NULL)
		return -KAP_NOMEM;
	if (wslay_event_context_server_init(&ws->wslay, &callbacks, ws) != 0) {
		free(ws);
		return -KAP_NOMEM;
	}
	wslay_event_config_set_max_recv_msg_length(ws->wslay, MESSAGE_MAX);
	ws->conn = conn;
	ws->last = &ws->first;
	(void)evtimer_assign(&ws->on_release, conn->sim->base, on_release_due,
	    ws);
	conn->ws = ws;
	return 0;
}

void
sim_ws_end(struct sim_conn *conn)
{
	struct sim_ws *ws = conn->ws;

	if (ws == NULL)
		return;
	conn->ws = NULL;
	(void)event_del(&ws->on_release);
	wslay_event_context_free(ws->wslay);
	while (ws->first != NULL) {
		struct message *next = ws->first->next;

		free(ws->first);
		ws->first = next;
	}
	sim_text_deinit(&ws->held);
	free(ws);
}
