/*
 * Renders log lines into one bounded buffer and writes each with one call.
 * A line that is too long is cut, never split.
 */
#include "log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#define LINE_MAX_BYTES 2048

struct line {
	char text[LINE_MAX_BYTES];
	size_t len;
};

static struct {
	const char *role;
	int slot;
	enum log_level level;
	enum log_format format;
} logger = { "?", -1, LOG_LEVEL_INFO, LOG_FORMAT_TEXT };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void
log_init(const char *role, int slot, enum log_level level,
    enum log_format format)
{
	logger.role = role;
	logger.slot = slot;
	logger.level = level;
	logger.format = format;
}

bool
log_enabled(enum log_level level)
{
	return level >= logger.level;
}

/* Kept free for what closes a JSON line: two quotes, a brace, a line feed. */
#define TAIL_BYTES 4

static bool
has_room(const struct line *line, size_t bytes)
{
	return line->len + bytes <= sizeof(line->text) - TAIL_BYTES;
}

static void
put_char(struct line *line, char c)
{
	if (has_room(line, 1))
		line->text[line->len++] = c;
}

static void
put_text(struct line *line, const char *text)
{
	while (*text != '\0')
		put_char(line, *text++);
}

static void
put_number(struct line *line, int64_t number)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%lld", (long long)number);
	put_text(line, digits);
}

/*
 * Between quotes, with what would end the string or the line escaped. What
 * doesn't fit is left out, but never a part of an escape or the last quote.
 */
static void
put_quoted(struct line *line, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	put_char(line, '"');
	for (; *text != '\0' && has_room(line, 6); text++) {
		const unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\') {
			put_char(line, '\\');
			put_char(line, (char)c);
		} else if (c < 0x20 || c == 0x7f) {
			put_text(line, "\\u00");
			put_char(line, hex[c >> 4]);
			put_char(line, hex[c & 15]);
		} else {
			put_char(line, (char)c);
		}
	}
	if (line->len < sizeof(line->text) - 2)
		line->text[line->len++] = '"';
}

static bool
is_plain_word(const char *text)
{
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		const unsigned char c = (unsigned char)*text;

		if (c <= 0x20 || c == 0x7f || c == '"' || c == '\\' ||
		    c == '=')
			return false;
	}
	return true;
}

static void
put_value_text(struct line *line, const struct log_field *field)
{
	const char *text = field->string != NULL ? field->string : "";

	if (field->kind == LOG_FIELD_INT)
		put_number(line, field->number);
	else if (is_plain_word(text))
		put_text(line, text);
	else
		put_quoted(line, text);
}

static void
put_process(struct line *line)
{
	put_text(line, logger.role);
	if (logger.slot >= 0) {
		put_char(line, '.');
		put_number(line, logger.slot);
	}
}

static void
render_text(struct line *line, enum log_level level, const char *message,
    const struct log_field *fields)
{
	char now[CLOCK_ISO_SIZE];

	clock_format_iso(clock_wall_ms(), now);
	put_text(line, now);
	put_char(line, ' ');
	put_text(line, level_names[level]);
	put_char(line, ' ');
	put_process(line);
	put_char(line, '[');
	put_number(line, getpid());
	put_text(line, "] ");
	put_text(line, message);
	for (; fields->key != NULL; fields++) {
		put_char(line, ' ');
		put_text(line, fields->key);
		put_char(line, '=');
		put_value_text(line, fields);
	}
}

static void
render_json(struct line *line, enum log_level level, const char *message,
    const struct log_field *fields)
{
	char now[CLOCK_ISO_SIZE];

	clock_format_iso(clock_wall_ms(), now);
	put_text(line, "{\"time\":");
	put_quoted(line, now);
	put_text(line, ",\"level\":");
	put_quoted(line, level_names[level]);
	put_text(line, ",\"role\":\"");
	put_process(line);
	put_text(line, "\",\"pid\":");
	put_number(line, getpid());
	put_text(line, ",\"message\":");
	put_quoted(line, message);
	for (; fields->key != NULL; fields++) {
		const size_t before = line->len;

		put_char(line, ',');
		put_quoted(line, fields->key);
		put_char(line, ':');
		if (fields->kind == LOG_FIELD_INT)
			put_number(line, fields->number);
		else
			put_quoted(line,
			    fields->string != NULL ? fields->string : "");
		if (!has_room(line, 1)) {
			/* a field cut in the middle would not be JSON */
			line->len = before;
			break;
		}
	}
	line->text[line->len++] = '}';
}

void
log_write(enum log_level level, const char *message,
    const struct log_field *fields)
{
	struct line line = { .len = 0 };
	ssize_t written;

	if (logger.format == LOG_FORMAT_JSON)
		render_json(&line, level, message, fields);
	else
		render_text(&line, level, message, fields);
	line.text[line.len++] = '\n';
	written = write(STDERR_FILENO, line.text, line.len);
	(void)written; /* a log that can't be written has nowhere to say so */
}

void
fatal(const char *fmt, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	log_error(message);
	exit(1);
}
