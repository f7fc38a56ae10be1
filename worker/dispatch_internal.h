/*
 * What dispatch.c and dispatch_resume.c know of a command under way. Nobody
 * else includes this.
 */
#ifndef KAP_DISPATCH_INTERNAL_H
#define KAP_DISPATCH_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event_struct.h>

#include "command_fence.h"
#include "dispatch.h"

enum sent_phase { SENT_ASKED, SENT_LATER, SENT_PROBED };

/* One command that this process has under way. */
struct sent {
	struct turn_job job;
	struct dispatch *dispatch;
	struct event *timer; /* LATER and PROBED; NULL until needed */
	enum sent_phase phase;
	enum call_command_kind kind;
	unsigned attempt;
	struct call_play_id play; /* PLAY, PLAY_STOP */
	unsigned tries;
	unsigned slot; /* of the call */
	unsigned taker_slot; /* of the process that sent it */
	uint32_t connection; /* …over which */
	unsigned stats_trunk; /* originate only (stats.h) */
	uint32_t seq;
	int64_t taken_ms;
	struct ari_mark mark; /* PROBED: what is to be read first */
	struct fence_wait fence;
	bool fenced;   /* the fence has ended: what is probed now is final */
	bool in_doubt; /* …but it stands: never to be said again */
	bool is_left;  /* another process is to tell what became of it */
	char call_id[CALL_ID_SIZE];
	struct call_input input; /* what the reply means */
	int reply_status; /* HTTP's; 0: none came */
	bool has_input;
	bool listed; /* in the tree; a look for what waits is not */
	struct change change;
};

/* A look through all outboxes, a page a turn of the loop. */
struct sweep {
	struct turn_job committed; /* behind the jobs of a page */
	struct dispatch *dispatch;
	struct event timer;
	char after[CALL_ID_SIZE]; /* it has come to here */
	bool under_way;
	bool at_end; /* the page was the last one */
	bool again;  /* another one follows: heads may be new behind it */
};

struct dispatch {
	struct dispatch_options options;
	struct command_fence *fence;
	struct sweep sweep;
	void *sent; /* tsearch tree of struct sent, by call and seq */
	unsigned sent_count;
	bool ready;    /* all links are up */
	bool relieved; /* the slot's calls are another process's to go on with */
	bool draining; /* nothing waits to be said again */
};

/* dispatch.c */

/*
 * A command that waits is not under way yet: whoever takes it is listed.
 * NULL when out of memory, or when it is under way already.
 */
struct sent *dispatch_sent_new(struct dispatch *dispatch,
    const char call_id[CALL_ID_SIZE], unsigned slot,
    const struct command *command);
void dispatch_sent_free(struct sent *sent);

bool dispatch_is_under_way(const struct dispatch *dispatch,
    const char call_id[CALL_ID_SIZE], uint32_t seq);

/* Have a job of `sent` committed; its second half frees it. */
void dispatch_submit(struct sent *sent,
    int (*apply)(struct turn_job *job, struct store_txn *txn));

/* Such jobs: Asterisk has answered; take it anew. */
int dispatch_apply_settle(struct turn_job *job, struct store_txn *txn);
int dispatch_apply_retake(struct turn_job *job, struct store_txn *txn);

/* Run a job after a while; at once, if there is no timer to be had. */
void dispatch_wait_ms(struct sent *sent, enum sent_phase phase, int ms);

/* The link that such a command goes by. */
struct ari_command_link *dispatch_lane(const struct dispatch *dispatch,
    enum call_command_kind kind);

/* Whether the call's events are read, by whom I don't care. */
bool dispatch_is_stream_read(const struct dispatch *dispatch, unsigned slot);

/* dispatch_resume.c */

void dispatch_sweep_init(struct dispatch *dispatch);
void dispatch_sweep_deinit(struct dispatch *dispatch);

/* Whether such a command may be said a second time only if it had no effect. */
bool dispatch_is_once(enum call_command_kind kind);

/* A probed command's time for late events is over. */
void dispatch_probed(struct sent *sent);

/* The job then. */
int dispatch_apply_not_there(struct turn_job *job, struct store_txn *txn);

#endif
