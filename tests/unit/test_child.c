/*
 * shared/child.c and shared/child_runtime.c, with master/spawn.c at the other
 * end: messages with and without descriptors, and a real child process, which
 * is this program started anew with the contract's arguments.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "master/config_memfd.h"
#include "master/spawn.h"
#include "shared/child.h"
#include "shared/child_runtime.h"
#include "shared/log.h"

#define WAIT_MS 20000 /* a bound for what must come, not a measure */

/* ---- messages ---- */

static void
make_channel(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
	    ends), 0);
}

static void
test_message(void **state KAP_UNUSED)
{
	const struct child_message sent = { .kind = CHILD_MSG_STOPPING,
		.generation = 7, .slot = -1, .text = "drained" };
	struct child_message got;
	int ends[2];
	int fd = 0;

	make_channel(ends);
	assert_int_equal(child_message_receive(ends[1], &got, &fd),
	    -KAP_AGAIN);
	assert_int_equal(fd, -1);
	assert_int_equal(child_message_send(ends[0], &sent, -1), 0);
	assert_int_equal(child_message_receive(ends[1], &got, &fd), 0);
	assert_memory_equal(&got, &sent, sizeof(sent));
	assert_int_equal(fd, -1);
	(void)close(ends[0]);
	assert_int_equal(child_message_receive(ends[1], &got, &fd),
	    -KAP_GONE);
	assert_int_equal(child_message_send(ends[1], &sent, -1), -KAP_GONE);
	(void)close(ends[1]);
}

