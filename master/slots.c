/*
 * The table of child kinds, and what is made from it. Starts no process.
 */
#include "master/slots.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/listeners.h"
#include "shared/child_runtime.h"

/* Every kind of child, once; in the order of the status table. */
static const struct {
	enum child_role role;
	int most;            /* slots that may ever be */
	bool one_per_worker; /* http.workers of them are active; else all */
	bool listens;
	unsigned drain_turn; /* a turn begins when the one before is empty */
} kinds[] = {
	{ CHILD_WORKER, CHILD_MAX_WORKERS, true, true, 0 },
	{ CHILD_RECORDER, 1, false, false, 1 },
	{ CHILD_WEBHOOKD, 1, false, false, 1 },
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void
init_slot(struct slot *slot, size_t kind, int number)
{
	*slot = (struct slot){ .role = kinds[kind].role, .number = number,
		.drain_turn = kinds[kind].drain_turn,
		.bell = child_bell_of(kinds[kind].role, number),
		.listen_fd = -1, .admin_fd = -1 };
	for (size_t i = 0; i < 2; i++) {
		slot->process[i].slot = slot;
		slot->process[i].control_fd = -1;
	}
}

int
slots_open_listeners(struct slot *slot, const struct config *config,
    struct kap_errmsg *msg)
{
	int rc = 0;

	if (slot->listen_fd < 0)
		rc = listener_open(config->http.listen, &slot->listen_fd, msg);
	if (rc == 0 && slot->admin_fd < 0)
		rc = listener_open(config->admin.listen, &slot->admin_fd, msg);
	return rc;
}

static void
close_listener(int *fd)
{
	/* a child's copy would hold it open, and connects would hang */
	if (*fd >= 0)
		(void)shutdown(*fd, SHUT_RDWR);
	close_fd(fd);
}

void
slots_close_listeners(struct slot *slot)
{
	close_listener(&slot->listen_fd);
	close_listener(&slot->admin_fd);
}

void
slots_close_admin(struct slot *slot)
{
	close_listener(&slot->admin_fd);
}

static int
make_kind(struct slot *slots, size_t kind, const struct config *config,
    struct kap_errmsg *msg)
{
	int rc = 0;

	for (int n = 0; n < kinds[kind].most; n++)
		init_slot(&slots[n], kind, n);
	for (int n = 0; n < kinds[kind].most && rc == 0; n++) {
		slots[n].active = !kinds[kind].one_per_worker ||
		    n < config->http.workers;
		if (slots[n].active && kinds[kind].listens)
			rc = slots_open_listeners(&slots[n], config, msg);
	}
	return rc;
}

int
slots_make(const struct config *config, struct slot **slots_out,
    struct kap_errmsg *msg)
{
	struct slot *slots = calloc(SLOTS_COUNT, sizeof(*slots));
	size_t at = 0;
	int rc = 0;

	if (slots == NULL) {
		kap_errmsg_set(msg, "out of memory");
		return -KAP_NOMEM;
	}
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		slots[i].listen_fd = -1;
		slots[i].admin_fd = -1;
	}
	for (size_t kind = 0; kind < KIND_COUNT && rc == 0; kind++) {
		rc = make_kind(&slots[at], kind, config, msg);
		at += (size_t)kinds[kind].most;
	}
	if (rc != 0) {
		slots_free(&slots);
		return rc;
	}
	*slots_out = slots;
	return 0;
}

void
slots_free(struct slot **slots)
{
	if (*slots == NULL)
		return;
	/* not shut down: a child may still accept what waits */
	for (size_t i = 0; i < SLOTS_COUNT; i++) {
		close_fd(&(*slots)[i].listen_fd);
		close_fd(&(*slots)[i].admin_fd);
	}
	free(*slots);
	*slots = NULL;
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
