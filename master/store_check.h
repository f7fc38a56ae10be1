/*
 * The look at the store before anything is started on it. A bad file would
 * end every child at its start, over and over, and some faults end whoever
 * looks: a page behind the end of a file that was cut short is a SIGBUS, and
 * so is a full disk. So a short-lived helper reads all of it first:
 * `kaphila-master --check-store DATA_DIR MAP_MB`.
 */
#ifndef KAP_STORE_CHECK_H
#define KAP_STORE_CHECK_H

#include <stdint.h>

#include "shared/errors.h"

#define STORE_CHECK_OPTION "--check-store"

/*
 * Run the helper and wait for it; a minute at the most. A store that isn't
 * there is made. The folder <data_dir>/store exists, and no child runs.
 *
 * msg  what is wrong with it, and what may be done
 *
 * Returns 0; -KAP_CORRUPT for a store that can't be used; -KAP_IO where there
 * is no process to be had. Blocks; at start-up only.
 */
KAP_MUST_USE int store_check(const char *data_dir, int64_t map_size_mb,
    struct kap_errmsg *msg);

/*
 * What the helper looks at: that the store opens, that each page in use can
 * be read, and that no record is of a version that this program doesn't know
 * (it would cut off what it doesn't know when it writes the record again).
 *
 * Returns 0; -KAP_CORRUPT, -KAP_VERSION, -KAP_DENIED, -KAP_FULL, -KAP_IO. May
 * end the process by SIGBUS or SIGSEGV, for the reasons above.
 */
KAP_MUST_USE int store_check_examine(const char *data_dir,
    int64_t map_size_mb, struct kap_errmsg *msg);

/* What the helper's main() does. Returns its exit status. */
int store_check_run(const char *data_dir, const char *map_size_mb);

#endif
