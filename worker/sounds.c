/*
 * Asks for each ending that Asterisk has a format for; any of them will do,
 * for it transcodes.
 */
#include "sounds.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DIRS_MAX 16

/* Of the modules format_* of Asterisk 16 to 22. */
static const char *const endings[] = { "wav", "gsm", "ulaw", "alaw", "g722",
	"sln", "sln16", "sln24", "sln32", "sln44", "sln48", "sln96", "sln192",
	"sln12", "slin", "raw", "wav16", "WAV", "wav49", "pcm", "ul", "mu",
	"ulw", "al", "alw", "au", "g719", "g723", "g723sf", "g726-16",
	"g726-24", "g726-32", "g726-40", "g729", "siren7", "siren14", "ogg",
	"opus", "spx", "spx16", "spx32", "mp3", "ilbc", "vox" };

bool
sounds_name_is_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/";
	const size_t len = strlen(name);

	return len > 0 && len <= SOUNDS_NAME_MAX &&
	    strspn(name, allowed) == len && name[0] != '/' &&
	    name[len - 1] != '/' && strstr(name, "//") == NULL;
}

/*
 * Returns 0; -KAP_NOENT if it isn't there; -KAP_GONE if that can't be told: a
 * folder on the way lets nobody in, say.
 */
static int
look_at(const char *path, int mode)
{
	if (access(path, mode) == 0)
		return 0;
	return errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG
		   ? -KAP_NOENT
		   : -KAP_GONE;
}

/* The same of a file `dir`/`name` with any of the endings. */
static int
look_for_sound(const char *dir, int dir_len, const char *name)
{
	char path[PATH_MAX];
	int rc = -KAP_NOENT;

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		const int len = snprintf(path, sizeof(path), "%.*s/%s.%s",
		    dir_len, dir, name, endings[i]);
		int seen;

		if (len <= 0 || (size_t)len >= sizeof(path))
			continue;
		seen = look_at(path, F_OK);
		if (seen == 0)
			return 0;
		if (seen == -KAP_GONE)
			rc = -KAP_GONE;
	}
	return rc;
}

/* …of the folder itself. */
static int
look_at_folder(const char *dir, int dir_len)
{
	char path[PATH_MAX];
	const int len = snprintf(path, sizeof(path), "%.*s/.", dir_len, dir);

	/* a folder may let itself be entered without being listed */
	return len > 0 && (size_t)len < sizeof(path) ? look_at(path, X_OK)
						     : -KAP_NOENT;
}

int
sounds_find(const char *dirs, const char *name)
{
	bool is_any_seen = false;
	bool is_any_hidden = false;

	for (unsigned i = 0; i < DIRS_MAX && *dirs != '\0'; i++) {
		const char *dir = dirs + strspn(dirs, " ,");
		const int len = (int)strcspn(dir, ",");
		int rc = len > 0 ? look_at_folder(dir, len) : -KAP_NOENT;

		if (rc == 0) {
			is_any_seen = true;
			rc = look_for_sound(dir, len, name);
			if (rc == 0)
				return 0;
		}
		if (rc == -KAP_GONE)
			is_any_hidden = true;
		dirs = dir + len;
	}
	return is_any_seen && !is_any_hidden ? -KAP_NOENT : -KAP_GONE;
}
