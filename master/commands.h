/*
 * What a command of the control socket means: its fields are checked here, and
 * carried out by whoever knows how. A field that is not the command's is
 * refused, for a misspelt "slot" must not restart all workers.
 *
 *     {"command":"status"}
 *     {"command":"restart","role":"worker","slot":2}    slot: optional
 *     {"command":"scale","workers":4}
 *     {"command":"operation","operation":7}
 *     {"command":"pause"}   {"command":"resume"}   {"command":"reload"}
 *
 * restart and scale answer {"ok":true,"operation":7} at once; "operation"
 * tells how far that is (operation.h). pause and resume answer
 * {"ok":true,"paused":…}, reload what reload.h says.
 */
#ifndef KAP_COMMANDS_H
#define KAP_COMMANDS_H

#include <cjson/cJSON.h>

#include "master/reload.h"
#include "master/status.h"

struct children;

struct commands {
	struct children *children;
	struct reload *reload;
	const struct status_about *about;
};

/* A control_answer_fn; ctx is a struct commands. */
cJSON *commands_answer(void *ctx, const char *command, const cJSON *request);

#endif
