/*
 * From the JSON text of one ARI event to what it means for a call. Knows no
 * socket and no store, and believes nothing: what it can't read is
 * irrelevant.
 */
#ifndef KAP_ARI_DECODE_H
#define KAP_ARI_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "ari_mark.h"
#include "shared/call.h"
#include "shared/call_machine.h"

enum ari_event_kind {
	ARI_EVENT_IRRELEVANT, /* of no call of ours, or of no interest */
	ARI_EVENT_CALL,       /* `call_id` and `input` are set */
	ARI_EVENT_MARK,       /* `mark` is set */
	ARI_EVENT_REPLACED    /* another connection has taken our app over */
};

struct ari_event {
	enum ari_event_kind kind;
	struct call_input input; /* at_ms: Asterisk's time of the event */
	char call_id[CALL_ID_SIZE];
	struct ari_mark mark;
};

/*
 * Decode one event. Whether there is such a call is not known here.
 *
 * text    not NUL-terminated, any bytes
 * now_ms  wall clock; an event's time is clamped to the hour before it
 * out     filled whole in any case
 *
 * Returns out->kind. Never blocks.
 */
enum ari_event_kind ari_decode(const char *text, size_t len, int64_t now_ms,
    struct ari_event *out);

#endif
