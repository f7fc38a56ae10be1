/*
 * One table of options drives the parser and the help.
 */
#include "sim_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TRUNKS "carrier,carrier2,dead"
#define NUMBER_MAX INT64_C(1000000000)

struct option_row {
	const char *name;
	const char *argument; /* NULL: none */
	const char *help;
	int (*parse)(struct sim_options *options, const char *text);
};

static const char *const fortune_names[SIM_FORTUNE_COUNT] = {
	[SIM_FORTUNE_ANSWER] = "answer",
	[SIM_FORTUNE_BUSY] = "busy",
	[SIM_FORTUNE_NO_ANSWER] = "no-answer",
	[SIM_FORTUNE_CONGESTION] = "congestion",
	[SIM_FORTUNE_REFUSE] = "refuse",
	[SIM_FORTUNE_UNALLOCATED] = "unallocated",
	[SIM_FORTUNE_SILENT] = "silent",
	[SIM_FORTUNE_FAIL] = "fail",
};

const char *
sim_fortune_name(enum sim_fortune fortune)
{
	return fortune_names[fortune];
}

/* A whole number up to `end`; the rest of the text in *rest_out. */
static int
read_number(const char *text, int64_t *out, const char **rest_out)
{
	char *rest;

	if (*text < '0' || *text > '9')
		return -KAP_INVAL;
	errno = 0;
	*out = strtoll(text, &rest, 10);
	*rest_out = rest;
	return errno == 0 && *out <= NUMBER_MAX ? 0 : -KAP_INVAL;
}

static int
read_whole(const char *text, int64_t least, int64_t *out)
{
	const char *rest;

	if (read_number(text, out, &rest) != 0 || *rest != '\0')
		return -KAP_INVAL;
	return *out >= least ? 0 : -KAP_INVAL;
}

int
sim_options_address(const char *text, bool any_port, struct sockaddr_in *out)
{
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN];
	int64_t port;

	if (colon == NULL || (size_t)(colon - text) >= sizeof(host) ||
	    read_whole(colon + 1, any_port ? 0 : 1, &port) != 0 ||
	    port > UINT16_MAX)
		return -KAP_INVAL;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	memset(out, 0, sizeof(*out));
	out->sin_family = AF_INET;
	out->sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, host, &out->sin_addr) != 1)
		return -KAP_INVAL;
	/* it knows no limits, and obeys everybody: for this machine alone */
	return (ntohl(out->sin_addr.s_addr) >> 24) == 127 ? 0 : -KAP_INVAL;
}

static int
parse_listen(struct sim_options *options, const char *text)
{
	return sim_options_address(text, false, &options->listen);
}

static int
parse_control(struct sim_options *options, const char *text)
{
	return sim_options_address(text, false, &options->control);
}

static int
parse_user(struct sim_options *options, const char *text)
{
	options->user = text;
	return 0;
}

static int
parse_password(struct sim_options *options, const char *text)
{
	options->password = text;
	return 0;
}

static int
parse_version(struct sim_options *options, const char *text)
{
	int64_t version;

	if (read_whole(text, 16, &version) != 0 ||
	    (version != 16 && version != 20 && version != 22))
		return -KAP_INVAL;
	options->version = (int)version;
	return 0;
}

static int
parse_recording_dir(struct sim_options *options, const char *text)
{
	options->recording_dir = text;
	return 0;
}

static int
parse_recording_ms(struct sim_options *options, const char *text)
{
	if (read_whole(text, 1, &options->recording_ms) != 0)
		return -KAP_INVAL;
	return options->recording_ms <= 600000 ? 0 : -KAP_INVAL;
}

static int
parse_trunks(struct sim_options *options, const char *text)
{
	options->trunks = text;
	return 0;
}

static int
parse_fixed(struct sim_options *options, const char *text)
{
	if (strcmp(text, "all") == 0)
		options->fixed_prefix = "";
	else if (strcmp(text, "none") == 0)
		options->fixed_prefix = NULL;
	else
		options->fixed_prefix = text;
	return 0;
}

/* One "word=weight" of a mix. */
static int
parse_share(const char *const *names, int count, unsigned *weights,
    const char **text)
{
	const size_t len = strcspn(*text, "=");
	int64_t weight;

	for (int i = 0; i < count; i++) {
		if (strlen(names[i]) != len ||
		    strncmp(*text, names[i], len) != 0)
			continue;
		if ((*text)[len] != '=' ||
		    read_number(*text + len + 1, &weight, text) != 0 ||
		    weight > 1000000)
			return -KAP_INVAL;
		weights[i] = (unsigned)weight;
		return 0;
	}
	return -KAP_INVAL;
}

