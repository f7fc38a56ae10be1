/*
 * kaphilactl migrate: applies the numbered SQL files that the database
 * doesn't have yet, in their order, each in a transaction with the note that
 * it was applied. An advisory lock keeps two of these apart.
 */
#include "master/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "master/ctl_args.h"
#include "master/ctl_pg.h"
#include "shared/clock.h"

#ifndef KAPHILA_SCHEMA_DIR
#define KAPHILA_SCHEMA_DIR "/usr/share/kaphila/schema"
#endif

#define FILES_MAX 1000
#define FILE_MAX_BYTES (1024 * 1024)
#define LOCK_SQL "(7021, 1)" /* ours, by convention */

struct schema_file {
	int64_t version;
	char name[NAME_MAX + 1];
	bool applied;
};

struct migration {
	char dir[PATH_MAX];
	struct schema_file *files;
	size_t count;
	int64_t newest;    /* of the files */
	int64_t at_start;  /* of the database; 0: empty */
	bool dry_run;
	bool json;
	cJSON *done;       /* names */
};

static bool
is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* In the source tree that the binary was built in, however deep. */
static bool
find_beside_binary(char dir[PATH_MAX])
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (len <= 0)
		return false;
	path[len] = '\0';
	for (int level = 0; level < 6; level++) {
		char *slash = strrchr(path, '/');

		if (slash == NULL || slash == path)
			return false;
		*slash = '\0';
		if (snprintf(dir, PATH_MAX, "%s/deploy/schema", path) <
		        PATH_MAX && is_dir(dir))
			return true;
		if (snprintf(dir, PATH_MAX, "%s/share/kaphila/schema", path) <
		        PATH_MAX && is_dir(dir))
			return true;
	}
	return false;
}

static bool
find_dir(struct migration *migration, const char *given)
{
	if (given == NULL && find_beside_binary(migration->dir))
		return true;
	(void)snprintf(migration->dir, sizeof(migration->dir), "%s",
	    given != NULL ? given : KAPHILA_SCHEMA_DIR);
	if (is_dir(migration->dir))
		return true;
	ctl_complain("no folder of schema files at %s: name it with --dir",
	    migration->dir);
	return false;
}

/* "0001_keys.sql" → 1; 0 for a name of another form. */
static int64_t
version_of(const char *name)
{
	const size_t digits = strspn(name, "0123456789");
	const size_t len = strlen(name);

	if (digits != 4 || name[4] != '_' || len < 10 ||
	    strcmp(name + len - 4, ".sql") != 0)
		return 0;
	return strtoll(name, NULL, 10);
}

static int
by_version(const void *left, const void *right)
{
	const struct schema_file *a = left;
	const struct schema_file *b = right;

	return (a->version > b->version) - (a->version < b->version);
}

static bool
has_gaps(const struct migration *migration)
{
	for (size_t i = 0; i < migration->count; i++) {
		if (migration->files[i].version != (int64_t)i + 1) {
			ctl_complain("%s: the files' numbers must be 0001,"
			    " 0002 and so on, each once; %s is not",
			    migration->dir, migration->files[i].name);
			return true;
		}
	}
	return false;
}

static bool
read_dir(struct migration *migration)
{
	DIR *dir = opendir(migration->dir);
	const struct dirent *entry;

	if (dir == NULL) {
		ctl_complain("%s: %s", migration->dir, strerror(errno));
		return false;
	}
	while ((entry = readdir(dir)) != NULL &&
	    migration->count < FILES_MAX) {
		struct schema_file *file =
		    &migration->files[migration->count];

		file->version = version_of(entry->d_name);
		if (file->version == 0)
			continue;
		(void)snprintf(file->name, sizeof(file->name), "%s",
		    entry->d_name);
		migration->count++;
	}
	(void)closedir(dir);
	if (migration->count == 0) {
		ctl_complain("%s has no schema files (0001_name.sql)",
		    migration->dir);
		return false;
	}
	qsort(migration->files, migration->count,
	    sizeof(migration->files[0]), by_version);
	migration->newest = migration->files[migration->count - 1].version;
	return !has_gaps(migration);
}

