/*
 * The list of faults, in the order in which they were armed. Moments are
 * words; they are looked up when a fault is armed, and compared as numbers
 * when one comes. With nothing armed a moment costs one comparison.
 */
#include "sim_fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "sim_fault_kind.h"

#define LISTED_MAX 10000 /* the oldest that are over are forgotten then */

enum moment_type {
	MOMENT_NOW,
	MOMENT_COMMAND,     /* the one of `what`, before or after */
	MOMENT_ANY_COMMAND, /* the n-th from now on */
	MOMENT_EVENT,       /* the one of `what` */
	MOMENT_ANY_EVENT,   /* the n-th from now on */
	MOMENT_CONNECT
};

struct moment {
	enum moment_type type;
	int what;
	bool after;
	uint64_t nth; /* 1.. of the any-types */
};

struct fault {
	struct fault *next;
	unsigned id;
	const struct sim_fault_kind *kind;
	struct sim_fault_values values;
	struct moment moment;
	char at[48]; /* the moment's word */
	uint64_t passed; /* moments of its type so far */
	unsigned left;
	unsigned fired;
};

struct sim_faults {
	struct fault *first;
	struct fault **last;
	unsigned last_id;
	unsigned listed;
	unsigned armed; /* faults with any `left` */
};

static const char *const command_words[SIM_COMMAND_COUNT] = {
	[SIM_COMMAND_OTHER] = "other",
	[SIM_COMMAND_ORIGINATE] = "originate",
	[SIM_COMMAND_HANGUP] = "hangup",
	[SIM_COMMAND_BRIDGE_CREATE] = "bridge_create",
	[SIM_COMMAND_BRIDGE_ADD] = "bridge_add",
	[SIM_COMMAND_RECORD] = "record",
	[SIM_COMMAND_RECORD_STOP] = "record_stop",
	[SIM_COMMAND_BRIDGE_DESTROY] = "bridge_destroy",
	[SIM_COMMAND_LIST] = "list",
	[SIM_COMMAND_LOOK] = "look",
	[SIM_COMMAND_VARIABLE] = "variable",
	[SIM_COMMAND_INFO] = "info",
	[SIM_COMMAND_FILTER] = "filter",
	[SIM_COMMAND_PLAY] = "play",
	[SIM_COMMAND_PLAY_STOP] = "play_stop",
	[SIM_COMMAND_SNOOP] = "snoop",
	[SIM_COMMAND_CONTINUE] = "continue",
};

static const char *const event_words[SIM_EVENT_COUNT] = {
	[SIM_EVENT_DIAL] = "dial",
	[SIM_EVENT_RINGING] = "ringing",
	[SIM_EVENT_ANSWER] = "answer",
	[SIM_EVENT_VARSET] = "varset",
	[SIM_EVENT_STASIS_START] = "stasis_start",
	[SIM_EVENT_ENTERED] = "entered_bridge",
	[SIM_EVENT_RECORDING_STARTED] = "recording_started",
	[SIM_EVENT_DTMF] = "dtmf",
	[SIM_EVENT_HANGUP_REQUEST] = "hangup_request",
	[SIM_EVENT_LEFT] = "left_bridge",
	[SIM_EVENT_RECORDING_FINISHED] = "recording_finished",
	[SIM_EVENT_STASIS_END] = "stasis_end",
	[SIM_EVENT_DESTROYED] = "destroyed",
	[SIM_EVENT_BRIDGE_DESTROYED] = "bridge_destroyed",
	[SIM_EVENT_PLAY_STARTED] = "play_started",
	[SIM_EVENT_PLAY_FINISHED] = "play_finished",
};

struct sim_faults *
sim_faults_new(void)
{
	struct sim_faults *faults = calloc(1, sizeof(*faults));

	if (faults != NULL)
		faults->last = &faults->first;
	return faults;
}

static void
free_all(struct sim_faults *faults)
{
	while (faults->first != NULL) {
		struct fault *next = faults->first->next;

		free(faults->first);
		faults->first = next;
	}
	faults->last = &faults->first;
	faults->listed = 0;
	faults->armed = 0;
}

void
sim_faults_free(struct sim_faults **faults)
{
	if (*faults != NULL)
		free_all(*faults);
	free(*faults);
	*faults = NULL;
}

void
sim_faults_clear(struct sim *sim)
{
	free_all(sim->faults);
}

/* ---- reading a fault ---- */

