/*
 * Which connection strings pass, and what libpq is told then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shared/pg_dsn.h"

static const char *
value_of(const struct pg_dsn *dsn, const char *keyword)
{
	for (int i = 0; pg_dsn_keywords(dsn)[i] != NULL; i++) {
		if (strcmp(pg_dsn_keywords(dsn)[i], keyword) == 0)
			return pg_dsn_values(dsn)[i];
	}
	return "";
}

static void
test_hosts(void **state)
{
	static const struct {
		const char *name;
		const char *dsn;
		int rc;
		const char *hostaddr;
	} cases[] = {
		{ "address", "host=10.1.2.3", 0, "10.1.2.3" },
		{ "v6 address", "host=::1", 0, "::1" },
		{ "uri", "postgresql://u:p@127.0.0.1:5433/db", 0,
		    "127.0.0.1" },
		{ "uri v6", "postgresql://[::1]/db", 0, "::1" },
		{ "localhost", "host=localhost", 0, "127.0.0.1" },
		{ "socket", "host=/run/pg", 0, "" },
		{ "abstract socket", "host=@pg", 0, "" },
		{ "no host", "dbname=x", 0, "" },
		{ "several", "host=10.0.0.1,10.0.0.2", 0, "10.0.0.1,10.0.0.2" },
		{ "socket and address", "host=/run/pg,10.0.0.2", 0,
		    ",10.0.0.2" },
		{ "name with its address", "host=db hostaddr=10.0.0.1", 0,
		    "10.0.0.1" },
		{ "name", "host=db.example.org", -KAP_INVAL, NULL },
		{ "name behind an address", "host=10.0.0.1,db", -KAP_INVAL,
		    NULL },
		{ "name in a uri", "postgresql://db/x", -KAP_INVAL, NULL },
		{ "service", "service=x", -KAP_INVAL, NULL },
		{ "unknown keyword", "hots=10.0.0.1", -KAP_INVAL, NULL },
		{ "not a string", "nonsense", -KAP_INVAL, NULL },
	};

	(void)state;
	(void)unsetenv("PGHOST");
	(void)unsetenv("PGSERVICE");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pg_dsn *dsn = NULL;
		struct kap_errmsg msg = { "" };
		const int rc = pg_dsn_parse(&dsn, cases[i].dsn, "test", &msg);

		if (rc != cases[i].rc)
			fail_msg("%s: %d %s", cases[i].name, rc, msg.text);
		if (rc != 0) {
			assert_string_not_equal(msg.text, "");
			assert_null(dsn);
			continue;
		}
		assert_string_equal(value_of(dsn, "hostaddr"),
		    cases[i].hostaddr);
		pg_dsn_free(&dsn);
		assert_null(dsn);
	}
}

static void
test_environment_host_counts(void **state)
{
	struct pg_dsn *dsn = NULL;
	struct kap_errmsg msg;

	(void)state;
	assert_int_equal(setenv("PGHOST", "db.example.org", 1), 0);
	assert_int_equal(pg_dsn_parse(&dsn, "dbname=x", "test", &msg),
	    -KAP_INVAL);
	assert_int_equal(unsetenv("PGHOST"), 0);
}

static void
test_given_values_win(void **state)
{
	struct pg_dsn *dsn = NULL;
	struct kap_errmsg msg;

	(void)state;
	assert_int_equal(pg_dsn_parse(&dsn, "host=10.0.0.1 "
	    "keepalives_idle=77 application_name=mine", "test", &msg), 0);
	assert_string_equal(value_of(dsn, "keepalives_idle"), "77");
	assert_string_equal(value_of(dsn, "application_name"), "mine");
	assert_string_equal(value_of(dsn, "tcp_user_timeout"), "10000");
	pg_dsn_free(&dsn);
}

static void
test_message_hides_the_password(void **state)
{
	static const char *const dsns[] = {
		"host=db password=hunter2", "postgresql://u:hunter2@db/x",
		"password=hunter2 bogus", "postgresql://u:hunter2@[::1/x",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(dsns) / sizeof(dsns[0]); i++) {
		struct pg_dsn *dsn = NULL;
		struct kap_errmsg msg = { "" };

		assert_int_equal(pg_dsn_parse(&dsn, dsns[i], "test", &msg),
		    -KAP_INVAL);
		assert_null(strstr(msg.text, "hunter2"));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_environment_host_counts),
		cmocka_unit_test(test_given_values_win),
		cmocka_unit_test(test_message_hides_the_password),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
