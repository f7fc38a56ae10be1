/*
 * The frame around every child: start, loop, heartbeat, drain, end. It knows
 * what all roles have in common and nothing of any role's work; it logs, and
 * ends the process where a start can't go on, for it stands in main's place.
 */
#include "child_runtime.h"

#include <execinfo.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <event2/event.h>

#include "crash_point.h"
#include "log.h"

#define HEARTBEAT_MS 500
#define TICK_MS 2000
#define BESIDE_LOOK_MS 50
#define LEAVE_EARLY_MS INT64_C(1000) /* before the master would kill */
#define MESSAGES_PER_TURN 16
#define BACKTRACE_DEPTH 64

unsigned
child_bell_of(enum child_role role, int slot)
{
	switch (role) {
	case CHILD_WEBHOOKD:
		return CHILD_BELL_WEBHOOKD;
	case CHILD_RECORDER:
		return CHILD_BELL_RECORDER;
	case CHILD_WORKER:
	case CHILD_ROLE_COUNT:
		break;
	}
	return CHILD_BELL_WORKER + (unsigned)slot;
}

/* The loop ends when nearly all of the time to drain is over. */
static void
limit_drain(struct child_runtime *runtime)
{
	const int64_t whole_ms =
	    runtime->config.supervision.drain_timeout_s * 1000;
	const int64_t ms = whole_ms - (whole_ms > 2 * LEAVE_EARLY_MS ?
	    LEAVE_EARLY_MS : whole_ms / 2);
	const struct timeval limit = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(runtime->on_deadline, &limit);
}

/*
 * The master's channel ends before its death is signalled. The signal has
 * nothing to do any more for one that runs, or that is at its end, and it must
 * not come late: LeakSanitizer stops its process when that ends, and a SIGCONT
 * takes the stop back, for which it then waits for ever.
 */
static void
heed_no_death(void)
{
	(void)prctl(PR_SET_PDEATHSIG, 0);
}

static void
request_drain(struct child_runtime *runtime, enum child_drain_reason reason)
{
	static const char *const words[] = {
		[CHILD_DRAIN_ASKED] = "asked by the master",
		[CHILD_DRAIN_SIGNAL] = "asked by a signal",
		[CHILD_DRAIN_MASTER_GONE] = "the master is gone",
	};

	if (!runtime->draining || reason == CHILD_DRAIN_MASTER_GONE)
		limit_drain(runtime);
	if (reason == CHILD_DRAIN_MASTER_GONE)
		heed_no_death();
	if (runtime->draining)
		return;
	child_runtime_heed_bell(runtime, false);
	runtime->draining = true;
	atomic_store_explicit(&stats_row()->draining, 1,
	    memory_order_relaxed);
	log_info("draining", LOG_S("reason", words[reason]));
	if (runtime->callbacks->on_drain != NULL)
		runtime->callbacks->on_drain(runtime->ctx, reason);
	else
		child_runtime_leave(runtime, "drained");
}

static void
on_signal_drain(evutil_socket_t signal_number KAP_UNUSED,
    short what KAP_UNUSED, void *arg)
{
	request_drain(arg, CHILD_DRAIN_SIGNAL);
}

/* A person wants a new process in this one's place. */
static void
on_signal_restart(evutil_socket_t signal_number KAP_UNUSED,
    short what KAP_UNUSED, void *arg)
{
	struct child_runtime *runtime = arg;
	int rc;

	if (runtime->draining)
		return;
	rc = child_runtime_send(runtime, CHILD_MSG_RESTART, NULL, -1);
	if (rc == -KAP_GONE)
		request_drain(runtime, CHILD_DRAIN_SIGNAL);
	else if (rc != 0)
		log_warn("could not ask the master for a successor",
		    LOG_S("error", kap_strerror(rc)));
	else
		log_info("asked the master for a successor");
}

