/*
 * kaphila-master: reads the configuration, takes the run directory and the
 * addresses, starts the children and watches over them until it is told to
 * stop. It opens no PostgreSQL and no Asterisk, and begins no transaction.
 */
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "master/children.h"
#include "master/commands.h"
#include "master/control.h"
#include "master/keep_env.h"
#include "master/listeners.h"
#include "master/reader_check.h"
#include "master/reload.h"
#include "master/run_dir.h"
#include "master/spawn.h"
#include "master/stats_file.h"
#include "master/status.h"
#include "master/store_check.h"
#include "master/store_owner.h"
#include "master/watchdog.h"
#include "shared/clock.h"
#include "shared/log.h"

#define DEFAULT_CONFIG "/etc/kaphila/kaphila.conf"

/* A child's are placed twice for a moment, and it needs some of its own. */
#define LEAST_DESCRIPTORS (2 * CHILD_FD_END + 64)

struct options {
	const char *config_path;
	const char *bin_dir; /* NULL: beside this program */
	bool check;
	bool dump;
	bool dump_man;
};

struct master {
	struct event_base *base;
	struct reload reload; /* the configuration */
	struct run_dir run_dir;
	struct listen_lock api_lock;
	struct listen_lock admin_lock;
	struct keep_env *env;
	struct children children;
	struct watchdog watchdog;
	struct control *control;
	struct stats_writer *stats_writer;
	struct event *on_signal[3];
	struct status_about about;
	struct commands commands;
	char bin_dir[PATH_MAX];
};

static const char usage[] =
    "usage: kaphila-master [--config FILE] [--bin-dir DIR]\n"
    "       kaphila-master [--config FILE] --check-config | --dump-config\n"
    "\n"
    "Starts Kaphila's workers, webhookd and recorder, and watches over them.\n"
    "It stays in the foreground and logs to standard error. SIGTERM or\n"
    "SIGINT ends it in good order, SIGHUP reloads the configuration.\n"
    "\n"
    "  --config FILE   the configuration; default " DEFAULT_CONFIG "\n"
    "  --bin-dir DIR   where the other programs are; default: beside this "
    "one\n"
    "  --check-config  check the configuration, and end\n"
    "  --dump-config   print every key with its value and meaning, and end\n"
    "  --dump-man      print the keys for the manual page, and end\n"
    "  --help          this text\n"
    "  --version       the version\n";

static void
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "bin-dir", required_argument, NULL, 'b' },
		{ "check-config", no_argument, NULL, 'k' },
		{ "dump-config", no_argument, NULL, 'd' },
		{ "dump-man", no_argument, NULL, 'm' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*options = (struct options){ .config_path = DEFAULT_CONFIG };
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config_path = optarg;
			break;
		case 'b':
			options->bin_dir = optarg;
			break;
		case 'k':
			options->check = true;
			break;
		case 'd':
			options->dump = true;
			break;
		case 'm':
			options->dump_man = true;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		case 'v':
			(void)puts("kaphila-master " KAPHILA_VERSION);
			exit(0);
		default:
			(void)fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind != argc) {
		(void)fprintf(stderr, "kaphila-master: what is '%s'?\n%s",
		    argv[optind], usage);
		exit(2);
	}
}

/* Read the configuration; answer what only asks about it. */
static void
load_config(const struct options *options, struct reload *reload)
{
	struct kap_errmsg msg;

	if (options->dump_man)
		exit(config_dump_man(stdout) == 0 ? 0 : 1);
	if (reload_first(reload, options->config_path, &msg) != 0) {
		(void)fprintf(stderr, "kaphila-master: %s\n", msg.text);
		exit(1);
	}
	if (options->dump)
		exit(config_dump(&reload->config, stdout, false, true) == 0 ?
		    0 : 1);
	if (options->check) {
		(void)printf("%s: ok\n", options->config_path);
		exit(0);
	}
}

/* Children inherit it; a worker needs a descriptor for each connection. */
static void
raise_descriptor_limit(const struct config *config)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_max < LEAST_DESCRIPTORS)
		fatal("at most %lu descriptors are too few: %d are the least, "
		    "and http.max_connections + 256 are wanted (ulimit -n, "
		    "LimitNOFILE=)", (unsigned long)limit.rlim_max,
		    LEAST_DESCRIPTORS);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < (rlim_t)config->http.max_connections + 256)
		log_warn("fewer descriptors than http.max_connections needs",
		    LOG_I("limit", limit.rlim_max));
}

static void
on_children_gone(void *ctx)
{
	struct master *master = ctx;

	(void)event_base_loopbreak(master->base);
}

static void
on_signal_stop(evutil_socket_t signal_number, short what KAP_UNUSED,
    void *arg)
{
	struct master *master = arg;

	if (master->children.draining)
		return;
	log_info("stopping", LOG_S("signal", sigabbrev_np(signal_number)));
	children_drain(&master->children);
}

static void
on_signal_hup(evutil_socket_t signal_number KAP_UNUSED, short what KAP_UNUSED,
    void *arg)
{
	struct master *master = arg;

	cJSON_Delete(reload_again(&master->reload));
}

static void
watch_signals(struct master *master)
{
	static const struct {
		int number;
		event_callback_fn callback;
	} signals[] = {
		{ SIGTERM, on_signal_stop },
		{ SIGINT, on_signal_stop },
		{ SIGHUP, on_signal_hup },
	};

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		master->on_signal[i] = event_new(master->base,
		    signals[i].number, EV_SIGNAL | EV_PERSIST,
		    signals[i].callback, master);
		if (master->on_signal[i] == NULL ||
		    event_add(master->on_signal[i], NULL) != 0)
			fatal("can't watch signals");
	}
}

