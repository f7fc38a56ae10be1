/*
 * Whose store it is: a store is used by one node.id for ever.
 */
#ifndef KAP_STORE_OWNER_H
#define KAP_STORE_OWNER_H

#include <stdint.h>

#include "shared/errors.h"

/*
 * Note in <data_dir>/store, which exists and is locked, that it is the node's;
 * or find out that it is another's. What can't be noted is logged only.
 *
 * node  node.id
 *
 * Returns 0; -KAP_EXISTS (another node's), -KAP_CORRUPT (the note makes no
 * sense), -KAP_TOOBIG or -KAP_IO, with the words in msg. Blocks on the disk;
 * the master's, at start-up only.
 */
KAP_MUST_USE int store_owner_claim(const char *data_dir, int64_t node,
    struct kap_errmsg *msg);

#endif
