/*
 * Two tables: behaviours by number, and by chance.
 */
#include "sim_plan.h"

#include <stddef.h>
#include <string.h>

/* The far end's own time to say anything at all. */
#define SETUP_MS 2

static const struct sim_refusal busy = { 17, 486, "BUSY" };
static const struct sim_refusal congestion = { 34, 503, "CONGESTION" };
static const struct sim_refusal declined = { 21, 603, "NOANSWER" };
static const struct sim_refusal unallocated = { 1, 404, "NOANSWER" };

static const struct sim_verdict_words human = { "HUMAN,HUMAN-800-800", 3000 };
static const struct sim_verdict_words machine = {
	"MACHINE,LONGGREETING-1500-1500", 2200 };
static const struct sim_verdict_words silence = {
	"MACHINE,INITIALSILENCE-2500-2500", 2500 };
static const struct sim_verdict_words not_sure = { "NOTSURE,TOOLONG-5000",
	5000 };

static const struct sim_plan no_sign = { .ring_ms = SIM_NEVER,
	.decide_ms = SIM_NEVER };
static const struct sim_plan rings_for_ever = { .ring_ms = SETUP_MS,
	.decide_ms = SIM_NEVER };

#define RINGS(decide, talk) .ring_ms = SETUP_MS, \
	.decide_ms = SETUP_MS + (decide), .talk_ms = (talk)
/* DTMF, as SendDTMF() sends it; W: a second of silence */
#define DIGITS(what, after) .digits = (what), .digits_after_ms = (after), \
	.digit_every_ms = 350
#define REFUSES(how) .ring_ms = SIM_NEVER, .decide_ms = SETUP_MS, \
	.refusal = &(how)

static const struct {
	const char *digits;
	struct sim_plan plan;
} by_number[] = {
	{ "01", { RINGS(1000, 31000) } },
	{ "02", { RINGS(200, 66000), .verdict = &machine } },
	{ "03", { REFUSES(busy) } },
	{ "04", { .ring_ms = SETUP_MS, .decide_ms = SIM_NEVER } },
	{ "05", { REFUSES(congestion) } },
	{ "06", { REFUSES(declined) } },
	{ "07", { RINGS(200, 34000), DIGITS("1234", 3200) } },
	{ "08", { RINGS(200, 2000) } },
	{ "09", { REFUSES(unallocated) } },
	{ "10", { .ring_ms = SIM_NEVER, .decide_ms = SETUP_MS,
	            .talk_ms = 60000 } },
	{ "11", { RINGS(200, 60000), .verdict = &silence } },
	/* what it hears is on no disk: that is the carrier's alone */
	{ "12", { RINGS(200, 120000) } },
	{ "13", { RINGS(200, 41400), DIGITS("98WWWWWWW76", 3200) } },
	{ "14", { RINGS(200, 38000), DIGITS("1WW2WW3", 3200) } },
	{ "15", { RINGS(200, 39400), DIGITS("12#WWWW*0AD", 3200) } },
	{ "16", { RINGS(200, 34300), DIGITS("5", 4200) } },
	{ "17", { RINGS(1000, 41000), DIGITS("1", 10200) } },
	{ "18", { RINGS(1000, 41000), DIGITS("9", 10200) } },
	/* those that the carrier doesn't have */
	{ "31", { .ring_ms = SIM_NEVER, .decide_ms = SETUP_MS,
	            .talk_ms = 60000, .digits = "12#4*56789",
	            .digits_after_ms = 400, .digit_every_ms = 250 } },
	{ "32", { .ring_ms = SIM_NEVER, .decide_ms = 0, .talk_ms = 60000,
	            .overtakes = true } },
	{ "33", { .ring_ms = SIM_NEVER, .decide_ms = SIM_NEVER } },
	{ "34", { .fails = true } },
	{ "35", { .ring_ms = SETUP_MS, .decide_ms = 1000,
	            .refusal = &busy } },
	{ "36", { RINGS(200, 0) } },
	{ "38", { .ring_ms = 1000, .decide_ms = 9000, .talk_ms = 1000 } },
	{ "37", { .ring_ms = SIM_NEVER, .decide_ms = SETUP_MS,
	            .talk_ms = 60000, .verdict = &not_sure } },
};

