/*
 * The master's children as a whole, with real processes and listeners: this
 * program started anew plays the worker, webhookd and recorder, and does what
 * a file says (be slow, crash, not stop reading …). Everything that it is told
 * it writes into one log, whose order is what most of these tests look at.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "master/children.h"
#include "master/operation.h"
#include "master/reload.h"
#include "master/status.h"
#include "master/watchdog.h"
#include "shared/child_runtime.h"
#include "shared/clock.h"
#include "shared/log.h"

#define WAIT_MS 30000 /* a bound for what must come, not a measure */
#define DIR_ENV "KAPHILA_FAKE_DIR"
#define LOG_SIZE 65536

/* ---- a file of the test's folder ---- */

static void
path_in(char *out, const char *dir, const char *name)
{
	(void)snprintf(out, PATH_MAX, "%s/%s", dir, name);
}

static void
append_line(const char *dir, const char *line)
{
	char path[PATH_MAX];
	int fd;

	path_in(path, dir, "log");
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		abort();
	(void)close(fd);
}

static void
read_all(const char *dir, const char *name, char *out, size_t size)
{
	char path[PATH_MAX];
	ssize_t len = 0;
	int fd;

	path_in(path, dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, out, size - 1);
		(void)close(fd);
	}
	out[len > 0 ? len : 0] = '\0';
}

static bool
exists(const char *dir, const char *name)
{
	char path[PATH_MAX];

	path_in(path, dir, name);
	return access(path, F_OK) == 0;
}

/* ---- this program as a child ---- */

struct fake {
	struct child_runtime runtime;
	const char *dir;
	char script[64]; /* what is not as usual; may be empty */
	struct event *on_connect[CHILD_MAX_WORKERS];
	struct event *on_due;
	int sockets[CHILD_MAX_WORKERS];
};

static struct fake fake;

static void
say(const char *fmt, ...) KAP_PRINTF(1, 2);

static void
say(const char *fmt, ...)
{
	char words[128];
	char line[192];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(words, sizeof(words), fmt, args);
	va_end(args);
	(void)snprintf(line, sizeof(line), "%s.%d.%u %s\n",
	    child_role_name(fake.runtime.args.role), fake.runtime.args.slot,
	    fake.runtime.args.generation, words);
	append_line(fake.dir, line);
}

static bool
is_told_to(const char *word)
{
	return strstr(fake.script, word) != NULL;
}

static void
on_connect(evutil_socket_t fd, short what KAP_UNUSED, void *arg KAP_UNUSED)
{
	char answer[32];
	const int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (client < 0)
		return;
	(void)snprintf(answer, sizeof(answer), "%d.%u\n",
	    fake.runtime.args.slot, fake.runtime.args.generation);
	if (write(client, answer, strlen(answer)) < 0)
		say("no answer");
	(void)close(client);
}

static void
accept_from(int slot, int fd)
{
	if (fake.on_connect[slot] != NULL)
		return;
	fake.on_connect[slot] = event_new(fake.runtime.base, fd,
	    EV_READ | EV_PERSIST, on_connect, NULL);
	(void)event_add(fake.on_connect[slot], NULL);
}

static void
accept_no_more(int slot)
{
	if (fake.on_connect[slot] == NULL)
		return;
	(void)close(event_get_fd(fake.on_connect[slot]));
	event_free(fake.on_connect[slot]);
	fake.on_connect[slot] = NULL;
}

static void
begin_to_read(int slot, int fd)
{
	say("read %d%s", slot, fd >= 0 ? " +socket" : "");
	fake.sockets[slot] = fd;
	if (fd < 0) {
		fake.sockets[slot] = memfd_create("events", MFD_CLOEXEC);
		if (child_runtime_send_about(&fake.runtime,
		    CHILD_MSG_EVENTS_FD, slot, NULL, fake.sockets[slot]) != 0)
			say("no master");
	}
	if (slot == fake.runtime.args.slot)
		accept_from(slot, CHILD_FD_LISTEN);
}

static void
stop_reading(int slot)
{
	say("stop %d", slot);
	if (is_told_to("deaf"))
		return;
	if (fake.sockets[slot] > 0)
		(void)close(fake.sockets[slot]);
	fake.sockets[slot] = 0;
	if (child_runtime_send_about(&fake.runtime, CHILD_MSG_UNREAD, slot,
	    NULL, -1) != 0)
		say("no master");
}

static void
on_message(void *ctx KAP_UNUSED, const struct child_message *message, int fd)
{
	switch (message->kind) {
	case CHILD_MSG_READ:
		begin_to_read(message->slot, fd);
		return;
	case CHILD_MSG_STOP_READING:
		stop_reading(message->slot);
		break;
	case CHILD_MSG_LISTENER:
		say("borrow %d", message->slot);
		accept_from(message->slot, fd);
		return;
	case CHILD_MSG_LISTENER_DROP:
		say("give back %d", message->slot);
		accept_no_more(message->slot);
		break;
	default:
		say("message %u", message->kind);
		break;
	}
	if (fd >= 0)
		(void)close(fd);
}

