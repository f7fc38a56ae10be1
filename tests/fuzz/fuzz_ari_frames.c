/*
 * The WebSocket stream with any bytes, cut into any pieces. What comes out
 * must not depend on the pieces, nor on whether the stream is stored and
 * loaded by another between any two of them.
 *
 * The first byte is the size of the pieces, and whether it moves.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ari_ws_stream.h"

/* A running hash of all that came out. */
struct seen {
	uint64_t hash;
	uint64_t count;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add(struct seen *seen, unsigned kind, const uint8_t *data, size_t len)
{
	seen->count++;
	seen->hash = (seen->hash ^ kind ^ len) * 1099511628211U;
	for (size_t i = 0; i < len; i++)
		seen->hash = (seen->hash ^ data[i]) * 1099511628211U;
}

static int
on_message(void *ctx, const uint8_t *data, size_t len)
{
	if (len > ARI_WS_MESSAGE_MAX)
		abort();
	add(ctx, 1, data, len);
	return 0;
}

static void
on_ping(void *ctx, const uint8_t *payload, size_t len)
{
	if (len > ARI_WS_CONTROL_PAYLOAD)
		abort();
	add(ctx, 2, payload, len);
}

static void
on_dropped(void *ctx, uint64_t len)
{
	if (len <= ARI_WS_MESSAGE_MAX)
		abort();
	add(ctx, 3, NULL, 0);
}

static const struct ari_ws_stream_ops ops = {
	.message = on_message,
	.ping = on_ping,
	.dropped = on_dropped,
};

/* What another process would do: nothing but the state and the bytes. */
static void
move(struct ari_ws_stream *stream)
{
	const struct ari_ws_state state = stream->state;
	const size_t len = (size_t)state.message_len;
	uint8_t *message = malloc(len > 0 ? len : 1);

	if (message == NULL)
		abort();
	if (len > 0)
		memcpy(message, stream->message, len);
	ari_ws_stream_deinit(stream);
	if (ari_ws_stream_load(stream, &state, message, len) != 0)
		abort(); /* whatever it was, it is possible */
	free(message);
}

static int
run(const uint8_t *data, size_t size, size_t piece, int moves,
    struct seen *seen)
{
	struct ari_ws_stream stream;
	int rc = 0;

	ari_ws_stream_init(&stream);
	for (size_t at = 0; at < size && rc == 0; at += piece) {
		const size_t n = size - at < piece ? size - at : piece;
		uint8_t *exact = malloc(n);

		if (exact == NULL)
			abort();
		memcpy(exact, data + at, n);
		rc = ari_ws_stream_feed(&stream, exact, n, &ops, seen);
		free(exact);
		if (moves && rc == 0)
			move(&stream);
	}
	ari_ws_stream_deinit(&stream);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = { 0, 0 };
	struct seen pieces = { 0, 0 };
	int rc;

	if (size < 2)
		return 0;
	rc = run(data + 1, size - 1, size, 0, &whole);
	if (run(data + 1, size - 1, 1 + data[0] % 64U, data[0] >= 128,
	        &pieces) != rc || pieces.hash != whole.hash ||
	    pieces.count != whole.count)
		abort();
	return 0;
}
