/*
 * The master's control socket, <run_dir>/control.sock: a client sends one
 * JSON object as one line, {"command":"status"}, and gets one line back,
 * {"ok":true,...} or {"ok":false,"error":"..."}; a line that is too long
 * ends the connection. Only the master's own user (and
 * root) can connect.
 */
#ifndef KAP_CONTROL_H
#define KAP_CONTROL_H

#include <cjson/cJSON.h>

#include "shared/errors.h"

#define CONTROL_SOCKET "control.sock"
#define CONTROL_REQUEST_MAX 4096 /* bytes of a request line */

struct event_base;
struct control;

/*
 * Answer one command. `request` is borrowed; the answer is the caller's, and
 * NULL stands for an unknown command. Must not block.
 */
typedef cJSON *control_answer_fn(void *ctx, const char *command,
    const cJSON *request);

/*
 * Listen at `path`; a socket left there by an earlier master is replaced, so
 * the run directory's lock is held before.
 *
 * ctx  handed to `answer`; borrowed
 *
 * Returns 0; -KAP_TOOBIG (the path is too long for a socket), -KAP_NOMEM,
 * -KAP_IO.
 */
KAP_MUST_USE int control_open(struct control **control_out,
    struct event_base *base, const char *path, control_answer_fn *answer,
    void *ctx, struct kap_errmsg *msg);

/* Close every connection and remove the socket. Sets *control NULL. */
void control_close(struct control **control);

#endif
