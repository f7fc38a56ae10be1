/*
 * Snoop channels, and the piece of dialplan that they are sent to: AMD listens
 * for a while and sends the channel back to its app with a verdict.
 */
#ifndef SIM_SNOOP_H
#define SIM_SNOOP_H

#include <stdbool.h>

#include "shared/errors.h"
#include "sim.h"

struct sim_call;

/* The part of the dialplan that kaphila ships (deploy/asterisk/fragments). */
#define SIM_AMD_CONTEXT "kaphila-amd"
#define SIM_AMD_VARIABLE "KAPHILA_AMD"
#define SIM_AMD_VERSION_VARIABLE "KAPHILA_AMD_VERSION"
#define SIM_AMD_VERSION "1"

/*
 * Begin to listen to a channel; the snoop channel is in the app at once.
 *
 * id  NULL: one is made up
 *
 * Returns 0; -KAP_EXISTS (the id is taken); -KAP_INVAL (it is too long, or
 * `spied` is a snoop channel itself, which Asterisk allows and this does not);
 * -KAP_STATE (nobody has the app); -KAP_NOMEM.
 */
KAP_MUST_USE int sim_snoop_begin(struct sim_call *spied, const char *id,
    const char *app, struct sim_call **snoop_out);

/*
 * A channel leaves Stasis for the dialplan: a snoop to be judged, if it goes
 * to AMD; any other, and one that AMD has no app for, ends there.
 */
void sim_snoop_continue(struct sim_call *call, const char *context);

/*
 * AMD has listened long enough: back into the app. False: the channel is
 * gone, for nobody has the app.
 */
bool sim_snoop_return(struct sim_call *snoop);

/* The channel that they listen to ends, and they with it. */
void sim_snoops_end(struct sim_call *spied);

/* A snoop channel is about to go: its channel forgets it. */
void sim_snoop_unlink(struct sim_call *snoop);

#endif
