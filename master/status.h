/*
 * The answer to the control socket's "status", as JSON.
 */
#ifndef KAP_STATUS_H
#define KAP_STATUS_H

#include <stdint.h>

#include <cjson/cJSON.h>

#include "master/children.h"
#include "master/reload.h"

struct status_about {
	const char *config_path;
	int64_t started_ms; /* boot clock, of the master */
	const struct reload *reload;
};

/* The caller's; NULL when out of memory. Reads rows, never blocks. */
cJSON *status_render(const struct children *children,
    const struct status_about *about);

#endif
