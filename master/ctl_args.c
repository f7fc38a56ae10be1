/*
 * A small option parser: getopt_long would take "-5" for an option.
 */
#include "master/ctl_args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "master/ctl.h"

static const struct ctl_option *
find_option(const struct ctl_option *options, size_t count,
    const char *argument, size_t len)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(options[i].name) == len &&
		    strncmp(options[i].name, argument, len) == 0)
			return &options[i];
	}
	return NULL;
}

/* Take one option and its value; returns how many arguments it used, or 0. */
static int
take_option(int left, char **argv, const struct ctl_option *options,
    size_t option_count)
{
	const size_t len = strcspn(argv[0], "=");
	const bool inline_value = argv[0][len] == '=';
	const struct ctl_option *option = find_option(options, option_count,
	    argv[0], len);

	if (option == NULL) {
		ctl_complain("no option '%.*s' here", (int)len, argv[0]);
		return 0;
	}
	if (option->value == NULL) {
		if (inline_value) {
			ctl_complain("%s takes no value", option->name);
			return 0;
		}
		*option->given = true;
		return 1;
	}
	if (option->given != NULL) {
		*option->given = true;
		if (!inline_value && (left < 2 || argv[1][0] < '0' ||
		    argv[1][0] > '9'))
			return 1;
	} else if (!inline_value && left < 2) {
		ctl_complain("%s needs a value", option->name);
		return 0;
	}
	*option->value = inline_value ? argv[0] + len + 1 : argv[1];
	return inline_value ? 1 : 2;
}

bool
ctl_take_args(int argc, char **argv, int first,
    const struct ctl_option *options, size_t option_count,
    const char **positional, int count)
{
	return ctl_take_some_args(argc, argv, first, options, option_count,
	    positional, count, count);
}

bool
ctl_take_some_args(int argc, char **argv, int first,
    const struct ctl_option *options, size_t option_count,
    const char **positional, int least, int most)
{
	int found = 0;

	for (int i = first; i < argc;) {
		if (strncmp(argv[i], "--", 2) == 0) {
			const int used = take_option(argc - i, argv + i,
			    options, option_count);

			if (used == 0)
				return false;
			i += used;
			continue;
		}
		if (found == most) {
			ctl_complain("too many arguments: '%s'", argv[i]);
			return false;
		}
		positional[found++] = argv[i++];
	}
	if (found < least) {
		ctl_complain("too few arguments");
		return false;
	}
	while (found < most)
		positional[found++] = NULL;
	return true;
}

bool
ctl_parse_int(const char *what, const char *text, int64_t min, int64_t max,
    int64_t *number_out)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == ' ' ||
	    number < min || number > max) {
		ctl_complain("%s must be a number from %" PRId64 " to %" PRId64
		    ", not '%s'", what, min, max, text);
		return false;
	}
	*number_out = number;
	return true;
}
