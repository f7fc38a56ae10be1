/*
 * A bridge is heard of by the app of the first channel that entered it. A
 * recorder's channel leaves with the last other one, so its recording ends
 * then; one that was begun in an empty bridge ends with the bridge.
 */
#include "sim_bridge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/clock.h"
#include "sim_call.h"
#include "sim_event.h"
#include "sim_play.h"
#include "sim_record.h"

struct sim_bridge *
sim_bridge_find(const struct sim *sim, const char *id)
{
	return sim_table_get(&sim->bridges, id);
}

int
sim_bridge_create(struct sim *sim, const char *id, const char *name,
    struct sim_bridge **bridge_out)
{
	struct sim_bridge *bridge = calloc(1, sizeof(*bridge));
	int rc;

	if (bridge == NULL)
		return -KAP_NOMEM;
	(void)snprintf(bridge->id, sizeof(bridge->id), "%s", id);
	(void)snprintf(bridge->name, sizeof(bridge->name), "%s", name);
	bridge->created_ms = clock_wall_ms();
	rc = sim_table_add(&sim->bridges, bridge->id, bridge);
	if (rc != 0) {
		free(bridge);
		return rc;
	}
	sim->totals.bridges++;
	*bridge_out = bridge;
	return 0;
}

static void
end_recordings(struct sim *sim, struct sim_bridge *bridge)
{
	while (bridge->recordings != NULL) {
		struct sim_recording *recording = bridge->recordings;

		bridge->recordings = recording->next;
		sim_recording_finish(sim, recording);
	}
}

void
sim_bridge_add(struct sim *sim, struct sim_bridge *bridge,
    struct sim_call *call)
{
	sim_bridge_leave(sim, call, true);
	if (bridge->app[0] == '\0')
		memcpy(bridge->app, call->app, sizeof(bridge->app));
	call->bridge = bridge;
	call->next_in_bridge = bridge->calls;
	bridge->calls = call;
	sim_event_bridge_channel(sim, call, bridge, SIM_EVENT_ENTERED);
}

void
sim_bridge_leave(struct sim *sim, struct sim_call *call, bool stays)
{
	struct sim_bridge *bridge = call->bridge;
	struct sim_call **at;

	if (bridge == NULL)
		return;
	for (at = &bridge->calls; *at != call; at = &(*at)->next_in_bridge)
		;
	*at = call->next_in_bridge;
	call->bridge = NULL;
	sim_event_bridge_channel(sim, call, bridge, SIM_EVENT_LEFT);
	if (bridge->calls != NULL)
		return;
	end_recordings(sim, bridge);
	if (stays)
		bridge->app[0] = '\0';
}

void
sim_bridge_destroy(struct sim *sim, struct sim_bridge *bridge)
{
	(void)sim_table_remove(&sim->bridges, bridge->id);
	while (bridge->calls != NULL)
		sim_bridge_leave(sim, bridge->calls, true);
	sim_plays_end(sim, &bridge->plays, true);
	sim_event_bridge_destroyed(sim, bridge);
	end_recordings(sim, bridge);
	free(bridge);
}

void
sim_bridge_render(const struct sim_bridge *bridge, struct sim_text *out)
{
	sim_text_add(out, "{\"id\":");
	sim_text_add_quoted(out, bridge->id);
	sim_text_add(out, ",\"technology\":\"simple_bridge\","
	    "\"bridge_type\":\"mixing\",\"bridge_class\":\"stasis\","
	    "\"creator\":\"Stasis\",\"name\":");
	sim_text_add_quoted(out, bridge->name);
	sim_text_add(out, ",\"channels\":[");
	for (const struct sim_call *call = bridge->calls; call != NULL;
	    call = call->next_in_bridge) {
		if (call != bridge->calls)
			sim_text_add(out, ",");
		sim_text_add_quoted(out, call->id);
	}
	sim_text_add(out, "],\"creationtime\":");
	sim_text_add_time(out, bridge->created_ms);
	sim_text_add(out, ",\"video_mode\":\"talker\"}");
}

void
sim_bridges_clear(struct sim *sim)
{
	struct sim_bridge *bridge;
	size_t at = 0;

	while ((bridge = sim_table_next(&sim->bridges, &at)) != NULL) {
		sim_plays_clear(sim, &bridge->plays);
		while (bridge->recordings != NULL) {
			struct sim_recording *recording = bridge->recordings;

			bridge->recordings = recording->next;
			sim_recording_abandon(sim, recording);
		}
		free(bridge);
	}
	sim_table_deinit(&sim->bridges);
}
