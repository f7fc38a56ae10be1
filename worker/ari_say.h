/*
 * How each command of the outbox is said to Asterisk, and what its reply
 * means for the call. Text and tables alone: sends nothing.
 */
#ifndef KAP_ARI_SAY_H
#define KAP_ARI_SAY_H

#include "ari_url.h"
#include "shared/call_machine.h"
#include "shared/config.h"
#include "shared/outbox.h"

/* The variable that marks a channel as this node's. */
#define ARI_NODE_VARIABLE "KAPHILA_NODE"

/*
 * Answering machine detection in the dialplan: the context that a snoop
 * channel is sent to, and the variable with what that needs to know,
 * "<app>|<arguments of AMD()>".
 */
#define ARI_AMD_CONTEXT "kaphila-amd"
#define ARI_AMD_VARIABLE "KAPHILA_AMD"

struct ari_request {
	const char *method; /* static */
	struct ari_uri uri; /* below /ari */
	char *body;         /* JSON text, or NULL; free with ari_request_clear */
};

/*
 * Write the request for a command.
 *
 * app  the Stasis app that the call's events are to go to
 *
 * Returns 0; -KAP_NOMEM, -KAP_TOOBIG (nothing to clear then).
 */
KAP_MUST_USE int ari_say(const struct outbox_item *item,
    const struct config *config, const char *app,
    struct ari_request *request_out);

void ari_request_clear(struct ari_request *request);

/* The name of the bridges of a node: "kaphila-<node>". */
#define ARI_BRIDGE_NAME_SIZE 24
void ari_bridge_label(char out[ARI_BRIDGE_NAME_SIZE], int64_t node);

enum ari_verdict {
	ARI_SETTLED,   /* answered; input_out says what it means, if anything */
	ARI_TRY_AGAIN  /* not now: say it again after a while */
};

/*
 * What an HTTP status means as the reply to a command.
 *
 * tries      times the command was taken out of the outbox: what is there
 *            already at the first try is somebody else's
 * input_out  CALL_INPUT_COUNT: nothing happens to the call
 */
enum ari_verdict ari_reply_meaning(enum call_command_kind kind,
    unsigned tries, int status, enum call_input_kind *input_out);

#endif
