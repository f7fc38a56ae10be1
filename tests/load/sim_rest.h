/*
 * Asterisk's REST interface, whichever way a request came: the part of it
 * that kaphila uses, with Asterisk's answers.
 */
#ifndef SIM_REST_H
#define SIM_REST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim_fault.h"

struct cJSON;
struct evkeyvalq;

#define SIM_REST_SEGMENTS 5

/* A request as a handler sees it. */
struct sim_request {
	const char *method;
	const char *segments[SIM_REST_SEGMENTS]; /* decoded */
	int segment_count;
	const struct evkeyvalq *query;
	const struct cJSON *body; /* an object, or NULL */
};

struct sim_reply {
	int status;
	const char *reason;
	struct sim_text body;    /* "": none */
	char location[SIM_ID_SIZE + 32];
	const char *allow;       /* with a 405 */
	int64_t delay_ms;
};

/* How a request came. */
struct sim_rest_call {
	const char *app;    /* of the WebSocket; "": HTTP */
	const char *method;
	const char *uri;    /* below /ari, with its query, without a slash */
	const char *body;   /* NULL or "": none */
	size_t body_len;
};

enum sim_rest_outcome {
	SIM_REST_REPLY, /* send what is in the reply */
	SIM_REST_NO_REPLY,
	SIM_REST_LATER  /* all is frozen: the same again after the thaw */
};

/* reply  begins as all zero; sim_text_deinit its body */
enum sim_rest_outcome sim_rest_run(struct sim *sim,
    const struct sim_rest_call *call, struct sim_reply *reply);

/* --- for handlers --------------------------------------------------------- */

/* A parameter from the body, else from the query; NULL: there is none. */
const char *sim_rest_text(const struct sim_request *request,
    const char *name);
int64_t sim_rest_number(const struct sim_request *request, const char *name,
    int64_t fallback);

/* {"message":…} */
void sim_rest_refuse(struct sim_reply *reply, int status, const char *reason,
    const char *message);
/* 200, and where its body is to be added. */
struct sim_text *sim_rest_ok(struct sim_reply *reply);
void sim_rest_no_content(struct sim_reply *reply);

typedef void sim_rest_handler(struct sim *sim,
    const struct sim_request *request, struct sim_reply *reply);

/* sim_rest_channels.c */
sim_rest_handler sim_rest_list_channels, sim_rest_originate,
    sim_rest_get_channel, sim_rest_hang_up, sim_rest_get_variable,
    sim_rest_set_variable;
/* sim_rest_bridges.c */
sim_rest_handler sim_rest_list_bridges, sim_rest_create_bridge,
    sim_rest_get_bridge, sim_rest_destroy_bridge, sim_rest_add_channel,
    sim_rest_remove_channel, sim_rest_record, sim_rest_get_recording,
    sim_rest_stop_recording;
/* sim_rest_plays.c */
sim_rest_handler sim_rest_play_to_channel, sim_rest_play_to_bridge,
    sim_rest_get_playback, sim_rest_stop_playback, sim_rest_snoop,
    sim_rest_continue;
/* sim_rest_other.c */
sim_rest_handler sim_rest_get_global, sim_rest_get_module, sim_rest_info,
    sim_rest_ping, sim_rest_list_apps, sim_rest_get_app, sim_rest_set_filter,
    sim_rest_subscribe, sim_rest_send_event;

#endif