static void
on_config(void *ctx KAP_UNUSED)
{
	say("config %d", (int)fake.runtime.config.calls.ring_timeout_s);
}

static void
on_drain(void *ctx KAP_UNUSED, enum child_drain_reason reason KAP_UNUSED)
{
	const struct timeval soon = { .tv_usec = 20000 };

	say("drain");
	for (int i = 0; i < CHILD_MAX_WORKERS; i++)
		accept_no_more(i);
	if (is_told_to("linger") && !exists(fake.dir, "release"))
		(void)event_add(fake.on_due, &soon);
	else
		child_runtime_leave(&fake.runtime, "drained");
}

static void
on_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg KAP_UNUSED)
{
	const struct timeval again = { .tv_usec = 20000 };

	if (fake.runtime.draining && exists(fake.dir, "release")) {
		child_runtime_leave(&fake.runtime, "drained");
		return;
	}
	if (!fake.runtime.draining && exists(fake.dir, "ready"))
		child_runtime_ready(&fake.runtime);
	else
		(void)event_add(fake.on_due, &again);
}

static int
check_readers(void)
{
	const char *dir = getenv(DIR_ENV);

	if (exists(dir, "bad check")) {
		append_line(dir, "check fails\n");
		return 1;
	}
	append_line(dir, "readers are checked\n");
	return 0;
}

static void
load_script(void)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%s.%d",
	    child_role_name(fake.runtime.args.role), fake.runtime.args.slot);
	read_all(fake.dir, name, fake.script, sizeof(fake.script));
}

static int
run_as_child(int argc, char **argv)
{
	static const struct child_callbacks callbacks = {
		.on_drain = on_drain, .on_message = on_message,
		.on_config = on_config };
	const char *name = strrchr(argv[0], '-');
	enum child_role role = CHILD_WORKER;

	for (int i = 0; i < CHILD_ROLE_COUNT; i++) {
		if (name != NULL && strcmp(name + 1,
		    child_role_name((enum child_role)i)) == 0)
			role = (enum child_role)i;
	}
	fake.dir = getenv(DIR_ENV);
	child_runtime_init(&fake.runtime, argc, argv, role, &callbacks, NULL);
	load_script();
	say("start%s%s", fake.runtime.args.beside != 0 ? " beside" : "",
	    is_told_to("exit") ? ", exits" : "");
	if (is_told_to("exit"))
		return 1;
	fake.on_due = event_new(fake.runtime.base, -1, 0, on_due, NULL);
	if (is_told_to("wait"))
		on_due(-1, 0, NULL);
	else
		child_runtime_ready(&fake.runtime);
	if (is_told_to("crash")) {
		/* not for a sanitizer to report */
		(void)signal(SIGSEGV, SIG_DFL);
		(void)raise(SIGSEGV);
	}
	child_runtime_loop(&fake.runtime);
	say("gone");
	_exit(0);
}

/* ---- the test as its master ---- */

struct world {
	char dir[64];
	struct config config;
	struct reload reload;
	struct event_base *base;
	struct event *on_tick;
	struct stats_file *stats;
	int stats_fd;
	int lock_fd;
	struct children children;
	struct watchdog watchdog;
	bool gone;
};

static struct world world;

static void
on_gone(void *ctx)
{
	struct world *w = ctx;

	w->gone = true;
}

static void
on_tick(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg KAP_UNUSED)
{
	/* wakes the loop, so that a condition is looked at again */
}

typedef bool condition(const void *arg);

static void
run_until(condition *holds, const void *arg, const char *what)
{
	const int64_t until_ms = clock_boot_ms() + WAIT_MS;

	while (!holds(arg)) {
		if (clock_boot_ms() > until_ms) {
			char log[LOG_SIZE];

			read_all(world.dir, "log", log, sizeof(log));
			fail_msg("waited in vain until %s; log:\n%s", what,
			    log);
		}
		(void)event_base_loop(world.base, EVLOOP_ONCE);
	}
}

static bool
log_has(const void *arg)
{
	char log[LOG_SIZE];

	read_all(world.dir, "log", log, sizeof(log));
	return strstr(log, arg) != NULL;
}

/* Until the log has this line; it is looked for from the beginning. */
static void
wait_log(const char *line)
{
	run_until(log_has, line, line);
}

/* Lines come into the log in this order, others between them or not. */
static void
expect_order(const char *const *lines, size_t count)
{
	char log[LOG_SIZE];
	const char *at = log;

	wait_log(lines[count - 1]);
	read_all(world.dir, "log", log, sizeof(log));
	for (size_t i = 0; i < count; i++) {
		at = strstr(at, lines[i]);
		if (at == NULL)
			fail_msg("'%s' is missing, or too early, in\n%s",
			    lines[i], log);
	}
}

