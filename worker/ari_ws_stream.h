/*
 * From the bytes of a WebSocket's stream, in pieces of any size, to whole
 * messages. What is unfinished at the end of a piece is plain data that can
 * be stored, and loaded by another process that goes on with the next byte.
 * A message over ARI_WS_MESSAGE_MAX is thrown away as it passes, not kept.
 * Knows no socket and no store.
 */
#ifndef KAP_ARI_WS_STREAM_H
#define KAP_ARI_WS_STREAM_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "ari_ws_frame.h"
#include "shared/errors.h"

#define ARI_WS_MESSAGE_MAX (1U << 20) /* payload of one message, bytes */

/* Where in the stream we are. Stored: only ever grows at its tail. */
struct ari_ws_state {
	uint64_t frame_left;   /* payload bytes to come of the open frame */
	uint64_t message_len;  /* payload kept of the open message */
	uint64_t dropped_len;  /* payload thrown away of it */
	uint8_t in_message;    /* between its first frame and its last byte */
	uint8_t in_frame;      /* …within a frame's payload */
	uint8_t frame_fin;     /* that frame is the message's last */
	uint8_t dropping;      /* the message is too long and thrown away */
	uint8_t pending_len;   /* bytes of `pending` in use */
	uint8_t pad[3];
	/* a head, or a whole control frame, of which more is to come */
	uint8_t pending[128];
};

static_assert(sizeof(struct ari_ws_state) == 160, "a stored record");
static_assert(ARI_WS_CONTROL_MAX <= 128, "must fit into `pending`");

/* Called from inside ari_ws_stream_feed; what they get is borrowed. */
struct ari_ws_stream_ops {
	/* A whole message. Returns 0, or negative to end the feed with that. */
	int (*message)(void *ctx, const uint8_t *data, size_t len);
	/* A ping that wants its pong. */
	void (*ping)(void *ctx, const uint8_t *payload, size_t len);
	/* A message of `len` bytes was thrown away. */
	void (*dropped)(void *ctx, uint64_t len);
};

struct ari_ws_stream {
	struct ari_ws_state state;
	uint8_t *message; /* state.message_len bytes; heap or NULL */
	size_t capacity;
	uint16_t close_code; /* after -KAP_GONE: what the server said, or 0 */
};

/* At the beginning of a stream. */
void ari_ws_stream_init(struct ari_ws_stream *stream);
void ari_ws_stream_deinit(struct ari_ws_stream *stream);

/*
 * Go on where another process stopped.
 *
 * state    as it was stored
 * message  state->message_len bytes, copied
 *
 * Returns 0; -KAP_CORRUPT for a state that can't be; -KAP_NOMEM. The stream
 * is at its beginning on error.
 */
KAP_MUST_USE int ari_ws_stream_load(struct ari_ws_stream *stream,
    const struct ari_ws_state *state, const void *message,
    size_t message_len);

/*
 * Take the next bytes.
 *
 * Returns 0 with all of them taken; -KAP_GONE after a close frame, -KAP_PROTO
 * for a broken frame, -KAP_NOMEM, or what ops->message returned: then the
 * stream is of no more use, but the messages before were handed on.
 */
KAP_MUST_USE int ari_ws_stream_feed(struct ari_ws_stream *stream,
    const uint8_t *data, size_t len, const struct ari_ws_stream_ops *ops,
    void *ctx);

#endif
