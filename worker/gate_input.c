/*
 * Reads requests out of a connection's input, part by part, while evhttp
 * waits for one: the head, then a body of known length or in chunks. What is
 * whole and valid goes to gate_conn_pass; what isn't is refused.
 *
 * A body over its limit is not refused here, for its route and its key come
 * before its size: the head goes on alone, marked, and the connection ends
 * with the answer.
 */
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>

#include "gate_conn.h"

/* What may wait behind a request while no more is known. */
#define READ_AHEAD_BYTES 4096

size_t
gate_conn_base_window(const struct gate_conn *conn)
{
	return conn->server->config.limits.head_bytes + READ_AHEAD_BYTES;
}

void
gate_conn_reset_input(struct gate_conn *conn)
{
	conn->part = GATE_HEAD;
	conn->scanned_bytes = 0;
	conn->began = false;
	conn->continued = false;
}

/*
 * Let a client that asked first know that its body is welcome. evhttp's
 * write callback has to be away meanwhile: it would run what was set for the
 * last answer.
 */
static void
send_continue(struct gate_conn *conn)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	bufferevent_data_cb read_cb;
	bufferevent_event_cb event_cb;
	void *arg;

	if (!conn->head.expects_continue || conn->continued ||
	    evbuffer_get_length(conn->in) > conn->head_bytes)
		return;
	conn->continued = true;
	bufferevent_getcb(conn->bev, &read_cb, NULL, &event_cb, &arg);
	bufferevent_setcb(conn->bev, read_cb, NULL, event_cb, arg);
	(void)bufferevent_enable(conn->bev, EV_WRITE);
	(void)bufferevent_write(conn->bev, text, sizeof(text) - 1);
}

/*
 * Copy the head into cut_head without the line that frames the body and
 * without the empty line.
 */
static int
cut_framing(struct gate_conn *conn, const char *text)
{
	const struct gate_head *head = &conn->head;
	const size_t behind = head->framing_at + head->framing_len;

	if (conn->cut_head == NULL)
		conn->cut_head = evbuffer_new();
	if (conn->cut_head == NULL ||
	    evbuffer_add(conn->cut_head, text, head->framing_at) != 0 ||
	    evbuffer_add(conn->cut_head, text + behind,
	        conn->head_bytes - 2 - behind) != 0)
		return -KAP_NOMEM;
	return 0;
}

/* The head in cut_head goes on alone; what is left of the body is dropped. */
static void
pass_without_body(struct gate_conn *conn)
{
	(void)evbuffer_drain(conn->in, evbuffer_get_length(conn->in));
	conn->too_large = true;
	if (evbuffer_add(conn->cut_head, "\r\n", 2) != 0 ||
	    evbuffer_prepend_buffer(conn->in, conn->cut_head) != 0) {
		gate_drop(conn);
		return;
	}
	gate_conn_pass(conn, evbuffer_get_length(conn->in));
}

static void
look_body(struct gate_conn *conn)
{
	const size_t whole = conn->head_bytes + (size_t)conn->head.length;

	if (evbuffer_get_length(conn->in) >= whole) {
		gate_conn_pass(conn, whole);
		return;
	}
	send_continue(conn);
}

/* All chunks are there: what evhttp gets has a Content-Length instead. */
static void
pass_chunks(struct gate_conn *conn)
{
	struct evbuffer *whole = conn->cut_head;
	size_t len;

	if (evbuffer_add_printf(whole, "Content-Length: %zu\r\n\r\n",
	        evbuffer_get_length(conn->body)) < 0 ||
	    evbuffer_add_buffer(whole, conn->body) != 0) {
		gate_drop(conn);
		return;
	}
	len = evbuffer_get_length(whole);
	if (evbuffer_prepend_buffer(conn->in, whole) != 0) {
		gate_drop(conn);
		return;
	}
	gate_conn_pass(conn, len);
}

/* Feed the decoder one piece of the input. */
static int
feed_chunks(struct gate_conn *conn, struct gate_refusal *refusal)
{
	struct evbuffer_iovec piece;
	const char *run;
	size_t used, run_len;
	int rc;

	if (evbuffer_peek(conn->in, -1, NULL, &piece, 1) < 1)
		return -KAP_AGAIN;
	rc = gate_chunk_feed(&conn->chunk, piece.iov_base, piece.iov_len,
	    &used, &run, &run_len, refusal);
	if (run_len > 0 && evbuffer_add(conn->body, run, run_len) != 0)
		return -KAP_NOMEM;
	(void)evbuffer_drain(conn->in, used);
	return rc;
}

static void
look_chunks(struct gate_conn *conn)
{
	struct gate_refusal refusal;
	int rc;

	do {
		rc = feed_chunks(conn, &refusal);
	} while (rc == -KAP_AGAIN && evbuffer_get_length(conn->in) > 0);
	switch (rc) {
	case 0:
		pass_chunks(conn);
		break;
	case -KAP_AGAIN:
		break;
	case -KAP_TOOBIG:
		pass_without_body(conn);
		break;
	case -KAP_PROTO:
		gate_conn_refuse(conn, &refusal);
		break;
	default:
		gate_drop(conn);
		break;
	}
}

