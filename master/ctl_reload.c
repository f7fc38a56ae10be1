/*
 * kaphilactl reload: has the master read its configuration again, and shows
 * what changed and when that counts.
 */
#include "master/ctl.h"

#include <stdio.h>
#include <string.h>

#include "master/ctl_client.h"

#define WHEN_COUNT 3

/* In the words of config_reach_name, and what a person can do about it. */
static const struct {
	const char *when;
	const char *sentence;
} whens[WHEN_COUNT] = {
	{ "now", "in force now" },
	{ "child start",
	    "at each child's next start (kaphilactl restart all)" },
	{ "master start", "at the master's next start" },
};

static void
print_changes(const cJSON *changed, const char *when, const char *sentence)
{
	const cJSON *change;
	bool any = false;

	cJSON_ArrayForEach(change, changed) {
		if (strcmp(ctl_text_of(change, "when", ""), when) != 0)
			continue;
		if (!any)
			(void)printf("%s:\n", sentence);
		any = true;
		(void)printf("  %-30s  %s → %s\n",
		    ctl_text_of(change, "key", "?"),
		    ctl_text_of(change, "from", ""),
		    ctl_text_of(change, "to", ""));
	}
}

static void
print_answer(const cJSON *answer)
{
	const cJSON *changed = cJSON_GetObjectItemCaseSensitive(answer,
	    "changed");

	(void)puts(cJSON_GetArraySize(changed) > 0 ? "reloaded" :
	    "reloaded; no key changed");
	for (int i = 0; i < WHEN_COUNT; i++)
		print_changes(changed, whens[i].when, whens[i].sentence);
	if (ctl_is_true(answer, "certificateRead"))
		(void)puts("the certificate was read anew");
}

int
ctl_reload(struct ctl_context *context, int argc, char **argv)
{
	cJSON *answer;
	int exit_code;

	if (argc != 1) {
		ctl_complain("too many arguments: '%s'", argv[1]);
		return CTL_USAGE;
	}
	exit_code = ctl_ask(context, ctl_request("reload"), &answer);
	if (exit_code == CTL_FAILED)
		ctl_complain("nothing was changed");
	if (exit_code != CTL_OK)
		return exit_code;
	if (context->json)
		exit_code = ctl_print_json(answer, false);
	else
		print_answer(answer);
	cJSON_Delete(answer);
	return exit_code;
}