#define EXPECT_ORDER(...) do { \
	static const char *const lines_[] = { __VA_ARGS__ }; \
	expect_order(lines_, sizeof(lines_) / sizeof(lines_[0])); \
} while (0)

static void
write_file(const char *name, const char *text)
{
	char path[PATH_MAX];
	int fd;

	path_in(path, world.dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

static struct slot *
worker(int number)
{
	return &world.children.slots[number]; /* workers come first */
}

static pid_t
pid_of(const struct slot *slot)
{
	return slot->current != NULL ? slot->current->pid : 0;
}

static bool
all_serve(const void *arg KAP_UNUSED)
{
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		const struct slot *slot = &world.children.slots[i];

		if (slot->active && (!children_serves(slot) ||
		    slot->leaving != NULL || slot->next != NULL))
			return false;
	}
	return true;
}

static void
wait_served(void)
{
	run_until(all_serve, NULL, "all slots serve");
}

static void
find_port(char *out)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len),
	    0);
	(void)close(fd);
	(void)snprintf(out, CONFIG_TEXT_MAX, "127.0.0.1:%u",
	    ntohs(address.sin_port));
}

static void
link_programs(void)
{
	char self[PATH_MAX];
	const ssize_t len = readlink("/proc/self/exe", self,
	    sizeof(self) - 1);

	assert_true(len > 0);
	self[len] = '\0';
	for (int i = 0; i < CHILD_ROLE_COUNT; i++) {
		char path[PATH_MAX];

		(void)snprintf(path, sizeof(path), "%s/kaphila-%s",
		    world.dir, child_role_name((enum child_role)i));
		assert_int_equal(symlink(self, path), 0);
	}
}

static void
make_config(int workers)
{
	struct config *config = &world.config;

	config_init(config);
	config->http.workers = workers;
	config->supervision.ready_timeout_s = 3;
	config->supervision.drain_timeout_s = 20;
	(void)snprintf(config->node.data_dir, CONFIG_TEXT_MAX, "%s",
	    world.dir);
	(void)snprintf(config->postgres.dsn, CONFIG_TEXT_MAX,
	    "host=/nowhere");
	(void)snprintf(config->auth.pepper, CONFIG_TEXT_MAX,
	    "0123456789abcdef0123456789abcdef");
	find_port(config->http.listen);
	find_port(config->admin.listen);
}

static void
make_stats(void)
{
	char path[PATH_MAX];

	path_in(path, world.dir, "stats.shm");
	world.stats_fd = stats_create(path);
	assert_true(world.stats_fd >= 0);
	assert_int_equal(stats_map(world.stats_fd, &world.stats), 0);
	path_in(path, world.dir, "lock");
	world.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(world.lock_fd >= 0);
}

static int
make_folder(void **state KAP_UNUSED)
{
	memset(&world, 0, sizeof(world));
	(void)snprintf(world.dir, sizeof(world.dir),
	    "/tmp/kaphila-children-XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	(void)setenv(DIR_ENV, world.dir, 1);
	link_programs();
	make_stats();
	return 0;
}

/* Start the children, after the scripts are written. */
static void
start(int workers)
{
	const struct timeval tick = { .tv_usec = 10000 };
	struct children_setup setup = { .config = &world.config,
		.bin_dir = world.dir, .lock_fd = world.lock_fd,
		.stats_fd = world.stats_fd, .stats = world.stats,
		.on_gone = on_gone, .ctx = &world };
	struct kap_errmsg msg = { .text = "" };

	make_config(workers);
	world.base = event_base_new();
	setup.base = world.base;
	assert_int_equal(children_init(&world.children, &setup, &msg), 0);
	assert_int_equal(watchdog_init(&world.watchdog, &world.children), 0);
	world.on_tick = event_new(world.base, -1, EV_PERSIST, on_tick, NULL);
	assert_int_equal(event_add(world.on_tick, &tick), 0);
	children_start(&world.children);
}

static bool
is_gone(const void *arg KAP_UNUSED)
{
	return world.gone;
}

static void
remove_files(void)
{
	DIR *dir = opendir(world.dir);
	const struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	}
	(void)closedir(dir);
	assert_int_equal(rmdir(world.dir), 0);
}

static int
remove_folder(void **state KAP_UNUSED)
{
	write_file("release", "");
	if (world.base != NULL) {
		children_drain(&world.children);
		run_until(is_gone, NULL, "all are gone");
		watchdog_deinit(&world.watchdog);
		children_deinit(&world.children);
		event_free(world.on_tick);
		event_base_free(world.base);
	}
	(void)munmap(world.stats, sizeof(*world.stats));
	(void)close(world.stats_fd);
	(void)close(world.lock_fd);
	remove_files();
	return 0;
}

/* ---- operations ---- */

