/*
 * The checked configuration, as a child gets it: a sealed memory file.
 */
#ifndef KAP_CONFIG_MEMFD_H
#define KAP_CONFIG_MEMFD_H

#include "shared/config.h"
#include "shared/errors.h"

/*
 * Write a configuration, secrets included, into a new memory file that
 * nobody can change afterwards. Each child gets one of its own, for a shared
 * one would have a shared position.
 *
 * Returns the descriptor (close-on-exec) or -KAP_IO.
 */
KAP_MUST_USE int config_memfd_make(const struct config *config);

#endif
