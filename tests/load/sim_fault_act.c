/*
 * What each fault does. They only begin things: connections are doomed, a
 * restart is asked for; it all takes place when the turn ends.
 */
#include "sim_fault_kind.h"

#include <string.h>

#include "sim_app.h"
#include "sim_event.h"
#include "sim_server.h"
#include "sim_world.h"

#define HUGE_BYTES (1 << 20)
#define FREEZE_MS 30000
#define REFUSE_MS 2000
#define DELAY_MS 1000

/* Of the same worker, though one may be its command connection. */
static bool
are_related(const char *one, const char *other)
{
	const size_t len = strlen(one) < strlen(other) ? strlen(one) :
	    strlen(other);

	return strncmp(one, other, len) == 0 &&
	    (one[len] == '\0' || one[len] == '-') &&
	    (other[len] == '\0' || other[len] == '-');
}

/* kaphila's command connections have a name; they may not have been used. */
static bool
is_for_commands(const struct sim_conn *conn)
{
	return strstr(conn->app, "-originate-") != NULL ||
	    strstr(conn->app, "-control-") != NULL || conn->commands > 0;
}

/* HTTP tells no app: all of it is meant. */
static bool
is_meant(const struct sim_conn *conn, const char *app, bool commands)
{
	if (conn->doomed)
		return false;
	if (conn->ws == NULL)
		return commands && conn->commands > 0;
	return is_for_commands(conn) == commands &&
	    (app[0] == '\0' || are_related(app, conn->app));
}

static int64_t
ms_of(const struct sim_fault_site *site, int64_t fallback)
{
	return site->values->ms >= 0 ? site->values->ms : fallback;
}

/* ---- to connections ---- */

static void
cut(struct sim *sim, const struct sim_fault_site *site, bool commands)
{
	struct sim_conn *next;

	for (struct sim_conn *conn = sim_server_first(sim); conn != NULL;
	    conn = next) {
		next = conn->next;
		if (is_meant(conn, site->app, commands))
			sim_conn_cut(conn);
	}
}

static void
act_cut_events(struct sim *sim, const struct sim_fault_site *site)
{
	cut(sim, site, false);
}

/* Before a command: it was never read. */
static void
act_cut_commands(struct sim *sim, const struct sim_fault_site *site)
{
	cut(sim, site, true);
	if (site->verdict != NULL)
		site->verdict->drop_request = true;
}

static void
silence(struct sim *sim, const struct sim_fault_site *site, bool commands)
{
	for (struct sim_conn *conn = sim_server_first(sim); conn != NULL;
	    conn = conn->next) {
		if (is_meant(conn, site->app, commands))
			sim_conn_silence(conn, ms_of(site, 0));
	}
}

static void
act_silence(struct sim *sim, const struct sim_fault_site *site)
{
	silence(sim, site, false);
}

static void
act_silence_commands(struct sim *sim, const struct sim_fault_site *site)
{
	silence(sim, site, true);
}

static void
send_unknown(struct sim *sim, const struct sim_fault_site *site,
    int64_t bytes)
{
	for (struct sim_conn *conn = sim_server_first(sim); conn != NULL;
	    conn = conn->next) {
		if (conn->ws != NULL && is_meant(conn, site->app, false))
			sim_event_unknown(sim, conn, (size_t)bytes);
	}
}

static void
act_unknown_event(struct sim *sim, const struct sim_fault_site *site)
{
	send_unknown(sim, site, 0);
}

static void
act_huge_event(struct sim *sim, const struct sim_fault_site *site)
{
	send_unknown(sim, site, site->values->bytes >= 0 ?
	    site->values->bytes : HUGE_BYTES);
}

/* ---- to apps ---- */

/* The app whose events a connection gets, if it is meant; or NULL. */
static struct sim_app *
app_of(const struct sim *sim, const struct sim_conn *conn,
    const struct sim_fault_site *site)
{
	struct sim_app *app = sim_app_find(sim, conn->app);

	if (conn->ws == NULL || !is_meant(conn, site->app, false) ||
	    app == NULL || app->conn != conn)
		return NULL;
	return app;
}

static void
act_replace_app(struct sim *sim, const struct sim_fault_site *site)
{
	for (struct sim_conn *conn = sim_server_first(sim); conn != NULL;
	    conn = conn->next) {
		struct sim_app *app = app_of(sim, conn, site);

		if (app != NULL)
			sim_app_replace(sim, app);
	}
}

