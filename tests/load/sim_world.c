/*
 * A restart waits for the end of the turn, for whoever asked for it may be in
 * the middle of what it ends.
 */
#include "sim_world.h"

#include <stdio.h>
#include <stdlib.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "shared/clock.h"
#include "sim_app.h"
#include "sim_bridge.h"
#include "sim_call.h"
#include "sim_server.h"

static const struct {
	int version;
	const char *text;
} versions[] = {
	{ 16, "16.28.0~sim" },
	{ 20, "20.6.0~sim" },
	{ 22, "22.10.1~sim" },
};

#define FAREWELL_MS 50

struct sim_world {
	struct sim *sim;
	struct event on_farewell;
	struct event on_restart;
	struct event on_thaw;
	int64_t down_ms; /* of the restart under way */
	bool as_another;
};

const char *
sim_world_version(const struct sim *sim)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (versions[i].version == sim->options.version)
			return versions[i].text;
	}
	return "0~sim";
}

static void
make_entity(struct sim *sim)
{
	const uint64_t random = sim_random_next(&sim->random);

	(void)snprintf(sim->entity, sizeof(sim->entity),
	    "02:%02x:%02x:%02x:%02x:%02x", (unsigned)(random & 0xff),
	    (unsigned)(random >> 8 & 0xff), (unsigned)(random >> 16 & 0xff),
	    (unsigned)(random >> 24 & 0xff), (unsigned)(random >> 32 & 0xff));
}

/* ---- restart ---- */

static void
wait_ms(struct event *event, int64_t ms)
{
	const struct timeval after = { .tv_sec = ms / 1000,
		.tv_usec = ms % 1000 * 1000 };

	(void)event_add(event, &after);
}

static void
on_restart_due(evutil_socket_t fd, short what, void *arg)
{
	const struct sim_world *world = arg;
	struct sim *sim = world->sim;

	(void)fd;
	(void)what;
	sim_server_drop_all(sim);
	sim_calls_clear(sim);
	sim_bridges_clear(sim);
	sim_apps_clear(sim);
	if (world->as_another)
		make_entity(sim);
	/* never the same time again, however soon */
	sim->started_ms = clock_wall_ms() > sim->started_ms ?
	    clock_wall_ms() : sim->started_ms + 1;
	sim->totals.restarts++;
	sim_server_refuse(sim, world->down_ms);
	sim->dying = false;
}

static void
on_farewell_due(evutil_socket_t fd, short what, void *arg)
{
	struct sim_world *world = arg;

	(void)fd;
	(void)what;
	sim_calls_end(world->sim);
	wait_ms(&world->on_restart, FAREWELL_MS);
}

void
sim_world_restart(struct sim *sim, int64_t down_ms, bool graceful,
    bool as_another)
{
	struct sim_world *world = sim->world;

	if (sim->dying)
		return;
	world->down_ms = down_ms;
	world->as_another = as_another;
	sim->dying = !graceful;
	wait_ms(graceful ? &world->on_farewell : &world->on_restart, 0);
}

/* ---- freeze ---- */

static void
on_thaw_due(evutil_socket_t fd, short what, void *arg)
{
	struct sim *sim = ((const struct sim_world *)arg)->sim;

	(void)fd;
	(void)what;
	sim->frozen = false;
	sim->timers_frozen = false;
	sim_calls_thaw(sim);
	sim_server_thaw(sim);
}

void
sim_world_freeze(struct sim *sim, int64_t ms, bool timers)
{
	sim->frozen = true;
	sim->timers_frozen = !timers;
	sim_server_freeze(sim);
	wait_ms(&sim->world->on_thaw, ms);
}

/* ---- lifecycle ---- */

int
sim_world_init(struct sim *sim)
{
	struct sim_world *world = calloc(1, sizeof(*world));

	if (world == NULL)
		return -KAP_NOMEM;
	sim->world = world;
	world->sim = sim;
	(void)evtimer_assign(&world->on_farewell, sim->base, on_farewell_due,
	    world);
	(void)evtimer_assign(&world->on_restart, sim->base, on_restart_due,
	    world);
	(void)evtimer_assign(&world->on_thaw, sim->base, on_thaw_due, world);
	sim_random_init(&sim->random, sim->options.seed);
	make_entity(sim);
	sim->started_ms = clock_wall_ms();
	return 0;
}

void
sim_world_deinit(struct sim *sim)
{
	if (sim->world == NULL)
		return;
	sim->dying = true;
	sim_calls_clear(sim);
	sim_bridges_clear(sim);
	sim_apps_clear(sim);
	sim_table_deinit(&sim->recordings);
	sim_table_deinit(&sim->plays);
	sim_text_deinit(&sim->scratch);
	(void)event_del(&sim->world->on_farewell);
	(void)event_del(&sim->world->on_restart);
	(void)event_del(&sim->world->on_thaw);
	free(sim->world);
	sim->world = NULL;
}
