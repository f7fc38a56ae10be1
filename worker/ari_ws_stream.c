/*
 * Assembles WebSocket messages from pieces of a stream. Touches no socket;
 * keeps nothing that isn't in its state and the message's bytes.
 */
#include "ari_ws_stream.h"

#include <stdlib.h>
#include <string.h>

/* A buffer grown over this is freed with its message. */
#define KEEP_CAPACITY 65536

/* One call of feed: the piece, and how far we are in it. */
struct piece {
	const uint8_t *data;
	size_t len;
	size_t at;
	const struct ari_ws_stream_ops *ops;
	void *ctx;
};

void
ari_ws_stream_init(struct ari_ws_stream *stream)
{
	memset(stream, 0, sizeof(*stream));
}

void
ari_ws_stream_deinit(struct ari_ws_stream *stream)
{
	free(stream->message);
	memset(stream, 0, sizeof(*stream));
}

/* Make room for `more` bytes behind those of the open message. */
static int
reserve(struct ari_ws_stream *stream, size_t more)
{
	const size_t want = (size_t)stream->state.message_len + more;
	size_t capacity = stream->capacity < 4096 ? 4096 : stream->capacity;
	uint8_t *grown;

	if (want <= stream->capacity)
		return 0;
	while (capacity < want)
		capacity *= 2;
	grown = realloc(stream->message, capacity);
	if (grown == NULL)
		return -KAP_NOMEM;
	stream->message = grown;
	stream->capacity = capacity;
	return 0;
}

static bool
is_possible(const struct ari_ws_state *state, size_t message_len)
{
	return state->message_len == message_len &&
	    message_len <= ARI_WS_MESSAGE_MAX &&
	    state->frame_left <= INT64_MAX &&
	    state->pending_len < ARI_WS_CONTROL_MAX &&
	    (state->in_message || message_len == 0) &&
	    (state->in_message || !state->in_frame) &&
	    (!state->in_frame || state->pending_len == 0) &&
	    (state->in_frame != 0) == (state->frame_left > 0) &&
	    (!state->dropping || (state->in_message && message_len == 0)) &&
	    (state->dropping || !state->in_frame ||
	        state->frame_left <= ARI_WS_MESSAGE_MAX - message_len);
}

int
ari_ws_stream_load(struct ari_ws_stream *stream,
    const struct ari_ws_state *state, const void *message, size_t message_len)
{
	ari_ws_stream_init(stream);
	if (!is_possible(state, message_len))
		return -KAP_CORRUPT;
	if (message_len > 0) {
		if (reserve(stream, message_len) != 0)
			return -KAP_NOMEM;
		memcpy(stream->message, message, message_len);
	}
	stream->state = *state;
	return 0;
}

/* The open message has ended; forget it. */
static void
end_message(struct ari_ws_stream *stream)
{
	struct ari_ws_state *state = &stream->state;

	state->in_message = 0;
	state->dropping = 0;
	state->message_len = 0;
	state->dropped_len = 0;
	if (stream->capacity > KEEP_CAPACITY) {
		free(stream->message);
		stream->message = NULL;
		stream->capacity = 0;
	}
}

static int
deliver(struct ari_ws_stream *stream, const struct piece *piece,
    const uint8_t *data, size_t len)
{
	const struct ari_ws_state *state = &stream->state;
	int rc = 0;

	if (state->dropping)
		piece->ops->dropped(piece->ctx, state->dropped_len);
	else
		rc = piece->ops->message(piece->ctx, data, len);
	end_message(stream);
	return rc;
}

/* Take what the piece has of the open frame's payload. */
static int
take_payload(struct ari_ws_stream *stream, struct piece *piece)
{
	struct ari_ws_state *state = &stream->state;
	const uint8_t *from = piece->data + piece->at;
	const size_t there = piece->len - piece->at;
	const size_t n = state->frame_left < there ? (size_t)state->frame_left :
	    there;

	piece->at += n;
	state->frame_left -= n;
	state->in_frame = state->frame_left > 0;
	if (state->dropping) {
		state->dropped_len += n;
	} else if (state->message_len == 0 && !state->in_frame &&
	    state->frame_fin) {
		/* whole in this piece: no copy */
		return deliver(stream, piece, from, n);
	} else if (n > 0) {
		if (reserve(stream, n) != 0)
			return -KAP_NOMEM;
		memcpy(stream->message + state->message_len, from, n);
		state->message_len += n;
	}
	if (state->in_frame || !state->frame_fin)
		return 0;
	return deliver(stream, piece, stream->message,
	    (size_t)state->message_len);
}

