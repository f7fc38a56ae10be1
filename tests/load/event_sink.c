/*
 * event-sink: a webhook target that keeps up. It answers, and appends each
 * event that it accepted to a file: the time it came, on the monotonic clock
 * in nanoseconds, a space, the body on one line. Loopback alone.
 *
 * How it answers is told by options, or for one URL by its query:
 * /hook?fail-percent=30&delay-ms=200&status=503
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "shared/errors.h"

#define BODY_MAX (4U << 20)
#define FILE_BUFFER (1U << 20)
#define FLUSH_S 1

/* How a request is answered. */
struct behaviour {
	int64_t fail_percent;
	int64_t delay_ms;
	int64_t status; /* of those that fail */
};

struct sink {
	struct event_base *base;
	struct evhttp *http;
	struct behaviour behaviour;
	const char *host;
	int64_t port;
	const char *path; /* of the file, NULL: none */
	FILE *file;
	char *buffer;     /* the file's */
	bool is_broken;   /* a write failed, and was told of */
	uint64_t accepted;
	uint64_t refused;
	uint64_t bytes;
	uint64_t random;
};

/* A request whose answer waits. */
struct pending {
	struct evhttp_request *request;
	struct event *timer;
	int status;
};

static int64_t
mono_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the file ---- */

/* False: it is not safe in the file. */
static bool
note_failure(struct sink *sink, bool is_good)
{
	if (!is_good && !sink->is_broken)
		(void)fprintf(stderr, "event-sink: %s: %s\n", sink->path,
		    strerror(errno));
	sink->is_broken = sink->is_broken || !is_good;
	return is_good;
}

/* `body` gets its line breaks replaced: an event is one line. */
static bool
append(struct sink *sink, char *body, size_t len)
{
	if (sink->file == NULL)
		return true;
	for (size_t i = 0; i < len; i++) {
		if (body[i] == '\n' || body[i] == '\r')
			body[i] = ' ';
	}
	return note_failure(sink,
	    fprintf(sink->file, "%" PRId64 " ", mono_ns()) > 0 &&
	    fwrite(body, 1, len, sink->file) == len &&
	    fputc('\n', sink->file) != EOF);
}

static bool
flush(struct sink *sink)
{
	return sink->file == NULL ||
	    note_failure(sink, fflush(sink->file) == 0);
}

static void
on_flush_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)flush(arg);
}

/* ---- answers ---- */

static void
answer(struct evhttp_request *request, int status)
{
	evhttp_send_reply(request, status, NULL, NULL);
}

/* The client is gone: libevent frees the request, and we let it be. */
static void
on_client_gone(struct evhttp_connection *connection, void *arg)
{
	struct pending *pending = arg;

	(void)connection;
	event_free(pending->timer);
	free(pending);
}

static void
on_answer_due(evutil_socket_t fd, short what, void *arg)
{
	struct pending *pending = arg;
	struct evhttp_request *request = pending->request;

	(void)fd;
	(void)what;
	evhttp_connection_set_closecb(evhttp_request_get_connection(request),
	    NULL, NULL);
	answer(request, pending->status);
	event_free(pending->timer);
	free(pending);
}

static void
answer_later(struct sink *sink, struct evhttp_request *request, int status,
    int64_t ms)
{
	const struct timeval after = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };
	struct pending *pending = malloc(sizeof(*pending));

	if (pending != NULL) {
		*pending = (struct pending){ .request = request,
			.status = status };
		pending->timer = evtimer_new(sink->base, on_answer_due,
		    pending);
	}
	if (pending == NULL || pending->timer == NULL ||
	    evtimer_add(pending->timer, &after) != 0) {
		free(pending);
		answer(request, status);
		return;
	}
	evhttp_connection_set_closecb(evhttp_request_get_connection(request),
	    on_client_gone, pending);
}

/* ---- requests ---- */

static int64_t
query_number(const struct evkeyvalq *query, const char *name,
    int64_t fallback)
{
	const char *text = evhttp_find_header(query, name);

	return text != NULL ? strtoll(text, NULL, 10) : fallback;
}

