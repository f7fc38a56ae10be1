/*
 * posix_spawn, three pipes, and a pidfd that tells of the end. A process is
 * over for the caller when it has ended and its pipes are read to their end,
 * or to where they are empty: a grandchild that holds them open can't keep
 * anybody waiting. It never runs a shell and never interprets output.
 */
#include "subprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>

#define READ_STEP_BYTES 65536
#define ERRORS_STEPS_MAX 16 /* after its end: others may write on for ever */
#define NICE_LEVEL 5
#define CPU_SPARE_S 5 /* of processor time, beyond its deadline */
#define FILES_MAX 64
/* not 0: espeak-ng's sound library wants shared memory, though none is used */
#define FILE_MAX_BYTES (128UL << 20)
#define MEMORY_MAX_BYTES (2UL << 30)

enum pipe_index { PIPE_IN, PIPE_OUT, PIPE_ERR, PIPE_COUNT };

struct subprocess {
	struct subprocess_set *set;
	pid_t pid;
	int pid_fd;
	int fds[PIPE_COUNT]; /* our ends; -1: closed */
	struct event *events[PIPE_COUNT];
	struct event *ended;
	struct event *deadline;
	struct evbuffer *input;
	struct evbuffer *output;
	size_t output_max_bytes;
	char errors[SUBPROCESS_ERRORS_MAX + 1];
	size_t errors_len;
	int rc; /* why it was killed; 0: it wasn't */
	subprocess_finish_fn *finish; /* NULL: given up */
	void *arg;
	LIST_ENTRY(subprocess) link;
};

LIST_HEAD(subprocess_list, subprocess);

struct subprocess_set {
	struct event_base *base;
	struct subprocess_list running;
	unsigned count;
};

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void
close_pipe(struct subprocess *process, enum pipe_index i)
{
	if (process->events[i] != NULL)
		event_free(process->events[i]);
	process->events[i] = NULL;
	close_fd(&process->fds[i]);
}

static void
free_process(struct subprocess *process)
{
	for (int i = 0; i < PIPE_COUNT; i++)
		close_pipe(process, (enum pipe_index)i);
	if (process->ended != NULL)
		event_free(process->ended);
	if (process->deadline != NULL)
		event_free(process->deadline);
	close_fd(&process->pid_fd);
	if (process->input != NULL)
		evbuffer_free(process->input);
	if (process->output != NULL)
		evbuffer_free(process->output);
	free(process);
}

/* Its whole group: it leads one of its own. A reaped one's id isn't its own. */
static void
kill_process(struct subprocess *process, int rc)
{
	if (process->rc == 0)
		process->rc = rc;
	if (process->pid == 0)
		return;
	(void)kill(-process->pid, SIGKILL);
	(void)kill(process->pid, SIGKILL);
}

static void
on_input_writable(evutil_socket_t fd, short what KAP_UNUSED, void *arg)
{
	struct subprocess *process = arg;

	if (evbuffer_get_length(process->input) > 0) {
		if (evbuffer_write(process->input, fd) >= 0) {
			if (evbuffer_get_length(process->input) > 0)
				return;
		} else if (errno == EAGAIN || errno == EINTR) {
			return;
		}
	}
	/* all is written, or it reads no more, for it needs no more */
	close_pipe(process, PIPE_IN);
}

/* One read. False where there is nothing more for now. */
static bool
read_output(struct subprocess *process)
{
	const int got = evbuffer_read(process->output,
	    process->fds[PIPE_OUT], READ_STEP_BYTES);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		close_pipe(process, PIPE_OUT);
		return false;
	}
	if (evbuffer_get_length(process->output) > process->output_max_bytes) {
		kill_process(process, -KAP_TOOBIG);
		close_pipe(process, PIPE_OUT);
		return false;
	}
	return true;
}

/* Keeps the beginning, throws the rest away. */
static bool
read_errors(struct subprocess *process)
{
	char text[4096];
	const ssize_t got = read(process->fds[PIPE_ERR], text, sizeof(text));

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		close_pipe(process, PIPE_ERR);
		return false;
	}
	for (ssize_t i = 0; i < got; i++) {
		if (process->errors_len == SUBPROCESS_ERRORS_MAX)
			break;
		process->errors[process->errors_len++] =
		    text[i] >= ' ' && text[i] <= '~' ? text[i] : ' ';
	}
	return true;
}

static void
on_output_readable(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	(void)read_output(arg);
}

static void
on_errors_readable(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	(void)read_errors(arg);
}

static void
on_deadline(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	kill_process(arg, -KAP_TIMEOUT);
}

/* What a dead process left in its pipes; of its output all, to the bound. */
static void
read_rest(struct subprocess *process)
{
	while (process->fds[PIPE_OUT] >= 0 && read_output(process))
		continue;
	for (int i = 0; i < ERRORS_STEPS_MAX && process->fds[PIPE_ERR] >= 0;
	     i++)
		if (!read_errors(process))
			break;
}

