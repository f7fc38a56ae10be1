/*
 * kaphilactl restart, scale and operation: what the master does step by step.
 * They ask for it, print each step as it comes, and end with its result.
 */
#include "master/ctl.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "master/ctl_args.h"
#include "master/ctl_client.h"
#include "shared/child.h"

#define LOOK_MS 100
#define ID_MAX 9007199254740991 /* a JSON number's last whole one */

static cJSON *
operation_request(int64_t id)
{
	cJSON *request = ctl_request("operation");

	(void)cJSON_AddNumberToObject(request, "operation", (double)id);
	return request;
}

/* "2026-02-17T10:20:30.123Z" → "10:20:30.123"; the log's clock. */
static void
print_step(const cJSON *step)
{
	const char *at = ctl_text_of(step, "at", "");
	const char *time = strchr(at, 'T');

	(void)printf("%.12s  %s\n", time != NULL ? time + 1 : at,
	    ctl_text_of(step, "text", ""));
}

/* Print the steps that are new; returns how many there are by now. */
static int
print_steps(const cJSON *operation, int printed)
{
	const cJSON *steps = cJSON_GetObjectItemCaseSensitive(operation,
	    "steps");
	const int count = cJSON_GetArraySize(steps);

	for (int i = printed; i < count; i++)
		print_step(cJSON_GetArrayItem(steps, i));
	(void)fflush(stdout);
	return count > printed ? count : printed;
}

static int
print_result(const struct ctl_context *context, const cJSON *operation)
{
	const bool failed = ctl_is_true(operation, "failed");
	const char *what = ctl_text_of(operation, "what", "the operation");

	if (context->json && ctl_print_json(operation, false) != CTL_OK)
		return CTL_FAILED;
	if (failed) {
		ctl_complain("%s failed: %s", what,
		    ctl_text_of(operation, "error", "nobody says why"));
		if (strncmp(what, "restart", strlen("restart")) == 0)
			ctl_complain("what was not replaced by then goes on "
			    "as it was");
		return CTL_FAILED;
	}
	if (!context->json)
		(void)printf("%s: done\n", what);
	return CTL_OK;
}

static int
tell_interrupted(int64_t id)
{
	ctl_complain("it goes on; 'kaphilactl operation %" PRId64 "' shows "
	    "it", id);
	return CTL_FAILED;
}

/* Print what an operation does until it has ended. */
static int
follow(const struct ctl_context *context, int64_t id)
{
	int printed = 0;

	ctl_hold_interrupts();
	for (;;) {
		cJSON *operation;
		bool done;
		int exit_code = ctl_ask(context, operation_request(id),
		    &operation);

		if (exit_code != CTL_OK) {
			ctl_complain("what became of operation %" PRId64
			    " is not known", id);
			return CTL_FAILED;
		}
		if (!context->json)
			printed = print_steps(operation, printed);
		done = ctl_is_true(operation, "done");
		if (done)
			exit_code = print_result(context, operation);
		cJSON_Delete(operation);
		if (done)
			return exit_code;
		if (!ctl_wait(LOOK_MS))
			return tell_interrupted(id);
	}
}

/* Ask for an operation, and follow it unless nobody wants to wait. */
static int
run(const struct ctl_context *context, cJSON *request, bool no_wait)
{
	cJSON *answer;
	int64_t id;
	int exit_code = ctl_ask(context, request, &answer);

	if (exit_code != CTL_OK)
		return exit_code;
	if (!ctl_number_of(answer, "operation", &id)) {
		ctl_complain("the master's answer has no operation in it");
		exit_code = CTL_FAILED;
	} else if (!no_wait) {
		exit_code = follow(context, id);
	} else if (context->json) {
		exit_code = ctl_print_json(answer, false);
	} else {
		(void)printf("begun as operation %" PRId64 ": 'kaphilactl "
		    "operation %" PRId64 "' shows it\n", id, id);
	}
	cJSON_Delete(answer);
	return exit_code;
}

