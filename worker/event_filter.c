/*
 * One request, and a look at its reply.
 */
#include "event_filter.h"

#include <cjson/cJSON.h>

#include "ari_url.h"
#include "shared/log.h"

/*
 * Events that an originated call makes and nobody here reads. Fewer frames to
 * send, to receive and to parse; a newer Asterisk's further ones do no harm.
 * Not among them: ChannelUserevent, which marks are (ari_mark.h).
 */
static const char *const unread_events[] = { "ChannelVarset",
	"ChannelDialplan", "ChannelConnectedLine", "ChannelCallerId",
	"ChannelEnteredBridge", "ChannelLeftBridge", "BridgeCreated",
	"BridgeDestroyed", "DeviceStateChanged", "EndpointStateChange",
	"PeerStatusChange", "ContactStatusChange" };

static void
on_reply(void *arg, int status, const char *body, size_t body_len)
{
	(void)arg;
	(void)body_len;
	if (status > 0 && (status < 200 || status > 299))
		log_warn("asterisk did not take the event filter",
		    LOG_I("status", status), LOG_S("reply", body));
}

static char *
print_filter(void)
{
	cJSON *tree = cJSON_CreateObject();
	cJSON *list = cJSON_AddArrayToObject(tree, "disallowed");
	char *text;

	for (size_t i = 0;
	    i < sizeof(unread_events) / sizeof(unread_events[0]); i++) {
		cJSON *type = cJSON_CreateObject();

		(void)cJSON_AddStringToObject(type, "type", unread_events[i]);
		(void)cJSON_AddItemToArray(list, type);
	}
	text = cJSON_PrintUnformatted(tree);
	cJSON_Delete(tree);
	return text;
}

void
event_filter_set(struct ari_command_link *control,
    const struct config *config, unsigned slot)
{
	char *body = print_filter();
	char app[ARI_APP_SIZE];
	struct ari_uri uri;

	ari_url_app_name(app, config->node.id, (int)slot);
	ari_uri_init(&uri);
	ari_uri_segment(&uri, "applications");
	ari_uri_segment(&uri, app);
	ari_uri_segment(&uri, "eventFilter");
	if (body == NULL || ari_command_send(control, "PUT", uri.text, NULL,
	        body, config->asterisk.command_timeout_ms, on_reply,
	        NULL) != 0)
		log_warn("could not ask for the event filter",
		    LOG_S("app", app));
	cJSON_free(body);
}
