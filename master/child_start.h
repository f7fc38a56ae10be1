/*
 * From a slot to a running program: which program, with which arguments and
 * which descriptors (shared/child.h is the contract).
 */
#ifndef KAP_CHILD_START_H
#define KAP_CHILD_START_H

#include "master/children.h"
#include "shared/errors.h"

/*
 * Start the program of a slot's role as a process of the slot, whose
 * generation is set.
 *
 * beside      the process that still runs there, or NULL
 * control_fd  the child's end of the control channel; it stays the caller's
 *
 * Returns 0 with process->pid set; -KAP_NOENT when there is no such program,
 * -KAP_IO when there is no process or memory to be had.
 */
KAP_MUST_USE int child_start(const struct children *children,
    struct process *process, const struct process *beside, int control_fd);

#endif
