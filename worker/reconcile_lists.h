/*
 * What Asterisk has told of its channels and bridges: those of its lists that
 * have the form of this node's names; the channels that listen for AMD apart
 * from the calls' own. Plain data; judges nothing.
 */
#ifndef KAP_RECONCILE_LISTS_H
#define KAP_RECONCILE_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/call.h"
#include "shared/call_machine.h"
#include "shared/errors.h"

struct cJSON;

struct seen_channel {
	char name[CALL_NAME_SIZE];
	char call_id[CALL_ID_SIZE];
	unsigned attempt;
	enum call_input_kind shows; /* what its state says */
};

/* All zero is none. */
struct reconcile_lists {
	struct seen_channel *channels; /* sorted by name */
	size_t channel_count;
	char (*snoops)[CALL_ID_SIZE];  /* calls of our snoop channels; sorted */
	size_t snoop_count;
	char (*bridges)[CALL_ID_SIZE]; /* calls of our bridges */
	size_t bridge_count;
};

void reconcile_lists_clear(struct reconcile_lists *lists);

/*
 * Take what Asterisk has told, in place of what was there.
 *
 * list  a JSON array, as GET /channels and GET /bridges have it
 * node  1..; what bears another's mark is left out
 *
 * Return 0, or -KAP_NOMEM with the list empty.
 */
KAP_MUST_USE int reconcile_lists_read_channels(struct reconcile_lists *lists,
    const struct cJSON *list, int64_t node);
KAP_MUST_USE int reconcile_lists_read_bridges(struct reconcile_lists *lists,
    const struct cJSON *list, int64_t node);

/* The channel of a call's present attempt; NULL: Asterisk has told of none. */
const struct seen_channel *reconcile_lists_find(
    const struct reconcile_lists *lists, const struct call *call);

/* Whether Asterisk has told of a call's snoop channel. */
bool reconcile_lists_has_snoop(const struct reconcile_lists *lists,
    const struct call *call);

#endif
