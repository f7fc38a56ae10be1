/*
 * kaphilactl: finds the configuration, picks the command from the table and
 * runs it. What a command does is in its own file, ctl_<command>.c.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/ctl.h"
#include "master/run_dir.h"
#include "shared/log.h"

#define DEFAULT_CONFIG "/etc/kaphila/kaphila.conf"
#define RUN_DIR_VARIABLE "KAPHILA_RUN_DIR"

struct command {
	const char *name;
	const char *summary;
	const char *usage; /* a line for each form, and what they mean */
	int (*handler)(struct ctl_context *context, int argc, char **argv);
};

static const struct command commands[] = {
	{ "status", "what the master and its children do",
	    "  kaphilactl status [--watch [SECONDS]]\n"
	    "\n"
	    "Shows the master and each child: state, generation, uptime, age\n"
	    "of the heartbeat, links, live calls or waiting entries,\n"
	    "restarts, and why the last one ended. Exit code 3 if no master\n"
	    "runs. --watch shows it again every 2 (or SECONDS) seconds until\n"
	    "Ctrl-C, also while no master runs.\n",
	    ctl_status },
	{ "restart", "replace running children one after the other",
	    "  kaphilactl restart worker [SLOT] [--no-wait]\n"
	    "  kaphilactl restart webhookd [--no-wait]\n"
	    "  kaphilactl restart recorder [--no-wait]\n"
	    "  kaphilactl restart all [--no-wait]\n"
	    "\n"
	    "Each gets a successor, from the program that is on disk now, and\n"
	    "leaves when that is ready; no request, event or call is lost. It\n"
	    "stops at the first that fails: the old one goes on then. Prints\n"
	    "each step; --no-wait only begins it.\n",
	    ctl_restart },
	{ "scale", "change the number of workers",
	    "  kaphilactl scale workers N [--no-wait]\n"
	    "\n"
	    "A worker that is too many hands its calls to one that stays. At\n"
	    "the master's next start http.workers is their number again.\n",
	    ctl_scale },
	{ "operation", "show a restart or a scaling that was begun",
	    "  kaphilactl operation NUMBER [--no-wait]\n"
	    "\n"
	    "Prints its steps until it has ended; --no-wait those so far. The\n"
	    "master remembers the last few.\n",
	    ctl_operation },
	{ "drain", "take no new calls",
	    "  kaphilactl drain\n"
	    "\n"
	    "New calls are answered 503 DRAINING; live ones go on, and so\n"
	    "does all else. Until 'kaphilactl resume', or the master's next\n"
	    "start.\n",
	    ctl_drain },
	{ "resume", "take new calls again",
	    "  kaphilactl resume\n",
	    ctl_resume },
	{ "reload", "read the configuration again",
	    "  kaphilactl reload\n"
	    "\n"
	    "Checks the master's configuration file and takes over what can\n"
	    "change in a running node; says what counts from a child's or the\n"
	    "master's next start on. A file with a fault is refused, and\n"
	    "nothing changes. SIGHUP to the master does the same.\n",
	    ctl_reload },
	{ "migrate", "bring the PostgreSQL schema up to date",
	    "  kaphilactl migrate [--dir DIR] [--dry-run]\n"
	    "\n"
	    "Applies the numbered SQL files that are not applied yet.\n",
	    ctl_migrate },
	{ "keys", "create, list and change API keys",
	    "  kaphilactl keys create NAME [--credits N] [OPTION ...]\n"
	    "  kaphilactl keys set KEY OPTION ...\n"
	    "  kaphilactl keys list\n"
	    "  kaphilactl keys show KEY\n"
	    "  kaphilactl keys disable KEY\n"
	    "  kaphilactl keys enable KEY\n"
	    "  kaphilactl keys credits KEY +N|-N\n"
	    "\n"
	    "A key's text and its webhook secret are shown once, when they\n"
	    "are made. 'none' takes away what was set.\n"
	    "\n"
	    "  --rate-limit N       requests an hour; 0: no limit; none: 100\n"
	    "  --max-calls N        live calls at a time on a node; 0: no\n"
	    "                       limit\n"
	    "  --expires TIME       2027-01-31, or 2027-01-31T12:00:00Z\n"
	    "  --default-caller-id NUMBER\n"
	    "                       what calls show that send none\n"
	    "  --caller-ids LIST    the only ones that it may send: up to 32,\n"
	    "                       beside the default\n"
	    "  --allow LIST         prefixes of the numbers that it may call,\n"
	    "  --deny LIST          and of those that it may not: up to 64\n"
	    "                       each, of 1 to 15 digits. The longest that\n"
	    "                       matches decides, --deny at a tie\n"
	    "  --webhook-url URL    where events of calls go that send none\n"
	    "  --webhook-secret new|none|SECRET\n"
	    "                       signs the events; the one before does, too\n"
	    "  --webhook-secret-before none\n"
	    "                       takes the one before away\n"
	    "\n"
	    "A LIST has commas between. A new key without --allow and --deny\n"
	    "has keys.default_allow and keys.default_deny.\n"
	    "\n",
	    ctl_keys },
	{ "trunks", "show, add, change and assign trunks",
	    "  kaphilactl trunks\n"
	    "  kaphilactl trunks add TRUNK [OPTION ...]\n"
	    "  kaphilactl trunks set TRUNK [OPTION ...]\n"
	    "  kaphilactl trunks list\n"
	    "  kaphilactl trunks remove TRUNK [--force]\n"
	    "  kaphilactl trunks enable TRUNK\n"
	    "  kaphilactl trunks disable TRUNK\n"
	    "  kaphilactl trunks assign KEY TRUNK [--position N]\n"
	    "  kaphilactl trunks unassign KEY TRUNK\n"
	    "\n"
	    "Without more it shows what the trunks do on this node: calls,\n"
	    "limits, and which of them rest for their calls failed.\n"
	    "\n"
	    "  --template TEMPLATE  makes the dial string from {number} and\n"
	    "                       {trunk}\n"
	    "  --priority N         0..1000: the lowest are taken first\n"
	    "  --weight N           1..100: turns among those of a priority\n"
	    "  --max-calls N        calls at a time on a node; 0: no limit\n"
	    "  --max-cps N          calls begun in a second; 0: no limit\n"
	    "  --force              remove it, though keys have it\n"
	    "\n",
	    ctl_trunks },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char options_help[] =
    "  --config FILE  the configuration; default: that of the master in\n"
    "                 $" RUN_DIR_VARIABLE ", else " DEFAULT_CONFIG "\n"
    "  --json         print JSON\n"
    "  --help         this text, or that of a command\n"
    "  --version      the version\n";

static void
print_help(FILE *out)
{
	(void)fputs("usage: kaphilactl [--config FILE] [--json] "
	    "COMMAND ...\n\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		(void)fprintf(out, "  %-13s  %s\n", commands[i].name,
		    commands[i].summary);
	(void)fprintf(out, "\n%s", options_help);
}

static void
print_usage(FILE *out, const struct command *command)
{
	(void)fprintf(out, "usage:\n%s\n%s", command->usage, options_help);
}

/* Not the whole of it, which would push the complaint off the screen. */
static enum ctl_exit
see_help(void)
{
	(void)fputs("see kaphilactl --help\n", stderr);
	return CTL_USAGE;
}

static const struct command *
find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

struct options {
	const char *config_path; /* NULL: to be found */
	bool json;
	bool help;
	bool version;
};

/*
 * Take the options that are everybody's out of argv, wherever they stand;
 * what follows "--" is the command's. Returns the new argc, or -1.
 */
static int
take_options(int argc, char **argv, struct options *options)
{
	int kept = 1;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (++i < argc)
				argv[kept++] = argv[i];
		} else if (strcmp(argv[i], "--json") == 0) {
			options->json = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			options->help = true;
		} else if (strcmp(argv[i], "--version") == 0) {
			options->version = true;
		} else if (strcmp(argv[i], "--config") == 0) {
			if (++i == argc) {
				ctl_complain("--config needs a value");
				return -1;
			}
			options->config_path = argv[i];
		} else {
			argv[kept++] = argv[i];
		}
	}
	argv[kept] = NULL;
	return kept;
}

