/*
 * ari-sim-bench: how many calls a second the simulator takes. Connects as a
 * worker does (an event WebSocket, a command link for originates, one for all
 * else), originates at a rate, bridges and records what is answered, and
 * counts what comes back. Prints one line of JSON.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "shared/clock.h"
#include "shared/config.h"
#include "worker/ari_command.h"
#include "worker/ari_connect.h"
#include "worker/ari_url.h"
#include "worker/ari_ws_stream.h"

#define NODE 900
#define TICK_MS 5
#define TIMEOUT_MS 20000
#define READ_BYTES 262144
#define RECEIVE_BUFFER (4 << 20)
#define IDLE_END_MS 5000 /* nothing has come for so long: that was all */

struct bench {
	struct event_base *base;
	struct config config;
	struct ari_command_link *originate;
	struct ari_command_link *control;
	struct ari_ws_stream stream;
	struct event *on_readable;
	struct event *on_tick;
	struct event *on_begin;
	int fd;
	int64_t rate;
	int64_t seconds;
	int64_t pid; /* of the simulator, 0: not known */
	const char *tail;
	bool bridges;
	int64_t base_id;
	int64_t begun_us;
	int64_t last_us; /* when the last event came */
	int64_t cpu_begun_us;
	uint64_t asked;
	uint64_t made;
	uint64_t failed;
	uint64_t answered;
	uint64_t ended;
	uint64_t recorded;
	uint64_t events;
};

/* What the simulator's process has used so far; 0 when not known. */
static int64_t
cpu_us(const struct bench *bench)
{
	char path[64];
	char text[1024] = "";
	const char *at;
	FILE *file;
	unsigned long long user;
	unsigned long long kernel;

	(void)snprintf(path, sizeof(path), "/proc/%" PRId64 "/stat",
	    bench->pid);
	file = bench->pid > 0 ? fopen(path, "re") : NULL;
	if (file == NULL)
		return 0;
	at = fgets(text, sizeof(text), file) != NULL ? strrchr(text, ')') :
	    NULL;
	(void)fclose(file);
	if (at == NULL || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u "
	        "%*u %*u %*u %llu %llu", &user, &kernel) != 2)
		return 0;
	return (int64_t)(user + kernel) * 1000000 / sysconf(_SC_CLK_TCK);
}

/* ---- commands ---- */

static void
on_done(void *arg, int status, const char *body, size_t body_len)
{
	struct bench *bench = arg;

	(void)body;
	(void)body_len;
	if (status < 200 || status > 299)
		bench->failed++;
}

static void
on_made(void *arg, int status, const char *body, size_t body_len)
{
	struct bench *bench = arg;

	on_done(arg, status, body, body_len);
	if (status == 200)
		bench->made++;
}

static void
command(struct bench *bench, const char *method, const char *path,
    const char *body)
{
	if (ari_command_send(bench->control, method, path, NULL, body,
	        TIMEOUT_MS, on_done, bench) != 0)
		bench->failed++;
}

static void
originate(struct bench *bench)
{
	char body[512];
	const uint64_t n = bench->asked++;

	(void)snprintf(body, sizeof(body), "{\"endpoint\":\"PJSIP/0049%08"
	    PRIu64 "%s@carrier\",\"app\":\"kaphila-%d-0\",\"appArgs\":"
	    "\"dialed\",\"channelId\":\"%" PRId64 ".%" PRIu64 "\",\"timeout\":"
	    "30,\"callerId\":\"4930123\",\"variables\":{\"KAPHILA_NODE\":"
	    "\"%d\",\"TIMEOUT(absolute)\":\"3690\"}}", n, bench->tail, NODE,
	    bench->base_id, n, NODE);
	if (ari_command_send(bench->originate, "POST", "channels", NULL, body,
	        TIMEOUT_MS, on_made, bench) != 0)
		bench->failed++;
}

/* ---- events ---- */

