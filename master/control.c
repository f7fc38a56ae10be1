/*
 * Connections of the control socket: bounded in number, length and time, so
 * that no client can hold up the master. What a command means is its
 * caller's.
 */
#include "master/control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "shared/clock.h"

#define MAX_CLIENTS 32
#define DEADLINE_S 5
#define BACKLOG 16
#define REST_MS 200 /* without accepting: no place, or no descriptors */
#define ASK_MS 100  /* where there is no place, a client has for its line */
#define TAKE_MS 1000 /* and until it has its answer */

struct client {
	struct control *control;
	struct bufferevent *bev; /* NULL: this place is free */
	struct event *on_deadline;
	int64_t since_ms; /* boot clock */
	bool answered;
};

struct control {
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *on_rested;
	bool crowded; /* every place is taken: doesn't accept */
	control_answer_fn *answer;
	void *ctx;
	struct client clients[MAX_CLIENTS];
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Its place is free again: go on, if it was for want of one. */
static void
client_close(struct client *client)
{
	if (client->bev != NULL) {
		bufferevent_free(client->bev);
		if (client->control->listener != NULL &&
		    client->control->crowded) {
			client->control->crowded = false;
			(void)evconnlistener_enable(
			    client->control->listener);
		}
	}
	if (client->on_deadline != NULL)
		event_free(client->on_deadline);
	client->bev = NULL;
	client->on_deadline = NULL;
}

static cJSON *
refusal(const char *error)
{
	cJSON *answer = cJSON_CreateObject();

	(void)cJSON_AddBoolToObject(answer, "ok", false);
	(void)cJSON_AddStringToObject(answer, "error", error);
	return answer;
}

static cJSON *
answer_line(const struct control *control, const char *line)
{
	cJSON *request = cJSON_ParseWithLength(line, strlen(line));
	const char *command = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(request, "command"));
	cJSON *answer;

	if (command == NULL)
		answer = refusal("a request is {\"command\":\"...\"}");
	else
		answer = control->answer(control->ctx, command, request);
	cJSON_Delete(request);
	return answer != NULL ? answer : refusal("unknown command");
}

static void
send_answer(struct client *client, cJSON *answer)
{
	char *text = cJSON_PrintUnformatted(answer);

	cJSON_Delete(answer);
	client->answered = true;
	(void)bufferevent_disable(client->bev, EV_READ);
	if (text == NULL ||
	    bufferevent_write(client->bev, text, strlen(text)) != 0 ||
	    bufferevent_write(client->bev, "\n", 1) != 0)
		client_close(client);
	cJSON_free(text);
}

static void
on_client_readable(struct bufferevent *bev, void *arg)
{
	struct client *client = arg;
	struct evbuffer *input = bufferevent_get_input(bev);
	char *line;

	if (client->answered)
		return;
	line = evbuffer_readln(input, NULL, EVBUFFER_EOL_LF);
	if (line != NULL)
		send_answer(client, answer_line(client->control, line));
	else if (evbuffer_get_length(input) >= CONTROL_REQUEST_MAX)
		client_close(client);
	free(line);
}

static void
on_client_written(struct bufferevent *bev KAP_UNUSED, void *arg)
{
	struct client *client = arg;

	if (client->answered)
		client_close(client);
}

static void
on_client_event(struct bufferevent *bev KAP_UNUSED, short what, void *arg)
{
	struct client *client = arg;

	/* one that shuts its sending side may still wait for the answer */
	if ((what & BEV_EVENT_EOF) != 0 && client->answered)
		return;
	client_close(client);
}

static void
on_client_deadline(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	client_close(arg);
}

static struct client *
free_place(struct control *control)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		if (control->clients[i].bev == NULL)
			return &control->clients[i];
	}
	return NULL;
}

static void
rest(struct control *control)
{
	const struct timeval rest = { .tv_usec = REST_MS * 1000L };

	(void)evconnlistener_disable(control->listener);
	(void)event_add(control->on_rested, &rest);
}

