/*
 * shared/subprocess.c with real programs: what reaches them and what comes
 * back, every way they can end, and that nothing of them stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/buffer.h>

#include "loop_fixture.h"
#include "shared/subprocess.h"

#define SHELL "/bin/sh"

struct fixture {
	struct event_base *base;
	struct subprocess_set *set;
	unsigned finished;
	int rc;
	int status;
	char errors[SUBPROCESS_ERRORS_MAX + 1];
	char output[4096];
	size_t output_len;
};

static int
set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	(void)signal(SIGPIPE, SIG_IGN);
	fixture->base = event_base_new();
	fixture->set = subprocess_set_new(fixture->base);
	*state = fixture;
	return fixture->set != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct fixture *fixture = *state;

	subprocess_set_free(&fixture->set);
	event_base_free(fixture->base);
	free(fixture);
	/* no child of ours is left, dead or alive */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	return 0;
}

static void
on_finish(void *arg, const struct subprocess_result *result)
{
	struct fixture *fixture = arg;
	const ssize_t len = evbuffer_copyout(result->output, fixture->output,
	    sizeof(fixture->output) - 1);

	fixture->output_len = evbuffer_get_length(result->output);
	fixture->output[len > 0 ? len : 0] = '\0';
	fixture->rc = result->rc;
	fixture->status = result->status;
	(void)snprintf(fixture->errors, sizeof(fixture->errors), "%s",
	    result->errors);
	fixture->finished++;
}

/* Run a program to its end. `input` may be NULL. */
static int
run(struct fixture *fixture, const char *const *argv, const char *input,
    size_t input_len, struct subprocess_request limits)
{
	struct subprocess_request request = limits;
	int rc;

	request.argv = argv;
	request.input = evbuffer_new();
	request.finish = on_finish;
	request.arg = fixture;
	if (request.output_max_bytes == 0)
		request.output_max_bytes = 1 << 20;
	if (input_len > 0)
		(void)evbuffer_add(request.input, input, input_len);
	fixture->finished = 0;
	rc = subprocess_start(fixture->set, &request, NULL);
	evbuffer_free(request.input);
	if (rc != 0)
		return rc;
	assert_int_equal(fixture->finished, 0);
	RUN_UNTIL(fixture->base, fixture->finished > 0);
	assert_int_equal(fixture->finished, 1);
	assert_int_equal(subprocess_count(fixture->set), 0);
	return fixture->rc;
}

static int
run_script(struct fixture *fixture, const char *script,
    struct subprocess_request limits)
{
	const char *const argv[] = { SHELL, "-c", script, NULL };

	return run(fixture, argv, NULL, 0, limits);
}

static void
test_ends(void **state)
{
	static const struct {
		const char *name;
		const char *script;
		int rc;
		int status;
		const char *output;
		const char *errors;
	} cases[] = {
		{ "success", "echo out; echo err >&2", 0, 0, "out\n", "err" },
		{ "status", "echo no >&2; exit 3", -KAP_STATE, 3, "", "no" },
		{ "signal", "kill -9 $$", -KAP_STATE, 128 + SIGKILL, "", "" },
		{ "control characters", "printf 'a\\033[1mb\\nc' >&2", 0, 0,
		    "", "a [1mb c" },
		{ "stdin is empty", "cat; echo end", 0, 0, "end\n", "" },
		{ "output closed early", "exec >&-; sleep 0.1; exit 5",
		    -KAP_STATE, 5, "", "" },
		{ "a grandchild holds the pipes", "sleep 1000 & echo gone",
		    0, 0, "gone\n", "" },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		assert_int_equal(run_script(fixture, cases[i].script,
		    (struct subprocess_request){ .timeout_ms = 50000 }),
		    cases[i].rc);
		assert_int_equal(fixture->status, cases[i].status);
		assert_string_equal(fixture->output, cases[i].output);
		assert_string_equal(fixture->errors, cases[i].errors);
	}
}

static void
test_start_fails(void **state)
{
	static const struct {
		const char *program;
		int rc;
	} cases[] = {
		{ "/nonexistent/program", -KAP_NOENT },
		{ "/etc/passwd", -KAP_DENIED },
		{ "/etc/passwd/x", -KAP_NOENT },
	};
	const struct subprocess_request none = { .timeout_ms = 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const argv[] = { cases[i].program, NULL };

		assert_int_equal(run(*state, argv, "x", 1, none),
		    cases[i].rc);
	}
}

/* More than any pipe holds, both ways at once. */
static void
test_much_data(void **state)
{
	struct fixture *fixture = *state;
	const char *const argv[] = { "/bin/cat", NULL };
	const size_t len = 3 << 20;
	char *data = malloc(len);

	memset(data, 'x', len);
	assert_int_equal(run(fixture, argv, data, len,
	    (struct subprocess_request){ .output_max_bytes = len }), 0);
	assert_int_equal(fixture->output_len, len);
	assert_int_equal(run(fixture, argv, data, len,
	    (struct subprocess_request){ .output_max_bytes = len - 1 }),
	    -KAP_TOOBIG);
	free(data);
}

/*
 * All that it left in a large pipe is read, though it has ended before the
 * first read; more than the bound is still too much.
 */