/* The id of the event's channel; "" where there is none. */
static void
read_channel(const char *text, size_t len, char *out, size_t size)
{
	static const char mark[] = "\"channel\":{\"id\":\"";
	const char *at = memmem(text, len, mark, sizeof(mark) - 1);
	const char *end;

	out[0] = '\0';
	if (at == NULL)
		return;
	at += sizeof(mark) - 1;
	end = memchr(at, '"', len - (size_t)(at - text));
	if (end != NULL)
		(void)snprintf(out, size, "%.*s", (int)(end - at), at);
}

static void
on_answered(struct bench *bench, const char *channel)
{
	char path[160];
	char body[256];

	bench->answered++;
	if (!bench->bridges)
		return;
	(void)snprintf(path, sizeof(path), "bridges/bridge-%s", channel);
	command(bench, "POST", path,
	    "{\"type\":\"mixing\",\"name\":\"kaphila-900\"}");
	(void)snprintf(path, sizeof(path), "bridges/bridge-%s/addChannel",
	    channel);
	(void)snprintf(body, sizeof(body), "{\"channel\":\"%s\"}", channel);
	command(bench, "POST", path, body);
	(void)snprintf(path, sizeof(path), "bridges/bridge-%s/record",
	    channel);
	(void)snprintf(body, sizeof(body), "{\"name\":\"call-%s-1\","
	    "\"format\":\"wav\",\"ifExists\":\"fail\"}", channel);
	command(bench, "POST", path, body);
}

static bool
has_type(const char *text, size_t len, const char *type)
{
	return memmem(text, len, type, strlen(type)) != NULL;
}

static int
on_message(void *ctx, const uint8_t *data, size_t len)
{
	struct bench *bench = ctx;
	const char *text = (const char *)data;
	char channel[64];
	char path[96];

	bench->events++;
	bench->last_us = clock_mono_us();
	read_channel(text, len, channel, sizeof(channel));
	if (has_type(text, len, "\"type\":\"StasisStart\"")) {
		on_answered(bench, channel);
	} else if (has_type(text, len, "\"type\":\"RecordingFinished\"")) {
		bench->recorded++;
	} else if (has_type(text, len, "\"type\":\"ChannelDestroyed\"")) {
		bench->ended++;
		if (bench->bridges && has_type(text, len,
		        "\"state\":\"Up\"")) {
			(void)snprintf(path, sizeof(path),
			    "bridges/bridge-%s", channel);
			command(bench, "DELETE", path, NULL);
		}
	}
	return 0;
}

static void
on_ping(void *ctx, const uint8_t *payload, size_t len)
{
	(void)ctx;
	(void)payload;
	(void)len;
}

static void
on_dropped(void *ctx, uint64_t len)
{
	(void)ctx;
	(void)len;
}

static const struct ari_ws_stream_ops stream_ops = {
	.message = on_message,
	.ping = on_ping,
	.dropped = on_dropped,
};

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t buffer[READ_BYTES];
	struct bench *bench = arg;
	const ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || ari_ws_stream_feed(&bench->stream, buffer, (size_t)n,
	        &stream_ops, bench) != 0) {
		(void)fprintf(stderr, "ari-sim-bench: the event link is "
		    "gone\n");
		(void)event_base_loopbreak(bench->base);
	}
}

/* ---- the run ---- */

static void
on_tick_due(evutil_socket_t fd, short what, void *arg)
{
	struct bench *bench = arg;
	const int64_t now_us = clock_mono_us();
	const int64_t elapsed_us = now_us - bench->begun_us;
	const uint64_t whole = (uint64_t)(bench->rate * bench->seconds);
	uint64_t due = (uint64_t)(bench->rate * elapsed_us / 1000000);

	(void)fd;
	(void)what;
	if (due > whole)
		due = whole;
	while (bench->asked < due &&
	    ari_command_in_flight(bench->originate) < ARI_COMMANDS_MAX)
		originate(bench);
	if (bench->asked == whole && (bench->ended >= bench->made ||
	        now_us - bench->last_us > IDLE_END_MS * INT64_C(1000)) &&
	    ari_command_in_flight(bench->originate) == 0 &&
	    ari_command_in_flight(bench->control) == 0)
		(void)event_base_loopbreak(bench->base);
}

