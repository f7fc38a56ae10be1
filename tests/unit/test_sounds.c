/*
 * Names of sounds, and the look for them in folders.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/sounds.h"

struct name_row {
	const char *name;
	bool valid;
};

static const struct name_row names[] = {
	{ "hello-world", true },
	{ "custom/welcome", true },
	{ "digits/1", true },
	{ "A_b-9/c/d", true },
	{ "", false },
	{ "/etc/passwd", false },
	{ "..", false },
	{ "../x", false },
	{ "a/../b", false },
	{ "a/", false },
	{ "a//b", false },
	{ "hello.wav", false },
	{ "http://x/y", false },
	{ "recording:x", false },
	{ "a b", false },
	{ "a%2e", false },
	{ "é", false },
};

static void
test_names(void **state)
{
	char longest[SOUNDS_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (sounds_name_is_valid(names[i].name) != names[i].valid)
			fail_msg("'%s'", names[i].name);
	}
	memset(longest, 'a', sizeof(longest));
	longest[SOUNDS_NAME_MAX] = '\0';
	assert_true(sounds_name_is_valid(longest));
	longest[SOUNDS_NAME_MAX] = 'a';
	longest[SOUNDS_NAME_MAX + 1] = '\0';
	assert_false(sounds_name_is_valid(longest));
}

static char root[64];

static const char *
path_of(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

static void
touch(const char *name)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
}

static const char *const folders[] = { "en", "en/digits", "other",
	"en/loud" };
static const char *const files[] = { "en/hello.gsm", "en/digits/1.wav",
	"other/late.sln16", "other/text.txt", "en/later.opus",
	"en/loud/one.g726-40" };

/* A folder that nobody can enter, whoever he is. */
static const char *const loops[] = { "loop", "en/hidden" };

static int
setup(void **state)
{
	(void)state;
	(void)snprintf(root, sizeof(root), "/tmp/kaphila-sounds-XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (mkdir(path_of(folders[i]), 0755) != 0)
			return -1;
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		touch(files[i]);
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		const char *path = path_of(loops[i]);

		if (symlink(path, path) != 0)
			return -1;
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		(void)unlink(path_of(files[i]));
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++)
		(void)unlink(path_of(loops[i]));
	for (size_t i = sizeof(folders) / sizeof(folders[0]); i > 0; i--)
		(void)rmdir(path_of(folders[i - 1]));
	return rmdir(root);
}

struct find_row {
	const char *dirs; /* "R": the root */
	const char *name;
	int rc;
};

static const struct find_row finds[] = {
	{ "R/en", "hello", 0 },
	{ "R/en", "digits/1", 0 },
	{ "R/en/", "hello", 0 },
	{ "R/en", "late", -KAP_NOENT },
	{ "R/en,R/other", "late", 0 },
	{ "R/en, R/other", "late", 0 },
	{ "R/other,R/en", "hello", 0 },
	{ "R/nowhere,R/en", "hello", 0 },
	{ "R/nowhere,R/en", "hell", -KAP_NOENT },
	{ "R/other", "text", -KAP_NOENT }, /* no sound, by its ending */
	{ "R/en", "digits", -KAP_NOENT },  /* a folder is none */
	{ "R/en", "later", 0 },
	{ "R/other,R/en", "loud/one", 0 },
	{ "R/nowhere", "hello", -KAP_GONE },
	/* where nobody can look there may be one */
	{ "R/loop,R/en", "hello", 0 },
	{ "R/loop,R/en", "hell", -KAP_GONE },
	{ "R/en,R/loop", "hell", -KAP_GONE },
	{ "R/loop", "hello", -KAP_GONE },
	{ "R/en", "hidden/hello", -KAP_GONE },
	{ "R/en,R/other", "hidden/hello", -KAP_GONE },
	{ "", "hello", -KAP_GONE },
	{ ",", "hello", -KAP_GONE },
};

static void
test_finds(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(finds) / sizeof(finds[0]); i++) {
		char dirs[256];
		size_t at = 0;
		int rc;

		for (const char *from = finds[i].dirs; *from != '\0'; from++)
			at += (size_t)snprintf(dirs + at, sizeof(dirs) - at,
			    *from == 'R' ? "%s" : "%.1s",
			    *from == 'R' ? root : from);
		dirs[at] = '\0';
		rc = sounds_find(dirs, finds[i].name);
		if (rc != finds[i].rc)
			fail_msg("'%s' in '%s' gave %d", finds[i].name,
			    finds[i].dirs, rc);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_finds),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
