/*
 * Names, paths and folders of the recordings' store.
 */
#include "tests/unit/recording_fixture.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shared/recording_store.h"

static char dir[FIXTURE_PATH];

static int
make_dir(void **arg KAP_UNUSED)
{
	return fixture_make_dir("/tmp", dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **arg KAP_UNUSED)
{
	fixture_remove_dir(dir);
	return 0;
}

static const char *
path_of(const char *name)
{
	static char path[FIXTURE_PATH + 256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void
names_are_bounded_and_plain(void **arg KAP_UNUSED)
{
	static const struct {
		const char *name;
		bool expect;
	} cases[] = {
		{ "call-1720012345.88-1739781234567", true },
		{ "A_b-c.9", true },
		{ "a..b", true },
		{ "", false },
		{ ".", false },
		{ "..", false },
		{ ".hidden", false },
		{ "a/b", false },
		{ "../etc/passwd", false },
		{ "a b", false },
		{ "a\nb", false },
		{ "a%2fb", false },
		{ "caf\xc3\xa9", false },
		{ "123456789012345678901234567890123456789012345678901234567"
		  "890123", true },
		{ "123456789012345678901234567890123456789012345678901234567"
		  "8901234", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (recording_name_is_valid(cases[i].name) != cases[i].expect)
			fail_msg("'%s'", cases[i].name);
	}
}

static void
a_path_follows_from_the_name_alone(void **arg KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *expect; /* NULL: refused */
	} cases[] = {
		{ "call-1720012345.88001-1739781234567",
		    "/s/2025/02/17/call-1720012345.88001-1739781234567.wav" },
		{ "call-1720012345.88001-1735689599999",
		    "/s/2024/12/31/call-1720012345.88001-1735689599999.wav" },
		{ "call-1720012345.88001-1735689600000",
		    "/s/2025/01/01/call-1720012345.88001-1735689600000.wav" },
		{ "call-1720012345.88001-0",
		    "/s/1970/01/01/call-1720012345.88001-0.wav" },
		{ "call-1720012345.88001-253402300799999",
		    "/s/9999/12/31/"
		    "call-1720012345.88001-253402300799999.wav" },
		{ "call-1720012345.88001-253402300800000", NULL },
		{ "call-1720012345.88001-99999999999999999999", NULL },
		{ "call-1720012345.88001-", NULL },
		{ "call-1720012345.88001", NULL },
		{ "call-1720012345-1739781234567", NULL },
		{ "1720012345.88001-1739781234567", NULL },
		{ "call-1720012345.88001-1739781234567.wav", NULL },
		{ "call-../x.88001-1739781234567", NULL },
		{ "call-1720012345.88001--739781234567", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[RECORDING_PATH_SIZE];
		const int rc = recording_store_path("/s", cases[i].name, path);

		if (rc != (cases[i].expect != NULL ? 0 : -KAP_INVAL))
			fail_msg("'%s': %d", cases[i].name, rc);
		if (rc == 0)
			assert_string_equal(path, cases[i].expect);
	}
}

static void
the_other_places_have_their_paths(void **arg KAP_UNUSED)
{
	static const char name[] = "call-1720012345.88001-1739781234567";
	char path[RECORDING_PATH_SIZE];

	assert_int_equal(recording_store_incoming_path("/s", name, 42, path),
	    0);
	assert_string_equal(path, "/s/incoming/"
	    "call-1720012345.88001-1739781234567.42.part");
	assert_int_equal(recording_store_damaged_path("/s", name, path), 0);
	assert_string_equal(path, "/s/damaged/"
	    "call-1720012345.88001-1739781234567.wav");
	assert_int_equal(recording_store_incoming_path("/s", "../x", 42, path),
	    -KAP_INVAL);
	assert_int_equal(recording_store_damaged_path("/s", "../x", path),
	    -KAP_INVAL);
}

static void
the_folder_comes_from_the_configuration(void **arg KAP_UNUSED)
{
	struct config config;
	char out[RECORDING_DIR_SIZE];
	char path[RECORDING_PATH_SIZE];

	config_init(&config);
	recording_store_dir(&config, out);
	assert_string_equal(out, "/var/lib/kaphila/recordings");
	(void)snprintf(config.recorder.dir, sizeof(config.recorder.dir),
	    "/srv/wav");
	recording_store_dir(&config, out);
	assert_string_equal(out, "/srv/wav");
	/* the longest folder that can be configured still fits */
	memset(config.node.data_dir, 'x', sizeof(config.node.data_dir) - 1);
	config.recorder.dir[0] = '\0';
	recording_store_dir(&config, out);
	assert_int_equal(strlen(out), CONFIG_TEXT_MAX - 1 + 11);
	assert_int_equal(recording_store_incoming_path(out,
	    "call-1720012345.1234567890123456789-253402300799999", INT64_MAX,
	    path), 0);
}

static void
folders_are_made_once_and_reported_when_they_cannot_be(void **arg KAP_UNUSED)
{
	char store[FIXTURE_PATH + 8];
	char path[RECORDING_PATH_SIZE];

	(void)snprintf(store, sizeof(store), "%s/store", dir);
	assert_int_equal(recording_store_path(store,
	    "call-1720012345.88001-1739781234567", path), 0);
	assert_int_equal(recording_store_make_folders(store, path), 0);
	assert_int_equal(access(path_of("store/2025/02/17"), W_OK), 0);
	assert_int_equal(recording_store_make_folders(store, path), 0);
	assert_int_equal(recording_store_sync_folder(path), 0);
	assert_int_equal(recording_store_make_folders("/other", path),
	    -KAP_INVAL);
	/* a file where a folder should be */
	fixture_write(path_of("store/2026"), "x", 1);
	assert_int_equal(recording_store_path(store,
	    "call-1720012345.88001-1767225600000", path), 0);
	assert_int_equal(recording_store_make_folders(store, path), -KAP_IO);
	assert_int_equal(recording_store_sync_folder(path), -KAP_IO);
}

static void
only_regular_files_are_opened(void **arg KAP_UNUSED)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *kinds[] = { "link", "dangling", "folder", "pipe",
		"socket" };
	uint64_t size;
	int fd;

	fixture_write(path_of("file"), "12345", 5);
	assert_int_equal(recording_store_open_file(path_of("file"), &fd,
	    &size), 0);
	assert_int_equal(size, 5);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(close(fd), 0);
	assert_int_equal(recording_store_open_file(path_of("none"), &fd,
	    &size), -KAP_NOENT);

	assert_int_equal(symlink("file", path_of("link")), 0);
	assert_int_equal(symlink("none", path_of("dangling")), 0);
	assert_int_equal(mkdir(path_of("folder"), 0755), 0);
	assert_int_equal(mkfifo(path_of("pipe"), 0644), 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%.80s",
	    path_of("socket"));
	assert_int_equal(bind(listener, (struct sockaddr *)&address,
	    sizeof(address)), 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const int rc = recording_store_open_file(path_of(kinds[i]),
		    &fd, &size);

		if (rc != -KAP_INVAL)
			fail_msg("%s: %d", kinds[i], rc);
	}
	assert_int_equal(close(listener), 0);
}

static void
a_stored_recording_is_opened_by_its_name(void **arg KAP_UNUSED)
{
	static const char name[] = "call-1720012345.88001-1739781234567";
	char path[RECORDING_PATH_SIZE];
	uint64_t size;
	int fd;

	assert_int_equal(recording_store_open(dir, name, &fd, &size),
	    -KAP_NOENT);
	assert_int_equal(recording_store_path(dir, name, path), 0);
	assert_int_equal(recording_store_make_folders(dir, path), 0);
	fixture_write(path, "RIFF", 4);
	assert_int_equal(recording_store_open(dir, name, &fd, &size), 0);
	assert_int_equal(size, 4);
	assert_int_equal(close(fd), 0);
	assert_int_equal(recording_store_open(dir, "../x", &fd, &size),
	    -KAP_INVAL);
}

static void
only_leftovers_of_this_node_are_cleared(void **arg KAP_UNUSED)
{
	/* a call's node is in the last three digits of its id */
	static const struct {
		const char *file;
		bool goes;
	} cases[] = {
		{ "call-1720012345.88007-1739781234567.4242.part", true },
		{ "call-1720012345.1007-1739781234567.1.part", true },
		{ "call-1720012345.88008-1739781234567.4242.part", false },
		{ "call-1720012345.88007-1739781234567.part", false },
		{ "call-1720012345.88007-1739781234567..part", false },
		{ "call-1720012345.88007-1739781234567.12x.part", false },
		{ "call-1720012345.88007-1739781234567.4242.part.bak",
		    false },
		{ "call-1720012345.88007-1739781234567.wav", false },
		{ "notes.txt", false },
		{ "12.part", false },
		{ ".part", false },
	};
	char path[FIXTURE_PATH + 128];

	assert_int_equal(recording_store_clear_incoming(dir, 7), 0);
	assert_int_equal(mkdir(path_of("incoming"), 0755), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/incoming/%s", dir,
		    cases[i].file);
		fixture_write(path, "x", 1);
	}
	assert_int_equal(recording_store_clear_incoming(dir, 7), 2);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/incoming/%s", dir,
		    cases[i].file);
		if ((access(path, F_OK) != 0) != cases[i].goes)
			fail_msg("%s", cases[i].file);
	}
	assert_int_equal(recording_store_clear_incoming(dir, 7), 0);
}

static void
errors_tell_full_from_forbidden(void **arg KAP_UNUSED)
{
	static const struct {
		int error_number;
		int expect;
	} cases[] = {
		{ ENOENT, -KAP_NOENT },
		{ ENOSPC, -KAP_FULL },
		{ EDQUOT, -KAP_FULL },
		{ EACCES, -KAP_DENIED },
		{ EPERM, -KAP_DENIED },
		{ EROFS, -KAP_DENIED },
		{ ELOOP, -KAP_INVAL },
		{ EISDIR, -KAP_INVAL },
		{ EIO, -KAP_IO },
		{ EMFILE, -KAP_IO },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(recording_store_error(cases[i].error_number),
		    cases[i].expect);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
		TEST(names_are_bounded_and_plain),
		TEST(a_path_follows_from_the_name_alone),
		TEST(the_other_places_have_their_paths),
		TEST(the_folder_comes_from_the_configuration),
		TEST(folders_are_made_once_and_reported_when_they_cannot_be),
		TEST(only_regular_files_are_opened),
		TEST(a_stored_recording_is_opened_by_its_name),
		TEST(only_leftovers_of_this_node_are_cleared),
		TEST(errors_tell_full_from_forbidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