static void
test_much_left_behind(void **state)
{
	static const char script[] = "fcntl(STDOUT, 1031, 1 << 20);"
	    "syswrite(STDOUT, 'x' x 500000) == 500000 or die";
	const char *const argv[] = { "/usr/bin/perl", "-e", script, NULL };
	struct fixture *fixture = *state;
	struct subprocess_request request = { .argv = argv,
		.output_max_bytes = 500000, .finish = on_finish,
		.arg = fixture };
	siginfo_t info;

	for (int i = 0; i < 2; i++) {
		fixture->finished = 0;
		assert_int_equal(subprocess_start(fixture->set, &request,
		    NULL), 0);
		assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT),
		    0);
		RUN_UNTIL(fixture->base, fixture->finished > 0);
		assert_int_equal(fixture->rc, i == 0 ? 0 : -KAP_TOOBIG);
		assert_true(i > 0 || fixture->output_len == 500000);
		request.output_max_bytes--;
	}
}

/* It ends before it has read all: no SIGPIPE, no hang. */
static void
test_reader_leaves(void **state)
{
	const char *const argv[] = { "/usr/bin/head", "-c", "3", NULL };
	const size_t len = 1 << 20;
	char *data = calloc(1, len);

	memset(data, 'y', len);
	assert_int_equal(run(*state, argv, data, len,
	    (struct subprocess_request){ .timeout_ms = 0 }), 0);
	assert_string_equal(((struct fixture *)*state)->output, "yyy");
	free(data);
}

static void
test_limits(void **state)
{
	static const char *const limits[] = { "/bin/sh", "-c",
		"read go; ulimit -t; ulimit -c; ulimit -n", NULL };
	struct fixture *fixture = *state;

	assert_int_equal(run_script(fixture, "exec yes",
	    (struct subprocess_request){ .output_max_bytes = 100000 }),
	    -KAP_TOOBIG);
	assert_int_equal(run_script(fixture, "trap '' TERM; sleep 1000",
	    (struct subprocess_request){ .timeout_ms = 50 }), -KAP_TIMEOUT);
	/* endless errors are thrown away, and end with the deadline */
	assert_int_equal(run_script(fixture, "exec yes >&2",
	    (struct subprocess_request){ .timeout_ms = 50 }), -KAP_TIMEOUT);
	assert_int_equal(strlen(fixture->errors), SUBPROCESS_ERRORS_MAX - 1);
	/*
	 * Its processor time is limited too, should it outlive us. What it
	 * reads comes from the loop, behind its start and so its limits.
	 */
	assert_int_equal(run(*state, limits, "go\n", 3,
	    (struct subprocess_request){ .timeout_ms = 7000 }), 0);
	assert_string_equal(fixture->output, "12\n0\n64\n");
}

/* Descriptors, environment, signals: only what the header promises. */
static void
test_nothing_leaks(void **state)
{
	struct fixture *fixture = *state;
	const int plain = open("/dev/null", O_RDONLY); /* without CLOEXEC */
	const int high = fcntl(plain, F_DUPFD, 700);
	sigset_t blocked;
	sigset_t before;
	char *rest;

	assert_true(plain >= 0 && high >= 700);
	(void)setenv("KAPHILA_SECRET", "leaked", 1);
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &blocked, &before);
	assert_int_equal(run_script(fixture, "ls /proc/$$/fd",
	    (struct subprocess_request){ .timeout_ms = 0 }), 0);
	assert_string_equal(fixture->output, "0\n1\n2\n");
	assert_int_equal(run_script(fixture,
	    "tr '\\0' '\\n' </proc/$$/environ | sort",
	    (struct subprocess_request){ .timeout_ms = 0 }), 0);
	assert_string_equal(fixture->output,
	    "HOME=/dev/null\nLC_ALL=C.UTF-8\nPATH=/usr/bin:/bin\n");
	assert_int_equal(run_script(fixture,
	    "grep -E '^Sig(Blk|Ign):' /proc/$$/status | cut -f2",
	    (struct subprocess_request){ .timeout_ms = 0 }), 0);
	assert_int_equal(strtoull(fixture->output, &rest, 16), 0);
	/* signals 32 and 33 are the C library's own */
	assert_int_equal(strtoull(rest, NULL, 16) & ~0x180000000ULL, 0);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(plain);
	(void)close(high);
}

static unsigned
count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir) != NULL)
		count++;
	(void)closedir(dir);
	return count;
}

static void
test_cancel(void **state)
{
	struct fixture *fixture = *state;
	const char *const argv[] = { "/bin/sleep", "1000", NULL };
	const unsigned before = count_descriptors();
	struct subprocess_request request = { .argv = argv,
		.finish = on_finish, .arg = fixture };
	struct subprocess *process = NULL;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(subprocess_start(fixture->set, &request,
		    &process), 0);
		subprocess_cancel(&process);
		assert_null(process);
	}
	RUN_UNTIL(fixture->base, subprocess_count(fixture->set) == 0);
	assert_int_equal(fixture->finished, 0);
	assert_int_equal(count_descriptors(), before);
	subprocess_cancel(&process);
	/* two that still run, and one given up, are left to tear_down() */
	for (int i = 0; i < 3; i++)
		assert_int_equal(subprocess_start(fixture->set, &request,
		    &process), 0);
	subprocess_cancel(&process);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_start_fails, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_much_data, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_much_left_behind, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_reader_leaves, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_limits, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_nothing_leaks, set_up,
		    tear_down),
		cmocka_unit_test_setup_teardown(test_cancel, set_up,
		    tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
