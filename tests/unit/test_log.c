/*
 * shared/log.c: one line an event in both forms, whatever the values hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "shared/clock.h"
#include "shared/log.h"

static int saved_stderr = -1;

/* Send the log into a memory file; returns it. */
static int
begin_capture(void)
{
	const int fd = memfd_create("log", MFD_CLOEXEC);

	assert_true(fd >= 0);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(dup2(fd, STDERR_FILENO) >= 0);
	return fd;
}

static void
end_capture(int fd, char *text, size_t size)
{
	ssize_t len;

	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	len = pread(fd, text, size - 1, 0);
	assert_true(len >= 0);
	text[len] = '\0';
	(void)close(fd);
}

/* What follows "] " in a line of text. */
static const char *
body_of(const char *line)
{
	const char *body = strstr(line, "] ");

	assert_non_null(body);
	return body + 2;
}

static void
test_text_fields(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *value;
		const char *expect;
	} cases[] = {
		{ "plain word", "abc", "m v=abc n=-7\n" },
		{ "empty", "", "m v=\"\" n=-7\n" },
		{ "null", NULL, "m v=\"\" n=-7\n" },
		{ "blank", "a b", "m v=\"a b\" n=-7\n" },
		{ "quote", "a\"b", "m v=\"a\\\"b\" n=-7\n" },
		{ "backslash", "a\\b", "m v=\"a\\\\b\" n=-7\n" },
		{ "equals sign", "a=b", "m v=\"a=b\" n=-7\n" },
		{ "line feed", "a\nb", "m v=\"a\\u000ab\" n=-7\n" },
		{ "escape", "\x1b[31m", "m v=\"\\u001b[31m\" n=-7\n" },
		{ "delete", "a\x7f", "m v=\"a\\u007f\" n=-7\n" },
		{ "utf-8", "\xc3\xa9", "m v=\xc3\xa9 n=-7\n" },
	};

	log_init("worker", 3, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int fd = begin_capture();
		char text[4096];

		log_info("m", LOG_S("v", cases[i].value), LOG_I("n", -7));
		end_capture(fd, text, sizeof(text));
		if (strcmp(body_of(text), cases[i].expect) != 0)
			fail_msg("%s: %s", cases[i].name, text);
	}
}

static void
test_text_head(void **state KAP_UNUSED)
{
	char text[4096];
	char expect[64];
	char now[CLOCK_ISO_SIZE] = "";
	int64_t ms;
	int fd;

	log_init("worker", 3, LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
	fd = begin_capture();
	log_warn("careful");
	end_capture(fd, text, sizeof(text));
	memcpy(now, text, CLOCK_ISO_SIZE - 1);
	assert_int_equal(clock_parse_iso(now, &ms), 0);
	(void)snprintf(expect, sizeof(expect), " warn worker.3[%d] careful\n",
	    (int)getpid());
	assert_string_equal(text + CLOCK_ISO_SIZE - 1, expect);
}

static int evaluations;

static int64_t
count_evaluation(void)
{
	return ++evaluations;
}

static void
test_level_comes_first(void **state KAP_UNUSED)
{
	char text[4096];
	int fd;

	log_init("master", -1, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	assert_false(log_enabled(LOG_LEVEL_INFO));
	assert_true(log_enabled(LOG_LEVEL_WARN));
	fd = begin_capture();
	log_debug("no", LOG_I("n", count_evaluation()));
	log_info("no", LOG_I("n", count_evaluation()));
	assert_int_equal(evaluations, 0);
	log_error("yes", LOG_I("n", count_evaluation()));
	end_capture(fd, text, sizeof(text));
	assert_int_equal(evaluations, 1);
	assert_string_equal(body_of(text), "yes n=1\n");
	assert_non_null(strstr(text, " error master["));
}

static void
test_json(void **state KAP_UNUSED)
{
	char text[4096];
	cJSON *line;
	const int fd = begin_capture();

	log_init("worker", 1, LOG_LEVEL_INFO, LOG_FORMAT_JSON);
	log_info("say \"hi\"", LOG_S("call", "a\nb\\\x01"),
	    LOG_I("cause", 16), LOG_S("none", NULL));
	end_capture(fd, text, sizeof(text));
	line = cJSON_Parse(text);
	assert_non_null(line);
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line,
	    "message")), "say \"hi\"");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line,
	    "role")), "worker.1");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line,
	    "level")), "info");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line,
	    "call")), "a\nb\\\x01");
	assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line,
	    "none")), "");
	assert_int_equal(cJSON_GetObjectItem(line, "cause")->valueint, 16);
	assert_int_equal(cJSON_GetObjectItem(line, "pid")->valueint,
	    getpid());
	cJSON_Delete(line);
}

/*
 * A line that is too long is cut and stays one line, of JSON where it is
 * JSON; every length up to and over the limit is tried.
 */
static void
test_long_lines(void **state KAP_UNUSED)
{
	static char value[4000];

	for (size_t len = 1500; len < sizeof(value); len += 97) {
		for (int format = 0; format < 2; format++) {
			char text[8192];
			cJSON *line;
			int fd;

			memset(value, '"', len);
			value[len] = '\0';
			log_init("worker", 1, LOG_LEVEL_INFO,
			    (enum log_format)format);
			fd = begin_capture();
			if (len % 2 == 0)
				log_info("long", LOG_S("v", value),
				    LOG_I("n", 1));
			else
				log_info(value, LOG_I("n", 1));
			end_capture(fd, text, sizeof(text));
			assert_ptr_equal(strchr(text, '\n'),
			    text + strlen(text) - 1);
			if (format == LOG_FORMAT_TEXT)
				continue;
			line = cJSON_Parse(text);
			assert_non_null(line);
			cJSON_Delete(line);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_fields),
		cmocka_unit_test(test_text_head),
		cmocka_unit_test(test_level_comes_first),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_long_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