static bool
is_done(const void *arg)
{
	const uint64_t *id = arg;
	cJSON *answer = operation_render(&world.children, *id);
	const bool done = cJSON_IsTrue(cJSON_GetObjectItem(answer, "done"));

	cJSON_Delete(answer);
	return done;
}

/* Until it is done; its error, empty if it didn't fail. */
static const char *
finish(uint64_t id)
{
	static char error[320];
	cJSON *answer;

	run_until(is_done, &id, "the operation is done");
	answer = operation_render(&world.children, id);
	(void)snprintf(error, sizeof(error), "%s", cJSON_GetStringValue(
	    cJSON_GetObjectItem(answer, "error")));
	assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(answer, "failed")),
	    error[0] != '\0');
	assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(answer,
	    "steps")) > 0);
	cJSON_Delete(answer);
	return error;
}

static uint64_t
begin_restart(const char *role, int slot)
{
	struct kap_errmsg msg = { .text = "" };
	uint64_t id = 0;

	if (operation_restart(&world.children, role, slot, &id, &msg) != 0)
		fail_msg("%s", msg.text);
	return id;
}

static uint64_t
begin_scale(unsigned workers)
{
	struct kap_errmsg msg = { .text = "" };
	uint64_t id = 0;

	if (operation_scale(&world.children, workers, &id, &msg) != 0)
		fail_msg("%s", msg.text);
	return id;
}

/* ---- connections, all the time ---- */

struct load {
	pid_t pid;
	int out; /* a line for each connect: who answered, or what failed */
};

static void
connect_once(const struct sockaddr_in *address, FILE *out)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[32] = "";

	if (fd < 0 || connect(fd, (const struct sockaddr *)address,
	    sizeof(*address)) != 0)
		(void)fprintf(out, "connect: %s\n", strerror(errno));
	else if (read(fd, answer, sizeof(answer) - 1) <= 0)
		(void)fprintf(out, "read: %s\n", strerror(errno));
	else
		(void)fputs(answer, out);
	(void)close(fd);
}

