/*
 * The file node.id in the store's folder. What is counted in the store
 * (charges against those posted to PostgreSQL) and what is live in it (call
 * ids, Stasis apps) is the node's that wrote it, so no other may go on with
 * it. Opens no LMDB.
 */
#include "master/store_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/log.h"

#define FILE_NAME "node.id"
#define FILE_MODE 0600
#define TEXT_SIZE 24 /* a 64-bit number, a line's end and a NUL */

/* 0; -KAP_NOENT where nobody was there before; -KAP_IO, with errno. */
static int
read_text(const char *path, char text[TEXT_SIZE])
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t len;
	int error;

	if (fd < 0)
		return errno == ENOENT ? -KAP_NOENT : -KAP_IO;
	len = read(fd, text, TEXT_SIZE - 1);
	error = errno;
	(void)close(fd);
	errno = error;
	text[len > 0 ? len : 0] = '\0';
	return len < 0 ? -KAP_IO : 0;
}

static int
write_whole(const char *path, const char *text)
{
	const int fd = open(path,
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	const size_t len = strlen(text);
	int rc;

	if (fd < 0)
		return -KAP_IO;
	rc = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0 ? 0 :
	    -KAP_IO;
	if (close(fd) != 0)
		rc = -KAP_IO;
	return rc;
}

/* A full disk is no reason not to start: it is noted the next time. */
static void
note_owner(const char *path, int64_t node)
{
	char temporary[PATH_MAX];
	char text[TEXT_SIZE];

	(void)snprintf(text, sizeof(text), "%" PRId64 "\n", node);
	if (snprintf(temporary, sizeof(temporary), "%s.tmp", path) <
	        (int)sizeof(temporary) &&
	    write_whole(temporary, text) == 0 &&
	    rename(temporary, path) == 0)
		return;
	log_warn("can't note whose store it is", LOG_S("file", path),
	    LOG_S("error", strerror(errno)));
	(void)unlink(temporary);
}

static int
compare_owner(const char *path, const char *text, int64_t node,
    struct kap_errmsg *msg)
{
	char *end;
	const long long owner = strtoll(text, &end, 10);

	if (end == text || strcmp(end, "\n") != 0) {
		kap_errmsg_set(msg, "%s doesn't tell a node; write the "
		    "node.id into it that this store was used with", path);
		return -KAP_CORRUPT;
	}
	if (owner == node)
		return 0;
	kap_errmsg_set(msg, "node.id is %" PRId64 ", and the store is node "
	    "%lld's (%s): set node.id back, or give this node a "
	    "node.data_dir of its own", node, owner, path);
	return -KAP_EXISTS;
}

int
store_owner_claim(const char *data_dir, int64_t node, struct kap_errmsg *msg)
{
	char path[PATH_MAX - 8]; /* and ".tmp" */
	char text[TEXT_SIZE];
	int rc;

	if (snprintf(path, sizeof(path), "%s/store/" FILE_NAME, data_dir) >=
	    (int)sizeof(path)) {
		kap_errmsg_set(msg, "node.data_dir is too long");
		return -KAP_TOOBIG;
	}
	rc = read_text(path, text);
	if (rc == 0)
		return compare_owner(path, text, node, msg);
	if (rc != -KAP_NOENT) {
		kap_errmsg_set(msg, "%s: %s", path, strerror(errno));
		return rc;
	}
	note_owner(path, node);
	return 0;
}
