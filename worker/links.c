/*
 * Callbacks of the three links; what they mean for calls is decided in the
 * modules they are handed to.
 */
#include "links.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ari_url.h"
#include "event_link.h"
#include "media_server.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/stats.h"

/*
 * Events that an originated call makes and nobody here reads. Fewer frames to
 * send, to receive and to parse; a newer Asterisk's further ones do no harm.
 */
static const char *const unread_events[] = { "ChannelVarset",
	"ChannelDialplan", "ChannelConnectedLine", "ChannelCallerId",
	"ChannelEnteredBridge", "ChannelLeftBridge", "ChannelHangupRequest",
	"BridgeCreated", "BridgeDestroyed", "DeviceStateChanged",
	"EndpointStateChange", "PeerStatusChange", "ContactStatusChange" };

#define REFUSED_PER_LOG 100

struct lane {
	struct links *links;
	const char *name;
	struct ari_command_link **link;
	bool was_up;
};

struct links {
	struct links_options options;
	struct event_link *event_link;
	struct lane originate;
	struct lane control;
	bool events_up;
	bool all_up;
	bool noted;     /* the media server is known and compared */
	bool restarted; /* …and is another process than before */
	unsigned refused_batches; /* in a row; tried ten times a second */
};

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
on_filter_reply(void *arg, int status, const char *body, size_t body_len)
{
	(void)arg;
	(void)body_len;
	if (status > 0 && (status < 200 || status > 299))
		log_warn("asterisk did not take the event filter",
		    LOG_I("status", status), LOG_S("reply", body));
}

static void
set_event_filter(struct links *links)
{
	const struct config *config = &links->options.runtime->config;
	cJSON *tree = cJSON_CreateObject();
	cJSON *list = cJSON_AddArrayToObject(tree, "disallowed");
	char app[ARI_APP_SIZE];
	struct ari_uri uri;
	char *body;

	for (size_t i = 0;
	    i < sizeof(unread_events) / sizeof(unread_events[0]); i++) {
		cJSON *type = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(type, "type", unread_events[i]);
		(void)cJSON_AddItemToArray(list, type);
	}
	ari_url_app_name(app, config->node.id,
	    links->options.runtime->args.slot, NULL);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "applications");
	ari_uri_segment(&uri, app);
	ari_uri_segment(&uri, "eventFilter");
	body = cJSON_PrintUnformatted(tree);
	cJSON_Delete(tree);
	if (body == NULL || ari_command_send(*links->options.control, "PUT",
	        uri.text, NULL, body, config->asterisk.command_timeout_ms,
	        on_filter_reply, links) != 0)
		log_warn("could not ask for the event filter");
	cJSON_free(body);
}

/* All links are up and the media server is known: go on with the calls. */
static void
take_up(struct links *links)
{
	set_event_filter(links);
	reconcile_start(links->options.reconcile, links->restarted);
	links->restarted = false;
	dispatch_resume(links->options.dispatch);
	log_info("asterisk is there");
}

static void
look(struct links *links)
{
	const bool up = links->events_up && links->originate.was_up &&
	    links->control.was_up && links->noted;

	if (up != links->all_up) {
		links->all_up = up;
		dispatch_set_ready(links->options.dispatch, up);
		if (up)
			take_up(links);
		else
			reconcile_stop(links->options.reconcile);
		links->options.changed(links->options.ctx, up);
	}
	set_row(links);
}

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
	log_info("command link up", LOG_S("lane", lane->name),
	    LOG_S("asterisk", server->version));
	if (lane == &links->control && media_server_note(links->options.turn,
	        (unsigned)links->options.runtime->args.slot, server, on_noted,
	        links) != 0)
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
	if (lane == &lane->links->control)
		lane->links->noted = false;
	look(lane->links);
}

static const struct ari_command_ops lane_ops = { on_lane_up, on_lane_down };

