/*
 * WebSocket frames in memory (RFC 6455): reading the head of one that a
 * server sent, and writing a client's control frame. wslay's frame API is not
 * of use on the event link: it copies through a buffer of its own, and can
 * neither say where in the stream a frame begins nor go on in another
 * process. Knows no socket.
 */
#ifndef KAP_ARI_WS_FRAME_H
#define KAP_ARI_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"

#define ARI_WS_HEAD_MAX 10        /* of an unmasked frame, bytes */
#define ARI_WS_CONTROL_PAYLOAD 125 /* most that a control frame carries */
/* The longest control frame of a server, whole; of a client, with its mask. */
#define ARI_WS_CONTROL_MAX (2 + ARI_WS_CONTROL_PAYLOAD)
#define ARI_WS_CONTROL_OUT_MAX (ARI_WS_CONTROL_MAX + 4)

enum ari_ws_opcode {
	ARI_WS_CONTINUATION = 0x0,
	ARI_WS_TEXT = 0x1,
	ARI_WS_BINARY = 0x2,
	ARI_WS_CLOSE = 0x8,
	ARI_WS_PING = 0x9,
	ARI_WS_PONG = 0xa
};

struct ari_ws_frame {
	bool fin;
	uint8_t opcode;   /* enum ari_ws_opcode */
	uint8_t head_len; /* bytes before the payload, 2, 4 or 10 */
	uint64_t payload_len;
};

/* Close, ping or pong. */
bool ari_ws_is_control(uint8_t opcode);

/*
 * Read the head of a server's frame.
 *
 * Returns 0; -KAP_AGAIN when `len` bytes don't hold all of the head;
 * -KAP_PROTO for what no server may send: a mask, reserved bits or opcodes, a
 * length not in its shortest form, a long or fragmented control frame.
 */
KAP_MUST_USE int ari_ws_frame_parse(const uint8_t *data, size_t len,
    struct ari_ws_frame *out);

/*
 * Write a client's control frame.
 *
 * len   0..ARI_WS_CONTROL_PAYLOAD bytes of payload
 * mask  four random bytes
 *
 * Returns the frame's length.
 */
size_t ari_ws_frame_control(uint8_t out[ARI_WS_CONTROL_OUT_MAX],
    enum ari_ws_opcode opcode, const uint8_t *payload, size_t len,
    const uint8_t mask[4]);

#endif
