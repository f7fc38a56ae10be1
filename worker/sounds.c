/*
 * Asks for each ending that Asterisk has a format for; any of them will do,
 * for it transcodes.
 */
#include "sounds.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DIRS_MAX 16

static const char *const endings[] = { "wav", "gsm", "ulaw", "alaw", "g722",
	"sln", "sln16", "sln24", "sln32", "sln44", "sln48", "sln96", "sln192",
	"sln12", "wav16", "WAV", "wav49", "pcm", "ul", "mu", "al", "alw",
	"g729", "g726-32", "siren7", "siren14", "ogg", "mp3", "raw", "ilbc" };

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

/* Is there a file `dir`/`name`, or one with any of the endings? */
static bool
has_sound(const char *dir, int dir_len, const char *name)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
		const int len = snprintf(path, sizeof(path), "%.*s/%s.%s",
		    dir_len, dir, name, endings[i]);

		if (len > 0 && (size_t)len < sizeof(path) &&
		    access(path, F_OK) == 0)
			return true;
	}
	return false;
}

static bool
is_seen(const char *dir, int dir_len)
{
	char path[PATH_MAX];
	const int len = snprintf(path, sizeof(path), "%.*s/.", dir_len, dir);

	/* a folder may let itself be entered without being listed */
	return len > 0 && (size_t)len < sizeof(path) &&
	    access(path, X_OK) == 0;
}

int
sounds_find(const char *dirs, const char *name)
{
	int rc = -KAP_GONE;

	for (unsigned i = 0; i < DIRS_MAX && *dirs != '\0'; i++) {
		const char *dir = dirs + strspn(dirs, " ,");
		const int len = (int)strcspn(dir, ",");

		if (len > 0 && is_seen(dir, len)) {
			if (has_sound(dir, len, name))
				return 0;
			rc = -KAP_NOENT;
		}
		dirs = dir + len;
	}
	return rc;
}
