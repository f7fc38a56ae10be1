/*
 * Fuzzes the head check: whatever it passes must look, to the plainest of
 * readers, like what the check says it is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/gate_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int truth)
{
	if (!truth)
		abort();
}

/* Bytes that no head may have. */
static void
check_bytes(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		require(text[i] != '\0');
		if (text[i] == '\n')
			require(i > 0 && text[i - 1] == '\r');
		if (text[i] == '\r')
			require(i + 1 < len && text[i + 1] == '\n');
	}
}

static void
check_head(const char *text, size_t len, const struct gate_head *head)
{
	require(head->method != GATE_METHOD_UNKNOWN);
	require(head->path_at + head->path_len <= len);
	require(head->path_len > 0 && text[head->path_at] == '/');
	require(memchr(text + head->path_at, '?', head->path_len) == NULL);
	require(!(head->chunked && head->has_length));
	require(strlen(head->request_id) <= GATE_REQUEST_ID_MAX);
	if (head->chunked || head->has_length) {
		require(head->framing_len > 2);
		require(head->framing_at + head->framing_len + 2 <= len);
		require(memcmp(text + head->framing_at + head->framing_len - 2,
		    "\r\n", 2) == 0);
	}
	if (head->method == GATE_METHOD_GET ||
	    head->method == GATE_METHOD_HEAD)
		require(!head->chunked && head->length == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct gate_limits limits = { .head_bytes = 4096,
		.fields = 32 };
	struct gate_refusal refusal = { 0, NULL };
	struct gate_head head;
	size_t scanned = 0, len = 0;
	char *text = malloc(size > 0 ? size : 1);
	int rc;

	require(text != NULL);
	memcpy(text, data, size);
	/* half of it first, as if it had come in two packets */
	rc = gate_head_find_end(text, size / 2, &limits, &scanned, &len,
	    &refusal);
	if (rc == -KAP_AGAIN)
		rc = gate_head_find_end(text, size, &limits, &scanned, &len,
		    &refusal);
	if (rc == 0) {
		require(len <= size && len <= limits.head_bytes);
		check_bytes(text, len);
		rc = gate_head_check(text, len, &limits, &head, &refusal);
		if (rc == 0)
			check_head(text, len, &head);
	}
	if (rc == -KAP_PROTO)
		require(refusal.status >= 400 && refusal.text != NULL);
	free(text);
	return 0;
}
