/*
 * Channels: each an outgoing call that follows its plan until it ends, or is
 * hung up.
 */
#ifndef SIM_CALL_H
#define SIM_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event_struct.h>

#include "shared/errors.h"
#include "sim.h"
#include "sim_plan.h"

struct sim_app;
struct sim_bridge;
struct sim_playback;

enum sim_call_state { SIM_CALL_DOWN, SIM_CALL_RINGING, SIM_CALL_UP };

struct sim_variable {
	struct sim_variable *next;
	char *value;
	char name[]; /* NUL-terminated */
};

struct sim_call {
	char id[SIM_ID_SIZE];
	char name[64]; /* "PJSIP/carrier-0000001f" */
	char dialled[64]; /* "0049301234508@carrier" */
	char number[SIM_NUMBER_SIZE];
	char caller[SIM_NUMBER_SIZE];
	char app[SIM_APP_SIZE];
	char args[64]; /* of Stasis(), commas between them */
	struct sim *sim;
	enum sim_call_state state;
	bool in_stasis;
	bool subscribed;   /* its app counts it */
	bool is_followed;  /* …and was there at the originate: only then does
	                      it hear what is outside of Stasis */
	bool rings_late;   /* a fault keeps its ringing back */
	bool is_overdue;   /* waits for the thaw */
	struct sim_call *next_chained;
	struct sim_plan plan;
	struct event timer;
	uint32_t number_in_order;
	int64_t created_ms; /* wall clock */
	int64_t begun_ms;   /* monotonic, as those below */
	int64_t answered_ms;
	int64_t timeout_ms; /* of the dialling, from begun_ms */
	int64_t absolute_ms; /* from begun_ms, or SIM_NEVER */
	unsigned digits_sent; /* pauses too */
	struct sim_variable *variables;
	struct sim_bridge *bridge;     /* NULL: in none */
	struct sim_call *next_in_bridge;
	struct sim_playback *plays;    /* queued for the channel itself */
	struct sim_call *snoops;       /* that listen to it */
	struct sim_call *spied;        /* a snoop's: whom it listens to */
	struct sim_call *next_snoop;
	int64_t return_ms; /* monotonic: AMD is done with it; or SIM_NEVER */
};

/* What an originate asks for; texts are borrowed for the call. */
struct sim_call_order {
	const char *id;       /* NULL: one is made up */
	const char *endpoint; /* "PJSIP/00<number>@<trunk>" */
	const char *app;
	const char *args;
	const char *caller;
	int64_t timeout_ms;
};

/*
 * Originate. Its first event is sent; the rest follows by itself.
 *
 * Returns 0; -KAP_EXISTS (the id is taken); -KAP_DENIED (no such trunk, or
 * the plan says so); -KAP_NOMEM.
 */
KAP_MUST_USE int sim_call_originate(struct sim *sim,
    const struct sim_call_order *order, struct sim_call **call_out);

/* Borrowed; valid until the loop goes on. NULL: there is none. */
struct sim_call *sim_call_find(const struct sim *sim, const char *id);

/* Hang up from our side: the API's. `call` is gone afterwards. */
void sim_call_hang_up(struct sim_call *call, int cause);

/*
 * A channel that nobody was called for: up, and not in Stasis yet.
 *
 * order  its id, app and args alone
 *
 * Returns 0, -KAP_EXISTS or -KAP_NOMEM.
 */
KAP_MUST_USE int sim_call_make_up(struct sim *sim,
    const struct sim_call_order *order, struct sim_call **call_out);

/* Into its app; false: nobody has that, and the channel is gone. */
bool sim_call_enter_stasis(struct sim_call *call);

/* …and out of it, to the dialplan. */
void sim_call_leave_stasis(struct sim_call *call);

/* The dialplan gives it back to its app after so long. */
void sim_call_return_after(struct sim_call *call, int64_t ms);

/* It ends, asked by nobody. `call` is gone afterwards. */
void sim_call_vanish(struct sim_call *call);

/*
 * Have its app told of it, outside of Stasis too: as a subscription to it
 * does. Returns 0; -KAP_DENIED where it is another's app.
 */
KAP_MUST_USE int sim_call_follow(struct sim_call *call, struct sim_app *app);

/* NULL: it isn't set. */
const char *sim_call_variable(const struct sim_call *call, const char *name);

/* TIMEOUT(absolute) is heeded. Returns 0 or -KAP_NOMEM. */
KAP_MUST_USE int sim_call_set_variable(struct sim_call *call,
    const char *name, const char *value);

/* As ARI shows a channel. in_stasis: call->in_stasis, or how it was. */
void sim_call_render(const struct sim_call *call, enum sim_call_state state,
    bool in_stasis, struct sim_text *out);

const char *sim_call_state_name(enum sim_call_state state);

/* Q.850's words, as Asterisk has them. */
const char *sim_call_cause_text(int cause);

/* Those whose time came while all was frozen. */
void sim_calls_thaw(struct sim *sim);

/* Asterisk ends: each is hung up in good order. */
void sim_calls_end(struct sim *sim);

/* All simply gone. */
void sim_calls_clear(struct sim *sim);

#endif
