/*
 * "kaphila-mark-<reader>-<number>", both as 16 hexadecimal digits.
 */
#include "ari_mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void
ari_mark_name(char out[ARI_MARK_NAME_SIZE], const struct ari_mark *mark)
{
	(void)snprintf(out, ARI_MARK_NAME_SIZE,
	    "kaphila-mark-%016" PRIx64 "-%016" PRIx64, mark->reader,
	    mark->number);
}

/* Read, written anew and compared: so there is one way to write each. */
bool
ari_mark_parse(const char *name, struct ari_mark *out)
{
	char again[ARI_MARK_NAME_SIZE];
	struct ari_mark mark;

	if (sscanf(name, "kaphila-mark-%16" SCNx64 "-%16" SCNx64,
	        &mark.reader, &mark.number) != 2)
		return false;
	ari_mark_name(again, &mark);
	if (strcmp(again, name) != 0)
		return false;
	*out = mark;
	return true;
}
