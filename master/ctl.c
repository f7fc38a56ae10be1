/*
 * The little that every command of kaphilactl needs. Knows no command.
 */
#include "master/ctl.h"

#include <stdarg.h>
#include <stdio.h>

void
ctl_complain(const char *fmt, ...)
{
	va_list ap;

	(void)fflush(stdout);
	(void)fputs("kaphilactl: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

bool
ctl_need_config(const struct ctl_context *context)
{
	if (context->have_config)
		return true;
	ctl_complain("no configuration: %s", context->config_fault.text);
	return false;
}
