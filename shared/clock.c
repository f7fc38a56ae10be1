/*
 * Clocks and the text form of times.
 */
#include "clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MS_PER_S 1000
#define MAX_ISO_MS 253402300799999LL /* 9999-12-31T23:59:59.999Z */

static int64_t deadline_shift_ms; /* set once, by the store */

static int64_t
read_ms(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * MS_PER_S + ts.tv_nsec / 1000000;
}

int64_t
clock_wall_ms(void)
{
	return read_ms(CLOCK_REALTIME);
}

int64_t
clock_boot_ms(void)
{
	return read_ms(CLOCK_BOOTTIME);
}

int64_t
clock_deadline_ms(void)
{
	return clock_boot_ms() + deadline_shift_ms;
}

void
clock_set_deadline_shift(int64_t shift_ms)
{
	deadline_shift_ms = shift_ms;
}

int64_t
clock_mono_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void
clock_format_iso(int64_t ms, char out[CLOCK_ISO_SIZE])
{
	struct tm tm;
	time_t seconds;

	if (ms < 0)
		ms = 0;
	if (ms > MAX_ISO_MS)
		ms = MAX_ISO_MS;
	seconds = (time_t)(ms / MS_PER_S);
	(void)gmtime_r(&seconds, &tm);
	(void)snprintf(out, CLOCK_ISO_SIZE,
	    "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
	    (unsigned)(tm.tm_year + 1900) % 10000U,
	    (unsigned)(tm.tm_mon + 1) % 100U, (unsigned)tm.tm_mday % 100U,
	    (unsigned)tm.tm_hour % 100U, (unsigned)tm.tm_min % 100U,
	    (unsigned)tm.tm_sec % 100U, (unsigned)(ms % MS_PER_S) % 1000U);
}

/* "+0100", "-05:30" or "Z" as seconds east of UTC; false if it is neither. */
static int
parse_offset(const char *text, int *seconds_out)
{
	unsigned hours;
	unsigned minutes;
	int used = 0;
	char sign;

	if (strcmp(text, "Z") == 0) {
		*seconds_out = 0;
		return 0;
	}
	if (sscanf(text, "%c%2u%2u%n", &sign, &hours, &minutes, &used) != 3 &&
	    sscanf(text, "%c%2u:%2u%n", &sign, &hours, &minutes, &used) != 3)
		return -KAP_INVAL;
	if ((sign != '+' && sign != '-') || text[used] != '\0' ||
	    hours > 14 || minutes > 59)
		return -KAP_INVAL;
	*seconds_out = (int)(hours * 3600 + minutes * 60);
	if (sign == '-')
		*seconds_out = -*seconds_out;
	return 0;
}

/* timegm would take a 30th of February for a day of March. */
static bool
has_day(const struct tm *tm)
{
	struct tm day = { .tm_year = tm->tm_year, .tm_mon = tm->tm_mon,
		.tm_mday = tm->tm_mday };

	(void)timegm(&day);
	return day.tm_mday == tm->tm_mday;
}

int
clock_parse_iso(const char *text, int64_t *ms_out)
{
	struct tm tm = { 0 };
	unsigned millis = 0;
	int used = 0;
	int offset_s;
	const char *rest;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon,
	        &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6)
		return -KAP_INVAL;
	rest = text + used;
	if (*rest == '.') {
		int digits = 0;

		if (sscanf(rest, ".%3u%n", &millis, &digits) != 1 ||
		    digits != 4)
			return -KAP_INVAL;
		rest += digits;
	}
	if (parse_offset(rest, &offset_s) != 0)
		return -KAP_INVAL;
	if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 ||
	    tm.tm_sec > 60)
		return -KAP_INVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	if (!has_day(&tm))
		return -KAP_INVAL;
	*ms_out = ((int64_t)timegm(&tm) - offset_s) * MS_PER_S + millis;
	return 0;
}

int
clock_boot_id(char out[CLOCK_BOOT_ID_SIZE])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	int rc = -KAP_IO;

	out[0] = '\0';
	if (file == NULL)
		return -KAP_IO;
	if (fgets(out, CLOCK_BOOT_ID_SIZE, file) != NULL) {
		out[strcspn(out, "\n")] = '\0';
		rc = 0;
	}
	(void)fclose(file);
	return rc;
}
