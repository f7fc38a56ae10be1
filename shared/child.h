/*
 * The contract between the master and the children it spawns (worker,
 * webhookd, recorder): arguments, descriptors, and the messages on the
 * control channel.
 *
 * A child is fork + exec. Its arguments are
 *
 *     kaphila-<role> --child --slot N --generation G [--beside H]
 *
 * --beside H: the slot's process of generation H still runs. It goes on with
 * what it holds and leaves; what only one process of a slot may do (webhookd,
 * recorder: all of their work) waits until it is gone (stats_is_alive).
 *
 * and its descriptors are the ones numbered below; all others but 0, 1 and 2
 * are closed. A descriptor that has nothing behind it in this child (no
 * listener, no event socket yet) is simply closed there.
 *
 * Event streams. A slot's Stasis app has one event socket, kept open by the
 * master, and at most one reader. The master says who that is: CHILD_MSG_READ
 * (with the socket, if there is one) to a worker that may begin, and
 * CHILD_MSG_STOP_READING to one that has to end; its CHILD_MSG_UNREAD, or its
 * death, comes before the next reader's CHILD_MSG_READ. A worker may be made
 * the reader of streams besides its own: those of slots that are no more.
 *
 * A planned restart: the successor starts beside the old process, opens
 * listeners and links but neither accepts nor reads; READY when its links are
 * up, or 5 s later. Then the old one is told to stop reading and to drain,
 * and the successor, once that is said, to read. It accepts from then on.
 *
 * The end of the control channel tells the child that the master is gone: it
 * then finishes what it holds and leaves.
 */
#ifndef KAP_CHILD_H
#define KAP_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "errors.h"

#define CHILD_MAX_WORKERS 64

enum child_role {
	CHILD_WORKER,
	CHILD_WEBHOOKD,
	CHILD_RECORDER,
	CHILD_ROLE_COUNT
};

/* "worker", "webhookd", "recorder". */
const char *child_role_name(enum child_role role);

enum child_fd {
	CHILD_FD_CONFIG = 3,  /* sealed memfd: the checked configuration */
	CHILD_FD_CONTROL = 4, /* AF_UNIX SOCK_SEQPACKET to the master */
	CHILD_FD_STATS = 5,   /* the statistics file, shared memory */
	CHILD_FD_LISTEN = 6,  /* worker: the slot's API listener */
	CHILD_FD_ADMIN = 7,   /* worker: the slot's admin listener */
	CHILD_FD_LOCK = 9,    /* held, not used: a lock on the run directory that
	                         is free when the last child is gone */
	CHILD_FD_BELLS = 16   /* first doorbell, in the order of the indexes */
};

/*
 * Doorbells: an eventfd for each slot that may ever be, made by the master.
 * Index 0 is webhookd, 1 the recorder, 2 + n worker slot n.
 */
enum child_bell {
	CHILD_BELL_WEBHOOKD = 0,
	CHILD_BELL_RECORDER = 1,
	CHILD_BELL_WORKER = 2
};
#define CHILD_BELL_COUNT (CHILD_BELL_WORKER + CHILD_MAX_WORKERS)
#define CHILD_FD_END (CHILD_FD_BELLS + CHILD_BELL_COUNT)

/*
 * Ring one doorbell. Any process, any time; never blocks. A ring can be lost
 * with its ringer, so whoever listens also looks by itself every few seconds.
 */
void child_bell_ring(unsigned bell);

/* The descriptor to watch for EV_READ, and how to reset it when it fired. */
int child_bell_fd(unsigned bell);
void child_bell_clear(unsigned bell);

/* Messages on the control channel, one a packet. */
enum child_message_kind {
	/* child → master */
	CHILD_MSG_READY = 1,  /* set up, and serving */
	CHILD_MSG_EVENTS_FD,  /* carries `slot`'s event socket (SCM_RIGHTS) */
	CHILD_MSG_EVENTS_GONE, /* `slot`'s socket is dead: close your copy */
	CHILD_MSG_STOPPING,   /* leaving by itself; text says why */
	CHILD_MSG_UNREAD,     /* reads `slot`'s stream no more; what it took is
	                         committed. `text` "idle": nobody needs it */
	CHILD_MSG_RESTART,    /* was sent SIGHUP: asks for a successor */
	/* master → child */
	CHILD_MSG_DRAIN = 64, /* take no new work, finish, leave */
	CHILD_MSG_LISTENER,   /* carries a neighbour's API listener */
	CHILD_MSG_LISTENER_DROP, /* give that neighbour's listener back */
	CHILD_MSG_READ,       /* read `slot`'s events; carries its socket, or
	                         none: connect */
	CHILD_MSG_STOP_READING, /* stop reading `slot`'s, and say UNREAD */
	CHILD_MSG_CONFIG      /* carries a checked configuration in a sealed
	                         memfd: take over what is reloadable */
};

struct child_message {
	uint32_t kind;       /* enum child_message_kind */
	uint32_t generation; /* the child's; a late message of another is void */
	int32_t slot;        /* whose listener or stream it is about */
	char text[116];      /* NUL-terminated; empty where it has none */
};

/*
 * Send one message, with a descriptor if fd >= 0. Doesn't block: -KAP_AGAIN
 * when the other side's queue is full, -KAP_GONE when it is closed, else
 * -KAP_IO. The descriptor stays the caller's.
 */
KAP_MUST_USE int child_message_send(int control_fd,
    const struct child_message *message, int fd);

/*
 * Receive one message. *fd_out is -1 or a descriptor that is now the
 * caller's, close-on-exec. Doesn't block: -KAP_AGAIN when there is none,
 * -KAP_GONE at the end, -KAP_PROTO for a packet of another size (dropped).
 */
KAP_MUST_USE int child_message_receive(int control_fd,
    struct child_message *message_out, int *fd_out);

/* What main() of a child learns from its arguments. */
struct child_args {
	enum child_role role;
	int slot;            /* 0.. for a worker, 0 for the others */
	uint32_t generation; /* counts this slot's starts, from 1 */
	uint32_t beside;     /* the predecessor that still runs; 0: none */
};

/*
 * Parse a child's arguments; `--help` and `--version` are answered and end
 * the process, and so does a start by hand, with a line that says who starts
 * it. Call it first in main().
 */
void child_parse_args(int argc, char **argv, enum child_role role,
    struct child_args *args_out);

/* True when this child was given the descriptor. */
bool child_has_fd(int fd);

#endif
