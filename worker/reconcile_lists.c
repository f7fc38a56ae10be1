/*
 * Reads Asterisk's lists of channels and bridges. Decides nothing, asks
 * nothing.
 */
#include "reconcile_lists.h"

#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "ari_say.h"

static int
compare_channels(const void *a, const void *b)
{
	const struct seen_channel *left = a;
	const struct seen_channel *right = b;

	return strcmp(left->name, right->name);
}

static int
compare_name(const void *name, const void *channel)
{
	return strcmp(name, ((const struct seen_channel *)channel)->name);
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(a, b);
}

static const char *
text_of(const cJSON *object, const char *name)
{
	const cJSON *field = cJSON_GetObjectItemCaseSensitive(object, name);

	return cJSON_IsString(field) ? field->valuestring : "";
}

static enum call_input_kind
read_state(const cJSON *channel)
{
	const cJSON *dialplan = cJSON_GetObjectItemCaseSensitive(channel,
	    "dialplan");
	const char *state = text_of(channel, "state");

	if (strcmp(state, "Ringing") == 0)
		return CALL_IN_RINGING;
	if (strcmp(state, "Up") != 0)
		return CALL_IN_SEEN;
	return strcmp(text_of(dialplan, "app_name"), "Stasis") == 0
	    ? CALL_IN_STASIS_START : CALL_IN_UP;
}

static void
clear_channels(struct reconcile_lists *lists)
{
	free(lists->channels);
	lists->channels = NULL;
	lists->channel_count = 0;
	free(lists->snoops);
	lists->snoops = NULL;
	lists->snoop_count = 0;
}

static void
clear_bridges(struct reconcile_lists *lists)
{
	free(lists->bridges);
	lists->bridges = NULL;
	lists->bridge_count = 0;
}

void
reconcile_lists_clear(struct reconcile_lists *lists)
{
	clear_channels(lists);
	clear_bridges(lists);
}

static bool
read_channel(const cJSON *item, int64_t node, struct seen_channel *seen)
{
	const char *name = text_of(item, "id");

	if (strlen(name) >= sizeof(seen->name) ||
	    call_parse_channel(name, seen->call_id, &seen->attempt) != 0 ||
	    call_id_node(seen->call_id) != node)
		return false;
	memcpy(seen->name, name, strlen(name) + 1);
	seen->shows = read_state(item);
	return true;
}

/*
 * A snoop channel bears no mark of ours until it is told what to do. But its
 * name is made by Asterisk of the channel that it listens to, so both its id
 * and that have to be of one call.
 */
static bool
read_snoop(const cJSON *item, int64_t node, char call_id[CALL_ID_SIZE])
{
	static const char prefix[] = "Snoop/";
	const char *name = text_of(item, "name");
	size_t len;

	if (call_parse_snoop(text_of(item, "id"), call_id) != 0 ||
	    call_id_node(call_id) != node ||
	    strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	name += strlen(prefix);
	len = strlen(call_id);
	return strncmp(name, call_id, len) == 0 && name[len] == '-';
}

int
reconcile_lists_read_channels(struct reconcile_lists *lists,
    const cJSON *list, int64_t node)
{
	const size_t room = (size_t)cJSON_GetArraySize(list);
	const cJSON *item;

	clear_channels(lists);
	lists->channels = calloc(room + 1, sizeof(struct seen_channel));
	lists->snoops = calloc(room + 1, CALL_ID_SIZE);
	if (lists->channels == NULL || lists->snoops == NULL) {
		clear_channels(lists);
		return -KAP_NOMEM;
	}
	cJSON_ArrayForEach(item, list)
	{
		if (read_channel(item, node,
		        &lists->channels[lists->channel_count]))
			lists->channel_count++;
		else if (read_snoop(item, node,
		        lists->snoops[lists->snoop_count]))
			lists->snoop_count++;
	}
	qsort(lists->snoops, lists->snoop_count, CALL_ID_SIZE, compare_ids);
	qsort(lists->channels, lists->channel_count,
	    sizeof(struct seen_channel), compare_channels);
	return 0;
}

int
reconcile_lists_read_bridges(struct reconcile_lists *lists,
    const cJSON *list, int64_t node)
{
	const size_t room = (size_t)cJSON_GetArraySize(list);
	char label[ARI_BRIDGE_NAME_SIZE];
	const cJSON *item;

	clear_bridges(lists);
	ari_bridge_label(label, node);
	lists->bridges = calloc(room + 1, CALL_ID_SIZE);
	if (lists->bridges == NULL)
		return -KAP_NOMEM;
	cJSON_ArrayForEach(item, list)
	{
		char *id = lists->bridges[lists->bridge_count];

		if (strcmp(text_of(item, "name"), label) == 0 &&
		    call_parse_bridge(text_of(item, "id"), id) == 0)
			lists->bridge_count++;
	}
	return 0;
}

const struct seen_channel *
reconcile_lists_find(const struct reconcile_lists *lists,
    const struct call *call)
{
	char name[CALL_NAME_SIZE];

	if (lists->channel_count == 0)
		return NULL;
	call_channel_name(call, name);
	return bsearch(name, lists->channels, lists->channel_count,
	    sizeof(struct seen_channel), compare_name);
}

bool
reconcile_lists_has_snoop(const struct reconcile_lists *lists,
    const struct call *call)
{
	return lists->snoop_count > 0 && bsearch(call->id, lists->snoops,
	    lists->snoop_count, CALL_ID_SIZE, compare_ids) != NULL;
}
