/*
 * Fuzzes the strict JSON reader: what it passes is printed and read again,
 * and must be the same then.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared/json_strict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(int truth)
{
	if (!truth)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kap_errmsg msg = { .text = "" };
	cJSON *first, *second;
	char *text;

	/* without a NUL behind it: ASan sees a byte too far */
	if (json_strict_parse((const char *)data, size, 16, &first, &msg)
	    != 0) {
		require(msg.text[0] != '\0');
		return 0;
	}
	text = cJSON_PrintUnformatted(first);
	require(text != NULL);
	require(json_strict_parse(text, strlen(text), 16, &second, &msg)
	    == 0);
	require(cJSON_Compare(first, second, 1));
	cJSON_free(text);
	cJSON_Delete(first);
	cJSON_Delete(second);
	return 0;
}