static void
deafen(struct sim *sim, const struct sim_fault_site *site, bool has_stranger)
{
	for (struct sim_conn *conn = sim_server_first(sim); conn != NULL;
	    conn = conn->next) {
		struct sim_app *app = app_of(sim, conn, site);

		if (app != NULL)
			sim_app_deafen(sim, app, has_stranger);
	}
}

static void
act_steal_app(struct sim *sim, const struct sim_fault_site *site)
{
	deafen(sim, site, true);
}

static void
act_forget_app(struct sim *sim, const struct sim_fault_site *site)
{
	deafen(sim, site, false);
}

/* ---- to all ---- */

static void
act_restart(struct sim *sim, const struct sim_fault_site *site)
{
	sim_world_restart(sim, ms_of(site, 0), site->values->graceful,
	    site->values->entity);
}

static void
act_freeze(struct sim *sim, const struct sim_fault_site *site)
{
	sim_world_freeze(sim, ms_of(site, FREEZE_MS), site->values->timers);
}

static void
act_refuse_connect(struct sim *sim, const struct sim_fault_site *site)
{
	sim_server_refuse(sim, ms_of(site, REFUSE_MS));
}

/* ---- to the frame of an event ---- */

static void
act_half_frame(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	*site->fate = SIM_FATE_HALF;
}

static void
act_repeat_frame(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	*site->fate = SIM_FATE_REPEAT;
}

static void
act_out_of_order(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	*site->fate = SIM_FATE_SWAP;
}

static void
act_lose_event(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	*site->fate = SIM_FATE_LOSE;
}

static void
act_late_ringing(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	*site->fate = SIM_FATE_LATE;
}

/* ---- to a command ---- */

static void
act_delay_replies(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	site->verdict->delay_ms = ms_of(site, DELAY_MS);
}

static void
act_drop_reply(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	site->verdict->drop_reply = true;
}

static void
act_drop_request(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	site->verdict->drop_request = true;
}

static void
act_refuse_command(struct sim *sim, const struct sim_fault_site *site)
{
	(void)sim;
	site->verdict->status = (int)site->values->status;
}

static const struct sim_fault_kind kinds[] = {
	{ "cut_events", SIM_FAULT_WORLD, act_cut_events, false },
	{ "cut_commands", SIM_FAULT_WORLD, act_cut_commands, false },
	{ "silence", SIM_FAULT_WORLD, act_silence, false },
	{ "silence_commands", SIM_FAULT_WORLD, act_silence_commands, false },
	{ "unknown_event", SIM_FAULT_WORLD, act_unknown_event, false },
	{ "huge_event", SIM_FAULT_WORLD, act_huge_event, false },
	{ "replace_app", SIM_FAULT_WORLD, act_replace_app, false },
	{ "steal_app", SIM_FAULT_WORLD, act_steal_app, false },
	{ "forget_app", SIM_FAULT_WORLD, act_forget_app, false },
	{ "restart", SIM_FAULT_WORLD, act_restart, false },
	{ "freeze", SIM_FAULT_WORLD, act_freeze, false },
	{ "refuse_connect", SIM_FAULT_WORLD, act_refuse_connect, false },
	{ "half_frame", SIM_FAULT_FRAME, act_half_frame, false },
	{ "repeat_frame", SIM_FAULT_FRAME, act_repeat_frame, false },
	{ "out_of_order", SIM_FAULT_FRAME, act_out_of_order, false },
	{ "lose_event", SIM_FAULT_FRAME, act_lose_event, false },
	{ "late_ringing", SIM_FAULT_FRAME, act_late_ringing, true },
	{ "delay_replies", SIM_FAULT_COMMAND, act_delay_replies, false },
	{ "drop_reply", SIM_FAULT_COMMAND, act_drop_reply, false },
	{ "drop_request", SIM_FAULT_COMMAND, act_drop_request, false },
	{ "refuse_command", SIM_FAULT_COMMAND, act_refuse_command, false },
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

const struct sim_fault_kind *
sim_fault_kind_find(const char *name)
{
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

void
sim_fault_kind_names(struct sim_text *out)
{
	for (size_t i = 0; i < KIND_COUNT; i++) {
		if (i > 0)
			sim_text_add(out, i % 6 == 0 ? ",\n    " : ", ");
		sim_text_add(out, kinds[i].name);
	}
}