/* A process that connects, over and over, until it is killed. */
static void
start_load(struct load *load)
{
	char name[] = "load";
	int fd;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	load->out = fd;
	load->pid = fork();
	if (load->pid == 0) {
		struct sockaddr_in address = { .sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		FILE *out = fdopen(fd, "w");

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		address.sin_port = htons((uint16_t)strtol(
		    strrchr(world.config.http.listen, ':') + 1, NULL, 10));
		if (out == NULL)
			_exit(1);
		(void)setvbuf(out, NULL, _IOLBF, 0);
		for (;;) {
			connect_once(&address, out);
			(void)usleep(500);
		}
	}
	assert_true(load->pid > 0);
}

static bool
is_answered_by(const void *arg)
{
	const char *slots = arg; /* "0123": each of these answered */
	static char text[1 << 20];
	const struct load *load = (const void *)(slots + 8);
	const ssize_t len = pread(load->out, text, sizeof(text) - 1, 0);

	text[len > 0 ? len : 0] = '\0';
	for (; *slots != '\0'; slots++) {
		const char line[] = { '\n', *slots, '.', '\0' };

		if (strstr(text, line) == NULL)
			return false;
	}
	return true;
}

/* The load so far had no failed connect; it begins anew. */
static void
check_load(const struct load *load, const char *slots)
{
	struct {
		char slots[8];
		struct load load;
	} arg = { .load = *load };
	static char text[1 << 20];
	ssize_t len;

	(void)snprintf(arg.slots, sizeof(arg.slots), "%s", slots);
	run_until(is_answered_by, &arg, slots);
	len = pread(load->out, text, sizeof(text) - 1, 0);
	text[len > 0 ? len : 0] = '\0';
	if (strstr(text, "connect:") != NULL || strstr(text, "read:") != NULL)
		fail_msg("%s", strstr(text, "connect:") != NULL ?
		    strstr(text, "connect:") : strstr(text, "read:"));
}

static void
stop_load(struct load *load)
{
	(void)kill(load->pid, SIGKILL);
	(void)waitpid(load->pid, NULL, 0);
	(void)close(load->out);
}

/* ---- tests ---- */

static void
test_start(void **state KAP_UNUSED)
{
	start(2);
	wait_served();
	assert_int_equal(stats_row_index(worker(0)->bell, 1),
	    2 * worker(0)->bell + 1);
	assert_int_equal(atomic_load(&world.stats->node.workers), 2);
	wait_log("worker.0.1 read 0\n");
	wait_log("worker.1.1 read 1\n");
	assert_false(log_has("worker.0.1 read 1"));
	assert_false(log_has("worker.2.1"));
}

/* The order of shared/child.h, with the socket handed from one to the next. */
static void
test_planned_restart(void **state KAP_UNUSED)
{
	struct load load;
	pid_t before;

	start(2);
	wait_served();
	before = pid_of(worker(0));
	start_load(&load);
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	assert_int_not_equal(pid_of(worker(0)), before);
	wait_served();
	check_load(&load, "01");
	stop_load(&load);
	wait_log("worker.0.1 gone");
	EXPECT_ORDER("worker.0.1 read 0\n", "worker.0.2 start beside",
	    "worker.0.1 stop 0\n", "worker.0.2 read 0 +socket\n");
	EXPECT_ORDER("worker.0.1 stop 0\n", "worker.0.1 drain\n",
	    "worker.0.1 gone\n");
	assert_int_equal(worker(0)->planned, 1);
	assert_false(log_has("worker.1.2"));
	assert_int_equal(atomic_load(&world.stats->rows[stats_row_index(
	    worker(0)->bell, 1)].pid), 0);
	assert_int_equal(atomic_load(&world.stats->rows[stats_row_index(
	    worker(0)->bell, 2)].pid), pid_of(worker(0)));
}

static void
test_hangup_asks_for_a_successor(void **state KAP_UNUSED)
{
	start(1);
	wait_served();
	assert_int_equal(kill(pid_of(worker(0)), SIGHUP), 0);
	wait_log("worker.0.2 read 0 +socket\n");
	wait_log("worker.0.1 gone\n");
	EXPECT_ORDER("worker.0.2 start beside", "worker.0.1 stop 0\n",
	    "worker.0.2 read 0 +socket\n");
}

/* A successor that does this fails so, and the old one goes on. */
static void
expect_failed_restart(const char *behaviour, const char *error)
{
	pid_t before;

	start(1);
	wait_served();
	before = pid_of(worker(0));
	write_file("worker.0", behaviour);
	assert_string_equal(finish(begin_restart("worker", 0)), error);
	assert_int_equal(pid_of(worker(0)), before);
	assert_true(children_serves(worker(0)));
	assert_false(log_has("worker.0.1 stop"));
}

static void
test_successor_that_does_not_start(void **state KAP_UNUSED)
{
	expect_failed_restart("exit", "worker 0: did not start: ended with "
	    "status 1; its log tells why");
	/* the generation that failed is spent, and its place is free again */
	write_file("worker.0", "");
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	wait_log("worker.0.4 read 0 +socket\n");
}

static void
test_successor_that_is_never_ready(void **state KAP_UNUSED)
{
	expect_failed_restart("wait", "worker 0: killed by the watchdog: not "
	    "ready within 3 s");
}

/* It is ended, and then the successor reads: events may not stand still. */
static void
test_old_one_that_does_not_stop_reading(void **state KAP_UNUSED)
{
	write_file("worker.0", "deaf, linger");
	start(1);
	wait_served();
	write_file("worker.0", "");
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	assert_string_equal(worker(0)->last_exit, "killed by the watchdog: "
	    "did not stop reading its events within 5 s");
	EXPECT_ORDER("worker.0.1 stop 0\n", "worker.0.2 read 0 +socket\n");
	assert_null(worker(0)->leaving);
}

/* The successor isn't ready yet: it reads at once, as an ordinary child. */
static void
test_old_one_dies_meanwhile(void **state KAP_UNUSED)
{
	uint64_t id;

	start(1);
	wait_served();
	write_file("worker.0", "wait");
	id = begin_restart("worker", 0);
	wait_log("worker.0.2 start beside");
	assert_false(log_has("worker.0.2 read"));
	assert_int_equal(kill(pid_of(worker(0)), SIGKILL), 0);
	wait_log("worker.0.2 read 0 +socket\n");
	write_file("ready", "");
	assert_string_equal(finish(id), "");
	wait_served();
	assert_false(log_has("worker.0.3"));
	assert_int_equal(worker(0)->starts, 2);
}

/* The old one still leaves: the next one is started beside it, too. */
static void
test_successor_dies_while_the_old_one_leaves(void **state KAP_UNUSED)
{
	uint32_t leaving;

	write_file("worker.0", "linger");
	start(1);
	wait_served();
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	leaving = worker(0)->leaving->generation;
	assert_int_equal(leaving, 1);
	assert_int_equal(kill(pid_of(worker(0)), SIGKILL), 0);
	/* not generation 3, whose statistics row the first one still has */
	wait_log("worker.0.4 start beside");
	wait_log("worker.0.4 read 0 +socket\n");
	assert_false(log_has("worker.0.3"));
	assert_non_null(worker(0)->leaving);
	write_file("release", "");
	wait_served();
}

/* A second restart waits until the first one's old process is gone. */
static void
test_restarts_in_a_row(void **state KAP_UNUSED)
{
	uint64_t id;

	write_file("worker.0", "linger");
	start(1);
	wait_served();
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	id = begin_restart("worker", 0);
	for (int i = 0; i < 20; i++)
		(void)event_base_loop(world.base, EVLOOP_ONCE);
	assert_false(log_has("worker.0.3"));
	write_file("release", "");
	assert_string_equal(finish(id), "");
	wait_log("worker.0.3 read 0 +socket\n");
	EXPECT_ORDER("worker.0.1 gone\n", "worker.0.3 start beside");
}

static void
test_restart_of_all(void **state KAP_UNUSED)
{
	struct kap_errmsg msg;
	uint64_t other;
	uint64_t id;

	start(2);
	wait_served();
	id = begin_restart("all", -1);
	assert_int_equal(operation_restart(&world.children, "recorder", -1,
	    &other, &msg), -KAP_EXISTS);
	assert_non_null(strstr(msg.text, "restart all is under way"));
	assert_int_equal(operation_scale(&world.children, 3, &other, &msg),
	    -KAP_EXISTS);
	assert_string_equal(finish(id), "");
	wait_served();
	EXPECT_ORDER("worker.0.2 start beside", "worker.0.2 read 0 +socket\n",
	    "worker.1.2 start beside", "worker.1.2 read 1 +socket\n",
	    "recorder.0.2 start beside", "webhookd.0.2 start beside");
	assert_int_equal(worker(1)->planned, 1);
}

static void
test_restart_of_all_stops_at_a_failure(void **state KAP_UNUSED)
{
	start(3);
	wait_served();
	write_file("worker.1", "exit");
	assert_string_equal(finish(begin_restart("worker", -1)), "worker 1: "
	    "did not start: ended with status 1; its log tells why");
	assert_true(log_has("worker.0.2 read 0 +socket\n"));
	assert_false(log_has("worker.2.2"));
	wait_served();
}

static void
test_refused_operations(void **state KAP_UNUSED)
{
	static const struct {
		const char *role; /* NULL: scale */
		int slot;         /* or the number of workers */
		int rc;
		const char *words;
	} cases[] = {
		{ "worker", 2, -KAP_NOENT, "there is no worker 2" },
		{ "recorder", 1, -KAP_NOENT, "there is no recorder 1" },
		{ "carpenter", -1, -KAP_INVAL,
		    "there is no role 'carpenter'" },
		{ "all", 0, -KAP_INVAL, "all of them have no number" },
		{ NULL, 0, -KAP_INVAL, "the number of workers is 1 to 64" },
		{ NULL, 65, -KAP_INVAL, "the number of workers is 1 to 64" },
		{ NULL, 2, -KAP_EXISTS, "there are 2 workers already" },
	};

	start(2);
	wait_served();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kap_errmsg msg = { .text = "" };
		uint64_t id = 0;

		assert_int_equal(cases[i].role != NULL ?
		    operation_restart(&world.children, cases[i].role,
		        cases[i].slot, &id, &msg) :
		    operation_scale(&world.children, (unsigned)cases[i].slot,
		        &id, &msg), cases[i].rc);
		assert_string_equal(msg.text, cases[i].words);
	}
	assert_null(operation_render(&world.children, 0));
	assert_null(operation_render(&world.children, 1));
}