static void
on_events_up(void *ctx, bool resumed)
{
	struct links *links = ctx;

	links->events_up = true;
	dispatch_events_began(links->options.dispatch,
	    event_link_began_ms(links->event_link));
	log_info("event link up", LOG_S("how", resumed ? "resumed" : "new"));
	look(links);
}

static void
on_events_down(void *ctx, const char *reason)
{
	struct links *links = ctx;

	log_warn(links->events_up ? "event link lost" : "no event link",
	    LOG_S("reason", reason));
	links->events_up = false;
	look(links);
}

static void
on_events_begin(void *ctx)
{
	struct links *links = ctx;

	call_events_begin(links->options.events);
}

static int
on_event(void *ctx, struct store_txn *txn, const struct ari_event *event)
{
	struct links *links = ctx;

	return call_events_apply(links->options.events, txn, event);
}

static void
on_events_committed(void *ctx, int rc)
{
	struct links *links = ctx;

	if (rc == 0)
		links->refused_batches = 0;
	else if (links->refused_batches++ % REFUSED_PER_LOG == 0)
		log_error("events can't be stored now; trying again",
		    LOG_S("error", kap_strerror(rc)));
	call_events_committed(links->options.events, rc);
}

static void
on_events_lost(void *ctx, uint64_t bytes)
{
	(void)ctx;
	log_error("events were lost unread: reconciling",
	    LOG_I("bytes", bytes));
}

static int
hand_events_over(void *ctx, int fd)
{
	struct links *links = ctx;

	return child_runtime_send(links->options.runtime, CHILD_MSG_EVENTS_FD,
	    NULL, fd);
}

static void
on_events_gone(void *ctx)
{
	struct links *links = ctx;

	if (child_runtime_send(links->options.runtime, CHILD_MSG_EVENTS_GONE,
	        NULL, -1) != 0)
		log_warn("could not tell the master of a dead event socket");
}

static const struct event_link_ops event_ops = {
	.up = on_events_up,
	.down = on_events_down,
	.begin = on_events_begin,
	.event = on_event,
	.committed = on_events_committed,
	.lost = on_events_lost,
	.hand_over = hand_events_over,
	.gone = on_events_gone,
};

static int
open_lane(struct links *links, struct lane *lane, const char *name,
    struct ari_command_link **link, struct kap_errmsg *msg)
{
	struct child_runtime *runtime = links->options.runtime;

	lane->links = links;
	lane->name = name;
	lane->link = link;
	return ari_command_open(link, runtime->base, &runtime->config,
	    runtime->args.slot, name, &lane_ops, lane, msg);
}

int
links_open(struct links **links_out, const struct links_options *options,
    struct kap_errmsg *msg)
{
	struct links *links = calloc(1, sizeof(*links));
	struct child_runtime *runtime = options->runtime;
	int rc;

	if (links == NULL)
		return -KAP_NOMEM;
	links->options = *options;
	rc = open_lane(links, &links->originate, "originate",
	    options->originate, msg);
	if (rc == 0)
		rc = open_lane(links, &links->control, "control",
		    options->control, msg);
	if (rc == 0)
		rc = event_link_new(&links->event_link, runtime->base,
		    options->turn, options->store, &runtime->config,
		    runtime->args.slot, &event_ops, links, msg);
	if (rc != 0) {
		links_close(&links);
		return rc;
	}
	*links_out = links;
	return 0;
}

void
links_read_events(struct links *links, int fd)
{
	event_link_start(links->event_link, fd);
}

void
links_stop_events(struct links *links)
{
	event_link_stop(links->event_link);
}

void
links_close(struct links **links)
{
	if (*links == NULL)
		return;
	if ((*links)->event_link != NULL)
		event_link_free(&(*links)->event_link);
	if (*(*links)->options.originate != NULL)
		ari_command_close((*links)->options.originate);
	if (*(*links)->options.control != NULL)
		ari_command_close((*links)->options.control);
	free(*links);
	*links = NULL;
}
