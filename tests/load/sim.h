/*
 * What the parts of the simulator share: the world they act in. Each table is
 * changed by the module of its name alone.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_options.h"
#include "sim_random.h"
#include "sim_table.h"
#include "sim_text.h"

struct event_base;
struct sim_control;
struct sim_faults;
struct sim_rung;
struct sim_server;
struct sim_world;

#define SIM_ID_SIZE 96   /* of a channel, a bridge, a recording */
#define SIM_APP_SIZE 96  /* name of a Stasis app */
#define SIM_NUMBER_SIZE 32

/* Since the start, over restarts of what is simulated. */
struct sim_totals {
	uint64_t requests;     /* REST, over whichever transport */
	uint64_t originates;   /* carried out: a phone may have rung */
	uint64_t duplicates;   /* refused for an id that was there */
	uint64_t refused;      /* originates that Asterisk refused */
	uint64_t rung_twice;   /* …carried out under an id used before */
	uint64_t answered;
	uint64_t destroyed;
	uint64_t dropped_calls; /* answered while nobody had their app */
	uint64_t bridges;
	uint64_t recordings;
	uint64_t plays;
	uint64_t played_twice; /* …under an id used before */
	uint64_t connects;     /* WebSockets */
	uint64_t events;       /* sent */
	uint64_t lost_events;  /* of apps that nobody was connected for */
	uint64_t replaced_apps;
	uint64_t bytes_out;
	uint64_t faults;       /* fired */
	uint64_t restarts;
};

struct sim {
	struct event_base *base;
	struct sim_options options;
	struct sim_random random;
	struct sim_totals totals;
	char entity[32];       /* as a network card's address */
	int64_t started_ms;    /* wall clock */
	uint32_t next_channel; /* numbers in channels' names */
	struct sim_table apps;
	struct sim_table calls;
	struct sim_table bridges;
	struct sim_table recordings; /* those that run */
	struct sim_table plays;      /* queued or playing */
	struct sim_world *world;
	struct sim_server *server;
	struct sim_faults *faults;
	struct sim_control *control;
	struct sim_rung *rung;
	struct sim_rung *played; /* the same, of playbacks' ids */
	struct sim_text scratch; /* of the event being made */
	bool frozen;             /* nothing is read or written */
	bool timers_frozen;      /* …and no channel goes on */
	bool dying;              /* a restart is under way: nothing leaves */
};

/* Has it what came with Asterisk 20 and 22? */
static inline bool
sim_is_newer(const struct sim *sim)
{
	return sim->options.version >= 20;
}

#endif
