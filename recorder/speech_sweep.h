/*
 * Keeps the folder of spoken texts small: what was used longest ago goes
 * first, until the rest is under its bound; what was used in the last minutes
 * stays whatever the bound says, in the last minute alone where there is more
 * than twice as much. What a dead process left unfinished goes too. All of it
 * may be made again, so nothing is ever lost by it.
 */
#ifndef KAP_RECORDER_SPEECH_SWEEP_H
#define KAP_RECORDER_SPEECH_SWEEP_H

#include <stdint.h>

#include "recorder/pool.h"
#include "shared/config.h"
#include "shared/errors.h"

struct speech_sweep;

struct speech_sweep_outcome {
	unsigned removed;     /* spoken texts */
	unsigned leftovers;   /* locks and unfinished files of dead processes */
	unsigned kept;
	uint64_t kept_bytes;
};

/*
 * Sweep once. Blocks on the disk; any thread. A folder that isn't there is
 * swept already.
 *
 * dir        speech_cache_dir's
 * max_bytes  bound of all spoken texts together
 * now_s      wall clock
 *
 * Returns 0; -KAP_NOMEM or -KAP_IO, with what was done until then.
 */
KAP_MUST_USE int speech_sweep_run(const char *dir, uint64_t max_bytes,
    int64_t now_s, struct speech_sweep_outcome *outcome_out);

/*
 * Sweeps from now and then, on a thread of `pool`. config and pool are
 * borrowed; the pool has to be freed before this. NULL: out of memory.
 */
struct speech_sweep *speech_sweep_new(struct pool *pool,
    const struct config *config);
void speech_sweep_free(struct speech_sweep **sweep);

/* Called often, from the loop: begins a sweep when one is due. */
void speech_sweep_tick(struct speech_sweep *sweep);

/* Begin no sweep from now on; one that is under way goes on. */
void speech_sweep_end(struct speech_sweep *sweep);

#endif