static void
test_message_with_descriptor(void **state KAP_UNUSED)
{
	const struct child_message sent = { .kind = CHILD_MSG_EVENTS_FD };
	struct child_message got;
	int ends[2];
	int pipe_ends[2];
	int fd = -1;
	char byte = 0;

	make_channel(ends);
	assert_int_equal(pipe(pipe_ends), 0);
	assert_int_equal(child_message_send(ends[0], &sent, pipe_ends[1]), 0);
	assert_int_equal(child_message_receive(ends[1], &got, &fd), 0);
	assert_true(fd >= 0);
	assert_int_not_equal(fd, pipe_ends[1]);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipe_ends[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	/* what was sent is still the sender's */
	assert_int_equal(write(pipe_ends[1], "y", 1), 1);
	(void)close(fd);
	(void)close(pipe_ends[0]);
	(void)close(pipe_ends[1]);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void
test_message_of_another_size(void **state KAP_UNUSED)
{
	static const size_t sizes[] = { 1, sizeof(struct child_message) - 1,
		sizeof(struct child_message) + 1 };
	char packet[sizeof(struct child_message) + 1] = { 0 };
	struct child_message got;
	int ends[2];
	int fd;

	make_channel(ends);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(send(ends[0], packet, sizes[i], 0),
		    (ssize_t)sizes[i]);
		assert_int_equal(child_message_receive(ends[1], &got, &fd),
		    -KAP_PROTO);
		assert_int_equal(fd, -1);
	}
	assert_int_equal(child_message_receive(ends[1], &got, &fd),
	    -KAP_AGAIN);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static int
count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* None of two descriptors stays behind, and none is taken for the one. */
static void
test_message_with_two_descriptors(void **state KAP_UNUSED)
{
	struct child_message message = { .kind = CHILD_MSG_EVENTS_FD };
	struct iovec part = { &message, sizeof(message) };
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	const struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
	int ends[2];
	int open_before;
	int fd;

	make_channel(ends);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(ends));
	memcpy(CMSG_DATA(cmsg), ends, sizeof(ends));
	assert_int_equal(sendmsg(ends[0], &header, 0),
	    (ssize_t)sizeof(message));
	open_before = count_descriptors();
	assert_int_equal(child_message_receive(ends[1], &message, &fd),
	    -KAP_PROTO);
	assert_int_equal(fd, -1);
	assert_int_equal(count_descriptors(), open_before);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* Text from a peer always ends within its field. */
static void
test_message_text_is_bounded(void **state KAP_UNUSED)
{
	struct child_message sent = { .kind = CHILD_MSG_STOPPING };
	struct child_message got;
	int ends[2];
	int fd;

	memset(sent.text, 'x', sizeof(sent.text));
	make_channel(ends);
	assert_int_equal(send(ends[0], &sent, sizeof(sent), 0),
	    (ssize_t)sizeof(sent));
	assert_int_equal(child_message_receive(ends[1], &got, &fd), 0);
	assert_int_equal(strnlen(got.text, sizeof(got.text)),
	    sizeof(got.text) - 1);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* A child that doesn't read never blocks the master. */
static void
test_message_queue_is_full(void **state KAP_UNUSED)
{
	const struct child_message sent = { .kind = CHILD_MSG_DRAIN };
	struct child_message got;
	int ends[2];
	int fd;
	int rc = 0;
	int count = 0;

	make_channel(ends);
	while (rc == 0 && count < 100000) {
		rc = child_message_send(ends[0], &sent, -1);
		count++;
	}
	assert_int_equal(rc, -KAP_AGAIN);
	assert_int_equal(child_message_receive(ends[1], &got, &fd), 0);
	assert_int_equal(child_message_send(ends[0], &sent, -1), 0);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void
test_bell_indexes(void **state KAP_UNUSED)
{
	assert_int_equal(child_bell_of(CHILD_WEBHOOKD, 0), 0);
	assert_int_equal(child_bell_of(CHILD_RECORDER, 0), 1);
	assert_int_equal(child_bell_of(CHILD_WORKER, 0), 2);
	assert_int_equal(child_bell_of(CHILD_WORKER, 63),
	    CHILD_BELL_COUNT - 1);
	assert_int_equal(child_bell_fd(CHILD_BELL_COUNT - 1),
	    CHILD_FD_END - 1);
}

/* ---- a child of the test ---- */

static struct child_runtime runtime;

static void
say(const char *text)
{
	int rc = child_runtime_send(&runtime, CHILD_MSG_STOPPING, text, -1);

	if (rc != 0)
		fatal("can't say %s: %s", text, kap_strerror(rc));
}

static void
on_drain(void *ctx KAP_UNUSED, enum child_drain_reason reason)
{
	static const char *const words[] = { "asked", "signal", "gone" };

	if (reason == CHILD_DRAIN_MASTER_GONE) {
		/* nobody hears words now; the exit status tells */
		_exit(33);
	}
	child_runtime_leave(&runtime, words[reason]);
}

static void
on_bell(void *ctx KAP_UNUSED)
{
	say("bell");
}

static void
on_alone(void *ctx KAP_UNUSED)
{
	say("alone");
}

static void
on_message(void *ctx KAP_UNUSED, const struct child_message *message, int fd)
{
	const char byte = '!';

	if (message->kind == CHILD_MSG_READ)
		child_runtime_heed_bell(&runtime, true);
	if (message->kind == CHILD_MSG_STOP_READING) {
		child_runtime_heed_bell(&runtime, false);
		say("deaf");
	}
	if (message->kind == CHILD_MSG_LISTENER &&
	    write(fd, &byte, 1) == 1 && close(fd) == 0)
		say("wrote");
}

/* What the child finds at its start, in one line. */
static void
report(void)
{
	char text[116];
	int stray = 0;

	for (int fd = CHILD_FD_CONFIG; fd < 1024; fd++) {
		char path[64];
		char target[64] = "";

		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) > 0 &&
		    strstr(target, "stray") != NULL)
			stray++;
	}
	(void)snprintf(text, sizeof(text), "slot %d gen %u listen %d admin %d "
	    "stray %d id %d cloexec %d", runtime.args.slot,
	    runtime.args.generation, child_has_fd(CHILD_FD_LISTEN),
	    child_has_fd(CHILD_FD_ADMIN), stray,
	    (int)runtime.config.node.id,
	    (fcntl(CHILD_FD_LISTEN, F_GETFD) & FD_CLOEXEC) != 0);
	say(text);
}

static int
run_as_child(int argc, char **argv)
{
	static const struct child_callbacks callbacks = { .on_drain = on_drain,
		.on_bell = on_bell, .on_message = on_message,
		.on_alone = on_alone };

	child_runtime_init(&runtime, argc, argv, CHILD_WORKER, &callbacks,
	    NULL);
	report();
	child_runtime_ready(&runtime);
	child_runtime_loop(&runtime);
	child_runtime_deinit(&runtime);
	return 0;
}

/* ---- the test as its master ---- */

struct child {
	pid_t pid;
	int control; /* our end */
	int bell;
	int listener; /* the write end of the pipe that stands for it */
	int log;      /* memory file behind the child's standard error */
	struct stats_file *stats;
};

static int
make_stats(struct stats_file **stats_out)
{
	char path[] = "/tmp/kaphila-child-XXXXXX";
	const int made = mkstemp(path);
	int fd;

	assert_true(made >= 0);
	(void)close(made);
	fd = stats_create(path);
	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(stats_map(fd, stats_out), 0);
	return fd;
}

static int
make_config(void)
{
	struct config config;
	int fd;

	config_init(&config);
	config.node.id = 42;
	(void)snprintf(config.postgres.dsn, sizeof(config.postgres.dsn),
	    "host=/nowhere");
	(void)snprintf(config.auth.pepper, sizeof(config.auth.pepper),
	    "0123456789abcdef0123456789abcdef");
	fd = config_memfd_make(&config);
	assert_true(fd >= 0);
	return fd;
}

static void
spawn_child(struct child *child, const struct spawn_fds *fds, bool beside)
{
	char name[] = "kaphila-worker";
	char option[] = "--child";
	char slot[] = "--slot";
	char three[] = "3";
	char generation[] = "--generation";
	char nine[] = "9";
	char beside_option[] = "--beside";
	char eight[] = "8";
	char *const argv[] = { name, option, slot, three, generation, nine,
		beside ? beside_option : NULL, eight, NULL };
	const int saved = dup(STDERR_FILENO);

	child->log = memfd_create("log", MFD_CLOEXEC);
	assert_true(child->log >= 0);
	assert_true(dup2(child->log, STDERR_FILENO) >= 0);
	assert_int_equal(spawn_program("/proc/self/exe", argv, fds,
	    &child->pid), 0);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	(void)close(saved);
}

/* Generation 8 of the slot, as far as the statistics know. */
static void
set_predecessor(struct stats_file *stats, bool lives)
{
	struct stats_row *row =
	    &stats->rows[stats_row_index(CHILD_BELL_WORKER + 3, 8)];

	atomic_store(&row->generation, 8);
	atomic_store(&row->pid, lives ? 1 : 0);
}

static int
start_one(void **state, bool beside)
{
	static struct child child;
	struct spawn_fds fds;
	int ends[2];
	int strays[3];

	make_channel(ends);
	/* not close-on-exec: among the numbered ones, and above them */
	strays[0] = memfd_create("stray", 0);
	strays[1] = fcntl(strays[0], F_DUPFD, CHILD_FD_BELLS + 40);
	strays[2] = fcntl(strays[0], F_DUPFD, CHILD_FD_END + 200);
	assert_true(strays[1] >= 0 && strays[1] < CHILD_FD_END);
	assert_true(strays[2] >= CHILD_FD_END);
	spawn_fds_init(&fds);
	child.control = ends[0];
	child.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	child.listener = memfd_create("listener", MFD_CLOEXEC);
	fds.at[CHILD_FD_CONTROL] = ends[1];
	fds.at[CHILD_FD_CONFIG] = make_config();
	fds.at[CHILD_FD_STATS] = make_stats(&child.stats);
	fds.at[CHILD_FD_LISTEN] = child.listener;
	fds.at[CHILD_FD_BELLS + CHILD_BELL_WORKER + 3] = child.bell;
	set_predecessor(child.stats, beside);
	spawn_child(&child, &fds, beside);
	(void)close(ends[1]);
	for (int i = 0; i < 3; i++)
		(void)close(strays[i]);
	(void)close(fds.at[CHILD_FD_CONFIG]);
	(void)close(fds.at[CHILD_FD_STATS]);
	*state = &child;
	return 0;
}

static int
start_child(void **state)
{
	return start_one(state, false);
}

static int
start_child_beside(void **state)
{
	return start_one(state, true);
}

static int
end_child(void **state)
{
	struct child *child = *state;

	if (child->pid > 0) {
		(void)kill(child->pid, SIGKILL);
		(void)waitpid(child->pid, NULL, 0);
	}
	if (child->control >= 0)
		(void)close(child->control);
	(void)close(child->bell);
	(void)close(child->listener);
	(void)close(child->log);
	return munmap(child->stats, sizeof(*child->stats));
}

static void
expect_message(const struct child *child, enum child_message_kind kind,
    const char *text)
{
	struct pollfd poll_fd = { .fd = child->control, .events = POLLIN };
	struct child_message message;
	int fd;

	assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
	assert_int_equal(child_message_receive(child->control, &message, &fd),
	    0);
	assert_int_equal(message.kind, kind);
	assert_int_equal(message.generation, 9);
	assert_string_equal(message.text, text);
	assert_int_equal(fd, -1);
}

static void
expect_start(const struct child *child)
{
	expect_message(child, CHILD_MSG_STOPPING, "slot 3 gen 9 listen 1 "
	    "admin 0 stray 0 id 42 cloexec 1");
	expect_message(child, CHILD_MSG_READY, "");
}

static int
wait_for_end(struct child *child)
{
	int status = -1;

	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
	child->pid = 0;
	return status;
}

static void
send_message(const struct child *child, enum child_message_kind kind,
    uint32_t generation, int fd)
{
	const struct child_message message = { .kind = kind,
		.generation = generation, .slot = 1 };

	assert_int_equal(child_message_send(child->control, &message, fd), 0);
}

static void
test_child_starts_and_drains(void **state)
{
	struct child *child = *state;
	const struct stats_row *row =
	    &child->stats->rows[stats_row_index(CHILD_BELL_WORKER + 3, 9)];

	expect_start(child);
	assert_int_equal(row->pid, child->pid);
	assert_int_equal(row->generation, 9);
	assert_true(row->heartbeat_ms > 0);
	assert_int_equal(row->draining, 0);
	send_message(child, CHILD_MSG_DRAIN, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "asked");
	assert_int_equal(wait_for_end(child), 0);
	assert_int_equal(row->draining, 1);
}

static void
test_child_drains_by_signal(void **state)
{
	struct child *child = *state;

	expect_start(child);
	assert_int_equal(kill(child->pid, SIGINT), 0); /* not for it */
	assert_int_equal(kill(child->pid, SIGTERM), 0);
	expect_message(child, CHILD_MSG_STOPPING, "signal");
	assert_int_equal(wait_for_end(child), 0);
}

static void
test_child_notices_the_masters_death(void **state)
{
	struct child *child = *state;
	int status;

	expect_start(child);
	(void)close(child->control);
	child->control = -1;
	status = wait_for_end(child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 33);
}

static void
test_child_hears_its_bell(void **state)
{
	const uint64_t rings = 3;
	struct child *child = *state;
	uint64_t left;

	expect_start(child);
	assert_int_equal(write(child->bell, &rings, sizeof(rings)),
	    sizeof(rings));
	expect_message(child, CHILD_MSG_STOPPING, "bell");
	/* three rings, one look: it was cleared before */
	assert_int_equal(read(child->bell, &left, sizeof(left)), -1);
	assert_int_equal(errno, EAGAIN);
	send_message(child, CHILD_MSG_DRAIN, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "asked");
	assert_int_equal(wait_for_end(child), 0);
}

static void
ring_bell(const struct child *child)
{
	const uint64_t ring = 1;

	assert_int_equal(write(child->bell, &ring, sizeof(ring)),
	    sizeof(ring));
}

/* No message has come; the child's last one is older than what it was to
 * ignore. */
static void
expect_silence(const struct child *child)
{
	struct pollfd poll_fd = { .fd = child->control, .events = POLLIN };

	assert_int_equal(poll(&poll_fd, 1, 0), 0);
}

/* SIGHUP changes nothing in the child: it asks, and goes on. */
static void
test_child_asks_for_a_successor(void **state)
{
	struct child *child = *state;

	expect_start(child);
	assert_int_equal(kill(child->pid, SIGHUP), 0);
	expect_message(child, CHILD_MSG_RESTART, "");
	ring_bell(child);
	expect_message(child, CHILD_MSG_STOPPING, "bell");
	send_message(child, CHILD_MSG_DRAIN, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "asked");
	assert_int_equal(wait_for_end(child), 0);
}

/* A ring that it left alone is there for the other process of the slot. */
static void
test_child_leaves_rings_to_another(void **state)
{
	struct child *child = *state;
	uint64_t rings;

	expect_start(child);
	send_message(child, CHILD_MSG_STOP_READING, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "deaf");
	ring_bell(child);
	send_message(child, CHILD_MSG_STOP_READING, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "deaf");
	assert_int_equal(read(child->bell, &rings, sizeof(rings)),
	    sizeof(rings));
	ring_bell(child);
	send_message(child, CHILD_MSG_READ, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "bell");
}

/* It begins to listen when its predecessor is gone, and is told so once. */
static void
test_child_beside_another(void **state)
{
	struct child *child = *state;

	expect_start(child);
	ring_bell(child);
	send_message(child, CHILD_MSG_STOP_READING, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "deaf");
	expect_silence(child);
	set_predecessor(child->stats, false);
	expect_message(child, CHILD_MSG_STOPPING, "alone");
	expect_message(child, CHILD_MSG_STOPPING, "bell");
	set_predecessor(child->stats, true);
	set_predecessor(child->stats, false);
	send_message(child, CHILD_MSG_DRAIN, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "asked");
	assert_int_equal(wait_for_end(child), 0);
}

/* A message for a predecessor is void, and its descriptor is closed. */
static void
test_child_heeds_generations(void **state)
{
	struct child *child = *state;
	int ends[2];
	char byte;

	expect_start(child);
	assert_int_equal(pipe(ends), 0);
	send_message(child, CHILD_MSG_DRAIN, 8, -1);
	send_message(child, CHILD_MSG_LISTENER, 8, ends[1]);
	send_message(child, CHILD_MSG_LISTENER, 9, ends[1]);
	expect_message(child, CHILD_MSG_STOPPING, "wrote");
	(void)close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(read(ends[0], &byte, 1), 0); /* no copy is left */
	(void)close(ends[0]);
	send_message(child, CHILD_MSG_DRAIN, 9, -1);
	expect_message(child, CHILD_MSG_STOPPING, "asked");
	assert_int_equal(wait_for_end(child), 0);
}

static void
test_child_says_where_it_hung(void **state)
{
	const uint64_t ring = 1;
	struct child *child = *state;
	char text[8192];
	ssize_t len;
	int status;

	expect_start(child);
	/* it says that it is ready before its loop; it hears bells within */
	assert_int_equal(write(child->bell, &ring, sizeof(ring)),
	    sizeof(ring));
	expect_message(child, CHILD_MSG_STOPPING, "bell");
	assert_int_equal(kill(child->pid, SIGABRT), 0);
	status = wait_for_end(child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	len = pread(child->log, text, sizeof(text) - 1, 0);
	assert_true(len > 0);
	text[len] = '\0';
	assert_non_null(strstr(text, "aborted; the stack was:"));
	assert_non_null(strstr(text, "event_base_loop"));
}

/* ---- starts that are refused ---- */

static void
test_refused_starts(void **state KAP_UNUSED)
{
	static const struct {
		const char *name;
		const char *args[7]; /* behind argv[0] */
		int status;
	} cases[] = {
		{ "slot missing", { "--child", "--generation", "1" }, 2 },
		{ "slot too high",
		    { "--child", "--slot", "64", "--generation", "1" }, 2 },
		{ "slot negative",
		    { "--child", "--slot", "-1", "--generation", "1" }, 2 },
		{ "slot no number",
		    { "--child", "--slot", "1x", "--generation", "1" }, 2 },
		{ "generation 0",
		    { "--child", "--slot", "1", "--generation", "0" }, 2 },
		{ "generation too high", { "--child", "--slot", "1",
		    "--generation", "4294967296" }, 2 },
		{ "one argument too many", { "--child", "--slot", "1",
		    "--generation", "1", "x" }, 2 },
		{ "no descriptors",
		    { "--child", "--slot", "1", "--generation", "1" }, 2 },
		{ "help", { "--help" }, 0 },
		{ "version", { "--version" }, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const pid_t pid = fork();
		int status = -1;

		assert_true(pid >= 0);
		if (pid == 0) {
			const int null = open("/dev/null", O_WRONLY);
			char name[] = "child-of-test";
			char copies[7][32];
			char *argv[9] = { name };

			for (int n = 0; n < 7 && cases[i].args[n] != NULL;
			    n++) {
				(void)snprintf(copies[n], sizeof(copies[n]),
				    "%s", cases[i].args[n]);
				argv[n + 1] = copies[n];
			}
			(void)dup2(null, STDOUT_FILENO);
			(void)dup2(null, STDERR_FILENO);
			(void)close_range(3, ~0U, 0);
			(void)execv("/proc/self/exe", argv);
			_exit(99);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFEXITED(status) ||
		    WEXITSTATUS(status) != cases[i].status)
			fail_msg("%s: wait status %d", cases[i].name, status);
	}
}

/* ---- what the children's configuration comes in ---- */

static void
test_config_is_sealed(void **state KAP_UNUSED)
{
	const int fd = make_config();

	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 0), -1);
	(void)close(fd);
}

static void
test_program_that_is_not_there(void **state KAP_UNUSED)
{
	char name[] = "x";
	char *const argv[] = { name, NULL };
	struct spawn_fds fds;
	const int saved = dup(STDERR_FILENO);
	const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int status = -1;
	pid_t pid = 0;

	spawn_fds_init(&fds);
	(void)dup2(null, STDERR_FILENO);
	assert_int_equal(spawn_program("/nonexistent/x", argv, &fds, &pid),
	    0);
	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	(void)close(null);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 127);
}

static void
make_program(const char *folder, const char *sub, mode_t mode)
{
	char path[PATH_MAX];
	int fd;

	(void)snprintf(path, sizeof(path), "%s%s", folder, sub);
	(void)mkdir(path, 0700);
	(void)snprintf(path, sizeof(path), "%s%s/kaphila-recorder", folder,
	    sub);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
}

static void
remove_program(const char *folder, const char *sub)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s%s/kaphila-recorder", folder,
	    sub);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s%s", folder, sub);
	(void)rmdir(path);
}