static void
on_deadline_passed(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	struct child_runtime *runtime = arg;

	log_warn("leaving unfinished: the time to drain is over");
	child_runtime_leave(runtime, "unfinished: its time was over");
}

static void
on_heartbeat_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg KAP_UNUSED)
{
	stats_heartbeat();
}

static void
on_tick_due(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	const struct child_runtime *runtime = arg;

	stats_note_process();
	if (runtime->callbacks->on_tick != NULL)
		runtime->callbacks->on_tick(runtime->ctx);
}

static void
on_bell_rung(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED, void *arg)
{
	const struct child_runtime *runtime = arg;

	/* cleared before the look: a ring during it is not lost */
	child_bell_clear(runtime->bell);
	if (runtime->callbacks->on_bell != NULL)
		runtime->callbacks->on_bell(runtime->ctx);
}

/* Take over what is reloadable; the modules borrow this configuration. */
static void
take_config(struct child_runtime *runtime, int fd)
{
	struct kap_errmsg msg;
	struct config config;

	if (config_load_fd(&config, fd, &msg) != 0) {
		log_warn("can't take the configuration that the master sent",
		    LOG_S("error", msg.text));
		return;
	}
	config_take(&runtime->config, &config, CONFIG_AT_ONCE);
	log_init(child_role_name(runtime->args.role),
	    runtime->args.role == CHILD_WORKER ? runtime->args.slot : -1,
	    (enum log_level)runtime->config.log.level,
	    (enum log_format)runtime->config.log.format);
	log_debug("configuration taken over");
	if (runtime->callbacks->on_config != NULL)
		runtime->callbacks->on_config(runtime->ctx);
}

void
child_runtime_heed_bell(struct child_runtime *runtime, bool heed)
{
	if (runtime->on_bell == NULL || runtime->draining)
		return;
	if (heed)
		(void)event_add(runtime->on_bell, NULL);
	else
		(void)event_del(runtime->on_bell);
}

static void
on_beside_look(evutil_socket_t fd KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	struct child_runtime *runtime = arg;

	if (stats_is_alive(runtime->bell, runtime->args.beside))
		return;
	(void)event_del(runtime->on_beside);
	runtime->alone = true;
	log_debug("the predecessor is gone",
	    LOG_I("generation", runtime->args.beside));
	child_runtime_heed_bell(runtime, true);
	if (runtime->callbacks->on_alone != NULL)
		runtime->callbacks->on_alone(runtime->ctx);
}

static void
take_message(struct child_runtime *runtime,
    const struct child_message *message, int fd)
{
	const bool ours = message->generation == runtime->args.generation;

	if (ours && message->kind == CHILD_MSG_DRAIN) {
		request_drain(runtime, CHILD_DRAIN_ASKED);
	} else if (ours && message->kind == CHILD_MSG_CONFIG) {
		take_config(runtime, fd);
	} else if (ours && runtime->callbacks->on_message != NULL) {
		runtime->callbacks->on_message(runtime->ctx, message, fd);
		return; /* the descriptor is the callee's */
	}
	if (fd >= 0)
		(void)close(fd);
}

static void
on_control_readable(evutil_socket_t control_fd, short what KAP_UNUSED,
    void *arg)
{
	struct child_runtime *runtime = arg;

	for (int i = 0; i < MESSAGES_PER_TURN && !runtime->leaving; i++) {
		struct child_message message;
		int fd;
		const int rc = child_message_receive(control_fd, &message,
		    &fd);

		if (rc == 0) {
			take_message(runtime, &message, fd);
			continue;
		}
		if (rc == -KAP_AGAIN)
			return;
		if (rc == -KAP_PROTO) {
			log_warn("dropped a malformed message of the master");
			continue;
		}
		(void)event_del(runtime->on_control);
		request_drain(runtime, CHILD_DRAIN_MASTER_GONE);
		return;
	}
}