/* "<word>", "<word>.before" or "<word>.after" of a command. */
static bool
read_command_moment(const char *text, struct moment *out)
{
	const size_t len = strcspn(text, ".");
	const char *when = text + len;

	if (*when != '\0' && strcmp(when, ".before") != 0 &&
	    strcmp(when, ".after") != 0)
		return false;
	for (int i = 0; i < SIM_COMMAND_COUNT; i++) {
		if (strlen(command_words[i]) != len ||
		    strncmp(command_words[i], text, len) != 0)
			continue;
		*out = (struct moment){ .type = MOMENT_COMMAND, .what = i,
			.after = strcmp(when, ".after") == 0 };
		return true;
	}
	return false;
}

/* "nth_event:N", "nth_command:N" */
static bool
read_nth_moment(const char *text, const char *prefix, enum moment_type type,
    struct moment *out)
{
	const size_t len = strlen(prefix);
	char *end;

	if (strncmp(text, prefix, len) != 0)
		return false;
	out->type = type;
	out->nth = strtoull(text + len, &end, 10);
	return text[len] >= '1' && text[len] <= '9' && *end == '\0';
}

static bool
read_moment(const char *text, struct moment *out)
{
	*out = (struct moment){ .type = MOMENT_NOW, .nth = 1 };
	if (strcmp(text, "now") == 0)
		return true;
	if (strcmp(text, "connect") == 0) {
		out->type = MOMENT_CONNECT;
		return true;
	}
	for (int i = 0; i < SIM_EVENT_COUNT; i++) {
		if (strcmp(event_words[i], text) == 0) {
			out->type = MOMENT_EVENT;
			out->what = i;
			return true;
		}
	}
	return read_nth_moment(text, "nth_event:", MOMENT_ANY_EVENT, out) ||
	    read_nth_moment(text, "nth_command:", MOMENT_ANY_COMMAND, out) ||
	    read_command_moment(text, out);
}

/*
 * What happens to a frame or a reply needs one: "now" is the next one then.
 * False: that moment has none.
 */
static bool
fit_moment(struct fault *fault)
{
	struct moment *moment = &fault->moment;
	const bool is_event = moment->type == MOMENT_EVENT ||
	    moment->type == MOMENT_ANY_EVENT;
	const bool is_command = moment->type == MOMENT_COMMAND ||
	    moment->type == MOMENT_ANY_COMMAND;

	switch (fault->kind->type) {
	case SIM_FAULT_FRAME:
		if (moment->type == MOMENT_NOW)
			moment->type = MOMENT_ANY_EVENT;
		if (fault->kind->ringing_alone) {
			moment->type = MOMENT_EVENT;
			moment->what = SIM_EVENT_RINGING;
		}
		return is_event || strcmp(fault->at, "now") == 0;
	case SIM_FAULT_COMMAND:
		if (moment->type == MOMENT_NOW)
			moment->type = MOMENT_ANY_COMMAND;
		return is_command || strcmp(fault->at, "now") == 0;
	case SIM_FAULT_WORLD:
		break;
	}
	return true;
}

static int
copy_text(const cJSON *spec, const char *name, char *out, size_t size)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(spec, name);

	if (item == NULL)
		return 0;
	if (!cJSON_IsString(item) || strlen(item->valuestring) >= size)
		return -KAP_INVAL;
	(void)snprintf(out, size, "%s", item->valuestring);
	return 0;
}

static int64_t
number_of(const cJSON *spec, const char *name, int64_t fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(spec, name);

	return cJSON_IsNumber(item) && item->valuedouble >= 0 &&
	    item->valuedouble < 1e12 ? (int64_t)item->valuedouble : fallback;
}

static bool
flag_of(const cJSON *spec, const char *name, bool fallback)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(spec, name);

	return cJSON_IsBool(item) ? cJSON_IsTrue(item) : fallback;
}

static int
read_values(const cJSON *spec, struct sim_fault_values *values,
    struct kap_errmsg *msg)
{
	const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(spec,
	    "seconds");

	if (copy_text(spec, "app", values->app, sizeof(values->app)) != 0 ||
	    copy_text(spec, "channel", values->channel,
	        sizeof(values->channel)) != 0 ||
	    copy_text(spec, "number", values->number,
	        sizeof(values->number)) != 0) {
		kap_errmsg_set(msg, "app, channel and number are texts");
		return -KAP_INVAL;
	}
	values->ms = number_of(spec, "ms", -1);
	if (cJSON_IsNumber(seconds) && seconds->valuedouble >= 0 &&
	    seconds->valuedouble < 1e6)
		values->ms = (int64_t)(seconds->valuedouble * 1000);
	values->bytes = number_of(spec, "bytes", -1);
	values->status = number_of(spec, "status", 500);
	values->timers = flag_of(spec, "timers", true);
	values->entity = flag_of(spec, "entity", false);
	values->graceful = flag_of(spec, "graceful", false);
	return 0;
}

