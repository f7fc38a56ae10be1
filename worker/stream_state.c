/*
 * How far a stream has come in, and how far it is committed, by the kernel's
 * count: a byte leaves the kernel only when it is committed.
 */
#include "stream_state.h"

#include <sys/ioctl.h>

#include <linux/sockios.h>

#include "event_socket.h"

/*
 * More than this in the socket, and its window may have been shut: then the
 * other end holds events that have not come in. Less, and it doesn't.
 */
#define WAITING_MAX 16384

static int
set_mark(struct stream_mark *mark, const struct stream_state *state)
{
	uint64_t committed;
	int waiting;
	const int rc = event_socket_position(state->fd, &committed);

	if (rc != 0)
		return rc;
	if (ioctl(state->fd, SIOCINQ, &waiting) != 0)
		return -KAP_IO;
	if (waiting > WAITING_MAX)
		return -KAP_AGAIN;
	mark->bytes = committed + (uint64_t)waiting;
	mark->began_ms = state->began_ms;
	mark->is_set = true;
	return 0;
}

bool
stream_mark_is_read(struct stream_mark *mark,
    const struct stream_state *state)
{
	uint64_t committed;

	if (state->reader != STREAM_READ || state->fd == 0)
		return true;
	/* not yet; one that can't be examined is about to be given up */
	if (!mark->is_set && set_mark(mark, state) != 0)
		return false;
	if (mark->began_ms != state->began_ms)
		return true;
	return event_socket_position(state->fd, &committed) == 0 &&
	    committed >= mark->bytes;
}
