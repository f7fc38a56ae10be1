/*
 * A growing text, for JSON that is made thousands of times a second. It keeps
 * its memory when it is cleared. Once it failed to grow it stays failed until
 * it is cleared, so that only its user at the end has to look.
 */
#ifndef SIM_TEXT_H
#define SIM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"

#define SIM_TEXT_MAX (256U << 20)

/* All zero is an empty text. */
struct sim_text {
	char *data; /* NUL-terminated, once anything was added */
	size_t len;
	size_t room;
	bool failed; /* out of memory, or over SIM_TEXT_MAX */
};

void sim_text_deinit(struct sim_text *text);
void sim_text_clear(struct sim_text *text);

void sim_text_add(struct sim_text *text, const char *piece);
void sim_text_add_bytes(struct sim_text *text, const char *bytes, size_t len);
void sim_text_add_number(struct sim_text *text, int64_t number);
void sim_text_printf(struct sim_text *text, const char *fmt, ...)
    KAP_PRINTF(2, 3);

/* A JSON string, with its quotes. */
void sim_text_add_quoted(struct sim_text *text, const char *piece);

/* Asterisk's form, with quotes: "2026-11-22T18:09:04.946+0000" */
void sim_text_add_time(struct sim_text *text, int64_t wall_ms);

/* The text; "" where nothing was added. */
const char *sim_text_string(const struct sim_text *text);

#endif
