/*
 * The table of the control socket's commands. Each function reads its fields,
 * does one thing and makes the answer; none waits for a child.
 */
#include "master/commands.h"

#include <stdint.h>
#include <string.h>

#include "master/children.h"
#include "master/operation.h"
#include "shared/log.h"

#define FIELDS_MAX 2
#define ID_MAX 9007199254740991.0 /* a JSON number's last whole one */

struct command {
	const char *name;
	const char *fields[FIELDS_MAX]; /* beside "command" */
	cJSON *(*answer)(const struct commands *commands,
	    const cJSON *request);
};

static cJSON *
refuse(const char *error)
{
	cJSON *answer = cJSON_CreateObject();

	(void)cJSON_AddBoolToObject(answer, "ok", false);
	(void)cJSON_AddStringToObject(answer, "error", error);
	return answer;
}

/*
 * Take a whole number out of a request. Returns 0; -KAP_NOENT where there is
 * none; -KAP_INVAL, in words in msg.
 */
static int
take_number(const cJSON *request, const char *name, double min, double max,
    double *number_out, struct kap_errmsg *msg)
{
	const cJSON *field = cJSON_GetObjectItemCaseSensitive(request, name);

	if (field == NULL || cJSON_IsNull(field)) {
		kap_errmsg_set(msg, "%s is missing", name);
		return -KAP_NOENT;
	}
	if (!cJSON_IsNumber(field) || field->valuedouble < min ||
	    field->valuedouble > max ||
	    (double)(int64_t)field->valuedouble != field->valuedouble) {
		kap_errmsg_set(msg, "%s must be a number from %.0f to %.0f",
		    name, min, max);
		return -KAP_INVAL;
	}
	*number_out = field->valuedouble;
	return 0;
}

static cJSON *
answer_operation_begun(int rc, uint64_t id, const struct kap_errmsg *msg)
{
	cJSON *answer;

	if (rc != 0)
		return refuse(msg->text[0] != '\0' ? msg->text :
		    kap_strerror(rc));
	answer = cJSON_CreateObject();
	(void)cJSON_AddBoolToObject(answer, "ok", true);
	(void)cJSON_AddNumberToObject(answer, "operation", (double)id);
	return answer;
}

static cJSON *
answer_status(const struct commands *commands, const cJSON *request KAP_UNUSED)
{
	return status_render(commands->children, commands->about);
}

static cJSON *
answer_restart(const struct commands *commands, const cJSON *request)
{
	const char *role = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(request, "role"));
	struct kap_errmsg msg = { .text = "" };
	double slot = -1;
	uint64_t id = 0;
	int rc;

	if (role == NULL)
		return refuse("role must be worker, webhookd, recorder or "
		    "all");
	rc = take_number(request, "slot", 0, CHILD_MAX_WORKERS - 1, &slot,
	    &msg);
	if (rc == -KAP_INVAL)
		return refuse(msg.text);
	if (rc == 0 && strcmp(role, "all") == 0)
		return refuse("slot has no meaning with role all");
	msg.text[0] = '\0';
	rc = operation_restart(commands->children, role, (int)slot, &id,
	    &msg);
	return answer_operation_begun(rc, id, &msg);
}

static cJSON *
answer_scale(const struct commands *commands, const cJSON *request)
{
	struct kap_errmsg msg = { .text = "" };
	double workers;
	uint64_t id = 0;
	int rc;

	if (take_number(request, "workers", 1, CHILD_MAX_WORKERS, &workers,
	    &msg) != 0)
		return refuse(msg.text);
	rc = operation_scale(commands->children, (unsigned)workers, &id,
	    &msg);
	return answer_operation_begun(rc, id, &msg);
}

static cJSON *
answer_operation(const struct commands *commands, const cJSON *request)
{
	struct kap_errmsg msg = { .text = "" };
	cJSON *answer;
	double id;

	if (take_number(request, "operation", 1, ID_MAX, &id, &msg) != 0)
		return refuse(msg.text);
	answer = operation_render(commands->children, (uint64_t)id);
	if (answer != NULL)
		return answer;
	kap_errmsg_set(&msg, "no operation %.0f is known (any more)", id);
	return refuse(msg.text);
}

static cJSON *
set_paused(const struct commands *commands, bool paused)
{
	cJSON *answer;

	if (commands->children->draining)
		return refuse("the master stops");
	log_info(paused ? "no new calls from now on" : "new calls again");
	children_set_paused(commands->children, paused);
	answer = cJSON_CreateObject();
	(void)cJSON_AddBoolToObject(answer, "ok", true);
	(void)cJSON_AddBoolToObject(answer, "paused", paused);
	return answer;
}

static cJSON *
answer_pause(const struct commands *commands, const cJSON *request KAP_UNUSED)
{
	return set_paused(commands, true);
}

static cJSON *
answer_resume(const struct commands *commands, const cJSON *request KAP_UNUSED)
{
	return set_paused(commands, false);
}

static cJSON *
answer_reload(const struct commands *commands, const cJSON *request KAP_UNUSED)
{
	return reload_again(commands->reload);
}

static const struct command table[] = {
	{ "status", { NULL }, answer_status },
	{ "restart", { "role", "slot" }, answer_restart },
	{ "scale", { "workers" }, answer_scale },
	{ "operation", { "operation" }, answer_operation },
	{ "pause", { NULL }, answer_pause },
	{ "resume", { NULL }, answer_resume },
	{ "reload", { NULL }, answer_reload },
};

static bool
is_field(const struct command *command, const char *name)
{
	if (strcmp(name, "command") == 0)
		return true;
	for (int i = 0; i < FIELDS_MAX && command->fields[i] != NULL; i++) {
		if (strcmp(name, command->fields[i]) == 0)
			return true;
	}
	return false;
}

/* The first field that the command doesn't have, or NULL. */
static const char *
find_stray_field(const struct command *command, const cJSON *request)
{
	const cJSON *field;

	cJSON_ArrayForEach(field, request) {
		if (!is_field(command, field->string))
			return field->string;
	}
	return NULL;
}

cJSON *
commands_answer(void *ctx, const char *name, const cJSON *request)
{
	const struct commands *commands = ctx;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *stray;
		struct kap_errmsg msg;

		if (strcmp(table[i].name, name) != 0)
			continue;
		stray = find_stray_field(&table[i], request);
		if (stray == NULL)
			return table[i].answer(commands, request);
		kap_errmsg_set(&msg, "%s has no field '%.60s'", name, stray);
		return refuse(msg.text);
	}
	return NULL;
}
