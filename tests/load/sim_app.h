/*
 * Stasis apps: who is connected for each, and which events it wants.
 */
#ifndef SIM_APP_H
#define SIM_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_fault.h"

struct cJSON;
struct sim_conn;

struct sim_app {
	char name[SIM_APP_SIZE];
	struct sim_conn *conn; /* NULL: nobody */
	bool has_stranger;     /* somebody else took it: events go there */
	unsigned calls;        /* channels that report to it */
	uint32_t disallowed;   /* by enum sim_event_type */
	struct cJSON *filter;  /* as it was set; NULL: none */
	uint64_t events;
};

/* NULL for one that there isn't. */
struct sim_app *sim_app_find(const struct sim *sim, const char *name);

/* Whether a channel may enter it. */
bool sim_app_is_active(const struct sim_app *app);

/*
 * A WebSocket for it: whoever had it before gets ApplicationReplaced.
 * Returns 0 or -KAP_NOMEM.
 */
KAP_MUST_USE int sim_app_connect(struct sim *sim, const char *name,
    struct sim_conn *conn);

/* The connection is gone. An app without channels is then gone too. */
void sim_app_disconnect(struct sim *sim, const struct sim_conn *conn);

/* A stranger takes it over. */
void sim_app_replace(struct sim *sim, struct sim_app *app);

/*
 * Its events go to nobody from now on, and who is connected for it isn't told:
 * a stranger has it; or it is gone, as far as its channels allow.
 */
void sim_app_deafen(struct sim *sim, struct sim_app *app, bool has_stranger);

/* A channel reports to it from now on, or no more. */
void sim_app_hold(struct sim_app *app);
void sim_app_release(struct sim *sim, const char *name);

/* {"allowed":[…],"disallowed":[…]}; allowed is kept, not heeded. */
KAP_MUST_USE int sim_app_set_filter(struct sim_app *app,
    const struct cJSON *filter);

/* As GET /applications/… shows it; of what it is told, channels alone. */
void sim_app_render(const struct sim *sim, const struct sim_app *app,
    struct sim_text *out);

/* Forget all of them. */
void sim_apps_clear(struct sim *sim);

#endif