static void
begin_chunks(struct gate_conn *conn, const char *text)
{
	if (conn->body == NULL)
		conn->body = evbuffer_new();
	if (conn->body == NULL || cut_framing(conn, text) != 0) {
		gate_drop(conn);
		return;
	}
	send_continue(conn);
	(void)evbuffer_drain(conn->in, conn->head_bytes);
	gate_chunk_init(&conn->chunk, conn->body_limit);
	conn->part = GATE_CHUNKS;
	gate_conn_set_deadline(conn, conn->server->body_time);
	look_chunks(conn);
}

/*
 * Is it one of too many large bodies? Whose body it is isn't known before all
 * of it is there, so its size alone decides. A chunked one may become as large
 * as its path allows.
 */
static bool
is_one_too_many(struct gate_conn *conn)
{
	const struct gate_head *head = &conn->head;
	const uint64_t most = head->chunked ? conn->body_limit : head->length;

	return most <= conn->body_limit &&
	    most > conn->server->config.small_body_bytes &&
	    gate_conn_take_large_body(conn) != 0;
}

/* A whole head is there and good: what comes behind it? */
static void
begin_body(struct gate_conn *conn, const char *text)
{
	static const struct gate_refusal too_many = { 503,
		"Too many large requests at a time" };
	const struct gate_config *config = &conn->server->config;
	const struct gate_head *head = &conn->head;
	const size_t base = gate_conn_base_window(conn);

	conn->body_limit = config->body_limit(gate_method_name(head->method),
	    text + head->path_at, head->path_len, config->ctx);
	conn->too_large = false;
	if (is_one_too_many(conn)) {
		gate_conn_refuse(conn, &too_many);
		return;
	}
	if (head->chunked) {
		begin_chunks(conn, text);
		return;
	}
	if (head->length > conn->body_limit) {
		if (cut_framing(conn, text) != 0)
			gate_drop(conn);
		else
			pass_without_body(conn);
		return;
	}
	conn->part = GATE_BODY;
	if (conn->head_bytes + head->length > base)
		gate_conn_set_window(conn,
		    conn->head_bytes + (size_t)head->length);
	if (evbuffer_get_length(conn->in) < conn->head_bytes + head->length)
		gate_conn_set_deadline(conn, conn->server->body_time);
	look_body(conn);
}

static void
look_head(struct gate_conn *conn)
{
	const struct gate_limits *limits = &conn->server->config.limits;
	const size_t have = evbuffer_get_length(conn->in);
	const size_t len = have < limits->head_bytes ? have :
	    limits->head_bytes;
	struct gate_refusal refusal;
	char *text;
	int rc;

	if (len == 0)
		return;
	if (!conn->began) {
		conn->began = true;
		conn->head = (struct gate_head){
			.method = GATE_METHOD_UNKNOWN };
		/* the first head's time began at accept */
		if (conn->served || conn->server->draining)
			gate_conn_set_deadline(conn,
			    conn->server->head_time);
	}
	text = (char *)evbuffer_pullup(conn->in, (ev_ssize_t)len);
	if (text == NULL) {
		gate_drop(conn);
		return;
	}
	rc = gate_head_find_end(text, len, limits, &conn->scanned_bytes,
	    &conn->head_bytes, &refusal);
	if (rc == 0)
		rc = gate_head_check(text, conn->head_bytes, limits,
		    &conn->head, &refusal);
	if (rc == 0)
		begin_body(conn, text);
	else if (rc == -KAP_PROTO)
		gate_conn_refuse(conn, &refusal);
}

/*
 * A bufferevent over TLS that was stopped by its window leaves decrypted
 * bytes inside OpenSSL, and nothing would ever wake it for them: the socket
 * has none. At most one TLS record, and no read from the network.
 */
static void
pull_pending(struct gate_conn *conn)
{
	SSL *ssl = bufferevent_openssl_get_ssl(conn->bev);
	char bytes[4096];

	while (ssl != NULL && SSL_pending(ssl) > 0) {
		const int pending = SSL_pending(ssl);
		const int len = SSL_read(ssl, bytes,
		    pending < (int)sizeof(bytes) ? pending :
		    (int)sizeof(bytes));

		if (len <= 0 ||
		    evbuffer_add(conn->in, bytes, (size_t)len) != 0) {
			ERR_clear_error();
			return;
		}
	}
}

void
gate_conn_look(struct gate_conn *conn)
{
	pull_pending(conn);
	switch (conn->part) {
	case GATE_HEAD:
		look_head(conn);
		break;
	case GATE_BODY:
		look_body(conn);
		break;
	case GATE_CHUNKS:
		look_chunks(conn);
		break;
	}
}
