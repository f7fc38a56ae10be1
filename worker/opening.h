/*
 * When a starting worker says that it is ready, and when it begins to accept.
 * Connections wait in the kernel meanwhile, which is better than to answer
 * that Asterisk can't be reached, a moment before it can.
 */
#ifndef KAP_OPENING_H
#define KAP_OPENING_H

#include <stdbool.h>

struct event_base;
struct opening;

struct opening_options {
	struct event_base *base;
	/*
	 * Another process of the slot serves meanwhile: be ready when all is
	 * connected. Else at once, for nobody does.
	 */
	bool beside;
	/* PostgreSQL and the command links are there. */
	bool (*is_connected)(void *ctx);
	/* …and the events are read: all can be done. */
	bool (*is_complete)(void *ctx);
	/* Tell the master. Once. */
	void (*ready)(void *ctx);
	/* Accept. Once, later than ready. */
	void (*serve)(void *ctx);
	void *ctx;
};

/* `options` is copied. Calls back from the loop. NULL when out of memory. */
struct opening *opening_new(const struct opening_options *options);

/* The slot is this process's now: CHILD_MSG_READ has come. */
void opening_take_over(struct opening *opening);

/* Something has come up: look at once. */
void opening_look(struct opening *opening);

/* It is over, too, for one that leaves. Sets *opening NULL; NULL is fine. */
void opening_free(struct opening **opening);

#endif
