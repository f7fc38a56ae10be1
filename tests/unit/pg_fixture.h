/*
 * A PostgreSQL server of a test's own: a fresh cluster in a scratch folder,
 * reached by a socket there, started, killed and restarted at will. Runs as
 * the user postgres when the test is root's. The tests are skipped only where
 * no server is installed.
 */
#ifndef KAP_PG_FIXTURE_H
#define KAP_PG_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "shared/errors.h"

#define FIXTURE_PATH 256

struct pg_fixture {
	char bin[FIXTURE_PATH]; /* "" : no server is installed */
	char dir[FIXTURE_PATH];
	char dsn[FIXTURE_PATH + 64];
	pid_t pid; /* 0: not running */
	bool full_sync; /* as in production, for measuring */
};

static inline void
fixture_die(const char *what)
{
	(void)fprintf(stderr, "pg_fixture: %s: %s\n", what, strerror(errno));
	abort();
}

/* The newest installed server's folder; false without any. */
static inline bool
fixture_find_server(struct pg_fixture *fixture)
{
	glob_t found;

	fixture->bin[0] = '\0';
	if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) == 0) {
		(void)snprintf(fixture->bin, sizeof(fixture->bin), "%s",
		    found.gl_pathv[found.gl_pathc - 1]);
		*strrchr(fixture->bin, '/') = '\0';
		globfree(&found);
	}
	return fixture->bin[0] != '\0';
}

/* In the child: no server runs as root, and none outlives its test. */
static inline void
fixture_become_postgres(const char *log)
{
	const struct passwd *user = getpwnam("postgres");
	const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);

	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
		_exit(126);
	if (geteuid() == 0 && (user == NULL ||
	        setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 ||
	        setuid(user->pw_uid) != 0))
		_exit(126);
	(void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
}

static inline pid_t
fixture_spawn(const struct pg_fixture *fixture, char *argv[])
{
	char log[FIXTURE_PATH + 16];
	char path[FIXTURE_PATH + 16];
	const pid_t pid = fork();

	if (pid < 0)
		fixture_die("fork");
	if (pid > 0)
		return pid;
	(void)snprintf(log, sizeof(log), "%s.log", fixture->dir);
	(void)snprintf(path, sizeof(path), "%s/%s", fixture->bin, argv[0]);
	fixture_become_postgres(log);
	argv[0] = path; /* initdb looks for its postgres beside itself */
	if (chdir("/") == 0)
		(void)execv(path, argv);
	_exit(127);
}

static inline void
fixture_ignore_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

static inline PGconn *
fixture_connect(const struct pg_fixture *fixture)
{
	PGconn *conn = PQconnectdb(fixture->dsn);

	if (PQstatus(conn) != CONNECTION_OK) {
		(void)fprintf(stderr, "%s", PQerrorMessage(conn));
		fixture_die("connect");
	}
	(void)PQsetNoticeReceiver(conn, fixture_ignore_notice, NULL);
	return conn;
}

/* Start the server and wait until it takes connections. */
static inline void
fixture_start(struct pg_fixture *fixture)
{
	char data[FIXTURE_PATH + 16];
	char data_arg[] = "-D";
	char name[] = "postgres";
	char socket_arg[] = "-k";
	char no_tcp[] = "-clisten_addresses=";
	char no_sync[] = "-cfsync=off";
	char buffers[] = "-cshared_buffers=32MB";
	char *argv[] = { name, data_arg, data, socket_arg, fixture->dir,
		no_tcp, buffers, fixture->full_sync ? NULL : no_sync, NULL };

	(void)snprintf(data, sizeof(data), "%s/data", fixture->dir);
	fixture->pid = fixture_spawn(fixture, argv);
	for (int i = 0; i < 1200; i++) {
		if (PQping(fixture->dsn) == PQPING_OK)
			return;
		(void)usleep(50000);
	}
	fixture_die("the server doesn't start");
}

/* SIGKILL: as a crash; SIGINT: in good order; both cut every connection. */
static inline void
fixture_stop(struct pg_fixture *fixture, int signal)
{
	if (fixture->pid == 0)
		return;
	(void)kill(fixture->pid, signal);
	(void)waitpid(fixture->pid, NULL, 0);
	fixture->pid = 0;
}

