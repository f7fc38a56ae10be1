/*
 * kaphilactl status: what the master says of itself and its children, as a
 * table for people or as its JSON for scripts.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "master/ctl.h"
#include "master/ctl_client.h"

#define CELL_SIZE 32

static const char *
text_of(const cJSON *object, const char *name, const char *none)
{
	const char *text = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(object, name));

	return text != NULL ? text : none;
}

static bool
number_of(const cJSON *object, const char *name, int64_t *number_out)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	*number_out = 0;
	if (!cJSON_IsNumber(item))
		return false;
	*number_out = (int64_t)item->valuedouble;
	return true;
}

static void
put_number(char cell[CELL_SIZE], const cJSON *object, const char *name)
{
	int64_t number;

	if (number_of(object, name, &number))
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

	if (!number_of(object, name, &ms)) {
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

	if (number_of(child, "heartbeatAgeMs", &ms))
		(void)snprintf(cell, CELL_SIZE, "%" PRId64 "ms", ms);
	else
		(void)snprintf(cell, CELL_SIZE, "-");
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
	    text_of(child, "role", "?"), slot, pid,
	    text_of(child, "state", "?"), generation, uptime, beat,
	    text_of(child, "ariLink", "-"), text_of(child, "pgLink", "-"),
	    live, restarts, text_of(child, "lastExit", "-"));
}

static void
print_table(const cJSON *status)
{
	const cJSON *master = cJSON_GetObjectItemCaseSensitive(status,
	    "master");
	const cJSON *children = cJSON_GetObjectItemCaseSensitive(status,
	    "children");
	const cJSON *draining = cJSON_GetObjectItemCaseSensitive(master,
	    "draining");
	const cJSON *child;
	char pid[CELL_SIZE];
	char uptime[CELL_SIZE];

	put_number(pid, master, "pid");
	put_duration(uptime, master, "uptimeMs");
	(void)printf("master pid %s, up %s, version %s%s\n", pid, uptime,
	    text_of(master, "version", "?"),
	    cJSON_IsTrue(draining) ? ", draining" : "");
	(void)printf("listens on %s, admin on %s, configuration %s\n\n",
	    text_of(master, "listen", "?"),
	    text_of(master, "adminListen", "?"),
	    text_of(master, "config", "?"));
	(void)printf("%-9s %4s %8s %-9s %4s %7s %7s %-10s %-10s %6s %8s  %s\n",
	    "ROLE", "SLOT", "PID", "STATE", "GEN", "UP", "BEAT", "ARI", "PG",
	    "LIVE", "RESTARTS", "LAST EXIT");
	cJSON_ArrayForEach(child, children)
		print_child(child);
}

static int
print_json(const cJSON *status)
{
	char *text = cJSON_Print(status);

	if (text == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	(void)puts(text);
	cJSON_free(text);
	return CTL_OK;
}

int
ctl_status(struct ctl_context *context, int argc, char **argv KAP_UNUSED)
{
	struct kap_errmsg msg;
	cJSON *status;
	int exit_code = CTL_OK;
	int rc;

	if (argc != 1)
		return CTL_USAGE;
	rc = ctl_client_ask(context->config.node.run_dir, "status", &status,
	    &msg);
	if (rc != 0) {
		ctl_complain("%s", msg.text);
		return rc == -KAP_GONE ? CTL_NO_MASTER : CTL_FAILED;
	}
	if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(status, "ok"))) {
		ctl_complain("the master says: %s", text_of(status, "error",
		    "nothing"));
		exit_code = CTL_FAILED;
	} else if (context->json) {
		exit_code = print_json(status);
	} else {
		print_table(status);
	}
	cJSON_Delete(status);
	return exit_code;
}
