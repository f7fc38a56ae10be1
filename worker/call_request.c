/*
 * See call_request.h. Knows no store and no socket.
 */
#include "call_request.h"

#include <string.h>

#include "api_fields.h"
#include "shared/amd_words.h"
#include "shared/net_guard.h"
#include "speech_voice.h"

static_assert(sizeof(((struct api_key *)NULL)->default_caller_id) ==
    CALL_NUMBER_SIZE, "a default caller id is a number like any other");
static_assert(KEY_POLICY_URL_MAX == CALL_WEBHOOK_URL_MAX,
    "a key's URL is one like any other");

/*
 * "en-US-Neural2-A", "cmn-CN-Wavenet-A", "es-419-Standard-A": what can be
 * spoken, and names more than a language and its region.
 */
static bool
is_voice(const char *text)
{
	struct speech_voice voice;

	return strlen(text) <= CALL_VOICE_MAX &&
	    speech_voice_parse(text, &voice) == 0 &&
	    voice.region[0] != '\0' &&
	    strlen(voice.name) > strlen(voice.tag) + 1;
}

static int
read_number(const cJSON *body, struct call_request *request,
    struct api_error *error)
{
	bool present;
	int rc = api_field_phone(body, "number", request->number, &present,
	    error);

	if (rc != 0)
		return rc;
	if (!present)
		return api_error_set(error, API_MISSING_PARAMETER,
		    "Missing required parameter: number");
	return api_field_phone(body, "callerId", request->caller_id, &present,
	    error);
}

static int
read_webhook(const cJSON *body, const struct config *config,
    struct call_request *request, struct api_error *error)
{
	struct kap_errmsg why;
	const char *url;

	if (api_field_text(body, "webhookUrl", &url, error) != 0)
		return -KAP_INVAL;
	if (url == NULL || *url == '\0')
		return 0;
	if (net_guard_check_webhook(url, config, &why) != 0)
		return api_error_set(error, API_INVALID_WEBHOOK_URL,
		    "Invalid webhookUrl: %.150s", why.text);
	(void)snprintf(request->webhook_url, sizeof(request->webhook_url),
	    "%s", url);
	return 0;
}

static int
read_voice(const cJSON *body, struct call_request *request,
    struct api_error *error)
{
	const char *voice;

	if (api_field_text(body, "voiceName", &voice, error) != 0)
		return -KAP_INVAL;
	if (voice == NULL || *voice == '\0')
		voice = CALL_REQUEST_VOICE;
	if (!is_voice(voice))
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: voiceName must look like "
		    CALL_REQUEST_VOICE);
	strncpy(request->voice, voice, CALL_VOICE_MAX);
	return 0;
}

/* Larger ones the JSON parser rounds, and they would come back altered. */
#define METADATA_NUMBER_MAX 1e15

static bool
has_rounded_number(const cJSON *value)
{
	const cJSON *child;

	if (cJSON_IsNumber(value) &&
	    (value->valuedouble >= METADATA_NUMBER_MAX ||
	    value->valuedouble <= -METADATA_NUMBER_MAX))
		return true;
	cJSON_ArrayForEach(child, value)
	{
		/* no deeper than the body may be */
		if (has_rounded_number(child))
			return true;
	}
	return false;
}

static int
read_metadata(const cJSON *body, struct call_request *request,
    struct api_error *error)
{
	const cJSON *metadata = api_field(body, "metadata");
	char text[CALL_METADATA_MAX + 64]; /* cJSON wants some room to spare */
	union {
		const cJSON *from;
		cJSON *to;
	} cast = { .from = metadata };

	if (metadata == NULL)
		return 0;
	if (!cJSON_IsObject(metadata))
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: metadata must be an object");
	if (has_rounded_number(metadata))
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: metadata has a number of more than "
		    "15 digits; send it as a string");
	if (!cJSON_PrintPreallocated(cast.to, text, (int)sizeof(text), 0) ||
	    strlen(text) > CALL_METADATA_MAX)
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: metadata is over %d bytes",
		    CALL_METADATA_MAX);
	memcpy(request->metadata, text, strlen(text) + 1);
	return 0;
}

static int
read_limits(const cJSON *body, const struct config *config,
    struct call_request *request, struct api_error *error)
{
	int64_t ring_s;
	int64_t max_s;

	if (api_field_clamped(body, "ringTimeout",
	        config->calls.ring_timeout_s,
	        config->calls.ring_timeout_min_s,
	        config->calls.ring_timeout_max_s, &ring_s, error) != 0 ||
	    api_field_clamped(body, "maxDuration",
	        config->calls.max_duration_s, 1,
	        config->calls.max_duration_max_s, &max_s, error) != 0)
		return -KAP_INVAL;
	request->ring_timeout_s = (uint16_t)ring_s;
	request->max_duration_s = (uint32_t)max_s;
	return 0;
}

