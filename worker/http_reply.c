/*
 * What a handler answers. Every path ends in finish(), which hands the answer
 * to the gate, or drops it when the client is gone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/http.h>

#include "http_internal.h"

#define JSON_TYPE "application/json; charset=utf-8"
#define RETRY_AFTER_S "1"

static bool
is_header_text(const char *text)
{
	for (; *text != '\0'; text++) {
		const unsigned char c = (unsigned char)*text;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

void
http_reply_add_header(struct http_request *req, const char *name,
    const char *value)
{
	if (is_header_text(name) && is_header_text(value))
		(void)evhttp_add_header(
		    evhttp_request_get_output_headers(req->ev), name, value);
}

void
http_reply_on_sent(struct http_request *req, http_sent_fn *fn, void *arg)
{
	req->on_sent = fn;
	req->on_sent_arg = arg;
}

static void
tell_unsent(struct http_request *req)
{
	http_sent_fn *on_sent = req->on_sent;

	req->on_sent = NULL;
	if (on_sent != NULL)
		on_sent(req->on_sent_arg, false);
}

static bool
has_header(const struct http_request *req, const char *name)
{
	return evhttp_find_header(evhttp_request_get_output_headers(req->ev),
	    name) != NULL;
}

/*
 * evhttp would send a body that it is given even to HEAD, and would leave
 * out the length then, so both are settled here.
 */
static void
settle_body(struct http_request *req, struct evbuffer *body, int status)
{
	char len[24];

	if (status == 204 || status == 304) {
		(void)evbuffer_drain(body, evbuffer_get_length(body));
		return;
	}
	(void)snprintf(len, sizeof(len), "%zu", evbuffer_get_length(body));
	http_reply_add_header(req, "Content-Length", len);
	if (strcmp(req->method, "HEAD") == 0)
		(void)evbuffer_drain(body, evbuffer_get_length(body));
}

/* The one way out: the request is gone when this returns. */
static void
finish(struct http_request *req, int status, const char *content_type,
    struct evbuffer *body)
{
	http_server_note_reply(req, status);
	if (req->conn != NULL) {
		if (content_type != NULL)
			http_reply_add_header(req, "Content-Type",
			    content_type);
		settle_body(req, body, status);
		http_reply_add_header(req, "X-Request-Id", req->id);
		http_reply_add_header(req, "Server", "kaphila");
		gate_set_sent(req->conn, req->on_sent, req->on_sent_arg);
		gate_answer(req->conn, status, gate_reason(status), body);
	} else {
		tell_unsent(req);
	}
	if (req->server != NULL)
		LIST_REMOVE(req, entry);
	http_request_free(req);
}

/* Out of memory for an answer: all that is left is to close. */
static void
give_up(struct http_request *req)
{
	struct gate_conn *conn = req->conn;

	http_server_note_reply(req, 500);
	tell_unsent(req);
	if (req->server != NULL)
		LIST_REMOVE(req, entry);
	http_request_free(req);
	if (conn != NULL) {
		gate_set_user(conn, NULL);
		gate_drop(conn); /* and evhttp's request with it */
	}
}

static void
free_text(const void *data KAP_UNUSED, size_t len KAP_UNUSED, void *text)
{
	cJSON_free(text);
}

/* Answer with a text that cJSON printed, without copying it. */
static void
reply_printed(struct http_request *req, int status, char *text)
{
	struct evbuffer *body = evbuffer_new();

	if (body == NULL || evbuffer_add_reference(body, text, strlen(text),
	        free_text, text) != 0) {
		cJSON_free(text);
		if (body != NULL)
			evbuffer_free(body);
		give_up(req);
		return;
	}
	finish(req, status, JSON_TYPE, body);
	evbuffer_free(body);
}

void
http_reply_text(struct http_request *req, int status,
    const char *content_type, const char *data, size_t len)
{
	struct evbuffer *body = evbuffer_new();

	if (body == NULL || evbuffer_add(body, data, len) != 0) {
		if (body != NULL)
			evbuffer_free(body);
		give_up(req);
		return;
	}
	finish(req, status, content_type, body);
	evbuffer_free(body);
}

void
http_reply_empty(struct http_request *req, int status)
{
	http_reply_text(req, status, NULL, "", 0);
}

static void
reply_out_of_memory(struct http_request *req)
{
	static const char text[] = "{\"success\":false,"
	    "\"error\":\"Out of memory\",\"code\":\"INTERNAL_ERROR\"}";

	tell_unsent(req); /* this is not the answer that was meant */
	http_reply_text(req, 500, JSON_TYPE, text, sizeof(text) - 1);
}

void
http_reply_json(struct http_request *req, int status, cJSON *json)
{
	char *text = json != NULL ? cJSON_PrintUnformatted(json) : NULL;

	cJSON_Delete(json);
	if (text == NULL)
		reply_out_of_memory(req);
	else
		reply_printed(req, status, text);
}

void
http_reply_error(struct http_request *req, int status, const char *code,
    const char *text)
{
	cJSON *json = cJSON_CreateObject();

	if (cJSON_AddFalseToObject(json, "success") == NULL ||
	    cJSON_AddStringToObject(json, "error", text) == NULL ||
	    cJSON_AddStringToObject(json, "code", code) == NULL) {
		cJSON_Delete(json);
		json = NULL;
	}
	if (status == 503 && !has_header(req, "Retry-After"))
		http_reply_add_header(req, "Retry-After", RETRY_AFTER_S);
	http_reply_json(req, status, json);
}

void
http_reply_fault(struct http_request *req, const struct http_fault *fault)
{
	http_reply_error(req, fault->status, fault->code, fault->text);
}