/* Names in a bind are never looked up, and the admin side has no keys. */
static int
take_addresses(struct master *master, struct kap_errmsg *msg)
{
	const struct config *config = &master->reload.config;
	int rc = listen_lock_take(&master->api_lock, config->http.listen, msg);

	if (rc == 0)
		rc = listen_lock_take(&master->admin_lock,
		    config->admin.listen, msg);
	if (rc == 0 && !listener_is_loopback(config->admin.listen))
		log_warn("the admin listener has no keys, and is not on "
		    "loopback", LOG_S("listen", config->admin.listen));
	return rc;
}

static int
open_children(struct master *master, struct kap_errmsg *msg)
{
	const struct children_setup setup = { .base = master->base,
		.config = &master->reload.config, .bin_dir = master->bin_dir,
		.lock_fd = master->run_dir.children_fd,
		.stats_fd = master->run_dir.stats_fd,
		.stats = master->run_dir.stats,
		.on_gone = on_children_gone, .ctx = master };

	return children_init(&master->children, &setup, msg);
}

static int
open_control(struct master *master, struct kap_errmsg *msg)
{
	char path[PATH_MAX];
	const int rc = run_dir_path(master->reload.config.node.run_dir,
	    CONTROL_SOCKET, path, sizeof(path));

	if (rc != 0) {
		kap_errmsg_set(msg, "node.run_dir is too long");
		return rc;
	}
	master->commands = (struct commands){ .children = &master->children,
		.reload = &master->reload, .about = &master->about };
	return control_open(&master->control, master->base, path,
	    commands_answer, &master->commands, msg);
}

static int
open_data(struct master *master, struct kap_errmsg *msg)
{
	const struct config *config = &master->reload.config;
	int rc;

	/* its parent exists, or keep_env_open tells what is missing */
	(void)mkdir(config->node.data_dir, 0750);
	rc = keep_env_open(&master->env, config->node.data_dir,
	    config->store.map_size_mb, msg);
	return rc != 0 ? rc : store_owner_claim(config->node.data_dir,
	    config->node.id, msg);
}

/* A start that can't go on leaves no pid file that names this process. */
static _Noreturn void
fail(struct master *master, const char *why)
{
	run_dir_close(&master->run_dir);
	fatal("%s", why);
}

/* Everything the master holds, in the order in which it may be held. */
static void
open_all(struct master *master, const char *config_path)
{
	struct kap_errmsg msg = { .text = "" };

	if (run_dir_open(&master->run_dir,
	        master->reload.config.node.run_dir, config_path, &msg) != 0 ||
	    take_addresses(master, &msg) != 0 || open_data(master, &msg) != 0)
		fail(master, msg.text);
	master->base = event_base_new();
	if (master->base == NULL)
		fatal("can't make the event loop");
	watch_signals(master);
	if (stats_file_start(&master->stats_writer, master->base,
	        master->run_dir.stats, &master->reload.config) != 0)
		fatal("can't begin the statistics");
	if (open_children(master, &msg) != 0 ||
	    open_control(master, &msg) != 0)
		fail(master, msg.text);
	master->reload.children = &master->children;
	if (watchdog_init(&master->watchdog, &master->children) != 0)
		fatal("can't start the watchdog");
}

static void
close_all(struct master *master)
{
	control_close(&master->control);
	stats_file_stop(&master->stats_writer);
	watchdog_deinit(&master->watchdog);
	children_deinit(&master->children);
	for (size_t i = 0; i < 3; i++)
		event_free(master->on_signal[i]);
	event_base_free(master->base);
	keep_env_close(&master->env);
	listen_lock_release(&master->api_lock);
	listen_lock_release(&master->admin_lock);
	run_dir_close(&master->run_dir);
}

static void
find_programs(struct master *master, const struct options *options)
{
	char path[PATH_MAX];

	if (options->bin_dir != NULL)
		(void)snprintf(master->bin_dir, sizeof(master->bin_dir), "%s",
		    options->bin_dir);
	else if (spawn_own_dir(master->bin_dir) != 0)
		fatal("can't find this program's own folder; use --bin-dir");
	for (int role = 0; role < CHILD_ROLE_COUNT; role++) {
		if (spawn_find_program(master->bin_dir, (enum child_role)role,
		    path) != 0)
			fatal("no kaphila-%s in or near %s; use --bin-dir",
			    child_role_name((enum child_role)role),
			    master->bin_dir);
	}
}

int
main(int argc, char **argv)
{
	static struct master master = { .api_lock = { -1 },
		.admin_lock = { -1 },
		.run_dir = { .pid_fd = -1, .children_fd = -1, .stats_fd = -1 }
	};
	const struct config *config;
	struct options options;

	log_init("master", -1, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	if (argc == 3 && strcmp(argv[1], READER_CHECK_OPTION) == 0)
		return reader_check_run(argv[2]);
	if (argc == 4 && strcmp(argv[1], STORE_CHECK_OPTION) == 0)
		return store_check_run(argv[2], argv[3]);
	parse_options(argc, argv, &options);
	load_config(&options, &master.reload);
	config = &master.reload.config;
	log_init("master", -1, (enum log_level)config->log.level,
	    (enum log_format)config->log.format);
	master.about.config_path = options.config_path;
	master.about.reload = &master.reload;
	master.about.started_ms = clock_boot_ms();
	raise_descriptor_limit(config);
	find_programs(&master, &options);
	open_all(&master, options.config_path);
	log_info("master runs", LOG_S("version", KAPHILA_VERSION),
	    LOG_S("listen", config->http.listen),
	    LOG_I("workers", config->http.workers));
	children_start(&master.children);
	if (event_base_dispatch(master.base) < 0)
		fatal("the event loop failed");
	close_all(&master);
	log_info("stopped");
	return master.children.check.damaged ? 1 : 0;
}
