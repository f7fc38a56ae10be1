/*
 * An HTTP server on loopback, on the event loop of the test that uses it. It
 * notes every request and lets the test say how each is answered.
 */
#ifndef KAP_HTTP_SINK_H
#define KAP_HTTP_SINK_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>

#define HTTP_SINK_NOTES_MAX 4096
#define HTTP_SINK_NEVER 0 /* a status: no answer at all */

/* One request as it came. */
struct http_sink_note {
	char id[96];         /* webhook-id */
	char call[32];       /* of that id: the call */
	unsigned sequence;   /* of that id */
	char path[128];
	char user_agent[64];
	char content_type[64];
	char timestamp[32];  /* webhook-timestamp */
	char signature[128]; /* webhook-signature */
	char body[2048];     /* cut */
	int64_t at_us;       /* when it came, monotonic */
	int64_t answered_us; /* 0: not yet */
	unsigned status;     /* that was, or will be, answered */
};

struct http_sink;

struct http_sink_plan {
	unsigned status;  /* HTTP_SINK_NEVER: hold it for ever */
	unsigned wait_ms; /* before the answer */
};

typedef struct http_sink_plan http_sink_decide_fn(struct http_sink *sink,
    const struct http_sink_note *note, void *arg);

struct http_sink {
	struct event_base *base;
	struct evhttp *http;
	uint16_t port;
	unsigned count; /* of the notes */
	unsigned open;  /* requests not answered */
	unsigned open_max;
	unsigned connections; /* ever made */
	struct http_sink_note *notes;
	http_sink_decide_fn *decide;
	void *arg;
	const char *answer; /* body; may be NULL */
	size_t answer_len;
};

/* An answer that waits. */
struct http_sink_reply {
	struct http_sink *sink;
	struct evhttp_request *request;
	unsigned note;
};

static inline int64_t
http_sink_now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline void
http_sink_copy(char *to, size_t size, const char *from)
{
	(void)snprintf(to, size, "%s", from != NULL ? from : "");
}

static inline void
http_sink_answer(evutil_socket_t fd, short what, void *arg)
{
	struct http_sink_reply *reply = arg;
	struct http_sink *sink = reply->sink;
	struct http_sink_note *note = &sink->notes[reply->note];
	struct evbuffer *body = evbuffer_new();

	(void)fd;
	(void)what;
	if (sink->answer != NULL)
		(void)evbuffer_add(body, sink->answer, sink->answer_len);
	note->answered_us = http_sink_now_us();
	sink->open--;
	if (note->status >= 300 && note->status <= 399)
		(void)evhttp_add_header(
		    evhttp_request_get_output_headers(reply->request),
		    "Location", "/redirected");
	evhttp_send_reply(reply->request, (int)note->status, "Answer", body);
	evbuffer_free(body);
	free(reply);
}

static inline void
http_sink_note_request(struct http_sink *sink, struct evhttp_request *request,
    struct http_sink_note *note)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	ssize_t len;

	(void)sink;
	memset(note, 0, sizeof(*note));
	note->at_us = http_sink_now_us();
	http_sink_copy(note->path, sizeof(note->path),
	    evhttp_request_get_uri(request));
	http_sink_copy(note->id, sizeof(note->id),
	    evhttp_find_header(headers, "webhook-id"));
	http_sink_copy(note->user_agent, sizeof(note->user_agent),
	    evhttp_find_header(headers, "User-Agent"));
	http_sink_copy(note->content_type, sizeof(note->content_type),
	    evhttp_find_header(headers, "Content-Type"));
	http_sink_copy(note->timestamp, sizeof(note->timestamp),
	    evhttp_find_header(headers, "webhook-timestamp"));
	http_sink_copy(note->signature, sizeof(note->signature),
	    evhttp_find_header(headers, "webhook-signature"));
	(void)sscanf(note->id, "evt_%31[^_]_%u", note->call, &note->sequence);
	len = evbuffer_copyout(body, note->body, sizeof(note->body) - 1);
	note->body[len > 0 ? len : 0] = '\0';
}

static inline void
http_sink_on_request(struct evhttp_request *request, void *arg)
{
	struct http_sink *sink = arg;
	struct http_sink_note *note;
	struct http_sink_reply *reply = calloc(1, sizeof(*reply));
	struct http_sink_plan plan = { .status = 200 };
	struct timeval wait;

	if (sink->count == HTTP_SINK_NOTES_MAX || reply == NULL)
		abort();
	note = &sink->notes[sink->count];
	http_sink_note_request(sink, request, note);
	*reply = (struct http_sink_reply){ sink, request, sink->count++ };
	if (++sink->open > sink->open_max)
		sink->open_max = sink->open;
	if (sink->decide != NULL)
		plan = sink->decide(sink, note, sink->arg);
	note->status = plan.status;
	if (plan.status == HTTP_SINK_NEVER) {
		free(reply);
		return;
	}
	wait.tv_sec = plan.wait_ms / 1000;
	wait.tv_usec = plan.wait_ms % 1000 * 1000;
	if (plan.wait_ms == 0)
		http_sink_answer(-1, 0, reply);
	else
		(void)event_base_once(sink->base, -1, EV_TIMEOUT,
		    http_sink_answer, reply, &wait);
}

static inline struct bufferevent *
http_sink_on_connection(struct event_base *base, void *arg)
{
	struct http_sink *sink = arg;

	sink->connections++;
	return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

static inline void
http_sink_open(struct http_sink *sink, struct event_base *base)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	struct evhttp_bound_socket *bound;

	memset(sink, 0, sizeof(*sink));
	sink->base = base;
	sink->notes = calloc(HTTP_SINK_NOTES_MAX, sizeof(*sink->notes));
	sink->http = evhttp_new(base);
	if (sink->notes == NULL || sink->http == NULL)
		abort();
	evhttp_set_gencb(sink->http, http_sink_on_request, sink);
	evhttp_set_bevcb(sink->http, http_sink_on_connection, sink);
	evhttp_set_allowed_methods(sink->http, EVHTTP_REQ_GET |
	    EVHTTP_REQ_POST | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE);
	bound = evhttp_bind_socket_with_handle(sink->http, "127.0.0.1", 0);
	if (bound == NULL || getsockname(evhttp_bound_socket_get_fd(bound),
	        (struct sockaddr *)&in, &len) != 0)
		abort();
	sink->port = ntohs(in.sin_port);
}

static inline void
http_sink_close(struct http_sink *sink)
{
	evhttp_free(sink->http);
	free(sink->notes);
	memset(sink, 0, sizeof(*sink));
}

/* Requests noted that carry this webhook-id. */
static inline unsigned
http_sink_count(const struct http_sink *sink, const char *id)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sink->count; i++)
		count += strcmp(sink->notes[i].id, id) == 0;
	return count;
}

/*
 * A port of loopback that is ours and refuses (backlog 0), or that takes
 * connections and never reads (backlog > 0). Close the descriptor after.
 */
static inline int
http_sink_dead_port(int backlog, uint16_t *port_out)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) != 0 ||
	    (backlog > 0 && listen(fd, backlog) != 0))
		abort();
	*port_out = ntohs(in.sin_port);
	return fd;
}

#endif
