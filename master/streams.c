/*
 * One stream's life, with who reads it:
 *
 *                    READ                     STOP_READING
 *     nobody ──────────────────▶ reader ─────────────────────▶ reader, that
 *       ▲  ▲    (or it begins      │                           is to stop
 *       │  │     by itself)        │ death, UNREAD                │
 *       │  └───────────────────────┘                              │
 *       └─────────────────────────────────────────────────────────┘
 *                               UNREAD, death
 *
 * A wish that changes while a reader is about to stop changes nothing: it
 * stops, and whoever is wanted then is told to read, be it the same one.
 */
#include "master/streams.h"

#include <unistd.h>

/* A reader that gave a stream up unasked isn't told to read at once. */
#define REST_MS 250

static const struct stream_reader nobody;

bool
stream_reader_equals(struct stream_reader a, struct stream_reader b)
{
	return a.generation == b.generation &&
	    (a.generation == 0 || a.slot == b.slot);
}

static bool
has_reader(const struct stream *stream)
{
	return stream->reader.generation != 0;
}

static void
keep_socket(struct stream *stream, int fd)
{
	if (stream->fd >= 0)
		(void)close(stream->fd);
	stream->fd = fd;
}

void
streams_init(struct streams *streams, const struct streams_ops *ops, void *ctx)
{
	*streams = (struct streams){ .ops = ops, .ctx = ctx };
	for (int i = 0; i < CHILD_MAX_WORKERS; i++)
		streams->at[i].fd = -1;
}

void
streams_deinit(struct streams *streams)
{
	for (int i = 0; i < CHILD_MAX_WORKERS; i++)
		keep_socket(&streams->at[i], -1);
}

static void
begin(struct stream *stream, struct stream_reader reader)
{
	stream->reader = reader;
	stream->known = true;
	stream->stop_sent = false;
	stream->stop_since_ms = 0;
}

static void
end(struct stream *stream)
{
	stream->reader = nobody;
	stream->stop_sent = false;
	stream->stop_since_ms = 0;
}

static void
settle(struct streams *streams, int number, int64_t now_ms)
{
	struct stream *stream = &streams->at[number];
	const struct stream_reader wanted = streams->ops->wanted(streams->ctx,
	    number, stream->known);

	if (has_reader(stream)) {
		if (stream->stop_sent ||
		    stream_reader_equals(stream->reader, wanted))
			return;
		/* the time runs even while its channel is full */
		if (stream->stop_since_ms == 0)
			stream->stop_since_ms = now_ms;
		stream->stop_sent = streams->ops->send(streams->ctx,
		    &stream->reader, CHILD_MSG_STOP_READING, number, -1) == 0;
		return;
	}
	if (wanted.generation == 0 || now_ms < stream->rests_until_ms)
		return;
	if (streams->ops->send(streams->ctx, &wanted, CHILD_MSG_READ, number,
	    stream->fd) == 0)
		begin(stream, wanted);
}

void
streams_settle(struct streams *streams, int64_t now_ms)
{
	for (int i = 0; i < CHILD_MAX_WORKERS; i++)
		settle(streams, i, now_ms);
}

static struct stream *
find(struct streams *streams, int number)
{
	return number >= 0 && number < CHILD_MAX_WORKERS ?
	    &streams->at[number] : NULL;
}

int
streams_take_socket(struct streams *streams, int number,
    struct stream_reader from, int fd)
{
	struct stream *stream = find(streams, number);
	int rc;

	if (stream == NULL) {
		(void)close(fd);
		return -KAP_INVAL;
	}
	/* its own stream a worker reads only when it is told to */
	if (!has_reader(stream) && number != from.slot)
		begin(stream, from);
	if (stream_reader_equals(stream->reader, from)) {
		keep_socket(stream, fd);
		return 0;
	}
	(void)close(fd);
	/* not sent: it says UNREAD, or comes again with its next socket */
	rc = streams->ops->send(streams->ctx, &from, CHILD_MSG_STOP_READING,
	    number, -1);
	(void)rc;
	return -KAP_STATE;
}

void
streams_socket_gone(struct streams *streams, int number,
    struct stream_reader from)
{
	struct stream *stream = find(streams, number);

	if (stream != NULL && stream_reader_equals(stream->reader, from))
		keep_socket(stream, -1);
}

void
streams_unread(struct streams *streams, int number, struct stream_reader from,
    bool idle, int64_t now_ms)
{
	struct stream *stream = find(streams, number);

	if (stream == NULL || !has_reader(stream) ||
	    !stream_reader_equals(stream->reader, from))
		return;
	if (idle && number != from.slot) {
		keep_socket(stream, -1);
		stream->known = false;
	} else if (stream->stop_since_ms == 0) {
		stream->rests_until_ms = now_ms + REST_MS;
	}
	end(stream);
}

void
streams_reader_gone(struct streams *streams, struct stream_reader reader)
{
	for (int i = 0; i < CHILD_MAX_WORKERS; i++) {
		struct stream *stream = &streams->at[i];

		if (has_reader(stream) &&
		    stream_reader_equals(stream->reader, reader))
			end(stream);
	}
}

int64_t
streams_stop_since(const struct streams *streams, struct stream_reader reader)
{
	int64_t since_ms = 0;

	for (int i = 0; i < CHILD_MAX_WORKERS; i++) {
		const struct stream *stream = &streams->at[i];

		if (stream->stop_since_ms == 0 ||
		    !stream_reader_equals(stream->reader, reader))
			continue;
		if (since_ms == 0 || stream->stop_since_ms < since_ms)
			since_ms = stream->stop_since_ms;
	}
	return since_ms;
}

bool
streams_is_settled(const struct streams *streams, int number)
{
	const struct stream *stream = &streams->at[number];

	return stream->stop_since_ms == 0 &&
	    stream_reader_equals(stream->reader,
	        streams->ops->wanted(streams->ctx, number, stream->known));
}
