/*
 * Addresses, their locks and their sockets. Resolves no names, accepts no
 * connection.
 */
#include "master/listeners.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/config.h"

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static int
parse_address(const char *listen, union address *address,
    socklen_t *len_out)
{
	char host[CONFIG_TEXT_MAX];
	uint16_t port;

	memset(address, 0, sizeof(*address));
	if (config_split_listen(listen, host, sizeof(host), &port) != 0)
		return -KAP_INVAL;
	if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
		address->v4.sin_family = AF_INET;
		address->v4.sin_port = htons(port);
		*len_out = sizeof(address->v4);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1) {
		address->v6.sin6_family = AF_INET6;
		address->v6.sin6_port = htons(port);
		*len_out = sizeof(address->v6);
		return 0;
	}
	return -KAP_INVAL;
}

bool
listener_is_loopback(const char *listen)
{
	union address address;
	socklen_t len;

	if (parse_address(listen, &address, &len) != 0)
		return false;
	if (address.any.sa_family == AF_INET)
		return (ntohl(address.v4.sin_addr.s_addr) >> 24) == 127;
	return IN6_IS_ADDR_LOOPBACK(&address.v6.sin6_addr);
}

static int
bind_error(const char *listen, struct kap_errmsg *msg)
{
	kap_errmsg_set(msg, "%s: %s", listen, strerror(errno));
	switch (errno) {
	case EADDRINUSE:
		return -KAP_EXISTS;
	case EACCES:
	case EPERM:
		return -KAP_DENIED;
	default:
		return -KAP_IO;
	}
}

/* A bound socket; `shared` is whether others may bind the address too. */
static int
open_bound(const char *listen, bool shared, int *fd_out,
    struct kap_errmsg *msg)
{
	const int on = 1;
	union address address;
	socklen_t len;
	int fd;
	int rc;

	if (parse_address(listen, &address, &len) != 0) {
		kap_errmsg_set(msg, "%s is not an address and a port; names "
		    "are not looked up", listen);
		return -KAP_INVAL;
	}
	fd = socket(address.any.sa_family,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return bind_error(listen, msg);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on,
	    sizeof(on)) != 0) ||
	    (address.any.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6,
	    IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
	    bind(fd, &address.any, len) != 0) {
		rc = bind_error(listen, msg);
		(void)close(fd);
		return rc;
	}
	*fd_out = fd;
	return 0;
}

int
listener_open(const char *listen_at, int *fd_out, struct kap_errmsg *msg)
{
	int fd;
	int rc = open_bound(listen_at, true, &fd, msg);

	if (rc != 0)
		return rc;
	if (listen(fd, BACKLOG) != 0) {
		rc = bind_error(listen_at, msg);
		(void)close(fd);
		return rc;
	}
	*fd_out = fd;
	return 0;
}

/* An abstract name: it lives in the network namespace, as the port does. */
static socklen_t
lock_name(const char *listen, struct sockaddr_un *name)
{
	int len;

	memset(name, 0, sizeof(*name));
	name->sun_family = AF_UNIX;
	len = snprintf(name->sun_path + 1, sizeof(name->sun_path) - 1,
	    "kaphila-listen-%.60s", listen);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
	    (size_t)len);
}

/* The process that holds a lock, or 0. */
static pid_t
lock_holder(const struct sockaddr_un *name, socklen_t len)
{
	const int fd = socket(AF_UNIX,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	if (fd < 0)
		return 0;
	if (connect(fd, (const struct sockaddr *)name, len) != 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		peer.pid = 0;
	(void)close(fd);
	return peer.pid;
}

int
listen_lock_take(struct listen_lock *lock, const char *listen_at,
    struct kap_errmsg *msg)
{
	struct sockaddr_un name;
	const socklen_t len = lock_name(listen_at, &name);
	int probe;
	int rc;

	/* a bind that isn't shared fails if anybody has the port */
	rc = open_bound(listen_at, false, &probe, msg);
	if (rc == 0)
		(void)close(probe);
	else if (rc != -KAP_EXISTS)
		return rc;
	lock->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (lock->fd < 0)
		return bind_error(listen_at, msg);
	if (bind(lock->fd, (const struct sockaddr *)&name, len) != 0) {
		const pid_t holder = lock_holder(&name, len);

		kap_errmsg_set(msg, "%s: another master (pid %d) listens "
		    "there", listen_at, (int)holder);
		rc = -KAP_EXISTS;
	} else if (listen(lock->fd, 0) != 0) {
		rc = bind_error(listen_at, msg);
	}
	if (rc != 0)
		listen_lock_release(lock);
	return rc;
}

void
listen_lock_release(struct listen_lock *lock)
{
	if (lock->fd >= 0)
		(void)close(lock->fd);
	lock->fd = -1;
}