static struct behaviour
behaviour_of(const struct sink *sink, const struct evhttp_request *request)
{
	const char *text = evhttp_uri_get_query(
	    evhttp_request_get_evhttp_uri(request));
	struct behaviour found = sink->behaviour;
	struct evkeyvalq query;

	if (text == NULL)
		return found;
	TAILQ_INIT(&query);
	if (evhttp_parse_query_str(text, &query) == 0) {
		found.fail_percent = query_number(&query, "fail-percent",
		    found.fail_percent);
		found.delay_ms = query_number(&query, "delay-ms",
		    found.delay_ms);
		found.status = query_number(&query, "status", found.status);
	}
	evhttp_clear_headers(&query);
	return found;
}

/* Xorshift: which ones fail need not be secret, only even. */
static int64_t
draw_percent(struct sink *sink)
{
	sink->random ^= sink->random << 13;
	sink->random ^= sink->random >> 7;
	sink->random ^= sink->random << 17;
	return (int64_t)(sink->random % 100);
}

static void
on_event(struct sink *sink, struct evhttp_request *request)
{
	const struct behaviour behaviour = behaviour_of(sink, request);
	struct evbuffer *in = evhttp_request_get_input_buffer(request);
	const size_t len = evbuffer_get_length(in);
	char *body = (char *)evbuffer_pullup(in, -1);
	int status = 200;

	if (draw_percent(sink) < behaviour.fail_percent)
		status = (int)behaviour.status;
	else if (!append(sink, body, len))
		status = 500;
	if (status < 300)
		sink->accepted++;
	else
		sink->refused++;
	sink->bytes += len;
	if (behaviour.delay_ms > 0)
		answer_later(sink, request, status, behaviour.delay_ms);
	else
		answer(request, status);
}

static void
on_count(const struct sink *sink, struct evhttp_request *request)
{
	(void)evbuffer_add_printf(evhttp_request_get_output_buffer(request),
	    "{\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"bytes\":%"
	    PRIu64 "}\n", sink->accepted, sink->refused, sink->bytes);
	evhttp_send_reply(request, 200, NULL, NULL);
}

static void
on_request(struct evhttp_request *request, void *arg)
{
	const char *path = evhttp_uri_get_path(
	    evhttp_request_get_evhttp_uri(request));
	struct sink *sink = arg;

	if (evhttp_request_get_command(request) == EVHTTP_REQ_POST) {
		on_event(sink, request);
	} else if (strcmp(path, "/count") == 0) {
		on_count(sink, request);
	} else if (strcmp(path, "/flush") == 0) {
		if (flush(sink))
			on_count(sink, request);
		else
			answer(request, 500);
	} else {
		answer(request, 404);
	}
}

/* ---- options ---- */

static const char help[] =
    "usage: event-sink --listen ADDRESS [OPTION]...\n\n"
    "Takes webhooks and writes those it accepts to a file. POST to any path; "
    "GET /count,\nGET /flush.\n\n"
    "  --listen 127.0.0.1:PORT  (needed)\n"
    "  --out FILE               append \"<monotonic ns> <body>\" for each\n"
    "  --fail-percent N         so many are refused (0)\n"
    "  --status N               …with that status (500)\n"
    "  --delay-ms N             answer so much later (0)\n"
    "A URL's query can say the last three for itself: "
    "?fail-percent=100&status=503\n";

static bool
read_number(const char *text, int64_t least, int64_t most, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return *text != '\0' && *end == '\0' && errno == 0 && *out >= least &&
	    *out <= most;
}

static bool
read_listen(struct sink *sink, char *text)
{
	char *colon = strrchr(text, ':');

	if (colon == NULL || strncmp(text, "127.", 4) != 0)
		return false;
	*colon = '\0';
	sink->host = text;
	return read_number(colon + 1, 1, UINT16_MAX, &sink->port);
}

static bool
take_option(struct sink *sink, const char *name, char *value)
{
	struct behaviour *behaviour = &sink->behaviour;

	if (strcmp(name, "listen") == 0)
		return read_listen(sink, value);
	if (strcmp(name, "fail-percent") == 0)
		return read_number(value, 0, 100, &behaviour->fail_percent);
	if (strcmp(name, "status") == 0)
		return read_number(value, 200, 599, &behaviour->status);
	if (strcmp(name, "delay-ms") == 0)
		return read_number(value, 0, 3600000, &behaviour->delay_ms);
	sink->path = value;
	return true;
}