static int
parse_weights(const char *const *names, int count, unsigned *weights,
    const char *text)
{
	unsigned sum = 0;

	memset(weights, 0, (size_t)count * sizeof(*weights));
	do {
		if (parse_share(names, count, weights, &text) != 0)
			return -KAP_INVAL;
	} while (*text++ == ',');
	for (int i = 0; i < count; i++)
		sum += weights[i];
	return text[-1] == '\0' && sum > 0 ? 0 : -KAP_INVAL;
}

static int
parse_mix(struct sim_options *options, const char *text)
{
	options->has_mix = true;
	return parse_weights(fortune_names, SIM_FORTUNE_COUNT, options->mix,
	    text);
}

static int
parse_amd(struct sim_options *options, const char *text)
{
	static const char *const names[SIM_FINDING_COUNT] = {
		[SIM_FINDING_HUMAN] = "human",
		[SIM_FINDING_MACHINE] = "machine",
		[SIM_FINDING_SILENCE] = "silence",
		[SIM_FINDING_NOT_SURE] = "not-sure",
	};

	options->has_no_amd = strcmp(text, "none") == 0;
	return options->has_no_amd ? 0 : parse_weights(names,
	    SIM_FINDING_COUNT, options->findings, text);
}

static int
read_range(const char *text, struct sim_range *out)
{
	const char *rest;

	if (read_number(text, &out->least, &rest) != 0)
		return -KAP_INVAL;
	if (*rest == '\0') {
		out->most = out->least;
		return 0;
	}
	if (*rest != '-' || read_whole(rest + 1, out->least, &out->most) != 0)
		return -KAP_INVAL;
	return 0;
}

static int
parse_ring(struct sim_options *options, const char *text)
{
	return read_range(text, &options->ring_ms);
}

static int
parse_talk(struct sim_options *options, const char *text)
{
	return read_range(text, &options->talk_ms);
}

static int
parse_play(struct sim_options *options, const char *text)
{
	return read_range(text, &options->play_ms);
}

static int
parse_amd_ms(struct sim_options *options, const char *text)
{
	options->has_amd_ms = true;
	return read_range(text, &options->amd_ms);
}

static int
parse_seed(struct sim_options *options, const char *text)
{
	int64_t seed;

	if (read_whole(text, 0, &seed) != 0)
		return -KAP_INVAL;
	options->seed = (uint64_t)seed;
	return 0;
}

static int
parse_remember(struct sim_options *options, const char *text)
{
	return read_whole(text, 1, &options->remember);
}

static int
parse_write_timeout(struct sim_options *options, const char *text)
{
	return read_whole(text, 1, &options->write_timeout_ms);
}

