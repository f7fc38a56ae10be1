/*
 * Both ends of the contract in child.h: packets on the control channel, the
 * child's arguments, its descriptors and doorbells. Knows no event loop.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The descriptors that were open when the arguments were parsed. A number
 * that wasn't may be anything later, for the kernel hands out the lowest.
 */
static bool given[CHILD_FD_END];

static const char *const role_names[CHILD_ROLE_COUNT] = {
	[CHILD_WORKER] = "worker",
	[CHILD_WEBHOOKD] = "webhookd",
	[CHILD_RECORDER] = "recorder",
};

const char *
child_role_name(enum child_role role)
{
	return role_names[role];
}

static int
message_error(void)
{
	switch (errno) {
	case EAGAIN:
	case ENOBUFS:
	case ETOOMANYREFS: /* too many descriptors are under way */
		return -KAP_AGAIN;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		return -KAP_GONE;
	default:
		return -KAP_IO;
	}
}

/* Room for one descriptor, aligned as the kernel wants it. */
union control_buffer {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int
child_message_send(int control_fd, const struct child_message *message, int fd)
{
	struct child_message copy = *message;
	struct iovec part = { &copy, sizeof(copy) };
	union control_buffer control = { .bytes = { 0 } };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t sent;

	copy.text[sizeof(copy.text) - 1] = '\0';
	if (fd >= 0) {
		struct cmsghdr *cmsg;

		header.msg_control = control.bytes;
		header.msg_controllen = sizeof(control.bytes);
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	do {
		sent = sendmsg(control_fd, &header,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? message_error() : 0;
}

/* The descriptor that came along, or -1. */
static int
take_descriptor(struct msghdr *header)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(header);
	int fd = -1;

	if (cmsg != NULL && cmsg->cmsg_level == SOL_SOCKET &&
	    cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

int
child_message_receive(int control_fd, struct child_message *message_out,
    int *fd_out)
{
	struct iovec part = { message_out, sizeof(*message_out) };
	union control_buffer control = { .bytes = { 0 } };
	/* the padding isn't offered: a second descriptor would fit there */
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t got;

	*fd_out = -1;
	do {
		got = recvmsg(control_fd, &header,
		    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return message_error();
	if (got == 0)
		return -KAP_GONE;
	*fd_out = take_descriptor(&header);
	if (got != (ssize_t)sizeof(*message_out) ||
	    (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		if (*fd_out >= 0)
			(void)close(*fd_out);
		*fd_out = -1;
		return -KAP_PROTO;
	}
	message_out->text[sizeof(message_out->text) - 1] = '\0';
	return 0;
}

void
child_bell_ring(unsigned bell)
{
	const uint64_t one = 1;
	ssize_t written;

	if (bell >= CHILD_BELL_COUNT || !child_has_fd(child_bell_fd(bell)))
		return;
	/* one that is full already rings as well as it can */
	written = write(child_bell_fd(bell), &one, sizeof(one));
	(void)written;
}

int
child_bell_fd(unsigned bell)
{
	return CHILD_FD_BELLS + (int)bell;
}

void
child_bell_clear(unsigned bell)
{
	uint64_t rings;
	ssize_t got;

	if (bell >= CHILD_BELL_COUNT || !child_has_fd(child_bell_fd(bell)))
		return;
	got = read(child_bell_fd(bell), &rings, sizeof(rings));
	(void)got; /* nothing to read: it is clear */
}

bool
child_has_fd(int fd)
{
	return fd >= CHILD_FD_CONFIG && fd < CHILD_FD_END && given[fd];
}

/* Note what was given; nothing of it is for processes that this one starts. */
static void
note_descriptors(void)
{
	for (int fd = CHILD_FD_CONFIG; fd < CHILD_FD_END; fd++) {
		const int flags = fcntl(fd, F_GETFD);

		given[fd] = flags >= 0 &&
		    fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == 0;
	}
}

static _Noreturn void
refuse_start(const char *name)
{
	(void)fprintf(stderr, "kaphila-%s is not started by hand: "
	    "kaphila-master starts it\n", name);
	exit(2);
}

/* A decimal number of at least `min`, and nothing behind it. */
static bool
parse_number(const char *text, long min, long max, long *number_out)
{
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*number_out = strtol(text, &end, 10);
	return errno == 0 && *end == '\0' && *number_out >= min &&
	    *number_out <= max;
}

static void
answer_questions(int argc, char **argv, const char *name)
{
	if (argc != 2)
		return;
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("kaphila-%s %s\n", name, KAPHILA_VERSION);
		exit(0);
	}
	if (strcmp(argv[1], "--help") == 0) {
		(void)printf("kaphila-%s: the %s process of Kaphila.\n"
		    "It is started by kaphila-master and takes its "
		    "configuration from there.\n\n"
		    "  --help     this text\n"
		    "  --version  the version\n", name, name);
		exit(0);
	}
}

void
child_parse_args(int argc, char **argv, enum child_role role,
    struct child_args *args_out)
{
	const char *name = child_role_name(role);
	const long last_slot = role == CHILD_WORKER ? CHILD_MAX_WORKERS - 1 : 0;
	long slot;
	long generation;
	long beside = 0;

	answer_questions(argc, argv, name);
	if ((argc != 6 && argc != 8) || strcmp(argv[1], "--child") != 0 ||
	    strcmp(argv[2], "--slot") != 0 ||
	    !parse_number(argv[3], 0, last_slot, &slot) ||
	    strcmp(argv[4], "--generation") != 0 ||
	    !parse_number(argv[5], 1, UINT32_MAX, &generation) ||
	    (argc == 8 && (strcmp(argv[6], "--beside") != 0 ||
	    !parse_number(argv[7], 1, UINT32_MAX, &beside))))
		refuse_start(name);
	note_descriptors();
	if (!child_has_fd(CHILD_FD_CONFIG) || !child_has_fd(CHILD_FD_CONTROL) ||
	    !child_has_fd(CHILD_FD_STATS))
		refuse_start(name);
	args_out->role = role;
	args_out->slot = (int)slot;
	args_out->generation = (uint32_t)generation;
	args_out->beside = (uint32_t)beside;
}
