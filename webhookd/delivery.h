/*
 * One event of the queue while it is in memory: what is sent, and where it
 * stands. Plain data and its making; who is sent when is the window's
 * business (window.h), the sending is the sender's (sender.h).
 */
#ifndef KAP_DELIVERY_H
#define KAP_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "shared/http_client.h"
#include "shared/webhook_queue.h"
#include "signature.h"

#define DELIVERY_HEADERS_MAX 4
#define DELIVERY_HEADER_SIZE 96

struct target;

enum delivery_kind {
	DELIVERY_FIRST, /* first attempt: in order within its call */
	DELIVERY_RETRY, /* waits for nobody */
	DELIVERY_KIND_COUNT
};

/* What is to be stored of it; DELIVERY_OPEN until that is known. */
enum delivery_outcome {
	DELIVERY_OPEN,
	DELIVERY_REMOVE,   /* taken, or to be sent nowhere */
	DELIVERY_POSTPONE, /* failed: again at next_ms */
	DELIVERY_DEFER     /* not tried, for want of room: at next_ms */
};

struct delivery {
	struct webhook_event event; /* as it lies in the store */
	int64_t due_ms;  /* its place among the retries; 0: among the new */
	int64_t next_ms; /* deadline clock, for POSTPONE and DEFER */
	enum delivery_outcome outcome;

	/* the window's */
	struct target *target;     /* until it is finished */
	struct delivery *follower; /* next of the call, waits for this one */
	bool open;                 /* scheduled and not yet finished */
	TAILQ_ENTRY(delivery) ready;
	LIST_ENTRY(delivery) by_number;
	LIST_ENTRY(delivery) by_call;

	/* the settler's */
	STAILQ_ENTRY(delivery) settle;

	void *owner; /* for the callback of the HTTP client */
	char id_header[DELIVERY_HEADER_SIZE];
	char time_header[DELIVERY_HEADER_SIZE];
	char signature_header[DELIVERY_HEADER_SIZE + SIGNATURE_SIZE];
	const char *headers[DELIVERY_HEADERS_MAX];
	size_t body_len;
	const char *url;     /* all three in text[], NUL-terminated */
	const char *secrets; /* as in the cold record; "" : isn't signed */
	const char *body;
	char text[];
};

STAILQ_HEAD(delivery_list, delivery);

static inline enum delivery_kind
delivery_kind_of(const struct delivery *delivery)
{
	return delivery->due_ms == 0 ? DELIVERY_FIRST : DELIVERY_RETRY;
}

/*
 * Make one out of copies of its parts. All three texts may be empty for an
 * event that is not going to be sent. Returns NULL when out of memory.
 */
struct delivery *delivery_new(const struct webhook_event *event,
    int64_t due_ms, const char *url, const char *secrets, const char *body,
    size_t body_len);

/* Sets *delivery NULL. */
void delivery_free(struct delivery **delivery);

/*
 * Fill in the request of one try, begun at now_ms (wall clock). It refers to
 * the delivery, which outlives it; finish, arg and timeout_ms are left alone.
 *
 * Returns 0; -KAP_NOMEM, -KAP_INVAL where it can't be signed, and is not to be
 * sent then.
 */
KAP_MUST_USE int delivery_make_request(struct delivery *delivery, int64_t now_ms,
    struct http_request *request);

/*
 * The wait before the next try: min_ms doubled for each failure before this
 * one, at most max_ms, and up to a fifth more or less of it.
 *
 * failures  tries that failed before, 0..
 * chance    any number: a random one for the spread
 */
int64_t delivery_backoff_ms(uint32_t failures, int64_t min_ms, int64_t max_ms,
    uint32_t chance);

#endif
