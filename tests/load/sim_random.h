/*
 * Random numbers that are the same again for the same seed. Not for secrets.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdint.h>

struct sim_random {
	uint64_t state;
};

void sim_random_init(struct sim_random *random, uint64_t seed);

uint64_t sim_random_next(struct sim_random *random);

/* least..most, both included; `least` where most is not more. */
int64_t sim_random_range(struct sim_random *random, int64_t least,
    int64_t most);

#endif