/*
 * Reap it, and end what it may have left behind in its group. Returns its
 * exit status, or 128 and the signal.
 */
static int
reap(struct subprocess *process, int options)
{
	siginfo_t info = { .si_pid = 0 };

	(void)kill(-process->pid, SIGKILL);
	process->pid = 0;
	if (waitid(P_PIDFD, (id_t)process->pid_fd, &info,
	        WEXITED | options) != 0 || info.si_pid == 0)
		return -1;
	return info.si_code == CLD_EXITED ? info.si_status :
	    128 + info.si_status;
}

static void
on_ended(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	struct subprocess *process = arg;
	struct subprocess_result result = {
		.status = reap(process, WNOHANG),
		.errors = process->errors,
		.output = process->output,
	};

	LIST_REMOVE(process, link);
	process->set->count--;
	if (process->finish != NULL) {
		read_rest(process);
		result.rc = process->rc;
		if (result.rc == 0 && result.status != 0)
			result.rc = result.status < 0 ? -KAP_IO : -KAP_STATE;
		while (process->errors_len > 0 &&
		    process->errors[process->errors_len - 1] == ' ')
			process->errors[--process->errors_len] = '\0';
		process->finish(process->arg, &result);
	}
	free_process(process);
}

/* Limits are set from outside: nothing of ours runs in the child. */
static void
limit(pid_t pid, int64_t timeout_ms)
{
	const struct rlimit none = { 0, 0 };
	const struct rlimit file = { FILE_MAX_BYTES, FILE_MAX_BYTES };
	const struct rlimit files = { FILES_MAX, FILES_MAX };
	const struct rlimit memory = { MEMORY_MAX_BYTES, MEMORY_MAX_BYTES };
	const rlim_t cpu_s = (rlim_t)(timeout_ms / 1000 + CPU_SPARE_S);
	const struct rlimit cpu = { cpu_s, cpu_s };

	(void)prlimit(pid, RLIMIT_CORE, &none, NULL);
	(void)prlimit(pid, RLIMIT_FSIZE, &file, NULL);
	(void)prlimit(pid, RLIMIT_NOFILE, &files, NULL);
	(void)prlimit(pid, RLIMIT_AS, &memory, NULL);
	if (timeout_ms > 0)
		(void)prlimit(pid, RLIMIT_CPU, &cpu, NULL);
	(void)setpriority(PRIO_PROCESS, (id_t)pid, NICE_LEVEL);
}

static int
spawn_error(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return -KAP_NOENT;
	case EACCES:
	case EPERM:
	case ENOEXEC:
		return -KAP_DENIED;
	case ENOMEM:
		return -KAP_NOMEM;
	default:
		return -KAP_IO;
	}
}

/* theirs[i] becomes descriptor i; from 3 on there is none. */
static int
spawn_with(struct subprocess *process, const char *const *argv,
    const int theirs[PIPE_COUNT], posix_spawn_file_actions_t *actions,
    posix_spawnattr_t *attributes)
{
	/* a home in which nothing can be made, whoever runs it */
	static const char *const env[] = { "PATH=/usr/bin:/bin",
		"LC_ALL=C.UTF-8", "HOME=/dev/null", NULL };
	sigset_t signals;
	int rc = 0;

	for (int i = 0; rc == 0 && i < PIPE_COUNT; i++)
		rc = posix_spawn_file_actions_adddup2(actions, theirs[i], i);
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(actions,
		    PIPE_COUNT);
	(void)sigfillset(&signals);
	(void)posix_spawnattr_setsigdefault(attributes, &signals);
	(void)sigemptyset(&signals);
	(void)posix_spawnattr_setsigmask(attributes, &signals);
	(void)posix_spawnattr_setpgroup(attributes, 0);
	(void)posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF |
	    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	if (rc == 0) /* argv is not written to: POSIX only lacks the const */
		rc = posix_spawn(&process->pid, argv[0], actions, attributes,
		    (char *const *)(uintptr_t)argv,
		    (char *const *)(uintptr_t)env);
	return rc == 0 ? 0 : spawn_error(rc);
}

static int
spawn(struct subprocess *process, const char *const *argv,
    const int theirs[PIPE_COUNT])
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc = -KAP_NOMEM;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return rc;
	if (posix_spawnattr_init(&attributes) == 0) {
		rc = spawn_with(process, argv, theirs, &actions, &attributes);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return rc;
}

/*
 * A pair for one descriptor of the child's. Their end lies above 2, so that
 * no dup2 in the child overwrites one that is still needed.
 */
static int
open_pipe(struct subprocess *process, enum pipe_index i, int *theirs)
{
	const int ours_at = i == PIPE_IN ? 1 : 0;
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) != 0)
		return -KAP_IO;
	process->fds[i] = pair[ours_at];
	*theirs = fcntl(pair[1 - ours_at], F_DUPFD_CLOEXEC, PIPE_COUNT);
	(void)close(pair[1 - ours_at]);
	if (*theirs < 0 || fcntl(process->fds[i], F_SETFL, O_NONBLOCK) != 0)
		return -KAP_IO;
	return 0;
}