/* The last eight are kept, also beside one that is under way. */
static void
test_operations_are_forgotten(void **state KAP_UNUSED)
{
	uint64_t first = 0;

	start(1);
	wait_served();
	for (int i = 0; i <= OPERATIONS_KEPT; i++) {
		const uint64_t id = begin_restart("recorder", 0);

		if (i == 0)
			first = id;
		assert_string_equal(finish(id), "");
		wait_served();
	}
	assert_null(operation_render(&world.children, first));
	assert_true(is_done(&(uint64_t){ first + 1 }));
}

static bool
backs_off(const void *arg)
{
	const struct slot *slot = arg;

	return slot->current == NULL && slot->next_start_ms != 0;
}

/* Nobody has to wait for the end of a back-off. */
static void
test_restart_of_a_slot_that_backs_off(void **state KAP_UNUSED)
{
	write_file("worker.0", "exit");
	start(2);
	run_until(backs_off, worker(0), "worker 0 backs off");
	assert_string_equal(slot_state_name(worker(0)), "backoff");
	write_file("worker.0", "");
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	assert_int_equal(worker(0)->failures, 0);
	wait_log("worker.0.2 read 0\n");
}

static bool
is_looping(const void *arg)
{
	const struct slot *slot = arg;

	return slot->loop.is_loop;
}

/* The program crashes as soon as it is ready; the others don't mind. */
static void
test_crash_loop(void **state KAP_UNUSED)
{
	const struct status_about about = { .reload = &world.reload,
		.config_path = "" };
	cJSON *status;
	char *text;

	write_file("worker.1", "crash");
	start(2);
	run_until(is_looping, worker(1), "the loop is told");
	assert_true(worker(1)->loop.deaths == SUPERVISE_LOOP_DEATHS);
	assert_true(children_serves(worker(0)));
	status = status_render(&world.children, &about);
	text = cJSON_PrintUnformatted(status);
	assert_non_null(strstr(text, "\"crashLoop\":true"));
	assert_non_null(strstr(text, "worker 1 crashed 5 times in "));
	assert_non_null(strstr(text, "(SIGSEGV); next start in "));
	cJSON_free(text);
	cJSON_Delete(status);
	/* its listener is a neighbour's meanwhile */
	wait_log("worker.0.1 borrow 1\n");
	write_file("worker.1", "");
	assert_string_equal(finish(begin_restart("worker", 1)), "");
	wait_log("worker.0.1 give back 1\n");
}

