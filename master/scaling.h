/*
 * Another number of workers, while the node runs: new slots come in when they
 * are ready, others leave when what they had is with those that stay.
 */
#ifndef KAP_SCALING_H
#define KAP_SCALING_H

#include <stdint.h>

#include "master/operation.h"
#include "shared/errors.h"

/*
 * Begin. As operation_scale; on error nothing is changed.
 */
KAP_MUST_USE int scaling_begin(struct children *children,
    struct operation *operation, unsigned workers, struct kap_errmsg *msg);

/* Go on, if it can. */
void scaling_push(struct children *children, struct operation *operation,
    int64_t now_ms);

#endif
