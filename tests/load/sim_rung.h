/*
 * Which channel ids were originated, and how often: over restarts of what is
 * simulated, for a phone must not ring twice. Of a bounded number of ids; the
 * oldest are forgotten.
 */
#ifndef SIM_RUNG_H
#define SIM_RUNG_H

#include <stddef.h>

#include "sim.h"

struct sim_rung *sim_rung_new(size_t limit);
void sim_rung_free(struct sim_rung **rung);

/* An originate is carried out. How often it was, this time included. */
unsigned sim_rung_count(struct sim_rung *rung, const char *channel,
    const char *number);

/* {"by_channel":{id:n,…},"by_number":{number:n,…}} */
void sim_rung_render(const struct sim_rung *rung, struct sim_text *out);

#endif