static int
open_frame(struct ari_ws_stream *stream, const struct ari_ws_frame *frame)
{
	struct ari_ws_state *state = &stream->state;

	if ((frame->opcode == ARI_WS_CONTINUATION) != (state->in_message != 0))
		return -KAP_PROTO;
	state->in_message = 1;
	state->in_frame = frame->payload_len > 0;
	state->frame_fin = frame->fin;
	state->frame_left = frame->payload_len;
	if (!state->dropping &&
	    frame->payload_len > ARI_WS_MESSAGE_MAX - state->message_len) {
		state->dropping = 1;
		state->dropped_len = state->message_len;
		state->message_len = 0;
	}
	return 0;
}

static int
take_control(struct ari_ws_stream *stream, const struct piece *piece,
    const struct ari_ws_frame *frame, const uint8_t *payload)
{
	const size_t len = (size_t)frame->payload_len;

	if (frame->opcode == ARI_WS_PING)
		piece->ops->ping(piece->ctx, payload, len);
	if (frame->opcode != ARI_WS_CLOSE)
		return 0;
	if (len >= 2)
		stream->close_code = (uint16_t)(payload[0] << 8 | payload[1]);
	return -KAP_GONE;
}

/*
 * Parse at `data`: a data frame's head, or a control frame with all of its
 * payload. *used_out is how long that is.
 */
static int
parse_unit(const uint8_t *data, size_t len, struct ari_ws_frame *frame,
    size_t *used_out)
{
	const int rc = ari_ws_frame_parse(data, len, frame);

	if (rc != 0)
		return rc;
	*used_out = frame->head_len;
	if (!ari_ws_is_control(frame->opcode))
		return 0;
	*used_out += (size_t)frame->payload_len;
	return len < *used_out ? -KAP_AGAIN : 0;
}

/* Find the next unit, which may have begun in an earlier piece. */
static int
next_unit(struct ari_ws_state *state, struct piece *piece,
    struct ari_ws_frame *frame, const uint8_t **unit_out)
{
	size_t used = 0;
	int rc = -KAP_AGAIN;

	if (state->pending_len == 0) {
		*unit_out = piece->data + piece->at;
		rc = parse_unit(*unit_out, piece->len - piece->at, frame,
		    &used);
		if (rc == 0)
			piece->at += used;
		if (rc != -KAP_AGAIN)
			return rc;
	}
	/* a unit of which more is to come is shorter than `pending` */
	*unit_out = state->pending;
	while (rc == -KAP_AGAIN && piece->at < piece->len) {
		state->pending[state->pending_len++] = piece->data[piece->at++];
		rc = parse_unit(state->pending, state->pending_len, frame,
		    &used);
	}
	if (rc == 0)
		state->pending_len = 0;
	return rc;
}

static int
take_unit(struct ari_ws_stream *stream, struct piece *piece)
{
	struct ari_ws_frame frame;
	const uint8_t *unit;
	int rc = next_unit(&stream->state, piece, &frame, &unit);

	if (rc != 0)
		return rc;
	if (ari_ws_is_control(frame.opcode))
		return take_control(stream, piece, &frame,
		    unit + frame.head_len);
	rc = open_frame(stream, &frame);
	if (rc != 0 || stream->state.in_frame)
		return rc;
	return take_payload(stream, piece); /* an empty frame ends at once */
}

int
ari_ws_stream_feed(struct ari_ws_stream *stream, const uint8_t *data,
    size_t len, const struct ari_ws_stream_ops *ops, void *ctx)
{
	struct piece piece = { .data = data, .len = len, .ops = ops,
		.ctx = ctx };
	int rc = 0;

	while (rc == 0 && piece.at < piece.len)
		rc = stream->state.in_frame ? take_payload(stream, &piece) :
		    take_unit(stream, &piece);
	return rc == -KAP_AGAIN ? 0 : rc;
}
