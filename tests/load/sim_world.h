/*
 * What happens to the whole simulated Asterisk at once.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/errors.h"
#include "sim.h"

/* Make its identity. Returns 0 or -KAP_NOMEM. */
KAP_MUST_USE int sim_world_init(struct sim *sim);
void sim_world_deinit(struct sim *sim);

/* "22.10.1~sim": what it says it is. */
const char *sim_world_version(const struct sim *sim);

/*
 * End and begin anew, at the end of the turn: connections, channels and
 * bridges are gone.
 *
 * down_ms    connects are refused for so long
 * graceful   channels are hung up before, and their apps told
 * as_another another entity is there afterwards
 */
void sim_world_restart(struct sim *sim, int64_t down_ms, bool graceful,
    bool as_another);

/* Nothing is read or written for so long; timers: channels go on. */
void sim_world_freeze(struct sim *sim, int64_t ms, bool timers);

#endif