static int
read_fault(const cJSON *spec, struct fault *fault, struct kap_errmsg *msg)
{
	const char *name = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(spec, "fault"));
	const char *at = cJSON_GetStringValue(
	    cJSON_GetObjectItemCaseSensitive(spec, "at"));
	const int64_t count = number_of(spec, "count", 1);

	fault->kind = sim_fault_kind_find(name != NULL ? name : "");
	if (fault->kind == NULL) {
		kap_errmsg_set(msg, "no such fault (see --help): %.64s",
		    name != NULL ? name : "none");
		return -KAP_INVAL;
	}
	(void)snprintf(fault->at, sizeof(fault->at), "%s",
	    at != NULL ? at : "now");
	if (!read_moment(fault->at, &fault->moment)) {
		kap_errmsg_set(msg, "no such moment: \"%s\"", fault->at);
		return -KAP_INVAL;
	}
	if (!fit_moment(fault)) {
		kap_errmsg_set(msg, "%s can't happen at \"%s\"",
		    fault->kind->name, fault->at);
		return -KAP_INVAL;
	}
	if (count < 1 || count > UINT32_MAX) {
		kap_errmsg_set(msg, "count is 1 or more");
		return -KAP_INVAL;
	}
	fault->left = (unsigned)count;
	return read_values(spec, &fault->values, msg);
}

/* ---- firing ---- */

static void
fire(struct sim *sim, struct fault *fault, const char *app,
    struct sim_verdict *verdict, enum sim_fate *fate)
{
	const struct sim_fault_site site = {
		.values = &fault->values,
		.app = fault->values.app[0] != '\0' ? fault->values.app :
		    app != NULL ? app : "",
		.verdict = verdict,
		.fate = fate,
	};

	fault->fired++;
	fault->left--;
	if (fault->left == 0)
		sim->faults->armed--;
	sim->totals.faults++;
	fault->kind->act(sim, &site);
}

/* Is an app, or a connection of it, meant by a name? */
static bool
is_of(const char *name, const char *app)
{
	const size_t len = strlen(name);

	return strncmp(name, app, len) == 0 &&
	    (app[len] == '\0' || app[len] == '-');
}

/* The end of a number, or of an endpoint before its trunk. */
static bool
ends_in(const char *number, const char *tail)
{
	const size_t len = strcspn(number, "@");
	const size_t tail_len = strlen(tail);

	return len >= tail_len &&
	    strncmp(number + len - tail_len, tail, tail_len) == 0;
}

static bool
is_meant(const struct fault *fault, const struct sim_subject *subject)
{
	const struct sim_fault_values *values = &fault->values;

	if (values->app[0] != '\0' && subject->app != NULL &&
	    subject->app[0] != '\0' && !is_of(values->app, subject->app))
		return false;
	if (values->channel[0] != '\0' && (subject->channel == NULL ||
	        strcmp(values->channel, subject->channel) != 0))
		return false;
	return values->number[0] == '\0' || (subject->number != NULL &&
	    ends_in(subject->number, values->number));
}

/* Whether this is the fault's moment; counts those of the any-types. */
static bool
is_moment(struct fault *fault, const struct moment *now)
{
	const struct moment *wanted = &fault->moment;

	if (wanted->type == MOMENT_ANY_EVENT && now->type == MOMENT_EVENT)
		return ++fault->passed >= wanted->nth;
	/* what a world fault does to a command it does before it */
	if (wanted->type == MOMENT_ANY_COMMAND && now->type == MOMENT_COMMAND)
		return !now->after && ++fault->passed >= wanted->nth;
	if (wanted->type != now->type)
		return false;
	if (now->type == MOMENT_CONNECT)
		return true;
	/* what happens to a command is settled before it, whatever was said */
	return wanted->what == now->what &&
	    (fault->kind->type == SIM_FAULT_COMMAND ? !now->after :
	        wanted->after == now->after);
}