/*
 * The watchdog sends SIGABRT to a child that hangs: say where, then end as
 * the signal does. It stays blocked until this returns, so the raised one
 * ends the process then, with the stack as it was.
 */
static void
on_abort(int signal_number)
{
	static const char head[] = "aborted; the stack was:\n";
	void *frames[BACKTRACE_DEPTH];
	const int depth = backtrace(frames, BACKTRACE_DEPTH);
	const ssize_t written = write(STDERR_FILENO, head, sizeof(head) - 1);

	(void)written;
	backtrace_symbols_fd(frames, depth, STDERR_FILENO);
	(void)signal(signal_number, SIG_DFL);
	(void)raise(signal_number);
}

static void
set_signals(void)
{
	struct sigaction action = { .sa_handler = on_abort };
	void *frame[1];

	/* the first call loads a library, which a handler must not do */
	(void)backtrace(frame, 1);
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGABRT, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	/*
	 * Who is stopped when the master dies has nobody left to end it, and
	 * may hold the store's lock, which all others wait for.
	 */
	(void)prctl(PR_SET_PDEATHSIG, SIGCONT);
}

/* Take the own row, and forget what its last owner's links looked like. */
static void
open_stats(const struct child_runtime *runtime)
{
	struct stats_file *file;
	const int rc = stats_map(CHILD_FD_STATS, &file);

	if (rc != 0)
		fatal("statistics file: %s", kap_strerror(rc));
	stats_use_row(file, stats_row_index(runtime->bell,
	    runtime->args.generation), runtime->args.generation);
	atomic_store_explicit(&stats_row()->ari_link, STATS_LINK_DOWN,
	    memory_order_relaxed);
	atomic_store_explicit(&stats_row()->pg_link, STATS_LINK_DOWN,
	    memory_order_relaxed);
}

/* Make an event of the highest priority and add it; never NULL. */
static struct event *
watch(struct child_runtime *runtime, int fd, short what,
    event_callback_fn callback, int period_ms)
{
	struct event *event = event_new(runtime->base, fd,
	    (short)(what | EV_PERSIST), callback, runtime);
	const struct timeval period = { .tv_sec = period_ms / 1000,
		.tv_usec = period_ms % 1000 * 1000L };

	if (event == NULL ||
	    event_priority_set(event, CHILD_PRIORITY_CONTROL) != 0 ||
	    event_add(event, period_ms > 0 ? &period : NULL) != 0)
		fatal("can't watch descriptor %d", fd);
	return event;
}

static void
watch_all(struct child_runtime *runtime)
{
	const int bell_fd = child_bell_fd(runtime->bell);

	runtime->on_term = watch(runtime, SIGTERM, EV_SIGNAL, on_signal_drain,
	    0);
	runtime->on_hup = watch(runtime, SIGHUP, EV_SIGNAL, on_signal_restart,
	    0);
	runtime->on_control = watch(runtime, CHILD_FD_CONTROL, EV_READ,
	    on_control_readable, 0);
	runtime->on_heartbeat = watch(runtime, -1, 0, on_heartbeat_due,
	    HEARTBEAT_MS);
	runtime->on_tick = watch(runtime, -1, 0, on_tick_due, TICK_MS);
	if (child_has_fd(bell_fd))
		runtime->on_bell = watch(runtime, bell_fd, EV_READ,
		    on_bell_rung, 0);
	/* work, not control: it must not run before what came earlier */
	(void)event_priority_set(runtime->on_tick, CHILD_PRIORITY_NORMAL);
	if (runtime->on_bell != NULL)
		(void)event_priority_set(runtime->on_bell,
		    CHILD_PRIORITY_NORMAL);
	runtime->alone = runtime->args.beside == 0;
	if (!runtime->alone) {
		child_runtime_heed_bell(runtime, false);
		runtime->on_beside = watch(runtime, -1, 0, on_beside_look,
		    BESIDE_LOOK_MS);
		(void)event_priority_set(runtime->on_beside,
		    CHILD_PRIORITY_NORMAL);
	}
	runtime->on_deadline = event_new(runtime->base, -1, 0,
	    on_deadline_passed, runtime);
	if (runtime->on_deadline == NULL)
		fatal("out of memory");
}