/* What it left in the store would pin pages until the next death. */
static void
test_failed_reader_check_is_run_again(void **state KAP_UNUSED)
{
	char path[PATH_MAX];

	start(1);
	wait_served();
	write_file("bad check", "");
	assert_int_equal(kill(pid_of(worker(0)), SIGKILL), 0);
	wait_log("check fails\n");
	path_in(path, world.dir, "bad check");
	assert_int_equal(unlink(path), 0);
	wait_log("worker.0.2 read 0");
	EXPECT_ORDER("check fails\n", "readers are checked\n");
	assert_false(log_has("worker.0.3 start"));
}

static void
test_config_and_pause(void **state KAP_UNUSED)
{
	struct config other;

	start(1);
	wait_served();
	children_set_paused(&world.children, true);
	assert_int_equal(atomic_load(&world.stats->node.paused), 1);
	children_set_paused(&world.children, false);
	assert_int_equal(atomic_load(&world.stats->node.paused), 0);
	other = world.config;
	other.calls.ring_timeout_s = 77;
	children_set_config(&world.children, &other);
	wait_log("worker.0.1 config 77\n");
	wait_log("recorder.0.1 config 77\n");
	wait_log("webhookd.0.1 config 77\n");
	children_set_config(&world.children, &world.config);
	wait_log("worker.0.1 config 30\n");
}

/* Two of a slot, one not ready: all leave. */
static void
test_drain_with_a_successor_under_way(void **state KAP_UNUSED)
{
	uint64_t id;

	start(1);
	wait_served();
	write_file("worker.0", "wait");
	id = begin_restart("worker", 0);
	wait_log("worker.0.2 start beside");
	children_drain(&world.children);
	assert_string_equal(finish(id), "the master stops");
	run_until(is_gone, NULL, "all are gone");
	wait_log("worker.0.1 gone\n");
	EXPECT_ORDER("worker.0.2 drain\n", "recorder.0.1 drain\n");
}

/* ---- scaling ---- */

static void
test_scaling(void **state KAP_UNUSED)
{
	struct load load;
	uint64_t id;

	start(2);
	wait_served();
	start_load(&load);
	id = begin_scale(4);
	assert_int_equal(atomic_load(&world.stats->node.workers), 2);
	assert_string_equal(finish(id), "");
	assert_int_equal(atomic_load(&world.stats->node.workers), 4);
	wait_served();
	check_load(&load, "0123");
	wait_log("worker.3.1 read 3\n");
	stop_load(&load);

	start_load(&load);
	assert_string_equal(finish(begin_scale(1)), "");
	assert_int_equal(atomic_load(&world.stats->node.workers), 1);
	wait_served();
	check_load(&load, "0");
	EXPECT_ORDER("worker.1.1 stop 1\n", "worker.1.1 drain\n");
	EXPECT_ORDER("worker.3.1 stop 3\n", "worker.0.1 read 3 +socket\n");
	EXPECT_ORDER("worker.1.1 stop 1\n", "worker.0.1 read 1 +socket\n");
	assert_false(worker(1)->active || slot_has_process(worker(1)));
	assert_int_equal(worker(1)->listen_fd, -1);
	stop_load(&load);

	/* back: the kept socket comes back to its own slot */
	start_load(&load);
	assert_string_equal(finish(begin_scale(2)), "");
	wait_served();
	check_load(&load, "01");
	EXPECT_ORDER("worker.0.1 stop 1\n", "worker.1.2 read 1 +socket\n");
	stop_load(&load);
}

/* The reader of an adopted stream dies: its successor reads it, too. */
static void
test_adopted_streams_outlive_their_reader(void **state KAP_UNUSED)
{
	start(2);
	wait_served();
	assert_string_equal(finish(begin_scale(1)), "");
	wait_log("worker.0.1 read 1 +socket\n");
	assert_int_equal(kill(pid_of(worker(0)), SIGKILL), 0);
	wait_log("worker.0.2 read 1 +socket\n");
	wait_served();
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	wait_log("worker.0.3 read 1 +socket\n");
	EXPECT_ORDER("worker.0.2 stop 1\n", "worker.0.3 read 1 +socket\n");
}

