/*
 * What the far end of a call will do: chosen once, when it is originated, by
 * the number's last two digits as the demo carrier does
 * (deploy/asterisk/carrier; 31 to 37 are the simulator's own), or by chance.
 * Knows no time but spans.
 */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_options.h"
#include "sim_random.h"

#define SIM_NEVER INT64_MAX

/* Among the digits of a plan: a second of silence, as SendDTMF() has it. */
#define SIM_PAUSE 'W'
#define SIM_PAUSE_MS 1000

/* A way to refuse a call. */
struct sim_refusal {
	int cause; /* Q.850 */
	int sip;
	const char *dialstatus;
};

/* What AMD finds out, as it tells the app: "<status>,<cause>". */
struct sim_verdict_words {
	const char *words;
	int64_t after_ms; /* that it takes, unless the options say so */
};

/* How a trunk behaves, whichever number is dialled. */
enum sim_trunk_kind {
	SIM_TRUNK_GOOD,
	SIM_TRUNK_DEAD, /* gives no sign */
	SIM_TRUNK_FULL  /* has no room: congestion, before any ringing */
};

/*
 * Spans are milliseconds from the originate, but for `talk_ms` and those of
 * digits, which are from the answer, and `verdict_ms`.
 */
struct sim_plan {
	bool fails;          /* Asterisk itself refuses */
	bool overtakes;      /* answers before the originate's reply */
	int64_t ring_ms;     /* begins to ring; or SIM_NEVER */
	int64_t decide_ms;   /* answers or refuses; or SIM_NEVER */
	const struct sim_refusal *refusal; /* NULL: answers */
	int64_t talk_ms;     /* from the answer until it hangs up */
	const char *digits;  /* DTMF it sends, and SIM_PAUSE; NULL: none */
	int64_t digits_after_ms; /* the first */
	int64_t digit_every_ms;  /* each next one, behind the one before */
	const struct sim_verdict_words *verdict; /* never NULL */
	int64_t verdict_ms; /* from the beginning of the analysis */
};

/*
 * number  as dialled, digits
 */
void sim_plan_choose(struct sim_plan *out, const struct sim_options *options,
    struct sim_random *random, const char *number,
    enum sim_trunk_kind trunk);

#endif
