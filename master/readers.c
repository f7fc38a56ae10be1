/*
 * Decides who is wanted as a reader; moves nothing and starts nothing.
 */
#include "master/readers.h"

#include "shared/log.h"
#include "shared/stats.h"

struct stream_reader
readers_of(const struct process *process)
{
	return (struct stream_reader){ .slot = process->slot->number,
		.generation = process->generation };
}

/* While the number of workers changes, nobody reads what changes hands. */
static bool
changes_hands(const struct children *children, int stream)
{
	return stats_owner_among((unsigned)stream, children->workers) !=
	    stats_owner_among((unsigned)stream, children->workers_to_be);
}

static struct stream_reader
wanted_reader(void *ctx, int stream, bool known)
{
	const struct children *children = ctx;
	const unsigned owner = stats_owner_among((unsigned)stream,
	    children->workers);
	const struct process *process = children->slots[owner].current;

	if (changes_hands(children, stream) || !process_is_alive(process) ||
	    (!known && (unsigned)stream >= children->workers))
		return (struct stream_reader){ .generation = 0 };
	return readers_of(process);
}

static int
send_to_reader(void *ctx, const struct stream_reader *to,
    enum child_message_kind kind, int stream, int fd)
{
	struct children *children = ctx;
	const struct process *process = slot_find_process(
	    &children->slots[to->slot], to->generation);
	int rc;

	if (process == NULL)
		return -KAP_GONE;
	rc = process_send(process, kind, stream, fd);
	log_debug(kind == CHILD_MSG_READ ? "told to read" :
	    "told to stop reading", LOG_I("stream", stream),
	    LOG_I("slot", to->slot), LOG_I("generation", to->generation),
	    LOG_I("socket", fd >= 0), LOG_I("rc", rc));
	return rc;
}

const struct streams_ops readers_ops = { wanted_reader,
	send_to_reader };

bool
readers_hold_on(const struct children *children)
{
	for (int i = 0; i < CHILD_MAX_WORKERS; i++) {
		if (changes_hands(children, i) &&
		    children->streams.at[i].reader.generation != 0)
			return true;
	}
	return false;
}
