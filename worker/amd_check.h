/*
 * Whether Asterisk can tell machines from humans: app_amd runs there, and so
 * does our part of its dialplan (deploy/asterisk/fragments/extensions.conf).
 * Asked at each connect, and now and then while it can't.
 */
#ifndef KAP_AMD_CHECK_H
#define KAP_AMD_CHECK_H

#include <stdbool.h>

#include "ari_command.h"
#include "shared/config.h"

struct amd_check;
struct event_base;

struct amd_check_options {
	struct event_base *base;
	const struct config *config;
	struct ari_command_link *const *control; /* opened later */
	/* What is known has changed; from the loop. */
	void (*changed)(void *ctx);
	void *ctx;
};

/* `options` is copied, what it points at borrowed. NULL: out of memory. */
struct amd_check *amd_check_new(const struct amd_check_options *options);

/* The links are closed already. Sets *check NULL; NULL is fine. */
void amd_check_free(struct amd_check **check);

/*
 * Commands can be sent, or can't any more. Up: asked anew, and what was known
 * stands until the answer comes.
 */
void amd_check_set_link(struct amd_check *check, bool up);

/* Whether there was an answer ever: else nothing can be said. */
bool amd_check_is_known(const struct amd_check *check);

/* False while it isn't known. */
bool amd_check_is_there(const struct amd_check *check);

#endif
