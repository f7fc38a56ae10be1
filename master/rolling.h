/*
 * A rolling restart: one slot after the other, the next only when the last
 * one's successor serves. It stops at the first that fails, and changes no
 * number of workers.
 */
#ifndef KAP_ROLLING_H
#define KAP_ROLLING_H

#include "master/operation.h"
#include "shared/errors.h"

/*
 * Fill in which slots, and the operation's words. As operation_restart.
 *
 * Returns 0, -KAP_INVAL, -KAP_NOENT. Begins nothing.
 */
KAP_MUST_USE int rolling_plan(struct children *children,
    struct operation *operation, const char *role, int slot,
    struct kap_errmsg *msg);

/* Go on, if it can. */
void rolling_push(struct children *children, struct operation *operation);

#endif
