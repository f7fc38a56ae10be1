/*
 * Events as Asterisk words them, sent to the app they are for.
 */
#ifndef SIM_EVENT_H
#define SIM_EVENT_H

#include <stdbool.h>

#include "sim_fault.h"

struct sim_bridge;
struct sim_call;
struct sim_conn;
struct sim_playback;
struct sim_recording;

enum sim_fate sim_event_dial(struct sim *sim, const struct sim_call *call,
    const char *dialstatus);

/* type: SIM_EVENT_RINGING or SIM_EVENT_ANSWER */
enum sim_fate sim_event_state(struct sim *sim, const struct sim_call *call,
    enum sim_event_type type);

void sim_event_varset(struct sim *sim, const struct sim_call *call,
    const char *name, const char *value);
void sim_event_stasis_start(struct sim *sim, const struct sim_call *call);
void sim_event_stasis_end(struct sim *sim, const struct sim_call *call);
void sim_event_dtmf(struct sim *sim, const struct sim_call *call, char digit);

/* cause 0: none told; sip 0 likewise; soft: by the API */
void sim_event_hangup_request(struct sim *sim, const struct sim_call *call,
    int cause, int sip, bool soft);
void sim_event_destroyed(struct sim *sim, const struct sim_call *call,
    int cause, int sip);

/* type: SIM_EVENT_ENTERED or SIM_EVENT_LEFT */
void sim_event_bridge_channel(struct sim *sim, const struct sim_call *call,
    const struct sim_bridge *bridge, enum sim_event_type type);
void sim_event_bridge_destroyed(struct sim *sim,
    const struct sim_bridge *bridge);

/* type: SIM_EVENT_RECORDING_STARTED or …_FINISHED */
void sim_event_recording(struct sim *sim,
    const struct sim_recording *recording, enum sim_event_type type);

/* type: SIM_EVENT_PLAY_STARTED or …_FINISHED; failed: it didn't play */
void sim_event_playback(struct sim *sim, const struct sim_playback *playback,
    enum sim_event_type type, bool failed);

/* Other texts, to one connection whatever its filter; 0 bytes: a short one. */
void sim_event_replaced(struct sim *sim, struct sim_conn *conn,
    const char *app);
void sim_event_unknown(struct sim *sim, struct sim_conn *conn, size_t bytes);
void sim_event_user(struct sim *sim, struct sim_conn *conn, const char *app,
    const char *name);

#endif