void
child_runtime_init(struct child_runtime *runtime, int argc, char **argv,
    enum child_role role, const struct child_callbacks *callbacks, void *ctx)
{
	struct kap_errmsg msg;

	memset(runtime, 0, sizeof(*runtime));
	runtime->callbacks = callbacks;
	runtime->ctx = ctx;
	child_parse_args(argc, argv, role, &runtime->args);
	runtime->bell = child_bell_of(role, runtime->args.slot);
	log_init(child_role_name(role),
	    role == CHILD_WORKER ? runtime->args.slot : -1, LOG_LEVEL_INFO,
	    LOG_FORMAT_TEXT);
	if (config_load_fd(&runtime->config, CHILD_FD_CONFIG, &msg) != 0)
		fatal("%s", msg.text);
	log_init(child_role_name(role),
	    role == CHILD_WORKER ? runtime->args.slot : -1,
	    (enum log_level)runtime->config.log.level,
	    (enum log_format)runtime->config.log.format);
	set_signals();
	open_stats(runtime);
	runtime->base = event_base_new();
	if (runtime->base == NULL ||
	    event_base_priority_init(runtime->base, CHILD_PRIORITY_COUNT) != 0)
		fatal("can't make the event loop");
	watch_all(runtime);
}

int
child_runtime_send(const struct child_runtime *runtime,
    enum child_message_kind kind, const char *text, int fd)
{
	return child_runtime_send_about(runtime, kind, runtime->args.slot,
	    text, fd);
}

int
child_runtime_send_about(const struct child_runtime *runtime,
    enum child_message_kind kind, int slot, const char *text, int fd)
{
	struct child_message message = { .kind = (uint32_t)kind,
		.generation = runtime->args.generation, .slot = slot };

	(void)snprintf(message.text, sizeof(message.text), "%s",
	    text != NULL ? text : "");
	return child_message_send(CHILD_FD_CONTROL, &message, fd);
}

void
child_runtime_ready(struct child_runtime *runtime)
{
	int rc;

	CRASH_POINT(child_before_ready);
	rc = child_runtime_send(runtime, CHILD_MSG_READY, NULL, -1);
	CRASH_POINT(child_ready);
	/* a master that is gone shows as the end of the channel, too */
	if (rc != 0 && rc != -KAP_GONE)
		fatal("can't tell the master: %s", kap_strerror(rc));
	stats_heartbeat();
	log_info("ready", LOG_I("generation", runtime->args.generation));
}

void
child_runtime_loop(struct child_runtime *runtime)
{
	if (!runtime->leaving && event_base_dispatch(runtime->base) < 0)
		fatal("the event loop failed");
}

void
child_runtime_leave(struct child_runtime *runtime, const char *why)
{
	int rc;

	if (runtime->leaving)
		return;
	runtime->leaving = true;
	log_info("leaving", LOG_S("reason", why));
	rc = child_runtime_send(runtime, CHILD_MSG_STOPPING, why, -1);
	(void)rc; /* words for the master's log; the exit tells it too */
	(void)event_base_loopbreak(runtime->base);
}

void
child_runtime_deinit(struct child_runtime *runtime)
{
	struct event **const events[] = { &runtime->on_term, &runtime->on_hup,
		&runtime->on_control, &runtime->on_bell,
		&runtime->on_heartbeat, &runtime->on_tick,
		&runtime->on_deadline, &runtime->on_beside };

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		if (*events[i] != NULL)
			event_free(*events[i]);
		*events[i] = NULL;
	}
	event_base_free(runtime->base);
	runtime->base = NULL;
	heed_no_death();
}
