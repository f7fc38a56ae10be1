/*
 * What AMD will find was chosen with the call's plan; how long it takes, too.
 * A snoop channel is a channel in the table as any other, with nobody at its
 * other end.
 */
#include "sim_snoop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "sim_app.h"
#include "sim_call.h"

int
sim_snoop_begin(struct sim_call *spied, const char *id, const char *app,
    struct sim_call **snoop_out)
{
	const struct sim_call_order order = { .id = id, .app = app };
	struct sim *sim = spied->sim;
	struct sim_call *snoop;
	int rc;

	/* one that listens has no far end, so nothing for AMD to find */
	if (spied->spied != NULL)
		return -KAP_INVAL;
	if (id != NULL && strlen(id) >= SIM_ID_SIZE)
		return -KAP_INVAL;
	if (!sim_app_is_active(sim_app_find(sim, app)))
		return -KAP_STATE;
	rc = sim_call_make_up(sim, &order, &snoop);
	if (rc != 0)
		return rc;
	(void)snprintf(snoop->name, sizeof(snoop->name), "Snoop/%.40s-%08x",
	    spied->id, snoop->number_in_order);
	snoop->spied = spied;
	snoop->next_snoop = spied->snoops;
	spied->snoops = snoop;
	(void)sim_call_enter_stasis(snoop);
	*snoop_out = snoop;
	return 0;
}

/* The app before the bar of "<app>|<arguments>"; false: there is none. */
static bool
read_app(const struct sim_call *snoop, char out[SIM_APP_SIZE])
{
	const char *value = sim_call_variable(snoop, SIM_AMD_VARIABLE);
	const size_t len = value != NULL ? strcspn(value, "|") : 0;

	if (len == 0 || len >= SIM_APP_SIZE)
		return false;
	memcpy(out, value, len);
	out[len] = '\0';
	return true;
}

void
sim_snoop_continue(struct sim_call *call, const char *context)
{
	char app[SIM_APP_SIZE];

	sim_call_leave_stasis(call);
	if (call->spied == NULL || strcmp(context, SIM_AMD_CONTEXT) != 0 ||
	    !read_app(call, app)) {
		sim_call_vanish(call);
		return;
	}
	memcpy(call->app, app, sizeof(call->app));
	(void)snprintf(call->args, sizeof(call->args), "amd,%s",
	    call->spied->plan.verdict->words);
	sim_call_return_after(call, call->spied->plan.verdict_ms);
}

bool
sim_snoop_return(struct sim_call *snoop)
{
	return sim_call_enter_stasis(snoop);
}

void
sim_snoop_unlink(struct sim_call *snoop)
{
	struct sim_call **at;

	if (snoop->spied == NULL)
		return;
	for (at = &snoop->spied->snoops; *at != snoop;
	    at = &(*at)->next_snoop)
		;
	*at = snoop->next_snoop;
	snoop->spied = NULL;
}

void
sim_snoops_end(struct sim_call *spied)
{
	while (spied->snoops != NULL)
		sim_call_vanish(spied->snoops);
}
