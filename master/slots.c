/*
 * The table of child kinds, and what is made from it. Starts no process.
 */
#include "master/slots.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "master/listeners.h"
#include "shared/child_runtime.h"

/* Every kind of child, once; in the order of the status table. */
static const struct {
	enum child_role role;
	bool one_per_worker; /* http.workers of them; else one */
	bool listens;
	unsigned drain_turn; /* a turn begins when the one before is empty */
} kinds[] = {
	{ CHILD_WORKER, true, true, 0 },
	{ CHILD_RECORDER, false, false, 1 },
	{ CHILD_WEBHOOKD, false, false, 1 },
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static size_t
slots_of_kind(const struct config *config, size_t kind)
{
	return kinds[kind].one_per_worker ? (size_t)config->http.workers : 1;
}

static void
init_slot(struct slot *slot, size_t kind, int number)
{
	*slot = (struct slot){ .role = kinds[kind].role, .number = number,
		.drain_turn = kinds[kind].drain_turn, .state = SLOT_DEAD,
		.bell = child_bell_of(kinds[kind].role, number),
		.control_fd = -1, .listen_fd = -1, .admin_fd = -1,
		.events_fd = -1 };
}

static int
open_listeners(struct slot *slot, const struct config *config,
    struct kap_errmsg *msg)
{
	int rc = listener_open(config->http.listen, &slot->listen_fd, msg);

	if (rc == 0)
		rc = listener_open(config->admin.listen, &slot->admin_fd, msg);
	return rc;
}

int
slots_make(const struct config *config, struct slot **slots_out,
    size_t *count_out, struct kap_errmsg *msg)
{
	struct slot *slots;
	size_t count = 0;
	int rc = 0;

	for (size_t kind = 0; kind < KIND_COUNT; kind++)
		count += slots_of_kind(config, kind);
	slots = calloc(count, sizeof(*slots));
	if (slots == NULL) {
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	count = 0;
	for (size_t kind = 0; kind < KIND_COUNT && rc == 0; kind++) {
		const size_t most = slots_of_kind(config, kind);

		for (size_t n = 0; n < most && rc == 0; n++) {
			init_slot(&slots[count], kind, (int)n);
			if (kinds[kind].listens)
				rc = open_listeners(&slots[count], config,
				    msg);
			count++;
		}
	}
	if (rc != 0) {
		slots_free(&slots, &count);
		return rc;
	}
	*slots_out = slots;
	*count_out = count;
	return 0;
}

void
slots_free(struct slot **slots, size_t *count)
{
	for (size_t i = 0; i < *count; i++) {
		close_fd(&(*slots)[i].listen_fd);
		close_fd(&(*slots)[i].admin_fd);
		close_fd(&(*slots)[i].events_fd);
	}
	free(*slots);
	*slots = NULL;
	*count = 0;
}

int
slots_make_bells(int bells[CHILD_BELL_COUNT])
{
	for (size_t i = 0; i < CHILD_BELL_COUNT; i++)
		bells[i] = -1;
	for (size_t i = 0; i < CHILD_BELL_COUNT; i++) {
		bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (bells[i] < 0) {
			slots_close_bells(bells);
			return -KAP_IO;
		}
	}
	return 0;
}

void
slots_close_bells(int bells[CHILD_BELL_COUNT])
{
	for (size_t i = 0; i < CHILD_BELL_COUNT; i++)
		close_fd(&bells[i]);
}
