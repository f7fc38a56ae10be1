/*
 * The checks of a configuration that config_load has no means for: what a
 * child would refuse at its start, the master refuses before, at its own start
 * and at a reload alike.
 */
#ifndef KAP_CONFIG_CHECK_H
#define KAP_CONFIG_CHECK_H

#include "shared/config.h"
#include "shared/errors.h"

/*
 * Read a configuration file and check all of it: its form, the connection
 * string of PostgreSQL, the certificate and its key.
 *
 * msg  the first fault, with its line where it has one:
 *      "kaphila.conf:12: http.workers must be from 1 to 64, not 0"
 *
 * Returns 0 or what config_load, pg_dsn_parse or tls_files_check say; `config`
 * is undefined then. Blocks on the files.
 */
KAP_MUST_USE int config_check_load(struct config *config, const char *path,
    struct kap_errmsg *msg);

#endif
