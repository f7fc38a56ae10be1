/*
 * The list of operations and what is told of them. Restarts and scales
 * nothing itself.
 */
#include "master/operation.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "master/children.h"
#include "master/rolling.h"
#include "master/scaling.h"
#include "shared/clock.h"
#include "shared/log.h"

#define STEPS_MAX 400 /* more than a restart of all that may ever be takes */

static void
clear(struct operation *operation)
{
	free(operation->steps);
	*operation = (struct operation){ .id = 0 };
}

/*
 * The place of the next operation, which takes that of the oldest; NULL if
 * that one isn't done.
 */
static struct operation *
new_operation(struct children *children, enum operation_kind kind,
    struct kap_errmsg *msg)
{
	struct operations *all = &children->operations;
	const uint64_t id = all->last_id + 1;
	struct operation *operation = &all->at[id % OPERATIONS_KEPT];

	if (operation->id != 0 && !operation->done) {
		kap_errmsg_set(msg, "too many operations are under way");
		return NULL;
	}
	clear(operation);
	operation->steps = calloc(STEPS_MAX, sizeof(*operation->steps));
	if (operation->steps == NULL) {
		kap_errmsg_set(msg, "out of memory");
		return NULL;
	}
	operation->kind = kind;
	operation->id = id;
	return operation;
}

/* One that has begun; it is in the list from now on. */
static void
announce(struct children *children, const struct operation *operation)
{
	children->operations.last_id = operation->id;
	log_info("operation", LOG_I("id", operation->id),
	    LOG_S("what", operation->what));
}

static int
refuse_while_stopping(const struct children *children, struct kap_errmsg *msg)
{
	if (!children->draining)
		return 0;
	kap_errmsg_set(msg, "the master stops");
	return -KAP_STATE;
}

static bool
is_in_plan(const struct operation *operation, uint8_t index)
{
	for (size_t i = operation->plan_at; i < operation->plan_count; i++) {
		if (operation->plan[i] == index)
			return true;
	}
	return false;
}

/* Whether two operations would meddle with each other. */
static bool
are_at_odds(const struct operation *a, const struct operation *b)
{
	if (a->kind == OPERATION_SCALE || b->kind == OPERATION_SCALE)
		return true;
	for (size_t i = 0; i < a->plan_count; i++) {
		if (is_in_plan(b, a->plan[i]))
			return true;
	}
	return false;
}

static int
refuse_if_at_odds(const struct children *children,
    const struct operation *operation, struct kap_errmsg *msg)
{
	for (size_t i = 0; i < OPERATIONS_KEPT; i++) {
		const struct operation *other = &children->operations.at[i];

		if (other == operation || other->id == 0 || other->done ||
		    !are_at_odds(operation, other))
			continue;
		kap_errmsg_set(msg, "%s is under way (operation %" PRIu64 ")",
		    other->what, other->id);
		return -KAP_EXISTS;
	}
	return 0;
}

int
operation_restart(struct children *children, const char *role, int slot,
    uint64_t *id_out, struct kap_errmsg *msg)
{
	struct operation *operation;
	int rc = refuse_while_stopping(children, msg);

	if (rc != 0)
		return rc;
	operation = new_operation(children, OPERATION_RESTART, msg);
	if (operation == NULL)
		return -KAP_NOMEM;
	rc = rolling_plan(children, operation, role, slot, msg);
	if (rc == 0)
		rc = refuse_if_at_odds(children, operation, msg);
	if (rc != 0) {
		clear(operation);
		return rc;
	}
	announce(children, operation);
	*id_out = operation->id;
	rolling_push(children, operation);
	return 0;
}

int
operation_scale(struct children *children, unsigned workers,
    uint64_t *id_out, struct kap_errmsg *msg)
{
	struct operation *operation;
	int rc = refuse_while_stopping(children, msg);

	if (rc != 0)
		return rc;
	operation = new_operation(children, OPERATION_SCALE, msg);
	if (operation == NULL)
		return -KAP_NOMEM;
	rc = refuse_if_at_odds(children, operation, msg);
	if (rc == 0)
		rc = scaling_begin(children, operation, workers, msg);
	if (rc != 0) {
		clear(operation);
		return rc;
	}
	announce(children, operation);
	*id_out = operation->id;
	return 0;
}

void
operations_push(struct children *children, int64_t now_ms)
{
	for (size_t i = 0; i < OPERATIONS_KEPT; i++) {
		struct operation *operation = &children->operations.at[i];

		if (operation->id == 0 || operation->done)
			continue;
		if (operation->kind == OPERATION_RESTART)
			rolling_push(children, operation);
		else
			scaling_push(children, operation, now_ms);
	}
}

void
operations_end(struct children *children)
{
	for (size_t i = 0; i < OPERATIONS_KEPT; i++) {
		struct operation *operation = &children->operations.at[i];

		if (operation->id == 0 || operation->done)
			continue;
		operation_fail(operation, "the master stops");
		operation_finish(operation);
	}
	children->workers_to_be = children->workers;
}

void
operations_deinit(struct children *children)
{
	for (size_t i = 0; i < OPERATIONS_KEPT; i++)
		clear(&children->operations.at[i]);
}

void
operation_note(struct operation *operation, const char *fmt, ...)
{
	struct operation_step *step;
	va_list args;

	if (operation->step_count == STEPS_MAX)
		return;
	step = &operation->steps[operation->step_count++];
	step->at_ms = clock_wall_ms();
	va_start(args, fmt);
	(void)vsnprintf(step->text, sizeof(step->text), fmt, args);
	va_end(args);
	log_debug("operation goes on", LOG_I("id", operation->id),
	    LOG_S("step", step->text));
}

void
operation_fail(struct operation *operation, const char *fmt, ...)
{
	va_list args;

	if (operation->failed)
		return;
	operation->failed = true;
	va_start(args, fmt);
	(void)vsnprintf(operation->error, sizeof(operation->error), fmt, args);
	va_end(args);
	log_warn("operation failed", LOG_I("id", operation->id),
	    LOG_S("what", operation->what), LOG_S("error", operation->error));
}

void
operation_finish(struct operation *operation)
{
	operation->done = true;
	if (!operation->failed)
		log_info("operation is done", LOG_I("id", operation->id),
		    LOG_S("what", operation->what));
}

static void
render_step(cJSON *steps, const struct operation_step *step)
{
	cJSON *item = cJSON_CreateObject();
	char at[CLOCK_ISO_SIZE];

	clock_format_iso(step->at_ms, at);
	(void)cJSON_AddStringToObject(item, "at", at);
	(void)cJSON_AddStringToObject(item, "text", step->text);
	(void)cJSON_AddItemToArray(steps, item);
}

cJSON *
operation_render(const struct children *children, uint64_t id)
{
	const struct operation *operation =
	    &children->operations.at[id % OPERATIONS_KEPT];
	cJSON *answer;
	cJSON *steps;

	if (id == 0 || operation->id != id)
		return NULL;
	answer = cJSON_CreateObject();
	(void)cJSON_AddBoolToObject(answer, "ok", true);
	(void)cJSON_AddNumberToObject(answer, "operation", (double)id);
	(void)cJSON_AddStringToObject(answer, "what", operation->what);
	(void)cJSON_AddBoolToObject(answer, "done", operation->done);
	(void)cJSON_AddBoolToObject(answer, "failed", operation->failed);
	(void)cJSON_AddStringToObject(answer, "error", operation->error);
	steps = cJSON_AddArrayToObject(answer, "steps");
	for (size_t i = 0; i < operation->step_count; i++)
		render_step(steps, &operation->steps[i]);
	return answer;
}
