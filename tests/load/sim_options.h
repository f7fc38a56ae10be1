/*
 * The simulator's command line.
 */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared/errors.h"

/* What may become of a call whose number has no behaviour of its own. */
enum sim_fortune {
	SIM_FORTUNE_ANSWER,
	SIM_FORTUNE_BUSY,
	SIM_FORTUNE_NO_ANSWER,
	SIM_FORTUNE_CONGESTION,
	SIM_FORTUNE_REFUSE,
	SIM_FORTUNE_UNALLOCATED,
	SIM_FORTUNE_SILENT,
	SIM_FORTUNE_FAIL,
	SIM_FORTUNE_COUNT
};

/* What AMD may find. */
enum sim_finding {
	SIM_FINDING_HUMAN,
	SIM_FINDING_MACHINE,
	SIM_FINDING_SILENCE, /* a machine, for nobody spoke at first */
	SIM_FINDING_NOT_SURE,
	SIM_FINDING_COUNT
};

struct sim_range {
	int64_t least;
	int64_t most;
};

struct sim_options {
	struct sockaddr_in listen;
	struct sockaddr_in control;
	const char *user;
	const char *password;
	int version; /* 16, 20 or 22 */
	const char *recording_dir; /* NULL: no files */
	int64_t recording_ms;      /* length of what is in each */
	const char *trunks;        /* names between commas */
	const char *fixed_prefix;  /* whose numbers have behaviours; NULL: none */
	bool has_mix;
	unsigned mix[SIM_FORTUNE_COUNT]; /* weights */
	struct sim_range ring_ms;
	struct sim_range talk_ms;
	struct sim_range play_ms; /* length of a sound */
	unsigned findings[SIM_FINDING_COUNT]; /* weights */
	bool has_amd_ms;
	struct sim_range amd_ms; /* until the verdict */
	bool has_no_amd; /* neither the module nor the dialplan */
	uint64_t seed;
	int64_t remember; /* channel ids that are remembered */
	int64_t write_timeout_ms;
};

enum sim_options_verdict {
	SIM_OPTIONS_RUN,
	SIM_OPTIONS_HELP, /* it was asked for, and has been printed */
	SIM_OPTIONS_BAD   /* the reason has been printed */
};

/* Texts of argv are kept. Prints to standard output and error. */
enum sim_options_verdict sim_options_parse(struct sim_options *options,
    int argc, char **argv);

/* The word for it in --mix. */
const char *sim_fortune_name(enum sim_fortune fortune);

/*
 * Read "127.0.0.1:PORT". Returns 0 or -KAP_INVAL; port 0 is allowed where
 * `any_port`.
 */
KAP_MUST_USE int sim_options_address(const char *text, bool any_port,
    struct sockaddr_in *out);

#endif
