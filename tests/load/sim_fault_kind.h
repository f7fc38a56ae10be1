/*
 * Between the list of armed faults (sim_fault.c) and what each does
 * (sim_fault_act.c).
 */
#ifndef SIM_FAULT_KIND_H
#define SIM_FAULT_KIND_H

#include "sim_fault.h"

enum sim_fault_class {
	SIM_FAULT_WORLD,   /* happens to connections or to all; any moment */
	SIM_FAULT_FRAME,   /* to the frame of an event */
	SIM_FAULT_COMMAND  /* to a command or its reply */
};

struct sim_fault_values {
	char app[SIM_APP_SIZE]; /* "": every one */
	char channel[SIM_ID_SIZE];
	char number[SIM_NUMBER_SIZE]; /* the end of the number dialled */
	int64_t ms;    /* "seconds" too; -1: not said */
	int64_t bytes; /* -1: not said */
	int64_t status;
	bool timers;   /* freeze: channels go on */
	bool entity;   /* restart: another one answers */
	bool graceful; /* restart: it hangs up first */
};

/* Where a fault happens. */
struct sim_fault_site {
	const struct sim_fault_values *values;
	const char *app;             /* whose connections it is about */
	struct sim_verdict *verdict; /* at a command, else NULL */
	enum sim_fate *fate;         /* at an event that is sent, else NULL */
};

struct sim_fault_kind {
	const char *name;
	enum sim_fault_class type;
	void (*act)(struct sim *sim, const struct sim_fault_site *site);
	bool ringing_alone; /* happens at no other moment */
};

/* NULL for a name that no fault has. */
const struct sim_fault_kind *sim_fault_kind_find(const char *name);

/* All names, between commas. */
void sim_fault_kind_names(struct sim_text *out);

#endif
