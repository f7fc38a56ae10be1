/*
 * What an originate's endpoint and caller say: whom it calls, over which
 * trunk, and what will become of it.
 */
#ifndef SIM_DIAL_H
#define SIM_DIAL_H

#include "shared/errors.h"

struct sim_call;

/* "Name <number>", or the number alone; NULL: none. */
void sim_dial_read_caller(struct sim_call *call, const char *caller);

/*
 * "PJSIP/00<number>@<trunk>": the channel's name, number and plan. Returns 0,
 * or -KAP_DENIED (no such trunk, or the plan says that it fails).
 */
KAP_MUST_USE int sim_dial_read_endpoint(struct sim_call *call,
    const char *endpoint);

#endif
