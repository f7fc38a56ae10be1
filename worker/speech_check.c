/*
 * Warnings about a configuration that is no fault in itself. Nothing depends
 * on them: an engine that lacks something is left out by speech_engines().
 */
#include "worker/speech_check.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/log.h"
#include "shared/speech_cache.h"
#include "worker/speech_engine.h"

static void
check_engines(const struct config *config, unsigned usable)
{
	const char *at = config->speech.engines;

	while (*at != '\0') {
		const size_t len = strcspn(at, ", ");
		const struct speech_engine *engine =
		    speech_engine_find(at, len);

		if (engine != NULL && !engine->usable(config))
			log_warn("a speech engine is left out",
			    LOG_S("engine", engine->name),
			    LOG_S("needs", engine->needs));
		at += len;
		at += strspn(at, ", ");
	}
	if (usable == 0 && config->speech.engines[0] != '\0')
		log_warn("no speech engine is usable: nothing is spoken",
		    LOG_S("engines", config->speech.engines));
}

/*
 * Cut `path` down to the first folder on its way that others can't enter.
 * False: there is none among those that are there.
 */
static bool
find_closed(char path[SPEECH_PATH_SIZE])
{
	struct stat st;

	for (char *at = path; at != NULL;) {
		at = strchr(at + 1, '/');
		if (at != NULL)
			*at = '\0';
		if (stat(path, &st) == 0 && (st.st_mode & S_IXOTH) == 0)
			return true;
		if (at != NULL)
			*at = '/';
	}
	return false;
}

/* Where Asterisk sees it by another path, these folders don't matter. */
static void
check_folder(const struct config *config)
{
	char dir[SPEECH_PATH_SIZE];
	char closed[SPEECH_PATH_SIZE];

	if (config->speech.asterisk_dir[0] != '\0')
		return;
	speech_cache_dir(config, dir);
	memcpy(closed, dir, sizeof(closed));
	if (find_closed(closed))
		log_warn("Asterisk may not reach the spoken texts: others "
		    "can't enter a folder above them. Set speech.dir to a "
		    "folder that they can enter",
		    LOG_S("folder", dir), LOG_S("closed", closed));
}

void
speech_check(const struct config *config)
{
	const struct speech_engine *engines[SPEECH_ENGINES_MAX] = { NULL };
	const unsigned usable = speech_engines(config, engines);

	check_engines(config, usable);
	if (usable > 0)
		check_folder(config);
}
