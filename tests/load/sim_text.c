/*
 * The common pieces are copied or made by hand; the date of a second is kept,
 * for thousands of times fall into it.
 */
#include "sim_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROOM_MIN 512
#define TIME_SIZE 24 /* "2026-11-22T18:09:04", NUL included, and to spare */

void
sim_text_deinit(struct sim_text *text)
{
	free(text->data);
	memset(text, 0, sizeof(*text));
}

void
sim_text_clear(struct sim_text *text)
{
	text->len = 0;
	text->failed = false;
	if (text->data != NULL)
		text->data[0] = '\0';
}

const char *
sim_text_string(const struct sim_text *text)
{
	return text->data != NULL ? text->data : "";
}

/* Room for `len` bytes more and a NUL. */
static bool
reserve(struct sim_text *text, size_t len)
{
	size_t room = text->room == 0 ? ROOM_MIN : text->room;
	char *bigger;

	if (text->failed || len >= SIM_TEXT_MAX - text->len) {
		text->failed = true;
		return false;
	}
	if (text->len + len < text->room)
		return true;
	while (room <= text->len + len)
		room *= 2;
	bigger = realloc(text->data, room);
	if (bigger == NULL) {
		text->failed = true;
		return false;
	}
	text->data = bigger;
	text->room = room;
	return true;
}

void
sim_text_add_bytes(struct sim_text *text, const char *bytes, size_t len)
{
	if (!reserve(text, len))
		return;
	memcpy(text->data + text->len, bytes, len);
	text->len += len;
	text->data[text->len] = '\0';
}

void
sim_text_add(struct sim_text *text, const char *piece)
{
	sim_text_add_bytes(text, piece, strlen(piece));
}

void
sim_text_add_number(struct sim_text *text, int64_t number)
{
	char digits[24];
	const int len = snprintf(digits, sizeof(digits), "%lld",
	    (long long)number);

	sim_text_add_bytes(text, digits, (size_t)len);
}

void
sim_text_printf(struct sim_text *text, const char *fmt, ...)
{
	char piece[512];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(piece, sizeof(piece), fmt, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(piece))
		text->failed = true;
	else
		sim_text_add_bytes(text, piece, (size_t)len);
}

void
sim_text_add_quoted(struct sim_text *text, const char *piece)
{
	const char *plain = piece;

	sim_text_add_bytes(text, "\"", 1);
	for (; *piece != '\0'; piece++) {
		const unsigned char c = (unsigned char)*piece;

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		sim_text_add_bytes(text, plain, (size_t)(piece - plain));
		if (c < ' ')
			sim_text_printf(text, "\\u%04x", c);
		else
			sim_text_printf(text, "\\%c", c);
		plain = piece + 1;
	}
	sim_text_add_bytes(text, plain, (size_t)(piece - plain));
	sim_text_add_bytes(text, "\"", 1);
}

void
sim_text_add_time(struct sim_text *text, int64_t wall_ms)
{
	static time_t kept_s = -1;
	static char kept[TIME_SIZE];
	const time_t second = (time_t)(wall_ms / 1000);

	if (second != kept_s) {
		struct tm parts;

		if (gmtime_r(&second, &parts) == NULL ||
		    strftime(kept, sizeof(kept), "%Y-%m-%dT%H:%M:%S",
		        &parts) == 0) {
			text->failed = true;
			return;
		}
		kept_s = second;
	}
	sim_text_printf(text, "\"%s.%03d+0000\"", kept, (int)(wall_ms % 1000));
}
