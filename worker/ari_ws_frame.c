/*
 * WebSocket frames in memory. Holds no state and touches no socket.
 */
#include "ari_ws_frame.h"

#define FIN 0x80
#define RESERVED 0x70
#define OPCODE 0x0f
#define MASKED 0x80
#define SHORT_LEN 0x7f

bool
ari_ws_is_control(uint8_t opcode)
{
	return (opcode & 0x8) != 0;
}

static bool
is_known(uint8_t opcode)
{
	return opcode <= ARI_WS_BINARY ||
	    (opcode >= ARI_WS_CLOSE && opcode <= ARI_WS_PONG);
}

static uint64_t
big_endian(const uint8_t *data, size_t len)
{
	uint64_t number = 0;

	for (size_t i = 0; i < len; i++)
		number = number << 8 | data[i];
	return number;
}

/* The length behind the first two bytes, in its shortest form only. */
static int
parse_long(const uint8_t *data, size_t len, struct ari_ws_frame *out)
{
	const bool is_64 = (data[1] & SHORT_LEN) == 127;
	const uint64_t least = is_64 ? 65536 : 126;

	out->head_len = is_64 ? 10 : 4;
	if (len < out->head_len)
		return -KAP_AGAIN;
	out->payload_len = big_endian(data + 2, out->head_len - 2U);
	if (out->payload_len < least || out->payload_len > INT64_MAX)
		return -KAP_PROTO;
	return 0;
}

int
ari_ws_frame_parse(const uint8_t *data, size_t len, struct ari_ws_frame *out)
{
	if (len < 2)
		return -KAP_AGAIN;
	out->fin = (data[0] & FIN) != 0;
	out->opcode = data[0] & OPCODE;
	out->head_len = 2;
	out->payload_len = data[1] & SHORT_LEN;
	if ((data[0] & RESERVED) != 0 || (data[1] & MASKED) != 0 ||
	    !is_known(out->opcode))
		return -KAP_PROTO;
	if (ari_ws_is_control(out->opcode))
		return out->fin &&
		    out->payload_len <= ARI_WS_CONTROL_PAYLOAD ? 0 : -KAP_PROTO;
	return out->payload_len < 126 ? 0 : parse_long(data, len, out);
}

size_t
ari_ws_frame_control(uint8_t out[ARI_WS_CONTROL_OUT_MAX],
    enum ari_ws_opcode opcode, const uint8_t *payload, size_t len,
    const uint8_t mask[4])
{
	out[0] = (uint8_t)(FIN | opcode);
	out[1] = (uint8_t)(MASKED | len);
	for (size_t i = 0; i < 4; i++)
		out[2 + i] = mask[i];
	for (size_t i = 0; i < len; i++)
		out[6 + i] = payload[i] ^ mask[i & 3];
	return 6 + len;
}
