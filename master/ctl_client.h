/*
 * kaphilactl's side of the control socket: one request, one answer.
 */
#ifndef KAP_CTL_CLIENT_H
#define KAP_CTL_CLIENT_H

#include <cjson/cJSON.h>

#include "shared/errors.h"

/*
 * Send a command to the master of a run directory, and wait for its answer.
 *
 * answer_out  the parsed answer, the caller's; also set for one that says
 *             "ok":false
 * msg         what went wrong, in words
 *
 * Returns 0; -KAP_GONE when no master listens there; -KAP_DENIED;
 * -KAP_TIMEOUT after 6 s; -KAP_PROTO for an answer that can't be read.
 * Blocks for that long at the most.
 */
KAP_MUST_USE int ctl_client_ask(const char *run_dir, const char *command,
    cJSON **answer_out, struct kap_errmsg *msg);

#endif
