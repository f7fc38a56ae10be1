/*
 * Who does the slot's work: this process, one that was there before, or one
 * that comes after. The master says so by way of the event stream (child.h);
 * what goes with it (timers, commands left behind, the ledger, the doorbell,
 * adopted slots) is handed on with it.
 */
#ifndef KAP_DUTY_H
#define KAP_DUTY_H

#include "shared/child.h"

struct worker;

/* Begin: everything is open. `beside`: another process has the duty. */
void duty_begin(struct worker *worker, bool beside);

/* CHILD_MSG_READ; the descriptor is taken over. */
void duty_read(struct worker *worker, int slot, int fd);

/* CHILD_MSG_STOP_READING. */
void duty_stop_reading(struct worker *worker, int slot);

/*
 * Finish what is under way and leave. Relieved of its duty, a worker goes on
 * as before for those that still talk to it, until each has been told that it
 * was the last time; else nobody serves from now on.
 */
void duty_drain(struct worker *worker);

/* For worker.leave_timer, an event's callback: is there nothing left? */
void duty_on_leave_timer(int fd, short what, void *worker);

#endif
