/*
 * The little that every command of kaphilactl needs. Knows no command.
 */
#include "master/ctl.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shared/clock.h"

#define COMPLAINT_MAX 4096 /* bytes; a longer one is cut */

/* Print a text without what stands behind the "whsec_" of a secret. */
static void
print_masked(const char *text)
{
	static const char prefix[] = "whsec_";
	const char *secret;

	while ((secret = strstr(text, prefix)) != NULL) {
		const char *end = secret + sizeof(prefix) - 1;
		const size_t len = strcspn(end, " '");

		(void)fprintf(stderr, "%.*s%s", (int)(end - text), text,
		    len > 0 ? "…" : "");
		text = end + len;
	}
	(void)fputs(text, stderr);
}

void
ctl_complain(const char *fmt, ...)
{
	char text[COMPLAINT_MAX];
	va_list ap;

	(void)fflush(stdout);
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)fputs("kaphilactl: ", stderr);
	print_masked(text);
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

static void
interrupts(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGTERM);
}

void
ctl_hold_interrupts(void)
{
	sigset_t set;

	interrupts(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

bool
ctl_wait(int64_t ms)
{
	const int64_t end_ms = clock_boot_ms() + ms;
	int64_t left_ms = ms;
	sigset_t set;

	interrupts(&set);
	do {
		const struct timespec limit = { .tv_sec = left_ms / 1000,
			.tv_nsec = left_ms % 1000 * 1000000L };

		if (sigtimedwait(&set, NULL, &limit) > 0)
			return false;
		/* another signal may have cut it short */
		left_ms = end_ms - clock_boot_ms();
	} while (left_ms > 0);
	return true;
}
