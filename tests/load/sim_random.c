/*
 * SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
 * Generators", 2014): any seed will do, zero too.
 */
#include "sim_random.h"

void
sim_random_init(struct sim_random *random, uint64_t seed)
{
	random->state = seed;
}

uint64_t
sim_random_next(struct sim_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15U;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

int64_t
sim_random_range(struct sim_random *random, int64_t least, int64_t most)
{
	if (most <= least)
		return least;
	return least + (int64_t)(sim_random_next(random) %
	    (uint64_t)(most - least + 1));
}
