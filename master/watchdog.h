/*
 * The watchdog: looks at every child a few times a second, and ends those
 * that are hung, stopped, late to be ready or late to leave.
 */
#ifndef KAP_WATCHDOG_H
#define KAP_WATCHDOG_H

#include <stdint.h>

#include "master/children.h"
#include "shared/errors.h"

struct watchdog {
	struct children *children;
	struct event *on_look;
	int64_t last_look_ms;      /* boot clock */
	int64_t watching_since_ms; /* no gap between two looks since */
};

/* Returns 0 or -KAP_NOMEM. `children` outlives it. */
KAP_MUST_USE int watchdog_init(struct watchdog *watchdog,
    struct children *children);
void watchdog_deinit(struct watchdog *watchdog);

#endif
