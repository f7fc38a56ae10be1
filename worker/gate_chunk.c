/*
 * The chunk decoder. Knows no socket and allocates nothing.
 *
 *     SIZE ─ CR ─▶ SIZE_LF ─▶ DATA ─▶ DATA_CR ─▶ DATA_LF ─▶ SIZE …
 *                     │ size 0
 *                     ▼
 *     ┌────────▶ TRAILER_START ─ CR ─▶ END_LF ─▶ DONE
 *     │               ▼
 *     │          TRAILER_NAME ─ ":" ─▶ TRAILER_VALUE ─ CR ─▶ TRAILER_LF
 *     └──────────────────────────────────────────────────────────┘
 */
#include "gate_chunk.h"

#include <stdbool.h>
#include <string.h>

#define SIZE_DIGITS_MAX 8
#define TRAILER_BYTES_MAX 2048

static int
refuse(struct gate_refusal *refusal, int status, const char *text)
{
	refusal->status = status;
	refusal->text = text;
	return -KAP_PROTO;
}

void
gate_chunk_init(struct gate_chunk *chunk, uint64_t max_bytes)
{
	memset(chunk, 0, sizeof(*chunk));
	chunk->state = GATE_CHUNK_SIZE;
	chunk->max_bytes = max_bytes;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int
on_size_byte(struct gate_chunk *chunk, char c, struct gate_refusal *refusal)
{
	const int digit = hex_value(c);

	if (c == '\r' && chunk->digits > 0) {
		if (chunk->left_bytes > chunk->max_bytes - chunk->body_bytes)
			return -KAP_TOOBIG;
		chunk->body_bytes += chunk->left_bytes;
		chunk->state = GATE_CHUNK_SIZE_LF;
		return -KAP_AGAIN;
	}
	if (digit < 0 || chunk->digits == SIZE_DIGITS_MAX)
		return refuse(refusal, 400, "Malformed chunk size");
	chunk->digits++;
	chunk->left_bytes = chunk->left_bytes * 16 + (uint64_t)digit;
	return -KAP_AGAIN;
}

/* What must be exactly one character: see the diagram. */
static int
on_line_end(struct gate_chunk *chunk, char c, struct gate_refusal *refusal)
{
	const char wanted = chunk->state == GATE_CHUNK_DATA_CR ? '\r' : '\n';

	if (c != wanted)
		return refuse(refusal, 400, "Malformed chunk");
	switch (chunk->state) {
	case GATE_CHUNK_SIZE_LF:
		chunk->state = chunk->left_bytes > 0 ? GATE_CHUNK_DATA :
		    GATE_CHUNK_TRAILER_START;
		break;
	case GATE_CHUNK_DATA_CR:
		chunk->state = GATE_CHUNK_DATA_LF;
		break;
	case GATE_CHUNK_DATA_LF:
		chunk->state = GATE_CHUNK_SIZE;
		chunk->digits = 0;
		chunk->left_bytes = 0;
		break;
	case GATE_CHUNK_TRAILER_LF:
		chunk->state = GATE_CHUNK_TRAILER_START;
		break;
	default: /* GATE_CHUNK_END_LF */
		chunk->state = GATE_CHUNK_DONE;
		return 0;
	}
	return -KAP_AGAIN;
}

static bool
is_name_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z') ||
	    (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static int
on_trailer_byte(struct gate_chunk *chunk, char c,
    struct gate_refusal *refusal)
{
	const unsigned char u = (unsigned char)c;

	if (++chunk->trailer_bytes > TRAILER_BYTES_MAX)
		return refuse(refusal, 431, "Request trailer is too large");
	if (chunk->state == GATE_CHUNK_TRAILER_START && c == '\r') {
		chunk->state = GATE_CHUNK_END_LF;
	} else if (chunk->state == GATE_CHUNK_TRAILER_VALUE) {
		if (c == '\r')
			chunk->state = GATE_CHUNK_TRAILER_LF;
		else if ((u < 0x20 && c != '\t') || u == 0x7f)
			return refuse(refusal, 400, "Malformed trailer");
	} else if (chunk->state == GATE_CHUNK_TRAILER_NAME && c == ':') {
		chunk->state = GATE_CHUNK_TRAILER_VALUE;
	} else if (is_name_char(c)) {
		chunk->state = GATE_CHUNK_TRAILER_NAME;
	} else {
		return refuse(refusal, 400, "Malformed trailer");
	}
	return -KAP_AGAIN;
}

static int
on_framing_byte(struct gate_chunk *chunk, char c,
    struct gate_refusal *refusal)
{
	switch (chunk->state) {
	case GATE_CHUNK_SIZE:
		return on_size_byte(chunk, c, refusal);
	case GATE_CHUNK_TRAILER_START:
	case GATE_CHUNK_TRAILER_NAME:
	case GATE_CHUNK_TRAILER_VALUE:
		return on_trailer_byte(chunk, c, refusal);
	default:
		return on_line_end(chunk, c, refusal);
	}
}

int
gate_chunk_feed(struct gate_chunk *chunk, const char *data, size_t len,
    size_t *used_out, const char **run_out, size_t *run_len_out,
    struct gate_refusal *refusal)
{
	size_t used = 0;
	int rc = chunk->state == GATE_CHUNK_DONE ? 0 : -KAP_AGAIN;

	*run_out = NULL;
	*run_len_out = 0;
	while (rc == -KAP_AGAIN && used < len) {
		if (chunk->state == GATE_CHUNK_DATA) {
			const size_t have = len - used;
			const size_t run = chunk->left_bytes < have ?
			    (size_t)chunk->left_bytes : have;

			*run_out = data + used;
			*run_len_out = run;
			used += run;
			chunk->left_bytes -= run;
			if (chunk->left_bytes == 0)
				chunk->state = GATE_CHUNK_DATA_CR;
			break;
		}
		rc = on_framing_byte(chunk, data[used++], refusal);
	}
	*used_out = used;
	return rc;
}
