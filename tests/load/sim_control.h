/*
 * The control port: HTTP and JSON on loopback. What is there, what rang, what
 * is to go wrong.
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "shared/errors.h"
#include "sim.h"

/* Listen. Returns 0, -KAP_IO (errno tells) or -KAP_NOMEM. */
KAP_MUST_USE int sim_control_open(struct sim *sim);
void sim_control_close(struct sim *sim);

/* The totals as JSON, with what is there now. */
void sim_control_render_totals(const struct sim *sim, struct sim_text *out);

#endif
