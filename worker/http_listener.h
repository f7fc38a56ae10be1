/*
 * A listening socket that the master made and handed over. evhttp accepts
 * from it; what is here decides when it may: not while the server is full,
 * not while descriptors are used up (evhttp alone would spin then), and only
 * a bounded number in one turn of the loop.
 */
#ifndef KAP_HTTP_LISTENER_H
#define KAP_HTTP_LISTENER_H

#include <stdbool.h>

#include "shared/errors.h"

struct event_base;
struct evhttp;
struct http_listener;

/* Why a listener doesn't accept; it does when there is no reason left. */
enum http_pause {
	HTTP_PAUSE_FULL = 1U << 0,        /* as many connections as allowed */
	HTTP_PAUSE_DESCRIPTORS = 1U << 1, /* accept() failed; tried again */
	HTTP_PAUSE_TURN = 1U << 2         /* enough for this turn of the loop */
};

/*
 * Let evhttp accept from a listening socket.
 *
 * fd  taken over: made non-blocking and close-on-exec, closed with the
 *     listener, and on error at once
 *
 * Returns 0; -KAP_INVAL for a descriptor that doesn't listen; -KAP_NOMEM.
 */
KAP_MUST_USE int http_listener_new(struct http_listener **listener_out,
    struct event_base *base, struct evhttp *http, int fd);

/* Stop accepting, close our copy of the socket. Sets *listener NULL. */
void http_listener_free(struct http_listener **listener);

void http_listener_pause(struct http_listener *listener,
    enum http_pause reason);
void http_listener_resume(struct http_listener *listener,
    enum http_pause reason);

/* The reasons it is paused for now, enum http_pause; 0: it accepts. */
unsigned http_listener_paused(const struct http_listener *listener);

/* Times it was paused because accept() failed. */
unsigned long http_listener_failures(const struct http_listener *listener);

#endif
