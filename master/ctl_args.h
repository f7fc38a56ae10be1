/*
 * Arguments of kaphilactl's commands: options out of argv, numbers out of
 * text. Complains in words; knows no command.
 */
#ifndef KAP_CTL_ARGS_H
#define KAP_CTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"

struct ctl_option {
	const char *name;   /* "--credits" */
	const char **value; /* takes what follows it; NULL: a flag */
	bool *given;        /* for a flag; with `value` too, a number may
	                       follow it, or nothing */
};

/*
 * Take the options out of argv, wherever they stand ("--name VALUE" or
 * "--name=VALUE"). What is left must be `count` arguments.
 *
 * first       index in argv to begin at, behind the command's name
 * positional  set to point to those that are left
 *
 * Returns false after a complaint.
 */
KAP_MUST_USE bool ctl_take_args(int argc, char **argv, int first,
    const struct ctl_option *options, size_t option_count,
    const char **positional, int count);

/* The same with `least` to `most` arguments; those that lack are left NULL. */
KAP_MUST_USE bool ctl_take_some_args(int argc, char **argv, int first,
    const struct ctl_option *options, size_t option_count,
    const char **positional, int least, int most);

/* A whole number, "+" allowed; false after a complaint that names `what`. */
KAP_MUST_USE bool ctl_parse_int(const char *what, const char *text,
    int64_t min, int64_t max, int64_t *number_out);

#endif
