/*
 * Makes deliveries and their requests. Sends and stores nothing.
 */
#include "delivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct delivery *
delivery_new(const struct webhook_event *event, int64_t due_ms,
    const char *url, const char *secrets, const char *body, size_t body_len)
{
	const size_t url_size = strlen(url) + 1;
	const size_t secrets_size = strlen(secrets) + 1;
	struct delivery *delivery = calloc(1,
	    sizeof(*delivery) + url_size + secrets_size + body_len + 1);

	if (delivery == NULL)
		return NULL;
	delivery->event = *event;
	delivery->due_ms = due_ms;
	memcpy(delivery->text, url, url_size);
	memcpy(delivery->text + url_size, secrets, secrets_size);
	memcpy(delivery->text + url_size + secrets_size, body, body_len);
	delivery->url = delivery->text;
	delivery->secrets = delivery->url + url_size;
	delivery->body = delivery->secrets + secrets_size;
	delivery->body_len = body_len;
	return delivery;
}

void
delivery_free(struct delivery **delivery)
{
	free(*delivery);
	*delivery = NULL;
}

/* The last of the headers, where there is something to sign with. */
static int
sign(struct delivery *delivery, const char *id, int64_t now_s,
    struct http_request *request)
{
	char signature[SIGNATURE_SIZE];
	int rc;

	if (delivery->secrets[0] == '\0')
		return 0;
	rc = signature_make(delivery->secrets, id, now_s, delivery->body,
	    delivery->body_len, signature);
	if (rc != 0)
		return rc;
	(void)snprintf(delivery->signature_header,
	    sizeof(delivery->signature_header), "webhook-signature: %s",
	    signature);
	delivery->headers[request->header_count++] =
	    delivery->signature_header;
	return 0;
}

int
delivery_make_request(struct delivery *delivery, int64_t now_ms,
    struct http_request *request)
{
	const int64_t now_s = now_ms / 1000;
	char id[WEBHOOK_EVENT_ID_SIZE];

	webhook_event_id(&delivery->event, id);
	(void)snprintf(delivery->id_header, sizeof(delivery->id_header),
	    "webhook-id: %s", id);
	(void)snprintf(delivery->time_header, sizeof(delivery->time_header),
	    "webhook-timestamp: %" PRId64, now_s);
	delivery->headers[0] = "Content-Type: application/json";
	delivery->headers[1] = delivery->id_header;
	delivery->headers[2] = delivery->time_header;
	request->method = "POST";
	request->url = delivery->url;
	request->headers = delivery->headers;
	request->header_count = 3;
	request->body = delivery->body;
	request->body_len = delivery->body_len;
	request->body_max_bytes = 0;
	return sign(delivery, id, now_s, request);
}

int64_t
delivery_backoff_ms(uint32_t failures, int64_t min_ms, int64_t max_ms,
    uint32_t chance)
{
	int64_t wait_ms = min_ms < max_ms ? min_ms : max_ms;
	int64_t spread_ms;

	for (; failures > 0 && wait_ms < max_ms; failures--)
		wait_ms = wait_ms < max_ms / 2 ? wait_ms * 2 : max_ms;
	spread_ms = wait_ms / 5;
	return wait_ms - spread_ms +
	    (int64_t)(chance % (uint64_t)(2 * spread_ms + 1));
}
