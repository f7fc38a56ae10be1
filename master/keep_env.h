/*
 * The LMDB environment, held open and left alone: as long as the master has
 * it, no child is ever the last to close it while another opens it. The
 * master begins no transaction, ever (it would then share a lock with its
 * children).
 */
#ifndef KAP_KEEP_ENV_H
#define KAP_KEEP_ENV_H

#include <stdint.h>

#include "shared/errors.h"

struct keep_env;

/*
 * Create the folder <data_dir>/store (mode 0700) where it is missing, lock it,
 * have what lies in it checked (store_check.h), and open the environment.
 *
 * Returns 0; -KAP_EXISTS (another master has it); -KAP_CORRUPT (it can't be
 * used); -KAP_DENIED, -KAP_FULL, -KAP_NOMEM, -KAP_IO, with the words in msg.
 * Blocks on the disk; at start-up only.
 */
KAP_MUST_USE int keep_env_open(struct keep_env **env_out,
    const char *data_dir, int64_t map_size_mb, struct kap_errmsg *msg);

/* Sets *env NULL. */
void keep_env_close(struct keep_env **env);

/*
 * Clear the reader slots of dead processes, in the environment of data_dir.
 * May wait without limit for a lock that a stopped child holds: only for the
 * helper process that runs `kaphila-master --clear-readers`, which has a
 * deadline and is expendable.
 *
 * cleared_out  slots that were cleared
 *
 * Returns 0, or as keep_env_open.
 */
KAP_MUST_USE int keep_env_clear_readers(const char *data_dir,
    int *cleared_out, struct kap_errmsg *msg);

#endif