static inline void
fixture_init(struct pg_fixture *fixture)
{
	char data[FIXTURE_PATH + 16];
	char program[] = "initdb";
	char data_arg[] = "-D";
	char user[] = "-Upostgres";
	char trust[] = "-Atrust";
	char no_sync[] = "--no-sync";
	char encoding[] = "-EUTF8";
	char locale[] = "--locale=C";
	char *argv[] = { program, data_arg, data, user, trust, no_sync,
		encoding, locale, NULL };
	const struct passwd *owner = getpwnam("postgres");
	int status;

	(void)snprintf(fixture->dir, sizeof(fixture->dir),
	    "/tmp/kaphila-pg-XXXXXX");
	if (mkdtemp(fixture->dir) == NULL || (geteuid() == 0 &&
	        (owner == NULL ||
	            chown(fixture->dir, owner->pw_uid, owner->pw_gid) != 0)))
		fixture_die("scratch folder");
	(void)snprintf(data, sizeof(data), "%s/data", fixture->dir);
	(void)snprintf(fixture->dsn, sizeof(fixture->dsn),
	    "host=%s user=postgres dbname=postgres", fixture->dir);
	if (waitpid(fixture_spawn(fixture, argv), &status, 0) < 0 ||
	    status != 0)
		fixture_die("initdb");
	fixture_start(fixture);
}

static inline void
fixture_deinit(struct pg_fixture *fixture)
{
	char log[FIXTURE_PATH + 16];
	const char *const argv[] = { "rm", "-rf", "--", fixture->dir, NULL };
	pid_t pid;

	fixture_stop(fixture, SIGQUIT);
	(void)snprintf(log, sizeof(log), "%s.log", fixture->dir);
	(void)unlink(log);
	pid = fork();
	if (pid == 0) {
		(void)execv("/bin/rm", (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	(void)waitpid(pid, NULL, 0);
}

/* Run SQL that must succeed; more statements than one may be given. */
static inline void
fixture_exec(const struct pg_fixture *fixture, const char *sql)
{
	PGconn *conn = fixture_connect(fixture);
	PGresult *result = PQexec(conn, sql);
	const ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		(void)fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
		abort();
	}
	PQclear(result);
	PQfinish(conn);
}

/* The first column of the first row, as text; "" for none or NULL. */
static inline void
fixture_text(const struct pg_fixture *fixture, char *out, size_t size,
    const char *sql)
{
	PGconn *conn = fixture_connect(fixture);
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		(void)fprintf(stderr, "%s: %s", sql, PQerrorMessage(conn));
		abort();
	}
	(void)snprintf(out, size, "%s", PQntuples(result) > 0
	    ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	PQfinish(conn);
}

static inline long long
fixture_int(const struct pg_fixture *fixture, const char *sql)
{
	char text[64];

	fixture_text(fixture, text, sizeof(text), sql);
	return strtoll(text, NULL, 10);
}

/* Where the schema's files lie in the source tree. */
static inline void
fixture_schema_dir(char *out, size_t size)
{
	const char *slash = strrchr(__FILE__, '/');

	(void)snprintf(out, size, "%.*s/../../deploy/schema",
	    (int)(slash - __FILE__), __FILE__);
}

/* Apply the schema's files, up to one ("0003"): what an older one was. */
static inline void
fixture_migrate_to(const struct pg_fixture *fixture, const char *last)
{
	char pattern[FIXTURE_PATH];
	glob_t files;

	fixture_schema_dir(pattern, sizeof(pattern) - 16);
	(void)snprintf(pattern + strlen(pattern), 16, "/*.sql");
	if (glob(pattern, 0, NULL, &files) != 0)
		fixture_die(pattern);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		char sql[65536];
		const char *name = strrchr(files.gl_pathv[i], '/') + 1;
		FILE *file;
		size_t len;

		if (strncmp(name, last, strlen(last)) > 0)
			break;
		file = fopen(files.gl_pathv[i], "re");
		if (file == NULL)
			fixture_die(files.gl_pathv[i]);
		len = fread(sql, 1, sizeof(sql) - 1, file);
		sql[len] = '\0';
		(void)fclose(file);
		fixture_exec(fixture, sql);
	}
	globfree(&files);
}

/* Apply every file of the schema. */
static inline void
fixture_migrate(const struct pg_fixture *fixture)
{
	fixture_migrate_to(fixture, "9999");
}

#endif
