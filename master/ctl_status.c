/*
 * kaphilactl status: what the master says of itself and its children, as a
 * table for people or as its JSON for scripts; once, or again and again.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "master/ctl.h"
#include "master/ctl_args.h"
#include "master/ctl_client.h"
#include "shared/clock.h"

#define CELL_SIZE 32
#define WATCH_S 2
#define WATCH_MAX_S 3600

static void
put_number(char cell[CELL_SIZE], const cJSON *object, const char *name)
{
	int64_t number;

	if (ctl_number_of(object, name, &number))
		(void)snprintf(cell, CELL_SIZE, "%" PRId64, number);
	else
		(void)snprintf(cell, CELL_SIZE, "-");
}

/* "42s", "12m3s", "5h7m", "3d4h". */
static void
put_duration(char cell[CELL_SIZE], const cJSON *object, const char *name)
{
	int64_t ms;
	int64_t s;

	if (!ctl_number_of(object, name, &ms)) {
		(void)snprintf(cell, CELL_SIZE, "-");
		return;
	}
	s = ms / 1000;
	if (s < 60)
		(void)snprintf(cell, CELL_SIZE, "%" PRId64 "s", s);
	else if (s < 3600)
		(void)snprintf(cell, CELL_SIZE, "%" PRId64 "m%" PRId64 "s",
		    s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(cell, CELL_SIZE, "%" PRId64 "h%" PRId64 "m",
		    s / 3600, s % 3600 / 60);
	else
		(void)snprintf(cell, CELL_SIZE, "%" PRId64 "d%" PRId64 "h",
		    s / 86400, s % 86400 / 3600);
}

static void
put_heartbeat(char cell[CELL_SIZE], const cJSON *child)
{
	int64_t ms;

	if (ctl_number_of(child, "heartbeatAgeMs", &ms))
		(void)snprintf(cell, CELL_SIZE, "%" PRId64 "ms", ms);
	else
		(void)snprintf(cell, CELL_SIZE, "-");
}

/* A process beside the slot's own: one that comes, or one that leaves. */
static void
print_other(const cJSON *child, const char *name)
{
	const cJSON *other = cJSON_GetObjectItemCaseSensitive(child, name);
	char pid[CELL_SIZE];
	char generation[CELL_SIZE];
	char since[CELL_SIZE];

	if (other == NULL)
		return;
	put_number(pid, other, "pid");
	put_number(generation, other, "generation");
	put_duration(since, other, "sinceMs");
	(void)printf("%-9s %4s %8s %-9s %4s %7s\n", "", "", pid,
	    strcmp(name, "leaving") == 0 ? "leaving" : "coming", generation,
	    since);
}

static void
print_child(const cJSON *child)
{
	char slot[CELL_SIZE];
	char pid[CELL_SIZE];
	char generation[CELL_SIZE];
	char uptime[CELL_SIZE];
	char beat[CELL_SIZE];
	char live[CELL_SIZE];
	char restarts[CELL_SIZE];

	put_number(slot, child, "slot");
	put_number(pid, child, "pid");
	put_number(generation, child, "generation");
	put_duration(uptime, child, "uptimeMs");
	put_heartbeat(beat, child);
	put_number(live, child, "live");
	put_number(restarts, child, "restarts");
	(void)printf("%-9s %4s %8s %-9s %4s %7s %7s %-10s %-10s %6s %8s  %s\n",
	    ctl_text_of(child, "role", "?"), slot, pid,
	    ctl_text_of(child, "state", "?"), generation, uptime, beat,
	    ctl_text_of(child, "ariLink", "-"),
	    ctl_text_of(child, "pgLink", "-"), live, restarts,
	    ctl_text_of(child, "lastExit", "-"));
	print_other(child, "successor");
	print_other(child, "leaving");
}

static void
print_master(const cJSON *master)
{
	char pid[CELL_SIZE];
	char uptime[CELL_SIZE];

	put_number(pid, master, "pid");
	put_duration(uptime, master, "uptimeMs");
	(void)printf("master pid %s, up %s, version %s%s%s\n", pid, uptime,
	    ctl_text_of(master, "version", "?"),
	    ctl_is_true(master, "paused") ? ", no new calls (drain)" : "",
	    ctl_is_true(master, "draining") ? ", draining" : "");
	(void)printf("listens on %s, admin on %s\n",
	    ctl_text_of(master, "listen", "?"),
	    ctl_text_of(master, "adminListen", "?"));
	(void)printf("configuration %s, read %s (%s)\n\n",
	    ctl_text_of(master, "config", "?"),
	    ctl_text_of(master, "configLoadedAt", "?"),
	    ctl_text_of(master, "configHash", "?"));
}

/* What has no column. */
static void
print_notes(const cJSON *children)
{
	const cJSON *child;
	bool outdated = false;

	cJSON_ArrayForEach(child, children) {
		if (ctl_text_of(child, "crashLoopWords", NULL) != NULL)
			(void)printf("\n%s\n",
			    ctl_text_of(child, "crashLoopWords", ""));
		outdated = outdated || ctl_is_true(child, "configOutdated");
	}
	if (outdated)
		(void)puts("\nA reload changed keys that some of them read at "
		    "their start: kaphilactl restart all");
}

static void
print_table(const cJSON *status)
{
	const cJSON *children = cJSON_GetObjectItemCaseSensitive(status,
	    "children");
	const cJSON *child;

	print_master(cJSON_GetObjectItemCaseSensitive(status, "master"));
	(void)printf("%-9s %4s %8s %-9s %4s %7s %7s %-10s %-10s %6s %8s  %s\n",
	    "ROLE", "SLOT", "PID", "STATE", "GEN", "UP", "BEAT", "ARI", "PG",
	    "LIVE", "RESTARTS", "LAST EXIT");
	cJSON_ArrayForEach(child, children)
		print_child(child);
	print_notes(children);
}

static int
show_once(const struct ctl_context *context)
{
	cJSON *status;
	int exit_code = ctl_ask(context, ctl_request("status"), &status);

	if (exit_code != CTL_OK)
		return exit_code;
	if (context->json)
		exit_code = ctl_print_json(status, false);
	else
		print_table(status);
	cJSON_Delete(status);
	return exit_code;
}

/* What stands in the place of a status that the master doesn't give. */
static void
show_trouble(const struct ctl_context *context, const char *why)
{
	cJSON *trouble;

	if (!context->json) {
		(void)printf("%s; trying again\n", why);
		return;
	}
	trouble = cJSON_CreateObject();
	(void)cJSON_AddBoolToObject(trouble, "ok", false);
	(void)cJSON_AddStringToObject(trouble, "error", why);
	(void)ctl_print_json(trouble, true);
	cJSON_Delete(trouble);
}

/* One block of the watch: a master that is away is news, not the end. */
static void
show_now(const struct ctl_context *context)
{
	cJSON *request = ctl_request("status");
	struct kap_errmsg msg = { .text = "out of memory" };
	cJSON *status = NULL;
	int rc = -KAP_NOMEM;

	if (request != NULL)
		rc = ctl_client_ask(context->config.node.run_dir, request,
		    &status, &msg);
	cJSON_Delete(request);
	if (rc != 0)
		show_trouble(context, msg.text);
	else if (context->json)
		(void)ctl_print_json(status, true);
	else if (ctl_is_true(status, "ok"))
		print_table(status);
	else
		show_trouble(context, ctl_text_of(status, "error",
		    "the master gives no status"));
	cJSON_Delete(status);
}

static int
watch(const struct ctl_context *context, int64_t seconds)
{
	const bool redraw = !context->json && isatty(STDOUT_FILENO);

	ctl_hold_interrupts();
	do {
		char now[CLOCK_ISO_SIZE];

		clock_format_iso(clock_wall_ms(), now);
		if (redraw) /* home, and clear to the end */
			(void)fputs("\033[H\033[2J", stdout);
		if (!context->json)
			(void)printf("%s  every %" PRId64 " s, Ctrl-C ends\n",
			    now, seconds);
		show_now(context);
		if (!redraw && !context->json)
			(void)putchar('\n');
		if (fflush(stdout) != 0)
			return CTL_FAILED;
	} while (ctl_wait(seconds * 1000));
	return CTL_OK;
}

int
ctl_status(struct ctl_context *context, int argc, char **argv)
{
	bool watched = false;
	const char *period = NULL;
	const struct ctl_option options[] = {
		{ "--watch", &period, &watched },
	};
	int64_t seconds = WATCH_S;

	if (!ctl_take_args(argc, argv, 1, options, 1, NULL, 0))
		return CTL_USAGE;
	if (!watched)
		return show_once(context);
	if (period != NULL && !ctl_parse_int("SECONDS", period, 1, WATCH_MAX_S,
	    &seconds))
		return CTL_USAGE;
	return watch(context, seconds);
}