static const struct option_row rows[] = {
	{ "listen", "ADDRESS", "where ARI is served, such as "
	    "127.0.0.1:8088 (needed)", parse_listen },
	{ "control", "ADDRESS", "where the control port is (needed)",
	    parse_control },
	{ "user", "NAME", "ARI's user (kaphila)", parse_user },
	{ "password", "WORD", "…and password (kaphila)", parse_password },
	{ "version", "16|20|22", "behave as that Asterisk; only 22 takes "
	    "REST over a WebSocket (22)", parse_version },
	{ "recording-dir", "DIR", "write recordings there (no files)",
	    parse_recording_dir },
	{ "recording-ms", "MS", "length of each recording's sound (200)",
	    parse_recording_ms },
	{ "trunks", "LIST", "trunks that there are; those that begin with "
	    "\"dead\" never answer, with \"full\" always say congestion ("
	    DEFAULT_TRUNKS ")", parse_trunks },
	{ "fixed", "all|none|PREFIX", "numbers whose last two digits choose "
	    "what happens (all)", parse_fixed },
	{ "mix", "LIST", "what happens to other numbers, by weight: "
	    "answer=70,busy=10,no-answer=10,congestion=5,refuse=5; also "
	    "unallocated, silent, fail (all behave as 01)", parse_mix },
	{ "ring", "MS-MS", "how long those ring that answer (200-1000)",
	    parse_ring },
	{ "talk", "MS-MS", "…and talk (1000-5000)", parse_talk },
	{ "play", "MS-MS", "how long a sound is, but for \"silence/N\" of N "
	    "seconds; \"no-such…\" is missing (300-800)", parse_play },
	{ "amd", "LIST|none", "what AMD finds where the number has no finding "
	    "of its own, by weight: human=60,machine=30,silence=5,not-sure=5 "
	    "(human=1); none: it is not there", parse_amd },
	{ "amd-ms", "MS-MS", "how long that takes (a real one's time, 2200 to "
	    "5000)", parse_amd_ms },
	{ "seed", "N", "of the random choices (1)", parse_seed },
	{ "remember", "N", "channel ids that are remembered, to see whether "
	    "one rang twice (1000000)", parse_remember },
	{ "write-timeout-ms", "MS", "a reader that takes nothing for so long "
	    "is cut off (20000)", parse_write_timeout },
	{ "help", NULL, "this text", NULL },
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static void
print_help(void)
{
	(void)puts("usage: ari-sim --listen ADDRESS --control ADDRESS "
	    "[OPTION]...\n\n"
	    "Behaves to kaphila as Asterisk's REST interface does, and "
	    "misbehaves when told\nto by its control port. Prints a line "
	    "when it listens, and its totals at the end.\n");
	for (size_t i = 0; i < ROW_COUNT; i++)
		(void)printf("  --%s %s\n        %s\n", rows[i].name,
		    rows[i].argument != NULL ? rows[i].argument : "",
		    rows[i].help);
	(void)puts("\nThe last two digits of a number:\n"
	    "  01 rings 1 s, answers, 31 s    02 answers, greets, 66 s\n"
	    "  03 busy                        04 rings for ever\n"
	    "  05 congestion                  06 declines\n"
	    "  07 answers, sends 1234         08 answers, hangs up after 2 s\n"
	    "  09 unallocated                 10 answers without ringing\n"
	    "  11 answers, says nothing       12 answers, listens, 120 s\n"
	    "  13 sends 98, and 76 later      14 sends 1, 2, 3 slowly\n"
	    "  15 sends 12#, and *0AD later   16 sends 5 after 4 s\n"
	    "  17 a person who presses 1      18 …who presses 9\n"
	    "…which no demo carrier has:\n"
	    "  31 answers, presses for 3 s    32 answers before the reply\n"
	    "  33 no sign at all              34 refused by Asterisk at once\n"
	    "  35 rings, then is busy         36 answers, hangs up at once\n"
	    "  37 answers, AMD isn't sure       38 rings after 1 s, answers\n"
	    "others as --mix says\n\n"
	    "Control port (HTTP, JSON): GET /state[?brief=1], GET /rung, "
	    "GET /faults,\nDELETE /faults, POST /fault {\"fault\":NAME,"
	    "\"at\":MOMENT,\"app\":…,\"count\":N,…}");
}

static void
set_defaults(struct sim_options *options)
{
	*options = (struct sim_options){
		.user = "kaphila",
		.password = "kaphila",
		.version = 22,
		.recording_ms = 200,
		.trunks = DEFAULT_TRUNKS,
		.fixed_prefix = "",
		.ring_ms = { 200, 1000 },
		.talk_ms = { 1000, 5000 },
		.play_ms = { 300, 800 },
		.findings = { [SIM_FINDING_HUMAN] = 1 },
		.seed = 1,
		.remember = 1000000,
		.write_timeout_ms = 20000,
	};
}

static enum sim_options_verdict
check_whole(const struct sim_options *options, int argc, char **argv)
{
	if (optind < argc) {
		(void)fprintf(stderr, "ari-sim: what is \"%s\"?\n",
		    argv[optind]);
		return SIM_OPTIONS_BAD;
	}
	if (options->listen.sin_port == 0 || options->control.sin_port == 0) {
		(void)fprintf(stderr, "ari-sim: --listen and --control are "
		    "needed (see --help)\n");
		return SIM_OPTIONS_BAD;
	}
	return SIM_OPTIONS_RUN;
}

enum sim_options_verdict
sim_options_parse(struct sim_options *options, int argc, char **argv)
{
	struct option long_options[ROW_COUNT + 1] = { { 0 } };
	int at = 0;

	for (size_t i = 0; i < ROW_COUNT; i++) {
		long_options[i].name = rows[i].name;
		long_options[i].has_arg = rows[i].argument != NULL ?
		    required_argument : no_argument;
	}
	set_defaults(options);
	for (;;) {
		const int found = getopt_long(argc, argv, "", long_options,
		    &at);

		if (found == -1)
			return check_whole(options, argc, argv);
		if (found != 0)
			return SIM_OPTIONS_BAD; /* getopt has said why */
		if (rows[at].parse == NULL) {
			print_help();
			return SIM_OPTIONS_HELP;
		}
		if (rows[at].parse(options, optarg) != 0) {
			(void)fprintf(stderr, "ari-sim: --%s can't be \"%s\" "
			    "(see --help)\n", rows[at].name, optarg);
			return SIM_OPTIONS_BAD;
		}
	}
}
