/*
 * ari_decode with any bytes: no crash, and what it calls an event of a call
 * is one that names the call. Checked against the library alone: the scan for
 * the type must find what a whole parse finds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "worker/ari_decode.h"

#define NOW_MS 1771323630163LL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether a whole parse sees an "ApplicationReplaced". */
static int
is_replaced(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1);
	const char *type;
	cJSON *json;
	int found;

	if (copy == NULL)
		abort();
	memcpy(copy, data, size);
	copy[size] = '\0';
	json = cJSON_ParseWithLengthOpts(copy, size + 1, NULL, 1);
	type = cJSON_IsObject(json) ? cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(json, "type")) : NULL;
	found = type != NULL && strcmp(type, "ApplicationReplaced") == 0;
	cJSON_Delete(json);
	free(copy);
	return found;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ari_event event;
	char *exact = malloc(size > 0 ? size : 1);

	if (exact == NULL)
		abort();
	memcpy(exact, data, size);
	if (ari_decode(exact, size, NOW_MS, &event) != event.kind)
		abort();
	free(exact);
	if (event.kind == ARI_EVENT_CALL &&
	    (!call_id_is_valid(event.call_id) || event.input.cause > 127 ||
	        event.input.at_ms > NOW_MS ||
	        event.input.kind >= CALL_INPUT_COUNT))
		abort();
	/* the library takes a byte-order mark and NULs, the scan doesn't */
	if (size > 0 && data[0] != 0xef && memchr(data, 0, size) == NULL &&
	    (event.kind == ARI_EVENT_REPLACED) != is_replaced(data, size))
		abort();
	return 0;
}
