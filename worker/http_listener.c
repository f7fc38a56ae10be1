/*
 * Pausing and resuming of listeners. Accepts nothing itself: that stays
 * evhttp's, by way of libevent's evconnlistener.
 */
#include "http_listener.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#define RETRY_US 100000L

struct http_listener {
	LIST_ENTRY(http_listener) entry;
	struct evhttp *http;
	struct evhttp_bound_socket *bound;
	struct evconnlistener *accepting;
	struct event *retry;
	unsigned reasons; /* enum http_pause */
	unsigned long failures;
};

/*
 * evhttp puts its own pointer where libevent's error callback could have
 * told us whose listener failed, so it is looked up here.
 */
static LIST_HEAD(, http_listener) listeners =
    LIST_HEAD_INITIALIZER(listeners);

void
http_listener_pause(struct http_listener *listener, enum http_pause reason)
{
	if (listener->reasons == 0)
		(void)evconnlistener_disable(listener->accepting);
	listener->reasons |= reason;
}

void
http_listener_resume(struct http_listener *listener, enum http_pause reason)
{
	if ((listener->reasons & reason) == 0)
		return;
	listener->reasons &= ~(unsigned)reason;
	if (listener->reasons == 0)
		(void)evconnlistener_enable(listener->accepting);
}

unsigned
http_listener_paused(const struct http_listener *listener)
{
	return listener->reasons;
}

unsigned long
http_listener_failures(const struct http_listener *listener)
{
	return listener->failures;
}

static void
on_retry(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	http_listener_resume(arg, HTTP_PAUSE_DESCRIPTORS);
}

/*
 * accept() failed in a way that doesn't pass by itself: out of descriptors
 * or memory, mostly. The connection is still in the kernel's queue, so the
 * socket stays readable, and without a pause the loop would spin.
 */
static void
on_accept_error(struct evconnlistener *accepting, void *http KAP_UNUSED)
{
	const struct timeval in = { .tv_usec = RETRY_US };
	struct http_listener *listener;

	LIST_FOREACH(listener, &listeners, entry) {
		if (listener->accepting != accepting)
			continue;
		listener->failures++;
		http_listener_pause(listener, HTTP_PAUSE_DESCRIPTORS);
		(void)event_add(listener->retry, &in);
		return;
	}
}

static int
prepare_socket(int fd)
{
	int listens = 0;
	socklen_t len = sizeof(listens);
	const int flags = fcntl(fd, F_GETFL);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 ||
	    !listens || flags < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return -KAP_INVAL;
	return 0;
}

/* Everything but the socket, which the listener does not own yet. */
static int
allocate_parts(struct http_listener *listener, struct event_base *base,
    int fd)
{
	listener->retry = evtimer_new(base, on_retry, listener);
	if (listener->retry == NULL)
		return -KAP_NOMEM;
	listener->accepting = evconnlistener_new(base, NULL, NULL,
	    LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE, 0, fd);
	return listener->accepting != NULL ? 0 : -KAP_NOMEM;
}

static void
free_parts(struct http_listener *listener)
{
	if (listener->accepting != NULL)
		evconnlistener_free(listener->accepting);
	if (listener->retry != NULL)
		event_free(listener->retry);
	free(listener);
}

int
http_listener_new(struct http_listener **listener_out,
    struct event_base *base, struct evhttp *http, int fd)
{
	struct http_listener *listener = calloc(1, sizeof(*listener));
	int rc = listener != NULL ? prepare_socket(fd) : -KAP_NOMEM;

	if (rc == 0)
		rc = allocate_parts(listener, base, fd);
	if (rc != 0) {
		(void)close(fd);
		if (listener != NULL)
			free_parts(listener);
		return rc;
	}
	evconnlistener_set_error_cb(listener->accepting, on_accept_error);
	listener->http = http;
	listener->bound = evhttp_bind_listener(http, listener->accepting);
	if (listener->bound == NULL) {
		free_parts(listener);
		return -KAP_NOMEM;
	}
	LIST_INSERT_HEAD(&listeners, listener, entry);
	*listener_out = listener;
	return 0;
}

void
http_listener_free(struct http_listener **listener)
{
	struct http_listener *l = *listener;

	*listener = NULL;
	if (l == NULL)
		return;
	LIST_REMOVE(l, entry);
	evhttp_del_accept_socket(l->http, l->bound);
	event_free(l->retry);
	free(l);
}
