/*
 * kaphilactl's side of the control socket: one request, one answer.
 */
#ifndef KAP_CTL_CLIENT_H
#define KAP_CTL_CLIENT_H

#include <cjson/cJSON.h>

#include "master/ctl.h"
#include "shared/errors.h"

/*
 * Send a request to the master of a run directory, and wait for its answer.
 *
 * request     {"command":"..."} and its fields; borrowed
 * answer_out  the parsed answer, the caller's; also set for one that says
 *             "ok":false
 * msg         what went wrong, in words
 *
 * Returns 0; -KAP_GONE when no master listens there; -KAP_DENIED;
 * -KAP_TIMEOUT after 6 s; -KAP_PROTO for an answer that can't be read;
 * -KAP_TOOBIG, -KAP_NOMEM. Blocks for that long at the most.
 */
KAP_MUST_USE int ctl_client_ask(const char *run_dir, const cJSON *request,
    cJSON **answer_out, struct kap_errmsg *msg);

/* A request, the caller's to fill and to delete; NULL when out of memory. */
cJSON *ctl_request(const char *command);

/*
 * The same for a command of kaphilactl: asks the master of its run directory,
 * and complains about whatever is not an answer with "ok":true. A refusal is
 * printed as JSON too where that is asked for.
 *
 * request     taken over; NULL (out of memory) is complained about
 * answer_out  the caller's; NULL unless CTL_OK is returned
 */
KAP_MUST_USE int ctl_ask(const struct ctl_context *context, cJSON *request,
    cJSON **answer_out);

/* The exit code for a failed ctl_client_ask. */
int ctl_exit_code_of(int rc);

/* Print JSON, over several lines or as one. Returns CTL_OK or CTL_FAILED. */
int ctl_print_json(const cJSON *json, bool one_line);

/* A text or a number of an object, or what stands for none. */
const char *ctl_text_of(const cJSON *object, const char *name,
    const char *none);
KAP_MUST_USE bool ctl_number_of(const cJSON *object, const char *name,
    int64_t *number_out);
bool ctl_is_true(const cJSON *object, const char *name);

#endif