static void
look(struct sim *sim, const struct moment *now,
    const struct sim_subject *subject, struct sim_verdict *verdict,
    enum sim_fate *fate)
{
	for (struct fault *fault = sim->faults->first; fault != NULL;
	    fault = fault->next) {
		if (fault->left == 0 || sim->dying ||
		    !is_meant(fault, subject))
			continue;
		if (fate == NULL && fault->kind->type == SIM_FAULT_FRAME)
			continue;
		if (is_moment(fault, now))
			fire(sim, fault, subject->app, verdict, fate);
	}
}

void
sim_fault_at_command(struct sim *sim, enum sim_command command, bool after,
    const struct sim_subject *subject, struct sim_verdict *verdict)
{
	const struct moment now = { .type = MOMENT_COMMAND,
		.what = (int)command, .after = after };

	if (sim->faults->armed > 0)
		look(sim, &now, subject, verdict, NULL);
}

enum sim_fate
sim_fault_at_event(struct sim *sim, enum sim_event_type type,
    const struct sim_subject *subject, bool is_sent)
{
	const struct moment now = { .type = MOMENT_EVENT, .what = (int)type };
	enum sim_fate fate = SIM_FATE_SEND;

	if (sim->faults->armed > 0)
		look(sim, &now, subject, NULL, is_sent ? &fate : NULL);
	return fate;
}

void
sim_fault_at_connect(struct sim *sim, const struct sim_subject *subject)
{
	const struct moment now = { .type = MOMENT_CONNECT };

	if (sim->faults->armed > 0)
		look(sim, &now, subject, NULL, NULL);
}

/* ---- the list ---- */

/* Room for one more: those that are over go, oldest first. */
static void
forget_old(struct sim_faults *faults)
{
	struct fault **at = &faults->first;

	while (*at != NULL && faults->listed >= LISTED_MAX) {
		struct fault *fault = *at;

		if (fault->left > 0) {
			at = &fault->next;
			continue;
		}
		*at = fault->next;
		if (faults->last == &fault->next)
			faults->last = at;
		free(fault);
		faults->listed--;
	}
}

int
sim_fault_arm(struct sim *sim, const cJSON *spec, unsigned *id_out,
    struct kap_errmsg *msg)
{
	struct sim_faults *faults = sim->faults;
	struct fault *fault = calloc(1, sizeof(*fault));
	int rc;

	if (fault == NULL)
		return -KAP_NOMEM;
	rc = read_fault(spec, fault, msg);
	if (rc != 0) {
		free(fault);
		return rc;
	}
	forget_old(faults);
	fault->id = ++faults->last_id;
	*id_out = fault->id;
	*faults->last = fault;
	faults->last = &fault->next;
	faults->listed++;
	faults->armed++;
	while (fault->moment.type == MOMENT_NOW && fault->left > 0)
		fire(sim, fault, NULL, NULL, NULL);
	return 0;
}

void
sim_faults_render(const struct sim *sim, struct sim_text *out)
{
	const char *comma = "";

	sim_text_add(out, "[");
	for (const struct fault *fault = sim->faults->first; fault != NULL;
	    fault = fault->next) {
		sim_text_printf(out, "%s{\"id\":%u,\"fault\":\"%s\",\"at\":",
		    comma, fault->id, fault->kind->name);
		sim_text_add_quoted(out, fault->at);
		sim_text_add(out, ",\"app\":");
		sim_text_add_quoted(out, fault->values.app);
		sim_text_printf(out, ",\"fired\":%u,\"left\":%u}",
		    fault->fired, fault->left);
		comma = ",";
	}
	sim_text_add(out, "]");
}

static void
add_words(struct sim_text *out, const char *const *words, int count)
{
	for (int i = 0; i < count; i++) {
		sim_text_add(out, i % 6 == 0 ? "\n    " : " ");
		sim_text_add(out, words[i]);
	}
}

void
sim_faults_explain(struct sim_text *out)
{
	sim_text_add(out, "Faults: ");
	sim_fault_kind_names(out);
	sim_text_add(out, "\n\nMoments: now, connect, nth_event:N, "
	    "nth_command:N; an event:");
	add_words(out, event_words, SIM_EVENT_COUNT);
	sim_text_add(out, "\nor a command, .before or .after it is carried "
	    "out:");
	add_words(out, command_words, SIM_COMMAND_COUNT);
	sim_text_add(out, "\n\nWith a fault: app, number (its end), channel, "
	    "count; seconds or ms (silence,\nfreeze, restart, "
	    "refuse_connect, delay_replies), bytes (huge_event), status\n"
	    "(refuse_command), timers (freeze), entity and graceful "
	    "(restart).");
}
