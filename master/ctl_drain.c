/*
 * kaphilactl drain and resume: no new calls, and new calls again. What is live
 * goes on either way.
 */
#include "master/ctl.h"

#include <stdio.h>

#include "master/ctl_client.h"

static int
ask(const struct ctl_context *context, int argc, char **argv,
    const char *command, const char *words)
{
	cJSON *answer;
	int exit_code;

	if (argc != 1) {
		ctl_complain("too many arguments: '%s'", argv[1]);
		return CTL_USAGE;
	}
	exit_code = ctl_ask(context, ctl_request(command), &answer);
	if (exit_code != CTL_OK)
		return exit_code;
	if (context->json)
		exit_code = ctl_print_json(answer, false);
	else
		(void)puts(words);
	cJSON_Delete(answer);
	return exit_code;
}

int
ctl_drain(struct ctl_context *context, int argc, char **argv)
{
	return ask(context, argc, argv, "pause",
	    "no new calls; the live ones go on");
}

int
ctl_resume(struct ctl_context *context, int argc, char **argv)
{
	return ask(context, argc, argv, "resume", "new calls are taken again");
}
