/*
 * The list of engines, and which of them a configuration has. Starts none.
 */
#include "worker/speech_engine.h"

#include <stdio.h>
#include <string.h>

static const struct speech_engine *const engines[SPEECH_ENGINES_MAX] = {
	&speech_google,
	&speech_gtts,
	&speech_espeak,
};

unsigned
speech_engine_index(const struct speech_engine *engine)
{
	unsigned i = 0;

	while (i < SPEECH_ENGINES_MAX - 1 && engines[i] != engine)
		i++;
	return i;
}

const struct speech_engine *
speech_engine_find(const char *name, size_t len)
{
	for (unsigned i = 0; i < SPEECH_ENGINES_MAX; i++) {
		if (strlen(engines[i]->name) == len &&
		    strncmp(engines[i]->name, name, len) == 0)
			return engines[i];
	}
	return NULL;
}

static bool
has_engine(const struct speech_engine *const *list, unsigned count,
    const struct speech_engine *engine)
{
	for (unsigned i = 0; i < count; i++) {
		if (list[i] == engine)
			return true;
	}
	return false;
}

unsigned
speech_engines(const struct config *config,
    const struct speech_engine *out[SPEECH_ENGINES_MAX])
{
	const char *at = config->speech.engines;
	unsigned count = 0;

	while (*at != '\0') {
		const size_t len = strcspn(at, ", ");
		const struct speech_engine *engine = speech_engine_find(at, len);

		if (engine != NULL && engine->usable(config) &&
		    !has_engine(out, count, engine))
			out[count++] = engine;
		at += len;
		at += strspn(at, ", ");
	}
	return count;
}

void
speech_engines_describe(const struct config *config,
    char out[SPEECH_LABELS_SIZE])
{
	const struct speech_engine *list[SPEECH_ENGINES_MAX] = { NULL };
	const unsigned count = speech_engines(config, list);
	size_t used = 0;

	(void)snprintf(out, SPEECH_LABELS_SIZE, "none");
	for (unsigned i = 0; i < count && used < SPEECH_LABELS_SIZE; i++)
		used += (size_t)snprintf(out + used,
		    SPEECH_LABELS_SIZE - used, "%s%s",
		    i > 0 ? "-fallback-" : "", list[i]->label);
}

void
speech_engine_url(const char *address, const char *path, char *out,
    size_t size)
{
	size_t len = strlen(address);

	while (len > 0 && address[len - 1] == '/')
		len--;
	(void)snprintf(out, size, "%.*s%s", (int)len, address, path);
}
