/*
 * The tables of routes.
 */
#include "api.h"

#define BATCH_BODY_MAX (4096 * 1024UL) /* a thousand calls with all they have */

static const struct http_route routes[] = {
	{ "GET", "/health", api_health, 0, 0 },
	{ "GET", "/ready", api_ready, 0, 0 },
	{ "POST", "/makecall", api_makecall, 0, 0 },
	{ "POST", "/forwardcall", api_forwardcall, 0, 0 },
	{ "POST", "/batchcall", api_batchcall, 0, BATCH_BODY_MAX },
	{ "POST", "/hangup", api_hangup, 0, 0 },
	{ "POST", "/voice", api_voice, 0, 0 },
	{ "POST", "/play", api_play, 0, 0 },
	{ "POST", "/gather", api_gather, 0, 0 },
	{ "GET", "/calls", api_list_calls, 0, 0 },
	{ "GET", "/calls/:callId", api_show_call, 0, 0 },
	{ "DELETE", "/calls/:callId/playback", api_stop_plays, 0, 0 },
	{ "POST", "/recordings/:callId/stop", api_stop_recording, 0, 0 },
	{ "GET", "/api/me", api_me, 0, 0 },
};

static const struct http_route admin_routes[] = {
	{ "GET", "/health", api_health, 0, 0 },
	{ "GET", "/ready", api_ready, 0, 0 },
	{ "GET", "/metrics", api_metrics, 0, 0 },
};

const struct http_routes api_routes = { routes,
	sizeof(routes) / sizeof(routes[0]) };

const struct http_routes api_admin_routes = { admin_routes,
	sizeof(admin_routes) / sizeof(admin_routes[0]) };