static const struct sim_refusal *const refusal_of[SIM_FORTUNE_COUNT] = {
	[SIM_FORTUNE_BUSY] = &busy,
	[SIM_FORTUNE_CONGESTION] = &congestion,
	[SIM_FORTUNE_REFUSE] = &declined,
	[SIM_FORTUNE_UNALLOCATED] = &unallocated,
};

static const struct sim_plan *
find_fixed(const struct sim_options *options, const char *number)
{
	const size_t len = strlen(number);

	if (options->fixed_prefix == NULL || len < 2 ||
	    strncmp(number, options->fixed_prefix,
	        strlen(options->fixed_prefix)) != 0)
		return NULL;
	for (size_t i = 0; i < sizeof(by_number) / sizeof(by_number[0]); i++) {
		if (strcmp(number + len - 2, by_number[i].digits) == 0)
			return &by_number[i].plan;
	}
	return NULL;
}

/* Which of `count` weights it falls on; their sum is over 0. */
static int
draw(const unsigned *weights, int count, struct sim_random *random)
{
	int64_t sum = 0;
	int64_t left;
	int at = 0;

	for (int i = 0; i < count; i++)
		sum += weights[i];
	left = sim_random_range(random, 0, sum - 1);
	while (left >= weights[at])
		left -= weights[at++];
	return at;
}

static void
choose_by_chance(struct sim_plan *out, const struct sim_options *options,
    struct sim_random *random)
{
	const enum sim_fortune fortune = (enum sim_fortune)draw(options->mix,
	    SIM_FORTUNE_COUNT, random);

	if (fortune == SIM_FORTUNE_NO_ANSWER) {
		*out = rings_for_ever;
		return;
	}
	*out = no_sign;
	if (fortune == SIM_FORTUNE_FAIL) {
		out->fails = true;
	} else if (refusal_of[fortune] != NULL) {
		out->decide_ms = SETUP_MS;
		out->refusal = refusal_of[fortune];
	} else if (fortune == SIM_FORTUNE_ANSWER) {
		out->ring_ms = SETUP_MS;
		out->decide_ms = SETUP_MS + sim_random_range(random,
		    options->ring_ms.least, options->ring_ms.most);
		out->talk_ms = sim_random_range(random,
		    options->talk_ms.least, options->talk_ms.most);
	}
}

static const struct sim_verdict_words *const verdict_of[SIM_FINDING_COUNT] = {
	[SIM_FINDING_HUMAN] = &human,
	[SIM_FINDING_MACHINE] = &machine,
	[SIM_FINDING_SILENCE] = &silence,
	[SIM_FINDING_NOT_SURE] = &not_sure,
};

/* The number's own verdict, else one by chance; and when. */
static void
choose_verdict(struct sim_plan *out, const struct sim_options *options,
    struct sim_random *random)
{
	if (out->verdict == NULL)
		out->verdict = verdict_of[draw(options->findings,
		    SIM_FINDING_COUNT, random)];
	out->verdict_ms = options->has_amd_ms ?
	    sim_random_range(random, options->amd_ms.least,
	        options->amd_ms.most) : out->verdict->after_ms;
}

void
sim_plan_choose(struct sim_plan *out, const struct sim_options *options,
    struct sim_random *random, const char *number, enum sim_trunk_kind trunk)
{
	static const struct sim_plan full = { REFUSES(congestion) };
	const struct sim_plan *fixed = find_fixed(options, number);

	if (trunk == SIM_TRUNK_DEAD)
		*out = no_sign;
	else if (trunk == SIM_TRUNK_FULL)
		*out = full;
	else if (fixed != NULL)
		*out = *fixed;
	else if (options->has_mix)
		choose_by_chance(out, options, random);
	else
		*out = by_number[0].plan;
	choose_verdict(out, options, random);
}