static bool
is_role(const char *text)
{
	for (int role = 0; role < CHILD_ROLE_COUNT; role++) {
		if (strcmp(text, child_role_name((enum child_role)role)) == 0)
			return true;
	}
	return strcmp(text, "all") == 0;
}

int
ctl_restart(struct ctl_context *context, int argc, char **argv)
{
	bool no_wait = false;
	const struct ctl_option options[] = { { "--no-wait", NULL, &no_wait } };
	const char *args[2]; /* role, slot */
	int64_t slot = -1;
	cJSON *request;

	if (!ctl_take_some_args(argc, argv, 1, options, 1, args, 1, 2))
		return CTL_USAGE;
	if (!is_role(args[0])) {
		ctl_complain("no role '%s': it is worker, webhookd, recorder "
		    "or all", args[0]);
		return CTL_USAGE;
	}
	if (args[1] != NULL && strcmp(args[0], "worker") != 0) {
		ctl_complain("only a worker has a slot, %s has none",
		    args[0]);
		return CTL_USAGE;
	}
	if (args[1] != NULL && !ctl_parse_int("SLOT", args[1], 0,
	    CHILD_MAX_WORKERS - 1, &slot))
		return CTL_USAGE;
	request = ctl_request("restart");
	(void)cJSON_AddStringToObject(request, "role", args[0]);
	if (slot >= 0)
		(void)cJSON_AddNumberToObject(request, "slot", (double)slot);
	return run(context, request, no_wait);
}

/* A number that is not in the file is gone with the master. */
static void
print_hint(const struct ctl_context *context, int64_t workers)
{
	if (context->have_config && context->config.http.workers == workers)
		return;
	if (context->have_config)
		(void)printf("http.workers in the configuration is %" PRId64
		    ": that is their number when the master starts next\n",
		    context->config.http.workers);
	else
		(void)puts("http.workers in the configuration is their number "
		    "when the master starts next");
}

int
ctl_scale(struct ctl_context *context, int argc, char **argv)
{
	bool no_wait = false;
	const struct ctl_option options[] = { { "--no-wait", NULL, &no_wait } };
	const char *args[2]; /* "workers", their number */
	int64_t workers;
	cJSON *request;
	int exit_code;

	if (!ctl_take_args(argc, argv, 1, options, 1, args, 2))
		return CTL_USAGE;
	if (strcmp(args[0], "workers") != 0) {
		ctl_complain("only workers can be scaled, not '%s'", args[0]);
		return CTL_USAGE;
	}
	if (!ctl_parse_int("N", args[1], 1, CHILD_MAX_WORKERS, &workers))
		return CTL_USAGE;
	request = ctl_request("scale");
	(void)cJSON_AddNumberToObject(request, "workers", (double)workers);
	exit_code = run(context, request, no_wait);
	if (exit_code == CTL_OK && !context->json)
		print_hint(context, workers);
	return exit_code;
}

int
ctl_operation(struct ctl_context *context, int argc, char **argv)
{
	bool no_wait = false;
	const struct ctl_option options[] = { { "--no-wait", NULL, &no_wait } };
	const char *args[1];
	cJSON *operation;
	int64_t id;
	int exit_code;

	if (!ctl_take_args(argc, argv, 1, options, 1, args, 1) ||
	    !ctl_parse_int("NUMBER", args[0], 1, ID_MAX, &id))
		return CTL_USAGE;
	if (!no_wait)
		return follow(context, id);
	exit_code = ctl_ask(context, operation_request(id), &operation);
	if (exit_code != CTL_OK)
		return exit_code;
	if (!context->json)
		(void)print_steps(operation, 0);
	if (ctl_is_true(operation, "done"))
		exit_code = print_result(context, operation);
	else if (context->json)
		exit_code = ctl_print_json(operation, false);
	else
		(void)printf("%s: under way\n",
		    ctl_text_of(operation, "what", "the operation"));
	cJSON_Delete(operation);
	return exit_code;
}