/* 0: run; else the exit status plus one. */
static int
read_options(struct sink *sink, int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 0 },
		{ "out", required_argument, NULL, 0 },
		{ "fail-percent", required_argument, NULL, 0 },
		{ "status", required_argument, NULL, 0 },
		{ "delay-ms", required_argument, NULL, 0 },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int at = 0;
	int found;

	while ((found = getopt_long(argc, argv, "", options, &at)) != -1) {
		if (found == 'h') {
			(void)fputs(help, stdout);
			return EXIT_SUCCESS + 1;
		}
		if (found != 0)
			return 2 + 1;
		if (!take_option(sink, options[at].name, optarg)) {
			(void)fprintf(stderr, "event-sink: --%s can't be that "
			    "(see --help)\n", options[at].name);
			return 2 + 1;
		}
	}
	if (sink->host == NULL || optind < argc) {
		(void)fprintf(stderr, "event-sink: --listen is needed, and "
		    "nothing but options (see --help)\n");
		return 2 + 1;
	}
	return 0;
}

/* ---- its life ---- */

static void
on_end_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)event_base_loopbreak(arg);
}

static bool
open_file(struct sink *sink)
{
	if (sink->path == NULL)
		return true;
	sink->file = fopen(sink->path, "ae");
	sink->buffer = malloc(FILE_BUFFER);
	if (sink->file == NULL) {
		(void)fprintf(stderr, "event-sink: %s: %s\n", sink->path,
		    strerror(errno));
		return false;
	}
	return sink->buffer != NULL &&
	    setvbuf(sink->file, sink->buffer, _IOFBF, FILE_BUFFER) == 0;
}

static bool
open_http(struct sink *sink)
{
	sink->http = evhttp_new(sink->base);
	if (sink->http == NULL)
		return false;
	evhttp_set_max_body_size(sink->http, BODY_MAX);
	evhttp_set_allowed_methods(sink->http, EVHTTP_REQ_GET |
	    EVHTTP_REQ_POST);
	evhttp_set_gencb(sink->http, on_request, sink);
	if (evhttp_bind_socket(sink->http, sink->host,
	        (uint16_t)sink->port) == 0)
		return true;
	(void)fprintf(stderr, "event-sink: can't listen on port %" PRId64
	    ": %s\n", sink->port, strerror(errno));
	return false;
}

static bool
run(struct sink *sink)
{
	const struct timeval every = { .tv_sec = FLUSH_S };
	struct event *on_term = evsignal_new(sink->base, SIGTERM,
	    on_end_signal, sink->base);
	struct event *on_int = evsignal_new(sink->base, SIGINT, on_end_signal,
	    sink->base);
	struct event *on_flush = event_new(sink->base, -1, EV_PERSIST,
	    on_flush_due, sink);
	const bool is_good = on_term != NULL && on_int != NULL &&
	    on_flush != NULL && event_add(on_term, NULL) == 0 &&
	    event_add(on_int, NULL) == 0 && event_add(on_flush, &every) == 0;

	if (is_good) {
		(void)printf("event-sink: on port %" PRId64 "\n", sink->port);
		(void)fflush(stdout);
		(void)event_base_dispatch(sink->base);
	}
	if (on_term != NULL)
		event_free(on_term);
	if (on_int != NULL)
		event_free(on_int);
	if (on_flush != NULL)
		event_free(on_flush);
	return is_good;
}

static void
close_all(struct sink *sink)
{
	if (sink->http != NULL)
		evhttp_free(sink->http);
	if (sink->file != NULL && fclose(sink->file) != 0)
		(void)note_failure(sink, false);
	free(sink->buffer);
	if (sink->base != NULL)
		event_base_free(sink->base);
}

int
main(int argc, char **argv)
{
	struct sink sink = { .behaviour = { .status = 500 },
		.random = 0x9e3779b97f4a7c15U };
	const int ended = read_options(&sink, argc, argv);
	bool is_good;

	if (ended != 0)
		return ended - 1;
	(void)signal(SIGPIPE, SIG_IGN);
	sink.base = event_base_new();
	is_good = sink.base != NULL && open_file(&sink) && open_http(&sink) &&
	    run(&sink);
	close_all(&sink);
	if (is_good)
		(void)printf("{\"accepted\":%" PRIu64 ",\"refused\":%" PRIu64
		    ",\"bytes\":%" PRIu64 "}\n", sink.accepted, sink.refused,
		    sink.bytes);
	return is_good && !sink.is_broken ? EXIT_SUCCESS : EXIT_FAILURE;
}
