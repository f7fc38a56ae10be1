/*
 * Fuzzes the chunk decoder: its verdict and its body must not depend on how
 * the bytes are cut, and what it decodes stays within the limit.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/gate_chunk.h"

#define LIMIT 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	int rc;
	int status;
	size_t used;
	size_t body_len;
	char body[LIMIT];
};

static void
require(int truth)
{
	if (!truth)
		abort();
}

static void
decode(const char *text, size_t size, size_t piece, struct result *result)
{
	struct gate_refusal refusal = { 0, NULL };
	struct gate_chunk chunk;

	memset(result, 0, sizeof(*result));
	result->rc = -KAP_AGAIN;
	gate_chunk_init(&chunk, LIMIT);
	while (result->used < size && result->rc == -KAP_AGAIN) {
		const size_t left = size - result->used;
		const size_t n = left < piece ? left : piece;
		const char *from = text + result->used;
		const char *run;
		size_t used, run_len;

		result->rc = gate_chunk_feed(&chunk, from, n, &used, &run,
		    &run_len, &refusal);
		require(used > 0 && used <= n);
		if (run_len > 0) {
			require(run >= from && run + run_len <= from + used);
			require(run_len <= LIMIT - result->body_len);
			memcpy(result->body + result->body_len, run, run_len);
			result->body_len += run_len;
		}
		result->used += used;
	}
	result->status = refusal.status;
	if (result->rc == -KAP_PROTO)
		require(refusal.status >= 400 && refusal.text != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct result whole, bytes, pieces;

	decode(text, size, size > 0 ? size : 1, &whole);
	decode(text, size, 1, &bytes);
	decode(text, size, 7, &pieces);
	require(memcmp(&whole, &bytes, sizeof(whole)) == 0);
	require(memcmp(&whole, &pieces, sizeof(whole)) == 0);
	return 0;
}