/* The links are up. */
static void
on_begin_due(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval every = { .tv_usec = TICK_MS * 1000L };
	struct bench *bench = arg;

	(void)fd;
	(void)what;
	if (bench->fd < 0 || !ari_command_is_up(bench->originate) ||
	    !ari_command_is_up(bench->control)) {
		(void)evtimer_add(bench->on_begin, &every);
		return;
	}
	command(bench, "PUT", "applications/kaphila-900-0/eventFilter",
	    "{\"disallowed\":[{\"type\":\"ChannelVarset\"},{\"type\":"
	    "\"ChannelEnteredBridge\"},{\"type\":\"ChannelLeftBridge\"},"
	    "{\"type\":\"ChannelHangupRequest\"},{\"type\":"
	    "\"BridgeDestroyed\"}]}");
	bench->begun_us = clock_mono_us();
	bench->last_us = bench->begun_us;
	bench->cpu_begun_us = cpu_us(bench);
	(void)event_add(bench->on_tick, &every);
}

static void
on_connected(void *arg, int fd, const char *reason)
{
	struct bench *bench = arg;

	if (fd < 0) {
		(void)fprintf(stderr, "ari-sim-bench: %s\n", reason);
		(void)event_base_loopbreak(bench->base);
		return;
	}
	bench->fd = fd;
	bench->on_readable = event_new(bench->base, fd, EV_READ | EV_PERSIST,
	    on_readable, bench);
	(void)event_add(bench->on_readable, NULL);
}

static void
on_lane_up(void *ctx, const struct ari_server *server)
{
	(void)ctx;
	(void)server;
}

static void
on_lane_down(void *ctx, const char *reason)
{
	(void)ctx;
	(void)fprintf(stderr, "ari-sim-bench: %s\n", reason);
}

static const struct ari_command_ops lane_ops = { on_lane_up, on_lane_down };

static bool
open_links(struct bench *bench)
{
	const struct timeval at_once = { 0 };
	struct ari_address address;
	struct kap_errmsg msg = { "" };
	char app[ARI_APP_SIZE];

	if (ari_url_parse(bench->config.asterisk.url, &address, &msg) != 0 ||
	    ari_command_open(&bench->originate, bench->base, &bench->config, 0,
	        "originate", &lane_ops, bench, &msg) != 0 ||
	    ari_command_open(&bench->control, bench->base, &bench->config, 0,
	        "control", &lane_ops, bench, &msg) != 0) {
		(void)fprintf(stderr, "ari-sim-bench: %s\n", msg.text);
		return false;
	}
	ari_url_app_name(app, NODE, 0);
	bench->on_tick = event_new(bench->base, -1, EV_PERSIST, on_tick_due,
	    bench);
	bench->on_begin = evtimer_new(bench->base, on_begin_due, bench);
	return bench->on_tick != NULL && bench->on_begin != NULL &&
	    evtimer_add(bench->on_begin, &at_once) == 0 &&
	    ari_connect_begin(bench->base, &address, &bench->config, app,
	        RECEIVE_BUFFER, TIMEOUT_MS, on_connected, bench) != NULL;
}

static void
report(const struct bench *bench)
{
	const double seconds =
	    (double)(bench->last_us - bench->begun_us) / 1e6;
	const double cpu_s =
	    (double)(cpu_us(bench) - bench->cpu_begun_us) / 1e6;
	const double calls = (double)(bench->ended > 0 ? bench->ended : 1);

	(void)printf("{\"asked\":%" PRIu64 ",\"made\":%" PRIu64
	    ",\"failed\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"recorded\":%"
	    PRIu64 ",\"ended\":%" PRIu64 ",\"events\":%" PRIu64
	    ",\"seconds\":%.2f,\"calls_per_s\":%.0f,\"sim_cpu_s\":%.2f,"
	    "\"sim_cpu_us_per_call\":%.0f,\"calls_per_core_s\":%.0f}\n",
	    bench->asked, bench->made, bench->failed, bench->answered,
	    bench->recorded, bench->ended, bench->events, seconds,
	    (double)bench->ended / seconds, cpu_s, cpu_s * 1e6 / calls,
	    cpu_s > 0 ? (double)bench->ended / cpu_s : 0);
}