/* The fields of "amd", and the keys of [amd] that they stand in for. */
struct amd_field {
	const char *name;
	const char *key;
	size_t offset; /* in struct config_amd */
};

#define AMD_FIELD(name, key) \
	{ name, #key, offsetof(struct config_amd, key) }

static const struct amd_field amd_fields[] = {
	AMD_FIELD("initialSilence", initial_silence_ms),
	AMD_FIELD("greeting", greeting_ms),
	AMD_FIELD("afterGreetingSilence", after_greeting_silence_ms),
	AMD_FIELD("totalAnalysisTime", total_analysis_ms),
	AMD_FIELD("minimumWordLength", min_word_length_ms),
	AMD_FIELD("betweenWordsSilence", between_words_silence_ms),
	AMD_FIELD("maximumNumberOfWords", maximum_number_of_words),
	AMD_FIELD("silenceThreshold", silence_threshold),
	AMD_FIELD("maximumWordLength", maximum_word_length_ms),
};

/* What the call says of its own analysis; the rest is the configuration's. */
static int
read_amd(const cJSON *body, const struct config *config,
    struct call_request *request, struct api_error *error)
{
	const size_t count = sizeof(amd_fields) / sizeof(amd_fields[0]);
	const cJSON *object = api_field(body, "amd");
	struct config_amd amd = config->amd;

	if (object == NULL)
		return 0;
	if (!cJSON_IsObject(object))
		return api_error_set(error, API_INVALID_PARAMETER,
		    "Invalid parameter: amd must be an object");
	for (size_t i = 0; i < count; i++) {
		const struct amd_field *field = &amd_fields[i];
		int64_t *to = (int64_t *)(void *)((char *)&amd +
		    field->offset);
		int64_t min;
		int64_t max;

		config_range("amd", field->key, &min, &max);
		if (api_field_clamped(object, field->name, *to, min, max, to,
		        error) != 0)
			return -KAP_INVAL;
	}
	amd_args_format(&amd, request->amd);
	request->amd_total = (uint8_t)((amd.total_analysis_ms +
	    CALL_AMD_UNIT_MS - 1) / CALL_AMD_UNIT_MS);
	return 0;
}

int
call_request_read(const cJSON *body, const struct config *config,
    struct call_request *request_out, struct api_error *error)
{
	memset(request_out, 0, sizeof(*request_out));
	if (read_number(body, request_out, error) != 0 ||
	    read_webhook(body, config, request_out, error) != 0 ||
	    read_voice(body, request_out, error) != 0 ||
	    read_limits(body, config, request_out, error) != 0 ||
	    read_metadata(body, request_out, error) != 0 ||
	    api_field_bool(body, "useAmd", false, &request_out->use_amd,
	        error) != 0 ||
	    api_field_bool(body, "asyncAmd", false, &request_out->async_amd,
	        error) != 0 ||
	    read_amd(body, config, request_out, error) != 0 ||
	    api_field_bool(body, "record", true, &request_out->record,
	        error) != 0)
		return -KAP_INVAL;
	return 0;
}

int
call_request_take_webhook(const struct api_key *key,
    const struct config *config, struct call_request *request,
    struct api_error *error)
{
	const char *url = key->policy.webhook_url;
	struct kap_errmsg why;
	size_t len;

	if (request->webhook_url[0] != '\0' || *url == '\0')
		return 0;
	if (net_guard_check_webhook(url, config, &why) != 0)
		return api_error_set(error, API_INVALID_WEBHOOK_URL,
		    "Invalid webhookUrl, the key's default: %.140s",
		    why.text);
	len = strnlen(url, CALL_WEBHOOK_URL_MAX);
	memcpy(request->webhook_url, url, len);
	request->webhook_url[len] = '\0';
	return 0;
}

void
call_request_fill_call(const struct call_request *request,
    const struct api_key *key, struct call *call_out)
{
	memset(call_out, 0, sizeof(*call_out));
	call_out->key_id = key->id;
	call_out->ring_timeout_s = request->ring_timeout_s;
	call_out->max_duration_s = request->max_duration_s;
	memcpy(call_out->number, request->number, sizeof(call_out->number));
	memcpy(call_out->caller_id, request->caller_id[0] != '\0'
	    ? request->caller_id : key->default_caller_id,
	    sizeof(call_out->caller_id));
	if (request->record)
		call_out->flags |= CALL_F_RECORD;
	if (request->use_amd)
		call_out->flags |= CALL_F_USE_AMD;
	if (request->use_amd)
		call_out->amd_total = request->amd_total;
	if (request->async_amd)
		call_out->flags |= CALL_F_ASYNC_AMD;
	if (request->webhook_url[0] != '\0')
		call_out->flags |= CALL_F_WEBHOOK;
}

/* One round of turns has as many as the weights of a priority add up to. */
#define WEIGHT_MAX 100
#define TURNS_MAX (API_KEY_TRUNKS_MAX * WEIGHT_MAX)

/* The trunks of one priority, by their places in the key. */
struct group {
	unsigned trunks[API_KEY_TRUNKS_MAX];
	int weights[API_KEY_TRUNKS_MAX];
	int credits[API_KEY_TRUNKS_MAX]; /* who has most is next */
	unsigned count;
	unsigned turns; /* of a whole round */
};

static unsigned
trunk_count_of(const struct api_key *key)
{
	return key->trunk_count < API_KEY_TRUNKS_MAX ? key->trunk_count :
	    API_KEY_TRUNKS_MAX;
}

static int
weight_of(const struct api_key_trunk_limits *limits)
{
	if (limits->weight == 0)
		return 1;
	return limits->weight < WEIGHT_MAX ? (int)limits->weight : WEIGHT_MAX;
}

static void
find_group(const struct api_key *key, uint32_t wanted, int32_t priority,
    struct group *group)
{
	const unsigned count = trunk_count_of(key);

	memset(group, 0, sizeof(*group));
	for (unsigned i = 0; i < count; i++) {
		const int weight = weight_of(&key->limits[i]);

		if (key->limits[i].priority != priority ||
		    (wanted & 1U << i) == 0)
			continue;
		group->trunks[group->count] = i;
		group->weights[group->count++] = weight;
		group->turns += (unsigned)weight;
	}
}

/*
 * Smooth weighted round robin: each turn everybody gets his weight, and the
 * richest, whose turn it is, pays for all. So with weights 5, 1, 1 the turns
 * are a a b a c a a, and not five calls in a row to one carrier. Returns a
 * place in the group.
 */
static unsigned
take_turn(struct group *group)
{
	unsigned best = 0;

	for (unsigned i = 0; i < group->count; i++) {
		group->credits[i] += group->weights[i];
		if (group->credits[i] > group->credits[best])
			best = i;
	}
	group->credits[best] -= (int)group->turns;
	return best;
}

/*
 * The trunk whose turn it is at `first`, then the others in the order of
 * their next turns. Played from the beginning, for nothing is remembered but
 * a number: that is some hundred additions at the most.
 */
static unsigned
order_group(struct group *group, uint32_t first,
    unsigned order[API_KEY_TRUNKS_MAX])
{
	const unsigned skipped = first % group->turns;
	bool taken[API_KEY_TRUNKS_MAX] = { false };
	unsigned found = 0;

	for (unsigned turn = 0; turn < skipped; turn++)
		(void)take_turn(group);
	for (unsigned turn = 0; turn < TURNS_MAX && found < group->count;
	     turn++) {
		const unsigned next = take_turn(group);

		if (!taken[next])
			order[found++] = group->trunks[next];
		taken[next] = true;
	}
	return found;
}

/* The lowest priority over `over`; false: there is none. */
static bool
next_priority(const struct api_key *key, uint32_t wanted, int64_t over,
    int32_t *out)
{
	const unsigned count = trunk_count_of(key);
	bool found = false;

	for (unsigned i = 0; i < count; i++) {
		const int32_t priority = key->limits[i].priority;

		if ((wanted & 1U << i) != 0 && priority > over &&
		    (!found || priority < *out)) {
			*out = priority;
			found = true;
		}
	}
	return found;
}

static void
add_trunk(const struct api_key *key, unsigned i, const char *number,
    struct call_request_dial *out)
{
	char *endpoint = out->endpoints[out->count];

	/* one that can't be used must not keep the others from it */
	if (out->count == CALL_TRUNKS_MAX ||
	    api_key_expand_dial(&key->trunks[i], number, endpoint,
	        sizeof(out->endpoints[0])) != 0)
		return;
	out->limits[out->count] = key->limits[i];
	out->trunks[out->count++] = key->trunks[i];
}

void
call_request_dial(const struct call_request *request,
    const struct api_key *key, uint32_t wanted, uint32_t first,
    struct call_request_dial *out)
{
	int64_t done = INT64_MIN;
	int32_t priority = 0;

	while (next_priority(key, wanted, done, &priority)) {
		unsigned order[API_KEY_TRUNKS_MAX];
		struct group group;
		unsigned count;

		find_group(key, wanted, priority, &group);
		count = order_group(&group, first, order);
		for (unsigned i = 0; i < count; i++)
			add_trunk(key, order[i], request->number, out);
		done = priority;
	}
}