/* Held until it is given back, or the server has noticed our end. */
static bool
take_lock(PGconn *conn)
{
	PGresult *result = ctl_pg_query(conn,
	    "SELECT pg_try_advisory_lock" LOCK_SQL, 0, NULL);
	bool got = false;

	if (ctl_pg_ok(result, "taking the lock")) {
		got = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
		if (!got) {
			(void)fputs("waiting for another migration\n",
			    stderr);
			got = ctl_pg_run(conn, "SELECT pg_advisory_lock" LOCK_SQL,
			    "waiting for the lock");
		}
	}
	PQclear(result);
	return got;
}

/* So that who comes next doesn't find it taken by one that is done. */
static bool
give_lock_back(PGconn *conn)
{
	return ctl_pg_run(conn, "SELECT pg_advisory_unlock" LOCK_SQL,
	    "giving the lock back");
}

static bool
has_table(PGconn *conn)
{
	PGresult *result = ctl_pg_query(conn, "SELECT"
	    " to_regclass('schema_migrations') IS NOT NULL", 0, NULL);
	const bool has = ctl_pg_ok(result, "looking for schema_migrations") &&
	    strcmp(PQgetvalue(result, 0, 0), "t") == 0;

	PQclear(result);
	return has;
}

/* Mark what the database has; false when it has more than we know. */
static bool
read_applied(struct migration *migration, PGconn *conn)
{
	PGresult *result;
	bool ok;

	if (!has_table(conn))
		return true;
	result = ctl_pg_query(conn, "SELECT version FROM schema_migrations"
	    " ORDER BY version", 0, NULL);
	ok = ctl_pg_ok(result, "reading schema_migrations");
	for (int row = 0; ok && row < PQntuples(result); row++) {
		const int64_t version = strtoll(PQgetvalue(result, row, 0),
		    NULL, 10);

		migration->at_start = version;
		if (version >= 1 && version <= migration->newest)
			migration->files[version - 1].applied = true;
	}
	PQclear(result);
	if (ok && migration->at_start > migration->newest) {
		ctl_complain("the database is at version %" PRId64 ", newer"
		    " than this program's %" PRId64 ": use a newer one",
		    migration->at_start, migration->newest);
		return false;
	}
	return ok;
}

/* The file's text, or NULL after a complaint. The caller frees it. */
static char *
read_file(const struct migration *migration, const char *name)
{
	char path[PATH_MAX + NAME_MAX + 2];
	char *text = malloc(FILE_MAX_BYTES + 1);
	size_t len = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", migration->dir, name);
	file = fopen(path, "re");
	if (file != NULL && text != NULL)
		len = fread(text, 1, FILE_MAX_BYTES + 1, file);
	if (file == NULL || text == NULL || ferror(file) ||
	    len > FILE_MAX_BYTES) {
		ctl_complain("%s: %s", path, len > FILE_MAX_BYTES
		    ? "too large" : strerror(errno));
		free(text);
		text = NULL;
	} else {
		text[len] = '\0';
	}
	if (file != NULL)
		(void)fclose(file);
	return text;
}

static bool
note_applied(PGconn *conn, const struct schema_file *file)
{
	char version[24];
	const char *const values[] = { version, file->name };
	PGresult *result;
	bool ok;

	(void)snprintf(version, sizeof(version), "%" PRId64, file->version);
	result = ctl_pg_query(conn, "INSERT INTO schema_migrations (version,"
	    " name) VALUES ($1::integer, $2)", 2, values);
	ok = ctl_pg_ok(result, file->name);
	PQclear(result);
	return ok;
}

