/*
 * LMDB as the master sees it: an environment and its reader table. The store
 * itself is shared/store.c's; no transaction is begun here.
 */
#include "master/keep_env.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include "master/store_check.h"

#define MAX_TABLES 32
#define MAX_READERS 1024 /* for whoever comes first: this is the master */
#define FILE_MODE 0600
#define FOLDER_MODE 0700
#define MIB ((size_t)1024 * 1024)

struct keep_env {
	MDB_env *env;
	int lock_fd; /* the folder: two masters must never share it */
};

static int
fault(const char *path, int error, struct kap_errmsg *msg)
{
	kap_errmsg_set(msg, "%s: %s", path, mdb_strerror(error));
	switch (error) {
	case EACCES:
	case EPERM:
	case EROFS:
		return -KAP_DENIED;
	case ENOSPC:
	case EDQUOT:
		return -KAP_FULL;
	case ENOMEM:
		return -KAP_NOMEM;
	default:
		return -KAP_IO;
	}
}

/* map_size 0: as the file says. */
static int
open_env(const char *path, size_t map_size, MDB_env **env_out,
    struct kap_errmsg *msg)
{
	MDB_env *env;
	int error = mdb_env_create(&env);

	if (error != 0)
		return fault(path, error, msg);
	error = mdb_env_set_maxdbs(env, MAX_TABLES);
	if (error == 0)
		error = mdb_env_set_maxreaders(env, MAX_READERS);
	if (error == 0 && map_size != 0)
		error = mdb_env_set_mapsize(env, map_size);
	if (error == 0)
		error = mdb_env_open(env, path, MDB_NOTLS, FILE_MODE);
	if (error != 0) {
		mdb_env_close(env);
		return fault(path, error, msg);
	}
	*env_out = env;
	return 0;
}

static int
store_path(const char *data_dir, char path[PATH_MAX], struct kap_errmsg *msg)
{
	if (snprintf(path, PATH_MAX, "%s/store", data_dir) >= PATH_MAX) {
		kap_errmsg_set(msg, "node.data_dir is too long");
		return -KAP_IO;
	}
	return 0;
}

/* The lock goes with the master; children don't inherit it. */
static int
lock_folder(const char *path, int *fd_out, struct kap_errmsg *msg)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	if (fd < 0)
		return fault(path, errno, msg);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		*fd_out = fd;
		return 0;
	}
	error = errno;
	(void)close(fd);
	if (error != EWOULDBLOCK)
		return fault(path, error, msg);
	kap_errmsg_set(msg, "another master uses %s", path);
	return -KAP_EXISTS;
}

int
keep_env_open(struct keep_env **env_out, const char *data_dir,
    int64_t map_size_mb, struct kap_errmsg *msg)
{
	char path[PATH_MAX];
	struct keep_env *env;
	int rc = store_path(data_dir, path, msg);

	if (rc != 0)
		return rc;
	if (mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST)
		return fault(path, errno, msg);
	env = calloc(1, sizeof(*env));
	if (env == NULL)
		return fault(path, ENOMEM, msg);
	rc = lock_folder(path, &env->lock_fd, msg);
	if (rc != 0) {
		free(env);
		return rc;
	}
	rc = store_check(data_dir, map_size_mb, msg);
	if (rc == 0)
		rc = open_env(path, (size_t)map_size_mb * MIB, &env->env,
		    msg);
	if (rc != 0) {
		(void)close(env->lock_fd);
		free(env);
		return rc;
	}
	*env_out = env;
	return 0;
}

void
keep_env_close(struct keep_env **env)
{
	if (*env == NULL)
		return;
	mdb_env_close((*env)->env);
	(void)close((*env)->lock_fd);
	free(*env);
	*env = NULL;
}

int
keep_env_clear_readers(const char *data_dir, int *cleared_out,
    struct kap_errmsg *msg)
{
	char path[PATH_MAX];
	MDB_env *env;
	int error;
	int rc = store_path(data_dir, path, msg);

	if (rc != 0)
		return rc;
	rc = open_env(path, 0, &env, msg);
	if (rc != 0)
		return rc;
	*cleared_out = 0;
	error = mdb_reader_check(env, cleared_out);
	mdb_env_close(env);
	return error == 0 ? 0 : fault(path, error, msg);
}
