/*
 * Faults that the control port asks for: what is to go wrong, at which
 * moment, for whom, how often. Here they are kept, and looked up at each
 * moment; doing them is sim_fault_act.c's.
 */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/errors.h"
#include "sim.h"

struct cJSON;
struct sim_call;

/* The requests that faults tell apart. */
enum sim_command {
	SIM_COMMAND_OTHER,
	SIM_COMMAND_ORIGINATE,
	SIM_COMMAND_HANGUP,
	SIM_COMMAND_BRIDGE_CREATE,
	SIM_COMMAND_BRIDGE_ADD,
	SIM_COMMAND_RECORD,
	SIM_COMMAND_RECORD_STOP,
	SIM_COMMAND_BRIDGE_DESTROY,
	SIM_COMMAND_LIST,     /* of channels or bridges */
	SIM_COMMAND_LOOK,     /* at one channel */
	SIM_COMMAND_VARIABLE,
	SIM_COMMAND_INFO,
	SIM_COMMAND_FILTER,
	SIM_COMMAND_PLAY,
	SIM_COMMAND_PLAY_STOP,
	SIM_COMMAND_SNOOP,
	SIM_COMMAND_CONTINUE,
	SIM_COMMAND_COUNT
};

/* The events, and what faults call the moment of each. */
enum sim_event_type {
	SIM_EVENT_DIAL,
	SIM_EVENT_RINGING, /* a ChannelStateChange */
	SIM_EVENT_ANSWER,  /* likewise */
	SIM_EVENT_VARSET,
	SIM_EVENT_STASIS_START,
	SIM_EVENT_ENTERED,
	SIM_EVENT_RECORDING_STARTED,
	SIM_EVENT_DTMF,
	SIM_EVENT_HANGUP_REQUEST,
	SIM_EVENT_LEFT,
	SIM_EVENT_RECORDING_FINISHED,
	SIM_EVENT_STASIS_END,
	SIM_EVENT_DESTROYED,
	SIM_EVENT_BRIDGE_DESTROYED,
	SIM_EVENT_PLAY_STARTED,
	SIM_EVENT_PLAY_FINISHED,
	SIM_EVENT_COUNT
};

/* Asterisk's name of an event. */
const char *sim_event_name(enum sim_event_type type);

/* What a moment is about; NULL or "" where it is about none. */
struct sim_subject {
	const char *app;
	const char *channel; /* or the bridge */
	const char *number;  /* as dialled */
};

/* What becomes of a command; all zero: it is carried out and answered. */
struct sim_verdict {
	bool drop_request;
	bool drop_reply;
	int status;       /* answer that, and do nothing; 0: no */
	int64_t delay_ms; /* of the reply */
};

/* What becomes of an event's frame. */
enum sim_fate {
	SIM_FATE_SEND,
	SIM_FATE_LOSE,   /* never sent */
	SIM_FATE_LATE,   /* the call keeps it for later */
	SIM_FATE_HALF,   /* half of it, and the connection is cut */
	SIM_FATE_REPEAT, /* sent twice */
	SIM_FATE_SWAP    /* sent behind the next one */
};

/* NULL when out of memory. */
struct sim_faults *sim_faults_new(void);
void sim_faults_free(struct sim_faults **faults);

/*
 * Arm a fault; one for now has happened when this returns.
 *
 * spec    {"fault":NAME,"at":MOMENT,"app":…,"number":…,"channel":…,
 *         "count":N,"seconds":S,"ms":N,"bytes":N,"status":N,…}
 * id_out  its number in the list
 * msg     what is wrong with spec
 *
 * Returns 0, -KAP_INVAL or -KAP_NOMEM.
 */
KAP_MUST_USE int sim_fault_arm(struct sim *sim, const struct cJSON *spec,
    unsigned *id_out, struct kap_errmsg *msg);

/* A list of all as JSON, with how often each fired. */
void sim_faults_render(const struct sim *sim, struct sim_text *out);

/* The words for faults and moments, for a person. */
void sim_faults_explain(struct sim_text *out);

/* Forget all; what has begun goes on. */
void sim_faults_clear(struct sim *sim);

/* --- the moments ---------------------------------------------------------- */

/* A command has come (after: …and was carried out, its reply isn't sent). */
void sim_fault_at_command(struct sim *sim, enum sim_command command,
    bool after, const struct sim_subject *subject,
    struct sim_verdict *verdict);

/*
 * An event is about to be made.
 *
 * is_sent  somebody would get it
 *
 * The connection of its app may be gone afterwards.
 */
enum sim_fate sim_fault_at_event(struct sim *sim, enum sim_event_type type,
    const struct sim_subject *subject, bool is_sent);

/* A WebSocket is up; subject->app is its. */
void sim_fault_at_connect(struct sim *sim, const struct sim_subject *subject);

#endif
