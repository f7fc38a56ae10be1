/*
 * Bridges, their channels and their recordings.
 */
#ifndef SIM_BRIDGE_H
#define SIM_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"
#include "sim.h"

struct sim_call;
struct sim_playback;
struct sim_recording;

struct sim_bridge {
	char id[SIM_ID_SIZE];
	char name[64];
	char app[SIM_APP_SIZE]; /* hears of it; "": nobody yet */
	int64_t created_ms;     /* wall clock */
	struct sim_call *calls;
	struct sim_recording *recordings;
	struct sim_playback *plays; /* the first one plays */
};

struct sim_bridge *sim_bridge_find(const struct sim *sim, const char *id);

/* Returns 0, -KAP_EXISTS or -KAP_NOMEM. */
KAP_MUST_USE int sim_bridge_create(struct sim *sim, const char *id,
    const char *name, struct sim_bridge **bridge_out);

/* Move a channel that is in Stasis into it, out of the one it was in. */
void sim_bridge_add(struct sim *sim, struct sim_bridge *bridge,
    struct sim_call *call);

/*
 * Out of its bridge; with the last channel its recordings end.
 *
 * stays  in Stasis; the app then hears of the bridge no more
 */
void sim_bridge_leave(struct sim *sim, struct sim_call *call, bool stays);

/* Its channels leave and stay in Stasis; its recordings end. */
void sim_bridge_destroy(struct sim *sim, struct sim_bridge *bridge);

/* As ARI shows a bridge. */
void sim_bridge_render(const struct sim_bridge *bridge, struct sim_text *out);

/* All simply gone; recordings are left as they are. */
void sim_bridges_clear(struct sim *sim);

#endif