static void
test_scaling_that_fails(void **state KAP_UNUSED)
{
	struct load load;

	write_file("worker.2", "exit");
	start(1);
	wait_served();
	start_load(&load);
	assert_string_equal(finish(begin_scale(4)), "worker 2: did not "
	    "start: ended with status 1; its log tells why");
	assert_int_equal(atomic_load(&world.stats->node.workers), 1);
	assert_false(worker(1)->active || slot_has_process(worker(1)));
	assert_int_equal(worker(3)->listen_fd, -1);
	wait_served();
	check_load(&load, "0");
	stop_load(&load);
	assert_false(log_has("worker.1.1 read"));
	/* and it may be tried again */
	write_file("worker.2", "");
	assert_string_equal(finish(begin_scale(3)), "");
	wait_served();
}

/* Where the kernel doesn't steer, a neighbour has the listener for good. */
static void
test_scaling_without_steering(void **state KAP_UNUSED)
{
	const int other = memfd_create("no listener", MFD_CLOEXEC);
	struct load load;

	start(1);
	wait_served();
	assert_true(dup2(other, worker(0)->admin_fd) >= 0);
	(void)close(other);
	start_load(&load);
	assert_string_equal(finish(begin_scale(3)), "");
	wait_served();
	check_load(&load, "012");
	assert_string_equal(finish(begin_scale(1)), "");
	wait_log("worker.0.1 borrow 1\n");
	wait_log("worker.0.1 borrow 2\n");
	assert_true(worker(1)->listen_fd >= 0 && worker(1)->admin_fd < 0);
	stop_load(&load);
	start_load(&load);
	check_load(&load, "0");
	/* the borrower's successor borrows too */
	assert_string_equal(finish(begin_restart("worker", 0)), "");
	wait_log("worker.0.2 borrow 1\n");
	assert_string_equal(finish(begin_scale(2)), "");
	wait_log("worker.0.2 give back 1\n");
	check_load(&load, "01");
	stop_load(&load);
}

/* Take every descriptor but `left`; returns how many `out` has. */
static size_t
take_descriptors(int *out, size_t size, size_t left)
{
	size_t count = 0;

	while (count < size && (out[count] = dup(STDERR_FILENO)) >= 0)
		count++;
	assert_int_equal(errno, EMFILE);
	while (left-- > 0)
		(void)close(out[--count]);
	return count;
}

/* An admin listener that nobody serves would take its share of connects. */
static void
test_scaling_without_listeners(void **state KAP_UNUSED)
{
	static int taken[512];
	const int other = memfd_create("no listener", MFD_CLOEXEC);
	struct kap_errmsg msg = { .text = "" };
	struct rlimit before;
	struct rlimit few;
	uint64_t id;
	size_t count;

	start(1);
	wait_served();
	assert_true(dup2(other, worker(0)->admin_fd) >= 0);
	(void)close(other);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 512;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	count = take_descriptors(taken, 512, 3); /* of the 4 it would take */
	assert_int_equal(operation_scale(&world.children, 3, &id, &msg),
	    -KAP_IO);
	while (count > 0)
		(void)close(taken[--count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(worker(1)->admin_fd, -1);
	assert_int_equal(worker(2)->admin_fd, -1);
	wait_log("worker.0.1 borrow 1\n");
	assert_string_equal(finish(begin_scale(3)), "");
	wait_served();
}

#define IN_WORLD(test) \
	cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		IN_WORLD(test_start),
		IN_WORLD(test_planned_restart),
		IN_WORLD(test_hangup_asks_for_a_successor),
		IN_WORLD(test_successor_that_does_not_start),
		IN_WORLD(test_successor_that_is_never_ready),
		IN_WORLD(test_old_one_that_does_not_stop_reading),
		IN_WORLD(test_old_one_dies_meanwhile),
		IN_WORLD(test_successor_dies_while_the_old_one_leaves),
		IN_WORLD(test_restarts_in_a_row),
		IN_WORLD(test_restart_of_all),
		IN_WORLD(test_restart_of_all_stops_at_a_failure),
		IN_WORLD(test_refused_operations),
		IN_WORLD(test_operations_are_forgotten),
		IN_WORLD(test_restart_of_a_slot_that_backs_off),
		IN_WORLD(test_crash_loop),
		IN_WORLD(test_failed_reader_check_is_run_again),
		IN_WORLD(test_config_and_pause),
		IN_WORLD(test_drain_with_a_successor_under_way),
		IN_WORLD(test_scaling),
		IN_WORLD(test_adopted_streams_outlive_their_reader),
		IN_WORLD(test_scaling_that_fails),
		IN_WORLD(test_scaling_without_steering),
		IN_WORLD(test_scaling_without_listeners),
	};

	/* the reader check, for a store that isn't there */
	if (argc > 1 && strcmp(argv[1], READER_CHECK_OPTION) == 0)
		return check_readers();
	/* started anew, with other arguments, this is a child */
	if (argc > 1)
		return run_as_child(argc, argv);
	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test", -1, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
