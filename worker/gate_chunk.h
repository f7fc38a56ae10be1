/*
 * A strict decoder of chunked bodies (RFC 9112 7.1), as a state machine over
 * bytes. It takes no extensions; trailers are checked and dropped.
 */
#ifndef KAP_GATE_CHUNK_H
#define KAP_GATE_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "gate_head.h"
#include "shared/errors.h"

enum gate_chunk_state {
	GATE_CHUNK_SIZE,          /* hexadecimal digits of a chunk's size */
	GATE_CHUNK_SIZE_LF,
	GATE_CHUNK_DATA,
	GATE_CHUNK_DATA_CR,
	GATE_CHUNK_DATA_LF,
	GATE_CHUNK_TRAILER_START, /* first byte of a line behind the last */
	GATE_CHUNK_TRAILER_NAME,
	GATE_CHUNK_TRAILER_VALUE,
	GATE_CHUNK_TRAILER_LF,
	GATE_CHUNK_END_LF,
	GATE_CHUNK_DONE
};

struct gate_chunk {
	enum gate_chunk_state state;
	unsigned digits;     /* of the size being read */
	uint64_t left_bytes; /* of the chunk being read */
	uint64_t body_bytes; /* announced so far */
	uint64_t max_bytes;  /* of the body */
	size_t trailer_bytes;
};

/* Begin a body of max_bytes at the most. */
void gate_chunk_init(struct gate_chunk *chunk, uint64_t max_bytes);

/*
 * Decode bytes as they come. A call ends where the input ends, behind a run
 * of body bytes, or behind the body; call again with the rest.
 *
 * used_out     bytes of `data` that were eaten
 * run_out      body bytes, inside `data`; *run_len_out 0: none this time
 *
 * Returns 0 when the body is complete; -KAP_AGAIN when more must come;
 * -KAP_TOOBIG as soon as a chunk would pass max_bytes; -KAP_PROTO with
 * *refusal. The decoder is of no use after the last two.
 */
KAP_MUST_USE int gate_chunk_feed(struct gate_chunk *chunk, const char *data,
    size_t len, size_t *used_out, const char **run_out, size_t *run_len_out,
    struct gate_refusal *refusal);

#endif
