/*
 * Fires the deadlines of calls: one libevent timer for the earliest of this
 * slot and those that it looks after, and whatever another has left overdue.
 *
 * That a carrier gave no sign in time is judged behind Asterisk's events: a
 * trunk's timer waits until all is read that Asterisk had written by then.
 */
#ifndef KAP_TIMER_RUN_H
#define KAP_TIMER_RUN_H

#include <stdbool.h>

#include "change.h"
#include "dispatch.h"
#include "shared/turn.h"
#include "stream_state.h"

struct event_base;
struct timer_run;

struct timer_run_options {
	struct event_base *base;
	struct turn *turn;
	struct store *store;
	const struct change_maker *maker;
	struct dispatch *dispatch;
	const struct stream_states *streams;
};

/* All in `options` is borrowed. NULL when out of memory. */
struct timer_run *timer_run_new(const struct timer_run_options *options);
void timer_run_free(struct timer_run **run);

/*
 * Look at the table: a timer may have been set or cleared. Cheap to call
 * often; the look itself happens once in the next turn.
 */
void timer_run_look(struct timer_run *run);

/*
 * Fire nothing while held, for the slot's other process does. What was due
 * before may still be on its way.
 */
void timer_run_hold(struct timer_run *run, bool hold);

#endif
