/*
 * Names of the error codes. Knows no other module.
 */
#include "errors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const names[KAP_ERROR_COUNT] = {
	[KAP_OK] = "ok",
	[KAP_NOENT] = "not found",
	[KAP_EXISTS] = "already exists",
	[KAP_STATE] = "not in this state",
	[KAP_INVAL] = "invalid value",
	[KAP_NOMEM] = "out of memory",
	[KAP_FULL] = "full",
	[KAP_IO] = "input/output error",
	[KAP_AGAIN] = "try again",
	[KAP_TOOBIG] = "too large",
	[KAP_DENIED] = "not allowed",
	[KAP_TIMEOUT] = "timed out",
	[KAP_PROTO] = "protocol error",
	[KAP_GONE] = "gone",
	[KAP_CORRUPT] = "damaged data",
	[KAP_VERSION] = "unusable version",
};

const char *
kap_strerror(int error)
{
	const int code = error < 0 ? -error : error;

	if (code < 0 || code >= KAP_ERROR_COUNT || names[code] == NULL)
		return "unknown error";
	return names[code];
}

void
kap_errmsg_set(struct kap_errmsg *msg, const char *fmt, ...)
{
	const int saved = errno;
	va_list ap;

	if (msg == NULL)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg->text, sizeof(msg->text), fmt, ap);
	va_end(ap);
	errno = saved;
}