static void
close_all(struct bench *bench)
{
	if (bench->originate != NULL)
		ari_command_close(&bench->originate);
	if (bench->control != NULL)
		ari_command_close(&bench->control);
	if (bench->on_readable != NULL)
		event_free(bench->on_readable);
	if (bench->on_tick != NULL)
		event_free(bench->on_tick);
	if (bench->on_begin != NULL)
		event_free(bench->on_begin);
	if (bench->fd >= 0)
		(void)close(bench->fd);
	ari_ws_stream_deinit(&bench->stream);
	event_base_free(bench->base);
}

static void
usage(FILE *out)
{
	(void)fputs("usage: ari-sim-bench --url http://127.0.0.1:PORT "
	    "[--rate N] [--seconds N] [--pid N]\n"
	    "    [--tail DIGITS] [--bridges 0|1] [--user NAME] "
	    "[--password WORD]\n\n"
	    "  --rate     originates a second (2000)\n"
	    "  --seconds  how long (10)\n"
	    "  --pid      the simulator's, to tell what it used\n"
	    "  --tail     last digits of every number (none of their own)\n"
	    "  --bridges  bridge and record what is answered (1)\n", out);
}

static bool
take_option(struct bench *bench, const char *name, const char *value)
{
	struct config *config = &bench->config;
	const int64_t number = strtoll(value, NULL, 10);

	if (strcmp(name, "url") == 0)
		(void)snprintf(config->asterisk.url,
		    sizeof(config->asterisk.url), "%s", value);
	else if (strcmp(name, "user") == 0)
		(void)snprintf(config->asterisk.user,
		    sizeof(config->asterisk.user), "%s", value);
	else if (strcmp(name, "password") == 0)
		(void)snprintf(config->asterisk.password,
		    sizeof(config->asterisk.password), "%s", value);
	else if (strcmp(name, "rate") == 0)
		bench->rate = number;
	else if (strcmp(name, "seconds") == 0)
		bench->seconds = number;
	else if (strcmp(name, "pid") == 0)
		bench->pid = number;
	else if (strcmp(name, "tail") == 0)
		bench->tail = value;
	else
		bench->bridges = number != 0;
	return bench->rate > 0 && bench->seconds > 0 && bench->pid >= 0;
}

static int
read_options(struct bench *bench, int argc, char **argv)
{
	static const struct option options[] = {
		{ "url", required_argument, NULL, 0 },
		{ "user", required_argument, NULL, 0 },
		{ "password", required_argument, NULL, 0 },
		{ "rate", required_argument, NULL, 0 },
		{ "seconds", required_argument, NULL, 0 },
		{ "pid", required_argument, NULL, 0 },
		{ "tail", required_argument, NULL, 0 },
		{ "bridges", required_argument, NULL, 0 },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int at = 0;
	int found;

	while ((found = getopt_long(argc, argv, "", options, &at)) != -1) {
		if (found == 'h') {
			usage(stdout);
			return 1;
		}
		if (found != 0 || !take_option(bench, options[at].name,
		        optarg)) {
			usage(stderr);
			return -1;
		}
	}
	return 0;
}

int
main(int argc, char **argv)
{
	static struct bench bench = { .fd = -1, .rate = 2000, .seconds = 10,
		.tail = "99", .bridges = true };
	int rc;

	config_init(&bench.config);
	bench.config.node.id = NODE;
	(void)take_option(&bench, "user", "kaphila");
	(void)take_option(&bench, "password", "kaphila");
	rc = read_options(&bench, argc, argv);
	if (rc != 0)
		return rc > 0 ? EXIT_SUCCESS : 2;
	bench.base_id = clock_wall_ms() / 1000;
	bench.base = event_base_new();
	if (bench.base == NULL)
		return EXIT_FAILURE;
	ari_ws_stream_init(&bench.stream);
	if (open_links(&bench) &&
	    event_base_dispatch(bench.base) == 0 && bench.begun_us > 0)
		report(&bench);
	close_all(&bench);
	return bench.ended > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