/* Installed and in a build tree, and not what can't be executed. */
static void
test_find_program(void **state KAP_UNUSED)
{
	static const struct {
		const char *lies_in;
		mode_t mode;
		const char *bin_dir;
		int rc;
	} cases[] = {
		{ "/master", 0755, "/master", 0 },
		{ "/recorder", 0755, "/master", 0 },
		{ "/recorder", 0755, "", 0 },
		{ "/recorder", 0644, "/master", -KAP_NOENT },
		{ "/other", 0755, "/master", -KAP_NOENT },
	};
	char folder[] = "/tmp/kaphila-find-XXXXXX";
	char master[PATH_MAX];

	assert_non_null(mkdtemp(folder));
	(void)snprintf(master, sizeof(master), "%s/master", folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char bin_dir[PATH_MAX];
		char path[PATH_MAX];

		(void)mkdir(master, 0700);
		make_program(folder, cases[i].lies_in, cases[i].mode);
		(void)snprintf(bin_dir, sizeof(bin_dir), "%s%s", folder,
		    cases[i].bin_dir);
		assert_int_equal(spawn_find_program(bin_dir, CHILD_RECORDER,
		    path), cases[i].rc);
		if (cases[i].rc == 0)
			assert_int_equal(access(path, X_OK), 0);
		remove_program(folder, cases[i].lies_in);
	}
	(void)rmdir(master);
	assert_int_equal(rmdir(folder), 0);
}