static bool
apply(struct migration *migration, PGconn *conn,
    const struct schema_file *file)
{
	const int64_t start_us = clock_mono_us();
	char *text = read_file(migration, file->name);
	bool ok;

	if (text == NULL)
		return false;
	if (!migration->json) {
		(void)printf("applying %s … ", file->name);
		(void)fflush(stdout);
	}
	ok = ctl_pg_run(conn, "BEGIN", file->name) && ctl_pg_run(conn, text, file->name) &&
	    note_applied(conn, file) && ctl_pg_run(conn, "COMMIT", file->name);
	free(text);
	if (!ok) {
		PQclear(PQexec(conn, "ROLLBACK"));
		return false;
	}
	if (!migration->json)
		(void)printf("done in %" PRId64 " ms\n",
		    (clock_mono_us() - start_us) / 1000);
	return true;
}

static bool
apply_missing(struct migration *migration, PGconn *conn)
{
	if (!migration->dry_run && !has_table(conn) &&
	    !ctl_pg_run(conn, "CREATE TABLE schema_migrations ("
	            "version integer PRIMARY KEY, name text NOT NULL,"
	            " applied_at timestamptz NOT NULL DEFAULT now())",
	        "creating schema_migrations"))
		return false;
	for (size_t i = 0; i < migration->count; i++) {
		const struct schema_file *file = &migration->files[i];

		if (file->applied)
			continue;
		if (migration->dry_run && !migration->json)
			(void)printf("would apply %s\n", file->name);
		if (!migration->dry_run && !apply(migration, conn, file))
			return false;
		(void)cJSON_AddItemToArray(migration->done,
		    cJSON_CreateString(file->name));
	}
	return true;
}

static void
print_end(struct migration *migration)
{
	const int count = cJSON_GetArraySize(migration->done);
	cJSON *object;
	char *text;

	if (!migration->json) {
		if (count == 0)
			(void)printf("up to date at version %" PRId64 "\n",
			    migration->newest);
		else
			(void)printf("%s %d of %zu files: version %" PRId64
			    " → %" PRId64 "\n", migration->dry_run
			        ? "would apply" : "applied", count,
			    migration->count, migration->at_start,
			    migration->newest);
		return;
	}
	object = cJSON_CreateObject();
	(void)cJSON_AddNumberToObject(object, "from",
	    (double)migration->at_start);
	(void)cJSON_AddNumberToObject(object, "version", (double)
	    (migration->dry_run ? migration->at_start : migration->newest));
	(void)cJSON_AddItemToObject(object,
	    migration->dry_run ? "pending" : "applied",
	    cJSON_Duplicate(migration->done, 1));
	text = cJSON_Print(object);
	(void)puts(text != NULL ? text : "{}");
	cJSON_free(text);
	cJSON_Delete(object);
}

static bool
migrate(struct migration *migration, const struct ctl_context *context)
{
	PGconn *conn = ctl_pg_open(context);
	bool ok;

	if (conn == NULL)
		return false;
	ok = take_lock(conn) && read_applied(migration, conn) &&
	    apply_missing(migration, conn) && give_lock_back(conn);
	PQfinish(conn);
	if (ok)
		print_end(migration);
	return ok;
}

int
ctl_migrate(struct ctl_context *context, int argc, char **argv)
{
	struct migration migration = { .json = context->json };
	const char *dir = NULL;
	const struct ctl_option options[] = {
		{ "--dir", &dir, NULL },
		{ "--dry-run", NULL, &migration.dry_run },
	};
	bool ok = false;

	if (!ctl_take_args(argc, argv, 1, options, 2, NULL, 0))
		return CTL_USAGE;
	migration.files = calloc(FILES_MAX, sizeof(migration.files[0]));
	migration.done = cJSON_CreateArray();
	if (migration.files == NULL || migration.done == NULL)
		ctl_complain("out of memory");
	else
		ok = find_dir(&migration, dir) && read_dir(&migration) &&
		    migrate(&migration, context);
	free(migration.files);
	cJSON_Delete(migration.done);
	return ok ? CTL_OK : CTL_FAILED;
}
