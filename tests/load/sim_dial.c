/*
 * Texts of an originate, and the plan that follows from them.
 */
#include "sim_dial.h"

#include <stdio.h>
#include <string.h>

#include "sim_call.h"

#define TECHNOLOGY "PJSIP/"
#define DEAD_TRUNK "dead"
#define FULL_TRUNK "full"

static bool
has_trunk(const char *trunks, const char *trunk)
{
	const size_t len = strlen(trunk);

	for (const char *at = trunks; len > 0; at++) {
		const size_t name_len = strcspn(at, ",");

		if (name_len == len && strncmp(at, trunk, len) == 0)
			return true;
		at += name_len;
		if (*at == '\0')
			return false;
	}
	return false;
}

/* By how its name begins. */
static enum sim_trunk_kind
kind_of(const char *trunk)
{
	if (strncmp(trunk, DEAD_TRUNK, strlen(DEAD_TRUNK)) == 0)
		return SIM_TRUNK_DEAD;
	if (strncmp(trunk, FULL_TRUNK, strlen(FULL_TRUNK)) == 0)
		return SIM_TRUNK_FULL;
	return SIM_TRUNK_GOOD;
}

/* The digits before the '@', without the 00 that the template puts there. */
static void
read_number(struct sim_call *call)
{
	const char *from = call->dialled;
	size_t len = strcspn(from, "@");

	if (len > 2 && strncmp(from, "00", 2) == 0) {
		from += 2;
		len -= 2;
	}
	if (len >= sizeof(call->number))
		len = sizeof(call->number) - 1;
	memcpy(call->number, from, len);
	call->number[len] = '\0';
}

/* "Name <number>", or the number alone. */
void
sim_dial_read_caller(struct sim_call *call, const char *caller)
{
	const char *from = caller != NULL ? strchr(caller, '<') : NULL;

	from = from != NULL ? from + 1 : caller != NULL ? caller : "";
	(void)snprintf(call->caller, sizeof(call->caller), "%.*s",
	    (int)strcspn(from, ">"), from);
}

/* Where it goes to, and what will become of it. */
int
sim_dial_read_endpoint(struct sim_call *call, const char *endpoint)
{
	const struct sim_options *options = &call->sim->options;
	const char *trunk = strchr(endpoint, '@');

	if (strncmp(endpoint, TECHNOLOGY, strlen(TECHNOLOGY)) != 0 ||
	    trunk == NULL || strlen(endpoint) >= sizeof(call->dialled) ||
	    !has_trunk(options->trunks, trunk + 1))
		return -KAP_DENIED;
	(void)snprintf(call->dialled, sizeof(call->dialled), "%s",
	    endpoint + strlen(TECHNOLOGY));
	read_number(call);
	sim_plan_choose(&call->plan, options, &call->sim->random, call->number,
	    kind_of(trunk + 1));
	(void)snprintf(call->name, sizeof(call->name), TECHNOLOGY
	    "%.32s-%08x", trunk + 1, call->sim->next_channel);
	return call->plan.fails ? -KAP_DENIED : 0;
}