static void
on_listener_accept(struct evconnlistener *listener KAP_UNUSED,
    evutil_socket_t fd, struct sockaddr *address KAP_UNUSED,
    int len KAP_UNUSED, void *arg)
{
	const struct timeval deadline = { .tv_sec = DEADLINE_S };
	struct control *control = arg;
	struct client *client = free_place(control);

	if (client == NULL) {
		(void)close(fd);
		return;
	}
	*client = (struct client){ .control = control,
		.since_ms = clock_boot_ms() };
	client->bev = bufferevent_socket_new(control->base, fd,
	    BEV_OPT_CLOSE_ON_FREE);
	if (client->bev == NULL) {
		(void)close(fd);
		return;
	}
	if (free_place(control) == NULL) {
		control->crowded = true;
		rest(control);
	}
	client->on_deadline = event_new(control->base, -1, 0,
	    on_client_deadline, client);
	bufferevent_setcb(client->bev, on_client_readable, on_client_written,
	    on_client_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0,
	    CONTROL_REQUEST_MAX);
	if (client->on_deadline == NULL ||
	    event_add(client->on_deadline, &deadline) != 0 ||
	    bufferevent_enable(client->bev, EV_READ | EV_WRITE) != 0)
		client_close(client);
}

/* Out of descriptors, accept would fail again at once, for ever. */
static void
on_listener_error(struct evconnlistener *listener KAP_UNUSED, void *arg)
{
	rest(arg);
}

/*
 * A client asks at once, and is answered in the same turn: if the places are
 * all taken, those who said nothing meanwhile make room.
 */
static void
on_listener_rested(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	struct control *control = arg;
	const int64_t now_ms = clock_boot_ms();
	const bool crowded = control->crowded;

	for (size_t i = 0; crowded && i < MAX_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (now_ms - client->since_ms >=
		    (client->answered ? TAKE_MS : ASK_MS))
			client_close(client);
	}
	if (free_place(control) == NULL) {
		rest(control);
		return;
	}
	control->crowded = false;
	(void)evconnlistener_enable(control->listener);
}

/* Bind for our own user alone; returns the descriptor or -KAP_IO. */
static int
bind_socket(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int rc;

	if (fd < 0)
		return -KAP_IO;
	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	(void)unlink(path);
	mask = umask(0177);
	rc = bind(fd, (const struct sockaddr *)&name, sizeof(name));
	(void)umask(mask);
	if (rc != 0 || listen(fd, BACKLOG) != 0) {
		(void)close(fd);
		return -KAP_IO;
	}
	return fd;
}

static int
listen_at(struct control *control)
{
	const int fd = bind_socket(control->path);

	if (fd < 0)
		return fd;
	control->on_rested = event_new(control->base, -1, 0,
	    on_listener_rested, control);
	control->listener = evconnlistener_new(control->base,
	    on_listener_accept, control, LEV_OPT_CLOSE_ON_FREE |
	    LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (control->listener == NULL) {
		(void)close(fd);
		return -KAP_NOMEM;
	}
	evconnlistener_set_error_cb(control->listener, on_listener_error);
	return control->on_rested != NULL ? 0 : -KAP_NOMEM;
}

int
control_open(struct control **control_out, struct event_base *base,
    const char *path, control_answer_fn *answer, void *ctx,
    struct kap_errmsg *msg)
{
	struct control *control;
	int rc;

	if (strlen(path) >= sizeof(control->path)) {
		kap_errmsg_set(msg, "%s is too long for a socket; choose a "
		    "shorter node.run_dir", path);
		return -KAP_TOOBIG;
	}
	control = calloc(1, sizeof(*control));
	if (control == NULL) {
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	control->base = base;
	control->answer = answer;
	control->ctx = ctx;
	memcpy(control->path, path, strlen(path) + 1);
	rc = listen_at(control);
	if (rc != 0) {
		kap_errmsg_set(msg, "%s: %s", path, strerror(errno));
		control_close(&control);
		return rc;
	}
	*control_out = control;
	return 0;
}

void
control_close(struct control **control)
{
	struct control *closing = *control;

	if (closing == NULL)
		return;
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		client_close(&closing->clients[i]);
	if (closing->listener != NULL) {
		evconnlistener_free(closing->listener);
		(void)unlink(closing->path);
	}
	if (closing->on_rested != NULL)
		event_free(closing->on_rested);
	free(closing);
	*control = NULL;
}
