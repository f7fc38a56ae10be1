/*
 * What of [speech] can't work, told once in the log at a worker's start.
 */
#ifndef KAP_WORKER_SPEECH_CHECK_H
#define KAP_WORKER_SPEECH_CHECK_H

#include "shared/config.h"

/*
 * Log a warning for each configured engine that lacks what it needs, one if
 * none is left, and one if Asterisk, which is another user, can't enter the
 * folder of spoken texts. Looks at the folders above it and changes nothing.
 */
void speech_check(const struct config *config);

#endif