/* Everything that can fail for want of memory, before it is started. */
static int
prepare_events(struct subprocess *process,
    const struct subprocess_request *request)
{
	static const event_callback_fn callbacks[] = {
		[PIPE_IN] = on_input_writable,
		[PIPE_OUT] = on_output_readable,
		[PIPE_ERR] = on_errors_readable,
	};
	struct event_base *base = process->set->base;
	const struct timeval wait = { .tv_sec = request->timeout_ms / 1000,
		.tv_usec = request->timeout_ms % 1000 * 1000 };

	for (int i = 0; i < PIPE_COUNT; i++) {
		process->events[i] = event_new(base, process->fds[i],
		    (short)((i == PIPE_IN ? EV_WRITE : EV_READ) | EV_PERSIST),
		    callbacks[i], process);
		if (process->events[i] == NULL ||
		    event_add(process->events[i], NULL) != 0)
			return -KAP_NOMEM;
	}
	process->deadline = evtimer_new(base, on_deadline, process);
	process->ended = event_new(base, -1, 0, on_ended, process);
	if (process->deadline == NULL || process->ended == NULL ||
	    (request->timeout_ms > 0 &&
	    event_add(process->deadline, &wait) != 0))
		return -KAP_NOMEM;
	return 0;
}

/*
 * Watch for its end. It can't be reaped by anybody else meanwhile, so its pid
 * is its own still.
 */
static int
watch_end(struct subprocess *process)
{
	process->pid_fd = pidfd_open(process->pid, 0);
	if (process->pid_fd >= 0 &&
	    event_assign(process->ended, process->set->base, process->pid_fd,
	        EV_READ, on_ended, process) == 0 &&
	    event_add(process->ended, NULL) == 0)
		return 0;
	(void)kill(process->pid, SIGKILL);
	(void)waitpid(process->pid, NULL, 0);
	return -KAP_IO;
}

static int
start(struct subprocess *process, const struct subprocess_request *request)
{
	int theirs[PIPE_COUNT] = { -1, -1, -1 };
	int rc = 0;

	process->input = evbuffer_new();
	process->output = evbuffer_new();
	if (process->input == NULL || process->output == NULL)
		return -KAP_NOMEM;
	for (int i = 0; rc == 0 && i < PIPE_COUNT; i++)
		rc = open_pipe(process, (enum pipe_index)i, &theirs[i]);
	if (rc == 0)
		rc = prepare_events(process, request);
	if (rc == 0)
		rc = spawn(process, request->argv, theirs);
	for (int i = 0; i < PIPE_COUNT; i++)
		close_fd(&theirs[i]);
	if (rc != 0)
		return rc;
	limit(process->pid, request->timeout_ms);
	rc = watch_end(process);
	if (rc == 0 && request->input != NULL &&
	    evbuffer_add_buffer(process->input, request->input) != 0) {
		kill_process(process, -KAP_NOMEM);
		(void)reap(process, 0);
		rc = -KAP_NOMEM;
	}
	return rc;
}

int
subprocess_start(struct subprocess_set *set,
    const struct subprocess_request *request, struct subprocess **process_out)
{
	struct subprocess *process = calloc(1, sizeof(*process));
	int rc;

	if (process == NULL)
		return -KAP_NOMEM;
	process->set = set;
	process->pid_fd = -1;
	for (int i = 0; i < PIPE_COUNT; i++)
		process->fds[i] = -1;
	process->output_max_bytes = request->output_max_bytes;
	process->finish = request->finish;
	process->arg = request->arg;
	rc = start(process, request);
	if (rc != 0) {
		free_process(process);
		return rc;
	}
	LIST_INSERT_HEAD(&set->running, process, link);
	set->count++;
	if (process_out != NULL)
		*process_out = process;
	return 0;
}

void
subprocess_cancel(struct subprocess **process)
{
	struct subprocess *old = *process;

	*process = NULL;
	if (old == NULL)
		return;
	old->finish = NULL;
	kill_process(old, -KAP_GONE);
	for (int i = 0; i < PIPE_COUNT; i++)
		close_pipe(old, (enum pipe_index)i);
	(void)event_del(old->deadline);
}

unsigned
subprocess_count(const struct subprocess_set *set)
{
	return set->count;
}

struct subprocess_set *
subprocess_set_new(struct event_base *base)
{
	struct subprocess_set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return NULL;
	set->base = base;
	LIST_INIT(&set->running);
	return set;
}

void
subprocess_set_free(struct subprocess_set **set)
{
	struct subprocess_set *old = *set;
	struct subprocess *process;

	*set = NULL;
	if (old == NULL)
		return;
	while ((process = LIST_FIRST(&old->running)) != NULL) {
		LIST_REMOVE(process, link);
		kill_process(process, -KAP_GONE);
		(void)reap(process, 0);
		free_process(process);
	}
	free(old);
}
