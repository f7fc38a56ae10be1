/*
 * What a handler reads from a request. The request refers to evhttp's own,
 * which the gate keeps alive as long as this one lives.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "http_internal.h"
#include "shared/clock.h"
#include "shared/json_strict.h"

static void
take_client(struct http_request *req)
{
	struct evhttp_connection *evcon =
	    evhttp_request_get_connection(req->ev);
	char *address = NULL;
	uint16_t port;

	evhttp_connection_get_peer(evcon, &address, &port);
	if (address != NULL)
		(void)snprintf(req->client, sizeof(req->client), "%s",
		    address);
}

int
http_request_new(struct http_request **req_out, struct gate_conn *conn,
    struct evhttp_request *ev)
{
	struct http_request *req = calloc(1, sizeof(*req));
	char *question;

	if (req == NULL)
		return -KAP_NOMEM;
	req->path = strdup(evhttp_request_get_uri(ev));
	if (req->path == NULL) {
		free(req);
		return -KAP_NOMEM;
	}
	req->began_us = clock_mono_us();
	req->conn = conn;
	req->ev = ev;
	req->method = gate_request_method(conn);
	req->too_large = gate_body_is_too_large(conn);
	question = strchr(req->path, '?');
	if (question != NULL)
		*question = '\0';
	req->query = question != NULL ? question + 1 : "";
	(void)snprintf(req->id, sizeof(req->id), "%s",
	    gate_request_id(conn));
	take_client(req);
	*req_out = req;
	return 0;
}

int
http_request_take_params(struct http_request *req)
{
	for (unsigned i = 0; i < req->match.param_count; i++) {
		const struct http_param *param = &req->match.params[i];

		req->params[i] = malloc(param->value_len + 1);
		if (req->params[i] == NULL)
			return -KAP_NOMEM;
		http_router_decode(param->value, param->value_len,
		    req->params[i]);
	}
	return 0;
}

void
http_request_free(struct http_request *req)
{
	if (req->user_free != NULL)
		req->user_free(req->user);
	if (req->conn == NULL)
		evhttp_request_free(req->ev);
	for (unsigned i = 0; i < HTTP_PARAMS_MAX; i++)
		free(req->params[i]);
	free(req->path);
	free(req);
}

const char *
http_request_method(const struct http_request *req)
{
	return req->method;
}

const char *
http_request_path(const struct http_request *req)
{
	return req->path;
}

const char *
http_request_query(const struct http_request *req)
{
	return req->query;
}

const char *
http_request_id(const struct http_request *req)
{
	return req->id;
}

const char *
http_request_client(const struct http_request *req)
{
	return req->client;
}

const struct http_route *
http_request_route(const struct http_request *req)
{
	return req->match.route;
}

const char *
http_request_param(const struct http_request *req, const char *name)
{
	for (unsigned i = 0; i < req->match.param_count; i++) {
		const struct http_param *param = &req->match.params[i];

		if (strlen(name) == param->name_len &&
		    memcmp(name, param->name, param->name_len) == 0)
			return req->params[i];
	}
	return NULL;
}

const char *
http_request_header(const struct http_request *req, const char *name)
{
	return evhttp_find_header(evhttp_request_get_input_headers(req->ev),
	    name);
}

/*
 * What poll tells of the client's socket. It isn't read while its request is
 * under way, so nobody else has noticed.
 */
static short
poll_client(const struct http_request *req, short events)
{
	struct bufferevent *bev = evhttp_connection_get_bufferevent(
	    evhttp_request_get_connection(req->ev));
	struct pollfd client = { .fd = bufferevent_getfd(bev),
		.events = events };

	return poll(&client, 1, 0) > 0 ? client.revents : 0;
}

bool
http_request_has_client(const struct http_request *req)
{
	return req->conn != NULL && poll_client(req, POLLRDHUP) == 0;
}

bool
http_request_is_gone(const struct http_request *req)
{
	/* only what can't be answered any more: errors, and both sides shut */
	return req->conn == NULL || poll_client(req, 0) != 0;
}

unsigned
http_request_header_count(const struct http_request *req, const char *name)
{
	const struct evkeyvalq *headers =
	    evhttp_request_get_input_headers(req->ev);
	const struct evkeyval *header;
	unsigned count = 0;

	for (header = headers->tqh_first; header != NULL;
	    header = header->next.tqe_next) {
		if (strcasecmp(header->key, name) == 0)
			count++;
	}
	return count;
}

const char *
http_request_body(struct http_request *req, size_t *len_out)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(req->ev);
	const size_t len = evbuffer_get_length(body);
	const char *text = len > 0 ?
	    (const char *)evbuffer_pullup(body, -1) : "";

	*len_out = text != NULL ? len : 0;
	return text;
}

bool
http_request_body_is_too_large(const struct http_request *req)
{
	return req->too_large;
}

void
http_request_set_user(struct http_request *req, void *user,
    void (*user_free)(void *user))
{
	if (req->user_free != NULL)
		req->user_free(req->user);
	req->user = user;
	req->user_free = user_free;
}

void *
http_request_user(const struct http_request *req)
{
	return req->user;
}

static int
set_fault(struct http_fault *fault, int status, const char *code,
    const char *text)
{
	fault->status = status;
	fault->code = code;
	(void)snprintf(fault->text, sizeof(fault->text), "%s", text);
	return -KAP_INVAL;
}

/* application/json, with whatever parameters; none at all will do too. */
static bool
is_json_type(const char *type)
{
	static const char json[] = "application/json";
	size_t len;

	if (type == NULL)
		return true;
	len = strcspn(type, "; \t");
	return len == sizeof(json) - 1 && strncasecmp(type, json, len) == 0;
}

int
http_request_json(struct http_request *req, cJSON **json_out,
    struct http_fault *fault_out)
{
	struct kap_errmsg msg;
	const char *body;
	cJSON *json;
	size_t len;
	int rc;

	if (req->too_large)
		return set_fault(fault_out, 413, "BODY_TOO_LARGE",
		    "Request body is too large");
	body = http_request_body(req, &len);
	if (body == NULL)
		return set_fault(fault_out, 500, "INTERNAL_ERROR",
		    "Out of memory");
	if (len > 0 &&
	    !is_json_type(http_request_header(req, "Content-Type")))
		return set_fault(fault_out, 415, "UNSUPPORTED_MEDIA_TYPE",
		    "Content-Type must be application/json");
	if (len == 0) {
		body = "{}";
		len = 2;
	}
	rc = json_strict_parse(body, len, HTTP_JSON_DEPTH_MAX, &json, &msg);
	if (rc == -KAP_NOMEM)
		return set_fault(fault_out, 500, "INTERNAL_ERROR",
		    "Out of memory");
	if (rc != 0) {
		(void)set_fault(fault_out, 400, "INVALID_JSON", "");
		(void)snprintf(fault_out->text, sizeof(fault_out->text),
		    "Invalid JSON: %.*s", 150, msg.text);
		return -KAP_INVAL;
	}
	if (!cJSON_IsObject(json)) {
		cJSON_Delete(json);
		return set_fault(fault_out, 400, "INVALID_JSON",
		    "Invalid JSON: the body must be an object");
	}
	*json_out = json;
	return 0;
}
