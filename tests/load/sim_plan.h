/*
 * What the far end of a call will do: chosen once, when it is originated, by
 * the number's last two digits as the demo carrier does
 * (deploy/asterisk/carrier), or by chance. Knows no time but spans.
 */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "sim_options.h"
#include "sim_random.h"

#define SIM_NEVER INT64_MAX

/* A way to refuse a call. */
struct sim_refusal {
	int cause; /* Q.850 */
	int sip;
	const char *dialstatus;
};

/* Spans are milliseconds from the originate, but for `talk_ms`. */
struct sim_plan {
	bool fails;          /* Asterisk itself refuses */
	bool overtakes;      /* answers before the originate's reply */
	int64_t ring_ms;     /* begins to ring; or SIM_NEVER */
	int64_t decide_ms;   /* answers or refuses; or SIM_NEVER */
	const struct sim_refusal *refusal; /* NULL: answers */
	int64_t talk_ms;     /* from the answer until it hangs up */
	const char *digits;  /* DTMF it sends, NULL: none */
};

/* The first digit comes so long after the answer, each next one behind it. */
#define SIM_DIGITS_AFTER_MS 3200
#define SIM_DIGIT_EVERY_MS 350

/*
 * number  as dialled, digits
 * dead    the trunk never gives a sign
 */
void sim_plan_choose(struct sim_plan *out, const struct sim_options *options,
    struct sim_random *random, const char *number, bool dead);

#endif