/*
 * The file that was named, or the one that the master of $KAPHILA_RUN_DIR
 * was started with, or the default. The run directory is the variable's in
 * any case, for it says which master is meant, unless --config is given.
 */
static void
find_config(struct ctl_context *context, const char *named)
{
	const char *run_dir = getenv(RUN_DIR_VARIABLE);
	const bool by_run_dir = named == NULL && run_dir != NULL &&
	    *run_dir != '\0' &&
	    strlen(run_dir) < sizeof(context->config.node.run_dir);
	char linked[PATH_MAX];
	const char *path = named != NULL ? named : DEFAULT_CONFIG;

	if (by_run_dir && run_dir_path(run_dir, "kaphila.conf", linked,
	    sizeof(linked)) == 0)
		path = linked;
	context->have_config = config_load(&context->config, path,
	    &context->config_fault) == 0;
	if (!context->have_config) {
		config_init(&context->config);
		(void)config_peek(path, "node.run_dir",
		    context->config.node.run_dir);
	}
	if (by_run_dir)
		(void)snprintf(context->config.node.run_dir,
		    sizeof(context->config.node.run_dir), "%s", run_dir);
}

static int
run_command(const struct command *command, const struct options *options,
    int argc, char **argv)
{
	static struct ctl_context context;
	int exit_code;

	context.json = options->json;
	find_config(&context, options->config_path);
	/* with a broken one the master can be asked still, to reload it too */
	if (!context.have_config && options->config_path != NULL &&
	    access(options->config_path, R_OK) != 0) {
		ctl_complain("%s", context.config_fault.text);
		return CTL_FAILED;
	}
	exit_code = command->handler(&context, argc, argv);
	if (exit_code == CTL_USAGE)
		(void)fprintf(stderr, "see kaphilactl %s --help\n",
		    command->name);
	return exit_code;
}

int
main(int argc, char **argv)
{
	struct options options = { .config_path = NULL };
	const struct command *command;

	log_init("kaphilactl", -1, LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	argc = take_options(argc, argv, &options);
	if (options.version) {
		(void)puts("kaphilactl " KAPHILA_VERSION);
		return CTL_OK;
	}
	if (argc < 0)
		return see_help();
	if (argc < 2) {
		print_help(options.help ? stdout : stderr);
		return options.help ? CTL_OK : CTL_USAGE;
	}
	command = find_command(argv[1]);
	if (command == NULL) {
		ctl_complain("no command '%s'", argv[1]);
		return see_help();
	}
	if (options.help) {
		print_usage(stdout, command);
		return CTL_OK;
	}
	return run_command(command, &options, argc - 1, argv + 1);
}