#define WITH_CHILD(test) \
	cmocka_unit_test_setup_teardown(test, start_child, end_child)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_message_with_descriptor),
		cmocka_unit_test(test_message_of_another_size),
		cmocka_unit_test(test_message_with_two_descriptors),
		cmocka_unit_test(test_message_text_is_bounded),
		cmocka_unit_test(test_message_queue_is_full),
		cmocka_unit_test(test_bell_indexes),
		WITH_CHILD(test_child_starts_and_drains),
		WITH_CHILD(test_child_drains_by_signal),
		WITH_CHILD(test_child_notices_the_masters_death),
		WITH_CHILD(test_child_hears_its_bell),
		WITH_CHILD(test_child_asks_for_a_successor),
		WITH_CHILD(test_child_leaves_rings_to_another),
		cmocka_unit_test_setup_teardown(test_child_beside_another,
		    start_child_beside, end_child),
		WITH_CHILD(test_child_heeds_generations),
		WITH_CHILD(test_child_says_where_it_hung),
		cmocka_unit_test(test_refused_starts),
		cmocka_unit_test(test_config_is_sealed),
		cmocka_unit_test(test_program_that_is_not_there),
		cmocka_unit_test(test_find_program),
	};

	/* started anew, with arguments, this is a child */
	if (argc > 1)
		return run_as_child(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
