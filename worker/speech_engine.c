/*
 * The list of engines, and which of them a configuration has. Starts none.
 */
#include "worker/speech_engine.h"

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

static const struct speech_engine *
find_engine(const char *name, size_t len)
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
		const struct speech_engine *engine = find_engine(at, len);

		if (engine != NULL && engine->usable(config) &&
		    !has_engine(out, count, engine))
			out[count++] = engine;
		at += len;
		at += strspn(at, ", ");
	}
	return count;
}
