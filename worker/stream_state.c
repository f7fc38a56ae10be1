/*
 * What is asked of a stream without knowing whether it is read.
 */
#include "stream_state.h"

#include "event_link.h"

bool
stream_is_past(const struct stream_state *state, struct ari_mark *mark)
{
	if (state->reader != STREAM_READ || state->link == NULL)
		return true;
	return event_link_is_past(state->link, mark);
}
