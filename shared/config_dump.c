/*
 * Writes the table of keys out: as a configuration file, with what each key
 * means on request, and as the list of keys in the man page.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "config_keys.h"

#define CONSTRAINT_SIZE 120

/* "from 1 to 64", "text or json", "true or false"; empty for a text. */
static void
describe_values(const struct config_key *key, char out[CONSTRAINT_SIZE])
{
	size_t len = 0;

	out[0] = '\0';
	if (key->type == KEY_INT)
		(void)snprintf(out, CONSTRAINT_SIZE, "from %" PRId64 " to %"
		    PRId64, key->min, key->max);
	else if (key->type == KEY_BOOL)
		(void)snprintf(out, CONSTRAINT_SIZE, "true or false");
	if (key->type != KEY_CHOICE)
		return;
	for (int i = 0; key->choices[i] != NULL && len < CONSTRAINT_SIZE; i++)
		len += (size_t)snprintf(out + len, CONSTRAINT_SIZE - len,
		    "%s%s", i == 0 ? "" :
		    key->choices[i + 1] != NULL ? ", " : " or ",
		    key->choices[i]);
}

static const char *
describe_reach(const struct config_key *key)
{
	static const char *const words[CONFIG_REACH_COUNT] = {
		[CONFIG_AT_ONCE] = "a reload takes it over at once",
		[CONFIG_AT_CHILD_START] =
		    "a reload takes it over as children start",
		[CONFIG_AT_MASTER_START] = "read when the master starts",
	};

	return words[config_key_reach(key)];
}

/* "from 1 to 64; default 2; read when the master starts" */
static void
put_facts(const struct config_key *key, FILE *out)
{
	char values[CONSTRAINT_SIZE];

	describe_values(key, values);
	if (values[0] != '\0')
		(void)fprintf(out, "%s; ", values);
	if ((key->flags & KEY_REQUIRED) != 0)
		(void)fputs("required; ", out);
	else if (key->fallback[0] != '\0')
		(void)fprintf(out, "default %s; ", key->fallback);
	(void)fputs(describe_reach(key), out);
}

/*
 * For a child no line is longer than it was in the file, which may have been
 * as long as the parser takes. A ';' behind a blank would begin a comment.
 */
int
config_dump(const struct config *config, FILE *out, bool with_secrets,
    bool with_help)
{
	const char *section = "";

	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];
		char value[CONFIG_TEXT_MAX];

		if (strcmp(section, key->section) != 0) {
			(void)fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "",
			    key->section);
			section = key->section;
		}
		if (with_help) {
			(void)fprintf(out, "; %s\n; ", key->help);
			put_facts(key, out);
			(void)fputc('\n', out);
		}
		config_key_format(config, key, with_secrets, value);
		(void)fprintf(out, "%s%s%s\n", key->name,
		    with_help && value[0] != ';' ? " = " : "=", value);
	}
	return fflush(out) == 0 && !ferror(out) ? 0 : -KAP_IO;
}

int
config_dump_man(FILE *out)
{
	const char *section = "";

	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *key = &config_keys[i];

		if (strcmp(section, key->section) != 0) {
			(void)fprintf(out, "%s.Ss [%s]\n.Bl -tag -width Ds\n",
			    i > 0 ? ".El\n" : "", key->section);
			section = key->section;
		}
		/* \& keeps a leading dot or quote from being a request */
		(void)fprintf(out, ".It Cm %s\n\\&%s.\n.br\n\\&(", key->name,
		    key->help);
		put_facts(key, out);
		(void)fputs(")\n", out);
	}
	(void)fputs(".El\n", out);
	return fflush(out) == 0 && !ferror(out) ? 0 : -KAP_IO;
}
