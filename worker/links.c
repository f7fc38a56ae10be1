/*
 * Callbacks of the two command links and of the event streams; what they mean
 * for calls is decided in the modules they are handed to.
 */
#include "links.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "ari_url.h"
#include "event_filter.h"
#include "media_server.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/stats.h"

#define PROOF_LOOK_MS 10

struct lane {
	struct links *links;
	const char *name;
	struct ari_command_link **link;
	uint32_t *connection; /* the change maker's */
	bool was_up;
};

struct links {
	struct links_options options;
	struct lane originate;
	struct lane control;
	bool events_up; /* of the own slot */
	bool relieved;  /* they are another process's to read now */
	bool all_up;
	bool proven;    /* what is said and what is told are of one Asterisk */
	struct ari_mark proof; /* its mark */
	struct event *on_proof_look;
	bool noted;     /* the media server is known and compared */
	bool restarted; /* …and is another process than before */
};

static unsigned
own_slot(const struct links *links)
{
	return (unsigned)links->options.runtime->args.slot;
}

static void
set_row(const struct links *links)
{
	const bool any = links->events_up || links->originate.was_up ||
	    links->control.was_up;
	const enum stats_link state = links->all_up ? STATS_LINK_UP
	    : any ? STATS_LINK_CONNECTING : STATS_LINK_DOWN;

	atomic_store_explicit(&stats_row()->ari_link, (int32_t)state,
	    memory_order_relaxed);
}

static void
set_filter(const struct links *links, unsigned slot)
{
	event_filter_set(*links->options.control,
	    &links->options.runtime->config, slot);
}

/* All links are up and the media server is known: go on with the calls. */
static void
take_up(struct links *links)
{
	const struct links_options *options = &links->options;

	for (unsigned slot = 0; slot < CHILD_MAX_WORKERS; slot++) {
		if (options->states->slots[slot].reader == STREAM_READ)
			set_filter(links, slot);
	}
	reconcile_start(options->reconcile, links->restarted);
	links->restarted = false;
	dispatch_resume(options->dispatch);
	log_info("asterisk is there");
}

/*
 * The event link may be up and of no more use, and nobody could tell while the
 * command links were down. Calls wait for a mark; where none comes, the event
 * link finds that out.
 */
static bool
prove(struct links *links, bool connected)
{
	const struct timeval soon = { .tv_usec = PROOF_LOOK_MS * 1000 };

	if (!connected) {
		memset(&links->proof, 0, sizeof(links->proof));
		links->proven = false;
	} else if (!links->proven) {
		links->proven = stream_is_past(
		    &links->options.states->slots[own_slot(links)],
		    &links->proof);
		if (!links->proven)
			(void)evtimer_add(links->on_proof_look, &soon);
	}
	return links->proven;
}

static void
look(struct links *links)
{
	const bool up = prove(links, (links->events_up ||
	    links->relieved) && links->originate.was_up &&
	    links->control.was_up && links->noted);

	if (up != links->all_up) {
		links->all_up = up;
		dispatch_set_ready(links->options.dispatch, up);
		if (!up)
			reconcile_stop(links->options.reconcile);
		else if (!links->relieved)
			take_up(links);
		links->options.changed(links->options.ctx, up);
	}
	set_row(links);
}

static void
on_proof_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg);
}

/* --- the command links ---------------------------------------------------- */

static void
on_noted(void *ctx, bool restarted)
{
	struct links *links = ctx;

	if (restarted)
		log_warn("asterisk was restarted: its calls are lost");
	links->restarted = links->restarted || restarted;
	links->noted = links->control.was_up;
	look(links);
}

static void
on_lane_up(void *ctx, const struct ari_server *server)
{
	struct lane *lane = ctx;
	struct links *links = lane->links;

	lane->was_up = true;
	*lane->connection = ari_command_connection(*lane->link);
	log_info("command link up", LOG_S("lane", lane->name),
	    LOG_S("asterisk", server->version),
	    LOG_S("over", server->transport));
	if (lane == &links->control && media_server_note(links->options.turn,
	        own_slot(links), server, on_noted, links) != 0)
		on_noted(links, false);
	look(links);
}

static void
on_lane_down(void *ctx, const char *reason)
{
	struct lane *lane = ctx;

	log_warn(lane->was_up ? "command link lost" : "no command link",
	    LOG_S("lane", lane->name), LOG_S("reason", reason));
	lane->was_up = false;
	*lane->connection = 0;
	if (lane == &lane->links->control)
		lane->links->noted = false;
	look(lane->links);
}

static const struct ari_command_ops lane_ops = { on_lane_up, on_lane_down };

static int
open_lane(struct links *links, struct lane *lane, const char *name,
    struct ari_command_link **link, uint32_t *connection,
    struct kap_errmsg *msg)
{
	struct child_runtime *runtime = links->options.runtime;

	lane->links = links;
	lane->name = name;
	lane->link = link;
	lane->connection = connection;
	return ari_command_open(link, runtime->base, &runtime->config,
	    runtime->args.slot, name, &lane_ops, lane, msg);
}

/* --- the event streams ---------------------------------------------------- */

void
links_stream_changed(struct links *links, unsigned slot, bool up,
    bool resumed)
{
	const struct links_options *options = &links->options;

	if (slot == own_slot(links)) {
		links->events_up = up;
		look(links);
		return;
	}
	if (!up || !links->all_up || links->relieved)
		return; /* else take_up does it all */
	set_filter(links, slot);
	if (!resumed)
		reconcile_start(options->reconcile, false);
	dispatch_resume(options->dispatch);
}

void
links_relieve(struct links *links, bool relieved)
{
	if (relieved)
		reconcile_stop(links->options.reconcile);
	dispatch_relieve(links->options.dispatch, relieved);
	links->relieved = relieved;
	links->events_up = false;
	look(links);
}

bool
links_can_command(const struct links *links)
{
	return links->originate.was_up && links->control.was_up &&
	    links->noted;
}

/* --- lifecycle ------------------------------------------------------------ */

int
links_open(struct links **links_out, const struct links_options *options,
    struct kap_errmsg *msg)
{
	struct links *links = calloc(1, sizeof(*links));
	int rc;

	if (links == NULL)
		return -KAP_NOMEM;
	links->options = *options;
	links->on_proof_look = evtimer_new(options->runtime->base,
	    on_proof_look, links);
	rc = links->on_proof_look == NULL ? -KAP_NOMEM :
	    open_lane(links, &links->originate, ARI_LANE_ORIGINATE,
	        options->originate, &options->maker->originate_connection,
	        msg);
	if (rc == 0)
		rc = open_lane(links, &links->control, ARI_LANE_CONTROL,
		    options->control, &options->maker->control_connection,
		    msg);
	if (rc != 0) {
		links_close(&links);
		return rc;
	}
	*links_out = links;
	return 0;
}

void
links_close(struct links **links)
{
	if (*links == NULL)
		return;
	if (*(*links)->options.originate != NULL)
		ari_command_close((*links)->options.originate);
	if (*(*links)->options.control != NULL)
		ari_command_close((*links)->options.control);
	if ((*links)->on_proof_look != NULL)
		event_free((*links)->on_proof_look);
	free(*links);
	*links = NULL;
}
